"""How masks are read: one value, the same in training, evaluation and every command."""

import collections.abc
import dataclasses
from pathlib import Path

import numpy as np

from keras_deepskip._checks import check_integer
from keras_deepskip.data import _decoders
from keras_deepskip.data.images import image_of, to_channels


@dataclasses.dataclass(frozen=True)
class MaskReading:
    """What the values of a set's masks mean.

    Attributes:
        num_classes: 1 for one kind of object (masks of 0 and 1, or 0 and 255); K > 1 for class ids
            0 to K - 1, of which 0 is the background; None takes what the masks hold.
        colors: dict from (r, g, b) to class id, for masks that are colour pictures; else None.
        ignore_class: class id of ignored pixels, which count nowhere; None has none.

    Example:

    >>> MaskReading(num_classes=4, ignore_class=255).to_dict()
    {'num_classes': 4, 'colors': None, 'ignore_class': 255}
    """

    num_classes: int | None = None
    colors: collections.abc.Mapping | None = None
    ignore_class: int | None = None

    def __post_init__(self):
        if self.num_classes is not None:
            check_integer("num_classes", self.num_classes)

    def to_dict(self):
        """The fields as a plain dict, for JSON: colours are rows `[r, g, b, class id]`."""
        colors = self.colors and [[*color, label] for color, label in self.colors.items()]
        return {**dataclasses.asdict(self), "colors": colors or None}

    @classmethod
    def from_dict(cls, fields):
        """The value of which `to_dict` gave `fields`."""
        rows = fields.get("colors")
        colors = {tuple(row[:3]): row[3] for row in rows} if rows else None
        return cls(fields.get("num_classes"), colors, fields.get("ignore_class"))


ONE_CLASS = MaskReading(num_classes=1)


def read_mask(path, reading=None):
    """Reads a mask file as class ids; 0 is the background.

    - `num_classes=1`: values 0 and 1. A mask whose only values are 0 and 255 (in 16 bit also
      65535) is read as 0 and 1, unless that value is the `ignore_class`.
    - `num_classes=K`: ids 0 to K - 1; K counts the background (3 kinds of object: 4).
    - `num_classes=None`: the file's values as they are.
    - A palette PNG gives its indices (as in Pascal VOC). A gray mask saved as RGB is read as gray.
    - `colors`: each pixel's colour is looked up (a palette's colours then, not its indices).

    Args:
        path: the file.
        reading: a `MaskReading`; None reads masks of one class, `MaskReading(num_classes=1)`.

    Returns:
        `(H, W)` int32 array.

    Raises:
        ValueError: if a value is no class id, or a colour is not in `colors`; it names the file
            and what was found. Also as `read_image`.

    Example:

    >>> from keras_deepskip.data import write_png
    >>> write_png("/tmp/keras_deepskip_doc.png", np.array([[0, 255]], "uint8"))
    >>> read_mask("/tmp/keras_deepskip_doc.png").tolist()
    [[0, 1]]
    """
    reading = ONE_CLASS if reading is None else reading
    if reading.colors is None:
        mask = read_ids(path)
        if reading.num_classes == 1 and is_zero_or_full(mask, reading.ignore_class):
            mask = mask > 0
    else:
        mask = ids_of_colors(*_decoders.decode(path), reading.colors, path)
    return check_classes(mask.astype(np.int32), reading, path)


def is_zero_or_full(mask, ignore_class=None):
    """Whether a mask's values are 0 and its type's greatest (255, 65535) alone, both or one."""
    top = 65535 if mask.dtype == np.uint16 else 255
    return bool(ignore_class != top and mask.max() == top and np.isin(mask, (0, top)).all())


def read_ids(path):
    """Reads a mask file's values as they are, `(H, W)`; one in colours is refused.

    Raises:
        ValueError: if the mask is in colours; it names some. Also as `read_image`.
    """
    return refuse_colors(_labels(path), path)


def refuse_colors(labels, path):
    """Returns `labels` if they are `(H, W)`; else names the mask's colours.

    Raises:
        ValueError: if they are colours, `(H, W, 3)`.
    """
    if labels.ndim == 3:
        raise ValueError(
            f"{path}: a mask of class ids (one channel) was expected. Received: colours "
            f"{_listed(_counts(labels))}. Give their class ids: colors={{(red, green, blue): id}}"
        )
    return labels


