"""Processes of JAX: what `Processes` asks of `keras.distribution` and JAX.

Each process is started by itself, with Keras's variables `KERAS_DISTRIBUTION_...`; it has the
devices of its machine. A training step is one program over the devices of all of them, so that the
batch is a whole to it; what else a model computes, each device computes for itself.
"""

import contextlib
import os
import pickle
import socket

import keras
import numpy as np

COUNT, RANK, ADDRESS = (
    f"KERAS_DISTRIBUTION_{name}" for name in ("NUM_PROCESSES", "PROCESS_ID", "JOB_ADDRESSES")
)

SILENCE = 20  # seconds after which a process that is not heard of counts as ended


def started():
    """The number of processes that were started together, and the number of this one."""
    count = int(os.environ.get(COUNT, "1"))
    if count == 1:
        return 1, 0
    missing = [name for name in (RANK, ADDRESS) if not os.environ.get(name)]
    if missing:
        raise ValueError(
            f"{COUNT}={count} needs {RANK}, from 0 to {count - 1}, and {ADDRESS}, HOST:PORT of "
            f"process 0, too. Received: no {' and no '.join(missing)}. Set them for each process"
        )
    if not os.environ[ADDRESS].split(",")[0].rpartition(":")[2].isdecimal():
        raise ValueError(
            f"{ADDRESS} must be HOST:PORT of process 0. Received: {ADDRESS}={os.environ[ADDRESS]}"
        )
    rank = int(os.environ[RANK])
    if not 0 <= rank < count:
        raise ValueError(f"{RANK} must be from 0 to {count - 1}. Received: {RANK}={rank}")
    return count, rank


@contextlib.contextmanager
def joined(count, rank):
    """Joins the processes: they can exchange what they have. If one fails, all end.

    JAX joins them before it computes anything, and once: one training in a process.
    """
    import jax

    address = os.environ[ADDRESS].split(",")[0]
    try:
        if rank == 0:
            check_port(address)
        jax.distributed.initialize(
            address,
            count,
            rank,
            heartbeat_timeout_seconds=SILENCE,
            shutdown_timeout_seconds=SILENCE,  # how long one that has failed waits for the others
        )
    except (OSError, RuntimeError) as error:
        raise RuntimeError(
            f"process {rank} of {count} could not join the others. Received: {ADDRESS}={address} "
            f"({error}). Give a free port of the machine of process 0, which all of them reach; "
            "each process trains once"
        ) from error
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        raise RuntimeError(
            f"processes of one training end together. Process {rank} of {count} received: {error}. "
            "If another one has ended, its own output says why. Start all of them again, with "
            "`resume='auto'` (--resume auto)"
        ) from error
    jax.distributed.shutdown()


def check_port(address):
    """Raises an `OSError` if this machine's port is in use: JAX may crash there without a word."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("", int(address.rpartition(":")[2])))


def wait():
    """Waits for all processes to come here."""
    gathered(None)


def gathered(value):
    """A list of the values that the processes give, in all of them."""
    from jax.experimental.multihost_utils import process_allgather

    own = np.frombuffer(pickle.dumps(value), "uint8")
    sizes = process_allgather(np.array([own.size]))[:, 0]
    filled = np.zeros(sizes.max(), "uint8")
    filled[: own.size] = own
    rows = process_allgather(filled)
    return [pickle.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


@contextlib.contextmanager
def sharing():
    """A context in which a model takes shares of batches; else batches are whole."""
    distribution = keras.distribution.distribution()
    distribution.shared = True
    try:
        yield
    finally:
        distribution.shared = False


def train_together(model):
    """Has batches of a compiled model's training be shares of the whole one; returns callbacks."""
    return [_ShareTraining()]


class _ShareTraining(keras.callbacks.Callback):
    """Has what `fit` trains on be shared, and what it validates on be whole in each process."""

    def on_epoch_begin(self, epoch, logs=None):
        keras.distribution.distribution().shared = True

    def on_test_begin(self, logs=None):
        keras.distribution.distribution().shared = False

    def on_epoch_end(self, epoch, logs=None):
        keras.distribution.distribution().shared = False
