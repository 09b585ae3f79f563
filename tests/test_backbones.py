"""Backbones: levels, preprocessing, weights, channels, freezing; and one contract for all of them.

The contract of every name takes half an hour a backend: `pytest -m matrix --matrix`. The suite has
one of each way in which backbones differ.
"""

import importlib.util

import keras
import numpy as np
import pytest

from keras_deepskip import build_model, fold_batch_norm, set_trainable_backbone
from keras_deepskip.encoders import (
    APPLICATIONS,
    BACKBONES,
    LIGHT,
    adapt_kernel,
    backbone_levels,
    cut_levels,
)
from keras_deepskip.encoders.applications import construct, preprocessing_layers
from keras_deepskip.export import export
from keras_deepskip.layers.copying import set_weights
from keras_deepskip.losses import SmallObjectLoss
from tests import tiny

SMALL = "mobilenetv3small"
BACKEND = keras.backend.backend()


def image(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype("uint8")


def outputs(model, x):
    found = model.predict(x, verbose=0)
    return found if isinstance(found, list) else [found]


def redraw(model, seed=0):
    """Gives a model other weights, moving statistics among them, that keep maps in their range."""
    rng = np.random.default_rng(seed)
    model.set_weights([w * rng.uniform(0.8, 1.2, w.shape) + 0.01 * rng.random(w.shape)
                       for w in model.get_weights()])  # fmt: skip
    return model


# --- One contract for every backbone --------------------------------------------------------------


def contract(name, folder, **options):
    """Build, sizes, fit, save, load, fold, export; and the same outputs on another backend."""
    model = build_model(backbone=name, **options)
    for norm in batch_norms(model):
        norm.momentum = 0.5  # after one step the statistics are near the images': as if trained
    model.compile(keras.optimizers.SGD(0.01), SmallObjectLoss())
    before = [np.array(w) for w in model.get_weights()]
    truth = np.random.default_rng(1).integers(0, 2, (2, 37, 50, 1))
    assert np.isfinite(model.train_on_batch(image(2, 37, 50, 3), truth))
    moved = zip(model.weights, before, model.get_weights(), strict=True)
    still = [w.path for w, a, b in moved if w.trainable and np.array_equal(a, b)]
    assert not [path for path in still if path.endswith("kernel")], "kernels without gradient"

    x = image(2, 45, 83, 3)
    wanted = outputs(model, x)[0]
    assert wanted.shape == (2, 45, 83, 1) and 0 <= wanted.min() <= wanted.max() <= 1
    assert outputs(model, image(1, 1, 1, 3))[0].shape == (1, 1, 1, 1)

    path = folder / f"{name}.keras"
    model.save(path)
    again = keras.models.load_model(path)
    np.testing.assert_allclose(outputs(again, x)[0], wanted, atol=1e-5)
    np.testing.assert_allclose(outputs(fold_batch_norm(model), x)[0], wanted, atol=1e-5)
    if importlib.util.find_spec("tensorflow"):
        export(model, folder / name)  # raises unless it is the model
    return model, path, x, wanted


def batch_norms(layer):
    if isinstance(layer, keras.layers.BatchNormalization):
        return [layer]
    inner = [norm for _, norm in getattr(layer, "normalized", ())]
    return inner + [norm for part in getattr(layer, "layers", ()) for norm in batch_norms(part)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet18", {"levels": 3}),
        pytest.param(SMALL, {"levels": 3}, marks=pytest.mark.one_backend),
        pytest.param(
            "vgg16", {"levels": 3, "decoder_filters": (6, 4)}, marks=pytest.mark.one_backend
        ),
    ],
)
def test_contract(name, options, tmp_path):
    contract(name, tmp_path, **options)


@pytest.mark.matrix
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("name", [name for name in BACKBONES if name not in LIGHT])
def test_contract_of_every_name(name, tmp_path):
    _, path, x, wanted = contract(name, tmp_path)
    for other in {"tensorflow", "jax", "torch"} - {BACKEND}:
        if importlib.util.find_spec(other):
            same_elsewhere(other, path, x, wanted, tmp_path)


