"""`export`: a model as a file that runs without Keras, compared with the model before it counts.

The writing needs TensorFlow. Under another backend the model is saved, and a second Python process
under the TensorFlow backend reloads and writes it; the comparison is always with the outputs of the
model at hand, under the backend at hand.
"""

import contextlib
import dataclasses
import functools
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np

from keras_deepskip import _checks, _files
from keras_deepskip.folding import fold_batch_norm
from keras_deepskip.layers.copying import set_weights

FORMATS = ("saved_model",)
TOLERANCE = 1e-5
# What is compared, by spatial axes: of images, of volumes. All but the first are no multiple of any
# stride.
SIZES = {
    2: ((64, 64), (45, 83), (130, 31)),
    3: ((16, 16, 16), (9, 17, 21), (33, 7, 10)),
}
BATCHES = (1, 3)


@dataclasses.dataclass(frozen=True)
class ExportReport:
    """How far the exported file is from the model.

    Attributes:
        path: what was written.
        format: `"saved_model"`.
        differences: largest difference by `"NxHxW"` (volumes: `"NxDxHxW"`) of the input; of outputs
            above 1, as a share of the largest.
        tolerance: what none may exceed.
    """

    path: str
    format: str
    differences: dict
    tolerance: float

    @property
    def differing(self):
        """The differences that exceed the tolerance."""
        return {
            shape: difference
            for shape, difference in self.differences.items()
            if not difference <= self.tolerance  # NaN is no match either
        }

    def text(self):
        """A line for each size that was compared."""
        lines = [f"{self.path} ({self.format}) against Keras, largest difference:"]
        lines += [f"  {shape}: {value:.1e}" for shape, value in self.differences.items()]
        return "\n".join([*lines, f"  all within {self.tolerance:.0e}"])


class ExportMismatch(ArithmeticError):
    """The exported file does not compute what the model does."""


def export(model, path, format="saved_model", input_range=(0, 255)):
    """Writes a model in a format that runs without Keras, and proves it equal.

    The SavedModel takes `image`, float32 (N, H, W, C) of any N, H and W, raw as the model itself
    takes it (its normalization is inside), and gives `probabilities` (N, H, W, classes); of a model
    for volumes, both have D before H. Batch norms are folded into the convolutions
    (`keras_deepskip.fold_batch_norm`), unless that alone rounds too much. The file is loaded back
    by `tf.saved_model.load`, run at three sizes and two batch sizes and compared with the model;
    only then it takes its name. The comparison is written beside it, as `PATH.export.json`. A model
    with a mixed dtype policy is exported, and compared, as what it is in float32: 16-bit arithmetic
    rounds in its own way on each backend.

    Args:
        model: a built functional `keras.Model`, with one input and one output. Under another
            backend than TensorFlow it is saved and loaded by another process, so layers of your
            own must be registered by a module that it can import.
        path: folder to write; an older SavedModel there is replaced when the new one is proven.
        format: `"saved_model"`.
        input_range: (low, high) of the random images that are compared.

    Returns:
        An `ExportReport`.

    Raises:
        ImportError: if TensorFlow is not installed.
        FileExistsError: if there is a file at `path`, or a folder that is no SavedModel.
        ExportMismatch: if an output differs by more than 1e-5; what was at `path` stays.
        RuntimeError: if the process that writes it fails.

    Example:

    ```python
    report = export(model, "cells_saved_model")
    found = tf.saved_model.load("cells_saved_model").serve(image=images)["probabilities"]
    ```
    """
    _checks.check_choice("format", format, FORMATS)
    _check_tensorflow_installed()
    path = Path(path)
    _check_replaceable(path)
    model = _in_float32(model)
    with _full_precision(), _files.replacing_folder(path) as temporary:
        cases = _cases(model, input_range)
        # Folding rounds anew: a deep model for which that is too much is written as it is.
        for candidate in (fold_batch_norm(model), model):
            report = _report(candidate, path, format, temporary, cases)
            if not report.differing:
                break
        _check_equal(report)
    _files.write_json(path.with_name(path.name + ".export.json"), dataclasses.asdict(report))
    return report


