"""A run that has begun: resumed with its own arguments, made longer, or shortened."""

import dataclasses
import json
import shutil
import types

import keras
import numpy as np
import pytest

from keras_deepskip import cli, load_model
from keras_deepskip.data import MaskReading
from keras_deepskip.data.split import FRACTIONS
from keras_deepskip.training import Recipe, Run, length, train
from keras_deepskip.training.length import KeepMinutes, ended_at, with_budget
from keras_deepskip.training.planning import Plan
from keras_deepskip.training.recipe import Stage
from keras_deepskip.training.request import Request, begun_config
from tests import tiny

LONGER = dataclasses.replace(tiny.RECIPE, epochs=5)
ROWS = [{"seconds": 30.0}, {"seconds": 10.0}, {"seconds": 10.0}, {"seconds": 10.0}]  # a minute


def plan_of(epochs=8, **fields):
    return Plan(Recipe(epochs=epochs, steps_per_epoch=50, **fields), {})


def weights_of(out, epoch):
    return load_model(out / "training_state" / f"epoch-{epoch:04d}.keras").get_weights()


def assert_alike(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


@pytest.fixture
def complete(tmp_path):
    """A copy of a run of three epochs."""
    shutil.copytree(tiny.run().folder, tmp_path / "run")
    return tmp_path / "run"


def stop_at(number):
    def begin(epoch, logs=None):
        if epoch + 1 == number:
            raise KeyboardInterrupt

    return keras.callbacks.LambdaCallback(on_epoch_begin=begin)


@pytest.mark.one_backend
def test_what_is_left_at_its_default_is_taken_from_the_run(tmp_path):
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(tiny.data(), out, tiny.RECIPE, callbacks=[stop_at(2)], verbose=0, **tiny.MODEL)
    run = train(tiny.data(), out, resume=True, verbose=0)
    assert run.recipe == tiny.run().recipe and len(run.history) == 3
    assert_alike(weights_of(out, 3), weights_of(tiny.run().folder, 3))


@pytest.mark.studies
@pytest.mark.one_backend
def test_an_architecture_s_own_defaults_are_left_at_their_default(tmp_path):
    """A run of a U-Net with options of its own, resumed by the architecture's name alone."""

    def request(**options):
        split = {"split_file": None, "fractions": FRACTIONS, "group_by": None}
        return Request(Recipe(), MaskReading(), None, None, split, None, options)

    begun = request(architecture="unet", base_filters=4, levels=3).to_json()
    (tmp_path / "config.json").write_text(json.dumps(begun))
    for options in ({"architecture": "unet"}, {"architecture": "unet", "levels": 3}, {}):
        assert begun_config(tmp_path, request(**options), True) == begun
    with pytest.raises(ValueError, match=r"Received: levels=2 \(was 3\)\."):
        begun_config(tmp_path, request(architecture="unet", levels=2), True)
    with pytest.raises(ValueError, match=r"Received: architecture='unet3plus' \(was 'unet'\)"):
        begun_config(tmp_path, request(architecture="unet3plus"), True)


def test_a_model_of_ones_own_is_given_again(complete):
    path = complete / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "model": {"own": True}}))
    with pytest.raises(ValueError, match=r"Received: no `model`\. Give it again"):
        train(tiny.data(), complete, resume=True, verbose=0)


