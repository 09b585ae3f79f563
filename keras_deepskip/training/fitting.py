"""`train`: from a folder of images and masks to a trained model and all that repeats the run."""

import contextlib
import dataclasses
import json
from pathlib import Path

import keras
import numpy as np

from keras_deepskip import _checks, _files
from keras_deepskip._versions import versions
from keras_deepskip.architectures import adapter_of, find_architecture
from keras_deepskip.data import (
    Augmentation,
    CropDataset,
    FollowEpoch,
    WindowDataset,
    audit,
    channel_statistics,
    load_split,
    value_range,
    write_split,
)
from keras_deepskip.drawing import to_rgb
from keras_deepskip.encoders import LIGHT_LEVELS, set_trainable_backbone
from keras_deepskip.layers import DeepSupervision
from keras_deepskip.losses import DeepSupervisionLoss, SmallObjectLoss
from keras_deepskip.metrics import (
    F1,
    FinestLevel,
    IoU,
    ObjectMetricsCallback,
    Precision,
    Recall,
)
from keras_deepskip.models import build_model, image_model_shapes, load_model
from keras_deepskip.training.callbacks import (
    Checkpoint,
    SeedEpochs,
    StopOnNaN,
    TensorBoardLogger,
    seed_generators,
)
from keras_deepskip.training.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class TrainingRun:
    """What `train` leaves.

    Attributes:
        model: the best model.
        history: a dict for each row of `history.csv`; a figure that is not finite is None.
        best_epoch: number of the epoch that `model` is of, from 1 on.
        folder: the run's folder.
        split: the `Split`.
    """

    model: keras.Model
    history: list
    best_epoch: int
    folder: Path
    split: object


