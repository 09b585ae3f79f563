"""Pixel metrics: true and false positives and false negatives are counted over all batches, and the
ratio is taken once, in `result()`; a mean of the batches' ratios would be another figure."""

import collections.abc
import math

import keras
import numpy as np
from keras import ops

from keras_deepskip import _checks, _labels

AVERAGES = ("macro", "micro")
# A count is kept as BLOCK * blocks + units, units below BLOCK: two float32, which every backend and
# device has, exact together up to 2^44 pixels, where one stops at 2^24 (16.7 million).
BLOCK = 2**20
PART = 2**10  # the same within a batch's sum


# ---- Formulas: numerator and denominator from counts, of NumPy arrays or tensors alike ----------


def iou_parts(tp, fp, fn):
    """Intersection over union (Jaccard index): tp / (tp + fp + fn)."""
    return tp, tp + fp + fn


def dice_parts(tp, fp, fn):
    """Dice coefficient: 2 tp / (2 tp + fp + fn)."""
    return 2 * tp, 2 * tp + fp + fn


def precision_parts(tp, fp, fn):
    """Share of what was predicted that is right: tp / (tp + fp)."""
    return tp, tp + fp


def recall_parts(tp, fp, fn):
    """Share of what is there that was found: tp / (tp + fn)."""
    return tp, tp + fn


# The harmonic mean of precision and recall: on sets, the same number as Dice.
f1_parts = dice_parts


# ---- From outputs to masks ----------------------------------------------------------------------


def output_threshold(threshold, from_logits):
    """Returns what outputs are compared with: the probability `threshold`, or its logit.

    Example:

    >>> output_threshold(0.5, from_logits=True)
    0.0
    """
    if not from_logits:
        return threshold
    if threshold in (0, 1):
        return math.inf if threshold else -math.inf
    return math.log(threshold / (1 - threshold))


def weigh_background(outputs, threshold, from_logits=False, concatenate=np.concatenate):
    """Has the background of several classes compete as `threshold` says: its odds are multiplied.

    The largest channel then decides. With p_0 of the background and p_c of the most probable other
    class, a pixel is c where p_c / (p_c + p_0) exceeds `threshold`: at 0.5 where c is the most
    probable class of all, and with two classes where p_1 exceeds `threshold`, as in one channel.

    Args:
        outputs: array or tensor (..., K) of floats.
        threshold: probability in [0, 1].
        from_logits: whether `outputs` are logits.
        concatenate: of the outputs' library.

    Example:

    >>> weigh_background(np.array([0.6, 0.4]), 0.25).round(2).tolist()
    [0.2, 0.4]
    """
    if threshold == 0.5:
        return outputs
    background, others = outputs[..., :1], outputs[..., 1:]
    if from_logits:
        background = background + output_threshold(threshold, True)
    elif threshold == 1:
        background = background + math.inf  # nothing is more probable than certain
    else:
        background = background * (threshold / (1 - threshold))
    return concatenate([background, others], axis=-1)


def masks_from_outputs(outputs, threshold=0.5, from_logits=False, multilabel=False):
    """Turns a model's outputs into masks of class ids, as the metrics do.

    Args:
        outputs: array or tensor (N, H, W, K), or of volumes (N, D, H, W, K): probabilities, or
            logits with `from_logits`.
        threshold: probability above which a pixel is predicted positive. Of several classes, that
            of the most probable one against the background (`weigh_background`): at 0.5 the most
            probable class of all decides.
        from_logits: whether `outputs` are logits.
        multilabel: whether each channel is a class by itself.

    Returns:
        A NumPy array of class ids (N, H, W): 0 and 1 if `K = 1`, else the index of a channel.
        With `multilabel`, zeros and ones (N, H, W, K). uint8; wider if there are over 256 classes.
        Of volumes likewise, with D before H.

    Raises:
        ValueError: if `outputs` has another shape, or `threshold` lies outside [0, 1].

    Example:

    >>> masks_from_outputs(np.array([[[[0.9], [0.2]]]]))
    array([[[1, 0]]], dtype=uint8)
    """
    outputs = np.asarray(ops.convert_to_numpy(outputs)).astype("float32")  # bfloat16 among them
    if outputs.ndim not in (4, 5) or outputs.shape[-1] == 0:
        raise ValueError(
            "`outputs` must have the shape (N, H, W, K), or (N, D, H, W, K). "
            f"Received: outputs.shape={outputs.shape}"
        )
    _checks.check_number("threshold", threshold, 0, 1)
    if multilabel or outputs.shape[-1] == 1:
        predicted = (outputs > output_threshold(threshold, from_logits)).astype("uint8")
        return predicted if multilabel else predicted[..., 0]
    weighed = weigh_background(outputs, threshold, from_logits)
    return np.argmax(weighed, axis=-1).astype(np.min_scalar_type(outputs.shape[-1] - 1))


