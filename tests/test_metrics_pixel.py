"""Pixel metrics against hand counts and an independent NumPy computation, streamed and compiled."""

import doctest

import keras
import numpy as np
import pytest

from keras_deepskip.metrics import F1, Dice, IoU, Precision, Recall, masks_from_outputs, pixel

METRICS = (IoU, Dice, Precision, Recall, F1)


def value(metric):
    return float(keras.ops.convert_to_numpy(metric.result()))


def vector(metric):
    return np.asarray(keras.ops.convert_to_numpy(metric.per_class()))


def measured(metric, *batches):
    for batch in batches:
        metric.update_state(*batch)
    return value(metric)


def drawn(seed, num_classes=1, multilabel=False, n=3, size=(5, 7)):
    """Masks and probabilities that agree more often than chance."""
    rng = np.random.default_rng(seed)
    y_pred = rng.random((n, *size, num_classes))
    if multilabel:
        y_true = (rng.random(y_pred.shape) < 0.3 + 0.4 * (y_pred > 0.5)).astype("uint8")
        return y_true, y_pred.astype("float32")
    if num_classes == 1:
        y_true = (rng.random(y_pred.shape[:-1]) < 0.2 + 0.6 * (y_pred[..., 0] > 0.5)).astype(
            "uint8"
        )
        return y_true, y_pred.astype("float32")
    y_true = rng.integers(0, num_classes, y_pred.shape[:3])
    y_true = np.where(rng.random(y_true.shape) < 0.4, y_pred.argmax(-1), y_true)
    y_pred /= y_pred.sum(-1, keepdims=True)
    return y_true.astype("uint8"), y_pred.astype("float32")


def sets(y_true, y_pred, num_classes, multilabel, threshold=0.5):
    """Yields (true, called) boolean masks of each class, by plain indexing."""
    if multilabel:
        return [(y_true[..., k] == 1, y_pred[..., k] > threshold) for k in range(num_classes)]
    if num_classes == 1:
        return [(y_true == 1, y_pred[..., 0] > threshold)]
    best = y_pred.argmax(-1)
    return [(y_true == k, best == k) for k in range(num_classes)]


def expected(name, tp, fp, fn):
    """The textbook forms, precision and recall first: none is written as in the package."""
    if tp + fp + fn == 0:
        return np.nan
    precision = tp / (tp + fp) if tp + fp else 0.0
    recall = tp / (tp + fn) if tp + fn else 0.0
    harmonic = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {
        "IoU": harmonic / (2 - harmonic),
        "Dice": harmonic,
        "F1": harmonic,
        "Precision": precision,
        "Recall": recall,
    }[name]


def reference(name, pairs, weight, average, classes):
    """`expected` of boolean (true, called) pairs, averaged over `classes`, in float64."""
    counts = np.array(
        [
            [(weight * (t & c)).sum(), (weight * (~t & c)).sum(), (weight * (t & ~c)).sum()]
            for t, c in pairs
        ]
    )
    each = np.array([expected(name, *row) for row in counts])
    chosen = expected(name, *counts[classes].sum(0)) if average == "micro" else each[classes]
    present = np.atleast_1d(chosen)[~np.isnan(np.atleast_1d(chosen))]
    return each, present.mean() if len(present) else 1.0


@pytest.mark.parametrize("metric_class", METRICS)
@pytest.mark.parametrize(
    "num_classes, multilabel, classes",
    [(1, False, [0]), (4, False, [1, 2, 3]), (3, True, [0, 1, 2])],
)
@pytest.mark.parametrize("average", ["macro", "micro"])
def test_agrees_with_numpy_on_drawn_inputs(metric_class, num_classes, multilabel, classes, average):
    y_true, y_pred = drawn(0, num_classes, multilabel)
    weight = np.random.default_rng(1).random(y_pred.shape[:3]).astype("float32")
    metric = metric_class(num_classes=num_classes, multilabel=multilabel, average=average)
    metric.update_state(y_true, y_pred, weight)
    pairs = sets(y_true, y_pred, num_classes, multilabel)
    each, mean = reference(metric_class.__name__, pairs, weight, average, classes)
    np.testing.assert_allclose(vector(metric), each, rtol=1e-5)
    np.testing.assert_allclose(value(metric), mean, rtol=1e-5)


