"""Image and mask files as NumPy arrays: PNG, JPEG and TIFF, 8 and 16 bit, any channels."""

import contextlib
import math
import os
from pathlib import Path

import numpy as np

from keras_deepskip._checks import check_integer, require
from keras_deepskip._files import replacing
from keras_deepskip.data import _tiff_bounds as _claims

MAX_PIXELS = 2**28  # of an image that is read whole; a file that claims more is refused
MAX_PIXELS_VARIABLE = "KERAS_DEEPSKIP_MAX_PIXELS"  # of the environment: another bound
BYTES_A_PIXEL = 16  # at most, with all channels: four of float32

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")

# ITU-R BT.601 luminance, the weights that Pillow's "L" mode uses too
_LUMINANCE = np.array([0.299, 0.587, 0.114])
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ORIENTATION_TAG = 274
_ALPHA_KINDS = (1, 2)  # TIFF ExtraSamples: associated and unassociated alpha


def read_image(path):
    """Reads an image file as it is, with the channels last.

    - PNG and JPEG: grey gives 1 channel, grey with alpha 2, RGB 3, RGBA 4; a palette is looked up
      (RGB), one-bit images become 0 and 255, CMYK becomes RGB. 16 bit stay 16 bit.
    - TIFF: any number of channels, first or last. Axes that the file names (`C`, `S`) decide;
      otherwise the channels are the smaller of the first and the last axis (the last if equal).
      A stack in depth or time (`Z`, `T`) is refused.
    - An EXIF (or TIFF) orientation is applied: the array is what a viewer shows.
    - A file that claims more than `max_pixels()` pixels, or 16 bytes for each of so many, is
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
    array, palette = _decode(path)
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
    path = Path(path)
    head = _head(path)
    if head.startswith(_TIFF):
        return read_image(path).shape[:2] if _tiff_is_unusual(path) else _tiff_size(path)
    with _naming(path), _opened(path) as image:
        width, height = image.size
        # Pillow decodes a PNG file to look for EXIF.
        plain = head.startswith(_PNG) and not _png_has_words(path)
        turned = not plain and image.getexif().get(_ORIENTATION_TAG, 1) >= 5
    return (width, height) if turned else (height, width)


def max_pixels():
    """Returns the number of pixels above which an image is not read whole.

    It is `MAX_PIXELS` (2^28, such as 16384 x 16384), or what the environment variable
    `KERAS_DEEPSKIP_MAX_PIXELS` says, so that processes that are started heed it too.

    Raises:
        ValueError: if the variable is no positive whole number.

    Example:

    >>> max_pixels() >= 2**20
    True
    """
    text = os.environ.get(MAX_PIXELS_VARIABLE) or str(MAX_PIXELS)
    if not text.strip().isdecimal() or int(text) < 1:
        raise ValueError(
            f"{MAX_PIXELS_VARIABLE} must be a whole number of at least 1. Received: {text!r}"
        )
    return int(text)


def check_size(path, height, width, bytes_a_pixel=1):
    """Refuses an image that claims more than is read whole; every reader calls it before decoding.

    Args:
        path: the file, for the error.
        height, width: what the file claims.
        bytes_a_pixel: of the decoded image, all channels.

    Raises:
        ValueError: if there are more pixels than `max_pixels()`, or more bytes than 16 times that.
    """
    most = max_pixels()
    pixels = int(height) * int(width)
    if pixels > most or pixels * bytes_a_pixel > most * BYTES_A_PIXEL:
        raise _TooLarge(
            f"{path}: an image of at most {most:,} pixels and {most * BYTES_A_PIXEL:,} bytes was "
            f"wanted. Received: a file that claims {height} x {width} pixels of {bytes_a_pixel:g} "
            f"bytes. If you trust it, set the environment variable {MAX_PIXELS_VARIABLE} to a "
            "larger number, or have it predicted in parts: `predict_tiled` reads TIFF, .npy and "
            "Zarr of any size"
        )


class _TooLarge(ValueError):
    """What `_naming` lets through as it is."""


def to_channels(image, channels, path):
    """Brings an image to the wanted number of channels, where that loses nothing by surprise.

    Grey is repeated to RGB; RGB becomes grey by luminance; alpha is dropped (RGBA, grey with
    alpha). A second or fourth channel of a TIFF counts as alpha only if the file says so: it may
    as well be a stain or an infrared band.

    Args:
        image: `(H, W, C)` array from `read_image`.
        channels: the wanted number.
        path: the image's file, for the error.

    Returns:
        `(H, W, channels)` array of the same dtype.

    Raises:
        ValueError: if there is no such way; it names the file and both numbers.

    Example:

    >>> to_channels(np.zeros((2, 2, 4), "uint8"), 3, "cell.png").shape
    (2, 2, 3)
    """
    channels, received = check_integer("channels", channels), image.shape[-1]
    if received == channels:
        return image
    if received in (2, 4) and channels in (1, 3) and _has_alpha(path):
        return to_channels(image[..., :-1], channels, path)
    if received == 1 and channels == 3:
        return np.repeat(image, 3, axis=-1)
    if received == 3 and channels == 1:
        grey = image.astype(np.float64) @ _LUMINANCE
        grey = grey if image.dtype == np.float32 else np.rint(grey)
        return grey[..., None].astype(image.dtype)
    raise ValueError(
        f"{path}: an image of {channels} channels was wanted. Received: {received} channels. "
        f"Give the number of channels as {received}, or convert the file"
    )


def write_png(path, array):
    """Writes an array as a PNG file, whole or not at all.

    Args:
        path: the file to write; folders are made.
        array: uint8 or uint16; `(H, W)` or `(H, W, 1)` grey, `(H, W, 3)` RGB.

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
            f"{path}: a uint8 or uint16 array of shape (H, W), (H, W, 1) or (H, W, 3) was wanted. "
            f"Received: {array.dtype} of shape {array.shape}"
        )
    with replacing(path) as temporary:
        if colour and array.dtype == np.uint16:
            codecs = require("imagecodecs", '"keras-deepskip[images]"', "16-bit colour PNG")
            temporary.write_bytes(codecs.png_encode(array))
        else:
            Image.fromarray(array).save(temporary, format="PNG")