# ---- Counting -----------------------------------------------------------------------------------


def sum_exactly(values):
    """Sums (N, H, W, K) not negative float32 values over pixels, as (blocks, units) of shape (K,).

    The sum is `BLOCK * blocks + units`. Whole values are summed without rounding as long as a row's
    sum is below 2^24, N, H and (of volumes) D are at most 2^14, and the sum is at most 2^34;
    fractions are rounded as float32 does.
    """
    parts, units = carry(0.0, ops.sum(values, axis=-2), PART)  # (N, H, K)
    while len(units.shape) > 1:  # sums of at most 2^14 numbers below 2^10 are exact
        parts, units = ops.sum(parts, axis=-2), ops.sum(units, axis=-2)  # (N, K), then (K,)
        parts, units = carry(parts, units, PART)
    blocks, parts = carry(0.0, parts, BLOCK // PART)
    return blocks, PART * parts + units


def carry(blocks, units, size):
    """Moves whole blocks of `size` out of `units`, which come out below `size`."""
    full = ops.floor(units / size)  # exact: `size` is a power of 2
    return blocks + full, units - size * full


def check_shapes(true_shape, pred_shape, num_classes, multilabel):
    """Raises a ValueError unless the shapes of masks and outputs fit; unknown sizes (None) do."""
    true_shape, pred_shape = tuple(true_shape), tuple(pred_shape)
    axes, last = pred_shape[:-1], num_classes if multilabel else 1
    lacking = len(pred_shape) - len(true_shape)  # 1 where masks have no last axis
    fits = len(pred_shape) in (4, 5) and lacking in ((0,) if multilabel else (0, 1))
    if fits and _fits(true_shape, (*axes, last)) and _fits(pred_shape[-1:], (num_classes,)):
        return
    letters = "N, D, H, W" if len(pred_shape) == 5 else "N, H, W"
    true_wanted = f"({letters}, {last})" if multilabel else f"({letters}) or ({letters}, 1)"
    one_hot = not (multilabel or lacking) and num_classes > 1 and true_shape[-1:] == (num_classes,)
    raise ValueError(
        f"`y_true` must have the shape {true_wanted} and `y_pred` ({letters}, {num_classes}), with "
        f"the same {letters}. Received: y_true.shape={true_shape}, y_pred.shape={pred_shape}"
        + (". One-hot masks become class ids by `np.argmax(y_true, -1)`" if one_hot else "")
    )


def pixel_weights(sample_weight, mask_shape):
    """Returns `sample_weight`, (N,), (N, H, W) or (N, H, W, 1), as float32 with a mask's axes.

    `mask_shape` is (N, H, W, any), or (N, D, H, W, any): then weights have D before H too.
    """
    weight = ops.cast(ops.convert_to_tensor(sample_weight), "float32")
    shape, axes = tuple(weight.shape), tuple(mask_shape)[:-1]
    if len(shape) == 1 and _fits(shape, axes):
        return ops.reshape(weight, (-1, *[1] * len(axes)))
    if len(shape) == len(axes) and _fits(shape, axes):
        return ops.expand_dims(weight, -1)
    if len(shape) == len(axes) + 1 and _fits(shape, (*axes, 1)):
        return weight
    letters = "N, D, H, W" if len(axes) == 4 else "N, H, W"
    raise ValueError(
        f"`sample_weight` must have the shape (N,), ({letters}) or ({letters}, 1), with the "
        f"{letters} of `y_true`. Received: sample_weight.shape={shape}, "
        f"y_true.shape={tuple(mask_shape)}"
    )


def _fits(shape, expected):
    """Whether sizes agree where both are known; a missing tail of `shape` is for the caller."""
    return all(a is None or b is None or a == b for a, b in zip(shape, expected, strict=False))


class PixelMetric(keras.metrics.Metric):
    """What the pixel metrics share: streaming counts, and classes chosen for one figure.

    True positives, false positives and false negatives are counted for each class over all batches
    since the last `reset_state()`, exactly. `result()` is then a scalar:

    - `"macro"`: the mean over the classes that occur. A class in neither truth nor prediction is
      left out; a class that occurs, with nothing under its fraction (precision where nothing was
      predicted), is 0.
    - `"micro"`: the figure of the classes' counts added up.
    - Nothing to find and nothing found is 1.

    A subclass gives `default_name`, the key in `History`, and `parts(tp, fp, fn)`, its formula as
    numerator and denominator.

    Args:
        num_classes: K, the channels of the outputs; 1 for binary.
        threshold: probability above which a pixel is predicted positive; of several classes as in
            `masks_from_outputs`.
        from_logits: whether predictions are logits; `threshold` stays a probability.
        multilabel: whether each channel is a class by itself, truth being zeros and ones.
        ignore_class: mask value of pixels that count nowhere, such as 255. If it is one of the
            classes' ids, that class is not scored.
        class_id: id of the one class to score (1 in a binary mask), or None for all.
        average: `"macro"` or `"micro"`.
        include_background: whether id 0 of several classes is scored with the rest.
        name: name of the metric. Give one if a model has two of a kind.
        dtype: dtype of the result. Counts do not depend on it.

    Call arguments:
        y_true: class ids (N, H, W) or (N, H, W, 1), of any dtype; with `multilabel` zeros and ones
            (N, H, W, K). A value that is no class, where a pixel counts, is an error, so that a
            0/255 mask does not pass for 0/1. A compiled step cannot raise: there the figure is NaN,
            and `result()` raises when Keras asks for it at the end of the epoch.
        y_pred: probabilities or logits (N, H, W, K).
        sample_weight: (N,), (N, H, W) or (N, H, W, 1), not negative: what a pixel counts.

    Volumes have D before H in all of these shapes, and voxels are their pixels.

    Raises:
        ValueError: if an argument is out of range or has no meaning with the others, shapes do
            not fit, or masks hold a value that is no class: it is named.
    """

    default_name: str | None = None
    parts: collections.abc.Callable | None = None

    def __init__(
        self,
        num_classes=1,
        threshold=0.5,
        from_logits=False,
        multilabel=False,
        ignore_class=None,
        class_id=None,
        average="macro",
        include_background=False,
        name=None,
        dtype=None,
    ):
        super().__init__(name=name or self.default_name, dtype=dtype)
        self.num_classes = _checks.check_integer("num_classes", num_classes)
        self._by_threshold = multilabel or num_classes == 1
        self.threshold = _checks.check_number("threshold", threshold, 0, 1)
        self.from_logits = from_logits
        self.multilabel = multilabel
        self.ignore_class = ignore_class
        self.class_id = class_id
        self.average = _checks.check_choice("average", average, AVERAGES)
        self.include_background = include_background
        # The ids that the K counts belong to: the one class of a binary mask is id 1.
        binary = num_classes == 1 and not multilabel
        self._class_ids = (1,) if binary else tuple(range(num_classes))
        self._selected = self._select()
        self._blocks = self.add_variable((3, num_classes), "zeros", dtype="float32", name="blocks")
        self._units = self.add_variable((3, num_classes), "zeros", dtype="float32", name="units")
        # of mask values that are no class: how many, the smallest, the largest
        self._strays = self.add_variable((3,), "zeros", dtype="float32", name="strays")

    def _select(self):
        """Checks the choice of classes; returns the positions of those that `result()` is about."""
        if self._by_threshold and self.include_background:
            raise ValueError(
                "`include_background` is for several classes of which id 0 is the background. "
                f"Received: include_background=True, num_classes={self.num_classes}, "
                f"multilabel={self.multilabel}. Use num_classes=2 and a softmax to score it"
            )
        ids = self._class_ids
        if self.class_id is not None:
            return (ids.index(_checks.check_choice("class_id", self.class_id, self._scored(ids))),)
        foreground = ids if self._by_threshold or self.include_background else ids[1:]
        selected = tuple(ids.index(class_id) for class_id in self._scored(foreground))
        if not selected:
            raise ValueError(
                "At least one class must be left to score. Received: "
                f"num_classes={self.num_classes}, ignore_class={self.ignore_class}"
            )
        return selected

    def _scored(self, ids):
        """`ids` without the ignored one, which the truth never holds (multilabel: a value)."""
        return [i for i in ids if self.multilabel or i != self.ignore_class]

    def update_state(self, y_true, y_pred, sample_weight=None):
        _labels.counted_by_a_metric(y_true)
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        check_shapes(y_true.shape, y_pred.shape, self.num_classes, self.multilabel)
        # In float32, where ids up to 2^24 are exact: uint8 knows no -1, and 0.3 stays no id.
        y_true = ops.cast(y_true, "float32")
        if len(y_true.shape) < len(y_pred.shape):
            y_true = ops.expand_dims(y_true, -1)  # (N, H, W, 1)
        weight = self._weight(y_true, sample_weight)  # (N, H, W, 1), or (N, H, W, K) if multilabel
        strays = _labels.refuse_strays(type(self).__name__, y_true, weight > 0, self._top)
        true = self._is_class(y_true)  # (N, H, W, K)
        predicted = self._is_predicted(y_pred)  # (N, H, W, K)
        tp, fp, fn = true * predicted, (1 - true) * predicted, true * (1 - predicted)
        self._count(weight * tp, weight * fp, weight * fn)
        self._keep(strays)

    @property
    def _top(self):
        """The largest class id."""
        return 1 if self._by_threshold else self.num_classes - 1

    def _keep(self, strays):
        """Adds what `refuse_strays` found in a compiled step."""
        if not _labels.seen(strays):
            count, low, high = (self._strays[i] for i in range(3))
            low, high = ops.minimum(low, strays[1]), ops.maximum(high, strays[2])
            self._strays.assign(ops.stack([count + strays[0], low, high]))

    def _refuse_strays(self):
        """Raises, where values can be seen, if a compiled step has met a value that is no class."""
        strays = self._strays[:]
        if _labels.seen(strays) and keras.backend.backend() != "torch":  # there it was refused
            count, *values = ops.convert_to_numpy(strays)
            if count:
                name = type(self).__name__
                raise ValueError(_labels.message(name, np.unique(values), self._top))

    def _weight(self, y_true, sample_weight):
        weight = ops.ones_like(y_true)
        if sample_weight is not None:
            weight = weight * pixel_weights(sample_weight, y_true.shape)
        if self.ignore_class is not None:
            weight = weight * ops.cast(y_true != self.ignore_class, "float32")
        return weight

    def _is_class(self, y_true):
        ids = [1] if self.multilabel else self._class_ids
        return ops.cast(ops.equal(y_true, ops.cast(ops.array(ids), "float32")), "float32")

    def _is_predicted(self, y_pred):
        if self._by_threshold:
            limit = output_threshold(self.threshold, self.from_logits)
            return ops.cast(ops.cast(y_pred, "float32") > limit, "float32")
        weighed = weigh_background(y_pred, self.threshold, self.from_logits, ops.concatenate)
        largest = ops.expand_dims(ops.argmax(weighed, axis=-1), -1)  # (N, H, W, 1)
        scored = [i if i != self.ignore_class else -1 for i in self._class_ids]
        return ops.cast(ops.equal(ops.cast(largest, "int32"), ops.array(scored)), "float32")

    def _count(self, *weights):
        """Adds pixel weights (N, H, W, K) of true positives, false positives, false negatives."""
        sums = [sum_exactly(values) for values in weights]
        blocks = self._blocks + ops.stack([blocks for blocks, _ in sums])  # (3, K)
        units = self._units + ops.stack([units for _, units in sums])
        blocks, units = carry(blocks, units, BLOCK)
        self._blocks.assign(blocks)
        self._units.assign(units)

    def _totals(self):
        """Counts (3, K) as float32: rounded only here, by at most one part in 2^24."""
        totals = BLOCK * self._blocks + self._units
        # A wrong mask value must not pass for a figure: all ratios of these are NaN.
        return ops.where(self._strays[0] > 0, math.nan, totals)

    def _ratios(self, counts):
        """The formula, and which classes occur; 0 where a class occurs and has no denominator."""
        tp, fp, fn = counts[0], counts[1], counts[2]
        numerator, denominator = self.parts(tp, fp, fn)
        # written so that NaN counts as occurring
        occurs = ops.logical_not(ops.equal(tp + fp + fn, 0))
        empty = ops.equal(denominator, 0)
        return ops.where(empty, 0.0, numerator / ops.where(empty, 1.0, denominator)), occurs

    def per_class(self):
        """Returns the figure of each class, (K,); NaN for a class in neither truth nor prediction.

        K is `num_classes`. Position k is class id k, save that the one class of a binary mask is
        id 1.
        """
        self._refuse_strays()
        values, occurs = self._ratios(self._totals())
        return ops.cast(ops.where(occurs, values, math.nan), self.dtype)

    def result(self):
        self._refuse_strays()
        counts = ops.take(self._totals(), ops.array(self._selected), axis=1)
        if self.average == "micro":
            counts = ops.sum(counts, axis=1, keepdims=True)
        values, occurs = self._ratios(counts)
        occurs = ops.cast(occurs, "float32")
        found = ops.sum(occurs)
        mean = ops.sum(values * occurs) / ops.maximum(found, 1.0)
        # nothing to find and nothing found: all right
        return ops.cast(ops.where(ops.equal(found, 0), 1.0, mean), self.dtype)

    def counts(self):
        """Returns the counts so far: `{"tp": (K,), "fp": (K,), "fn": (K,)}`, NumPy float64."""
        blocks = ops.convert_to_numpy(self._blocks).astype("float64")
        units = ops.convert_to_numpy(self._units).astype("float64")
        return dict(zip(("tp", "fp", "fn"), BLOCK * blocks + units, strict=True))

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "threshold": self.threshold,
            "from_logits": self.from_logits,
            "multilabel": self.multilabel,
            "ignore_class": self.ignore_class,
            "class_id": self.class_id,
            "average": self.average,
            "include_background": self.include_background,
        }


