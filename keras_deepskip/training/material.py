"""What a run trains on: the data audited, split and measured, then fed to `fit`."""

import dataclasses
import math
from pathlib import Path

import numpy as np

from keras_deepskip import _files
from keras_deepskip.data import (
    AuditReport,
    Augmentation,
    CropDataset,
    MaskReading,
    Split,
    Survey,
    WindowDataset,
    audit,
    channel_statistics,
    load_split,
    value_range,
    write_split,
)
from keras_deepskip.data._layout import PARTS
from keras_deepskip.data.coco.notes import counted, warn
from keras_deepskip.data.folder import file_digest
from keras_deepskip.data.no_data import IGNORED
from keras_deepskip.data.sampling import sample_size
from keras_deepskip.drawing import to_rgb
from keras_deepskip.training.planning import STRIDE, make_plan
from keras_deepskip.training.run import AUDIT, IMAGES, MASKS, SPLIT, masks_of, read_digests

# Geometry by kind of scene, and light and colour of all: what each is worth is in
# docs/measurements/recipe.md.
SCENES = {
    "upright": {"flips": "horizontal", "rotate90": False},
    "any": {"flips": True, "rotate90": True},
}
LIGHT = {"brightness": 0.3, "contrast": 0.2}
JITTER = {"scale": 0.35, "color": 0.15}
LARGEST_WINDOW, FEWEST_WINDOWS = 512, 8  # of validation images: their side, and how many


