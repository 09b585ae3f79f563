"""`predict(cluster=)`: shards of images on the processes of a Dask cluster.

A shard is a task. At most `AHEAD` for each worker are with the scheduler, so that neither it nor
this process holds what has not begun. Dask gives a lost worker's shards to others; what the lost
one had written is written again, alike. A shard that was lost several times is tried anew in
parts, without the images that were done.
"""

import contextlib
import functools
import itertools
import logging
import os
import queue
import re
import time
import uuid
from collections import Counter

import keras

from keras_deepskip import _files
from keras_deepskip._checks import require
from keras_deepskip._processes import GPU_SHARING, THREADS, child_environment
from keras_deepskip._versions import versions
from keras_deepskip.inference.shards import (
    COMPARED,
    Job,
    Shard,
    check_worker,
    predict_shard,
    shards_of,
)
from keras_deepskip.inference.zarrs import LARGE

AHEAD = 2  # shards for each worker that the scheduler has
CONNECT_S = 5  # seconds until a scheduler that does not answer is reported
WORKERS_S = 60  # seconds until a scheduler without workers is
LOOK_S = 2  # seconds between looks at how many workers there are
MODEL = "model.keras"
AGAIN = "The same command continues"


def check_cluster(cluster):
    """Returns a number of processes to start here, or a scheduler's address, or None.

    Raises:
        ValueError: if it is no such text.
        ImportError: if Dask is missing.
    """
    if cluster is None:
        return None
    require("distributed", LARGE, "`cluster`")
    text = str(cluster)
    if match := re.fullmatch(r"local:([1-9]\d*)", text):
        return int(match[1])
    if re.fullmatch(r"(tcp|tls)://[^/\s]+:\d+", text):
        return text
    raise ValueError(
        "`cluster` must be 'local:N' for N processes on this machine, or the address of a Dask "
        f"scheduler, 'tcp://HOST:PORT'. Received: cluster={cluster!r}"
    )


def predict_on_cluster(cluster):
    """Returns a function that predicts groups of images on a cluster.

    Args:
        cluster: as in `check_cluster`.

    Returns:
        A function of an `ImageWork`, a list of groups and a `Finished`, which yields the name of
        each image, and None or why it cannot be read.
    """
    return functools.partial(_predict_groups, cluster)


def _predict_groups(cluster, work, groups, finished):
    from distributed.comm import get_address_host

    if not groups:
        return
    with _client(cluster) as client:
        workers = _wait_for_workers(client)
        finished.folder.mkdir(parents=True, exist_ok=True)
        with _files.replacing(finished.folder / MODEL) as new:
            work.model.save(new)
        hosts = {} if isinstance(cluster, int) else Counter(map(get_address_host, workers))
        job = Job(
            model=finished.folder / MODEL,
            wanted=work.wanted,
            work=work.work,
            versions=versions(),
            directory=os.getcwd(),
            hosts=dict(hosts),
        )
        _check_versions(client, job)
        client.run(check_worker, job)
        shards = shards_of(groups, finished, len(workers))
        rest = functools.partial(_rest_of, finished, work.stamp)
        for result in _results(client, job, shards, rest):
            for name, place, sized in result.notes:
                finished.add(name, place, sized)
                yield name, None
            yield from result.failures


