"""Matching of true and predicted objects, one to one."""

import numpy as np

from keras_deepskip import _checks
from keras_deepskip.objects.labels import check_mask

CRITERIA = ("iou", "centre")


def match_objects(
    true_labels: np.ndarray,
    predicted_labels: np.ndarray,
    criterion: str = "iou",
    threshold: float = 0.5,
) -> tuple[np.ndarray, np.ndarray]:
    """Matches true and predicted objects one to one: as many pairs as can be had.

    Of all matchings with that many pairs, one of the largest total IoU is taken.

    Args:
        true_labels: labels (H, W) or (D, H, W) as in `label_objects`: 0 is background.
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
    true_labels = check_mask("true_labels", true_labels)
    predicted_labels = check_mask("predicted_labels", predicted_labels)
    check_same_shape("true_labels", true_labels, "predicted_labels", predicted_labels)
    true_labels = _numbers("true_labels", true_labels)
    predicted_labels = _numbers("predicted_labels", predicted_labels)
    check_criterion(criterion, threshold)
    pairs, iou = overlapping_pairs(true_labels, predicted_labels)
    if criterion == "centre":
        pairs, iou = _hits_by_centre(true_labels, predicted_labels, pairs, iou)
    else:
        pairs, iou = pairs[iou >= threshold], iou[iou >= threshold]
    chosen = _best_matching(pairs, iou)
    return pairs[chosen], iou[chosen]


def _numbers(name, labels):
    """Labels that can be counted: from 0 on, in a type that has a sign."""
    if labels.min(initial=0) < 0:
        raise ValueError(f"`{name}` must be 0 or more. Received: {labels.min()}")
    return labels.astype("int64") if labels.dtype in ("bool", "uint64") else labels


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


def overlapping_pairs(
    true_labels: np.ndarray, predicted_labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Finds all true and predicted objects that share a pixel.

    Args:
        true_labels, predicted_labels: as in `match_objects`.

    Returns:
        `(pairs, iou)`: pairs (M, 2) of true and predicted labels, ordered by the true ones, then
        the predicted ones, and their IoU (M,) float64.

    Example:

    >>> pairs, iou = overlapping_pairs(np.array([[1, 1, 2]]), np.array([[0, 1, 1]]))
    >>> pairs.tolist(), iou.round(2).tolist()
    ([[1, 1], [2, 1]], [0.33, 0.5])
    """
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


def _mean_by(label, values):
    return np.bincount(label, values) / np.maximum(np.bincount(label), 1)


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
