"""Object counts over a set of images, by class and by stratum of size."""

import math

import numpy as np

from keras_deepskip import _checks
from keras_deepskip.metrics.pixel import f1_parts, precision_parts, recall_parts
from keras_deepskip.objects import (
    CONNECTIVITIES,
    check_criterion,
    check_same_shape,
    label_objects,
    match_objects,
)

# (name, smallest area, area that is too large), in pixels (of volumes: voxels, whose count is the
# area here); an object of 64 pixels is not "<8x8".
SIZE_STRATA = (
    ("<8x8", 0, 64),
    ("8x8-16x16", 64, 256),
    ("16x16-32x32", 256, 1024),
    (">=32x32", 1024, math.inf),
)
COCO_STRATA = (("small", 0, 32**2), ("medium", 32**2, 96**2), ("large", 96**2, math.inf))


class ObjectCounts:
    """Counts of found, missed and false objects over a set of images, by class and size.

    A true object with a match is a true positive, one without a false negative; a predicted object
    without a match is a false positive. A true object falls in the stratum of its own area, a match
    in its true object's, a false positive in that of the predicted area.

    A volume is an image whose pixels are voxels: in what follows, D stands before H, and an area is
    a number of voxels. `strata` in that measure are yours to choose: `SIZE_STRATA` are for images.

    Ignored pixels are no object. A predicted object with more than half of its pixels on them
    counts nowhere; of any other, the pixels that are not ignored are compared.

    Args:
        num_classes: K, the channels of the model's outputs: 1 for binary (id 1 is the class), else
            ids 1..K-1 are classes and 0 is background.
        criterion: what may match, `"iou"` or `"centre"`, as in `match_objects`.
        threshold: smallest IoU of a match.
        strata: rows (name, smallest area, area that is too large) that cover all areas from 0 to
            infinity (`math.inf` or None) without gap; see `SIZE_STRATA` and `COCO_STRATA`.
        connectivity: 8 or 4, of volumes 26 (or 8) or 6, as in `label_objects`.
        ignore_class: mask value of pixels that count nowhere. If it is one of the classes' ids,
            that class is not scored.
        multilabel: whether masks are zeros and ones (H, W, K), each channel a class by itself.

    Raises:
        ValueError: if an argument is out of range.

    Example:

    >>> counts = ObjectCounts()
    >>> true = np.array([[1, 1, 0, 1, 0, 0]])
    >>> predicted = np.array([[1, 1, 0, 0, 0, 1]])
    >>> counts.update(true, predicted)
    >>> counts.recall(), counts.precision(), counts.recall(stratum="<8x8")
    (0.5, 0.5, 0.5)
    """

    def __init__(
        self,
        num_classes=1,
        criterion="iou",
        threshold=0.5,
        strata=SIZE_STRATA,
        connectivity=8,
        ignore_class=None,
        multilabel=False,
    ):
        self.num_classes = _checks.check_integer("num_classes", num_classes)
        check_criterion(criterion, threshold)
        self.criterion = criterion
        self.threshold = threshold
        self.strata = check_strata(strata)
        self.connectivity = _checks.check_choice("connectivity", connectivity, CONNECTIVITIES)
        self.ignore_class = ignore_class
        self.multilabel = multilabel
        self.class_ids = self._scored_ids()
        self.stratum_names = tuple(name for name, _, _ in self.strata)
        # [tp, fp, fn][class][stratum]
        self.counts = np.zeros((3, len(self.class_ids), len(self.strata)), "int64")

    def _scored_ids(self):
        if self.multilabel:
            return tuple(range(self.num_classes))
        ids = range(1, max(self.num_classes, 2))
        scored = tuple(i for i in ids if i != self.ignore_class)
        if not scored:
            raise ValueError(
                "At least one class must be left to score. Received: "
                f"num_classes={self.num_classes}, ignore_class={self.ignore_class}"
            )
        return scored

    def get_config(self):
        """Returns the arguments that make such an object, fit for JSON."""
        return {
            "num_classes": self.num_classes,
            "criterion": self.criterion,
            "threshold": self.threshold,
            "strata": [
                [name, low, None if high == math.inf else high] for name, low, high in self.strata
            ],
            "connectivity": self.connectivity,
            "ignore_class": self.ignore_class,
            "multilabel": self.multilabel,
        }

    # -- adding

    def update(
        self, true_mask, predicted_mask, ignored=None, true_labels=None, predicted_labels=None
    ):
        """Adds one image.

        Args:
            true_mask: class ids (H, W), or zeros and ones (H, W, K) with `multilabel`; of a volume
                (D, H, W), or (D, H, W, K).
            predicted_mask: as `true_mask`; `masks_from_outputs` makes such masks.
            ignored: (H, W), where pixels count nowhere besides those of `ignore_class`.
            true_labels, predicted_labels: which object each pixel is of, (H, W) integers as in
                `separate_objects`, so that objects that touch are several; None takes connected
                components. Not with `multilabel`.

        Raises:
            ValueError: if shapes differ, or a mask holds a value that is no class.
        """
        true_mask, predicted_mask = np.asarray(true_mask), np.asarray(predicted_mask)
        check_same_shape("true_mask", true_mask, "predicted_mask", predicted_mask)
        self._check_values("true_mask", true_mask, self.ignore_class)
        self._check_values("predicted_mask", predicted_mask, None)
        outside = np.zeros(self._spatial(true_mask), bool)
        if ignored is not None:
            check_same_shape("ignored", np.asarray(ignored), "true_mask[:, :]", outside)
            outside = np.asarray(ignored) != 0
        for position, class_id in enumerate(self.class_ids):
            true, value = self._plane(true_mask, class_id)
            predicted, _ = self._plane(predicted_mask, class_id)
            not_counted = outside | (true == self.ignore_class)
            self._count(
                position,
                self._labels((true == value) & ~not_counted, true_labels),
                self._labels(predicted == value, predicted_labels),
                not_counted,
            )

    def update_batch(
        self,
        true_masks,
        predicted_masks,
        sample_weight=None,
        true_labels=None,
        predicted_labels=None,
    ):
        """Adds a batch of images (or volumes, with D before H), as models and metrics have it.

        Args:
            true_masks: class ids (N, H, W) or (N, H, W, 1), or (N, H, W, K) with `multilabel`.
            predicted_masks: class ids (N, H, W), or (N, H, W, K) with `multilabel`.
            sample_weight: zeros and ones; (N,): a 0 leaves the image out, (N, H, W) or
                (N, H, W, 1): pixels of weight 0 are ignored.
            true_labels, predicted_labels: (N, H, W), as in `update`.

        Raises:
            ValueError: if shapes do not fit, or a weight is neither 0 nor 1.
        """
        true_masks, predicted_masks = np.asarray(true_masks), np.asarray(predicted_masks)
        if true_masks.shape == (*predicted_masks.shape, 1) and not self.multilabel:
            true_masks = true_masks[..., 0]
        check_same_shape("true_masks", true_masks, "predicted_masks", predicted_masks)
        ignored = _ignored_pixels(sample_weight, self._spatial(true_masks))
        none = [None] * len(true_masks)
        for true_mask, predicted_mask, outside, *labels in zip(
            true_masks,
            predicted_masks,
            ignored,
            none if true_labels is None else true_labels,
            none if predicted_labels is None else predicted_labels,
            strict=True,
        ):
            if outside is None or not outside.all():
                self.update(true_mask, predicted_mask, outside, *labels)

    def merge(self, other):
        """Adds the counts of another `ObjectCounts` of the same arguments; returns itself.

        Raises:
            ValueError: if the arguments differ.
        """
        if self.get_config() != other.get_config():
            raise ValueError(
                "`other` must have been made with the same arguments. Received: "
                f"other={other.get_config()}, to be added to {self.get_config()}"
            )
        self.counts += other.counts
        return self

    def _spatial(self, mask):
        """The shape of a mask, or of several, without the axis of classes."""
        return mask.shape[:-1] if self.multilabel else mask.shape

    def _plane(self, mask, class_id):
        """The (H, W) array to look at for a class, and the value of the class's pixels there."""
        return (mask[..., class_id], 1) if self.multilabel else (mask, class_id)

    def _check_values(self, name, mask, also):
        shape_fits = not self.multilabel or mask.shape[-1:] == (self.num_classes,)
        top = 1 if self.multilabel else max(self.num_classes - 1, 1)
        if not shape_fits or len(self._spatial(mask)) not in (2, 3):
            last = f", {self.num_classes}" if self.multilabel else ""
            raise ValueError(
                f"`{name}` must have the shape (H, W{last}), or (D, H, W{last}) of a volume. "
                f"Received: {mask.shape}"
            )
        _check_ids(name, mask, top, also)

    def _labels(self, inside, known):
        if known is not None and self.multilabel:
            raise ValueError(
                "labels are for masks of one class a pixel. Received: labels with multilabel=True"
            )
        return labels_of_class(inside, known, self.connectivity)

    def _count(self, position, true, predicted, ignored):
        """Adds one class of one image, given as `(labels, count)`."""
        (true_labels, true_count), (predicted_labels, predicted_count) = true, predicted
        if not (true_count or predicted_count):
            return
        predicted_labels = without_ignored(predicted_labels, ignored)
        pairs, _ = match_objects(true_labels, predicted_labels, self.criterion, self.threshold)
        true_stratum = self._strata_of(true_labels, true_count)
        predicted_stratum = self._strata_of(predicted_labels, predicted_count)
        found = np.zeros(true_count + 1, bool)
        found[pairs[:, 0]] = True
        right = np.zeros(predicted_count + 1, bool)
        right[pairs[:, 1]] = True
        for row, strata in enumerate(
            (true_stratum[found], predicted_stratum[~right], true_stratum[~found])
        ):
            strata = strata[strata >= 0]
            self.counts[row, position] += np.bincount(strata, minlength=len(self.strata))

    def _strata_of(self, labels, count):
        """The stratum of each label 0..count; -1 for background and labels without pixels."""
        areas = np.bincount(labels.ravel(), minlength=count + 1)
        areas[0] = 0
        lows = [low for _, low, _ in self.strata]
        return np.where(areas > 0, np.searchsorted(lows, areas, side="right") - 1, -1)

    # -- figures

    def recall(self, class_id=None, stratum=None):
        """Returns the share of true objects that were found; see `f1` for the arguments."""
        return self.figure(recall_parts, class_id, stratum)

    def precision(self, class_id=None, stratum=None):
        """Returns the share of predicted objects that are right; see `f1` for the arguments."""
        return self.figure(precision_parts, class_id, stratum)

    def f1(self, class_id=None, stratum=None):
        """Returns the harmonic mean of precision and recall, of all counts of the selection added.

        Args:
            class_id: id of one class (multilabel: its channel), or None for all.
            stratum: name of one stratum, or None for all.

        Returns:
            A float: 1 if there is nothing to find and nothing was found, 0 if there is something
            and nothing under the fraction. For a stratum with nothing under the fraction, None.
        """
        return self.figure(f1_parts, class_id, stratum)

    def select(self, class_id=None, stratum=None):
        """Returns the counts `(tp, fp, fn)` of a class, a stratum, both, or all, as ints."""
        classes, strata = slice(None), slice(None)
        if class_id is not None:
            classes = self.class_ids.index(
                _checks.check_choice("class_id", class_id, self.class_ids)
            )
        if stratum is not None:
            strata = self.stratum_names.index(
                _checks.check_choice("stratum", stratum, self.stratum_names)
            )
        return tuple(int(counts[classes, strata].sum()) for counts in self.counts)

    def figure(self, parts, class_id=None, stratum=None):
        """Returns a figure by its formula, such as `pixel.recall_parts`; see `f1`."""
        tp, fp, fn = self.select(class_id, stratum)
        numerator, denominator = parts(tp, fp, fn)
        if denominator:
            return numerator / denominator
        if stratum is not None:
            return None
        return 0.0 if tp + fp + fn else 1.0

    def summary(self):
        """Returns all figures and counts as a dict fit for JSON.

        `config` holds the arguments, `all` the figures over everything, `strata` those by stratum,
        and `classes` those of each class (its id as a string), with its own `strata`: each
        `recall`, `precision`, `f1` and the counts `tp`, `fp`, `fn`. A figure is None for a class
        without objects, true or predicted, and for a stratum with nothing under the fraction.
        """

        def strata(class_id):
            return {name: self._row(class_id, name) for name in self.stratum_names}

        return {
            "config": self.get_config(),
            "all": self._row(None, None),
            "strata": strata(None),
            "classes": {
                str(class_id): {**self._row(class_id, None), "strata": strata(class_id)}
                for class_id in self.class_ids
            },
        }

    def _row(self, class_id, stratum):
        tp, fp, fn = self.select(class_id, stratum)
        absent = class_id is not None and not tp + fp + fn
        return {
            "recall": None if absent else self.recall(class_id, stratum),
            "precision": None if absent else self.precision(class_id, stratum),
            "f1": None if absent else self.f1(class_id, stratum),
            "tp": tp,
            "fp": fp,
            "fn": fn,
        }


