"""What the gallery of a report has of an image: a crop of it, and the outlines of its objects."""

import base64
import dataclasses
import io

import numpy as np

from keras_deepskip import drawing
from keras_deepskip.drawing import outline_objects, to_rgb
from keras_deepskip.inference.forms.polygons import polygons_of
from keras_deepskip.metrics.object_counts import (
    SIZE_STRATA,
    labels_of_class,
    without_ignored,
)
from keras_deepskip.objects import match_objects

SIDE = 512  # pixels of a crop, at most; it has the pixels of the file
MINI = 192  # of the whole image that shows where a crop lies
WHOLE = 4096  # of the whole image that is written beside the page
# Of an object: what it is. The page has the same order.
FOUND, MISSED, RIGHT, FALSE, PREDICTED = range(5)
COLORS = {FOUND: drawing.HIT, MISSED: drawing.MISSED, FALSE: drawing.FALSE}
QUALITY = (85, 75, 60, 45, 30)  # of WebP, tried one after the other
STRATA = tuple(name for name, _, _ in SIZE_STRATA)


@dataclasses.dataclass(frozen=True)
class ShownObject:
    """An object of an image.

    Attributes:
        kind: one of `FOUND`, `MISSED` (true ones), `RIGHT`, `FALSE` (predicted ones), `PREDICTED`
            (predicted, the truth is not known).
        class_id: of its class.
        area: in pixels.
        probability: mean over the predicted object, of a found one that of its partner; or None.
        iou: with its partner, or None.
        label: its number among the true, or among the predicted objects.
    """

    kind: int
    class_id: int
    area: int
    probability: float | None
    iou: float | None
    label: int

    @property
    def stratum(self):
        """The position of its area in `SIZE_STRATA`."""
        return int(np.searchsorted([low for _, low, _ in SIZE_STRATA], self.area, "right") - 1)


@dataclasses.dataclass
class ShownImage:
    """An image of the gallery.

    Attributes:
        name: of the image.
        sizes: its height and width in pixels.
        corner: row and column where the crop begins.
        picture: the crop, (H, W, 3) uint8.
        mini: WebP of the whole image reduced, or None where the crop is all of it.
        whole: WebP of the whole image with its objects outlined, likewise; of more than `WHOLE`
            pixels a side reduced.
        objects: list of `ShownObject`: of the whole image.
        true_labels, predicted_labels: of the crop, (H, W); without a truth None.
        iou: of the pixels, or None without a truth.
    """

    name: str
    sizes: tuple[int, int]
    corner: tuple[int, int]
    picture: np.ndarray
    mini: bytes | None
    whole: bytes | None
    objects: list[ShownObject]
    true_labels: np.ndarray | None
    predicted_labels: np.ndarray
    iou: float | None


def object_f1(objects):
    """F1 of a list of `ShownObject`; 1 where there are none, true or predicted."""
    kinds = [own.kind for own in objects]
    found, wrong = 2 * kinds.count(FOUND), kinds.count(MISSED) + kinds.count(FALSE)
    return found / (found + wrong) if found + wrong else 1.0


