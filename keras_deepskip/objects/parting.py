"""Objects that touch, told apart by the shape of their mask: nothing is trained for it.

Each pixel of a component climbs the component's distance map to a peak; the pixels of one peak are
one part (the watershed of the map). Parts stay apart where the lower of two peaks rises high enough
above the pass between them, else they are one object. All of it looks at one component alone.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from keras_deepskip import _checks
from keras_deepskip.objects.labels import check_mask, class_boxes, least_areas

RISE = 0.5  # pixels by which a peak rises above the pass to a higher one, if it is an object
SMOOTHING = 2  # passes of the kernel (1, 2, 1) / 4 along each axis, each of variance 1/2
FINENESS = 2**18  # depths are compared in so many steps a pixel
INDEX_BITS = 34  # of a key; the rest holds the depth
DEEPEST = 2 ** (63 - INDEX_BITS) - 1


def separate_objects(
    mask: np.ndarray, rise: float = RISE, min_area: int | Sequence[int] = 0
) -> tuple[np.ndarray, int]:
    """Numbers the objects of each class, those that touch by themselves.

    As `label_objects` with all neighbours, but a component with a waist is several objects: its
    distance map, smoothed by one pixel, has a peak in each. Two peaks are two objects if the lower
    one rises by `rise` above the pass between them. This is the watershed transform with merging
    by dynamics (M. Grimaud, SPIE 1769, 1992); it needs no training and suits any mask.

    Args:
        mask: class ids (H, W) or (D, H, W), integer or boolean; 0 is background.
        rise: in pixels, at least 0. More leaves more together; `numpy.inf` gives the components.
        min_area: pixels below which a part is no object of its own: it stays with the neighbour to
            which the pass is highest. One number, or one for each class id from 0 on. Components
            that are smaller stay too; `remove_small` takes them away.

    Returns:
        `(labels, count)` as in `label_objects`. No object crosses the border of a class, each is
        connected, and together they are the mask.

    Raises:
        ValueError: if `mask` is not such an array, or `rise` or `min_area` out of range.

    Example:

    >>> rows, columns = np.mgrid[:9, :16]
    >>> discs = [(rows - 4) ** 2 + (columns - at) ** 2 <= 16 for at in (4, 11)]
    >>> separate_objects(discs[0] | discs[1])[1]
    2
    """
    mask = check_mask("mask", mask)
    _checks.check_number("rise", rise, 0, float("inf"))
    least = least_areas(min_area, mask)
    labels, count = np.zeros(mask.shape, "int32"), 0
    for class_id, box in class_boxes(mask):
        box = tuple(
            slice(max(side.start - 1, 0), min(side.stop + 1, length))
            for side, length in zip(box, mask.shape, strict=True)
        )  # with what borders on the class, from which distances are measured
        inside = mask[box] == class_id
        parts, found = _parts(inside, rise, int(least[class_id] if least.ndim else least))
        labels[box][inside] = parts[inside] + count
        count += found
    return labels, count


def _parts(inside, rise, least):
    """Numbers the parts of a boolean mask, from the top row down."""
    if inside.all():  # no border to measure from
        return np.ones(inside.shape, "int32"), 1
    depth = _depth(inside)
    basins, peaks = _basins(depth, inside)
    areas = np.bincount(basins.reshape(-1), minlength=len(peaks) + 1)[1:]
    owner = _owners(basins, peaks, depth, rise, areas.tolist(), least)
    parts = np.concatenate([[0], owner + 1])[basins]
    ids, first = np.unique(parts, return_index=True)
    order = np.argsort(first[ids > 0])
    number = np.zeros(int(ids[-1]) + 1, "int32")
    number[ids[ids > 0][order]] = np.arange(1, len(order) + 1)
    return number[parts], len(order)


def _depth(inside):
    """The distance of each pixel to the border, smoothed within each component, in whole steps.

    A neighbour of a pixel is of its component or background: no component sees another.
    """
    from scipy import ndimage

    depth = ndimage.distance_transform_edt(inside).astype("float32")
    kernel = np.array([0.25, 0.5, 0.25])
    for _ in range(SMOOTHING):
        smooth = depth
        for axis in range(inside.ndim):
            smooth = ndimage.correlate1d(smooth, kernel, axis, mode="nearest")
        depth = smooth * inside
    steps = np.rint(depth.astype("float64") * FINENESS).astype("int64")
    return np.minimum(steps, DEEPEST)  # objects of more than 4,000 pixels across have a flat top


def _basins(depth, inside):
    """Which peak each pixel climbs to: numbers from 1 on, 0 outside; and the peaks' flat places.

    A pixel goes to the deepest of its neighbours, of equals to the first; a peak stays.
    """
    places = np.arange(depth.size).reshape(depth.shape)
    key = np.where(inside, (depth << INDEX_BITS) + (2**INDEX_BITS - 1 - places), 0)
    for axis in range(key.ndim):
        key = _greatest_of_three(key, axis)
    upward = 2**INDEX_BITS - 1 - (key & (2**INDEX_BITS - 1))
    upward = upward.reshape(-1)
    pixels = np.flatnonzero(inside)
    while True:
        further = upward[upward[pixels]]
        if np.array_equal(further, upward[pixels]):
            break
        upward[pixels] = further
    peaks = pixels[upward[pixels] == pixels]
    number = np.zeros(depth.size, "int32")
    number[peaks] = np.arange(1, len(peaks) + 1)
    basins = np.zeros(depth.size, "int32")
    basins[pixels] = number[upward[pixels]]
    return basins.reshape(depth.shape), peaks


def _greatest_of_three(values, axis):
    """The greatest of each value and its two neighbours along an axis."""
    whole = [(slice(None),) * 2] * values.ndim
    whole[axis] = slice(None, -1), slice(1, None)
    low, high = zip(*whole, strict=True)
    greatest = values.copy()
    np.maximum(greatest[low], values[high], out=greatest[low])
    np.maximum(greatest[high], values[low], out=greatest[high])
    return greatest


def neighbours(axes):
    """Slices by which an array meets itself moved to each neighbour, one of each opposite two."""
    ends = {0: (slice(None), slice(None)), 1: (slice(None, -1), slice(1, None))}
    ends[-1] = ends[1][::-1]
    for step in itertools.product((0, 1, -1), repeat=axes):
        if next((each for each in step if each), 0) > 0:
            yield tuple(zip(*(ends[each] for each in step), strict=True))


def _owners(basins, peaks, depth, rise, areas, least):
    """For each basin the one that it is a part of: passes are looked at from the highest down.

    First those join whose peaks are too low, then those that are still too small.
    """
    height = (depth.reshape(-1)[peaks] / FINENESS).tolist()
    owner = list(range(len(peaks)))

    def owner_of(basin):
        while owner[basin] != basin:
            owner[basin] = owner[owner[basin]]
            basin = owner[basin]
        return basin

    passes = _passes(basins, depth)
    for too_small in (False, True) if least else (False,):
        for one, other, level in passes:
            one, other = owner_of(one), owner_of(other)
            if one == other:
                continue
            if (height[one], -one) < (height[other], -other):
                one, other = other, one
            joins = (
                min(areas[one], areas[other]) < least
                if too_small
                else (height[other] - level < rise)
            )
            if joins:
                owner[other] = one
                areas[one] += areas[other]
    return np.array([owner_of(basin) for basin in range(len(peaks))], "int64")


def _passes(basins, depth):
    """The highest pass between each two basins that touch: `(one, other, level)`, highest first."""
    found = []
    for here, there in neighbours(basins.ndim):
        one, other = basins[here], basins[there]
        border = (one != other) & (one > 0) & (other > 0)
        level = np.minimum(depth[here][border], depth[there][border])
        found.append((one[border] - 1, other[border] - 1, level))
    one, other, level = (np.concatenate(part) for part in zip(*found, strict=True))
    one, other = np.minimum(one, other), np.maximum(one, other)
    order = np.lexsort((other, one, -level))
    one, other, level = one[order], other[order], level[order]
    _, first = np.unique(one.astype("int64") << 32 | other, return_index=True)
    first.sort()
    level = (level[first] / FINENESS).tolist()
    return list(zip(one[first].tolist(), other[first].tolist(), level, strict=True))