@dataclasses.dataclass(frozen=True)
class Material:
    """The data of a run.

    Attributes:
        split: the `Split`.
        masks: the `MaskReading`, its kind and number of classes filled in.
        facts: what the data say about a model that fits them: a dict of channels, num_classes,
            masks, class_names, input_range, mean and variance.
        report: the `AuditReport`; None for a run that is resumed.
        survey: the `Survey` of the folder; None for a run that is resumed.
    """

    split: Split
    masks: MaskReading
    facts: dict
    report: AuditReport | None = None
    survey: Survey | None = None

    @classmethod
    def surveyed(cls, data, request, verbose=0):
        """The data of a new run, audited, split and measured.

        Args:
            data: the folder, or a `Survey` of it.
            request: the `Request`.
            verbose: as in `Survey.of`.

        Raises:
            ValueError: if the audit finds errors.
        """
        how = {**request.split, "seed": request.recipe.seed}
        survey = data
        if not isinstance(data, Survey):
            survey = Survey.of(data, request.masks, request.split["group_by"], verbose)
        report = audit(survey, request.masks, request.stride, **how)
        _refuse_errors(survey.source, report)
        for pool in survey.pools.values():
            warn(pool.notes, pool.listing, request.masks.ignore_class)
        split = load_split(survey, **how)
        facts = _facts(survey, report, split, request)
        return cls(split, MaskReading.from_dict(facts["masks"]), facts, report, survey)

    @property
    def class_names(self):
        """Names by class id, or None."""
        names = self.facts.get("class_names")
        return names and {int(label): name for label, name in names.items()}

    def plan(self, recipe):
        """The `Plan` of a new run: what the recipe leaves open, from the training images."""
        return make_plan(recipe, self.survey, self.split.train, self.split.val)

    @classmethod
    def recorded(cls, data, out, config):
        """The data of a run to resume, as they were when it was begun.

        Raises:
            ValueError: if an image is another one now.
        """
        split = load_split(data, out / SPLIT, group_by=config["data"]["group_by"])
        _refuse_changed(split, *read_digests(out), out)
        return cls(split, masks_of(config), config["facts"])

    def for_shares(self, shares):
        """The data for batches of windows that may be filled up with ignored pixels."""
        if shares == 1 or self.masks.ignore_class is not None:
            return self
        return dataclasses.replace(
            self, masks=dataclasses.replace(self.masks, ignore_class=IGNORED)
        )

    def write(self, out):
        """Writes the split, what its images hold, and the audit into the folder of a new run."""
        write_split(out / SPLIT, self.split)
        digests = {part: self._digests(part) for part in PARTS}
        _files.write_json(out / IMAGES, {**digests, MASKS: self._mask_digests()})
        _files.write_json(out / AUDIT, self.report.to_dict())

    def _digests(self, part):
        samples = getattr(self.split, part)
        return {sample.name: self.survey.digest(sample.image) for sample in samples}

    def _mask_digests(self):
        """Of the masks' files, by the samples' names; annotations of many images have none."""
        samples = [*self.split.train, *self.split.val]
        return {own.name: self.survey.digest(own.mask) for own in samples if _is_file(own.mask)}

    def datasets(self, recipe, fixed_size=False, shares=1, objects=False):
        """Returns crops to train on, and windows to validate on.

        Args:
            recipe: the `Recipe`, without gaps.
            fixed_size: whether windows must be of the crops' size, as a model for one size needs.
            shares: of how many devices each batch of windows must be a multiple.
            objects: whether they say which object each pixel is of.
        """
        shared = {
            "channels": self.facts["channels"],
            "masks": self.masks,
            "seed": recipe.seed,
            "survey": self.survey,
            "disk_cache_bytes": recipe.disk_cache_bytes,
            "fill": self.facts["mean"],
            "objects": objects,
        }
        value_range = self.facts["input_range"]
        crops = CropDataset(
            self.split.train,
            crop_size=recipe.crop_size,
            batch_size=recipe.batch_size,
            batches_per_epoch=recipe.steps_per_epoch,
            positive_share=recipe.positive_share,
            augmentation=_augmentation(recipe, value_range),
            workers=recipe.workers,
            use_multiprocessing=recipe.use_multiprocessing,
            **shared,
        )
        size = recipe.crop_size if fixed_size else self._window_size(recipe)
        share = (recipe.crop_size / size) ** 2  # of the pixels of a window, those of a crop
        windows = WindowDataset(
            self.split.val,
            crop_size=size,
            max_windows=max(
                min(FEWEST_WINDOWS, recipe.validation_windows),
                round(share * recipe.validation_windows),
            ),
            shares=shares,
            **shared,
        )
        wished = max(1, round(share * recipe.batch_size))
        size = _even_batch(len(windows.places), wished)
        windows.batch_size = size + -size % shares
        return crops, windows

    def _window_size(self, recipe):
        """Side of the windows to validate on: as large as all validation images are, up to 512.

        Objects are cut by fewer edges, and the network sees what it will be used on.
        """
        sizes = [sample_size(sample, self.survey) for sample in self.split.val]
        smallest = min((min(size) for size in sizes), default=0)
        side = min(smallest, LARGEST_WINDOW) // STRIDE * STRIDE
        return max(side, recipe.crop_size)

    def validation_share(self, windows):
        """How many pixels the validation images have, for each of the windows."""
        sizes = [sample_size(sample, self.survey) for sample in self.split.val]
        pixels = sum(math.prod(size[:2]) for size in sizes)
        return pixels / (len(windows.places) * windows.crop_size**2)

    def shown(self, windows):
        """Returns what TensorBoard shows: images as the network takes them, masks, pictures.

        They are from all over the validation images, the windows with most objects of each.
        """
        size = windows.batch_size  # as many as a batch: no other shape is compiled for them
        pairs = []
        for index in np.unique(np.linspace(0, len(windows) - 1, size).round().astype(int)):
            images, masks = windows[int(index)]
            masks = masks[0] if isinstance(masks, tuple) else masks
            if self.masks.ignore_class is not None:
                masks = np.where(masks == self.masks.ignore_class, 0, masks)
            fullest = np.argsort(-(masks > 0).sum(axis=(1, 2, 3)), kind="stable")
            pairs += [(images[at], masks[at]) for at in fullest[: math.ceil(size / len(windows))]]
        images, masks = (np.stack(part) for part in zip(*pairs[:size], strict=True))
        eight_bit = list(self.facts["input_range"]) == [0, 255]  # others are stretched
        seen = images.astype("uint8") if eight_bit else images
        return images, masks, np.stack([to_rgb(image) for image in seen])