def _check_tensorflow_installed():
    from importlib.util import find_spec

    if find_spec("tensorflow") is None:
        raise ImportError(
            "writing a SavedModel needs TensorFlow, whatever the backend. Install it with: "
            'pip install "keras-deepskip[tensorflow]"'
        )


def _check_replaceable(path):
    """Nothing but an older SavedModel (or an empty folder) may be replaced."""
    if path.is_file() or (path.is_dir() and any(path.iterdir()) and not _is_saved_model(path)):
        raise FileExistsError(
            f"{path}: a new folder, or one that holds a SavedModel to be replaced, was wanted. "
            "Received: something else. Choose another name"
        )


def _is_saved_model(path):
    return (path / "saved_model.pb").is_file()


def _difference(got, wanted):
    """Largest absolute difference; of outputs above 1 (logits, say), as a share of the largest."""
    return float(np.abs(got - wanted).max() / max(1.0, np.abs(wanted).max()))


def _report(model, path, format, folder, cases):
    """Writes a model to a folder and compares."""
    written = _written_from(model, folder, [image for image, _ in cases])
    differences = {
        "x".join(map(str, image.shape[:-1])): _difference(got, wanted)
        for (image, wanted), got in zip(cases, written, strict=True)
    }
    return ExportReport(str(path), format, differences, TOLERANCE)


def _check_equal(report):
    if report.differing:
        listed = ", ".join(
            f"{difference:.2e} for {shape}" for shape, difference in report.differing.items()
        )
        raise ExportMismatch(
            f"the {report.format} at {report.path} was not written: its outputs differ from the "
            f"model's by more than {report.tolerance:.0e}: {listed}"
        )


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


def _written_from(model, folder, images):
    """Writes the SavedModel under the TensorFlow backend; returns its outputs for the images."""
    if keras.backend.backend() == "tensorflow":
        return _write_saved_model(model, folder, images)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        model.save(scratch / "model.keras")
        np.savez(scratch / "images.npz", *images)
        _run_under_tensorflow(scratch, folder)
        with np.load(scratch / "outputs.npz") as outputs:
            return [outputs[name] for name in outputs.files]


def _run_under_tensorflow(scratch, folder):
    environment = {
        **os.environ,
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",  # the memory of a GPU is the first process's
    }
    root = str(Path(__file__).resolve().parent.parent)
    paths = [root, environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    command = [sys.executable, "-m", "keras_deepskip.export", str(scratch), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(
            "the process that writes the SavedModel under the TensorFlow backend ended with status "
            f"{done.returncode}; nothing was written. It said:\n{done.stderr[-4000:]}"
        )


def _write_saved_model(model, folder, images):
    """Writes a SavedModel (TensorFlow backend), loads it back and returns its outputs."""
    import tensorflow as tf

    signature = [tf.TensorSpec([None, *model.input_shape[1:]], tf.float32, name="image")]

    def serve(image):
        return {"probabilities": model(image, training=False)}

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", serve, signature)
    archive.write_out(str(folder), verbose=False)
    loaded = tf.saved_model.load(str(folder))
    run = loaded.signatures["serving_default"]
    return [run(image=tf.constant(image))["probabilities"].numpy() for image in images]


def _main(scratch, folder):
    """The second process: reads what `_written_from` left in `scratch`."""
    scratch = Path(scratch)
    with np.load(scratch / "images.npz") as stored:
        images = [stored[name] for name in stored.files]
    model = keras.models.load_model(scratch / "model.keras")
    np.savez(scratch / "outputs.npz", *_write_saved_model(model, Path(folder), images))


if __name__ == "__main__":
    import keras_deepskip  # noqa: F401  (registers the layers)

    _main(*sys.argv[1:])
