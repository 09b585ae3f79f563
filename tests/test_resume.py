"""A run that was broken off resumes to what an uninterrupted run would have left."""

import csv
import functools
import json
import random
import resource
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from keras_deepskip import cli, load_model
from keras_deepskip.data import write_png
from keras_deepskip.training import Run, TrainingDiverged, train
from tests import tiny

# The child trains slowly, so that a kill falls anywhere: in steps, validation, files.
CHILD = """
import sys, time, keras
from keras_deepskip.training import train
from tests import tiny
slow = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: time.sleep(0.3))
train(sys.argv[1], sys.argv[2], tiny.RECIPE, callbacks=[slow], verbose=0, **tiny.MODEL)
"""


def resumed(out, **arguments):
    return train(tiny.data(), out, tiny.RECIPE, resume=True, verbose=0, **tiny.MODEL, **arguments)


def assert_ends_like_the_uninterrupted_run(out):
    expected = tiny.run()
    for path in ("model.keras", "training_state/epoch-0003.keras"):
        ours, theirs = (load_model(folder / path) for folder in (out, expected.folder))
        for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)
        for a, b in zip(ours.optimizer.variables, theirs.optimizer.variables, strict=True):
            np.testing.assert_allclose(
                keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b), rtol=0, atol=1e-6
            )
    histories = []
    for folder in (out, expected.folder):
        with open(folder / "history.csv", newline="", encoding="utf-8") as file:
            histories.append(list(csv.DictReader(file)))
    for ours, theirs in zip(*histories, strict=True):
        for name in set(theirs) - {"seconds"}:
            assert (ours[name] == "") == (theirs[name] == "")
            assert float(ours[name] or 0) == pytest.approx(float(theirs[name] or 0), abs=1e-6), name


def assert_all_files_are_whole(out):
    assert not tiny.leftovers(out)
    models = sorted(out.rglob("*.keras"), key=lambda path: path.name)
    assert [path.name for path in models] == ["epoch-0003.keras", "model.keras"]
    for path in models:
        load_model(path)
    for path in out.rglob("*.json"):
        json.loads(path.read_text())


@pytest.mark.slow
def test_killed_at_a_drawn_moment(tmp_path):
    """kill -9, at any time after the first epoch."""
    tiny.run()
    out, pause = tmp_path / "run", random.SystemRandom().uniform(0, 0.8)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, tiny.data(), out],
        env=tiny.environ(), cwd=tiny.ROOT, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        state = out / "training_state" / "state.json"
        while child.poll() is None and not state.exists():
            time.sleep(0.01)
        time.sleep(pause)
    finally:
        child.kill()
        _, said = child.communicate()
    assert child.returncode == -signal.SIGKILL, said
    done = json.loads(state.read_text())["epoch"]
    assert done in (1, 2), f"the child was done before it was killed ({pause:.3f} s)"

    run = resumed(out)
    assert [row["epoch"] for row in run.history] == [1, 2, 3], f"killed after {pause:.3f} s"
    assert_ends_like_the_uninterrupted_run(out)
    assert_all_files_are_whole(out)


@functools.cache
def broken_off():
    """A run whose disk was full when its second epoch ended; its folder, its error, its state."""
    out = tiny.scratch() / "broken_off"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_up(epoch, logs):
        if epoch == 1:  # from now on the system refuses to write more than this to a file
            size = (out / "model.keras").stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, hard))

    full = keras.callbacks.LambdaCallback(on_epoch_end=fill_up)
    try:
        with pytest.raises(OSError) as caught:
            train(tiny.data(), out, tiny.RECIPE, callbacks=[full], verbose=0, **tiny.MODEL)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    return out, str(caught.value)


@pytest.fixture
def first_epoch(tmp_path):
    """The folder of a run that has one whole epoch."""
    shutil.copytree(broken_off()[0], tmp_path / "run")
    return tmp_path / "run"


def at_epoch(number, what):
    """A callback that calls something with the model when an epoch begins."""

    def begin(epoch, logs=None):
        if epoch + 1 == number:
            what(callback.model)

    callback = keras.callbacks.LambdaCallback(on_epoch_begin=begin)
    return callback


def test_a_disk_that_is_full_while_a_checkpoint_is_written(first_epoch):
    said = broken_off()[1]
    assert str(broken_off()[0]) in said and ".keras" in said and "Free space" in said
    assert not tiny.leftovers(first_epoch)
    assert sorted(path.name for path in first_epoch.rglob("*.keras")) == [
        "epoch-0001.keras",
        "model.keras",
    ]
    for path in first_epoch.rglob("*.keras"):
        load_model(path)
    assert json.loads((first_epoch / "training_state" / "state.json").read_text())["epoch"] == 1

    resumed(first_epoch)  # with room again
    assert_ends_like_the_uninterrupted_run(first_epoch)
    assert_all_files_are_whole(first_epoch)


