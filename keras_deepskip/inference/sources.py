"""Where the pixels of a large image come from: read box by box, never whole."""

import contextlib
import dataclasses
import hashlib
import itertools
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from keras_deepskip._checks import require
from keras_deepskip.data import no_data, read_image
from keras_deepskip.data._decoders import (
    EXPECTED,
    TIFF,
    check_tiles,
    complete_series,
    declared_most,
    declared_no_data,
    head_of,
    opened_tiff,
    page_orientation,
)
from keras_deepskip.data._limits import naming_file
from keras_deepskip.data.images import SUFFIXES, to_channels
from keras_deepskip.inference.ranges import check_values, in_range
from keras_deepskip.inference.zarrs import LARGE, is_zarr, open_zarr

PATCH = 32  # pixels: sides of the places by which arrays are told apart
PLACES = {2: 16, 3: 5}  # of these along each axis, by the number of axes
PLAIN = ("uint8", "uint16", "float32")  # kinds of numbers that are read as they are


@dataclasses.dataclass(frozen=True)
class Source:
    """An image or a volume that is read in parts.

    Attributes:
        name: what errors call it.
        shape: (H, W, C), or (D, H, W, C) of a volume.
        read: function from a tuple of slices, one a spatial axis, to an array of their pixels with
            all channels.
        stamp: of a file, what another content has not; else None.
    """

    name: str
    shape: tuple
    read: Callable
    stamp: list | None = None

    @property
    def sizes(self):
        """The spatial axes' lengths."""
        return self.shape[:-1]

    def fingerprint(self):
        """A text that another image of the same name has not: by its stamp, or from many places.

        (Of an array that is changed between these, nothing is seen.)
        """
        found = hashlib.sha256(repr((self.name, self.shape, self.stamp)).encode())
        if self.stamp is None:
            count = PLACES[len(self.sizes)]
            corners = (np.linspace(0, max(n - PATCH, 0), count, dtype=int) for n in self.sizes)
            for corner in sorted(set(itertools.product(*(own.tolist() for own in corners)))):
                found.update(self.read(tuple(slice(at, at + PATCH) for at in corner)).tobytes())
        return found.hexdigest()


def open_source(image, channels, axes=2, expected=None, name="`image`"):
    """Opens an image to be read in parts.

    Args:
        image: an array (H, W) or (H, W, C), of a volume (D, H, W) or (D, H, W, C): of NumPy, mapped
            into memory, of Zarr, or any object with `shape` and slicing; or a path. `.npy`, Zarr
            and OME-Zarr (its finest level) are read in parts; so is TIFF (compressed with `zarr`
            installed), if it is an image as it stands. Other files are read whole.
        channels: number of channels to bring images to. Grey and RGB are turned into each other as
            in training, alpha is dropped.
        axes: spatial axes: 2 of an image, 3 of a volume.
        expected: (low, high) of the values that the model was trained on; a file of another range
            is refused. None refuses none.
        name: what errors call an array.

    Returns:
        A `Source` of `channels` channels.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the array has other axes, or its channels do not fit.
        ImportError: if a package that reads it is missing.

    Example:

    >>> source = open_source(np.zeros((100, 200), "uint8"), channels=1)
    >>> source.shape, source.read((slice(0, 10), slice(0, 20))).shape
    ((100, 200, 1), (10, 20, 1))
    """
    path = Path(image) if isinstance(image, str | Path) else None
    if path is None:
        return _source(name, None, lambda: image, channels, axes, None)
    with naming_file(path, EXPECTED):
        return _source(str(path), path, _opener(path), channels, axes, expected)


def _source(name, path, reopen, channels, axes, expected):
    """See `open_source`; `reopen` opens the file anew, and `path` is None of an array."""
    array = reopen()
    shape = getattr(array, "shape", None)
    if shape is None or len(shape) not in (axes, axes + 1) or 0 in shape:
        expected = "(H, W) or (H, W, C)" if axes == 2 else "(D, H, W) or (D, H, W, C)"
        raise ValueError(f"{name}: an array {expected} was expected. Received: shape {shape}")
    shape = tuple(map(int, shape))
    if len(shape) == axes:
        shape = (*shape, 1)

    value, most = (None, None) if path is None else (declared_no_data(path), declared_most(path))

    def read(box):
        # A file is opened anew: what was mapped into memory for the last window is let go.
        with naming_file(name, EXPECTED) if path else contextlib.nullcontext():
            pixels = np.asarray(reopen()[box])
        pixels = pixels[..., None] if pixels.ndim == axes else pixels
        if path is not None:
            pixels = _numbers(pixels if value is None else no_data.marked(pixels, value), name)
            pixels = in_range(pixels, expected, most)
            check_values(pixels, expected, name, pixels.shape[:axes] == shape[:axes])
        return to_channels(pixels, channels, name if path is None else path)

    middle = tuple(slice(length // 2, length // 2 + 1) for length in shape[:axes])
    read(middle)  # channels and numbers that do not fit are reported now
    stamp = file_stamp(path) if path is not None and path.is_file() else None
    return Source(name, (*shape[:-1], channels), read, stamp)


def file_stamp(path: Path) -> list | None:
    """A file's path, size and time of its last change, which another content has not."""
    try:
        found = path.stat()
    except OSError:
        return None
    return [os.path.abspath(path), found.st_size, found.st_mtime_ns]


def _numbers(pixels, name):
    """Truth values as 0 and 255; other kinds of numbers than images have are refused."""
    if pixels.dtype == bool:
        return pixels.astype("uint8") * np.uint8(255)
    if pixels.dtype.kind not in "uif":
        raise ValueError(
            f"{name}: an array of numbers was expected. Received: {pixels.dtype}. Save the image "
            "as uint8, uint16 or float32"
        )
    return pixels


def _opener(path):
    """A function that opens a file and gives an object with `shape` and slicing."""
    if is_zarr(path):
        array = open_zarr(path)
        return lambda: array
    if path.suffix.lower() == ".npy":
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: an array was expected here, and there is no such file"
            )
        return lambda: _mapped(path)
    if path.is_file() and head_of(path).startswith(TIFF):  # whatever its suffix
        opener = _tiff_opener(path)
        if opener is not None:
            return opener
    if path.is_dir():
        raise ValueError(
            f"{path}: an image was expected: .npy, .zarr, {', '.join(SUFFIXES)}. Received: a folder"
        )
    array = read_image(path)
    return lambda: array


def _mapped(path):
    with naming_file(path, "an array of numbers"):
        return np.load(path, mmap_mode="r", allow_pickle=False)


def _tiff_opener(path):
    """As `_opener`; None of a file that must be decoded whole: turned, or of other colours."""
    import tifffile

    with opened_tiff(path) as file:
        series = complete_series(file)
        page, axes, shape = series.keyframe, series.axes, series.shape
        kind, plain = page.photometric, page_orientation(page) == 1
        stored = kind in (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.RGB)
        last = len(shape) == 2 or (len(shape) == 3 and axes[-1] in "SC")
        if not plain or not stored or not last or page.dtype not in PLAIN:
            return None
        place = file.series.index(series)
        if series.dataoffset is not None and not page.is_tiled:
            return lambda: tifffile.memmap(path, series=place, mode="r")
        check_tiles(file, series, path)
    zarr = require("zarr", LARGE, f"{path}: a compressed TIFF, read in parts,")
    store = tifffile.imread(path, series=place, aszarr=True, level=0)
    array = zarr.open_array(store, mode="r")
    return lambda: array
