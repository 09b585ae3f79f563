"""Copy-paste: objects of other images pasted into a crop, with their pixels of the mask.

Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation"
(CVPR 2021); Kisantal et al., "Augmentation for small object detection" (2019).
"""

import numpy as np

MOST = 3  # objects pasted into a crop
TRIES = 10  # places that are tried for each, until one is free
MARGIN = 3  # pixels around an object, in which it fades into the crop
BLUR = 1.0  # standard deviation of the fading edge, in pixels


def paste_objects(image, mask, draw, rng):
    """Pastes one to three objects where there is no other.

    Args:
        image: (S, S, C) float32, which is changed.
        mask: (S, S) class ids, which is changed.
        draw: function of `rng` that returns an object: `(image, inside, class_id)`, the image
            (h, w, C) around it and the boolean mask (h, w) of its pixels, or None.
        rng: `numpy.random.Generator`.
    """
    for _ in range(int(rng.integers(1, MOST + 1))):
        drawn = draw(rng)
        if drawn is not None:
            _paste(image, mask, drawn, rng)


def cut_object(image, mask, anchor, reach):
    """The object of a pixel, with a margin around it.

    Args:
        image: (H, W, C) array.
        mask: (H, W) class ids.
        anchor: row and column of a pixel of the object.
        reach: how far from that pixel it may extend, in pixels.

    Returns:
        `(image, inside, class_id)` as `paste_objects` takes it; None for an object that is larger,
        or cut by the edge of the image: a half object is none.
    """
    from scipy import ndimage

    row, column = (int(at) for at in anchor)
    top, left = max(row - reach, 0), max(column - reach, 0)
    box = slice(top, row + reach), slice(left, column + reach)
    class_id = int(mask[row, column])
    labels, _ = ndimage.label(mask[box] == class_id, np.ones((3, 3)))
    inside = labels == labels[row - top, column - left]
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    if inside[[0, -1]].any() or inside[:, [0, -1]].any():
        return None
    area = (
        slice(max(rows[0] - MARGIN, 0), rows[-1] + 1 + MARGIN),
        slice(max(columns[0] - MARGIN, 0), columns[-1] + 1 + MARGIN),
    )
    return image[box][area], inside[area], class_id


def _paste(image, mask, drawn, rng):
    """Pastes an object at a place that is free, mirrored in half of the cases."""
    from scipy import ndimage

    source, inside, class_id = drawn
    if rng.random() < 0.5:
        source, inside = source[:, ::-1], inside[:, ::-1]
    height, width = inside.shape
    room = mask.shape[0] - height, mask.shape[1] - width
    if min(room) < 0:
        return
    for _ in range(TRIES):
        top, left = (int(rng.integers(free + 1)) for free in room)
        box = slice(top, top + height), slice(left, left + width)
        if not mask[box].any():
            soft = ndimage.gaussian_filter(inside.astype(np.float32), BLUR)
            share = np.maximum(soft, inside)[..., None]
            image[box] += share * (source.astype(np.float32) - image[box])
            mask[box][inside] = class_id
            return