@pytest.mark.parametrize("metric_class", METRICS)
def test_batches_add_up_and_are_no_mean_of_ratios(metric_class):
    y_true, y_pred = drawn(2)
    y_true[0], y_pred[0] = 0, 0.1
    y_true[0, 0, 0], y_pred[0, 0, :2] = 1, 0.9  # one image of two or three pixels, all counting
    once = measured(metric_class(), (y_true, y_pred))
    batches = [(y_true[i : i + 1], y_pred[i : i + 1]) for i in range(3)]
    assert measured(metric_class(), *batches) == once
    mean_of_ratios = np.mean([measured(metric_class(), batch) for batch in batches])
    assert abs(mean_of_ratios - once) > 0.02


def test_hand_counted_ratio_over_two_batches():
    # batch 1: tp 1, fp 0, fn 0 (IoU 1); batch 2: tp 1, fp 2, fn 1 (IoU 1/4). Over both: 2/5.
    first = np.array([[[1, 0, 0, 0]]]), np.array([[[0.9, 0.1, 0.1, 0.1]]])[..., None]
    second = np.array([[[1, 1, 0, 0]]]), np.array([[[0.9, 0.1, 0.9, 0.9]]])[..., None]
    metric = IoU()
    assert measured(metric, first, second) == pytest.approx(0.4)
    counts = metric.counts()
    assert {name: row.tolist() for name, row in counts.items()} == {"tp": [2], "fp": [2], "fn": [1]}
    metric.reset_state()
    assert measured(metric, second) == pytest.approx(0.25)


# Three classes: 1 is half right, 2 false only, 3 in neither truth nor prediction.
THREE_TRUE = np.array([[[0, 1, 1, 0]]], "uint8")
THREE_PRED = np.eye(4, dtype="float32")[np.array([[[0, 1, 0, 2]]])]


def test_absent_classes_are_left_out():
    metric = IoU(num_classes=4)
    # IoU of class 0: 1/3, class 1: 1/2, class 2: 0
    assert measured(metric, (THREE_TRUE, THREE_PRED)) == pytest.approx((1 / 2 + 0) / 2)
    np.testing.assert_allclose(vector(metric), [1 / 3, 1 / 2, 0, np.nan], rtol=1e-6)


def test_micro_adds_the_counts_of_the_scored_classes():
    # classes 1, 2: tp 1, fp 1, fn 1
    assert measured(IoU(num_classes=4, average="micro"), (THREE_TRUE, THREE_PRED)) == pytest.approx(
        1 / 3
    )


@pytest.mark.parametrize("metric_class", METRICS)
@pytest.mark.parametrize("average", ["macro", "micro"])
def test_corners(metric_class, average):
    empty, full = np.zeros((1, 2, 2), "uint8"), np.ones((1, 2, 2), "uint8")
    no, yes = np.zeros((1, 2, 2, 1), "float32"), np.ones((1, 2, 2, 1), "float32")
    assert measured(metric_class(average=average)) == 1  # no image at all
    assert measured(metric_class(average=average), (empty, no)) == 1
    assert measured(metric_class(average=average), (full, yes)) == 1
    assert measured(metric_class(average=average), (full, no)) == 0  # precision: nothing called
    assert measured(metric_class(average=average), (empty, yes)) == 0  # recall: nothing there


