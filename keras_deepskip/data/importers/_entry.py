"""What a reader of a published set gives, and what several readers need to read it."""

import contextlib
import dataclasses
from pathlib import Path

import numpy as np

from keras_deepskip.data import images
from keras_deepskip.data._limits import check_size, naming_file

BMP = (".bmp",)
DEPTH = 2  # folders that an archive may have wrapped around a set
BMP_EXPECTED = "a BMP image"
_BMP_HEAD = b"BM"


@dataclasses.dataclass(frozen=True)
class Entry:
    """One image of a published set, its mask not yet read.

    Attributes:
        name: the image's name; `import_set` makes it unique.
        image: path of the image.
        read_mask: function that takes whether instances are asked for, and returns
            `(classes, instances)`: `(H, W)` int32 class ids, and `(H, W)` numbers of
            the objects (0 is none) or None.
        part: `"train"`, `"val"`, `"test"`, or None where the set has no split of its own.
        sources: the files that the mask is made from: when one changes, it is made anew.
        outside: function from the image's size to the number of shapes that lie wholly outside of
            it, or None.
    """

    name: str
    image: Path
    read_mask: object
    part: object = None
    sources: tuple = ()
    outside: object = None


@dataclasses.dataclass(frozen=True)
class Reading:
    """What a reader found in a folder.

    Attributes:
        entries: list of `Entry`, sorted.
        classes: dict from class name to class id, as they are in the masks.
        ignore_class: the id of pixels that do not count, or None.
    """

    entries: list
    classes: dict
    ignore_class: object = None


def find_root(source, fits, expected):
    """Returns the folder of a set: `source`, or one in it, as archives wrap folders around.

    Args:
        source: a folder.
        fits: function that takes a folder and says whether it is the set's.
        expected: the layout, for the error.

    Raises:
        FileNotFoundError: if `source` is no folder, or neither it nor a folder in it fits.
    """
    source = Path(source)
    if not source.is_dir():
        raise FileNotFoundError(f"{source}: no such folder; the layout is\n{expected}")
    level = [source]
    for _ in range(DEPTH + 1):
        for folder in level:
            if fits(folder):
                return folder
        level = [inner for folder in level for inner in folders(folder)]
    listed = ", ".join(sorted(path.name for path in source.iterdir())[:8]) or "nothing"
    raise FileNotFoundError(
        f"{source}: another layout than that of the set (it holds: {listed}); the layout is\n"
        f"{expected}\nUnpack the set as it was published, and give the folder that holds this"
    )


def folders(folder):
    """The folders in a folder, sorted; hidden ones and those that macOS adds are left out."""
    found = (path for path in folder.iterdir() if path.is_dir())
    return sorted(path for path in found if not path.name.startswith((".", "__MACOSX")))


def files(folder, suffixes=images.SUFFIXES + BMP):
    """The files of a folder with one of these suffixes, sorted; hidden ones are left out."""
    if not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if path.suffix.lower() in suffixes)
    return sorted(path for path in found if path.is_file() and not path.name.startswith("."))


def require_file(path, what):
    """Returns `path` if there is such a file; else says what it is for."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: {what} was expected here, and there is no such file. Unpack the set again, "
            "or take the image out"
        )
    return path


def by_name(folder, suffixes, ending=""):
    """The files of a folder by their name without suffix and `ending`, which all of them have."""
    found = {path.stem: path for path in files(folder, suffixes) if path.stem.endswith(ending)}
    return {stem[: len(stem) - len(ending)]: path for stem, path in found.items()}


def read_binary(path):
    """Reads a mask of one kind of object, in any value or colour.

    What is brighter than half of the file's brightest value is object, in any of the colours: sets
    use 1, 255, a red palette, or lines that were smoothed.

    Returns:
        `(H, W)` bool array.

    Raises:
        As `read_image`.
    """
    mask = read_picture(path)
    mask = mask[..., :-1] if mask.shape[-1] in (2, 4) else mask
    mask = mask.max(axis=-1)
    return mask > mask.max() / 2


def read_picture(path):
    """Reads an image as `read_image` does, BMP too: `(H, W, C)`.

    Raises:
        As `read_image`.
    """
    if not is_bmp(path):
        return images.read_image(path)
    with _opened_bmp(path) as image, naming_file(path, BMP_EXPECTED):
        return np.asarray(image.convert("RGB"))


def picture_size(path):
    """Returns `(height, width)` of an image as `image_size` does, BMP too.

    Raises:
        As `image_size`.
    """
    if not is_bmp(path):
        return images.image_size(path)
    with _opened_bmp(path) as image:
        return image.height, image.width


def is_bmp(path):
    """Whether a file begins as BMP does."""
    with open(path, "rb") as file:
        return file.read(len(_BMP_HEAD)) == _BMP_HEAD


@contextlib.contextmanager
def _opened_bmp(path):
    """A BMP as Pillow's image, of a size that may be decoded; no other format is tried."""
    from PIL import BmpImagePlugin

    with naming_file(path, BMP_EXPECTED):
        image = BmpImagePlugin.BmpImageFile(str(path))
    with image:
        check_size(path, image.height, image.width, 4)
        yield image


def separated(classes, instances):
    """Puts a line of background between objects of one class that touch, also by a corner.

    The line is one pixel wide and is taken from the larger of the two, so that a small object is
    not used up.

    Args:
        classes: `(H, W)` class ids.
        instances: `(H, W)` numbers of the objects, 0 for none.

    Returns:
        `(H, W)` class ids.

    Example:

    >>> separated(np.array([[1, 1, 1]]), np.array([[2, 2, 1]])).tolist()
    [[1, 0, 1]]
    """
    numbers, inverse, areas = np.unique(instances, return_inverse=True, return_counts=True)
    rank = np.empty(len(numbers), np.int64)
    rank[np.lexsort((numbers, areas))] = np.arange(1, len(numbers) + 1)
    rank[numbers == 0] = 0
    ranks = rank[inverse].reshape(instances.shape)
    line = np.zeros(instances.shape, bool)
    for down, right in ((0, 1), (1, -1), (1, 0), (1, 1)):
        one = slice(0, line.shape[0] - down), _shifted(-right, line.shape[1])
        two = slice(down, None), _shifted(right, line.shape[1])
        touch = (ranks[one] > 0) & (ranks[two] > 0) & (classes[one] == classes[two])
        line[one] |= touch & (ranks[one] > ranks[two])
        line[two] |= touch & (ranks[two] > ranks[one])
    return np.where(line, 0, classes)


def _shifted(by, width):
    """The columns that have a neighbour `by` columns to the left."""
    return slice(max(by, 0), width + min(by, 0))