@pytest.mark.one_backend
def test_a_complete_run_goes_on_and_what_interrupts_it_changes_nothing(complete, tmp_path):
    """As the uninterrupted one; the command says it again, and it is resumed, not extended."""
    shutil.copytree(complete, tmp_path / "broken")
    point = (complete / "operating_point.json").stat().st_mtime_ns
    run = train(tiny.data(), complete, LONGER, resume=True, verbose=0, **tiny.MODEL)
    assert [row["epoch"] for row in run.history] == [1, 2, 3, 4, 5]
    assert run.history[:3] == tiny.run().history
    assert run.plan.stages == (Stage(0, 3, 3e-3), Stage(3, 5, 3e-3))
    assert "asked for after 3 epochs" in run.plan.reasons["epochs"]
    assert (complete / "operating_point.json").stat().st_mtime_ns > point
    assert np.abs(weights_of(complete, 5)[0] - weights_of(tiny.run().folder, 3)[0]).max() > 1e-4

    broken = tmp_path / "broken"
    with pytest.raises(KeyboardInterrupt):
        train(tiny.data(), broken, LONGER, resume="auto", callbacks=[stop_at(5)], verbose=0,
              **tiny.MODEL)  # fmt: skip
    command = ["train", "--data", str(tiny.data()), "--out", str(broken), "--resume", "auto"]
    assert cli.main([*command, "--epochs", "5"]) == 0
    assert Run.load(broken).plan.stages == run.plan.stages
    assert_alike(weights_of(broken, 5), weights_of(complete, 5))


def test_a_run_that_had_stopped_goes_on(complete):
    path = complete / "training_state" / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "stopped": True}))
    again = train(tiny.data(), complete, resume=True, verbose=0)
    assert len(again.history) == 3
    assert len(train(tiny.data(), complete, LONGER, resume=True, verbose=0).history) == 5


@pytest.mark.one_backend
def test_the_length_that_a_budget_gives():
    assert with_budget(plan_of(), {"epochs": 6}, ROWS).stages == (
        Stage(0, 4, 3e-3), Stage(4, 6, 3e-3),
    )  # fmt: skip
    assert with_budget(plan_of(), {"steps": 500}, ROWS).recipe.epochs == 10
    assert with_budget(plan_of(), {"minutes": 2}, ROWS).recipe.epochs == 10  # 6 of 10 s more
    assert with_budget(plan_of(), {"epochs": 9}, []).stages == (Stage(0, 9, 3e-3),)
    endless = plan_of(schedule="plateau")  # that ended before its first epoch did
    assert with_budget(endless, {"epochs": 9}, []).stages == (Stage(0, 9, 3e-3),)
    assert with_budget(endless, {"minutes": 2}, []).recipe.schedule == "cosine"
    timed = with_budget(plan_of(), {"minutes": 2}, []).recipe
    assert timed.epochs is None and timed.minutes == 2
    frozen = with_budget(plan_of(freeze_epochs=5), {"epochs": 9}, ROWS).stages
    assert frozen == (Stage(0, 5, 3e-3, frozen=True), Stage(5, 9, pytest.approx(3e-4)))


@pytest.mark.one_backend
@pytest.mark.parametrize("budget", [{"epochs": 4}, {"steps": 200}, {"minutes": 1.1}])
def test_a_budget_that_is_spent(budget):
    (name,) = budget
    words = rf"`{name}` is the length .*4 epochs of 50 steps, 1\.0 minutes. Received: {name}="
    with pytest.raises(ValueError, match=words):
        with_budget(plan_of(), budget, ROWS)


