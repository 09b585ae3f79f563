"""Encoders, a whole network and its export on volumes (N, D, H, W, C)."""

import importlib.util

import keras
import numpy as np
import pytest
from keras import layers

from keras_deepskip import build_model, fold_batch_norm
from keras_deepskip.analysis import closed_form, conv_parameters
from keras_deepskip.encoders import light_resnet34, light_vgg16
from keras_deepskip.export import export
from keras_deepskip.inference.outputs import check_model
from keras_deepskip.layers import (
    CropToMatch,
    DepthSkipBlock,
    FeatureAggregation,
    PadToMultiple,
    PlainConv3D,
)
from keras_deepskip.losses import SmallObjectLoss
from keras_deepskip.metrics import IoU, Recall

ENCODERS = (light_vgg16, light_resnet34)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_encoders_halve_every_axis(encoder):
    inputs = keras.Input((8, 16, None, 2))
    maps = encoder(inputs, levels=3, base_filters=4)
    assert [e.shape for e in maps] == [
        (None, 8, 16, None, 4), (None, 4, 8, None, 8), (None, 2, 4, None, 16),
    ]  # fmt: skip
    model = keras.Model(inputs, maps)
    found = model.predict_on_batch(np.ones((1, 8, 16, 4, 2), "float32"))
    assert [e.shape[1:] for e in found] == [(8, 16, 4, 4), (4, 8, 2, 8), (2, 4, 1, 16)]
    flat = keras.Input((16, 16, 2))
    of_images = keras.Model(flat, encoder(flat, levels=3, base_filters=4))
    assert [layer.name for layer in model.layers[1:]] == [e.name for e in of_images.layers[1:]]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_first_level_of_a_flat_volume_is_that_of_the_image(encoder):
    """Of one slice, a 'same' convolution sees its kernel's middle plane alone."""
    flat, deep = keras.Input((6, 5, 2)), keras.Input((1, 6, 5, 2))
    of_images = keras.Model(flat, encoder(flat, levels=1, base_filters=4)[0])
    of_volumes = keras.Model(deep, encoder(deep, levels=1, base_filters=4)[0])
    of_images.set_weights([w[1] if w.ndim == 5 else w for w in of_volumes.get_weights()])
    x = np.random.default_rng(0).standard_normal((2, 6, 5, 2)).astype("float32")
    expected, found = of_images.predict_on_batch(x), of_volumes.predict_on_batch(x[:, None])
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-5)


@pytest.mark.parametrize("kind", [layers.Conv3D, PlainConv3D])
def test_padding_before_a_convolution_stays_in_a_compiled_step(kind):
    """TensorFlow would merge the two, and lose the convolution's own padding."""
    conv = kind(3, 3, **({"padding": "same"} if kind is layers.Conv3D else {}))
    model = keras.Sequential([keras.Input((5, 7, 6, 2)), PadToMultiple(4), conv])
    x = np.random.default_rng(0).standard_normal((1, 5, 7, 6, 2)).astype("float32")
    expected = keras.ops.convert_to_numpy(conv(np.pad(x, [(0, 0), (0, 3), (0, 1), (0, 2), (0, 0)])))
    np.testing.assert_allclose(model.predict_on_batch(x), expected, atol=1e-5)


def small_network():
    """Two levels, of any size."""
    inputs = keras.Input((None, None, None, 1))
    e1, e2 = light_vgg16(PadToMultiple(2)(inputs), levels=2, base_filters=2)
    d1 = FeatureAggregation(2)(DepthSkipBlock(2, concatenate=False)([e1, e2]))
    x = CropToMatch()([d1, inputs])
    return keras.Model(inputs, layers.Conv3D(1, 1, activation="sigmoid", dtype="float32")(x))


def test_a_network_learns_and_reloads(tmp_path):
    """Bright voxels are the object; the sizes are odd."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    mask = (rng.random((2, 5, 7, 6)) < 0.2).astype("uint8")
    images = (mask + 0.1 * rng.standard_normal(mask.shape))[..., None].astype("float32")
    model = small_network()
    model.compile(keras.optimizers.Adam(0.02), SmallObjectLoss(), metrics=[IoU()])
    losses = model.fit(images, mask, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < 0.9 * losses[0]
    model.save(tmp_path / "model.keras")
    expected = model.predict_on_batch(images)
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict_on_batch(images), expected, atol=1e-5)


@pytest.mark.parametrize(
    "options", [{}, {"backbone": "light_resnet34", "blocks_per_level": (1, 2), "skips": "flat"}]
)
def test_build_model_for_volumes(options, tmp_path):
    """The network of images with one more axis: weights by equations 2 to 4, any size, several
    classes, loss and metrics, the same outputs after reload."""
    options = {"levels": 3, "base_filters": 4, **options}
    model = build_model((None, None, None, 2), num_classes=3, **options)
    expected = closed_form(channels=2, num_classes=3, dims=3, **options)
    assert conv_parameters(model) == expected
    metrics = [IoU(num_classes=3), Recall(num_classes=3)]
    model.compile(keras.optimizers.SGD(1.0), SmallObjectLoss(), metrics=metrics)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (2, 5, 9, 7, 2)).astype("uint8")
    before = [np.array(w) for w in model.get_weights()]
    history = model.fit(x, rng.integers(0, 3, (2, 5, 9, 7)), verbose=0).history
    assert np.isfinite(history["loss"][0]) and 0 <= history["iou"][0] <= 1
    kernels = zip(model.weights, before, model.get_weights(), strict=True)
    assert not [w.path for w, a, b in kernels if w.path.endswith("kernel") and np.array_equal(a, b)]
    found = model.predict(x, verbose=0)
    assert found.shape == (2, 5, 9, 7, 3)
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-5)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict(x, verbose=0), found, atol=1e-5)
    np.testing.assert_allclose(fold_batch_norm(model).predict(x, verbose=0), found, atol=1e-5)


def test_volumes_are_not_images():
    model = build_model((8, 8, 8, 1), levels=2, base_filters=2)
    with pytest.raises(ValueError, match="Use models for volumes with `fit`"):
        check_model(model)
    with pytest.raises(ValueError, match="depth, height, width, channels"):
        build_model((8, 8, 8, 8, 1))


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="writing a SavedModel needs TensorFlow"
)
def test_a_network_is_exported(tmp_path):
    model = small_network()
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.path.endswith(("moving_mean", "beta")):
            weight.assign(0.1 * rng.standard_normal(weight.shape))
    report = export(model, tmp_path / "out", input_range=(0, 1))
    assert list(report.differences) == [
        "1x9x17x21", "3x9x17x21", "1x16x16x16", "3x16x16x16", "1x33x7x10", "3x33x7x10",
    ]  # fmt: skip
    assert max(report.differences.values()) <= 1e-5
    assert (tmp_path / "out" / "saved_model.pb").is_file()
