"""The network of a run: built for its data, and compiled for each stage of its recipe."""

import contextlib

import keras
import numpy as np

from keras_deepskip import _checks
from keras_deepskip.architectures import adapter_of
from keras_deepskip.encoders import set_trainable_backbone
from keras_deepskip.layers import DeepSupervision
from keras_deepskip.losses import DeepSupervisionLoss, SmallObjectLoss
from keras_deepskip.metrics import F1, FinestLevel, IoU, Precision, Recall
from keras_deepskip.models import build_model


def build(recipe, facts, options):
    """Builds the network for the data that `facts` describe, under the recipe's precision."""
    # Weights were made with a normalization of their own, which comes with them.
    known = ("input_range",) if options.get("weights") else ("input_range", "mean", "variance")
    with _dtype_policy(recipe.precision):
        return build_model(
            (None, None, facts["channels"]),
            facts["num_classes"],
            **{**options, **{name: facts[name] for name in known}},
        )


def enter_stage(model, stage, recipe, options, masks):
    """Freezes the backbone for a stage, or has it learn again, and compiles the model for it."""
    if stage.frozen:
        set_trainable_backbone(model, False)
    elif recipe.freeze_epochs:
        trainable = options.get("trainable_backbone", True)
        set_trainable_backbone(model, trainable, batch_norm=not recipe.freeze_batch_norm)
    compile_stage(model, stage, recipe, masks)


def compile_stage(model, stage, recipe, masks):
    """Compiles the model with the loss, the metrics and the learning rates of a stage."""
    counted = {"num_classes": masks.num_classes, "ignore_class": masks.ignore_class}
    loss = SmallObjectLoss(
        recipe.alpha,
        recipe.beta,
        dice_weight=recipe.dice_weight,
        size_balance=recipe.size_balance or 0.0,
        include_absent=recipe.include_absent is not False,  # so it was when there was no choice
        ignore_class=masks.ignore_class,
    )
    metrics = [metric(**counted) for metric in (IoU, F1, Precision, Recall)]
    if isinstance(model.layers[-1], DeepSupervision):
        loss = DeepSupervisionLoss(loss, masks.num_classes, model.layers[-1].level_weights)
        metrics = [FinestLevel(metric, masks.num_classes) for metric in metrics]
    loss = None if adapter_of(model).computes_loss else loss
    accumulate = recipe.accumulate if recipe.accumulate != 1 else None  # Keras wants 2 at least
    optimizer = keras.optimizers.Adam(
        _learning_rate(stage, recipe), gradient_accumulation_steps=accumulate
    )
    model.compile(optimizer=optimizer, loss=loss, metrics=metrics)
    # Made here, the optimizer's variables don't cost TensorFlow a second tracing of the first step.
    model.optimizer.build(model.trainable_variables)


def _learning_rate(stage, recipe):
    """A schedule by batches; with "plateau" a number, which `FollowPlateau` sets for each epoch."""
    if stage.schedule == "plateau":
        return stage.learning_rate
    steps = (stage.end - stage.begin) * recipe.steps_per_epoch
    warmup = round(steps * recipe.warmup) if stage.rises else 0
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else stage.learning_rate,
        decay_steps=max(1, steps - warmup),
        warmup_target=stage.learning_rate if warmup else None,
        warmup_steps=warmup,
    )


def check_own_outputs(model, images):
    """Raises a ValueError unless a user's model gives probabilities for `images`."""
    outputs = keras.ops.convert_to_numpy(model.predict_on_batch(images))
    _checks.check_probabilities(np.asarray(outputs, "float32"))


@contextlib.contextmanager
def _dtype_policy(name):
    """Sets Keras's dtype policy for what is built inside, and puts back the one before."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
