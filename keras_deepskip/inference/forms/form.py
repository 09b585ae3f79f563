"""What the forms share: the objects of an image as they are handed on, and their interface."""

import dataclasses
import functools
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from keras_deepskip._checks import require
from keras_deepskip.data import Sample
from keras_deepskip.data.placement import Placement
from keras_deepskip.inference.forms.polygons import polygons_of


@dataclasses.dataclass(frozen=True)
class ImageObjects:
    """The objects of an image.

    Attributes:
        sample: the `Sample` of the image.
        image: its pixels, (H, W, C).
        mask: their class ids, (H, W).
        labels: which object each pixel is of, (H, W), 1..n.
        rows: the lines of `object_table`, for objects 1..n.
        place: the image's `Placement`.
    """

    sample: Sample
    image: np.ndarray
    mask: np.ndarray
    labels: np.ndarray
    rows: list[dict[str, Any]]
    place: Placement

    @functools.cached_property
    def polygons(self):
        """The outlines of the objects, for all forms that ask for them (see `polygons_of`)."""
        return polygons_of(self.labels)


def file_name_of(sample: Sample) -> PurePosixPath:
    """The name of a sample's image in its folder: that of its file, where it is called by it.

    Example:

    >>> from pathlib import Path
    >>> str(file_name_of(Sample("day/a", Path("photos/day/a.png"))))
    'day/a.png'
    """
    name, suffix = PurePosixPath(sample.name), sample.image.suffix
    return name if name.name.endswith(suffix) else name.with_name(name.name + suffix)


class Form:
    """A form of objects that other tools open, and its writer.

    A subclass gives its `name`, the optional packages that it needs with the extras that bring
    them, the `file` that an image has of its own, if any, with `{}` for its name, and `add`.

    Args:
        folder: the folder that `predict` writes to.
        names: of the classes by id, all of them.

    Raises:
        ImportError: if a package is missing.
    """

    name: str
    packages: dict[str, str] = {}
    file: str | None = None

    def __init__(self, folder, names):
        for package, extra in self.packages.items():
            require(package, f'"keras-deepskip[{extra}]"', f"`formats=['{self.name}']`")
        self.folder, self.names = folder, names

    def add(self, found):
        """Writes what is of one image alone; other processes may do so for other images.

        Args:
            found: the image's `ImageObjects`.

        Returns:
            What `finish` needs of the image, fit for JSON, or None.
        """
        raise NotImplementedError

    def files_of(self, found):
        """The names in `folder` of the files that `add` has written for an image."""
        return [] if self.file is None else [self.file.format(found.sample.name)]

    def finish(self, pieces):
        """Comes after the last image, once.

        Args:
            pieces: function that returns an iterator over what `add` has returned, in the images'
                order.
        """
