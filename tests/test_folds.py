"""Cross-validation: each image is a test image once; the mean of the networks is a network."""

import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest

import keras_deepskip
from keras_deepskip import cli
from keras_deepskip.data import fold_splits
from keras_deepskip.models import build_model, fill_of, mean_model
from keras_deepskip.operating_point import OperatingPoint, operating_point_of
from keras_deepskip.training import Recipe, cross_validate, folds
from keras_deepskip.training.folds import _mean_point
from tests import tiny

RECIPE = dataclasses.replace(tiny.RECIPE, epochs=1)


def folder_of(path, count=11):
    rng = np.random.default_rng(0)
    for number in range(count):
        image, mask = rng.integers(0, 90, (48, 48)), np.zeros((48, 48))
        mask[4 + number : 14 + number, 4:14] = mask[30:40, 20:30] = 1
        tiny.put(path, f"g{number // 2}_{number}", image + 90 * mask, mask)
    return path


@pytest.mark.parametrize(("folds", "group_by"), [(2, None), (5, None), (3, r"(g\d+)_")])
def test_each_image_is_tested_once_and_groups_stay_together(tmp_path, folds, group_by):
    splits = fold_splits(folder_of(tmp_path), folds, seed=4, group_by=group_by)
    tested = sorted(sample.name for split in splits for sample in split.test)
    assert len(splits) == folds and tested == sorted(f"g{n // 2}_{n}" for n in range(11))
    for split in splits:
        parts = [{sample.group for sample in part} for part in (split.train, split.val, split.test)]
        assert all(parts) and not parts[0] & parts[1] and not (parts[0] | parts[1]) & parts[2]
        assert sum(map(len, (split.train, split.val, split.test))) == 11
    again = fold_splits(tmp_path, folds, seed=4, group_by=group_by)
    assert splits == again != fold_splits(tmp_path, folds, seed=5, group_by=group_by)


def test_folds_that_cannot_be(tmp_path):
    folder_of(tmp_path / "few", 4)
    with pytest.raises(ValueError, match="at least 5 images .* 4 images in 4 groups"):
        fold_splits(tmp_path / "few", 5)
    for part in ("train", "val"):
        folder_of(tmp_path / "parts" / part)
    with pytest.raises(ValueError, match="folds are dealt anew. Received: train/, val/"):
        fold_splits(tmp_path / "parts", 3)
    with pytest.raises(ValueError, match="`folds`"):
        cross_validate(tmp_path / "few", tmp_path / "out", folds=1)


class Interrupt(Exception):
    """Ends the second fold."""


