"""The console script `keras-deepskip`: a quiet start, before the package loads a backend.

It is outside the package, because importing anything of the package runs its `__init__`. While this
module is loaded, that leaves out what needs a backend, so that `--help` and `--version` are quick.
"""

import importlib.util
import logging
import os
import re
import sys
import tempfile

# What TensorFlow and JAX print when they are loaded, on machines without a GPU too.
LEVELS = {"TF_CPP_MIN_LOG_LEVEL": "3", "GLOG_minloglevel": "2", "GRPC_VERBOSITY": "ERROR"}
NOISE = re.compile(rb"WARNING: All log messages before absl|[IWE]\d{4} \d\d")
NEEDS_NO_BACKEND = ("-h", "--help", "--version")


def main():
    """Runs `keras_deepskip.cli.main` with the backend's log lines off, unless the user set them."""
    needs_backend = len(sys.argv) > 1 and sys.argv[1] not in NEEDS_NO_BACKEND
    if "TF_CPP_MIN_LOG_LEVEL" not in os.environ:
        _silence()
        if needs_backend:
            _load_backend_quietly()
    from keras_deepskip._backend import BACKENDS, import_keras
    from keras_deepskip.cli import main

    try:
        if needs_backend:
            import_keras()
    except ModuleNotFoundError as error:
        if error.name not in BACKENDS:
            raise
        print(f"keras-deepskip: {error}", file=sys.stderr)
        return 1
    return main()


def _silence():
    """Has the backends log errors alone."""
    for name, value in LEVELS.items():
        os.environ.setdefault(name, value)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of each new image size


def _load_backend_quietly():
    """Imports Keras, and keeps the log lines that no level silences off the standard error."""
    if importlib.util.find_spec("keras") is None:
        return  # the command says what is missing
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as lines:
        os.dup2(lines.fileno(), 2)
        try:
            import keras

            keras.ops.zeros(1)  # devices are looked for when the first array is made
            # Whatever the backend, Keras loads TensorFlow to write a configuration, if it is there.
            keras.saving.serialize_keras_object(keras.initializers.Zeros())
        except ImportError:
            pass  # the command will raise it again, where it is reported
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            lines.seek(0)
            for line in lines:
                if not NOISE.match(line):
                    os.write(2, line)
