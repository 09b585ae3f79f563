"""Windows over an image or a volume: NumPy geometry that knows neither files nor models."""

import itertools
from typing import NamedTuple

import numpy as np

from keras_deepskip._checks import check_integer


class Window(NamedTuple):
    """A rectangle of an image, in pixels: rows `top` to `top + height`, columns likewise."""

    top: int
    left: int
    height: int
    width: int

    @property
    def box(self):
        """The window as slices: of rows, of columns."""
        rows = slice(self.top, self.top + self.height)
        return rows, slice(self.left, self.left + self.width)


def boxes(shape, size, overlap=0):
    """Covers an image, a volume or any other array with boxes.

    Along each axis the boxes stand at steps of `size - overlap`; the last one is shifted back
    inside, so that no box leaves the array and everything is in at least one. Along an axis shorter
    than `size` there is one box of the axis's own length.

    Args:
        shape: lengths of the axes to cover, (H, W) or (D, H, W), each at least 1.
        size: side of a box in pixels: one number, or one for each axis.
        overlap: pixels that neighbours share, less than `size`: one number, or one for each axis.

    Returns:
        A list of tuples of slices, one slice for each axis; the last axis runs fastest.

    Raises:
        ValueError: if a number is out of its range.

    Example:

    >>> [[(s.start, s.stop) for s in box] for box in boxes((2, 3, 6), size=(2, 4, 4))]
    [[(0, 2), (0, 3), (0, 4)], [(0, 2), (0, 3), (2, 6)]]
    """
    lengths = [check_integer("shape", length) for length in shape]
    sizes = _for_each_axis("size", size, len(lengths), minimum=1)
    overlaps = _for_each_axis("overlap", overlap, len(lengths), minimum=0)
    if any(own >= side for own, side in zip(overlaps, sizes, strict=True)):
        raise ValueError(
            f"`overlap` must be less than `size`. Received: overlap={overlap}, size={size}"
        )
    along = [
        [slice(start, start + min(side, length)) for start in _starts(length, side, side - own)]
        for length, side, own in zip(lengths, sizes, overlaps, strict=True)
    ]
    return list(itertools.product(*along))


def windows(height, width, size, overlap=0):
    """Covers an image with square windows.

    They stand as `boxes` do: on a grid of step `size - overlap`, the last of a row or column
    shifted back inside. An image smaller than `size` gets one window of its own height (or width).

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
    shape = check_integer("height", height), check_integer("width", width)
    size, overlap = check_integer("size", size), check_integer("overlap", overlap, minimum=0)
    return [
        Window(rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start)
        for rows, columns in boxes(shape, size, overlap)
    ]


def cut(array, window, size):
    """Cuts a window out of an array and fills it up to its full size by reflection.

    What is missing is added below and to the right (and behind), so that pixel coordinates stay
    what they were. An axis of one pixel is repeated.

    Args:
        array: `(H, W)` or `(H, W, C)`; a volume `(D, H, W)` or `(D, H, W, C)` for a box of three
            slices.
        window: a `Window` inside the array, or a box as of `boxes`.
        size: side of the result in pixels, at least the window's: one number, or one for each axis
            of the window.

    Returns:
        `(size, size)`, `(size, size, C)` and so on, of the array's dtype. A view if nothing was
        added.

    Raises:
        ValueError: if the window leaves the array or is larger than `size`.

    Example:

    >>> cut(np.array([[1, 2, 3]]), Window(0, 0, 1, 3), size=4)[0].tolist()
    [1, 2, 3, 2]
    """
    box = window.box if isinstance(window, Window) else tuple(window)
    ends = zip(box, array.shape, strict=False)
    if len(box) > array.ndim or any(s.start < 0 or s.stop > length for s, length in ends):
        raise ValueError(
            f"`window` must lie inside the array. Received: window={tuple(window)}, "
            f"array of shape {array.shape}"
        )
    sizes = _for_each_axis("size", size, len(box), minimum=1)
    missing = [side - (s.stop - s.start) for side, s in zip(sizes, box, strict=True)]
    if min(missing) < 0:
        raise ValueError(
            f"`size` must be at least the window's. Received: size={size}, window={tuple(window)}"
        )
    piece = array[box]
    if not any(missing):
        return piece
    padding = [(0, count) for count in missing] + [(0, 0)] * (array.ndim - len(box))
    return np.pad(piece, padding, mode="reflect")


def _for_each_axis(name, value, axes, minimum):
    """Whole numbers for each axis, given as such or as one for all."""
    values = list(value) if isinstance(value, list | tuple) else [value] * axes
    if len(values) != axes:
        raise ValueError(
            f"`{name}` must be one number, or one for each of {axes} axes. Received: {name}={value}"
        )
    return [check_integer(name, each, minimum) for each in values]


def _starts(length, size, step):
    """First pixels of the windows along one axis."""
    last = max(length - size, 0)
    return [*range(0, last, step), last]
