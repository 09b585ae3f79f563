"""Average precision as COCO counts it: the area under the curve of precision and recall."""

import math

import numpy as np

from keras_deepskip import _checks
from keras_deepskip.metrics.object_counts import (
    checked_pair,
    labels_of_class,
    object_classes,
    without_ignored,
)
from keras_deepskip.metrics.object_quality import AP_THRESHOLDS
from keras_deepskip.objects import label_objects, overlapping_pairs

RECALLS = np.linspace(0, 1, 101)  # at which precision is read off


class CocoPrecision:
    """AP of objects with scores, as COCO counts it, over a set of images.

    In each image the predicted objects, the surest first, take the true object of their class with
    which their IoU is largest, if that is at least a threshold and no surer one has taken it. Over
    all images, the surest first again, precision is the share of those that took one; AP is its
    mean at 101 recalls from 0 to 1, where precision at a recall is the best at that or any higher
    one (Lin et al., "Microsoft COCO", ECCV 2014, and its pycocotools, whose figures these are for
    objects of all sizes). Figures of all classes are their means, over classes with true objects.

    What was never predicted, as its probability was below the operating point, has no part in the
    curve: AP is at most the recall there.

    Args:
        num_classes: K, the channels of the model's outputs, as in `ObjectCounts`.
        ignore_class: mask value of pixels that count nowhere.
        thresholds: the IoUs.
        most: predicted objects of a class in an image that count, the surest first; None counts
            all. COCO has 100, which many images of small objects exceed.

    Raises:
        ValueError: if an argument is out of range.

    Example:

    >>> precision = CocoPrecision()
    >>> true, predicted = np.array([[1, 1, 0, 1, 1]]), np.array([[1, 1, 0, 0, 1]])
    >>> precision.update(true, predicted, scores=[0.9, 0.6])
    >>> precision.result(0.5), round(precision.result(0.75), 3)
    (1.0, 0.505)
    """

    def __init__(self, num_classes=1, ignore_class=None, thresholds=AP_THRESHOLDS, most=None):
        self.num_classes = _checks.check_integer("num_classes", num_classes)
        for threshold in thresholds:
            _checks.check_number("thresholds", threshold, 0, 1)
        self.thresholds, self.ignore_class = tuple(thresholds), ignore_class
        self.most = None if most is None else _checks.check_integer("most", most)
        self.class_ids = object_classes(num_classes, ignore_class)
        self._true = dict.fromkeys(self.class_ids, 0)
        # Of each image's predicted objects: scores (N,), and whether they took one (T, N)
        self._scores = {class_id: [] for class_id in self.class_ids}
        self._took = {class_id: [] for class_id in self.class_ids}

    def update(self, true_mask, predicted_mask, scores, true_labels=None, predicted_labels=None):
        """Adds one image, or one volume.

        Args:
            true_mask, predicted_mask: class ids (H, W), or (D, H, W).
            scores: of the predicted objects 1, 2, ..., such as their mean probabilities.
            true_labels, predicted_labels: which object each pixel is of; None takes connected
                components, as `label_objects` numbers them.

        Raises:
            ValueError: if shapes differ, if a mask holds other values than class ids, or if there
                are not as many scores as objects.
        """
        true_mask, predicted_mask, ignored = checked_pair(
            true_mask, predicted_mask, self.num_classes, self.ignore_class
        )
        if predicted_labels is None:
            predicted_labels, _ = label_objects(predicted_mask)
        scores, last = np.asarray(scores, "float64"), int(np.max(predicted_labels, initial=0))
        if last > len(scores):
            raise ValueError(
                "`scores` must have one for each predicted object. Received: "
                f"{len(scores)} for object {last}"
            )
        for class_id in self.class_ids:
            true, _ = labels_of_class((true_mask == class_id) & ~ignored, true_labels)
            predicted = np.where(predicted_mask == class_id, predicted_labels, 0)
            self._add(class_id, true, without_ignored(predicted, ignored), scores)

    def _add(self, class_id, true, predicted, scores):
        numbers = np.unique(predicted[predicted > 0])
        order = np.argsort(-scores[numbers - 1], kind="stable")[: self.most]
        numbers = numbers[order]
        self._true[class_id] += len(np.unique(true[true > 0]))
        self._scores[class_id].append(scores[numbers - 1])
        self._took[class_id].append(_taken(true, predicted, numbers, self.thresholds))

    def result(self, threshold=None, class_id=None):
        """AP at an IoU; of None the mean over all thresholds, COCO's "AP".

        Args:
            threshold: one of `thresholds`, or None.
            class_id: id of a class; None is the mean over classes with true objects.

        Returns:
            A float; NaN if there are no true objects.

        Raises:
            ValueError: if there is no such threshold or class.
        """
        _checks.check_choice("threshold", threshold, (None, *self.thresholds))
        _checks.check_choice("class_id", class_id, (None, *self.class_ids))
        ids = self.class_ids if class_id is None else (class_id,)
        values = [self._of(own, threshold) for own in ids if self._true[own]]
        return float(np.mean(values)) if values else math.nan

    def _of(self, class_id, threshold):
        scores = np.concatenate(self._scores[class_id])
        took = np.concatenate(self._took[class_id], axis=1)
        took = took[:, np.argsort(-scores, kind="stable")]
        rows = range(len(self.thresholds))
        if threshold is not None:
            rows = [self.thresholds.index(threshold)]
        return np.mean([_area(took[row], self._true[class_id]) for row in rows])


def _taken(true, predicted, numbers, thresholds):
    """Whether each predicted object takes a true one: (T, N) bool, in the order of `numbers`."""
    pairs, overlaps = overlapping_pairs(true, predicted)
    partners: dict[int, list] = {}
    for (other, number), iou in zip(pairs.tolist(), overlaps.tolist(), strict=True):
        partners.setdefault(number, []).append((iou, other))  # of equals the last is taken
    found = np.zeros((len(thresholds), len(numbers)), bool)
    for row, threshold in enumerate(thresholds):
        least, taken = min(threshold, 1 - 1e-10), set()
        for place, number in enumerate(numbers.tolist()):
            free = [
                pair
                for pair in partners.get(number, ())
                if pair[0] >= least and pair[1] not in taken
            ]
            if free:
                taken.add(max(free)[1])
                found[row, place] = True
    return found


def _area(took, true):
    """Mean precision at the recalls, of objects with the surest first."""
    right = np.cumsum(took)
    recall = right / true
    precision = right / (np.arange(len(took)) + 1 + np.spacing(1))
    best = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(recall, RECALLS, side="left")
    return np.append(best, 0.0)[places].mean()