RELOAD = """
import sys
import keras, numpy as np
import keras_deepskip
model = keras_deepskip.load_model(sys.argv[1])
np.save(sys.argv[3], model.predict(np.load(sys.argv[2]), verbose=0))
"""


def same_elsewhere(backend, path, x, wanted, folder):
    np.save(folder / "x.npy", x)
    tiny.python(RELOAD, path, folder / "x.npy", folder / "y.npy", backend=backend)
    np.testing.assert_allclose(np.load(folder / "y.npy"), wanted, atol=1e-5)


OTHER = "tensorflow" if BACKEND != "tensorflow" else "jax"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec(OTHER) is None, reason=f"{OTHER} is not installed")
def test_another_backend_reloads_it_with_equal_outputs(tmp_path):
    keras.utils.set_random_seed(0)  # some untrained networks blow up rounding, by chance
    model = redraw(build_model(backbone=SMALL))
    x = image(1, 45, 83, 3)
    model.save(tmp_path / "model.keras")
    same_elsewhere(OTHER, tmp_path / "model.keras", x, outputs(model, x)[0], tmp_path)


def test_one_seed_draws_the_same_weights_on_every_backend():
    """Sums of the kernels as TensorFlow, JAX and PyTorch drew them."""
    keras.utils.set_random_seed(7)
    weights = build_model(backbone=SMALL, levels=3).get_weights()
    assert sum(float(np.abs(w).sum()) for w in weights) == pytest.approx(SUM_OF_SEED_7, rel=1e-6)


SUM_OF_SEED_7 = 2251.386252641678


# --- Levels ---------------------------------------------------------------------------------------

# The maps that feed the next stride, by the names that Keras gives their layers.
TAPS = {
    "vgg16": ["block1_conv2", "block2_conv2", "block3_conv3", "block4_conv3", "block5_conv3"],
    "resnet50": ["conv1_relu", "conv2_block3_out", "conv3_block4_out", "conv4_block6_out",
                 "conv5_block3_out"],
    "resnet50v2": ["conv1_conv", "conv2_block3_1_relu", "conv3_block4_1_relu",
                   "conv4_block6_1_relu", "post_relu"],
    "mobilenetv2": ["block_1_expand_relu", "block_3_expand_relu", "block_6_expand_relu",
                    "block_13_expand_relu", "out_relu"],
    "efficientnetb0": ["block2a_expand_activation", "block3a_expand_activation",
                       "block4a_expand_activation", "block6a_expand_activation", "top_activation"],
    "densenet121": ["conv1_relu", "pool2_conv", "pool3_conv", "pool4_conv", "relu"],
}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "mobilenetv2",
        *(pytest.param(name, marks=pytest.mark.matrix) for name in TAPS if name != "mobilenetv2"),
    ],
)
def test_the_levels_are_the_maps_before_each_stride(name):
    model = redraw(construct(name, 3))
    skip = [layer.name for layer in preprocessing_layers(model)]
    cut, first = cut_levels(model, skip=skip)
    taps = keras.Model(model.input, [model.get_layer(tap).output for tap in TAPS[name]])
    x = image(1, 64, 96, 3).astype("float32") / 255
    given = x * 255 if skip else x  # EfficientNet's own preprocessing divides by 255
    for own, known in zip(outputs(cut, x), outputs(taps, given), strict=True):
        np.testing.assert_allclose(own, known, rtol=1e-4, atol=1e-5)
        assert own.shape[1] == 64 >> (first - 1)
        first += 1


