"""Each layer against plain Keras or NumPy, and one contract for all of them."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_deepskip.layers import (
    ConcatenatedConv2D,
    ConcatenatedConv3D,
    CropToMatch,
    DepthSkipBlock,
    FanInNormal,
    FeatureAggregation,
    FusedBatchNormalization,
    ImageNormalization,
    PadToMultiple,
    PlainConv2D,
    PlainConv3D,
    UpsampledConv2D,
    UpsampledConv3D,
    native,
    upsampled_conv,
)
from tests.contracts import check_layer


def draw(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype("float32")


CASES = {
    "upsampled_conv": (lambda: UpsampledConv2D(4, 3, 2), draw(2, 5, 7, 3), (2, 10, 14, 4)),
    "upsampled_conv_plain": (lambda: UpsampledConv2D(4, 5, 1), draw(2, 5, 7, 3), (2, 5, 7, 4)),
    "plain_conv": (lambda: PlainConv2D(4, 3), draw(2, 5, 8, 3), (2, 5, 8, 4)),
    "plain_conv_strides": (
        lambda: PlainConv2D(4, 3, 2, activation="relu"), draw(2, 5, 8, 3), (2, 3, 4, 4)
    ),
    "concatenated_conv": (
        lambda: ConcatenatedConv2D(4), [draw(2, 6, 8, 3), draw(2, 6, 8, 2)], (2, 6, 8, 4)
    ),
    "batch_norm": (lambda: FusedBatchNormalization(0.9), draw(2, 5, 7, 3), (2, 5, 7, 3)),
    "aggregation_of_parts": (
        lambda: FeatureAggregation(4), [draw(2, 6, 8, 3), draw(2, 6, 8, 2)], (2, 6, 8, 4)
    ),
    "aggregation_folded": (
        lambda: FeatureAggregation(4, use_batch_norm=False), draw(2, 5, 7, 6), (2, 5, 7, 4)
    ),
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
    "normalize": (
        lambda: ImageNormalization((0, 9), mean=[1.0, 2.0, 3.0], variance=[4.0, 4.0, 1.0]),
        draw(2, 5, 6, 3),
        (2, 5, 6, 3),
    ),
    "pad": (lambda: PadToMultiple(8), draw(2, 5, 16, 3), (2, 8, 16, 3)),
    "crop": (lambda: CropToMatch(), [draw(2, 8, 16, 3), draw(2, 5, 16, 1)], (2, 5, 16, 3)),
    # the same over volumes
    "upsampled_conv_3d": (
        lambda: UpsampledConv3D(4, 3, 2), draw(2, 2, 5, 3, 3), (2, 4, 10, 6, 4)
    ),
    "plain_conv_3d": (
        lambda: PlainConv3D(4, 3, 2, activation="relu"), draw(2, 3, 5, 4, 3), (2, 2, 3, 2, 4)
    ),
    "concatenated_conv_3d": (
        lambda: ConcatenatedConv3D(4), [draw(2, 3, 4, 5, 3), draw(2, 3, 4, 5, 2)], (2, 3, 4, 5, 4)
    ),
    "batch_norm_3d": (
        lambda: FusedBatchNormalization(0.9), draw(2, 3, 5, 4, 3), (2, 3, 5, 4, 3)
    ),
    "aggregation_3d": (
        lambda: FeatureAggregation(4, dropout=0.5),
        [draw(2, 3, 4, 5, 3), draw(2, 3, 4, 5, 2)],
        (2, 3, 4, 5, 4),
    ),
    "aggregation_folded_3d": (
        lambda: FeatureAggregation(4, use_batch_norm=False), draw(2, 3, 4, 5, 6), (2, 3, 4, 5, 4)
    ),
    "deep_skips_3d": (
        lambda: DepthSkipBlock(4),
        [draw(2, 4, 8, 12, 3), draw(2, 2, 4, 6, 5), draw(2, 1, 2, 3, 7), draw(2, 2, 4, 6, 5)],
        (2, 4, 8, 12, 16),
    ),
    "pad_3d": (lambda: PadToMultiple(8), draw(2, 3, 16, 9, 3), (2, 8, 16, 16, 3)),
    "pad_axes": (lambda: PadToMultiple((4, 8, 1)), draw(2, 3, 16, 9, 3), (2, 4, 16, 9, 3)),
    "crop_3d": (
        lambda: CropToMatch(), [draw(2, 8, 8, 16, 3), draw(2, 3, 8, 9, 1)], (2, 3, 8, 9, 3)
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_layer_contract(case, policy, tmp_path):
    check_layer(*CASES[case], policy, tmp_path)


# --- Convolutions are what Keras's own layers give: values, borders, both gradients ---------------


CONVS = {2: keras.layers.Conv2D, 3: keras.layers.Conv3D}  # by spatial axes
UPSAMPLINGS = {2: keras.layers.UpSampling2D, 3: keras.layers.UpSampling3D}


def trained_once(layer, maps):
    """Outputs of a 1x1 convolution of each map and `layer`, and all weights after one SGD step.

    Equal outputs and equal moves say that the value and the gradients, of the layer's weights and
    of its inputs, are equal.
    """
    inputs = [keras.Input(x.shape[1:]) for x in maps]
    first = [CONVS[x.ndim - 2](x.shape[-1], 1)(each) for each, x in zip(inputs, maps, strict=True)]
    model = keras.Model(inputs, layer(first if len(first) > 1 else first[0]))
    model.set_weights([draw(*w.shape) for w in model.get_weights()])
    before = model.predict_on_batch(maps)
    model.compile(keras.optimizers.SGD(0.01), "mse")
    model.train_on_batch(maps, draw(*before.shape))
    return [before, *model.get_weights()]


def assert_same_function(ours, keras_own, *maps):
    for a, b in zip(trained_once(ours, maps), trained_once(keras_own, maps), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * max(1, abs(b).max()))


def upsampling_then_conv(filters, kernel_size, factor, axes=2):
    steps = [UPSAMPLINGS[axes](factor), CONVS[axes](filters, kernel_size, padding="same")]
    return lambda x: steps[1](steps[0](x))


def made_wide(x, factor):
    """The upsampled map, by NumPy."""
    return np.kron(x, np.ones((1, *[factor] * (x.ndim - 2), 1), "float32"))


def assert_form_is_upsampling_then_conv(form, x, kernel_size, factor, filters):
    kernel = ops.convert_to_tensor(draw(*[kernel_size] * (x.ndim - 2), x.shape[-1], filters))
    bias = ops.convert_to_tensor(draw(filters))
    wide = made_wide(x, factor)
    expected = ops.convert_to_numpy(ops.conv(wide, kernel, padding="same") + bias)
    found = getattr(upsampled_conv, form)(ops.convert_to_tensor(x), kernel, factor, bias)
    found = ops.convert_to_numpy(found)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * max(1, abs(expected).max()))


@settings(max_examples=15, deadline=None)
@given(
    kernel_size=st.sampled_from([1, 3, 5, 7]),
    factor=st.integers(1, 9),
    filters=st.integers(1, 17),
    channels=st.integers(1, 5),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
)
def test_every_form_is_upsampling_then_conv(kernel_size, factor, filters, channels, height, width):
    """Whichever form a backend takes, and the one that it would take by itself."""
    x = draw(2, height, width, channels)
    for form in ("upsampled", "transposed", "by_rows"):
        assert_form_is_upsampling_then_conv(form, x, kernel_size, factor, filters)


@pytest.mark.parametrize("sizes", [(6, 1), (3, 2), (1, 1), (64, 1), (5, 3)])
@pytest.mark.parametrize("form", ["upsampled", "transposed", "by_rows"])
def test_narrow_maps_of_one_channel(form, sizes):
    """Taller than wide, one or two columns: oneDNN's strided convolution leaves them undefined."""
    assert_form_is_upsampling_then_conv(form, draw(2, *sizes, 1), 3, 1, 6)


