"""What a process of a cluster does: it predicts shards of images, one after the other."""

import contextlib
import dataclasses
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from keras_deepskip._processes import use_threads
from keras_deepskip._versions import versions
from keras_deepskip.inference.finished import FOLDER, Finished, NoteFile
from keras_deepskip.inference.image_work import GROUP, ImageWork, Wanted, is_alone
from keras_deepskip.models import load_model

SHARD = 256  # images of a shard at most
ROUNDS = 4  # shards that each worker gets at least, if there are images enough
COMPARED = ("keras_deepskip", "keras", "backend")  # of the versions

_one_at_a_time = threading.Lock()  # a backend's own threads use all cores of this process
_works: dict[tuple, tuple] = {}  # of this process: the last job's `ImageWork` and `NoteFile`


@dataclasses.dataclass(frozen=True)
class Job:
    """What all shards of a call of `predict` share.

    Attributes:
        model: the file of the model, its batch norms folded.
        wanted: the `Wanted`.
        work: a text that other work has not.
        versions: of the process that calls, as in `versions`.
        directory: the folder that paths are relative to.
        hosts: how many workers each host has, which share its cores; none where they were started
            with their share.
    """

    model: Path
    wanted: Wanted
    work: str
    versions: dict[str, str]
    directory: str
    hosts: dict[str, int]


@dataclasses.dataclass(frozen=True)
class Shard:
    """Groups of images, and the names of those in them whose files are there."""

    groups: list[list]
    finished: frozenset[str]


@dataclasses.dataclass(frozen=True)
class ShardResult:
    """Where the notes of a shard's images are, and which images cannot be read.

    Attributes:
        notes: `(name, place, sized)` of each image, as `Finished.add` takes them.
        failures: `(name, error)` of each image that cannot be read.
    """

    notes: list[tuple]
    failures: list[tuple[str, Exception]]


def shards_of(groups: Sequence[list], finished: Finished, workers: int) -> list[Shard]:
    """Cuts groups of images into shards.

    A shard has at most `SHARD` images, fewer where workers would have less than `ROUNDS` shards
    each. A group of one image in a large file is a shard of its own.

    Args:
        groups: as in `groups_of`.
        finished: a `Finished`.
        workers: how many processes there are.
    """
    most = sum(map(len, groups)) // (ROUNDS * workers)
    most = max(min(most, SHARD), GROUP)
    shards: list[list] = [[]]
    for group in groups:
        alone = len(group) == 1 and is_alone(group[0].image)
        if shards[-1] and (alone or sum(map(len, shards[-1])) + len(group) > most):
            shards.append([])
        shards[-1].append(group)
        if alone:
            shards.append([])
    return [
        Shard(own, frozenset(each.name for group in own for each in group if each.name in finished))
        for own in shards
        if own
    ]


def predict_shard(job: Job, shard: Shard) -> ShardResult:
    """Predicts the images of a shard, writes their files, and notes each in this process's file."""
    notes, failures = [], []
    with _one_at_a_time, contextlib.chdir(job.directory):
        work, file = _work_of(job)
        with file:
            for group in shard.groups:
                for sample, found in work.predict(group, shard.finished):
                    if isinstance(found, Exception):
                        failures.append((sample.name, _portable(found)))
                    else:
                        notes.append((sample.name, file.add(found), found["sized"]))
    return ShardResult(notes, failures)


def _work_of(job):
    """The model, which a process loads once, and its file of notes."""
    from distributed import get_worker

    key = job.work, job.directory, job.wanted.folder
    if key not in _works:
        check_worker(job, get_worker())
        if job.hosts:
            use_threads(_threads(job, get_worker()))
        work = ImageWork(load_model(job.model), job.wanted, job.work)
        _works.clear()
        _works[key] = work, NoteFile(job.wanted.folder / FOLDER, make_folder=False)
    return _works[key]


def check_worker(job, dask_worker):
    """Raises a RuntimeError if a worker, this process, would not do as the one that calls."""
    own, address = versions(), dask_worker.address
    for name in COMPARED:
        if own[name] != job.versions[name]:
            raise RuntimeError(
                f"workers of the caller's versions and backend were expected: {name} "
                f"{job.versions[name]}. Received: {name} {own[name]} at {address}. Install the "
                "same, set KERAS_BACKEND for the workers, and start them again"
            )
    with contextlib.suppress(OSError), contextlib.chdir(job.directory):
        if job.model.is_file():
            return
    raise RuntimeError(
        f"workers that see the folder of the results were expected. Received: {address}, which has "
        f"no {os.path.join(job.directory, job.model)}. Take a folder that is mounted under the "
        "same path everywhere"
    )


def _threads(job, worker):
    """The cores of this machine, shared among its workers."""
    from dask.system import CPU_COUNT
    from distributed.comm import get_address_host

    host = get_address_host(worker.address)
    return max(CPU_COUNT // job.hosts.get(host, 1), 1)


def _portable(error):
    """An error of a file as one that other processes can read."""
    return (OSError if isinstance(error, OSError) else ValueError)(str(error))
