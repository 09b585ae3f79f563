"""Equations 2-4 against networks that were built, and receptive fields against what is seen."""

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras import layers, ops

from keras_deepskip import analysis, build_model
from keras_deepskip.layers import (
    ConcatenatedConv3D,
    CropToMatch,
    PadToMultiple,
    PlainConv3D,
    UpsampledConv2D,
    UpsampledConv3D,
)

# Keras draws the weights of its large networks slowly on JAX; what is tested here has no backend.
not_on_jax = pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="slow to build on JAX, and the analysis has no backend"
)


@pytest.mark.parametrize(
    ("backbone", "total"), [("light_vgg16", 644_192), ("light_resnet34", 1_677_472)]
)
def test_the_papers_networks(backbone, total):
    """Counts at B = 5, b = 8, k = 3, b0 = 3, bc = 1, computed by hand from equations 2-4."""
    report = analysis.analyze(build_model(backbone=backbone), analysis.closed_form(backbone))
    assert report.total[1:3] == [total, total]
    decoder = [row for row in report.rows if row[0].startswith("d")]
    assert sum(row[1] for row in decoder) == sum(row[2] for row in decoder) == 349_632
    assert "349,632" in report.text() and f"{total:,}" in report.text()


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_built_network_counts_as_its_closed_form(data):
    levels = data.draw(st.integers(2, 6), "B")
    options = {
        "backbone": data.draw(st.sampled_from(["light_vgg16", "light_resnet34"])),
        "levels": levels,
        "base_filters": data.draw(st.integers(1, 6), "b"),
        "kernel_size": data.draw(st.sampled_from([1, 3, 5]), "k"),
        "skips": data.draw(st.sampled_from(["deep", "flat"])),
    }
    if options["backbone"] == "light_resnet34":
        q = st.lists(st.integers(1, 3), min_size=levels - 1, max_size=levels - 1)
        options["blocks_per_level"] = data.draw(q, "q")
    channels, classes = data.draw(st.integers(1, 7), "b0"), data.draw(st.integers(1, 4), "bc")
    dims = data.draw(st.sampled_from([2, 3]), "dims")
    model = build_model((*[None] * dims, channels), classes, **options)
    expected = analysis.closed_form(channels=channels, num_classes=classes, dims=dims, **options)
    assert analysis.conv_parameters(model) == expected


def test_equation_2_by_hand():
    """O_4 at b = 8, k = 3: (1 + 1 + 4) 4^3 64 9; O_3: (1 + 2 + 2 + 4) 4^2 64 9."""
    assert analysis.decoder_parameters(4) == 6 * 64 * 64 * 9
    assert analysis.decoder_parameters(3) == 9 * 16 * 64 * 9
    with pytest.raises(ValueError, match="`u` must be one of 1, 2, 3, 4"):
        analysis.decoder_parameters(5)


def test_volumes_have_cubes_for_kernels():
    """27 / 9 times as many weights, but for the projections (1 x 1 x 1) and the head."""
    assert analysis.decoder_parameters(4, dims=3) == 6 * 64 * 64 * 27
    assert analysis.vgg_parameters(2, dims=3) == (8 * 16 + 16 * 16) * 27
    assert analysis.resnet_parameters(1, q=3, dims=3) == 3 * 8 * 27
    assert analysis.resnet_parameters(2, q=3, dims=3) == 8 * 16 + (8 * 16 + 5 * 16 * 16) * 27
    assert sum(analysis.closed_form(dims=3).values()) == (644_192 - 8) * 3 + 8
    with pytest.raises(ValueError, match="`dims` must be one of 2, 3"):
        analysis.closed_form(dims=1)


def test_macs_by_hand():
    """Two convolutions at full size, one upsampled convolution, on an image of 8 x 12."""
    model = build_model((None, None, 2), levels=2, base_filters=4, kernel_size=3)
    macs = analysis.macs(model, 8, 12)
    e1 = 8 * 12 * 9 * (2 * 4 + 4 * 4)
    e2 = 4 * 6 * 9 * (4 * 8 + 8 * 8)
    d1 = 8 * 12 * 9 * (4 * 4 + 8 * 4 + 8 * 4 + 4 * 4)
    assert macs == {"e1": e1, "e2": e2, "d1": d1, "head": 8 * 12 * 4}


