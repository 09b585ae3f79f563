"""One pass over a folder of images and masks, from which audit, split and statistics are taken."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from keras_deepskip._progress import progress
from keras_deepskip.data import _decoders, _survey_cache, images, masks, no_data
from keras_deepskip.data.coco import CocoMask, Note, read_coco_set
from keras_deepskip.data.coco.notes import counted, listed
from keras_deepskip.data.folder import (
    FolderScan,
    file_digest,
    find_samples,
    grouped,
    is_blank,
    outlined,
    outlined_samples,
    part_folders,
    samples_of,
    scan,
)
from keras_deepskip.data.mask_kinds import MaskKind, decide_kind
from keras_deepskip.data.masks import MaskReading
from keras_deepskip.data.samples import Sample
from keras_deepskip.data.stores import is_address, local_folder
from keras_deepskip.data.yolo import spare_texts, yolo_classes
from keras_deepskip.objects import class_boxes, label_objects

MOST_CLASSES = 64  # values in one mask; more look like a picture
MOST_BYTES = 2**28  # of a file that is read into memory before it is decoded
ROWS = 256  # of an image that become gray at a time
# What reading a bad file may raise; anything else is a fault of this program.
UNREADABLE = (ValueError, OSError, ImportError)


@dataclasses.dataclass(frozen=True)
class ImageFacts:
    """What one pass over an image's pixels gives.

    Attributes:
        shape: `(H, W, C)`.
        dtype: `"uint8"`, `"uint16"` or `"float32"`, as stored: of an image with pixels of no data
            it is that of the others.
        low, high: least and greatest value that is not NaN; NaN if there is none.
        infinite: whether there is infinity.
        missing: number of pixels without data (NaN).
        alpha: whether the last of 2 or 4 channels is alpha.
        orientation: what EXIF says of how the image is shown, 1 (as stored) to 8.
        moments: mean of each channel, sum of the squared differences from it, and number of values,
            of those that are not NaN.
        gray: the same of the image as gray, if it has three colours.
        halves: by how much the upper half is brighter than the lower, and the left than the right,
            in standard deviations of the image.
    """

    shape: tuple[int, int, int]
    dtype: str
    low: float
    high: float
    infinite: bool
    missing: int
    alpha: bool
    orientation: int
    moments: list
    gray: list | None
    halves: list

    def moments_in(self, channels: int) -> list | None:
        """`moments` of the image brought to `channels`; None if `to_channels` cannot do that."""
        received, moments = self.shape[2], self.moments
        if received != channels and received in (2, 4) and self.alpha:
            received, moments = received - 1, [values[:-1] for values in moments]
        if received == channels:
            return moments
        if (received, channels) == (1, 3):
            return [values * 3 for values in moments]
        return self.gray if (received, channels) == (3, 1) else None


@dataclasses.dataclass(frozen=True)
class MaskFacts:
    """What one pass over a mask's pixels gives.

    Attributes:
        shape: `(H, W)`.
        counts: number of pixels of each value, as `[value, pixels]` by rising value.
        whole: whether the values are 0 and 255 (65535), which mean 0 and 1.
        blank: whether the file holds one value alone.
        positive: number of pixels of classes, neither background nor ignored.
        areas: of the connected regions of a value, the objects, in pixels; None of a mask of many
            values that are all over it: a picture.
        boxes: height and width of each object's box, in pixels, likewise.
    """

    shape: tuple[int, int]
    counts: list
    whole: bool
    blank: bool
    positive: int
    areas: list | None
    boxes: list | None

    @property
    def sides(self) -> list | None:
        """The longer side of each object's box."""
        return None if self.boxes is None else [max(box) for box in self.boxes]


@dataclasses.dataclass(frozen=True)
class Pool:
    """The samples of a folder, or of its `train/`, `val/` or `test/`.

    Attributes:
        root: the folder.
        samples: list of `Sample`, not grouped; the mask of a pair may be missing.
        scan: the `FolderScan` of `images/` and `masks/`; None for COCO and YOLO.
        error: the exception of a folder that could not be listed, or None.
        notes: what a COCO file or YOLO's texts say oddly, for `audit`.
        classes: dict from class id to name of a COCO file or YOLO's `data.yaml`, or None.
    """

    root: Path
    samples: list
    scan: FolderScan | None = None
    error: Exception | None = None
    notes: tuple[Note, ...] = ()
    classes: dict[int, str] | None = None

    @property
    def listing(self) -> Path:
        """Where the objects are listed: the COCO file; the folder, if there is none."""
        file = self.root / "annotations.json"
        return file if file.is_file() else self.root

    @property
    def complete(self) -> bool:
        """Whether each image has its own mask."""
        paired = self.scan is None or (
            self.scan.pairs and not self.scan.doubled and all(m for _, m in self.scan.pairs)
        )
        return self.error is None and bool(paired)


