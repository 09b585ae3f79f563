"""Writes a model and runs what was written: in this process, or in one under another backend."""

import dataclasses
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np

from keras_deepskip._processes import CPU_ONLY, child_environment
from keras_deepskip.export.formats import FORMATS
from keras_deepskip.export.writers import Mask
from keras_deepskip.models import load_model

TIMEOUT = 3600  # seconds for the second process, which has to be an error some time
MAIN = "from keras_deepskip.export.other_backend import main; main()"


def written_and_run(model, format, backend, path, mask, images):
    """Writes a model under a backend and runs the result by its own runtime.

    Args:
        model: a built `keras.Model` of float32.
        format: a name in `FORMATS`.
        backend: one of the format's.
        path: a `Path`, where to write.
        mask: a `Mask`, or None.
        images: list of arrays (N, H, W, C).

    Returns:
        A list of dicts of arrays: the outputs by name, for each image.

    Raises:
        RuntimeError: if the writing or the running fails.
    """
    if backend != keras.backend.backend() or _on_accelerator():
        return _elsewhere(model, format, backend, path, mask, images)
    try:
        return write_and_run(model, format, path, mask, images)
    except Exception as error:  # converters raise what they like
        raise RuntimeError(
            f"{FORMATS[format].title} could not be written or run under the {backend} backend; "
            f"nothing was kept. It said: {type(error).__name__}: {_end_of(str(error))}"
        ) from error


def write_and_run(model, format, path, mask, images):
    """As `written_and_run`, in this process and under the backend in use."""
    chosen = FORMATS[format]
    chosen.writers[keras.backend.backend()].write(model, path, mask)
    run = chosen.open(path)
    return [run(image) for image in images]


def _on_accelerator():
    """Whether what PyTorch writes here would be bound to a GPU."""
    return keras.backend.backend() == "torch" and keras.ops.zeros(()).device.type != "cpu"


def _elsewhere(model, format, backend, path, mask, images):
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        model.save(scratch / "model.keras")
        np.savez(scratch / "images.npz", *images)
        mask = None if mask is None else dataclasses.asdict(mask)
        job = {"format": format, "path": str(path.absolute()), "mask": mask}
        (scratch / "job.json").write_text(json.dumps(job), encoding="utf-8")
        _run_process(scratch, FORMATS[format].title, backend)
        found = [{} for _ in images]
        with np.load(scratch / "outputs.npz") as outputs:
            for key in outputs.files:
                index, name = key.split(" ")
                found[int(index)][name] = outputs[key]
        return found


def _run_process(scratch, title, backend):
    environment = child_environment(backend, **CPU_ONLY)  # a GPU's memory is the first process's
    command = [sys.executable, "-c", MAIN, str(scratch)]
    failure = f"the process that writes {title} under the {backend} backend"
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"{failure} took more than {TIMEOUT} s; nothing was kept") from error
    if done.returncode:
        raise RuntimeError(
            f"{failure} ended with status {done.returncode}; nothing was kept. It said:\n"
            f"{_end_of(done.stderr)}"
        )


def _end_of(text, lines=20):
    return "\n".join(text.strip()[-4000:].splitlines()[-lines:])


def main():
    """The second process: reads what `_elsewhere` left in the folder that is its argument."""
    scratch = Path(sys.argv[1])
    job = json.loads((scratch / "job.json").read_text(encoding="utf-8"))
    with np.load(scratch / "images.npz") as stored:
        images = [stored[name] for name in stored.files]
    model = load_model(scratch / "model.keras")
    mask = None if job["mask"] is None else Mask(**job["mask"])
    found = write_and_run(model, job["format"], Path(job["path"]), mask, images)
    outputs = {
        f"{index} {name}": array
        for index, arrays in enumerate(found)
        for name, array in arrays.items()
    }
    np.savez(scratch / "outputs.npz", **outputs)