@pytest.mark.parametrize(
    ("name", "first", "widths"),
    [
        ("vgg16", 1, [64, 128, 256, 512, 512]),
        ("resnet34", 2, [64, 64, 128, 256, 512]),
        (SMALL, 2, [16, 72, 96, 288, 576]),
        ("convnexttiny", 3, [96, 192, 384, 768]),
    ],
)
def test_strides_and_widths(name, first, widths):
    """Where a family begins, and the maps of squeeze-and-excitation are no levels."""
    model = construct(name, 3)
    cut, begins = cut_levels(model, skip=[layer.name for layer in preprocessing_layers(model)])
    assert begins == first and [tensor.shape[-1] for tensor in cut.outputs] == widths
    sizes = [tensor.shape[1:3] for tensor in cut.outputs]
    assert all(size == (None, None) for size in sizes)


def test_parameters_of_the_resnets_are_the_published_ones():
    """21.28 M and 11.18 M weights without the classifier, and the moving statistics."""
    assert construct("resnet34", 3).count_params() == 21_301_696
    assert construct("resnet18", 3).count_params() == 11_186_112


def test_missing_levels_are_light_ones_at_full_resolution():
    model = build_model(backbone="convnexttiny", levels=4, base_filters=4)
    skips = model.get_layer("d1_skips")
    assert [tensor.shape[-1] for tensor in skips.input] == [4, 8, 96, 8]  # E_1, E_2, E_3, D_2
    assert backbone_levels(model).keys() == {3, 4}


def test_decoder_filters_are_as_given():
    model = build_model(backbone="vgg16", levels=3, decoder_filters=(5, 7))
    assert [model.get_layer(f"d{u}_aggregate").filters for u in (1, 2)] == [5, 7]
    default = build_model(backbone="vgg16", levels=3)
    assert [default.get_layer(f"d{u}_aggregate").filters for u in (1, 2)] == [8, 16]


def own_model(outputs=1, size=None, padding="same"):
    inputs = keras.Input((size, size, 2))
    x, maps = keras.layers.Rescaling(1 / 255)(inputs), []
    for level in range(3):
        x = keras.layers.Conv2D(4 + level, 3, 2 if level else 1, padding=padding)(x)
        maps.append(x)
    return redraw(keras.Model(inputs, maps[-outputs:], name="own"))


@pytest.mark.parametrize("maps", [1, 2, 3])
def test_a_model_of_ones_own(maps):
    """Its outputs are the levels; finer ones are found; its rescaling stays, and so does it."""
    own = own_model(maps)
    model = build_model((None, None, 2), backbone=own, mean=0.0, variance=1.0)
    assert model.name == "deepskip_own"
    backbone = model.get_layer("backbone")
    assert [tensor.shape[-1] for tensor in backbone.outputs] == [4, 5, 6]
    x = image(1, 16, 24, 2)
    np.testing.assert_allclose(outputs(backbone, x)[-1], outputs(own, x)[-1], atol=1e-5)
    before = own.get_weights()
    model.compile("sgd", SmallObjectLoss())
    model.train_on_batch(x, x[..., :1] > 128)
    assert all(map(np.array_equal, before, own.get_weights())), "it was changed"


def test_a_model_of_one_size():
    model = build_model((24, 16, 2), backbone=cut_to(own_model(size=None), (24, 16, 2)))
    assert model.predict(image(1, 24, 16, 2), verbose=0).shape == (1, 24, 16, 1)


def cut_to(model, shape):
    inputs = keras.Input(shape)
    return keras.Model(inputs, keras.models.clone_model(model, input_tensors=inputs).outputs)


class Pyramid(keras.Model):
    """As a KerasHub backbone is: a functional model with maps by name."""

    def __init__(self):
        inner = own_model(2)
        super().__init__(inner.input, inner.outputs[-1], name="pyramid")
        self.pyramid_outputs = {"P2": inner.outputs[0], "P3": inner.outputs[1]}


def test_a_backbone_with_pyramid_outputs():
    """Its pyramid, and the finer level that it does not name."""
    model = build_model((None, None, 2), backbone=Pyramid())
    widths = [tensor.shape[-1] for tensor in model.get_layer("backbone").outputs]
    assert widths == [4, 5, 6]


class Closed(keras.layers.Conv2D):
    """A layer whose configuration does not tell how it was made, as KerasHub's MiT has them."""

    def __init__(self, width):
        super().__init__(width, 3, strides=2, padding="same")

    def get_config(self):
        return {"width": self.filters, "mlp": None}


