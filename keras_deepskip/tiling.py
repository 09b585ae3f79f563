"""Windows over an image: NumPy geometry that knows neither files nor models."""

from typing import NamedTuple

import numpy as np

from keras_deepskip._checks import check_integer


class Window(NamedTuple):
    """A rectangle of an image, in pixels: rows `top` to `top + height`, columns likewise."""

    top: int
    left: int
    height: int
    width: int


def windows(height, width, size, overlap=0):
    """Covers an image with square windows.

    The windows stand on a grid of step `size - overlap`; the last of a row or column is shifted
    back inside, so that no window leaves the image and every pixel is in at least one. An image
    smaller than `size` gets one window of its own height (or width).

    Args:
        height: rows of the image, at least 1.
        width: columns of the image, at least 1.
        size: side of a window in pixels.
        overlap: pixels that neighbours share, less than `size`.

    Returns:
        A list of `Window`, row by row.

    Raises:
        ValueError: if a number is out of its range.

    Example:

    >>> [window.left for window in windows(4, 10, size=4)]
    [0, 4, 6]
    """
    height, width = check_integer("height", height), check_integer("width", width)
    size, overlap = check_integer("size", size), check_integer("overlap", overlap, minimum=0)
    if overlap >= size:
        raise ValueError(
            f"`overlap` must be less than `size`. Received: overlap={overlap}, size={size}"
        )
    return [
        Window(top, left, min(size, height), min(size, width))
        for top in _starts(height, size, size - overlap)
        for left in _starts(width, size, size - overlap)
    ]


def cut(array, window, size):
    """Cuts a window out of an array and fills it up to `size` x `size` by reflection.

    What is missing is added below and to the right, so that pixel coordinates stay what they were.
    An axis of one pixel is repeated.

    Args:
        array: `(H, W)` or `(H, W, C)`.
        window: a `Window` inside the array.
        size: side of the result in pixels, at least the window's height and width.

    Returns:
        `(size, size)` or `(size, size, C)`, of the array's dtype. A view if nothing was added.

    Raises:
        ValueError: if the window leaves the array or is larger than `size`.

    Example:

    >>> cut(np.array([[1, 2, 3]]), Window(0, 0, 1, 3), size=4)[0].tolist()
    [1, 2, 3, 2]
    """
    top, left, height, width = window
    bottom, right = top + height, left + width
    if min(top, left) < 0 or bottom > array.shape[0] or right > array.shape[1]:
        raise ValueError(
            f"`window` must lie inside the array. Received: window={tuple(window)}, "
            f"array of shape {array.shape}"
        )
    if max(height, width) > size:
        raise ValueError(
            f"`size` must be at least the window's. Received: size={size}, window={tuple(window)}"
        )
    piece = array[top:bottom, left:right]
    if height == width == size:
        return piece
    padding = [(0, size - height), (0, size - width)] + [(0, 0)] * (array.ndim - 2)
    return np.pad(piece, padding, mode="reflect")


def _starts(length, size, step):
    """First pixels of the windows along one axis."""
    last = max(length - size, 0)
    return [*range(0, last, step), last]