class Survey:
    """What one pass over a folder of images and masks found.

    `audit`, `load_split`, `channel_statistics`, `value_range`, `CropDataset` and `WindowDataset`
    take it, so that each file is read and decoded once for all of them. It is a snapshot: files
    that change later are not noticed.

    Attributes:
        folder: the folder; of an address its copy.
        source: where it is from: the folder, or the address.
        reading: the `MaskReading` by which the masks were read.
        group_by: how images are grouped (see `find_samples`).
        pools: dict from `""`, or `"train"`, `"val"` and `"test"`, to `Pool`.

    Example:

    ```python
    survey = Survey.of("cells", verbose=1)
    report = audit(survey)
    split = load_split(survey, seed=1)
    mean, variance = channel_statistics(split.train, channels=3, survey=survey)
    ```
    """

    def __init__(
        self, folder: Path, reading: MaskReading, group_by: str | None, pools: dict[str, Pool]
    ):
        self.folder, self.reading, self.group_by, self.pools = folder, reading, group_by, pools
        self.source: Path | str = folder
        self._records: dict[str, dict] = {}
        self._facts: dict[str, Any] = {}

    @classmethod
    def of(
        cls,
        folder: str | os.PathLike,
        masks: MaskReading | None = None,
        group_by: str | None = None,
        verbose: int | str = 0,
    ) -> Survey:
        """Reads each image and mask of a folder once.

        What is broken does not stop it: the exceptions are kept, and `audit` reports them. What it
        found is kept in the user's cache folder (`KERAS_DEEPSKIP_CACHE`, or `keras_deepskip` in
        the system's), so that the next survey reads only files of another name, size or time.

        Args:
            folder: as in `load_split`: `images/` and `masks/`, COCO, or `train/`, `val/`, `test/`;
                or its address on a store (see `stores.local_folder`).
            masks: a `MaskReading`; None takes the masks' ids as they are. Its number of classes
                changes nothing here.
            group_by: as in `find_samples`.
            verbose: 0 shows nothing, 1 a progress bar, `"auto"` a bar on a terminal.

        Returns:
            A `Survey`.
        """
        local = local_folder(folder, verbose)
        survey = cls(local, MaskReading() if masks is None else masks, group_by, _pools(local))
        survey.source = str(folder) if is_address(folder) else local
        survey._read_all(verbose)
        return survey

    @property
    def all_samples(self) -> list[Sample]:
        """The samples of all pools, not grouped."""
        return [sample for pool in self.pools.values() for sample in pool.samples]

    def kind_of(self, reading: MaskReading) -> MaskKind:
        """What kind of masks the folder has, decided from all of them; see `decide_kind`.

        Args:
            reading: what the caller has said; by its `colors` and `ignore_class` the survey was
                made.
        """
        listed = [self.mask(sample) for sample in self.all_samples]
        if any(pool.scan is None and pool.samples for pool in self.pools.values()):
            # COCO and YOLO name their classes
            reading = dataclasses.replace(reading, kind="classes")
        return decide_kind([facts for facts in listed if isinstance(facts, MaskFacts)], reading)

    def reads_as(self, reading: MaskReading) -> bool:
        """Whether a `MaskReading` takes the same values from files, whatever they mean."""
        own = self.reading
        fields = ("colors", "values", "ignore_class")
        return all(getattr(reading, name) == getattr(own, name) for name in fields)

    def image(self, sample: Sample) -> ImageFacts | Exception | None:
        """The facts of a sample's image, what reading it raised, or None if it is not of here."""
        return self._facts.get(_name(sample.image))

    def mask(self, sample: Sample) -> MaskFacts | Exception | None:
        """The facts of a sample's mask, what reading it raised, or None if it has none."""
        return self._facts.get(_name(sample.mask))

    def size(self, path: Path) -> int:
        """The size of a file in bytes."""
        record = self._records.get(_name(path))
        return record["stat"][0] if record else path.stat().st_size

    def digest(self, path: Path) -> str:
        """The SHA-256 of a file's bytes."""
        record = self._records.get(_name(path), {})
        if not record.get("digest"):
            record["digest"] = file_digest(path)
        return record["digest"]

    def is_blank(self, path: Path) -> bool:
        """Whether a mask file holds one value alone."""
        facts = self._facts.get(_name(path))
        return facts.blank if isinstance(facts, MaskFacts) else is_blank(path)

    def samples(self, part: str = "", group_by: str | None = None) -> list[Sample]:
        """The samples of a pool with their groups, as `find_samples` gives them."""
        group_by = self.group_by if group_by is None else group_by
        pool = self.pools[part]
        if not pool.complete:
            return find_samples(pool.root, group_by)  # raises what there is to say
        return grouped(pool.samples, group_by, self)

    def _read_all(self, verbose):
        kept = _survey_cache.load(self.folder, self.reading)
        samples = self.all_samples
        try:
            with progress(len(samples), verbose, "Read") as show:
                for number, sample in enumerate(samples, start=1):
                    self._read(sample.image, sample.image, kept, _read_image, ImageFacts)
                    if sample.mask is not None:
                        file = getattr(sample.mask, "source", sample.mask)
                        self._read(sample.mask, file, kept, self._read_mask, MaskFacts)
                    show(number)
            self._digest_equal_sizes()
        finally:  # an interrupted survey resumes
            records = self._cacheable()
            if records != kept:
                _survey_cache.save(self.folder, self.reading, records)

    def _read(self, item, file, kept, read, kind):
        """Takes the facts of an image or mask from the last survey, or from the file."""
        name = _name(item)
        old = kept.get(self._relative(name))
        try:
            status = file.stat()
            # Outlines are drawn at the image's size, which their file need not say.
            size = [item.height, item.width] if isinstance(item, CocoMask) else []
            stat = [status.st_size, status.st_mtime_ns, *size]
            if old and old["stat"] == stat:
                fields = old["facts"]
                self._records[name] = old
                self._facts[name] = kind(**{**fields, "shape": tuple(fields["shape"])})
                return
            self._records[name] = {"stat": stat, "digest": None}
            data = _bytes_of(file, status.st_size) if item is file else None
            if item is file and data is not None:
                self._records[name]["digest"] = hashlib.sha256(data).hexdigest()
            facts = read(item, data)
            self._records[name]["facts"] = dict(vars(facts))
            self._facts[name] = facts
        except UNREADABLE as error:
            self._facts[name] = error

    def _read_mask(self, mask, data):
        reading = self.reading
        if hasattr(mask, "read"):
            ids = mask.read(ignore_class=reading.ignore_class)
            return _mask_facts(ids, ids, reading, False)
        array, palette = _decoders.decode(mask, data, shown=False)
        if reading.colors is None:
            head = _decoders.head_of(mask, data)
            ids = masks.refuse_colors(masks.labels_of(array, palette, mask, head), mask)
            return _mask_facts(ids, _classes_of(ids, reading, mask), reading)
        ids = masks.ids_of_colors(array, palette, reading.colors, mask)
        return _mask_facts(ids, ids, reading)

    def _digest_equal_sizes(self) -> None:
        """Digests of files that may be identical; those read into memory have theirs already."""
        by_size: dict[int, list[Path]] = {}
        for sample in self.all_samples:
            for path in (sample.image, sample.mask):
                if isinstance(path, Path) and "facts" in self._records.get(_name(path), {}):
                    by_size.setdefault(self.size(path), []).append(path)
        for paths in by_size.values():
            for path in paths if len(paths) > 1 else ():
                self.digest(path)

    def _cacheable(self):
        """Records by name in the folder. Failures are left out: a package may come, a limit go."""
        return {
            self._relative(name): record
            for name, record in self._records.items()
            if "facts" in record
        }

    def _relative(self, name):
        return name.removeprefix(f"{self.folder}{os.sep}")


