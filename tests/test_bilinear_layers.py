"""Bilinear upsampling and pyramid pooling, against NumPy, Keras and PyTorch."""

import importlib.util
import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_deepskip import analysis
from keras_deepskip.layers import (
    DeepSupervision,
)
from keras_deepskip.studies.rivals.layers import (
    BilinearKernel,
    BilinearUpsampling2D,
    CentredConv2D,
    CentredConv3D,
    PyramidPooling,
)
from keras_deepskip.studies.rivals.layers.pyramid_pooling import adaptive_average, bilinear_resize
from tests.contracts import check_layer

pytestmark = pytest.mark.studies

SIZES = st.integers(1, 9)
EXAMPLES = 5 if keras.backend.backend() == "jax" else 25  # JAX compiles for each shape anew
CASES = {
    "bilinear": (lambda: BilinearUpsampling2D(3), (2, 4, 5, 3), (2, 12, 15, 3)),
    "bilinear_none": (lambda: BilinearUpsampling2D(1), (2, 4, 5, 3), (2, 4, 5, 3)),
    "pyramid": (lambda: PyramidPooling((1, 2, 3, 6), 4), (2, 5, 7, 3), (2, 5, 7, 19)),
}


CENTRED_CASES = {
    "centred_conv": (lambda: CentredConv2D(4, 7, 2), (2, 5, 8, 3), (2, 3, 4, 4)),
    "centred_conv_3d": (lambda: CentredConv3D(4, 3, 2), (2, 3, 5, 4, 3), (2, 2, 3, 2, 4)),
}


@pytest.mark.parametrize("case", CENTRED_CASES)
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_centred_convolutions_keep_the_layer_contract(case, policy, tmp_path):
    make, inputs, shape = CENTRED_CASES[case]
    check_layer(make, draw(*inputs), shape, policy, tmp_path)


