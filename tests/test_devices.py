"""Training on several devices, which are virtual here: as on one, on each backend."""

import dataclasses
import json
import os
import re
import signal
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_deepskip import build_model
from keras_deepskip.data import MaskReading, WindowDataset, find_samples
from keras_deepskip.training import Recipe, cross_validate, on_devices, train
from keras_deepskip.training.devices import check_shares
from tests import tiny

BACKEND = keras.backend.backend()
RECIPE = dataclasses.replace(tiny.RECIPE, epochs=2, batch_size=4)
MODEL = {**tiny.MODEL, "dropout": 0}
TOLERANCE = 1e-5  # of losses and weights after four steps; measured: 4e-6 and less

# Trains with each number of devices given, and prints the history and the weights of each run.
TRAIN = """
import dataclasses, json, os, pathlib, sys
data, out, devices, windows = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3], sys.argv[4]
if os.environ["KERAS_BACKEND"] == "tensorflow":
    import tensorflow as tf
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 4)
from keras_deepskip.training import train
from tests import test_devices

recipe = dataclasses.replace(test_devices.RECIPE, validation_windows=int(windows))
for count in map(int, devices.split(",")):
    folder = out / str(count)
    arguments = {"devices": count, "resume": "auto", "verbose": 0, **test_devices.MODEL}
    if "INTERRUPTED" in os.environ and count > 1:
        try:
            train(data, folder, recipe, callbacks=[test_devices.Interrupt()], **arguments)
        except KeyboardInterrupt:
            arguments["devices"] = 1
    killed = os.environ.get("KILLED") == os.environ.get("RANK", "0")
    callbacks = [test_devices.Kill()] if killed else []
    run = train(data, folder, recipe, callbacks=callbacks, **arguments)
    if os.environ.get("RANK", "0") == "0":
        weights = [value.tolist() for value in run.model.get_weights()]
        (folder / "result.json").write_text(json.dumps([run.history, weights]))
"""


# A `fit` of one's own, with the package's loss, metrics, data and callbacks.
FIT = """
import json, os, sys
if os.environ["KERAS_BACKEND"] == "tensorflow":
    import tensorflow as tf
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras
from keras_deepskip import build_model
from keras_deepskip.data import CropDataset, FollowEpoch, WindowDataset, find_samples
from keras_deepskip.losses import SmallObjectLoss
from keras_deepskip.metrics import IoU, ObjectMetricsCallback
from keras_deepskip.training import on_devices
from tests import test_devices

samples, losses = find_samples(sys.argv[1]), []
crops = CropDataset(samples, crop_size=32, batch_size=4, batches_per_epoch=2)
windows = WindowDataset(samples[:4], crop_size=48, batch_size=4)
for devices in (1, 2):
    keras.utils.set_random_seed(0)
    with on_devices(devices) as count:
        assert count == devices
        model = build_model(**test_devices.MODEL)
        model.compile("adam", SmallObjectLoss(), metrics=[IoU()])
        watch = [FollowEpoch(crops), ObjectMetricsCallback(windows)]
        history = model.fit(
            crops, validation_data=windows, epochs=2, shuffle=False, callbacks=watch, verbose=0
        )
        losses.append(history.history)
print(json.dumps(losses))
"""


class Interrupt(keras.callbacks.Callback):
    """Interrupts the second epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


class Kill(keras.callbacks.Callback):
    """Kills its process in the middle of the second epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch == 1:
            os.kill(os.getpid(), signal.SIGKILL)


def results(folder):
    history, weights = json.loads((folder / "result.json").read_text())
    return history, [np.array(value) for value in weights]


def assert_alike(one, other):
    """Losses, metrics and weights of two runs agree."""
    for row, wanted in zip(one[0], other[0], strict=True):
        for name in row.keys() - {"seconds"}:
            assert row[name] == pytest.approx(wanted[name], abs=TOLERANCE), name
    for value, wanted in zip(one[1], other[1], strict=True):
        np.testing.assert_allclose(value, wanted, atol=TOLERANCE)


@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch has a process for each device")
@pytest.mark.parametrize("windows", [4, 1])
def test_several_devices_train_as_one(tmp_path, windows):
    """Also where a run of two is resumed on one, and with fewer windows than there are devices."""
    count = 2 if windows == 4 else 4
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"} if BACKEND == "jax" else {}
    flags |= {"INTERRUPTED": "yes"} if windows == 4 else {}
    counts = "1,2,4" if BACKEND == "jax" else f"1,{count}"  # TensorFlow: one group in a process
    tiny.python(TRAIN, tiny.data(), tmp_path, counts, windows, **flags)
    assert_alike(results(tmp_path / str(count)), results(tmp_path / "1"))
    if BACKEND == "jax":
        assert_alike(results(tmp_path / "4"), results(tmp_path / "1"))