@pytest.mark.one_backend
def test_a_changed_plan_is_read_as_it_was_written():
    plan = ended_at(ended_at(plan_of(), 4, 20, "more"), 10, 15, "slow", rate=1e-3)
    assert plan.stages[1:] == (Stage(4, 10, 3e-3), Stage(10, 15, 1e-3, rises=False))
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only when somebody says so."""
    clock = types.SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)
    monkeypatch.setattr(length, "time", clock)
    return clock


@pytest.mark.one_backend
def test_a_machine_that_becomes_slower(tmp_path, monkeypatch, clock, capsys):
    """20 epochs were to fit into a minute; they take 10 s each: six do, and the rate ends at 0."""
    rates = []
    monkeypatch.setattr("keras_deepskip.training.fitting.seconds_per_step", lambda *_: (1.35, 0.0))

    def slow(batch, logs):
        clock.now += 10 / tiny.RECIPE.steps_per_epoch

    def note(epoch, logs):
        optimizer = callback.model.optimizer
        rates.append(float(keras.ops.convert_to_numpy(optimizer.learning_rate)))

    callback = keras.callbacks.LambdaCallback(on_train_batch_end=slow, on_epoch_end=note)
    recipe = dataclasses.replace(tiny.RECIPE, epochs=None, minutes=1, jitter=False)
    run = train(
        tiny.data(), tmp_path / "run", recipe, callbacks=[callback], verbose=2, **tiny.MODEL
    )
    assert 4 <= len(run.history) <= 6  # the time until the first epoch is real
    assert "Shortened: " in capsys.readouterr().out
    assert "fit into 1 minutes: steps became slower" in run.plan.reasons["epochs"]
    first, second = run.plan.stages
    assert first.end == 2 and second == Stage(2, run.recipe.epochs, rates[1], rises=False)
    assert rates == sorted(rates, reverse=True) and rates[2] < rates[1]
    assert rates[-1] == pytest.approx(0, abs=1e-9)


def keeper_after(clock, epochs, seconds, validation=0.0, **options):
    """A `KeepMinutes` of two minutes and ten epochs after epochs of so many seconds each."""
    keeper = KeepMinutes(2, start=0, **options)
    keeper.set_model(types.SimpleNamespace(optimizer=keras.optimizers.Adam()))
    keeper.planned = 10
    for epoch in range(epochs):
        keeper.on_epoch_begin(epoch)
        clock.now += seconds - validation
        keeper.on_test_begin()
        clock.now += validation
        keeper.on_epoch_end(epoch)
    return keeper


@pytest.mark.one_backend
def test_time_is_left_for_what_follows_the_last_epoch(clock):
    """Three epochs of 12 s and seven more are two minutes; what follows takes 5 times 4 s."""
    assert keeper_after(clock, 3, 12, 4).epochs is None
    assert keeper_after(clock, 3, 12, 4, ending=5).epochs == 8
    assert keeper_after(clock, 3, 11, 0.1, ending=5).epochs is None


@pytest.mark.one_backend
def test_two_epochs_shorten_a_run_that_is_much_too_long(clock):
    assert keeper_after(clock, 2, 14).epochs is None  # seven fit, of eight
    assert keeper_after(clock, 3, 14).epochs == 8
    assert keeper_after(clock, 2, 30).epochs == 4


@pytest.mark.one_backend
def test_a_resumed_run_is_not_shortened_for_what_it_compiles_anew(clock):
    for before, late in (((), True), ((10.0,) * 4, False)):
        keeper = KeepMinutes(2, start=0, before=before)
        keeper.set_model(types.SimpleNamespace(optimizer=keras.optimizers.Adam()))
        keeper.planned = len(before) + 8
        for epoch in range(len(before), len(before) + 5):
            keeper.on_epoch_begin(epoch)
            clock.now += 70 if epoch == len(before) else 10
            keeper.on_epoch_end(epoch)
            if keeper.epochs is not None:
                break
        assert (keeper.epochs is not None) is late


@pytest.mark.one_backend
def test_what_compiles_anew_and_what_is_saved(clock):
    """A later `fit` compiles once more; one slow epoch is none; saving takes its time."""
    keeper = KeepMinutes(4, start=0)
    keeper.set_model(types.SimpleNamespace(optimizer=keras.optimizers.Adam()))
    keeper.planned = 12
    for epoch, seconds in enumerate((30, 10, 10, 30, 30, 10, 10, 10)):
        if epoch in (0, 4):
            keeper.on_train_begin()
        keeper.on_epoch_begin(epoch)
        clock.now += seconds
        keeper.on_epoch_end(epoch)
        assert keeper.epochs is None
    saving = KeepMinutes(2, start=0)
    saving.set_model(keeper.model)
    saving.planned = 10
    for epoch in range(4):
        saving.on_epoch_begin(epoch)
        clock.now += 10
        saving.on_epoch_end(epoch)
        clock.now += 5
    assert saving.epochs is not None and saving.epochs < 10
