"""What the tests of the main job share: a tiny set, a tiny run on it, models known by heart.

Each is made once a session, when it is first asked for; nobody may change it.
"""

import atexit
import dataclasses
import functools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np

from keras_deepskip.data import sample, write_png
from keras_deepskip.training import Recipe, train

ROOT = Path(__file__).resolve().parent.parent
RECIPE = Recipe(epochs=3, steps_per_epoch=2, batch_size=2, crop_size=32, validation_windows=4)
MODEL = {"levels": 2, "base_filters": 2, "dropout": 0.2}


@functools.cache
def scratch():
    """A folder that is removed when the tests end."""
    folder = Path(tempfile.mkdtemp(prefix="keras_deepskip_tests_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def data():
    """Eight synthetic scenes of 48 x 48."""
    return sample(scratch() / "data", images=8, height=48, width=48, count=(1, 3), size=(6, 16))


@functools.cache
def run():
    """A `Run` of three epochs of two steps, not interrupted."""
    keep = keras.callbacks.LambdaCallback(
        on_train_begin=lambda logs: initial_weights.extend(keep.model.get_weights())
    )
    return train(data(), scratch() / "run", RECIPE, callbacks=[keep], verbose=0, **MODEL)


initial_weights = []  # those that the run begins with, once it was made


def quick_jax():
    """Has JAX compile each program once a session, for this process and those it starts."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        import jax

        settings = {
            "jax_compilation_cache_dir": str(scratch() / "jax"),
            "jax_persistent_cache_min_compile_time_secs": 0,
            "jax_persistent_cache_min_entry_size_bytes": -1,
        }
        for name, value in settings.items():
            jax.config.update(name, value)
            os.environ[name.upper()] = str(value)


if keras.backend.backend() == "jax":
    quick_jax()


def python(code, *arguments, backend=None, **environment):
    """Runs Python code in a process of its own, which must end well; returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environ(backend, **environment), cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def free_port():
    """A port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def environ(backend=None, **environment):
    """The environment of such a process."""
    backend = backend or keras.backend.backend()
    return {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", **environment}


@functools.cache
def bright_model(channels=1):
    """A model that calls what is brighter than 128 (the sum of channels v: s(v - 128 C - 1/2))."""
    inputs = keras.Input((None, None, channels))
    outputs = keras.layers.Conv2D(1, 1, activation="sigmoid")(inputs)
    model = keras.Model(inputs, outputs)
    model.set_weights([np.ones((1, 1, channels, 1)), np.array([-128.0 * channels - 0.5])])
    return model


@functools.cache
def grey_level_model():
    """A model of three classes: 0 up to a value of 64, 1 up to 192, 2 above."""
    inputs = keras.Input((None, None, 1))
    outputs = keras.layers.Conv2D(3, 1, activation="softmax")(inputs)
    model = keras.Model(inputs, outputs)
    # Of the lines 0, v - 64 and 2 v - 256, the largest changes at 64 and at 192.
    model.set_weights([np.array([[[[0.0, 1.0, 2.0]]]]), np.array([0.0, -64.0, -256.0])])
    return model


@functools.cache
def first_run():
    """The folder of a run of one epoch without dropout, made by the command line."""
    from keras_deepskip import cli

    out = scratch() / "first_run"
    command = ["train", "--data", str(data()), "--out", str(out)]
    recipe = dataclasses.replace(RECIPE, epochs=1, patience=None)
    assert cli.main([*command, *flags(recipe, {**MODEL, "dropout": 0.0})]) == 0
    return out


def put(folder, name, image, mask=None):
    """Writes an image, and its mask if there is one, as a data folder has them."""
    write_png(folder / "images" / f"{name}.png", np.asarray(image, "uint8"))
    if mask is not None:
        write_png(folder / "masks" / f"{name}.png", np.asarray(mask, "uint8"))


def leftovers(folder):
    """Hidden files and folders below a folder: what a broken write would have left."""
    return [path for path in Path(folder).rglob(".*")]


def flags(recipe=RECIPE, model=None):
    """A recipe and the model's options as the command line has them."""
    found = []
    for name, value in {**recipe.to_dict(), **(MODEL if model is None else model)}.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            found.append(f"--{flag}" if value else f"--no-{flag}")
        elif value is not None or name == "patience":  # None of others is what no flag says
            found += [f"--{flag}", str(value)]
    return found
