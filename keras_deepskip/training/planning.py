"""`Plan`: what a recipe leaves open, chosen from the data, each choice with its reason.

Every rule is a function here, with the observation that it rests on; the experiments are in
docs/measurements/recipe.md. The same folder, recipe and budget give the same plan (measured minutes
apart).
"""

import dataclasses
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_deepskip._tables import markdown_table
from keras_deepskip.data import Sample, Survey
from keras_deepskip.data.survey import ImageFacts, MaskFacts
from keras_deepskip.training.recipe import Recipe, Stage

CROP, BATCH = 160, 4  # where nothing speaks for others
STRIDE = 32  # crops are multiples of it
LARGEST_CROP = 224
FIELD = 1.5  # crops are at least so many times the longer side of a large object
STEPS_PER_EPOCH = 100
MOST_STEPS, USUAL_STEPS = 12_000, 4000  # where no budget is given: of "plateau", of "cosine"
RARE = 0.1  # share of the pixels on objects below which most crops are drawn on objects
RARE_SHARE = 0.8  # of crops on objects then
TILT = 0.15  # mean of log(height / width) of objects from which on a scene has an up and a down
SURE = 3  # standard errors of it
UNEVEN = 1.5  # how much more upper and lower halves differ than left and right ones, likewise
SLIGHT = 0.2  # standard deviations of an image by which they differ at least, likewise
OFTEN = 50  # times that training goes over the pixels of its images, from which on crops jitter
SMALL, LARGE, SOME, BALANCE = 20, 40, 0.1, 0.5  # sides of objects, a share of each, what it gives
STEPS_PER_MINUTE = 300  # guessed, where a budget of minutes is not yet measured
FEW_IMAGES = 8
FEW_OBJECTS = 20
# Of older runs, whose recipes were complete
BEFORE = {
    "epochs": 20, "steps_per_epoch": 25, "batch_size": 8, "crop_size": 160, "positive_share": 0.5,
    "scene": "any", "jitter": False, "schedule": "cosine", "size_balance": 0.0,
    "include_absent": True,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Plan:
    """A recipe without gaps, and why it is so.

    Attributes:
        recipe: the `Recipe`; with a budget of minutes its epochs are None until they are measured.
        reasons: a sentence for each field that the plan chose, or that a budget decides.
        course: the stages, where a run's length was changed after it had begun; else empty.
    """

    recipe: Recipe
    reasons: dict[str, str]
    course: tuple[Stage, ...] = ()

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The `Stage`s of the run."""
        return self.course or tuple(self.recipe.stages)

    def text(self) -> str:
        """A table of the choices and their reasons."""
        return markdown_table(*self.table())

    def table(self) -> tuple[list[str], list[list]]:
        """The headings and the rows of that table."""
        rows = []
        for name, reason in self.reasons.items():
            value = getattr(self.recipe, name)
            rows.append([name, "to be measured" if value is None else value, reason])
        return ["", "chosen", "why"], rows

    def to_dict(self) -> dict:
        """The plan as a dict fit for JSON."""
        course = [dataclasses.asdict(stage) for stage in self.course]
        return {
            "recipe": self.recipe.to_dict(),
            "reasons": self.reasons,
            **({"course": course} if course else {}),
        }

    @classmethod
    def from_dict(cls, fields: dict) -> "Plan":
        """The value of which `to_dict` gave `fields`."""
        course = tuple(Stage(**stage) for stage in fields.get("course", ()))
        return cls(Recipe(**fields["recipe"]), fields["reasons"], course)

    def measured(self, seconds_per_step: float, seconds: float) -> "Plan":
        """The plan with as many epochs as a time allows.

        Args:
            seconds_per_step: what a step took here, its share of the validation included.
            seconds: how many are left.

        Raises:
            ValueError: if that is not one epoch of a few steps.
        """
        steps = int(seconds / seconds_per_step)
        if steps < 2 * self.recipe.freeze_epochs + 10:
            raise ValueError(
                f"`minutes` must allow for a few steps. Received: minutes={self.recipe.minutes:g}, "
                f"of which {max(seconds, 0):.0f} s are left for steps of {seconds_per_step:.2f} s "
                "each. Give more"
            )
        reason = f"{steps:,} steps in {self.recipe.minutes:g} minutes, measured on this machine"
        recipe = _with_steps(self.recipe, steps, at_most=True)
        return Plan(recipe, {**self.reasons, "epochs": reason})


def make_plan(
    recipe: Recipe, survey: Survey, train: Sequence[Sample], val: Sequence[Sample] = ()
) -> Plan:
    """Fills in what a recipe leaves open.

    Args:
        recipe: the `Recipe`; what it gives is kept.
        survey: a `Survey` of the folder.
        train: list of `Sample`: the training images.
        val: list of `Sample`: the validation images; a `UserWarning` says if they hold no object.

    Returns:
        A `Plan`.

    Raises:
        ValueError: if the training images hold no object.

    Example:

    ```python
    survey = Survey.of("cells")
    print(make_plan(Recipe(), survey, load_split(survey).train).text())
    ```
    """
    facts = _facts(survey, train)
    if not len(facts.sides):
        raise ValueError(
            f"{survey.folder}: training images with objects were expected. Received: none in the "
            f"masks of {len(train)} images. Check that the masks hold class ids above 0, and that "
            "the split leaves some to train on"
        )
    masks = [survey.mask(sample) for sample in val]
    if val and not any(facts.boxes for facts in masks if isinstance(facts, MaskFacts)):
        warnings.warn(
            f"{survey.folder}: validation images with objects were expected. Received: none in the "
            f"masks of {len(val)} images. Neither the best epoch nor the operating point can be "
            "chosen by what is found: have the split give the validation some (split_file, "
            "--split-file)",
            stacklevel=2,
        )
    rules = {
        "crop_size": _crop_size, "batch_size": _batch_size, "positive_share": _positive_share,
        "scene": _scene, "size_balance": _size_balance, "include_absent": _include_absent,
    }  # fmt: skip
    reasons = {}
    for name, rule in rules.items():
        if getattr(recipe, name) is None:
            value, reasons[name] = rule(facts, recipe)
            recipe = dataclasses.replace(recipe, **{name: value})
    recipe, reasons["epochs"] = _length(facts, recipe)
    if recipe.jitter is None:
        jitter, reasons["jitter"] = _jitter(facts, recipe)
        recipe = dataclasses.replace(recipe, jitter=jitter)
    return Plan(recipe, reasons)


def completed(recipe: Recipe) -> Recipe:
    """A recipe of a run that was begun before there were plans."""
    gaps: dict[str, Any] = {name: BEFORE[name] for name in recipe.missing}
    return dataclasses.replace(recipe, **gaps)


@dataclasses.dataclass(frozen=True)
class _Facts:
    """What the training images hold: sizes of images, and of objects in pixels."""

    images: int
    pixels: int
    foreground: float  # share of the pixels
    longest: int  # side of an image
    sides: np.ndarray  # longer side of each object
    tilt: float  # mean over images of the mean log(height / width) of their objects
    tilt_error: float  # standard error of that
    unevenness: float  # upper and lower halves against left and right ones


def _facts(survey, train):
    images = [survey.image(sample) for sample in train]
    masks = [survey.mask(sample) for sample in train]
    images = [facts for facts in images if isinstance(facts, ImageFacts)]
    masks = [facts for facts in masks if isinstance(facts, MaskFacts) and facts.sides]
    boxes = [np.array(facts.boxes, float).reshape(-1, 2) for facts in masks]
    tilts = [float(np.log(own[:, 0] / own[:, 1]).mean()) for own in boxes]
    error = float(np.std(tilts, ddof=1) / math.sqrt(len(tilts))) if len(tilts) > 2 else math.inf
    sides = np.concatenate([own.max(axis=1) for own in boxes] or [np.zeros(0)])
    return _Facts(
        len(images),
        sum(math.prod(facts.shape[:2]) for facts in images),
        _foreground(masks),
        max((max(facts.shape[:2]) for facts in images), default=CROP),
        sides,
        float(np.mean(tilts)) if tilts else 0.0,
        error,
        _unevenness(images),
    )


def _foreground(masks):
    """The share of object pixels in the masks that have any."""
    positive = sum(facts.positive for facts in masks)
    return positive / max(sum(math.prod(facts.shape) for facts in masks), 1)


def _unevenness(images):
    """How much more upper and lower halves differ in brightness than left and right ones."""
    if len(images) < FEW_IMAGES:
        return 1.0
    down, across = np.sqrt((np.array([facts.halves for facts in images]) ** 2).mean(axis=0))
    return float(down / max(across, 1e-6)) if down > SLIGHT else 1.0


# ---- Rules: (value, reason) ----------------------------------------------------------------------


def _crop_size(facts, recipe):
    """Large objects need their surroundings; of small images there is no more than all."""
    large = float(np.percentile(facts.sides, 90)) if len(facts.sides) else 0.0
    wished = max(CROP, _multiple(FIELD * large))
    if facts.longest < wished:
        size = min(max(_multiple(facts.longest), 2 * STRIDE), LARGEST_CROP)
        return size, f"the longest side of an image is {facts.longest} pixels"
    size = min(wished, LARGEST_CROP)
    return size, f"nine of ten objects are at most {large:.0f} pixels long"


def _batch_size(facts, recipe):
    """Twice as many steps of half as many crops find more in the same time."""
    size = max(2, round(BATCH * (CROP / recipe.crop_size) ** 2))
    size = min(size, 4 * BATCH)
    return size, f"about as many pixels as {BATCH} crops of {CROP}"


def _positive_share(facts, recipe):
    """Where objects are rare, half of a batch on objects taught too little."""
    share = RARE_SHARE if facts.foreground < RARE else 0.5
    return share, f"objects cover {100 * facts.foreground:.2g} % of the pixels of their images"


def _scene(facts, recipe):
    """Scenes have an up and a down if objects are mostly taller (or wider), or skies brighter.

    Crops of upright scenes that stand on their heads cost half of what is found; crops of others
    that never do cost little. So upright it is where nothing can be told.
    """
    ratio = math.exp(facts.tilt)
    if abs(facts.tilt) > TILT and abs(facts.tilt) > SURE * facts.tilt_error:
        return "upright", f"objects are {ratio:.2f} times as high as wide, on the mean"
    if facts.unevenness > UNEVEN:
        text = "upper and lower halves differ {:.1f} times as much in brightness as left and right"
        return "upright", text.format(facts.unevenness)
    if len(facts.sides) < FEW_OBJECTS or facts.images < FEW_IMAGES:
        return "upright", f"{len(facts.sides)} objects in {facts.images} images are too few to tell"
    return "any", f"objects are as often high as wide ({ratio:.2f}), light comes from all sides"


def _size_balance(facts, recipe):
    """Beside large objects, pixels of small ones count more: else they are the last to be learnt.

    Where all objects are small it only has objects count more than background, and cost some.
    """
    small, large = float((facts.sides < SMALL).mean()), float((facts.sides >= LARGE).mean())
    balance = BALANCE if min(small, large) >= SOME else 0.0
    text = "{:.0f} % of the objects are less than {} pixels long, {:.0f} % {} and more"
    return balance, text.format(100 * small, SMALL, 100 * large, LARGE)


def _include_absent(facts, recipe):
    """Of seven classes a crop holds two: the other five taught the network to find nothing."""
    return False, "classes that a crop lacks would outweigh those that it has, if there are several"


def _length(facts, recipe):
    """Epochs and steps an epoch, and the reason."""
    per_epoch = recipe.steps_per_epoch or STEPS_PER_EPOCH
    schedule = recipe.schedule or ("plateau" if recipe.open_ended else "cosine")
    recipe = dataclasses.replace(recipe, steps_per_epoch=per_epoch, schedule=schedule)
    if recipe.epochs is not None:
        return recipe, f"as asked for, of {per_epoch} steps each"
    if recipe.minutes is not None:
        return recipe, "as many as the minutes allow"
    steps, reason = recipe.steps, "as many as the steps asked for"
    if steps is None:
        steps, reason = USUAL_STEPS, "a usual length; `minutes` or `steps` give others"
        if schedule == "plateau":
            steps = MOST_STEPS
            reason = "at most: until the validation score stops improving"
    return _with_steps(recipe, steps), reason


def _jitter(facts, recipe):
    """Images that are seen often are learnt by heart, unless they look different each time."""
    steps = recipe.total_steps if recipe.epochs else STEPS_PER_MINUTE * recipe.minutes
    seen = steps * recipe.batch_size * recipe.crop_size**2 / max(facts.pixels, 1)
    about = "at most " if recipe.schedule == "plateau" else "" if recipe.epochs else "about "
    return seen >= OFTEN, f"training goes {about}{seen:.0f} times over the pixels of its images"


def _with_steps(recipe, steps, at_most=False):
    """The recipe with epochs of about its length, which make (nearly, or `at_most`) `steps`.

    An epoch keeps the number of steps that was asked for, unless there are too few for all stages.
    """
    per_epoch, least = recipe.steps_per_epoch, recipe.freeze_epochs + 1
    kept = per_epoch != STEPS_PER_EPOCH and steps >= least * per_epoch
    epochs = max(least, steps // per_epoch if kept and at_most else round(steps / per_epoch))
    if not kept:
        per_epoch = max(1, round(steps / epochs))
    return dataclasses.replace(
        recipe, minutes=None, steps=None, steps_per_epoch=per_epoch, epochs=epochs
    )


def _multiple(length):
    return math.ceil(length / STRIDE) * STRIDE
