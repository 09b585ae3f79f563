"""The example programs of `examples/runtimes` (they are run in `test_export_formats.py`)."""

import ast
import json
import re
import runpy

import numpy as np
import pytest
from PIL import Image

from keras_deepskip.export import FORMATS
from keras_deepskip.operating_point import OperatingPoint
from tests import tiny

FOLDER = tiny.ROOT / "examples" / "runtimes"
PROGRAMS = sorted(path for path in FOLDER.glob("*.py") if path.stem != "objects")
PAGE = (tiny.ROOT / "docs" / "export.md").read_text(encoding="utf-8")


def test_every_format_has_one():
    assert {path.stem for path in PROGRAMS} == {
        "request_serving", "request_triton", *(f"run_{format}" for format in FORMATS),
    }  # fmt: skip


@pytest.mark.parametrize("path", [*PROGRAMS, FOLDER / "objects.py"], ids=lambda path: path.stem)
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
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 36 or path.stem == "objects"


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


@pytest.mark.parametrize("seed", range(12))
def test_their_objects_are_those_of_predict(seed, tmp_path):
    """Discs that touch, specks and noise; thresholds, least areas, several classes."""
    rng = np.random.default_rng(seed)
    classes = (1, 3)[seed % 2]
    rows, columns = np.indices(rng.integers(20, 90, 2))
    outputs = rng.random((*rows.shape, classes)) * (0.02, 0.7)[seed % 3 == 0]
    for _ in range(25):
        y, x, channel = *rng.integers(rows.shape), rng.integers(classes)
        outputs[(rows - y) ** 2 + (columns - x) ** 2 <= rng.uniform(1, 9) ** 2, channel] += 0.6
    outputs = outputs.clip(0, 1) if classes == 1 else outputs / outputs.sum(-1, keepdims=True)
    least = int(rng.integers(60)) if classes == 1 else (0, 15, int(rng.integers(40)))
    point = OperatingPoint((0.5, 0.3, 0.62, 1.0)[seed % 4], least, separate=bool(seed % 5))
    told = {"operating_point": point.to_dict()}
    (tmp_path / "a.onnx.export.json").write_text(json.dumps(told))
    objects_of = runpy.run_path(str(FOLDER / "objects.py"))["objects_of"]
    mask, labels = objects_of(outputs.astype("float32"), tmp_path / "a.onnx")
    expected = point.masks(outputs.astype("float32")[None])[0]
    assert np.array_equal(mask, expected) and mask.dtype == "uint8"
    assert np.array_equal(labels, point.labels(expected)[0]) and labels.dtype == "int32"
    plain = OperatingPoint()
    mask, labels = objects_of(outputs.astype("float32"))
    assert np.array_equal(labels, plain.labels(plain.masks(outputs.astype("float32")[None])[0])[0])


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_the_page_names_them(path):
    assert f"examples/runtimes/{path.name}" in PAGE


@pytest.mark.parametrize("format", FORMATS)
def test_the_page_names_the_formats(format):
    assert f"`{format}`" in PAGE and f"keras-deepskip[{FORMATS[format].extra}" in PAGE
