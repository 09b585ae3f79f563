"""How masks are read: one value, the same in training, evaluation and every command."""

import collections.abc
import dataclasses


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
