"""How masks are read: one value, the same in training, evaluation and every command."""

from __future__ import annotations

import collections.abc
import dataclasses
import os
from pathlib import Path

import numpy as np

from keras_deepskip._checks import check_choice, check_integer
from keras_deepskip.data import _decoders
from keras_deepskip.data._channels import image_of, to_channels

KINDS = ("classes", "objects", "binary")
MOST_COUNTED = 65536  # ids up to here are counted in a table, others sorted


@dataclasses.dataclass(frozen=True)
class MaskReading:
    """What the values of a set's masks mean.

    Attributes:
        num_classes: 1 for one kind of object (masks of 0 and 1, or 0 and 255); K > 1 for class ids
            0 to K - 1, of which 0 is the background; None takes what the masks hold.
        colors: dict from (r, g, b) to class id, for masks that are colour pictures; else None.
        ignore_class: class id of ignored pixels, which count nowhere. None ignores no pixel.
        kind: `"classes"` (values are class ids), `"objects"` (each object has a number of its own,
            and all are of one class) or `"binary"` (one value besides 0 marks the objects). None
            lets a `Survey` decide from all masks of the set; a file read by itself then holds
            class ids, or 0 and 255.
        values: dict from a mask's value to class id, for masks of other values than class ids;
            else None. Values that it does not name are an error.

    Example:

    >>> MaskReading(num_classes=4, ignore_class=255).to_dict()["ignore_class"]
    255
    """

    num_classes: int | None = None
    colors: collections.abc.Mapping | None = None
    ignore_class: int | None = None
    kind: str | None = None
    values: collections.abc.Mapping | None = None

    def __post_init__(self):
        if self.num_classes is not None:
            check_integer("num_classes", self.num_classes)
        check_choice("kind", self.kind, (*KINDS, None))
        if self.kind in ("objects", "binary") and (self.num_classes or 1) > 1:
            raise ValueError(
                f"masks of kind={self.kind!r} have one class. Received: num_classes="
                f"{self.num_classes}. Leave it out, or give kind='classes'"
            )
        if self.values is not None and (self.colors is not None or self.kind is not None):
            raise ValueError(
                "`values` say all that masks mean. Received also: "
                f"colors={self.colors}, kind={self.kind!r}. Leave these out"
            )

    def to_dict(self) -> dict:
        """The fields as a plain dict for JSON; tables are rows `[r, g, b, id]`, `[value, id]`."""
        colors = self.colors and [[*color, label] for color, label in self.colors.items()]
        values = self.values and [[value, label] for value, label in self.values.items()]
        return {**dataclasses.asdict(self), "colors": colors or None, "values": values or None}

    @classmethod
    def from_dict(cls, fields: collections.abc.Mapping) -> MaskReading:
        """The value of which `to_dict` gave `fields`."""
        colors, values = fields.get("colors"), fields.get("values")
        return cls(
            num_classes=fields.get("num_classes"),
            colors={tuple(row[:3]): row[3] for row in colors} if colors else None,
            ignore_class=fields.get("ignore_class"),
            kind=fields.get("kind"),
            values={row[0]: row[1] for row in values} if values else None,
        )

    def classes_of(self, ids: np.ndarray, path: object) -> np.ndarray:
        """Class ids of a mask's values.

        Args:
            ids: integers of any shape: a whole mask, or the values that it holds.
            path: the mask, for the error.

        Returns:
            int32 array of the same shape.

        Raises:
            ValueError: if `values` do not name a value; it names file and values.
        """
        if self.values is not None:
            return _by_value(ids, self.values, path)
        if not self._is_one_class(ids):
            return ids.astype(np.int32)
        ignored = (
            np.zeros_like(ids, bool) if self.ignore_class is None else ids == self.ignore_class
        )
        return np.where(ignored, ids, ids != 0).astype(np.int32)

    def _is_one_class(self, ids):
        """Whether all values but 0 and the ignored one mean class 1."""
        if self.kind == "binary":  # several values are left as they are, for `check_classes`
            return sum(value not in (0, self.ignore_class) for value in np.unique(ids)) <= 1
        if self.kind is None and self.num_classes == 1:
            return is_zero_or_full(ids, self.ignore_class)
        return self.kind == "objects"


ONE_CLASS = MaskReading(num_classes=1)


def is_zero_or_full(mask: np.ndarray, ignore_class: int | None = None) -> bool:
    """Whether a mask's values are 0 and its type's greatest (255, 65535) alone, both or one."""
    top = 65535 if mask.dtype == np.uint16 else 255
    return bool(ignore_class != top and mask.max() == top and np.isin(mask, (0, top)).all())


def read_ids(path: str | os.PathLike) -> np.ndarray:
    """Reads a mask file's values as they are, `(H, W)`; one in colours is refused.

    Raises:
        ValueError: if the mask is in colours; it names some. Also as `read_image`.
    """
    return refuse_colors(labels_in(path), path)


def refuse_colors(labels: np.ndarray, path: str | os.PathLike) -> np.ndarray:
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


def check_classes(mask: np.ndarray, reading: MaskReading, path: object) -> np.ndarray:
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


def mask_values(path: str | os.PathLike) -> dict:
    """Counts what a mask file holds, for the audit.

    Returns:
        A dict from value to number of pixels, by falling number; the values are integers, or
        `(red, green, blue)` for a mask in colours.

    Raises:
        ValueError: as `read_image`.
    """
    return _counts(labels_in(path))


