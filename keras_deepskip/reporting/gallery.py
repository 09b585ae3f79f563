"""The gallery of a report: the worst images, in as many bytes as a page may have."""

import itertools
from pathlib import Path

from keras_deepskip import _files
from keras_deepskip.reporting.figures import SIZES
from keras_deepskip.reporting.shown import (
    FALSE,
    FOUND,
    MISSED,
    data_uri,
    object_f1,
    outlines,
    within,
)

MOST = 100  # images: of more the worst are shown
SPARE = 20  # more that are held until the worst are sorted out
MOST_BYTES = 6_500_000  # of all pictures and outlines; the scripts of the charts come to it
LEAST = 6_000  # bytes of a picture, however many outlines there are
BASE64 = 4 / 3


class Gallery:
    """Takes images one by one, and keeps the worst.

    Args:
        class_ids: of the classes whose objects count.
        class_names: dict of names by class id, or None.
    """

    def __init__(self, class_ids, class_names):
        self._classes = [
            [class_id, (class_names or {}).get(class_id, f"class {class_id}")]
            for class_id in class_ids
        ]
        self._images, self._seen = [], 0

    def add(self, image):
        """Adds a `ShownImage`."""
        self._images.append(image)
        self._seen += 1
        if len(self._images) > MOST + SPARE:
            self._keep_the_worst()

    def takes(self, name, objects, iou=None):
        """Whether an image can be among those that are shown; if not, it is only counted.

        Args:
            name: of the image.
            objects: list of its `ShownObject`.
            iou: of its pixels, or None without a truth.
        """
        worse = sorted(_order(own.name, own.objects, own.iou) for own in self._images)[:MOST]
        fits = len(worse) < MOST or _order(name, objects, iou) < worse[-1]
        self._seen += not fits
        return fits

    def _keep_the_worst(self):
        self._images.sort(key=lambda own: _order(own.name, own.objects, own.iou))
        del self._images[MOST:]

    def contents(self, page):
        """What the page's script shows, fit for JSON; whole images are written beside the page.

        Args:
            page: path of the page.
        """
        self._keep_the_worst()
        paths = [_paths(image) for image in self._images]
        taken = sum(len(path) for own in paths for kind in own for path, _, _ in kind.values())
        share = (MOST_BYTES - taken) / BASE64 / max(len(self._images), 1)
        folder = Path(page).with_suffix("").with_name(Path(page).stem + "_images")
        images, taken_names = [], set()
        for image, own in zip(self._images, paths, strict=True):
            whole = None
            if image.whole is not None:
                whole = folder / f"{_unique(image.name, taken_names)}.webp"
                with _files.replacing(whole) as temporary:
                    temporary.write_bytes(image.whole)
                whole = whole.relative_to(folder.parent).as_posix()
            images.append(_entry(image, own, max(int(share), LEAST), whole))
        return {
            "classes": self._classes, "sizes": list(SIZES), "seen": self._seen,
            "images": images, "judged": any(image.iou is not None for image in self._images),
            "predicted": any(image.iou is None for image in self._images),
        }  # fmt: skip


def _unique(name, taken):
    """A name that no other image has: those of several parts may share one."""
    numbered = (name if number == 1 else f"{name}_{number}" for number in itertools.count(1))
    found = next(own for own in numbered if own.lower() not in taken)
    taken.add(found.lower())  # some disks do not tell them apart otherwise
    return found


def _order(name, objects, iou):
    """The worst first, by the mean of object F1 and pixel IoU; those without a truth last."""
    score = 1.0 if iou is None else (object_f1(objects) + iou) / 2
    return iou is None, score, -len(objects), name


def _paths(image):
    """Outlines of the true, and of the predicted objects of a crop."""
    true = {} if image.true_labels is None else outlines(image.true_labels)
    return true, outlines(image.predicted_labels)


def _entry(image, paths, most, whole):
    """An image as the page's script takes it."""
    objects = []
    for own in image.objects:
        place = paths[0 if own.kind in (FOUND, MISSED) else 1].get(own.label)
        if place is not None:
            path, x, y = place
            numbers = (own.probability, own.iou)
            numbers = [None if number is None else round(number, 3) for number in numbers]
            objects.append([own.kind, own.class_id, own.stratum, own.area, *numbers, x, y, path])
    height, width = image.picture.shape[:2]
    return {
        "name": image.name, "width": width, "height": height, "corner": list(image.corner),
        "sizes": list(image.sizes), "objects": objects, "counts": _counts(image),
        "iou": None if image.iou is None else round(image.iou, 4),
        "picture": data_uri(within(image.picture, most)),
        "mini": image.mini and data_uri(image.mini),
        "whole": whole,
    }  # fmt: skip


def _counts(image):
    """Objects of the whole image: rows (class, stratum, found, missed, false, others)."""
    rows = {}
    for own in image.objects:
        place = {FOUND: 0, MISSED: 1, FALSE: 2}.get(own.kind)
        row = rows.setdefault((own.class_id, own.stratum), [0, 0, 0, 0])
        if place is not None:
            row[place] += 1
        elif image.iou is None:
            row[3] += 1
    return [[*key, *row] for key, row in sorted(rows.items())]
