"""Names of classes: from the data through training and the model's file into every table."""

import csv
import dataclasses
import json

import numpy as np
import pytest

import keras_deepskip
from keras_deepskip.models import class_names_of
from keras_deepskip.training import Run, train
from tests import tiny

RECIPE = dataclasses.replace(tiny.RECIPE, epochs=1)


def folder_of(path, names):
    rng = np.random.default_rng(0)
    for number in range(6):
        image, mask = rng.integers(0, 90, (48, 48)), np.zeros((48, 48))
        mask[4 + number : 14 + number, 4:14], mask[30:40, 20:30] = 1, 2
        tiny.put(path, f"n{number}", image + 60 * mask, mask)
    (path / "classes.txt").write_text(names, encoding="utf-8")
    return path


@pytest.mark.one_backend
@pytest.mark.parametrize("names", ["car\nhäuser\n", "background\r\ncar\r\nhäuser"])
def test_names_reach_model_tables_and_export(tmp_path, names):
    data = folder_of(tmp_path / "data", names)
    run = train(data, tmp_path / "run", RECIPE, verbose=0, **tiny.MODEL)
    assert Run.load(tmp_path / "run").class_names == {1: "car", 2: "häuser"}
    model = keras_deepskip.load_model(tmp_path / "run" / "model.keras")
    assert class_names_of(model) == {1: "car", 2: "häuser"}
    found = keras_deepskip.evaluate(run, verbose=0)
    assert "class 2 (häuser)" in found.text()
    keras_deepskip.predict(model, data / "images", tmp_path / "found", min_area=0, verbose=0)
    with (tmp_path / "found" / "objects.csv").open(encoding="utf-8") as file:
        reader = csv.DictReader(file)
        assert reader.fieldnames[:5] == ["image", "object", "class", "class_name", "area"]
        assert {(row["class"], row["class_name"]) for row in reader} <= {
            ("1", "car"), ("2", "häuser"),
        }  # fmt: skip


def test_names_that_do_not_fit(tmp_path):
    data = folder_of(tmp_path / "data", "car\n")
    with pytest.raises(ValueError, match=r"classes.txt: a line for each class .* 1 name"):
        train(data, tmp_path / "run", RECIPE, verbose=0, **tiny.MODEL)
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.one_backend
def test_the_report_of_an_export_has_them(tmp_path):
    model = keras_deepskip.build_model((None, None, 1), 3, **tiny.MODEL)
    keras_deepskip.layers.image_normalization.image_normalization_of(model).class_names = {
        "1": "car", "2": "bus",
    }  # fmt: skip
    pytest.importorskip("tensorflow")
    keras_deepskip.export(model, tmp_path / "model", "saved_model")
    report = json.loads((tmp_path / "model.export.json").read_text())
    assert report["class_names"] == {"1": "car", "2": "bus"}
