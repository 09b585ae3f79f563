"""How a training is shown: a bar with the time left on a terminal, and a line for each epoch."""

import contextlib
import math
import time

import keras

from keras_deepskip._progress import Bar, Lines, duration, say, shown_as

# Of the logs of an epoch, what its line tells: of the training, then of the validation images.
TOLD = (("loss", "loss"),)
TOLD_VALIDATION = (("val_loss", "loss"), ("val_iou", "IoU"), ("val_object_f1", "object F1"))
LINE_S = 300.0  # least seconds between two lines within epochs


@contextlib.contextmanager
def shown_training(epochs, at_most, verbose):
    """Shows a training while its block lasts.

    Args:
        epochs: of the run in all.
        at_most: whether it may end before.
        verbose: 0 shows nothing, 1 a bar where one can be redrawn, 2 lines.

    Yields:
        Callbacks, and the `verbose` for `Model.fit`.
    """
    how = shown_as(verbose)
    if how is None:
        yield [], 0
    elif how == "keras":
        yield [EpochProgress(epochs, at_most, None)], 1
    else:
        with Bar(epochs) if how == "bar" else Lines(LINE_S) as shown:
            yield [EpochProgress(epochs, at_most, shown)], 0


class EpochProgress(keras.callbacks.Callback):
    """Says after each epoch what it gave and how much time is left, by what is done so far.

    Args:
        epochs: of the run in all.
        at_most: whether it may end before.
        shown: a `Bar` or `Lines`, which is told of each step; None says the time left alone.
    """

    def __init__(self, epochs, at_most, shown):
        super().__init__()
        self.epochs, self.at_most, self.shown = epochs, at_most, shown
        self._first = self._epoch = self._step = 0
        self._begun = self._epoch_begun = None

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch_begun = time.perf_counter()
        if self._begun is None:
            self._begun, self._first = self._epoch_begun, epoch
        self._epoch, self._step = epoch, 0
        self._show(None)

    def on_train_batch_end(self, batch, logs=None):
        self._step = batch + 1
        self._show((logs or {}).get("loss"))

    def on_test_begin(self, logs=None):
        self._show(None, "validation")

    def on_epoch_end(self, epoch, logs=None):
        now, left = time.perf_counter(), self.epochs - epoch - 1
        text = f"Epoch {epoch + 1}/{self.epochs}, {duration(now - self._epoch_begun)}: "
        text += told(logs or {})
        seconds = (now - self._begun) / (epoch + 1 - self._first) * left
        rest = f"{self._left_text(seconds)} left" if left > 0 else ""
        if self.shown is None:  # Keras has told of the epoch
            text = ""
        if isinstance(self.shown, Bar):  # which tells what is left
            rest = ""
        if text or rest:
            say("; ".join(filter(None, (text, rest))))

    def seconds_left(self):
        """By whole epochs, or in the first by its steps; None before the first step."""
        now, done = time.perf_counter(), self._epoch - self._first
        if done:
            each = (self._epoch_begun - self._begun) / done
            return max(each * (self.epochs - self._epoch) - (now - self._epoch_begun), 0.0)
        steps = self._steps()
        if not self._step or not steps:
            return None
        left = steps * (self.epochs - self._epoch) - self._step
        return (now - self._epoch_begun) / self._step * left

    def _steps(self):
        return (self.params or {}).get("steps")

    def _left_text(self, seconds):
        return f"{'at most ' if self.at_most else ''}{duration(seconds)}"

    def _show(self, loss, text=""):
        if self.shown is None:
            return
        steps, seconds = self._steps(), self.seconds_left()
        text = text or f"step {self._step}" + (f"/{steps}" if steps else "")
        text += "" if loss is None else f", loss {float(loss):.3f}"
        text += "" if seconds is None else f", {self._left_text(seconds)} left"
        part = self._step / steps if steps else 0.0
        self.shown.show(self._epoch + part, f"Epoch {self._epoch + 1}/{self.epochs}", text)


def told(logs):
    """What the line of an epoch tells of its logs.

    Example:

    >>> told({"loss": 0.5, "val_loss": 0.75, "val_iou": 0.25, "val_object_f1": float("nan")})
    'loss 0.500 | val loss 0.750, IoU 0.250'
    """
    parts = []
    for names, before in ((TOLD, ""), (TOLD_VALIDATION, "val ")):
        known = [f"{text} {float(logs[name]):.3f}" for name, text in names
                 if logs.get(name) is not None and math.isfinite(float(logs[name]))]  # fmt: skip
        if known:
            parts.append(before + ", ".join(known))
    return " | ".join(parts)