# ---- Values of a decoded file -------------------------------------------------------------------


def labels_of(
    array: np.ndarray, palette: np.ndarray | None, path: str | os.PathLike, head: bytes
) -> np.ndarray:
    """The values of a decoded mask file: `(H, W)`, or `(H, W, 3)` if they are colours."""
    if palette is not None:
        array = _shown_by_palette(array, palette)
    if array.dtype == bool:
        array = array.astype(np.uint8)
    array = _unscaled(array, head)
    if array.dtype.kind == "f":
        holes = int((~np.isfinite(array)).sum())
        if holes:
            raise ValueError(
                f"{path}: a mask of integers was expected. Received: {array.dtype} with NaN or "
                f"infinity in {holes} values. Write the background, or an id of its own that is "
                "the ignore_class, in their place"
            )
        if not np.array_equal(array, np.rint(array)):
            raise ValueError(
                f"{path}: a mask of integers was expected. Received: {array.dtype} with "
                "fractions. Write class ids as 8-bit PNG"
            )
        array = array.astype(np.int64)
    if array.shape[-1] in (2, 4):
        array = _without_alpha(array, path)
    if head.startswith(_decoders.JPEG) and not np.isin(array, (0, 255)).all():
        raise ValueError(
            f"{path}: a mask of class ids was expected. Received: {len(np.unique(array))} "
            "values in a JPEG; JPEG changes values. Write masks as PNG with one value a class"
        )
    if array.shape[-1] == 1 or (array == array[..., :1]).all():
        return array[..., 0]
    if array.shape[-1] != 3:
        raise ValueError(
            f"{path}: a mask of one channel (class ids) or three (colours) was expected. Received: "
            f"shape {array.shape}"
        )
    return array


def _shown_by_palette(array, palette):
    """Indices of a palette as they are; those of a black and white picture by what is black.

    Programs that make a palette of such a picture may put white first. The palette alone decides,
    not what of it a file uses: all masks of a set are read alike, one without objects, too.
    """
    if not _is_white_first(palette):
        return array
    black = np.flatnonzero(~palette.any(axis=1))
    return np.isin(array, black, invert=True).astype(np.uint8) * np.uint8(255)


def _is_white_first(palette):
    """Whether a palette is a colour and black, in this order, or all greys from white to black."""
    colors = palette[palette.any(axis=1)]
    if not palette[0].any():
        return False
    if (colors == colors[0]).all():
        return len(colors) < len(palette)
    falls = (np.diff(palette[:, 0].astype(int)) <= 0).all() and not palette[-1].any()
    return bool(len(colors) == len(palette) - 1 and falls and (palette == palette[:, :1]).all())


def _without_alpha(array, path):
    """Drops alpha; a mask of one colour whose alpha varies is drawn in the alpha channel."""
    color, alpha = array[..., :-1], array[..., -1:]
    if alpha.min() == alpha.max():
        return color
    if (color == color[:1, :1]).all():
        return alpha
    if not color[alpha[..., 0] == 0].any():
        return color  # transparent is 0, the background, anyway
    raise ValueError(
        f"{path}: a mask whose transparent pixels are 0 was expected. Received: {color.shape[-1]} "
        "channels of colour, and an alpha channel that says otherwise. Write it without alpha"
    )


def _unscaled(array, head):
    """Undoes Pillow's stretching of 2- and 4-bit gray PNG to 0..255, as values are class ids."""
    depth = _decoders.png_depth(head)
    if head.startswith(_decoders.PNG) and head[25] == 0 and depth in (2, 4):
        return array // (255 // (2**depth - 1))
    return array


def labels_in(path: str | os.PathLike) -> np.ndarray:
    """The values of a mask file: `(H, W)`, or `(H, W, 3)` if they are colours."""
    array, palette = _decoders.decode(path, shown=False)
    return labels_of(array, palette, path, _decoders.head_of(Path(path)))


def _by_value(ids, table, path):
    """Class ids by a table from a mask's value to class id."""
    known = np.array(sorted(table))
    places = np.searchsorted(known, ids).clip(max=len(known) - 1)
    unknown = known[places] != ids
    if unknown.any():
        raise ValueError(
            f"{path}: values {_listed(table)} were expected. Received also: "
            f"{_listed(np.unique(ids[unknown]).tolist())}. Add them to `values` with a class id "
            "(0 is the background)"
        )
    return np.array([table[value] for value in known.tolist()], np.int32)[places]


def ids_of_colors(
    array: np.ndarray,
    palette: np.ndarray | None,
    colors: collections.abc.Mapping,
    path: str | os.PathLike,
) -> np.ndarray:
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


def value_counts(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values of an array of integers, rising, and how often each is there.

    Counts small ids where `numpy.unique` would sort them, which took a fifth of a survey.
    """
    if not ids.size or ids.min() < 0 or ids.max() >= min(MOST_COUNTED, ids.size):
        return np.unique(ids, return_counts=True)
    numbers = np.bincount(ids.ravel().astype(np.intp, copy=False))
    values = np.flatnonzero(numbers)
    return values, numbers[values]


def _counts(labels):
    """Values and their numbers of pixels; colours as tuples."""
    if labels.ndim == 2:
        values, numbers = value_counts(labels)
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
