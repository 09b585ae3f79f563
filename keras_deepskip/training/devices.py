"""`on_devices`: several devices of this machine share each batch, by what Keras has for it."""

import contextlib
from collections.abc import Iterator

import keras

from keras_deepskip import _checks


@contextlib.contextmanager
def on_devices(devices: int | str = 1) -> Iterator[int]:
    """Has models that are built and fitted inside run on several devices of this machine.

    Each takes an equal share of every batch, so that the batch's loss and gradients are those of
    one device, to rounding. JAX: `keras.distribution.DataParallel`; data whose first batch cannot
    be shared equally are computed on each device, others have batches of multiples of the devices.
    TensorFlow: `tf.distribute.MirroredStrategy`. PyTorch has a process for each device, which its
    own `torchrun` starts. Processes of PyTorch, and of JAX on several hosts, are joined by `train`
    (`fit` alone does not).

    Args:
        devices: how many (GPUs if there are any, else CPUs), or `"all"`. 1 changes nothing.

    Yields:
        How many there are.

    Raises:
        ValueError: for more devices than there are; under PyTorch for another number than that of
            the processes.

    Example:

    ```python
    with on_devices("all"):
        model = build_model()
        model.compile("adam", SmallObjectLoss())
        model.fit(dataset, epochs=20, shuffle=False, callbacks=[FollowEpoch(dataset)])
    ```
    """
    if devices != "all":
        devices = _checks.check_integer("devices", devices)
    backend = keras.backend.backend()
    if backend == "torch":
        yield _torch_count(devices)
        return
    several = backend == "jax" and _jax_processes() > 1
    if devices == 1 and not several:
        yield 1
        return
    names, context = _CONTEXTS[backend]
    known = names()
    if several and devices not in (1, "all", len(known)):
        raise ValueError(
            f"{_jax_processes()} processes of JAX share all of their {len(known)} devices. "
            f"Received: devices={devices}. Leave it out"
        )
    count = len(known) if several or isinstance(devices, str) else devices
    if count > len(known):
        raise ValueError(
            f"`devices` must be at most {len(known)}, as many as {backend} sees here ("
            f"{', '.join(known)}). Received: devices={devices}"
        )
    with context(known[:count]) if count > 1 else contextlib.nullcontext():
        yield count


def check_shares(batch_size: int, devices: int) -> None:
    """Raises a ValueError unless a batch can be shared equally among devices."""
    if batch_size % devices:
        raise ValueError(
            f"a batch must be shared equally among {devices} devices. Received: "
            f"batch_size={batch_size}. Give a multiple of {devices}, or other `devices`"
        )


def validation_shares(devices: int) -> int:
    """Of how many windows each batch of the validation must be a multiple, for so many devices."""
    return 1 if keras.backend.backend() == "torch" else devices


def _jax_names():
    return keras.distribution.list_devices()


@contextlib.contextmanager
def _jax_context(names):
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(_shared_batches(names))
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)


def _jax_processes():
    import jax

    return jax.process_count()


def _shared_batches(names):
    """`DataParallel`, but with whole batches on each device where shares would not be equal.

    Keras asks once, by the first batch of some data: all others must be like it.

    Of several processes each gives its share while `shared` is true, else the whole batch.
    """
    processes = _jax_processes()

    class SharedBatches(keras.distribution.DataParallel):
        shared = processes == 1

        def get_data_layout(self, data_shape):
            if self.shared and data_shape[0] % (len(names) // processes) == 0:
                return super().get_data_layout(data_shape)
            return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh)

    return SharedBatches(devices=names, auto_shard_dataset=False)


def _tensorflow_names():
    import tensorflow as tf

    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [device.name.removeprefix("/device:") for device in devices]


@contextlib.contextmanager
def _tensorflow_context(names):
    import tensorflow as tf

    with tf.distribute.MirroredStrategy(names).scope():
        yield


def _torch_count(devices):
    """The number of processes, each of which has a device of its own."""
    from torch import distributed

    joined = distributed.is_available() and distributed.is_initialized()
    count = distributed.get_world_size() if joined else 1
    if devices not in (1, count, "all"):
        raise ValueError(
            f"under PyTorch each device has a process. Received: devices={devices!r}, and {count} "
            "process(es). Start them by `torchrun --nproc-per-node DEVICES -m keras_deepskip.cli "
            "train ...`, and leave `devices` out"
        )
    return count


_CONTEXTS = {
    "jax": (_jax_names, _jax_context),
    "tensorflow": (_tensorflow_names, _tensorflow_context),
}
