"""Every architecture beside the deep-skip network: one contract, and its count of weights."""

import importlib.util

import keras
import numpy as np
import pytest

from keras_deepskip import analysis, build_model, cli
from keras_deepskip.architectures import ARCHITECTURES
from keras_deepskip.encoders.full_resnet import resnet18
from keras_deepskip.export import export
from keras_deepskip.layers import DeepSupervision
from keras_deepskip.losses import DeepSupervisionLoss, SmallObjectLoss
from keras_deepskip.studies.rivals.dilated_encoder import dilate

pytestmark = pytest.mark.studies

# The smallest form of each that is still the same network.
SMALL = {
    "unet": {"base_filters": 2, "levels": 3},
    "unet3plus": {"base_filters": 2, "levels": 3},
    "fcn8s": {"backbone": "light_vgg16", "fc_filters": 4},
    "pspnet": {
        "backbone": "light_resnet34",
        "blocks_per_level": (1, 1, 1, 1),
        "pyramid_filters": 4,
        "bins": (1, 3),
    },
    "h_denseunet": {"growth": 2, "blocks": (1, 2, 1, 1), "first_filters": 4, "features": 4},
    "mask_rcnn": {
        "backbone": "light_vgg16",
        "levels": 3,
        "base_filters": 2,
        "fpn_filters": 4,
        "fc_units": 8,
        "mask_filters": 4,
        "mask_size": 8,
        "proposals": 20,
        "detections": 6,
    },
}
FEW_CHANNELS = 3
# What costs most, for the rivals under one backend: what differs between backends is in the layers.
RIVALS = [
    name if name == "unet" else pytest.param(name, marks=pytest.mark.one_backend) for name in SMALL
]


def images(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype("uint8")


def small(name, num_classes=1, channels=FEW_CHANNELS, **options):
    keras.utils.set_random_seed(0)
    return build_model((None, None, channels), num_classes, name, **{**SMALL[name], **options})


def training_loss(model):
    last, loss = model.layers[-1], SmallObjectLoss()
    supervised = isinstance(last, DeepSupervision)
    return DeepSupervisionLoss(loss, weights=last.level_weights) if supervised else loss


@pytest.mark.parametrize(("name", "num_classes"), [("unet", 1), *((name, 3) for name in SMALL)])
def test_any_size_save_and_load(name, num_classes, tmp_path):
    model = small(name, num_classes)
    model.save(tmp_path / "network.keras")
    again = keras.models.load_model(tmp_path / "network.keras")
    for height, width in ((1, 1), (33, 50)):
        x = images(2, height, width, FEW_CHANNELS)
        out = model.predict(x, verbose=0)
        assert out.shape == (2, height, width, num_classes) and out.dtype == np.float32
        assert out.min() >= 0 and out.max() <= 1
        if num_classes > 1:
            np.testing.assert_allclose(out.sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(again.predict(x, verbose=0), out, atol=1e-5)


ON_EACH_BACKEND = ("unet", "mask_rcnn")  # of whole networks of varying size; the rest on one


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ON_EACH_BACKEND else pytest.mark.one_backend)
        for name in SMALL
    ],
)
def test_single_images_of_several_sizes(name):
    """As `evaluate` and `predict` ask: one image at a time, by a compiled function."""
    model = small(name)
    for size in ((33, 50), (40, 40), (50, 33)):
        x = images(1, *size, FEW_CHANNELS)
        out = keras.ops.convert_to_numpy(model.predict_on_batch(x))
        np.testing.assert_allclose(out, keras.ops.convert_to_numpy(model(x)), atol=1e-5)


