"""Many small images: the plain loop beside worker processes, some of which are killed.

    python benchmarks/many_images.py --images 3000
    python benchmarks/many_images.py --images 3000 --kill-every 20
    python benchmarks/many_images.py --images 100000 --kill-every 60 --plain 10000

Writes so many drawn scenes of 128 x 128, and has `keras-deepskip predict` find objects in them,
once by itself (in the first of them, with `--plain`) and once with `--cluster local:N`. Tells
images a second (in all, and from the first one that was done to the last, without the start), the
most memory of the process that was called and of its workers, and compares every file that both
ways have written. With `--kill-every` a worker is killed (SIGKILL) every so many seconds; told are
the longest times until the image that it was at was done by another worker, and until the process
that takes its place had done an image.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import psutil

from keras_deepskip import build_model
from keras_deepskip._tables import markdown_table
from keras_deepskip.data import draw_scene, write_png

SIDE = 128
LOOK_S = 0.25  # seconds between looks at the processes
MB = 1e6


def main():
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--plain", type=int, metavar="N", help="images of the plain loop; else all")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kill-every", type=float, metavar="S", help="seconds between kills")
    parser.add_argument("--folder", type=Path, help="for images and results; else a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        compare(options, options.folder or Path(scratch))


def compare(options, folder):
    """Predicts both ways, and compares what is there."""
    threshold = make(folder, options.images)
    print(f"keras {keras.__version__}, {keras.backend.backend()}, {options.images} images\n")
    plain, spread = options.plain or options.images, f"local:{options.workers}"
    first = folder / "first.txt"
    first.write_text("".join(f"{image_path(folder, number)}\n" for number in range(plain)))
    ways = [
        ("plain", plain, ["--images", first], None),
        (spread, options.images, ["--images", folder / "images", "--cluster", spread],
         options.kill_every),
    ]  # fmt: skip
    rows, outs = [], []
    for name, count, more, kill_every in ways:
        out = folder / name.replace(":", "-")
        outs.append(out)
        command = [sys.executable, "-m", "keras_deepskip.cli", "predict", "--no-overlays"]
        command += ["--model", folder / "model.keras", "--threshold", str(threshold)]
        command += ["--out", out, *more]
        rows.append([name, count, *watch(command, out, count, kill_every)])
        print(rows[-1], file=sys.stderr)
    headers = ["way", "images", "seconds", "images/s", "images/s without start", "MB of the caller"]
    headers += ["MB of a worker", "MB in all", "kills", "s until redone", "s until replaced"]
    print(markdown_table(headers, rows))
    same, more = same_files(*outs)
    done = len(list(outs[1].glob("masks/*")))
    print(f"\n{same} files of both, all the same, and {more} more; {done} masks in all.")
    if done != options.images:
        raise SystemExit(f"{options.images - done} images are missing")


def make(folder, count):
    """Writes a model and images; returns a threshold above which there are objects."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    scenes = [draw_scene("microorganisms", rng, height=SIDE, width=SIDE)[0] for _ in range(100)]
    for number in range(count):
        path = image_path(folder, number)
        if not path.exists():
            scene = np.roll(scenes[number % 100], rng.integers(0, SIDE, 2), (0, 1))
            write_png(path, scene)
    keras.utils.set_random_seed(0)
    model = build_model((None, None, 3))
    model.save(folder / "model.keras")
    return round(float(np.quantile(model.predict(np.stack(scenes[:8]), verbose=0), 0.97)), 4)


def image_path(folder, number):
    """Where an image lies; in order of names."""
    return folder / "images" / f"{number:08}.png"


def watch(command, out, count, kill_every):
    """Runs a command, and looks at its processes until it ends."""
    start = time.monotonic()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL)
    root, notes, kills = psutil.Process(process.pid), Notes(out), []
    caller = worker = together = 0.0
    while process.poll() is None:
        time.sleep(LOOK_S)
        memory = {each.pid: resident(each) for each in [root, *children(root)]}
        own = memory.pop(root.pid)
        caller, together = max(caller, own), max(together, own + sum(memory.values()))
        worker = max([worker, *memory.values()])
        notes.look()
        if (
            kill_every
            and notes.first
            and time.monotonic() - kill_every > max([notes.first, *(kill[0] for kill in kills)])
        ):
            victims = [pid for pid in memory if pid in notes.last]  # that have done an image
            if victims:
                pid = random.choice(victims)
                os.kill(pid, signal.SIGKILL)
                notes.look()
                kills.append((time.monotonic(), notes.last[pid] + 1))
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    end = time.monotonic()
    row = [end - start, count / (end - start), count / (end - notes.first), caller / MB]
    row += [worker / MB, together / MB, len(kills)]
    redone = [notes.times[image] - when for when, image in kills if image in notes.times]
    born = [min((t - when for t in notes.born if t > when), default=0) for when, _ in kills]
    return [*row, max(redone, default=None), max(born, default=None)]


class Notes:
    """What the processes that predict have noted, as it grows.

    Attributes:
        first: when the first image was noted, or None.
        last: the number of the last image that each process has noted, by the process's id.
        times: when each image was noted last, by its number.
        born: when each process has noted its first image.
    """

    def __init__(self, out):
        self.out, self.first, self.last, self.times, self.born = out, None, {}, {}, []
        self._read = {}

    def look(self):
        """Reads what is new."""
        for path in self.out.glob(".finished/*.jsonl"):
            with contextlib.suppress(OSError), path.open("rb") as file:  # all may be done
                file.seek(self._read.get(path, 0))
                for line in file.read().splitlines(keepends=True):
                    if line.endswith(b"\n"):
                        self._add(path, int(json.loads(line)["image"]))
                        self._read[path] = self._read.get(path, 0) + len(line)

    def _add(self, path, number):
        now, pid = time.monotonic(), int(path.name.partition("-")[0])
        self.first = self.first or now
        if pid not in self.last:
            self.born.append(now)
        self.last[pid], self.times[number] = number, now


def children(process):
    """The processes that a process has started."""
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def resident(process):
    """Bytes of memory of a process; 0 if it is gone."""
    try:
        return process.memory_info().rss
    except psutil.NoSuchProcess:
        return 0


def same_files(one, other):
    """How many files of a folder another has, byte for byte, and how many more it has.

    A table of the other folder may go on after the rows of the first one; the report of each is of
    its own images.
    """
    report = Path("report.html")
    names, others = (
        {path.relative_to(each) for path in each.rglob("*") if path.is_file()} - {report}
        for each in (one, other)
    )
    if names - others:
        raise SystemExit(f"files are missing: {sorted(names - others)[:9]}")
    for name in names:
        own, found = (one / name).read_bytes(), (other / name).read_bytes()
        if found[: len(own)] != own or (len(found) > len(own) and name.suffix != ".csv"):
            raise SystemExit(f"{name} differs")
    return len(names), len(others - names)


if __name__ == "__main__":
    main()
