"""The forms of `UpsampledConv2D` in exported files, beside TensorFlow's own prediction.

    KERAS_BACKEND=tensorflow python benchmarks/exported_forms.py [--size 256] [--batches 1 8]
        [--threads 2] [--rounds 15] [--forms transposed by_rows ...]

Each form is written as ONNX from the folded network, run by ONNX Runtime and by OpenVINO, and timed
in turns with TensorFlow's prediction of the same batch: ratios hold on a machine that is busy too.
Prints a Markdown table of medians in ms, and of their ratio to TensorFlow's (below 1 is faster).
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np

import keras_deepskip
from keras_deepskip._tables import markdown_table
from keras_deepskip.export import writers
from keras_deepskip.layers import upsampled_conv
from keras_deepskip.studies.timing import adapters

WARM_UPS = 3


def main():
    """Writes, runs and times all forms."""
    options = arguments()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    keras.utils.set_random_seed(0)
    model = keras_deepskip.fold_batch_norm(keras_deepskip.build_model())
    rng = np.random.default_rng(0)
    batches = {
        n: rng.integers(0, 256, (n, options.size, options.size, 3)).astype("float32")
        for n in options.batches
    }
    runners = {"TensorFlow": tensorflow(model)}
    expected = {n: runners["TensorFlow"](images) for n, images in batches.items()}
    with tempfile.TemporaryDirectory() as folder:
        for form in options.forms:
            path = Path(folder) / f"{form}.onnx"
            write(model, form, path)
            for name, load in (("ONNX Runtime", onnx_runtime), ("OpenVINO", openvino)):
                runners[f"{name}, {form}"] = load(path, options.threads)
        rows = timed(runners, batches, expected, options.rounds)
    size, threads = options.size, options.threads
    print(f"keras {keras.__version__}, {size} x {size}, threads {threads}\n")
    headers = [*(f"batch {n}, ms" for n in batches), *(f"ratio, {n}" for n in batches)]
    print(markdown_table(["run by", *headers], rows))


def arguments():
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    known = ["upsampled", "transposed", "by_rows", "by_cells"]
    parser.add_argument("--forms", nargs="+", choices=known, default=known)
    return parser.parse_args()


def write(model, form, path):
    """The model as ONNX, its upsampled convolutions in one form."""
    before, writers.FORM = writers.FORM, getattr(upsampled_conv, form)
    try:
        keras_deepskip.export(model, path, "onnx")
    finally:
        writers.FORM = before


def tensorflow(model):
    """The model as TensorFlow runs it, of one call."""
    import tensorflow as tf

    call = tf.function(lambda images: model(images, training=False), reduce_retracing=True)
    return lambda images: call(tf.constant(images)).numpy()


def onnx_runtime(path, threads):
    """The file as ONNX Runtime runs it, on the CPU."""
    session = adapters.onnx_session(path, threads)
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})[0]


def openvino(path, threads):
    """A program of OpenVINO in float32, compiled for each size of batch."""
    import openvino

    core, programs, settings = openvino.Core(), {}, adapters.openvino_settings(threads)

    def run(images):
        if images.shape not in programs:
            graph = core.read_model(path)
            graph.reshape(images.shape)
            programs[images.shape] = core.compile_model(graph, "CPU", settings)
        return programs[images.shape](images)[0]

    return run


def timed(runners, batches, expected, rounds):
    """A row for each runner: medians, and ratios to the first runner's."""
    times = {name: {n: [] for n in batches} for name in runners}
    for turn in range(rounds + WARM_UPS):
        for n, images in batches.items():
            for name, run in runners.items():
                start = time.perf_counter()
                outputs = run(images)
                if turn >= WARM_UPS:
                    times[name][n].append(1e3 * (time.perf_counter() - start))
                np.testing.assert_allclose(outputs, expected[n], atol=1e-4)
    medians = {name: [statistics.median(own[n]) for n in batches] for name, own in times.items()}
    first = next(iter(medians.values()))
    return [
        [
            name,
            *(f"{ms:.1f}" for ms in own),
            *(f"{ms / base:.2f}" for ms, base in zip(own, first, strict=True)),
        ]
        for name, own in medians.items()
    ]


if __name__ == "__main__":
    main()
