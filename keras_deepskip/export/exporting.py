"""`export`: a model as a file that runs without Keras, compared with the model before it counts.

A format is written under one of the backends that can; if that is not the one in use, the model is
saved, and a second Python process reloads and writes it. The comparison is always with the outputs
of the model at hand, under the backend at hand.
"""

import contextlib
import dataclasses
import errno
import functools
import importlib.metadata
import os
import re
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_deepskip import _checks, _files
from keras_deepskip.export import other_backend as worker
from keras_deepskip.export.formats import FORMATS
from keras_deepskip.export.noted import note_export
from keras_deepskip.export.serving import MAX_BATCH_SIZE, chosen_server
from keras_deepskip.export.writers import Mask
from keras_deepskip.folding import fold_batch_norm
from keras_deepskip.layers.copying import set_weights
from keras_deepskip.metrics import masks_from_outputs
from keras_deepskip.models import (
    RunLike,
    class_names_of,
    image_model_shapes,
    input_range_of,
    is_multilabel,
    resolve_model,
)
from keras_deepskip.operating_point import operating_point_of

TOLERANCE = 1e-5
# What is compared, by spatial axes: of images, of volumes. All but the first are no multiple of any
# stride; those of images are above 32, which PyTorch's program of a network of stride 32 asks for.
SIZES = {
    2: ((64, 64), (45, 83), (130, 37)),
    3: ((16, 16, 16), (9, 17, 21), (33, 7, 10)),
}
BATCHES = (1, 3)