def train(
    data,
    out,
    recipe=None,
    *,
    model=None,
    num_classes=None,
    channels=None,
    input_range=None,
    colors=None,
    ignore_class=None,
    split_file=None,
    fractions=(0.6, 0.15, 0.25),
    group_by=None,
    resume=False,
    callbacks=(),
    verbose="auto",
    **model_options,
):
    """Trains a network on a folder of images and masks.

    Audits the folder, splits it by images, takes the normalization from the training images,
    builds and compiles the model, and fits it with checkpoints and TensorBoard logs.

    After an interrupt, or a kill at any moment, the same call with `resume=True` goes on behind the
    last whole epoch (from the start, if there is none); of a run that is complete it returns what
    the run has left. A resumed run gives the weights of an uninterrupted one: crops and their
    augmentation are functions of the seed, the epoch and the step, every epoch seeds all
    generators anew (dropout's too), and the checkpoint holds the optimizer's state. This holds on
    one backend and machine, as far as these add numbers in the same order (CPUs do), and without
    `callbacks` that keep a state of their own.

    Args:
        data: folder with `images/` and `masks/` (or `annotations.json`), or with `train/`, `val/`
            and `test/` of that form.
        out: the run's folder. Receives `model.keras` (the best model), `history.csv`,
            `config.json` (arguments and versions), `split.json`, `audit.json`, `checkpoint/` and
            `logs/` for TensorBoard.
        recipe: a `Recipe`; None is `Recipe()`.
        model: a built `keras.Model` of your own with one input (N, H, W, C) and probabilities
            (N, H, W, K) as output; it is compiled anew. None builds one. To resume, give it again.
        num_classes: as in `build_model`; None takes what the masks hold.
        channels: of the images; None takes the most that any image has (1 or 3, mostly).
        input_range: (low, high) of the images' values; None takes that of their number type.
        colors: dict from (r, g, b) to class id, for masks that are colour pictures.
        ignore_class: class id of pixels that count nowhere.
        split_file: JSON or CSV that says which image is for what; None splits by the seed.
        fractions: shares of train, validation and test images of a seeded split.
        group_by: regular expression; images whose names agree in its first group stay together.
        resume: goes on with the run in `out`; the arguments must be those it was begun with (save
            `data`, which may have moved).
        callbacks: Keras callbacks beside the recipe's own.
        verbose: as in `Model.fit`.
        **model_options: for `build_model`: `backbone`, `weights`, `skips`, `levels`, ... With
            `weights`, images are normalized as these want it, not by their own statistics.

    Returns:
        A `TrainingRun`.

    Raises:
        ValueError: if the audit finds errors in the data, if `out` already holds a run and `resume`
            is false, if `resume` is true and arguments differ, or if `model` does not fit.
        TrainingDiverged: if the loss is no longer finite; the last good weights are kept.
        OSError: if a file cannot be written; what was there is unchanged.

    Example:

    ```python
    run = train("cells", "runs/first", Recipe(epochs=5))
    run.model.predict(images)
    ```
    """
    recipe, out = recipe or Recipe(), Path(out)
    reading = {"colors": colors, "ignore_class": ignore_class}
    if model is None:
        model_options = _complete_options(model_options)
        _check_freezing(recipe, model_options)
    else:
        num_classes, channels = _check_own_model(
            model, recipe, num_classes, channels, model_options
        )
    arguments = _as_json({
        "recipe": recipe.to_dict(),
        "model": {"own": model is not None, **model_options},
        "data": {
            "num_classes": num_classes, "channels": channels, "input_range": input_range,
            "colors": colors and [[*color, class_id] for color, class_id in colors.items()],
            "ignore_class": ignore_class, "group_by": group_by, "fractions": fractions,
            "split_file": split_file and str(split_file),
        },
    })  # fmt: skip

    # 1. A run to go on with, or room for a new one.
    begun = _begun(out, arguments, resume)
    checkpoint = Checkpoint(
        out, patience=recipe.patience, network_of=lambda model: adapter_of(model).network(model)
    )
    last = checkpoint.restore() if begun else None

    # 2. The data: audited, split and measured. A run that goes on keeps what it had.
    if begun:
        facts, split = begun["facts"], load_split(data, out / "split.json", group_by=group_by)
    else:
        stride = 2 ** ((model_options.get("levels") or LIGHT_LEVELS) - 1)
        how = {"split_file": split_file, "seed": recipe.seed, "group_by": group_by}
        report = audit(data, num_classes, stride, **how, **reading)
        _refuse_errors(data, report)
        split = load_split(data, fractions=fractions, **how)
        _refuse_no_validation(data, split)
        facts = _facts(report, split, channels, input_range)

    # 3. The model: as it was after the last whole epoch, or new and compiled.
    seed_generators(recipe.seed)
    crops, windows = _datasets(split, recipe, facts, reading)
    if last:
        model = load_model(last)
    else:
        model = model or _built(recipe, facts, model_options)
        model = adapter_of(model).training_form(model)
    adapter = adapter_of(model)
    shown = _shown(adapter, windows, facts, ignore_class)
    crops, windows = (adapter.dataset(data, ignore_class) for data in (crops, windows))
    if arguments["model"]["own"]:
        _check_probabilities(model, windows[0][0])

    # 4. The run's folder says how to repeat it, before the first step. config.json makes it a run.
    if not begun:
        write_split(out / "split.json", split)
        _files.write_json(out / "audit.json", report.to_dict())
        source = {"folder": str(Path(data).resolve())}
        config = {**source, **arguments, "facts": facts, "versions": versions()}
        _files.write_json(out / "config.json", config)

    # 5. Fit, from the epoch after the last whole one.
    for stage in recipe.stages:
        done = checkpoint.state["epoch"]
        if done >= stage.end or checkpoint.state["stopped"]:
            continue
        if done == stage.begin:  # else the stage goes on with what the checkpoint holds
            _enter(model, stage, recipe, model_options)
            _compile(model, stage, recipe, facts["num_classes"], ignore_class)
        checkpoint.patience = None if stage.frozen else recipe.patience
        logger = TensorBoardLogger(out / "logs", *shown, epochs=recipe.epochs)
        judge = ObjectMetricsCallback(
            windows, num_classes=facts["num_classes"], ignore_class=ignore_class
        )
        model.fit(
            crops,
            validation_data=windows,
            epochs=stage.end,
            initial_epoch=done,
            shuffle=False,  # batch i of epoch e is a pure function of the seed
            callbacks=[
                SeedEpochs(recipe.seed),
                FollowEpoch(crops),
                StopOnNaN(),
                *adapter.callbacks(),
                judge,
                *callbacks,
                logger,
                checkpoint,  # last: it keeps an epoch when all else about it is done
            ],
            verbose=verbose,
        )

    # 6. What is left: the best model, not the last one.
    return TrainingRun(
        model=load_model(out / "model.keras"),
        history=checkpoint.state["rows"],
        best_epoch=checkpoint.state["best_epoch"],
        folder=out,
        split=split,
    )


# ---- What may be asked for ----------------------------------------------------------------------


