"""`train`: from a folder of images and masks to a trained model and all that repeats the run."""

import dataclasses
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from keras_deepskip import _files
from keras_deepskip._progress import resolve_verbose
from keras_deepskip._versions import versions
from keras_deepskip.architectures import adapter_of
from keras_deepskip.data import MaskReading, Survey
from keras_deepskip.data.split import FRACTIONS
from keras_deepskip.data.stores import is_address
from keras_deepskip.inference.choosing import choose_operating_point
from keras_deepskip.layers.image_normalization import image_normalization_of
from keras_deepskip.models import load_model
from keras_deepskip.operating_point import store_operating_point
from keras_deepskip.training.callbacks import Checkpoint, seed_generators
from keras_deepskip.training.compiling import build, check_own_outputs, enter_stage
from keras_deepskip.training.devices import check_shares, on_devices, validation_shares
from keras_deepskip.training.event_file import EventFile, listed
from keras_deepskip.training.length import KeepMinutes, new_budget, with_budget
from keras_deepskip.training.material import Material
from keras_deepskip.training.processes import joined_processes
from keras_deepskip.training.recipe import Recipe
from keras_deepskip.training.request import Request, begun_config, with_recipe
from keras_deepskip.training.run import CONFIG, LOGS, MODEL, PLAN, POINT, Run, read_plan
from keras_deepskip.training.speed import seconds_per_step
from keras_deepskip.training.stages import Fit

KEPT = 0.93  # share of a budget of minutes that steps may take; the rest is for what varies
ENDING = 5  # seconds after the last epoch, for each of a validation of as many pixels


