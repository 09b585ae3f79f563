"""One image with its mask, and how both are read."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from keras_deepskip.data import images, masks, no_data
from keras_deepskip.data.masks import MaskReading


@dataclasses.dataclass(frozen=True)
class Sample:
    """One image with its mask.

    Attributes:
        name: the image's file name without suffix; unique in its folder.
        image: path of the image.
        mask: path of the mask, or an object with `read(ignore_class)` (COCO), or None.
        group: name of the group that must stay in one part of a split.
    """

    name: str
    image: Path
    mask: Any = None
    group: str = ""


def load_image(sample: Sample, channels: int) -> np.ndarray:
    """Reads a sample's image with a number of channels.

    Args:
        sample: a `Sample`.
        channels: the number of channels to return.

    Returns:
        `(H, W, channels)` array in the file's dtype.

    Raises:
        As `read_image` and `to_channels`.

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
