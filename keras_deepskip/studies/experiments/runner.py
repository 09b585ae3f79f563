"""Runs a study: one process a run, rows as they come, and on after an interrupt."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras

from keras_deepskip import _checks, _files
from keras_deepskip.studies.experiments.plan import select
from keras_deepskip.studies.timing.process_pool import GPU_SHARING

POLL_S = 0.2

RUN_PROCESS = "keras_deepskip.studies.experiments.run_process"


@dataclasses.dataclass(frozen=True)
class Run:
    """One network on one category with one seed."""

    category: object
    network: object
    seed: int
    folder: Path

    @property
    def label(self):
        """What progress calls it."""
        return f"{self.category.name}, {self.network.name}, seed {self.seed}"


def runs_of(study, preset, out, networks=None, categories=None, seeds=None):
    """Lists the runs of a study's preset: every network on a category and seed, then the next.

    Args:
        study: a `Study`.
        preset: a `Preset`.
        out: the study's folder.
        networks, categories: names; None takes those of the preset.
        seeds: None takes those of the preset.

    Returns:
        A list of `Run`.

    Raises:
        ValueError: if a name is not known.
    """
    networks = select("networks", study.networks, networks or preset.networks)
    categories = select("categories", study.categories, categories or preset.categories)
    return [
        Run(category, network, seed, Path(out) / category.name / network.name / f"seed{seed}")
        for seed in (preset.seeds if seeds is None else seeds)
        for category in categories
        for network in networks
    ]


def run_all(runs, preset, data, out, jobs=1, say=lambda line: None):
    """Does the runs that are not done yet.

    Args:
        runs: list of `Run`.
        preset: the `Preset` that they are of.
        data: folder of all sets.
        out: the study's folder.
        jobs: runs at once; the cores are shared out among them.
        say: function that takes a line of progress.

    Returns:
        A list of dicts, the rows of the runs that are done, in the order of `runs`; and a list of
        texts, what went wrong with the others. The same call tries those again.

    Raises:
        ValueError: if a folder holds a run with other settings.
    """
    _checks.check_integer("jobs", jobs)
    for run in runs:
        _prepare(run, preset, data, out)
    todo = [run for run in runs if not _is_done(run)]
    if len(todo) < len(runs):
        say(f"{len(runs) - len(todo)} of {len(runs)} runs are done already")
    clock, failures = _Clock(runs, len(todo), jobs), []
    with _Processes(jobs, _environment(jobs)) as processes:
        for run, status in processes.work_through(todo):
            if _is_done(run):
                row = _read_row(run)
                say(f"{clock.tick(run, row)}  {run.label}: {_said(row)}")
            else:
                failures.append(_failure(run, status))
                say(failures[-1])
    return [_read_row(run) for run in runs if _is_done(run)], failures


def _is_done(run):
    return (run.folder / "row.json").exists()


def _read_row(run):
    return _files.read_json(run.folder / "row.json", "a run's row")


def _failure(run, status):
    killed = " (killed: out of memory?)" if status == -signal.SIGKILL else ""
    log = run.folder / "log.txt"
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["none"]
    return (
        f"{run.label}: its process ended with status {status}{killed}; last words: {lines[-1]} "
        f"({log})"
    )


def _said(row):
    if "failure" in row:
        return row["failure"]
    return f"IoU {row['IoU']:.3f}, object F1 {row['object_f1']:.3f}, {row['seconds']:.0f} s"


def _prepare(run, preset, data, out):
    """Writes `run.json`, or sees that the one that is there says the same."""
    recipe = preset.recipe_for(run.network, run.seed)
    request = {
        "row": {
            "category": run.category.name,
            "source": "drawn" if run.category.is_drawn else "real",
            "network": run.network.name,
            "label": run.network.label,
            "seed": run.seed,
        },
        "data": str(run.category.provide(data, out).resolve()),
        "group_by": run.category.group_by,
        "options": {name: _plain(value) for name, value in run.network.options.items()},
        "recipe": recipe.to_dict(),
        "test_images": preset.test_images,
        "backend": keras.backend.backend(),
    }
    path = run.folder / "run.json"
    if path.exists():
        _refuse_other(path, _files.read_json(path, "what a run is to do"), request)
    else:
        run.folder.mkdir(parents=True, exist_ok=True)
        _files.write_json(path, request)


def _plain(value):
    """As JSON gives it back: tuples are lists."""
    return list(value) if isinstance(value, tuple) else value


def _refuse_other(path, before, now):
    # The data may have moved; a label is only a name.
    parts = [part for part in ("group_by", "options", "recipe", "test_images", "backend")
             if before.get(part) != now[part]]  # fmt: skip
    if parts:
        raise ValueError(
            f"{path}: a run of these settings was wanted in its folder. Received: one with other "
            f"{' and '.join(parts)}. Choose another --out, or remove the folder"
        )


# ---- Processes -----------------------------------------------------------------------------------


class _Processes:
    """So many processes at once; none outlives the block."""

    def __init__(self, jobs, environment):
        self.jobs, self.environment = jobs, environment
        self.running = {}

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process in self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def work_through(self, todo):
        """Starts run after run; yields each when it has ended, with its process's status."""
        waiting = list(todo)
        while waiting or self.running:
            while waiting and len(self.running) < self.jobs:
                run = waiting.pop(0)
                self.running[_start(run, self.environment)] = run
            for process in [each for each in self.running if each.poll() is not None]:
                run = self.running.pop(process)
                yield run, process.returncode
            time.sleep(POLL_S)


def _environment(jobs):
    """The environment of the processes, of which so many run at once."""
    environment = {"KERAS_BACKEND": keras.backend.backend()}
    if jobs > 1:
        threads = str(max(1, (os.cpu_count() or 1) // jobs))
        names = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
        environment |= {**dict.fromkeys(names, threads), **GPU_SHARING}
    return {**os.environ, **environment}


def _start(run, environment):
    with (run.folder / "log.txt").open("ab") as log:
        # A session of its own: an interrupt goes to this process, which ends the others.
        return subprocess.Popen(
            [sys.executable, "-m", RUN_PROCESS, str(run.folder)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment,
            start_new_session=True,
        )  # fmt: skip


class _Clock:
    """Tells how far it is, and how long it will still take."""

    def __init__(self, runs, count, jobs):
        self.count, self.jobs, self.done = count, jobs, 0
        self.todo = [run for run in runs if not _is_done(run)]
        self.seconds = {}  # by network
        for run in runs:
            if _is_done(run):
                self._note(run, _read_row(run))

    def _note(self, run, row):
        self.seconds.setdefault(run.network.name, []).append(row["seconds"])

    def tick(self, run, row):
        """A run is done: how many are, and the minutes left."""
        self.done += 1
        self.todo.remove(run)
        self._note(run, row)
        left = sum(self._expected(other) for other in self.todo) / self.jobs
        return f"{self.done}/{self.count}, about {left / 60:.0f} min left"

    def _expected(self, run):
        """Seconds: the mean of the network's own runs, else of all."""
        own = self.seconds.get(run.network.name)
        known = own or [value for values in self.seconds.values() for value in values]
        return sum(known) / len(known)