def _even_batch(count, most):
    """A size of batches that are all alike, if there is one of at least half of the most.

    A smaller last batch is another shape, for which TensorFlow and JAX compile anew.
    """
    sizes = range(min(most, count), max(most // 2, 1) - 1, -1)
    return next((size for size in sizes if count % size == 0), min(most, count))


def _augmentation(recipe, value_range):
    if not recipe.augment:
        return None
    jitter = JITTER if recipe.jitter else {}
    return Augmentation(**SCENES[recipe.scene], **LIGHT, **jitter, value_range=value_range)


def _refuse_errors(data, report):
    errors = [finding for finding in report.findings if finding.severity == "error"]
    if errors:
        shown = "; ".join(f"{f.file}: {f.message}. {f.fix}" for f in errors[:3])
        more = f"; and {len(errors) - 3} errors more" if len(errors) > 3 else ""
        raise ValueError(
            f"the data cannot be trained on as they are: {shown}{more}. The whole report: "
            f"keras-deepskip audit --data {data}"
        )


def _is_file(mask):
    return isinstance(mask, Path)


def _refuse_changed(split, images, masks, out):
    """Raises a ValueError if files are not what they were: a resumed run would not be exact."""
    files = [
        ("image", sample.image, known.get(sample.name))
        for part, known in images.items()
        for sample in getattr(split, part)
    ]
    files += [
        ("mask", sample.mask, masks.get(sample.name))
        for sample in (*split.train, *split.val)
        if _is_file(sample.mask)
    ]
    changed = [(kind, path) for kind, path, known in files if known and file_digest(path) != known]
    if changed:
        kind, path = changed[0]
        raise ValueError(
            f"{path}: the {kind} that the run in {out} was begun with was expected. Received: "
            f"another one ({counted(len(changed), 'file')} changed since). Put it back, or begin "
            "a new run in another folder"
        )


def _facts(survey, report, split, request):
    channels = request.channels or _usual_channels(survey)
    mean, variance = channel_statistics(split.train, channels, survey)
    limits = request.input_range or value_range(split.train, survey)
    return {
        "channels": int(channels),
        "num_classes": int(report.figures["num_classes"]),
        "masks": _reading(survey, request.masks).to_dict(),
        "class_names": _class_names(survey, int(report.figures["num_classes"])),
        "input_range": [float(value) for value in limits],
        "mean": [float(value) for value in mean],
        "variance": [float(value) for value in variance],
    }


def _reading(survey, masks):
    """How masks are read: their kind decided; if images have pixels without data, these ignored."""
    reading = survey.kind_of(masks).reading
    holed = any(survey.image(sample).missing for sample in survey.all_samples)
    if holed and reading.ignore_class is None:
        return dataclasses.replace(reading, ignore_class=IGNORED)
    return reading


def _class_names(survey, num_classes):
    """Names by class id as text, from the annotations or `classes.txt`; None without any."""
    for pool in survey.pools.values():
        if pool.classes is not None:
            return {str(label): name for label, name in pool.classes.items()}
    listed = survey.folder / "classes.txt"
    if not listed.is_file():
        return None
    names = [line.strip() for line in listed.read_text(encoding="utf-8-sig").splitlines()]
    names = [name for name in names if name]
    classes = max(num_classes, 2)
    if len(names) not in (classes, classes - 1):
        raise ValueError(
            f"{listed}: a line for each class was expected: {classes - 1}, or {classes} with the "
            f"background first. Received: {len(names)} names. Correct the file, or take it out"
        )
    first = classes - len(names)
    return {str(label): name for label, name in enumerate(names, start=first) if label > 0}


def _usual_channels(survey):
    """Channels for a model of these images: the most that one has, not counting alpha."""
    seen = [survey.image(sample) for sample in survey.all_samples]
    return max(facts.shape[2] - facts.alpha for facts in seen)
