"""Deep supervision: every decoder level is trained, and inference knows nothing of it."""

import keras
import numpy as np
import pytest

from keras_deepskip import build_model, fold_batch_norm
from keras_deepskip.layers import DeepSupervision
from keras_deepskip.losses import DeepSupervisionLoss, SmallObjectLoss
from keras_deepskip.metrics import FinestLevel, IoU, ObjectRecall

SMALL = {"levels": 4, "base_filters": 2}


def arrays(*tensors):
    return [keras.ops.convert_to_numpy(tensor) for tensor in tensors]


def batch(*shape, classes=2, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, (*shape, 1))
    return rng.integers(0, 256, (*shape, 3)).astype("float32"), truth


@pytest.mark.parametrize(("classes", "activation"), [(1, "auto"), (3, "auto"), (3, None)])
@pytest.mark.parametrize("shape", [(2, 19, 33), (1, 9, 12, 10)])
def test_scores_of_all_levels_come_out_in_training_alone(shape, classes, activation):
    keras.utils.set_random_seed(0)
    options = {"activation": activation, **SMALL}
    model = build_model((None,) * (len(shape) - 1) + (3,), classes, deep_supervision=True,
                        **options)  # fmt: skip
    x, _ = batch(*shape)
    alone, trained = arrays(model(x, training=False), model(x, training=True))
    assert alone.shape == (*shape, classes) and trained.shape == (*shape, 3 * classes)
    assert model.output_shape == (None,) * len(shape) + (classes,)
    plain = build_model((None,) * (len(shape) - 1) + (3,), classes, **options)
    plain.set_weights(model.get_weights()[: len(plain.weights)])
    np.testing.assert_array_equal(*arrays(plain(x), model(x)))
    folded = fold_batch_norm(model)
    assert not [layer for layer in folded.layers if isinstance(layer, DeepSupervision)]
    np.testing.assert_allclose(*arrays(folded(x), model(x)), atol=1e-5)


def test_blocks_are_the_heads_of_the_levels():
    """By hand: weights one and two, maps of 2 x 2 and 1 x 1, an output of 3 x 3."""
    layer = DeepSupervision(1)
    maps = [np.zeros((1, 3, 3, 1)), np.arange(4.0).reshape(1, 2, 2, 1), np.full((1, 1, 1, 1), 5.0)]
    layer(maps)
    layer.set_weights([np.ones((1, 1, 1, 1)), np.zeros(1), np.full((1, 1, 1, 1), 2.0), np.ones(1)])
    found = keras.ops.convert_to_numpy(layer(maps, training=True))[0]
    np.testing.assert_array_equal(found[..., 0], np.zeros((3, 3)))
    np.testing.assert_array_equal(found[..., 1], [[0, 0, 1], [0, 0, 1], [2, 2, 3]])
    np.testing.assert_array_equal(found[..., 2], np.full((3, 3), 11.0))


def test_the_loss_is_the_weighted_mean_of_the_levels():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, (2, 5, 5, 1))
    scores = rng.random((2, 5, 5, 3)).astype("float32")
    loss = SmallObjectLoss(alpha=0.7)
    parts = [float(loss(truth, scores[..., i : i + 1])) for i in range(3)]
    halved = float(DeepSupervisionLoss(loss)(truth, scores))
    assert halved == pytest.approx((parts[0] + parts[1] / 2 + parts[2] / 4) / 1.75, rel=1e-5)
    given = float(DeepSupervisionLoss(loss, weights=(0, 3, 1))(truth, scores))
    assert given == pytest.approx((3 * parts[1] + parts[2]) / 4, rel=1e-5)
    assert float(DeepSupervisionLoss(loss)(truth, scores[..., :1])) == pytest.approx(parts[0])
    weight = np.array([1.0, 0.0])
    of_first = float(DeepSupervisionLoss(loss)(truth, scores, sample_weight=weight))
    assert of_first != pytest.approx(halved)


def test_metrics_see_the_finest_level():
    truth = np.array([[[[0], [1], [1]]]])
    right, wrong = truth.astype("float32"), 1 - truth.astype("float32")
    scores = np.concatenate([right, wrong, wrong], axis=-1)
    for metric in (IoU(), ObjectRecall()):
        finest = FinestLevel(metric)
        assert finest.name == metric.name
        finest.update_state(truth, scores)
        assert float(finest.result()) == 1.0
        finest.reset_state()
        finest.update_state(truth, wrong)
        assert float(finest.result()) == 0.0


def test_every_level_learns_in_fit_and_it_reloads(tmp_path):
    model = build_model(num_classes=3, deep_supervision=True, levels=3, base_filters=2)
    model.compile(
        "sgd",
        DeepSupervisionLoss(SmallObjectLoss(), 3),
        metrics=[FinestLevel(IoU(num_classes=3), 3)],
    )
    x, truth = batch(4, 16, 16, classes=3)
    heads = model.layers[-1].get_weights()
    history = model.fit(x, truth, batch_size=2, validation_data=(x, truth), verbose=0).history
    assert set(history) == {"loss", "iou", "val_loss", "val_iou"}
    moved = zip(heads, model.layers[-1].get_weights(), strict=True)
    assert all(not np.array_equal(a, b) for a, b in moved)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.evaluate(x, truth, verbose=0) == pytest.approx(
        model.evaluate(x, truth, verbose=0), rel=1e-4
    )
    again.fit(x, truth, batch_size=2, verbose=0)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"must be a keras.losses.Loss. Received: loss='dice'"):
        DeepSupervisionLoss("dice")
    with pytest.raises(ValueError, match="must be a keras.metrics.Metric"):
        FinestLevel("iou")
    with pytest.raises(ValueError, match="`weights` must not all be 0"):
        DeepSupervisionLoss(SmallObjectLoss(), weights=(0, 0))
    loss = DeepSupervisionLoss(SmallObjectLoss(), num_classes=2)
    with pytest.raises(ValueError, match="3 channels, num_classes=2"):
        loss(np.zeros((1, 2, 2)), np.zeros((1, 2, 2, 3)))
    loss = DeepSupervisionLoss(SmallObjectLoss(), weights=(1, 1, 1))
    with pytest.raises(ValueError, match="2 channels, num_classes=1, weights="):
        loss(np.zeros((1, 2, 2)), np.zeros((1, 2, 2, 2)))
    with pytest.raises(ValueError, match="`activation` must be one of"):
        DeepSupervision(1, "relu")
