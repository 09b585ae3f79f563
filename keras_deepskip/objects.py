"""Objects of masks: connected components, their table, and their matching one to one.

Masks are NumPy arrays, of images or of volumes, whose voxels are their pixels. A class's objects
are the connected components of its pixels; id 0 is background (in a multilabel mask every channel
is a class, and zeros are background).
"""

from collections.abc import Sequence

import numpy as np

from keras_deepskip import _checks

CRITERIA = ("iou", "centre")
# In how many axes neighbours may differ at once, by the mask's axes and the connectivity. 8, the
# default, is all neighbours of volumes too.
STEPS = {2: {4: 1, 8: 2}, 3: {6: 1, 26: 3, 8: 3}}
CONNECTIVITIES = (4, 8, 6, 26)
MOST_IDS = 65535  # up to here a table by id is smaller than the mask itself


# ---- Objects of a mask --------------------------------------------------------------------------


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

    mask = _check_mask("mask", mask)
    _checks.check_choice("connectivity", connectivity, STEPS[mask.ndim])
    structure = ndimage.generate_binary_structure(mask.ndim, STEPS[mask.ndim][connectivity])
    labels, count = np.zeros(mask.shape, "int32"), 0
    for class_id, box in class_boxes(mask):
        of_class, found = ndimage.label(mask[box] == class_id, structure)
        labels[box] += np.where(of_class, of_class + count, 0).astype("int32")
        count += found
    return labels, count


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

    ids = np.unique(mask[mask != 0])
    if len(ids) and (ids[0] < 0 or ids[-1] > MOST_IDS):
        mask = np.where(mask != 0, np.searchsorted(ids, mask) + 1, 0)
        return list(zip(ids.tolist(), ndimage.find_objects(mask), strict=True))
    boxes = ndimage.find_objects(mask.astype("int32"))  # of ids that are absent, too
    return [(class_id, boxes[class_id - 1]) for class_id in ids.tolist()]


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

    Example:

    >>> remove_small(np.array([[1, 1, 0, 2, 0, 1]]), 2).tolist()
    [[1, 1, 0, 0, 0, 0]]
    """
    if not np.any(min_area):
        return mask
    labels, count = label_objects(mask, connectivity)
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    least = np.zeros(count + 1, "int64")
    by_class = np.asarray(min_area)
    # The class of an object is that of any of its pixels.
    least[labels.ravel()] = by_class if by_class.ndim == 0 else by_class[mask.ravel()]
    least[0] = 0
    small = areas < least
    return np.where(small[labels], 0, mask).astype(mask.dtype) if small.any() else mask


def object_table(
    mask: np.ndarray,
    probabilities: np.ndarray | None = None,
    connectivity: int = 8,
    multilabel: bool | None = None,
) -> list[dict]:
    """Lists the objects of a mask: class, area, centroid, box, mean probability.

    Args:
        mask: class ids (H, W), or multilabel zeros and ones (H, W, K); of a volume (D, H, W), or
            (D, H, W, K).
        probabilities: the model's outputs for this image, (H, W, K), or (H, W) for one class; of a
            volume with D before H.
        connectivity: 8 or 4, of a volume 26 (or 8) or 6, as in `label_objects`.
        multilabel: whether the last axis of `mask` holds classes. None takes a mask of two axes for
            class ids and any other for a multilabel one: say False for the class ids of a volume.

    Returns:
        A list of dicts, one an object, with `class_id` (a multilabel mask: the channel), `area` in
        pixels, `centroid_y`, `centroid_x`, the box `top`, `left`, `bottom`, `right` (half-open:
        `mask[top:bottom, left:right]` holds the object), and `mean_probability` of its class over
        its pixels, or None without `probabilities`. Of a volume, `area` is the number of voxels,
        and there are `centroid_z`, `front` and `back` (`mask[front:back, top:bottom, left:right]`).

    Raises:
        ValueError: if `mask` has other axes, or `probabilities` does not fit it.

    Example:

    >>> row = object_table(np.array([[0, 1, 1], [0, 0, 0]]))[0]
    >>> row["area"], row["centroid_y"], row["centroid_x"], row["right"]
    (2, 0.0, 1.5, 3)
    """
    mask = np.asarray(mask)
    if mask.ndim > 2 if multilabel is None else multilabel:
        rows = []
        for channel in range(mask.shape[-1]):
            own = None if probabilities is None else np.asarray(probabilities)[..., channel]
            table = object_table(mask[..., channel] != 0, own, connectivity, multilabel=False)
            rows += [{**row, "class_id": channel} for row in table]
        return rows
    labels, count = label_objects(mask, connectivity)
    if not count:
        return []
    sums = object_sums(labels, mask, probabilities, (0,) * mask.ndim)
    return table_of_sums(sums, mask.ndim)


def object_sums(labels, mask, probabilities, corner):
    """Sums over each object's pixels, from which its line of the table is worked out.

    Args:
        labels: as of `label_objects`, at least one.
        mask: the class ids.
        probabilities: as of `object_table`, or None.
        corner: where the mask's first pixel lies in the whole image: the sums are of its
            coordinates.

    Returns:
        A dict of arrays (count, ...): `class_id`, `area`, `places` (count, axes) sums of
        coordinates, `low` and `high` (count, axes) the half-open box, and `probability`, the sum
        of the own class's, if there are any.
    """
    from scipy import ndimage

    places = np.nonzero(labels)
    label = labels[places]
    boxes = ndimage.find_objects(labels)
    ends = {"low": [[side.start for side in box] for box in boxes]}
    ends["high"] = [[side.stop for side in box] for box in boxes]
    class_id = np.zeros(len(boxes) + 1, "int64")
    class_id[label] = mask[places]
    sums = {"class_id": class_id[1:], "area": np.bincount(label)[1:]}
    coordinates = [place + start for place, start in zip(places, corner, strict=True)]
    sums["places"] = np.stack([np.bincount(label, c)[1:] for c in coordinates], axis=-1)
    sums.update({name: np.array(sides) + np.array(corner) for name, sides in ends.items()})
    if probabilities is not None:
        own = _own_probability(probabilities, mask.shape, places, mask[places])
        sums["probability"] = np.bincount(label, own)[1:]
    return sums


def table_of_sums(sums, axes):
    """The lines of `object_table`, of sums as of `object_sums`."""
    area, names = sums["area"], "zyx"[-axes:]
    columns = {"class_id": sums["class_id"], "area": area}
    for axis, name in enumerate(names):
        columns[f"centroid_{name}"] = sums["places"][:, axis] / area
    for end, sides in (("low", ("front", "top", "left")), ("high", ("back", "bottom", "right"))):
        for axis, side in enumerate(sides[-axes:]):
            columns[side] = sums[end][:, axis]
    known = sums.get("probability")
    columns["mean_probability"] = np.full(len(area), None) if known is None else known / area
    values = [column.tolist() for column in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]


def _mean_by(label, values):
    return np.bincount(label, values) / np.maximum(np.bincount(label), 1)


def _own_probability(probabilities, mask_shape, places, class_ids):
    """The probability at each pixel of the pixel's own class."""
    probabilities = np.asarray(probabilities)
    if probabilities.ndim == len(mask_shape):
        probabilities = probabilities[..., None]
    channels = probabilities.shape[-1] if probabilities.ndim == len(mask_shape) + 1 else 0
    top = channels - 1 if channels > 1 else 1
    if probabilities.shape[:-1] != mask_shape or class_ids.max() > top:
        raise ValueError(
            "`probabilities` must have the shape (H, W, K) of a mask (H, W), or (D, H, W, K) of a "
            "mask (D, H, W), and a channel for each of its classes. Received: "
            f"probabilities.shape={probabilities.shape}, mask.shape={mask_shape}, largest class id "
            f"{class_ids.max()}"
        )
    return probabilities[(*places, class_ids if channels > 1 else 0)].astype("float64")


