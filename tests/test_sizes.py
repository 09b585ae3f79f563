"""Many sizes of images: the results of one pass, by few programs under JAX."""

import gc
import weakref

import keras
import numpy as np
import pytest

from keras_deepskip import _sizes
from keras_deepskip.architectures import deepskip
from keras_deepskip.folding import fold_batch_norm
from keras_deepskip.inference.tiled import predict_tiled, probabilities_of
from keras_deepskip.metrics import ObjectMetricsCallback
from keras_deepskip.models import build_model

ON_JAX = pytest.mark.skipif(keras.backend.backend() != "jax", reason="compiles for no size")
SIZES = [(40, 56), (41, 57), (16, 16), (7, 90), (129, 64), (128, 128), (63, 1)]


def small(channels=3, **options):
    """A network whose borders differ from its middle: with biases, and statistics of its own."""
    options = {"base_filters": 4, "levels": 3, **options}
    model = build_model((None, None, channels), **options)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if "variance" in weight.path:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif "moving" in weight.path or "beta" in weight.path or "bias" in weight.path:
            weight.assign(rng.normal(0, 0.3, weight.shape))
    return model


def drawn(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype("float32")


def alone(model, images):
    return keras.ops.convert_to_numpy(model.predict_on_batch(images))


def programs_of(model):
    return _sizes._known[model]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_classes": 3, "skips": "flat"},
        {"backbone": "light_resnet34"},
        {"architecture": "unet"},
    ],
)
def test_results_are_those_of_one_pass(options):
    for model in (small(**options), fold_batch_norm(small(**options))):
        for height, width in SIZES:
            images = drawn((2, height, width, 3))
            found = np.asarray(_sizes.predict_on_batch(model, images))
            np.testing.assert_allclose(found, alone(model, images), atol=1e-5)
        if keras.backend.backend() == "jax":
            assert programs_of(model)._stride and programs_of(model)._canvases


@ON_JAX
def test_a_folder_of_sizes_compiles_a_handful_of_programs():
    model = small(base_filters=2, levels=2)
    rng = np.random.default_rng(1)
    sizes = rng.integers(20, 250, (40, 2))
    for height, width in sizes:
        probabilities_of(model, drawn((height, width, 3)).astype("uint8"))
    programs = programs_of(model)
    assert len(programs._own) == 1 and len(programs._canvases) <= 4
    assert programs._masked._cache_size() == len(programs._canvases)


def test_a_thousand_sizes_need_few_canvases():
    """By the rule alone: nothing is computed."""
    programs = object.__new__(_sizes._Programs)
    programs._stride, programs._canvases = 16, []
    sizes = np.random.default_rng(0).integers(60, 1000, (1000, 2)).tolist()
    computed = 0
    for height, width in sizes:
        canvas = programs._canvas((1, height, width, 3))
        assert canvas[1] >= height and canvas[2] >= width
        computed += canvas[1] * canvas[2]
    assert len(programs._canvases) <= 16
    assert computed < 2.5 * np.prod(sizes, axis=1).sum()


@ON_JAX
def test_a_size_that_comes_often_gets_a_program_of_its_own(monkeypatch):
    monkeypatch.setattr(_sizes, "OFTEN", 3)
    model = small()
    for size in [(40, 40), *[(50, 50)] * 4, (60, 60)]:
        _sizes.predict_on_batch(model, drawn((1, *size, 3)))
    assert {shape[1:3] for shape in programs_of(model)._own} == {(40, 40), (50, 50)}


@ON_JAX
def test_another_number_of_images_of_a_known_size_needs_no_canvas():
    """As in a stream, whose batches are warmed up: what is compiled is the image's size."""
    model = small()
    for count in (4, 1, 2):
        _sizes.predict_on_batch(model, drawn((count, 40, 40, 3)))
    assert len(programs_of(model)._own) == 3 and not programs_of(model)._canvases


