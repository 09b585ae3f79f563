"""Every command and block of Python of the guides, the FAQ and the page of the paper runs.

On few and small images, with a tiny network; a block that is not run says so, with the reason.
"""

import re
import shlex
import subprocess
import sys

import pytest

from keras_deepskip import cli
from tests import tiny

pytestmark = pytest.mark.one_backend
DOCS = tiny.ROOT / "docs"
PAGES = [*sorted(DOCS.glob("guides/*.md")), DOCS / "faq.md", DOCS / "paper.md"]
BLOCK = re.compile(r"(<!-- not run: [^\n]{10,} -->\n)?```(python|bash)\n(.*?)```", re.S)
# Options of a command that are given other values here or left out, and those that are added.
SMALLER = {
    "sample": {"--images": "6", "--height": None, "--width": None, "--count": None, "--size": None},
    "train": {"--minutes": None, "--steps": None, "--epochs": None},
    "analyze": {"--size": "32"},
}
ADDED = {
    "sample": "--height 64 --width 64 --size 6 16 --count 1 3",
    "train": "--epochs 1 --steps-per-epoch 2 --batch-size 2 --crop-size 32 "
    "--validation-windows 2 --levels 2 --base-filters 2",
}
SCENES = "height=64, width=64, size=(6, 16)"
CODE = {
    "range(30)": "range(6)",
    'data.scenes("lesions", 16,': f'data.scenes("lesions", 4, {SCENES},',
    'data.scenes("coins", 16,': f'data.scenes("coins", 6, {SCENES},',
    "= kd.build_model()": "= kd.build_model(levels=2, base_filters=2)",
    '("light_vgg16", "light_resnet34", "mobilenetv3small")': '("light_vgg16",)',
    "backbone=encoder)": "backbone=encoder, decoder_filters=(2, 2, 2))",
}


def blocks(page):
    """(language, text) of each block that is run."""
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [(language, text) for not_run, language, text in found if not not_run]


def smaller(words):
    """The words of a command, for a small run."""
    command, kept = words[0], []
    changes, words = dict(SMALLER.get(command, {})), list(words)
    while words:
        word = words.pop(0)
        if word in changes:
            while words and not words[0].startswith("--"):
                words.pop(0)
            kept += [word, *changes[word].split()] if changes[word] else []
        else:
            kept.append(word)
    return kept + ADDED.get(command, "").split()


def run_line(line):
    program, *words = shlex.split(line, comments=True)
    if program == "keras-deepskip":
        assert cli.main(smaller(words)) == 0, line
    else:
        assert program == "python", line
        words[0] = str(tiny.ROOT / words[0])
        subprocess.run([sys.executable, *words], check=True)


@pytest.mark.usefixtures("eager_tensorflow")
@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_what_a_page_shows_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace, shown = {"__name__": "__main__"}, blocks(page)
    assert shown
    for language, text in shown:
        if language == "bash":
            for line in text.replace("\\\n", " ").splitlines():
                run_line(line)
        else:
            for full, small in CODE.items():
                text = text.replace(full, small)
            exec(text, namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_every_block_runs_or_says_why_not(page):
    text = page.read_text(encoding="utf-8")
    fences = len(re.findall(r"^```(?:python|bash)$", text, re.M))
    assert fences == len(blocks(page)) + len(re.findall(r"^<!-- not run: ", text, re.M))


def test_what_the_tests_change_is_there():
    text = "".join(text for page in PAGES for _, text in blocks(page))
    assert all(full in text for full in CODE)
