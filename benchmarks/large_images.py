"""What exact windows cost, and what an image far larger than memory takes.

    python benchmarks/large_images.py overhead
    python benchmarks/large_images.py memory --sides 2048 8192 32768

`overhead` counts the pixels that windows of several sizes compute for each pixel of an image of
8192 x 8192, for both light encoders, and times them against one pass over an image of 2048 x 2048.
`memory` predicts the mask of images that are made as they are read, each in a process of its own,
into a file, and tells the time and the most memory that the process held.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

import keras
import numpy as np

from keras_deepskip import build_model, fold_batch_norm
from keras_deepskip._tables import markdown_table
from keras_deepskip.data import draw_scene
from keras_deepskip.inference import plan_tiles, predict_tiled

BACKBONES = ("light_vgg16", "light_resnet34")
TILES = (512, 1024, 2048, 4096)
TIMED = 2048  # side of the image that is timed
MB = 1e6


class Endless:
    """An image that repeats a drawn scene and exists only where it is read."""

    def __init__(self, side):
        self.shape, self.dtype = (side, side, 3), np.dtype("uint8")
        self.scene, _ = draw_scene(
            "microorganisms", np.random.default_rng(0), height=256, width=256
        )

    def __getitem__(self, box):
        rows, columns = (np.arange(s.start, s.stop) % 256 for s in box)
        return self.scene[rows[:, None], columns]


def main():
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("overhead", "memory", "one"))
    parser.add_argument("--sides", type=int, nargs="+", default=[2048, 8192, 32768])
    parser.add_argument("--tile", type=int, default=1024)
    options = parser.parse_args()
    if options.what == "one":
        print(json.dumps(one(*options.sides, options.tile)))
        return
    rows, headers = overhead() if options.what == "overhead" else memory(options)
    print(f"keras {keras.__version__}, {keras.backend.backend()}\n")
    print(markdown_table(headers, rows))


def overhead():
    """Pixels computed for each pixel, and seconds beside those of one pass."""
    rows = []
    image = Endless(TIMED)[slice(0, TIMED), slice(0, TIMED)]
    for backbone in BACKBONES:
        model = fold_batch_norm(build_model(backbone=backbone))
        whole = seconds(model, image, TIMED)
        for tile in TILES:
            row = [backbone, tile]
            try:
                row.append(plan_tiles(model, (8192, 8192), tile).overhead)
            except ValueError:
                rows.append([*row, None, None])
                continue
            row.append(seconds(model, image, tile) / whole if tile < TIMED else None)
            rows.append(row)
    return rows, ["backbone", "tile", "pixels computed a pixel", "time / one pass"]


def seconds(model, image, tile, repeats=3):
    """The quickest of some predictions in windows of this side; the first one compiles."""
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        predict_tiled(model, image, tile=tile)
        taken.append(time.perf_counter() - start)
    return min(taken)


def memory(options):
    """Time and peak memory by side of the image, each in its own process."""
    rows = []
    for side in options.sides:
        command = [sys.executable, __file__, "one", "--sides", str(side)]
        done = subprocess.run(
            [*command, "--tile", str(options.tile)], check=True, stdout=subprocess.PIPE, text=True
        )
        rows.append([side, *json.loads(done.stdout.splitlines()[-1])])
        print(rows[-1], file=sys.stderr)
    headers = ["side", "Mpixel", "file, MB", "s", "Mpixel/s", "MB before", "MB at most"]
    return rows, headers


def one(side, tile):
    """Predicts the mask of one image, into a file."""
    model = fold_batch_norm(build_model())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB
    with tempfile.TemporaryDirectory() as folder:
        path, start = os.path.join(folder, "mask.npy"), time.perf_counter()
        predict_tiled(model, Endless(side), tile=tile, output="mask", out=path)
        taken, size = time.perf_counter() - start, os.path.getsize(path) / MB
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB
    pixels = side * side / 1e6
    return [round(pixels, 1), round(size, 1), round(taken, 1), pixels / taken, before, most]


if __name__ == "__main__":
    main()
