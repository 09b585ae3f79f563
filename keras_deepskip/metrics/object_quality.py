"""Average precision, panoptic quality and count error of objects, over a set of images."""

import math

import numpy as np

from keras_deepskip import _checks
from keras_deepskip.metrics.object_counts import (
    checked_pair,
    labels_of_class,
    object_classes,
    without_ignored,
)
from keras_deepskip.objects import match_objects

AP_THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


class ObjectQuality:
    """Scores that are published for instances: AP by IoU, PQ with SQ and RQ, and count errors.

    Objects of a class are matched one to one by an IoU of at least a threshold; TP, FP and FN are
    summed over all images. Then, for each class,

        AP(t) = TP / (TP + FP + FN)               as in StarDist
        SQ = mean IoU of the matches at 0.5,  RQ = TP / (TP + FP / 2 + FN / 2),  PQ = SQ RQ

    (Kirillov et al., "Panoptic Segmentation", CVPR 2019). The 2018 Data Science Bowl has the same
    formula, for each image by itself, and takes the mean of these. This AP needs no confidences; it
    is not the area under a curve of precision and recall that COCO calls AP. Figures of all classes
    are their means, over the classes that have objects.

    Args:
        num_classes: K, the channels of the model's outputs, as in `ObjectCounts`.
        ignore_class: mask value of pixels that count nowhere.
        thresholds: the IoUs of AP, from 0.5 on.

    Raises:
        ValueError: if an argument is out of range.

    Example:

    >>> quality = ObjectQuality()
    >>> true, predicted = np.array([[1, 1, 0, 1, 1]]), np.array([[1, 1, 0, 0, 1]])
    >>> quality.update(true, predicted)
    >>> quality.average_precision(0.5), quality.average_precision(0.75)
    (1.0, 0.3333333333333333)
    """

    def __init__(self, num_classes=1, ignore_class=None, thresholds=AP_THRESHOLDS):
        self.num_classes = _checks.check_integer("num_classes", num_classes)
        for threshold in thresholds:
            _checks.check_number("thresholds", threshold, 0.5, 1)
        self.thresholds = tuple(thresholds)
        self.ignore_class = ignore_class
        self.class_ids = object_classes(num_classes, ignore_class)
        shape = len(self.class_ids)
        self._true, self._predicted = np.zeros(shape, "int64"), np.zeros(shape, "int64")
        self._matched = np.zeros((shape, len(self.thresholds)), "int64")
        self._pairs, self._iou = np.zeros(shape, "int64"), np.zeros(shape)
        self._errors = [[] for _ in self.class_ids]  # of each image: predicted less true

    def update(self, true_mask, predicted_mask, true_labels=None, predicted_labels=None):
        """Adds one image, or one volume.

        Args:
            true_mask, predicted_mask: class ids (H, W), or (D, H, W).
            true_labels, predicted_labels: which object each pixel is of; None takes connected
                components.

        Raises:
            ValueError: if shapes differ, or a mask holds other values than class ids.
        """
        true_mask, predicted_mask, ignored = checked_pair(
            true_mask, predicted_mask, self.num_classes, self.ignore_class
        )
        for place, class_id in enumerate(self.class_ids):
            true, _ = labels_of_class((true_mask == class_id) & ~ignored, true_labels)
            predicted, _ = labels_of_class(predicted_mask == class_id, predicted_labels)
            self._add(place, true, without_ignored(predicted, ignored))

    def _add(self, place, true, predicted):
        pairs, iou = match_objects(true, predicted)
        counts = [len(np.unique(labels[labels > 0])) for labels in (true, predicted)]
        self._true[place] += counts[0]
        self._predicted[place] += counts[1]
        self._pairs[place] += len(pairs)
        self._iou[place] += iou.sum()
        # Above 0.5 an object has one partner at most: these pairs are those of every threshold.
        self._matched[place] += [int((iou >= threshold).sum()) for threshold in self.thresholds]
        self._errors[place].append(counts[1] - counts[0])

    def average_precision(self, threshold=None, class_id=None):
        """AP at an IoU; of None the mean over all thresholds.

        Args:
            threshold: one of `thresholds`, or None.
            class_id: id of a class; None is the mean over classes with objects.

        Returns:
            A float; NaN if there are no objects, true or predicted.

        Raises:
            ValueError: if there is no such threshold or class.
        """
        total = (self._true + self._predicted)[:, None] - self._matched
        with np.errstate(invalid="ignore"):
            values = self._matched / total
        if threshold is not None:
            _checks.check_choice("threshold", threshold, self.thresholds)
            values = values[:, [self.thresholds.index(threshold)]]
        return self._of(values.mean(axis=1), class_id)

    def panoptic(self, class_id=None):
        """A dict of `pq`, `sq` and `rq`; see `average_precision`."""
        with np.errstate(invalid="ignore"):
            rq = 2 * self._pairs / (self._true + self._predicted)
            # Nothing matched is 0, as rq is; NaN where there is no object at all
            sq = np.where(self._pairs > 0, self._iou / self._pairs, 0 * rq)
        pq = sq * rq
        return {
            name: self._of(values, class_id)
            for name, values in {"pq": pq, "sq": sq, "rq": rq}.items()
        }

    def count_error(self, class_id=None):
        """A dict of `mean_absolute` and `bias` (positive: too many) of the objects in an image."""
        errors = np.array(self._errors, float)
        if not errors.size:
            return {"mean_absolute": math.nan, "bias": math.nan}
        absolute, bias = np.abs(errors).mean(axis=1), errors.mean(axis=1)
        return {
            "mean_absolute": self._of(absolute, class_id), "bias": self._of(bias, class_id),
        }  # fmt: skip

    def summary(self):
        """All figures as a dict fit for JSON: of all classes, and of each by its id."""
        ids = {"all": None, **{str(class_id): class_id for class_id in self.class_ids}}
        return {name: self._figures(class_id) for name, class_id in ids.items()}

    def _figures(self, class_id):
        figures = {"ap": self.average_precision(class_id=class_id)}
        for threshold in self.thresholds:
            figures[f"ap{round(100 * threshold)}"] = self.average_precision(threshold, class_id)
        figures |= self.panoptic(class_id)
        figures |= {f"count_{n}": value for n, value in self.count_error(class_id).items()}
        return {name: None if math.isnan(value) else value for name, value in figures.items()}

    def _of(self, values, class_id):
        """The value of a class, or the mean over those that have objects."""
        if class_id is not None:
            _checks.check_choice("class_id", class_id, self.class_ids)
            return float(values[self.class_ids.index(class_id)])
        known = values[(self._true + self._predicted > 0) & ~np.isnan(values)]
        return float(known.mean()) if len(known) else math.nan
