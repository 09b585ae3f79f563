"""How long does reading a COCO mask take, against decoding each object to the image's size?

    python benchmarks/coco_masks.py [--objects 10000] [--size 3000]

Squares of 8 x 8 and outlines of 40 points on one image: milliseconds an object, by `CocoMask.read`
and by pycocotools on the whole image (measured on 100 objects, as it takes long). The masks of
these are compared.
"""

import argparse
import time

import numpy as np

from keras_deepskip._tables import markdown_table
from keras_deepskip.data import CocoMask

WHOLE = 100  # objects that are decoded to the image's size


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=3000)
    options = parser.parse_args()
    rows = [measured(name, options.objects, options.size) for name in SHAPES]
    headers = ["objects", "s a mask", "ms an object", "whole image: ms an object", "ratio"]
    print(markdown_table(headers, rows))


def square(rng):
    """A square of 8 x 8."""
    return np.array([[0, 0], [8, 0], [8, 8], [0, 8]])


def outline(rng):
    """Forty points around a cell."""
    angles, radii = np.sort(rng.random(40)) * 2 * np.pi, rng.uniform(8, 12, 40)
    return 12 + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=-1)


SHAPES = {"squares": square, "outlines": outline}


def measured(name, number, size):
    """One row of the table."""
    rng = np.random.default_rng(0)
    regions = []
    for place in range(number):
        points = SHAPES[name](rng) + rng.integers(0, size - 24, 2)
        regions.append((1, {"id": place, "segmentation": [points.ravel().tolist()]}))
    seconds, _ = timed(lambda: mask_of(regions, size))
    few = regions[:WHOLE]
    slow, expected = timed(lambda: whole(few, size))
    if not np.array_equal(mask_of(few, size), expected):
        raise SystemExit("the masks differ")
    own, other = 1e3 * seconds / number, 1e3 * slow / len(few)
    return [
        f"{number:,} {name}",
        f"{seconds:.2f}",
        f"{own:.3f}",
        f"{other:.1f}",
        f"{other / own:.0f}",
    ]


def mask_of(regions, size):
    """By the package."""
    return CocoMask("made up", 1, size, size, tuple(regions)).read()


def whole(regions, size):
    """By pycocotools, each object on the whole image."""
    from pycocotools import mask as coco

    mask = np.zeros((size, size), np.int32)
    for label, annotation in regions:
        code = coco.merge(coco.frPyObjects(annotation["segmentation"], size, size))
        mask[coco.decode(code).astype(bool)] = label
    return mask


def timed(run):
    """Seconds that it takes, the second time, and its result."""
    run()
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


if __name__ == "__main__":
    main()
