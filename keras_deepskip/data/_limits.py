"""What image files may hold before they are decoded, and errors of decoders that name the file."""

import contextlib
import os

MAX_PIXELS = 2**28  # of an image that is read whole; a larger one is refused
MAX_PIXELS_VARIABLE = "KERAS_DEEPSKIP_MAX_PIXELS"  # environment variable: another limit
BYTES_PER_PIXEL = 16  # at most, with all channels: four of float32
FIX = "Open it in a viewer; copy or convert it again, or take it out"


def max_pixels() -> int:
    """Returns the number of pixels above which an image is not read whole.

    It is `MAX_PIXELS` (2^28, such as 16384 x 16384), or the value of the environment variable
    `KERAS_DEEPSKIP_MAX_PIXELS`, which child processes inherit.

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


def check_size(path, height, width, bytes_per_pixel=1):
    """Refuses an image that is too large to be read whole; readers call it before decoding.

    Args:
        path: the file, for the error.
        height, width: what the file declares.
        bytes_per_pixel: of the decoded image, all channels.

    Raises:
        ValueError: if there are more pixels than `max_pixels()`, or more bytes than 16 times that.
    """
    most = max_pixels()
    pixels = int(height) * int(width)
    if pixels > most or pixels * bytes_per_pixel > most * BYTES_PER_PIXEL:
        raise TooLarge(
            f"{path}: an image of at most {most:,} pixels and {most * BYTES_PER_PIXEL:,} bytes was "
            f"expected. Received: a file that declares {height} x {width} pixels of "
            f"{bytes_per_pixel:g} bytes. If you trust it, set the environment variable "
            f"{MAX_PIXELS_VARIABLE} to a larger number, or predict it in parts: `predict_tiled` "
            "reads TIFF, .npy and Zarr of any size"
        )


class TooLarge(ValueError):
    """An image above the limits; `naming_file` raises it again unchanged."""


@contextlib.contextmanager
def naming_file(path, expected, received="a file that could not be read", fix=FIX):
    """Turns whatever a decoder raises into a ValueError that names the file and the cause.

    Missing packages, images above the limits, and errors that name the file already are raised
    again unchanged.

    Args:
        path: the file.
        expected: what it should hold, with its article.
        received: what it holds instead; the decoder's own words follow in parentheses.
        fix: what to do about it; may be empty.
    """
    try:
        yield
    except (ImportError, TooLarge):
        raise
    except Exception as error:  # decoders raise OSError, SyntaxError, struct.error and others
        if str(path) in str(error):
            raise
        raise ValueError(
            f"{path}: {expected} was expected. Received: {received} "
            f"({str(error) or type(error).__name__}). {fix}".rstrip()
        ) from error
