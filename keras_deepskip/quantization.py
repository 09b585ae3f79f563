"""`quantize`: a network in 8-bit integers, as ONNX, and what that costs and gains.

Keras's own quantization leaves convolutions alone; ONNX Runtime's works on the exported graph.
"""

import dataclasses
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from keras_deepskip import _files
from keras_deepskip._checks import check_integer, require
from keras_deepskip._tables import markdown_table
from keras_deepskip.data import MaskReading, Sample, load_image, no_data
from keras_deepskip.data._decoders import declared_most
from keras_deepskip.export import FORMATS, export
from keras_deepskip.export.noted import note_export
from keras_deepskip.inference import evaluate
from keras_deepskip.inference.outputs import check_model
from keras_deepskip.inference.ranges import in_range
from keras_deepskip.models import RunLike, fill_of, input_range_of, resolve_model

ONNX = '"keras-deepskip[onnx]"'
ACTIVATIONS = ("Sigmoid", "Softmax")  # that stay in float32
LARGEST = 512  # side of the middle of an image that calibrates
TIMED, ROUNDS = 512, 15  # side of the image that is timed; how often
FIGURES = ("IoU", "object recall", "object F1")


@dataclasses.dataclass(frozen=True)
class QuantizationReport:
    """What became of a network in 8 bits.

    Attributes:
        path: the file that was written.
        calibration: number of images that it was calibrated with.
        held_out: number of images that both were evaluated on.
        bytes: size of the file, `{"float32": ..., "int8": ...}`.
        milliseconds: median of a call with one image of 512 x 512 (or of the model's own size).
        figures: by kind, `IoU`, `object recall` and `object F1` on the images held out; {} without.
        versions: of the packages.
    """

    path: str
    calibration: int
    held_out: int
    bytes: dict
    milliseconds: dict
    figures: dict
    versions: dict

    def text(self):
        """A table of both kinds, side by side."""
        return f"{self.title()}:\n\n{markdown_table(*self.table())}"

    def title(self):
        """What was compared on what, in a line."""
        return (
            f"{self.path}, calibrated with {self.calibration} images, evaluated on {self.held_out} "
            f"others, both by ONNX Runtime {self.versions['onnxruntime']}"
        )

    def table(self):
        """The headings and the rows of the table of `text`."""
        rows = []
        for kind in ("float32", "int8"):
            figures = [self.figures.get(kind, {}).get(name) for name in FIGURES]
            rows.append([kind, self.bytes[kind], round(self.milliseconds[kind], 1), *figures])
        return ["", "bytes", "ms per call", *FIGURES], rows


