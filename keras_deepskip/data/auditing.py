"""The audit of a folder of images and masks before training: what is broken, what is unusual."""

import dataclasses
import math
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_deepskip._checks import check_integer
from keras_deepskip._tables import markdown_table
from keras_deepskip.data import _decoders
from keras_deepskip.data._layout import LAYOUT, PARTS
from keras_deepskip.data.folder import identical_files, image_files
from keras_deepskip.data.masks import MaskReading, check_classes
from keras_deepskip.data.samples import Sample, has_objects, load_mask, load_objects
from keras_deepskip.data.split import FRACTIONS, load_split
from keras_deepskip.data.survey import MOST_CLASSES, UNREADABLE, ImageFacts, MaskFacts, Survey
from keras_deepskip.objects import neighbours

SEVERITIES = ("error", "warning", "note")
OVERRIDE = "`masks=`, or --mask-kind, --mask-value, --color"
SIZES = (8, 16, 32)  # an object is under 8 x 8 if its area is less than 64
MOST_UNNAMED = 5  # channels of a TIFF that are likely channels, though they have no names
SPECK = 4  # pixels; an object of fewer is rarely meant
MOST_TOUCHING = 200  # images in which objects that touch are counted
SHOWN = 4  # findings of one kind that the text shows


@dataclasses.dataclass(frozen=True)
class Finding:
    """One finding about a data set.

    Attributes:
        severity: `"error"` (training would fail or be wrong), `"warning"`, or `"note"`.
        file: the file or folder that it is about.
        message: what was found.
        fix: what to do about it; may be empty for a note.
    """

    severity: str
    file: str
    message: str
    fix: str = ""