def test_include_background_and_class_id():
    def of(**arguments):
        return measured(IoU(num_classes=4, **arguments), (THREE_TRUE, THREE_PRED))

    assert of(include_background=True) == pytest.approx((1 / 3 + 1 / 2 + 0) / 3)
    assert [of(class_id=k) for k in range(4)] == pytest.approx([1 / 3, 1 / 2, 0, 1])
    assert measured(IoU(class_id=1), drawn(3)) == measured(IoU(), drawn(3))


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.9])
def test_threshold_is_a_probability_for_logits_too(threshold):
    y_true, y_pred = drawn(4)
    logits = np.log(y_pred / (1 - y_pred))
    by_probability = measured(IoU(threshold=threshold), (y_true, y_pred))
    _, mean = reference("IoU", sets(y_true, y_pred, 1, False, threshold), 1.0, "macro", [0])
    assert by_probability == pytest.approx(mean)
    assert measured(IoU(threshold=threshold, from_logits=True), (y_true, logits)) == by_probability
    assert measured(IoU(threshold=threshold), (y_true, logits)) != by_probability


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_thresholds_of_0_and_1_for_logits(dtype):
    """No probability is above 1, and every finite logit's is above 0."""
    logits = np.array([-30.0, -1.0, 0.0, 1.0, 30.0]).reshape(1, 1, 5, 1)
    outputs, true = keras.ops.cast(logits, dtype), np.ones((1, 1, 5), "uint8")
    for threshold, number in ((1, 0), (1.0, 0), (0, 5), (0.0, 5)):
        assert masks_from_outputs(outputs, threshold, from_logits=True).sum() == number
        metric = Recall(threshold=threshold, from_logits=True)
        metric.update_state(true, outputs)
        assert metric.counts()["tp"] == [number] and value(metric) == number / 5
    assert pixel.output_threshold(1, from_logits=True) == np.inf
    assert pixel.output_threshold(0, from_logits=True) == -np.inf


@pytest.mark.parametrize("ignored", [255, -1, 1])
def test_ignored_pixels_count_nowhere(ignored):
    y_true, y_pred = drawn(5, num_classes=3)
    y_true = y_true.astype("int32")
    y_true[:, :2] = ignored
    pairs = sets(y_true, y_pred, 3, False)
    scored = [k for k in (1, 2) if k != ignored]
    _, mean = reference("IoU", pairs, y_true != ignored, "macro", scored)
    metric = IoU(num_classes=3, ignore_class=ignored)
    assert measured(metric, (y_true, y_pred)) == pytest.approx(mean)
    # whatever is predicted there
    changed = y_pred.copy()
    changed[:, :2] = changed[:, :2, :, ::-1]
    assert measured(IoU(num_classes=3, ignore_class=ignored), (y_true, changed)) == value(metric)
    assert np.isnan(vector(metric)).tolist() == [k == ignored for k in range(3)]


def test_multilabel_entries_are_ignored_one_by_one():
    y_true, y_pred = drawn(6, 3, multilabel=True)
    y_true[:, 0, :, 1] = 255
    pairs = [(t & (y_true[..., k] != 255), c & (y_true[..., k] != 255))
             for k, (t, c) in enumerate(sets(y_true, y_pred, 3, True))]  # fmt: skip
    each, _ = reference("IoU", pairs, 1.0, "macro", [0, 1, 2])
    metric = IoU(num_classes=3, multilabel=True, ignore_class=255)
    metric.update_state(y_true, y_pred)
    np.testing.assert_allclose(vector(metric), each, rtol=1e-5)


@pytest.mark.parametrize("shape", [(3,), (3, 5, 7), (3, 5, 7, 1)])
def test_sample_weight_of_each_shape(shape):
    y_true, y_pred = drawn(7)
    weight = np.random.default_rng(8).integers(0, 4, shape).astype("float32")
    over_pixels = weight.reshape(3, 1, 1) if len(shape) == 1 else weight.reshape(3, 5, 7)
    pairs = sets(y_true, y_pred, 1, False)
    _, mean = reference("F1", pairs, over_pixels + np.zeros(y_true.shape), "macro", [0])
    assert measured(F1(), (y_true, y_pred, weight)) == pytest.approx(mean)


def test_values_that_are_no_class_are_named():
    y_true, y_pred = drawn(9)
    y_true[0, 0, 0] = 255
    metric = IoU()
    with pytest.raises(
        ValueError, match=r"`IoU` expected masks of ids.*0 to 1\..*y_true with 255\."
    ):
        metric.update_state(y_true, y_pred)
    assert value(metric) == 1  # nothing was counted
    assert not np.isnan(measured(IoU(ignore_class=255), (y_true, y_pred)))
    assert not np.isnan(measured(IoU(), (y_true, y_pred, (y_true != 255).astype("float32"))))
    with pytest.raises(ValueError, match="y_true with 3, 4, 6. .*`num_classes=7`"):
        measured(IoU(num_classes=3), (y_true % 4 + 3, np.repeat(y_pred, 3, -1)))
    for wrong in (0.5, -1, np.nan):
        with pytest.raises(ValueError, match=f"y_true with {wrong:g}. "):
            measured(IoU(), (np.where(y_true == 255, wrong, y_true.astype("float32")), y_pred))


