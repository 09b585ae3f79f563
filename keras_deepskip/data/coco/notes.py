"""What a COCO file says oddly: read all the same, but never without a word."""

import dataclasses
import warnings

NAMED = 5  # entries that a message names


@dataclasses.dataclass(frozen=True)
class Note:
    """Something about a COCO file, or YOLO's texts, that its reader should know.

    Attributes:
        severity: `"warning"`, or `"note"` where nothing is in doubt.
        message: what was found, and how it is read.
        fix: what to do about it.
        ignored: whether it is about ignored pixels, which need an `ignore_class`.
    """

    severity: str
    message: str
    fix: str = ""
    ignored: bool = False

    def given(self, ignore_class: int | None) -> "Note":
        """The note for masks that are read with this `ignore_class`: nothing is in doubt then."""
        if not self.ignored or ignore_class is None:
            return self
        return Note("note", f"{self.message} (ignore_class={ignore_class})")


def warn(notes, source, ignore_class=None):
    """Issues the warnings among the notes about a file.

    Args:
        notes: list of `Note`.
        source: the file.
        ignore_class: the id of ignored pixels by which the masks are read, or None.
    """
    for note in (note.given(ignore_class) for note in notes):
        if note.severity == "warning":
            warnings.warn(f"{source}: {note.message}. {note.fix}".strip(), stacklevel=3)


def counted(number, what):
    """A number with its noun: `1 image`, `2 images`."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def listed(names):
    """The first few of the names, and how many there are beyond."""
    names = list(names)
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(str(name)[:60] for name in names[:NAMED]) + more
