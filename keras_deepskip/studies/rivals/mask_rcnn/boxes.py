"""Boxes in pixels: (top, left, bottom, right), edges and not centres of pixels, bottom > top.

A box of no area is an empty slot of a list of fixed length. All works on tensors of a backend.
"""

from keras import ops
from keras.utils import bounding_boxes

FORMAT = "yxyx"  # what Keras calls these boxes
EMPTY = -1e9  # score of an empty slot
LARGEST_STEP = 4.135166556742356  # log(1000 / 16): no box grows by more at once


def sides(boxes):
    """Heights and widths, (..., 4) to two (...)."""
    return boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]


def is_box(boxes):
    """Whether each slot holds a box, (..., 4) to (...)."""
    height, width = sides(boxes)
    return ops.logical_and(height > 0, width > 0)


def iou(boxes, others):
    """Intersection over union of all pairs: (..., R, 4) and (..., G, 4) to (..., R, G)."""
    return bounding_boxes.compute_iou(boxes, others, bounding_box_format=FORMAT)


def encode(boxes, references, weights=(1.0, 1.0, 1.0, 1.0)):
    """What `decode` makes boxes of: shifts of the centre and logarithms of growth.

    Args:
        boxes: (..., 4).
        references: (..., 4), the boxes that the numbers are relative to.
        weights: what the four numbers (down, right, height, width) are multiplied by.

    Returns:
        Tensor (..., 4).

    Source: R. Girshick et al., Rich feature hierarchies, 2014, appendix C.
    """
    variance = [1 / weight for weight in weights]
    return bounding_boxes.encode_box_to_deltas(
        references, boxes, anchor_format=FORMAT, box_format=FORMAT, variance=variance
    )


def decode(deltas, references, weights=(1.0, 1.0, 1.0, 1.0)):
    """The boxes (..., 4) that numbers (..., 4) stand for; see `encode`."""
    largest = ops.convert_to_tensor([1e9, 1e9, LARGEST_STEP, LARGEST_STEP], deltas.dtype)
    scale = ops.convert_to_tensor(weights, deltas.dtype)
    variance = [1 / weight for weight in weights]
    return bounding_boxes.decode_deltas_to_boxes(
        references,
        ops.minimum(deltas, largest * scale),
        anchor_format=FORMAT,
        box_format=FORMAT,
        variance=variance,
    )


def clip(boxes, height, width):
    """Boxes cut at the edges of an image; what lies outside of it keeps no area."""
    limits = (height, width, height, width)
    edges = [
        ops.minimum(ops.maximum(boxes[..., i], 0.0), ops.cast(limit, boxes.dtype))
        for i, limit in enumerate(limits)
    ]
    return ops.stack(edges, axis=-1)


# --- Lists of fixed length ------------------------------------------------------------------------


def best(scores, count):
    """The places of the `count` highest scores in each row, the highest first.

    Args:
        scores: (N, M), with EMPTY where nothing is.
        count: K. Where M is known and smaller, that many.

    Returns:
        The scores (N, K), and their places (N, K), int32. A row of fewer than K scores has EMPTY
        and the place M - 1 in the slots that are left.
    """
    known = scores.shape[1]
    if isinstance(known, int):
        values, places = ops.top_k(scores, min(count, known))
        return values, ops.cast(places, "int32")
    dummies = ops.zeros((ops.shape(scores)[0], count), scores.dtype) + EMPTY
    values, places = ops.top_k(ops.concatenate([scores, dummies], axis=1), count)
    return values, ops.minimum(ops.cast(places, "int32"), ops.shape(scores)[1] - 1)


def filled_up(x, count, value=0.0):
    """A list (N, K, ...) with slots of `value` added at its end, so that it has `count`."""
    missing = count - x.shape[1] if isinstance(x.shape[1], int) else 0
    if missing <= 0:
        return x
    return ops.pad(x, [(0, 0), (0, missing)] + [(0, 0)] * (len(x.shape) - 2), constant_values=value)


def rows(x, places):
    """The rows of lists that places say: (N, M, C) and (N, K) to (N, K, C)."""
    batch, length, channels = ops.shape(x)
    starts = ops.arange(batch, dtype="int32")[:, None] * length
    return ops.take(ops.reshape(x, (-1, channels)), places + starts, axis=0)


def entries(x, places):
    """The entries of rows that places say: (N, M) and (N, K) to (N, K)."""
    return rows(x[..., None], places)[..., 0]
