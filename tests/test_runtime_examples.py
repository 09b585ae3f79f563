"""The example programs of `examples/runtimes` (they are run in `test_export_formats.py`)."""

import ast

import pytest

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
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 32


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_the_page_names_them(path):
    assert f"examples/runtimes/{path.name}" in PAGE


@pytest.mark.parametrize("format", FORMATS)
def test_the_page_names_the_formats(format):
    assert f"`{format}`" in PAGE and f"keras-deepskip[{FORMATS[format].extra}" in PAGE
