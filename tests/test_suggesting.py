"""Images to annotate next: ranked by the disagreement of a model's views, or of several models."""

import json

import keras
import numpy as np
import pytest

from keras_deepskip import cli
from keras_deepskip.data import Sample, write_png
from keras_deepskip.inference import predict, suggest, suggesting
from keras_deepskip.operating_point import OperatingPoint
from tests import tiny

pytestmark = pytest.mark.one_backend


def biased(shift):
    """A model that calls a pixel by the one to its left (shift 1), or by itself (0)."""
    kernel = np.zeros((1, 3, 1, 1), "float32")
    kernel[0, 1 - shift] = 1.0
    inputs = keras.Input((None, None, 1))
    x = keras.layers.Conv2D(1, (1, 3), padding="same", name="seen")(inputs)
    outputs = keras.layers.Activation("sigmoid")(x)
    model = keras.Model(inputs, outputs)
    model.get_layer("seen").set_weights([kernel, np.array([-128.0], "float32")])
    return model


@pytest.fixture
def images(tmp_path):
    """Nothing at all, a wide object, and a thin one, which a shift moves off itself."""
    for name, columns in (("none", ()), ("wide", range(10, 22)), ("thin", (15,))):
        image = np.zeros((20, 32), "uint8")
        image[5:12, list(columns)] = 255
        write_png(tmp_path / "new" / f"{name}.png", image)
    return tmp_path / "new"


def test_what_views_disagree_about_comes_first(images, tmp_path):
    """Mirrored, a shift to the right is one to the left: the mean of both is neither."""
    rows = suggest(biased(1), images, tmp_path / "out", count=2, verbose=0)
    assert [row["image"] for row in rows] == ["thin", "wide", "none"]
    assert rows[0]["disagreement"] == 1 and rows[2] == {
        "image": "none", "disagreement": 0, "objects": 0, "file": str(images / "none.png")
    }  # fmt: skip
    # The wide one: 12 columns, of which the mean has the 10 that both views have
    assert rows[1]["disagreement"] == pytest.approx((1 - 10 / 12) / 2, abs=1e-4)
    assert all(row["disagreement"] == 0 for row in suggest(biased(0), images, tmp_path / "same"))
    found = json.loads((tmp_path / "out" / "annotations.json").read_text())
    assert {image["file_name"] for image in found["images"]} == {"thin.png", "wide.png"}
    lines = (tmp_path / "out" / "suggestions.csv").read_text().splitlines()
    assert len(lines) == 4 and lines[1].startswith("thin,1.0,0,")


def test_label_studio_has_the_first_ones(images, tmp_path):
    suggest(biased(1), images, tmp_path, count=2, formats="label-studio", verbose=0)
    folder = tmp_path / "label-studio"
    tasks = json.loads((folder / "tasks.json").read_text())
    assert {task["data"]["image"].rpartition("/")[2] for task in tasks} == {"thin.png", "wide.png"}
    assert all(len(task["predictions"][0]["result"]) == 1 for task in tasks)
    assert len(list((folder / "images").iterdir())) == 2
    assert not (tmp_path / "annotations.json").exists()


def test_a_committee_of_several_models(images, tmp_path):
    rows = suggest([biased(0), biased(0)], images, tmp_path / "a", verbose=0)
    assert all(row["disagreement"] == 0 for row in rows)
    rows = suggest([biased(0), biased(1)], images, tmp_path / "b", verbose=0)
    assert [row["image"] for row in rows] == ["thin", "wide", "none"]


def test_the_files_of_nested_folders_have_the_names_of_the_table(images, tmp_path):
    (images / "plate").mkdir()
    for name in ("thin", "wide", "none"):
        (images / f"{name}.png").rename(images / "plate" / f"{name}.png")
    rows = suggest(biased(1), images, tmp_path / "out", count=2, verbose=0)
    assert [row["image"] for row in rows] == ["plate/thin", "plate/wide", "plate/none"]
    masks = tmp_path / "out" / "masks"
    assert all((masks / f"{row['image']}.png").is_file() for row in rows[:2])


def test_a_committee_of_nobody_is_refused(images, tmp_path):
    with pytest.raises(ValueError, match="`models` must hold at least one model or run"):
        suggest([], images, tmp_path / "out", verbose=0)


def test_one_that_cannot_be_read_is_told(images, tmp_path):
    (images / "bad.png").write_bytes(b"no image")
    with pytest.warns(UserWarning, match=r"1 of 4 images could not be ranked.*bad\.png"):
        assert len(suggest(biased(0), images, tmp_path / "out", verbose=0)) == 3
    with pytest.raises(ValueError, match=r"bad\.png"):
        suggest(biased(0), images / "bad.png", tmp_path / "none", verbose=0)


def test_models_that_differ_are_refused(images, tmp_path):
    with pytest.raises(ValueError, match="1 channels to 1 outputs; 3 channels to 1 outputs"):
        suggest([biased(0), tiny.bright_model(3)], images, tmp_path / "out", verbose=0)


def test_the_command(tmp_path, capsys):
    folders = [str(tiny.run().folder)] * 2
    words = ["suggest", "--run", *folders, "--images", str(tiny.data() / "images")]
    assert cli.main([*words, "--out", str(tmp_path), "--count", "2", "--format", "coco"]) == 0
    assert "Most disagreement, of " in capsys.readouterr().out
    assert len(list((tmp_path / "masks").iterdir())) == 2


def test_members_that_see_other_classes_disagree():
    """About the object as much as about its pixels."""
    outputs = np.zeros((2, 12, 12, 3), "float32")
    outputs[..., 0] = 1
    outputs[0, 3:9, 3:9], outputs[1, 3:9, 3:9] = (0.0, 0.9, 0.1), (0.0, 0.2, 0.8)
    disagreement, count = suggesting._judged(outputs, OperatingPoint())
    assert (disagreement, count) == (0.5, 1)


def test_files_of_one_name_are_two_images(tmp_path):
    """Of samples with names of their own; Label Studio and COCO tell them apart."""
    image, samples = np.zeros((20, 32), "uint8"), []
    for number, name in enumerate(("x", "day/y")):
        image[5:12, 8 + 4 * number : 20] = 255
        write_png(tmp_path / name / "img.png", image)
        samples.append(Sample(name, tmp_path / name / "img.png", None))
    formats = ["coco", "label-studio"]
    predict(biased(0), samples, tmp_path / "out", formats=formats, verbose=0)
    found = json.loads((tmp_path / "out" / "annotations.json").read_text())
    assert {own["file_name"] for own in found["images"]} == {"x.png", "day/y.png"}
    for sample in samples:
        copy = tmp_path / "out" / "label-studio" / "images" / f"{sample.name}.png"
        assert copy.read_bytes() == sample.image.read_bytes()
