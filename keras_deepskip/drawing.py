"""Pictures of masks and objects, as arrays: for TensorBoard, for `predict`, for reports."""

import io

import numpy as np

from keras_deepskip import _checks
from keras_deepskip.objects import label_objects, match_objects

# Blue, orange and yellow, after Okabe and Ito: distinct to people with colour-blindness too.
HIT, MISSED, FALSE = (86, 180, 233), (255, 106, 31), (240, 228, 66)
# One colour a class id, from 1 on; distinct to people with colour-blindness (Okabe and Ito).
CLASS_COLORS = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (240, 228, 66),
    (213, 94, 0),
    (0, 114, 178),
)

LONGEST = 2048  # side of an overlay that is not reduced


def class_palette():
    """A palette for masks of class ids, array (256, 3), uint8: black, then a colour a class."""
    colors = np.resize(np.array(CLASS_COLORS, "uint8"), (256, 3))
    return np.concatenate([np.zeros((1, 3), "uint8"), colors[:255]])


def to_rgb(image, channels=None):
    """Brings an image of any depth and any number of channels to 8-bit RGB, for the eye alone.

    Args:
        image: array (H, W, C). One channel becomes grey, of more than three the first three are
            shown. Anything but uint8 is stretched from its 1st to its 99th percentile.
        channels: which of them to show, from 0 on: three as red, green and blue, or one in grey.

    Returns:
        Array (H, W, 3), uint8.

    Example:

    >>> to_rgb(np.zeros((4, 5, 1), "uint16")).shape
    (4, 5, 3)
    """
    image = np.asarray(image)
    if channels is not None:
        image = image[..., list(channels)]
    image = image[..., :3] if image.shape[-1] >= 3 else np.repeat(image[..., :1], 3, axis=-1)
    if image.dtype == np.uint8:
        return image.copy()
    seen = image[np.isfinite(image)]  # what has no data is black
    low, high = np.percentile(seen, (1, 99)) if seen.size else (0, 1)
    scaled = (image.astype("float64") - low) / max(high - low, 1e-12)
    return (np.nan_to_num(np.clip(scaled, 0, 1)) * 255).round().astype("uint8")


def outline(picture, mask, color, width=1):
    """Draws the border of a mask's region into a copy of an RGB picture.

    Args:
        picture: array (H, W, 3), uint8.
        mask: array (H, W), True inside the region.
        color: (red, green, blue).
        width: of the line, in pixels, inside the region.

    Returns:
        Array (H, W, 3), uint8.

    Example:

    >>> int(outline(np.zeros((5, 5, 3), "uint8"), np.eye(5) > 0, (255, 0, 0)).max())
    255
    """
    from scipy.ndimage import binary_erosion

    outlined = picture.copy()
    outlined[mask & ~binary_erosion(mask, iterations=width)] = color
    return outlined


