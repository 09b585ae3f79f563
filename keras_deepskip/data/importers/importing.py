"""Published sets brought into the package's own form: `images/`, `masks/`, and their split."""

import dataclasses
import hashlib
import itertools
import os
import re
import shlex
import shutil
import warnings
from pathlib import Path

import numpy as np

from keras_deepskip import _files
from keras_deepskip._checks import check_choice, check_integer, check_number
from keras_deepskip._progress import progress
from keras_deepskip.data import images
from keras_deepskip.data._layout import same_name
from keras_deepskip.data.coco.notes import counted, listed
from keras_deepskip.data.importers import _entry
from keras_deepskip.data.importers.layouts import LAYOUTS
from keras_deepskip.data.split import PARTS

NOTE = "SOURCE.json"
FOLDERS = ("images", "masks", "instances")
WRITTEN = (*FOLDERS, "classes.txt", "split.json", NOTE)
MOST_CLASSES = 254  # 255 is the id of what does not count
_SETTINGS = ("layout", "classes", "ignore_class", "separate_touching", "max_area")


@dataclasses.dataclass(frozen=True)
class ImportedSet:
    """What `import_set` wrote.

    Attributes:
        folder: the folder.
        images: number of images with masks in it.
        classes: dict from class name to class id.
        ignore_class: the id of pixels that do not count, or None.
        split_file: path of `split.json`, or None if the set has no split of its own.
    """

    folder: Path
    images: int
    classes: dict
    ignore_class: object
    split_file: object

    @property
    def num_classes(self):
        """1 for one kind of object; else the number of classes with the background."""
        highest = max(self.classes.values())
        return 1 if highest == 1 else highest + 1

    def text(self):
        """Returns what was written, and the command that trains on it."""
        wrote = f"Wrote {self.images} images and masks to {self.folder}."
        return f"{wrote} Next: {shlex.join(self.training_command())}"

    def training_command(self):
        """The words of the command that trains on it."""
        words = ["train", "--data", self.folder, "--num-classes", self.num_classes]
        if self.ignore_class is not None:
            words += ["--ignore-class", self.ignore_class]
        if self.split_file is not None:
            words += ["--split-file", self.split_file]
        words += ["--out", Path("runs", self.folder.name)]
        return ["keras-deepskip", *map(str, words)]


