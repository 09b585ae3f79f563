"""Polygons of COCO: the forms in which tools write them, their sizes, and their pixels."""

import dataclasses
import itertools

import numpy as np

from keras_deepskip.data._limits import max_pixels

OUTLINE_SHARE = 16  # an outline is at most a pixel long for each so many pixels that are read
LEAST = 6  # numbers of an outline: three points
FLAT = 1e-6  # pixels by which points on one line may deviate from it
BATCH = 2**20  # pixels: the length of outlines that are rasterized in one call


def outlines_of(segmentation):
    """The outlines of a `segmentation` that is a list, each a flat list `[x, y, x, y, ...]`.

    They are a list of flat lists; tools also write one flat list, or points as pairs.

    Raises:
        ValueError: if it is none of these.
    """
    if segmentation and not isinstance(segmentation[0], list):
        return [segmentation]
    if not all(isinstance(outline, list) for outline in segmentation):
        raise ValueError("lists of coordinates are not mixed with single ones")
    pairs = all(len(outline) == 2 for outline in segmentation)
    if pairs and len(segmentation) >= LEAST // 2 and not isinstance(segmentation[0][0], list):
        return [[number for point in segmentation for number in point]]
    return [
        [number for point in outline for number in point]
        if outline and isinstance(outline[0], list)
        else outline
        for outline in segmentation
    ]


@dataclasses.dataclass(frozen=True)
class Outlines:
    """Many outlines, measured together.

    Attributes:
        points: `(P, 2)` float64, `(x, y)`, one outline after the other.
        first: where each begins in `points`.
        sizes: the number of points of each.
    """

    points: np.ndarray
    first: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of(cls, outlines):
        """Takes flat lists of at least `LEAST` numbers.

        Raises:
            TypeError, ValueError: if one holds other things than numbers, or an odd number of them.
        """
        lengths = np.array([len(outline) for outline in outlines], np.int64)
        if (lengths % 2).any():
            raise ValueError("an outline has x and y of each point, an even number of numbers")
        numbers = itertools.chain.from_iterable(outlines)
        points = np.fromiter(numbers, np.float64, int(lengths.sum())).reshape(-1, 2)
        sizes = lengths // 2
        return cls(points, np.cumsum(sizes) - sizes, sizes)

    def lengths(self):
        """Pixels of each outline and of the way to it, as pycocotools lists them; NaN if it is."""
        if not len(self.sizes):
            return np.zeros(0)
        with np.errstate(over="ignore", invalid="ignore"):
            steps = np.abs(self.points[self._next()] - self.points).max(axis=1)
            way = np.abs(self.points[self.first]).max(axis=1)
            return np.add.reduceat(steps, self.first) + way

    def boxes(self):
        """Least and greatest x and y of each, `(N, 2)` and `(N, 2)`."""
        if not len(self.sizes):
            return np.zeros((0, 2)), np.zeros((0, 2))
        lows = np.minimum.reduceat(self.points, self.first)
        return lows, np.maximum.reduceat(self.points, self.first)

    def areas(self):
        """The area of each; where an outline crosses itself, parts of it count against others."""
        if not len(self.sizes):
            return np.zeros(0)
        with np.errstate(over="ignore", invalid="ignore"):
            x, y = (self.points - np.repeat(self.points[self.first], self.sizes, axis=0)).T
            after = self._next()
            return np.abs(np.add.reduceat(x * y[after] - x[after] * y, self.first)) / 2

    def are_lines(self):
        """Which of them lie on a line or a point, and so have no area."""
        lines = self.areas() <= FLAT
        for index in np.flatnonzero(lines):  # a figure of eight has an inside all the same
            lines[index] = _is_line(self.flat(index).reshape(-1, 2))
        return lines

    def flat(self, index):
        """One outline as a flat array."""
        first = self.first[index]
        return self.points[first : first + self.sizes[index]].ravel()

    def codes(self, coco, height, width):
        """The pixels inside each as packed RLE, by pycocotools' rule on the whole image.

        Moved into their boxes, outlines would be rounded otherwise here and there. The time does
        not depend on the image's size.

        Args:
            coco: the module `pycocotools.mask`.
            height, width: of the image.

        Returns:
            A list of bytes.
        """
        codes, part, length = [], [], 0.0
        own = self.lengths()
        for index in range(len(self.sizes)):
            part.append(self.flat(index))
            length += own[index]
            if length > BATCH or index == len(self.sizes) - 1:
                codes += [code["counts"] for code in coco.frPyObjects(part, height, width)]
                part, length = [], 0.0
        return codes

    def _next(self):
        """The index of the point that follows each: after the last comes the first."""
        after = np.arange(1, len(self.points) + 1)
        after[self.first + self.sizes - 1] = self.first
        return after


def check_length(length):
    """Refuses outlines so long that pycocotools, which lists their pixels, needs too much."""
    if not length <= max_pixels() // OUTLINE_SHARE:  # NaN and infinity are no lengths either
        raise ValueError(f"an outline {length:g} pixels long")


def _is_line(points):
    with np.errstate(over="ignore", invalid="ignore"):
        ways = points - points[0]
        far = ways[np.argmax(np.hypot(*ways.T))]
        reach = np.hypot(*far)
        off = np.abs(ways[:, 0] * far[1] - ways[:, 1] * far[0])
        return bool((off <= FLAT * max(reach, FLAT)).all())
