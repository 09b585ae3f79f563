"""Decoding of PNG, JPEG and TIFF files: values, palettes, orientation, alpha."""

import contextlib
import io
import math
from pathlib import Path

import numpy as np

from keras_deepskip._checks import require
from keras_deepskip.data import _tiff_bounds
from keras_deepskip.data._limits import BYTES_PER_PIXEL, check_size, max_pixels, naming_file

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
EXPECTED = "a PNG, JPEG or TIFF image"
_ORIENTATION_TAG = 274
_NO_DATA_TAG = 42113  # GDAL_NODATA
_MOST_TAG = 281  # MaxSampleValue
# TIFF PhotometricInterpretation: white or black is 0, RGB, palette, mask, inks, YCbCr, linear raw
_SHOWN_AS_STORED = (0, 1, 2, 3, 4, 5, 6, 34892)
_ALPHA_KINDS = (1, 2)  # TIFF ExtraSamples: associated and unassociated alpha


def decode(path, data=None, shown=True):
    """Decodes a file.

    Args:
        path: the file.
        data: its bytes if they have been read already (PNG and JPEG), else None.
        shown: whether a look-up table of ImageJ that inverts a TIFF applies, as in a viewer. Of
            masks the values count, as they do for ImageJ.

    Returns:
        `(H, W, C)` array of any dtype, and a palette `(P, 3)` if the values are indices in it.
    """
    path = Path(path)
    head = head_of(path, data)
    if head.startswith(TIFF):
        return _decode_tiff(path, shown)
    if head.startswith(PNG) and png_depth(head) == 16 and _png_has_colour(head):
        # Pillow would silently reduce these to 8 bits.
        codecs = require("imagecodecs", '"keras-deepskip[images]"', f"{path}: 16-bit colour PNG")
        with naming_file(path, EXPECTED):
            width, height = (int.from_bytes(head[at : at + 4], "big") for at in (16, 20))
            check_size(path, height, width, 8)
            array = codecs.png_decode(path.read_bytes() if data is None else data)
        return _turned(array, _pillow_orientation(path, data)), None
    return _decode_pillow(path, data)


def size_of(path):
    """Returns `(height, width)` of an image file, mostly without decoding."""
    path = Path(path)
    head = head_of(path)
    if head.startswith(TIFF):
        return _tiff_size(path) or decode(path)[0].shape[:2]
    with naming_file(path, EXPECTED), opened(path) as image:
        width, height = image.size
        # Pillow decodes a PNG file to look for EXIF.
        plain = head.startswith(PNG) and not _png_has_text(path)
        turned = not plain and image.getexif().get(_ORIENTATION_TAG, 1) >= 5
    return (width, height) if turned else (height, width)


@contextlib.contextmanager
def opened(path, data=None):
    """A PNG or JPEG as Pillow's image, of a size that may be decoded.

    `PIL.Image.open` is not used: it tries all the formats that Pillow knows, some of which start
    other programs, and it warns below a limit of its own.
    """
    from PIL import JpegImagePlugin, PngImagePlugin

    head = head_of(path, data)
    if not head.startswith((PNG, JPEG)):
        raise ValueError(f"its first bytes, {head[:4]!r}, are of none of these")
    png = head.startswith(PNG)
    kind = PngImagePlugin.PngImageFile if png else JpegImagePlugin.JpegImageFile
    # Only the head of the file is read here.
    with kind(str(path) if data is None else io.BytesIO(data)) as image:
        check_size(path, image.height, image.width, 4)
        yield image