def draw(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype("float32")


def interpolated(x, height, width):
    """By NumPy: linear along one axis and the other, constant beyond the outermost centres."""
    for axis, new in ((1, height), (2, width)):
        old = x.shape[axis]
        centres = (np.arange(new) + 0.5) * old / new - 0.5
        x = np.apply_along_axis(
            lambda row, c=centres, n=old: np.interp(c, np.arange(n), row), axis, x
        )
    return x


def averaged(x, bins):
    """By NumPy, part by part."""
    _, height, width, _ = x.shape
    rows, columns = (
        [slice(i * size // bins, math.ceil((i + 1) * size / bins)) for i in range(bins)]
        for size in (height, width)
    )
    return np.stack([np.stack([x[:, r, c].mean((1, 2)) for c in columns], 1) for r in rows], 1)


def in_torch(function, x):
    """`function` of (N, C, H, W) by PyTorch, where it is installed; else nothing to compare."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    return function(torch.tensor(x.transpose(0, 3, 1, 2))).numpy().transpose(0, 2, 3, 1)


def assert_same(found, *wanted, atol=1e-5):
    for each in wanted:
        if each is not None:
            np.testing.assert_allclose(found, each, rtol=0, atol=atol)


@settings(max_examples=EXAMPLES, deadline=None)
@given(factor=st.integers(1, 17), height=SIZES, width=SIZES, channels=st.integers(1, 4))
def test_bilinear_upsampling_is_interpolation(factor, height, width, channels):
    x = draw(2, height, width, channels)
    found = ops.convert_to_numpy(BilinearUpsampling2D(factor)(x))
    size = factor * height, factor * width
    assert_same(found, interpolated(x, *size), in_torch(lambda t: _torch_interpolate(t, size), x))


@pytest.mark.parametrize(("factor", "size"), [(2, (1, 1)), (3, (4, 5)), (8, (2, 7))])
def test_bilinear_upsampling_is_that_of_keras(factor, size):
    x = draw(2, *size, 3)
    own = keras.layers.UpSampling2D(factor, interpolation="bilinear")(x)
    found = BilinearUpsampling2D(factor)(x)
    assert_same(ops.convert_to_numpy(found), ops.convert_to_numpy(own))


def _torch_interpolate(t, size):
    from torch.nn import functional

    return functional.interpolate(t, size, mode="bilinear", align_corners=False)


def _torch_average(t, bins):
    from torch.nn import functional

    return functional.adaptive_avg_pool2d(t, bins)


@settings(max_examples=EXAMPLES, deadline=None)
@given(bins=st.integers(1, 7), height=SIZES, width=SIZES, channels=st.integers(1, 4))
def test_adaptive_average_is_the_mean_of_parts(bins, height, width, channels):
    x = draw(2, height, width, channels)
    found = ops.convert_to_numpy(adaptive_average(ops.convert_to_tensor(x), bins))
    assert_same(found, averaged(x, bins), in_torch(lambda t: _torch_average(t, bins), x))


@settings(max_examples=EXAMPLES, deadline=None)
@given(old=st.tuples(SIZES, SIZES), new=st.tuples(SIZES, SIZES))
def test_bilinear_resize_is_interpolation(old, new):
    """Also to fewer pixels, as where a map is smaller than the pyramid's bins."""
    x = draw(2, *old, 3)
    found = ops.convert_to_numpy(bilinear_resize(ops.convert_to_tensor(x), *new))
    assert_same(found, interpolated(x, *new), in_torch(lambda t: _torch_interpolate(t, new), x))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_contract(case, policy, tmp_path):
    """Shape, unknown sizes, config before and after build, save and load with equal outputs."""
    make, shape, wanted = CASES[case]
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        layer = make()
        config = layer.get_config()
        inputs = keras.Input((None, None, shape[-1]))
        output = layer(inputs)
        assert output.shape == (None, None, None, wanted[-1])
        assert keras.backend.standardize_dtype(output.dtype) == policy.removeprefix("mixed_")
        assert layer.get_config() == config
        assert type(layer).from_config(config).get_config() == config
        model = keras.Model(inputs, output)
        expected = model.predict(draw(*shape), verbose=0)
        assert expected.shape == wanted and expected.dtype == output.dtype
        for height, width in ((1, 1), (3, 8), (16, 2)):  # TensorFlow now forgets the sizes
            out = model.predict(draw(2, height, width, shape[-1]), verbose=0)
            assert out.shape[1] * shape[1] == height * wanted[1] and np.isfinite(out).all()
        model.save(tmp_path / "layer.keras")
        again = keras.models.load_model(tmp_path / "layer.keras")
        out = again.predict(draw(*shape), verbose=0)
        assert_same(out.astype("float32"), expected.astype("float32"), atol=1e-5)
        registered = keras.saving.get_registered_name(type(layer))
        assert registered == f"keras_deepskip>{type(layer).__name__}"
    finally:
        keras.config.set_dtype_policy(before)


def test_half_precision_is_near_single():
    x = draw(1, 6, 7, 4)
    for factor in (2, 8):
        half = BilinearUpsampling2D(factor, dtype="bfloat16")(x)
        wanted = interpolated(x, 6 * factor, 7 * factor)
        assert_same(ops.convert_to_numpy(ops.cast(half, "float32")), wanted, atol=5e-2)


def test_pyramid_by_hand():
    """Kernels of one and statistics of mean 0, variance 1: the levels are the parts' means."""
    layer = PyramidPooling((1, 2), 1)
    x = np.abs(draw(1, 4, 6, 2))
    layer(x)
    for weight in layer.weights:
        if weight.name == "kernel":
            weight.assign(np.ones(weight.shape))
    found = ops.convert_to_numpy(layer(x)) * [1, 1, *[math.sqrt(1 + 1e-3)] * 2]
    total = x.sum(-1, keepdims=True)
    levels = [interpolated(averaged(total, bins), 4, 6) for bins in (1, 2)]
    assert_same(found, np.concatenate([x, *levels], axis=-1), atol=1e-5)


def test_gradients_reach_every_pixel_and_kernel():
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(2, 1, name="first")(inputs)
    outputs = BilinearUpsampling2D(2)(PyramidPooling((1, 3), 2)(x))
    keras.utils.set_random_seed(0)
    model = keras.Model(inputs, keras.layers.Conv2D(1, 1)(outputs))
    model.compile("sgd", "mse")
    before = model.get_weights()
    model.train_on_batch(draw(2, 5, 7, 3), draw(2, 10, 14, 1))
    moved = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert all(moved)


def test_analysis_knows_them():
    inputs = keras.Input((None, None, 3))
    upsampled = keras.Model(inputs, BilinearUpsampling2D(4)(inputs))
    own = keras.layers.UpSampling2D(4, interpolation="bilinear")(inputs)
    assert analysis.receptive_field(upsampled) == analysis.receptive_field(keras.Model(inputs, own))
    pyramid = keras.Model(inputs, PyramidPooling((1, 2, 3, 6), 5, name="pyramid")(inputs))
    assert analysis.macs(pyramid, 64, 64) == {"pyramid": (1 + 4 + 9 + 36) * 3 * 5}
    assert analysis.analyze(pyramid).seen == "whole image"


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="`factor` must be an integer"):
        BilinearUpsampling2D(1.5)
    for bins in ((), (2, 2)):
        with pytest.raises(ValueError, match="`bins` must be one number or several"):
            PyramidPooling(bins)


# --- Heads of deep supervision for maps of any stride --------------------------------------------


def test_supervision_of_a_map_with_a_stride_of_its_own(tmp_path):
    """By hand, a map of 2 x 2 for an output of 12 x 15; and it reloads with its hidden layers."""
    output, x = np.zeros((1, 12, 15, 1), "float32"), draw(1, 2, 2, 3)
    plain = DeepSupervision(1, factors=(8,))
    trained = ops.convert_to_numpy(plain([output, x], training=True))
    kernel, bias = plain.get_weights()
    wanted = np.kron(x @ kernel[0, 0] + bias, np.ones((1, 8, 8, 1)))[:, :12, :15]
    assert_same(trained, np.concatenate([output, wanted], axis=-1), atol=1e-5)

    inputs = [keras.Input((None, None, 1)), keras.Input((None, None, 3))]
    layer = DeepSupervision(1, "sigmoid", (8,), 4, 0.1, (1, 0.4))
    model = keras.Model(inputs, layer(inputs))
    model.set_weights([np.abs(draw(*w.shape)) for w in model.get_weights()])
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.layers[-1].get_config() == layer.get_config()
    assert again.layers[-1].level_weights == (1, 0.4)
    assert len(again.weights) == 1 + 4 + 2
    for a, b in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert again([output, x], training=True).shape == (1, 12, 15, 2)
    assert again([output, x]).shape == (1, 12, 15, 1)


def test_supervision_refuses_other_numbers_of_maps():
    maps = [np.zeros((1, 4, 4, 1)), np.zeros((1, 2, 2, 3))]
    with pytest.raises(ValueError, match="`factors` must have a number for each map, here 1"):
        DeepSupervision(1, factors=(2, 4))(maps)
    with pytest.raises(ValueError, match="`level_weights` must have a number for each input"):
        DeepSupervision(1, level_weights=(1,))(maps)
    with pytest.raises(ValueError, match="`hidden_filters` must be an integer"):
        DeepSupervision(1, hidden_filters=0)


@pytest.mark.parametrize(("factor", "size"), [(2, (3, 5)), (3, (4, 3)), (8, (2, 3))])
def test_transposed_convolution_begins_bilinear(factor, size):
    """Inside, that is farther from the border than half a small pixel."""
    conv = keras.layers.Conv2DTranspose(
        3,
        2 * factor - factor % 2,
        factor,
        padding="same",
        use_bias=False,
        kernel_initializer=BilinearKernel(),
    )
    x = draw(2, *size, 3)
    found, wanted = (ops.convert_to_numpy(f(x)) for f in (conv, BilinearUpsampling2D(factor)))
    inside = slice(factor // 2, -(factor // 2))
    assert_same(found[:, inside, inside], wanted[:, inside, inside])
    with pytest.raises(ValueError, match="keeps the number of channels"):
        BilinearKernel()((4, 4, 2, 3))