def judged_objects(judged, class_ids):
    """The true and predicted objects of an image, matched as `ObjectCounts` does.

    Args:
        judged: a `JudgedImage`.
        class_ids: of the classes whose objects count.

    Returns:
        `(objects, true_labels, predicted_labels)`: list of `ShownObject`, and the labels that they
        are numbered by, (H, W) int32.
    """
    ignored = judged.mask == judged.ignore_class
    labels = np.zeros((2, *judged.mask.shape), "int32")  # true, predicted
    objects, counts = [], [0, 0]
    for class_id in class_ids:
        inside = (judged.mask == class_id) & ~ignored
        true, true_count = labels_of_class(inside, judged.true_labels)
        ours, our_count = labels_of_class(judged.predicted == class_id, judged.predicted_labels)
        ours = without_ignored(ours, ignored)
        pairs, ious = match_objects(true, ours, judged.criterion, judged.object_threshold)
        partner = {int(t): (int(p), float(iou)) for (t, p), iou in zip(pairs, ious, strict=True)}
        right = {p: iou for p, iou in partner.values()}
        probability = _probabilities(ours, judged)
        areas = np.bincount(true.ravel(), minlength=true_count + 1).tolist()
        for label in range(1, true_count + 1):
            other, iou = partner.get(label, (None, None))
            kind = MISSED if other is None else FOUND
            known = None if other is None else probability[other]
            objects.append(ShownObject(kind, class_id, areas[label], known, iou, label + counts[0]))
        areas = np.bincount(ours.ravel(), minlength=our_count + 1).tolist()
        for label in (number for number in range(1, our_count + 1) if areas[number]):
            iou = right.get(label)
            kind = FALSE if iou is None else RIGHT
            known = probability[label]
            objects.append(ShownObject(kind, class_id, areas[label], known, iou, label + counts[1]))
        for place, own in enumerate((true, ours)):
            labels[place] += np.where(own > 0, own + counts[place], 0).astype("int32")
            counts[place] += (true_count, our_count)[place]
    return objects, labels[0], labels[1]


def _probabilities(labels, judged):
    """The mean probability of each predicted object of a class, by its number in `labels`."""
    pixels = labels > 0
    known = np.zeros(int(labels.max(initial=0)) + 1)
    numbers = np.array([0.0, *(row["mean_probability"] for row in judged.objects)])
    known[labels[pixels]] = numbers[judged.predicted_labels[pixels]]
    return known.tolist()


def shown_image(judged, objects, labels, iou):
    """The `ShownImage` of an image with a truth.

    Args:
        judged: a `JudgedImage`.
        objects, labels: of `judged_objects`, `labels` the pair of the true and predicted ones.
        iou: of the image's pixels.
    """
    picture, sizes = to_rgb(judged.image), judged.mask.shape
    wrong = {0: {o.label for o in objects if o.kind == MISSED}}
    wrong[1] = {o.label for o in objects if o.kind == FALSE}
    places = [_centres(labels[place], sorted(chosen)) for place, chosen in wrong.items()]
    corner = densest_window(np.concatenate(places), _centres(labels[0]), sizes)
    box = tuple(slice(at, at + SIDE) for at in corner)
    mini = whole = None
    if max(sizes) > SIDE:
        mini = webp(reduced(picture, MINI), 70)
        whole = webp(reduced(_marked(picture, objects, labels), WHOLE), 85)
    return ShownImage(
        judged.sample.name, sizes, corner, picture[box], mini, whole, objects,
        labels[0][box].astype("int32"), labels[1][box].astype("int32"), iou,
    )  # fmt: skip


def _marked(picture, objects, labels):
    """A picture with true objects outlined as found or missed, and false ones."""
    for kinds, own in (((FALSE,), labels[1]), ((FOUND, MISSED), labels[0])):
        colors = np.zeros((int(own.max(initial=0)) + 1, 3), "uint8")
        chosen = [o for o in objects if o.kind in kinds]
        for shown in chosen:
            colors[shown.label] = COLORS[shown.kind]
        kept = np.zeros(len(colors), bool)
        kept[[shown.label for shown in chosen]] = True
        picture = outline_objects(picture, np.where(kept[own], own, 0), colors)
    return picture


def found_image(name, image, labels, objects, corner=(0, 0), sizes=None, mini=None):
    """The `ShownImage` of an image whose truth is not known.

    Args:
        name: of the image.
        image: (H, W, C), the image or the crop of it.
        labels: which object each pixel is of, (H, W).
        objects: of `shown_objects`, whose labels these are.
        corner, sizes, mini: see `ShownImage`; of a crop.
    """
    return ShownImage(
        name, sizes or labels.shape, corner, to_rgb(image), mini, None, objects, None, labels, None
    )