def _complete_options(options):
    """The options of the model with the defaults of those left out, all of them known ones."""
    for name in ("multilabel", "activation"):
        if name in options:
            raise ValueError(
                "`train` reads masks of one class id a pixel, for a model of probabilities. "
                f"Received: {name}={options[name]!r}. Leave it out; or call build_model with it, "
                "and `fit` with data of your own"
            )
    name = options.get("architecture", "deepskip")
    defaults = {**find_architecture(name).options, "architecture": name}
    for option in options:
        _checks.check_choice("option", option, defaults)
    complete = {**defaults, **options}
    if complete.get("levels") is not None:
        _checks.check_integer("levels", complete["levels"], minimum=2)
    if not isinstance(complete.get("backbone", ""), str):
        raise ValueError(
            "`backbone` must be a name here, so that the run's config.json can repeat it. "
            "Received: a model. Give train(model=build_model(backbone=...)) instead"
        )
    return complete


def _check_freezing(recipe, options):
    if recipe.freeze_epochs and not options.get("weights"):
        raise ValueError(
            "`freeze_epochs` keeps the weights that a backbone brings; drawn ones are not worth "
            f"keeping. Received: freeze_epochs={recipe.freeze_epochs} without `weights`. Give "
            "`weights`, or leave it out"
        )


def _check_own_model(model, recipe, num_classes, channels, options):
    """Returns the classes and channels of a user's model, after seeing that it can be trained."""
    if options:
        raise ValueError(
            "with a `model` of your own there is none to build. Received also: "
            f"{', '.join(options)}. Leave them out"
        )
    shapes = image_model_shapes(model)
    fixed = {size for size in shapes[0][1:3] if size is not None}
    if fixed - {recipe.crop_size}:
        raise ValueError(
            "`model` must take crops of the recipe's size. Received: a model for "
            f"{shapes[0][1]} x {shapes[0][2]}, crop_size={recipe.crop_size}. Give that crop_size, "
            "or build the model for (None, None, channels)"
        )
    found = {"num_classes": shapes[1][-1], "channels": shapes[0][-1]}
    for name, value in (("num_classes", num_classes), ("channels", channels)):
        if value not in (None, found[name]):
            raise ValueError(
                f"`{name}` must be that of `model`, {found[name]}. Received: {name}={value}. Leave "
                "it out"
            )
    return found["num_classes"], found["channels"]


def _check_probabilities(model, images):
    outputs = keras.ops.convert_to_numpy(model.predict_on_batch(images))
    sums = outputs.sum(axis=-1) if outputs.shape[-1] > 1 else np.ones(1)
    if not (0 <= outputs.min() and outputs.max() <= 1 and np.abs(sums - 1).max() < 0.02):
        raise ValueError(
            "`model` must give probabilities in [0, 1], which of several classes sum to 1. "
            f"Received: outputs from {outputs.min():g} to {outputs.max():g} for the first images. "
            "End it in a sigmoid (one class) or a softmax (several)"
        )


def _begun(out, arguments, resume):
    """What config.json of the run to go on with holds; None where a new run begins."""
    path = out / "config.json"
    if resume and not path.exists():
        raise ValueError(
            f"{out} holds no run to resume (no config.json). Leave out `resume` to begin one"
        )
    if not path.exists():
        return None
    if not resume:
        raise ValueError(
            f"{out} already holds a training run. Pass `resume=True` (--resume) to go on with it, "
            "or choose another folder"
        )
    begun = _files.read_json(path, "the arguments of a training run")
    changed = [
        f"{name}={now.get(name)!r} (was {before.get(name)!r})"
        for before, now in ((begun.get(part, {}), arguments[part]) for part in arguments)
        for name in {**before, **now}
        if before.get(name) != now.get(name)
    ]
    if changed:
        raise ValueError(
            f"a run is resumed with the arguments it was begun with ({path}). Received: "
            + ", ".join(changed)
        )
    return begun


def _as_json(value):
    """As it will be when it is read again: tuples are lists."""
    return json.loads(json.dumps(value, default=str))


# ---- Data ---------------------------------------------------------------------------------------


def _refuse_errors(data, report):
    errors = [finding for finding in report.findings if finding.severity == "error"]
    if errors:
        shown = "; ".join(f"{f.file}: {f.message}. {f.fix}" for f in errors[:3])
        more = f"; and {len(errors) - 3} errors more" if len(errors) > 3 else ""
        raise ValueError(
            f"the data cannot be trained on as it is: {shown}{more}. All that is to be known about "
            f"it: keras-deepskip audit --data {data}"
        )


def _refuse_no_validation(data, split):
    if not split.val:
        raise ValueError(
            f"{data}: images to validate on were wanted. Received: none in the split. Name some as "
            "val in the split file, or leave val out of it to have them drawn from train"
        )