@keras.saving.register_keras_serializable(package="tests")
class ClosedBackbone(keras.Model):
    """A backbone of such layers, which its own class can rebuild."""

    def __init__(self, width=3, **_):
        inputs = keras.Input((None, None, 3))
        stem = keras.layers.Conv2D(width, 3, strides=4, padding="same")(inputs)
        outputs = Closed(width + 1)(stem)
        super().__init__(inputs, outputs, name="closed")
        self.width = width
        self.pyramid_outputs = {"P3": outputs, "P2": stem}

    def get_config(self):
        return {"width": self.width}


def test_a_backbone_that_only_its_class_can_rebuild(tmp_path):
    own = redraw(ClosedBackbone(5))
    model = build_model(backbone=own)
    x = image(1, 32, 40, 3)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for a, b in zip(encoder_maps(model, x), encoder_maps(again, x), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    levels = backbone_levels(again)
    assert list(levels) == [3, 4]
    assert all(map(np.array_equal, again.get_layer("backbone").get_weights(), own.get_weights()))
    moved = changed(again, lambda m: set_trainable_backbone(m, 4))
    assert not moved & {id(w) for layer in levels[3] for w in layer.weights}
    assert moved & {id(w) for layer in levels[4] for w in layer.weights}
    np.testing.assert_allclose(
        *(outputs(m, x)[0] for m in (again, fold_batch_norm(again))), atol=1e-5
    )


def test_a_kerashub_backbone():
    hub = pytest.importorskip("keras_hub")
    backbone = hub.models.ResNetBackbone(
        input_conv_filters=[8], input_conv_kernel_sizes=[7], stackwise_num_filters=[8, 16],
        stackwise_num_blocks=[1, 1], stackwise_num_strides=[1, 2], block_type="basic_block",
        image_shape=(None, None, 3),
    )  # fmt: skip
    model = build_model(backbone=backbone)
    assert model.predict(image(1, 33, 50, 3), verbose=0).shape == (1, 33, 50, 1)


# --- Preprocessing --------------------------------------------------------------------------------

PREPROCESS = {
    "vgg16": keras.applications.vgg16,
    "mobilenet": keras.applications.mobilenet,
    SMALL: keras.applications.mobilenet_v3,
    "efficientnetb0": keras.applications.efficientnet,
    "resnet50": keras.applications.resnet,
    "resnet50v2": keras.applications.resnet_v2,
    "mobilenetv2": keras.applications.mobilenet_v2,
    "densenet121": keras.applications.densenet,
    "efficientnetv2b0": keras.applications.efficientnet_v2,
    "efficientnetv2s": keras.applications.efficientnet_v2,
    "convnexttiny": keras.applications.convnext,
}
FEW = ("vgg16", "mobilenet", SMALL, "efficientnetb0")


def donor_of(name):
    """A family's own network with weights, and statistics in its normalization if it has one."""
    donor = construct(name, 3)
    redraw(donor)
    for layer in preprocessing_layers(donor):
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            set_weights(layer, [np.array(v) for v in ([0.485, 0.456, 0.406], [0.2, 0.3, 0.1], 0)])
    return donor


@pytest.mark.parametrize(
    "name",
    [*FEW, *(pytest.param(name, marks=pytest.mark.matrix) for name in PREPROCESS
             if name not in FEW)],
)  # fmt: skip
def test_preprocessing_is_the_familys_own(name, tmp_path):
    """Raw pixels into the network reach the levels as `preprocess_input` has them reach Keras's."""
    donor = donor_of(name)
    donor.save_weights(tmp_path / "donor.weights.h5")
    levels = 4 if name == "convnexttiny" else 3
    model = build_model(backbone=name, weights=tmp_path / "donor.weights.h5", levels=levels)
    expected, first = cut_levels(donor, levels)
    x = image(1, 32, 64, 3)
    wanted = outputs(expected, PREPROCESS[name].preprocess_input(x.astype("float32")))
    for own, known in zip(encoder_maps(model, x)[first - 1 :], wanted, strict=True):
        np.testing.assert_allclose(own, known, rtol=1e-4, atol=2e-5 * np.abs(known).max())


def encoder_maps(model, x):
    """E_1 .. E_B of a network, for raw images."""
    skips = [layer for layer in model.layers if layer.name.endswith("_skips")]
    tensors = [layer.input[0] for layer in reversed(skips)] + [skips[0].input[-1]]
    return outputs(keras.Model(model.input, tensors), x)


def test_images_of_another_range_are_the_same_images():
    keras.utils.set_random_seed(0)
    model = build_model(backbone="vgg16", levels=2, input_range=(0, 255))
    other = build_model(backbone="vgg16", levels=2, input_range=(-1, 1))
    other.get_layer("backbone").set_weights(model.get_layer("backbone").get_weights())
    x = image(1, 16, 16, 3).astype("float32")
    for a, b in zip(
        encoder_maps(model, x)[:2], encoder_maps(other, x / 127.5 - 1)[:2], strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * np.abs(a).max())


def test_statistics_of_ones_own_take_the_place_of_the_familys():
    model = build_model(backbone="vgg16", levels=2, mean=[1, 2, 3], variance=4.0)
    normalize = model.get_layer("normalize")
    np.testing.assert_allclose(np.ravel(normalize.mean), [1, 2, 3])
    np.testing.assert_allclose(np.ravel(normalize.variance), [4, 4, 4])


# --- Weights and channels -------------------------------------------------------------------------


def test_a_kernel_for_other_channels():
    kernel = np.random.default_rng(0).random((3, 3, 3, 4)).astype("float32")
    np.testing.assert_array_equal(adapt_kernel(kernel, 3), kernel)
    four = adapt_kernel(kernel, 4)  # red, green, blue kept; then red times 3/4
    np.testing.assert_array_equal(four[:, :, :3], kernel)
    np.testing.assert_allclose(four[:, :, 3], 0.75 * kernel[:, :, 0])
    twelve = adapt_kernel(kernel, 12)
    np.testing.assert_allclose(twelve[:, :, 11], 0.25 * kernel[:, :, 2])
    np.testing.assert_allclose(adapt_kernel(kernel, 1)[:, :, 0], kernel.sum(axis=2), rtol=1e-6)
    two = adapt_kernel(kernel, 2)
    np.testing.assert_allclose(two[:, :, 0], kernel[:, :, 0] + kernel[:, :, 2], rtol=1e-6)
    np.testing.assert_allclose(two[:, :, 1], kernel[:, :, 1])
    from_grey = adapt_kernel(kernel[:, :, :1], 3)
    np.testing.assert_allclose(from_grey[:, :, 2], kernel[:, :, 0] / 3, rtol=1e-6)


@pytest.fixture(scope="module")
def donor(tmp_path_factory):
    """A network on a backbone with weights of its own, the whole and its backbone as files."""
    folder = tmp_path_factory.mktemp("donor")
    model = build_model(backbone=SMALL, levels=3, input_range=(0, 1), mean=0.4, variance=0.04)
    redraw(model.get_layer("backbone"))
    model.save(folder / "network.keras")
    model.get_layer("backbone").save_weights(folder / "backbone.weights.h5")
    return model, folder


def test_weights_of_a_backbone_saved_here(donor):
    model, folder = donor
    other = build_model(backbone=SMALL, levels=3, weights=folder / "backbone.weights.h5")
    given, taken = (m.get_layer("backbone").get_weights() for m in (model, other))
    assert all(map(np.array_equal, given, taken))
    np.testing.assert_allclose(np.ravel(other.get_layer("normalize").mean), 127.5)  # its family's


def test_weights_of_a_whole_network_bring_its_normalization(donor):
    model, folder = donor
    other = build_model(
        backbone=SMALL, levels=3, weights=folder / "network.keras", input_range=(0, 1)
    )
    x = image(1, 32, 32, 3) / 255
    for a, b in zip(encoder_maps(model, x)[1:3], encoder_maps(other, x)[1:3], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 4])
