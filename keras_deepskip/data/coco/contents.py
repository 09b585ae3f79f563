"""A COCO file read and checked: its ids match, and its values are of the right kinds."""

import collections
import dataclasses
import math
import os
from pathlib import PureWindowsPath

from keras_deepskip._files import read_json
from keras_deepskip.data.coco.notes import Note, counted, listed

LISTS = ("images", "annotations", "categories")
CROWD = {0: False, 1: True, None: False, "0": False, "1": True}


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a COCO file says.

    Attributes:
        images: list of dicts with `id`, `file_name`, `height`, `width` (whole numbers).
        annotations: list of dicts whose `image_id` and `category_id` are ids of the lists, and
            `iscrowd` True or False; `area` is a number, or None where there is none.
        categories: list of `(id, name)`, by rising id.
        notes: list of `Note`.
    """

    images: list
    annotations: list
    categories: list
    notes: list


def read_contents(source: str | os.PathLike) -> Contents:
    """Reads a COCO file of instances and checks it.

    Ids as text are matched with equal numbers, and lists may be objects by id (LIVECell). A root
    category (Roboflow), the supercategory of all others without an annotation, is left out.

    Args:
        source: path of the JSON file.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it is none, if an id is used twice, or an annotation names an image or a
            category that is not there.
    """
    content = read_json(source, "a COCO file of instances")
    entries = {key: _entries(content, key) for key in LISTS} if isinstance(content, dict) else {}
    if len(entries) < len(LISTS) or None in entries.values():
        raise ValueError(
            f"{source}: a COCO file with the lists images, annotations and categories was "
            f"expected. Received: {_kinds(content)}"
        )
    notes = [
        Note("note", f"`{key}` is an object of entries by id, read as a list")
        for key in LISTS
        if isinstance(content[key], dict)
    ]
    images = [_image(entry, source) for entry in entries["images"]]
    _refuse_doubled("images", [image["id"] for image in images], source)
    categories = _categories(entries["categories"], source, notes)
    annotations = _annotations(entries["annotations"], images, categories, source, notes)
    categories = _without_root(categories, annotations, notes)
    named = sorted(((c["id"], str(c["name"])) for c in categories), key=lambda c: _by_id(c[0]))
    return Contents(images, annotations, named, notes)


# ---- Lists ---------------------------------------------------------------------------------------


def _entries(content, key):
    """A list of the file, also where it is an object by id; None if it is neither."""
    found = content.get(key)
    if isinstance(found, dict) and all(isinstance(entry, dict) for entry in found.values()):
        return [{"id": number, **entry} for number, entry in found.items()]
    return found if isinstance(found, list) else None


def _kinds(content):
    """What a file holds in place of the three lists."""
    if not isinstance(content, dict):
        return type(content).__name__
    kinds = {key: type(value).__name__ for key, value in content.items()}
    there = [f"{key}: {kinds[key]}" for key in LISTS if key in kinds]
    there += [f"no {key}" for key in LISTS if key not in kinds]
    others = [str(key)[:20] for key in kinds if key not in LISTS]
    return ", ".join(there) + (f"; also {listed(others)}" if others else "")


def _image(entry, source):
    if not isinstance(entry, dict) or not {"id", "file_name", "height", "width"} <= set(entry):
        raise ValueError(
            f"{source}: id, file_name, height and width were expected for every image. "
            f"Received: {str(entry)[:80]}"
        )
    if not _is_name(entry["file_name"]):
        refuse_name(entry["file_name"], source)
    if not _is_id(entry["id"]):
        raise ValueError(
            f"{source}: a number or text was expected as id of {entry['file_name']!r}. Received: "
            f"{str(entry['id'])[:40]}"
        )
    height, width = (_whole(entry[key]) for key in ("height", "width"))
    if min(height, width) < 1:
        raise ValueError(
            f"{source}: a height and width in pixels were expected for {entry['file_name']!r}. "
            f"Received: {str(entry['height'])[:20]!r} x {str(entry['width'])[:20]!r}"
        )
    return {**entry, "height": height, "width": width}


def _whole(value):
    """A whole number, also where it is written as 480.0; 0 for anything else, or beyond 32 bits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return int(value) if 0 < value < 2**31 and value == int(value) else 0


def _is_name(name):
    """Whether it is text that ends in the name of a file."""
    return (
        isinstance(name, str) and "\0" not in name and PureWindowsPath(name).name not in ("", "..")
    )


def leads_outside(name):
    """Whether a `file_name` may lead out of the folder of images. (Links in it are the user's.)"""
    # Read as Windows does, "/" and "\\" part it, and it may begin with a drive: the strictest.
    path = PureWindowsPath(name)
    return bool(path.anchor) or ".." in path.parts


def refuse_name(name, source):
    """A file that is named must lie in the folder of images."""
    raise ValueError(
        f"{source}: image files inside the folder of images were expected as `file_name`. "
        f"Received: {str(name)[:80]!r}. Copy the file there, and name it without .. and /"
    )


def _refuse_doubled(what, ids, source):
    """Two entries of one id: what is said of it could be of either."""
    doubled = [number for number, times in collections.Counter(ids).items() if times > 1]
    if doubled:
        raise ValueError(
            f"{source}: {what} with an id each of its own were expected. Received: "
            f"{counted(len(doubled), 'id')} used more than once ({listed(doubled)}). Number them "
            "anew, with the annotations that name them, or take out what is there twice"
        )


# ---- Categories ----------------------------------------------------------------------------------