@pytest.mark.skipif(BACKEND == "torch", reason="`fit` alone does not join processes")
def test_a_fit_of_ones_own(tmp_path):
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"} if BACKEND == "jax" else {}
    one, two = json.loads(tiny.python(FIT, tiny.data(), **flags).splitlines()[-1])
    assert one.keys() == two.keys() and {"loss", "val_iou", "val_object_f1"} <= one.keys()
    for name, values in one.items():
        assert two[name] == pytest.approx(values, abs=TOLERANCE, nan_ok=True), name


def two_processes(out, code=TRAIN, **environment):
    """Runs code in two processes; returns a status that is 0 if all is well, and what they say."""
    script = out.parent / "train.py"
    script.write_text(code)
    port = tiny.free_port()
    command = [str(script), str(tiny.data()), str(out), "1", "4"]
    started = []
    if BACKEND == "torch":
        launcher = ["-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={port}"]
        started.append(([*launcher, *command], {}))
    else:
        for rank in "01":
            names = ("RANK", "KERAS_DISTRIBUTION_PROCESS_ID")
            addresses = ("KERAS_DISTRIBUTION_JOB_ADDRESSES", "JAX_COORDINATOR_BIND_ADDRESS")
            own = {**dict.fromkeys(names, rank), **dict.fromkeys(addresses, f"127.0.0.1:{port}")}
            started.append((command, {**own, "KERAS_DISTRIBUTION_NUM_PROCESSES": "2"}))
    processes = [
        subprocess.Popen(
            [sys.executable, *arguments], cwd=tiny.ROOT, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace",
            env=tiny.environ(PYTHONPATH=str(tiny.ROOT), **own, **environment),
        )
        for arguments, own in started
    ]  # fmt: skip
    try:
        output = "".join(process.communicate(timeout=240)[0] for process in processes)
    finally:
        for process in processes:
            process.kill()
    return sum(process.returncode != 0 for process in processes), output


@pytest.mark.skipif(BACKEND == "tensorflow", reason="Keras builds no model over hosts there")
def test_several_processes_train_as_one_also_after_a_kill(tmp_path):
    """One is killed in the second epoch: the other ends too, and a new start goes on."""
    status, output = two_processes(tmp_path / "two", KILLED="1" if BACKEND == "torch" else "0")
    if BACKEND == "torch":  # `torchrun` says so, and has a status of its own
        assert status == 1 and "SIGKILL" in output
    else:
        assert status == 2 and re.search("training end together|detected fatal error", output)
    assert not (tmp_path / "two" / "1" / "result.json").exists()
    begun = (tmp_path / "two" / "1" / "history.csv").read_text().splitlines()
    assert len(begun) == 2  # headings, and the first epoch

    status, output = two_processes(tmp_path / "two")
    assert status == 0, output[-4000:]
    tiny.python(TRAIN, tiny.data(), tmp_path / "one", 1, 4)
    assert_alike(results(tmp_path / "two" / "1"), results(tmp_path / "one" / "1"))


DISAGREE = """
import os, sys
from keras_deepskip.training import Recipe, train
train(sys.argv[1], sys.argv[2], Recipe(steps=4 + int(os.environ["RANK"])), verbose=0)
"""


@pytest.mark.skipif(BACKEND == "tensorflow", reason="Keras builds no model over hosts there")
def test_processes_that_disagree_end_before_anything_is_written(tmp_path):
    status, output = two_processes(tmp_path / "two", code=DISAGREE)
    assert status != 0 and "steps=5 in process 1, 4 in process 0" in output
    assert not (tmp_path / "two").exists()


# ---- What is refused -----------------------------------------------------------------------------


@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch has a process for each device")
def test_more_devices_than_there_are(tmp_path):
    with pytest.raises(ValueError, match=r"at most \d+, as many as .* sees here \(.*devices=99"):
        train(tiny.data(), tmp_path / "run", RECIPE, devices=99, verbose=0)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(BACKEND != "torch", reason="PyTorch has a process for each device")
def test_pytorch_needs_a_process_for_each_device():
    with pytest.raises(ValueError, match="torchrun --nproc-per-node"), on_devices(2):
        pass
    with on_devices("all") as count:
        assert count == 1


