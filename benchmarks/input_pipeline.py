"""Does training wait for its images?

    python benchmarks/input_pipeline.py DATA [DATA ...]

For each folder of images and masks: milliseconds to make a batch of 4 crops of 160 x 160, as the
plan takes them (with augmentation), for a training step on a batch that is there already, and for a
step of `fit` that takes its batches from `CropDataset` with 1 thread (nothing is made ahead), 2
threads and 1 process. Medians; the images have been read once before, as they are in all epochs but
the first.
"""

import argparse
import statistics
import time
from pathlib import Path

import keras

from keras_deepskip import build_model
from keras_deepskip._tables import markdown_table
from keras_deepskip.data import Augmentation, CropDataset, find_samples
from keras_deepskip.losses import SmallObjectLoss
from keras_deepskip.training.planning import BATCH, CROP

STEPS = 40
WAYS = {
    "1 thread": {"workers": 1},
    "2 threads": {"workers": 2},
    "1 process": {"workers": 1, "use_multiprocessing": True},
}


class Clock(keras.callbacks.Callback):
    """Notes how long each step of `fit` takes, waiting for its batch included."""

    def __init__(self):
        super().__init__()
        self.ends = []

    def on_train_batch_end(self, batch, logs=None):
        self.ends.append(time.perf_counter())

    def median(self):
        """Milliseconds from one step's end to the next, without the first few."""
        steps = [end - start for start, end in zip(self.ends[5:], self.ends[6:], strict=False)]
        return 1e3 * statistics.median(steps)


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="+")
    rows = [measured(folder) for folder in parser.parse_args().data]
    print(f"{keras.backend.backend()}, keras {keras.__version__}, {BATCH} crops of {CROP} pixels\n")
    headers = ["images", "ms per batch", "ms per step"]
    headers += [f"ms per step of fit, {way}" for way in WAYS]
    print(markdown_table(headers, rows))


def measured(folder):
    """One row of the table."""
    samples = find_samples(folder / "train" if (folder / "train").is_dir() else folder)

    def crops(**way):
        return CropDataset(samples, CROP, BATCH, STEPS, augmentation=Augmentation(), **way)

    model = build_model()
    model.compile("adam", SmallObjectLoss())
    dataset = crops()
    made = medians(lambda index: dataset[index])
    images, masks = dataset[0]
    step = medians(lambda _: float(model.train_on_batch(images, masks)))
    fits = []
    for way in WAYS.values():
        clock = Clock()
        model.fit(crops(**way), shuffle=False, callbacks=[clock], verbose=0)
        fits.append(clock.median())
    return [folder.name, *(f"{value:.0f}" for value in (made, step, *fits))]


def medians(call):
    """Median milliseconds of `call(0)`, `call(1)`, ..., without the first few."""
    times = []
    for index in range(STEPS):
        start = time.perf_counter()
        call(index)
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times[5:])


if __name__ == "__main__":
    main()
