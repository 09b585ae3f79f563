"""`choose_operating_point`: threshold and smallest object, by what is found in validation."""

import dataclasses
import math
from collections.abc import Sequence

import keras
import numpy as np

from keras_deepskip import _checks
from keras_deepskip.architectures import adapter_of
from keras_deepskip.data import (
    MaskReading,
    Sample,
    has_objects,
    load_mask,
    load_objects,
    load_pair,
    no_data,
)
from keras_deepskip.inference.ranges import as_trained
from keras_deepskip.inference.tiled import probabilities_of
from keras_deepskip.metrics import masks_from_outputs
from keras_deepskip.models import fill_of, input_range_of
from keras_deepskip.objects import (
    label_objects,
    match_objects,
    objects_by_ids,
    separate_objects,
)
from keras_deepskip.operating_point import OperatingPoint

PREFER = {None: 1.0, "recall": 2.0, "precision": 0.5}  # beta of the F measure that is compared
THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7, 0.8, 0.9)
# Least areas that are tried. Large images are decided on in parts with so many pixels around.
AREAS = (0, 4, 6, 9, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)  # pixels
SMALLEST_SHARE = 0.02  # of true objects, at most, that may be smaller than the least area
FEWEST = 5  # true objects; of fewer nothing is learnt
GAIN = 0.005  # of the score, by which another point must be better
DOUBT = 0.1  # likewise another threshold, divided by the root of the number of true objects
MOST_CLASSES = 16  # of more no threshold is chosen: each is looked at at each
MOST_PIXELS = 2**26  # of validation images that are looked at


@dataclasses.dataclass(frozen=True)
class OperatingChoice:
    """An operating point, and what it was chosen from.

    Attributes:
        point: the `OperatingPoint`.
        curve: a dict for each threshold, with the best least area there: `threshold`, `min_area`,
            `recall`, `precision` and `f1` of objects, `iou` of pixels. Of several classes there is
            one row for each class.
        images, objects: how many validation images and true objects it was chosen on.
        score: the mean of the F measure and the IoU there.
    """

    point: OperatingPoint
    curve: list[dict]
    images: int
    objects: int
    score: float

    def to_dict(self):
        """All of it as a dict fit for JSON."""
        return dataclasses.asdict(self)


def choose_operating_point(
    model: keras.Model,
    samples: Sequence[Sample],
    masks: MaskReading | None = None,
    prefer: str | None = None,
    trained_on: Sequence[Sample] = (),
) -> OperatingChoice:
    """Chooses the threshold and the least area by what is found in images with masks.

    Of all thresholds that are tried, with the best least area of each class there, the one of the
    highest score is taken: the mean of the F measure of objects (matched by an IoU of 0.5) and of
    the IoU of pixels; of several classes their mean, by their numbers of objects. (Where objects
    are few, the F measure alone jumps from one threshold to the next.) Of more than 16 classes the
    least areas alone are chosen. The default (0.5, any area) stays where there are fewer than five
    true objects, or nothing is better: by 0.005, another threshold by 0.1 / sqrt(number of true
    objects) more, as few say little. A least area never exceeds that of 2 % of the true objects.
    Where the samples say which object each pixel is of (`instances/`), it is also decided whether
    objects that touch are told apart by their shape: by the score, and as much by how well that
    does with the true masks, also those of the images that were trained on. (Few validation images
    may have no objects that touch.) A network that finds objects one by one (Mask R-CNN) is judged
    by those.

    Args:
        model: a built `keras.Model` with probabilities as output.
        samples: list of `Sample` with masks that were not trained on. They are taken until they
            make 64 million pixels.
        masks: a `MaskReading`; None takes class ids as the model has them.
        prefer: None weighs recall and precision alike, `"recall"` has recall count twice as much,
            `"precision"` half as much.
        trained_on: list of `Sample` of which the true masks alone are looked at, likewise until
            they make 64 million pixels.

    Returns:
        An `OperatingChoice`.

    Raises:
        ValueError: as `evaluate`.

    Example:

    ```python
    choice = choose_operating_point(run.model, run.split.val, run.masks)
    store_operating_point(run.model, choice.point)
    ```
    """
    beta = PREFER[_checks.check_choice("prefer", prefer, tuple(PREFER))]
    classes = model.output_shape[-1]
    reading = dataclasses.replace(masks or MaskReading(), num_classes=classes)
    finder = adapter_of(model).object_finder(model)
    if not samples:
        raise ValueError("`samples` must hold at least one image with its mask. Received: none")
    if finder or not any(has_objects(sample, reading) for sample in samples):
        counts, images = _counts(model, samples, reading, finder=finder)
        return _choice(counts, images, classes, beta)
    shapes = _shapes([*samples, *trained_on], reading)
    counts, images = _counts(model, samples, reading, shapes.least)
    choices = [_choice(counts, images, classes, beta, shapes.least, way) for way in (False, True)]
    # Half of a score is an F measure of objects, so half of that of the true masks weighs the same.
    return max(choices, key=lambda own: own.score + shapes.f1[own.point.separate] / 2)