def _decode_pillow(path, data):
    with naming_file(path, EXPECTED), opened(path, data) as image:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
        palette = None
        if image.mode == "P":
            flat = image.getpalette("RGB")
            palette = np.zeros((256, 3), np.uint8)
            palette[: len(flat) // 3] = np.array(flat, np.uint8).reshape(-1, 3)
        elif image.mode in ("CMYK", "YCbCr", "LAB", "HSV", "PA"):
            image = image.convert("RGB")
        array = np.asarray(image)
    if array.dtype == np.int32:  # Pillow's "I": 16-bit gray with some tags
        array = array.astype(np.uint16)
    array = array[..., None] if array.ndim == 2 else array
    return _turned(array, orientation), palette


def _decode_tiff(path, shown):
    import tifffile

    with naming_file(path, EXPECTED), tifffile.TiffFile(path) as file:
        series = _checked_series(file, path)
        page = series.keyframe
        if series.dtype.kind == "c":
            raise ValueError(
                f"{path}: gray values or RGB were expected. Received: complex numbers "
                f"({series.dtype}). Write their magnitude, or real and imaginary part as channels"
            )
        try:
            array = series.asarray()
        except ValueError as error:
            if "imagecodecs" in str(error):
                require("imagecodecs", '"keras-deepskip[images]"', f"{path}: compressed TIFF")
            raise
        if not array.size:
            raise ValueError("it has no pixels")
        array = _channels_last(path, array, series.axes)
        # Of masks the values count; ImageJ and tifffile (boolean arrays) choose how they look
        if shown or not (file.is_imagej or file.is_shaped):
            array = _as_shown(array, page)
        palette = None
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE and page.colormap is not None:
            palette = (page.colormap.T >> 8).astype(np.uint8)
        orientation = page_orientation(page)
    return _turned(array, orientation), palette


def _as_shown(array, page):
    """A TIFF's array `(H, W, C)` in gray or RGB, as viewers show it.

    Raises:
        ValueError: if its colours are of a kind that takes a colour profile or more to show.
    """
    from PIL import Image
    from tifffile import COMPRESSION, PHOTOMETRIC

    kind = page.photometric
    if kind == PHOTOMETRIC.MINISWHITE:
        return _inverted(array, page.bitspersample)
    # Decoders of JPEG give RGB.
    ycbcr = kind == PHOTOMETRIC.YCBCR and page.compression not in (
        COMPRESSION.JPEG, COMPRESSION.OJPEG, COMPRESSION.JPEG_2000_LOSSY,
    )  # fmt: skip
    if array.dtype == np.uint8 and kind == PHOTOMETRIC.SEPARATED and array.shape[-1] == 4:
        return np.asarray(Image.fromarray(array, "CMYK").convert("RGB"))
    if array.dtype == np.uint8 and ycbcr:
        return np.asarray(Image.fromarray(array, "YCbCr").convert("RGB"))
    if ycbcr or kind not in _SHOWN_AS_STORED:
        raise ValueError(
            f"gray values or RGB were expected. Received: colours of kind {kind.name}, "
            f"{array.dtype}. Convert the image to RGB"
        )
    return array


def _inverted(array, bits):
    """White as black: of whole numbers in the range that their bits have, which may be 2, 4, 12."""
    if array.dtype.kind == "u":
        return array.dtype.type(2**bits - 1) - array
    return ~array if array.dtype.kind == "b" else -array


def declared_most(path):
    """The greatest value that a TIFF of integers says it may hold, if that is not its type's.

    It is what its bits say, such as 4095 of 12, or its tag MaxSampleValue; None of other files.
    """
    import tifffile

    path = Path(path)
    if not path.is_file() or not head_of(path).startswith(TIFF):
        return None
    with naming_file(path, EXPECTED), tifffile.TiffFile(path) as file:
        page = main_page(file)
        if page.dtype is None or page.dtype.kind != "u":
            return None
        tag = page.tags.get(_MOST_TAG)
        declared = 2**page.bitspersample - 1 if tag is None else int(np.max(tag.value))
        return declared if 1 < declared < np.iinfo(page.dtype).max else None


def declared_no_data(path, data=None):
    """The number that a TIFF declares as no data (GDAL's tag); None if it declares none.

    None also of a palette, whose indices are no values, and of NaN, which needs no declaration.

    Args:
        path: the file.
        data: its bytes if they have been read already (PNG and JPEG), else None.
    """
    import tifffile

    path = Path(path)
    if not path.is_file() or not head_of(path, data).startswith(TIFF):
        return None
    with naming_file(path, EXPECTED), tifffile.TiffFile(path) as file:
        page = main_page(file)
        tag = page.tags.get(_NO_DATA_TAG)
        if tag is None or page.photometric == tifffile.PHOTOMETRIC.PALETTE:
            return None
        with contextlib.suppress(ValueError):
            value = float(str(tag.value).strip("\0 "))
            return None if math.isnan(value) else value
    return None


def _checked_series(file, path):
    """The series of a TIFF's image, after checking that it declares no more than may be decoded."""
    _tiff_bounds.check_metadata(file, max_pixels() * BYTES_PER_PIXEL)
    series = complete_series(file)
    page = series.keyframe
    height, width = page.imagelength, page.imagewidth
    values = int(np.prod(series.shape, dtype=object)) * series.dtype.itemsize
    check_size(path, height, width, values / max(height * width, 1))
    check_tiles(file, series, path)
    return series


def main_page(file):
    """The first page of the image of a `tifffile.TiffFile`."""
    page = file.pages[0]
    return main_series(file).keyframe if page.is_reduced else page


def main_series(file):
    """The series of the image: the first one that is no thumbnail (NewSubfileType 1) in front."""
    listed = file.series
    whole = (series for series in listed if not series.keyframe.is_reduced)
    return next(whole, listed[0]) if file.pages[0].is_reduced else listed[0]


def complete_series(file):
    """The series of the image of a `tifffile.TiffFile`.

    Raises:
        ValueError: if some of its planes are in other files (OME-TIFF) that are not there.
    """
    series = main_series(file)
    lacking = sum(page is None for page in series.pages)
    if lacking:
        raise ValueError(
            f"an image that is complete was expected. Received: OME-TIFF of which {lacking} of "
            f"{len(series.pages)} planes are in other files, which are not there. Copy these beside"
        )
    return series


@contextlib.contextmanager
def opened_tiff(path):
    """Opens a TIFF to be read in parts, of any size: a `tifffile.TiffFile`; errors name the file.

    Raises:
        ValueError: if it is none, or its pages or description declare too much.
    """
    import tifffile

    with naming_file(path, EXPECTED), tifffile.TiffFile(path) as file:
        _tiff_bounds.check_metadata(file, math.inf)
        yield file


def check_tiles(file, series, path):
    """Refuses a TIFF of which one tile, or its compressed data, declares too much.

    Args:
        file: a `tifffile.TiffFile`.
        series: one of its series.
        path: its path, for the error.

    Raises:
        ValueError: with the declared size.
        ImportError: if it is compressed, and `imagecodecs` is missing.
    """
    page = series.keyframe
    if page.is_tiled:
        samples = page.samplesperpixel * page.tiledepth * series.dtype.itemsize
        check_size(path, page.tilelength, page.tilewidth, samples)
    if page.compression != 1:
        require("imagecodecs", '"keras-deepskip[images]"', f"{path}: compressed TIFF")
        _tiff_bounds.check_segments(file, series)


def _channels_last(path, array, axes):
    """Brings a TIFF's array to `(H, W, C)`; `axes` names its axes, one letter each."""
    named = list(axes)
    for axis in range(array.ndim - 1, -1, -1):  # axes of length one say nothing
        if array.shape[axis] == 1 and named[axis] not in "YX" and array.ndim > 2:
            array = np.squeeze(array, axis)
            del named[axis]
    if array.ndim == 2:
        return array[..., None]
    if array.ndim != 3 or any(letter in "ZT" for letter in named):
        kind = "frames" if "T" in named else "slices"
        raise ValueError(
            f"{path}: an image, with channels if need be, was expected. Received: a stack of "
            f"{kind} (shape {array.shape}, axes {''.join(named)}). Write those {kind} that are to "
            "be looked at as files of their own, or a projection of all. Networks for volumes are "
            "trained in Python, by `build_model` and `fit`: docs/backbones.md"
        )
    channel = next((axis for axis, letter in enumerate(named) if letter in "SC"), None)
    if channel is None:
        channel = 2 if array.shape[2] <= array.shape[0] else 0
    return np.moveaxis(array, channel, -1)


def _tiff_size(path):
    """Returns `(height, width)`; None if it takes decoding: several pages, or turned."""
    import tifffile

    with naming_file(path, EXPECTED), tifffile.TiffFile(path) as file:
        _tiff_bounds.check_metadata(file, max_pixels() * BYTES_PER_PIXEL)
        page = main_page(file)
        if len(main_series(file).pages) > 1 or page_orientation(page) >= 5:
            return None
        check_size(path, page.imagelength, page.imagewidth)
        return page.imagelength, page.imagewidth


def _turned(array, orientation):
    """Applies an EXIF orientation (1 to 8) to `(H, W, C)`: what is stored becomes what is shown."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    vertical = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    horizontal = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    return np.ascontiguousarray(array[vertical, horizontal])


def orientation_of(path, data=None):
    """The EXIF orientation of a PNG or JPEG (1 to 8; 1 is as stored), or that of a TIFF's tag.

    Args:
        path: the file.
        data: its bytes if they have been read already (PNG and JPEG), else None.
    """
    head = head_of(path, data)
    if head.startswith(PNG) and not _png_has_text(path, data):
        return 1  # Pillow would decode the file to look for more
    if not head.startswith(TIFF):
        return _pillow_orientation(path, data)
    import tifffile

    with naming_file(path, EXPECTED), tifffile.TiffFile(path) as file:
        return page_orientation(main_page(file))


def page_orientation(page):
    """The orientation of a page of a TIFF (1 to 8; 1 is as stored)."""
    tag = page.tags.get(_ORIENTATION_TAG)
    return 1 if tag is None else int(tag.value)


def _pillow_orientation(path, data):
    with naming_file(path, EXPECTED), opened(path, data) as image:
        return image.getexif().get(_ORIENTATION_TAG, 1)


def has_alpha(path):
    """Whether the last of 2 or 4 channels is alpha: in PNG always, in TIFF if the file says so.

    Of arrays, also in `.npy` and Zarr, it is not known; then no channel is alpha.
    """
    import tifffile

    path = Path(path)
    if not path.is_file():  # an array, or one in a file of arrays
        return False
    if not head_of(path).startswith(TIFF):
        return head_of(path).startswith(PNG)
    with naming_file(path, EXPECTED), tifffile.TiffFile(path) as file:
        return any(int(kind) in _ALPHA_KINDS for kind in main_page(file).extrasamples)


def nameless_pages(path):
    """Whether the channels of a TIFF are pages or planes that the file does not call so."""
    import tifffile

    path = Path(path)
    if not path.is_file() or not head_of(path).startswith(TIFF):
        return False
    with naming_file(path, EXPECTED), tifffile.TiffFile(path) as file:
        series = main_series(file)
        return len(series.pages) > 1 and not set(series.axes) & set("SC")


def head_of(path, data=None):
    """The first bytes of a file: they say what it is and, for PNG, its depth and colour type."""
    if data is None:
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: an image file was expected, but there is no such file"
            )
        with open(path, "rb") as file:
            data = file.read(32)
    if not data:
        raise ValueError(
            f"{path}: an image was expected. Received: an empty file. Copy the file again"
        )
    return data[:32]


def png_depth(head):
    return head[24] if len(head) > 25 else 0


def _png_has_colour(head):
    return head[25] in (2, 4, 6)  # RGB, gray with alpha, RGBA


def _png_has_text(path, data=None):
    """Whether a PNG has a chunk of EXIF or text, which alone can hold an orientation."""
    with open(path, "rb") if data is None else io.BytesIO(data) as file:
        file.seek(len(PNG))
        while len(start := file.read(8)) == 8:
            if start[4:] in (b"eXIf", b"tEXt", b"zTXt", b"iTXt"):
                return True
            file.seek(int.from_bytes(start[:4], "big") + 4, 1)
    return False