def _name(item):
    return str(item)


def _pools(folder):
    try:
        parts = part_folders(folder) if folder.is_dir() else {}
    except ValueError as error:
        return {"": Pool(folder, [], error=error)}
    return {part: _pool(own) for part, own in parts.items()} or {"": _pool(folder)}


def _pool(root):
    try:
        if (root / "annotations.json").is_file() and not (root / "masks").is_dir():
            found = read_coco_set(root / "annotations.json", root / "images")
            notes = (*found.notes, *_unlisted(root, found.samples))
            return Pool(root, found.samples, notes=notes, classes=found.classes)
        if yolo := outlined(root):
            samples = outlined_samples(yolo)
            notes = tuple(_spare_texts(yolo, samples))
            return Pool(root, samples, notes=notes, classes=yolo_classes(yolo))
        found = scan(root)
    except (ValueError, FileNotFoundError, ImportError) as error:
        return Pool(root, [], error=error)
    return Pool(root, samples_of(root, found.pairs), found)


def _unlisted(root, samples):
    """A note of images that a COCO file leaves out without a word."""
    used = {sample.image for sample in samples}
    there = (path for path in (root / "images").rglob("[!.]*") if path not in used)
    lost = sorted(path.name for path in there if path.suffix.lower() in images.SUFFIXES)
    if lost:
        message = f"{counted(len(lost), 'image')} in images/ not listed ({listed(lost)}): left out"
        fix = "List them, without annotations if they hold no object, or take them out"
        yield Note("warning", message, fix)


