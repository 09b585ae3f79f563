"""`predict_tiled`: what a model says about an image of any size, window by window."""

import functools
import hashlib
import json
import math
import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_deepskip import _checks, tiling
from keras_deepskip._checks import check_probabilities
from keras_deepskip._progress import progress
from keras_deepskip.inference.outputs import check_maps, decision_of, refuse_multilabel
from keras_deepskip.inference.over_dask import predict_dask
from keras_deepskip.inference.sinks import ArraySink, FileSink
from keras_deepskip.inference.sources import open_source
from keras_deepskip.inference.windows import (
    finisher,
    plan_tiles,
    predictor,
    result_form,
    why_inexact,
)
from keras_deepskip.models import input_range_of

OUTPUTS = ("probabilities", "mask")
ONE_PASS = 2 * 1024 * 1024  # pixels of an image in memory that is not cut into windows
PANEL = 16  # windows in a row whose results are put together at once


def predict_tiled(
    model: keras.Model,
    image: Any,
    *,
    tile: int | Sequence[int] | None = None,
    mode: str = "exact",
    overlap: int | Sequence[int] | None = None,
    blend: str = "gaussian",
    batch_size: int = 1,
    tta: str | None = None,
    output: str = "probabilities",
    threshold: float | None = None,
    out: str | os.PathLike | None = None,
    verbose: int | str = 0,
) -> Any:
    """Predicts on an image of any size, window by window.

    In `"exact"` mode the result is that of one pass over the whole image, to 1e-5, at its borders
    too and whatever its size: windows stand on the grid of the network's stride, and of each only
    the pixels count whose receptive field lies within it (`plan_tiles`). In `"blended"` mode
    windows overlap and are averaged, for models whose pixels see the whole image or very far.

    Windows are read, computed and written one after the other, so that neither the image nor the
    result needs to fit in memory. Work that writes to a file and is interrupted resumes, when it is
    called again, at the first block of windows that was not yet written.

    Args:
        model: a built functional `keras.Model` from images (N, H, W, C) to maps (N, H, W, K), or
            from volumes (N, D, H, W, C). `keras_deepskip.fold_batch_norm(model)` is quicker.
        image: an array (H, W) or (H, W, C) (volumes: (D, H, W) or (D, H, W, C)) of NumPy, mapped
            into memory, of Zarr, or any object with `shape` and slicing; or the path of a `.npy`,
            `.zarr`, TIFF, PNG or JPEG file. See `open_source`. A Dask array gives a Dask array,
            computed where Dask computes (`"exact"` mode only).
        tile: side of a window in pixels, one number or one for each axis. A larger one computes
            less twice (`plan_tiles(...).overhead`) and needs more memory. None takes 1024 (volumes:
            96), more where the receptive field asks for it, or the model's own fixed size.
        mode: `"exact"` or `"blended"`.
        overlap: pixels that neighbouring windows share in `"blended"` mode; None is a quarter.
        blend: `"gaussian"` or `"constant"` weights of a window's pixels in `"blended"` mode.
        batch_size: windows that are computed at once.
        tta: test-time augmentation: `"flips"` (the mean over 4 ways) or `"flips_and_rotations"`
            (8), or None.
        output: `"probabilities"` (the model's output, float32) or `"mask"` (class ids).
        threshold: probability above which a pixel is predicted positive, for a mask;
            None takes that of the model's operating point, else 0.5. Small objects stay.
        out: file to write: `.npy`, `.tif` or `.zarr`; what stands there is replaced in the end.
            Interrupted, the same call resumes: of an array, which must not have changed. None keeps
            the result in memory.
        verbose: 0 shows nothing, 1 a progress bar, 2 lines; `"auto"` a bar on a terminal.

    Returns:
        The result (H, W, K), of a mask (H, W): an array; with `out` one that is read from there.

    Raises:
        ValueError: if an argument is out of range; if the image does not fit the model; in
            `"exact"` mode if a layer sees the whole image (it is named), or `tile` is too small.
        ImportError: if a package that reads or writes a file is missing.
        OSError: if the result cannot be written; the same call resumes later.

    Example:

    >>> model = keras_deepskip.build_model((None, None, 1), levels=2)
    >>> image = np.zeros((300, 401), "uint8")
    >>> predict_tiled(model, image, tile=128).shape
    (300, 401, 1)
    """
    axes, channels, classes = check_maps(model)
    _checks.check_choice("output", output, OUTPUTS)
    _checks.check_integer("batch_size", batch_size)
    if output == "mask":
        refuse_multilabel(model)
    threshold = decision_of(model, threshold=threshold).threshold
    settings = {"tile": tile, "mode": mode, "overlap": overlap, "blend": blend, "tta": tta}
    if _is_dask(image):
        if out is not None:
            raise ValueError(
                "`out` is for images that are predicted here. Received: a Dask array, and "
                f"out={str(out)!r}. Write the array that comes back: result.to_zarr({str(out)!r})"
            )
        return predict_dask(model, image, output, threshold, settings)
    source = open_source(image, channels, axes, input_range_of(model))
    plan = plan_tiles(model, source.sizes, **settings)
    finish = finisher(output, threshold)
    channels_last, dtype = result_form(output, classes)
    shape = (*source.sizes, *channels_last)
    sink: ArraySink | FileSink
    if out is None:
        sink = ArraySink(shape, dtype)
    else:
        asked = [settings, output, threshold, shape]
        sink = FileSink(out, shape, dtype, image_key(work_key(model, asked), source))
    predict = predictor(model, min(batch_size, plan.windows), tta)
    order = tiling.blocks(plan.spans, PANEL)
    try:
        read = functools.partial(_read_window, source, plan.spans, model.input_shape[1:-1])
        with progress(len(order), verbose, "Predicted", unit="block", done=sink.done) as show:
            for box, values in _results(predict, read, plan.spans, order[sink.done :], batch_size):
                sink.write(box, finish(values))
                show(sink.done)
    finally:
        sink.save()
    sink.finish()
    return sink.result()