def _check_mask(name, mask):
    mask = np.asarray(mask)
    if mask.ndim in (2, 3) and mask.dtype.kind in "bui":
        return mask
    raise ValueError(
        f"`{name}` must hold integers in the shape (H, W) or (D, H, W). "
        f"Received: {name}.shape={mask.shape}, {name}.dtype={mask.dtype}"
    )


# ---- Matching -----------------------------------------------------------------------------------


def match_objects(
    true_labels: np.ndarray,
    predicted_labels: np.ndarray,
    criterion: str = "iou",
    threshold: float = 0.5,
) -> tuple[np.ndarray, np.ndarray]:
    """Matches true and predicted objects one to one: as many pairs as can be had.

    Of all matchings with that many pairs, one of the largest total IoU is taken.

    Args:
        true_labels: labels (H, W) or (D, H, W) as of `label_objects`: 0 is background.
        predicted_labels: labels of the predicted objects, likewise.
        criterion: `"iou"` admits pairs whose intersection over union is at least `threshold`;
            `"centre"` those where the predicted object's centroid, rounded to a pixel (halves up),
            lies in the true object.
        threshold: smallest IoU, in (0, 1]; of no meaning with `"centre"`.

    Returns:
        `(pairs, iou)`: pairs (M, 2) of true and predicted labels, ordered by the true ones, and
        their IoU (M,) float64.

    Raises:
        ValueError: if the shapes differ or an argument is out of range.

    Example:

    >>> true = np.array([[1, 1, 0, 2]])
    >>> predicted = np.array([[0, 3, 0, 1]])
    >>> pairs, iou = match_objects(true, predicted)
    >>> pairs.tolist(), iou.tolist()
    ([[1, 3], [2, 1]], [0.5, 1.0])
    """
    true_labels = _check_mask("true_labels", true_labels)
    predicted_labels = _check_mask("predicted_labels", predicted_labels)
    check_same_shape("true_labels", true_labels, "predicted_labels", predicted_labels)
    check_criterion(criterion, threshold)
    pairs, iou = _overlaps(true_labels, predicted_labels)
    if criterion == "centre":
        pairs, iou = _hits_by_centre(true_labels, predicted_labels, pairs, iou)
    else:
        pairs, iou = pairs[iou >= threshold], iou[iou >= threshold]
    chosen = _best_matching(pairs, iou)
    return pairs[chosen], iou[chosen]


