"""Whether images have the range of values that a model was trained on, or can be brought to it."""

import numpy as np

from keras_deepskip.data._decoders import declared_most

TYPES = {(0.0, 255.0): "uint8", (0.0, 65535.0): "uint16"}  # ranges that are those of a number type
SLACK = 0.5  # share of the range by which floats of images may leave it
UNIT = 1.0  # greatest value of floats from 0 to 1


def check_values(pixels, expected, name, whole=True):
    """Refuses an image whose values mean something else than those that a model was trained on.

    Integers of another type have another range, whatever values they hold. Floats are judged by the
    values: they must lie in the range, or near it.

    Args:
        pixels: array of any shape, or a part of the image.
        expected: (low, high) that the model was trained on; None refuses nothing.
        name: what errors call the image.
        whole: whether these are all pixels; a part of an image may well be dark.

    Raises:
        ValueError: if the image has another number type or range, or infinite ones;
            it names both, and what to do.

    Example:

    >>> check_values(np.array([0, 200], "uint8"), (0, 255), "cell.png")
    """
    if expected is None:
        return
    low, high = (float(value) for value in expected)
    trained_on = TYPES.get((low, high), "float32")
    if pixels.dtype.kind in "ui" and str(pixels.dtype) != trained_on:
        _refuse_type(pixels, low, high, trained_on, name)
    if pixels.dtype.kind == "f":
        _refuse_floats(pixels, low, high, name, whole)


def in_range(pixels, expected, most):
    """Integers of which the file says the range, in the range of a model of 8 bits or of 0 to 1.

    Args:
        pixels: array of any shape.
        expected: (low, high) that the model was trained on, or None.
        most: the greatest value that the file may hold, such as 4095; None if it does not say.

    Returns:
        float32 array; `pixels` itself where nothing is to be done.

    Example:

    >>> in_range(np.array([0, 4095], "uint16"), (0, 255), 4095).tolist()
    [0.0, 255.0]
    """
    if most is None or expected is None or pixels.dtype.kind != "u":
        return pixels
    low, high = map(float, expected)
    if str(pixels.dtype) == TYPES.get((low, high)) or (low, high) not in ((0, 255), (0, UNIT)):
        return pixels
    return pixels.astype("float32") * np.float32(high / most)


def as_trained(pixels, expected, file):
    """An image of a file in a model's range; else it is refused.

    Args:
        pixels: array (H, W, C), as read.
        expected: (low, high) that the model was trained on, or None.
        file: the path that it was read from.

    Returns:
        What `in_range` gives.

    Raises:
        ValueError: as `check_values`.
    """
    pixels = in_range(pixels, expected, declared_most(file))
    check_values(pixels, expected, str(file))
    return pixels


def _refuse_type(pixels, low, high, trained_on, name):
    if trained_on == "float32" and pixels.min() >= low and pixels.max() <= high and high > UNIT:
        return  # whole numbers of the range that floats had
    raise ValueError(
        f"{name}: values of {trained_on}, {low:g} to {high:g}, were expected, as in the images "
        f"that the model was trained on. Received: {pixels.dtype}, {pixels.min():g} to "
        f"{pixels.max():g} here. Convert the image so that the same brightness has the same value"
    )


def _refuse_floats(pixels, low, high, name, whole):
    # NaN, no data, is left out; of nothing else both are NaN, which nothing below refuses.
    least, most = (float(f.reduce(pixels, axis=None)) for f in (np.fmin, np.fmax))
    if np.isinf((least, most)).any():
        share = np.isinf(pixels).mean()
        raise ValueError(
            f"{name}: finite values were expected. Received: infinity in {100 * share:.2g} % of "
            "the values. Replace it by NaN (no data) in the file"
        )
    slack = SLACK * (high - low)
    dim = whole and (low, high) in TYPES and 0 <= least and 0 < most <= UNIT  # 0..1, all but black
    if least < low - slack or most > high + slack or dim:
        raise ValueError(
            f"{name}: values from {low:g} to {high:g} were expected, the range of the images that "
            f"the model was trained on. Received: {pixels.dtype}, {least:g} to {most:g}. Convert "
            "the image so that the same brightness has the same value"
        )
