"""Where the results of a large image go: a file that is written in parts, and resumed."""

import contextlib
import json
import os
import time
from pathlib import Path

import numpy as np

from keras_deepskip import _files
from keras_deepskip._checks import require
from keras_deepskip.data.placement import Placement
from keras_deepskip.inference.zarrs import LARGE, OME_SUFFIX, create_ome, open_ome

TIFF = (".tif", ".tiff")
SUFFIXES = (".npy", *TIFF, ".zarr")
SAVE_S = 5.0  # seconds of work that a killed process may lose
TILE = 512  # pixels; side of the tiles of a TIFF, and of the chunks of a Zarr array
BIGTIFF_FROM = 2**31  # bytes from which a TIFF needs offsets of 64 bits
NOWHERE = Placement()


class ArraySink:
    """Results in memory."""

    def __init__(self, shape, dtype):
        self.array, self.done = np.empty(shape, dtype), 0

    def write(self, box, values):
        self.array[box] = values
        self.done += 1

    def save(self):
        """Nothing outlasts the process."""

    def finish(self):
        """All is there already."""

    def result(self):
        return self.array


class FileSink:
    """Results in a file, under a name of its own until it is whole.

    Beside the unfinished file stands how many blocks it has, and what it is of: the same work,
    begun again, finds `done` blocks written; other work begins anew. A TIFF is compressed tile by
    tile once all is there; until then its values are in a `.npy` file, which can be resumed.

    Args:
        path: the file: `.npy`, `.tif`, or a `.zarr` folder; `.ome.zarr` is an OME-Zarr image (NGFF
            0.5) of one level, channels first as it has them.
        shape: of the results.
        dtype: of the results.
        key: a text that distinguishes this work from any other.
        place: the `Placement` of the image, which a TIFF keeps.

    Raises:
        ValueError: if the suffix is none of these.
        ImportError: if a package that writes it is missing.
    """

    def __init__(self, path, shape, dtype, key, place=NOWHERE):
        self.place = place
        self.path, self.shape, self.dtype = Path(path), tuple(shape), np.dtype(dtype)
        if self.path.suffix not in SUFFIXES:
            raise ValueError(
                f"`out` must end in one of {', '.join(SUFFIXES)}. Received: out={str(path)!r}"
            )
        if self.path.is_dir() != (self.path.suffix == ".zarr") and self.path.exists():
            raise FileExistsError(f"{self.path}: something else is there. Choose another name")
        stem = f".{self.path.stem}.unfinished"
        suffix = ".zarr" if self.path.suffix == ".zarr" else ".npy"
        self.unfinished = self.path.with_name(stem + suffix)
        self.progress = self.path.with_name(stem + ".json")
        self.key = key
        with _files.writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.done = self._found()
            if not self.done:
                self._remove()
            self.writer = self._go_on() if self.done else self._begin()
        self.saved = time.monotonic()

    @property
    def is_ome(self):
        """Whether it is an OME-Zarr image."""
        return self.path.name.endswith(OME_SUFFIX)

    def write(self, box, values):
        """Writes the values of the next block."""
        with _files.writing(self.path):
            self.writer.write(box, np.ascontiguousarray(values, self.dtype))
        self.done += 1
        if time.monotonic() - self.saved > SAVE_S:
            self.save()

    def save(self):
        """Has what is written reach the disk, and notes how much it is."""
        with _files.writing(self.path):
            self.writer.reach_the_disk()
        _files.write_json(self.progress, {"key": self.key, "done": self.done, **self.writer.notes})
        self.saved = time.monotonic()

    def finish(self):
        """Gives the file its name."""
        with _files.writing(self.path):
            self.writer.close()
            if self.path.suffix in TIFF:
                values = np.load(self.unfinished, mmap_mode="r", allow_pickle=False)
                write_tiff(self.path, values, self.place)
                _files.remove(self.unfinished)
            else:
                _files.remove(self.path)
                os.replace(self.unfinished, self.path)
        self.progress.unlink(missing_ok=True)

    def result(self):
        """What the finished file holds, mapped into memory, or as a Zarr array."""
        if self.path.suffix == ".npy":
            return np.load(self.path, mmap_mode="r", allow_pickle=False)
        if self.is_ome:
            return open_ome(self.path, mode="r")
        zarr = require("zarr", LARGE, f"{self.path}: reading results in parts")
        if self.path.suffix == ".zarr":
            return zarr.open_array(str(self.path), mode="r")
        import tifffile

        return zarr.open_array(tifffile.imread(self.path, aszarr=True), mode="r")

    def _found(self):
        """Blocks that earlier work of the same key has written."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            self.notes = json.loads(self.progress.read_text(encoding="utf-8"))
            if self.notes["key"] == self.key and self.unfinished.exists():
                return int(self.notes["done"])
        return 0

    def _remove(self):
        _files.remove(self.unfinished)
        self.progress.unlink(missing_ok=True)

    def _begin(self):
        if self.is_ome:
            return _ZarrWriter(create_ome(self.unfinished, self.shape, self.dtype))
        if self.path.suffix == ".zarr":
            zarr = require("zarr", LARGE, f"{self.path}: results in Zarr")
            chunks = tuple(min(length, TILE) for length in self.shape)
            array = zarr.create_array(
                str(self.unfinished), shape=self.shape, chunks=chunks, dtype=self.dtype
            )
            return _ZarrWriter(array)
        offset = _begin_npy(self.unfinished, self.shape, self.dtype)
        return _LineWriter(self.unfinished, offset, self.shape, self.dtype)

    def _go_on(self):
        if self.is_ome:
            return _ZarrWriter(open_ome(self.unfinished))
        if self.path.suffix == ".zarr":
            zarr = require("zarr", LARGE, f"{self.path}: results in Zarr")
            return _ZarrWriter(zarr.open_array(str(self.unfinished), mode="r+"))
        return _LineWriter(self.unfinished, self.notes["offset"], self.shape, self.dtype)


class _ZarrWriter:
    notes: dict[str, object] = {}

    def __init__(self, array):
        self.array = array

    def write(self, box, values):
        self.array[box] = values

    def reach_the_disk(self):
        """Each chunk is a file that Zarr has closed."""

    def close(self):
        """Nothing is open."""


class _LineWriter:
    """An array in a file, from an offset on, in C order; written line by line.

    Not mapped into memory: pages that wait for the disk would count as the process's memory, and a
    full disk would kill it where a write raises an error.
    """

    def __init__(self, path, offset, shape, dtype):
        self.file, self.shape, self.dtype = open(path, "r+b"), shape, dtype
        self.notes = {"offset": offset}

    def write(self, box, values):
        for line, place in self._lines(box):
            self.file.seek(place)
            self.file.write(values[line].data)

    def read(self, box):
        others = self.shape[len(box) :]
        values = np.empty([side.stop - side.start for side in box] + list(others), self.dtype)
        for line, place in self._lines(box):
            self.file.seek(place)
            self.file.readinto(values[line].data)
        return values

    def _lines(self, box):
        """Yields each line of a box, and where in the file it begins."""
        others = self.shape[len(box) :]  # channels, which a box always holds whole
        corner = [side.start for side in box] + [0] * len(others)
        for line in np.ndindex(*(side.stop - side.start for side in box[:-1])):
            at = [c + i for c, i in zip(corner, (*line, *[0] * (1 + len(others))), strict=True)]
            place = int(np.ravel_multi_index(at, self.shape)) * self.dtype.itemsize
            yield line, self.notes["offset"] + place

    def reach_the_disk(self):
        self.file.flush()
        os.fsync(self.file.fileno())

    def close(self):
        self.reach_the_disk()
        self.file.close()


def _begin_npy(path, shape, dtype):
    """Makes a file of zeros; returns where they begin."""
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_2_0(file, header)
        offset = file.tell()
        file.truncate(offset + int(np.prod(shape, dtype="int64")) * dtype.itemsize)
    return offset


class LabelFile:
    """The labels of a large image: a TIFF that is filled part by part.

    Args:
        path: the TIFF; it appears when it is whole.
        sizes: (H, W).
        place: the `Placement` of the image.
    """

    def __init__(self, path, sizes, place=NOWHERE):
        self.path, self.place = Path(path), place
        self.unfinished = self.path.with_name(f".{self.path.stem}.unfinished.npy")
        dtype = np.dtype("uint32")
        with _files.writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            offset = _begin_npy(self.unfinished, sizes, dtype)
            self.writer = _LineWriter(self.unfinished, offset, tuple(sizes), dtype)

    def add(self, box, numbers):
        """Writes the numbers of a part of the image; 0 leaves pixels alone."""
        with _files.writing(self.path):
            others = self.writer.read(box)
            self.writer.write(box, np.where(numbers > 0, numbers.astype("uint32"), others))

    def finish(self, numbering):
        """Gives the file its name.

        Args:
            numbering: array that says what each number written becomes.
        """
        with _files.writing(self.path):
            self.writer.close()
            values = np.load(self.unfinished, mmap_mode="r", allow_pickle=False)
            dtype = label_type(int(numbering.max()))
            write_tiff(self.path, values, self.place, dtype, numbering.astype(dtype))
        del values
        _files.remove(self.unfinished)


def label_type(count):
    """The smallest type of TIFF that viewers open as labels and that holds so many."""
    return np.dtype("uint16" if count < 2**16 else "uint32")


def write_tiff(path, array, place=NOWHERE, dtype=None, table=None):
    """Writes an array as a TIFF of compressed tiles, of which one at a time is in memory.

    Args:
        path: the file; what stands there is replaced once the new one is whole.
        array: (H, W), (D, H, W), or either with channels of floats as the last axis; it may be
            mapped into memory.
        place: the `Placement` of its pixels: their size, and the map's tags, are written too.
        dtype: of the file; None is that of the array.
        table: array of what each value becomes; None keeps them.
    """
    import tifffile

    dtype = np.dtype(dtype or array.dtype)
    channels = array.dtype.kind == "f"  # masks have none
    options = {"planarconfig": "contig"} if channels and array.shape[-1] > 1 else {}
    if place.pixel_size is not None:
        height, width = place.pixel_size
        options |= {"resolution": (1e4 / width, 1e4 / height), "resolutionunit": "CENTIMETER"}
    with _files.replacing(path) as new:
        tifffile.imwrite(
            new,
            _tiles(array, channels, dtype, table),
            shape=array.shape,
            dtype=dtype,
            tile=(TILE, TILE),
            compression="zlib",
            photometric="minisblack",
            bigtiff=array.size * dtype.itemsize >= BIGTIFF_FROM,
            extratags=place.tags,
            **options,
        )


def _tiles(array, channels, dtype, table):
    """The tiles of each plane, from left to right and top to bottom."""
    axes = array.ndim - channels
    height, width = array.shape[axes - 2 : axes]
    for plane in np.ndindex(array.shape[: axes - 2]):
        for top in range(0, height, TILE):
            for left in range(0, width, TILE):
                box = (*plane, slice(top, top + TILE), slice(left, left + TILE))
                values = array[box] if table is None else table[array[box]]
                yield np.ascontiguousarray(values, dtype)
