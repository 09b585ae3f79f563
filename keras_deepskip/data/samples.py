"""One image with its mask, and how both are read."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from keras_deepskip.data import images, masks, no_data
from keras_deepskip.data.masks import MaskReading
from keras_deepskip.objects import objects_by_ids


@dataclasses.dataclass(frozen=True)
class Sample:
    """One image with its mask.

    Attributes:
        name: the image's file name without suffix; unique in its folder.
        image: path of the image.
        mask: path of the mask, or an object with `read(ignore_class)` (COCO), or None.
        instances: path of the image of object ids, or None; see `load_objects`.
        group: name of the group that must stay in one part of a split.
    """

    name: str
    image: Path
    mask: Any = None
    group: str = ""
    instances: Path | None = None


def load_image(sample: Sample, channels: int) -> np.ndarray:
    """Reads a sample's image with a number of channels.

    Args:
        sample: a `Sample`.
        channels: the number of channels to return.

    Returns:
        `(H, W, channels)` array in the file's dtype.

    Raises:
        ValueError: as `read_image` and `to_channels`.

    Example:

    ```python
    image = load_image(sample, channels=3)
    ```
    """
    return images.to_channels(images.read_image(sample.image), channels, sample.image)


def load_mask(sample: Sample, reading: MaskReading | None = None) -> np.ndarray:
    """Reads a sample's mask as class ids.

    Args:
        sample: a `Sample` with a mask.
        reading: a `MaskReading`, as in `read_mask`; None reads masks of one class.

    Returns:
        `(H, W)` int32 array.

    Raises:
        ValueError: if the sample has no mask. Else as `read_mask`.

    Example:

    ```python
    mask = load_mask(sample, MaskReading(num_classes=4))
    ```
    """
    if sample.mask is None:
        raise ValueError(f"{sample.image}: a sample with a mask was expected. Received: mask=None")
    if hasattr(sample.mask, "read"):
        reading = masks.ONE_CLASS if reading is None else reading
        mask = sample.mask.read(ignore_class=reading.ignore_class)
        return masks.check_classes(mask, reading, sample.mask)
    return images.read_mask(sample.mask, reading)


def load_pair(
    sample: Sample, channels: int, reading: MaskReading | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Reads a sample's image and mask, and checks that their sizes agree.

    Args:
        sample: a `Sample` with a mask.
        channels: the number of channels to return.
        reading: a `MaskReading`, as in `read_mask`; None reads masks of one class.

    Returns:
        `(image, mask)`: `(H, W, channels)` in the file's dtype and `(H, W)` int32. Where the image
        has no data (NaN) the mask holds the ignored class, -1 if `reading` has none.

    Raises:
        ValueError: if the sizes differ; it names both files and sizes. Else as `load_image` and
            `load_mask`.

    Example:

    ```python
    image, mask = load_pair(sample, channels=3, reading=MaskReading(num_classes=4))
    ```
    """
    image = load_image(sample, channels)
    mask = load_mask(sample, reading)
    if image.shape[:2] != mask.shape:
        raise ValueError(
            f"{sample.image}: image and mask of one size were expected. Received: image "
            f"{image.shape[0]} x {image.shape[1]}, mask {mask.shape[0]} x {mask.shape[1]} "
            f"({sample.mask}). Draw the mask for this image, or take the pair out"
        )
    ignored = None if reading is None else reading.ignore_class
    return image, no_data.ignore_in(mask, image, ignored)


def load_objects(
    sample: Sample, mask: np.ndarray, reading: MaskReading | None = None
) -> np.ndarray:
    """Reads which object each pixel of a sample's mask is of.

    The ids are those of `instances/`, of the mask itself where it is one of object ids
    (`MaskReading(kind="objects")`), or the annotations of a COCO file. An object is all pixels of
    one id and class, in how many pieces it may lie. Object pixels of the mask that the ids leave
    out are objects by their connected components, as all are where a sample has no ids. Ids outside
    the mask's objects count for nothing.

    Args:
        sample: a `Sample`.
        mask: its class ids (H, W), as in `load_pair`; what is not above 0 is no object.
        reading: the `MaskReading` of the mask, or None. Its ignored class is no object.

    Returns:
        `(H, W)` int32 numbers of the objects from 1 on, 0 for none.

    Raises:
        ValueError: if the sizes differ, or the file is no image of one channel of whole numbers.

    Example:

    ```python
    image, mask = load_pair(sample, channels=3)
    print(load_objects(sample, mask).max(), "objects")
    ```
    """
    ignored = None if reading is None else reading.ignore_class
    inside = np.where((mask > 0) & (mask != ignored), mask, 0)
    ids = _ids_of(sample, reading)
    if ids is not None and ids.shape != mask.shape:
        raise ValueError(
            f"{sample.instances or sample.mask}: object ids of the mask's size were expected. "
            f"Received: {ids.shape[0]} x {ids.shape[1]}, mask {mask.shape[0]} x {mask.shape[1]}. "
            "Draw them for this image, or take the file out"
        )
    return objects_by_ids(inside, ids)


def has_objects(sample: Sample, reading: MaskReading | None = None) -> bool:
    """Whether a sample says which object each pixel of its mask is of (see `load_objects`)."""
    of_mask = reading is not None and reading.kind == "objects" and isinstance(sample.mask, Path)
    return sample.instances is not None or of_mask or hasattr(sample.mask, "read_objects")


def _ids_of(sample, reading):
    """The object ids of a sample (H, W), or None."""
    if not has_objects(sample, reading):
        return None
    if sample.instances is None and hasattr(sample.mask, "read_objects"):
        return sample.mask.read_objects()
    return _read_ids(sample.instances or sample.mask)


def _read_ids(path):
    """Ids are numbers, whatever a viewer shows of them: they are read as masks are."""
    ids = masks.labels_in(path)
    if ids.ndim != 2 or ids.min() < 0:
        raise ValueError(
            f"{path}: one channel of object ids, whole numbers of at least 0, was expected. "
            f"Received: shape {ids.shape}, {ids.dtype}. Save it as PNG or TIFF of 8, 16 or 32 bits"
        )
    return ids
