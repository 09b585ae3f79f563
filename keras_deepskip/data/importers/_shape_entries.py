"""What readers of shapes share: classes by name, images beside their annotations, drawing."""

import dataclasses
from pathlib import Path, PureWindowsPath

import numpy as np

from keras_deepskip.data._layout import PARTS, part_of
from keras_deepskip.data.importers import _entry
from keras_deepskip.data.importers._entry import Entry
from keras_deepskip.data.importers._shapes import rasterize

IGNORED = 255  # the class id of COCO's crowds and of labelme's `__ignore__`
CUT = -1  # in place of a class id: a shape that is cut out of those before it
OBJECT = "object"  # the one class of shapes whose labels do not matter


class Labels:
    """The ids of the classes that were chosen, and the names that were met."""

    def __init__(self, classes):
        self.classes, self.met = classes, set()

    def label(self, names, path):
        """The id of a shape of this name: 1 where no class was chosen, 0 for others."""
        self.met |= names
        if self.classes is None:
            return 1
        ids = {self.classes[name] for name in names if name in self.classes}
        if len(ids) > 1:
            raise ValueError(
                f"{path}: one class a shape was expected. Received: {', '.join(sorted(names))}"
            )
        return ids.pop() if ids else 0

    def checked(self, root):
        """The classes; one that no shape has is most likely misspelt."""
        absent = [name for name in self.classes or () if name not in self.met]
        if absent:
            listed = ", ".join(sorted(self.met)[:20]) or "none"
            raise ValueError(
                f"{root}: shapes of the classes {', '.join(self.classes)} were expected. Received: "
                f"none named {', '.join(absent)}; there are: {listed}"
            )
        return self.classes or {OBJECT: 1}


def parts_of(folder):
    """The folders of a set with their parts: train/, val/ (valid/) and test/, or the folder itself.

    In the order of the parts.
    """
    inner = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    found = [(path, part_of(path.name)) for path in inner if part_of(path.name)]
    return sorted(found, key=lambda pair: PARTS.index(pair[1])) or [(folder, None)]


def find_parted(source, holds, expected):
    """The root of a set that may be in parts, and these: `(root, [(folder, part), ...])`.

    Args:
        source: a folder.
        holds: function that says whether a folder holds annotations.
        expected: the layout, for the error.

    Raises:
        FileNotFoundError: as `find_root`.
    """

    def fits(folder):
        return any(holds(place) for place, _ in parts_of(folder))

    root = _entry.find_root(source, fits, expected)
    parts = parts_of(root)
    if (root, None) not in parts and holds(root):
        raise ValueError(
            f"{root}: annotations in the folder, or in its parts, were expected. Received: both. "
            "Move those beside the parts into one of them"
        )
    return root, parts


def pictures_beside(folder):
    """The images next to the annotations of a folder, then those in its images/."""
    return [*_entry.files(folder), *_entry.files(folder / "images")]


def image_beside(folder, name, path):
    """The image that a JSON file names: by its file name alone, wherever it says that it lies."""
    bare = PureWindowsPath(name).name if isinstance(name, str) else ""
    for place in (folder, folder / "images") if bare and "\0" not in bare else ():
        if (place / bare).is_file() and not bare.startswith("."):
            return place / bare
    raise FileNotFoundError(
        f"{path}: the image that it names was expected next to it or in images/. Received: "
        f"{str(name)[:80]!r}, and there is no such file. Put it there, or take the record out"
    )


def checked_shape(read, record, path):
    """A shape, checked; what it cannot be names the file."""
    try:
        shape = read(record)
        shape.check()
        return shape
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ValueError(
            f"{path}: a polygon, rectangle, circle, ellipse or mask was expected. Received: "
            f"{str(record)[:80]} ({error}). Draw it again, or take it out"
        ) from error


def shape_entry(image, shapes, labels, part, sources, groups=None):
    """The entry of an image with shapes.

    Args:
        image: its path.
        shapes: list of shapes.
        labels: their class ids; 0 of those that do not count.
        part, sources: of `Entry`.
        groups: None, or for each shape None or what the pieces of one object share.
    """
    drawing = _Drawing(image, shapes, labels, groups or [None] * len(shapes))
    return Entry(Path(image).stem, image, drawing.read, part, sources, drawing.outside)


@dataclasses.dataclass(frozen=True)
class _Drawing:
    """The shapes of an image; see `shape_entry`."""

    image: Path
    shapes: list
    labels: list
    groups: list

    def read(self, instances):
        """Objects of other classes than the chosen ones do not hide these: they are not rasterized.

        Ignored and cut-out shapes lie on what comes before them in the file, under what comes
        after.
        """
        chosen, special, groups = [], [], []
        for shape, label, group in zip(self.shapes, self.labels, self.groups, strict=True):
            if label in (CUT, IGNORED):
                special.append((shape, len(chosen), label))
            elif label:
                chosen.append((shape, label))
                groups.append(group)
        height, width = _entry.picture_size(self.image)
        cuts = [(shape, number) for shape, number, _ in special]
        numbers = rasterize([shape for shape, _ in chosen], height, width, self.image, cuts)
        classes = np.array([0, *(label for _, label in chosen)], np.int32)[numbers]
        if special:
            ignored = np.zeros((height, width), bool)
            for shape, _, label in special:
                shape.paint(ignored, label == IGNORED)
            classes[ignored & (numbers == 0)] = IGNORED
        return classes, _joined(numbers, groups) if instances else None

    def outside(self, size):
        """How many shapes lie outside of an image of this size, or have no width or height."""
        canvas = np.broadcast_to(False, size)
        pairs = zip(self.shapes, self.labels, strict=True)
        boxes = (shape.box(canvas) for shape, label in pairs if label)
        return sum(top >= bottom or left >= right for top, bottom, left, right in boxes)


def _joined(numbers, groups):
    """Numbers of objects, of which those of one group are one."""
    first, table = {}, np.arange(len(groups) + 1, dtype=np.int32)
    for number, group in enumerate(groups, start=1):
        if group is not None:
            table[number] = first.setdefault(group, number)
    return table[numbers]
