"""What people meet first: the names of the package, and the words of its command."""

import argparse
import inspect
import re
import runpy
import subprocess
import sys

import pytest

import keras_deepskip as kd
from keras_deepskip import cli
from keras_deepskip._docstrings import Parameter, parameters
from keras_deepskip.cli.arguments import in_words_of_commands
from tests import tiny

COMMAND = "import sys, keras_deepskip_command; sys.argv[1:] = {arguments}; "
COMMAND += "sys.exit(keras_deepskip_command.main())"


def command(*arguments, **environment):
    """Runs the console script in a process of its own."""
    code = COMMAND.format(arguments=list(arguments))
    kept = {name: value for name, value in tiny.environ().items() if "LOG_LEVEL" not in name}
    return subprocess.run(
        [sys.executable, "-c", code], env={**kept, **environment}, cwd=tiny.ROOT,
        capture_output=True, text=True, check=True,
    )  # fmt: skip


def test_sub_packages_and_names_come_when_they_are_touched():
    assert kd.inference.predict_tiled is kd.predict_tiled
    assert kd.training.Recipe is kd.Recipe and kd.training.train is kd.train
    assert kd.reporting.report is kd.report and kd.objects.label_objects
    assert all(getattr(kd, name) is not None for name in kd.__all__ if name != "studies")
    assert set(kd.__all__) <= set(dir(kd))
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = kd.trian


def test_export_is_a_package_and_its_function(tmp_path):
    assert "onnx" in kd.export.FORMATS
    with pytest.raises(ValueError, match="`format` must be one of"):
        kd.export(tiny.bright_model(), tmp_path / "out", format="onxx")


def test_architectures_have_defaults():
    assert kd.architectures.deepskip().count_params() == kd.build_model().count_params()
    assert kd.architectures.unet(base_filters=2).output_shape == (None, None, None, 1)


def test_the_import_loads_little():
    """What is not asked for is not loaded."""
    code = (
        "import sys, keras_deepskip; "
        "parts = ('data', 'inference', 'training', 'export', 'studies', 'reporting'); "
        "print([p for p in parts if f'keras_deepskip.{p}' in sys.modules])"
    )
    assert tiny.python(code).strip().splitlines()[-1] == "[]"


MISSING = """
import importlib.util, sys
missing = sys.argv[1].split(",")

class Missing:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

plain = importlib.util.find_spec
there = {name: None if name in missing else object() for name in ("tensorflow", "jax", "torch")}
importlib.util.find_spec = lambda name: there[name] if name in there else plain(name)
sys.meta_path.insert(0, Missing)
"""


@pytest.mark.one_backend
@pytest.mark.parametrize("missing", ["tensorflow,torch", "tensorflow,torch,jax"])
def test_a_backend_that_is_not_installed_is_one_line(missing):
    code = MISSING + "sys.argv[1:] = ['plan', '--data', 'x']\nimport keras_deepskip_command as c\n"
    env = {name: v for name, v in tiny.environ().items() if name != "KERAS_BACKEND"}
    done = subprocess.run(
        [sys.executable, "-c", code + "sys.exit(c.main())", missing],
        env={**env, "HOME": str(tiny.scratch())}, cwd=tiny.ROOT, capture_output=True, text=True,
    )  # fmt: skip
    (line,) = done.stderr.strip().splitlines()
    assert done.returncode == 1
    assert "backend tensorflow (KERAS_BACKEND is not set), which is not installed." in line
    fix = 'pip install "keras-deepskip[tensorflow]"' if "jax" in missing else "KERAS_BACKEND=jax"
    assert fix in line


def test_version_and_help_load_no_backend():
    code = (
        "import contextlib, sys, keras_deepskip_command as command\n"
        "for arguments in (['--version'], ['--help'], []):\n"
        "    sys.argv[1:] = arguments\n"
        "    with contextlib.suppress(SystemExit):\n"
        "        command.main()\n"
        "print(sorted({'keras', 'tensorflow', 'jax', 'torch', 'numpy', 'rich'} & set(sys.modules)))"
    )
    printed = tiny.python(code).strip().splitlines()
    assert printed[0] == kd.__version__ and printed[-1] == "[]"
    main_path = printed[-6:-1]
    assert [line.split()[1] for line in main_path[1:4]] == ["train", "evaluate", "predict"]


