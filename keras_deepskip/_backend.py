"""Says which backend to choose where Keras's own is not installed."""

import importlib.util
import os

BACKENDS = ("tensorflow", "jax", "torch")


def import_keras():
    """Imports Keras.

    Raises:
        ModuleNotFoundError: if the backend that Keras is set to is not installed; it names those
            that are, and what to do.
    """
    try:
        import keras  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name not in BACKENDS:
            raise
        raise ModuleNotFoundError(_text(error.name), name=error.name) from None


def _text(missing):
    chosen = os.environ.get("KERAS_BACKEND")
    why = f"KERAS_BACKEND={chosen}" if chosen else "KERAS_BACKEND is not set"
    there = [
        name for name in BACKENDS if name != missing and importlib.util.find_spec(name) is not None
    ]
    if there:
        fix = (
            f"Installed: {', '.join(there)}. Set KERAS_BACKEND={there[0]} in the shell, or in "
            "os.environ before Keras is imported"
        )
    else:
        fix = f'Install one: pip install "keras-deepskip[{missing}]"'
    return f"Keras is set to the backend {missing} ({why}), which is not installed. {fix}"
