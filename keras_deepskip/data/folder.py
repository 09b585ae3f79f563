"""Folders of images and masks: `images/` and `masks/`, or outlines of COCO or YOLO."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from keras_deepskip.data import images, masks
from keras_deepskip.data._layout import LAYOUT, PART_FOLDERS, same_name
from keras_deepskip.data.coco import coco_samples
from keras_deepskip.data.samples import Sample
from keras_deepskip.data.stores import is_address, local_folder, local_images
from keras_deepskip.data.yolo import YoloFolder, yolo_folder, yolo_parts, yolo_samples


@dataclasses.dataclass(frozen=True)
class FolderScan:
    """What lies in a folder, before anything is read.

    Attributes:
        pairs: list of `(image, mask)` paths, sorted by name; `mask` is None where it is missing.
        orphans: masks without an image.
        doubled: lists of files that have the same name but for the suffix.
        skipped: files in `images/` and `masks/` that are neither PNG, JPEG nor TIFF.
    """

    pairs: list[tuple[Path, Path | None]]
    orphans: list[Path]
    doubled: list[list[Path]]
    skipped: list[Path]


class KnownFiles(Protocol):
    """What `grouped` and `identical_files` take from a `Survey`."""

    def size(self, path: Path) -> int:
        """The size of a file in bytes."""

    def digest(self, path: Path) -> str:
        """A digest of a file's bytes."""

    def is_blank(self, path: Path) -> bool:
        """Whether a mask holds one value alone."""


def part_folders(folder: Path) -> dict[str, Path]:
    """The folders `train/`, `val/` and `test/` in a folder, whatever a tool calls them.

    Of a set of YOLO, which has the parts in its `images/` and `labels/`, those in `images/`.

    Args:
        folder: the folder that may hold them.

    Returns:
        A dict from the part's name to its folder; empty where there is none to train on.

    Raises:
        ValueError: if two folders are of one part, such as `val/` and `valid/`.

    Example:

    ```python
    part_folders(Path("export"))  # {"train": Path("export/train"), "val": Path("export/valid")}
    ```
    """
    there = {path.name.lower(): path for path in folder.iterdir() if path.is_dir()}
    found = {}
    for part, names in PART_FOLDERS.items():
        own = [there[name] for name in names if name in there]
        if len(own) > 1:
            raise ValueError(
                f"{folder}: one folder for the {part} part was expected. Received: "
                f"{' and '.join(path.name for path in own)}. Join them, or rename one"
            )
        if own:
            found[part] = own[0]
    return found if "train" in found else yolo_parts(folder, PART_FOLDERS)


def find_samples(folder: str | os.PathLike, group_by: str | None = None) -> list[Sample]:
    """Finds the images of a folder and the mask of each.

    The folder holds `images/` and `masks/`, paired by name without suffix (a mask may also be
    named `NAME_mask`), or `images/` and a COCO file `annotations.json` (see `coco_samples`), or
    `images/` and outlines of YOLO in `labels/NAME.txt`, whose classes a `data.yaml` names.
    Masks without an image are left alone; `audit` lists them. Where there is an
    `instances/NAME.png` (or `.tif`) too, its values say which object a pixel is of.

    Images that show the same thing form a group, which a split keeps together: images whose files
    are identical, and images whose mask files are identical and hold more than one value (one
    field of view in two modalities). Or `group_by` defines the groups.

    Args:
        folder: the folder that holds `images/`, or its address on a store, such as
            `s3://bucket/cells` (see `stores.local_folder`).
        group_by: None, or a regular expression searched in each name; its first group (the whole
            match if it has none) names the image's group. `r"(.*)_"` makes one group of
            `field7_bf` and `field7_fl`.

    Returns:
        A list of `Sample`, sorted by name.

    Raises:
        FileNotFoundError: if `folder` or its `images/` is missing.
        ValueError: if there are no images, if masks are missing, if two files have one name, or if
            `group_by` does not match a name.

    Example:

    ```python
    samples = find_samples("shared/data/ecoli")
    ```
    """
    folder = local_folder(folder)
    if (folder / "annotations.json").is_file() and not (folder / "masks").is_dir():
        samples = coco_samples(folder / "annotations.json", folder / "images")
    elif yolo := outlined(folder):
        samples = outlined_samples(yolo)
    else:
        samples = _paired_samples(folder)
    return grouped(samples, group_by)


