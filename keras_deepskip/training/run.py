"""`Run`: what `train` returns and leaves in a folder, and all that repeats it."""

import csv
import dataclasses
import functools
import math
import os
from pathlib import Path

import keras

from keras_deepskip import _files
from keras_deepskip.data import MaskReading, Sample, Split, load_split
from keras_deepskip.data.folder import file_digest
from keras_deepskip.data.stores import is_address
from keras_deepskip.models import load_model
from keras_deepskip.operating_point import OperatingPoint, operating_point_of
from keras_deepskip.training.planning import Plan, completed
from keras_deepskip.training.recipe import Recipe
from keras_deepskip.training.repeating import command_of

# The files of a run's folder. CONFIG makes a folder a run; it is written before the first step.
CONFIG = "config.json"  # arguments, what the data are, versions
SPLIT = "split.json"  # which image is in which part
IMAGES = "images.json"  # digests of the images' files, by part and name; and of the masks'
MASKS = "masks"  # the key of these
AUDIT = "audit.json"  # the report on the data
MODEL = "model.keras"  # the best model
HISTORY = "history.csv"  # one row per epoch
# What an exact resume needs. (TensorBoard takes a `checkpoint` in a folder of logs for a file.)
CHECKPOINT = "training_state"
OLD_CHECKPOINT = "checkpoint"  # its name before
LOGS = "logs"  # for TensorBoard
PLAN = "plan.json"  # the recipe without gaps, and the reasons of its choices
POINT = "operating_point.json"  # the operating point, and the curve that it was chosen from


