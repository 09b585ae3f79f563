"""Pixels without data: NaN in images of floats, and what a GeoTIFF declares as no data.

They are left out of statistics, ignored in truth, and background in predictions. In between a
network takes them as pixels of the mean, as it can do nothing with NaN.
"""

import numpy as np

IGNORED = -1  # value of such pixels in masks where no ignored class is given


def marked(image: np.ndarray, value: float) -> np.ndarray:
    """An image as float32, NaN where it has no data.

    Args:
        image: `(..., C)` array as stored.
        value: what its file declares as no data. A pixel of floats has none if any channel is this
            value, one of integers if all are, as 0 may well be a colour's share.

    Returns:
        float32 array of the same shape; the image itself if its kind of number lacks the value.

    Example:

    >>> marked(np.array([[0, 7], [0, 0]], "uint8"), 0).tolist()
    [[0.0, 7.0], [nan, nan]]
    """
    kind = image.dtype
    if kind.kind in "ui":
        limits = np.iinfo(kind)
        if not limits.min <= value <= limits.max or value != int(value):
            return image
        without = (image == kind.type(value)).all(axis=-1)
    elif kind.kind == "f":
        with np.errstate(over="ignore"):
            without = (image == kind.type(value)).any(axis=-1)
    else:
        return image
    image = image.astype(np.float32)
    image[without] = np.nan
    return image


def missing(image: np.ndarray) -> np.ndarray | None:
    """Where an image `(..., C)` has no data: `(...)` bool; None if it has all."""
    if image.dtype.kind != "f":
        return None
    found = np.isnan(image).any(axis=-1)
    return found if found.any() else None


def filled(image: np.ndarray, values: float | np.ndarray) -> np.ndarray:
    """An image `(..., C)` with values, one for all channels or one each, where it has no data."""
    places = missing(image)
    if places is None:
        return image
    image = image.copy()
    image[places] = values
    return image


def ignored_id(ignore_class: int | None) -> int:
    """The value of pixels without data in masks: the ignored class; `IGNORED` if there is none."""
    return IGNORED if ignore_class is None else ignore_class


def ignore_in(mask: np.ndarray, image: np.ndarray, ignore_class: int | None) -> np.ndarray:
    """A mask `(...)` of class ids with the ignored class where the image `(..., C)` has no data.

    Args:
        mask: class ids.
        image: the image.
        ignore_class: the ignored class; None takes `IGNORED`.
    """
    places = missing(image)
    if places is None:
        return mask
    return np.where(places, ignored_id(ignore_class), mask)