@dataclasses.dataclass(frozen=True)
class AuditReport:
    """What `audit` found.

    Attributes:
        folder: the folder.
        findings: list of `Finding`, errors first.
        figures: dict of counts, sizes, classes and objects.
    """

    folder: str
    findings: list[Finding]
    figures: dict[str, Any]

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return not any(finding.severity == "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as a dict that JSON can hold."""
        findings = [dataclasses.asdict(finding) for finding in self.findings]
        return {"folder": self.folder, "ok": self.ok, "findings": findings, "figures": self.figures}

    def text(self) -> str:
        """Returns the report as text: findings, errors first, then a table of statistics."""
        return f"{self.findings_text()}\n\n{markdown_table(*self.table())}"

    def summary(self) -> str:
        """How many findings of each kind there are, in a line."""
        counts = Counter(finding.severity for finding in self.findings)
        return ", ".join(f"{counts[kind]} {kind}{'s' * (counts[kind] != 1)}" for kind in SEVERITIES)

    def findings_text(self) -> str:
        """Returns the findings as text, errors first, each kind with its fix."""
        lines = [f"{self.folder}: {self.summary()}"]
        if "masks" in self.figures:
            lines.append(f"masks: {self.figures['masks']} (to override: {OVERRIDE})")
        lines.append("")
        kinds: dict[tuple[str, str], list[Finding]] = {}
        for finding in self.findings:
            kinds.setdefault((finding.severity, finding.fix), []).append(finding)
        for (severity, fix), findings in kinds.items():
            lines += [f"{severity}: {f.file}: {f.message}" for f in findings[:SHOWN]]
            if len(findings) > SHOWN:
                lines.append(f"  and {len(findings) - SHOWN} more like it")
            lines += [f"  fix: {fix}"] if fix else []
        if not self.findings:
            lines.append("nothing to report")
        return "\n".join(lines)

    def table(self) -> tuple[list[str], list[list]]:
        """The headings and the rows of the table of statistics."""
        rows = [[name.replace("_", " "), _shown(value)] for name, value in self.figures.items()]
        return ["statistic", "value"], rows


def audit(
    folder: str | os.PathLike | Survey,
    masks: MaskReading | None = None,
    stride: int = 16,
    split_file: str | os.PathLike | None = None,
    seed: int = 0,
    group_by: str | None = None,
    fractions: Sequence[float] = FRACTIONS,
) -> AuditReport:
    """Checks a folder of images and masks.

    Bad files do not stop it: each becomes a finding. It looks for unreadable files, missing pairs,
    sizes that differ, mask values that are no class ids, mixed channels and number types, images
    and objects smaller than the network's stride, specks, empty masks, and the same image or field
    of view in two parts of the split.

    Args:
        folder: as in `load_split`: `images/` and `masks/`, COCO, or `train/`, `val/`, `test/`.
        masks: a `MaskReading` (see `read_mask`), or None. Without its `num_classes` the number of
            classes is suggested from the masks; with it, the masks must fit it.
        stride: the network's coarsest stride in pixels.
        split_file, seed, group_by, fractions: as in `load_split`.

    Returns:
        An `AuditReport`. What it has no error for, `train` takes.

    Raises:
        ValueError: if `stride` is no positive integer.

    Example:

    ```python
    report = audit("cells")
    if not report.ok:
        raise SystemExit(report.text())
    ```
    """
    stride = check_integer("stride", stride)
    survey = _surveyed(folder, masks, group_by)
    folder, reading = survey.folder, survey.reading if masks is None else masks
    findings = [finding for pool in survey.pools.values() for finding in _pool_findings(pool)]
    findings += _listing_findings(survey, reading)
    paired = not any(finding.severity == "error" for finding in findings)
    looks = [_look(sample, survey, findings) for sample in survey.all_samples]
    kind = survey.kind_of(reading)
    findings += _class_findings(looks, kind, folder)
    findings += _image_findings(looks, stride, folder)
    findings += _object_findings(looks, stride, folder)
    findings += _touching_findings(looks, kind, folder)
    figures = _figures(looks, survey, kind, stride)
    how = {
        "split_file": split_file, "seed": seed, "group_by": group_by, "fractions": fractions,
    }  # fmt: skip
    if paired:  # missing pairs would stop the split, too
        figures |= _split(survey, looks, how, findings)
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return AuditReport(str(survey.source), findings, figures)


def _surveyed(folder, masks, group_by):
    """The survey itself, or one of the folder."""
    if not isinstance(folder, Survey):
        return Survey.of(folder, masks, group_by)
    if masks is not None and not folder.reads_as(masks):
        raise ValueError(
            "`masks` must have the colours and the ignored class of the survey. Received: "
            f"masks={masks}, survey.reading={folder.reading}. Survey the folder again with it"
        )
    return folder


# ---- Files --------------------------------------------------------------------------------------


def _pool_findings(pool):
    """What the list of a folder's files shows."""
    if pool.error is not None:
        return [_failure(pool.root, pool.error, "Bring the folder into the layout above")]
    return [] if pool.scan is None else _pair_findings(pool.root, pool.scan)


def _pair_findings(root, found):
    """Findings about a folder's list of files."""
    findings = []
    if not found.pairs:
        message = f"no image in {root / 'images'}"
        findings.append(Finding("error", str(root), message, LAYOUT))
    for image, mask in found.pairs:
        if mask is None:
            fix = "Make the mask (all zeros where there is no object), or take the image out"
            findings.append(Finding("error", str(image), "it has no mask", fix))
    for mask in found.orphans:
        fix = "Give the mask its image's name, or leave it: it is not used"
        findings.append(Finding("warning", str(mask), "a mask without an image", fix))
    for paths in found.doubled:
        message = f"files of one name: {', '.join(path.name for path in paths)}"
        findings.append(Finding("error", str(paths[0]), message, "Rename or remove one"))
    for path in found.skipped:
        fix = "Convert it if it is an image; otherwise it is not used"
        if path.suffix.lower() == ".npy":
            fix = "Write it as TIFF: .npy is not read from folders, and left out"
        findings.append(Finding("warning", str(path), "not PNG, JPEG or TIFF", fix))
    return findings


def _listing_findings(survey, reading):
    """What COCO files and YOLO's texts say oddly, and whether they name the same classes."""
    named = {part: pool.classes for part, pool in survey.pools.items() if pool.classes is not None}
    for pool in survey.pools.values():
        for note in (note.given(reading.ignore_class) for note in pool.notes):
            yield Finding(note.severity, str(pool.listing), note.message, note.fix)
    if any(classes != next(iter(named.values())) for classes in named.values()):
        message = f"the parts' annotations.json name different classes: {_shown(named)}"
        fix = "Give all of them the same categories with the same ids"
        yield Finding("error", str(survey.folder), message, fix)


# ---- Samples ------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Look:
    """What the survey has of one sample; what could not be read stays None."""

    sample: Sample
    image: ImageFacts | None = None
    mask: MaskFacts | None = None
    class_ids: list | None = None  # of the values of `mask.counts`, where they have a meaning
    ignored: int | None = None  # the id of the ignored class

    @property
    def counts(self):
        """Number of pixels of each class id, or value if it means none."""
        if self.mask is None:
            return None
        counts: Counter = Counter()
        values = [value for value, _ in self.mask.counts]
        ids = values if self.class_ids is None else self.class_ids
        for class_id, (_, pixels) in zip(ids, self.mask.counts, strict=True):
            counts[class_id] += pixels
        return dict(counts)

    @property
    def counted(self):
        """`counts` without the ignored class."""
        return {i: pixels for i, pixels in (self.counts or {}).items() if i != self.ignored}


def _look(sample, survey, findings):
    look, image, mask = _Look(sample), survey.image(sample), survey.mask(sample)
    if isinstance(image, ImageFacts):
        look.image = image
        findings += _value_findings(sample.image, image)
    else:
        findings.append(_failure(sample.image, image, "Copy or convert the image, or take it out"))
    if isinstance(mask, Exception):
        findings.append(_failure(sample.mask, mask, "Write the mask again, or take the pair out"))
        return look
    look.mask = mask
    if mask and look.image and look.image.shape[:2] != mask.shape:
        sizes = [f"{height} x {width}" for height, width in (look.image.shape[:2], mask.shape)]
        message = f"its size is {sizes[1]}, the image's {sizes[0]}"
        fix = "Make the mask for this image, or take the pair out"
        findings.append(Finding("error", str(sample.mask), message, fix))
    return look


def _value_findings(path, image):
    if image.infinite:
        fix = "Replace it by NaN (no data), or take the image out"
        yield Finding("error", str(path), "it holds infinity", fix)
    elif image.missing == math.prod(image.shape[:2]):
        yield Finding("warning", str(path), "none of its pixels has data", "Take the image out")
    elif image.low == image.high:
        message = f"all its pixels are {image.low:g}"
        yield Finding("warning", str(path), message, "Check how the file was written")


def _failure(path, error, fix):
    """A finding of an error that already names the file."""
    message = str(error).removeprefix(f"{path}: ")
    return Finding("error", str(path), message, fix)


# ---- Classes ------------------------------------------------------------------------------------


def _class_findings(looks, kind, folder):
    findings = []
    if kind.problem is not None:
        findings.append(Finding("error", str(folder), kind.problem, kind.fix))
        return findings
    if kind.reading.kind == "objects":
        fix = "Nothing to do; if the values are class ids, say so: MaskReading(kind='classes')"
        findings.append(Finding("note", str(folder), f"masks: {kind.text}", fix))
    for look in looks:
        if look.mask is None:
            continue
        look.ignored = kind.reading.ignore_class
        file, values = str(look.sample.mask), np.array([value for value, _ in look.mask.counts])
        if look.mask.areas is None:
            message = f"{len(values)} values, {values[0]} to {values[-1]}: it looks like a picture"
            fix = "Write masks as PNG (not JPEG) with one value a class"
            findings.append(Finding("error", file, message, fix))
            continue
        if look.mask.whole and kind.reading.num_classes == 1 and kind.reading.values is None:
            message = "its values are 0 and 255 (or 65535); they are read as 0 and 1"
            findings.append(Finding("note", file, message))
        try:
            ids = values
            if isinstance(look.sample.mask, Path) and kind.reading.colors is None:
                ids = kind.reading.classes_of(values, look.sample.mask)
            look.class_ids = check_classes(ids, kind.reading, look.sample.mask).tolist()
        except ValueError as error:
            fix = "Check that num_classes, ignore_class and the masks' values fit together"
            findings.append(_failure(file, error, fix))
    return findings


# ---------------------------------------------------------------------------- images and objects


def _image_findings(looks, stride, folder):
    seen = [look.image for look in looks if look.image]
    for look in looks:
        if look.image and min(look.image.shape[:2]) < stride:
            height, width, _ = look.image.shape
            message = f"{height} x {width} pixels, less than the stride of {stride}"
            fix = "Check whether such an image is intended; it is padded by reflection"
            yield Finding("warning", str(look.sample.image), message, fix)
    yield from _channel_findings(seen, folder)
    yield from _page_findings(looks, folder)
    turned = [look for look in looks if look.image and look.image.orientation > 1]
    if turned:
        message = f"{len(turned)} images have an EXIF orientation, such as {turned[0].sample.image}"
        fix = (
            "They are read as a viewer shows them: check that their masks were drawn so, and not "
            "on the stored pixels"
        )
        yield Finding("warning", str(folder), message, fix)
    channels = Counter(image.shape[2] for image in seen)
    if len(channels) > 1:
        message = f"channels differ: {_shown(_tally(channels))} (channels: images)"
        if {image.shape[2] - image.alpha for image in seen} <= {1, 3}:
            fix = "Nothing to do: gray becomes RGB, alpha is dropped (or give channels=1 for gray)"
            yield Finding("note", str(folder), message, fix)
        else:
            yield Finding("error", str(folder), message, "Bring the images to one number")
    yield from _no_data_findings(seen, folder)
    dtypes = Counter(image.dtype for image in seen)
    if len(dtypes) > 1:
        message = f"number types differ: {_shown(_tally(dtypes))}; so do their ranges of values"
        yield Finding("error", str(folder), message, "Convert the images to one type")
    highest = max((image.high for image in seen), default=0)
    if set(dtypes) == {"uint16"} and highest < 4096:
        message = f"16-bit images whose greatest value is {highest:.0f} (12 bit)"
        yield Finding("note", str(folder), message)


def _no_data_findings(seen, folder):
    holed = [image for image in seen if image.missing]
    if holed:
        pixels = sum(math.prod(image.shape[:2]) for image in seen)
        share = _percent(sum(image.missing for image in holed) / pixels)
        message = f"{len(holed)} images have pixels without data, {share} of all pixels"
        fix = "Nothing to do: they are ignored in training, and background in predictions"
        yield Finding("note", str(folder), message, fix)


def _channel_findings(seen, folder):
    """Channels of one value in every image: an empty stain, or colours of a gray signal."""
    by_count: dict[int, list] = {}
    for image in seen:
        by_count.setdefault(image.shape[2], []).append(image)
    for count, listed in by_count.items():
        colors = range(count - any(image.alpha for image in listed))
        blank = [c for c in colors if not any(image.moments[1][c] for image in listed)]
        if blank and len(blank) < len(colors):
            message = f"channel {', '.join(map(str, blank))} of {count} is blank in every image"
            fix = "Nothing to do; with channels=1 or without the channel the network is smaller"
            yield Finding("note", str(folder), message, fix)


def _page_findings(looks, folder):
    """Pages of a TIFF without a name, of which a stack in depth or time may be made as well."""
    many = [look for look in looks if look.image and look.image.shape[2] > MOST_UNNAMED]
    if many and _decoders.nameless_pages(many[0].sample.image):
        image = many[0].image
        message = (
            f"{len(many)} images are read with many channels ({image.shape[2]}, such as "
            f"{many[0].sample.image.name}), which are pages or planes without a name"
        )
        fix = (
            "Nothing to do if these are channels; if they are slices or frames, write those to be "
            "looked at as files of their own, or a projection of all"
        )
        yield Finding("warning", str(folder), message, fix)


def _object_findings(looks, stride, folder):
    seen = [look for look in looks if look.counts]
    areas, sides = _objects(looks)
    if not seen:
        return
    if not len(areas):
        message = f"no object in any of {len(seen)} masks"
        yield Finding("error", str(folder), message, "Check that the masks hold class ids above 0")
        return
    covered = sum(n for look in seen for value, n in look.counted.items() if value)
    share = covered / max(sum(sum(look.counted.values()) for look in seen), 1)
    if share > 0.5:
        message = f"objects cover {_percent(share)} of the pixels"
        top = max(value for look in seen for value, _ in look.mask.counts)
        table = {0: 1, top: 0}
        fix = f"If the masks are inverted (objects 0), say so: MaskReading(values={table})"
        yield Finding("warning", str(folder), message, fix)
    empty = np.mean([not look.mask.areas for look in seen])
    if empty > 0:
        message = f"{_percent(empty)} of the images have an empty mask"
        fix = "Nothing to do if this is intended: a fixed share of the crops is on objects"
        yield Finding("warning" if empty > 0.5 else "note", str(folder), message, fix)
    small = np.mean(sides < stride)
    if small > 0:
        message = f"{_percent(small)} of the objects are smaller than the stride of {stride} pixels"
        fix = "Keep the images at full size: the finest skips, not the coarsest level, find these"
        yield Finding("note", str(folder), message, fix)
    specks = int(np.sum(areas < SPECK))
    if specks:
        message = f"{specks} of {len(areas)} objects have fewer than {SPECK} pixels"
        fix = "Check whether they are errors of the annotation; each counts as an object"
        yield Finding("warning", str(folder), message, fix)


def _objects(looks):
    """Areas and longer sides of all objects."""
    seen = [look.mask for look in looks if look.mask and look.mask.areas is not None]
    empty = [np.zeros(0, int)]
    areas = np.concatenate(empty + [np.array(mask.areas, int) for mask in seen])
    return areas, np.concatenate(empty + [np.array(mask.sides, int) for mask in seen])


def _touching_findings(looks, kind, folder):
    """What masks lose of the objects that ids tell apart, and ids that do not fit."""
    total = touching = seen = 0
    for look in looks:
        if look.class_ids is None or not has_objects(look.sample, kind.reading):
            continue
        if seen == MOST_TOUCHING:
            break
        try:
            mask = load_mask(look.sample, kind.reading)
            objects = load_objects(look.sample, mask, kind.reading)
        except (OSError, ValueError) as error:
            file = look.sample.instances or look.sample.mask
            yield _failure(file, error, "Write the ids again, or take the file out")
            continue
        seen += 1
        total += int(objects.max(initial=0))
        touching += len(_touching(objects, mask))
    if touching:
        share = f"{100 * touching / total:.0f} % of the objects touch another"
        message = f"{share} of their class ({touching:,} of {total:,} in {seen} images)"
        fix = "Nothing to do: evaluate and predict tell objects apart (separate=)"
        yield Finding("note", str(folder), message, fix)


def _touching(objects, mask):
    """Numbers of the objects with a neighbour of another object of their class."""
    found = set()
    for here, there in neighbours(objects.ndim):
        one, other = objects[here], objects[there]
        border = (one != other) & (one > 0) & (other > 0) & (mask[here] == mask[there])
        found.update(one[border].tolist(), other[border].tolist())
    return found


def _figures(looks, survey, kind, stride):
    shapes = np.array([look.image.shape for look in looks if look.image]).reshape(-1, 3)
    seen = [look for look in looks if look.counts and len(look.counts) <= MOST_CLASSES]
    classes, pixels = Counter(), Counter()
    for look in seen:
        classes.update(look.counted.keys())
        pixels.update(look.counted)
    unasked = dataclasses.replace(survey.reading, num_classes=None)
    figures = {
        "masks": kind.text,
        "images": len(looks),
        "readable": sum(bool(look.image and look.counts) for look in looks),
        "height": _spread(shapes[:, 0]),
        "width": _spread(shapes[:, 1]),
        "channels": _tally(Counter(shapes[:, 2].tolist())),
        "dtypes": _tally(Counter(look.image.dtype for look in looks if look.image)),
        "classes": _tally(classes),
        "suggested_num_classes": survey.kind_of(unasked).reading.num_classes,
        "num_classes": kind.reading.num_classes,
        "empty_share": float(np.mean([not look.mask.areas for look in seen])) if seen else None,
    }
    total = sum(pixels.values())
    figures["pixel_shares"] = _tally({k: round(v / total, 6) for k, v in pixels.items()})
    figures["positive_share"] = 1 - pixels[0] / total if total else None
    return figures | _object_figures(looks, stride)


def _object_figures(looks, stride):
    areas, sides = _objects(looks)
    figures = {"objects": len(areas)}
    if len(areas):
        levels = (0, 5, 25, 50, 75, 95, 100)
        figures["object_area_percentiles"] = {
            str(level): float(value)
            for level, value in zip(levels, np.percentile(areas, levels), strict=True)
        }
        for size in SIZES:
            figures[f"objects_under_{size}x{size}"] = float(np.mean(areas < size**2))
        figures["objects_smaller_than_stride"] = float(np.mean(sides < stride))
    return figures | {"stride": stride}


# ----------------------------------------------------------------------------------------- split


def _split(survey, looks, how, findings):
    """Adds findings about the split; returns its numbers."""
    folder = survey.folder
    try:
        split = load_split(survey, **how)
    except UNREADABLE as error:
        findings.append(_failure(folder, error, "Correct the split, or add images"))
        return {}
    parts = {part: getattr(split, part) for part in PARTS}
    if not split.val:
        message = "no part of the split has images to validate on"
        fix = "Name some as val, or leave val out to have them taken from train"
        findings.append(Finding("error", str(how["split_file"] or folder), message, fix))
    leaks = list(_leaks(parts, survey))
    findings += leaks
    findings += _absent_classes(folder, parts, looks)
    everything = sum(parts.values(), [])
    left_out = len(looks) - len(everything)
    if left_out:
        message = f"{left_out} images are in no part of the split"
        findings.append(Finding("note", str(how["split_file"] or folder), message))
    # Sub-folders may use a group's name twice.
    groups = Counter((sample.image.parent, sample.group) for sample in everything)
    together = sum(number > 1 for number in groups.values())
    random = how["split_file"] is None and "" in survey.pools
    findings += _unused_folders(survey)
    if together and random and how["group_by"] is None:
        message = f"{together} groups of images that show the same thing are kept together"
        findings.append(Finding("note", str(folder), message))
    if how["group_by"] is None:
        findings += _series(folder, everything)
    sizes = {part: len(listed) for part, listed in parts.items()}
    return {"groups": len(groups)} | sizes | {"leaks": len(leaks)}


def _unused_folders(survey):
    """Folders of images beside those that are used, such as `unlabeled/` beside `train/`."""
    roots = [pool.root for pool in survey.pools.values()]
    used = {*roots, *(root / name for root in roots for name in ("images", "masks", "instances"))}
    for folder in sorted(set(survey.folder.iterdir()) - used):
        count = len(image_files(folder / "images")[0]) or len(image_files(folder)[0])
        if count:
            message = f"{folder.name}/ holds {count} images that no part uses"
            fix = "Nothing to do if this is intended; parts are train/, val/ (valid/) and test/"
            yield Finding("note", str(folder), message, fix)


def _leaks(parts, survey):
    """Identical images, and identical masks that are not empty, in two parts of the split."""
    where = {s.image: (part, s) for part, listed in parts.items() for s in listed}
    kinds = {
        "image": {path: path for path in where},
        "mask": {p: s.mask for p, (_, s) in where.items() if isinstance(s.mask, Path)},
    }
    for kind, paths in kinds.items():
        for names in identical_files(paths, survey):
            names.sort(key=lambda path: PARTS.index(where[path][0]))
            if len({where[path][0] for path in names}) == 1 or (
                kind == "mask" and survey.is_blank(paths[names[0]])
            ):
                continue
            shown = ", ".join(f"{where[path][0]}: {path.name}" for path in names[:SHOWN])
            message = f"the same {kind} in two parts of the split ({shown})"
            fix = "Take one out, or keep them together (`group_by`): metrics would be too high"
            yield Finding("warning", str(names[0]), message, fix)


def _absent_classes(folder, parts, looks):
    """Classes that a part of the split lacks."""
    counts = {look.sample.image: look.counted for look in looks}
    found = {
        part: {value for sample in listed for value in counts.get(sample.image, ())}
        for part, listed in parts.items()
    }
    for part in PARTS if len(set.union(*found.values())) <= MOST_CLASSES else ():
        absent = sorted(set.union(*found.values()) - found[part])
        if absent and parts[part]:
            message = f"no image of the {part} part holds class {', '.join(map(str, absent))}"
            fix = "Add images of the class, or choose the parts by a split file or another seed"
            yield Finding("warning", str(folder), message, fix)


def _series(folder, samples):
    """Names that fall into series, such as the slices of one patient."""
    series = Counter(re.sub(r"\d+$", "", sample.name) for sample in samples)
    series.pop("", None)
    kept = {re.sub(r"\d+$", "", sample.group) for sample in samples if sample.group != sample.name}
    if not kept and 2 <= len(series) <= len(samples) / 3 and min(series.values()) > 1:
        names = ", ".join(f"{name}* ({number})" for name, number in series.most_common(SHOWN))
        message = f"the names fall into {len(series)} series: {names}"
        fix = (
            r'If a series shows one patient, specimen or place, give group_by=r"^(.*?)\d+$": '
            "metrics would be too high if it were in two parts of the split"
        )
        yield Finding("note", str(folder), message, fix)


# ----------------------------------------------------------------------------------------- words


def _spread(values):
    if not len(values):
        return None
    return {
        "least": int(values.min()),
        "median": float(np.median(values)),
        "most": int(values.max()),
    }


def _tally(counter):
    """A counter as a dict that JSON can hold, by key."""
    return {str(key): value for key, value in sorted(counter.items())}


def _percent(share):
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"


def _shown(value):
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_shown(part)}" for key, part in value.items())
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.4g}"
    return "-" if value is None else str(value)
