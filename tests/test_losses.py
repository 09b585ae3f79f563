"""`SmallObjectLoss` against an independent float64 NumPy version of equations 5-8."""

import time

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras import ops

from keras_deepskip import _labels
from keras_deepskip.losses import SmallObjectLoss, small_object_loss
from keras_deepskip.metrics import IoU

# --- The witness: equations 5-8 as printed in DESIGN, pixel by pixel, in float64 ----------------


def witness(
    ids,
    o,
    alpha=0.5,
    beta=1.0,
    q=None,
    w=None,
    multilabel=False,
    background=True,
    eps=1.0,
    absent=True,
):
    """One image: ids (P,) or (P, V), o (P, V) probabilities, w (P,)."""
    pixels, classes = o.shape
    o = o.astype("float64")
    w = np.ones(pixels) if w is None else w.astype("float64")
    binary = multilabel or classes == 1
    q = np.ones(classes) if q is None else np.array(q, "float64")
    if not background and not binary:
        q[0] = 0
    t = ids.reshape(pixels, classes) if binary else np.eye(classes)[ids.reshape(-1).astype(int)]
    bce_q = q / q.sum()
    if not absent and not binary:
        q = q * [any(w[i] * t[i, v] for i in range(pixels)) for v in range(classes)]
    q = q / q.sum() if q.sum() else q
    bce, weight = 0.0, 0.0
    for i in range(pixels):
        if w[i] == 0:
            continue
        for v in range(classes):
            if binary:
                a = alpha * t[i, v] * np.log(o[i, v]) + (1 - alpha) * (1 - t[i, v]) * np.log(
                    1 - o[i, v]
                )
                bce -= w[i] * bce_q[v] * a
            elif t[i, v]:
                bce -= w[i] * (alpha if v > 0 else 1 - alpha) * np.log(o[i, v])
        weight += w[i]
    dice = 0.0 if q.sum() else 1.0
    for v in range(classes):
        overlap = sum(w[i] * t[i, v] * o[i, v] for i in range(pixels) if w[i])
        total = sum(w[i] * (t[i, v] ** 2 + o[i, v] ** 2) for i in range(pixels) if w[i])
        dice += q[v] * (2 * overlap + eps) / (total + eps)
    return beta * (bce / weight if weight else 0.0) + 1 - dice


def batch_witness(ids, o, pooling="image", w=None, **options):
    n, classes = o.shape[0], o.shape[-1]
    ids, o = ids.reshape(n, -1, ids.shape[-1]), o.reshape(n, -1, classes)
    w = np.ones(o.shape[:2]) if w is None else w.reshape(n, -1)
    if pooling == "batch":
        ids, o, w = ids.reshape(1, -1, ids.shape[-1]), o.reshape(1, -1, classes), w.reshape(1, -1)
    return np.array(
        [witness(*each, w=weight, **options) for *each, weight in zip(ids, o, w, strict=True)]
    )


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


TASKS = ("binary", "several", "multilabel")


