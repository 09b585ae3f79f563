"""Steps and predictions with and without `jit_compile`, in float32 and in bfloat16, side by side.

    KERAS_BACKEND=tensorflow python benchmarks/jit_and_precision.py

Prints, for the light network and 4 images of 256 x 256, the milliseconds of a step of Adam and of a
prediction, the seconds of the first step, and the largest difference of outputs from
those of the first row. Rounds are interleaved; medians are shown.
"""

import argparse
import statistics
import time

import keras
import numpy as np

from keras_deepskip import build_model
from keras_deepskip._tables import markdown_table
from keras_deepskip.losses import SmallObjectLoss

BATCH, SIZE = 4, 256
PRECISIONS = ("float32", "mixed_bfloat16")
HEADERS = ["precision", "jit_compile", "step, ms", "predict, ms", "first step, s", "difference"]


def main():
    """Times all combinations and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, metavar="N", help="timed rounds")
    rounds = parser.parse_args().rounds
    rng = np.random.default_rng(0)
    images = rng.random((BATCH, SIZE, SIZE, 3), "float32")
    masks = (rng.random((BATCH, SIZE, SIZE, 1)) < 0.05).astype("float32")
    cases = [(precision, jit) for precision in PRECISIONS for jit in (False, True)]
    models = [made(*case) for case in cases]
    outputs = [model.predict_on_batch(images) for model in models]
    calls = [
        call
        for model in models
        for call in (
            lambda model=model: model.train_on_batch(images, masks),
            lambda model=model: model.predict_on_batch(images),
        )
    ]
    firsts = [timed(call) for call in calls]
    times = [[] for _ in calls]
    for _ in range(rounds):
        for call, own in zip(calls, times, strict=True):
            own.append(timed(call))
    shown = [f"{1e3 * statistics.median(own):.1f}" for own in times]
    rows = [
        [precision, str(jit), shown[2 * index], shown[2 * index + 1],
         f"{firsts[2 * index]:.1f}", f"{np.abs(outputs[index] - outputs[0]).max():.1e}"]
        for index, (precision, jit) in enumerate(cases)
    ]  # fmt: skip
    print(f"{keras.backend.backend()}, keras {keras.__version__}\n")
    print(markdown_table(HEADERS, rows))


def made(precision, jit):
    """The network, compiled to train; of one seed, so that all have the same weights."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(precision)
    model = build_model((SIZE, SIZE, 3), input_range=(0, 1))
    model.compile(keras.optimizers.Adam(1e-4), SmallObjectLoss(), jit_compile=jit)
    return model


def timed(call):
    """Seconds of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