def quantize(
    model: keras.Model | RunLike,
    path: str | os.PathLike,
    calibration: Sequence[Sample] | None = None,
    held_out: Sequence[Sample] | None = None,
    *,
    images: int = 32,
    threshold: float | None = None,
    masks: MaskReading | None = None,
    input_range: tuple[float, float] | None = None,
) -> QuantizationReport:
    """Writes a model in 8-bit integers as ONNX, and reports what that costs and gains.

    The model is exported to ONNX and compared (`export`), then quantized by ONNX Runtime after
    training: weights per channel, maps by the range that they have on the calibration images. Input
    and output stay float32 under the same names, of any size. The report is written beside the
    file, as `PATH.quantization.json`.

    Args:
        model: a built functional `keras.Model` with probabilities as output, or a `Run`.
        path: the `.onnx` file to write.
        calibration: list of `Sample`: images as those it will see; None takes the training images
            of the run.
        held_out: list of `Sample` with masks, which neither training nor calibration has seen: what
            is lost is measured on them. None takes the test images of the run, if there is one.
        images: how many of the calibration images to take, evenly spread.
        threshold: probability above which a pixel is predicted positive; None takes the
            operating point that the model holds (see `OperatingPoint`), else 0.5.
        masks: a `MaskReading`: how the masks are read; None as in `evaluate`.
        input_range: (low, high) of the images' values; None takes that of the run, else (0, 255).

    Returns:
        A `QuantizationReport`.

    Raises:
        ValueError: if the model or an image does not fit, or there is nothing to calibrate with.
        ImportError: if ONNX or its runtime is missing.
        ExportMismatch: as `export`.

    Example:

    ```python
    print(quantize(Run.load("runs/first"), "cells.int8.onnx").text())
    ```
    """
    model, run = resolve_model(model)
    channels, _ = check_model(model)
    if run:
        calibration = run.split.train if calibration is None else calibration
        held_out = run.split.test if held_out is None else held_out
        masks, input_range = masks or run.masks, input_range or run.input_range
    path, calibration, held_out = Path(path), list(calibration or ()), list(held_out or ())
    if path.suffix != ".onnx":
        raise ValueError(f"`path` must end in .onnx. Received: path={str(path)!r}")
    if not calibration:
        raise ValueError("`calibration` must hold at least one image. Received: none")
    count = min(check_integer("images", images), len(calibration))
    chosen = [calibration[len(calibration) * index // count] for index in range(count)]
    expected = input_range or input_range_of(model)
    pixels = [_calibrating(sample, channels, model, expected) for sample in chosen]
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "float32.onnx"
        versions = export(model, plain, "onnx", expected).versions
        with _files.replacing(path) as temporary:
            _quantize_file(plain, temporary, pixels)
            files = {"float32": plain, "int8": temporary}
            runs = {kind: FORMATS["onnx"].open(file) for kind, file in files.items()}
            report = QuantizationReport(
                str(path),
                count,
                len(held_out),
                {kind: file.stat().st_size for kind, file in files.items()},
                _timed(runs, model.input_shape),
                {
                    kind: _metrics(run or model, runtime, held_out, threshold, masks)
                    for kind, runtime in runs.items()
                    if held_out
                },
                versions,
            )
    written = path.with_name(path.name + ".quantization.json")
    _files.write_json(written, dataclasses.asdict(report))
    note_export(run, written)
    return report


def _calibrating(sample, channels, model, expected):
    """The middle of an image, (1, h, w, C) float32; of a model of one size, filled up to that.

    Its values are those that the model is given of it: `in_range`, and with data everywhere.
    """
    image = in_range(load_image(sample, channels), expected, declared_most(sample.image))
    image, fixed = no_data.filled(image, fill_of(model)), model.input_shape[1:3]
    sides = [own or LARGEST for own in fixed]
    starts = [max(length - side, 0) // 2 for length, side in zip(image.shape, sides, strict=False)]
    middle = image[tuple(slice(at, at + side) for at, side in zip(starts, sides, strict=True))]
    lacking = [(0, (own or n) - n) for own, n in zip(fixed, middle.shape, strict=False)]
    return np.pad(middle, [*lacking, (0, 0)], mode="symmetric")[None].astype("float32")


def _quantize_file(plain, path, images):
    """Quantizes an ONNX file."""
    quantization = require("onnxruntime.quantization", ONNX, "quantization")
    prepare = require("onnxruntime.quantization.shape_inference", ONNX, "quantization")

    class Images(quantization.CalibrationDataReader):
        def __init__(self):
            self.left = iter(images)

        def get_next(self):
            image = next(self.left, None)
            return None if image is None else {"image": image}

    with tempfile.TemporaryDirectory() as folder:
        prepared = str(Path(folder) / "prepared.onnx")
        prepare.quant_pre_process(str(plain), prepared, skip_symbolic_shape=True)
        graph = require("onnx", ONNX, "quantization").load(prepared).graph
        quantization.quantize_static(
            prepared,
            str(path),
            Images(),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            # Probabilities in steps of 1/255 would sum to other than 1
            nodes_to_exclude=[node.name for node in graph.node if node.op_type in ACTIVATIONS],
            # 7 bits: products of 8 bits overflow on processors without VNNI instructions.
            reduce_range=True,
        )


def _timed(runs, shape):
    """Median milliseconds of a call by kind, one after the other in turns."""
    sizes = [own or TIMED for own in shape[1:3]]
    image = np.random.default_rng(0).uniform(0, 255, (1, *sizes, shape[-1])).astype("float32")
    taken = {kind: [] for kind in runs}
    for _ in range(ROUNDS):
        for kind, run in runs.items():
            start = time.perf_counter()
            run(image)
            taken[kind].append(1000 * (time.perf_counter() - start))
    return {kind: statistics.median(values[1:]) for kind, values in taken.items()}


def _metrics(model, runtime, samples, threshold, masks):
    found = evaluate(
        model,
        list(samples),
        threshold=threshold,
        masks=masks,
        predict=lambda image: runtime(image[None].astype("float32"))["probabilities"][0],
        verbose=0,
    )
    objects = found.objects["all"]
    return {
        "IoU": found.pixels["IoU"],
        "object recall": objects["recall"],
        "object F1": objects["f1"],
    }