@pytest.mark.parametrize("name", [name for name in SMALL if name != "mask_rcnn"])
def test_one_training_step(name):
    """Finite, and every kernel has a gradient."""
    model = small(name)
    model.compile(keras.optimizers.SGD(1.0), training_loss(model))
    before = [np.array(w) for w in model.get_weights()]
    truth = (images(2, 33, 50, 1, seed=1) > 200).astype("int32")
    assert np.isfinite(model.train_on_batch(images(2, 33, 50, FEW_CHANNELS), truth))
    same = [np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    stuck = [
        w.path for w, is_same in zip(model.weights, same, strict=True) if is_same and w.trainable
    ]
    assert not [path for path in stuck if path.endswith("kernel")], "kernels without gradient"


@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="needs TensorFlow")
@pytest.mark.parametrize("name", RIVALS)
def test_export(name, tmp_path):
    """A SavedModel for any size gives what Keras gives (`export` compares, and fails else)."""
    report = export(small(name), tmp_path / "network")
    assert max(report.differences.values()) < 1e-5 and (tmp_path / "network").is_dir()


@pytest.mark.parametrize(
    "name",
    [
        "fcn8s",
        pytest.param("unet3plus", marks=pytest.mark.one_backend),
        pytest.param("pspnet", marks=pytest.mark.one_backend),
    ],
)
def test_mixed_precision_and_analysis(name):
    """Scores stay float32; the whole image is seen by the pyramid alone."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = small(name)
    finally:
        keras.config.set_dtype_policy(before)
    for training in (False, True):
        out = model(images(2, 9, 20, FEW_CHANNELS), training=training)
        assert keras.backend.standardize_dtype(out.dtype) == "float32"
    assert keras.backend.standardize_dtype(model.output.dtype) == "float32"
    report = analysis.analyze(model, height=64, width=64)
    assert report.total[4] > 0 and (report.seen == "whole image") == (name == "pspnet")


def test_unet3plus_supervises_every_level():
    model = small("unet3plus", num_classes=2, deep_supervision=True)
    x = images(1, 9, 20, FEW_CHANNELS)
    assert tuple(model(x, training=True).shape) == (1, 9, 20, 3 * 2)
    assert tuple(model(x).shape) == (1, 9, 20, 2)


@pytest.mark.parametrize("name", ["unet3plus", "fcn8s", "pspnet"])
def test_volumes_are_refused_by_networks_of_images(name):
    with pytest.raises(ValueError, match=f"architecture='{name}' works on images"):
        build_model((None, None, None, 1), 1, name)


def test_options_without_meaning_are_refused():
    with pytest.raises(ValueError, match="`backbone` must be one of 'vgg16'"):
        build_model(architecture="fcn8s", backbone="resnet50")
    with pytest.raises(ValueError, match="`blocks_per_level` belongs to"):
        build_model(architecture="pspnet", backbone="resnet18", blocks_per_level=(1, 1, 1, 1))
    with pytest.raises(ValueError, match="trained with its network. Received: weights='imagenet'"):
        build_model(architecture="pspnet", backbone="light_resnet34", weights="imagenet")


def test_a_dilated_resnet_sees_what_the_strided_one_sees():
    """The pixels on the strided network's grid are the same, with the same weights; and it freezes.

    Of stage 3, whose strides alone are gone here, pixel (2 i, 2 j) is the old (i, j).
    """
    keras.utils.set_random_seed(0)
    strided = resnet18((None, None, 3))
    strided = keras.Model(strided.input, strided.get_layer("stage3_block2_relu").output)
    dilated = dilate(strided, {"stage3_": 2})
    x = np.random.default_rng(0).standard_normal((1, 64, 96, 3)).astype("float32")
    coarse, fine = (model.predict(x, verbose=0) for model in (strided, dilated))
    assert fine.shape == (1, 8, 12, 256)
    np.testing.assert_allclose(fine[:, ::2, ::2], coarse, atol=1e-4 * abs(coarse).max())
    model = small("pspnet", trainable_backbone=4)
    trained = {w.path.split("/")[-2][:2] for w in model.get_layer("backbone").trainable_weights}
    assert trained == {"e4", "e5"}


# ---- Counts --------------------------------------------------------------------------------------


def test_unet_counts():
    """The paper gives none; 31,030,593 is what its layers sum to, of one channel and one score."""
    model = build_model((None, None, 1), 1, "unet")
    levels = [64 * 2**u for u in range(5)]
    down = sum(9 * a * b + b + 9 * b * b + b for a, b in zip([1, *levels], levels, strict=False))
    up = sum(4 * 2 * c * c + c + 9 * 2 * c * c + c + 9 * c * c + c for c in levels[:-1])
    assert model.count_params() == down + up + 65 == 31_030_593


def test_unet3plus_counts():
    """Of each 3x3 convolution 9 a b weights, without bias, and four numbers a channel of its norm.

    26.97 M is published. The authors' layers have a bias before each norm and a 3x3 head; counted
    without running statistics they are 26,971,777.
    """
    model = build_model((None, None, 3), 1, "unet3plus")
    widths = [64, 128, 256, 512, 1024]
    pairs = [(a, b) for a, b in zip([3, *widths], widths, strict=False)] + [(b, b) for b in widths]
    for u in range(1, 5):  # to level u: encoder maps 1 .. u, decoder maps of 320, and the bottom
        pairs += [(into, 64) for into in (*widths[:u], *[320] * (4 - u), 1024)] + [(320, 320)]
    kernels, channels = sum(9 * a * b for a, b in pairs), sum(b for _, b in pairs)
    assert model.count_params() == kernels + 4 * channels + 321 == 26_975_745
    assert kernels + 3 * channels + 9 * 320 + 1 == 26_971_777


@pytest.mark.one_backend
def test_fcn8s_counts():
    """The paper says 134 M; the same sum of the published FCN-8s for 21 classes is 134,489,759."""
    model = build_model((None, None, 3), 21, "fcn8s")
    widths = [3, 64, 64, 128, 128, *[256] * 3, *[512] * 6]
    vgg = sum(9 * a * b + b for a, b in zip(widths, widths[1:], strict=False))
    head = 7 * 7 * 512 * 4096 + 4096 + 4096 * 4096 + 4096
    scores = sum(channels * 21 + 21 for channels in (4096, 512, 256))
    fixed = 16 * 16 * 21 * 21
    learned = vgg + head + scores + 2 * 4 * 4 * 21 * 21
    assert model.count_params() == learned + fixed == 134_489_759
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == learned


def test_pspnet_counts():
    """ResNet50 has 23,587,712 in Keras, statistics and biases included; the rest by figure 3.

    Published figures are from 46.7 M (without the auxiliary head) to 49.0 M (with it).
    """
    model = build_model((None, None, 3), 21, "pspnet")
    pyramid = 4 * (2048 * 512 + 4 * 512)
    fuse = 9 * 4096 * 512 + 4 * 512 + 512 * 21 + 21
    auxiliary = 9 * 1024 * 256 + 4 * 256 + 256 * 21 + 21
    assert model.count_params() == 23_587_712 + pyramid + fuse + auxiliary == 49_043_114


def test_all_architectures_keep_the_contract():
    outside = {"hub_deeplab", "smp"}  # in test_outside.py
    assert set(SMALL) == set(ARCHITECTURES) - {"deepskip"} - outside


def test_the_command_line_takes_an_architecture_and_its_own_options(capsys):
    arguments = ["--base-filters", "2", "--levels", "3", "--size", "32"]
    counts = []
    for option in ("batch_norm=false", "batch_norm=true"):
        command = ["analyze", "--architecture", "unet", *arguments, "--option", option]
        assert cli.main(command) == 0
        counts.append(capsys.readouterr().out)
    assert counts[0] != counts[1] and "by the equations" not in counts[0]
    assert cli.main(["analyze", "--architecture", "unet", "--option", "batch_normal=1"]) == 1
    assert "Did you mean 'batch_norm'" in capsys.readouterr().err
    assert cli.main(["analyze", "--architecture", "unet", "--skips", "flat"]) == 1
    assert "`option` must be one of 'base_filters'" in capsys.readouterr().err
