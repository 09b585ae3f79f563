"""Zarr arrays and OME-Zarr images (NGFF 0.4 and 0.5), seen with the channels last."""

import math
from pathlib import Path

from keras_deepskip._checks import require
from keras_deepskip.data.placement import Placement, micrometres

LARGE = '"keras-deepskip[large]"'  # the extra that brings zarr and dask
OME_SUFFIX = ".ome.zarr"  # results under such a name are written as OME-Zarr
VERSION = "0.5"  # of OME-Zarr, for what is written
SPACE = "zyx"
LISTED = 8  # arrays of a group that an error names


class ChannelsLast:
    """An OME-Zarr level as (H, W, C) or (D, H, W, C), read and written in parts.

    Args:
        array: a Zarr array.
        axes: names of its axes, such as `("c", "y", "x")`. Those that are neither space nor
            channels must have a length of 1.
        name: what errors call it.

    Raises:
        ValueError: if another axis is longer.
    """

    def __init__(self, array, axes, name):
        self.array, self.axes = array, tuple(axes)
        long = [a for a, n in zip(axes, array.shape, strict=True) if a not in "czyx" and n > 1]
        if long:
            raise ValueError(
                f"{name}: one image or volume was expected. Received: shape {array.shape}, axes "
                f"{', '.join(axes)}. Write each {long[0]} as an image of its own"
            )
        lengths = dict(zip(axes, array.shape, strict=True))
        # One slice is an image.
        self.space = [a for a in SPACE if a in axes and (a != "z" or lengths[a] > 1)]
        self.shape = (*(lengths[axis] for axis in self.space), lengths.get("c", 1))
        self.dtype = array.dtype

    def __getitem__(self, box):
        pixels = self.array[self._index(box)]
        kept = [axis for axis in self.axes if axis in (*self.space, "c")]
        order = [kept.index(axis) for axis in (*self.space, "c") if axis in kept]
        pixels = pixels.transpose(order)
        return pixels if "c" in kept else pixels[..., None]

    def __setitem__(self, box, values):
        back = [(*self.space, "c").index(axis) for axis in self.axes]
        self.array[self._index(box)] = values.transpose(back)

    def _index(self, box):
        box = box if isinstance(box, tuple) else (box,)
        sides = dict(zip((*self.space, "c"), box, strict=False))
        return tuple(
            sides.get(axis, slice(None)) if axis in (*self.space, "c") else 0 for axis in self.axes
        )


def is_zarr(path):
    """Whether a path is a Zarr array or group, by its name or by what lies in it."""
    path = Path(path)
    marks = ("zarr.json", ".zarray", ".zgroup")
    return path.suffix.lower() == ".zarr" or any((path / mark).is_file() for mark in marks)


def zarr_name(path):
    """A name for files about an image in Zarr; of an array in a group with the group's before."""
    own = path.name.removesuffix(OME_SUFFIX).removesuffix(".zarr")
    return own if path.suffix.lower() == ".zarr" else f"{zarr_name(path.parent)}_{own}"


def open_zarr(path):
    """Opens a Zarr array, or the finest level of an OME-Zarr image, to be read.

    Args:
        path: the array, or the group of an OME-Zarr image; also a level in it.

    Returns:
        An object with `shape`, `dtype` and slicing.

    Raises:
        FileNotFoundError: if there is nothing.
        ValueError: if it is another group (its arrays are named), or damaged.
        ImportError: if `zarr` is missing.
    """
    zarr = require("zarr", LARGE, f"{path}: an image in Zarr")
    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: a Zarr array was expected here, and there is none")
    try:
        node = zarr.open(str(path), mode="r")
        scales = _multiscales(node)
    except Exception as error:  # zarr has errors of its own for broken metadata
        raise ValueError(f"{path}: a Zarr array was expected. Received: {error}") from error
    if isinstance(node, zarr.Array):
        axes = _axes_in_group(zarr, Path(path))
        return node if axes is None else ChannelsLast(node, axes, path)
    if not scales:
        arrays = sorted(name for name, _ in node.arrays())[:LISTED]
        raise ValueError(
            f"{path}: a Zarr array or an OME-Zarr image was expected. Received: a group with "
            f"{', '.join(f'{path}/{name}' for name in arrays) or 'no arrays'}. Name one of them"
        )
    array = node[scales[0]["datasets"][0]["path"]]
    return ChannelsLast(array, _axes(scales[0], array.ndim), path)