@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_values_that_are_no_class_end_a_compiled_run(method):
    """A compiled step cannot raise: the metric does when Keras asks for its result."""
    y_true, _ = drawn(11, n=6)
    images = np.random.default_rng(12).normal(size=(6, 5, 7, 3)).astype("float32")
    model = compiled(1, [IoU])
    with pytest.raises(ValueError, match="`IoU` expected masks .* y_true with 255"):
        getattr(model, method)(images, 255 * y_true[..., None], batch_size=3, verbose=0)
    history = model.fit(images, y_true[..., None], batch_size=3, verbose=0).history
    assert np.isfinite(history["iou"]).all()


def test_float_masks_and_a_last_axis_change_nothing():
    y_true, y_pred = drawn(10)
    plain = measured(IoU(), (y_true, y_pred))
    assert measured(IoU(), (y_true[..., None].astype("float32"), y_pred)) == plain
    assert measured(IoU(), (y_true.astype(bool), y_pred)) == plain


# ---- Exact counts


def test_counts_are_exact_beyond_float32():
    # Two rows of weight 3e7 and 1: 30,000,001 is no float32, nor is 30,000,000 + 1 in float32.
    weight = np.array([[[3e7], [1]]], "float32")
    metric = IoU()
    for _ in range(3):
        metric.update_state(np.ones((1, 2, 1)), np.ones((1, 2, 1, 1)), weight)
    assert metric.counts()["tp"].tolist() == [90_000_003]
    for _ in range(5):  # ones arrive although the sum is large
        metric.update_state(np.ones((1, 1, 1)), np.ones((1, 1, 1, 1)))
    assert metric.counts()["tp"].tolist() == [90_000_008]


def test_one_batch_beyond_float32_is_summed_exactly():
    # 3 x 7,001 rows of 1,001 are 21,024,003, which is no float32.
    blocks, units = pixel.sum_exactly(keras.ops.full((3, 7001, 1, 1), 1001.0))
    assert pixel.BLOCK * float(blocks[0]) + float(units[0]) == 21_024_003
    blocks, units = pixel.sum_exactly(keras.ops.full((3, 5, 7, 2), 0.25))
    assert pixel.BLOCK * float(blocks[1]) + float(units[1]) == 3 * 5 * 7 / 4
    # the same sum over the depth of volumes
    for shape in ((1, 3, 7001, 1, 1), (3, 7001, 1, 1, 1)):
        blocks, units = pixel.sum_exactly(keras.ops.full(shape, 1001.0))
        assert pixel.BLOCK * float(blocks[0]) + float(units[0]) == 21_024_003


def test_units_stay_below_a_block_over_many_updates():
    metric = IoU()
    weight = np.full((1, 10, 10), 1000.0)
    for _ in range(40):  # 100,000 each: a block is full each tenth time
        metric.update_state(np.ones((1, 10, 10)), np.ones((1, 10, 10, 1)), weight)
    assert metric.counts()["tp"].tolist() == [4_000_000]
    blocks, units, _ = metric.variables
    assert float(blocks[0, 0]) == 3 and 0 <= float(units[0, 0]) < pixel.BLOCK


# ---- In Keras


def tiny_model(num_classes=1, dtype=None):
    keras.utils.set_random_seed(0)
    activation = "sigmoid" if num_classes == 1 else "softmax"
    return keras.Sequential(
        [
            keras.Input((5, 7, 3), dtype="float32"),
            keras.layers.Conv2D(num_classes, 1, activation=activation, dtype=dtype),
        ]
    )


def compiled(num_classes, metric_classes):
    model = tiny_model(num_classes)
    metrics = [metric(num_classes=num_classes) for metric in metric_classes]
    # Any loss serves; Keras's sparse cross-entropy of masks has no gradient on torch (T2).
    model.compile("sgd", "mean_squared_error", metrics=metrics)
    return model