def test_a_first_run_shows_no_log_lines_of_the_backend():
    done = command("analyze", "--levels", "2", "--size", "32")
    assert "receptive field" in done.stdout
    assert done.stderr == ""


def options_of(name):
    """The parser of a command."""
    parser = cli.make_parser([name])
    (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return commands.choices[name]


STUDIES = ("ablation", "backbones", "benchmark", "compare")
FLAGS = {"steps_per_epoch": "--steps-per-epoch"}  # that other flags' help names
# What no value of an option can be, and what is said elsewhere
OF_PYTHON = r"\bNone\b|\bdict\b|\biterable\b|\bSurvey\b|\b(?:KINDS|LAYOUTS|\w+_NETWORKS)\b|\(see "


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.studies) if name in STUDIES else name
        for name in cli.COMMANDS
    ],
)
def test_every_option_has_help(name):
    for action in options_of(name)._actions:
        assert action.help, f"{name} {action.option_strings}"
        of_python = re.search(OF_PYTHON, action.help)
        assert not of_python, f"{name} {action.option_strings}: {of_python[0]}"


@pytest.mark.parametrize(
    ("name", "documented", "flags"),
    [
        ("train", "training.train", {"data": "--data", "split_file": "--split-file"}),
        ("audit", "training.train", {"data": "--data", "split_file": "--split-file"}),
        ("train", "training.Recipe", {"epochs": "--epochs", "crop_size": "--crop-size"}),
        ("train", "architectures.deepskip", {"base_filters": "--base-filters"}),
        ("train", "data.MaskReading", {"ignore_class": "--ignore-class", "kind": "--mask-kind"}),
        ("evaluate", "evaluate", {"threshold": "--threshold", "criterion": "--criterion"}),
        ("report", "evaluate", {"threshold": "--threshold", "criterion": "--criterion"}),
        ("predict", "predict", {"tta": "--tta", "overlays": "--overlays"}),
        ("export", "export.export", {"format": "--format", "path": "--out"}),
        ("quantize", "quantize", {"images": "--images"}),
        ("sample", "data.draw_scene", {"clutter": "--clutter", "count": "--count"}),
        pytest.param(
            "benchmark",
            "studies.timing.benchmark",
            {"repeats": "--repeats"},
            marks=pytest.mark.studies,
        ),
    ],
)
def test_help_and_default_are_those_of_the_function(name, documented, flags):
    actions = options_of(name)._option_string_actions  # loads what it documents, the studies too
    function = kd
    for part in documented.split("."):
        function = getattr(function, part)
    known = parameters(function)
    for parameter, flag in flags.items():
        action, own = actions[flag], known[parameter]
        words = in_words_of_commands(own, FLAGS)
        assert action.help.replace("%%", "%").startswith(words)
        assert words[:10] == own.text.replace("`", "")[:10]
        default = inspect.signature(function).parameters[parameter].default
        if default is inspect.Parameter.empty:
            assert action.required
        elif not isinstance(default, bool | None):
            shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
            assert action.help.endswith(f"(default: {shown})")


def test_parameters_are_read_from_sections_of_either_kind():
    def documented(first, second=2, third=(1, 2)):
        """Does nothing.

        Args:
            first: a text
                over two lines. And more.
            second, third: numbers; of e.g. 2. Not shown.

        Returns:
            first: nothing.
        """

    known = parameters(documented)
    assert list(known) == ["first", "second", "third"]
    assert known["first"].summary == "a text over two lines" and known["first"].required
    assert known["third"].text == known["second"].text == "numbers; of e.g. 2. Not shown."
    assert parameters(kd.Recipe)["seed"].default == 0


def test_docstrings_are_put_in_the_words_of_the_command_line():
    flags = {"out": "--out", "path": "--file", "seed": "--seed"}
    for text, shown in {
        "a folder in `out`, a `Run`; None takes `path`. More.": "a folder in --out, a Run; "
        "default: --file",
        'a `seed`, `"any"` (see `fit`); None is 5': 'a seed, "any"; default: 5',
    }.items():
        assert in_words_of_commands(Parameter("seed", None, text), flags) == shown