# ------------------------------------------------------------------------------------- decoding


def _decode(path):
    """Returns `(H, W, C)` of any dtype, and a palette `(P, 3)` if the values are indices in it."""
    path = Path(path)
    head = _head(path)
    if head.startswith(_TIFF):
        return _decode_tiff(path)
    if head.startswith(_PNG) and _png_depth(head) == 16 and _png_has_colour(head):
        # Pillow would cut these to 8 bits without a word.
        codecs = require("imagecodecs", '"keras-deepskip[images]"', f"{path}: 16-bit colour PNG")
        with _naming(path):
            width, height = (int.from_bytes(head[at : at + 4], "big") for at in (16, 20))
            check_size(path, height, width, 8)
            array = codecs.png_decode(path.read_bytes())
        return _turned(array, _pillow_orientation(path)), None
    return _decode_pillow(path)


@contextlib.contextmanager
def _opened(path):
    """A PNG or JPEG as Pillow's image, of a size that may be decoded.

    `PIL.Image.open` is not used: it tries all the formats that Pillow knows, some of which start
    other programs, and has a bound of its own, at a part of which it warns.
    """
    from PIL import JpegImagePlugin, PngImagePlugin

    head = _head(path)
    if not head.startswith((_PNG, _JPEG)):
        raise ValueError(f"its first bytes, {head[:4]!r}, are of none of these")
    png = head.startswith(_PNG)
    kind = PngImagePlugin.PngImageFile if png else JpegImagePlugin.JpegImageFile
    with kind(str(path)) as image:  # reads the head of the file alone
        check_size(path, image.height, image.width, 4)
        yield image