@pytest.mark.parametrize("backbone", ["light_vgg16", "light_resnet34"])
@pytest.mark.parametrize(("levels", "kernel_size"), [(2, 3), (3, 3), (3, 1)])
def test_receptive_field_is_what_the_output_sees(backbone, levels, kernel_size):
    """With positive weights no contribution cancels: the set of pixels seen is exact."""
    options = {} if backbone == "light_vgg16" else {"blocks_per_level": [1] * (levels - 1)}
    options |= {"levels": levels, "base_filters": 1, "kernel_size": kernel_size}
    options |= {"backbone": backbone, "activation": None, "mean": 0, "variance": 1}
    model = build_model((None, None, 1), **options)
    positive(model)
    field = analysis.receptive_field(model)
    assert seen(model, size=96, stride=2 ** (levels - 1)) == (field.before, field.after)


@pytest.mark.parametrize(
    "options",
    [
        {"architecture": "unet", "levels": 3, "base_filters": 1},
        pytest.param(
            {"architecture": "unet3plus", "levels": 3, "base_filters": 1},
            marks=pytest.mark.studies,
        ),
    ],
    ids=["unet", "unet3plus"],
)
def test_receptive_field_of_rivals_is_what_the_output_sees(options):
    """Transposed convolutions, pooling by several factors, and bilinear upsampling."""
    model = build_model((None, None, 1), activation=None, mean=0, variance=1, **options)
    positive(model)
    field = analysis.receptive_field(model)
    assert seen(model, size=128, stride=4) == (field.before, field.after)


def test_macs_of_a_transposed_convolution():
    """Each pixel that comes in takes all weights; Keras's own result says the size."""
    inputs = keras.Input((None, None, 2))
    for kernel_size, strides, padding in ((2, 2, "valid"), (4, 2, "same"), (5, 3, "valid")):
        conv = layers.Conv2DTranspose(3, kernel_size, strides, padding, name="up")
        model = keras.Model(inputs, layers.Conv2D(1, 1, name="head")(conv(inputs)))
        height, width = model.compute_output_shape((None, 5, 7, 2))[1:3]
        expected = {"up": 5 * 7 * kernel_size**2 * 2 * 3, "head": height * width * 3}
        assert analysis.macs(model, 5, 7) == expected