def outlined(folder: Path) -> YoloFolder | None:
    """Where the images and texts of a folder lie whose objects are outlines of YOLO, else None."""
    named = (folder / "masks").is_dir() or (folder / "annotations.json").is_file()
    return None if named else yolo_folder(folder)


def outlined_samples(yolo: YoloFolder) -> list[Sample]:
    """The samples of such a folder, sorted by name. Errors as in `find_samples`."""
    files, _ = image_files(yolo.images)
    if not files:
        raise ValueError(f"{yolo.images}: no image in it; {LAYOUT}")
    _refuse_doubled(_doubled(files))
    return yolo_samples(yolo, files)


def find_images(folder: str | os.PathLike) -> list[Sample]:
    """Finds images alone, as for prediction.

    Args:
        folder: a folder of images, one that holds `images/`, or a single image file; or an address
            on a store (see `stores.local_images`).

    Returns:
        A list of `Sample` without masks, sorted by name.

    Raises:
        FileNotFoundError: if there is no such folder or file.
        ValueError: if there is no image in it, or two have one name.

    Example:

    ```python
    for sample in find_images("photographs"):
        image = load_image(sample, channels=3)
    ```
    """
    if is_address(folder):
        return _named_once(local_images(str(folder)))
    folder = Path(folder)
    if folder.is_file():
        return [Sample(folder.stem, folder, None, folder.stem)]
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: a folder of images (or an image) was expected here")
    inner = folder / "images"
    files, others = image_files(inner if inner.is_dir() else folder)
    if not files:
        arrays = _arrays(others)
        if arrays:
            arrays += f", or predict them by a pattern of their own, such as {folder / '*.npy'}"
        suffixes = ", ".join(images.SUFFIXES)
        raise ValueError(f"{folder}: no image found (suffixes {suffixes}){arrays}")
    return _named_once(files)


def _arrays(files):
    """What to say of arrays among files that are no images; nothing if there are none."""
    count = sum(path.suffix.lower() == ".npy" for path in files)
    return f". Its {count} .npy are not read from folders: write TIFF instead" if count else ""


def _named_once(files):
    """Samples of images alone, no two of one name."""
    _refuse_doubled(_doubled(files))
    return [Sample(path.stem, path, None, path.stem) for path in files]


def scan(folder: str | os.PathLike) -> FolderScan:
    """Lists the pairs of a folder, and what does not fit, without reading a file.

    Args:
        folder: the folder that holds `images/` and `masks/`.

    Returns:
        A `FolderScan`.

    Raises:
        FileNotFoundError: if `folder` or `images/` is missing.
        ValueError: if `folder` is a file.

    Example:

    ```python
    missing = [image for image, mask in scan("cells").pairs if mask is None]
    ```
    """
    folder = Path(folder)
    if folder.is_file():
        raise ValueError(
            f"{folder}: a folder was expected. Received: a file. Give the folder that holds it: "
            f"{LAYOUT}"
        )
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; {LAYOUT}")
    if not (folder / "images").is_dir():
        listed = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise FileNotFoundError(f"{folder}: no images/ in it (it holds: {listed}); {LAYOUT}")
    files, skipped = image_files(folder / "images")
    found, skipped_masks = image_files(folder / "masks")
    by_stem = {same_name(path.stem): path for path in found}
    pairs = [
        (path, by_stem.get(name, by_stem.get(f"{name}_mask")))
        for path, name in ((path, same_name(path.stem)) for path in files)
    ]
    used = {mask for _, mask in pairs}
    doubled = _doubled(files) + _doubled(found)
    spare = {path for group in doubled for path in group}
    orphans = [path for path in found if path not in used and path not in spare]
    return FolderScan(pairs, orphans, doubled, skipped + skipped_masks)


def grouped(
    samples: list[Sample], group_by: str | None = None, survey: KnownFiles | None = None
) -> list[Sample]:
    """Returns the samples with their groups filled in, by the rule of `find_samples`.

    Args:
        samples: list of `Sample`.
        group_by: as in `find_samples`.
        survey: None, or a `Survey` of the files, which then are not read again.

    Raises:
        ValueError: if `group_by` is no regular expression or does not match a name.
    """
    if group_by is not None:
        return [dataclasses.replace(s, group=_matched_group(s.name, group_by)) for s in samples]
    first = {sample.name: sample.name for sample in samples}

    def leader(name):
        while first[name] != name:
            name = first[name]
        return name

    same_images = identical_files({sample.name: sample.image for sample in samples}, survey)
    paths = {s.name: s.mask for s in samples if isinstance(s.mask, Path)}
    # Masks of one value are alike by chance
    blank = is_blank if survey is None else survey.is_blank
    same_masks = [names for names in identical_files(paths, survey) if not blank(paths[names[0]])]
    for names in same_images + same_masks:
        leaders = {leader(name) for name in names}
        for name in leaders:
            first[name] = min(leaders)
    return [dataclasses.replace(sample, group=leader(sample.name)) for sample in samples]


