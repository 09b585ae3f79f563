"""How long a training step takes here: measured before a run that has a budget of minutes."""

import contextlib
import time

import keras

STEPS = 4  # that are timed, after one that compiles


def seconds_per_step(model, crops, windows, steps_per_epoch, sharing=contextlib.nullcontext):
    """Times steps and validation of a compiled model, and puts the model back as it was.

    Args:
        model: a compiled `keras.Model`.
        crops: the training batches, as `fit` takes them.
        windows: the validation batches.
        steps_per_epoch: training steps for each validation.
        sharing: function that returns a context for training steps (see `Processes.sharing`).

    Returns:
        `(step, start)`: seconds of a step with its share of the validation, and what compilation
        took, which `fit` will take again.
    """
    weights = model.get_weights()
    start = time.perf_counter()
    with sharing():
        _step(model, crops[0])
    _check(model, windows[0])
    compiling = time.perf_counter() - start
    start = time.perf_counter()
    with sharing():
        for index in range(STEPS):
            _step(model, crops[index % len(crops)])
    step = (time.perf_counter() - start) / STEPS
    start = time.perf_counter()
    _check(model, windows[0])
    checking = (time.perf_counter() - start) * len(windows)
    model.set_weights(weights)
    # To find and match the objects of the predictions takes about as long again.
    return step + 2 * checking / steps_per_epoch, compiling


def _step(model, batch):
    model.train_on_batch(*batch)


def _check(model, batch):
    model.test_on_batch(*batch)
    keras.ops.convert_to_numpy(model.predict_on_batch(batch[0]))
