"""COCO annotations as masks of class ids."""

import dataclasses
import shutil
from pathlib import Path, PureWindowsPath

import numpy as np

from keras_deepskip._checks import require
from keras_deepskip._files import read_json, replacing
from keras_deepskip.data._limits import check_size, max_pixels, naming_file
from keras_deepskip.data.images import write_png
from keras_deepskip.data.samples import Sample

LABEL_BYTES = 4  # of a pixel of a mask
OUTLINE_SHARE = 16  # an outline is at most a pixel long for each so many pixels that are read


@dataclasses.dataclass(frozen=True)
class CocoMask:
    """The mask of one image of a COCO file, drawn when it is read. It can be pickled.

    Attributes:
        source: the annotations' file, for errors.
        image_id: the image's id in it.
        height, width: the image's size in pixels.
        regions: the image's annotations as `(class id, annotation)`; class id None marks what does
            not count (crowds, objects below the least area).
    """

    source: Path
    image_id: int
    height: int
    width: int
    regions: tuple = dataclasses.field(default=(), compare=False, repr=False)

    def __str__(self):
        return f"{self.source} (image id {self.image_id})"

    def read(self, ignore_class=None):
        """Draws the mask; where objects overlap, the smaller one lies on top.

        Args:
            ignore_class: None, or the id for what does not count; with None it is background.

        Returns:
            `(height, width)` int32 array.

        Raises:
            ValueError: if an annotation is no polygon and no RLE of the image's size, or the image
                is larger than `data.images.max_pixels()`.
            ImportError: if `pycocotools` is missing.
        """
        coco = require("pycocotools.mask", '"keras-deepskip[coco]"', "A COCO mask")
        check_size(self, self.height, self.width, LABEL_BYTES)
        # Runs are kept, not drawn masks: of many objects these would not fit into memory.
        coded = [(label, *self._code(coco, annotation)) for label, annotation in self.regions]
        mask = np.zeros((self.height, self.width), np.int32)
        # What does not count lies lowest, then the objects from large to small.
        coded.sort(key=lambda region: (region[0] is not None, -region[2]))
        for label, code, _ in coded:
            value = ignore_class if label is None else label
            if value is not None:
                mask[coco.decode(code).astype(bool)] = value
        return mask

    def _code(self, coco, annotation):
        """One annotation as the runs of pycocotools, and its area in pixels."""
        segmentation, size = annotation.get("segmentation"), [self.height, self.width]
        runs = isinstance(segmentation, dict)
        if runs and segmentation.get("size") != size:
            raise ValueError(
                f"{self.source}: an RLE of the image's size {size} as `segmentation` of "
                f"annotation {annotation.get('id')} was expected. "
                f"Received: size {str(segmentation.get('size'))[:40]}"
            )
        expected = f"a polygon or RLE as `segmentation` of annotation {annotation.get('id')}"
        with naming_file(self.source, expected, str(segmentation)[:60], fix=""):
            if isinstance(segmentation, list):
                self._check_polygons(segmentation)
                code = coco.merge(coco.frPyObjects(segmentation, *size))
            else:
                code = coco.frPyObjects(_checked_runs(segmentation), *size)
            return code, int(coco.area(code))

    def _check_polygons(self, polygons):
        """Refuses outlines so long that pycocotools, which lists their pixels, needs too much."""
        if not polygons or min(map(len, polygons)) < 6:
            raise ValueError("a polygon has at least 3 points, 6 numbers")
        length = 0.0
        for polygon in polygons:
            points = np.asarray(polygon, "float64")[: len(polygon) // 2 * 2].reshape(-1, 2)
            steps = np.abs(points - np.roll(points, 1, axis=0)).max(axis=1)
            length += float(steps.sum() + np.abs(points[0]).max())
        # NaN and infinity are no lengths either.
        if not length <= max_pixels() // OUTLINE_SHARE:
            raise ValueError(f"an outline {length:g} pixels long")


def _checked_runs(segmentation):
    """An RLE with its runs as numbers. pycocotools takes what they leave out from free memory."""
    size, counts = segmentation["size"], segmentation["counts"]
    if isinstance(counts, str):
        counts = _unpacked(counts)
    whole = all(isinstance(count, int) and count >= 0 for count in counts)
    if not whole or sum(counts) != size[0] * size[1]:
        raise ValueError(f"its runs do not fill {size[0]} x {size[1]} pixels")
    return {"size": size, "counts": counts}


def _unpacked(text):
    """The runs of a compressed RLE: numbers of 5 bits a letter, from the fourth on differences."""
    counts, number, shift = [], 0, 0
    for letter in text.encode():
        bits = letter - 48
        number |= (bits & 31) << shift
        shift += 5
        if not bits & 32:  # the number's last letter, with its sign
            number -= (1 << shift) if bits & 16 else 0
            counts.append(number + (counts[-2] if len(counts) > 2 else 0))
            number, shift = 0, 0
        elif shift > 60:
            raise ValueError("a run of more than 60 bits")
    return counts


def coco_samples(annotations, images_dir, categories=None, min_area=0):
    """Reads a COCO file of instances as samples whose masks are drawn when they are read.

    Class ids are 1 to K in the order of the categories' ids, or of the names in `categories`. The
    instances of a class become one region, as a semantic mask has it; where two overlap, the
    smaller lies on top, so that small objects are not hidden. Crowd regions, and objects below
    `min_area`, are background, or `ignore_class` where one is given when the mask is read.
    Images without annotations have empty masks.

    Args:
        annotations: path of the JSON file (`images`, `annotations`, `categories`).
        images_dir: folder of the image files that it names. They lie in it or in folders of it; a
            name that leaves it (`../`, or from the root) is refused.
        categories: None for all, or a list of names; objects of the others are background.
        min_area: least area in pixels, as the annotation's `area` says it.

    Returns:
        A list of `Sample` with `CocoMask`, sorted by name.

    Raises:
        FileNotFoundError: if the JSON file is missing.
        ValueError: if it is no COCO file, if images are missing or outside of `images_dir`, or a
            category is unknown.

    Example:

    ```python
    samples = coco_samples("coco/annotations.json", "coco/images", categories=["car", "bus"])
    ```
    """
    source, images_dir = Path(annotations), Path(images_dir)
    content = _read(source)
    labels = {
        category: label
        for label, (category, _) in enumerate(_wanted(content, categories, source), 1)
    }
    regions = {entry["id"]: [] for entry in content["images"]}
    for annotation in content["annotations"]:
        if annotation.get("category_id") not in labels or annotation.get("image_id") not in regions:
            continue
        counts = not annotation.get("iscrowd") and annotation.get("area", min_area) >= min_area
        label = labels[annotation["category_id"]] if counts else None
        regions[annotation["image_id"]].append((label, annotation))
    samples = []
    for entry in sorted(content["images"], key=lambda entry: entry["file_name"]):
        image = images_dir / entry["file_name"]
        mask = CocoMask(
            source, entry["id"], entry["height"], entry["width"], tuple(regions[entry["id"]])
        )
        samples.append(Sample(image.stem, image, mask, image.stem))
    _refuse_missing(samples, source)
    return samples


def coco_classes(annotations, categories=None):
    """Returns the class names of a COCO file as `{class id: name}`, the background left out.

    Args:
        annotations: path of the JSON file.
        categories: as in `coco_samples`.

    Raises:
        As `coco_samples`.

    Example:

    ```python
    num_classes = len(coco_classes("coco/annotations.json")) + 1
    ```
    """
    source = Path(annotations)
    wanted = _wanted(_read(source), categories, source)
    return {label: name for label, (_, name) in enumerate(wanted, 1)}


def write_masks(annotations, images_dir, out, categories=None, min_area=0, ignore_class=None):
    """Writes a COCO set as a folder of images and masks, `out/images` and `out/masks`.

    Args:
        annotations, images_dir, categories, min_area: as in `coco_samples`.
        out: the folder; each file in it is written whole or not at all.
        ignore_class: None, or the id for crowds and for objects below `min_area`.

    Returns:
        `{class id: name}`.

    Raises:
        As `coco_samples` and `CocoMask.read`.

    Example:

    ```python
    write_masks("coco/annotations.json", "coco/images", "coco_masks", ignore_class=255)
    ```
    """
    out = Path(out)
    classes = coco_classes(annotations, categories)
    highest = max(len(classes), ignore_class or 0)
    for sample in coco_samples(annotations, images_dir, categories, min_area):
        mask = sample.mask.read(ignore_class).astype(np.uint8 if highest < 256 else np.uint16)
        write_png(out / "masks" / f"{sample.name}.png", mask)
        with replacing(out / "images" / sample.image.name) as temporary:
            shutil.copyfile(sample.image, temporary)
    return classes


def _read(source):
    content = read_json(source, "a COCO file of instances")
    lists = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(k), list) for k in lists):
        keys = ", ".join(list(content)[:6]) if isinstance(content, dict) else type(content).__name__
        raise ValueError(
            f"{source}: a COCO file with the lists images, annotations and categories was "
            f"expected. Received: {keys}"
        )
    for entry in content["images"]:
        if not {"id", "file_name", "height", "width"} <= set(entry):
            raise ValueError(
                f"{source}: id, file_name, height and width were expected for every image. "
                f"Received: {str(entry)[:80]}"
            )
        _refuse_outside(entry["file_name"], source)
        if not all(isinstance(entry[k], int) and entry[k] >= 1 for k in ("height", "width")):
            raise ValueError(
                f"{source}: a height and width in pixels were expected for {entry['file_name']!r}. "
                f"Received: {str(entry['height'])[:20]} x {str(entry['width'])[:20]}"
            )
    return content


