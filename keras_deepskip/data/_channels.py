"""Decoded images: palettes looked up, and brought to a number of channels."""

import os

import numpy as np

from keras_deepskip._checks import check_integer
from keras_deepskip.data import _decoders

# ITU-R BT.601 luminance, the weights that Pillow's "L" mode uses too
_LUMINANCE = np.array([0.299, 0.587, 0.114])


def image_of(array: np.ndarray, palette: np.ndarray | None) -> np.ndarray:
    """The image of what `_decoders.decode` returned, as `read_image` gives it."""
    if palette is not None:
        array = palette[array[..., 0]]
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255)
    return array if array.dtype in (np.uint8, np.uint16) else array.astype(np.float32)


def to_channels(image: np.ndarray, channels: int, path: str | os.PathLike) -> np.ndarray:
    """Brings an image to a number of channels, if no information is lost unexpectedly.

    Gray is repeated to RGB; RGB becomes gray by luminance; alpha is dropped (RGBA, gray with
    alpha). A second or fourth channel of a TIFF counts as alpha only if the file says so: it may
    as well be a stain or an infrared band.

    Args:
        image: `(H, W, C)` array from `read_image`.
        channels: the number of channels to return.
        path: the image's file, for the error.

    Returns:
        `(H, W, channels)` array of the same dtype.

    Raises:
        ValueError: if there is no such conversion; it names the file and both numbers.

    Example:

    >>> to_channels(np.zeros((2, 2, 1), "uint8"), 3, "cell.png").shape
    (2, 2, 3)
    """
    channels, received = check_integer("channels", channels), image.shape[-1]
    if received == channels:
        return image
    if received in (2, 4) and channels in (1, 3) and _decoders.has_alpha(path):
        return to_channels(image[..., :-1], channels, path)
    if received == 1 and channels == 3:
        return np.repeat(image, 3, axis=-1)
    if received == 3 and channels == 1:
        gray = image.astype(np.float64) @ _LUMINANCE
        gray = gray if image.dtype == np.float32 else np.rint(gray)
        return gray[..., None].astype(image.dtype)
    raise ValueError(
        f"{path}: an image of {channels} channels was expected. Received: {received} channels. "
        f"Give the number of channels as {received}, or convert the file"
    )