def draw(task, rng, shape=(3, 5, 7), classes=4):
    """Class ids, logits and probabilities of a task."""
    classes = 1 if task == "binary" else classes
    logits = rng.normal(0, 2, (*shape, classes)).astype("float32")
    if task == "several":
        return rng.integers(0, classes, (*shape, 1)), logits, softmax(logits)
    return rng.integers(0, 2, (*shape, classes)), logits, 1 / (1 + np.exp(-logits))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    task=st.sampled_from(TASKS),
    seed=st.integers(0, 10**6),
    alpha=st.floats(0, 1),
    beta=st.floats(0, 5),
    pooling=st.sampled_from(["image", "batch"]),
    from_logits=st.booleans(),
    weighted=st.booleans(),
    background=st.booleans(),
    class_weighted=st.booleans(),
    eps=st.floats(0.01, 10),
    absent=st.booleans(),
)
def test_equals_the_witness(
    task, seed, alpha, beta, pooling, from_logits, weighted, background, class_weighted, eps, absent
):
    rng = np.random.default_rng(seed)
    ids, logits, o = draw(task, rng)
    if task == "several":
        ids[0] = np.where(ids[0] > 1, 0, ids[0])  # an image lacks two of its four classes
    q = list(rng.uniform(0.1, 3, o.shape[-1])) if class_weighted else None
    w = rng.uniform(0, 2, ids.shape[:3]) * (rng.random(ids.shape[:3]) > 0.3) if weighted else None
    multilabel = task == "multilabel"
    got = small_object_loss(
        ids, logits if from_logits else o.astype("float32"), alpha, beta, q, pooling, from_logits,
        multilabel=multilabel, include_background=background, smooth=eps, sample_weight=w,
        include_absent=absent,
    )  # fmt: skip
    expected = batch_witness(ids, o, pooling, w, alpha=alpha, beta=beta, q=q, eps=eps,
                             multilabel=multilabel, background=background,
                             absent=absent)  # fmt: skip
    np.testing.assert_allclose(ops.convert_to_numpy(got), expected, rtol=2e-5, atol=2e-5)
    loss = SmallObjectLoss(alpha, beta, q, pooling, from_logits, multilabel=multilabel,
                           include_background=background, smooth=eps,
                           include_absent=absent)  # fmt: skip
    whole = float(loss(ids, logits if from_logits else o.astype("float32"), sample_weight=w))
    assert whole == pytest.approx(expected.mean(), abs=3e-5, rel=3e-5)
    assert whole >= 0


# --- The four corners -----------------------------------------------------------------------------

EMPTY = np.zeros((1, 8, 8, 1), "float32")
OBJECT = EMPTY.copy()
OBJECT[0, 2:5, 2:5] = 1  # nine pixels


@pytest.mark.parametrize("pooling", ["image", "batch"])
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize(
    ("truth", "prediction", "dice"),
    [
        (EMPTY, EMPTY, 0.0),  # both empty
        (EMPTY, OBJECT, 1 - 1 / (9 + 1)),  # false alarm
        (OBJECT, EMPTY, 1 - 1 / (9 + 1)),  # all missed
        (OBJECT, OBJECT, 0.0),  # perfect
    ],
)
def test_corners(truth, prediction, dice, pooling, from_logits):
    """Dice by hand with eps = 1; the cross-entropy of a wrong pixel is -log of the floor 1e-7."""
    outputs = np.where(prediction > 0, 40.0, -40.0) if from_logits else prediction
    loss = SmallObjectLoss(beta=0, pooling=pooling, from_logits=from_logits)
    assert float(loss(truth, outputs.astype("float32"))) == pytest.approx(dice, abs=1e-5)
    whole = SmallObjectLoss(pooling=pooling, from_logits=from_logits)
    wrong = float((truth != prediction).mean())
    per_pixel = 40.0 if from_logits else -np.log(1e-7)
    expected = dice + 0.5 * wrong * per_pixel
    assert float(whole(truth, outputs.astype("float32"))) == pytest.approx(
        expected, rel=0.02, abs=1e-5
    )


@pytest.mark.parametrize("pooling", ["image", "batch"])
def test_both_empty_is_continuous(pooling):
    """A faint false pixel costs little, a sure one more, and nothing jumps."""
    loss = SmallObjectLoss(pooling=pooling)
    costs = [float(loss(EMPTY, EMPTY + p)) for p in (0, 1e-3, 1e-2, 0.1, 0.5, 1)]
    assert costs[0] < 1e-6 and costs[1] < 2e-3
    assert all(a < b for a, b in zip(costs, costs[1:], strict=False))


def test_a_missed_small_object_does_not_hide_behind_a_large_one():
    big = np.ones((1, 64, 64, 1), "float32")
    small = np.zeros((1, 64, 64, 1), "float32")
    small[0, :3, :3] = 1
    truth, prediction = np.concatenate([big, small]), np.concatenate([big, 0 * small])
    by_image = float(SmallObjectLoss(beta=0)(truth, prediction))
    by_batch = float(SmallObjectLoss(beta=0, pooling="batch")(truth, prediction))
    assert by_image == pytest.approx(0.45, abs=1e-4)  # (0 + 1 - 1/10) / 2, by hand
    assert by_batch < 0.01


