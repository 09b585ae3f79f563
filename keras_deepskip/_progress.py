"""Progress of long work: a bar on a terminal and in notebooks, a line at the end elsewhere."""

import sys

import keras


def resolve_verbose(verbose="auto"):
    """Returns Keras's `verbose`: `"auto"` is 1, a bar, where one can be redrawn; else 2, lines.

    Example:

    >>> resolve_verbose(0)
    0
    """
    if verbose != "auto":
        return verbose
    redraws = sys.stdout is not None and sys.stdout.isatty()
    return 1 if redraws or "ipykernel" in sys.modules else 2


def say(text):
    """Writes a line about the progress of long work."""
    sys.stdout.write(f"{text}\n")


def progress_bar(total, verbose="auto", unit="image"):
    """Returns a `keras.utils.Progbar` of `total` steps; see `resolve_verbose`.

    Args:
        total: number of steps; None if it is not known.
        verbose: 0 shows nothing, 1 a bar, 2 one line at the end; `"auto"` chooses.
        unit: what one step is.
    """
    return keras.utils.Progbar(total, verbose=resolve_verbose(verbose), unit_name=unit)