@pytest.mark.parametrize("command", ["predict", "suggest"])
def test_forms_follow_one_flag_or_several(command):
    words = [command, "--run", "r", "--images", "i", "--out", "o", "--format", "coco", "yolo"]
    options = cli.make_parser(words).parse_args([*words, "--format", "geojson"])
    assert options.formats == ["coco", "yolo", "geojson"]
    formats = options_of(command)._option_string_actions["--format"]
    assert formats.help.endswith(f"(default: {'none' if command == 'predict' else 'coco'})")


@pytest.mark.one_backend
@pytest.mark.studies
def test_the_page_of_commands_is_what_the_parsers_have():
    """Made by: python docs/tools/commands.py"""
    made = runpy.run_path(str(tiny.ROOT / "docs" / "tools" / "commands.py"))
    assert made["PAGE"].read_text(encoding="utf-8") == made["page"]()


@pytest.mark.one_backend
def test_the_tables_of_results_are_the_rows_of_the_studies():
    """Made by: python docs/tools/results.py"""
    made = runpy.run_path(str(tiny.ROOT / "docs" / "tools" / "results.py"))
    pages = [made[name].read_text(encoding="utf-8") for name in ("README", "PAGE")]
    assert sorted(made["names_in"](pages)) == sorted(made["TABLES"])

    def other(found):  # each number of the written tables is the rows'
        return found["mark"] + re.sub(r"\d", "7", found[0].removeprefix(found["mark"]))

    for page in pages:
        assert made["text"](page) == page
        assert made["text"](made["MARKED"].sub(other, page)) == page


def test_the_docs_name_every_column_of_the_tables_and_every_file_of_a_run():
    from keras_deepskip.inference import measures, tables
    from keras_deepskip.training import run

    shown = (tiny.ROOT / "docs" / "batch.md").read_text(encoding="utf-8")
    measured = measures.columns(channels=1, sized=True)
    for column in (*tables.COLUMNS, "class_name", *measures.IMAGE_COLUMNS, "file", *measured):
        assert f"`{column}`" in shown, column
    shown = (tiny.ROOT / "docs" / "recipe.md").read_text(encoding="utf-8")
    files = (run.CONFIG, run.SPLIT, run.IMAGES, run.AUDIT, run.MODEL, run.HISTORY, run.PLAN)
    for name in (*files, run.POINT, f"{run.CHECKPOINT}/", f"{run.LOGS}/"):
        assert f"`{name}`" in shown, name


def test_models_reload_after_a_bare_import(tmp_path):
    kd.build_model(levels=2, base_filters=2).save(tmp_path / "model.keras")
    code = "import sys, keras, keras_deepskip; print(keras.models.load_model(sys.argv[1]).name)"
    assert tiny.python(code, tmp_path / "model.keras").strip() == "deepskip_light_vgg16"


PAGES = [path for name in ("*.md", "docs/**/*.md") for path in sorted(tiny.ROOT.glob(name))]


def anchor_of(heading):
    """The anchor that GitHub gives a heading."""
    kept = "".join(c for c in heading.lower() if c.isalnum() or c in " -_")
    return kept.strip().replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(tiny.ROOT)))
def test_relative_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists() and target.is_relative_to(tiny.ROOT), f"{page}: {link}"
        if anchor:
            lines = target.read_text(encoding="utf-8").splitlines()
            headings = [line.lstrip("#") for line in lines if line.startswith("#")]
            assert anchor in map(anchor_of, headings), f"{page}: {link}"


@pytest.mark.parametrize("folder", ["docs", "docs/measurements"])
def test_the_index_lists_every_page(folder):
    index = (tiny.ROOT / folder / "README.md").read_text(encoding="utf-8")
    pages = {path.name for path in (tiny.ROOT / folder).glob("*.md")} - {"README.md"}
    assert pages == set(re.findall(r"\]\((\w+\.md)\)", index))


def test_the_guide_and_the_site_list_every_guide():
    index = (tiny.ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    navigation = (tiny.ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = {f"guides/{path.name}" for path in (tiny.ROOT / "docs" / "guides").glob("*.md")}
    assert pages == set(re.findall(r"\]\((guides/\w+\.md)\)", index))
    listed = set(re.findall(r"- ((?:\w+/)?\w+\.md)$", navigation, re.M))
    docs = tiny.ROOT / "docs"
    found = {path.relative_to(docs).as_posix() for path in docs.glob("**/*.md")}
    assert listed == {name for name in found if not name.startswith("measurements/comparison/")}
