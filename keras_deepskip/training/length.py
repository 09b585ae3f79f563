"""A run's length once it has begun: changed by who resumes it, or shortened to keep its minutes."""

import dataclasses
import math
import statistics
import time

import keras

from keras_deepskip.training.planning import Plan
from keras_deepskip.training.recipe import BUDGETS, Recipe, Stage

LATE = 0.05  # share of the epochs left that may be too many, before a run is shortened
VERY_LATE = 0.3  # likewise where one epoch alone says how long they take
RECENT = 3  # epochs whose median says how long one takes


def new_budget(recipe: Recipe, begun: Recipe) -> dict[str, float]:
    """The budget that a resumed run is asked for, if it is another than it was begun with."""
    given = {name: getattr(recipe, name) for name in BUDGETS if getattr(recipe, name) is not None}
    return {name: value for name, value in given.items() if value != getattr(begun, name)}


def with_budget(plan: Plan, budget: dict[str, float], rows: list[dict]) -> Plan:
    """The plan of a run that has begun, with another length in all.

    Where epochs are done the learning rate rises once more from there, and falls to 0 along half a
    cosine until the new end: a warm restart.

    Args:
        plan: the `Plan` so far.
        budget: one of `minutes`, `steps` and `epochs`, in all: what is done counts.
        rows: the lines of the run's history, one for each epoch that is done.

    Returns:
        The new `Plan`. With minutes and no epoch done its epochs are None, to be measured.

    Raises:
        ValueError: if so much is done already.
    """
    (name, value), done = next(iter(budget.items())), len(rows)
    if not done:  # as if it began anew: a run with a budget has an end to fall to
        plan = Plan(dataclasses.replace(plan.recipe, schedule="cosine"), plan.reasons)
    if name == "minutes" and not done:
        recipe = dataclasses.replace(plan.recipe, minutes=value, epochs=None)
        return Plan(recipe, plan.reasons)
    epochs = _epochs(name, value, plan.recipe.steps_per_epoch, rows)
    if epochs <= done:
        spent = f"{done} epochs of {plan.recipe.steps_per_epoch} steps, "
        spent += f"{sum(row['seconds'] for row in rows) / 60:.1f} minutes"
        raise ValueError(
            f"`{name}` is the length of the run in all, and must be more than what is done: "
            f"{spent}. Received: {name}={value:g}. Give more, or leave it out"
        )
    reason = f"{name}={value:g} in all, asked for after {done} epochs"
    return ended_at(plan, done, epochs, reason)


def _epochs(name, value, steps_per_epoch, rows):
    """How many epochs in all a budget allows."""
    if name == "epochs":
        return value
    if name == "steps":
        return max(1, round(value / steps_per_epoch))
    seconds = [row["seconds"] for row in rows]
    return len(rows) + int((60 * value - sum(seconds)) / statistics.mean(seconds[-RECENT:]))


def ended_at(plan: Plan, done: int, epochs: int, reason: str, rate: float | None = None) -> Plan:
    """The plan with another number of epochs, of which `done` are behind it.

    Args:
        plan: the `Plan` so far.
        done: epochs that are done; the stage that they lie in ends there.
        epochs: of the run in all.
        reason: for the plan.
        rate: learning rate from which the further stage falls; None has it rise anew first.
    """
    *before, last = plan.stages
    epochs = max(epochs, last.begin + 1)
    if done > last.begin:
        before.append(dataclasses.replace(last, end=done))
        last = Stage(done, epochs, rate or last.learning_rate, rises=rate is None)
    stages = (*before, dataclasses.replace(last, end=epochs))
    recipe = dataclasses.replace(plan.recipe, epochs=epochs)
    return Plan(recipe, {**plan.reasons, "epochs": reason}, stages)


class KeepMinutes(keras.callbacks.Callback):
    """Ends `fit` when the epochs left no longer fit into the minutes that the run was given.

    A machine may become slower than it was when its steps were timed. Who fits then continues with
    the plan that `shortened` gives.

    Args:
        minutes: of the run in all.
        start: seconds until the first epoch.
        ending: seconds that follow the last epoch, for each second that its validation takes.
        before: seconds of the epochs that other processes have done.
        same: function that gives all processes that train together the first one's value.

    Attributes:
        planned: number of epochs of the run, to be set before each `fit`.
        epochs: how many fit, where that is less than planned; else None.
    """

    def __init__(self, minutes, start, ending=0.0, before=(), same=lambda value: value):
        super().__init__()
        self.minutes, self.planned, self.epochs = minutes, 0, None
        self._start, self._before = start, list(before)
        self._first, self._others = [], []  # seconds of the first epochs of each `fit`, and others
        self._compiles = True
        self._same, self._ending, self._rate = same, ending, None
        self._begun = self._validated = 0.0  # when the epoch has, and its validation
        self._last = self._ended = None  # the list that the last epoch is in, and when it ended

    def on_train_begin(self, logs=None):
        self.epochs, self._compiles = None, True

    def on_epoch_begin(self, epoch, logs=None):
        self._begun = time.perf_counter()
        if self._last:  # what was saved after an epoch is its own
            self._last[-1] += self._begun - self._ended

    def on_test_begin(self, logs=None):
        self._validated = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self._ended = now = time.perf_counter()
        compiled, self._compiles = self._compiles, False
        self._last = self._first if compiled else self._others
        self._last.append(now - self._begun)
        left = self.planned - epoch - 1
        if compiled or left < 2:
            return
        ending = self._ending * (now - max(self._validated, self._begun))
        fit = self._same(self._that_fit(ending))
        if fit < (1 - (LATE if len(self._others) > 1 else VERY_LATE)) * left:
            self.epochs = epoch + 1 + max(1, fit)
            self._rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
            self.model.stop_training = True

    def _that_fit(self, ending):
        each = statistics.median(self._others[-RECENT:])
        # What a resumed run compiles once more is no reason to end elsewhere.
        first = [each, *self._first[1:]] if self._before else self._first
        spent = self._start + sum(self._before) + sum(first) + sum(self._others)
        return math.floor((60 * self.minutes - spent - ending) / each)

    def shortened(self, plan: Plan, done: int) -> Plan:
        """The plan with as many epochs as fit; the learning rate falls from where it is."""
        rises = done < plan.recipe.warmup * self.planned  # it has not risen yet
        reason = f"{self.epochs} of {self.planned} fit into {self.minutes:g} minutes: "
        reason += "steps became slower"
        return ended_at(plan, done, self.epochs, reason, None if rises else self._rate)
