"""Damaged files: whatever is in them, reading ends with a value or an error that names the file.

A few hundred of each kind by a seed. Ten thousand: `python -m tests.test_fuzz 10000`.
"""

import collections
import io
import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from keras_deepskip.data import MaskReading, coco_samples, image_size, read_image, read_mask
from keras_deepskip.inference.sources import open_source

pytestmark = pytest.mark.one_backend

COUNT = 150  # files of each kind in the suite
SECONDS = 20  # for one file; the limits on what is decoded keep it far below
EXPECTED = (ValueError, OSError, ImportError)
CORNER = (slice(0, 64), slice(0, 64))  # an image may declare any size, and is read in parts


def scene():
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (24, 30, 3)).astype("uint8")


def encoded(**how):
    def write():
        buffer = io.BytesIO()
        Image.fromarray(scene()).save(buffer, **how)
        return buffer.getvalue()

    return write


def palette():
    buffer = io.BytesIO()
    Image.fromarray(scene()).quantize(5).save(buffer, "PNG")
    return buffer.getvalue()


def tiff(dtype="uint8", **how):
    def write():
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, scene().astype(dtype), photometric="rgb", **how)
        return buffer.getvalue()

    return write


def sixteen_bits():
    buffer = io.BytesIO()
    Image.fromarray(scene()[..., 0].astype("uint16") * 257).save(buffer, "PNG")
    return buffer.getvalue()


def npy():
    buffer = io.BytesIO()
    np.save(buffer, scene())
    return buffer.getvalue()


def coco():
    outline = [2, 2, 12, 2, 12, 12]
    shapes = [[outline], {"size": [24, 30], "counts": [100, 20, 600]}]
    annotations = [
        {"id": k, "image_id": 1, "category_id": 1, "iscrowd": k, "area": 50, "segmentation": shape}
        for k, shape in enumerate(shapes)
    ]
    image = {"id": 1, "file_name": "a.png", "height": 24, "width": 30}
    categories = [{"id": 1, "name": "cell"}]
    content = {"images": [image], "annotations": annotations, "categories": categories}
    return json.dumps(content).encode()


def as_image(path):
    image_size(path)
    read_image(path)


def as_mask(path):
    read_mask(path, MaskReading())


def as_source(path):
    open_source(path, 3).read(CORNER)


def as_coco(path):
    folder = path.parent / "images"
    folder.mkdir(exist_ok=True)
    Image.fromarray(scene()).save(folder / "a.png")
    for sample in coco_samples(path, folder):
        sample.mask.read(255)


KINDS = {
    "png": ("a.png", encoded(format="PNG"), (as_image, as_source)),
    "png of 16 bit": ("a.png", sixteen_bits, (as_image, as_mask)),
    "png with a palette": ("a.png", palette, (as_image, as_mask)),
    "jpeg": ("a.jpg", encoded(format="JPEG"), (as_image, as_source)),
    "tiff": ("a.tif", tiff(), (as_image, as_mask, as_source)),
    "tiff of float": ("a.tif", tiff("float32"), (as_image, as_source)),
    "tiff, deflated": ("a.tif", tiff(compression="zlib"), (as_image, as_source)),
    "tiff in tiles": ("a.tif", tiff(tile=(16, 16), compression="zlib"), (as_image, as_source)),
    "npy": ("a.npy", npy, (as_source,)),
    "coco": ("a.json", coco, (as_coco,)),
}


def mutated(content, generator):
    """Bytes changed, cut out, doubled or cut off, one to eight times; mostly near the beginning."""
    data = bytearray(content)
    for _ in range(int(generator.integers(1, 9))):
        near = generator.random() < 0.6
        at = int(generator.integers(0, max(1, min(len(data), 300 if near else len(data)))))
        size = int(generator.integers(1, 9))
        kind = generator.integers(5)
        if kind <= 1:
            data[at : at + 1] = bytes([int(generator.integers(256))])
        elif kind == 2:
            data[at : at + size] = generator.choice([0, 255], size).astype("uint8").tobytes()
        elif kind == 3:
            data[at:at] = data[at : at + size]
        else:
            del data[at : at + size if near else None]
    return bytes(data)


def outcome(read, path):
    """What reading ended with; raises where an error does not name the file, or takes too long."""
    begun = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(path)
        result = "read"
    except EXPECTED as error:
        assert path.name in str(error), f"no file in {type(error).__name__}: {error}"
        result = type(error).__name__
    assert time.perf_counter() - begun < SECONDS
    return result


def run(kind, count, folder):
    """Reads so many mutated files of a kind; returns how often each outcome came."""
    name, write, readers = KINDS[kind]
    content, generator = write(), np.random.default_rng(sorted(KINDS).index(kind))
    found, path = collections.Counter(), folder / name
    for number in range(count):
        path.write_bytes(mutated(content, generator))
        for read in readers:
            try:
                found[outcome(read, path)] += 1
            except Exception as error:
                raise AssertionError(f"{kind} {number}, {read.__name__}: {error!r}") from error
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_read_or_named(tmp_path, kind):
    found = run(kind, COUNT, tmp_path)
    assert found["ValueError"] > COUNT / 10  # what is damaged is not silently read


if __name__ == "__main__":
    import tempfile

    for chosen in KINDS:
        with tempfile.TemporaryDirectory() as scratch:
            print(chosen, dict(run(chosen, int(sys.argv[1]) // len(KINDS), Path(scratch))))
