"""Objects of a mask: connected components of each class, and what they are found by."""

from collections.abc import Sequence

import numpy as np

from keras_deepskip import _checks

# In how many axes neighbours may differ at once, by the mask's axes and the connectivity. 8, the
# default, is all neighbours of volumes too.
STEPS = {2: {4: 1, 8: 2}, 3: {6: 1, 26: 3, 8: 3}}
CONNECTIVITIES = (4, 8, 6, 26)
MOST_IDS = 65535  # up to here a table by id is smaller than the mask itself


def label_objects(mask: np.ndarray, connectivity: int = 8) -> tuple[np.ndarray, int]:
    """Numbers the connected components of each class; touching classes stay apart.

    Args:
        mask: class ids (H, W) or (D, H, W), integer or boolean; 0 is background.
        connectivity: 8 joins pixels that touch by a corner, 4 only those that share an edge. Of a
            volume, 26 (or 8, so that the default is the same) joins voxels that touch by a corner,
            6 only those that share a face.

    Returns:
        `(labels, count)`: labels of the mask's shape, int32, 0 for background and 1..count for
        objects, class by class in order of their ids, each from the top row down.

    Raises:
        ValueError: if `mask` is not such an array, or `connectivity` none of its kind.

    Example:

    >>> labels, count = label_objects(np.array([[1, 0, 1], [1, 2, 2]]), connectivity=4)
    >>> labels.tolist(), count
    ([[1, 0, 2], [1, 3, 3]], 3)
    """
    from scipy import ndimage

    mask = check_mask("mask", mask)
    _checks.check_choice("connectivity", connectivity, STEPS[mask.ndim])
    structure = ndimage.generate_binary_structure(mask.ndim, STEPS[mask.ndim][connectivity])
    labels, count = np.zeros(mask.shape, "int32"), 0
    for class_id, box in class_boxes(mask):
        of_class, found = ndimage.label(mask[box] == class_id, structure)
        labels[box] += np.where(of_class, of_class + count, 0).astype("int32")
        count += found
    return labels, count


def objects_by_ids(mask: np.ndarray, ids: np.ndarray | None) -> np.ndarray:
    """Numbers the objects of a mask by the ids of its pixels.

    An object is all pixels of one id and class, in how many pieces it may lie. Object pixels
    without an id are objects by their connected components; ids outside the objects count for
    nothing.

    Args:
        mask: class ids (H, W); 0 is background.
        ids: integers of the mask's shape, 0 for none; None is none anywhere.

    Returns:
        Numbers from 1 on, 0 for background: int32 of the mask's shape.

    Example:

    >>> objects_by_ids(np.array([[1, 1, 2, 0, 1]]), np.array([[7, 5, 5, 5, 0]])).tolist()
    [[4, 2, 3, 0, 1]]
    """
    components, _ = label_objects(mask)
    if ids is None:
        return components
    # One number for each id and class; components follow where no id is
    pixels, classes = mask > 0, int(mask.max(initial=0)) + 1
    keys = np.where(ids > 0, ids.astype("int64") * classes + mask, -components)
    labels = np.zeros(mask.shape, "int32")
    labels[pixels] = np.unique(keys[pixels], return_inverse=True)[1] + 1
    return labels


def class_boxes(mask: np.ndarray) -> list[tuple[int, tuple[slice, ...]]]:
    """Finds the box of each class id but 0, so that a class is looked for where it is.

    Args:
        mask: array of integers, of any number of axes.

    Returns:
        A list of `(id, slices)`, by rising id.

    Example:

    >>> class_boxes(np.array([[0, 7], [0, 7]]))
    [(7, (slice(0, 2, None), slice(1, 2, None)))]
    """
    from scipy import ndimage

    if not mask.size:
        return []
    if mask.min() < 0 or mask.max() > MOST_IDS:
        ids = np.unique(mask[mask != 0])
        mask = np.where(mask != 0, np.searchsorted(ids, mask) + 1, 0)
        return list(zip(ids.tolist(), ndimage.find_objects(mask), strict=True))
    boxes = ndimage.find_objects(mask.astype("int32"))  # None for ids that are absent
    return [(class_id, box) for class_id, box in enumerate(boxes, 1) if box is not None]


