"""`Fit`: has a model go through the stages of a plan, from the epoch after the last whole one."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_deepskip._progress import say
from keras_deepskip._versions import versions
from keras_deepskip.architectures import adapter_of
from keras_deepskip.data import FollowEpoch
from keras_deepskip.metrics import ObjectMetricsCallback
from keras_deepskip.training.callbacks import (
    Checkpoint,
    LossOfWindows,
    SeedEpochs,
    StopOnNaN,
    TensorBoardLogger,
    ValidationScore,
)
from keras_deepskip.training.compiling import enter_stage
from keras_deepskip.training.event_file import listed
from keras_deepskip.training.length import KeepMinutes
from keras_deepskip.training.material import Material
from keras_deepskip.training.planning import Plan
from keras_deepskip.training.plateau import FollowPlateau, Plateau
from keras_deepskip.training.processes import Processes
from keras_deepskip.training.progress import shown_training
from keras_deepskip.training.recipe import Stage
from keras_deepskip.training.run import LOGS

LEVEL_STEPS = 2000  # with the schedule "plateau", before the learning rate falls
PATIENCE = 12  # epochs, likewise


@dataclasses.dataclass(frozen=True)
class Fit:
    """A model that is fitted, and all that its stages share.

    Attributes:
        model: in the form for `fit`.
        datasets: crops to train on, and windows to validate on.
        material: the `Material`.
        options: of the model that was built; a user's own has none.
        checkpoint: the `Checkpoint`, which knows the epochs that are done.
        processes: the `Processes` that train together.
        minutes: a `KeepMinutes`, or None without a budget of minutes.
        callbacks: the user's Keras callbacks.
        verbose: as in `Model.fit`.
    """

    model: keras.Model
    datasets: tuple
    material: Material
    options: dict[str, Any]
    checkpoint: Checkpoint
    processes: Processes
    minutes: KeepMinutes | None = None
    callbacks: Sequence[keras.callbacks.Callback] = ()
    verbose: int | str = 0

    def through(self, plan: Plan, changed: Callable[[Plan], None]) -> Plan:
        """Fits all stages that are left; returns the plan as it was carried out.

        Args:
            plan: the `Plan`.
            changed: called with the plan when it had to be shortened, before it is followed.
        """
        while (stage := self._next(plan.stages)) is not None:
            self._fit(stage, plan)
            if self.minutes is not None and self.minutes.epochs is not None:
                plan = self.minutes.shortened(plan, self.checkpoint.state["epoch"])
                changed(plan)
                if self.verbose:
                    say(f"Shortened: {plan.reasons['epochs']}")
        return plan

    def _next(self, stages):
        """The first stage that is not over; None if there is none."""
        done, stopped = self.checkpoint.state["epoch"], self.checkpoint.state["stopped"]
        for stage in stages:
            # A stage that is to begin here was added after the one before it had stopped.
            if done < stage.end and not (stopped and done > stage.begin):
                return stage
        return None

    def _fit(self, stage: Stage, plan: Plan) -> None:
        """Fits one stage, or what is left of it."""
        recipe = plan.recipe
        model, checkpoint, masks = self.model, self.checkpoint, self.material.masks
        crops, windows = (
            adapter_of(model).dataset(part, masks.ignore_class) for part in self.datasets
        )
        done = checkpoint.state["epoch"]
        if done == stage.begin:  # else the stage continues with what the checkpoint holds
            checkpoint.state["stopped"] = False
            enter_stage(model, stage, recipe, self.options, masks)
        checkpoint.begin, checkpoint.patience = stage.begin, recipe.patience
        if stage.frozen:
            checkpoint.patience = None
        plateau = self._plateau(stage, recipe)
        if self.minutes is not None:
            self.minutes.planned = recipe.epochs
        at_most = bool(plateau) or checkpoint.patience is not None
        with shown_training(recipe.epochs, at_most, self.verbose) as (shown, verbose):
            model.fit(
                self.processes.share(crops),
                validation_data=windows,
                epochs=stage.end,
                initial_epoch=done,
                shuffle=False,  # batch i of epoch e is a pure function of the seed
                callbacks=[
                    *self.processes.train_together(model),
                    SeedEpochs(recipe.seed),
                    FollowEpoch(crops),
                    StopOnNaN(),
                    *self._measuring(windows),
                    *plateau,
                    *self.callbacks,
                    self._logger(plan),
                    *shown,
                    *([self.minutes] if self.minutes is not None else []),
                    checkpoint,  # last: it keeps an epoch when all else about it is done
                ],
                verbose=verbose,
            )

    def _measuring(self, windows):
        """The callbacks that complete the figures of an epoch."""
        masks = self.material.masks
        counted = {"num_classes": masks.num_classes, "ignore_class": masks.ignore_class}
        return [
            *adapter_of(self.model).callbacks(),
            ObjectMetricsCallback(windows, **counted),
            LossOfWindows(self.datasets[1]),
            ValidationScore(),
        ]

    def _logger(self, plan):
        images, truth, pictures = self.material.shown(self.datasets[1])
        return TensorBoardLogger(
            self.checkpoint.folder / LOGS,
            adapter_of(self.model).inputs(images),
            truth,
            pictures,
            epochs=plan.recipe.epochs,
            parameters={**self.options, **plan.recipe.to_dict()},
            texts={"plan": plan.text(), "versions": listed(versions())},
            class_names=self.material.class_names,
        )

    def _plateau(self, stage, recipe):
        """The callbacks of a stage that lasts until nothing gets better: none of other stages."""
        checkpoint = self.checkpoint
        checkpoint.is_over = None
        if stage.schedule != "plateau":
            return []
        rule = Plateau(
            least=math.ceil(LEVEL_STEPS / recipe.steps_per_epoch),
            most=stage.end - stage.begin,
            patience=recipe.patience or PATIENCE,
        )

        def scores():
            return checkpoint.scores(stage.begin)

        checkpoint.patience = None
        checkpoint.is_over = lambda: rule.end(scores()) == len(scores())
        return [FollowPlateau(rule, stage.learning_rate, scores)]
