"""Files of images and masks as NumPy arrays: PNG, JPEG and TIFF, 8 and 16 bit, any channels."""

import os

import numpy as np

from keras_deepskip._checks import require
from keras_deepskip._files import replacing
from keras_deepskip.data import _decoders, masks, no_data
from keras_deepskip.data._channels import image_of
from keras_deepskip.data._channels import to_channels as to_channels
from keras_deepskip.data._limits import max_pixels as max_pixels
from keras_deepskip.data.masks import MaskReading

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Reads an image file as it is, with the channels last.

    - PNG and JPEG: gray gives 1 channel, gray with alpha 2, RGB 3, RGBA 4; a palette is looked up
      (RGB), one-bit images become 0 and 255, CMYK becomes RGB. 16 bit stay 16 bit.
    - TIFF: any number of channels, first or last. Axes that the file names (`C`, `S`) decide;
      otherwise the channels are the smaller of the first and the last axis (the last if equal).
      A stack in depth or time (`Z`, `T`) is refused.
    - Pixels that a GeoTIFF declares as no data become NaN, and the image float32: of integers where
      all channels have the declared value, of floats where any has.
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
    return decode_image(path)[0]


def decode_image(path: str | os.PathLike, data: bytes | None = None) -> tuple[np.ndarray, str]:
    """As `read_image`; returns also the number type without regard to pixels of no data.

    Args:
        path: the file.
        data: its bytes if they have been read already (PNG and JPEG), else None.
    """
    array, palette = _decoders.decode(path, data)
    image = image_of(array, palette)
    kind, value = str(image.dtype), _decoders.declared_no_data(path, data)
    if value is not None:  # the stored numbers are compared: float32 may not hold them
        image = image_of(no_data.marked(array, value), palette)
    return image, kind


def read_mask(path: str | os.PathLike, reading: MaskReading | None = None) -> np.ndarray:
    """Reads a mask file as class ids; 0 is the background.

    - `num_classes=1`: values 0 and 1. A mask whose only values are 0 and 255 (in 16 bit also
      65535) is read as 0 and 1, unless that value is the `ignore_class`.
    - `num_classes=K`: ids 0 to K - 1; K counts the background (3 kinds of object: 4).
    - `num_classes=None`: the file's values as they are.
    - A palette PNG gives its indices (as in Pascal VOC). A gray mask saved as RGB is read as gray.
      A palette of one colour and black, in this order, or of 256 greys from white to black, gives
      0 where it is black and 255 elsewhere: what a viewer shows.
    - A mask in the alpha channel of one colour gives 0 where it is transparent.
    - `colors`: each pixel's colour is looked up (a palette's colours then, not its indices).
    - `kind`, `values`: see `MaskReading`.

    Args:
        path: the file.
        reading: a `MaskReading`; None reads masks of one class, `MaskReading(num_classes=1)`.

    Returns:
        `(H, W)` int32 array.

    Raises:
        ValueError: if a value is no class id, or a colour is not in `colors`; it names the file
            and what was found. Also as `read_image`.

    Example:

    >>> write_png("/tmp/keras_deepskip_doc.png", np.array([[0, 255]], "uint8"))
    >>> read_mask("/tmp/keras_deepskip_doc.png").tolist()
    [[0, 1]]
    """
    reading = masks.ONE_CLASS if reading is None else reading
    if reading.colors is None:
        mask = reading.classes_of(masks.read_ids(path), path)
    else:
        array, palette = _decoders.decode(path, shown=False)
        mask = masks.ids_of_colors(array, palette, reading.colors, path)
    return masks.check_classes(mask.astype(np.int32), reading, path)


def image_size(path: str | os.PathLike) -> tuple[int, int]:
    """Returns `(height, width)` of an image file as `read_image` would, mostly without decoding.

    Raises:
        FileNotFoundError, ValueError: as `read_image`, as far as the file's head shows it.
    """
    return _decoders.size_of(path)


def write_png(
    path: str | os.PathLike, array: np.ndarray, palette: np.ndarray | None = None
) -> None:
    """Writes an array as a PNG file, atomically.

    Args:
        path: the file to write; folders are made.
        array: uint8 or uint16; `(H, W)` or `(H, W, 1)` gray, `(H, W, 3)` RGB.
        palette: `(256, 3)` uint8, the colours in which viewers show the values of a uint8 array
            `(H, W)`; None has them gray. Of a uint16 array it is left out: PNG has none.

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
            picture = Image.fromarray(array)
            if palette is not None and array.dtype == np.uint8:
                picture.putpalette(palette.tobytes())
            picture.save(temporary, format="PNG")
