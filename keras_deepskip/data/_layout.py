"""How a folder of data is laid out: the names of its parts, and the words that tell it."""

import unicodedata

PARTS = ("train", "val", "test")
# Names of their folders, as tools export them.
PART_FOLDERS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


def part_of(name: str) -> str | None:
    """The part that a folder of this name holds, whatever a tool calls it; None for others.

    Example:

    >>> part_of("valid"), part_of("Training"), part_of("images")
    ('val', 'train', None)
    """
    return next((p for p, names in PART_FOLDERS.items() if name.lower() in names), None)


def same_name(name: str) -> str:
    """A name in composed Unicode: some systems write an accent as a letter of its own."""
    return unicodedata.normalize("NFC", name)


LAYOUT = (
    "the layout is FOLDER/images/NAME.png (.jpg, .jpeg, .tif, .tiff) with FOLDER/masks/NAME.png "
    "(or NAME_mask.png), or instead of masks/ COCO's FOLDER/annotations.json, or YOLO's outlines, "
    "FOLDER/labels/NAME.txt with FOLDER/data.yaml"
)