def train(
    data: str | os.PathLike | Survey,
    out: str | os.PathLike,
    recipe: Recipe | None = None,
    *,
    model: keras.Model | None = None,
    masks: MaskReading | None = None,
    channels: int | None = None,
    input_range: tuple[float, float] | None = None,
    split_file: str | os.PathLike | None = None,
    fractions: Sequence[float] = FRACTIONS,
    group_by: str | None = None,
    resume: bool | str = False,
    devices: int | str = 1,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: int | str = "auto",
    **model_options: Any,
) -> Run:
    """Trains a network on a folder of images and masks.

    Audits the folder, splits it by images, takes the normalization from the training images,
    builds and compiles the model, and fits it with checkpoints and TensorBoard logs.

    After an interrupt, or a kill at any moment, the same call with `resume=True` continues after
    the last whole epoch (from the start, if there is none); of a run that is complete it returns
    what the run has left. A resumed run gives the weights of an uninterrupted one: crops and their
    augmentation are functions of the seed, the epoch and the step, every epoch seeds all
    generators anew (dropout's too), and the checkpoint holds the optimizer's state. This holds on
    one backend and machine, as far as these add numbers in the same order (CPUs do), and without
    `callbacks` that keep a state of their own.

    Args:
        data: a folder with `images/` and `masks/` (or `annotations.json`), or with `train/`,
            `val/` and `test/` of that form, or a folder of YOLO; or its address on a store, such as
            `s3://bucket/cells`. Also a `Survey` of it. (`data.stores` is about addresses.)
        out: the run's folder. Receives `model.keras` (the best model), `plan.json` (the recipe
            without gaps, with reasons), `operating_point.json`, `history.csv`, `config.json`
            (arguments and versions), `split.json`, `images.json` (digests of the images),
            `audit.json`, `training_state/` and `logs/` for TensorBoard.
        recipe: a `Recipe`; None is `Recipe()`.
        model: a built `keras.Model` of your own with one input (N, H, W, C) and probabilities
            (N, H, W, K) as output; it is compiled anew. None builds one. To resume, give it again.
        masks: a `MaskReading`: number of classes, colours, ignored pixels; None takes class ids as
            the masks hold them.
        channels: channels of the images; None takes the most that any image has (1 or 3, mostly).
        input_range: (low, high) of the images' values; None takes that of their number type.
        split_file: JSON or CSV file that says which image is in which part (see `load_split`); None
            takes a split by the seed.
        fractions: shares of train, validation and test images of a seeded split.
        group_by: regular expression; images whose names agree in its first group stay together.
        resume: whether to continue the run in `out` after its last whole epoch, up to another
            budget if one is given; `"auto"` also begins a run where there is none, for jobs that
            are stopped and started again. Arguments that are left at their default are those that
            the run was begun with, and `data` may have moved. Another budget (`minutes`, `steps` or
            `epochs` of the recipe, in all) makes the run longer or shorter; a complete run resumes
            with a learning rate that rises once more.
        devices: how many devices of this machine share each batch, or `"all"`. See `on_devices`.
            Processes that were started together share it anyway (docs/distributed.md).
            A run may be resumed with other ones.
        callbacks: Keras callbacks beside the recipe's own.
        verbose: as in `Model.fit`; `"auto"` shows a bar on a terminal, else one line per epoch.
        **model_options: for `build_model`: `backbone`, `weights`, `skips`, `levels`, ... With
            `weights`, images are normalized as these require, not by their own statistics.

    Returns:
        A `Run`.

    Raises:
        ValueError: if the audit finds errors in the data, if `out` already holds a run and `resume`
            is false, if `resume` is true and arguments differ, or the new budget is spent, if
            `model` does not fit, or if there are fewer devices, or the batch is no multiple of
            them.
        TrainingDiverged: if the loss is no longer finite; the last good weights are kept.
        OSError: if a file cannot be written; what was there is unchanged.

    Example:

    ```python
    run = train("cells", "runs/first", Recipe(epochs=5))
    run.model.predict(images)
    ```
    """
    begun = time.perf_counter()
    out, verbose = _files.check_folder(out), resolve_verbose(verbose)
    folder = data.source if isinstance(data, Survey) else data
    split = {"split_file": split_file, "fractions": fractions, "group_by": group_by}
    request = Request(
        recipe or Recipe(), masks or MaskReading(), channels, input_range, split, model,
        model_options,
    )  # fmt: skip
    with joined_processes() as processes, processes.folder(out) as own:
        verbose = verbose if processes.first else 0
        processes.check_alike({**request.to_json(), "versions": versions()})
        _files.remove_leftovers(own)  # of a process that was killed here
        config = begun_config(own, request, resume)
        checkpoint = Checkpoint(own, network_of=lambda form: adapter_of(form).network(form))
        budget = {}
        if config:
            budget = new_budget(request.recipe, Recipe(**config["recipe"]))
            config = with_recipe(config, budget)
            request = request.of_run(config)
        with on_devices(devices) as count:
            _check_layout(request.model, count)
            shares = validation_shares(count)
            last = checkpoint.restore() if config else None
            if config:
                material = Material.recorded(folder, own, config).for_shares(shares)
            else:
                material = Material.surveyed(data, request, verbose).for_shares(shares)
            plan = read_plan(own, config) if config else material.plan(request.recipe)
            if budget:
                plan = with_budget(plan, budget, checkpoint.state["rows"])
            check_shares(plan.recipe.batch_size, count)
            model = _model_to_fit(request, plan.recipe, material, last)
            if last:
                checkpoint.keep_best(model)
            if plan.recipe.minutes is not None:
                plan = _measured(plan, model, request, material, begun, shares, processes)
            datasets = material.datasets(
                plan.recipe, _takes_one_size(request.model), shares, adapter_of(model).of_objects
            )
            if request.model is not None:
                check_own_outputs(model, datasets[1][0][0])
            if not config:
                _begin(own, folder, out, request, plan, material)
            elif budget:
                _change_length(own, config, plan)
            ending = ENDING * material.validation_share(datasets[1])
            minutes = _minutes(request.recipe, checkpoint, begun, ending, processes)
            fit = Fit(
                model, datasets, material, request.model_options, checkpoint, processes, minutes,
                callbacks, verbose,
            )  # fmt: skip
            plan = fit.through(plan, lambda plan: _files.write_json(own / PLAN, plan.to_dict()))
        if processes.first:
            _decide(own, plan.recipe, material)
    run = Run.load(out, folder)
    vars(run)["split"] = material.split  # it is known, and not read again
    return run


def _check_layout(model, devices):
    """Raises a ValueError if a user's model cannot be on the devices: it was made without them."""
    if model is not None and devices > 1 and keras.backend.backend() != "torch":
        raise ValueError(
            "`devices` is for models that `train` builds, as variables are laid out when they are "
            f"made. Received: a model, for {devices} devices. Build it inside "
            "`training.on_devices(...)`, and call `train` there without `devices`"
        )