def check_classes(mask, reading, path):
    """Returns `mask` if its ids are those that a `MaskReading` allows.

    They are 0 to `num_classes` - 1 (0 and 1 for 1) and `ignore_class`; with `num_classes=None`
    all are allowed.

    Raises:
        ValueError: otherwise; it names the file, the ids found and the fix.
    """
    num_classes = reading.num_classes
    if num_classes is None:
        return mask
    highest = max(num_classes - 1, 1)
    unexpected = (mask < 0) | (mask > highest)
    if reading.ignore_class is not None:
        unexpected &= mask != reading.ignore_class
    if not unexpected.any():
        return mask
    found = np.unique(mask).tolist()
    expected = "0 and 1" if num_classes == 1 else f"0 to {highest} with the background"
    raise ValueError(
        f"{path}: class ids {expected} were expected (num_classes={num_classes}). Received: "
        f"{len(found)} classes, ids {_listed(found)}. {_class_fix(found, num_classes, path)}"
    )


def mask_values(path):
    """Counts what a mask file holds, for the audit.

    Returns:
        A dict from value to number of pixels, by falling number; the values are integers, or
        `(red, green, blue)` for a mask in colours.

    Raises:
        As `read_image`.
    """
    return _counts(_labels(path))


# ---- Values of a decoded file -------------------------------------------------------------------


def labels_of(array, path, head):
    """The values of a decoded mask file: `(H, W)`, or `(H, W, 3)` if they are colours."""
    if array.dtype == bool:
        array = array.astype(np.uint8)
    array = _unscaled(array, head)
    if array.dtype.kind == "f":
        if not np.array_equal(array, np.rint(array)):
            raise ValueError(
                f"{path}: a mask of integers was expected. Received: {array.dtype} with "
                "fractions. Write class ids as 8-bit PNG"
            )
        array = array.astype(np.int64)
    if array.shape[-1] in (2, 4):
        array = array[..., :-1]
    if array.shape[-1] == 1 or (array == array[..., :1]).all():
        return array[..., 0]
    if array.shape[-1] != 3:
        raise ValueError(
            f"{path}: a mask of one channel (class ids) or three (colours) was expected. Received: "
            f"shape {array.shape}"
        )
    return array


def _unscaled(array, head):
    """Undoes Pillow's stretching of 2- and 4-bit gray PNG to 0..255, as values are class ids."""
    depth = _decoders.png_depth(head)
    if head.startswith(_decoders.PNG) and head[25] == 0 and depth in (2, 4):
        return array // (255 // (2**depth - 1))
    return array


def _labels(path):
    return labels_of(_decoders.decode(path)[0], path, _decoders.head_of(Path(path)))


def ids_of_colors(array, palette, colors, path):
    """Class ids `(H, W)` of a decoded mask file by the colours of its pixels."""
    rgb = to_channels(image_of(array, palette), 3, path).astype(np.int64)
    codes = rgb @ np.array([1 << 16, 1 << 8, 1])
    mask = np.full(codes.shape, -1, np.int32)
    for color, label in colors.items():
        red, green, blue = color
        mask[codes == (red << 16 | green << 8 | blue)] = label
    if (mask < 0).any():
        unknown = list(_counts(rgb[mask < 0][None]))
        raise ValueError(
            f"{path}: colours {_listed(colors)} were expected. Received also: {_listed(unknown)}. "
            "Add them to `colors` with a class id (0 is the background)"
        )
    return mask


def _counts(labels):
    """Values and their numbers of pixels; colours as tuples."""
    if labels.ndim == 2:
        values, numbers = np.unique(labels, return_counts=True)
        pairs = zip(values.tolist(), numbers.tolist(), strict=True)
    else:
        codes = labels.astype(np.int64) @ np.array([1 << 32, 1 << 16, 1])
        values, numbers = np.unique(codes, return_counts=True)
        colours = ((v >> 32, v >> 16 & 0xFFFF, v & 0xFFFF) for v in values.tolist())
        pairs = zip(colours, numbers.tolist(), strict=True)
    return dict(sorted(pairs, key=lambda pair: -pair[1]))


def _class_fix(found, num_classes, path):
    lossy = str(path).lower().endswith((".jpg", ".jpeg"))
    if lossy or len(found) > 64:
        cause = "JPEG changes values" if lossy else "so many values look like a picture"
        return f"{cause}: write masks as PNG with one value a class"
    if num_classes == 1 and set(found) <= {0, found[-1]}:
        return "Write the objects as 1 (or 255)"
    fixes = []
    highest = max((value for value in found if value != 255), default=0)
    if highest > max(num_classes - 1, 1):
        fixes.append(f"Give num_classes={highest + 1}, or write the mask with other values")
    if 255 in found:
        fixes.append("If 255 marks pixels that do not count, give ignore_class=255")
    return ". ".join(fixes) or "Write the mask with other values"


def _listed(values, most=8):
    values = list(values)
    text = ", ".join(str(value) for value in values[:most])
    return text + (f" and {len(values) - most} more" if len(values) > most else "")
