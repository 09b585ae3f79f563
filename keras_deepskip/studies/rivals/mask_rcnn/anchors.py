"""Anchors: the boxes that a region proposal network starts from, at each pixel of each map."""

import math

from keras import ops


def anchor_shapes(size, ratios):
    """(height, width) of the anchors of one map: of area size^2, height / width as in `ratios`."""
    return [(size * math.sqrt(ratio), size / math.sqrt(ratio)) for ratio in ratios]


def anchors_at(places, width, stride, shapes):
    """The anchors of the given places in the list of all those of a map.

    The list has all anchors of the first pixel, then those of the pixel to its right, and so on,
    row by row. They are centred on their pixel.

    Args:
        places: integers (...).
        width: of the map, in pixels.
        stride: of the map, in pixels of the image.
        shapes: (height, width) of each anchor of a pixel.

    Returns:
        Boxes (..., 4).
    """
    count = len(shapes)
    pixel, kind = places // count, places % count
    y = (ops.cast(pixel // width, "float32") + 0.5) * stride
    x = (ops.cast(pixel % width, "float32") + 0.5) * stride
    half_height, half_width = ops.zeros_like(y), ops.zeros_like(x)
    for index, (tall, wide) in enumerate(shapes):
        own = ops.cast(kind == index, "float32")
        half_height, half_width = half_height + own * (tall / 2), half_width + own * (wide / 2)
    edges = (y - half_height, x - half_width, y + half_height, x + half_width)
    return ops.stack(edges, axis=-1)


def all_anchors(maps, first_stride, sizes, ratios):
    """All anchors of a pyramid, map after map, (M, 4).

    Args:
        maps: tensors (N, H_l, W_l, any), the finest first.
        first_stride: of the first; each further one has twice the one before.
        sizes: side of the anchors of each map.
        ratios: height / width of the anchors of a pixel.
    """
    found = []
    for level, (x, size) in enumerate(zip(maps, sizes, strict=True)):
        height, width = ops.shape(x)[1:3]
        places = ops.arange(height * width * len(ratios), dtype="int32")
        shapes = anchor_shapes(size, ratios)
        found.append(anchors_at(places, width, first_stride * 2**level, shapes))
    return ops.concatenate(found, axis=0)
