"""Tables of objects: class, area, centroid, box, mean probability."""

import numpy as np

from keras_deepskip.objects.labels import label_objects


def object_table(
    mask: np.ndarray,
    probabilities: np.ndarray | None = None,
    connectivity: int = 8,
    multilabel: bool | None = None,
    labels: np.ndarray | None = None,
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
        labels: which object each pixel is of, as in `separate_objects` or an `ObjectTracker`; None
            takes connected components. Not of a multilabel mask.

    Returns:
        A list of dicts, one an object in the order of their labels, with `class_id` (a multilabel
        mask: the channel), `area` in pixels, `centroid_y`, `centroid_x`, the box `top`, `left`,
        `bottom`, `right` (half-open: `mask[top:bottom, left:right]` holds the object), and
        `mean_probability` of its class over its pixels, or None without `probabilities`. Of a
        volume, `area` is the number of voxels, and there are `centroid_z`, `front` and `back`
        (`mask[front:back, top:bottom, left:right]`).

    Raises:
        ValueError: if `mask` has other axes, or `probabilities` does not fit it.

    Example:

    >>> row = object_table(np.array([[0, 1, 1], [0, 0, 0]]))[0]
    >>> row["area"], row["centroid_y"], row["centroid_x"], row["right"]
    (2, 0.0, 1.5, 3)
    """
    mask = np.asarray(mask)
    if multilabel is None:
        multilabel = mask.ndim > 2 and labels is None
    if multilabel and labels is not None:
        raise ValueError("`labels` are of a mask of class ids. Received: some, and multilabel=True")
    if multilabel:
        rows = []
        for channel in range(mask.shape[-1]):
            own = None if probabilities is None else np.asarray(probabilities)[..., channel]
            table = object_table(mask[..., channel] != 0, own, connectivity, multilabel=False)
            rows += [{**row, "class_id": channel} for row in table]
        return rows
    if labels is None:
        labels, _ = label_objects(mask, connectivity)
    if not labels.any():
        return []
    sums = object_sums(labels, mask, probabilities, (0,) * mask.ndim)
    return table_of_sums(sums, mask.ndim)


def object_sums(labels, mask, probabilities, corner):
    """Sums over each object's pixels, from which its line of the table is worked out.

    Args:
        labels: as in `label_objects`, at least one; numbers may be absent, as a tracker's are.
        mask: the class ids.
        probabilities: as in `object_table`, or None.
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
    boxes = [(number, box) for number, box in enumerate(ndimage.find_objects(labels), 1) if box]
    there = np.array([number for number, _ in boxes])
    ends = {"low": [[side.start for side in box] for _, box in boxes]}
    ends["high"] = [[side.stop for side in box] for _, box in boxes]
    class_id = np.zeros(there[-1] + 1, "int64")
    class_id[label] = mask[places]
    sums = {"class_id": class_id[there], "area": np.bincount(label)[there]}
    coordinates = [place + start for place, start in zip(places, corner, strict=True)]
    sums["places"] = np.stack([np.bincount(label, c)[there] for c in coordinates], axis=-1)
    sums.update({name: np.array(sides) + np.array(corner) for name, sides in ends.items()})
    if probabilities is not None:
        own = _own_probability(probabilities, mask.shape, places, mask[places])
        sums["probability"] = np.bincount(label, own)[there]
    return sums


def table_of_sums(sums, axes):
    """The lines of `object_table`, of sums as in `object_sums`."""
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
    channel = class_ids.astype("int64") if channels > 1 else 0  # of a boolean mask, too
    return probabilities[(*places, channel)].astype("float64")