def seen(model, size, stride, axis=1):
    """How far before and after its own place a pixel of the input changes the output, by trial."""
    shape = (1, *[size] * (len(model.inputs[0].shape) - 2), 1)
    base = model.predict(np.ones(shape, "float32"), verbose=0)
    others = tuple(other for other in range(base.ndim) if other != axis)
    before, after = [], []
    for at in range(size // 2, size // 2 + stride):  # every place on the network's grid
        image = np.ones(shape, "float32")
        image[(0, *[at] * (len(shape) - 2), 0)] += 1e4
        changed = model.predict(image, verbose=0) != base
        places = np.nonzero(changed.any(axis=others))[0]
        before.append(places.max() - at)
        after.append(at - places.min())
    return max(before), max(after)


def positive(model):
    """The model with weights by which no contribution cancels."""
    for weight in model.weights:
        if weight.name.endswith("kernel"):
            weight.assign(np.full(weight.shape, 1 / np.prod(weight.shape[:-1])))
    return model


def padded_encoder():
    """A stem as ResNet50's: zeros around, then windows without padding; and what else shifts."""
    x = inputs = keras.Input((None, None, 1))
    x = layers.ZeroPadding2D(3)(x)
    x = layers.Conv2D(2, 7, strides=2, name="conv1_conv")(x)
    x = layers.ZeroPadding2D(1)(x)
    x = layers.MaxPooling2D(3, strides=2)(x)
    x = layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
    x = layers.DepthwiseConv2D(3, strides=2)(x)
    x = layers.Conv2D(2, 3, padding="same", dilation_rate=2)(x)
    return keras.Model(inputs, x, name="backbone")


def wide_and_narrow():
    x = inputs = keras.Input((None, None, 1))
    x = layers.Conv2D(1, (1, 5), padding="same")(x)
    x = layers.AveragePooling2D((2, 1))(x)
    return keras.Model(inputs, layers.UpSampling2D((2, 1))(x))


def test_receptive_field_of_a_padded_encoder():
    backbone = padded_encoder()
    x = inputs = keras.Input((None, None, 1))
    x = UpsampledConv2D(1, 3, factor=8)(backbone(PadToMultiple(8)(x)))
    model = positive(keras.Model(inputs, CropToMatch()([x, inputs])))
    field = analysis.receptive_field(model)
    assert seen(model, size=128, stride=8) == (field.before, field.after)


def test_receptive_field_of_unlike_axes():
    """Along rows 1 pixel either way, along columns 2: the wider one is told."""
    model = positive(wide_and_narrow())
    assert seen(model, 24, 2, axis=1) == (1, 1)
    assert seen(model, 24, 2, axis=2) == (2, 2)
    assert analysis.receptive_field(model) == analysis.ReceptiveField(2, 2)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_receptive_field_of_an_enlarged_map(interpolation, factor):
    x = inputs = keras.Input((None, None, 1))
    x = layers.AveragePooling2D(factor)(x)
    x = layers.UpSampling2D(factor, interpolation=interpolation)(x)
    model = keras.Model(inputs, x)
    field = analysis.receptive_field(model)
    assert seen(model, size=12 * factor, stride=factor) == (field.before, field.after)


def volume_network():
    """Of Keras's own layers, one of them blind along the depth."""
    x = inputs = keras.Input((None, None, None, 1))
    x = fine = layers.Conv3D(2, 3, padding="same", name="e1_conv")(x)
    x = layers.MaxPooling3D(2, name="e2_pool")(x)
    x = layers.Conv3D(3, (1, 3, 3), padding="same", name="e2_conv")(x)
    x = layers.SpatialDropout3D(0.5, name="e2_dropout")(x)
    x = layers.UpSampling3D(2, name="d1_up")(x)
    x = layers.Concatenate(name="d1_join")([fine, x])
    x = layers.AveragePooling3D(3, 1, "same", name="d1_smooth")(x)
    return keras.Model(inputs, layers.Conv3D(1, 1, name="head_conv")(x))


def our_volume_network():
    """Of our own layers."""
    inputs = keras.Input((None, None, None, 1))
    x = fine = PlainConv3D(2, 3, name="e1_conv")(PadToMultiple(2, name="e1_pad")(inputs))
    x = PlainConv3D(3, 3, strides=2, name="e2_conv")(x)
    x = UpsampledConv3D(2, 3, factor=2, name="d1_up")(x)
    x = ConcatenatedConv3D(2, 3, name="d1_conv")([fine, x])
    x = CropToMatch(name="head_crop")([x, inputs])
    return keras.Model(inputs, layers.Conv3D(1, 1, name="head_conv")(x))


def test_volumes():
    """Of 4 x 6 x 8 = 192 voxels, and an eighth of them on the second level."""
    macs = analysis.macs(volume_network(), depth=4, height=6, width=8)
    e1, e2, head = 192 * 27 * 2, 24 * 9 * 2 * 3, 192 * 5
    assert macs == {"e1": e1, "e2": e2, "head": head}
    report = analysis.analyze(volume_network(), depth=4, height=6, width=8)
    assert report.total[1:5] == [None, 54 + 54 + 5, 119, e1 + e2 + head]
    assert "one volume of 4 x 6 x 8" in report.text() and "voxels" in report.text()
    ours = analysis.macs(our_volume_network(), depth=3, height=5, width=8)  # padded to 4 x 6 x 8
    assert ours == {
        "e1": 192 * 27 * 2,
        "e2": 24 * 27 * 2 * 3,
        "d1": 192 * 27 * (3 * 2 + 4 * 2),
        "head": 3 * 5 * 8 * 2,
    }


@pytest.mark.parametrize("build", [volume_network, our_volume_network])
def test_receptive_field_of_volumes(build):
    model = positive(build())
    field = analysis.receptive_field(model)
    assert seen(model, 20, 2, axis=2) == (field.before, field.after)
    along_depth = seen(model, 20, 2, axis=1)
    assert (along_depth == (field.before, field.after)) == (build is our_volume_network)


def squeezed(x, name):
    """Squeeze and excitation, half as EfficientNet writes it and half as MobileNetV3 does."""
    gate = layers.GlobalAveragePooling2D(name=f"{name}_squeeze")(x)
    gate = layers.Reshape((1, 1, x.shape[-1]))(gate)
    gate = layers.Conv2D(2, 1, name=f"{name}_reduce")(gate)
    gate = layers.Conv2D(x.shape[-1], 1, name=f"{name}_expand")(gate)
    gate = layers.ReLU(6.0)(gate + 3.0) * (1.0 / 6.0)
    return layers.Multiply()([x, gate])


def gated_backbone():
    """What Keras Applications are made of beyond convolutions, in one small network."""
    x = inputs = keras.Input((None, None, 3))
    x = ops.flip(ops.take(x, [2, 1, 0], axis=-1), axis=-1)[..., ::-1]
    x = layers.Normalization(mean=[0.0] * 3, variance=[1.0] * 3)(layers.Rescaling(1 / 255)(x))
    stem = [layers.Conv2D(4, 4, strides=4), layers.LayerNormalization()]
    x = deep = keras.Sequential(stem, name="stem")(x)
    x = layers.DepthwiseConv2D(7, padding="same")(x)
    x = layers.Dense(8, activation="gelu")(layers.LayerNormalization()(x))
    x = deep + layers.Dense(4)(x)
    return keras.Model(inputs, squeezed(x, "block1"), name="backbone")


def behind(backbone):
    """A network that holds another one as a layer."""
    inputs = keras.Input((None, None, backbone.input_shape[-1]))
    x = layers.Conv2D(2, 1, name="d1_conv")(backbone(inputs))
    return keras.Model(inputs, layers.Conv2D(1, 1, name="head_conv")(x))


def test_a_backbone_is_one_part():
    backbone = gated_backbone()
    model = behind(backbone)
    kernels = 4 * 4 * 3 * 4 + 7 * 7 * 4 + 4 * 8 + 8 * 4 + (4 * 2 + 2 * 4)
    macs = 6 * 8 * (kernels - 16) + 16  # of a map of 6 x 8; the gate has one pixel
    assert analysis.conv_parameters(model) == {"backbone": kernels, "d1": 8, "head": 2}
    assert analysis.macs(model, 24, 32) == {"backbone": macs, "d1": 6 * 8 * 8, "head": 6 * 8 * 2}
    report = analysis.analyze(model, height=24, width=32)
    assert report.rows[0] == [
        "backbone", None, kernels, backbone.count_params(), macs, "whole image"
    ]  # fmt: skip
    assert report.total[-1] == "whole image" and "whole image" in report.text()
    assert sum(analysis.macs(backbone, 24, 32).values()) == macs  # flat, without a part's name
    with pytest.raises(ValueError, match="'block1_squeeze' .* sees the whole image"):
        analysis.receptive_field(model)


def test_a_layer_that_is_called_twice_works_twice():
    x = inputs = keras.Input((None, None, 2))
    conv = layers.Conv2D(2, 3, padding="same", name="e1_conv")
    model = keras.Model(inputs, conv(layers.MaxPooling2D(2)(conv(x))))
    assert analysis.conv_parameters(model) == {"e1": 36}
    assert analysis.macs(model, 8, 8) == {"e1": 36 * (64 + 16)}
    assert analysis.receptive_field(model) == analysis.ReceptiveField(3, 4)
    inside = keras.Model(inputs, conv(inputs), name="inside")
    both = keras.Model(inputs, inside(conv(inputs)))
    assert sum(analysis.conv_parameters(both).values()) == 36
    assert analysis.macs(both, 8, 8) == {"e1": 36 * 64, "inside": 36 * 64}
    twice = keras.Model(inputs, inside(layers.MaxPooling2D(2)(inside(inputs))))
    assert analysis.receptive_field(twice) == analysis.receptive_field(model)


def test_of_several_outputs_the_widest():
    inputs = keras.Input((None, None, 1))
    x = layers.Conv2D(1, 3, padding="same")(inputs)
    outputs = {"z": layers.Conv2D(1, 3, strides=2, padding="same")(x), "a": x}
    assert analysis.receptive_field(keras.Model(inputs, outputs)).size == 5


def test_the_stride_of_the_grid():
    """Of every stride, and of what the model pads to, whichever is the coarsest."""
    assert analysis.grid_stride(build_model(levels=3)) == 4
    inputs = keras.Input((None, None, 1))
    assert analysis.grid_stride(keras.Model(inputs, PadToMultiple(6)(inputs))) == 6
    x = layers.MaxPooling2D((2, 3))(PadToMultiple(4)(inputs))
    x = layers.UpSampling2D((2, 3))(x)
    assert analysis.grid_stride(keras.Model(inputs, x)) == 12
    assert analysis.grid_stride(keras.Model(inputs, layers.Conv2D(1, 3)(inputs))) == 1


def test_the_receptive_field_of_a_size():
    """A strided layer that pads itself adds a pixel before an odd size, none before an even one."""
    x = inputs = keras.Input((None, None, 1))
    model = positive(keras.Model(inputs, layers.Conv2D(1, 3, strides=2, padding="same")(x)))
    even, odd = (analysis.receptive_field(model, height=n, width=n) for n in (64, 65))
    assert (even.before, even.after) == (0, 2) and (odd.before, odd.after) == (1, 1)


def test_what_works_in_training_alone_costs_nothing():
    model = build_model(levels=3, deep_supervision=True)
    plain = build_model(levels=3)
    assert analysis.macs(model, 32, 32) == analysis.macs(plain, 32, 32)
    assert analysis.receptive_field(model) == analysis.receptive_field(plain)
    assert analysis.conv_parameters(model)["supervision"] == 16  # of d2, to one class


# Multiply-adds in millions at 224 x 224, as published, less the classifier's dense layer: table 4
# of Sandler et al., MobileNetV2, 2018 (300; 1280 x 1000 of them in the classifier); table 2 of Tan
# and Le, EfficientNet, 2019 (390; likewise).
@not_on_jax
@pytest.mark.parametrize(
    ("constructor", "millions"), [("MobileNetV2", 300 - 1.28), ("EfficientNetB0", 390 - 1.28)]
)
def test_published_multiply_adds(constructor, millions):
    backbone = application(constructor)
    macs = analysis.macs(behind(backbone), 224, 224)["backbone"]
    assert macs == pytest.approx(millions * 1e6, rel=0.02)


def application(constructor):
    build = getattr(keras.applications, constructor)
    model = build(weights=None, include_top=False, input_shape=(None, None, 3))
    return keras.Model(model.input, model.output, name="backbone")


@not_on_jax
@pytest.mark.parametrize("constructor", ["MobileNetV3Small", "DenseNet121"])
@pytest.mark.parametrize("size", [(64, 96), (101, 75)])
def test_multiply_adds_by_the_shapes_that_keras_tells(constructor, size):
    """Every kernel meets every pixel of its layer's output, whose size Keras works out."""
    backbone = application(constructor)
    convs = [layer for layer in backbone.layers if hasattr(layer, "kernel")]
    probe = keras.Model(backbone.inputs, [conv.output for conv in convs])
    shapes = [y.shape for y in probe.compute_output_spec([keras.KerasTensor((1, *size, 3))])]
    expected = sum(
        np.prod(shape[1:-1]) * np.prod(conv.kernel.shape)
        for conv, shape in zip(convs, shapes, strict=True)
    )
    assert sum(analysis.macs(backbone, *size).values()) == expected


def test_what_sees_everything_is_refused():
    x = inputs = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, padding="same", name="e1_conv")(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="e1_gate")(x)
    model = keras.Model(inputs, layers.Multiply()([x, gate]))
    with pytest.raises(ValueError, match="'e1_gate' .* sees the whole image"):
        analysis.receptive_field(model)