@pytest.mark.parametrize("num_classes, metric_classes", [(1, METRICS), (3, (IoU, F1))])
def test_fit_and_evaluate_compiled_then_reload(num_classes, metric_classes, tmp_path):
    y_true, _ = drawn(11, num_classes, n=6)
    images = np.random.default_rng(12).normal(size=(6, 5, 7, 3)).astype("float32")
    model = compiled(num_classes, metric_classes)
    history = model.fit(images, y_true[..., None], batch_size=3, verbose=0).history
    assert {metric.default_name for metric in metric_classes} < set(history)
    figures = model.evaluate(images, y_true[..., None], batch_size=3, verbose=0, return_dict=True)
    outputs = model.predict(images, verbose=0)
    for metric_class in metric_classes:
        metric = metric_class(num_classes=num_classes)
        expected = measured(metric, (y_true, outputs))
        assert figures[metric.name] == pytest.approx(expected, abs=1e-6)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    reloaded = again.evaluate(images, y_true[..., None], batch_size=3, verbose=0, return_dict=True)
    assert reloaded == pytest.approx(figures, abs=1e-6)


class Weightless(keras.losses.Loss):
    """A loss that leaves `sample_weight` to the metrics: Keras's own take not all these shapes."""

    def __call__(self, y_true, y_pred, sample_weight=None):
        return keras.ops.mean(y_pred)


@pytest.mark.parametrize("weight_shape", [(6,), (6, 5, 7), (6, 5, 7, 1)])
def test_weights_through_evaluate(weight_shape):
    y_true, _ = drawn(13, n=6)
    images = np.random.default_rng(14).normal(size=(6, 5, 7, 3)).astype("float32")
    weight = np.random.default_rng(15).integers(0, 2, weight_shape).astype("float32")
    model = tiny_model()
    model.compile(loss=Weightless(), weighted_metrics=[IoU()])
    got = model.evaluate(images, y_true, sample_weight=weight, verbose=0, return_dict=True)["iou"]
    outputs = model.predict(images, verbose=0)
    assert got == pytest.approx(measured(IoU(), (y_true, outputs, weight)), abs=1e-6)
    assert got != pytest.approx(measured(IoU(), (y_true, outputs)), abs=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_counts_are_float32_under_mixed_policies(policy):
    y_true, _ = drawn(16, n=2)
    images = np.random.default_rng(17).normal(size=(2, 5, 7, 3)).astype("float32")
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(policy)
    try:
        model = tiny_model()
        model.compile("sgd", "binary_crossentropy", metrics=[IoU()])
        got = model.evaluate(images, y_true[..., None], verbose=0, return_dict=True)["iou"]
        outputs = model.predict(images, verbose=0)
        metric = IoU()
        for _ in range(30):  # 2,100 pixels: float16 counts to 2,048, bfloat16 to 256
            metric.update_state(np.ones((2, 5, 7)), keras.ops.ones((2, 5, 7, 1), policy[6:]))
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    assert metric.counts()["tp"].tolist() == [2100]
    assert {v.dtype for v in metric.variables} == {"float32"}
    # thresholds are compared in float32, so the outputs' own dtype decides nothing more
    assert got == pytest.approx(measured(IoU(), (y_true, outputs)), abs=1e-6)


@pytest.mark.parametrize("metric_class", METRICS)
def test_config_round_trip_gives_an_equal_metric(metric_class):
    arguments = {
        "num_classes": 3, "threshold": 0.3, "from_logits": True, "multilabel": True,
        "ignore_class": 7, "class_id": 2, "average": "micro", "include_background": False,
        "name": "mine", "dtype": "float32",
    }  # fmt: skip
    metric = metric_class(**arguments)
    assert metric.get_config() == arguments
    again = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert type(again) is metric_class and again.get_config() == arguments
    registered = f"keras_deepskip>{metric_class.__name__}"
    assert keras.saving.get_registered_name(metric_class) == registered


def test_result_has_the_dtype_asked_for():
    metric = IoU(dtype="float16")
    metric.update_state(*drawn(18))
    assert keras.backend.standardize_dtype(metric.result().dtype) == "float16"


# ---- Volumes


@pytest.mark.parametrize("num_classes, multilabel", [(1, False), (4, False), (3, True)])
@pytest.mark.parametrize("metric_class", METRICS)
def test_volumes_count_as_their_slices_side_by_side(metric_class, num_classes, multilabel):
    y_true, y_pred = drawn(30, num_classes, multilabel, size=(6, 5))
    weight = np.random.default_rng(31).integers(0, 9, y_pred.shape[:3]) / 8  # sums are exact

    def deep(x):  # (3, 6, 5, ...) as (3, 2, 3, 5, ...)
        return x.reshape(3, 2, 3, *x.shape[2:])

    arguments = {"num_classes": num_classes, "multilabel": multilabel, "ignore_class": 2}
    expected = measured(metric_class(**arguments), (y_true, y_pred, weight))
    of_volumes = deep(y_true), deep(y_pred)
    for each in (deep(weight), deep(weight)[..., None]):
        assert measured(metric_class(**arguments), (*of_volumes, each)) == expected
    if not multilabel:
        one_channel = of_volumes[0][..., None], of_volumes[1], deep(weight)
        assert measured(metric_class(**arguments), one_channel) == expected
    whole = np.array([0.0, 1.0, 3.0])
    expected = measured(metric_class(**arguments), (y_true, y_pred, whole))
    assert measured(metric_class(**arguments), (*of_volumes, whole)) == expected


def test_masks_from_outputs_of_volumes():
    outputs = np.random.default_rng(32).random((2, 3, 4, 5, 3))
    assert (masks_from_outputs(outputs) == outputs.argmax(-1)).all()
    assert (masks_from_outputs(outputs[..., :1]) == (outputs[..., 0] > 0.5)).all()
    assert (masks_from_outputs(outputs, 0.2, multilabel=True) == (outputs > 0.2)).all()
    with pytest.raises(ValueError, match=r"or \(N, D, H, W, K\)"):
        masks_from_outputs(outputs[None])


# ---- Errors


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"num_classes": 0}, "`num_classes` must be an integer"),
        ({"threshold": 1.5}, "`threshold` must be a number in"),
        ({"average": "mean"}, "one of 'macro', 'micro'"),
        ({"num_classes": 3, "threshold": -0.4}, "`threshold` must be a number in"),
        ({"include_background": True}, "num_classes=2"),
        ({"num_classes": 3, "multilabel": True, "include_background": True}, "num_classes=2"),
        ({"class_id": 0}, "`class_id` must be one of 1"),
        ({"num_classes": 3, "class_id": 3}, "`class_id` must be one of 0, 1, 2"),
        ({"num_classes": 3, "class_id": 1, "ignore_class": 1}, "one of 0, 2"),
        ({"num_classes": 2, "ignore_class": 1}, "At least one class"),
    ],
)
def test_arguments_without_meaning_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        IoU(**arguments)