def check_strata(strata):
    """Returns strata as a tuple of (name, low, high) that cover all areas without gap."""
    rows = tuple((str(name), low, math.inf if high is None else high) for name, low, high in strata)
    borders = [low for _, low, _ in rows]
    names = {name for name, _, _ in rows}
    chained = [high for _, _, high in rows] == [*borders[1:], math.inf]
    rising = all(low < high for _, low, high in rows)
    if rows and borders[0] == 0 and chained and rising and len(names) == len(rows):
        return rows
    raise ValueError(
        "`strata` must be rows (name, low, high) with names of their own, from 0 to infinity "
        f"without gap. Received: strata={strata!r}. An example: {COCO_STRATA}"
    )


def labels_of_class(inside, known, connectivity=8):
    """The objects of a class, from the boolean of its pixels: labels, and their number.

    Args:
        inside: where the class is, boolean.
        known: which object each pixel is of, of the same shape; None takes connected components.
        connectivity: of these.
    """
    if known is None:
        return label_objects(inside, connectivity)
    known = np.asarray(known)
    check_same_shape("labels", known, "the mask", inside)
    ids, numbers = np.unique(np.where(inside, known, 0), return_inverse=True)
    return numbers.reshape(inside.shape) + (ids[0] != 0), int(np.count_nonzero(ids))


