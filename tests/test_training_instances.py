"""`train` on Mask R-CNN: objects one by one, by the same command, folder and resume as others."""

import json

import keras
import numpy as np
import pytest

from keras_deepskip.inference import evaluate
from keras_deepskip.training import Recipe, train
from tests import tiny

pytestmark = [pytest.mark.studies, pytest.mark.one_backend]

RECIPE = Recipe(epochs=2, steps_per_epoch=1, batch_size=2, crop_size=32, validation_windows=2)
MODEL = {
    "architecture": "mask_rcnn", "backbone": "light_vgg16", "levels": 3, "base_filters": 2,
    "fpn_filters": 4, "fc_units": 8, "mask_filters": 4, "mask_size": 8, "proposals": 8,
    "training_proposals": 16, "detections": 4,
}  # fmt: skip


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