def _refuse_outside(name, source):
    """A file that is named must lie in the folder of images. (Links in it are the user's own.)"""
    # Read as Windows does, "/" and "\\" part it, and it may begin with a drive: the strictest.
    path = PureWindowsPath(name) if isinstance(name, str) else None
    if path is None or not path.name or path.anchor or ".." in path.parts or "\0" in name:
        raise ValueError(
            f"{source}: image files inside the folder of images were expected as `file_name`. "
            f"Received: {str(name)[:80]!r}. Copy the file there, and name it without .. and /"
        )


def _wanted(content, categories, source):
    """The wanted categories as `(id, name)`, in the order of their class ids."""
    known = sorted((entry["id"], str(entry["name"])) for entry in content["categories"])
    if categories is None:
        return known
    by_name = {name: (number, name) for number, name in known}
    unknown = [name for name in categories if name not in by_name]
    if unknown:
        raise ValueError(
            f"{source}: `categories` must be among {', '.join(by_name)}. Received: "
            f"{', '.join(map(str, unknown))}"
        )
    return [by_name[name] for name in categories]


def _refuse_missing(samples, source):
    missing = [sample.image for sample in samples if not sample.image.is_file()]
    if missing:
        raise ValueError(
            f"{source}: the image files that it names were expected in {missing[0].parent}. "
            f"Received: {len(missing)} of {len(samples)} missing, such as "
            f"{', '.join(path.name for path in missing[:5])}"
        )
    seen = {}
    for sample in samples:
        if sample.name in seen:
            raise ValueError(
                f"{source}: one image a name was expected. Received: {seen[sample.name]} and "
                f"{sample.image}. Rename or take out one of them"
            )
        seen[sample.name] = sample.image