@pytest.mark.parametrize("form", ["upsampled", "transposed", "by_cells"])
@pytest.mark.parametrize(
    ("kernel_size", "factor", "filters", "sizes"),
    [
        (3, 2, 8, (1, 3, 2)), (3, 5, 1, (2, 1, 3)), (5, 2, 3, (3, 2, 1)), (5, 3, 2, (1, 1, 2)),
        (7, 2, 2, (2, 1, 1)), (1, 3, 4, (2, 2, 2)), (3, 1, 2, (2, 3, 1)), (5, 3, 2, (2, 3)),
    ],
)  # fmt: skip
def test_forms_of_volumes_are_upsampling_then_conv(form, kernel_size, factor, filters, sizes):
    assert_form_is_upsampling_then_conv(form, draw(2, *sizes, 3), kernel_size, factor, filters)


@pytest.mark.parametrize("form", ["upsampled", "transposed", "by_rows"])
@pytest.mark.parametrize(("kernel_size", "factor"), [(3, 2), (3, 8), (5, 2), (7, 3)])
def test_every_form_trains_as_upsampling_then_conv(form, kernel_size, factor, monkeypatch):
    chosen = dict.fromkeys(("training", "inference"), getattr(upsampled_conv, form))
    monkeypatch.setitem(upsampled_conv.FORMS[2], native.BACKEND, chosen)
    ours = UpsampledConv2D(3, kernel_size, factor)
    for size in ((1, 1), (4, 6)):
        plain = upsampling_then_conv(3, kernel_size, factor)
        assert_same_function(ours, plain, draw(2, *size, 2))