def object_classes(num_classes, ignore_class):
    """The ids of the classes whose objects count: all but the background and the ignored one."""
    return tuple(i for i in range(1, max(num_classes, 2)) if i != ignore_class)


def checked_pair(true_mask, predicted_mask, num_classes, ignore_class):
    """Two masks of one shape as arrays, and where the true one is ignored.

    Raises:
        ValueError: if shapes differ, or a mask holds other values than class ids.
    """
    true_mask, predicted_mask = np.asarray(true_mask), np.asarray(predicted_mask)
    check_same_shape("true_mask", true_mask, "predicted_mask", predicted_mask)
    top = max(num_classes - 1, 1)
    _check_ids("true_mask", true_mask, top, ignore_class)
    _check_ids("predicted_mask", predicted_mask, top, None)
    if ignore_class is None:
        return true_mask, predicted_mask, np.zeros(true_mask.shape, bool)
    return true_mask, predicted_mask, true_mask == ignore_class


def _check_ids(name, mask, top, also):
    """Raises a ValueError if a mask holds other values than 0..top, and `also` if it is given."""
    stray = ~np.isin(mask, [*range(top + 1), *([] if also is None else [also])])
    if stray.any():
        raise ValueError(
            f"`{name}` must hold the values 0..{top}"
            + (f" and ignore_class={also}" if also is not None else "")
            + f". Received: {np.unique(mask[stray])[:5].tolist()}. Map the mask to class ids, "
            "or name the value of pixels that shall not count with `ignore_class`"
        )