@dataclasses.dataclass(frozen=True)
class ExportReport:
    """How far the exported file is from the model.

    Attributes:
        path: what was written.
        format: a name in `FORMATS`.
        backend: under which it was written.
        versions: of the packages that took part.
        size: bytes of the file, or of all files in the folder.
        differences: largest difference by `"NxHxW"` (volumes: `"NxDxHxW"`) of the input; of outputs
            above 1, as a share of the largest.
        mask_differences: pixels of the mask that are not what the probabilities say, likewise; None
            without one.
        tolerance: what no difference may exceed.
        input_range: (low, high) of the images that the file takes.
        class_names: names by class id, if the model knows them.
        operating_point: threshold, least area, and whether touching objects are told apart, by
            which the model decides (`OperatingPoint.to_dict`), for what comes after the file. With
            a mask the threshold is that of the mask.
    """

    path: str
    format: str
    backend: str
    versions: dict
    size: int
    differences: dict
    mask_differences: dict | None
    tolerance: float
    input_range: tuple[float, float]
    class_names: dict[int, str] | None = None
    operating_point: dict[str, Any] | None = None

    @property
    def differing(self):
        """The differences that exceed the tolerance, and masks that are wrong."""
        masks = self.mask_differences or {}
        return {
            shape: difference
            for shape, difference in self.differences.items()
            if not difference <= self.tolerance or masks.get(shape)  # NaN is no match either
        }

    def text(self):
        """A line for each size that was compared."""
        lines = [f"{self.path} ({self.format}) against Keras, largest difference:"]
        lines += [f"  {shape}: {value:.1e}" for shape, value in self.differences.items()]
        return "\n".join([*lines, f"  {self.agreement()}", f"  {self.origin()}"])

    def agreement(self):
        """How far the file agrees with the model, in a line."""
        masks = "" if self.mask_differences is None else "; masks as the probabilities say"
        return f"all within {self.tolerance:.0e}{masks}"

    def origin(self):
        """Size of the file, and what wrote it, in a line."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return f"{self.size:,} bytes, written under {self.backend} ({versions})"


class ExportMismatch(ArithmeticError):
    """The exported file does not compute what the model does."""


def export(
    model: keras.Model | RunLike,
    path: str | os.PathLike,
    format: str = "saved_model",
    input_range: tuple[float, float] | None = None,
    *,
    mask: bool = False,
    threshold: float | None = None,
    multilabel: bool = False,
    serving: str | None = None,
    max_batch_size: int | None = None,
) -> ExportReport:
    """Writes a model in a format that runs without Keras, and proves it equal.

    What is written takes `image`, float32 (N, H, W, C), raw as the model itself takes it (its
    normalization is inside), and gives `probabilities` (N, H, W, classes), whatever the format; of
    a model for volumes, both have D before H. N is free; H and W are where the model's are. Batch
    norms are folded into the convolutions (`keras_deepskip.fold_batch_norm`), unless that alone
    rounds too much.

    The file is opened by its own runtime, run at three sizes and two batch sizes and compared with
    the model; only then it takes its name. The comparison is written beside it, as
    `PATH.export.json`. A model with a mixed dtype policy is exported, and compared, as what it is
    in float32: 16-bit arithmetic rounds in its own way on each backend.

    Args:
        model: a built functional `keras.Model`, with one input and one output, or a `Run`. Where
            another backend writes the format, it is saved and loaded by another process, so layers
            of your own must be registered by a module that it can import.
        path: the file or folder to write; an older one there is replaced when the new one has
            been compared.
        format: `"saved_model"` (a folder; written under TensorFlow), `"onnx"` (`.onnx`; PyTorch or
            TensorFlow), `"litert"` (`.tflite`; TensorFlow), `"openvino"` (a folder with
            `model.xml` and `model.bin`; PyTorch or TensorFlow), `"torch"` (`.pt2`; PyTorch) or
            `"stablehlo"` (`.stablehlo`; JAX). The backend in use need not be among them.
        input_range: (low, high) of the random images that are compared; None takes that of the run
            or model, else (0, 255).
        mask: whether the file also gives a mask: class ids (N, H, W), uint8 (int32 of over 256
            classes), as `metrics.masks_from_outputs` gives them for the probabilities.
        threshold: of the mask, the probability above which a pixel is predicted positive; None
            takes that of the operating point of the run or model (its least area is for what comes
            after the file), else 0.5.
        multilabel: of the mask, whether each class is predicted by itself; zeros and ones
            (N, H, W, classes) then.
        serving: writes the next version of the model into the folder `path`, as
            `"tensorflow-serving"` or `"triton"` loads it. `path` is called as the model is on the
            server; the version is a SavedModel or ONNX file, beside `batching_config.txt` or
            `config.pbtxt`, by which requests that come within 5 ms are computed together. None
            writes the model alone.
        max_batch_size: of a server, the most images that are computed at a time, and that a request
            may have; None is 8.

    Returns:
        An `ExportReport`.

    Raises:
        ValueError: if the model has not one input and one output that are images or volumes, the
            format cannot hold it, or an argument does not fit.
        ImportError: if a package that writes or runs the format is not installed.
        FileExistsError: if something else than an older export is at `path`.
        ExportMismatch: if an output differs by more than 1e-5; what was at `path` stays.
        OSError: if the disk is full; what was at `path` stays.
        RuntimeError: if writing or running it fails.

    Example:

    ```python
    report = export(model, "cells.onnx", format="onnx", mask=True)
    session = onnxruntime.InferenceSession("cells.onnx")
    probabilities, mask = session.run(["probabilities", "mask"], {"image": images})
    ```
    """
    server, folder = chosen_server(serving, format, max_batch_size), Path(path)
    if server:
        format, path = server.format, server.next_path(folder)
    model, run = resolve_model(model)
    known = run.input_range if run else input_range_of(model)
    low, high = map(float, input_range or known or (0, 255))
    input_range = (low, high)
    chosen = FORMATS[_checks.check_choice("format", format, FORMATS)]
    shape, _ = image_model_shapes(model, volumes=True)
    point = run.operating_point if run else operating_point_of(model)
    if mask and threshold is None and not multilabel:
        threshold = point.threshold
    rule = _check_mask(model, mask, threshold, multilabel)
    point = point if rule is None else point.replaced(rule.threshold)  # what the mask was made by
    target = _check_path(Path(path), format)
    backend = chosen.backend(keras.backend.backend(), volumes=len(shape) == 5)
    replacing = _replacing(chosen, server)
    model = _in_float32(model)
    with _full_precision(), replacing(target) as temporary, _naming_a_full_disk(temporary, model):
        cases = _cases(model, input_range)
        _check_probabilities(rule, cases)
        # Folding rounds anew: a deep model for which that is too much is written as it is.
        for candidate in (fold_batch_norm(model), model):
            report = _report(
                candidate, target, format, backend, temporary, rule, cases, input_range, point
            )
            if not report.differing:
                break
        _check_equal(report)
    written = target.with_name(target.name + ".export.json")
    _files.write_json(written, dataclasses.asdict(report))
    note_export(run, written)
    if server:
        outputs = _served_outputs(model, rule)
        server.write_config(folder, shape[1:], outputs, max_batch_size or MAX_BATCH_SIZE)
    return report


def _replacing(chosen, server):
    """What gives a temporary path in place of the target: a file, a folder, or one in a folder."""
    if server and server.file:
        return _replacing_version
    return _files.replacing if chosen.suffix else _files.replacing_folder


@contextlib.contextmanager
def _replacing_version(target):
    """As `replacing`, with the folder around the file: servers load what has one, whole or not."""
    with _files.replacing_folder(target.parent) as folder:
        yield folder / target.name


def _served_outputs(model, mask):
    """The outputs of the file by name: Triton's type, and shape without N, None where free."""
    *sizes, classes = model.output_shape[1:]
    outputs = {"probabilities": ("TYPE_FP32", (*sizes, classes))}
    if mask is not None:
        shape = (*sizes, classes) if mask.multilabel else tuple(sizes)
        outputs["mask"] = ("TYPE_UINT8" if classes <= 256 else "TYPE_INT32", shape)
    return outputs