def _categories(entries, source, notes):
    for entry in entries:
        if not isinstance(entry, dict) or not _is_id(entry.get("id")) or "name" not in entry:
            raise ValueError(
                f"{source}: id and name were expected for every category. Received: "
                f"{str(entry)[:80]}"
            )
    _refuse_doubled("categories", [entry["id"] for entry in entries], source)
    names = collections.Counter(str(entry["name"]) for entry in entries)
    doubled = [name for name, times in names.items() if times > 1]
    if doubled:
        message = f"several categories have one name: {listed(doubled)}; each is a class"
        notes.append(Note("warning", message, "Give them one id, if they are one class"))
    return entries


def _without_root(categories, annotations, notes):
    """Roboflow's exports begin with the project's name as a category, the parent of all others."""
    used = {annotation["category_id"] for annotation in annotations}
    for root in categories:
        others = [entry for entry in categories if entry is not root]
        parents = {str(entry.get("supercategory")) for entry in others}
        alone = str(root.get("supercategory") or "none").lower() == "none"
        if alone and root["id"] not in used and parents == {str(root["name"])}:
            message = f"category {root['name']!r} is the parent of all others and has no annotation"
            notes.append(Note("note", f"{message}: it is no class of its own"))
            return others
    return categories


# ---- Annotations ---------------------------------------------------------------------------------


def _annotations(entries, images, categories, source, notes):
    """The annotations, with the ids of the lists in place of what they say."""
    ids = {
        "image_id": _Ids(image["id"] for image in images),
        "category_id": _Ids(category["id"] for category in categories),
    }
    lost, as_text = collections.defaultdict(list), []
    for place, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise ValueError(
                f"{source}: annotations with image_id, category_id and segmentation were expected. "
                f"Received: {str(entry)[:80]}"
            )
        name = entry["id"] if _is_id(entry.get("id")) else f"number {place} of the list"
        found = {key: ids[key].match(entry.get(key)) for key in ids}
        for key, match in found.items():
            if match is None:
                lost[key].append(f"annotation {name} ({key} {repr(entry.get(key))[:40]})")
        values = {"iscrowd": _crowd(entry, name, source), "area": _area(entry, name, source)}
        texts = any(isinstance(entry.get(key), str) for key in values)
        if texts or any(match != entry.get(key) for key, match in found.items()):
            as_text.append(name)
        entry.update(found | values, id=name)
    for key, what in (("image_id", images), ("category_id", categories)):
        _refuse_lost(lost[key], key, [entry["id"] for entry in what], len(entries), source)
    _note_text(as_text, notes)
    _note_doubled(entries, notes)
    return entries


class _Ids:
    """The ids of a list, and how annotations may name them."""

    def __init__(self, ids):
        self.ids = {number: number for number in ids}
        same = collections.defaultdict(list)
        for number in self.ids:
            same[_number(number)].append(number)
        self.by_number = {number: ids[0] for number, ids in same.items() if len(ids) == 1}

    def match(self, said):
        """The id that was meant, also as text or without text; None if there is none."""
        if not _is_id(said):
            return None
        found = self.ids.get(said)
        return self.by_number.get(_number(said)) if found is None else found


def _is_id(value):
    return isinstance(value, int | float | str) and not isinstance(value, bool)


def _number(number):
    """An id as a number, if it is one."""
    text = number.strip() if isinstance(number, str) else ""
    return int(text) if text.isdecimal() and len(text) < 20 else number


def _by_id(number):
    """For sorting: numbers first, then texts."""
    number = _number(number)
    return (isinstance(number, str), number)


def _crowd(entry, name, source):
    said = entry.get("iscrowd")
    if isinstance(said, int | float | str | None) and said in CROWD:
        return CROWD[said]
    raise ValueError(
        f"{source}: 0 or 1 was expected as `iscrowd` of annotation {name}. Received: "
        f"{str(said)[:40]!r}"
    )


def _area(entry, name, source):
    """The area that an annotation gives; None if it gives none."""
    said = entry.get("area")
    if said is None:
        return None
    try:
        area = float(said)
    except (TypeError, ValueError):
        area = math.nan
    if not math.isfinite(area):
        raise ValueError(
            f"{source}: a number of pixels was expected as `area` of annotation {name}. Received: "
            f"{str(said)[:40]!r}"
        )
    return area


def _refuse_lost(lost, key, known, total, source):
    """Objects that would be missing without a word."""
    if lost:
        what = "images" if key == "image_id" else "categories"
        raise ValueError(
            f"{source}: a `{key}` among the ids of its {what} ({listed(known) or 'none'}) was "
            f"expected for every annotation. Received: {len(lost):,} of {total:,} that name none: "
            f"{listed(lost)}. Correct the ids (do both count from 0, or from 1?), add the {what}, "
            "or take the annotations out"
        )


def _note_text(names, notes):
    if names:
        message = f"{counted(len(names), 'annotation')} with numbers written as text"
        message = f"{message} ({listed(names)}): matched with the numbers"
        notes.append(Note("warning", message, "Write ids, iscrowd and area as numbers"))


def _note_doubled(annotations, notes):
    times = collections.Counter(annotation["id"] for annotation in annotations)
    doubled = [number for number, count in times.items() if count > 1]
    if doubled:
        message = f"{counted(len(doubled), 'id')} of annotations used more than once"
        message = f"{message} ({listed(doubled)}): each annotation is an object"
        notes.append(Note("warning", message, "Take out annotations that are there twice"))
