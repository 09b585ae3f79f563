"""Each layer against plain Keras or NumPy, and one contract for all of them."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_deepskip.layers import (
    CropToMatch,
    DepthSkipBlock,
    FanInNormal,
    FeatureAggregation,
    PadToMultiple,
    UpsampledConv2D,
)


def draw(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype("float32")


CASES = {
    "upsampled_conv": (lambda: UpsampledConv2D(4, 3, 2), draw(2, 5, 7, 3), (2, 10, 14, 4)),
    "upsampled_conv_plain": (lambda: UpsampledConv2D(4, 5, 1), draw(2, 5, 7, 3), (2, 5, 7, 4)),
    "aggregation": (lambda: FeatureAggregation(4), draw(2, 5, 7, 6), (2, 5, 7, 4)),
    "aggregation_dropout": (
        lambda: FeatureAggregation(4, 5, dropout=0.5), draw(2, 5, 7, 6), (2, 5, 7, 4)
    ),
    "deep_skips": (
        lambda: DepthSkipBlock(4),
        [draw(2, 16, 24, 3), draw(2, 8, 12, 5), draw(2, 4, 6, 7), draw(2, 8, 12, 5)],
        (2, 16, 24, 16),
    ),
    "flat_skips": (
        lambda: DepthSkipBlock(4, 1), [draw(2, 16, 24, 3), draw(2, 8, 12, 5)], (2, 16, 24, 8)
    ),
    "pad": (lambda: PadToMultiple(8), draw(2, 5, 16, 3), (2, 8, 16, 3)),
    "crop": (lambda: CropToMatch(), [draw(2, 8, 16, 3), draw(2, 5, 16, 1)], (2, 5, 16, 3)),
}  # fmt: skip


def as_list(value):
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_layer_contract(case, policy, tmp_path):
    """Shape, unknown sizes, config before and after build, save and load with equal outputs."""
    make, inputs, shape = CASES[case]
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        layer = make()
        config = layer.get_config()
        symbolic = [keras.Input((None, None, x.shape[-1])) for x in as_list(inputs)]
        output = layer(symbolic if isinstance(inputs, list) else symbolic[0])
        assert output.shape == (None, None, None, shape[-1])
        assert layer.get_config() == config
        assert type(layer).from_config(config).get_config() == config

        model = keras.Model(symbolic, output)
        expected = model.predict(inputs, verbose=0)
        assert expected.shape == shape
        model.save(tmp_path / "layer.keras")
        again = keras.models.load_model(tmp_path / "layer.keras")
        np.testing.assert_allclose(again.predict(inputs, verbose=0), expected, atol=1e-5)
        registered = keras.saving.get_registered_name(type(layer))
        assert registered == f"keras_deepskip>{type(layer).__name__}"
    finally:
        keras.config.set_dtype_policy(before)


@pytest.mark.parametrize(
    ("factor", "kernel_size"),
    [(1, 3), (2, 1), (2, 3), (2, 5), (3, 3), (3, 7), (4, 1), (4, 3), (4, 5), (8, 3), (8, 5)],
)
@pytest.mark.parametrize("size", [(4, 5), (1, 2)])
def test_upsampled_conv_is_upsampling_then_conv(factor, kernel_size, size):
    """In value, borders included, and in the gradients of the input and the kernel."""
    x = draw(2, *size, 3)
    ours = UpsampledConv2D(6, kernel_size, factor)
    ours.build(x.shape)
    plain = keras.layers.Conv2D(6, kernel_size, padding="same")
    plain.build((None, None, None, 3))
    plain.set_weights([draw(*w.shape) for w in ours.get_weights()])
    ours.set_weights(plain.get_weights())
    assert [w.name for w in ours.weights] == [w.name for w in plain.weights]
    enlarged = np.kron(x, np.ones((1, factor, factor, 1), "float32"))
    value = ops.convert_to_numpy(plain(enlarged))
    np.testing.assert_allclose(ops.convert_to_numpy(ours(x)), value, atol=1e-5 * abs(value).max())


@pytest.mark.parametrize("factor", [2, 4])
def test_upsampled_conv_trains_as_upsampling_then_conv(factor):
    """One step of gradient descent moves all weights alike, also those of a layer before it."""
    x, y = draw(2, 6, 5, 2), draw(2, 6 * factor, 5 * factor, 3)
    keras.utils.set_random_seed(0)
    moved = []
    for second in (
        [UpsampledConv2D(3, 3, factor)],
        [keras.layers.UpSampling2D(factor), keras.layers.Conv2D(3, 3, padding="same")],
    ):
        model = keras.Sequential([keras.Input((6, 5, 2)), keras.layers.Conv2D(4, 1), *second])
        model.set_weights([draw(*w.shape) for w in model.get_weights()])
        model.compile(keras.optimizers.SGD(0.1), "mse")
        model.train_on_batch(x, y)
        moved.append(model.get_weights())
    for ours, plain in zip(*moved, strict=True):
        np.testing.assert_allclose(ours, plain, atol=1e-5)


def test_depth_skip_block_is_equation_1():
    """Branch j is the enlarged map through its own convolution, in the order of the inputs."""
    _, inputs, _ = CASES["deep_skips"]
    block = DepthSkipBlock(4)
    result = ops.convert_to_numpy(block(inputs))
    for position, (x, factor) in enumerate(zip(inputs, [1, 2, 4, 2], strict=True)):
        conv = keras.layers.Conv2D(4, 3, padding="same")
        conv.build(x.shape)
        conv.set_weights(block.branches[position].get_weights())
        enlarged = np.kron(x, np.ones((1, factor, factor, 1), "float32"))
        branch = result[..., 4 * position : 4 * position + 4]
        np.testing.assert_allclose(branch, ops.convert_to_numpy(conv(enlarged)), atol=1e-5)


def test_aggregation_is_conv_norm_relu_twice():
    x = draw(3, 8, 8, 6)
    layer = FeatureAggregation(4)
    layer.build(x.shape)
    expected = x
    for conv, norm in ((layer.steps[0], layer.steps[1]), (layer.steps[3], layer.steps[4])):
        assert not conv.use_bias
        expected = ops.convert_to_numpy(ops.conv(expected, conv.kernel, padding="same"))
        mean, variance = expected.mean((0, 1, 2)), expected.var((0, 1, 2))
        expected = np.maximum((expected - mean) / np.sqrt(variance + norm.epsilon), 0)
    np.testing.assert_allclose(ops.convert_to_numpy(layer(x, training=True)), expected, atol=1e-4)


def test_dropout_drops_whole_channels_in_training_only():
    x = np.ones((8, 4, 4, 6), "float32")
    layer = FeatureAggregation(16, dropout=0.5)
    still = ops.convert_to_numpy(layer(x, training=False))
    np.testing.assert_array_equal(still, ops.convert_to_numpy(layer(x, training=False)))
    layer.steps[4].beta.assign(np.full(16, 100.0))  # all channels alive before dropout
    dropped = ops.convert_to_numpy(layer(x, training=True)) == 0
    channels = dropped.all(axis=(1, 2))
    assert 0.25 < channels.mean() < 0.75
    np.testing.assert_array_equal(dropped.any(axis=(1, 2)), channels)


def test_pad_then_crop_gives_the_image_back():
    x = draw(1, 17, 31, 2)
    padded = PadToMultiple(16)(x)
    np.testing.assert_array_equal(ops.convert_to_numpy(CropToMatch()([padded, x])), x)
    assert not ops.convert_to_numpy(padded)[:, 17:].any()
    whole = draw(1, 16, 32, 2)
    np.testing.assert_array_equal(ops.convert_to_numpy(PadToMultiple(16)(whole)), whole)


def test_one_seed_draws_the_same_weights_on_every_backend():
    """The values were computed by NumPy alone; every backend must meet them."""
    keras.utils.set_random_seed(7)
    drawn = ops.convert_to_numpy(FanInNormal(2.0)((3, 3, 2, 4)))
    np.random.seed(7)
    expected = np.random.standard_normal((3, 3, 2, 4)) * np.sqrt(2 / 18)
    np.testing.assert_allclose(drawn, expected, rtol=1e-6)
    many = ops.convert_to_numpy(FanInNormal(1.0)((3, 3, 64, 64)))
    assert abs(many.var() * 9 * 64 - 1) < 0.05


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: UpsampledConv2D(4, 2), "odd integer"),
        (lambda: UpsampledConv2D(4, 3, 0), "`factor`"),
        (lambda: UpsampledConv2D(4, padding="valid"), "fixed"),
        (lambda: FeatureAggregation(0), "`filters`"),
        (lambda: FeatureAggregation(4, dropout=1.0), "`dropout`"),
        (lambda: DepthSkipBlock(4)([draw(1, 8, 8, 2)]), "at least two maps"),
        (lambda: DepthSkipBlock(4)([draw(1, 8, 8, 2), draw(1, 3, 4, 2)]), "halve"),
        (lambda: PadToMultiple(0), "`multiple`"),
        (lambda: FanInNormal(0), "`gain`"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
