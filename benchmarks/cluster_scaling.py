"""Where `predict(cluster=)` stops scaling: a real Dask scheduler, workers that sleep.

    python benchmarks/cluster_scaling.py --workers 10 100 1000 --image-ms 30

The scheduler is a process, the client (this package's, with its back-pressure) another. The workers
are Dask's own, all in a third process; in place of predicting, each sleeps for what a shard of 256
images takes. Told are the share of what so many workers could do, and the processor time of each of
the three processes by shard: on a machine with other work, it is this that says what a scheduler
and a client with a core of their own can do. The second table has what the client does at the end
for each image: it joins the tables. The third tells what follows for 10^8 images: the slowest of
the workers, the scheduler, and the client decides.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from keras_deepskip._tables import markdown_table
from keras_deepskip.data import Sample
from keras_deepskip.inference import cluster
from keras_deepskip.inference.finished import Finished, NoteFile
from keras_deepskip.inference.measures import counts
from keras_deepskip.inference.shards import SHARD, Job, Shard, ShardResult
from keras_deepskip.inference.tables import object_values, write_tables

ROUNDS = 2  # shards a worker
JOINED = 4000  # images whose tables are joined
OBJECTS = 20  # of each of them
IMAGES = 1e8  # of the third table


def main():
    """Prints three tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("role", nargs="?", choices=("all", "scheduler", "workers"), default="all")
    parser.add_argument("--workers", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--image-ms", type=float, nargs="+", default=[30.0])
    parser.add_argument("--address")
    options = parser.parse_args()
    if options.role == "scheduler":
        asyncio.run(scheduler())
    elif options.role == "workers":
        asyncio.run(sleeping_workers(options.address, *options.workers))
    else:
        tell(options)


def tell(options):
    rows = [scaling(count, ms) for ms in options.image_ms for count in options.workers]
    headers = ["workers", "ms an image", "shards", "seconds", "share of ideal"]
    headers += ["scheduler, ms a shard", "client, ms a shard", "workers, ms a shard"]
    print(markdown_table(headers, rows))
    joining = join_seconds()
    headers = ["images", "objects each", "CSV, us an image", "CSV and Parquet, us an image"]
    print("\n" + markdown_table(headers, [[JOINED, OBJECTS, *(1e6 * each for each in joining)]]))
    scheduler, client = (rows[-1][index] / 1e3 for index in (5, 6))
    headers = ["workers", "ms an image", "hours until predicted", "slowest", "hours of joining"]
    rows = [
        projected(count, ms, scheduler, client, joining[0])
        for ms in options.image_ms
        for count in WORKERS
    ]
    print("\n" + markdown_table(headers, rows))


def projected(count, ms, scheduler, client, joining):
    """What `IMAGES` take with so many workers, by seconds of a shard and of joining an image."""
    shards = IMAGES / SHARD
    taken = {
        "workers": IMAGES * ms / 1e3 / count,
        "scheduler": shards * scheduler,
        "client": shards * client,
    }
    slowest = max(taken, key=taken.get)
    return [count, ms, taken[slowest] / 3600, slowest, IMAGES * joining / 3600]


# What each worker does every 10 or 500 ms, which a machine of its own would not notice
QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.interval": "60s",
}
WORKERS = (1, 10, 100, 1000, 10_000)


# ---- The cluster ---------------------------------------------------------------------------------


async def scheduler():
    """A scheduler, which prints its address."""
    from distributed import Scheduler

    async with Scheduler(host="127.0.0.1", port=0, dashboard=False) as own:
        print(own.address, flush=True)
        await own.finished()


async def sleeping_workers(address, count):
    """So many of Dask's workers in this process; they say when they are there."""
    import dask
    from distributed import Worker

    dask.config.set(QUIET)
    options = {"nthreads": 1, "host": "127.0.0.1", "dashboard": False, "memory_limit": 0}
    workers = []
    for first in range(0, count, 50):
        own = [Worker(address, **options) for _ in range(first, min(first + 50, count))]
        workers += await asyncio.gather(*own)
    print("there", flush=True)
    await asyncio.gather(*(worker.finished() for worker in workers))


