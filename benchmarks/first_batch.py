"""How often each training image is opened and decoded before the first batch, and in what time.

    python benchmarks/first_batch.py FOLDER [--make 2000] [--cold]

It goes the way of `train`: audit, split, statistics, range of values, crops, windows, the first
batch of each. `--make` writes a folder of so many scenes of 128 x 128 pixels first; `--cold` leaves
out the survey that an earlier command kept. It runs with versions before `Survey`, too.
"""

import argparse
import builtins
import collections
import io
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras_deepskip.data as data


class Counts:
    """Counts opens of files (Python's `open`, which Pillow uses, too) and decodes by Pillow."""

    def __init__(self):
        self.opened, self.decoded = collections.Counter(), collections.Counter()

    def __enter__(self):
        from PIL import JpegImagePlugin, PngImagePlugin

        self.restore = []
        self._wrap(builtins, "open", self._open)
        self._wrap(io, "open", self._open)
        for kind in (PngImagePlugin.PngImageFile, JpegImagePlugin.JpegImageFile):
            self._wrap(kind, "load", self._load)
        return self

    def __exit__(self, *_):
        for home, name, original in self.restore:
            setattr(home, name, original)

    def _wrap(self, home, name, wrapper):
        original = getattr(home, name)
        self.restore.append((home, name, original))
        setattr(home, name, wrapper(original))

    def _open(self, original):
        def counted(file, *args, **kwargs):
            if isinstance(file, (str, bytes, Path)):
                self.last = str(file)
                self.opened[self.last] += 1
            return original(file, *args, **kwargs)

        return counted

    def _load(self, original):
        def counted(image):
            if image.tile:  # not yet decoded
                self.decoded[str(image.filename) or self.last] += 1
            return original(image)

        return counted


def first_batches(folder):
    """All that comes before the first step of training; returns the split."""
    if hasattr(data, "Survey"):
        survey = data.Survey.of(folder)
        known = {"survey": survey}
    else:
        survey, known = folder, {}
    data.audit(survey)
    split = data.load_split(survey)
    data.channel_statistics(split.train, 3, **known)
    data.value_range(split.train, **known)
    data.CropDataset(split.train, crop_size=96, **known)[0]
    data.WindowDataset(split.val, crop_size=96, **known)[0]
    return split


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--make", type=int, help="write so many scenes to the folder first")
    parser.add_argument("--cold", action="store_true", help="with an empty cache of surveys")
    options = parser.parse_args()
    if options.make:
        scene = {"height": 128, "width": 128, "count": (1, 4), "size": (6, 20)}
        data.sample(options.folder, images=options.make, **scene)
        time.sleep(3)  # files younger than two seconds are not kept in the cache
    with tempfile.TemporaryDirectory() as empty:
        if options.cold:
            os.environ["KERAS_DEEPSKIP_CACHE"] = empty
        start, cpu = time.perf_counter(), time.process_time()
        with Counts() as counts:
            split = first_batches(options.folder)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    images = [str(sample.image) for sample in split.train]
    for name, counter in (("opened", counts.opened), ("decoded", counts.decoded)):
        each = [counter[image] for image in images]
        print(f"{name}: {sum(each) / len(each):.2f} times a training image, at most {max(each)}")
    print(f"first batch after {seconds:.2f} s ({cpu:.2f} s CPU), {len(images)} training images")


if __name__ == "__main__":
    main()