@pytest.mark.one_backend
def test_folds_are_runs_that_resume_and_the_mean_is_a_network(tmp_path):
    data, out = folder_of(tmp_path / "data"), tmp_path / "out"
    begun = []

    class Stop(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            begun.append(None)
            if len(begun) == 2:
                raise Interrupt

    options = {"folds": 2, "verbose": 0, **tiny.MODEL}
    with pytest.raises(Interrupt):
        cross_validate(data, out, RECIPE, callbacks=lambda: [Stop()], **options)
    first = (out / "fold-1" / "model.keras").read_bytes()
    found = cross_validate(data, out, RECIPE, resume=True, ensemble=True, **options)
    assert (out / "fold-1" / "model.keras").read_bytes() == first
    assert [row["images"] for row in found.figures] == [6, 5]
    written = json.loads((out / "folds.json").read_text())
    assert written == {"folds": found.figures, "summary": found.summary()}
    mean = np.mean([row["iou"] for row in found.figures])
    assert written["summary"]["iou"]["mean"] == pytest.approx(mean)
    assert f"{mean:.3f} ±" in found.text()

    shutil.copytree(out, tmp_path / "moved")
    again = cross_validate(data, tmp_path / "moved", RECIPE, resume=True, **options)
    assert again.figures == found.figures
    with pytest.raises(ValueError, match=r"split-1\.json: the split of fold 1 .* number of folds"):
        cross_validate(data, out, RECIPE, resume=True, **{**options, "folds": 3})

    joined = keras_deepskip.load_model(out / "model.keras")
    image = np.random.default_rng(0).integers(0, 255, (1, 37, 41, 1)).astype("uint8")
    each = [run.model.predict(image, verbose=0) for run in found.runs]
    np.testing.assert_allclose(joined.predict(image, verbose=0), np.mean(each, 0), atol=1e-6)
    points = [run.operating_point.threshold for run in found.runs]
    assert operating_point_of(joined).threshold == pytest.approx(np.mean(points))
    rows = keras_deepskip.predict(joined, data / "images", tmp_path / "found", verbose=0)
    table = (tmp_path / "found" / "objects.csv").read_text().splitlines()
    assert len(rows) == len(table) - 1


def test_the_mean_of_operating_points():
    points = [OperatingPoint(0.4, 4, True), OperatingPoint(0.6, 7, True), OperatingPoint(0.5)]
    mean = _mean_point(points)
    assert mean.threshold == pytest.approx(0.5) and (mean.min_area, mean.separate) == (4, True)
    assert not _mean_point([*points, OperatingPoint(0.5)]).separate  # half is not most
    several = [OperatingPoint(0.5, (0, 2, 8)), OperatingPoint(0.5, 4)]
    assert _mean_point(several) == OperatingPoint(0.5, (2, 3, 6))


def test_a_mean_of_networks_of_several_classes():
    models = [
        keras_deepskip.build_model((None, None, 3), 3, mean=[mean] * 3, **tiny.MODEL)
        for mean in (90.0, 110.0)
    ]
    joined = mean_model(models)
    image = np.random.default_rng(0).integers(0, 255, (1, 20, 24, 3)).astype("float32")
    outputs = keras.ops.convert_to_numpy(joined(image))
    expected = np.mean([keras.ops.convert_to_numpy(model(image)) for model in models], 0)
    np.testing.assert_allclose(outputs, expected, atol=1e-6)
    assert fill_of(joined).tolist() == [90, 90, 90]
    with pytest.raises(ValueError, match="2 models, shapes"):
        mean_model([models[0], tiny.bright_model(3)])
    ranges = [build_model(levels=2, base_filters=2, input_range=(0, top)) for top in (1, 255)]
    with pytest.raises(ValueError, match="images of one range of values"):
        mean_model(ranges)


@pytest.mark.one_backend
def test_the_command(tmp_path, capsys):
    data = folder_of(tmp_path / "data", 6)
    command = ["train", "--data", str(data), "--out", str(tmp_path / "out"), "--folds", "2"]
    assert cli.main([*command, *tiny.flags(RECIPE)]) == 0
    assert "mean ± standard deviation" in capsys.readouterr().out
    for wrong in (["--ensemble"], ["--folds", "2", "--split-file", "x.json"]):
        plain = ["train", "--data", str(data), "--out", str(tmp_path / "b"), *wrong]
        assert cli.main(plain) == 1


@pytest.mark.one_backend
def test_each_fold_of_a_model_of_ones_own_begins_alike(tmp_path, monkeypatch):
    """What one fold has learnt of another's test images must not be in that one."""
    model, seen = build_model(levels=2, base_filters=2), []
    begin = [weight.copy() for weight in model.get_weights()]
    train = folds.train

    def noted(*arguments, **options):
        seen.append([weight.copy() for weight in model.get_weights()])
        return train(*arguments, **options)

    monkeypatch.setattr(folds, "train", noted)
    recipe = Recipe(epochs=1, steps_per_epoch=1, batch_size=1, crop_size=32, validation_windows=1)
    data = folder_of(tmp_path / "data")
    found = cross_validate(data, tmp_path / "out", recipe, folds=2, model=model, verbose=0)
    for weights in seen:
        for own, first in zip(weights, begin, strict=True):
            np.testing.assert_array_equal(own, first)
    assert len(seen) == 2 and not all(map(np.array_equal, found.runs[1].model.get_weights(), begin))
    figures = [{**found.figures[0], "iou": None}, found.figures[1]]
    known = dataclasses.replace(found, figures=figures)
    assert known.summary()["iou"]["standard_deviation"] is None and "±" in known.text()