async def sleep_shard(job, shard):
    """In place of `predict_shard`; coroutines need no thread for each worker."""
    await asyncio.sleep(job.work)
    images = [sample for group in shard.groups for sample in group]
    return ShardResult([(image.name, ("1234-abc.jsonl", 99), False) for image in images], [])


def scaling(count, ms):
    """A line of the first table."""
    import distributed

    here = [sys.executable, __file__]
    boss = subprocess.Popen([*here, "scheduler"], stdout=subprocess.PIPE, text=True)
    address = boss.stdout.readline().strip()
    team = [*here, "workers", "--address", address, "--workers", str(count)]
    team = subprocess.Popen(team, stdout=subprocess.PIPE, text=True)
    try:
        team.stdout.readline()
        job = Job(Path("m.keras"), None, SHARD * ms / 1e3, {}, "/", {})
        shards = (made_shard(number) for number in range(ROUNDS * count))
        cluster.predict_shard = sleep_shard
        with distributed.Client(address, set_as_default=False) as client:
            processes = [psutil.Process(each.pid) for each in (boss, team)]
            processes.insert(1, psutil.Process())
            before, start = [busy(each) for each in processes], time.monotonic()
            done = sum(
                len(result.notes) > 0 for result in cluster._results(client, job, shards, None)
            )
            seconds = time.monotonic() - start
            costs = [
                1e3 * (busy(each) - then) / done
                for each, then in zip(processes, before, strict=True)
            ]
        row = [count, ms, done, seconds, ROUNDS * job.work / seconds, *costs]
        print(row, file=sys.stderr)
        return row
    finally:
        for process in (team, boss):
            process.kill()
            process.wait()


def busy(process):
    """Seconds of processor time of a process."""
    times = process.cpu_times()
    return times.user + times.system


def made_shard(number):
    """A shard of images that are nowhere."""
    names = [f"plate{number:06}/well{each:03}" for each in range(SHARD)]
    samples = [Sample(name, Path("/data/images", f"{name}.png")) for name in names]
    return Shard([samples[at : at + 8] for at in range(0, SHARD, 8)], frozenset())


# ---- What is joined at the end -------------------------------------------------------------------


def join_seconds():
    """Seconds of a core an image of writing tables from notes, as CSV and in both forms."""
    rng = np.random.default_rng(0)
    samples = [Sample(f"{number:08}", Path(f"{number:08}.png")) for number in range(JOINED)]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        finished = Finished(folder, "work")
        with NoteFile(finished.folder) as file:
            for sample in samples:
                finished.add(sample.name, file.add(made_note(sample.name, rng)), False)
        for tables in (["csv"], ["csv", "parquet"]):
            start = time.process_time()
            rows = write_tables(folder, finished.notes(samples), tables, None, [])
            found.append((time.process_time() - start) / JOINED)
            if len(rows) != OBJECTS * JOINED:
                raise SystemExit("lines are missing")
    return found


def made_note(name, rng):
    """A note as `ImageWork` makes them."""
    names = ("centroid_y", "centroid_x", "mean_probability")
    rows = [
        {"class_id": 1, "area": 9, "top": 1, "left": 1, "bottom": 4, "right": 4}
        | dict(zip(names, rng.random(3).tolist(), strict=True))
        for _ in range(OBJECTS)
    ]
    columns, values = object_values(rows)
    classes = [list(line.values())[1:] for line in counts(name, rows, 128 * 128, 1)]
    note = {"work": "work", "image": name, "stamp": [name, 9, 9], "sized": False}
    return note | {"classes": classes, "columns": columns, "rows": values, "pieces": {}}


if __name__ == "__main__":
    main()