@dataclasses.dataclass
class _Shapes:
    """What true masks say of their objects."""

    f1: dict  # F measure of the objects that their shape gives: together (False), and apart (True)
    least: dict  # class: the least area of a part


def _shapes(samples, reading):
    right, stated, true, pixels = {False: 0, True: 0}, {False: 0, True: 0}, 0, 0
    areas = {class_id: [] for class_id in range(1, max(reading.num_classes, 2))}
    for sample in samples:
        if not has_objects(sample, reading):
            continue
        mask = load_mask(sample, reading)
        pixels += mask.size
        if true and pixels > MOST_PIXELS:
            break
        objects = load_objects(sample, mask, reading)
        true += int(objects.max())
        for class_id, known in areas.items():
            known.append(_areas(np.where(mask == class_id, objects, 0)))
        for separate, numbered in ((False, label_objects), (True, separate_objects)):
            labels, count = numbered(np.where(objects > 0, mask, 0))
            right[separate] += len(match_objects(objects, labels)[0])
            stated[separate] += count
    f1 = {way: 2 * right[way] / max(stated[way] + true, 1) for way in right}
    known = {class_id: np.concatenate([[], *own]) for class_id, own in areas.items()}
    least = {of: _limits(own)[-1] if len(own) >= FEWEST else 0 for of, own in known.items()}
    return _Shapes(f1, least)


def _areas(labels):
    areas = np.bincount(labels.ravel())[1:]
    return areas[areas > 0]


def _limits(areas):
    """The least areas that may be chosen, for objects of these areas."""
    limit = np.quantile(areas, SMALLEST_SHARE) if len(areas) else 0
    return [area for area in AREAS if area <= limit]


@dataclasses.dataclass
class _Counts:
    """Areas of what was predicted at each threshold, whether it was true, and of what is true."""

    # (class, threshold, whether separated): of each object the area of its component
    predicted: dict
    found: dict  # likewise, whether each has a true object
    pixels: dict  # (class, threshold): of each component its area, and how much of it is true
    true: dict  # class: list of arrays of areas


def _counts(model, samples, reading, parts=None, finder=None):
    """What is predicted on images; with the least areas of parts by class also told apart.

    Objects are those of a `finder` (see `TrainingAdapter.object_finder`), else components.
    """
    classes, fill, expected = model.output_shape[-1], fill_of(model), input_range_of(model)
    ignore = no_data.ignored_id(reading.ignore_class)
    counts, pixels, images = _Counts({}, {}, {}, {}), 0, 0
    for sample in samples:
        image, mask = load_pair(sample, model.input_shape[-1], reading)
        pixels += mask.size
        if images and pixels > MOST_PIXELS:
            break
        images += 1
        image = no_data.filled(as_trained(image, expected, sample.image), fill)
        outputs = probabilities_of(model, image)
        ids_at = finder(image) if finder else lambda threshold: None
        objects = load_objects(sample, mask, reading)
        predictions = {
            threshold: np.where(mask == ignore, 0, masks_from_outputs(outputs[None], threshold)[0])
            for threshold in (THRESHOLDS if classes <= MOST_CLASSES else (0.5,))
        }
        ids = {threshold: ids_at(threshold) for threshold in predictions}
        for class_id in range(1, max(classes, 2)):
            truth = np.where(mask == class_id, objects, 0)
            counts.true.setdefault(class_id, []).append(_areas(truth))
            part = None if parts is None else parts.get(class_id, 0)
            for threshold, predicted in predictions.items():
                inside = predicted == class_id
                _count(counts, class_id, threshold, inside, truth, part, ids[threshold])
    return counts, images