def probabilities_of(model, image, tta=None):
    """Returns what a model says about one image in memory: in windows if it is a large one.

    Args:
        model: a built `keras.Model` with probabilities as output.
        image: array (H, W, C).
        tta: test-time augmentation, as in `predict_tiled`.

    Returns:
        Array (H, W, K), float32: the probability of the one class, or of each of K classes of
        which one is right.

    Raises:
        ValueError: if the outputs are no such probabilities.
    """
    large = math.prod(image.shape[:2]) > ONE_PASS
    if large and not why_inexact(model, image.shape[:2]):
        outputs = predict_tiled(model, image, tta=tta)
    else:
        outputs = predictor(model, tta=tta)(image[None].astype("float32"))[0]
    check_probabilities(outputs)
    return outputs


def probabilities_of_batch(model, images, batch_size, tta=None):
    """As `probabilities_of`, of several images of one size at once.

    Args:
        model: as in `probabilities_of`.
        images: array (N, H, W, C), of few pixels in all.
        batch_size: images of a whole batch (see `predictor`).
        tta: test-time augmentation, as in `predict_tiled`.

    Returns:
        Array (N, H, W, K), float32.

    Raises:
        ValueError: as `probabilities_of`.
    """
    outputs = predictor(model, batch_size, tta)(images)
    check_probabilities(outputs)
    return outputs


# --- The work -------------------------------------------------------------------------------------


def _results(predict, read, spans, order, batch_size):
    """Yields the box and the values of each block."""
    kept = {}
    for block in order:
        kept = {window: kept[window] for window in block.windows if window in kept}
        lacking = [window for window in block.windows if window not in kept]
        for first in range(0, len(lacking), batch_size):
            batch = lacking[first : first + batch_size]
            images = np.stack([read(window) for window in batch])
            kept.update(zip(batch, predict(images), strict=True))
        yield block.box, _put_together(block, spans, kept)


def _read_window(source, spans, fixed, window):
    """A window's pixels, float32; of a model of one size filled up to it by reflection."""
    box = tuple(slice(span.start, span.stop) for span in _chosen(spans, window))
    pixels = source.read(box).astype("float32")
    lengths = pixels.shape[:-1]
    sizes = [own or length for own, length in zip(fixed, lengths, strict=True)]
    return tiling.cut(pixels, [slice(0, length) for length in lengths], sizes)


def _chosen(spans, window):
    return [own[index] for own, index in zip(spans, window, strict=True)]


def _put_together(block, spans, results):
    """The weighted sum of what windows give for a block."""
    shape = [side.stop - side.start for side in block.box]
    total = None
    for window in block.windows:
        result = results[window]
        if total is None:
            total = np.zeros((*shape, result.shape[-1]), "float32")
        inside, there, weight = [], [], np.ones(())
        for span, side in zip(_chosen(spans, window), block.box, strict=True):
            low, high = span.support
            low, high = max(low, side.start), min(high, side.stop)
            inside.append(slice(low - span.start, high - span.start))
            there.append(slice(low - side.start, high - side.start))
            weight = weight[..., None] * span.weights[inside[-1]]
        total[tuple(there)] += result[tuple(inside)] * weight[..., None].astype("float32")
    return total


def work_key(model, asked):
    """A text that other work has not: another model, or way of predicting."""
    found = hashlib.sha256(model.to_json().encode())
    for weight in model.get_weights():
        found.update(np.ascontiguousarray(weight).tobytes())
    found.update(json.dumps(asked, default=int).encode())
    return found.hexdigest()


def image_key(work, source):
    """A text that the same work on another image has not."""
    return hashlib.sha256(f"{work} {source.fingerprint()}".encode()).hexdigest()


def _is_dask(image):
    return type(image).__module__.partition(".")[0] == "dask"
