"""Test-time augmentation: the mean of what a model says about an image turned and mirrored."""

import itertools

import numpy as np

from keras_deepskip import _checks

KINDS = ("flips", "flips_and_rotations")


def check_tta(kind, fixed):
    """Checks that a model's images can be turned as a kind of augmentation has it.

    Args:
        kind: as in `views`.
        fixed: the spatial axes' lengths that the model takes, None where it takes any.

    Raises:
        ValueError: if the kind is not known, or has height and width exchanged that must differ.
    """
    _checks.check_choice("tta", kind, (*KINDS, None))
    if kind == "flips_and_rotations" and (len(fixed) == 3 or fixed[0] != fixed[1]):
        raise ValueError(
            "`tta` with rotations is for images, and a model of square ones or of any size. "
            f"Received: tta={kind!r}, a model of {fixed}. Take tta='flips'"
        )


def views(kind, axes=2):
    """The ways to look at a batch of images, each with the way back.

    Args:
        kind: `"flips"` mirrors along every spatial axis (4 ways for images, 8 for volumes),
            `"flips_and_rotations"` also exchanges height and width (8, for images alone), None
            leaves images as they are.
        axes: spatial axes.

    Returns:
        A list of pairs of functions on arrays (N, H, W, C) (or (N, D, H, W, C)).

    Example:

    >>> image = np.arange(6).reshape(1, 2, 3, 1)
    >>> all((back(there(image)) == image).all() for there, back in views("flips_and_rotations"))
    True
    """
    if kind is None:
        return [(_same, _same)]
    found = []
    for sides in itertools.product((False, True), repeat=axes):
        mirrored = tuple(axis for axis, chosen in enumerate(sides, start=1) if chosen)
        found.append((_flip(mirrored), _flip(mirrored)))
        if kind == "flips_and_rotations":
            found.append((_flip_and_turn(mirrored), _turn_and_flip(mirrored)))
    return found


def _same(images):
    return images


def _flip(axes):
    return lambda images: np.flip(images, axes)


def _flip_and_turn(axes):
    return lambda images: np.flip(images, axes).swapaxes(1, 2)


def _turn_and_flip(axes):
    return lambda images: np.flip(images.swapaxes(1, 2), axes)