# --- What is refused before the work begins -------------------------------------------------------


def _check_path(path, format):
    """The path, if it is named as the format wants and nothing but an older export is there."""
    chosen = FORMATS[format]
    if path.suffix != chosen.suffix and chosen.suffix:
        raise ValueError(
            f"`path` must end in {chosen.suffix} for format={format!r}. "
            f"Received: path={str(path)!r}"
        )
    if chosen.suffix:
        taken, expected = path.is_dir(), f"a file ending in {chosen.suffix}"
    else:
        taken = path.is_file() or (
            path.is_dir() and any(path.iterdir()) and not (path / chosen.mark).is_file()
        )
        expected = f"a new folder, or one that holds {chosen.title} to be replaced,"
    if taken:
        raise FileExistsError(
            f"{path}: {expected} was expected. Received: something else. Choose another name"
        )
    return path


def _check_mask(model, mask, threshold, multilabel):
    """The `Mask`, or None."""
    if not mask:
        if threshold is not None or multilabel:
            raise ValueError(
                "`threshold` and `multilabel` are of the mask. Received: "
                f"threshold={threshold!r}, multilabel={multilabel!r} without one. Add mask=True"
            )
        return None
    threshold = 0.5 if threshold is None else threshold
    classes = model.output_shape[-1]
    if is_multilabel(model) and not multilabel:
        raise ValueError(
            "a model whose classes exclude each other was expected for a mask of class ids. "
            f"Received: {classes} classes that end in a sigmoid. Add multilabel=True"
        )
    # the same checks as there
    masks_from_outputs(np.zeros((1, 1, 1, classes)), threshold, multilabel=multilabel)
    return Mask(float(threshold), bool(multilabel))


def _check_probabilities(mask, cases):
    """A threshold means nothing for logits."""
    outputs = cases[0][1]
    if mask is not None and (mask.multilabel or outputs.shape[-1] == 1 or mask.threshold != 0.5):
        _checks.check_probabilities(outputs[..., :1])


@contextlib.contextmanager
def _naming_a_full_disk(path, model):
    """Has a writer that failed as the disk is full say so: each has its own words for it."""
    needed = 2 * 4 * model.count_params()  # some write the weights twice
    try:
        yield
    except RuntimeError as error:
        if shutil.disk_usage(path.parent).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise


