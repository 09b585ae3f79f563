"""Polygons, rectangles, circles, ellipses and bitmaps as pixels: a pixel is in if its centre is."""

import dataclasses
import math
from pathlib import Path

import numpy as np

from keras_deepskip.data import _decoders
from keras_deepskip.data._limits import check_size, max_pixels
from keras_deepskip.data.coco import OUTLINE_SHARE

LABEL_BYTES = 4  # of a pixel of a mask
LEAST_RADIUS = 1e-6  # in pixels; the square of its inverse is still a number


@dataclasses.dataclass(frozen=True)
class Polygon:
    """An outline through points `(x, y)`; pixel (row i, column j) covers [j, j+1) x [i, i+1)."""

    points: tuple

    def check(self):
        """Refuses what is no outline, or so long that drawing it would take too much."""
        points = np.asarray(self.points, "float64")
        if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3:
            raise ValueError("a polygon has at least 3 points of two numbers")
        length = np.abs(points - np.roll(points, 1, axis=0)).sum() + np.abs(points[0]).sum()
        _check_length(float(length))  # NaN and infinity are no lengths either

    @property
    def area(self):
        x, y = np.asarray(self.points, "float64").T
        return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2

    def box(self, canvas):
        """Its bounding box in a canvas, `(top, bottom, left, right)`."""
        points = np.asarray(self.points, "float64")
        left, top = np.maximum(np.floor(points.min(axis=0)), 0).astype(int).tolist()
        ends = np.minimum(np.ceil(points.max(axis=0)).astype(int), canvas.shape[::-1])
        right, bottom = ends.tolist()
        return top, max(bottom, top), left, max(right, left)

    def paint(self, canvas, value):
        """Sets the pixels whose centres are inside, by the even-odd rule."""
        points = np.asarray(self.points, "float64")
        top, bottom, left, right = self.box(canvas)
        if left >= right or top >= bottom:
            return
        # 1 where a row enters or leaves the polygon; the columns to the right are the other side.
        turns = np.zeros((bottom - top, right - left + 1), np.uint8)
        for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
            if y0 > y1:
                x0, y0, x1, y1 = x1, y1, x0, y0
            rows = np.arange(max(math.ceil(y0 - 0.5), top), min(math.ceil(y1 - 0.5), bottom))
            if rows.size:
                x = x0 + (rows + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
                columns = np.clip(np.ceil(x - 0.5), left, right).astype(int) - left
                turns[rows - top, columns] ^= 1
        inside = np.bitwise_xor.accumulate(turns[:, :-1], axis=1).astype(bool)
        canvas[top:bottom, left:right][inside] = value


@dataclasses.dataclass(frozen=True)
class Ellipse:
    """An ellipse by its centre, its half axes, and the angle of the first of them in radians."""

    x: float
    y: float
    a: float
    b: float
    angle: float = 0.0

    def check(self):
        """Refuses what is no ellipse."""
        numbers = [float(number) for number in (self.x, self.y, self.a, self.b, self.angle)]
        if not all(map(math.isfinite, numbers)) or min(self.a, self.b) < LEAST_RADIUS:
            raise ValueError("a circle or ellipse has a centre, and radii above 0")
        _check_length(abs(self.x) + abs(self.y) + self.a + self.b)

    @property
    def area(self):
        return math.pi * self.a * self.b

    def box(self, canvas):
        """A box around it in a canvas, `(top, bottom, left, right)`."""
        reach = max(self.a, self.b)
        sides = []
        for middle, length in zip((self.y, self.x), canvas.shape, strict=True):
            low = min(max(math.floor(middle - reach), 0), length)
            sides += [low, max(min(math.ceil(middle + reach), length), low)]
        return tuple(sides)

    def paint(self, canvas, value):
        """Sets the pixels whose centres are inside, row by row between two roots."""
        cosine, sine = math.cos(self.angle), math.sin(self.angle)
        reach = max(self.a, self.b)
        square = (cosine / self.a) ** 2 + (sine / self.b) ** 2
        top, bottom = max(math.floor(self.y - reach), 0), math.ceil(self.y + reach)
        for row in range(top, min(bottom, canvas.shape[0])):
            dy = row + 0.5 - self.y
            linear = dy * cosine * sine * (self.a**-2 - self.b**-2)
            rest = dy**2 * ((sine / self.a) ** 2 + (cosine / self.b) ** 2) - 1
            under = linear**2 - square * rest
            if under >= 0:
                middle, half = self.x - linear / square, math.sqrt(under) / square
                first = max(math.ceil(middle - half - 0.5), 0)
                canvas[row, first : max(math.floor(middle + half - 0.5) + 1, 0)] = value


@dataclasses.dataclass(frozen=True)
class Bitmap:
    """Pixels given one by one: a PNG whose values above 0 are inside, and where it lies.

    Attributes:
        x, y: the column and row of its first pixel.
        height, width: its size.
        data: the bytes of the PNG file; decoded when it is drawn, as many would not fit in memory.
    """

    x: int
    y: int
    height: int
    width: int
    data: bytes = dataclasses.field(repr=False)

    def check(self):
        """Refuses what is no PNG of this size."""
        if not self.data.startswith(_decoders.PNG):
            raise ValueError("a mask is a PNG in base64")
        size = self.inside().shape
        if size != (self.height, self.width):
            raise ValueError(
                f"its mask has {size[0]} x {size[1]} pixels, between its two points are "
                f"{self.height} x {self.width}"
            )

    @property
    def area(self):
        return int(self.inside().sum())

    def inside(self):
        """Which of its pixels are inside, `(height, width)` bool."""
        values, _ = _decoders.decode(Path("its mask"), self.data)
        return (values[..., :-1] if values.shape[-1] in (2, 4) else values).any(axis=-1)

    def box(self, canvas):
        """Its part of a canvas, `(top, bottom, left, right)`."""
        sides = []
        places = (self.y, self.height), (self.x, self.width)
        for (start, size), length in zip(places, canvas.shape, strict=True):
            low = min(max(start, 0), length)
            sides += [low, max(min(start + size, length), low)]
        return tuple(sides)

    def paint(self, canvas, value):
        """Sets its pixels."""
        top, bottom, left, right = self.box(canvas)
        own = self.inside()[top - self.y : bottom - self.y, left - self.x : right - self.x]
        canvas[top:bottom, left:right][own] = value


def rectangle(x0, y0, x1, y1):
    """A rectangle between two corners, as a polygon."""
    return Polygon(((x0, y0), (x1, y0), (x1, y1), (x0, y1)))


def rasterize(shapes, height, width, path, cuts=()):
    """Draws shapes as numbers; where two overlap, the smaller lies on top.

    Args:
        shapes: list of shapes.
        height, width: of the image.
        path: the image's file, for the error.
        cuts: pairs `(shape, number)`: shapes that are cut out of the first so many of `shapes`.

    Returns:
        `(height, width)` int32: 0, or the place of the shape in `shapes`, from 1.

    Raises:
        ValueError: if the image is too large.
    """
    check_size(path, height, width, LABEL_BYTES)
    canvas = np.zeros((height, width), np.int32)
    part = np.zeros((height, width) if cuts else 0, bool)  # of one shape, where it is cut
    areas = [shape.area for shape in shapes]
    for place in sorted(range(len(shapes)), key=lambda place: -areas[place]):
        own = [cut for cut, number in cuts if place < number]
        if not own:
            shapes[place].paint(canvas, place + 1)
            continue
        top, bottom, left, right = shapes[place].box(canvas)
        shapes[place].paint(part, True)
        for cut in own:
            cut.paint(part, False)
        box = np.s_[top:bottom, left:right]
        canvas[box][part[box]] = place + 1
        part[box] = False
    return canvas


def _check_length(length):
    if not length <= max_pixels() // OUTLINE_SHARE:
        raise ValueError(f"an outline {length:g} pixels long")
