"""The figures of a report, and how sure they are: counts of each image, resampled by images."""

import dataclasses
import math
from collections import Counter

import numpy as np

from keras_deepskip.metrics.object_counts import SIZE_STRATA
from keras_deepskip.reporting.shown import FALSE, FOUND, MISSED, RIGHT

RESAMPLES = 1000
LEVEL = 95  # per cent of an interval
BINS = 10  # of probabilities
SURE = 1.96  # standard errors of an interval of 95 %


@dataclasses.dataclass(frozen=True)
class ImageCounts:
    """What is counted in an image, by class.

    Attributes:
        name: of the image.
        objects: (classes, 3) found, missed and false objects.
        pixels: (classes, 3) true positive, false positive and false negative pixels.
    """

    name: str
    objects: np.ndarray
    pixels: np.ndarray

    @property
    def iou(self):
        """Of the pixels: the mean of the classes that occur; 1 if none does."""
        return float(_mean_iou(self.pixels[None])[0])


def image_counts(judged, objects, class_ids):
    """The `ImageCounts` of a `JudgedImage` and its list of `ShownObject`."""
    counted = judged.mask != judged.ignore_class
    pixels, found = [], []
    for class_id in class_ids:
        true = (judged.mask == class_id) & counted
        predicted = (judged.predicted == class_id) & counted
        both = int((true & predicted).sum())
        pixels.append([both, int(predicted.sum()) - both, int(true.sum()) - both])
        kinds = [own.kind for own in objects if own.class_id == class_id]
        found.append([kinds.count(kind) for kind in (FOUND, MISSED, FALSE)])
    return ImageCounts(judged.sample.name, np.array(found), np.array(pixels))


@dataclasses.dataclass(frozen=True, slots=True)
class FoundCounts:
    """What is counted in an image whose truth is not known.

    Attributes:
        name: of the image.
        objects: how many there are.
        area, probability: their means, in pixels and of the mean probability of each; None where
            there are none.
    """

    name: str
    objects: int
    area: float | None
    probability: float | None


class FoundFigures:
    """Figures of images whose truth is not known, of which there may be very many.

    Of each object nothing is kept but its part in the counts.

    Attributes:
        images: list of `FoundCounts`.
    """

    def __init__(self):
        self.images = []
        self._areas = Counter()  # how many objects have an area

    def add(self, name, objects):
        """Adds an image with its list of `ShownObject`."""
        areas = [own.area for own in objects]
        self._areas.update(areas)
        probability = _mean([own.probability for own in objects if own.probability is not None])
        self.images.append(FoundCounts(name, len(objects), _mean(areas), probability))

    def areas(self):
        """`(median, least, most)` of the objects' areas in pixels; None without objects.

        Example:

        >>> from keras_deepskip.reporting.shown import PREDICTED, ShownObject
        >>> found = FoundFigures()
        >>> found.add("a", [ShownObject(PREDICTED, 1, area, 0.9, None, 1) for area in (3, 9, 5, 4)])
        >>> found.areas()
        (4.5, 3, 9)
        """
        if not self._areas:
            return None
        areas = sorted(self._areas)
        ends = np.cumsum([self._areas[area] for area in areas])  # of each area's objects, in order
        middles = (ends[-1] - 1) // 2, ends[-1] // 2
        low, high = (areas[place] for place in np.searchsorted(ends, middles, "right"))
        return (low + high) / 2, areas[0], areas[-1]


def _mean(numbers):
    return sum(numbers) / len(numbers) if numbers else None


def _mean_iou(pixels):
    """Mean IoU over the classes that occur, of counts (..., classes, 3)."""
    total = pixels.sum(axis=-1)
    occurs = total > 0
    iou = pixels[..., 0] / np.maximum(total, 1)
    mean = (iou * occurs).sum(axis=-1) / np.maximum(occurs.sum(axis=-1), 1)
    return np.where(occurs.any(axis=-1), mean, 1.0)


