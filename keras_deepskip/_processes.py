"""Processes that this package starts, and the memory that a process has needed."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # the folder that holds the package
JAX_THREADS = "NPROC"  # XLA's pools on a CPU
THREADS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", JAX_THREADS)
# Each process takes of a GPU's memory what it needs; else the first one takes nearly all.
GPU_SHARING = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
CPU_ONLY = {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu", "KERAS_TORCH_DEVICE": "cpu"}


def child_environment(backend, threads=None, **variables):
    """Returns the environment of a process that imports this package.

    Args:
        backend: the Keras backend that it starts with.
        threads: most threads of its numerical libraries; None leaves it to them.
        **variables: further ones, such as those of `GPU_SHARING` or `CPU_ONLY`.

    Example:

    >>> child_environment("jax")["KERAS_BACKEND"]
    'jax'
    """
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "KERAS_BACKEND": backend,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        **(dict.fromkeys(THREADS, str(threads)) if threads else {}),
        **variables,
    }


def use_threads(count):
    """Has the backend compute with so many threads in this process, as far as it still can be told.

    TensorFlow and JAX make their threads when they first compute; after that they keep them.
    """
    import keras

    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        torch.set_num_threads(count)
    elif backend == "tensorflow":
        import tensorflow as tf

        with contextlib.suppress(RuntimeError):  # it has begun
            tf.config.threading.set_intra_op_parallelism_threads(count)
            tf.config.threading.set_inter_op_parallelism_threads(count)
    else:
        os.environ[JAX_THREADS] = str(count)


def start_process(module, *arguments, environment, **streams):
    """Starts `python -m module` in a session of its own.

    An interrupt from the keyboard then reaches the calling process alone, which ends the others.

    Args:
        module: dotted name of the module.
        *arguments: its command line.
        environment: as `child_environment` returns it.
        **streams: further arguments of `subprocess.Popen`, such as `stdout`.

    Returns:
        The `subprocess.Popen`; `end_process_group` ends it.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, start_new_session=True, **streams)


def end_process_group(process):
    """Kills a process of `start_process` and all processes that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def peak_memory():
    """Most bytes of memory that this process has had; None where the system does not report it.

    Example:

    >>> peak_memory() is None or peak_memory() > 0
    True
    """
    try:
        import resource
    except ImportError:  # Windows
        return None
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found if sys.platform == "darwin" else found * 1024
