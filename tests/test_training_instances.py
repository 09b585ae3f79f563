"""`train` on Mask R-CNN: objects one by one, by the same command, folder and resume as others."""

import json

import keras
import numpy as np
import pytest

from keras_deepskip.architectures import TrainingAdapter
from keras_deepskip.data import find_samples, write_png
from keras_deepskip.data.images import decode_image
from keras_deepskip.inference import evaluate, predict
from keras_deepskip.training import Recipe, train
from tests import tiny

pytestmark = [pytest.mark.studies, pytest.mark.one_backend]

RECIPE = Recipe(epochs=2, steps_per_epoch=1, batch_size=2, crop_size=32, validation_windows=2)
MODEL = {
    "architecture": "mask_rcnn", "backbone": "light_vgg16", "levels": 3, "base_filters": 2,
    "fpn_filters": 4, "fc_units": 8, "mask_filters": 4, "mask_size": 8, "proposals": 8,
    "training_proposals": 16, "detections": 4,
}  # fmt: skip


def test_objects_that_the_network_tells_apart_are_those_that_are_judged(tmp_path, monkeypatch):
    """Three stripes are one component of the mask, and three objects to the network."""
    ids = np.zeros((32, 32), "uint8")
    ids[4:12, 8:24], ids[12:20, 8:24], ids[20:28, 8:24] = 1, 2, 3
    for kind, plane in (("images", 200 * (ids > 0)), ("masks", ids > 0), ("instances", ids)):
        write_png(tmp_path / kind / "a.png", plane.astype("uint8"))
    samples, model = find_samples(tmp_path), tiny.bright_model()
    assert evaluate(model, samples, verbose=0).objects["all"]["f1"] == 0

    class Finder(TrainingAdapter):
        def object_finder(self, network):
            assert network.output_shape[-1] == 1
            return lambda image: lambda threshold: np.where(image[..., 0] > 100, ids + 4, 9)

    monkeypatch.setattr("keras_deepskip.inference.outputs.adapter_of", lambda model: Finder())
    assert evaluate(model, samples, verbose=0).objects["all"]["f1"] == 1
    rows = predict(model, tmp_path / "images", out=tmp_path / "found", verbose=0)
    assert [row["area"] for row in rows] == [128] * 3
    labels, _ = decode_image(tmp_path / "found" / "labels" / "a.tif")
    np.testing.assert_array_equal(labels.reshape(32, 32), ids)
    plain = evaluate(model, samples, predict=lambda image: image[..., :1] / 255.0, verbose=0)
    assert plain.objects["all"]["f1"] == 0  # another program's outputs: their masks alone


class Stop(Exception):
    """Ends a training as a fault would."""


@pytest.mark.slow
def test_an_interrupted_training_goes_on_and_leaves_a_network_of_images(tmp_path):
    def stop_before_the_second(epoch, logs):
        if epoch:
            raise Stop

    breaks = keras.callbacks.LambdaCallback(on_epoch_begin=stop_before_the_second)
    with pytest.raises(Stop):
        train(tiny.data(), tmp_path, RECIPE, verbose=0, callbacks=[breaks], **MODEL)
    state = json.loads((tmp_path / "training_state" / "state.json").read_text())
    assert state["epoch"] == 1
    run = train(tiny.data(), tmp_path, RECIPE, verbose=0, resume=True, **MODEL)
    assert [row["epoch"] for row in run.history] == [1, 2]
    for row in run.history:
        assert np.isfinite(row["loss"]) and row["loss"] > 0
        assert "iou" not in row and 0 <= row["val_iou"] <= 1
    assert run.model.input_shape == (None, None, None, 3)
    assert run.model.output_shape == (None, None, None, 1)
    found = evaluate(run.model, run.split.test, verbose=0)
    assert 0 <= found.pixels["IoU"] <= 1
    assert list((tmp_path / "logs" / "validation").glob("events*"))
