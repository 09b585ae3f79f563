"""`Processes`: those that `torchrun` has started to train one model, each with a share of a batch.

Under PyTorch a device has a process of its own. All of them read the data and draw the same
batches, of which each computes its share; gradients, statistics of batch norms and metrics are
those of the whole batch. The first process alone writes the run; the others write to a copy of
their own, which is removed, so that all take the same decisions from the same figures.
"""

import contextlib
import dataclasses
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import keras


@dataclasses.dataclass(frozen=True)
class Processes:
    """The processes of a training.

    Attributes:
        count: how many there are.
        rank: the number of this one, from 0 on.
    """

    count: int = 1
    rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    @contextlib.contextmanager
    def folder(self, out: Path) -> Iterator[Path]:
        """Gives the folder that this process writes to: `out`, or a copy of it."""
        if self.first:
            self.wait()
            yield out
            self.wait()
            return
        with tempfile.TemporaryDirectory() as scratch:
            own = Path(scratch) / out.name
            if out.is_dir():
                shutil.copytree(out, own)
            self.wait()  # until then the first one writes nothing
            yield own
            self.wait()

    def wait(self) -> None:
        """Waits for all processes to come here."""
        if self.count > 1:
            from torch import distributed

            distributed.barrier()

    def same(self, value):
        """The first process's value, in all of them."""
        if self.count == 1:
            return value
        from torch import distributed

        values = [value]
        distributed.broadcast_object_list(values, device=_device())
        return values[0]

    def check_alike(self, value: dict[str, dict]) -> None:
        """Raises a ValueError in all processes if they differ in an entry of a dict of dicts."""
        if self.count == 1:
            return
        from torch import distributed

        values: list = [None] * self.count
        distributed.all_gather_object(values, value)
        for rank, other in enumerate(values):
            changed = [
                f"{name}={other[part].get(name)!r} in process {rank}, {first!r} in process 0"
                for part in values[0]
                for name, first in values[0][part].items()
                if other[part].get(name) != first
            ]
            if changed:
                raise ValueError(
                    "processes of one training must have the same arguments and versions. "
                    f"Received: {'; '.join(changed)}"
                )

    def share(self, dataset):
        """A dataset of this process's share of each batch."""
        return dataset if self.count == 1 else _Share(dataset, self)

    def train_together(self, model: keras.Model) -> list[keras.callbacks.Callback]:
        """Has a compiled model step by the gradients of the whole batch; returns callbacks."""
        if self.count == 1:
            return []
        from torch import distributed

        for variable in model.variables:
            distributed.broadcast(variable.value.data, 0)
        _average_gradients(model.optimizer, self.count)
        return [_SumMetrics()]


def started_processes() -> Processes:
    """The processes that `torchrun` has started, of which this is one; else this one alone."""
    if keras.backend.backend() != "torch":
        return Processes()
    return Processes(int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0")))


@contextlib.contextmanager
def joined_processes() -> Iterator[Processes]:
    """Joins the processes that `torchrun` has started, which then can exchange what they have."""
    processes = started_processes()
    if processes.count == 1:
        yield processes
        return
    import torch
    from torch import distributed

    begun = not distributed.is_initialized()
    if begun:
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield processes
    finally:
        if begun:
            distributed.destroy_process_group()


class _Share(keras.utils.PyDataset):
    """The rows of each batch that are for one process; all else is the dataset's own."""

    def __init__(self, dataset, processes):
        super().__init__()
        self.dataset, self.processes = dataset, processes

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        rank, count = self.processes.rank, self.processes.count
        return keras.tree.map_structure(
            lambda array: array[rank * len(array) // count : (rank + 1) * len(array) // count],
            self.dataset[index],
        )

    def on_epoch_begin(self):
        self.dataset.on_epoch_begin()

    def on_epoch_end(self):
        self.dataset.on_epoch_end()


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


def _device():
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
