"""The class and the object of each pixel as one whole number: what moves pixels moves both."""

import numpy as np

OBJECT_BITS = 32  # of a key, above those of the class


def keys_of(mask: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """One number for each pair of a class id and an object number; that of the background is 0.

    Args:
        mask: class ids (H, W), integers of 32 bits.
        objects: numbers of the objects (H, W), 0 for none.

    Returns:
        `(H, W)` int64.
    """
    return (objects.astype("int64") << OBJECT_BITS) | (mask.astype("int64") & (2**OBJECT_BITS - 1))


class CodedCrop:
    """A crop's keys as small numbers, which an augmentation takes in place of class ids.

    Args:
        keys: as in `keys_of`.

    Attributes:
        codes: (H, W) int32; 0 is the background.

    Example:

    >>> keys = keys_of(np.array([[0, 2, 2, 1]]), np.array([[0, 7, 9, 3]]))
    >>> crop = CodedCrop(keys)
    >>> [plane.tolist() for plane in crop.decoded(crop.codes[:, ::-1])]
    [[[1, 2, 2, 0]], [[1, 3, 2, 0]]]
    """

    def __init__(self, keys):
        values = np.unique(keys[keys != 0])
        codes = np.searchsorted(values, keys) + 1
        self.codes = np.where(keys == 0, 0, codes).astype(np.int32)
        self._classes = [0, *map(_class_of, values.tolist())]
        self._is_object = [False, *(values >> OBJECT_BITS > 0).tolist()]

    def add(self, key: int) -> int:
        """Makes room for one more object, of the class of a key; returns its code."""
        self._classes.append(_class_of(key))
        self._is_object.append(True)
        return len(self._classes) - 1

    def decoded(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The class id and the object's number of each code, both int32 of the codes' shape.

        Numbers are 1, 2, ... in no order that means something; some may be missing.
        """
        mask = np.array(self._classes, np.int32)[codes]
        number = np.cumsum(self._is_object) * self._is_object
        return mask, number.astype(np.int32)[codes]


def _class_of(key):
    """The class id of a key, which may be negative."""
    value = key & (2**OBJECT_BITS - 1)
    return value - 2**OBJECT_BITS if value >> (OBJECT_BITS - 1) else value
