"""Training on several devices of one machine, which are virtual here."""

import json

import keras
import pytest

from tests import tiny

MIRRORED = """
import dataclasses, json, sys
import tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from keras_deepskip.inference import evaluate
from keras_deepskip.training import train
from tests import tiny

with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    recipe = dataclasses.replace(tiny.RECIPE, epochs=1)
    run = train(tiny.data(), sys.argv[1], recipe, verbose=0, **tiny.MODEL)
found = evaluate(run, verbose=0)
print(json.dumps([run.history, found.objects["all"]]))
"""


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a strategy of TensorFlow")
def test_train_under_mirrored_strategy(tmp_path):
    """Each replica predicts the whole batch, of which objects and pictures are counted once."""
    history, objects = json.loads(tiny.python(MIRRORED, tmp_path / "run").splitlines()[-1])
    (row,) = history
    assert 0 < row["loss"] < 5 and 0 <= row["val_object_f1"] <= 1
    assert objects["tp"] + objects["fn"] > 0