def _count(counts, class_id, threshold, inside, true_labels, part, ids):
    """Counts the objects of a class in one image, at one threshold; `ids` say which they are."""
    components, found = label_objects(inside)
    sizes = np.bincount(components.ravel(), minlength=found + 1)
    hits = np.bincount(components[true_labels > 0], minlength=found + 1)
    counts.pixels.setdefault((class_id, threshold), []).append(np.stack([sizes, hits])[:, 1:])
    for separate in (False, True) if part is not None else (False,):
        if separate:
            labels, found = separate_objects(inside, min_area=part)
        elif ids is not None:
            labels = objects_by_ids(inside.astype("int32"), ids)
            found = int(labels.max(initial=0))
        else:
            labels = components
        pairs, _ = match_objects(true_labels, labels)
        matched = np.zeros(found + 1, bool)
        matched[pairs[:, 1]] = True
        own = np.zeros(found + 1, "int64")
        own[labels.ravel()] = sizes[components.ravel()]
        key = class_id, threshold, separate
        counts.predicted.setdefault(key, []).append(own[1:])
        counts.found.setdefault(key, []).append(matched[1:])


def _choice(counts, images, classes, beta, parts=None, separate=False):
    true = {class_id: np.concatenate(areas) for class_id, areas in counts.true.items()}
    objects = {class_id: len(areas) for class_id, areas in true.items()}
    rows = {
        class_id: _rows(counts, class_id, areas, beta, separate, parts)
        for class_id, areas in true.items()
    }
    threshold, chosen = _threshold(rows, objects)
    least = (0, *(row["min_area"] for row in chosen.values()))
    point = OperatingPoint(threshold, least[1] if classes == 1 else least, separate)
    score = _mean(chosen, objects)
    curve = [
        {name: row[name] for name in row if name not in ("score", "plain")}
        for own in rows.values()
        for row in own
    ]
    return OperatingChoice(point, curve, images, sum(objects.values()), score)


def _threshold(rows, objects):
    """The threshold of all classes, and each class's row there.

    Each class's least area is taken if that class is clearly better with it; another threshold
    than 0.5 if the classes together are.
    """
    at = {row["threshold"]: {} for own in rows.values() for row in own}
    for class_id, own in rows.items():
        for row in own:
            at[row["threshold"]][class_id] = row
    chosen = {threshold: _settled(own, objects) for threshold, own in at.items()}
    scores = {threshold: _mean(own, objects) for threshold, own in chosen.items()}
    best = max(scores, key=lambda t: (round(scores[t], 3), -abs(t - 0.5)))
    count = sum(objects.values())
    least = scores[0.5] + GAIN + DOUBT / math.sqrt(max(count, 1))
    if best == 0.5 or count < FEWEST or scores[best] < least:
        best = 0.5
    return best, chosen[best]


def _settled(rows, objects):
    """The rows of a threshold, with least areas for those classes alone that gain by them."""
    return {
        class_id: row
        if objects[class_id] >= FEWEST and row["score"] >= row["plain"]["score"] + GAIN
        else {**row, **row["plain"]}
        for class_id, row in rows.items()
    }


def _mean(chosen, objects):
    """The mean score of the classes, by their numbers of objects; 0 without any."""
    weights = [objects[class_id] for class_id in chosen]
    scores = [row["score"] for row in chosen.values()]
    return float(np.average(scores, weights=weights)) if sum(weights) else 0.0


def _rows(counts, class_id, areas, beta, separate, parts):
    """The best least area at each threshold, with its figures.

    Objects that are told apart were counted with one least area of parts: there it is that.
    """
    least = [parts.get(class_id, 0)] if separate else _limits(areas)
    rows = []
    for key in counts.predicted:
        own, threshold, way = key
        if own == class_id and way == separate:
            predicted = np.concatenate(counts.predicted[key])
            found = np.concatenate(counts.found[key])
            pixels = np.concatenate(counts.pixels[own, threshold], axis=1)
            tried = [_row(area, predicted, found, pixels, areas, beta) for area in least]
            best = max(tried, key=lambda row: row["score"])
            rows.append({"class": class_id, "threshold": threshold, **best, "plain": tried[0]})
    return rows


def _row(area, predicted, found, pixels, true, beta):
    """The figures of one least area."""
    stays, objects = predicted >= area, len(true)
    right, stated = int((found & stays).sum()), int(stays.sum())
    inside, hits = pixels[:, pixels[0] >= area].sum(axis=1).tolist()
    union = int(true.sum()) + inside - hits
    iou = hits / union if union else 0.0
    weighted = beta**2 * objects + stated  # F = (1 + b^2) TP / (b^2 P + predicted)
    measure = (1 + beta**2) * right / weighted if weighted else 0.0
    return {
        "min_area": area, "recall": right / max(objects, 1), "precision": right / max(stated, 1),
        "f1": 2 * right / (objects + stated) if objects + stated else 0.0, "iou": iou,
        "score": (measure + iou) / 2,
    }  # fmt: skip
