"""Folders of Ultralytics' YOLO for segmentation: a text an image, a line an object.

A line is the number of the class, from 0 on, then x and y of the outline's points as shares of
width and height; `data.yaml` names the classes. Class ids in masks are one more: 0 is background.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np

from keras_deepskip._checks import require
from keras_deepskip.data import images
from keras_deepskip.data._layout import same_name
from keras_deepskip.data.coco.mask import CocoMask
from keras_deepskip.data.samples import Sample

YAML = (".yaml", ".yml")
FAR = 1.5  # shares from the image's middle: no outline reaches that far beyond its edges


@dataclasses.dataclass(frozen=True)
class YoloFolder:
    """Where the images and the texts of a set, or of a part of it, lie.

    Attributes:
        images: folder of the images.
        labels: folder of the texts.
        names_file: the file that names the classes, whether it is there or not.
    """

    images: Path
    labels: Path
    names_file: Path


def yolo_folder(root: Path) -> YoloFolder | None:
    """The images and texts of a folder, if it is one of YOLO's: None of others.

    It holds `images/` and `labels/`, or it is such a folder as `images/train/` next to
    `labels/train/`. Texts must be there, and no masks.

    Args:
        root: the folder.
    """
    inside = root / "images", root / "labels", (root, root.parent)
    beside = root, root.parent.parent / "labels" / root.name, (root.parent.parent,)
    choices = [inside, *([beside] if root.parent.name == "images" else [])]
    for pictures, labels, places in choices:
        if pictures.is_dir() and next(labels.glob("*.txt"), None):
            return YoloFolder(pictures, labels, names_file(places))
    return None


def yolo_parts(folder: Path, names: dict[str, tuple[str, ...]]) -> dict[str, Path]:
    """The parts of a set with `images/train/` and `labels/train/`, as `part_folders` has them.

    Args:
        folder: the set.
        names: for each part, what its folder may be called.
    """
    found = {
        part: folder / "images" / name
        for part, listed in names.items()
        for name in listed
        if yolo_folder(folder / "images" / name)
    }
    return found if "train" in found else {}


def yolo_samples(folder: YoloFolder, files: list[Path]) -> list[Sample]:
    """The samples of images whose objects are in texts; an image without one has no object.

    Args:
        folder: the `YoloFolder`.
        files: the images, sorted by name.

    Returns:
        A list of `Sample`, with masks that are rasterized when they are read.

    Raises:
        ValueError: if a line is no outline (a box is none), or of a class that is not named.
        FileNotFoundError: if the classes are not named.
        ImportError: if `pyyaml` is missing.
    """
    count = len(class_names(folder.names_file))
    texts, samples = texts_by_name(folder.labels), []
    for image in files:
        text = texts.get(same_name(image.stem), folder.labels / f"{image.stem}.txt")
        height, width = images.image_size(image)
        regions = [
            (number + 1, {"id": line, "segmentation": [outline.ravel().tolist()]})
            for line, number, outline in read_outlines(text, (height, width), count)
        ]
        source = text if text.is_file() else image
        mask = CocoMask(source, image.stem, height, width, tuple(regions))
        samples.append(Sample(image.stem, image, mask, image.stem))
    return samples


def spare_texts(folder: YoloFolder, samples: list[Sample]) -> list[Path]:
    """Texts of objects that no image has, sorted by name; tools put `classes.txt` there as well."""
    names = {same_name(sample.name) for sample in samples} | {"classes"}
    return sorted(path for name, path in texts_by_name(folder.labels).items() if name not in names)


def texts_by_name(labels: Path) -> dict[str, Path]:
    """The texts of a folder of labels by the names of their images, in composed Unicode."""
    return {same_name(path.stem): path for path in labels.glob("*.txt")}


def yolo_classes(folder: YoloFolder) -> dict[int, str]:
    """The names of the classes by class id, from 1 on. Errors as in `class_names`."""
    return dict(enumerate(class_names(folder.names_file), start=1))


def class_names(path: Path) -> list[str]:
    """The names of the classes in the order of their numbers, from a `data.yaml`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it names no classes, or one twice.
        ImportError: if `pyyaml` is missing.
    """
    yaml = require("yaml", "pyyaml", f"{path}: reading it")
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: the names of the classes of labels/*.txt were expected in it. Received: no "
            "such file. Write one, such as `names: [car, person]`"
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
        names = content["names"]
        if isinstance(names, str):  # its letters are no classes
            raise TypeError(f"the text {names!r}. Write `names: [{names}]`")
        names = names if isinstance(names, dict) else dict(enumerate(names))
        ordered = [str(names[number]) for number in range(len(names))]
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path}: `names` of the classes 0, 1, ... were expected. Received: {error}"
        ) from error
    if "kpt_shape" in content:
        raise ValueError(
            f"{path}: outlines for segmentation were expected. Received: `kpt_shape`, of labels "
            "for poses, whose points are no outline. Export the set for segmentation"
        )
    if not ordered or len(set(ordered)) < len(ordered):
        raise ValueError(f"{path}: each class once was expected. Received: {ordered}")
    return ordered


def read_outlines(
    path: Path, sizes: tuple[int, int], count: int
) -> list[tuple[int, int, np.ndarray]]:
    """The objects of a text.

    Args:
        path: the text; one that is not there has none.
        sizes: (H, W) of the image.
        count: number of classes.

    Returns:
        For each the line's number, the class's number from 0 on, and the outline (N, 2) as x and y
        in pixels.

    Raises:
        ValueError: if a line is no outline, or of a class that is not named.
    """
    if not path.is_file():
        return []
    height, width = sizes
    found = []
    for line, text in enumerate(_text(path).split("\n"), start=1):
        if not text.strip():
            continue
        number, outline = _line(text, path)
        if np.abs(outline - 0.5).max() > FAR:
            raise ValueError(
                f"{path}: shares of the image's width and height, 0 to 1, were expected. Received "
                f"in line {line}: {text[:80]!r}. If they are pixels, divide x by the width and y "
                "by the height"
            )
        if not 0 <= number < count:
            raise ValueError(
                f"{path}: classes 0 to {count - 1} were expected, as data.yaml names them. "
                f"Received: {number}"
            )
        found.append((line, number, outline * (width, height)))
    return found


def _text(path):
    """A text, with a byte order mark or without."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: a text in UTF-8 was expected. Received: {error}. Save it as UTF-8"
        ) from error