def test_a_norm_over_pixels_sees_everything():
    inputs = keras.Input((8, 8, 3))
    over_channels = keras.Model(inputs, layers.LayerNormalization()(inputs))
    over_all = keras.Model(inputs, layers.LayerNormalization(axis=(1, 2, 3))(inputs))
    assert analysis.receptive_field(over_channels).size == 1
    with pytest.raises(ValueError, match="sees the whole image"):
        analysis.receptive_field(over_all)


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: ops.flip(x, axis=1),
        lambda x: ops.take(x, [1, 0], axis=2),
        lambda x: x[:, 1:],
        lambda x: x[:, ::2, :, ::-1],
        lambda x: ops.concatenate([x, x], axis=1),
        lambda x: layers.UpSampling2D(2, interpolation="bicubic")(x),
    ],
)
def test_an_unknown_operation_is_named(operation):
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, operation(inputs))
    with pytest.raises(ValueError, match="no rule for the (operation|layer)"):
        analysis.receptive_field(model)


class Mixing(layers.Layer):
    """A layer of a user's own, with weights that no rule knows."""

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1],), name="kernel")

    def call(self, inputs):
        return inputs * self.kernel


def test_weights_that_no_rule_knows_are_not_left_uncounted():
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, Mixing(name="e1_mix")(inputs))
    for question in (analysis.macs, analysis.receptive_field, analysis.analyze):
        with pytest.raises(ValueError, match="layer 'Mixing with weights of its own' .e1_mix"):
            question(model)


def test_what_cannot_be_traced_is_told():
    flat = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    with pytest.raises(ValueError, match="an input of shape"):
        analysis.macs(flat)
    with pytest.raises(ValueError, match="a functional `keras.Model`"):
        analysis.macs(keras.Sequential([layers.Conv2D(2, 3)]))
    with pytest.raises(ValueError, match="Take a larger image"):
        analysis.macs(keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(2, 3)]), 2, 8)