@pytest.mark.parametrize("form", ["upsampled", "transposed", "by_cells"])
@pytest.mark.parametrize(("kernel_size", "factor"), [(3, 2), (5, 3)])
def test_every_form_trains_as_upsampling_then_conv_of_volumes(
    form, kernel_size, factor, monkeypatch
):
    chosen = dict.fromkeys(("training", "inference"), getattr(upsampled_conv, form))
    monkeypatch.setitem(upsampled_conv.FORMS[3], native.BACKEND, chosen)
    plain = upsampling_then_conv(3, kernel_size, factor, axes=3)
    assert_same_function(UpsampledConv3D(3, kernel_size, factor), plain, draw(2, 1, 2, 3, 2))


@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 2e-2), ("float16", 2e-3)])
def test_upsampled_conv_of_volumes_in_half_precision(dtype, tolerance):
    x = draw(1, 2, 3, 4, 7)
    layer = UpsampledConv3D(8, 3, 4, dtype=dtype)
    for training in (False, True):
        found = ops.convert_to_numpy(ops.cast(layer(x, training=training), "float32"))
        kernel = ops.cast(layer.kernel, "float32")
        expected = ops.convert_to_numpy(ops.conv(made_wide(x, 4), kernel, padding="same"))
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * abs(expected).max())


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("bfloat16", 2e-2), ("float16", 2e-3), ("mixed_bfloat16", 2e-2)]
)
@pytest.mark.parametrize("form", ["upsampled", "transposed", "by_rows"])
def test_every_form_in_half_precision(form, dtype, tolerance, monkeypatch):
    """Within the rounding of the type, whose steps are 2^-8 and 2^-11, of the exact result."""
    chosen = dict.fromkeys(("training", "inference"), getattr(upsampled_conv, form))
    monkeypatch.setitem(upsampled_conv.FORMS[2], native.BACKEND, chosen)
    x = draw(1, 5, 6, 7)
    layer = UpsampledConv2D(8, 3, 4, dtype=dtype)
    found = layer(x)
    assert keras.backend.standardize_dtype(found.dtype) == dtype.removeprefix("mixed_")
    kernel = ops.cast(ops.cast(layer.kernel, layer.compute_dtype), "float32")
    wide = made_wide(x, 4)
    expected = ops.convert_to_numpy(ops.conv(wide, kernel, padding="same"))
    found = ops.convert_to_numpy(ops.cast(found, "float32"))
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * abs(expected).max())


@pytest.mark.parametrize("kind", [UpsampledConv2D, UpsampledConv3D])
def test_upsampled_conv_holds_the_weights_of_the_conv(kind):
    """The same names and shapes: each loads the other's."""
    axes = 2 if kind is UpsampledConv2D else 3
    ours, plain = kind(6, 5, 4), CONVS[axes](6, 5, padding="same")
    for layer in (ours, plain):
        layer.build((None,) * (axes + 1) + (3,))
    assert [(w.name, w.shape) for w in ours.weights] == [(w.name, w.shape) for w in plain.weights]
    x = draw(1, *(2, 3, 4)[-axes:], 3)
    ours.set_weights([draw(*w.shape) for w in plain.get_weights()])
    plain.set_weights(ours.get_weights())
    expected = ops.convert_to_numpy(plain(made_wide(x, 4)))
    np.testing.assert_allclose(
        ops.convert_to_numpy(ours(x)), expected, atol=1e-5 * abs(expected).max()
    )


@pytest.mark.parametrize("filters", [1, 2, 3, 8, 16, 20])
@pytest.mark.parametrize(
    ("kernel_size", "size"), [(1, (4, 6)), (3, (5, 8)), (3, (4, 7)), (5, (1, 1))]
)
def test_plain_conv_is_conv(filters, kernel_size, size):
    """Also where neighbouring pixels are computed together (few filters), and widths are odd."""
    plain = keras.layers.Conv2D(filters, kernel_size, padding="same")
    assert_same_function(PlainConv2D(filters, kernel_size), plain, draw(2, *size, 5))


@pytest.mark.parametrize("size", [(6, 8), (5, 7)])
def test_plain_conv_with_strides_is_conv(size):
    plain = keras.layers.Conv2D(4, 3, 2, padding="same")
    assert_same_function(PlainConv2D(4, 3, 2), plain, draw(2, *size, 5))


