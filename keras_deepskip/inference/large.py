"""`predict` on an image too large for memory: its mask, its objects and a small overlay."""

import warnings

import numpy as np

from keras_deepskip import _files, tiling
from keras_deepskip._checks import check_probabilities
from keras_deepskip.data import write_png
from keras_deepskip.drawing import LONGEST, draw_mask
from keras_deepskip.inference.sinks import FileSink, LabelFile, write_tiff
from keras_deepskip.inference.tiled import predict_tiled
from keras_deepskip.inference.windows import result_form, why_inexact
from keras_deepskip.objects import ObjectStream

BLOCK = 2048  # side of the pieces in which a finished file of probabilities is gone through


def predict_large(model, source, sample, wanted, *, key, place):
    """Writes `masks/` and `labels/NAME.tif`, a reduced overlay, and `probabilities/NAME.tif`.

    Interrupted, it resumes where it stopped: the probabilities at the first windows that are not
    there yet, and once they all are, at the objects.

    Args:
        model: as in `predict`.
        source: the image, a `Source`.
        sample: its `Sample`.
        wanted: the `Wanted` of `predict`.
        key: a text that other work has not.
        place: the image's `Placement`, which the files keep.

    Returns:
        The lines of `object_table`.
    """
    name, out = sample.name, wanted.folder
    path = out / f".{name.replace('/', '%2F')}.npy"
    reason = why_inexact(model, source.sizes)
    if reason:
        warnings.warn(
            f"The image of {source.sizes} is predicted in overlapping windows, whose mean is not "
            f"what one pass gives: {reason}",
            stacklevel=3,
        )
    mode = "blended" if reason else "exact"
    ways = {"mode": mode, "tta": wanted.tta, "verbose": wanted.verbose}
    outputs = _outputs(model, sample.image, path, key, ways)
    _, dtype = result_form("mask", outputs.shape[-1])
    masks = FileSink(out / "masks" / f"{name}.tif", source.sizes, dtype, key, place)
    picture = _Picture(source.sizes, source.shape[-1]) if wanted.overlays else None
    labels = LabelFile(out / "labels" / f"{name}.tif", source.sizes, place)
    objects = _go_through(source, outputs, wanted.point, masks, labels, picture)
    if wanted.overlays:
        shown = picture.overlay(wanted.overlay_channels)
        write_png(out / "overlays" / f"{name}.png", shown)
    if wanted.probabilities:
        write_tiff(out / "probabilities" / f"{name}.tif", outputs, place)
    del outputs
    _files.remove(_note_of(path))
    _files.remove(path)
    return objects


def _outputs(model, image, path, key, ways):
    """What the model says, as a file that an earlier call may have finished."""
    note = _note_of(path)
    if path.is_file() and note.is_file() and note.read_text(encoding="utf-8") == key:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    _files.remove(note)
    outputs = predict_tiled(model, image, out=path, **ways)
    _files.write_text(note, key)
    return outputs


def _note_of(path):
    """Beside a finished file of probabilities: the key of the work that it is of."""
    return path.with_suffix(".key")


def _go_through(source, outputs, point, masks, labels, picture):
    """Fills the files and the picture, if there is one; returns the objects."""
    found = ObjectStream(source.sizes, separate=point.separate, min_area=point.min_area)
    spans = [tiling.exact_spans(length, BLOCK, 1, 0, 0) for length in source.sizes]
    for box, _ in tiling.blocks(spans, panel=1):
        values = np.asarray(outputs[box])
        mask = _mask_of(outputs, box, point)
        masks.write(box, mask)
        for place, numbers in found.update(box, mask, values):
            labels.add(place, numbers)
        if picture is not None:
            picture.add(box, source.read(box), mask)
    masks.finish()
    labels.finish(found.numbering())
    return found.table()


def _mask_of(outputs, box, point):
    """The mask of a part, as the whole image has it.

    An object that is too small and reaches into the part lies within as many pixels around it as
    its area may have; what is cut off beyond these is of objects that are large enough.
    """
    areas = point.min_area  # of the background, the first, nothing is removed
    margin = max(areas[1:], default=0) if isinstance(areas, tuple) else areas
    wide = tuple(
        slice(max(side.start - margin, 0), min(side.stop + margin, length))
        for side, length in zip(box, outputs.shape, strict=False)
    )
    values = np.asarray(outputs[wide])
    check_probabilities(values)
    mask = point.masks(values[None])[0]
    inner = (
        slice(side.start - own.start, side.stop - own.start)
        for side, own in zip(box, wide, strict=True)
    )
    return mask[tuple(inner)]


class _Picture:
    """An image and its mask, reduced while their parts pass."""

    def __init__(self, sizes, channels):
        self.factor = -(-max(sizes) // LONGEST)
        self.sizes = tuple(-(-length // self.factor) for length in sizes)
        self.channels, self.image = channels, None
        self.mask = np.zeros(self.sizes, "uint16")

    def add(self, box, pixels, mask):
        """Takes every so many-th pixel of the image, and all of the mask's objects."""
        if self.image is None:
            self.image = np.zeros((*self.sizes, self.channels), pixels.dtype)
        starts = [-(-side.start // self.factor) for side in box]
        stops = [-(-side.stop // self.factor) for side in box]
        offsets = [s * self.factor - side.start for s, side in zip(starts, box, strict=True)]
        rows, columns = (slice(offset, None, self.factor) for offset in offsets)
        self.image[starts[0] : stops[0], starts[1] : stops[1]] = pixels[rows, columns]
        places = np.nonzero(mask)
        corners = [(at + side.start) // self.factor for at, side in zip(places, box, strict=True)]
        np.maximum.at(self.mask, tuple(corners), mask[places])

    def overlay(self, channels):
        return draw_mask(self.image, self.mask, channels=channels)