@pytest.mark.parametrize(
    "num_classes, multilabel, true_shape, pred_shape, words",
    [
        (1, False, (2, 4, 4), (2, 4, 4, 2), r"`y_pred` \(N, H, W, 1\)"),
        (1, False, (2, 4, 5), (2, 4, 4, 1), r"y_true.shape=\(2, 4, 5\)"),
        (1, False, (2, 4), (2, 4, 4, 1), "must have the shape"),
        (1, False, (2, 4, 4), (2, 4, 4), "must have the shape"),
        (3, False, (2, 4, 4, 3), (2, 4, 4, 3), "argmax"),
        (3, True, (2, 4, 4), (2, 4, 4, 3), r"\(N, H, W, 3\)"),
        (1, False, (2, 4, 4), (2, 3, 4, 4, 1), r"\(N, D, H, W\) or \(N, D, H, W, 1\)"),
        (1, False, (2, 3, 4, 4), (2, 3, 4, 5, 1), r"the same N, D, H, W"),
        (3, False, (2, 3, 4, 4, 3), (2, 3, 4, 4, 3), "argmax"),
        (1, False, (2, 3, 4, 4, 4, 1), (2, 3, 4, 4, 4, 1), "must have the shape"),
    ],
)
def test_shapes_that_do_not_fit_are_named(num_classes, multilabel, true_shape, pred_shape, words):
    metric = IoU(num_classes=num_classes, multilabel=multilabel)
    with pytest.raises(ValueError, match=words):
        metric.update_state(np.zeros(true_shape, "uint8"), np.zeros(pred_shape, "float32"))


