"""Runs a study: one process per run; an interrupted study resumes."""

import dataclasses
import hashlib
import signal
import subprocess
import time
from pathlib import Path

import keras

from keras_deepskip import _checks, _files
from keras_deepskip._processes import (
    GPU_SHARING,
    child_environment,
    end_process_group,
    start_process,
)
from keras_deepskip.data import Survey
from keras_deepskip.studies.experiments.study_config import check_different, select
from keras_deepskip.studies.timing.machine import cores

POLL_S = 0.2

RUN_PROCESS = "keras_deepskip.studies.experiments.run_process"


@dataclasses.dataclass(frozen=True)
class StudyRun:
    """One network on one category with one seed."""

    category: object
    network: object
    seed: int
    folder: Path

    @property
    def label(self):
        """Its name in lines of progress."""
        return f"{self.category.name}, {self.network.name}, seed {self.seed}"


def runs_of(study, preset, out, networks=None, categories=None, seeds=None):
    """Lists the runs of a study's preset, by seed, then category, then network.

    Args:
        study: a `Study`.
        preset: a `Preset`.
        out: the study's folder.
        networks, categories: names; None takes those of the preset.
        seeds: None takes those of the preset.

    Returns:
        A list of `StudyRun`.

    Raises:
        ValueError: if a name is not known, or something is given twice.
    """
    networks = select("networks", study.networks, preset.networks if networks is None else networks)
    categories = preset.categories if categories is None else categories
    categories = select("categories", study.categories, categories)
    seeds = check_different("seeds", preset.seeds if seeds is None else seeds)
    return [
        StudyRun(category, network, seed, Path(out) / category.name / network.name / f"seed{seed}")
        for seed in seeds
        for category in categories
        for network in networks
    ]


def run_all(runs, preset, data, out, jobs=1, log=lambda line: None):
    """Executes the runs that are not done yet.

    Args:
        runs: list of `StudyRun`.
        preset: the `Preset` that they are of.
        data: folder of all sets.
        out: the study's folder.
        jobs: number of runs at once, among which the cores are divided.
        log: function that takes a line of progress.

    Returns:
        A list of dicts, the rows of the runs that are done, in the order of `runs`; and a list of
        texts, why the others failed. The same call tries those again.

    Raises:
        ValueError: if a folder holds a run with other settings.
    """
    _checks.check_integer("jobs", jobs)
    images = {}  # digest of each category's
    for run in runs:
        folder = run.category.provide(data, out).resolve()
        if folder not in images:
            images[folder] = _images_digest(folder)
        _prepare(run, preset, folder, images[folder])
    todo = [run for run in runs if not _is_done(run)]
    if len(todo) < len(runs):
        log(f"{len(runs) - len(todo)} of {len(runs)} runs are done already")
    clock, failures = _Clock(runs, len(todo), jobs), []
    with _Processes(jobs, _environment(jobs)) as processes:
        for run, status in processes.work_through(todo):
            if _is_done(run):
                row = _read_row(run)
                log(f"{clock.tick(run, row)}  {run.label}: {_summary(row)}")
            else:
                clock.leave_out(run)
                failures.append(_failure(run, status))
                log(failures[-1])
    return [_read_row(run) for run in runs if _is_done(run)], failures


def _is_done(run):
    return (run.folder / "row.json").exists()


def _read_row(run):
    row = _files.read_json(run.folder / "row.json", "a run's row")
    # In earlier results, the source of synthetic images is "drawn".
    return {**row, "source": "synthetic"} if row["source"] == "drawn" else row


def _failure(run, status):
    killed = " (killed: out of memory?)" if status == -signal.SIGKILL else ""
    log = run.folder / "log.txt"
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["none"]
    return (
        f"{run.label}: its process ended with status {status}{killed}; the last line of "
        f"{log}: {lines[-1]}"
    )


def _summary(row):
    if "failure" in row:
        return row["failure"]
    return f"IoU {row['IoU']:.3f}, object F1 {row['object_f1']:.3f}, {row['seconds']:.0f} s"


def _images_digest(folder):
    """The SHA-256 of the names and the contents of a folder's images."""
    survey = Survey.of(folder)
    images = sorted((own.name, survey.digest(own.image)) for own in survey.all_samples)
    return hashlib.sha256(repr(images).encode()).hexdigest()


def _prepare(run, preset, folder, images):
    """Writes `run.json`, or checks that an existing one has the same settings and images."""
    recipe = preset.recipe_for(run.network, run.seed)
    request = {
        "row": {
            "category": run.category.name,
            "source": "synthetic" if run.category.is_synthetic else "real",
            "network": run.network.name,
            "label": run.network.label,
            "seed": run.seed,
        },
        "data": str(folder),
        "images": images,
        "group_by": run.category.group_by,
        "options": {name: _plain(value) for name, value in run.network.options.items()},
        "recipe": recipe.to_dict(),
        "test_images": preset.test_images,
        "backend": keras.backend.backend(),
    }
    path = run.folder / "run.json"
    if path.exists():
        _refuse_other(path, _files.read_json(path, "the settings of a run"), request)
    else:
        run.folder.mkdir(parents=True, exist_ok=True)
        _files.write_json(path, request)


def _plain(value):
    """As JSON returns it: tuples are lists."""
    return list(value) if isinstance(value, tuple) else value


def _refuse_other(path, before, now):
    # The folder of the images may have moved; a label is only a name.
    names = ("group_by", "options", "recipe", "test_images", "backend")
    parts = [name for name in names if before.get(name) != now[name]]
    if before.get("images", now["images"]) != now["images"]:  # older runs do not say
        parts.append("images")
    if parts:
        raise ValueError(
            f"{path}: expected a run of the same settings. Received: one with other "
            f"{' and '.join(parts)}. Choose another --out, or remove the folder"
        )


# ---- Processes -----------------------------------------------------------------------------------


class _Processes:
    """At most `jobs` processes at once; all are ended with the block."""

    def __init__(self, jobs, environment):
        self.jobs, self.environment = jobs, environment
        self.running = {}

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process in self.running:
            end_process_group(process)

    def work_through(self, todo):
        """Starts all runs one after another; yields each when it has ended, with its status."""
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
    """The environment of the processes if `jobs` of them run at once."""
    if jobs == 1:
        return child_environment(keras.backend.backend())
    threads = max(1, cores() // jobs)
    return child_environment(keras.backend.backend(), threads, **GPU_SHARING)


def _start(run, environment):
    with (run.folder / "log.txt").open("ab") as log:
        return start_process(
            RUN_PROCESS, run.folder, environment=environment,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip


class _Clock:
    """Counts the runs that are done, and estimates the time left."""

    def __init__(self, runs, count, jobs):
        self.count, self.jobs, self.done = count, jobs, 0
        self.todo = [run for run in runs if not _is_done(run)]
        self.seconds = {}  # by network
        for run in runs:
            if _is_done(run):
                self._note(run, _read_row(run))

    def _note(self, run, row):
        self.seconds.setdefault(run.network.name, []).append(row["seconds"])

    def leave_out(self, run):
        """Waits no longer for a run that failed."""
        self.count -= 1
        self.todo.remove(run)

    def tick(self, run, row):
        """Counts a run as done; returns how many are, and the minutes left, as text."""
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
