"""`predict_tiled` of a Dask array: the windows are Dask's chunks, computed where Dask computes."""

import functools
import hashlib
import tempfile
import threading
from pathlib import Path

import numpy as np

from keras_deepskip._checks import require
from keras_deepskip.data.images import to_channels
from keras_deepskip.inference.outputs import check_maps
from keras_deepskip.inference.sources import LARGE
from keras_deepskip.inference.windows import (
    finisher,
    plan_tiles,
    predictor,
    reach,
    result_form,
)
from keras_deepskip.models import load_model

_one_at_a_time = threading.Lock()  # a backend's own threads use all cores


def predict_dask(model, image, output, threshold, settings):
    """Returns a Dask array of what `predict_tiled` gives; nothing is computed yet.

    Each chunk is computed with a halo of its neighbours as wide as the network's receptive field
    (`dask.array.overlap`), on the grid of its stride, so the result is that of one pass.

    Args:
        model: as in `predict_tiled`. It travels to the workers as a `.keras` file.
        image: a Dask array (H, W) or (H, W, C), or a volume.
        output, threshold: as in `predict_tiled`.
        settings: `tile`, `mode` and `tta` of `predict_tiled`.

    Raises:
        ValueError: as `predict_tiled`; also in `"blended"` mode.
        ImportError: if Dask's arrays are missing.
    """
    array = require("dask.array", LARGE, "predicting on Dask arrays")
    from dask import delayed

    axes, channels, classes = check_maps(model)
    if settings["mode"] != "exact":
        raise ValueError(
            "a Dask array is predicted in exact windows. Received: mode='blended'. Take an array "
            "of NumPy or Zarr for it"
        )
    image = image[..., None] if image.ndim == axes else image
    if image.ndim != axes + 1:
        raise ValueError(
            f"a Dask array of {axes} axes, and one of channels, was expected. "
            f"Received: shape {image.shape}"
        )
    chunks, depth = _chunks_and_halo(model, image.shape[:-1], settings)
    image = _with_channels(image.rechunk((*chunks, -1)), channels)
    halo = {**dict(enumerate(depth)), axes: (0, 0)}
    wide = array.overlap.overlap(image, halo, boundary="none", allow_rechunk=False)
    channels_last, dtype = result_form(output, classes)
    last = {"chunks": (*wide.chunks[:-1], channels_last)} if channels_last else {"drop_axis": axes}
    results = wide.map_blocks(
        _predict_chunk,
        delayed(_packed(model), name=False),
        settings["tta"],
        output,
        threshold,
        dtype=dtype,
        meta=np.empty((0,) * (axes + len(channels_last)), dtype),
        **last,
    )
    kept = {axis: halo[axis] for axis in range(results.ndim)}
    return array.overlap.trim_overlap(results, kept, boundary="none")


def _chunks_and_halo(model, sizes, settings):
    """For each axis the lengths of the chunks, and how many pixels of its neighbours one needs."""
    plan = plan_tiles(model, sizes, **settings)
    if plan.windows == 1:
        return [(length,) for length in sizes], [(0, 0)] * len(sizes)
    stride, before, after = reach(model, sizes, settings["tta"])
    chunks, halos = [], []
    for length, spans in zip(sizes, plan.spans, strict=True):
        # A window begins on the grid, and ends as many pixels short of it as the image does.
        halo = before + -before % stride, after + (length - after) % stride
        window = spans[0].stop
        # Dask looks no farther than the next chunk, so a chunk holds a halo.
        step = max((window - sum(halo)) // stride * stride, max(halo) + -max(halo) % stride)
        count = max(length // step, 1)
        chunks.append((*[step] * (count - 1), length - step * (count - 1)))
        halos.append(halo if count > 1 else (0, 0))
    return chunks, halos


def _with_channels(image, channels):
    """The array with a number of channels; others are refused before anything is computed."""
    one = np.zeros((1,) * (image.ndim - 1) + image.shape[-1:], image.dtype)
    kind = to_channels(one, channels, "the Dask array").dtype
    return image.map_blocks(
        to_channels, channels, "the Dask array",
        chunks=(*image.chunks[:-1], (channels,)), dtype=kind,
    )  # fmt: skip


def _packed(model):
    """The model as bytes of a `.keras` file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return path.read_bytes()


@functools.lru_cache(maxsize=2)
def _unpacked(digest, packed):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(packed)
        return load_model(path)


def _predict_chunk(pixels, packed, tta, output, threshold):
    """What a worker does."""
    with _one_at_a_time:
        model = _unpacked(hashlib.sha256(packed).hexdigest(), packed)
        values = predictor(model, tta=tta)(np.asarray(pixels)[None].astype("float32"))[0]
    return finisher(output, threshold)(values)