def object_anchors(mask: np.ndarray, ignore_class: int | None = None) -> dict[int, np.ndarray]:
    """Finds for each object (8 neighbours) the pixel of it that is nearest to its centroid.

    Args:
        mask: `(H, W)` array of class ids, 0 = background.
        ignore_class: None, or an id that is no object.

    Returns:
        A dict from class id to an `(n, 2)` array of rows and columns.

    Example:

    >>> object_anchors(np.array([[1, 1, 1, 0, 2]]))[1].tolist()
    [[0, 1]]
    """
    from scipy import ndimage

    mask = np.asarray(mask)
    if ignore_class is not None:
        mask = np.where(mask == ignore_class, 0, mask)
    labels, _ = label_objects(mask)
    anchors: dict[int, list] = {}
    for number, place in enumerate(ndimage.find_objects(labels), start=1):
        pixels = np.argwhere(labels[place] == number)
        nearest = np.argmin(((pixels - pixels.mean(axis=0)) ** 2).sum(axis=1))
        anchor = pixels[nearest] + [side.start for side in place]
        anchors.setdefault(int(mask[tuple(anchor)]), []).append(anchor)
    return {class_id: np.array(found) for class_id, found in anchors.items()}


def remove_small(
    mask: np.ndarray, min_area: int | Sequence[int], connectivity: int = 8
) -> np.ndarray:
    """A mask without the objects that are smaller than an area.

    Args:
        mask: class ids, (H, W) or (D, H, W).
        min_area: least area in pixels that stays: one number, or one for each class id.
        connectivity: as in `label_objects`.

    Returns:
        Array of the mask's shape and dtype; the mask itself if nothing is too small.

    Raises:
        ValueError: if `min_area` holds other than whole numbers from 0 on, or too few of them.

    Example:

    >>> remove_small(np.array([[1, 1, 0, 2, 0, 1]]), 2).tolist()
    [[1, 1, 0, 0, 0, 0]]
    """
    mask = np.asarray(mask)
    if not np.any(min_area):
        return mask
    by_class = least_areas(min_area, check_mask("mask", mask))
    labels, count = label_objects(mask, connectivity)
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    least = np.zeros(count + 1, "int64")
    # The class of an object is that of any of its pixels.
    classes = mask.ravel().astype("uint8") if mask.dtype == bool else mask.ravel()
    least[labels.ravel()] = by_class[classes] if by_class.ndim else by_class
    least[0] = 0
    small = areas < least
    return np.where(small[labels], 0, mask).astype(mask.dtype) if small.any() else mask


def least_areas(min_area, mask):
    """The least area of an object as an array: of all classes (), or of each class id (K,).

    Raises:
        ValueError: if these are no whole numbers from 0 on, or fewer than the mask's classes.
    """
    least, classes = np.asarray(min_area), int(mask.max(initial=0)) + 1
    whole = least.dtype.kind in "ui" and not (least < 0).any()
    if not whole or least.ndim > 1 or (least.ndim and len(least) < classes):
        raise ValueError(
            "`min_area` must be a number of pixels, 0 or more, or one for each class id from 0 to "
            f"{classes - 1}. Received: min_area={min_area}"
        )
    return least


def check_mask(name, mask):
    mask = np.asarray(mask)
    if mask.ndim in (2, 3) and mask.dtype.kind in "bui":
        return mask
    raise ValueError(
        f"`{name}` must hold integers in the shape (H, W) or (D, H, W). "
        f"Received: {name}.shape={mask.shape}, {name}.dtype={mask.dtype}"
    )