def without_ignored(labels, ignored):
    """Predicted labels without those mostly on ignored pixels, and without ignored pixels."""
    if not ignored.any():
        return labels
    area = np.bincount(labels.ravel())
    lost = np.bincount(labels[ignored], minlength=len(area))
    return np.where(ignored | (2 * lost > area)[labels], 0, labels)


def _ignored_pixels(sample_weight, shape):
    """For each image of `shape` (N, H, W) what `sample_weight` ignores of it: (H, W), or None.

    Volumes have D before H.
    """
    if sample_weight is None:
        return [None] * shape[0]
    weight = np.asarray(sample_weight)
    if weight.shape == (*shape, 1):
        weight = weight[..., 0]
    if weight.shape not in (shape, shape[:1]):
        raise ValueError(
            f"`sample_weight` must have the shape {shape[:1]} of images, or {shape} or "
            f"{(*shape, 1)} of pixels. Received: sample_weight.shape={weight.shape}"
        )
    if not np.isin(weight, (0, 1)).all():
        raise ValueError(
            "`sample_weight` must be 0 (leave out) or 1 for objects, which are whole. "
            f"Received: {np.unique(weight)[:5].tolist()}"
        )
    weight = weight.reshape(weight.shape + (1,) * (len(shape) - weight.ndim))
    return np.broadcast_to(weight == 0, shape)
