"""`train` on weights of another run: frozen first, then fine-tuned; and with deep supervision."""

import dataclasses

import keras
import numpy as np
import pytest

from keras_deepskip import build_model
from keras_deepskip.data import MaskReading
from keras_deepskip.encoders import backbone_levels
from keras_deepskip.training import Recipe, train
from keras_deepskip.training.compiling import enter_stage
from tests import tiny

RECIPE = dataclasses.replace(tiny.RECIPE, epochs=3, freeze_epochs=1, seed=1)


def weights_of_backbone(model):
    """Paths and values of the encoder's weights, and which of them are moving statistics."""
    found = [w for of in backbone_levels(model).values() for layer in of for w in layer.weights]
    return {weight.path: keras.ops.convert_to_numpy(weight) for weight in found}


class Watch(keras.callbacks.Callback):
    """Keeps the backbone's weights, and the learning rate, after each epoch."""

    def __init__(self):
        super().__init__()
        self.weights, self.rates = [], []

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append(weights_of_backbone(self.model))
        self.rates.append(float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)))


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A run on the weights of the tiny run, what was watched, and its folder."""
    out, watch = tmp_path_factory.mktemp("tuned") / "run", Watch()
    run = tune(out, callbacks=[watch])
    return run, watch, out


def tune(out, recipe=RECIPE, **options):
    weights = tiny.run().folder / "model.keras"
    return train(tiny.data(), out, recipe, weights=weights, verbose=0, **tiny.MODEL, **options)


def test_the_backbone_is_frozen_first_and_its_batch_norms_stay(tuned):
    run, watch, _ = tuned
    given = weights_of_backbone(tiny.run().model)
    frozen, *_, last = watch.weights
    assert len(watch.weights) == 3 and frozen.keys() == given.keys()
    assert all(np.array_equal(frozen[path], given[path]) for path in given)
    for path, value in last.items():
        assert np.array_equal(value, given[path]) == ("_bn" in path), path
    # the second stage begins anew, lower: its last rate but one is below a tenth of the recipe's
    assert max(watch.rates[1:]) <= 0.1 * RECIPE.learning_rate < RECIPE.learning_rate
    mean = run.model.get_layer("normalize").mean
    np.testing.assert_allclose(mean, tiny.run().model.get_layer("normalize").mean)


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_run_that_was_interrupted_in_either_stage_ends_the_same(tuned, epochs, tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == epochs:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(tmp_path / "run", callbacks=[Stop()])
    again = tune(tmp_path / "run", resume=True)
    run, *_ = tuned
    assert [row["epoch"] for row in again.history] == [1, 2, 3]
    for a, b in zip(again.model.get_weights(), run.model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("frozen", [True, False])
def test_the_second_stage_does_with_batch_norms_what_the_recipe_says(frozen):
    model = build_model(**{**tiny.MODEL, "trainable_backbone": False})
    recipe = dataclasses.replace(RECIPE, freeze_batch_norm=frozen)
    enter_stage(model, recipe.stages[1], recipe, {}, MaskReading(1))
    assert model.get_layer("e1_conv1").trainable
    assert model.get_layer("e1_bn1").trainable is not frozen


def test_freezing_needs_weights_and_an_epoch_behind(tmp_path):
    with pytest.raises(ValueError, match="`freeze_epochs` keeps the weights"):
        train(tiny.data(), tmp_path / "run", RECIPE)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match="must leave an epoch for fine-tuning"):
        Recipe(epochs=3, freeze_epochs=3)
    with pytest.raises(ValueError, match="`fine_tune_rate` must be a number"):
        Recipe(fine_tune_rate=2)
    with pytest.raises(ValueError, match="`backbone` must be a name here"):
        train(tiny.data(), tmp_path / "run", backbone=tiny.bright_model())


def test_deep_supervision_in_training(tmp_path):
    recipe = dataclasses.replace(tiny.RECIPE, epochs=1)
    options = {**tiny.MODEL, "levels": 3}
    run = train(tiny.data(), tmp_path / "run", recipe, deep_supervision=True, verbose=0, **options)
    assert {"iou", "val_iou", "val_object_f1"} <= set(run.history[0])
    assert run.model.output_shape[-1] == 1
    loss = keras.saving.serialize_keras_object(run.model.loss)
    assert loss["class_name"] == "DeepSupervisionLoss"