def _model_to_fit(request, recipe, material, last):
    """The model as it was after the last whole epoch; else a new one, in the form for `fit`."""
    seed_generators(recipe.seed)
    if last:
        return load_model(last)
    network = request.model or build(recipe, material.facts, request.model_options)
    if image_normalization_of(network) is not None:  # its file says what its classes are
        image_normalization_of(network).class_names = material.facts.get("class_names")
    return adapter_of(network).training_form(network)


def _measured(plan, model, request, material, begun, shares, processes):
    """The plan with as many epochs as the minutes allow, by steps that are timed here."""
    epochs = plan.recipe.freeze_epochs + 1
    recipe = dataclasses.replace(plan.recipe, minutes=None, epochs=epochs)
    masks, adapter = material.masks, adapter_of(model)
    crops, windows = (
        adapter.dataset(part, masks.ignore_class)
        for part in material.datasets(
            recipe, _takes_one_size(request.model), shares, adapter.of_objects
        )
    )
    enter_stage(model, recipe.stages[-1], recipe, request.model_options, masks)
    step, compiling = seconds_per_step(
        model, processes.share(crops), windows, recipe.steps_per_epoch, processes.sharing
    )
    compiling *= len(recipe.stages)  # each is compiled
    budget = 60 * plan.recipe.minutes * KEPT - (time.perf_counter() - begun) - compiling
    seed_generators(recipe.seed)
    return processes.same(plan.measured(step, budget))


def _takes_one_size(model):
    """Whether a user's model takes images of one size alone."""
    return model is not None and model.input_shape[1:3] != (None, None)


def _begin(own, folder, out, request, plan, material):
    """Has the run's folder say how to repeat it, before the first step."""
    material.write(own)
    _files.write_json(own / PLAN, plan.to_dict())
    if is_address(folder):
        source = {"folder": folder, "relative": None}
    else:
        absolute = Path(folder).resolve()
        source = {"folder": str(absolute), "relative": os.path.relpath(absolute, out.resolve())}
    made = {"facts": material.facts, "versions": versions()}
    _files.write_json(own / CONFIG, {**source, **request.to_json(), **made})  # makes it a run


def _change_length(own, config, plan):
    """Has the run's folder say that the run has another length; its operating point is open."""
    (own / POINT).unlink(missing_ok=True)
    _files.write_json(own / PLAN, plan.to_dict())
    _files.write_json(own / CONFIG, config)  # last: until then the length is asked for anew


def _minutes(recipe, checkpoint, begun, ending, processes):
    """Sees to it that a budget of minutes is kept; None without one."""
    if recipe.minutes is None:
        return None
    before = [row["seconds"] for row in checkpoint.state["rows"]]
    start = time.perf_counter() - begun
    return KeepMinutes(recipe.minutes, start, ending, before, processes.same)


def _decide(out, recipe, material):
    """Chooses the operating point of the best model, whose file then holds it."""
    if (out / POINT).is_file():
        return
    model = load_model(out / MODEL)
    split, masks = material.split, material.masks
    choice = choose_operating_point(model, split.val, masks, recipe.prefer, split.train)
    if store_operating_point(model, choice.point):
        with _files.replacing(out / MODEL) as temporary:
            model.save(temporary, overwrite=True)
    _log_choice(out / LOGS / "operating_point", choice, material.class_names)
    _files.write_json(out / POINT, choice.to_dict())


def _log_choice(folder, choice, class_names):
    """Has TensorBoard show what the operating point was chosen from: steps are thresholds in %."""
    events = EventFile(folder, first_step=0)
    several = len({row["class"] for row in choice.curve}) > 1
    for row in choice.curve:
        own = (class_names or {}).get(row["class"], f"class_{row['class']}")
        for name in ("recall", "precision", "f1", "iou"):
            tag = f"by_threshold/{name}" + (f"/{own}" if several else "")
            events.add_scalar(tag, row[name], round(100 * row["threshold"]))
    events.add_text("operating_point", listed(choice.point.to_dict()), 0)
    events.close()