def test_weights_for_other_channels(channels, donor):
    """A grey image gives what it gives in colour; a fourth channel at its mean changes nothing."""
    _, folder = donor
    weights = folder / "backbone.weights.h5"
    colour = build_model(backbone=SMALL, levels=3, weights=weights)
    model = build_model((None, None, channels), backbone=SMALL, levels=3, weights=weights)
    if channels == 1:
        x = image(1, 32, 32, 1)
        shown = np.repeat(x, 3, axis=-1)
    else:
        shown = image(1, 32, 32, 3).astype("float32")
        x = np.concatenate([shown, np.full((1, 32, 32, 1), 127.5, "float32")], axis=-1)
    for a, b in zip(encoder_maps(model, x)[1:3], encoder_maps(colour, shown)[1:3], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    if channels == 4:
        x[..., 3] = 255  # a channel that says something is heard
        assert np.abs(encoder_maps(model, x)[1] - encoder_maps(colour, shown)[1]).max() > 1e-3


def test_blue_comes_first_where_the_weights_want_it():
    model = build_model((None, None, 4), backbone="vgg16", levels=2)
    x = np.zeros((1, 16, 16, 4), "float32")
    x[..., :] = [123.68, 116.779, 103.939, 0] + np.array([1, 2, 3, 0])
    before = keras.Model(model.input, model.get_layer("pad").output)
    expected = [3, 2, 1, -(123.68 + 116.779 + 103.939) / 3]
    np.testing.assert_allclose(outputs(before, x)[0][0, 0, 0], expected, rtol=1e-4)


def test_imagenet_weights_are_asked_of_keras(monkeypatch):
    """They are for 3 channels, whatever the images have."""
    asked = []

    def build(include_top, weights, input_shape):
        asked.append((weights, input_shape[-1]))
        return original(include_top=include_top, weights=None, input_shape=input_shape)

    original = keras.applications.MobileNetV3Small
    monkeypatch.setattr(keras.applications, "MobileNetV3Small", build)
    build_model((None, None, 2), backbone=SMALL, levels=3, weights="imagenet")
    assert asked == [("imagenet", 3), (None, 2)]


def test_the_residual_encoder_takes_weights_for_other_channels(tmp_path):
    small = {"backbone": "light_resnet34", "blocks_per_level": [1, 1], "levels": 3,
             "base_filters": 2}  # fmt: skip
    given = redraw(build_model(**small))
    given.save(tmp_path / "given.keras")
    grey = build_model((None, None, 1), weights=tmp_path / "given.keras", **small)
    x = image(1, 16, 16, 3)
    shown = np.repeat(x[..., :1], 3, axis=-1)
    for a, b in zip(
        encoder_maps(given, shown)[:2], encoder_maps(grey, x[..., :1])[:2], strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_light_encoders_take_weights_of_another_network(tmp_path):
    small = {"levels": 3, "base_filters": 2}
    given = redraw(build_model(mean=50.0, **small))
    given.save(tmp_path / "given.keras")
    taken = build_model(weights=tmp_path / "given.keras", num_classes=3, **small)
    x = image(1, 16, 16, 3)
    for a, b in zip(encoder_maps(given, x)[:2], encoder_maps(taken, x)[:2], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    grey = build_model((None, None, 1), weights=tmp_path / "given.keras", **small)
    shown = np.repeat(x[..., :1], 3, axis=-1)
    for a, b in zip(
        encoder_maps(given, shown)[:2], encoder_maps(grey, x[..., :1])[:2], strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-4)
    with pytest.raises(ValueError, match="layer 'e4_conv1' is missing or another"):
        build_model(weights=tmp_path / "given.keras", levels=4, base_filters=2)
    with pytest.raises(ValueError, match="layer 'e1_conv1' is missing or another"):
        build_model(weights=tmp_path / "given.keras", levels=3, base_filters=4)
    with pytest.raises(ValueError, match="a .keras file"):
        build_model(weights=tmp_path / "given.weights.h5", **small)


# --- Freezing -------------------------------------------------------------------------------------


def changed(model, freeze):
    """Paths of the weights that a step of training changes, after `freeze` on the model."""
    freeze(model)
    model.compile("sgd", SmallObjectLoss())
    before = [np.array(w) for w in model.get_weights()]
    model.train_on_batch(image(2, 32, 32, 3), image(2, 32, 32, 1) > 128)
    pairs = zip(model.weights, before, model.get_weights(), strict=True)
    return {id(weight) for weight, a, b in pairs if not np.array_equal(a, b)}


def test_a_frozen_backbone_keeps_weights_and_moving_statistics(tmp_path):
    model = build_model(backbone=SMALL, levels=3, trainable_backbone=False)
    backbone = {id(weight) for weight in model.get_layer("backbone").weights}
    assert not model.get_layer("backbone").trainable_weights
    moved = changed(model, lambda _: None)
    assert moved and not moved & backbone
    model.save(tmp_path / "frozen.keras")
    again = keras.models.load_model(tmp_path / "frozen.keras")
    assert not again.get_layer("backbone").trainable_weights


def test_freezing_by_level_and_of_batch_norms():
    model = build_model(backbone="mobilenetv2", levels=4)
    levels = backbone_levels(model)
    assert list(levels) == [2, 3, 4]
    weights = {u: {id(w) for layer in of for w in layer.weights} for u, of in levels.items()}
    norms = {id(w) for of in levels.values() for layer in of for w in layer.weights
             if isinstance(layer, keras.layers.BatchNormalization)}  # fmt: skip
    moved = changed(model, lambda m: set_trainable_backbone(m, 4))
    assert not moved & (weights[2] | weights[3]) and moved & weights[4] & norms
    moved = changed(model, lambda m: set_trainable_backbone(m, True, batch_norm=False))
    assert moved & weights[2] and moved & weights[4] and not moved & norms
    moved = changed(model, lambda m: set_trainable_backbone(m, True))
    assert moved & weights[2] & norms


def test_moving_statistics_follow_a_short_run():
    """Keras has MobileNetV3's follow in thousands of steps: a run of hundreds ends before."""
    backbone = build_model(backbone=SMALL, levels=3).get_layer("backbone")
    assert {norm.momentum for norm in batch_norms(backbone)} == {0.9}
    given = construct(SMALL, 3)
    assert {norm.momentum for norm in batch_norms(given)} == {0.999}


def test_what_is_frozen_in_a_model_of_ones_own_stays_so():
    own = own_model(3)
    own.layers[2].trainable = False
    frozen = [layer.trainable for layer in own.layers]
    model = build_model((None, None, 2), backbone=own)
    assert [layer.trainable for layer in model.get_layer("backbone").layers] == frozen


def test_light_encoders_freeze_too():
    with pytest.raises(ValueError, match="`trainable_backbone` must be one of"):
        build_model(levels=3, base_filters=2, trainable_backbone=0)  # no level, and not False
    model = build_model(levels=3, base_filters=2, trainable_backbone=3)
    frozen = [layer.name for layer in model.layers if not layer.trainable]
    assert "e1_conv1" in frozen and "e2_bn2" in frozen and "e3_conv1" not in frozen


# --- Any size -------------------------------------------------------------------------------------


def test_padding_is_that_of_the_mean_and_does_not_come_out():
    """A size that needs none is not padded; another gives what its padded image gives there."""
    model = redraw(build_model(backbone=SMALL))
    padded = keras.Model(model.input, model.get_layer("pad").output)
    assert outputs(padded, image(1, 64, 96, 3))[0].shape == (1, 64, 96, 3)
    x = image(1, 40, 50, 3).astype("float32")
    by_hand = np.full((1, 64, 64, 3), 127.5, "float32")  # the mean of this family
    by_hand[:, :40, :50] = x
    whole = outputs(model, by_hand)[0]
    np.testing.assert_allclose(outputs(model, x)[0], whole[:, :40, :50], atol=1e-5)


def test_what_lies_beyond_the_border_is_not_seen_from_afar():
    """Farther from the border than the receptive field, an image and its margin do not meet."""
    from keras_deepskip.analysis import receptive_field

    model = redraw(build_model(levels=3, base_filters=2))
    reach = receptive_field(model).size
    wide = image(1, 16, 2 * reach + 4, 3)
    narrow = wide[:, :, : 2 * reach + 1]  # padded to a multiple of 4
    far = reach + 1
    np.testing.assert_allclose(
        outputs(model, narrow)[0][:, :, :far], outputs(model, wide)[0][:, :, :far], atol=1e-6
    )


# --- What cannot be -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "resnet5"}, "Did you mean 'resnet50'"),
        ({"backbone": "MobileNet_V2"}, "Did you mean 'mobilenetv2'"),
        ({"backbone": "xception"}, "'xception' does not fit: its convolutions with 'valid'"),
        ({"backbone": "nasnetmobile"}, "cannot be built for images of any size"),
        ({"backbone": SMALL, "levels": 7}, "`levels` must be at most 6"),
        ({"backbone": SMALL, "levels": 2, "decoder_filters": (8, 8)}, "levels - 1 = 1 entries"),
        ({"backbone": SMALL, "trainable_backbone": 5, "levels": 3}, "`trainable_backbone` must be"),
        ({"backbone": SMALL, "input_shape": (8, 8, 8, 1)}, "volumes .* go with the light encoders"),
        ({"backbone": SMALL, "blocks_per_level": (1, 1)}, "belongs to backbone='light_resnet34'"),
        ({"backbone": 3}, "`backbone` must be a name, or a built functional"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        build_model(**options)


def test_bad_models():
    own = own_model()
    with pytest.raises(ValueError, match="takes images of 2 channels. Received: .* 3"):
        build_model(backbone=own)
    with pytest.raises(ValueError, match="leave `weights` out"):
        build_model((None, None, 2), backbone=own, weights="some.weights.h5")
    with pytest.raises(ValueError, match=r"have the strides \[None\]"):
        build_model((None, None, 2), backbone=own_model(padding="valid"))
    flat = keras.Sequential(
        [keras.Input((None, None, 2)), keras.layers.Conv2D(3, 3, padding="same")]
    )
    with pytest.raises(ValueError, match=r"maps of the strides \[1\]"):
        build_model((None, None, 2), backbone=flat)
    with pytest.raises(ValueError, match="takes images of 16 x 16"):
        build_model((None, None, 2), backbone=own_model(size=16))


def test_bad_weights(tmp_path, donor):
    _, folder = donor
    with pytest.raises(FileNotFoundError, match="imagenet', or a file that is there"):
        build_model(backbone=SMALL, weights=tmp_path / "none.weights.h5")
    with pytest.raises(ValueError, match="backbone.weights.h5: weights of the backbone 'resnet18'"):
        build_model(backbone="resnet18", weights=folder / "backbone.weights.h5")
    with pytest.raises(ValueError, match="with the same levels were expected"):
        build_model(backbone=SMALL, levels=4, weights=folder / "network.keras")
    build_model(levels=2, base_filters=2).save(tmp_path / "light.keras")
    with pytest.raises(ValueError, match="which has no layer 'backbone'"):
        build_model(backbone=SMALL, weights=tmp_path / "light.keras")
    (tmp_path / "torn.weights.h5").write_bytes(b"no such thing")
    with pytest.raises(ValueError, match="torn.weights.h5: .* damaged"):
        build_model(backbone=SMALL, levels=3, weights=tmp_path / "torn.weights.h5")


def test_every_name_is_known_to_keras():
    for name, (constructor, _) in APPLICATIONS.items():
        assert callable(constructor) or hasattr(keras.applications, constructor), name
