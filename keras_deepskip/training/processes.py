"""`Processes`: those that were started to train one model, each with a share of a batch.

All of them read the data and draw the same batches, of which each computes its share; gradients,
statistics of batch norms and metrics are those of the whole batch. The first process alone writes
the run; the others write to a copy of their own, which is removed, so that all take the same
decisions from the same figures. How they speak with each other is the backend's.
"""

import contextlib
import dataclasses
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import keras

from keras_deepskip.training import jax_processes, torch_processes

BACKENDS = {"jax": jax_processes, "torch": torch_processes}


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
            _backend().wait()

    def same(self, value):
        """The first process's value, in all of them."""
        return value if self.count == 1 else _backend().gathered(value)[0]

    def check_alike(self, value: dict[str, dict]) -> None:
        """Raises a ValueError in all processes if they differ in an entry of a dict of dicts."""
        if self.count == 1:
            return
        values = _backend().gathered(value)
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

    def sharing(self) -> contextlib.AbstractContextManager:
        """A context in which `train_on_batch` takes shares; `train_together` sees to `fit`."""
        return contextlib.nullcontext() if self.count == 1 else _backend().sharing()

    def train_together(self, model: keras.Model) -> list[keras.callbacks.Callback]:
        """Has a compiled model step by the gradients of the whole batch; returns callbacks."""
        return [] if self.count == 1 else _backend().train_together(model)


def started_processes() -> Processes:
    """The processes that were started together, of which this is one; else this one alone.

    Under PyTorch `torchrun` says so, under JAX Keras's variables `KERAS_DISTRIBUTION_...`.
    """
    backend = _backend()
    return Processes(*backend.started()) if backend else Processes()


@contextlib.contextmanager
def joined_processes() -> Iterator[Processes]:
    """Joins the processes that were started together: they can exchange what they have."""
    processes = started_processes()
    if processes.count == 1:
        yield processes
        return
    with _backend().joined(processes.count, processes.rank):
        yield processes


def _backend():
    return BACKENDS.get(keras.backend.backend())


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
