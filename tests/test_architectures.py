"""Every architecture beside the deep-skip network: one contract, and its count of weights."""

import importlib.util

import keras
import numpy as np
import pytest

from keras_deepskip import build_model
from keras_deepskip.architectures import ARCHITECTURES
from keras_deepskip.export import export
from keras_deepskip.losses import SmallObjectLoss

# The smallest form of each that is still the same network.
SMALL = {
    "unet": {"base_filters": 2, "levels": 3},
}
FEW_CHANNELS = 3


def images(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype("uint8")


def small(name, num_classes=1, channels=FEW_CHANNELS, **options):
    keras.utils.set_random_seed(0)
    return build_model((None, None, channels), num_classes, name, **{**SMALL[name], **options})


@pytest.mark.parametrize("num_classes", [1, 3])
@pytest.mark.parametrize("name", SMALL)
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


@pytest.mark.parametrize("name", [name for name in SMALL if name != "mask_rcnn"])
def test_one_training_step(name):
    """Finite, and every kernel has a gradient."""
    model = small(name)
    model.compile("adam", SmallObjectLoss())
    before = [np.array(w) for w in model.get_weights()]
    truth = (images(2, 33, 50, 1, seed=1) > 200).astype("int32")
    assert np.isfinite(model.train_on_batch(images(2, 33, 50, FEW_CHANNELS), truth))
    same = [np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    stuck = [w.path for w, is_same in zip(model.weights, same, strict=True) if is_same]
    assert not [path for path in stuck if path.endswith("kernel")], "kernels without gradient"


@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="needs TensorFlow")
@pytest.mark.parametrize("name", SMALL)
def test_export(name, tmp_path):
    """A SavedModel for any size gives what Keras gives (`export` compares, and fails else)."""
    report = export(small(name), tmp_path / "network")
    assert max(report.differences.values()) < 1e-5 and (tmp_path / "network").is_dir()


# ---- Counts --------------------------------------------------------------------------------------


def test_unet_counts():
    """The paper gives none; 31,030,593 is what its layers count to, for one channel and one score."""
    model = build_model((None, None, 1), 1, "unet")
    levels = [64 * 2**u for u in range(5)]
    down = sum(9 * a * b + b + 9 * b * b + b for a, b in zip([1, *levels], levels, strict=False))
    up = sum(4 * 2 * c * c + c + 9 * 2 * c * c + c + 9 * c * c + c for c in levels[:-1])
    assert model.count_params() == down + up + 65 == 31_030_593


def test_all_architectures_keep_the_contract():
    assert set(SMALL) == set(ARCHITECTURES) - {"deepskip"}