# --- The comparison -------------------------------------------------------------------------------


def _cases(model, input_range):
    """Random images of every size and batch size, and the model's own outputs."""
    rng = np.random.default_rng(0)
    _, *fixed, channels = model.input_shape
    sizes = {
        tuple(own or free for own, free in zip(fixed, size, strict=True))
        for size in SIZES[len(fixed)]
    }
    cases = []
    for size in sorted(sizes):
        for batch in BATCHES:
            shape = (batch, *size, channels)
            image = rng.uniform(*input_range, shape).astype("float32")
            outputs = keras.ops.convert_to_numpy(model(image, training=False))
            cases.append((image, outputs.astype("float32")))
    return cases


def _report(model, path, format, backend, temporary, mask, cases, input_range, point):
    """Writes a model to a temporary path and compares."""
    images = [image for image, _ in cases]
    found = worker.written_and_run(model, format, backend, temporary, mask, images)
    differences, masks = {}, {}
    for (image, expected), outputs in zip(cases, found, strict=True):
        shape = "x".join(map(str, image.shape[:-1]))
        differences[shape] = _difference(outputs["probabilities"], expected)
        if mask is not None:
            masks[shape] = _mask_difference(outputs, mask)
    versions = _versions(backend, FORMATS[format])
    return ExportReport(
        str(path), format, backend, versions, _size(temporary), differences,
        None if mask is None else masks, TOLERANCE, input_range, class_names_of(model),
        point.to_dict(),
    )  # fmt: skip


def _difference(got, expected):
    """Largest absolute difference; of outputs above 1 (logits, say), as a share of the largest."""
    if got.shape != expected.shape:
        return float("inf")
    return float(np.abs(got - expected).max() / max(1.0, np.abs(expected).max()))


def _mask_difference(outputs, mask):
    """Pixels in which a mask is not that of the probabilities beside it."""
    expected = masks_from_outputs(
        outputs["probabilities"], mask.threshold, multilabel=mask.multilabel
    )
    got = outputs["mask"]
    return int((got != expected).sum()) if got.shape == expected.shape else expected.size


def _check_equal(report):
    if report.differing:
        listed = ", ".join(
            f"{difference:.2e} for {shape}" for shape, difference in report.differing.items()
        )
        wrong = sum((report.mask_differences or {}).values())
        masks = f"; {wrong} pixels of its masks are wrong" if wrong else ""
        raise ExportMismatch(
            f"the {report.format} at {report.path} was not written: its outputs differ from the "
            f"model's by more than {report.tolerance:.0e}: {listed}{masks}"
        )


def _size(path):
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _versions(backend, chosen):
    """Of Keras, the backend that writes, what it needs beside, and the runtime."""
    names = ("keras", backend, *chosen.writers[backend].needs, chosen.runtime)
    distributions = importlib.metadata.packages_distributions()
    found = {}
    for name in dict.fromkeys(names):
        owners = distributions.get(name, [name])
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(owners[0])
    return found


# --- Exact arithmetic -----------------------------------------------------------------------------


def _in_float32(model):
    """The model; if it computes in 16 bits, one that does in 32, with the same weights."""
    text = model.to_json()
    plain = re.sub(r'"mixed_b?float16"', '"float32"', text)
    if plain == text:
        return model
    twin = keras.models.model_from_json(plain)
    set_weights(twin, model.get_weights())
    return twin


@contextlib.contextmanager
def _full_precision():
    """Has GPUs compute in float32, where by default they round factors to 10 bits (TF32)."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        with jax.default_matmul_precision("highest"):
            yield
        return
    if backend == "torch":
        import torch

        before = torch.backends.cudnn.allow_tf32
        set_switch = functools.partial(setattr, torch.backends.cudnn, "allow_tf32")
    else:
        import tensorflow as tf

        before = tf.config.experimental.tensor_float_32_execution_enabled()
        set_switch = tf.config.experimental.enable_tensor_float_32_execution
    set_switch(False)
    try:
        yield
    finally:
        set_switch(before)
