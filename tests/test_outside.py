"""Networks of other packages in the frame of all; small stand-ins take the packages' place."""

import sys
import types

import keras
import numpy as np
import pytest

import keras_deepskip
from keras_deepskip import losses
from keras_deepskip.studies.rivals.outside import hub

pytestmark = pytest.mark.studies

TORCH = keras.backend.backend() == "torch"


def data():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (2, 40, 52, 3)).astype("uint8")
    return images, (rng.random((2, 40, 52, 1)) < 0.3).astype("uint8")


def check_trained(model, tmp_path):
    """It learns, and files, copies and the folded network predict the same as the model."""
    images, masks = data()
    model.compile(keras.optimizers.Adam(0.05), losses.SmallObjectLoss())
    history = model.fit(images, masks, epochs=8, verbose=0).history["loss"]
    assert history[-1] < history[0] - 0.01
    expected = model.predict(images, verbose=0)
    assert expected.shape == masks.shape and 0 <= expected.min() < expected.max() <= 1
    model.save(tmp_path / "model.keras")
    loaded = keras_deepskip.load_model(tmp_path / "model.keras")
    copied = keras.models.clone_model(model)
    copied.set_weights(model.get_weights())
    for other in (loaded, copied, keras_deepskip.fold_batch_norm(model)):
        np.testing.assert_allclose(other.predict(images, verbose=0), expected, atol=1e-6)


# ---- segmentation_models_pytorch -----------------------------------------------------------------


@pytest.fixture
def smp(monkeypatch):
    """A package of one network: a convolution with a batch norm, and scores."""
    import torch

    class Tiny(torch.nn.Sequential):
        def __init__(self, encoder, encoder_weights, in_channels, classes):
            assert encoder == "small" and encoder_weights is None
            convolution = torch.nn.Conv2d(in_channels, 4, 3, padding=1)
            norm, scores = torch.nn.BatchNorm2d(4), torch.nn.Conv2d(4, classes, 1)
            super().__init__(convolution, norm, torch.nn.ReLU(), scores)

    package = types.ModuleType("segmentation_models_pytorch")
    package.Tiny = Tiny
    package.encoders = types.SimpleNamespace(get_encoder_names=lambda: ["small", "large"])
    monkeypatch.setitem(sys.modules, package.__name__, package)


@pytest.mark.skipif(not TORCH, reason="its networks are PyTorch's modules")
def test_smp(smp, tmp_path):
    model = keras_deepskip.build_model(architecture="smp", network="Tiny", encoder="small")
    assert model.count_params() == 3 * 4 * 9 + 4 + 4 * 4 + 5  # running statistics too
    check_trained(model, tmp_path)
    statistics = model.get_layer("network").module[1].running_mean
    assert abs(statistics).max() > 0.01


@pytest.mark.skipif(not TORCH, reason="its networks are PyTorch's modules")
def test_smp_names_what_there_is(smp):
    with pytest.raises(ValueError, match=r"network.*'Tiny'.*Received: network='Unt'"):
        keras_deepskip.build_model(architecture="smp", network="Unt", encoder="small")
    with pytest.raises(ValueError, match=r"encoder.*'small', 'large'.*Received: encoder='resnet'"):
        keras_deepskip.build_model(architecture="smp", network="Tiny", encoder="resnet")


@pytest.mark.skipif(TORCH, reason="there it can be built")
def test_smp_needs_pytorch():
    with pytest.raises(ValueError, match="expected Keras's backend to be PyTorch.*KERAS_BACKEND"):
        keras_deepskip.build_model(architecture="smp")


# ---- KerasHub ------------------------------------------------------------------------------------


@pytest.fixture
def deeplab(monkeypatch):
    """A segmenter of one convolution in place of KerasHub's, compiled as KerasHub's are."""

    def build(shape, num_classes):
        inputs = keras.Input(shape)
        x = keras.layers.Conv2D(4, 3, padding="same", use_bias=False)(inputs)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.5)(x))
        model = keras.Model(inputs, keras.layers.Conv2D(num_classes, 1)(x))
        model.compile("adam", "mse", metrics=["accuracy"])
        return model

    monkeypatch.setattr(hub, "deeplab_resnet34", build)
    monkeypatch.setitem(sys.modules, "keras_hub", types.ModuleType("keras_hub"))


def test_deeplab(deeplab, tmp_path):
    model = keras_deepskip.build_model(architecture="hub_deeplab")
    assert model.count_params() == 3 * 4 * 9 + 4 * 4 + 5
    check_trained(model, tmp_path)


@pytest.mark.parametrize("name", ["hub_deeplab", "smp"])
def test_what_is_not_installed_is_told(name, monkeypatch):
    if name == "smp" and not TORCH:
        monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    for package in ("keras_hub", "segmentation_models_pytorch"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r'pip install "keras-deepskip\[benchmark\]"'):
        keras_deepskip.build_model(architecture=name)


def test_volumes_are_refused(deeplab):
    with pytest.raises(ValueError, match="works on images"):
        keras_deepskip.build_model((None, None, None, 1), architecture="hub_deeplab")
