"""Object metrics with the interface of Keras, for eager steps and for evaluation."""

import collections.abc
import math

import keras
import numpy as np
from keras import ops

from keras_deepskip import _checks
from keras_deepskip.metrics.object_counts import SIZE_STRATA, ObjectCounts
from keras_deepskip.metrics.pixel import (
    check_shapes,
    f1_parts,
    masks_from_outputs,
    precision_parts,
    recall_parts,
)


class ObjectMetric(keras.metrics.Metric):
    """What the object metrics share: `ObjectCounts` with Keras's interface.

    They need values, not symbols: use them as evaluators over predictions, or in a model compiled
    with `run_eagerly=True` (TensorFlow, torch). Torch's `fit` without `jit_compile` is eager as it
    is. To watch object figures during a compiled `fit`, use `ObjectMetricsCallback`.

    A subclass gives `default_name` and `parts(tp, fp, fn)`, its formula.

    Args:
        num_classes: K, the channels of the outputs; 1 for binary.
        pixel_threshold: probability above which a pixel is predicted positive; of several classes
            as in `masks_from_outputs`.
        from_logits: whether predictions are logits.
        multilabel: whether each channel is a class by itself, truth being zeros and ones.
        criterion: what may match, `"iou"` or `"centre"`, as in `match_objects`.
        threshold: smallest IoU of a match.
        strata: strata of object area, as in `ObjectCounts`.
        stratum: name of the one stratum to score, or None for all.
        class_id: id of the one class to score (1 in a binary mask), or None for all.
        connectivity: 8 or 4, of volumes 26 (or 8) or 6, as in `label_objects`.
        ignore_class: mask value of pixels that count nowhere.
        name: name of the metric.
        dtype: as every Keras metric has it; the result is a Python float whatever it is.

    Call arguments:
        y_true: class ids (N, H, W) or (N, H, W, 1); with `multilabel` zeros and ones (N, H, W, K).
        y_pred: probabilities or logits (N, H, W, K).
        sample_weight: zeros and ones: (N,), where a 0 leaves the image out, or (N, H, W) or
            (N, H, W, 1), where pixels of weight 0 are ignored.

    Volumes have D before H in all of these shapes; see `ObjectCounts`.

    `result()` is a float; NaN for a stratum that has no figure.

    Raises:
        ValueError: if an argument is out of range, or shapes do not fit.
        RuntimeError: in a compiled step, where values cannot be seen.
    """

    default_name: str | None = None
    parts: collections.abc.Callable | None = None

    def __init__(
        self,
        num_classes=1,
        pixel_threshold=0.5,
        from_logits=False,
        multilabel=False,
        criterion="iou",
        threshold=0.5,
        strata=SIZE_STRATA,
        stratum=None,
        class_id=None,
        connectivity=8,
        ignore_class=None,
        name=None,
        dtype=None,
    ):
        super().__init__(name=name or self.default_name, dtype=dtype)
        self._arguments = {
            "num_classes": num_classes,
            "criterion": criterion,
            "threshold": threshold,
            "strata": strata,
            "connectivity": connectivity,
            "ignore_class": ignore_class,
            "multilabel": multilabel,
        }
        _checks.check_number("pixel_threshold", pixel_threshold, 0, 1)
        self.pixel_threshold = pixel_threshold
        self.from_logits = from_logits
        self.stratum = stratum
        self.class_id = class_id
        blank = ObjectCounts(**self._arguments)
        blank.select(class_id, stratum)  # raises if there is no such class or stratum
        # A Keras variable, so that `reset_state` and Keras's trial runs leave no trace in it.
        self._state = self.add_variable(blank.counts.shape, "zeros", dtype="int32", name="counts")

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true, y_pred = self._values(y_true), self._values(y_pred)
        weight = None if sample_weight is None else self._values(sample_weight)
        counts = self.counts()
        check_shapes(y_true.shape, y_pred.shape, counts.num_classes, counts.multilabel)
        predicted = masks_from_outputs(
            y_pred, self.pixel_threshold, self.from_logits, counts.multilabel
        )
        counts.update_batch(y_true, predicted, weight)
        self._state.assign(counts.counts.astype("int32"))

    def _values(self, tensor):
        try:
            return np.asarray(ops.convert_to_numpy(tensor))
        except Exception as error:  # each backend has its own, for tensors without values
            raise RuntimeError(
                f"{type(self).__name__} needs values, and a compiled step has none. "
                f"Received: {type(tensor).__name__}. Use "
                "`keras_deepskip.metrics.ObjectMetricsCallback` during `fit`, or the metric on the "
                "predictions afterwards; on TensorFlow and torch also "
                "`compile(..., run_eagerly=True)`"
            ) from error

    def counts(self):
        """Returns the counts so far as an `ObjectCounts`, for other figures and `summary()`."""
        counts = ObjectCounts(**self._arguments)
        counts.counts += self._values(self._state)
        return counts

    def result(self):
        value = self.counts().figure(self.parts, self.class_id, self.stratum)
        return math.nan if value is None else value

    def get_config(self):
        return {
            **super().get_config(),
            **ObjectCounts(**self._arguments).get_config(),
            "pixel_threshold": self.pixel_threshold,
            "from_logits": self.from_logits,
            "stratum": self.stratum,
            "class_id": self.class_id,
        }


@keras.saving.register_keras_serializable(package="keras_deepskip")
class ObjectRecall(ObjectMetric):
    """Share of the true objects that were found. See `ObjectMetric` for the arguments.

    Example:

    >>> metric = ObjectRecall()
    >>> y_true = np.array([[[1, 1, 0, 1, 0, 0]]])  # (1, 1, 6): two objects
    >>> y_pred = np.array([[[1.0, 1.0, 0.0, 0.0, 0.0, 1.0]]])[..., None]  # (1, 1, 6, 1)
    >>> metric.update_state(y_true, y_pred)
    >>> metric.result()
    0.5
    """

    default_name = "object_recall"
    parts = staticmethod(recall_parts)


@keras.saving.register_keras_serializable(package="keras_deepskip")
class ObjectPrecision(ObjectMetric):
    """Share of the predicted objects that are right. See `ObjectMetric` for the arguments.

    Example:

    >>> metric = ObjectPrecision()
    >>> y_true = np.array([[[1, 1, 0, 1, 0, 0]]])  # (1, 1, 6)
    >>> y_pred = np.array([[[1.0, 1.0, 0.0, 0.0, 0.0, 0.0]]])[..., None]  # one object, right
    >>> metric.update_state(y_true, y_pred)
    >>> metric.result()
    1.0
    """

    default_name = "object_precision"
    parts = staticmethod(precision_parts)


@keras.saving.register_keras_serializable(package="keras_deepskip")
class ObjectF1(ObjectMetric):
    """Harmonic mean of object precision and recall. See `ObjectMetric` for the arguments.

    Example:

    >>> metric = ObjectF1()
    >>> y_true = np.array([[[1, 1, 0, 1, 0, 1]]])  # (1, 1, 6): three objects
    >>> y_pred = np.array([[[1.0, 1.0, 0.0, 0.0, 0.0, 0.0]]])[..., None]  # one of them
    >>> metric.update_state(y_true, y_pred)
    >>> metric.result()
    0.5
    """

    default_name = "object_f1"
    parts = staticmethod(f1_parts)