@pytest.mark.parametrize("shape", [(2,), (3, 4), (3, 5, 6), (3, 5, 7, 2)])
def test_weights_that_do_not_fit_are_named(shape):
    with pytest.raises(ValueError, match="`sample_weight` must have the shape"):
        IoU().update_state(*drawn(19), np.ones(shape))
    with pytest.raises(ValueError, match=r"the shape \(N,\), \(N, D, H, W\) or"):
        IoU().update_state(*drawn(19, size=(2, 5, 7)), np.ones(shape))


# ---- Masks


def test_masks_from_outputs_agree_with_the_metrics():
    y_true, y_pred = drawn(20)
    mask = masks_from_outputs(y_pred, threshold=0.3)
    assert mask.dtype == "uint8" and mask.shape == (3, 5, 7)
    assert (mask == (y_pred[..., 0] > 0.3)).all()
    assert (masks_from_outputs(np.log(y_pred / (1 - y_pred)), 0.3, True) == mask).all()
    metric = IoU(threshold=0.3)
    metric.update_state(mask, y_pred)
    assert value(metric) == 1

    y_true, y_pred = drawn(21, 3)
    assert (masks_from_outputs(keras.ops.convert_to_tensor(y_pred)) == y_pred.argmax(-1)).all()
    assert masks_from_outputs(keras.ops.cast(y_pred, "bfloat16")).dtype == "uint8"
    called = masks_from_outputs(y_pred, 0.2, multilabel=True)
    assert called.shape == y_pred.shape and (called == (y_pred > np.float32(0.2))).all()
    assert masks_from_outputs(np.eye(300)[None, None, 290:]).tolist() == [[list(range(290, 300))]]


def test_masks_from_outputs_refuses():
    with pytest.raises(ValueError, match=r"shape \(N, H, W, K\)"):
        masks_from_outputs(np.zeros((4, 4)))
    with pytest.raises(ValueError, match="`threshold` must be a number"):
        masks_from_outputs(np.zeros((1, 4, 4, 1)), threshold=2)
    with pytest.raises(ValueError, match="`threshold` must be a number"):
        masks_from_outputs(np.zeros((1, 4, 4, 3)), threshold=1.4)


@pytest.mark.parametrize("threshold", [0, 0.1, 0.5, 0.73, 1])
def test_a_threshold_of_several_classes_is_against_the_background(threshold):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (2, 16, 16, 4)).astype("float32")
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    mask = masks_from_outputs(probabilities, threshold)
    best = probabilities[..., 1:].argmax(axis=-1) + 1
    odds = probabilities[..., 1:].max(axis=-1)
    share = odds / (odds + probabilities[..., 0])
    sure = np.abs(share - threshold) > 1e-6  # else float32 decides
    expected = np.where(share > threshold, best, 0)
    assert np.array_equal(mask[sure], expected[sure]) and sure.mean() > 0.99
    if threshold == 0.5:
        assert np.array_equal(mask, probabilities.argmax(axis=-1))
    of_logits = masks_from_outputs(logits, threshold, from_logits=True)
    assert np.array_equal(of_logits[sure], mask[sure])
    truth = rng.integers(0, 4, (2, 16, 16))
    for inputs, from_logits in ((probabilities, False), (logits, True)):
        metric = F1(4, threshold, from_logits=from_logits)
        metric.update_state(truth, inputs)
        plain = F1(4)
        plain.update_state(truth, np.eye(4, dtype="float32")[mask])
        assert float(metric.result()) == pytest.approx(float(plain.result()), abs=2e-3)


@pytest.mark.parametrize("threshold", [0, 0.2, 0.5, 0.9, 1])
def test_two_classes_decide_as_one_channel_does(threshold):
    one = np.array([0.0, 0.1, 0.2, 0.3, 0.5, 0.6, 0.9, 0.95, 1.0], "float64")[None, None, :, None]
    sure = np.abs(one - threshold)[..., 0] > 1e-6  # at the threshold itself rounding decides
    two = np.concatenate([1 - one, one], axis=-1)
    found = masks_from_outputs(two, threshold)
    assert np.array_equal(found[sure], masks_from_outputs(one, threshold)[sure])
    assert not masks_from_outputs(two, 1).any()


def test_examples_run():
    assert doctest.testmod(pixel).failed == 0