def import_set(
    layout,
    source,
    out,
    classes=None,
    limit=None,
    overwrite=False,
    separate_touching=False,
    max_area=None,
    verbose=1,
):
    """Converts a published set, or annotated images, to a folder that the package reads.

    It writes `images/` (the files as they are; BMP becomes PNG), `masks/` (PNG of class ids),
    `instances/` (of sets that separate their objects: which object each pixel is of),
    `classes.txt`, `SOURCE.json` (whom to cite, the licence, the classes) and, where the set has
    parts of its own, `split.json`. The published validation images are the test part where a set's
    test masks are withheld (COCO, iSAID). The masks are checked against the images' sizes.

    Each file is written atomically. The same call resumes an interrupted import, converts anew what
    has changed in `source` since (known by name, size and time, as in `SOURCE.json`; what is gone
    there is removed here too), and with a larger `limit` adds to what is there.

    Masks are of classes: objects that touch become one in them, and `instances/` knows them
    apart. `separate_touching` keeps them apart in the masks too, by a line of background, one pixel
    wide, on the larger one's side.

    Args:
        layout: layout of the set, a name in `LAYOUTS`.
        source: the folder of the set as it was published, unpacked.
        out: the folder to write, apart from `source`.
        classes: None for those of `LAYOUTS`; a list of names, whose ids are 1, 2, ...; or a dict
            from name to id, in which names may share one. Other objects are background.
        limit: how many images are taken, evenly spread over the set; None takes all.
        overwrite: whether what another import wrote to `out` is removed first.
        separate_touching: whether a line of background, one pixel wide, is put between touching
            objects of a class. Of sets that separate their objects.
        max_area: COCO alone: take images that hold an object of at most so many pixels.
        verbose: 0 for silence, 1 for a bar of progress.

    Returns:
        An `ImportedSet`.

    Raises:
        FileNotFoundError: if `source` does not hold the set, or a file of it is missing.
        FileExistsError: if `out` holds something else.
        ValueError: for bad arguments, broken files, and masks that do not fit their images.
        ImportError: if a package is missing: `pycocotools` for COCO, `imagecodecs` for compressed
            TIFF.

    Example:

    ```python
    imported = import_set("suim", "downloads/SUIM", "sets/suim")
    split = load_split(imported.folder, imported.split_file)
    ```
    """
    described = LAYOUTS[check_choice("layout", layout, tuple(LAYOUTS))]
    chosen = _check_classes(classes, described)
    limit = None if limit is None else check_integer("limit", limit)
    options = _check_options(layout, described, separate_touching, max_area)
    source, out = Path(source), Path(out)
    _check_apart(source, out)
    reading = described.read(source, chosen, **options)
    note = {
        "layout": layout,
        "classes": reading.classes,
        "ignore_class": reading.ignore_class,
        "separate_touching": bool(separate_touching),
        "max_area": max_area,
    }
    entries = _named(_checked_entries(reading, described, source))
    note["stamps"] = {entry.name: _stamp(entry, source) for entry in entries}
    before = _make_room(out, note, overwrite)
    _remove_changed(before, note["stamps"], out)
    _files.write_json(out / NOTE, _completed(note, described, None))
    _write(_spread(entries, limit), out, described.instances, separate_touching, verbose)
    _write_names(reading.classes, out)
    there = [entry for entry in entries if _is_whole(entry, out)]
    split_file = _write_parts(there, out)
    _files.write_json(out / NOTE, _completed(note, described, len(there)))
    return ImportedSet(out, len(there), reading.classes, reading.ignore_class, split_file)


# ---------------------------------------------------------------------------------------- checking


def _check_classes(classes, layout):
    """The chosen classes as a dict from name to id, if the set knows each of them."""
    if classes is None:
        return layout.classes
    if isinstance(classes, str) or not classes:
        raise ValueError(
            f"`classes` must be names of classes. Received: classes={classes!r}. Give a list of "
            "names, or a dict from name to id"
        )
    if not isinstance(classes, dict):
        names = list(classes)
        if len(set(names)) < len(names):
            raise ValueError(f"`classes` must name each class once. Received: classes={names!r}")
        classes = {name: label for label, name in enumerate(names, start=1)}
    for name in classes if layout.known else ():
        check_choice("classes", name, layout.known)
    ids = {check_integer("classes", label) for label in classes.values()}
    if ids != set(range(1, len(ids) + 1)) or len(ids) > MOST_CLASSES:
        raise ValueError(
            f"`classes` must have the ids 1, 2, ... up to {MOST_CLASSES} without a gap (names may "
            f"share one). Received: classes={classes!r}"
        )
    return {str(name): int(label) for name, label in classes.items()}


def _check_options(layout, described, separate_touching, max_area):
    """The further options of a layout's reader; what it does not have is refused."""
    if separate_touching and not described.instances:
        able = ", ".join(name for name, other in LAYOUTS.items() if other.instances)
        raise ValueError(
            f"`separate_touching` needs a set that separates its objects: {able}. Received: "
            f"layout={layout!r}. Leave it out"
        )
    if max_area is None:
        return {}
    if "max_area" not in described.options:
        raise ValueError(
            f"`max_area` is an option of the layout coco. Received: layout={layout!r}. Leave it out"
        )
    return {"max_area": check_number("max_area", max_area, 1, float("inf"), open_high=True)}


def _check_apart(source, out):
    one, other = source.resolve(), out.resolve()
    if one == other or one in other.parents or other in one.parents:
        raise ValueError(
            "`out` must lie apart from `source`, neither of them in the other. Received: "
            f"source={str(source)!r}, out={str(out)!r}"
        )