def _facts(report, split, channels, input_range):
    """What the data say about a model that fits them."""
    channels = channels or _usual_channels(report, split.train)
    mean, variance = channel_statistics(split.train, channels)
    return {
        "channels": int(channels),
        "num_classes": int(report.figures["num_classes"]),
        "input_range": [float(value) for value in input_range or value_range(split.train)],
        "mean": [float(value) for value in mean],
        "variance": [float(value) for value in variance],
    }


def _usual_channels(report, samples):
    """Channels for a model of these images: the most that one has, not counting alpha."""
    found = {int(count) for count in report.figures["channels"]}
    if len(found) == 1 and samples[0].image.suffix.lower() != ".png":
        return found.pop()  # a TIFF of two or four channels has no alpha
    return max({2: 1, 4: 3}.get(count, count) for count in found)


def _datasets(split, recipe, facts, reading):
    """Crops to train on, and windows to validate by."""
    shared = {
        "crop_size": recipe.crop_size,
        "batch_size": recipe.batch_size,
        "channels": facts["channels"],
        "num_classes": facts["num_classes"],
        "seed": recipe.seed,
        **reading,
    }
    augmentation = Augmentation(value_range=facts["input_range"]) if recipe.augment else None
    crops = CropDataset(
        split.train,
        batches_per_epoch=recipe.steps_per_epoch,
        positive_share=recipe.positive_share,
        augmentation=augmentation,
        workers=recipe.workers,
        use_multiprocessing=recipe.use_multiprocessing,
        **shared,
    )
    return crops, WindowDataset(split.val, max_windows=recipe.validation_windows, **shared)


def _shown(adapter, windows, facts, ignore_class, count=4):
    """What TensorBoard shows: images as the model takes them, masks, pictures.

    They are from all over the set, those with most on them.
    """
    pairs = []
    for index in np.unique(np.linspace(0, len(windows) - 1, count).round().astype(int)):
        images, masks = windows[int(index)]
        masks = np.where(masks == ignore_class, 0, masks) if ignore_class is not None else masks
        fullest = np.argmax((masks > 0).sum(axis=(1, 2, 3)))
        pairs.append((images[fullest], masks[fullest]))
    images, masks = (np.stack(part) for part in zip(*pairs, strict=True))
    eight_bit = facts["input_range"] == [0, 255]  # shown as they are; others are stretched
    seen = images.astype("uint8") if eight_bit else images
    return adapter.inputs(images), masks, np.stack([to_rgb(image) for image in seen])


# ---- Model --------------------------------------------------------------------------------------


def _built(recipe, facts, options):
    # Weights were made with a normalization of their own, which comes with them.
    known = ("input_range",) if options.get("weights") else ("input_range", "mean", "variance")
    with _dtype_policy(recipe.precision):
        return build_model(
            (None, None, facts["channels"]),
            facts["num_classes"],
            **{**options, **{name: facts[name] for name in known}},
        )


def _enter(model, stage, recipe, options):
    """Freezes the backbone for a stage, or has it learn again as the network was built."""
    if stage.frozen:
        set_trainable_backbone(model, False)
    elif recipe.freeze_epochs:
        trainable = options.get("trainable_backbone", True)
        set_trainable_backbone(model, trainable, batch_norm=not recipe.freeze_batch_norm)


def _compile(model, stage, recipe, num_classes, ignore_class):
    steps = (stage.end - stage.begin) * recipe.steps_per_epoch
    warmup = round(steps * recipe.warmup)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else stage.learning_rate,
        decay_steps=max(1, steps - warmup),
        warmup_target=stage.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    counted = {"num_classes": num_classes, "ignore_class": ignore_class}
    loss = SmallObjectLoss(
        recipe.alpha, recipe.beta, dice_weight=recipe.dice_weight, ignore_class=ignore_class
    )
    metrics = [metric(**counted) for metric in (IoU, F1, Precision, Recall)]
    if isinstance(model.layers[-1], DeepSupervision):
        loss = DeepSupervisionLoss(loss, num_classes, model.layers[-1].level_weights)
        metrics = [FinestLevel(metric, num_classes) for metric in metrics]
    loss = None if adapter_of(model).computes_loss else loss
    model.compile(optimizer=keras.optimizers.Adam(schedule), loss=loss, metrics=metrics)


@contextlib.contextmanager
def _dtype_policy(name):
    """Sets Keras's dtype policy for what is built inside, and puts back the one before."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
