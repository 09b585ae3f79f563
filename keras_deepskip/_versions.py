"""Versions: of this package, and of what a result was made with."""

import contextlib
import importlib
import platform
import sys
from importlib import metadata

__version__ = "0.1.0"
PACKAGES = ("keras", "numpy", "tensorflow", "jax", "torch")


def versions():
    """Returns what a result is made with here: package, Python, platform, backend, libraries.

    Example:

    >>> versions()["keras_deepskip"] == keras_deepskip.__version__
    True
    """
    import keras  # here, so that the version alone needs no backend

    found = {}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    backend = keras.backend.backend()
    # It may be installed under another name, such as tensorflow-cpu.
    found.setdefault(backend, importlib.import_module(backend).__version__)
    return {
        "keras_deepskip": __version__,
        "python": platform.python_version(),
        "platform": f"{sys.platform} {platform.machine()}",
        "backend": backend,
        **found,
    }