def test_killed_before_the_first_epoch_ended(first_epoch):
    """There is a configuration, and no state: it starts over, from the same weights."""
    expected = tiny.run()
    shutil.rmtree(first_epoch / "training_state")
    (first_epoch / ".model.partial-abc.keras").write_text("half")
    seen = []

    def stop(model):
        seen.extend(model.get_weights())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        resumed(first_epoch, callbacks=[at_epoch(1, stop)])
    assert expected and len(seen) == len(tiny.initial_weights) > 0
    for ours, theirs in zip(seen, tiny.initial_weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not tiny.leftovers(first_epoch)


def test_a_run_that_is_complete_is_returned_as_it_is(tmp_path):
    out = tmp_path / "run"
    shutil.copytree(tiny.run().folder, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    run = resumed(out)
    assert run.history == tiny.run().history and run.best_epoch == tiny.run().best_epoch
    for a, b in zip(run.model.get_weights(), tiny.run().model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_run_begun_without_a_disk_cache_resumes(tmp_path):
    """It changes no result, and runs that are older than the option do not name it."""
    shutil.copytree(tiny.run().folder, tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    del config["recipe"]["disk_cache_bytes"]
    path.write_text(json.dumps(config))
    assert resumed(tmp_path / "run").recipe.disk_cache_bytes > 0


def test_the_data_may_have_moved(tmp_path):
    out, moved = tmp_path / "run", tmp_path / "elsewhere"
    shutil.copytree(tiny.run().folder, out)
    shutil.copytree(tiny.data(), moved)
    run = train(moved, out, tiny.RECIPE, resume=True, verbose=0, **tiny.MODEL)
    assert run.split.train[0].image.parent == moved / "images"


def test_another_image_of_the_same_name_is_refused(first_epoch, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(tiny.data(), data)
    name = Run.load(first_epoch).split.train[0].name
    write_png(data / "images" / f"{name}.png", np.zeros((48, 48, 3), "uint8"))
    with pytest.raises(ValueError, match=rf"{name}\.png: .*another one \(1 file changed"):
        train(data, first_epoch, tiny.RECIPE, resume=True, verbose=0, **tiny.MODEL)


def test_another_mask_of_the_same_name_is_refused(first_epoch, tmp_path):
    """Half a training on each would be of neither."""
    shutil.copytree(tiny.data(), tmp_path / "data")
    name = json.loads((first_epoch / "split.json").read_text())["train"][0]
    write_png(tmp_path / "data" / "masks" / f"{name}.png", np.ones((48, 48), "uint8"))
    with pytest.raises(ValueError, match=rf"masks/{name}\.png: the mask that .*1 file changed"):
        train(tmp_path / "data", first_epoch, tiny.RECIPE, resume=True, verbose=0, **tiny.MODEL)


def test_a_loss_that_is_no_number_ends_the_run_with_the_last_good_weights(first_epoch):
    def spoil(model):
        model.set_weights([np.full(w.shape, np.nan) for w in model.get_weights()])

    words = "nan in epoch 2, step 1. The weights of epoch 1 are kept"
    with pytest.raises(TrainingDiverged, match=words):
        resumed(first_epoch, callbacks=[at_epoch(2, spoil)])
    for path in (first_epoch / "model.keras", first_epoch / "training_state" / "epoch-0001.keras"):
        assert all(np.isfinite(weight).all() for weight in load_model(path).get_weights())
    assert json.loads((first_epoch / "training_state" / "state.json").read_text())["epoch"] == 1
    assert not tiny.leftovers(first_epoch)


def test_a_run_of_the_version_before_resumes(first_epoch):
    """Its state lies in `checkpoint/`, its epochs have no score, its recipe fewer fields."""
    for name in ("config.json", "plan.json"):
        content = json.loads((first_epoch / name).read_text())
        for field in ("schedule", "jitter", "size_balance", "include_absent"):
            del content["recipe"][field]
        content["recipe"]["patience"] = 10
        (first_epoch / name).write_text(json.dumps(content))
    path = first_epoch / "training_state" / "state.json"
    state = json.loads(path.read_text())
    del state["rows"][0]["val_score"]
    state["best"] = state["rows"][0]["val_iou"]
    path.write_text(json.dumps(state))
    (first_epoch / "training_state").rename(first_epoch / "checkpoint")
    resumed(first_epoch)
    run = Run.load(first_epoch)
    assert run.recipe.patience == 10
    assert run.history[run.best_epoch - 1]["val_iou"] == max(r["val_iou"] for r in run.history)
    assert not (first_epoch / "checkpoint").exists()
    state = json.loads((first_epoch / "training_state" / "state.json").read_text())
    assert state["epoch"] == 3


def test_a_kill_before_the_run_begins_leaves_no_temporary_file(tmp_path):
    (tmp_path / ".split.partial-abc.json").write_text("{")
    with pytest.raises(ValueError, match="holds no run to resume"):
        train(tiny.data(), tmp_path, tiny.RECIPE, resume=True, verbose=0, **tiny.MODEL)
    assert tiny.leftovers(tmp_path) == []


def test_an_interrupt_on_the_command_line(first_epoch, monkeypatch, capsys):
    """The command takes up a run that Python began, since it means the same."""

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(keras.Model, "fit", interrupted)
    command = ["train", "--data", str(tiny.data()), "--out", str(first_epoch), *tiny.flags()]
    assert cli.main([*command, "--resume"]) == 130
    assert "The same command with --resume continues it." in capsys.readouterr().err
    assert json.loads((first_epoch / "training_state" / "state.json").read_text())["epoch"] == 1
    assert not tiny.leftovers(first_epoch)


def test_auto_begins_a_run_and_continues_it(tmp_path):
    def stop(epoch, logs):
        if epoch:
            raise KeyboardInterrupt

    out, breaks = tmp_path / "run", keras.callbacks.LambdaCallback(on_epoch_begin=stop)
    with pytest.raises(KeyboardInterrupt):
        train(tiny.data(), out, tiny.RECIPE, resume="auto", callbacks=[breaks], verbose=0,
              **tiny.MODEL)  # fmt: skip
    command = ["train", "--data", str(tiny.data()), "--out", str(out), "--resume", "auto"]
    assert cli.main([*command, *tiny.flags()]) == 0
    assert_ends_like_the_uninterrupted_run(out)
    assert cli.main([*command, *tiny.flags()]) == 0  # all is done
    with pytest.raises(ValueError, match="`resume` must be one of"):
        train(tiny.data(), out, tiny.RECIPE, resume="yes", verbose=0)
