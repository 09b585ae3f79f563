"""Objects of successive frames known again by where they overlap."""

import numpy as np

from keras_deepskip.objects.labels import check_mask
from keras_deepskip.objects.matching import check_criterion, check_same_shape, match_objects

OVERLAP = 0.1  # IoU from which on two objects of successive frames may be one


class ObjectTracker:
    """Numbers the objects of frames so that one that stays keeps its number.

    An object takes the number of the one in the frame before, of its own class, that it overlaps,
    one to one: as many as can be had, then those of the largest IoU. All others are new. It is
    simple, and knows no more than one frame: objects that move by more than their own size between
    frames, or are missing in one, come back as new ones.

    Args:
        threshold: least IoU of an object with itself in the frame before, above 0.

    Raises:
        ValueError: if `threshold` is not in (0, 1].

    Example:

    >>> tracker = ObjectTracker()
    >>> for frame in ([1, 1, 1, 0, 0, 0], [0, 1, 1, 1, 0, 2]):
    ...     labels = np.array([frame])
    ...     print(tracker.follow(labels > 0, labels).tolist())
    [[1, 1, 1, 0, 0, 0]]
    [[0, 1, 1, 1, 0, 2]]
    """

    def __init__(self, threshold: float = OVERLAP):
        check_criterion("iou", threshold)
        self.threshold = threshold
        self.count = 0
        self._before: tuple[np.ndarray, np.ndarray] | None = None

    def follow(self, mask: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Takes the next frame. After one of another size all objects are new.

        Args:
            mask: class ids (H, W) or (D, H, W).
            labels: which object each pixel is of, likewise, as in `label_objects`; none is of two
                classes.

        Returns:
            Their lasting numbers, an int32 array of the same shape; 0 is no object.

        Raises:
            ValueError: if the arrays are no such, or their shapes differ.
        """
        mask, labels = check_mask("mask", mask), check_mask("labels", labels)
        check_same_shape("mask", mask, "labels", labels)
        numbers = np.zeros(int(labels.max(initial=0)) + 1, "int32")
        for known, own in self._pairs(mask, labels):
            numbers[own] = known
        new = np.unique(labels[labels > 0])
        new = new[numbers[new] == 0]
        numbers[new] = self.count + np.arange(1, len(new) + 1)
        self.count += len(new)
        lasting = numbers[labels]
        self._before = mask.copy(), lasting
        return lasting

    def _pairs(self, mask, labels):
        """Pairs of lasting numbers and labels of this frame."""
        if self._before is None or self._before[0].shape != mask.shape:
            return
        before, lasting = self._before
        for class_id in np.unique(mask[labels > 0]):
            known = np.where(before == class_id, lasting, 0)
            own = np.where(mask == class_id, labels, 0)
            pairs, _ = match_objects(known, own, threshold=self.threshold)
            yield from pairs.tolist()