@pytest.mark.parametrize("weights", [[1, 2, 3], [0, 5, 1], [100, 1, 1]])
def test_perfect_costs_nothing_whatever_the_weights(weights):
    ids = np.random.default_rng(0).integers(0, 3, (2, 6, 6, 1))
    perfect = np.eye(3, dtype="float32")[ids[..., 0]]
    assert abs(float(SmallObjectLoss(class_weights=weights)(ids, perfect))) < 1e-5
    assert float(SmallObjectLoss(class_weights=weights)(ids, perfect[..., ::-1].copy())) > 0.1


# --- Numbers that are hard ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("task", TASKS)
def test_half_precision_at_512(dtype, task):
    """262,144 pixels overflow a float16 sum (65,504) and stall a bfloat16 one (256)."""
    ids, logits, _ = draw(task, np.random.default_rng(5), (1, 512, 512), 3)
    raw = ops.cast(ops.convert_to_tensor(logits), dtype)
    rounded = ops.convert_to_numpy(ops.cast(raw, "float32")).astype("float64")
    o = softmax(rounded) if task == "several" else 1 / (1 + np.exp(-rounded))
    t = np.eye(3)[ids[..., 0]] if task == "several" else ids
    dice = (2 * (t * o).sum((0, 1, 2)) + 1) / ((t * t + o * o).sum((0, 1, 2)) + 1)
    got = float(
        SmallObjectLoss(beta=0, from_logits=True, multilabel=task == "multilabel")(ids, raw)
    )
    assert got == pytest.approx(float(1 - dice.mean()), abs=2e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_trains_under_mixed_precision(policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = keras.Sequential(
            [
                keras.Input((64, 64, 1)),
                keras.layers.Conv2D(1, 3, padding="same", activation="sigmoid"),
            ]
        )
        model.compile("sgd", SmallObjectLoss())
        x = np.random.default_rng(0).normal(size=(2, 64, 64, 1)).astype("float32")
        assert np.isfinite(model.train_on_batch(x, (x > 0).astype("int32")))
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("from_logits", [False, True])
def test_gradients_are_finite_at_saturated_outputs(task, from_logits):
    """A layer whose output is saturated and wrong still gets finite gradients, step after step."""
    classes = 1 if task == "binary" else 3
    activation = None if from_logits else ("softmax" if task == "several" else "sigmoid")
    model = keras.Sequential(
        [keras.Input((4, 4, classes)), keras.layers.Conv2D(classes, 1, use_bias=False),
         keras.layers.Activation(activation)]
    )  # fmt: skip
    model.layers[0].set_weights([np.eye(classes, dtype="float32")[None, None] * 200])
    model.compile("sgd", SmallObjectLoss(from_logits=from_logits, multilabel=task == "multilabel"))
    x = np.random.default_rng(0).choice([-1.0, 1.0], (2, 4, 4, classes)).astype("float32")
    ids = np.random.default_rng(1).integers(0, 2, (2, 4, 4, classes if task == "multilabel" else 1))
    for _ in range(3):
        assert np.isfinite(model.train_on_batch(x, ids))
    assert np.isfinite(model.get_weights()[0]).all()


# --- Weights and ignored pixels -------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("pooling", ["image", "batch"])
@pytest.mark.parametrize("from_logits", [False, True])
def test_what_is_under_a_zero_weight_changes_nothing(task, pooling, from_logits):
    rng = np.random.default_rng(2)
    ids, logits, o = draw(task, rng)
    outputs = logits if from_logits else o.astype("float32")
    weight = (rng.random(ids.shape[:3]) > 0.4).astype("float32")
    loss = SmallObjectLoss(
        pooling=pooling, from_logits=from_logits, multilabel=task == "multilabel"
    )
    before = float(loss(ids, outputs, sample_weight=weight))
    other, wild = ids.copy(), outputs.copy()
    other[weight == 0] = 1 - np.minimum(other[weight == 0], 1)
    wild[weight == 0] = np.nan
    assert float(loss(other, wild, sample_weight=weight)) == pytest.approx(before, abs=1e-7)
    assert float(loss(ids, outputs)) != pytest.approx(before, abs=1e-4)


@pytest.mark.parametrize("task", TASKS)
def test_ignore_class_is_a_zero_weight(task):
    rng = np.random.default_rng(3)
    ids, _, o = draw(task, rng)
    ignored = rng.random(ids.shape[:3]) > 0.6
    marked = ids.copy()
    marked[ignored] = 255
    multilabel = task == "multilabel"
    by_class = SmallObjectLoss(ignore_class=255, multilabel=multilabel)(marked, o.astype("float32"))
    by_weight = SmallObjectLoss(multilabel=multilabel)(
        ids, o.astype("float32"), sample_weight=~ignored
    )
    assert float(by_class) == pytest.approx(float(by_weight), abs=1e-6)


def test_an_image_that_is_ignored_altogether_costs_nothing():
    ids = np.full((1, 4, 4, 1), 255)
    assert float(SmallObjectLoss(ignore_class=255)(ids, np.full((1, 4, 4, 1), 0.7))) == 0


def test_image_weights_are_kerass_own():
    ids, _, o = draw("binary", np.random.default_rng(4))
    values = batch_witness(ids, o)
    weight = np.array([0.0, 1.0, 3.0], "float32")
    o = o.astype("float32")
    got = float(SmallObjectLoss()(ids, o, sample_weight=weight))
    assert got == pytest.approx((values * weight).sum() / 3, abs=1e-5)
    mean = float(SmallObjectLoss(reduction="mean_with_sample_weight")(ids, o, sample_weight=weight))
    assert mean == pytest.approx((values * weight).sum() / 4, abs=1e-5)
    each = SmallObjectLoss(reduction="none")(ids, o)
    np.testing.assert_allclose(ops.convert_to_numpy(each), values, atol=1e-5)
    pooled = float(SmallObjectLoss(pooling="batch")(ids, o, sample_weight=weight))
    pixels = np.ones(ids.shape[:3]) * weight[:, None, None]
    assert pooled == pytest.approx(batch_witness(ids, o, "batch", pixels)[0], abs=1e-5)


def test_masks_with_and_without_a_channel_axis():
    ids, _, o = draw("several", np.random.default_rng(6))
    o = o.astype("float32")
    assert float(SmallObjectLoss()(ids, o)) == float(SmallObjectLoss()(ids[..., 0], o))
    weight = np.random.default_rng(0).random(ids.shape[:3])
    flat = float(SmallObjectLoss()(ids, o, sample_weight=weight))
    assert flat == float(SmallObjectLoss()(ids, o, sample_weight=weight[..., None]))


# --- Volumes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("pooling", ["image", "batch"])
@pytest.mark.parametrize("from_logits", [False, True])
def test_volumes_equal_the_witness(task, pooling, from_logits):
    rng = np.random.default_rng(7)
    ids, logits, o = draw(task, rng, (3, 2, 4, 5))
    outputs = logits if from_logits else o.astype("float32")
    w = rng.uniform(0, 2, ids.shape[:4]) * (rng.random(ids.shape[:4]) > 0.3)
    multilabel = task == "multilabel"
    loss = SmallObjectLoss(
        0.8, 0.5, pooling=pooling, from_logits=from_logits, multilabel=multilabel
    )
    expected = batch_witness(ids, o, pooling, w, alpha=0.8, beta=0.5, multilabel=multilabel)
    assert float(loss(ids, outputs, w)) == pytest.approx(expected.mean(), abs=3e-5)
    assert float(loss(ids, outputs, w[..., None])) == pytest.approx(expected.mean(), abs=3e-5)
    if not multilabel:
        assert float(loss(ids[..., 0], outputs, w)) == pytest.approx(expected.mean(), abs=3e-5)


@pytest.mark.parametrize("pooling", ["image", "batch"])
def test_weights_of_whole_volumes(pooling):
    """What is of no order in space: a volume costs what its slices cost side by side."""
    ids, _, o = draw("several", np.random.default_rng(8), (3, 2, 4, 5))
    flat = [x.reshape(3, 2 * 4, 5, -1) for x in (ids, o.astype("float32"))]
    loss, weight = SmallObjectLoss(pooling=pooling, ignore_class=2), np.array([0.0, 1.0, 3.0])
    found = float(loss(ids, o.astype("float32"), weight))
    assert found == pytest.approx(float(loss(*flat, weight)), abs=1e-6)
    assert found != pytest.approx(float(loss(*flat)), abs=1e-3)


# --- Values that are no class ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "wrong", "named"),
    [
        ("binary", 255, "from 0 to 1. .*y_true with 255"),
        ("binary", -1, "y_true with -1"),
        ("binary", np.nan, "y_true with nan"),
        ("several", 4, "ids of classes, 0 to 3. .*y_true with 4. .*`num_classes=5`"),
        ("several", 1.5, "y_true with 1.5"),
        ("multilabel", 255, "y_true with 255"),
    ],
)
def test_values_that_are_no_class_are_named(task, wrong, named):
    ids, _, o = draw(task, np.random.default_rng(0))
    o, marked = o.astype("float32"), ids.astype("float32")
    marked[0, :2, 1] = wrong
    loss = SmallObjectLoss(multilabel=task == "multilabel")
    with pytest.raises(ValueError, match=named):
        loss(marked, o)
    # where nothing counts, anything may stand
    pixels = np.ones(ids.shape[:3], "float32")
    pixels[0, :2, 1] = 0
    expected = float(loss(ids, o, sample_weight=pixels))
    assert float(loss(marked, o, sample_weight=pixels)) == pytest.approx(expected, abs=1e-6)
    expected = float(loss(ids, o, sample_weight=np.array([0, 1, 1])))
    assert float(loss(marked, o, sample_weight=np.array([0, 1, 1]))) == pytest.approx(expected)


def test_soft_masks_of_one_class_stay():
    _, _, o = draw("binary", np.random.default_rng(0))
    soft = np.random.default_rng(1).random(o.shape)
    expected = batch_witness(soft, o).mean()
    assert float(SmallObjectLoss()(soft, o.astype("float32"))) == pytest.approx(expected, abs=3e-5)


def pixel_model(metrics=(), **compiling):
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(1, 1)])
    model.add(keras.layers.Activation("sigmoid"))
    model.compile("sgd", SmallObjectLoss(), metrics=list(metrics), **compiling)
    return model