def draw_mask(image, mask, labels=None, channels=None, longest=None):
    """Draws each class's objects into an image, outlined in the class's colour.

    Args:
        image: array (H, W, C), as read.
        mask: class ids, (H, W).
        labels: which object each pixel is of, (H, W) integers; each is then outlined by itself, in
            a colour of its own where there is one class. None outlines the class's regions.
        channels: of the image, to be shown; as in `to_rgb`.
        longest: side of the picture, at most: a larger image is reduced by a whole number, and of
            each object at least a pixel stays. None leaves it as it is.

    Returns:
        Array (H, W, 3), uint8.

    Example:

    >>> draw_mask(np.zeros((8, 8, 1), "uint8"), np.ones((8, 8), "uint8"))[0, 0].tolist()
    [86, 180, 233]
    """
    picture = to_rgb(image, channels)
    factor = -(-max(mask.shape) // (longest or max(mask.shape)))
    if factor > 1:
        picture = _squares(picture, factor, "edge").mean(axis=(1, 3)).round().astype("uint8")
        mask = _squares(mask, factor).max(axis=(1, 3))
        labels = None if labels is None else _squares(labels, factor).max(axis=(1, 3))
    if labels is not None:
        border = _borders(labels)
        kinds = labels if mask.max() <= 1 else mask
        picture[border] = np.array(CLASS_COLORS)[(kinds[border] - 1) % len(CLASS_COLORS)]
        return picture
    for class_id in np.unique(mask[mask > 0]):
        color = CLASS_COLORS[(int(class_id) - 1) % len(CLASS_COLORS)]
        picture = outline(picture, mask == class_id, color)
    return picture


def _squares(array, factor, mode="constant"):
    """An array (H, W, ...) in squares: (H / factor, factor, W / factor, factor, ...), filled up."""
    rows, columns = (-(-side // factor) for side in array.shape[:2])
    lacking = [(0, rows * factor - array.shape[0]), (0, columns * factor - array.shape[1])]
    lacking += [(0, 0)] * (array.ndim - 2)
    return np.pad(array, lacking, mode=mode).reshape(
        rows, factor, columns, factor, *array.shape[2:]
    )


def draw_comparison(image, truth, prediction, labels=None):
    """Shows image, truth and prediction side by side, and which objects were missed or false.

    Objects are matched as the object metrics do (class by class, one to one, IoU of at least 0.5).
    In the truth, objects that were found are blue and missed ones orange; in the prediction, right
    ones are blue and false ones yellow.

    Args:
        image: array (H, W, C), as read.
        truth: class ids, (H, W).
        prediction: class ids, (H, W).
        labels: which object each pixel of the truth, and of the prediction, is of: two arrays
            (H, W), 0 for none. None takes connected components.

    Returns:
        Array (H, 3 W + 8, 3), uint8.

    Example:

    >>> blank = np.zeros((16, 16), "uint8")
    >>> draw_comparison(blank[..., None], blank, blank).shape
    (16, 56, 3)
    """
    true_labels, found, predicted_labels, right = _matched(truth, prediction, labels)
    picture = to_rgb(image)
    return side_by_side(
        picture,
        _judged(picture, true_labels, found, MISSED),
        _judged(picture, predicted_labels, right, FALSE),
    )


def draw_judged(image, truth, prediction, labels=None):
    """Shows in one picture what was found: blue, what was missed: orange, what is false: yellow.

    Objects are matched as in `draw_comparison`. Found and missed ones have the outline that they
    truly have, false ones that of the prediction.

    Args:
        image: array (H, W, C), as read.
        truth: class ids, (H, W).
        prediction: class ids, (H, W).
        labels: as in `draw_comparison`.

    Returns:
        Array (H, W, 3), uint8.

    Example:

    >>> blank = np.zeros((16, 16), "uint8")
    >>> draw_judged(blank[..., None], blank, blank).shape
    (16, 16, 3)
    """
    true_labels, found, predicted_labels, right = _matched(truth, prediction, labels)
    false = np.where(right[predicted_labels], 0, predicted_labels)
    picture = _judged(to_rgb(image), false, right, FALSE)
    return _judged(picture, true_labels, found, MISSED)


def _matched(truth, prediction, labels=None):
    """Labels of the true objects and which were found; of the predicted ones and which are right.

    Class by class, one to one, as the object metrics do.
    """
    if labels is None:
        labels = label_objects(truth)[0], label_objects(prediction)[0]
    true_labels, predicted_labels = labels
    found, right = (np.zeros(int(own.max(initial=0)) + 1, bool) for own in labels)
    for class_id in np.unique(truth[truth > 0]):
        pairs, _ = match_objects(
            np.where(truth == class_id, true_labels, 0),
            np.where(prediction == class_id, predicted_labels, 0),
        )
        found[pairs[:, 0]] = right[pairs[:, 1]] = True
    return true_labels, found, predicted_labels, right


def side_by_side(*pictures):
    """Puts RGB pictures of one height in a row, 4 white pixels apart.

    Example:

    >>> side_by_side(np.zeros((2, 3, 3), "uint8"), np.zeros((2, 5, 3), "uint8")).shape
    (2, 12, 3)
    """
    gap = np.full((pictures[0].shape[0], 4, 3), 255, "uint8")
    parts = [part for picture in pictures for part in (picture, gap)]
    return np.concatenate(parts[:-1], axis=1)


def _judged(picture, labels, good, bad_color):
    """Outlines each object, blue where it is good."""
    return outline_objects(picture, labels, np.where(good[:, None], HIT, bad_color))


def outline_objects(picture, labels, colors):
    """Outlines objects, each in a colour; those that touch keep a line between them.

    Args:
        picture: array (H, W, 3), uint8.
        labels: which object each pixel is of, (H, W), 0 for none.
        colors: array (n + 1, 3), the colour of each label.

    Returns:
        Array (H, W, 3), uint8.

    Example:

    >>> labels = np.eye(3, dtype="int32")
    >>> outline_objects(np.zeros((3, 3, 3), "uint8"), labels, [(0, 0, 0), (1, 2, 3)])[1, 1].tolist()
    [1, 2, 3]
    """
    outlined, border = picture.copy(), _borders(labels)
    outlined[border] = np.asarray(colors, "uint8")[labels[border]]
    return outlined


def _borders(labels):
    """Where an object's pixel has a neighbour of another or of none."""
    padded = np.pad(labels, 1)
    neighbours = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return (labels > 0) & np.any([other != labels for other in neighbours], axis=0)


def new_figure(width, height, why):
    """Returns an empty matplotlib figure, apart from pyplot: no window, no global state.

    Args:
        width, height: in inches.
        why: what the figure is for, in a few words, for the error.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    _checks.require("matplotlib", '"keras-deepskip[plots]"', why)
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def figure_png(figure, dpi=100):
    """Returns a matplotlib figure as the bytes of a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()
