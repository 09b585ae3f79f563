"""Readers of sets whose masks are shapes in JSON: COCO, VIA and labelme."""

import base64
import dataclasses
import functools
from pathlib import PureWindowsPath

import numpy as np

from keras_deepskip._files import read_json
from keras_deepskip.data._layout import same_name
from keras_deepskip.data.coco import read_coco_set
from keras_deepskip.data.coco.notes import warn
from keras_deepskip.data.importers import _entry
from keras_deepskip.data.importers._entry import Entry, Reading
from keras_deepskip.data.importers._shape_entries import (
    CUT,
    IGNORED,
    Labels,
    checked_shape,
    find_parted,
    image_beside,
    pictures_beside,
    shape_entry,
)
from keras_deepskip.data.importers._shapes import Bitmap, Ellipse, Polygon, rectangle

# ------------------------------------------------------------------------------------------- COCO

COCO_LAYOUT = """    SOURCE/annotations/instances_train2017.json
    SOURCE/train2017/*.jpg
    SOURCE/annotations/instances_val2017.json
    SOURCE/val2017/*.jpg                          (either of the two pairs will do)"""
COCO_PARTS = {"train": "train", "val": "test"}  # the annotations of its own test part are withheld


def read_coco(source, classes, max_area=None):
    """COCO: the images that hold an object of the chosen classes (of at most `max_area`)."""

    root = _entry.find_root(source, _coco_pairs, COCO_LAYOUT)
    names = None if classes is None else list(classes)
    entries = []
    for annotations, folder in _coco_pairs(root):
        found = read_coco_set(annotations, folder, names, crowds="ignored")
        warn(found.notes, annotations, IGNORED)
        if classes is None:
            classes = {name: label for label, name in found.classes.items()}
            names = list(classes)
        labels = [0, *classes.values()]
        part = next((to for start, to in COCO_PARTS.items() if folder.name.startswith(start)), None)
        for sample in found.samples:
            if _has_small(sample.mask.regions, max_area):
                read_mask = functools.partial(_read_coco, sample.mask, labels)
                entries.append(Entry(sample.name, sample.image, read_mask, part, (annotations,)))
    return Reading(entries, classes, IGNORED)


def _coco_pairs(folder):
    """The files of annotations, each with the folder of its images where that is there too."""
    pairs = []
    for path in _entry.files(folder / "annotations", (".json",)):
        for place in (folder, folder / "images") if path.stem.startswith("instances_") else ():
            images = place / path.stem.removeprefix("instances_")
            if images.is_dir():
                pairs.append((path, images))
                break
    return pairs


def _has_small(regions, max_area):
    """Whether there is an object that counts, of at most so many pixels."""
    areas = [annotation["area"] or 0 for label, annotation in regions if label is not None]
    return bool(areas) and (max_area is None or min(areas) <= max_area)


def _read_coco(mask, labels, instances):
    """The regions are rasterized by their numbers, and the classes are looked up by number."""
    counted = [label for label, _ in mask.regions]
    numbered = tuple(
        (None if label is None else number, annotation)
        for number, (label, annotation) in enumerate(mask.regions, start=1)
    )
    numbers = dataclasses.replace(mask, regions=numbered).read(ignore_class=-1)
    table = [0, *(0 if label is None else labels[label] for label in counted), IGNORED]
    classes = np.array(table, np.int32)[numbers]  # -1 is the last
    return classes, np.maximum(numbers, 0) if instances else None


# -------------------------------------------------------------------------------------------- VIA


def _json_files(folder):
    return _entry.files(folder, (".json",))


VIA_LAYOUT = """    SOURCE/NAME.json     (saved or exported by VIA 1 or 2)
    SOURCE/*.jpg         (the images that it names, next to it or in images/)
or such a folder as SOURCE/train, SOURCE/val, SOURCE/test"""


def read_via(source, classes):
    """Images annotated with the VGG Image Annotator: circles, ellipses, polygons, rectangles."""

    root, parts = find_parted(source, _json_files, VIA_LAYOUT)
    entries, seen = [], Labels(classes)
    for folder, part in parts:
        listed = {}
        for path in _json_files(folder):
            for record in _via_records(path):
                image = image_beside(folder, record.get("filename"), path)
                if image in listed:
                    raise ValueError(
                        f"{path}: each image once was expected. Received: {image.name} again. Keep "
                        "one of the records, or one of the files"
                    )
                listed[image] = path, _via_regions(record, path)
        for image, (path, regions) in sorted(listed.items()):
            shapes = [checked_shape(_via_shape, region, path) for region, _ in regions]
            labels = [seen.label(names, path) for _, names in regions]
            entries.append(shape_entry(image, shapes, labels, part, (path,)))
    return Reading(entries, seen.checked(root))


def _via_records(path):
    """What a VIA file says of its images: a project, or an export of its annotations."""
    content = read_json(path, "a project or export of VIA")
    if isinstance(content, dict):
        content = content.get("_via_img_metadata", content)
    records = list(content.values()) if isinstance(content, dict) else []
    whole = all(isinstance(record, dict) and "regions" in record for record in records)
    if not records or not whole:
        raise ValueError(
            f"{path}: a project or export of VIA was expected, with filename and regions of every "
            f"image. Received: {str(content)[:80]}. Take other JSON files out of the folder"
        )
    return records


