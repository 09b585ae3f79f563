"""`build_model`: one contract for every network, and each option changes something."""

import keras
import numpy as np
import pytest

from keras_deepskip import build_model
from keras_deepskip.losses import SmallObjectLoss
from keras_deepskip.models import is_multilabel, mean_model

SMALL = {"levels": 3, "base_filters": 2}
NETWORKS = {
    "vgg_deep": {"backbone": "light_vgg16", **SMALL},
    "resnet_deep": {"backbone": "light_resnet34", "blocks_per_level": [1, 2], **SMALL},
    "resnet_flat": {"backbone": "light_resnet34", "skips": "flat", "blocks_per_level": [1, 1],
                    **SMALL},
    "dropout": {"dropout": 0.3, **SMALL},
    "five_by_five": {"kernel_size": 5, **SMALL},
    "paper": {},
}  # fmt: skip
TASKS = {
    "binary": (1, {}),
    "several": (4, {}),
    "multilabel": (3, {"multilabel": True}),
}


def images(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype("uint8")


def truth(task, classes, shape):
    rng = np.random.default_rng(1)
    if task == "multilabel":
        return rng.integers(0, 2, (*shape, classes)).astype("int32")
    return rng.integers(0, max(2, classes), (*shape, 1)).astype("int32")


@pytest.mark.parametrize(
    ("network", "task"),
    [*((network, "binary") for network in NETWORKS), ("vgg_deep", "several"),
     ("resnet_deep", "several"), ("vgg_deep", "multilabel")],
)  # fmt: skip
def test_network_contract(network, task, tmp_path):
    """Any size in predict and fit, float32 probabilities, save and load with equal outputs."""
    classes, extra = TASKS[task]
    model = build_model((None, None, 2), classes, **NETWORKS[network], **extra)
    model.compile(keras.optimizers.SGD(1.0), SmallObjectLoss(multilabel=task == "multilabel"))
    shape = (2, 19, 33)
    before = [np.array(w) for w in model.get_weights()]
    loss = model.train_on_batch(images(*shape, 2), truth(task, classes, shape))
    assert np.isfinite(loss)
    changed = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    trained = [w.path for w, moved in zip(model.weights, changed, strict=True) if not moved]
    assert not [path for path in trained if path.endswith("kernel")], "kernels without gradient"

    model.save(tmp_path / "network.keras")
    again = keras.models.load_model(tmp_path / "network.keras")
    for height, width in ((1, 1), (17, 40)):
        x = images(2, height, width, 2)
        out = model.predict(x, verbose=0)
        assert out.shape == (2, height, width, classes) and out.dtype == np.float32
        assert out.min() >= 0 and out.max() <= 1
        if task == "several":
            np.testing.assert_allclose(out.sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(again.predict(x, verbose=0), out, atol=1e-5)


def test_a_very_long_image():
    model = build_model((None, None, 1), **SMALL)
    assert model.predict(images(1, 17, 4001, 1), verbose=0).shape == (1, 17, 4001, 1)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_outputs_are_float32_under_every_policy(policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = build_model((None, None, 1), input_range=(0, 65535), **SMALL)
        out = model(np.full((1, 16, 16, 1), 65535.0, "float32"))
        assert keras.backend.standardize_dtype(out.dtype) == "float32"
        assert np.isfinite(keras.ops.convert_to_numpy(out)).all()
    finally:
        keras.config.set_dtype_policy("float32")


def test_fit_on_batches_of_several_sizes():
    """Also what TensorFlow relaxes to unknown sizes after the third."""

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            side = (16, 24, 19, 33)[index] if keras.backend.backend() != "jax" else 16 + index % 2
            return images(2, side, side + 3, 1), truth("binary", 1, (2, side, side + 3))

    model = build_model((None, None, 1), **SMALL)
    model.compile("sgd", SmallObjectLoss())
    history = model.fit(Batches(), epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"][0])


def test_logits_are_the_probabilities_before_the_activation():
    keras.utils.set_random_seed(3)
    probabilities = build_model((None, None, 3), 3, **SMALL)
    logits = build_model((None, None, 3), 3, activation=None, **SMALL)
    logits.set_weights(probabilities.get_weights())
    x = images(1, 16, 16, 3)
    raw = logits.predict(x, verbose=0)
    soft = np.exp(raw) / np.exp(raw).sum(-1, keepdims=True)
    np.testing.assert_allclose(probabilities.predict(x, verbose=0), soft, atol=1e-5)


def test_normalization_is_fixed_and_inside():
    """The same scene in another range of values, or shifted with its mean, gives the same."""
    models = []
    for options in (
        {"input_range": (0, 255)},
        {"input_range": (0, 1)},
        {"mean": [127.5] * 3, "variance": 127.5**2},
    ):
        keras.utils.set_random_seed(0)
        models.append(build_model(**options, **SMALL))
    x = images(1, 20, 20, 3).astype("float32")
    expected = models[0].predict(x, verbose=0)
    np.testing.assert_allclose(models[1].predict(x / 255, verbose=0), expected, atol=1e-5)
    np.testing.assert_allclose(models[2].predict(x, verbose=0), expected, atol=1e-5)
    part = models[0].predict(np.concatenate([x, np.zeros_like(x)]), verbose=0)[:1]
    np.testing.assert_allclose(part, expected, atol=1e-5, err_msg="another image changed this one")


def test_options_change_the_network():
    def size(**options):
        return build_model(**{**SMALL, **options}).count_params()

    assert size(skips="flat") < size(skips="deep")
    assert (
        size(levels=4) > size() and size(base_filters=3) > size() and size(kernel_size=5) > size()
    )
    assert size(backbone="light_resnet34") > size(
        backbone="light_resnet34", blocks_per_level=[1, 1]
    )
    assert size(input_shape=(None, None, 9)) > size() and size(num_classes=4) > size()
    assert build_model(name="mine", **SMALL).name == "mine"
    drops = [
        layer for layer in build_model(dropout=0.5, **SMALL).layers if getattr(layer, "dropout", 0)
    ]
    assert len(drops) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "light_vgg61"}, "Did you mean 'light_vgg16'"),
        ({"architecture": "deep-skip"}, "`architecture` must be one of 'deepskip'"),
        ({"skips": "wide"}, "`skips` must be one of 'deep', 'flat'"),
        ({"levels": 1}, "`levels` must be an integer of at least 2"),
        ({"base_filters": 0}, "`base_filters`"),
        ({"kernel_size": 4}, "odd integer"),
        ({"dropout": 1.5}, "`dropout`"),
        ({"num_classes": 0}, "`num_classes`"),
        ({"activation": "relu"}, "`activation` must be one of 'auto', None"),
        ({"input_shape": (None, None)}, "`input_shape` must be"),
        ({"input_shape": (None, None, 0)}, "`input_shape` must be"),
        ({"input_range": (1, 1)}, "low < high"),
        ({"mean": [1, 2]}, "each of the 3 input channels"),
        ({"variance": -1.0}, "not negative"),
        ({"blocks_per_level": (1, 1)}, "belongs to backbone='light_resnet34'"),
        ({"backbone": "light_resnet34", "blocks_per_level": (1, 1)}, "levels - 1 = 4"),
        ({"backbone": "light_resnet34", "levels": 7}, "levels - 1 = 6"),
        ({"base_filter": 8}, "Did you mean 'base_filters'"),
        ({"decoder_filters": 3}, "`decoder_filters` must be a list of integers"),
        ({"backbone": "light_resnet34", "blocks_per_level": 3}, "must be a list of integers"),
        ({"deep_supervision": "x"}, "`deep_supervision` must be one of True, False"),
        ({"architecture": "unet", "batch_norm": "x"}, "`batch_norm` must be one of True, False"),
        ({"trainable_backbone": "x"}, "`trainable_backbone` must be one of"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        build_model(**options)


def test_wrong_channels_are_named():
    model = build_model((None, None, 3), **SMALL)
    with pytest.raises(ValueError, match=r"expected shape=\(None, None, None, 3\), found .* 4\)"):
        model(images(1, 16, 16, 4))


def test_models_of_classes_that_overlap_are_known():
    """By what their output ends in, whatever comes after it in the graph."""
    small = {"num_classes": 3, "levels": 2, "base_filters": 2}
    for own in ({}, {"deep_supervision": True}):
        for multilabel in (False, True):
            model = build_model(**small, **own, multilabel=multilabel)
            assert is_multilabel(model) == is_multilabel(mean_model([model, model])) == multilabel
    assert not is_multilabel(build_model(levels=2, base_filters=2))