def zarr_placement(path):
    """The size of the pixels of an OME-Zarr image, or of a level of it: a `Placement`.

    Args:
        path: the group, or the array of a level. What is no such image says nothing.
    """
    path = Path(path)
    zarr = require("zarr", LARGE, f"{path}: an image in Zarr")
    for place, level in ((path, None), (path.parent, path.name)):
        try:
            scales = _multiscales(zarr.open_group(str(place), mode="r"))
            for dataset in scales[0]["datasets"] if scales else ():
                if level in (None, dataset["path"]):
                    return Placement(_pixel_size(scales[0], dataset))
        except Exception:  # an array, no Zarr at all, or notes of another form
            continue
    return Placement()


def _pixel_size(scales, dataset):
    """Height and width of a level's pixels in micrometres, or None."""
    axes = {}
    for number, axis in enumerate(scales.get("axes") or ()):
        if isinstance(axis, dict) and axis.get("name") in ("y", "x"):
            axes[axis["name"]] = number, axis.get("unit")
    steps = [*dataset.get("coordinateTransformations", ())]
    steps += scales.get("coordinateTransformations", ())  # of the image as a whole
    factors = [step["scale"] for step in steps if step.get("type") == "scale" and "scale" in step]
    if len(axes) < 2 or not factors:
        return None
    sizes = []
    for number, unit in (axes["y"], axes["x"]):
        sizes.append(micrometres(math.prod(own[number] for own in factors), unit))
    return None if None in sizes else tuple(sizes)


def create_ome(path, shape, dtype):
    """Makes an OME-Zarr image of one level; returns it with the channels last.

    Args:
        path: the group to make.
        shape: (H, W) or (D, H, W) of a mask, or either with channels of floats.
        dtype: of the values.
    """
    zarr = require("zarr", LARGE, f"{path}: results in OME-Zarr")
    channels = dtype.kind == "f"
    space = tuple(SPACE[-(len(shape) - channels) :])
    axes = (("c",) if channels else ()) + space
    stored = ((shape[-1],) if channels else ()) + tuple(shape[: len(space)])
    chunks = tuple(1 if axis == "c" else min(n, 512) for axis, n in zip(axes, stored, strict=True))
    group = zarr.open_group(str(path), mode="w", zarr_format=3)
    group.create_array("0", shape=stored, chunks=chunks, dtype=dtype)
    group.attrs["ome"] = {"version": VERSION, "multiscales": [multiscale(axes)]}
    return open_ome(path)


def open_ome(path, mode="r+"):
    """Opens what `create_ome` made, with the channels last; of a mask (H, W) as it is."""
    zarr = require("zarr", LARGE, f"{path}: results in OME-Zarr")
    group = zarr.open_group(str(path), mode=mode)
    axes = _axes(_multiscales(group)[0], group["0"].ndim)
    return ChannelsLast(group["0"], axes, path) if "c" in axes else group["0"]


def multiscale(axes, pixel_size=None):
    """The metadata of an image of one level, `0`.

    Args:
        axes: their names, such as `("c", "y", "x")`.
        pixel_size: height and width of a pixel in micrometres, or None.
    """
    lengths = {} if pixel_size is None else dict(zip("yx", pixel_size, strict=True))
    units = {axis: {"unit": "micrometer"} for axis in lengths}
    scale = {"type": "scale", "scale": [float(lengths.get(axis, 1)) for axis in axes]}
    return {
        "axes": [
            {"name": axis, "type": "channel" if axis == "c" else "space", **units.get(axis, {})}
            for axis in axes
        ],
        "datasets": [{"path": "0", "coordinateTransformations": [scale]}],
    }


def _multiscales(node):
    attributes = dict(node.attrs)
    return attributes.get("multiscales") or attributes.get("ome", {}).get("multiscales")


def _axes(scales, count):
    """Names of a level's axes; where none are given they are the last of t, c, z, y, x."""
    named = scales.get("axes")
    if not named:  # NGFF 0.2 and tools that leave them out; an image of colours has C last
        return ("y", "x", "c") if count == 3 else tuple("tczyx"[-count:])
    return tuple(str(a["name"] if isinstance(a, dict) else a).lower() for a in named)


def _axes_in_group(zarr, path):
    """The axes of an array that is a level of an OME-Zarr image, or None."""
    if not is_zarr(path.parent):
        return None
    try:
        group = zarr.open_group(str(path.parent), mode="r")
        scales = _multiscales(group)
    except Exception:  # no group: the array stands by itself
        return None
    levels = [level["path"] for level in scales[0]["datasets"]] if scales else []
    return _axes(scales[0], group[path.name].ndim) if path.name in levels else None
