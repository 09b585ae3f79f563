"""Where a model decides: which pixels are object, which objects count, and whether they touch.

The point is chosen on validation images at the end of training and travels in the model's file.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_deepskip import _checks
from keras_deepskip.layers.image_normalization import image_normalization_of
from keras_deepskip.metrics import masks_from_outputs
from keras_deepskip.objects import label_objects, remove_small, separate_objects


@dataclasses.dataclass(frozen=True)
class OperatingPoint:
    """A threshold and the area of the smallest object.

    Attributes:
        threshold: probability above which a pixel is predicted positive; of several classes as in
            `metrics.masks_from_outputs`.
        min_area: least area of a predicted object in pixels, one number or one for each class id
            (that of the background says nothing). Smaller components are background, and smaller
            parts stay with the object that they touch.
        separate: whether objects that touch are told apart by their shape (`separate_objects`);
            else an object is a connected component.

    Raises:
        ValueError: if a number is out of range.

    Example:

    >>> point = OperatingPoint(threshold=0.3, min_area=2)
    >>> point.masks(np.array([[[[0.9], [0.4], [0.1], [0.6]]]])).tolist()
    [[[1, 1, 0, 0]]]
    """

    threshold: float = 0.5
    min_area: int | tuple[int, ...] = 0
    separate: bool = False

    def __post_init__(self):
        # Plain numbers are kept, as JSON does not know those of NumPy.
        plain = {
            "threshold": _checks.check_number("threshold", self.threshold, 0, 1),
            "min_area": _plain(self.min_area),
            "separate": bool(self.separate),
        }
        for name, value in plain.items():
            object.__setattr__(self, name, value)

    def masks(self, outputs: np.ndarray) -> np.ndarray:
        """Masks of class ids (N, H, W) of a model's probabilities (N, H, W, K)."""
        masks = masks_from_outputs(outputs, self.threshold)
        for index, mask in enumerate(masks):
            masks[index] = remove_small(mask, self.min_area)
        return masks

    def labels(self, mask: np.ndarray) -> tuple[np.ndarray, int]:
        """Which object each pixel of a mask (H, W) is of: `(labels, count)`."""
        if self.separate:
            return separate_objects(mask, min_area=self.min_area)
        return label_objects(mask)

    def replaced(
        self,
        threshold: float | None = None,
        min_area: int | Sequence[int] | None = None,
        separate: bool | None = None,
    ) -> "OperatingPoint":
        """The point with what is given in place of its own."""
        return OperatingPoint(
            self.threshold if threshold is None else threshold,
            self.min_area if min_area is None else _plain(min_area),
            self.separate if separate is None else separate,
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields as a plain dict, for JSON."""
        return dataclasses.asdict(self)


def operating_point_of(model: keras.Model) -> OperatingPoint:
    """The operating point that a model's file holds; that of 0.5 and any area if there is none.

    Example:

    >>> operating_point_of(keras_deepskip.build_model()).threshold
    0.5
    """
    layer = image_normalization_of(model)
    point = None if layer is None else layer.operating_point
    return OperatingPoint() if point is None else OperatingPoint(**point)


def store_operating_point(model: keras.Model, point: OperatingPoint) -> bool:
    """Has a model hold an operating point, which is saved with it.

    Args:
        model: a `keras.Model`, such as `build_model` returns.
        point: the `OperatingPoint`.

    Returns:
        Whether it could: a model without `layers.ImageNormalization` has no place for it.

    Example:

    >>> model = keras_deepskip.build_model()
    >>> store_operating_point(model, OperatingPoint(0.3))
    True
    >>> operating_point_of(model).threshold
    0.3
    """
    layer = image_normalization_of(model)
    if layer is not None:
        layer.operating_point = point.to_dict()
    return layer is not None


def _plain(min_area):
    if isinstance(min_area, tuple | list | np.ndarray):
        return tuple(_checks.check_integer("min_area", area, minimum=0) for area in min_area)
    return _checks.check_integer("min_area", min_area, minimum=0)
