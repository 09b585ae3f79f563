"""A folded model computes what the model does, with its batch norms gone."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_deepskip import build_model, fold_batch_norm
from keras_deepskip.folding import affine
from keras_deepskip.layers import FeatureAggregation, UpsampledConv3D
from keras_deepskip.layers.conv_block import conv_bn_relu


def settle(model, seed=0):
    """Gives every weight a value of its own, as training does: variances and gammas positive."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        drawn = rng.standard_normal(weight.shape)
        positive = weight.path.endswith(("gamma", "moving_variance"))
        weight.assign(0.5 + 0.3 * abs(drawn) if positive else 0.1 * drawn)
    return model


def norms(model):
    return [w.path for w in model.weights if w.path.endswith("moving_mean")]


def assert_equal(model, *shapes, left=0):
    """The folded model's outputs are the model's, and `left` batch norms are left."""
    settle(model)
    before = model.get_weights()
    folded = fold_batch_norm(model)
    assert len(norms(folded)) == left < len(norms(model))
    rng = np.random.default_rng(1)
    images = [rng.uniform(0, 1, shape).astype("float32") for shape in shapes]
    images = images if len(images) > 1 else images[0]
    expected, found = (
        keras.tree.flatten(each.predict_on_batch(images)) for each in (model, folded)
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * max(1, abs(other).max()))
    for kept, weight in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, weight)
    return folded


@pytest.mark.parametrize("backbone", ["light_vgg16", "light_resnet34"])
@pytest.mark.parametrize("skips", ["deep", "flat"])
def test_our_networks(backbone, skips, tmp_path):
    """At a size that is no multiple of the stride; also after saving the folded one."""
    options = {"skips": skips, "base_filters": 4, "levels": 3, "dropout": 0.1}
    model = build_model(num_classes=2, backbone=backbone, input_range=(0, 1), **options)
    folded = assert_equal(model, (2, 45, 37, 3))
    folded.save(tmp_path / "folded.keras")
    again = keras.models.load_model(tmp_path / "folded.keras")
    x = np.random.default_rng(2).uniform(0, 1, (1, 20, 24, 3)).astype("float32")
    np.testing.assert_allclose(again.predict_on_batch(x), folded.predict_on_batch(x), atol=1e-6)


def test_every_kind_of_convolution():
    x = inputs = keras.Input((8, 10, 3))
    for conv in (
        layers.Conv2D(4, 3, use_bias=False),
        layers.DepthwiseConv2D(3, depth_multiplier=2),
        layers.Conv2DTranspose(5, 3, strides=2),
        layers.Conv2D(10, 1, groups=5),
    ):
        x = layers.ReLU()(layers.BatchNormalization()(conv(x)))
    assert_equal(keras.Model(inputs, x), (2, 8, 10, 3))


def test_volumes():
    inputs = keras.Input((None, None, None, 2))
    fine = conv_bn_relu(inputs, 4, 3, "fine")
    x = conv_bn_relu(fine, 6, 3, "coarse", strides=2)
    other = layers.BatchNormalization()(layers.Conv3DTranspose(3, 2, strides=2)(x))
    x = layers.BatchNormalization()(UpsampledConv3D(4, factor=2, use_bias=False)(x))
    x = FeatureAggregation(5, dropout=0.1)([fine, x, other])
    assert_equal(keras.Model(inputs, x), (2, 4, 6, 2, 2))


def test_a_norm_without_scale_or_centre():
    x = inputs = keras.Input((6, 6, 2))
    x = layers.BatchNormalization(scale=False)(layers.Conv2D(4, 3)(x))
    x = layers.BatchNormalization(center=False)(layers.Conv2D(4, 3)(x))
    assert_equal(keras.Model(inputs, x), (2, 6, 6, 2))


def test_what_must_stay_a_batch_norm():
    """Behind an activation, behind a map that is used twice, behind no convolution."""
    inputs = keras.Input((8, 8, 3))
    active = layers.BatchNormalization()(layers.Conv2D(4, 3, activation="relu")(inputs))
    twice = layers.Conv2D(4, 3)(inputs)
    added = layers.Add()([layers.BatchNormalization()(twice), twice])
    alone = layers.BatchNormalization()(inputs)
    folded = layers.BatchNormalization()(layers.Conv2D(4, 3)(inputs))
    shared = layers.Conv2D(2, 3)
    seen = layers.BatchNormalization()(shared(inputs))
    outputs = [active, added, alone, folded, seen, shared(alone)]
    assert_equal(keras.Model(inputs, outputs), (2, 8, 8, 3), left=4)


def test_a_map_that_is_an_output_too():
    inputs = keras.Input((8, 8, 3))
    conv = layers.Conv2D(4, 3)(inputs)
    other = layers.BatchNormalization()(layers.Conv2D(4, 3)(inputs))
    model = keras.Model(inputs, [conv, layers.BatchNormalization()(conv), other])
    assert_equal(model, (2, 8, 8, 3), left=1)


def test_models_within_models_and_sequential_ones():
    inner = keras.Sequential(
        [keras.Input((8, 8, 4)), layers.Conv2D(4, 3), layers.BatchNormalization(), layers.ReLU()]
    )
    x = inputs = keras.Input((10, 10, 3))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3)(x))
    model = keras.Model(inputs, inner(x) + 1.0)
    assert_equal(model, (2, 10, 10, 3))
    assert_equal(keras.Sequential([keras.Input((10, 10, 3)), model]), (2, 10, 10, 3))


def test_several_inputs_of_a_compiled_model():
    a, b = keras.Input((8, 8, 3), name="a"), keras.Input((8, 8, 2), name="b")
    first = layers.BatchNormalization()(layers.Conv2D(4, 3)(a))
    second = layers.BatchNormalization()(layers.Conv2D(4, 3)(b))
    model = keras.Model([a, b], layers.Concatenate()([first, second]))
    model.compile("adam", "mse")
    assert not assert_equal(model, (2, 8, 8, 3), (2, 8, 8, 2)).compiled


def test_affine_by_hand():
    """gamma (x - mean) / sqrt(variance + epsilon) + beta, of one channel."""
    norm = layers.BatchNormalization(epsilon=1.0)
    norm.build((None, 1))
    norm.set_weights([np.array([value], "float32") for value in (4, 5, 6, 3)])
    scale, shift = affine(norm)
    assert scale.tolist() == [2.0] and shift.tolist() == [5 - 6 * 2.0]


def test_what_cannot_be_folded():
    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match="expected a functional .*Received: Own"):
        fold_batch_norm(Own())
