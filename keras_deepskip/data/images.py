"""Image files as NumPy arrays: PNG, JPEG and TIFF, 8 and 16 bit, any channels."""

import numpy as np

from keras_deepskip._checks import check_integer, require
from keras_deepskip._files import replacing
from keras_deepskip.data import _decoders

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")

# ITU-R BT.601 luminance, the weights that Pillow's "L" mode uses too
_LUMINANCE = np.array([0.299, 0.587, 0.114])


def read_image(path):
    """Reads an image file as it is, with the channels last.

    - PNG and JPEG: gray gives 1 channel, gray with alpha 2, RGB 3, RGBA 4; a palette is looked up
      (RGB), one-bit images become 0 and 255, CMYK becomes RGB. 16 bit stay 16 bit.
    - TIFF: any number of channels, first or last. Axes that the file names (`C`, `S`) decide;
      otherwise the channels are the smaller of the first and the last axis (the last if equal).
      A stack in depth or time (`Z`, `T`) is refused.
    - An EXIF (or TIFF) orientation is applied: the array is what a viewer shows.
    - A file that declares more than `max_pixels()` pixels, or 16 bytes for each of so many, is
      refused before it is decoded.

    Args:
        path: the file. Its first bytes decide what it is, not its suffix.

    Returns:
        `(H, W, C)` array of dtype uint8, uint16 or float32 (other numbers become float32).

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is empty, cut off, too large, no image, or a stack; it names file
            and cause.
        ImportError: if a 16-bit colour PNG or a compressed TIFF needs `imagecodecs`.

    Example:

    >>> write_png("/tmp/keras_deepskip_doc.png", np.zeros((4, 6), "uint8"))
    >>> read_image("/tmp/keras_deepskip_doc.png").shape
    (4, 6, 1)
    """
    return image_of(*_decoders.decode(path))


def image_of(array, palette):
    """The image of what `_decoders.decode` returned, as `read_image` gives it."""
    if palette is not None:
        array = palette[array[..., 0]]
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255)
    return array if array.dtype in (np.uint8, np.uint16) else array.astype(np.float32)


def image_size(path):
    """Returns `(height, width)` of an image file as `read_image` would, mostly without decoding.

    Raises:
        FileNotFoundError, ValueError: as `read_image`, as far as the file's head shows it.
    """
    return _decoders.size_of(path)


def to_channels(image, channels, path):
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

    >>> to_channels(np.zeros((2, 2, 4), "uint8"), 3, "cell.png").shape
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


def write_png(path, array):
    """Writes an array as a PNG file, atomically.

    Args:
        path: the file to write; folders are made.
        array: uint8 or uint16; `(H, W)` or `(H, W, 1)` gray, `(H, W, 3)` RGB.

    Raises:
        ValueError: for other shapes and dtypes.
        ImportError: if `imagecodecs` is missing, for 16-bit RGB.
        OSError: if the file cannot be written.

    Example:

    >>> write_png("/tmp/keras_deepskip_doc.png", np.zeros((4, 6, 3), "uint8"))
    """
    from PIL import Image

    array = np.asarray(array)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    colour = array.ndim == 3 and array.shape[-1] == 3
    if array.dtype not in (np.uint8, np.uint16) or not (colour or array.ndim == 2):
        raise ValueError(
            f"{path}: a uint8 or uint16 array of shape (H, W), (H, W, 1) or (H, W, 3) was "
            "expected. "
            f"Received: {array.dtype} of shape {array.shape}"
        )
    with replacing(path) as temporary:
        if colour and array.dtype == np.uint16:
            codecs = require("imagecodecs", '"keras-deepskip[images]"', "16-bit colour PNG")
            temporary.write_bytes(codecs.png_encode(array))
        else:
            Image.fromarray(array).save(temporary, format="PNG")
