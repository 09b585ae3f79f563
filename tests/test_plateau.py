"""Training without a budget: it lasts until nothing gets better, and resumes exactly."""

import dataclasses
import json

import numpy as np
import pytest

from keras_deepskip.training import Recipe, stages, train
from keras_deepskip.training.callbacks import ValidationScore
from keras_deepskip.training.plateau import FIRST, Plateau
from keras_deepskip.training.run import best_epoch_of
from tests import tiny

RULE = Plateau(least=10, most=80, patience=8)


def rising(epochs, until, noise=0.0):
    """Scores that rise to 0.6 and stay there, with noise."""
    rng = np.random.default_rng(3)
    return [
        min(0.6, 0.6 * (epoch + 1) / until) + noise * rng.standard_normal()
        for epoch in range(epochs)
    ]


@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_the_rate_falls_after_the_last_gain_and_not_before(noise):
    turn = RULE.turn(rising(80, until=30, noise=noise))
    assert 30 + 8 - 5 <= turn <= 30 + 8 + 12
    assert RULE.turn(rising(25, until=30, noise=noise)) is None


def test_least_and_most():
    assert RULE.turn([0.5] * 80) == 5 - 1 + 8 + 1  # the mean of five is full in the fifth epoch
    assert dataclasses.replace(RULE, least=20).turn([0.5] * 80) == 20
    assert RULE.turn([0.01 * epoch for epoch in range(80)]) == 60
    assert RULE.end([0.01 * epoch for epoch in range(80)]) == 80
    assert Plateau(3, 1, 5).end([0.0]) == 1


def test_what_was_decided_stays_decided():
    """Scores that get better as the rate falls do not raise it again."""
    scores = rising(80, until=20)
    turn = RULE.turn(scores)
    better = [*scores[:turn], *[0.9] * 20]
    assert RULE.turn(better) == turn and RULE.end(better) == RULE.end(scores[:turn])


def test_shares_begin_low_stay_level_and_fall_to_nearly_nothing():
    scores = rising(80, until=20)
    turn, end = RULE.turn(scores), RULE.end(scores)
    shares = [RULE.share(scores[:epoch]) for epoch in range(end)]
    assert shares[0] == FIRST and set(shares[1:turn]) == {1.0}
    falling = shares[turn - 1 :]
    assert all(after < before for before, after in zip(falling, falling[1:], strict=False))
    assert 0 < shares[-1] < 0.2
    assert end - turn == pytest.approx(turn / 3, abs=1)


def test_epochs_without_a_score_count_as_nothing():
    assert RULE.turn([None] * 30) == RULE.turn([0.0] * 30)


def test_the_score_is_the_mean_of_what_is_known():
    for logs, score in (
        ({"val_iou": 0.2, "val_object_f1": 0.6}, 0.4),
        ({"val_iou": 0.2, "val_object_f1": float("nan")}, 0.2),
        ({"val_iou": 0.2, "val_object_f1": None}, 0.2),
    ):
        ValidationScore().on_epoch_end(0, logs)
        assert logs["val_score"] == pytest.approx(score)
    older = [{"epoch": 1, "val_iou": 0.2}, {"epoch": 2, "val_iou": 0.5}]
    assert best_epoch_of(older) == 2


class Interrupt(Exception):
    """Ends a training in its third epoch."""


@pytest.mark.one_backend
def test_a_run_ends_by_itself_and_resumes_as_if_uninterrupted(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(stages, "LEVEL_STEPS", 3)
    recipe = dataclasses.replace(
        tiny.RECIPE, epochs=9, schedule="plateau", patience=1, steps_per_epoch=1, learning_rate=1e-9
    )
    whole = train(tiny.data(), tmp_path / "a", recipe, verbose=2, **tiny.MODEL)
    assert "; at most " in capsys.readouterr().out
    epochs = len(whole.history)
    assert 4 <= epochs < 9  # nothing is learnt at that rate

    class Stop(stages.keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == epochs - 2:
                raise Interrupt

    with pytest.raises(Interrupt):
        train(tiny.data(), tmp_path / "b", recipe, callbacks=[Stop()], verbose=0, **tiny.MODEL)
    resumed = train(tiny.data(), tmp_path / "b", recipe, resume=True, verbose=0, **tiny.MODEL)
    assert len(resumed.history) == epochs
    for ours, theirs in zip(whole.model.get_weights(), resumed.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    state = json.loads((tmp_path / "b" / "training_state" / "state.json").read_text())
    assert state["stopped"]
    again = train(tiny.data(), tmp_path / "b", recipe, resume=True, verbose=0, **tiny.MODEL)
    assert again.history == resumed.history


def test_a_schedule_is_one_of_two():
    with pytest.raises(ValueError, match="`schedule`"):
        Recipe(schedule="linear")
