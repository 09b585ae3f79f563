"""Processes of PyTorch: what `Processes` asks of `torch.distributed`.

`torchrun` starts a process for each device. Gradients, statistics of batch norms and metrics are
those of the whole batch.
"""

import contextlib
import os

import keras


def started():
    """The number of processes that were started together, and the number of this one."""
    return int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))


@contextlib.contextmanager
def joined(count, rank):
    """Joins the processes: they can exchange what they have."""
    import torch
    from torch import distributed

    begun = not distributed.is_initialized()
    if begun:
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        if begun:
            distributed.destroy_process_group()


def wait():
    """Waits for all processes to come here."""
    from torch import distributed

    distributed.barrier()


def gathered(value):
    """A list of the values that the processes give, in all of them."""
    from torch import distributed

    values = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def sharing():
    """A context in which `train_on_batch` takes shares: here it always does."""
    return contextlib.nullcontext()


def train_together(model):
    """Has a compiled model step by the gradients of the whole batch; returns callbacks."""
    from torch import distributed

    for variable in model.variables:
        distributed.broadcast(variable.value.data, 0)
    _average_gradients(model.optimizer, distributed.get_world_size())
    return [_SumMetrics()]


class _SumMetrics(keras.callbacks.Callback):
    """Has the metrics of an epoch's training be those of all processes."""

    def on_train_batch_end(self, batch, logs=None):
        if batch + 1 == self.params["steps"]:
            from torch import distributed

            for variable in self.model.metrics_variables:
                distributed.all_reduce(variable.value.data)


def _average_gradients(optimizer, count):
    """Has an optimizer take the mean of all processes' gradients: one exchange a step."""
    import torch
    from torch import distributed

    apply = optimizer.apply

    def apply_mean(gradients, trainable_variables=None):
        joined = torch.cat([gradient.reshape(-1) for gradient in gradients])
        distributed.all_reduce(joined)
        parts = torch.split(joined / count, [gradient.numel() for gradient in gradients])
        means = [part.view_as(own) for part, own in zip(parts, gradients, strict=True)]
        return apply(means, trainable_variables)

    optimizer.apply = apply_mean