@contextlib.contextmanager
def _client(cluster):
    """A client of the cluster; processes that are started here end with it."""
    import distributed

    if isinstance(cluster, int):
        from dask.system import CPU_COUNT

        share = dict.fromkeys(THREADS, str(max(CPU_COUNT // cluster, 1)))
        given = {name: os.environ[name] for name in THREADS if name in os.environ}
        environment = child_environment(keras.backend.backend(), **share, **GPU_SHARING) | given
        with (
            distributed.LocalCluster(
                n_workers=cluster, threads_per_worker=1, processes=True, dashboard_address=None,
                silence_logs=logging.CRITICAL, env=environment,
            ) as local,
            distributed.Client(local, set_as_default=False) as client,
        ):  # fmt: skip
            yield client
        return
    try:
        client = distributed.Client(cluster, timeout=CONNECT_S, set_as_default=False)
    except OSError as error:
        raise ConnectionError(
            f"a Dask scheduler was expected at {cluster}, and none answers ({error}). Start one "
            "with `dask scheduler`, and its workers with `dask worker ADDRESS --nthreads 1`; or "
            "take cluster='local:N'"
        ) from error
    with client:
        yield client


def _wait_for_workers(client):
    """The addresses of the workers, once there are any."""
    address = client.scheduler.address
    with contextlib.suppress(TimeoutError):
        client.wait_for_workers(1, timeout=WORKERS_S)
    workers = client.nthreads()
    if not workers:
        raise ConnectionError(
            f"the Dask scheduler at {address} has no workers (waited {WORKERS_S} s). Start some: "
            f"`dask worker {address} --nthreads 1`"
        )
    return list(workers)


def _check_versions(client, job):
    """Raises an error if a worker's packages are others, before it is sent work of this one."""
    packages = [name for name in COMPARED if name != "backend"]
    for address, found in client.get_versions(packages=packages)["workers"].items():
        for name in packages:
            own = found["packages"].get(name)
            if own != job.versions[name]:
                raise RuntimeError(
                    f"workers of the caller's versions were expected: {name} "
                    f"{job.versions[name]}. Received: {name} {own or '(none)'} at {address}. "
                    "Install it there, and start the workers again"
                )


def _results(client, job, shards, rest):
    """Yields what each shard has given, as they are done.

    Args:
        client: of the cluster.
        job: the `Job` of all shards.
        shards: an iterable of `Shard`.
        rest: function from a shard that has ended several workers, and the error that says so, to
            the shards that are tried in its place.
    """
    done, running, waiting, again = queue.SimpleQueue(), {}, iter(shards), []
    call, places, number = uuid.uuid4().hex[:8], _Places(client), itertools.count()
    while True:
        while len(running) < places.count():
            shard = again.pop() if again else next(waiting, None)
            if shard is None:
                break
            key = f"predict-{call}-{next(number)}"
            future = client.submit(predict_shard, job, shard, key=key, pure=False)
            running[key] = shard, future
            future.add_done_callback(done.put)
        if not running:
            return
        ended = _ended(done)
        # One trip to the scheduler for all that have ended: of many workers many have.
        yield from client.gather([future for future in ended if future.status == "finished"])
        for future in ended:
            shard, _ = running.pop(future.key)
            if future.status != "finished":
                again += rest(shard, _killed(future))
            future.release()


def _ended(done):
    """The futures of a queue, once there are any; none if it takes long."""
    try:
        ended = [done.get(timeout=LOOK_S)]
    except queue.Empty:
        return []
    while not done.empty():
        ended.append(done.get())
    return ended


def _killed(future):
    """The error of a shard that ended several workers; other errors are raised."""
    import distributed

    try:
        error = future.exception()
    except distributed.CancelledError as cancelled:
        error = cancelled
    if isinstance(error, distributed.KilledWorker):
        return error
    if isinstance(error, distributed.CancelledError):
        raise ConnectionError(f"the Dask scheduler was lost ({error}). {AGAIN}") from error
    raise error


def _rest_of(finished, stamp_of, shard, error):
    """What is left of a shard that has ended several workers, each group a shard of its own.

    Raises:
        RuntimeError: if it was one group, and none of its images was done.
    """
    samples = [sample for group in shard.groups for sample in group]
    before = len(finished)
    finished.look_up(samples, stamp_of)
    if len(shard.groups) == 1 and len(finished) == before:
        raise RuntimeError(
            f"each worker that predicted these images was lost: {samples[0].image} to "
            f"{samples[-1].name} ({error}). Did they need more memory than a worker has? Take "
            f"fewer workers a machine, or the image out. {AGAIN}"
        ) from error
    return [
        Shard([group], frozenset(each.name for each in group if each.name in finished))
        for group in shard.groups
        if not all(each.name in finished for each in group)
    ]


class _Places:
    """How many shards the scheduler may have, which changes with its workers."""

    def __init__(self, client):
        self._client = client
        self._workers, self._looked, self._seen = 1, 0.0, time.monotonic()

    def count(self):
        """Looks now and then.

        Raises:
            ConnectionError: if there have been no workers for `WORKERS_S`.
        """
        now = time.monotonic()
        if now - self._looked > LOOK_S:
            self._looked, self._workers = now, len(self._client.nthreads())
            self._seen = now if self._workers else self._seen
        if now - self._seen > WORKERS_S:
            raise ConnectionError(
                f"the Dask scheduler has had no workers for {WORKERS_S} s. Start some. {AGAIN}"
            )
        return AHEAD * max(self._workers, 1)