def _decode_pillow(path):
    with _naming(path), _opened(path) as image:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
        palette = None
        if image.mode == "P":
            flat = image.getpalette("RGB")
            palette = np.zeros((256, 3), np.uint8)
            palette[: len(flat) // 3] = np.array(flat, np.uint8).reshape(-1, 3)
        elif image.mode in ("CMYK", "YCbCr", "LAB", "HSV", "PA"):
            image = image.convert("RGB")
        array = np.asarray(image)
    if array.dtype == np.int32:  # Pillow's "I": 16-bit grey with some tags
        array = array.astype(np.uint16)
    array = array[..., None] if array.ndim == 2 else array
    return _turned(array, orientation), palette


def _decode_tiff(path):
    import tifffile

    with _naming(path), tifffile.TiffFile(path) as file:
        series = _checked_series(file, path)
        page = series.keyframe
        try:
            array = series.asarray()
        except ValueError as error:
            if "imagecodecs" in str(error):
                require("imagecodecs", '"keras-deepskip[images]"', f"{path}: compressed TIFF")
            raise
        array = _channels_last(array, series.axes)
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            array = ~array if array.dtype.kind in "bu" else -array
        palette = None
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE and page.colormap is not None:
            palette = (page.colormap.T >> 8).astype(np.uint8)
        orientation = page.tags.get(_ORIENTATION_TAG)
    return _turned(array, 1 if orientation is None else int(orientation.value)), palette


def _checked_series(file, path):
    """The first series of a TIFF, once nothing in it claims more than may be decoded."""
    _claims.check_metadata(file, max_pixels() * BYTES_A_PIXEL)
    series = file.series[0]
    page = series.keyframe
    height, width = page.imagelength, page.imagewidth
    values = int(np.prod(series.shape, dtype=object)) * series.dtype.itemsize
    check_size(path, height, width, values / max(height * width, 1))
    check_tiles(file, series, path)
    return series


@contextlib.contextmanager
def opened_tiff(path):
    """Opens a TIFF to be read in parts, of any size: a `tifffile.TiffFile`; errors name the file.

    Raises:
        ValueError: if it is none, or its pages or description are not to be believed.
    """
    import tifffile

    with _naming(path), tifffile.TiffFile(path) as file:
        _claims.check_metadata(file, math.inf)
        yield file


def check_tiles(file, series, path):
    """Refuses a TIFF of which one tile, or what it is compressed as, claims too much.

    Args:
        file: a `tifffile.TiffFile`.
        series: one of its series.
        path: its path, for the error.

    Raises:
        ValueError: saying what it claims.
        ImportError: if it is compressed, and `imagecodecs` is missing.
    """
    page = series.keyframe
    if page.is_tiled:
        samples = page.samplesperpixel * page.tiledepth * series.dtype.itemsize
        check_size(path, page.tilelength, page.tilewidth, samples)
    if page.compression != 1:
        require("imagecodecs", '"keras-deepskip[images]"', f"{path}: compressed TIFF")
        _claims.check_segments(file, series)


def _channels_last(array, axes):
    """Brings a TIFF's array to `(H, W, C)`; `axes` names its axes, one letter each."""
    named = list(axes)
    for axis in range(array.ndim - 1, -1, -1):  # axes of length one say nothing
        if array.shape[axis] == 1 and named[axis] not in "YX" and array.ndim > 2:
            array = np.squeeze(array, axis)
            del named[axis]
    if array.ndim == 2:
        return array[..., None]
    if array.ndim != 3 or any(letter in "ZT" for letter in named):
        raise ValueError(
            f"an image of two dimensions and channels was wanted. Received: shape {array.shape}, "
            f"axes {''.join(named)}; write each slice as a file of its own"
        )
    channel = next((axis for axis, letter in enumerate(named) if letter in "SC"), None)
    if channel is None:
        channel = 2 if array.shape[2] <= array.shape[0] else 0
    return np.moveaxis(array, channel, -1)


def _tiff_is_unusual(path):
    """Whether a TIFF's size must be had by decoding: several pages, or turned."""
    import tifffile

    with _naming(path), tifffile.TiffFile(path) as file:
        page = file.pages[0]
        turned = page.tags.get(_ORIENTATION_TAG)
        _claims.check_metadata(file, max_pixels() * BYTES_A_PIXEL)
        return len(file.series[0].pages) > 1 or (turned is not None and int(turned.value) >= 5)


def _tiff_size(path):
    import tifffile

    with _naming(path), tifffile.TiffFile(path) as file:
        height, width = file.pages[0].imagelength, file.pages[0].imagewidth
        check_size(path, height, width)
        return height, width


def _turned(array, orientation):
    """Applies an EXIF orientation (1 to 8) to `(H, W, C)`: what is stored becomes what is shown."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    vertical = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    horizontal = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    return np.ascontiguousarray(array[vertical, horizontal])


def _pillow_orientation(path):
    with _naming(path), _opened(path) as image:
        return image.getexif().get(_ORIENTATION_TAG, 1)


def _has_alpha(path):
    """Whether the last of 2 or 4 channels is alpha: in PNG always, in TIFF if the file says so."""
    import tifffile

    path = Path(path)
    if path.suffix.lower() not in (".tif", ".tiff") or not path.is_file():
        return True
    with _naming(path), tifffile.TiffFile(path) as file:
        return any(int(kind) in _ALPHA_KINDS for kind in file.pages[0].extrasamples)


def _head(path):
    """The first bytes of a file, which tell what it is and, for PNG, its depth and colour type."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: an image file was wanted here, and there is no such file")
    with open(path, "rb") as file:
        head = file.read(32)
    if not head:
        raise ValueError(f"{path}: an image was wanted. Received: an empty file. Copy it again")
    return head


def _png_depth(head):
    return head[24] if len(head) > 25 else 0


def _png_has_colour(head):
    return head[25] in (2, 4, 6)  # RGB, grey with alpha, RGBA


def _png_has_words(path):
    """Whether a PNG has a chunk of EXIF or text, which alone can hold an orientation."""
    with open(path, "rb") as file:
        file.seek(len(_PNG))
        while len(start := file.read(8)) == 8:
            if start[4:] in (b"eXIf", b"tEXt", b"zTXt", b"iTXt"):
                return True
            file.seek(int.from_bytes(start[:4], "big") + 4, 1)
    return False


@contextlib.contextmanager
def _naming(path):
    """Turns whatever a decoder raises into a ValueError that names the file and the cause."""
    try:
        yield
    except (ImportError, _TooLarge):
        raise
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error and others
        fix = "Open it in a viewer; copy or convert it again, or take it out"
        raise ValueError(
            f"{path}: a PNG, JPEG or TIFF image was wanted. Received: a file that could not be "
            f"read ({str(error) or type(error).__name__}). {fix}"
        ) from error