@pytest.mark.skipif(BACKEND != "jax", reason="Keras's variables for processes of JAX")
def test_variables_that_are_missing(monkeypatch):
    monkeypatch.setenv("KERAS_DISTRIBUTION_NUM_PROCESSES", "2")
    monkeypatch.setenv("KERAS_DISTRIBUTION_PROCESS_ID", "2")
    with pytest.raises(ValueError, match="HOST:PORT of process 0.*no KERAS_DISTRIBUTION_JOB_ADDR"):
        train(tiny.data(), "nowhere", RECIPE, verbose=0)
    monkeypatch.setenv("KERAS_DISTRIBUTION_JOB_ADDRESSES", "127.0.0.1")
    with pytest.raises(ValueError, match="HOST:PORT of process 0. Received: .*=127.0.0.1$"):
        train(tiny.data(), "nowhere", RECIPE, verbose=0)
    monkeypatch.setenv("KERAS_DISTRIBUTION_JOB_ADDRESSES", "127.0.0.1:29500")
    with pytest.raises(ValueError, match="from 0 to 1. Received: KERAS_DISTRIBUTION_PROCESS_ID=2"):
        train(tiny.data(), "nowhere", RECIPE, verbose=0)


@pytest.mark.skipif(BACKEND != "jax", reason="Keras's variables for processes of JAX")
def test_a_port_in_use():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code = "from keras_deepskip.training import train; train('data', 'out')"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tiny.ROOT, capture_output=True, text=True,
            env=tiny.environ(
                KERAS_DISTRIBUTION_NUM_PROCESSES="2", KERAS_DISTRIBUTION_PROCESS_ID="0",
                KERAS_DISTRIBUTION_JOB_ADDRESSES=address, JAX_COORDINATOR_BIND_ADDRESS=address,
            ),
            check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert f"could not join the others. Received: KERAS_DISTRIBUTION_JOB_ADDRESSES={address}" in (
        done.stderr
    )


def test_devices_that_do_not_fit():
    with pytest.raises(ValueError, match="shared equally among 3 devices.*batch_size=4"):
        check_shares(4, 3)
    with pytest.raises(ValueError, match="`devices` must be"), on_devices(0):
        pass


def test_folds_are_for_one_process(tmp_path, monkeypatch):
    for name in ("WORLD_SIZE", "KERAS_DISTRIBUTION_NUM_PROCESSES"):
        monkeypatch.setenv(name, "2")
    monkeypatch.setenv("KERAS_DISTRIBUTION_PROCESS_ID", "0")
    monkeypatch.setenv("KERAS_DISTRIBUTION_JOB_ADDRESSES", "127.0.0.1:29500")
    if BACKEND != "tensorflow":
        with pytest.raises(ValueError, match="one after the other.*2 processes"):
            cross_validate(tiny.data(), tmp_path, Recipe(epochs=1), verbose=0)


# ---- Windows that fill a batch up ----------------------------------------------------------------


def test_the_last_batch_of_windows_is_filled_up_with_ignored_pixels():
    samples = find_samples(tiny.data())[:3]
    plain = WindowDataset(samples, crop_size=48, batch_size=2)
    filled = WindowDataset(samples, crop_size=48, batch_size=2, shares=2)
    assert [len(images) for images, _ in plain] == [2, 1]
    assert [len(images) for images, _ in filled] == [2, 2]
    images, masks = filled[1]
    assert (masks[1] == -1).all() and np.array_equal(masks[0], plain[1][1][0])
    assert np.isfinite(images).all()
    own = WindowDataset(samples, 48, 2, masks=MaskReading(ignore_class=255), shares=2)
    assert (own[1][1][1] == 255).all()
    model = build_model(levels=2, base_filters=2)
    model.compile(loss=keras.losses.MeanSquaredError())
    assert np.isfinite(model.evaluate(plain, verbose=0))


# ---- A strategy of the user's own ----------------------------------------------------------------

MIRRORED = """
import dataclasses, json, sys
import tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from keras_deepskip.inference import evaluate
from keras_deepskip.training import train
from tests import tiny

with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    recipe = dataclasses.replace(tiny.RECIPE, epochs=1)
    run = train(tiny.data(), sys.argv[1], recipe, verbose=0, **tiny.MODEL)
found = evaluate(run, verbose=0)
print(json.dumps([run.history, found.objects["all"]]))
"""


@pytest.mark.skipif(BACKEND != "tensorflow", reason="a strategy of TensorFlow")
def test_train_under_mirrored_strategy(tmp_path):
    """Each replica predicts the whole batch, of which objects and pictures are counted once."""
    history, objects = json.loads(tiny.python(MIRRORED, tmp_path / "run").splitlines()[-1])
    (row,) = history
    assert 0 < row["loss"] < 5 and 0 <= row["val_object_f1"] <= 1
    assert objects["tp"] + objects["fn"] > 0