@dataclasses.dataclass(frozen=True)
class Run:
    """A training run: its model, and how it was made.

    Attributes:
        folder: the run's folder.
        data: the folder of images and masks, or its address on a store; where a folder is gone, the
            one that lies in the same place relative to the run, if it holds the run's images.
        group_by: regular expression by which the split kept images together, or None.
        recipe: the `Recipe`, without gaps.
        masks: the `MaskReading`, its number of classes filled in.
        channels: of the images that the model takes.
        input_range: (low, high) of the images' values.
        class_names: dict from class id to name, or None if the data do not name their classes.
        history: a dict for each row of `history.csv`; a value that is not finite is None.
        versions: of the package, Python, Keras and the backend that made it.

    Example:

    ```python
    run = Run.load("runs/first")
    evaluation = keras_deepskip.evaluate(run)
    ```
    """

    folder: Path
    data: Path | str
    group_by: str | None
    recipe: Recipe
    masks: MaskReading
    channels: int
    input_range: tuple[float, float]
    class_names: dict[int, str] | None
    history: list[dict]
    versions: dict[str, str]

    @classmethod
    def load(cls, folder: str | os.PathLike, data: str | os.PathLike | None = None) -> "Run":
        """Reads a run from its folder.

        Args:
            folder: the run's folder, `out` of `train`.
            data: the folder of images and masks or its address, if they have moved since.

        Raises:
            FileNotFoundError: if the folder holds no run.
            ValueError: if a file of the run is damaged.

        Example:

        ```python
        run = Run.load("runs/first", data="/mnt/cells")
        ```
        """
        folder = Path(folder)
        config = read_config(folder)
        facts = config["facts"]
        names = facts.get("class_names")
        return cls(
            folder=folder,
            data=_data_folder(folder, config) if data is None else _folder_or_address(data),
            group_by=config["data"].get("group_by"),
            recipe=read_plan(folder, config).recipe,
            masks=masks_of(config),
            channels=facts["channels"],
            input_range=tuple(facts["input_range"]),
            class_names=names and {int(label): name for label, name in names.items()},
            history=read_history(folder / HISTORY),
            versions=config["versions"],
        )

    @functools.cached_property
    def model(self) -> keras.Model:
        """The best model, loaded when it is first asked for.

        Raises:
            FileNotFoundError: if no epoch was finished.
        """
        path = self.folder / MODEL
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: expected the best model of a run here. Received: no such file; the run "
                "has no whole epoch yet. Resume it: train(..., resume=True), or --resume"
            )
        return load_model(path)

    @functools.cached_property
    def plan(self) -> Plan:
        """The `Plan`: the recipe, and why it is so; of older runs without reasons."""
        return read_plan(self.folder, read_config(self.folder))

    @functools.cached_property
    def operating_point(self) -> OperatingPoint:
        """The `OperatingPoint` chosen on the validation images; of older runs 0.5 and any area.

        Of a run that is resumed it is that of the best model so far, if that holds one.
        """
        if self._choice:
            return self._choice["point"]
        known = (self.folder / MODEL).is_file()
        return operating_point_of(self.model) if known else OperatingPoint()

    @property
    def operating_curve(self) -> list[dict]:
        """What it was chosen from: see `OperatingChoice.curve`; of older runs an empty list."""
        return self._choice.get("curve", [])

    @property
    def operating_basis(self) -> dict:
        """On how many `images` and `objects` it was chosen; of older runs an empty dict."""
        return {name: self._choice[name] for name in ("images", "objects") if name in self._choice}

    @property
    def command(self) -> str | None:
        """The command line that trains such a run again; None if the model was the user's own."""
        return command_of(read_config(self.folder), self.data, self.folder, self.folder / SPLIT)

    @property
    def audit(self) -> dict:
        """What the audit found before the training: see `AuditReport.to_dict`."""
        path = self.folder / AUDIT
        return _files.read_json(path, "the audit of the data") if path.is_file() else {}

    @functools.cached_property
    def _choice(self):
        path = self.folder / POINT
        if not path.is_file():
            return {}
        return _files.read_json(
            path,
            "an operating point",
            lambda found: {**found, "point": OperatingPoint(**found["point"])},
        )

    @functools.cached_property
    def split(self) -> Split:
        """The `Split` of the images, read when it is first asked for.

        Raises:
            FileNotFoundError: if the folder of the data is not there.
            ValueError: if an image of the split is missing.
        """
        if isinstance(self.data, Path) and not self.data.is_dir():
            raise FileNotFoundError(
                f"{self.data}: expected the images and masks of the run {self.folder} here. "
                "Received: no such folder. If they have moved, say where they are: "
                "Run.load(folder, data=...), or --data"
            )
        return load_split(self.data, self.folder / SPLIT, group_by=self.group_by)

    def judged(self, samples: list[Sample], part: str | None = None) -> tuple[list[Sample], str]:
        """Chooses from the images of any folder those that the run may be evaluated on.

        Images are known by what their files hold, wherever they are. Of those that the run knows,
        the ones of a part are taken; of the others all, unless a part is asked for.

        Args:
            samples: list of `Sample`.
            part: `"train"`, `"val"` or `"test"`; None is `"test"` and all images that the run has
                not seen.

        Returns:
            `(chosen, text)`: the list of `Sample`, and what was chosen, for people.

        Raises:
            ValueError: if none is left.

        Example:

        ```python
        chosen, text = run.judged(find_samples("cells"))
        ```
        """
        where = [self.part_of(sample) for sample in samples]
        wanted = (part,) if part else ("test", None)
        chosen = [sample for sample, own in zip(samples, where, strict=True) if own in wanted]
        known = sum(own == (part or "test") for own in where)
        text = f"{known} of {len(samples)} images, the {part or 'test'} part of the run's split"
        if not part and len(chosen) > known:
            text = f"{len(chosen) - known} of {len(samples)} images, which the run has not seen"
            text += f", and {known} of its test part" if known else ""
        if len(chosen) < len(samples):
            text += f"; the others were left out (the split of {self.folder}; --split all)"
        if not chosen:
            raise ValueError(
                f"images of the {part or 'test'} part of the run {self.folder}, or such as it has "
                f"not seen, were expected. Received: {len(samples)} of its other parts. Give other "
                "images, or ask for all: --split all"
            )
        return chosen, text

    @functools.cached_property
    def _parts(self):
        """The part of each image by the digest of its file; of older runs there are none."""
        found, _ = read_digests(self.folder)
        return {of: part for part in reversed(found) for of in found[part].values()}

    @property
    def knows_images(self) -> bool:
        """Whether the run's folder says what its images hold, so that `part_of` can tell."""
        return bool(self._parts)

    def part_of(self, sample: Sample) -> str | None:
        """The part of the split that an image is of, by what its file holds; None if of none."""
        return self._parts.get(file_digest(sample.image)) if self.knows_images else None

    @property
    def best_epoch(self) -> int | None:
        """Number of the epoch that `model` is of, from 1 on; None if no epoch was finished."""
        return best_epoch_of(self.history)