def _checked_entries(reading, described, source):
    if not reading.entries:
        raise ValueError(
            f"{source}: images of {described.title} were expected. Received: none (of the chosen "
            f"classes); the layout is\n{described.expected}"
        )
    highest = max(reading.classes.values())
    if highest > MOST_CLASSES:
        raise ValueError(
            f"{source}: at most {MOST_CLASSES} classes were expected. Received: {highest}. Choose "
            "some by `classes`"
        )
    return reading.entries


def _make_room(out, note, overwrite):
    """Sees that `out` is new, empty, or of the same import; else clears it if that is allowed.

    Returns:
        For each image that the import has read before, the stamp of its files then.
    """
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"`out` must be a folder or new. Received: out={str(out)!r}, a file")
    for folder in (out, *(out / name for name in FOLDERS)):
        _files.remove_leftovers(folder)
    if not out.is_dir() or not any(out.iterdir()):
        return {}
    if not (out / NOTE).is_file():
        raise FileExistsError(
            f"`out` must be new, empty, or of an earlier import. Received: out={str(out)!r}, which "
            "holds other files. Choose another folder"
        )
    before = _files.read_json(out / NOTE, "the note of an import")
    before = before if isinstance(before, dict) else {}
    differ = [key for key in _SETTINGS if key not in before or before[key] != note[key]]
    if overwrite:
        for name in WRITTEN:
            _files.remove(out / name)
        return {}
    if differ:
        raise FileExistsError(
            f"{out}: an import of the same settings was expected, to resume it. Received: another "
            f"{', '.join(differ)}. Choose another folder, or replace it with overwrite=True"
        )
    stamps = before.get("stamps")
    return stamps if isinstance(stamps, dict) else {}


def _stamp(entry, source):
    """What changes when the image or a file that its mask is made from does."""
    listed = []
    for path in (entry.image, *entry.sources):
        if path.is_file():  # a text of YOLO, say, may be missing
            status = path.stat()
            place = Path(os.path.relpath(path, source)).as_posix()
            listed.append((place, status.st_size, status.st_mtime_ns))
    return hashlib.sha256(repr(listed).encode()).hexdigest()[:16]


def _remove_changed(before, now, out):
    """Removes what was converted from files that are others now, or gone."""
    for name in (name for name, stamp in before.items() if now.get(name) != stamp):
        for folder, suffix in itertools.product(FOLDERS, images.SUFFIXES):
            _files.remove(out / folder / f"{name}{suffix}")


# ----------------------------------------------------------------------------------------- writing


def _completed(note, described, number):
    """The note with whom to cite; the number of images is there once the import is done."""
    source = {key: getattr(described, key) for key in ("title", "citation", "licence", "home")}
    return note | source | {"images": number, "complete": number is not None}


def _write(entries, out, instances, separate_touching, verbose):
    outside = {}
    with progress(len(entries), verbose, "Converted") as show:
        for index, entry in enumerate(entries, start=1):
            if not _is_whole(entry, out):
                mask, numbers = _mask(entry, instances, separate_touching)
                outside[entry.image.name] = entry.outside(mask.shape) if entry.outside else 0
                images.write_png(out / "masks" / f"{entry.name}.png", mask)
                if numbers is not None:
                    _write_ids(out / "instances" / entry.name, numbers)
                _write_image(entry.image, _image_path(entry, out))  # last: both are there then
            show(index)
    _warn_outside({name: number for name, number in outside.items() if number})


def _warn_outside(numbers):
    """Objects that are in no mask are told, as COCO's are."""
    if numbers:
        warnings.warn(
            f"{counted(sum(numbers.values()), 'shape')} outside of the image, on "
            f"{counted(len(numbers), 'image')} ({listed(numbers)}): skipped, as they cover no "
            "pixel. Draw them again (were they drawn on an image of another size?), or take them "
            "out",
            stacklevel=3,
        )