@keras.saving.register_keras_serializable(package="keras_deepskip")
class IoU(PixelMetric):
    """Intersection over union (Jaccard index) of predicted and true pixels.

    tp / (tp + fp + fn), from counts over all batches.
    See `PixelMetric` for arguments, the average over classes, and empty classes.

    Example:

    >>> metric = IoU()
    >>> y_true = np.array([[[1, 1, 0, 0]]])  # (1, 1, 4)
    >>> y_pred = np.array([[[[0.9], [0.2], [0.8], [0.7]]]])  # (1, 1, 4, 1)
    >>> metric.update_state(y_true, y_pred)
    >>> round(float(metric.result()), 4)
    0.25
    """

    default_name = "iou"
    parts = staticmethod(iou_parts)


@keras.saving.register_keras_serializable(package="keras_deepskip")
class Dice(PixelMetric):
    """Dice coefficient of predicted and true pixels.

    2 tp / (2 tp + fp + fn), from counts over all batches.
    See `PixelMetric` for arguments, the average over classes, and empty classes.

    Example:

    >>> metric = Dice()
    >>> y_true = np.array([[[1, 1, 0, 0]]])  # (1, 1, 4)
    >>> y_pred = np.array([[[[0.9], [0.2], [0.8], [0.7]]]])  # (1, 1, 4, 1)
    >>> metric.update_state(y_true, y_pred)
    >>> round(float(metric.result()), 4)
    0.4
    """

    default_name = "dice"
    parts = staticmethod(dice_parts)


