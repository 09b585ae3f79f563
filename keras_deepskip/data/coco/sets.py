"""COCO files of instances as samples, and as folders of masks."""

import collections
import dataclasses
import os
import shutil
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath

import numpy as np

from keras_deepskip._checks import check_choice
from keras_deepskip._files import replacing
from keras_deepskip.data.coco.contents import leads_outside, read_contents, refuse_name
from keras_deepskip.data.coco.mask import CocoMask
from keras_deepskip.data.coco.notes import Note, counted, listed, warn
from keras_deepskip.data.coco.shapes import check_shapes
from keras_deepskip.data.images import write_png
from keras_deepskip.data.samples import Sample

CROWDS = ("by image", "objects", "ignored")


@dataclasses.dataclass(frozen=True)
class CocoSet:
    """A COCO file with its images.

    Attributes:
        samples: list of `Sample` with `CocoMask`, sorted by name.
        classes: dict from class id to name.
        notes: list of `Note`: what the file says oddly, and how it is read.
    """

    samples: list
    classes: dict
    notes: list


def coco_samples(
    annotations: str | os.PathLike,
    images_dir: str | os.PathLike,
    categories: Sequence[str] | None = None,
    min_area: float = 0,
    crowds: str = "by image",
) -> list[Sample]:
    """Reads a COCO file of instances as samples whose masks are rasterized when they are read.

    Class ids are 1 to K in the order of the categories' ids, or of the names in `categories`. The
    instances of a class become one region, as a semantic mask has it; where two overlap, the
    smaller lies on top, so that small objects are not hidden. Objects below `min_area` and crowds
    are ignored pixels: `ignore_class` where one is given when the mask is read, else background.
    Images without annotations have empty masks.

    What tools write otherwise than COCO is read and warned of: ids as text, annotations by id
    (LIVECell), outlines as one flat list or as pairs, a root category without annotations
    (Roboflow; no class), folders before a file's name, outlines that cover no pixel (skipped).

    Args:
        annotations: path of the JSON file (`images`, `annotations`, `categories`).
        images_dir: folder of the image files that it names. They lie in it or in folders of it; of
            a name that leaves it (`../`, or from the root) the last part alone is looked for there.
        categories: None for all, or a list of names; objects of the others are background.
        min_area: least area in pixels, by the annotation's `area`.
        crowds: what annotations with `iscrowd` 1 are: `"objects"`, `"ignored"`, or `"by image"`:
            objects where all of an image's annotations are crowds, as painting tools (CVAT's
            brush) write each object, else ignored.

    Returns:
        A list of `Sample` with `CocoMask`, sorted by name.

    Raises:
        FileNotFoundError: if the JSON file is missing.
        ValueError: if it is no COCO file, if images are missing or outside of `images_dir`, if a
            category is unknown, an annotation names no image or category of the file, an id is
            used twice, or an object has a box and no mask.

    Example:

    ```python
    samples = coco_samples("coco/annotations.json", "coco/images", categories=["car", "bus"])
    ```
    """
    found = read_coco_set(annotations, images_dir, categories, min_area, crowds)
    warn(found.notes, annotations)
    return found.samples


def read_coco_set(
    annotations: str | os.PathLike,
    images_dir: str | os.PathLike,
    categories: Sequence[str] | None = None,
    min_area: float = 0,
    crowds: str = "by image",
) -> CocoSet:
    """As `coco_samples`, with the classes, and with notes in place of warnings: a `CocoSet`."""
    check_choice("crowds", crowds, CROWDS)
    source, contents = Path(annotations), read_contents(annotations)
    notes = list(contents.notes)
    labels = _labels(contents, categories, source)
    regions: dict = {entry["id"]: [] for entry in contents.images}
    painted = _painted(contents, crowds, notes)
    for annotation in contents.annotations:
        label = labels.get(annotation["category_id"])
        if label is not None:
            image, area = annotation["image_id"], annotation["area"]
            ignored = annotation["iscrowd"] and image not in painted
            small = area is not None and area < min_area
            regions[image].append((None if ignored or small else label, annotation))
    _note_crowds(regions, notes)
    check_shapes(contents.images, regions, source, notes)
    samples = _samples(contents.images, regions, source, Path(images_dir), notes)
    classes = enumerate(_chosen(contents, categories, source), start=1)
    return CocoSet(samples, {label: name for label, (_, name) in classes}, notes)


def coco_classes(
    annotations: str | os.PathLike, categories: Sequence[str] | None = None
) -> dict[int, str]:
    """Returns the class names of a COCO file as `{class id: name}`, the background left out.

    Args:
        annotations: path of the JSON file.
        categories: as in `coco_samples`.

    Raises:
        ValueError: as `coco_samples`.

    Example:

    ```python
    num_classes = len(coco_classes("coco/annotations.json")) + 1
    ```
    """
    source = Path(annotations)
    chosen = _chosen(read_contents(source), categories, source)
    return {label: name for label, (_, name) in enumerate(chosen, 1)}


def write_masks(
    annotations: str | os.PathLike,
    images_dir: str | os.PathLike,
    out: str | os.PathLike,
    categories: Sequence[str] | None = None,
    min_area: float = 0,
    ignore_class: int | None = None,
    crowds: str = "by image",
) -> dict[int, str]:
    """Writes a COCO set as a folder of images and masks, `out/images` and `out/masks`.

    Args:
        annotations, images_dir, categories, min_area, crowds: as in `coco_samples`.
        out: the folder; each file in it is written atomically.
        ignore_class: None, or the id for crowds and for objects below `min_area`.

    Returns:
        `{class id: name}`.

    Raises:
        ValueError: as `coco_samples` and `CocoMask.read`.

    Example:

    ```python
    write_masks("coco/annotations.json", "coco/images", "coco_masks", ignore_class=255)
    ```
    """
    out = Path(out)
    found = read_coco_set(annotations, images_dir, categories, min_area, crowds)
    warn(found.notes, annotations, ignore_class)
    highest = max(len(found.classes), ignore_class or 0)
    for sample in found.samples:
        mask = sample.mask.read(ignore_class).astype(np.uint8 if highest < 256 else np.uint16)
        write_png(out / "masks" / f"{sample.name}.png", mask)
        with replacing(out / "images" / sample.image.name) as temporary:
            shutil.copyfile(sample.image, temporary)
    return found.classes