def _mask(entry, instances, separate_touching):
    """The mask of an entry as it is written, checked against the image's size; its objects' ids."""
    classes, numbers = entry.read_mask(instances)
    size = _entry.picture_size(entry.image)
    if classes.shape != size:
        raise ValueError(
            f"{entry.image}: a mask of the image's size was expected, {size[0]} x {size[1]}. "
            f"Received: {classes.shape[0]} x {classes.shape[1]}. Unpack the set again, or take the "
            "image out of the source"
        )
    if separate_touching:
        if numbers is None:
            raise FileNotFoundError(
                f"{entry.image}: the mask of its objects was expected, as `separate_touching` "
                "needs it, and there is no such file. Unpack it too, or leave the option out"
            )
        classes = _entry.separated(classes, numbers)
    return classes.astype(np.uint8), numbers


def _write_ids(path, numbers):
    """Writes the objects' ids, numbered anew from 1 on: PNG of 16 bits, or TIFF of 32 for more."""
    ids = np.unique(numbers, return_inverse=True)[1].reshape(numbers.shape)
    ids += numbers.min() > 0  # without background
    if ids.max() < 2**16:
        images.write_png(path.with_name(f"{path.name}.png"), ids.astype(np.uint16))
        return
    import tifffile

    with _files.replacing(path.with_name(f"{path.name}.tif")) as new:
        tifffile.imwrite(new, ids.astype(np.uint32), compression="zlib")


def _write_names(classes, out):
    """Writes the classes' names, a line each, where each class has one."""
    by_id = {label: name for name, label in classes.items()}
    if len(by_id) == len(classes):
        names = [by_id[label] for label in sorted(by_id)]
        _files.write_text(out / "classes.txt", "".join(f"{name}\n" for name in names))


def _image_path(entry, out):
    """Where an image goes: with its own suffix if images may have it, else as PNG."""
    suffix = entry.image.suffix.lower()
    keep = suffix in images.SUFFIXES and not _entry.is_bmp(entry.image)
    return out / "images" / f"{entry.name}{suffix if keep else '.png'}"


def _write_image(image, path):
    """Copies an image as it is, or writes one of another format or suffix as PNG."""
    if _entry.is_bmp(image) or image.suffix.lower() not in images.SUFFIXES:
        picture = _entry.read_picture(image)
        if picture.shape[-1] in (2, 4):  # with alpha, which `write_png` does not write
            picture = images.to_channels(picture, picture.shape[-1] - 1, image)
        images.write_png(path, picture)
        return
    with _files.replacing(path) as temporary:
        shutil.copyfile(image, temporary)


def _is_whole(entry, out):
    mask = out / "masks" / f"{entry.name}.png"
    return mask.is_file() and _image_path(entry, out).is_file()


def _write_parts(entries, out):
    """Writes the set's own split, if it has a test part; returns its path or None."""
    parts = {part: [e.name for e in entries if e.part == part] for part in PARTS}
    parts = {part: names for part, names in parts.items() if names}
    if "train" not in parts or len(parts) < 2:
        _files.remove(out / "split.json")
        return None
    _files.write_json(out / "split.json", parts)
    return out / "split.json"


# ----------------------------------------------------------------------------------- names, choice


def _named(entries):
    """Entries whose names are file names, each another, whatever the disk makes of capitals."""
    names = [_file_name(entry.name) for entry in entries]
    taken, named = set(), []
    natural = {name.lower() for name in names}
    for entry, name in zip(entries, names, strict=True):
        number, free = 2, name
        while free.lower() in taken or (free != name and free.lower() in natural):
            free, number = f"{name}_{number}", number + 1
        taken.add(free.lower())
        named.append(dataclasses.replace(entry, name=free))
    return named


def _file_name(name):
    """A name that stays in its folder, is not hidden, and that every system allows."""
    return re.sub(r"[^\w\-.() ]", "_", same_name(name)).strip(". ")[:120] or "image"


def _spread(entries, limit):
    """At most `limit` entries, evenly spread; the first and the last are among them."""
    if limit is None or limit >= len(entries):
        return entries
    return [entries[index] for index in np.linspace(0, len(entries) - 1, limit).astype(int)]
