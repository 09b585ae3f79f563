"""Milliseconds of one image: this package, and the networks of StarDist and Cellpose.

    pip install stardist tf-keras numba "cellpose<4"
    KERAS_BACKEND=torch python benchmarks/instance_networks.py [--sizes 256 512]

Random weights, grey images, one at a time, medians of 9 calls. Ours is the folded network, as
`predict` uses it, and telling touching discs apart; the others are the networks alone, without
what makes objects of their outputs (StarDist: choosing among polygons; Cellpose: following flows).
What is not installed is left out.
"""

import argparse
import importlib.util
import os
import statistics
import time

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # StarDist's

import numpy as np

CALLS = 9


def ours(size):
    """The network, and telling discs apart."""
    import keras

    import keras_deepskip

    model = keras_deepskip.fold_batch_norm(keras_deepskip.build_model((None, None, 1)))
    image = np.random.default_rng(0).random((1, size, size, 1), "float32")
    y, x = np.indices((size, size))
    discs = (y % 24 - 12) ** 2 + (x % 20 - 10) ** 2 <= 11**2
    backend = keras.backend.backend()
    yield f"ours, {backend}", model.count_params(), lambda: model.predict(image, verbose=0)
    _, count = keras_deepskip.objects.separate_objects(discs)
    apart = lambda: keras_deepskip.objects.separate_objects(discs)  # noqa: E731
    yield f"ours, {count} discs told apart", 0, apart


def stardist(size):
    """StarDist's default network of 32 rays, on a grid of 2."""
    from stardist.models import Config2D, StarDist2D

    model = StarDist2D(Config2D(n_rays=32, grid=(2, 2)), name=None, basedir=None).keras_model
    image = np.random.default_rng(0).random((1, size, size, 1), "float32")
    yield "StarDist", model.count_params(), lambda: model.predict(image, verbose=0)


def cellpose(size):
    """The network of Cellpose 1 to 3, at the image's own scale."""
    import torch
    from cellpose.resnet_torch import CPnet

    network = CPnet([2, 32, 64, 128, 256], 3, sz=3).eval()
    image = torch.rand(1, 2, size, size)

    def call():
        with torch.no_grad():
            network(image)

    yield "Cellpose", sum(weights.numel() for weights in network.parameters()), call


def main():
    """Prints a line for each network and size."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    for size in parser.parse_args().sizes:
        for name, makes in {
            "keras_deepskip": ours,
            "stardist": stardist,
            "cellpose": cellpose,
        }.items():
            if importlib.util.find_spec(name) is None:
                print(f"{name} is not installed")
                continue
            for label, weights, call in makes(size):
                call()
                print(f"{size}: {label}, {weights:,} weights, {median_ms(call):.0f} ms", flush=True)


def median_ms(call):
    """The median time of a call."""
    times = []
    for _ in range(CALLS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


if __name__ == "__main__":
    main()