# ---- Classes and crowds --------------------------------------------------------------------------


def _chosen(contents, categories, source):
    """The names of the classes in their order, each with the ids of its categories."""
    known = contents.categories
    if categories is None:
        return [([number], name) for number, name in known]
    by_name = collections.defaultdict(list)
    for number, name in known:
        by_name[name].append(number)
    unknown = [name for name in categories if name not in by_name]
    if unknown:
        raise ValueError(
            f"{source}: `categories` must be among {', '.join(by_name)}. Received: "
            f"{', '.join(map(str, unknown))}"
        )
    return [(by_name[name], name) for name in categories]


def _labels(contents, categories, source):
    """Class id by category's id."""
    chosen = enumerate(_chosen(contents, categories, source), start=1)
    return {number: label for label, (numbers, _) in chosen for number in numbers}


def _painted(contents, crowds, notes):
    """The ids of the images whose crowds are objects."""
    if crowds == "ignored":
        return set()
    kinds = collections.defaultdict(set)
    for annotation in contents.annotations:
        kinds[annotation["image_id"]].add(annotation["iscrowd"])
    if crowds == "objects":
        return set(kinds)
    painted = {image for image, found in kinds.items() if found == {True}}
    if painted:
        message = (
            f"all annotations of {counted(len(painted), 'image')} are crowds (iscrowd 1), as "
            "painting tools write each object: they are read as objects"
        )
        fix = 'Write iscrowd 0 for objects; for groups that do not count give crowds="ignored"'
        notes.append(Note("warning", message, f"{fix} to `coco_samples`"))
    return painted


def _note_crowds(regions, notes):
    """Crowds beside objects that are not: pixels that do not count."""
    ignored = [
        sum(label is None and annotation["iscrowd"] for label, annotation in own)
        for own in regions.values()
    ]
    images = sum(number > 0 for number in ignored)
    if images:
        message = (
            f"{counted(sum(ignored), 'crowd')} (iscrowd 1) on {counted(images, 'image')} beside "
            "other annotations: ignored pixels"
        )
        fix = (
            "Without an ignore_class they are background: give ignore_class=255. If each is one "
            "object (painted with a brush), write iscrowd 0"
        )
        notes.append(Note("warning", message, fix, ignored=True))


# ---- Images --------------------------------------------------------------------------------------


def _samples(images, regions, source, folder, notes):
    paths = _paths(images, source, folder, notes)
    samples = []
    for entry, image in sorted(
        zip(images, paths, strict=True), key=lambda pair: pair[0]["file_name"]
    ):
        own = tuple(regions[entry["id"]])
        mask = CocoMask(source, entry["id"], entry["height"], entry["width"], own)
        samples.append(Sample(image.stem, image, mask, image.stem))
    _refuse_missing(samples, source, folder)
    return samples


def _paths(images, source, folder, notes):
    """Where the images are: as they are named, or in the folder itself, if tools put more before.

    The last part of a name must be another for each image then. Of a name that leads out of the
    folder nothing but the last part is looked at. Some systems write an accent as a letter of its
    own.
    """
    names = [entry["file_name"] for entry in images]
    outside = [leads_outside(name) for name in names]
    # Of what leads out, the last part is looked for below
    paths = [None if out else folder / name for name, out in zip(names, outside, strict=True)]
    if not any(outside) and all(path.is_file() for path in paths):
        return paths
    parts = [PureWindowsPath(name).parts for name in names]
    times = collections.Counter(own[-1] for own in parts)
    moved = []
    for place, own in enumerate(parts):
        if paths[place] is not None and paths[place].is_file():
            continue
        bare = [own[-1:]] if times[own[-1]] == 1 else []
        tried = bare if outside[place] else [own, *bare]
        spelled = (folder.joinpath(*each) for each in _spellings(tried))
        there = next((path for path in spelled if path.is_file()), None)
        if there is None and outside[place]:
            refuse_name(names[place], source)
        if there is not None:
            paths[place] = there
            moved.append(names[place])
    if moved:
        message = (
            f"{counted(len(moved), 'image')} found by the last part or another Unicode form of "
            "`file_name`"
        )
        notes.append(Note("note", f"{message} ({listed(moved)})"))
    return paths


def _spellings(names):
    """Parts of names as they are, and in composed and decomposed Unicode."""
    yield from names
    for form in ("NFC", "NFD"):
        yield from ([unicodedata.normalize(form, part) for part in own] for own in names)


def _refuse_missing(samples, source, folder):
    missing = [sample.image for sample in samples if not sample.image.is_file()]
    if missing:
        names = [path.relative_to(folder).as_posix() for path in missing]
        raise ValueError(
            f"{source}: the image files that it names were expected in {folder}. "
            f"Received: {len(missing)} of {len(samples)} missing, such as {listed(names)}"
        )
    seen = {}
    for sample in samples:
        if sample.name in seen:
            raise ValueError(
                f"{source}: one image a name was expected. Received: {seen[sample.name]} and "
                f"{sample.image}. Rename or take out one of them"
            )
        seen[sample.name] = sample.image