@keras.saving.register_keras_serializable(package="keras_deepskip")
class Precision(PixelMetric):
    """Share of the predicted pixels that are right.

    tp / (tp + fp), from counts over all batches.
    See `PixelMetric` for arguments, the average over classes, and empty classes.

    Example:

    >>> metric = Precision()
    >>> y_true = np.array([[[1, 1, 0, 0]]])  # (1, 1, 4)
    >>> y_pred = np.array([[[[0.9], [0.2], [0.8], [0.7]]]])  # (1, 1, 4, 1)
    >>> metric.update_state(y_true, y_pred)
    >>> round(float(metric.result()), 4)
    0.3333
    """

    default_name = "precision"
    parts = staticmethod(precision_parts)


@keras.saving.register_keras_serializable(package="keras_deepskip")
class Recall(PixelMetric):
    """Share of the true pixels that were predicted.

    tp / (tp + fn), from counts over all batches.
    See `PixelMetric` for arguments, the average over classes, and empty classes.

    Example:

    >>> metric = Recall()
    >>> y_true = np.array([[[1, 1, 0, 0]]])  # (1, 1, 4)
    >>> y_pred = np.array([[[[0.9], [0.2], [0.8], [0.7]]]])  # (1, 1, 4, 1)
    >>> metric.update_state(y_true, y_pred)
    >>> round(float(metric.result()), 4)
    0.5
    """

    default_name = "recall"
    parts = staticmethod(recall_parts)


@keras.saving.register_keras_serializable(package="keras_deepskip")
class F1(PixelMetric):
    """Harmonic mean of pixel precision and recall: on masks the same number as `Dice`.

    2 tp / (2 tp + fp + fn), from counts over all batches.
    See `PixelMetric` for arguments, the average over classes, and empty classes.

    Example:

    >>> metric = F1()
    >>> y_true = np.array([[[1, 1, 0, 0]]])  # (1, 1, 4)
    >>> y_pred = np.array([[[[0.9], [0.2], [0.8], [0.7]]]])  # (1, 1, 4, 1)
    >>> metric.update_state(y_true, y_pred)
    >>> round(float(metric.result()), 4)
    0.4
    """

    default_name = "f1"
    parts = staticmethod(f1_parts)