def identical_files(paths: Mapping[str, Path], survey: KnownFiles | None = None) -> list[list[str]]:
    """Finds files of the same bytes. Only files of equal size are read.

    Args:
        paths: dict from a name to a path.
        survey: None, or a `Survey` of the files, which then are not read again.

    Returns:
        A list of lists of names, two or more in each.

    Example:

    ```python
    identical_files({sample.name: sample.image for sample in samples})
    ```
    """
    by_size: dict[int, list[str]] = {}
    by_content: dict[str, list[str]] = {}
    for name, path in paths.items():
        by_size.setdefault(path.stat().st_size if survey is None else survey.size(path), []).append(
            name
        )
    for names in by_size.values():
        for name in names if len(names) > 1 else ():
            path = paths[name]
            digest = file_digest(path) if survey is None else survey.digest(path)
            by_content.setdefault(digest, []).append(name)
    return [names for names in by_content.values() if len(names) > 1]


def file_digest(path: Path) -> str:
    """The SHA-256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _paired_samples(folder):
    found = scan(folder)
    if not found.pairs:
        arrays = _arrays(found.skipped)
        raise ValueError(f"{folder}: no image in {folder / 'images'}{arrays}; {LAYOUT}")
    _refuse_doubled(found.doubled)
    missing = [image for image, mask in found.pairs if mask is None]
    if missing:
        listed = ", ".join(path.name for path in missing[:5])
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise ValueError(
            f"{folder}: a mask for every image was expected. Received: no mask for "
            f"{len(missing)} of {len(found.pairs)} images: {listed}{more}. Put "
            f"{missing[0].stem}.png into {folder / 'masks'} (all zeros where there is no "
            "object), or take the image out"
        )
    return samples_of(folder, found.pairs)


def samples_of(folder: Path, pairs: Sequence[tuple[Path, Path | None]]) -> list[Sample]:
    """Samples of pairs of image and mask, with the ids of objects that `instances/` has of them."""
    ids = {same_name(path.stem): path for path in image_files(folder / "instances")[0]}
    return [
        Sample(image.stem, image, mask, image.stem, ids.get(same_name(image.stem)))
        for image, mask in pairs
    ]


def image_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """Image files of a folder sorted by name, and its other files; hidden files are left out."""
    if not folder.is_dir():
        return [], []
    files = sorted(
        (path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")),
        key=lambda path: (path.stem, path.name),
    )
    found = [path for path in files if path.suffix.lower() in images.SUFFIXES]
    return found, [path for path in files if path.suffix.lower() not in images.SUFFIXES]


def _doubled(files):
    by_stem = {}
    for path in files:
        by_stem.setdefault(same_name(path.stem), []).append(path)
    return [group for group in by_stem.values() if len(group) > 1]


def _refuse_doubled(doubled):
    if doubled:
        listed = " and ".join(path.name for path in doubled[0])
        raise ValueError(
            f"{doubled[0][0].parent}: one file a name was expected. Received: {listed} "
            f"({len(doubled)} such). Rename or remove one of them"
        )


def _matched_group(name, group_by):
    try:
        match = re.search(group_by, name)
    except re.error as error:
        raise ValueError(
            f"`group_by` must be a regular expression. Received: {group_by!r} ({error})"
        ) from error
    if match is None:
        raise ValueError(
            f"`group_by` must match every image's name. Received: group_by={group_by!r}, which "
            f"does not match {name!r}"
        )
    return match.group(1) if match.re.groups and match.group(1) is not None else match.group(0)


def is_blank(mask: Path) -> bool:
    """Whether a mask holds one value alone; one that cannot be read shows when it is used."""
    try:
        return len(masks.mask_values(mask)) <= 1
    except (ValueError, OSError, ImportError):
        return True