@ON_JAX
def test_a_model_is_analysed_once_and_freed():
    """Also one that was predicted on a canvas."""
    model, calls = small(levels=2), []
    stride = _sizes.grid_stride
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_sizes, "grid_stride", lambda own: calls.append(0) or stride(own))
        for size in (40, 50, 40, 50):
            _sizes.predict_on_batch(model, drawn((1, size, size, 3)))
    assert len(calls) == 1 and programs_of(model)._canvases
    known = weakref.ref(model)
    del model
    keras.backend.clear_session()
    gc.collect()
    assert known() is None


@ON_JAX
@pytest.mark.parametrize("kind", ["whole image", "unknown layer"])
def test_a_model_for_which_no_canvas_will_do_is_predicted_as_ever(kind):
    inputs = keras.Input((None, None, 1))
    x = keras.layers.Conv2D(2, 3, padding="same", activation="relu")(inputs)
    if kind == "whole image":
        x = x - keras.ops.mean(x, axis=(1, 2), keepdims=True)
    else:
        x = keras.layers.UnitNormalization(axis=(1, 2))(x)
    model = keras.Model(inputs, keras.layers.Conv2D(1, 1, activation="sigmoid")(x))
    for size in SIZES[:4]:
        images = drawn((1, *size, 1))
        found = np.asarray(_sizes.predict_on_batch(model, images))
        np.testing.assert_allclose(found, alone(model, images), atol=1e-6)


def test_models_of_one_size_volumes_and_windows():
    """What the package predicts whole and in windows agrees, whatever was predicted before."""
    model = small()
    for size in SIZES[:3]:
        probabilities_of(model, drawn((*size, 3)))
    image = drawn((150, 170, 3), 3)
    expected = alone(model, image[None])[0]
    found = predict_tiled(model, image, tile=96, tta=None)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    fixed = deepskip(levels=2)
    assert probabilities_of(fixed, drawn((20, 21, 3))).shape == (20, 21, 1)
    volumes = build_model((None, None, None, 1), levels=2, base_filters=2)
    for depth in (3, 4):
        found = _sizes.predict_on_batch(volumes, drawn((1, depth, 8, 8, 1)))
        assert tuple(found.shape) == (1, depth, 8, 8, 1)


class Batches(keras.utils.PyDataset):
    """One image a batch, each of another size."""

    num_batches = 4

    def __len__(self):
        return self.num_batches

    def __getitem__(self, index):
        image = drawn((1, 30 + 3 * index, 40 + index, 3))
        return image, (image[..., :1] > 128).astype("uint8")


def test_the_callback_sees_the_weights_of_its_epoch():
    """Programs are compiled once, and take the weights as they are."""
    model = small()
    model.compile(keras.optimizers.SGD(0.5), "binary_crossentropy")
    watch = ObjectMetricsCallback(Batches())
    seen = []

    class Outputs(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            images = Batches()[3][0]
            found = np.asarray(keras.ops.convert_to_numpy(_sizes.predict_on_batch(model, images)))
            seen.append((found, alone(model, images)))

    images, masks = drawn((4, 32, 32, 3)), np.ones((4, 32, 32, 1))
    model.fit(images, masks, batch_size=2, epochs=3, verbose=0, callbacks=[watch, Outputs()])
    for found, expected in seen:
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(seen[0][0] - seen[-1][0]).max() > 1e-4


def test_sides_of_canvases():
    assert [_sizes.side(n) for n in (1, 128, 129, 1024)] == [128, 128, 256, 1024]
    assert [_sizes.side(n, fine=True) for n in (128, 129, 193, 1025)] == [128, 192, 256, 1536]
    assert _sizes.side(70, multiple=48) == 144


def test_a_model_of_several_inputs_gives_a_row_for_each_image():
    inputs = {name: keras.Input((None, None, 1), name=name) for name in ("image", "other")}
    model = keras.Model(inputs, keras.layers.Add()(list(inputs.values())))
    values = np.random.default_rng(0).random((5, 8, 9, 1)).astype("float32")
    found = _sizes.predict_on_batch(model, {"image": values, "other": values})
    np.testing.assert_allclose(keras.ops.convert_to_numpy(found), 2 * values, rtol=1e-6)
