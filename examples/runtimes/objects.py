"""From probabilities to objects, with NumPy and SciPy alone: what `predict` does after the network.

The programs beside this file take `objects_of`. It decides by the operating point that
`keras-deepskip export` writes beside a file (FILE.export.json): threshold, smallest object, and
whether objects that touch are told apart. docs/objects.md says how that is done.
"""

import json
import os

import numpy as np
from scipy import ndimage

DEFAULT = {"threshold": 0.5, "min_area": 0, "separate": False}
RISE = 0.5  # pixels by which a peak of the distance map rises above the pass to a higher one
STEPS, BITS = 2**18, 34  # depths are whole steps; a key holds a depth above so many bits of place
NEIGHBOURS = [(0, 1), (1, -1), (1, 0), (1, 1)]  # one of each opposite two


def objects_of(probabilities, file=None):
    """Masks and objects of (H, W, K): class ids (H, W), and which object each pixel is of."""
    point = dict(DEFAULT)
    if file is not None and os.path.exists(f"{file}.export.json"):
        with open(f"{file}.export.json", encoding="utf-8") as report:
            point |= json.load(report).get("operating_point") or {}
    mask = without_small(mask_of(probabilities, point["threshold"]), point["min_area"])
    parts = separate if point["separate"] else components
    return mask, number(mask, parts, point["min_area"])


def mask_of(probabilities, threshold):
    """Class ids; several classes compete with the background, whose odds the threshold weighs."""
    values = np.asarray(probabilities, "float32")
    if values.shape[-1] == 1:
        return (values[..., 0] > threshold).astype("uint8")
    background = values[..., :1]
    if threshold == 1:
        background = background + np.inf
    elif threshold != 0.5:
        background = background * (threshold / (1 - threshold))
    return np.concatenate([background, values[..., 1:]], axis=-1).argmax(axis=-1).astype("uint8")


def without_small(mask, min_area):
    """The mask without components smaller than an area, one for all or one for each class."""
    labels = number(mask, components)
    areas = np.bincount(labels.ravel())
    return np.where(areas[labels] < by_class(min_area, mask)[mask], 0, mask).astype("uint8")


def by_class(min_area, mask):
    """The least area of each class id."""
    return np.broadcast_to(min_area, max(np.size(min_area), int(mask.max()) + 1))


def number(mask, parts, min_area=0):
    """Numbers the objects, class by class; `parts` numbers those of a class."""
    labels, count = np.zeros(mask.shape, "int32"), 0
    for class_id in range(1, int(mask.max()) + 1):
        inside = mask == class_id
        own = parts(inside, int(by_class(min_area, mask)[class_id]))
        labels[inside] = own[inside] + count
        count += int(own.max())
    return labels


def components(inside, least):
    """Pixels that touch, also by a corner; those that are smaller are gone already."""
    return ndimage.label(inside, np.ones((3, 3)))[0]


def separate(inside, least):
    """Components cut at their waists: pixels climb the smoothed distance map, each to a peak.

    Parts of fewer pixels than `least` stay with what they touch.
    """
    if inside.all() or not inside.any():
        return inside.astype("int32")
    depth = ndimage.distance_transform_edt(inside).astype("float32")
    for _ in range(2):
        smooth = depth
        for axis in (0, 1):
            smooth = ndimage.correlate1d(smooth, [0.25, 0.5, 0.25], axis, mode="nearest")
        depth = smooth * inside
    depth = np.minimum(np.rint(depth.astype("float64") * STEPS), 2 ** (63 - BITS) - 1)
    depth = depth.astype("int64")
    basins, peaks = climb(depth, inside)
    areas = np.bincount(basins.ravel())[1:].tolist()
    owner = join(basins, depth, depth.ravel()[peaks], areas, least)
    parts = np.concatenate([[0], owner + 1])[basins]
    ids, first = np.unique(parts, return_index=True)
    order = np.zeros(int(ids[-1]) + 1, "int32")
    order[ids[ids > 0][np.argsort(first[ids > 0])]] = np.arange(1, np.count_nonzero(ids) + 1)
    return order[parts]


def climb(depth, inside):
    """Which peak each pixel climbs to, from 1 on, and where the peaks are."""
    places = np.arange(depth.size).reshape(depth.shape)
    key = np.where(inside, (depth << BITS) + (2**BITS - 1 - places), 0)
    height, width = key.shape
    around = np.pad(key, 1)
    nine = [around[y : y + height, x : x + width] for y in range(3) for x in range(3)]
    upward = (2**BITS - 1 - np.maximum.reduce(nine) % 2**BITS).ravel()
    pixels = np.flatnonzero(inside)
    while not np.array_equal(upward[upward[pixels]], upward[pixels]):
        upward[pixels] = upward[upward[pixels]]
    peaks = pixels[upward[pixels] == pixels]
    basins = np.zeros(depth.size, "int32")
    basins[pixels] = np.searchsorted(peaks, upward[pixels]) + 1
    return basins.reshape(depth.shape), peaks


def join(basins, depth, heights, areas, least):
    """Which peak each peak belongs to: passes from the highest down join what barely rises.

    They do so once more for what is too small then.
    """
    passes = {}
    for down, right in NEIGHBOURS:
        here = np.s_[: depth.shape[0] - down, max(-right, 0) : depth.shape[1] - max(right, 0)]
        there = np.s_[down:, max(right, 0) : depth.shape[1] + min(right, 0)]
        border = (basins[here] != basins[there]) & (basins[here] > 0) & (basins[there] > 0)
        pairs = np.sort(np.stack([basins[here][border], basins[there][border]]) - 1, axis=0)
        levels = np.minimum(depth[here][border], depth[there][border])
        for one, other, level in zip(*pairs.tolist(), levels.tolist(), strict=True):
            passes[one, other] = max(passes.get((one, other), 0), level)
    owner = list(range(len(heights)))

    def owner_of(peak):
        while owner[peak] != peak:
            peak = owner[peak]
        return peak

    ordered = sorted(passes.items(), key=lambda item: (-item[1], item[0]))
    for small in (False, True):
        for (one, other), level in ordered:
            pair = owner_of(one), owner_of(other)
            low, high = sorted(pair, key=lambda peak: (heights[peak], -peak))
            flat = heights[low] / STEPS - level / STEPS < RISE
            if low != high and (min(areas[low], areas[high]) < least if small else flat):
                owner[low] = high
                areas[high] += areas[low]
    return np.array([owner_of(peak) for peak in range(len(heights))])
