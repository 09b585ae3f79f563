"""The example programs of `examples/runtimes` (they are run in `test_export_formats.py`)."""

import ast
import re

import numpy as np
import pytest
from PIL import Image

from keras_deepskip.export import FORMATS
from tests import tiny

PROGRAMS = sorted((tiny.ROOT / "examples" / "runtimes").glob("*.py"))
PAGE = (tiny.ROOT / "docs" / "export.md").read_text(encoding="utf-8")


def test_every_format_has_one():
    assert {path.stem for path in PROGRAMS} == {
        "request_serving", *(f"run_{format}" for format in FORMATS),
    }  # fmt: skip


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_they_need_neither_keras_nor_this_package(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = [
        name
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names] if isinstance(node, ast.Import)
            else [node.module] if isinstance(node, ast.ImportFrom) else []
        )
    ]  # fmt: skip
    assert names and not {name.partition(".")[0] for name in names} & {"keras", "keras_deepskip"}
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 36


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_they_refuse_images_of_another_range(path, tmp_path):
    """By the lines up to there alone: the runtimes are not needed for it."""
    Image.fromarray(np.full((4, 5), 3000, "uint16")).save(tmp_path / "a.png")
    begin, _, _ = path.read_text(encoding="utf-8").partition("image = np.asarray")
    assert "sys.exit" in begin
    own = re.sub(r"^(import|from) (?!sys|PIL|numpy).*$", "", begin, flags=re.MULTILINE)
    own = re.sub(r"^.* = sys.argv.*$", f"image_file = {str(tmp_path / 'a.png')!r}", own, flags=re.M)
    with pytest.raises(SystemExit, match="an image of 8 bits was expected. Received: mode I;16"):
        exec(compile(own, str(path), "exec"), {})


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_the_page_names_them(path):
    assert f"examples/runtimes/{path.name}" in PAGE


@pytest.mark.parametrize("format", FORMATS)
def test_the_page_names_the_formats(format):
    assert f"`{format}`" in PAGE and f"keras-deepskip[{FORMATS[format].extra}" in PAGE