def figures_of(images):
    """The figures of the first screen, of the counts of images.

    Args:
        images: list of `ImageCounts`.

    Returns:
        A dict of `recall`, `missed`, `false` (the share of the predicted objects), `count_error`
        (mean over images and classes of how many objects too many or too few) and `iou`; each
        `(value, low, high)`, the ends of an interval of 95 % or None; a share of nothing is None.
        Images are resampled, not objects: those of an image are not independent.

    Example:

    >>> one = ImageCounts("a", np.array([[3, 1, 0]]), np.array([[90, 5, 5]]))
    >>> figures_of([one])["recall"]
    (0.75, None, None)
    """
    objects = np.stack([image.objects for image in images]).astype("float64")
    pixels = np.stack([image.pixels for image in images]).astype("float64")
    values = _figures(objects[None], pixels[None])
    if len(images) < 2:
        return {name: (_known(value[0]), None, None) for name, value in values.items()}
    drawn = np.random.default_rng(0).integers(len(images), size=(RESAMPLES, len(images)))
    parts = [_figures(objects[part], pixels[part]) for part in np.array_split(drawn, 20)]
    ends = (100 - LEVEL) / 2, (100 + LEVEL) / 2
    found = {}
    for name, value in values.items():
        resampled = np.concatenate([part[name] for part in parts])
        resampled = resampled[~np.isnan(resampled)]  # without any such object they say nothing
        low, high = np.percentile(resampled, ends) if len(resampled) else (np.nan, np.nan)
        found[name] = (_known(value[0]), _known(low), _known(high))
    return found


def _known(value):
    return None if np.isnan(value) else float(value)


def _figures(objects, pixels):
    """Figures of samples of images: counts (samples, images, classes, 3)."""
    found, missed, false = np.moveaxis(objects.sum(axis=(1, 2)), -1, 0)
    occurs = objects.any(axis=(1, 3))  # (samples, classes)
    errors = np.abs(objects[..., 2] - objects[..., 1]).mean(axis=1)
    count_error = (errors * occurs).sum(axis=-1) / np.maximum(occurs.sum(axis=-1), 1)
    with np.errstate(invalid="ignore"):  # NaN of nothing
        recall, false = found / (found + missed), false / (found + false)
    return {
        "recall": recall,
        "missed": 1 - recall,
        "false": false,
        "count_error": count_error,
        "iou": _mean_iou(pixels.sum(axis=1)),
    }


def share_interval(part, whole):
    """An interval of 95 % of a share (Wilson, 1927); (0, 1) of nothing.

    Example:

    >>> low, high = share_interval(8, 10)
    >>> round(low, 2), round(high, 2)
    (0.49, 0.94)
    """
    if not whole:
        return 0.0, 1.0
    share, square = part / whole, SURE**2
    centre = (share + square / (2 * whole)) / (1 + square / whole)
    spread = math.sqrt(share * (1 - share) / whole + square / (4 * whole**2))
    spread *= SURE / (1 + square / whole)
    return max(centre - spread, 0.0), min(centre + spread, 1.0)


class Calibration:
    """Whether what is said to be so probable is so often true: of pixels and of objects."""

    def __init__(self):
        self.counts = {kind: np.zeros((3, BINS)) for kind in ("pixels", "objects")}

    def add(self, judged, objects):
        """Adds a `JudgedImage` with its list of `ShownObject`."""
        outputs, counted = judged.outputs, judged.mask != judged.ignore_class
        said = outputs[..., 0] if outputs.shape[-1] == 1 else 1 - outputs[..., 0]
        self._count("pixels", said[counted], judged.mask[counted] > 0)
        own = [(o.probability, o.kind == RIGHT) for o in objects if o.kind in (RIGHT, FALSE)]
        if own:
            said, right = (np.array(values, "float64") for values in zip(*own, strict=True))
            self._count("objects", said, right)

    def _count(self, kind, said, true):
        places = np.clip((said * BINS).astype("int64"), 0, BINS - 1)
        for row, weights in enumerate((None, said, true)):
            self.counts[kind][row] += np.bincount(places, weights, minlength=BINS)

    def rows(self):
        """A dict for each bin that has any: what was said, what is true, and how many they are."""
        return [
            {
                "kind": kind, "said": float(said / count), "true": float(true / count),
                "count": int(count),
            }
            for kind, counts in self.counts.items()
            for count, said, true in counts.T
            if count
        ]  # fmt: skip


def recall_rows(objects):
    """Recall by size, of the summary of `ObjectCounts`: a dict a stratum that has objects.

    Args:
        objects: `Evaluation.objects`.
    """
    rows = []
    for name, row in objects["strata"].items():
        true = row["tp"] + row["fn"]
        if true:
            low, high = share_interval(row["tp"], true)
            rows.append(
                {
                    "size": size_text(name), "recall": row["tp"] / true, "found": row["tp"],
                    "true": true, "low": low, "high": high,
                }
            )  # fmt: skip
    return rows


def size_text(name):
    """The name of a stratum as people read it.

    Example:

    >>> size_text("<8x8"), size_text("8x8-16x16")
    ('under 8 × 8', '8 × 8 to 16 × 16')
    """
    text = name.replace("x", " × ").replace("-", " to ")
    return text.replace("<", "under ").replace(">=", "from ").replace("under  ", "under ")


SIZES = tuple(size_text(name) for name, _, _ in SIZE_STRATA)
