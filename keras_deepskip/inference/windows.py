"""The windows of an image: how it is cut, and what a model gives for each of them."""

import dataclasses

import keras
import numpy as np

from keras_deepskip import _checks, tiling
from keras_deepskip._checks import check_probabilities
from keras_deepskip.analysis import grid_stride, receptive_field
from keras_deepskip.data import no_data
from keras_deepskip.inference import tta as test_time
from keras_deepskip.inference.outputs import background_of, check_maps, outputs_of
from keras_deepskip.metrics import masks_from_outputs
from keras_deepskip.models import fill_of

MODES = ("exact", "blended")
TILES = {2: 1024, 3: 96}  # side of a window by spatial axes, where the receptive field allows it
FIELDS = 3  # receptive fields that a window holds at least, where it may choose


@dataclasses.dataclass(frozen=True)
class Tiling:
    """How an image is cut into windows, and what they give is put together.

    Attributes:
        spans: for each spatial axis a list of `tiling.Span`.
    """

    spans: list

    @property
    def windows(self):
        """How many windows there are."""
        return int(np.prod([len(own) for own in self.spans]))

    @property
    def overhead(self):
        """Pixels that the network computes, for each pixel of the image."""
        computed = [sum(span.stop - span.start for span in own) for own in self.spans]
        return float(np.prod(computed) / np.prod([own[-1].stop for own in self.spans]))


def plan_tiles(model, sizes, tile=None, mode="exact", overlap=None, blend="gaussian", tta=None):
    """Works out the windows of `predict_tiled`, without predicting.

    Args:
        model: a built functional `keras.Model`.
        sizes: (H, W) of the image, or (D, H, W) of the volume.
        tile, mode, overlap, blend, tta: as in `predict_tiled`.

    Returns:
        A `Tiling`.

    Raises:
        ValueError: as `predict_tiled`.

    Example:

    >>> plan = plan_tiles(keras_deepskip.build_model(), (4000, 6000))
    >>> plan.windows, round(plan.overhead, 2)
    (40, 1.64)
    """
    _checks.check_choice("mode", mode, MODES)
    axes, *_ = check_maps(model)
    fixed = model.input_shape[1:-1]
    test_time.check_tta(tta, fixed)
    tiles = _tiles_asked(tile, fixed)
    if mode == "exact":
        if overlap is not None:
            raise ValueError(
                "`overlap` is of windows that are blended. Received: "
                f"overlap={overlap} in exact mode. Leave it out, or use mode='blended'"
            )
        return _plan_exact(model, sizes, tiles, fixed, tta)
    spans = []
    overlaps = _of_each_axis("overlap", overlap, axes)
    for length, size, own in zip(sizes, tiles, overlaps, strict=True):
        size = size or TILES[axes]
        own = size // 4 if own is None else own
        spans.append(tiling.blended_spans(length, size, own, blend))
    return Tiling(spans)


def _tiles_asked(tile, fixed):
    """Sides of a window for each axis; None where nobody says."""
    tiles = _of_each_axis("tile", tile, len(fixed))
    for size, own in zip(tiles, fixed, strict=True):
        if size is not None:
            _checks.check_integer("tile", size)
        if own is not None and size not in (None, own):
            raise ValueError(
                f"the model takes inputs of {fixed} alone, which is what a window must be. "
                f"Received: tile={tile}. Leave it out"
            )
    return [own or size for size, own in zip(tiles, fixed, strict=True)]


def _of_each_axis(name, value, axes):
    """A number for each axis, of one or of as many."""
    values = list(value) if isinstance(value, list | tuple) else [value] * axes
    if len(values) != axes:
        raise ValueError(
            f"`{name}` must be one number, or one for each of {axes} axes. Received: {name}={value}"
        )
    return values


def _plan_exact(model, sizes, tiles, fixed, tta):
    if any(own not in (None, length) for length, own in zip(sizes, fixed, strict=True)):
        raise ValueError(
            f"exact windows need a model of any size. Received: one of {fixed} for an image of "
            f"{tuple(sizes)}. Build it with None for the sizes, or use mode='blended'"
        )
    largest = [size or TILES[len(sizes)] for size in tiles]
    if all(length <= size for length, size in zip(sizes, largest, strict=True)):
        return Tiling([tiling.exact_spans(length, length, 1, 0, 0) for length in sizes])
    stride, before, after = reach(model, sizes, tta)
    wished = -(-FIELDS * (before + after + 1) // stride) * stride
    chosen = [size or max(TILES[len(sizes)], wished) for size in tiles]
    return Tiling(
        [
            tiling.exact_spans(length, size, stride, before, after)
            for length, size in zip(sizes, chosen, strict=True)
        ]
    )


def reach(model, sizes, tta=None):
    """The stride of the network's grid, and how far its pixels see before and after."""
    try:
        stride = grid_stride(model)
        # A size that stands to the grid as the image does, and is no trouble to small windows
        like = [length + max(-(-(256 - length) // stride), 0) * stride for length in sizes]
        names = ("depth", "height", "width")[-len(sizes) :]
        field = receptive_field(model, **dict(zip(names, like, strict=True)))
    except ValueError as error:
        raise ValueError(
            f"exact windows are not possible with this model: {error}. Use mode='blended', or a "
            "tile as large as the image"
        ) from error
    if tta is None:
        return stride, field.before, field.after
    farthest = max(
        field.before, field.after
    )  # what lies before a pixel lies after it in the mirror
    return stride, farthest, farthest


def why_inexact(model, sizes):
    """Says why windows cannot give what one pass does; None where they can."""
    try:
        plan_tiles(model, sizes)
    except ValueError as error:
        return str(error)
    return None


def predictor(model, batch_size=1, tta=None):
    """Returns a function from a batch of windows to the model's outputs, as float32 arrays.

    Pixels without data (NaN in any channel) are background.

    Args:
        model: a built `keras.Model`.
        batch_size: images of a whole batch. Under JAX, which compiles for each shape, a smaller
            batch is filled up.
        tta: as in `predict_tiled`.
    """
    ways = test_time.views(tta, len(model.input_shape) - 2)
    fill, nothing = fill_of(model), background_of(model)

    def predict(images):
        count, without = len(images), no_data.missing(images)
        images = no_data.filled(images, fill)
        if keras.backend.backend() == "jax" and count < batch_size:
            images = np.concatenate([images, *[images[-1:]] * (batch_size - count)])
        seen = (outputs_of(model, np.ascontiguousarray(there(images))) for there, _ in ways)
        mean = sum(back(each) for each, (_, back) in zip(seen, ways, strict=True)) / len(ways)
        outputs = mean[:count].astype("float32")
        if without is not None:
            outputs[without] = nothing
        return outputs

    return predict


def result_form(output, classes):
    """What follows the sizes in the shape of a result, and its dtype."""
    if output == "mask":
        return (), np.min_scalar_type(max(classes - 1, 1))
    return (classes,), np.dtype("float32")


def finisher(output, threshold):
    """Returns a function from outputs (..., K) to what was asked for: these, or a mask (...)."""

    def finish(values):
        if output == "probabilities":
            return values
        check_probabilities(values)
        return masks_from_outputs(values[None], threshold)[0]

    return finish
