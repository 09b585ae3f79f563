"""Cross-validation: each image is judged by a network that was not trained on it."""

import dataclasses
import math
import os
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras

from keras_deepskip import _checks, _files
from keras_deepskip._tables import markdown_table
from keras_deepskip.data import MaskReading, Survey, fold_splits, write_split
from keras_deepskip.data.split import split_to_json
from keras_deepskip.inference import Evaluation, evaluate
from keras_deepskip.models import mean_model
from keras_deepskip.operating_point import OperatingPoint, store_operating_point
from keras_deepskip.training.fitting import train
from keras_deepskip.training.processes import started_processes
from keras_deepskip.training.recipe import Recipe
from keras_deepskip.training.repeating import command_of
from keras_deepskip.training.run import CONFIG, MODEL, Run, read_config

FOLDS = "folds.json"  # the figures of each fold, their mean and spread


@dataclasses.dataclass(frozen=True)
class CrossValidation:
    """The runs of a cross-validation, and how well each does on the images held back from it.

    Attributes:
        folder: where the runs are: `fold-1`, `fold-2`, ...
        runs: list of `Run`.
        figures: for each run a dict of `images`, `iou`, `object_recall`, `object_precision` and
            `object_f1`; None where there is nothing to count.
    """

    folder: Path
    runs: list[Run]
    figures: list[dict]

    @classmethod
    def load(cls, folder: str | os.PathLike) -> "CrossValidation":
        """Reads what `cross_validate` has written.

        Args:
            folder: its `out`.

        Raises:
            FileNotFoundError: if there is no `folds.json` in it, or a run is not whole.
            ValueError: if a file is damaged.

        Example:

        ```python
        print(CrossValidation.load("runs/cells").text())
        ```
        """
        folder = Path(folder)
        what = "the figures of a cross-validation"
        figures = _files.read_json(folder / FOLDS, what, lambda found: found["folds"])
        runs = [Run.load(folder / f"fold-{number}") for number in range(1, len(figures) + 1)]
        return cls(folder, runs, figures)

    @property
    def command(self) -> str | None:
        """The command line that repeats it; None if the model was the user's own."""
        config = read_config(self.runs[0].folder)
        recipe, count = config["recipe"], len(self.runs)
        if recipe.get("minutes") is not None:  # those of all folds together
            recipe = {**recipe, "minutes": recipe["minutes"] * count}
        config = {**config, "recipe": recipe, "data": {**config["data"], "split_file": None}}
        command = command_of(config, self.runs[0].data, self.folder, None)
        joined = " --ensemble" if (self.folder / MODEL).is_file() else ""
        return command and f"{command} --folds {count}{joined}"

    def summary(self) -> dict[str, dict[str, float | None]]:
        """Mean and standard deviation (None of one fold) over the folds, of each figure."""
        found = {}
        for name in self.figures[0]:
            values = [row[name] for row in self.figures if row[name] is not None]
            if name != "images" and values:
                spread = statistics.stdev(values) if len(values) > 1 else None
                found[name] = {"mean": statistics.mean(values), "standard_deviation": spread}
        return found

    def text(self) -> str:
        """A table: a row for each fold, then mean and standard deviation."""
        return markdown_table(*self.table())

    def table(self) -> tuple[list[str], list[list]]:
        """The headings and the rows of that table."""
        names = list(self.figures[0])
        rows = [
            [number, *(_shown(row[name]) for name in names)]
            for number, row in enumerate(self.figures, start=1)
        ]
        summary = self.summary()
        rows.append(["mean ± standard deviation", "", *(_spread(summary, n) for n in names[1:])])
        return ["fold", *names], rows