def test_projection_of_few_channels_is_that_of_picked_pixels():
    """Of 8 channels, in a map of this size, oneDNN writes outside its memory (see `native`)."""
    plain = keras.layers.Conv2D(16, 1)
    picked = PlainConv2D(16, 1, 2, use_bias=True)
    assert_same_function(picked, lambda x: plain(x[:, ::2, ::2]), draw(2, 40, 56, 8))


@pytest.mark.parametrize("filters", [1, 8])
@pytest.mark.parametrize(
    ("kernel_size", "strides", "sizes"),
    [(1, 1, (2, 3, 4)), (3, 1, (3, 4, 7)), (5, 1, (1, 2, 1)), (3, 2, (5, 6, 7)), (1, 2, (4, 5, 2))],
)
def test_plain_conv_of_volumes_is_conv(filters, kernel_size, strides, sizes):
    plain = keras.layers.Conv3D(filters, kernel_size, strides, padding="same")
    assert_same_function(PlainConv3D(filters, kernel_size, strides), plain, draw(2, *sizes, 5))


@pytest.mark.parametrize("kind", [ConcatenatedConv2D, ConcatenatedConv3D])
def test_concatenated_conv_is_concatenation_then_conv(kind):
    axes = 2 if kind is ConcatenatedConv2D else 3
    conv = CONVS[axes](8, 3, padding="same")
    maps = [draw(2, *(3, 6, 8)[-axes:], channels) for channels in (3, 5, 8)]
    assert_same_function(kind(8), lambda x: conv(keras.layers.Concatenate()(x)), *maps)


@pytest.mark.parametrize("shape", [(2, 6, 5, 5), (1, 1, 1, 5), (2, 3, 4, 5, 5)])
def test_fused_batch_norm_is_batch_norm(shape):
    """In training and after, moving statistics included, also of a single pixel."""
    results = []
    for layer in (FusedBatchNormalization(0.8), keras.layers.BatchNormalization(momentum=0.8)):
        layer.build((None,) * (len(shape) - 1) + (5,))
        layer.set_weights([draw(5) + 2 * (i > 1) for i in range(4)])
        x = 3 * draw(*shape) + 7
        trained = ops.convert_to_numpy(layer(x, training=True))
        after = ops.convert_to_numpy(layer(x, training=False))
        layer.trainable = False
        frozen = ops.convert_to_numpy(layer(x, training=True))
        np.testing.assert_array_equal(frozen, after)
        results.append([trained, after, *layer.get_weights()])
    for ours, plain in zip(*results, strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=1e-5)


def test_fused_batch_norm_trains_as_batch_norm():
    x = 2 * draw(2, 6, 5, 3) + 1
    assert_same_function(FusedBatchNormalization(), keras.layers.BatchNormalization(), x)


@pytest.mark.parametrize("case", ["deep_skips", "deep_skips_3d"])
def test_depth_skip_block_is_equation_1(case):
    """Branch j is the upsampled map through its own convolution, in the order of the inputs."""
    _, inputs, _ = CASES[case]
    block = DepthSkipBlock(4)
    result = ops.convert_to_numpy(block(inputs))
    for position, (x, factor) in enumerate(zip(inputs, [1, 2, 4, 2], strict=True)):
        conv = CONVS[x.ndim - 2](4, 3, padding="same")
        conv.build(x.shape)
        conv.set_weights(block.branches[position].get_weights())
        branch = result[..., 4 * position : 4 * position + 4]
        expected = ops.convert_to_numpy(conv(made_wide(x, factor)))
        np.testing.assert_allclose(branch, expected, atol=1e-5)


def test_parts_are_worked_on_as_their_concatenation():
    _, inputs, _ = CASES["deep_skips"]
    whole, parts = DepthSkipBlock(4), DepthSkipBlock(4, concatenate=False)
    aggregation = FeatureAggregation(6)
    concatenated = whole(inputs)
    parts.build([x.shape for x in inputs])
    parts.set_weights(whole.get_weights())
    listed = parts(inputs)
    assert [tuple(part.shape) for part in listed] == [(2, 16, 24, 4)] * 4
    expected = ops.convert_to_numpy(aggregation(concatenated))
    np.testing.assert_allclose(ops.convert_to_numpy(aggregation(listed)), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 8, 8, 6), (3, 2, 5, 8, 6)])
