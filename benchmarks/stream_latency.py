"""How many frames a second, and how late: `stream` on made frames, stored and live.

    python benchmarks/stream_latency.py [--seconds S] [--backbone NAME]

For frames of 256 x 256 and of 640 x 480 (RGB, uint8) and batches of 1 and 4: a stored source, which
waits, without a budget; then a live one at twice the rate that the stored one reached, with a
budget of the time of 6 frames at that rate. The warm-up does not count.
"""

import argparse
import time

import keras
import numpy as np

from keras_deepskip import build_model
from keras_deepskip._tables import markdown_table
from keras_deepskip.inference.streaming import stream

SIZES = ((256, 256), (480, 640))
BATCHES = (1, 4)
HEADERS = ["frames", "batch", "source", "budget, ms", "offered/s", "answered/s", "dropped", "late",
           "p50, ms", "p95", "p99"]  # fmt: skip


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=8.0, help="of each row")
    parser.add_argument("--backbone", default="light_vgg16")
    options = parser.parse_args()
    model = build_model(backbone=options.backbone)
    rows = []
    for size in SIZES:
        for batch in BATCHES:
            stored = run(model, size, batch, options.seconds)
            rows.append(row(size, batch, stored))
            rate = 2 * stored.frames_per_second
            budget = 6 / stored.frames_per_second
            live = run(model, size, batch, options.seconds, rate, budget)
            rows.append(row(size, batch, live, rate, budget))
    print(f"{keras.backend.backend()}, keras {keras.__version__}, {options.backbone}\n")
    print(markdown_table(HEADERS, rows))


def run(model, size, batch, seconds, rate=None, budget=None):
    """The statistics of a stream of so many seconds."""
    frames = made(size, seconds, rate)
    with stream(model, frames, batch_size=batch, latency=budget, live=rate is not None) as results:
        for _ in results:
            pass
    return results.statistics


def made(size, seconds, rate):
    """Frames for so many seconds: as fast as they are taken, or at a rate, as a camera's."""
    some = np.random.default_rng(0).integers(0, 256, (8, *size, 3)).astype("uint8")
    yield some[0]  # the warm-up's
    begun, number = time.monotonic(), 0
    while time.monotonic() - begun < seconds:
        number += 1
        if rate is not None:
            time.sleep(max(begun + number / rate - time.monotonic(), 0))
        yield some[number % len(some)]


def row(size, batch, found, rate=None, budget=None):
    """A row of the table."""
    milliseconds = [
        f"{1e3 * value:.0f}" for value in (found.latency_p50, found.latency_p95, found.latency_p99)
    ]
    live = rate is not None
    return [
        f"{size[0]} x {size[1]}", batch, "live" if live else "stored",
        f"{1e3 * budget:.0f}" if live else "-", f"{rate:.1f}" if live else "-",
        f"{found.frames_per_second:.1f}", found.dropped, found.late, *milliseconds,
    ]  # fmt: skip


if __name__ == "__main__":
    main()
