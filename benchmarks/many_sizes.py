"""What predictions on images of many sizes cost: time and memory for each call, by backend.

    KERAS_BACKEND=jax python benchmarks/many_sizes.py [--calls 1000] [--low 48] [--high 200]

Compares images of one size with images whose sizes are drawn anew for each call, through the path
of `predict` and `evaluate`. Prints, for each, milliseconds a call (the first fifth, which compiles,
by itself), kilobytes of the process kept a call in the second half, the programs that JAX compiled,
and the largest deviation from one pass over the image alone (the first ten sizes).
"""

import argparse
import contextlib
import time
from pathlib import Path

import keras
import numpy as np

from keras_deepskip import build_model
from keras_deepskip._tables import markdown_table
from keras_deepskip.folding import fold_batch_norm
from keras_deepskip.inference.tiled import probabilities_of


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--low", type=int, default=48, help="smallest side")
    parser.add_argument("--high", type=int, default=200, help="largest side")
    asked = parser.parse_args()
    rng, rows = np.random.default_rng(0), []
    middle = (asked.low + asked.high) // 2
    for name in ("one size", "many sizes"):
        model = fold_batch_norm(build_model((None, None, 3), levels=3))
        drawn = rng.integers(asked.low, asked.high + 1, (asked.calls, 2))
        sizes = [(middle, middle)] * asked.calls if name == "one size" else drawn.tolist()
        rows.append([name, *measured(model, sizes, rng), deviation(model, sizes[:10], rng)])
    columns = ["ms a call, first fifth", "rest", "kB kept a call, second half", "programs"]
    print(f"keras {keras.__version__} on {keras.backend.backend()}, {asked.calls} calls\n")
    print(markdown_table(["images of", *columns, "deviation"], rows))


def measured(model, sizes, rng):
    """Milliseconds a call, early and late; kilobytes kept a call; compiled programs."""
    times, kept = [], []
    with compilations() as programs:
        for height, width in sizes:
            image = rng.integers(0, 256, (height, width, 3)).astype("uint8")
            start = time.perf_counter()
            probabilities_of(model, image)
            times.append(1e3 * (time.perf_counter() - start))
            kept.append(resident())
    early, half = len(times) // 5, len(times) // 2
    growth = (kept[-1] - kept[half]) / (len(kept) - half)
    return [
        round(float(np.mean(times[:early])), 1), round(float(np.mean(times[early:])), 1),
        round(growth / 1024, 1), len(programs),
    ]  # fmt: skip


def deviation(model, sizes, rng):
    """The largest difference from the model's own prediction on the image alone."""
    worst = 0.0
    for height, width in sizes:
        image = rng.integers(0, 256, (height, width, 3)).astype("uint8")
        alone = model.predict_on_batch(image[None].astype("float32"))
        alone = keras.ops.convert_to_numpy(alone)[0]
        worst = max(worst, float(np.abs(probabilities_of(model, image) - alone).max()))
    return f"{worst:.0e}"


@contextlib.contextmanager
def compilations():
    """Collects a line for each program that JAX compiles for a model; of others nothing."""
    found = []
    if keras.backend.backend() != "jax":
        yield found
        return
    import jax

    def listen(event, seconds, **_):
        if "backend_compile" in event and seconds > 0.05:  # not the small ones that move data
            found.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield found
    # a listener cannot be taken back by itself; a list that nobody reads does no harm


def resident():
    """Bytes of memory that the process holds (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


if __name__ == "__main__":
    main()
