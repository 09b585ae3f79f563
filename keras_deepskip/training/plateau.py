"""The learning rate of a run without a budget: level until nothing gets better, then down to 0."""

import dataclasses
import math
from collections.abc import Sequence

import keras

WINDOW = 5  # epochs whose mean is compared: a single one is noise
GAIN = 0.003  # of the score; less is no gain
FALL = 1 / 3  # epochs in which the rate falls, as a share of those before
FIRST = 0.25  # share of the rate in the first epoch


@dataclasses.dataclass(frozen=True)
class Plateau:
    """When to let the learning rate fall, and when a run is over, by the scores of its epochs.

    All of it is a function of the scores, so that a resumed run decides as an uninterrupted one.

    Attributes:
        least: epochs before which the rate does not fall.
        most: epochs after which the run is over at the latest.
        patience: epochs without a better score after which the rate falls. Scores are compared as
            means of five epochs.

    Example:

    >>> rule = Plateau(least=3, most=100, patience=6)
    >>> rule.turn([0.1 * epoch for epoch in range(20)]), rule.turn([0.5] * 20)
    (None, 11)
    """

    least: int
    most: int
    patience: int

    def turn(self, scores: Sequence[float | None]) -> int | None:
        """Number of the epoch (from 0) in which the rate begins to fall; None if not yet known."""
        latest = max(1, round(self.most / (1 + FALL)))
        best, best_at = -math.inf, 0
        for epoch in range(min(len(scores), latest)):
            recent = [score or 0.0 for score in scores[max(0, epoch - WINDOW + 1) : epoch + 1]]
            mean = sum(recent) / WINDOW  # too low for the first epochs, which are no measure
            if mean > best + GAIN:
                best, best_at = mean, epoch
            if epoch + 1 >= self.least and epoch - best_at >= self.patience:
                return epoch + 1
        return latest if len(scores) >= latest else None

    def end(self, scores: Sequence[float | None]) -> int | None:
        """How many epochs the run has in all; None if not yet known."""
        turn = self.turn(scores)
        return None if turn is None else min(turn + max(1, round(turn * FALL)), self.most)

    def share(self, scores: Sequence[float | None]) -> float:
        """The learning rate of the next epoch, as a share of that of the level part."""
        epoch, turn, end = len(scores), self.turn(scores), self.end(scores)
        if turn is None or end is None:  # so is the other
            return 1.0 if epoch else FIRST
        return max((end - epoch) / (end - turn + 1), 0.0)


class FollowPlateau(keras.callbacks.Callback):
    """Sets the learning rate of each epoch by a `Plateau`.

    Args:
        rule: the `Plateau`.
        learning_rate: of the level part.
        scores: function that returns the scores of the epochs so far.
    """

    def __init__(self, rule, learning_rate, scores):
        super().__init__()
        self.rule, self.learning_rate, self.scores = rule, learning_rate, scores

    def on_epoch_begin(self, epoch, logs=None):
        self.model.optimizer.learning_rate = self.learning_rate * self.rule.share(self.scores())