XLA = {} if keras.backend.backend() == "torch" else {"jit_compile": True}


@pytest.mark.parametrize("compiling", [{}, XLA])
def test_values_that_are_no_class_end_a_compiled_run(compiling):
    """Masks of 0 and 255, the best known slip, gave a loss of -16 and less without a word."""
    images = np.random.default_rng(0).normal(size=(8, 8, 8, 1)).astype("float32")
    masks = (images > 0).astype("uint8")
    for method in ("fit", "evaluate"):
        model = pixel_model(**compiling)
        with pytest.raises(Exception, match="(?s)`SmallObjectLoss` expected masks of .*255"):
            getattr(model, method)(images, 255 * masks, batch_size=2, verbose=0)
    # under JAX, Keras leaves a model without weights when a step ends in an error
    model = pixel_model(**compiling)
    assert np.isfinite(model.fit(images, masks, batch_size=2, verbose=0).history["loss"]).all()


@pytest.mark.parametrize("compiling", [{}, XLA])
def test_a_metric_that_counts_the_masks_raises_for_the_loss(compiling):
    """A ValueError reads better than a backend's own, in which a compiled step ends."""
    images = np.random.default_rng(0).normal(size=(8, 8, 8, 1)).astype("float32")
    masks = (images > 0).astype("uint8")
    model = pixel_model([IoU()], **compiling)
    weights = model.get_weights()
    for method in ("fit", "evaluate"):
        with pytest.raises(ValueError, match="expected masks of .*255"):
            getattr(model, method)(images, 255 * masks, batch_size=2, verbose=0)
        model.set_weights(weights)
    history = model.fit(images, masks, batch_size=2, verbose=0).history
    assert np.isfinite(history["loss"] + history["iou"]).all()