def _data_folder(folder, config):
    """Where a run's images are: where they were, else in the same place relative to the run."""
    before, moved = _folder_or_address(config["folder"]), config.get("relative")
    if isinstance(before, str) or before.is_dir() or not moved or not (folder / moved).is_dir():
        return before
    after = (folder / moved).resolve()
    try:
        load_split(after, folder / SPLIT, group_by=config["data"].get("group_by"))
    except (OSError, ValueError):
        return before  # another folder
    return after


def _folder_or_address(data):
    return data if is_address(data) else Path(data)


def read_config(folder):
    """Returns what the `config.json` of a run's folder holds.

    Raises:
        FileNotFoundError: if the folder holds no run.
        ValueError: if the file is damaged.
    """
    path = Path(folder) / CONFIG
    config = _files.read_json(path, "the arguments of a training run")
    missing = {"folder", "recipe", "data", "facts", "versions"} - set(config)
    if missing:
        raise ValueError(
            f"{path}: expected the arguments of a training run. Received: a file without "
            f"{', '.join(sorted(missing))}. Train anew"
        )
    return config


def read_plan(folder, config):
    """The `Plan` of a run; of one that is older than plans its recipe alone."""
    path = Path(folder) / PLAN
    if not path.is_file():
        return Plan(completed(Recipe(**config["recipe"])), {})
    return _files.read_json(path, "the plan of a training run", Plan.from_dict)


def read_digests(folder):
    """The digests of what a run was begun with: `(images, masks)`; of older runs none.

    Of the images by part and name, of the masks (to train and to validate on) by name.
    """
    path = Path(folder) / IMAGES
    found = _files.read_json(path, "digests of images", dict) if path.is_file() else {}
    masks = found.pop(MASKS, {})
    return found, masks


def masks_of(config):
    """The `MaskReading` of a run's `config.json`, its kind and number of classes filled in."""
    reading = MaskReading.from_dict(config["facts"].get("masks") or config["data"])
    return dataclasses.replace(reading, num_classes=config["facts"]["num_classes"])


def read_history(path):
    """Returns the rows of a `history.csv`; none if there is no such file."""
    path = Path(path)
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        try:
            return [
                {name: _number(name, text) for name, text in row.items()}
                for row in csv.DictReader(file)
            ]
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{path}: expected the figures of each epoch. Received: {error}. Train anew"
            ) from error


def monitored(rows):
    """The figure by which the epochs of a run are compared; older runs have no `val_score`."""
    return "val_score" if not rows or "val_score" in rows[0] else "val_iou"


def best_epoch_of(history):
    """The epoch with the highest score; of equals that with the lower loss, then the first."""
    monitor = monitored(history)
    best = max(history, key=lambda row: order(row.get(monitor), row.get("val_loss")), default=None)
    return None if best is None else best["epoch"]


def order(value, loss):
    """A key by which epochs are ordered; None, a value that is not finite, is the worst."""
    return (
        -math.inf if value is None else value,
        -math.inf if loss is None else -loss,
    )


def _number(name, text):
    if not text:
        return None
    return int(text) if name == "epoch" else float(text)
