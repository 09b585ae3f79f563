"""What kind of masks a set has: decided from all of them together, never file by file."""

import dataclasses
from collections.abc import Iterable

from keras_deepskip.data.masks import MaskReading

ALONE = 0.95  # share of values that are one connected region each, of masks of object ids
ALONE_OF_MANY = 0.5  # the same where there are more values than a set has classes
MANY = 64  # values in a set; more are no classes
OBJECTS_FROM = 5  # values in a mask from which object ids are told from class ids
GAP = 16  # class ids that no mask holds, from which ids are thought to be something else
CHOICES = (
    "Say what they are: MaskReading(kind='classes') (--mask-kind classes) if values are class ids, "
    "kind='objects' if each object has a number of its own"
)


@dataclasses.dataclass(frozen=True)
class MaskKind:
    """What the masks of a set are.

    Attributes:
        reading: the `MaskReading` that reads them, its number of classes and kind filled in.
        text: what was decided, and by what, for people.
        problem: why it cannot be decided, or None.
        fix: what to do about a problem.
    """

    reading: MaskReading
    text: str
    problem: str | None = None
    fix: str = ""


@dataclasses.dataclass(frozen=True)
class _Values:
    """Values of the masks that hold any besides 0 and the ignored class.

    Attributes:
        by_mask: a rising list for each mask.
        alone: number of values by number of connected regions.
    """

    by_mask: list
    alone: float

    @property
    def all(self):
        return sorted(set().union(*self.by_mask))

    @property
    def most(self):
        """Number of values of the mask that has most."""
        return max(map(len, self.by_mask))

    @property
    def consecutive(self):
        """Whether each mask has all values from its least to its greatest."""
        return all(values[-1] - values[0] == len(values) - 1 for values in self.by_mask)

    @property
    def recurrence(self):
        """Share of the masks that a value is in, on average."""
        return sum(map(len, self.by_mask)) / len(self.all) / len(self.by_mask)


def decide_kind(facts: Iterable, reading: MaskReading) -> MaskKind:
    """Decides what kind of masks a set has.

    Object ids are values that are one connected region each, of which a mask has many, and other
    masks other numbers; class ids are regions of any number that recur. What the caller has said
    (`kind`, `values`, `colors`, more than one class) is not questioned.

    Args:
        facts: the `MaskFacts` of the set.
        reading: the `MaskReading` that was asked for.

    Returns:
        A `MaskKind`.

    Example:

    >>> decide_kind([], MaskReading(num_classes=3)).text
    'class ids, as given'
    """
    facts = [mask for mask in facts if mask.areas is not None]  # a picture is an error of its own
    given = _given(facts, reading)
    if given is not None:
        return given
    values = _values_of(facts, reading.ignore_class)
    if not values.by_mask:
        return _found(reading, "binary", "no object in any mask")
    if not any(value == 0 for mask in facts for value, _ in mask.counts):
        return _undecided(
            reading, f"no mask holds 0, the background; they hold {_listed(values.all)}",
            "Say which value is the background, such as values={1: 0, 2: 1}; or that each value is "
            "a class: MaskReading(kind='classes') (--mask-kind classes)",
        )  # fmt: skip
    if len(values.all) == 1:
        shown = "0 and 255" if any(mask.whole for mask in facts) else f"0 and {values.all[0]}"
        return _found(reading, "binary", f"binary ({shown})")
    if _are_objects(values):
        text = f"object ids (each object its own number, up to {values.most} in a mask)"
        return _found(reading, "objects", f"{text}, read as one class")
    return _classes_or_undecided(reading, values)


def _given(facts, reading):
    if reading.colors is not None:
        text = f"colours, by a table of {len(reading.colors)}"
    elif reading.values is not None:
        text = f"values, by a table of {len(reading.values)}"
    elif reading.kind is not None:
        text = {"classes": "class ids", "objects": "object ids, read as one class"}.get(
            reading.kind, "binary"
        )
    elif (reading.num_classes or 1) > 1:
        text = "class ids"
    else:
        return None
    return _found(reading, reading.kind, f"{text}, as given", _ids(facts, reading))


def _ids(facts, reading):
    """Class ids that the masks hold, or that a table gives."""
    if reading.values is not None:
        return [int(label) for label in reading.values.values()]
    return [value for mask in facts if not mask.whole for value, _ in mask.counts]


def _found(reading, kind, text, ids=()):
    count = reading.num_classes
    if count is None:
        ids = [value for value in ids if value not in (255, reading.ignore_class)]
        highest = 1 if kind in ("objects", "binary") else max(ids, default=1)
        count = 1 if highest <= 1 else highest + 1
    return MaskKind(dataclasses.replace(reading, num_classes=count, kind=kind), text)


def _undecided(reading, problem, fix=CHOICES):
    known = dataclasses.replace(reading, num_classes=reading.num_classes or 1)
    return MaskKind(known, "not known", problem, fix)


def _values_of(facts, ignore_class):
    by_mask, regions = [], 0
    for mask in facts:
        values = [value for value, _ in mask.counts if value not in (0, ignore_class)]
        values = [1] if mask.whole and values else values
        if len(values) > 1 and values[-1] in (255, 65535) and values[-2] < values[-1] - 1:
            del values[-1]  # border or "do not care", as in Pascal VOC
        if values:
            by_mask.append(values)
            regions += len(mask.areas)
    return _Values(by_mask, sum(map(len, by_mask)) / regions if regions else 0.0)


def _are_objects(values):
    if len(values.all) > MANY and values.alone >= ALONE_OF_MANY:
        return True
    if values.alone < ALONE or values.most < OBJECTS_FROM:
        return False
    numbers_differ = len(set(map(len, values.by_mask))) > 1
    return (values.consecutive and numbers_differ) or values.recurrence < 0.5


def _classes_or_undecided(reading, values):
    alike = values.alone >= ALONE and values.consecutive and values.most >= 3
    if alike and reading.num_classes is None:
        return _undecided(
            reading,
            f"masks hold up to {values.most} values, each of them one connected region: class ids "
            "or object ids",
        )
    highest = values.all[-1]
    if len(values.all) <= MANY and highest - len(values.all) >= GAP:
        table = {value: label for label, value in enumerate([0, *values.all])}
        return _undecided(
            reading,
            f"masks hold {len(values.all)} values up to {highest}, with large gaps: "
            f"{_listed(values.all)}",
            f"If each is a class, number them: MaskReading(values={table}); if they are class ids "
            "as they stand, give kind='classes'",
        )
    return _found(reading, "classes", f"class ids 0 to {highest}", values.all)


def _listed(values, most=8):
    text = ", ".join(str(value) for value in values[:most])
    return text + (f" and {len(values) - most} more" if len(values) > most else "")