def test_a_loop_that_asks_no_metric_ends_too(monkeypatch):
    monkeypatch.setattr(_labels, "PATIENCE", 3)
    model, ones = pixel_model([IoU()]), np.ones((2, 8, 8, 1))
    losses = []
    with pytest.raises(Exception, match="(?s)expected masks of .*255"):
        for _ in range(9):
            losses.append(model.train_on_batch(ones, 255 * ones)[0])
            time.sleep(0.01)
    assert len(losses) <= 4 and not np.isfinite(losses).any()


@pytest.mark.parametrize(
    ("values", "named", "fix"),
    [
        ([1.0, 5.0], "with 5.", "`num_classes=6`"),
        ([np.nan], "with nan.", "Correct the masks"),
        ([-1.0, np.inf], "with -1, inf.", "Correct the masks"),
        ([1.5], "with 1.5.", "Correct the masks"),
    ],
)
def test_what_masks_should_hold_is_told(values, named, fix):
    """More classes are proposed where there is a class more."""
    text = _labels.message("IoU", values, 2)
    assert named in text and fix in text


# --- In a model -----------------------------------------------------------------------------------


def test_reloads_from_a_keras_file_and_takes_weights_in_fit(tmp_path):
    loss = SmallObjectLoss(0.7, 0.3, [1, 2, 3], "batch", ignore_class=9, smooth=2.0)
    model = keras.Sequential([keras.Input((None, None, 2)), keras.layers.Conv2D(3, 1)])
    model.add(keras.layers.Softmax())
    model.compile("adam", loss)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 6, 6, 2)).astype("float32"), rng.integers(0, 3, (4, 6, 6, 1))
    for weight in (rng.random(4), rng.random((4, 6, 6))):
        model.compile("adam", loss)
        model.fit(x, y, sample_weight=weight, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.loss.get_config() == loss.get_config()
    assert again.evaluate(x, y, verbose=0) == pytest.approx(
        model.evaluate(x, y, verbose=0), abs=1e-6
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SmallObjectLoss(alpha=1.5), "`alpha`"),
        (lambda: SmallObjectLoss(beta=-1), "`beta`"),
        (lambda: SmallObjectLoss(smooth=0), "`smooth`"),
        (lambda: SmallObjectLoss(pooling="pixel"), "`pooling` must be one of 'image', 'batch'"),
        (lambda: SmallObjectLoss(class_weights=[1, -1]), "`class_weights`"),
        (lambda: SmallObjectLoss(class_weights=[1, 2])(EMPTY, EMPTY), "one entry for each"),
        (lambda: SmallObjectLoss(class_weights=[0])(EMPTY, EMPTY), "positive weight"),
        (lambda: SmallObjectLoss()(np.zeros((1, 4, 4, 1)), EMPTY), "the truth must be of shape"),
        (lambda: SmallObjectLoss()(np.zeros((1, 8, 8, 3)), np.zeros((1, 8, 8, 3))), "not one-hot"),
        (lambda: SmallObjectLoss()(EMPTY, EMPTY, np.ones((1, 3, 3))), "`sample_weight`"),
        (lambda: SmallObjectLoss()(EMPTY, EMPTY[..., 0]), r"\(N, D, H, W, classes\)"),
        (lambda: SmallObjectLoss()(EMPTY, EMPTY[None]), "the truth must be of shape"),
        (lambda: SmallObjectLoss()(np.zeros((1, 8, 8)), EMPTY[None]), "the truth must be of shape"),
        (
            lambda: SmallObjectLoss()(EMPTY[None], EMPTY[None], np.ones((1, 8, 8))),
            "volumes: with D before H",
        ),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- Small objects count more ---------------------------------------------------------------------


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("power", [0.5, 1.0])
def test_size_balance_is_a_weight_by_the_object_pixels_around(classes, power):
    """In the cross-entropy, whose pixel weights it multiplies; Dice stays as it is."""
    from scipy import ndimage

    rng = np.random.default_rng(classes)
    ids = np.zeros((2, 60, 70), "int32")
    for image in ids:
        for _ in range(9):
            (top, left), side = rng.integers(0, 55, 2), rng.integers(2, 30)
            image[top : top + side, left : left + side] = rng.integers(1, max(classes, 2))
    o = rng.dirichlet(np.ones(max(classes, 2)), ids.shape).astype("float32")[..., -classes:]
    weight = np.ones(ids.shape)
    for label in range(1, max(classes, 2)):
        for n, image in enumerate(ids == label):
            near = ndimage.uniform_filter(image.astype(float), 33, mode="constant") * 33**2
            own = np.clip((400 / np.maximum(near, 1)) ** power, 1, 8)
            weight[n][image] = own[image]
    assert weight.max() > 2 and (weight == 1).mean() > 0.3
    given = {"dice_weight": 0.0, "alpha": 0.7}
    found = ops.convert_to_numpy(small_object_loss(ids, o, size_balance=power, **given))
    expected = ops.convert_to_numpy(
        small_object_loss(ids, o, sample_weight=weight.astype("float32"), **given)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    both = ops.convert_to_numpy(small_object_loss(ids, o, size_balance=power, alpha=0.7))
    dice = ops.convert_to_numpy(small_object_loss(ids, o, beta=0.0))
    np.testing.assert_allclose(both, expected + dice, rtol=1e-5)


def test_size_balance_of_volumes_and_of_ignored_pixels():
    ids = np.zeros((1, 6, 8, 8), "int32")
    ids[0, 1:3, 1:3, 1:3] = 1
    o = np.full((*ids.shape, 1), 0.3, "float32")
    loss = SmallObjectLoss(size_balance=1.0, ignore_class=255, dice_weight=0.0)
    assert SmallObjectLoss.from_config(loss.get_config()).size_balance == 1.0
    expected = -(64 * np.log(0.3) + 376 * np.log(0.7)) / 2 / (64 + 376)  # 8 voxels count 8 times
    assert float(loss(ids, o)) == pytest.approx(expected, rel=1e-5)
    ids[0, 5] = 255
    expected = -(64 * np.log(0.3) + 312 * np.log(0.7)) / 2 / (64 + 312)
    assert float(loss(ids, o)) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="`size_balance`"):
        SmallObjectLoss(size_balance=1.5)


def test_absent_classes_left_out_of_dice():
    """What is right costs nothing still, and a false pixel of an absent class costs something."""
    ids = np.zeros((1, 8, 8, 1), "int32")
    ids[0, 2:5, 2:5] = 1
    right = np.eye(7, dtype="float32")[ids[..., 0]]
    loss = SmallObjectLoss(include_absent=False, beta=0)
    assert SmallObjectLoss.from_config(loss.get_config()).include_absent is False
    assert float(loss(ids, right)) == pytest.approx(0, abs=1e-6)
    wrong = right.copy()
    wrong[0, 7, 7] = np.eye(7)[4]
    assert float(loss(ids, wrong)) > 1e-3
    # Nothing found costs a half: the object's class is one of two; of all seven it is one of them.
    nothing = np.eye(7, dtype="float32")[0 * ids[..., 0]]
    costs = [float(SmallObjectLoss(include_absent=i, beta=0)(ids, nothing)) for i in (False, True)]
    assert costs[0] > 0.45 and costs[1] < 0.15
    only_objects = SmallObjectLoss(include_absent=False, beta=0, include_background=False)
    assert float(only_objects(0 * ids, right)) > 0.05  # no class has a weight: all have
    assert float(only_objects(0 * ids, nothing)) == pytest.approx(0, abs=1e-6)