def shown_objects(rows):
    """The `ShownObject`s of lines of `object_table`, of which the truth is not known."""
    return [
        ShownObject(PREDICTED, row["class_id"], row["area"], row["mean_probability"], None, number)
        for number, row in enumerate(rows, start=1)
    ]


def _centres(labels, chosen=None):
    """Rows and columns of the objects' centres, (N, 2)."""
    from scipy import ndimage

    if chosen is None:
        chosen = np.unique(labels[labels > 0])
    if not len(chosen):
        return np.zeros((0, 2))
    return np.array(ndimage.center_of_mass(labels > 0, labels, chosen)).reshape(-1, 2)


def densest_window(wrong, others, sizes, side=SIDE):
    """Where the window of an image begins that holds the most errors, then the most objects.

    Args:
        wrong: rows and columns of the errors, (N, 2).
        others: those of other objects, which decide where errors do not.
        sizes: height and width of the image.
        side: of the window.

    Returns:
        `(row, column)`; (0, 0) of an image that is no larger.

    Example:

    >>> densest_window(np.array([[90, 10]]), np.zeros((0, 2)), (100, 40), side=40)
    (60, 0)
    """
    most = np.maximum(np.array(sizes) - side, 0)
    if not most.any():
        return 0, 0
    points = np.reshape(wrong if len(wrong) else others, (-1, 2))
    if not len(points):
        return tuple((most // 2).tolist())
    tried = points[:: max(len(points) // 256, 1)]
    corners = np.unique(np.clip(np.rint(tried - side / 2), 0, most).astype("int64"), axis=0)
    inside = [
        ((points >= corner) & (points < corner + side)).all(axis=1).sum() for corner in corners
    ]
    return tuple(corners[int(np.argmax(inside))].tolist())


def webp(picture, quality):
    """An RGB picture as the bytes of a WebP."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "WEBP", quality=quality, method=4)
    return buffer.getvalue()


def reduced(picture, side):
    """A picture of at most so many pixels a side."""
    from PIL import Image

    if max(picture.shape[:2]) <= side:
        return picture
    image = Image.fromarray(picture)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return np.asarray(image)


def data_uri(content):
    """A WebP as an address that holds it."""
    return "data:image/webp;base64," + base64.b64encode(content).decode("ascii")


def within(picture, most):
    """A picture as WebP of at most so many bytes, in the best quality that allows it.

    If none does, as for noise, it is reduced to half its size; in the least quality if need be.
    """
    for shown in (picture, reduced(picture, max(picture.shape[:2]) // 2)):
        for quality in QUALITY:
            content = webp(shown, quality)
            if len(content) <= most:
                return content
    return content


def outlines(labels):
    """The outline of each object of a crop: a path of SVG and the top of the object.

    Args:
        labels: which object each pixel is of, (H, W).

    Returns:
        A dict from the object's number to `(path, x, y)`.
    """
    numbers, relabelled = np.unique(labels, return_inverse=True)
    first = int(numbers[0] != 0)
    polygons = polygons_of(relabelled.reshape(labels.shape) + first)
    found = {}
    for number, polygon in zip(numbers[1 - first :].tolist(), polygons, strict=True):
        left, top, right, _ = polygon.bounds
        found[number] = (_path(polygon), int(left + right) / 2, int(top))
    return found


def _path(polygon):
    """The rings of a polygon as a path of SVG: steps across and down, from pixel edge to edge."""
    pieces = getattr(polygon, "geoms", [polygon])
    parts = []
    for ring in (ring for piece in pieces for ring in (piece.exterior, *piece.interiors)):
        points = np.asarray(ring.coords).astype("int64")
        parts.append(f"M{points[0, 0]} {points[0, 1]}")
        for across, down in np.diff(points, axis=0)[:-1].tolist():
            parts.append(f"h{across}" if down == 0 else f"v{down}")
        parts.append("z")
    return "".join(parts)
