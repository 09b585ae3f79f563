"""Argument checks, and the wording of errors: what was expected, what was received, the fix."""

import difflib
import importlib
import numbers

import numpy as np


def require(module, pip, why):
    """Imports an optional package, or says which pip line brings it.

    Args:
        module: the dotted name to import.
        pip: what follows `pip install` to get it.
        why: what the package is needed for, in a few words.

    Raises:
        ImportError: if the package cannot be imported.

    Example:

    >>> require("math", "nothing", "square roots").sqrt(4.0)
    2.0
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{why} needs the package `{module.partition('.')[0]}`, which could not be imported "
            f"({error}). Install it with: pip install {pip}"
        ) from error


def check_choice(name, value, options):
    """Returns `value` if it is one of `options`; else lists them, and the nearest one."""
    if value in options:
        return value
    listed = ", ".join(repr(option) for option in options)
    near = difflib.get_close_matches(str(value), [str(option) for option in options], n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"`{name}` must be one of {listed}. Received: {name}={value!r}.{hint}")


def check_integer(name, value, minimum=1, odd=False):
    """Returns `value` as an int if it is a whole number from `minimum` on (and odd if asked)."""
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if whole and value >= minimum and (value % 2 == 1 or not odd):
        return int(value)
    kind = "an odd integer" if odd else "an integer"
    raise ValueError(f"`{name}` must be {kind} of at least {minimum}. Received: {name}={value!r}")


def check_integers(name, values, minimum=1):
    """Returns `values` as a list of ints if they are whole numbers from `minimum` on."""
    if not np.iterable(values):
        raise ValueError(f"`{name}` must be a list of integers. Received: {name}={values!r}")
    return [check_integer(name, value, minimum) for value in values]


def check_number(name, value, low, high, open_high=False):
    """Returns `value` as a float if it lies in [low, high] (or [low, high) with `open_high`)."""
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if number and low <= value and (value < high or (value == high and not open_high)):
        return float(value)
    bracket = ")" if open_high else "]"
    raise ValueError(
        f"`{name}` must be a number in [{low:g}, {high:g}{bracket}. Received: {name}={value!r}"
    )


def check_probabilities(outputs):
    """Checks that the outputs of a model are probabilities.

    Args:
        outputs: array (..., K); of K > 1 classes they must sum to 1.

    Raises:
        ValueError: if they are not; NaN is no probability either.
    """
    outputs = np.asarray(outputs)
    expected = "probabilities in [0, 1]"
    fits = 0 <= outputs.min() and outputs.max() <= 1
    if outputs.shape[-1] > 1:
        expected += " that sum to 1 over the classes, for masks of one class a pixel"
        fits = fits and np.abs(outputs.sum(axis=-1) - 1).max() < 0.02
    if not fits:
        raise ValueError(
            f"expected a model whose outputs are {expected}. Received: outputs from "
            f"{outputs.min():g} to {outputs.max():g}, shape {outputs.shape}. A model of logits "
            "needs its activation (a sigmoid for one class, a softmax for several); of a "
            "multilabel one, take `model.predict` and the metrics with multilabel=True"
        )