def check_criterion(criterion, threshold):
    """Checks the two arguments that decide which pairs may match."""
    _checks.check_choice("criterion", criterion, CRITERIA)
    if not _checks.check_number("threshold", threshold, 0, 1):
        raise ValueError("`threshold` must be above 0: an IoU of 0 is no overlap. Received: 0")
    if criterion == "centre" and threshold != 0.5:
        raise ValueError(
            "`threshold` is an IoU, and criterion='centre' uses none. "
            f"Received: threshold={threshold}. Leave it out, or use criterion='iou'"
        )


def _overlaps(true_labels, predicted_labels):
    """All overlapping pairs (M, 2), ordered by true then predicted label, and their IoU (M,)."""
    true_area = np.bincount(true_labels.ravel())
    predicted_area = np.bincount(predicted_labels.ravel())
    both = (true_labels != 0) & (predicted_labels != 0)
    width = len(predicted_area)
    keys = true_labels[both].astype("int64") * width + predicted_labels[both]
    keys, intersection = np.unique(keys, return_counts=True)
    true, predicted = keys // width, keys % width
    union = true_area[true] + predicted_area[predicted] - intersection
    return np.stack([true, predicted], axis=1), intersection / union


def _hits_by_centre(true_labels, predicted_labels, overlapping, overlap_iou):
    """Pairs where the predicted centroid's pixel is of the true object, and their IoU.

    The centroid may lie outside its own object (a ring), so a pair's IoU may be 0.
    """
    places = np.nonzero(predicted_labels)
    label = predicted_labels[places]
    predicted = np.unique(label)
    centres = [np.floor(_mean_by(label, place)[predicted] + 0.5) for place in places]
    true = true_labels[tuple(centre.astype("int64") for centre in centres)].astype("int64")
    pairs = np.stack([true, predicted], axis=1)[true != 0]
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    overlapping = map(tuple, overlapping.tolist())
    known = dict(zip(overlapping, overlap_iou.tolist(), strict=True))
    return pairs, np.array([known.get(tuple(pair), 0.0) for pair in pairs.tolist()])


def _best_matching(pairs, iou):
    """Positions in `pairs` of a one-to-one choice: most pairs first, then the largest total IoU."""
    if not len(pairs):
        return np.zeros(0, "int64")
    rivals = _components(pairs)  # pairs that share an object, directly or by others
    alone = np.bincount(rivals)[rivals] == 1
    chosen = [np.flatnonzero(alone)]
    contested = np.flatnonzero(~alone)
    contested = contested[np.argsort(rivals[contested], kind="stable")]
    borders = np.flatnonzero(np.diff(rivals[contested])) + 1
    for group in np.split(contested, borders) if len(contested) else ():
        chosen.append(group[_assign(pairs[group], iou[group])])
    return np.sort(np.concatenate(chosen))


def _components(pairs):
    """The connected component of each pair in the graph of true and predicted objects."""
    from scipy.sparse import coo_array, csgraph

    true, row = np.unique(pairs[:, 0], return_inverse=True)
    predicted, column = np.unique(pairs[:, 1], return_inverse=True)
    size = len(true) + len(predicted)
    edges = coo_array((np.ones(len(pairs)), (row, len(true) + column)), shape=(size, size))
    return csgraph.connected_components(edges, directed=False)[1][row]


def _assign(pairs, iou):
    """`_best_matching` of one component, by the assignment problem on its small dense matrix."""
    from scipy.optimize import linear_sum_assignment

    true, row = np.unique(pairs[:, 0], return_inverse=True)
    predicted, column = np.unique(pairs[:, 1], return_inverse=True)
    position = np.full((len(true), len(predicted)), -1)
    position[row, column] = np.arange(len(pairs))
    gain = np.zeros(position.shape)
    # All IoUs together gain less than one pair more.
    gain[row, column] = 1 + iou / (len(pairs) + 1)
    chosen = position[linear_sum_assignment(gain, maximize=True)]
    return chosen[chosen >= 0]


def check_same_shape(name, array, other_name, other):
    """Raises a ValueError unless both arrays have one shape."""
    if array.shape != other.shape:
        raise ValueError(
            f"`{name}` and `{other_name}` must have one shape. "
            f"Received: {name}.shape={array.shape}, {other_name}.shape={other.shape}"
        )