def _via_regions(record, path):
    """Pairs of shape and names of its class; VIA 1 numbers the regions, VIA 2 lists them."""
    regions = record["regions"]
    regions = list(regions.values()) if isinstance(regions, dict) else regions
    try:
        return [(r["shape_attributes"], _via_names(r["region_attributes"])) for r in regions]
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{path}: shape_attributes and region_attributes were expected for every region of "
            f"{record.get('filename')}. Received: {str(regions)[:80]}"
        ) from error


def _via_names(attributes):
    """All names that a region has: texts, chosen options, and boxes that are ticked."""
    names = set()
    for value in attributes.values():
        ticked = [key for key, on in value.items() if on] if isinstance(value, dict) else [value]
        names.update(str(name) for name in ticked)
    return names


def _via_shape(shape):
    kind = shape["name"]
    if kind == "circle":
        return Ellipse(*(float(shape[key]) for key in ("cx", "cy", "r", "r")))
    if kind == "ellipse":
        numbers = (float(shape[key]) for key in ("cx", "cy", "rx", "ry"))
        return Ellipse(*numbers, float(shape.get("theta") or 0))
    if kind == "rect":
        x, y, width, height = (float(shape[key]) for key in ("x", "y", "width", "height"))
        return rectangle(x, y, x + width, y + height)
    if kind == "polygon":
        pairs = zip(shape["all_points_x"], shape["all_points_y"], strict=True)
        return Polygon(tuple((float(x), float(y)) for x, y in pairs))
    raise ValueError(f"a {kind}, which covers no pixels")


# ---------------------------------------------------------------------------------------- labelme

LABELME_LAYOUT = """    SOURCE/NAME.json     (saved by labelme)
    SOURCE/NAME.jpg      (its image, next to it or in images/)
or such a folder as SOURCE/train, SOURCE/val, SOURCE/test"""
LABELME_IGNORE = "__ignore__"  # labelme's own label of pixels that do not count
LABELME_BACKGROUND = "_background_"  # and of those that are cut out of shapes


def read_labelme(source, classes):
    """Images annotated with labelme: polygons, rectangles, circles and masks."""

    root, parts = find_parted(source, _json_files, LABELME_LAYOUT)
    entries, seen = [], Labels(classes)
    for folder, part in parts:
        for path in _json_files(folder):
            content = read_json(path, "a file of labelme")
            if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
                raise ValueError(
                    f"{path}: a file of labelme, with shapes, was expected. Received: "
                    f"{str(content)[:80]}. Take other JSON files out of the folder"
                )
            image = _labelme_image(folder, content, path)
            shapes = [checked_shape(_labelme_shape, shape, path) for shape in content["shapes"]]
            labels = [_labelme_label(str(s.get("label")), seen, path) for s in content["shapes"]]
            groups = [_labelme_group(shape) for shape in content["shapes"]]
            entries.append(shape_entry(image, shapes, labels, part, (path,), groups))
    ignored = LABELME_IGNORE in seen.met and LABELME_IGNORE not in (classes or ())
    return Reading(entries, seen.checked(root), IGNORED if ignored else None)


def _labelme_label(name, seen, path):
    """The id of a shape's label; labelme's own two are no classes, unless they were chosen."""
    label = seen.label({name}, path)
    special = {LABELME_IGNORE: IGNORED, LABELME_BACKGROUND: CUT}
    return label if name in (seen.classes or ()) else special.get(name, label)


def _labelme_group(shape):
    """What the pieces of one object share: the label and the `group_id` that was given to them."""
    group = shape.get("group_id")
    return None if group is None else (str(shape.get("label")), str(group))


def _labelme_image(folder, content, path):
    """The image of a file: of the same name, or what it calls it; of the size that it says."""
    stem, called = same_name(path.stem), PureWindowsPath(str(content.get("imagePath"))).name
    same = [found for found in pictures_beside(folder) if same_name(found.stem) == stem]
    same.sort(key=lambda found: same_name(found.name) != same_name(called))  # of two what it calls
    image = same[0] if same else image_beside(folder, content.get("imagePath"), path)
    said, size = (content.get("imageHeight"), content.get("imageWidth")), _entry.picture_size(image)
    if None not in said and said != size:
        raise ValueError(
            f"{path}: shapes of an image of {size[0]} x {size[1]} pixels were expected, as "
            f"{image.name} has. Received: {said[0]} x {said[1]}. Put the image there on which they "
            "were annotated"
        )
    return image


def _labelme_shape(shape):
    kind = shape.get("shape_type") or "polygon"
    points = tuple((float(x), float(y)) for x, y in shape["points"])
    if kind == "mask":
        (x0, y0), (x1, y1) = (map(round, point) for point in points)  # the last is inside, too
        data = base64.b64decode(shape["mask"], validate=True)
        return Bitmap(x0, y0, y1 - y0 + 1, x1 - x0 + 1, data)
    if kind == "circle":
        (x, y), (at_x, at_y) = points
        radius = float(np.hypot(at_x - x, at_y - y))
        return Ellipse(x, y, radius, radius)
    if kind == "rectangle" and len(points) == 2:
        return rectangle(*points[0], *points[1])
    if kind in ("polygon", "rectangle", "oriented_rectangle"):
        return Polygon(points)
    raise ValueError(f"a {kind}, which is not read")