def _spare_texts(yolo, samples):
    """A note of texts of YOLO whose image is not there, or has another name."""
    if spare := [path.name for path in spare_texts(yolo, samples)]:
        message = f"{counted(len(spare), 'text')} without an image ({listed(spare)}): left out"
        yield Note("warning", message, "Give each its image's name, or take it out")


def _bytes_of(path, size):
    """The bytes of a PNG or JPEG; None for TIFF, which is read in parts, and for large files."""
    if size > MOST_BYTES:
        return None
    with open(path, "rb") as file:
        head = file.read(4)
        return None if head.startswith(_decoders.TIFF) else head + file.read()


def _read_image(path, data):
    image, kind = images.decode_image(path, data)
    missing = no_data.missing(image)
    channels = image.shape[2]
    alpha = channels in (2, 4) and _decoders.has_alpha(path)
    gray = None
    if channels - alpha == 3:
        color = image[..., :3]
        rows = range(0, len(color), ROWS)
        gray = np.concatenate([images.to_channels(color[r : r + ROWS], 1, path) for r in rows])
    return ImageFacts(
        shape=image.shape,
        dtype=kind,
        low=float(np.fmin.reduce(image, axis=None)),
        high=float(np.fmax.reduce(image, axis=None)),
        infinite=bool(np.isinf(image).any()),
        missing=0 if missing is None else int(missing.sum()),
        alpha=bool(alpha),
        orientation=_decoders.orientation_of(path, data),
        moments=moments_of(image),
        gray=None if gray is None else moments_of(gray),
        halves=_halves(image[..., : channels - alpha]),
    )


def moments_of(image: np.ndarray) -> list:
    """Mean of each channel of `(H, W, C)`, sum of squared differences from it, number of values.

    NaN, no data, is left out; a channel of nothing else has a mean of 0.
    """
    pixels = image.reshape(-1, image.shape[-1])
    numbers = np.full(pixels.shape[1], len(pixels))
    if image.dtype == np.float32:
        values = pixels.astype(np.float64)
        numbers = (~np.isnan(values)).sum(axis=0)
        means = np.nansum(values, axis=0) / np.maximum(numbers, 1)
        with np.errstate(invalid="ignore"):  # infinity, which the audit tells
            scatters = np.nansum((values - means) ** 2, axis=0)
        return [means.tolist(), scatters.tolist(), numbers.tolist()]
    levels = np.arange(np.iinfo(image.dtype).max + 1, dtype=np.float64)
    means, scatters = [], []
    for channel in range(pixels.shape[1]):
        counts = np.bincount(pixels[:, channel], minlength=len(levels))
        means.append(float(counts @ levels) / len(pixels))
        scatters.append(float(counts @ (levels - means[-1]) ** 2))
    return [means, scatters, numbers.tolist()]


def _halves(image):
    """See `ImageFacts`; every other pixel is enough for it."""
    seen = np.nan_to_num(image[::2, ::2].mean(axis=-1, dtype=np.float64), posinf=0, neginf=0)
    rows, columns = (max(length // 2, 1) for length in seen.shape)
    spread = seen.std() or 1.0
    down = seen[:rows].mean() - seen[-rows:].mean()
    across = seen[:, :columns].mean() - seen[:, -columns:].mean()
    return [float(down / spread), float(across / spread)]


def _classes_of(ids, reading, mask):
    """The classes of a mask's values, where a table gives them; else the values."""
    if reading.values is None:
        return ids
    with contextlib.suppress(ValueError):  # a value that the table lacks, which the audit names
        return reading.classes_of(ids, mask)
    return ids


def _mask_facts(ids, classes, reading, blank=None):
    """The facts of a mask's values, and of the objects of its classes."""
    from scipy import ndimage

    values, numbers = masks.value_counts(ids)
    whole = masks.is_zero_or_full(values.astype(ids.dtype), reading.ignore_class)
    blank = len(values) == 1 if blank is None else blank
    counts = [list(pair) for pair in zip(values.tolist(), numbers.tolist(), strict=True)]
    if reading.ignore_class is not None:
        classes = np.where(classes == reading.ignore_class, 0, classes)
    positive = int((classes > 0).sum())
    if len(values) > MOST_CLASSES and _is_picture(ids):
        return MaskFacts(ids.shape, counts, whole, blank, positive, None, None)
    labels, _ = label_objects(classes)
    found = ndimage.find_objects(labels)
    boxes = [[side.stop - side.start for side in box] for box in found]
    areas = np.bincount(labels.ravel())[1:].tolist()
    return MaskFacts(ids.shape, counts, whole, blank, positive, areas, boxes)


def _is_picture(ids):
    """Whether many values are all over a mask: then their regions are not worth counting."""
    looked_at = sum(math.prod(s.stop - s.start for s in box) for _, box in class_boxes(ids))
    return looked_at > MOST_CLASSES * ids.size