def test_aggregation_is_conv_norm_relu_twice(shape):
    x = draw(*shape)
    layer = FeatureAggregation(4)
    layer.build(x.shape)
    expected = x
    for conv, norm in ((layer.steps[0], layer.steps[1]), (layer.steps[3], layer.steps[4])):
        assert not conv.use_bias
        expected = ops.convert_to_numpy(ops.conv(expected, conv.kernel, padding="same"))
        pixels = tuple(range(x.ndim - 1))
        mean, variance = expected.mean(pixels), expected.var(pixels)
        expected = np.maximum((expected - mean) / np.sqrt(variance + norm.epsilon), 0)
    np.testing.assert_allclose(ops.convert_to_numpy(layer(x, training=True)), expected, atol=1e-4)


def test_an_aggregation_of_a_flat_volume_is_that_of_the_image():
    """Of one slice, a 'same' convolution sees its kernel's middle plane alone."""
    x = draw(2, 5, 6, 3)
    flat, deep = FeatureAggregation(4), FeatureAggregation(4)
    flat.build(x.shape)
    deep.build(x[:, None].shape)
    planes = [w[1] if w.ndim == 5 else w for w in deep.get_weights()]
    flat.set_weights(planes)
    expected = ops.convert_to_numpy(flat(x))
    np.testing.assert_allclose(ops.convert_to_numpy(deep(x[:, None]))[:, 0], expected, atol=1e-5)


@pytest.mark.parametrize("sizes", [(4, 4), (3, 2, 4)])
def test_dropout_drops_whole_channels_in_training_only(sizes):
    x = np.ones((8, *sizes, 6), "float32")
    layer = FeatureAggregation(16, dropout=0.5)
    still = ops.convert_to_numpy(layer(x, training=False))
    np.testing.assert_array_equal(still, ops.convert_to_numpy(layer(x, training=False)))
    layer.steps[4].beta.assign(np.full(16, 100.0))  # all channels alive before dropout
    dropped = ops.convert_to_numpy(layer(x, training=True)) == 0
    pixels = tuple(range(1, x.ndim - 1))
    channels = dropped.all(axis=pixels)
    assert 0.25 < channels.mean() < 0.75
    np.testing.assert_array_equal(dropped.any(axis=pixels), channels)


def test_pad_then_crop_gives_the_image_back():
    x = draw(1, 17, 31, 2)
    padded = PadToMultiple(16)(x)
    np.testing.assert_array_equal(ops.convert_to_numpy(CropToMatch()([padded, x])), x)
    assert not ops.convert_to_numpy(padded)[:, 17:].any()
    volume = draw(1, 3, 17, 31, 2)
    padded = PadToMultiple(16)(volume)
    np.testing.assert_array_equal(ops.convert_to_numpy(CropToMatch()([padded, volume])), volume)
    assert not ops.convert_to_numpy(padded)[:, 3:].any()
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
        (lambda: UpsampledConv2D(4, padding="valid"), "`padding` of UpsampledConv2D is fixed"),
        (lambda: UpsampledConv2D(4, strides=2), "`strides` of UpsampledConv2D is fixed"),
        (lambda: PlainConv2D(4, 2), "odd integer"),
        (lambda: UpsampledConv2D(4, (3, 5)), "one size, for all axes alike"),
        (lambda: PlainConv2D(4, groups=2), "`groups` of PlainConv2D is fixed"),
        (lambda: PlainConv3D(4, (3, 3, 5)), "one size, for all axes alike"),
        (lambda: ConcatenatedConv3D(4, strides=2), "`strides` of ConcatenatedConv3D is fixed"),
        (lambda: UpsampledConv3D(4, 3, 0), "`factor`"),
        (lambda: FeatureAggregation(4)(draw(2, 3, 4)), r"\(N, D, H, W, C\) were expected"),
        (lambda: DepthSkipBlock(4)([draw(1, 4, 4, 4, 2), draw(1, 2, 2, 2)]), "halve"),
        (lambda: DepthSkipBlock(4)([draw(1, 4, 4, 4, 2), draw(1, 2, 2, 3, 2)]), "halve"),
        (lambda: FeatureAggregation(0), "`filters`"),
        (lambda: FeatureAggregation(4, dropout=1.0), "`dropout`"),
        (lambda: DepthSkipBlock(4)([draw(1, 8, 8, 2)]), "at least two maps"),
        (lambda: DepthSkipBlock(4)([draw(1, 8, 8, 2), draw(1, 3, 4, 2)]), "halve"),
        (lambda: PadToMultiple(0), "`multiple`"),
        (lambda: PadToMultiple((4, 0)), "`multiple`"),
        (lambda: PadToMultiple((4, 32))(draw(1, 2, 3, 4, 1)), "one for each axis"),
        (lambda: FanInNormal(0), "`gain`"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
