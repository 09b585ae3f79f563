"""Objects one by one: what Mask R-CNN finds before it is reduced to a semantic mask."""

import keras
import numpy as np
from keras import ops

from keras_deepskip import _checks
from keras_deepskip.studies.rivals.mask_rcnn.training_form import check_network


def instance_model(model):
    """Returns a model from images to objects, of the very same layers as a `mask_rcnn`.

    Args:
        model: a network of `mask_rcnn`, or what `training_model` makes of it.

    Returns:
        A `keras.Model` from (N, H, W, C) to a dict: `boxes` (N, D, 4), top, left, bottom and right
        in pixels; `scores` (N, D), best first, 0 in slots without an object; `class_ids` (N, D),
        int32, those of the semantic mask, 0 likewise (of multilabel networks channel + 1); `masks`
        (N, D, m, m), probabilities in the box.

    Raises:
        ValueError: if `model` is no such network.

    Example:

    ```python
    found = instance_model(model).predict(images)
    numbers = instance_mask({key: values[0] for key, values in found.items()}, *images.shape[1:3])
    ```
    """
    check_network(model)
    table = model.get_layer("box_detections").output
    outputs = {
        "boxes": table[..., :4],
        "scores": table[..., 4],
        "class_ids": ops.cast(table[..., 5], "int32"),
        "masks": model.get_layer("mask_of_class").output,
    }
    name = model.name.removesuffix("_training")
    return keras.Model(model.get_layer("image").output, outputs, name=f"{name}_instances")


def instance_mask(
    instances, height, width, score_threshold=0.5, mask_threshold=0.5, weighted=False
):
    """Numbers the objects of one image in a mask.

    Args:
        instances: what `instance_model` gives, of one image: a dict of `boxes` (D, 4), `scores`
            (D,) and `masks` (D, m, m).
        height, width: of the image in pixels.
        score_threshold: least score of an object.
        mask_threshold: probability above which a pixel belongs to it.
        weighted: whether that is the probability times the score, as in the network's semantic
            mask.

    Returns:
        `(numbers, places)`: (H, W) int32, 0 for background and 1..n for objects, of which the one
        with the higher score lies on top; and which slot each of the n was, (n,).

    Raises:
        ValueError: if an argument is out of range.

    Example:

    >>> one = {"boxes": [[0, 1, 2, 3]], "scores": [0.9], "masks": np.ones((1, 28, 28))}
    >>> instance_mask(one, 2, 4)[0].tolist()
    [[0, 1, 1, 0], [0, 1, 1, 0]]
    """
    _checks.check_integer("height", height)
    _checks.check_integer("width", width)
    boxes, scores, masks = (np.asarray(instances[key]) for key in ("boxes", "scores", "masks"))
    _checks.check_number("score_threshold", score_threshold, 0, 1)
    _checks.check_number("mask_threshold", mask_threshold, 0, 1)
    order = np.argsort(-scores, kind="stable")
    places = order[(scores >= score_threshold)[order] & (scores > 0)[order]]
    numbers = np.zeros((height, width), "int32")
    for number, place in reversed(list(enumerate(places, start=1))):  # the best comes last, on top
        top, left, bottom, right = boxes[place].astype("float64")
        rows, down = _interpolation(top, bottom, height, masks.shape[-1])
        columns, across = _interpolation(left, right, width, masks.shape[-1])
        mask = masks[place] * scores[place] if weighted else masks[place]
        numbers[rows, columns][down @ mask @ across.T > mask_threshold] = number
    return numbers, places


def _interpolation(low, high, length, side):
    """As `paste.interpolation`, of one box: the slice of n pixels in it, and weights (n, side)."""
    share = (np.arange(length) + 0.5 - low) / max(high - low, 1e-4)
    first, end = np.searchsorted(share, (0, 1))
    at = np.clip(share[first:end] * side - 0.5, 0, side - 1)
    return slice(first, end), np.maximum(1 - np.abs(at[:, None] - np.arange(side)), 0)