def _line(line, path):
    """The class and the outline (N, 2) of a line; boxes are none."""
    try:
        number, *shares = line.split()
        outline = np.array(shares, "float64").reshape(-1, 2)
        number = int(number)
    except ValueError as error:
        raise ValueError(
            f"{path}: a class and pairs of x and y were expected in each line. Received: "
            f"{line[:80]!r}"
        ) from error
    if len(outline) < 3:
        what = "a box, which is no outline" if len(outline) == 2 else "fewer than three points"
        raise ValueError(
            f"{path}: outlines for segmentation were expected. Received: {what}: {line[:80]!r}. "
            "Labels for detection hold no masks"
        )
    if not np.isfinite(outline).all():
        raise ValueError(
            f"{path}: a polygon of finite numbers was expected. Received: {line[:80]!r}"
        )
    return number, outline


def names_file(places: tuple[Path, ...]) -> Path:
    """The file that names the classes: data.yaml, or another YAML that has `names`.

    Others, such as the args.yaml of a training, are the answer only where there is no such file.

    Args:
        places: the folders in which it may lie, by rank.

    Returns:
        Its path; where there is none, where it should be.
    """
    found = [list(filter(_is_yaml, sorted(place.glob("*")))) for place in places]
    for files in found:
        named = [file for file in files if file.stem == "data"] or list(filter(_has_names, files))
        if named:
            return named[0]
    return next((files[0] for files in found if files), places[-1] / "data.yaml")


def _is_yaml(file):
    return file.suffix.lower() in YAML and not file.name.startswith(".") and file.is_file()


def _has_names(file):
    text = file.read_text(encoding="utf-8", errors="replace")
    return re.search(r"^names\s*:", text, re.MULTILINE)
