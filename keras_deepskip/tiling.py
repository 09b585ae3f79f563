"""Windows over an image or a volume: NumPy geometry that knows neither files nor models.

`boxes`, `windows` and `cut` serve training; `exact_spans`, `blended_spans` and `blocks` serve
inference on large images, where what windows give is put together again.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_deepskip._checks import check_choice, check_integer

BLENDS = ("gaussian", "constant")


class Window(NamedTuple):
    """A rectangle of an image, in pixels: rows `top` to `top + height`, columns likewise."""

    top: int
    left: int
    height: int
    width: int

    @property
    def box(self) -> tuple[slice, slice]:
        """The window as slices: of rows, of columns."""
        rows = slice(self.top, self.top + self.height)
        return rows, slice(self.left, self.left + self.width)


def boxes(
    shape: Sequence[int], size: int | Sequence[int], overlap: int | Sequence[int] = 0
) -> list[tuple[slice, ...]]:
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


def windows(height: int, width: int, size: int, overlap: int = 0) -> list[Window]:
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


def cut(
    array: np.ndarray, window: Window | tuple[slice, ...], size: int | Sequence[int]
) -> np.ndarray:
    """Cuts a window out of an array and fills it up to its full size by reflection.

    What is missing is added below and to the right (and in depth), so that pixel coordinates stay
    what they were. An axis of one pixel is repeated.

    Args:
        array: `(H, W)` or `(H, W, C)`; a volume `(D, H, W)` or `(D, H, W, C)` for a box of three
            slices.
        window: a `Window` inside the array, or a box as in `boxes`.
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


class Span(NamedTuple):
    """A window along one axis, and how much each of its pixels counts in the result.

    The weights of all the windows that hold a pixel sum to 1.
    """

    start: int
    stop: int
    weights: np.ndarray  # (stop - start,), float64

    @property
    def support(self) -> tuple[int, int]:
        """First pixel that counts, and the first one after the last."""
        counting = np.flatnonzero(self.weights)
        return self.start + int(counting[0]), self.start + int(counting[-1]) + 1


def exact_spans(length: int, size: int, stride: int, before: int, after: int) -> list[Span]:
    """Covers an axis with windows that give what one pass over the whole axis gives.

    Every window starts on a multiple of `stride` and is as many pixels short of one as the axis
    is, so that all of them meet strides and padding as the axis does. What a window gives counts
    where it cannot have felt a cut: `before` pixels from its start, `after` from its end, unless
    these are the axis's own ends. Each pixel counts once.

    Args:
        length: pixels of the axis.
        size: pixels of a window at most. A shorter axis has one window of its own length.
        stride: that of the network's grid, as in `analysis.grid_stride`.
        before, after: the network's receptive field, as in `analysis.receptive_field`.

    Returns:
        A list of `Span`, all of one length.

    Raises:
        ValueError: if the windows are too small for the receptive field.

    Example:

    >>> spans = exact_spans(26, size=16, stride=4, before=2, after=3)
    >>> [(span.start, span.stop, *span.support) for span in spans]
    [(0, 14, 0, 10), (8, 22, 10, 14), (12, 26, 14, 26)]
    """
    length, size = check_integer("length", length), check_integer("size", size)
    if length <= size:
        return [Span(0, length, np.ones(length))]
    largest = size - (size - length) % stride
    if largest < before + after + stride:
        raise ValueError(
            f"windows of at least {before + after + 2 * stride - 1} pixels are expected: the "
            f"receptive field ({before} pixels before and {after} after) and one step of the "
            f"network's stride ({stride}). Received: {size}"
        )

    def step(side):
        return (side - before - after) // stride * stride

    count = -(-(length - largest) // step(largest)) + 1
    # The smallest windows of which as many will do.
    sides = range(largest, before + after + stride - 1, -stride)
    side = min(side for side in sides if (count - 1) * step(side) + side >= length)
    starts = [*(index * step(side) for index in range(count - 1)), length - side]
    cuts = [0, *(start + before for start in starts[1:]), length]
    spans = []
    for start, first, last in zip(starts, cuts, cuts[1:], strict=False):
        weights = np.zeros(side)
        weights[first - start : last - start] = 1
        spans.append(Span(start, start + side, weights))
    return spans


def blended_spans(length: int, size: int, overlap: int, blend: str = "gaussian") -> list[Span]:
    """Covers an axis with overlapping windows whose results are averaged.

    Args:
        length: pixels of the axis.
        size: pixels of a window; a shorter axis has one window of its own length.
        overlap: pixels that neighbours share, less than `size`.
        blend: `"gaussian"` weighs a window's middle most (standard deviation an eighth of the
            window, as MONAI and nnU-Net have it), `"constant"` all of it alike.

    Returns:
        A list of `Span`.

    Raises:
        ValueError: if a number is out of its range.

    Example:

    >>> [s.weights.round(2).tolist() for s in blended_spans(6, size=4, overlap=2, blend="constant")]
    [[1.0, 1.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]]
    """
    check_choice("blend", blend, BLENDS)
    places = [(s.start, s.stop) for (s,) in boxes((length,), size, overlap)]
    side = places[0][1]
    offsets = (np.arange(side) - (side - 1) / 2) / (side / 8)
    # A weight of the edge that is not 0 in float32 keeps the sum of every pixel above 0.
    profile = np.ones(side) if blend == "constant" else np.maximum(np.exp(-(offsets**2) / 2), 1e-3)
    total = np.zeros(length)
    for start, stop in places:
        total[start:stop] += profile
    return [Span(start, stop, profile / total[start:stop]) for start, stop in places]


class Block(NamedTuple):
    """A part of the result that is put together and written at once.

    Attributes:
        box: slices, one for each axis: the pixels of the block.
        windows: indices, one for each axis: the windows that count in it, of each axis's spans.
    """

    box: tuple
    windows: list


def blocks(spans: Sequence[Sequence[Span]], panel: int = 16) -> list[Block]:
    """Divides what windows cover into blocks, in an order in which few results need be kept.

    Along the first axis a block reaches from where one window begins to count to where the next
    one does; along the others over the same of up to `panel` windows. The blocks of a panel follow
    each other, so that a window serves blocks in a row.

    Args:
        spans: for each axis a list of `Span`.
        panel: windows along an axis but the first.

    Returns:
        A list of `Block`; together their boxes hold every pixel once.

    Example:

    >>> rows, columns = exact_spans(20, 10, 4, 1, 1), exact_spans(9, 9, 4, 1, 1)
    >>> [(block.box[0].stop, block.windows) for block in blocks([rows, columns])]
    [(5, [(0, 0)]), (9, [(1, 0)]), (13, [(2, 0)]), (20, [(3, 0)])]
    """
    parts = [_parts(own, 1 if axis == 0 else panel) for axis, own in enumerate(spans)]
    found = []
    for *others, first in itertools.product(*parts[1:], parts[0]):
        chosen = [first, *others]
        box = tuple(slice(start, stop) for start, stop, _ in chosen)
        found.append(Block(box, list(itertools.product(*(windows for *_, windows in chosen)))))
    return found


def _parts(spans, count):
    """An axis in parts of up to `count` windows: (start, stop, the windows that count in it)."""
    supports = [span.support for span in spans]
    number = -(-len(spans) // count)  # as even as can be
    firsts = [len(spans) * part // number for part in range(number)]
    starts = [supports[first][0] for first in firsts]
    stops = [*starts[1:], spans[-1].stop]
    return [
        (start, stop, [i for i, (low, high) in enumerate(supports) if low < stop and high > start])
        for start, stop in zip(starts, stops, strict=True)
    ]


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