def cross_validate(
    data: str | os.PathLike | Survey,
    out: str | os.PathLike,
    recipe: Recipe | None = None,
    *,
    folds: int = 5,
    ensemble: bool = False,
    masks: MaskReading | None = None,
    group_by: str | None = None,
    resume: bool | str = False,
    callbacks: Callable[[], Sequence[keras.callbacks.Callback]] | None = None,
    judge: Callable[[Run], Evaluation] | None = None,
    verbose: int | str = "auto",
    **arguments: Any,
) -> CrossValidation:
    """Trains a network for each of several folds, and judges each on the images held back from it.

    For sets of few images (under about 60): a single test part of ten images says little. Each
    image is a test image once. Images of a group stay together.

    Args:
        data: a folder with `images/` and `masks/`, its address, or a `Survey` of it.
        out: receives `fold-1`, `fold-2`, ..., each the folder of a run with its `evaluation.json`;
            the splits; and `folds.json`.
        recipe: a `Recipe`; None is `Recipe()`. `minutes` are those of all folds together.
        folds: how many, at least 2.
        ensemble: whether `model.keras` is written in `out` too: a network that gives the mean of
            the folds' probabilities, at the cost of all of them. Its operating point is the mean of
            theirs; it tells objects apart if most of them do. It has seen all images: the figures
            are those of the folds, not its own.
        masks: a `MaskReading`, as in `train`.
        group_by: regular expression; images whose names agree in its first group stay together.
        resume: continues what was begun in `out`; the arguments must be those it was begun with.
            Here `"auto"` is the same as True.
        callbacks: None, or a function that returns Keras callbacks for a fold.
        judge: None, or a function that evaluates the run of a fold in place of
            `evaluate(run, out=run.folder)`, such as one that writes a report too.
        verbose: as in `Model.fit`.
        **arguments: of `train`, such as `channels` and options of the model. Each fold of a `model`
            of your own begins with the weights that it has now.

    Returns:
        A `CrossValidation`.

    Raises:
        ValueError: if there are fewer groups of images than folds, if the folder says its own split
            (`train/`, `val/`), if `out` holds folds of other splits, in several processes, and as
            `train`.

    Example:

    ```python
    found = cross_validate("cells", "runs/cells", Recipe(minutes=25), folds=5)
    print(found.text())
    ```
    """
    out, recipe = _files.check_folder(out), recipe or Recipe()
    _checks.check_integer("folds", folds, minimum=2)
    if started_processes().count > 1:
        raise ValueError(
            "folds are trained one after the other, by one process. Received: "
            f"{started_processes().count} processes. Train each fold by itself: "
            "train(split_file=...)"
        )
    if recipe.minutes is not None:
        recipe = dataclasses.replace(recipe, minutes=recipe.minutes / folds)
    survey = data
    if not isinstance(data, Survey):
        survey = Survey.of(data, masks, group_by, verbose)
    model = arguments.get("model")
    weights = None if model is None else model.get_weights()
    runs, figures = [], []
    for number, split in enumerate(fold_splits(survey, folds, recipe.seed, group_by), start=1):
        folder = out / f"fold-{number}"
        split_file = _dealt(out, number, split)
        begun = resume and (folder / CONFIG).is_file()  # its folder has its split
        if model is not None:  # what one fold has learnt must not be in the next
            model.set_weights(weights)
        run = train(
            survey, folder, recipe, masks=masks, split_file=None if begun else split_file,
            group_by=group_by,
            resume="auto" if resume else False,
            callbacks=callbacks() if callbacks else (), verbose=verbose, **arguments,
        )  # fmt: skip
        runs.append(run)
        found = judge(run) if judge else evaluate(run, out=folder, verbose=verbose)
        figures.append(_figures(found))
    whole = CrossValidation(out, runs, figures)
    _files.write_json(out / FOLDS, {"folds": figures, "summary": whole.summary()})
    if ensemble:
        _write_ensemble(whole)
    return whole


def _dealt(out, number, split):
    """Writes the split of a fold, or finds it as it was written.

    Raises:
        ValueError: if a fold was begun with another one.
    """
    path = out / f"split-{number}.json"
    if path.is_file() and any(out.glob(f"fold-*/{CONFIG}")):
        if _files.read_json(path, "the split of a fold") != split_to_json(split):
            raise ValueError(
                f"{path}: the split of fold {number} was expected to be as it was begun: the same "
                "images, number of folds, seed and groups. Received: others. Give those, or "
                "choose another folder"
            )
    else:
        write_split(path, split)
    return path


def _figures(evaluation):
    objects = evaluation.objects["all"]
    named = {f"object_{name}": objects[name] for name in ("recall", "precision", "f1")}
    figures = {"images": evaluation.images, "iou": evaluation.pixels["IoU"], **named}
    known = {name: value is not None and math.isfinite(value) for name, value in figures.items()}
    return {name: value if known[name] else None for name, value in figures.items()}


def _write_ensemble(found):
    """Writes the network of the mean, with the mean of the operating points."""
    model = mean_model([run.model for run in found.runs])
    points = [run.operating_point for run in found.runs]
    store_operating_point(model, _mean_point(points))
    with _files.replacing(found.folder / MODEL) as temporary:
        model.save(temporary, overwrite=True)


def _mean_point(points):
    threshold = statistics.mean(point.threshold for point in points)
    separate = 2 * sum(point.separate for point in points) > len(points)
    areas = [point.min_area for point in points]
    longest = max((len(area) for area in areas if isinstance(area, tuple)), default=0)
    if not longest:
        return OperatingPoint(threshold, round(statistics.mean(areas)), separate)
    rows = [area if isinstance(area, tuple) else (area,) * longest for area in areas]
    means = tuple(round(statistics.mean(column)) for column in zip(*rows, strict=True))
    return OperatingPoint(threshold, means, separate)


def _shown(value):
    if value is None:
        return "-"
    return value if isinstance(value, int) else f"{value:.3f}"


def _spread(summary, name):
    if name not in summary:
        return "-"
    mean, spread = summary[name].values()
    return f"{mean:.3f}" + ("" if spread is None else f" ± {spread:.3f}")
