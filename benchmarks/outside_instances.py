"""StarDist and a YOLO segmenter, trained for some minutes on a folder, judged as `evaluate` judges.

    pip install stardist tf-keras ultralytics shapely
    KERAS_BACKEND=torch python benchmarks/outside_instances.py FOLDER... --out rows.jsonl
        [--methods stardist yolo] [--minutes 2.5] [--seeds 3]

Splits are those of `train` and of the studies: a row can be compared with a run of the same folder,
seed and minutes. Both begin with random weights, and choose their thresholds on the validation
images. StarDist: 32 rays on a grid of 2, crops of 160, four a batch, its own augmentation by turns
and flips. YOLO: `yolo11n-seg`, its own augmentation. Trainings that the file already has are not
repeated. Prints a table of means and standard deviations over the seeds.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # StarDist's

import numpy as np
import recipe as recipes  # the other benchmark: results and their table

from keras_deepskip._tables import markdown_table
from keras_deepskip.data import load_image, load_pair, load_split
from keras_deepskip.data.samples import load_objects
from keras_deepskip.metrics import ObjectCounts, ObjectQuality

TRAINED = 0.85  # of the minutes; the rest is for thresholds, as `train` has it
CROP, BATCH = 160, 4
CONFIDENCES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
FIGURES = {
    "iou": "pixel IoU", "f1": "object F1", "ap50": "AP 0.5", "ap70": "AP 0.7",
    "recall <8x8": "recall < 8x8", "recall 8x8-16x16": "8-16", "ms": "ms an image",
}  # fmt: skip


def main():
    """Trains what is missing, and prints the table."""
    options = arguments()
    done = recipes.results(options.out)
    for seed in range(options.seeds):
        for folder in options.folders:
            for name in options.methods:
                key = [folder.name, name, seed, options.minutes]
                if key not in [row["key"] for row in done]:
                    row = {"key": key, **train_and_judge(METHODS[name], folder, seed, options)}
                    recipes.note(options.out, done, [row])
    print(table(done, options.minutes))


def arguments():
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", choices=sorted(METHODS), default=sorted(METHODS))
    parser.add_argument("--minutes", type=float, default=2.5)
    parser.add_argument("--seeds", type=int, default=3)
    return parser.parse_args()


def train_and_judge(method, folder, seed, options):
    """The figures of one training on the test images of its split."""
    split, start = load_split(folder, seed=seed), time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        trained = method(Path(scratch), split, seed)
        trained.train(options.minutes * TRAINED)
        trained.choose(split.val)
        seconds = time.perf_counter() - start
        figures = judged(trained, split.test)
    return {**figures, "weights": trained.weights, "seconds": round(seconds, 1)}


def judged(trained, samples):
    """Pixels and objects as `evaluate` counts them, and the time of an image."""
    counts = ObjectCounts(num_classes=1, criterion="iou")
    quality = ObjectQuality(num_classes=1)
    both, either, times = 0, 0, []
    for sample in samples:
        mask, truth = true_objects(sample)
        start = time.perf_counter()
        found = trained.labels(sample)
        times.append(1e3 * (time.perf_counter() - start))
        inside = (found > 0).astype("int32")
        both += int(((mask > 0) & (inside > 0)).sum())
        either += int(((mask > 0) | (inside > 0)).sum())
        for metric in (counts, quality):
            metric.update(mask, inside, true_labels=truth, predicted_labels=found)
    objects, own = counts.summary(), quality.summary()["all"]
    recalls = {f"recall {name}": row["recall"] for name, row in objects["strata"].items()}
    return {
        "iou": both / max(1, either), "f1": objects["all"]["f1"], **recalls,
        "false": objects["all"]["fp"] / len(samples),
        **{name: own[name] for name in ("ap50", "ap70", "pq", "count_mean_absolute")},
        "ms": statistics.median(times), "images": len(samples),
    }  # fmt: skip


def true_objects(sample):
    """A sample's mask, and which object each of its pixels is of."""
    _, mask = load_pair(sample, channels=3)
    return mask, load_objects(sample, mask)


def table(done, minutes):
    """Means and standard deviations of all seeds, a row for each folder and method."""
    spread = recipes.mean_and_spread
    rows = [
        [*key, own[0]["weights"], *(spread([row[name] for row in own]) for name in FIGURES)]
        for key, own in recipes.grouped(done, minutes)
    ]
    return markdown_table(["set", "method", "weights", *FIGURES.values()], rows)


# ---- StarDist ------------------------------------------------------------------------------------


class StarDist:
    """Star-convex polygons of Schmidt et al. (MICCAI 2018), by their own package."""

    def __init__(self, folder, split, seed):
        from stardist.models import Config2D, StarDist2D

        self.split, self.rng = split, np.random.default_rng(seed)
        grey = all(load_image(sample, 3).std(axis=-1).max() == 0 for sample in split.train[:5])
        self.channels = 1 if grey else 3
        config = Config2D(
            n_rays=32, grid=(2, 2), n_channel_in=self.channels, train_patch_size=(CROP, CROP),
            train_batch_size=BATCH, train_steps_per_epoch=50, train_tensorboard=False,
        )  # fmt: skip
        self.model = StarDist2D(config, name="stardist", basedir=str(folder))
        self.weights = self.model.keras_model.count_params()

    def train(self, minutes):
        """Trains until the minutes have passed, by the package's own rate and its fall."""
        import tf_keras

        deadline = time.monotonic() + 60 * minutes

        class Stop(tf_keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                self.model.stop_training = time.monotonic() > deadline

        self.model.prepare_for_training()
        self.model.callbacks.append(Stop())
        images, labels = self._pairs(self.split.train)
        known = self._pairs(self.split.val)
        augment = self._turned
        self.model.train(images, labels, validation_data=known, augmenter=augment, epochs=10_000)

    def choose(self, samples):
        """The package's own choice of thresholds."""
        self.model.optimize_thresholds(*self._pairs(samples))

    def labels(self, sample):
        """Which object each pixel of an image is of."""
        return self.model.predict_instances(self._image(sample))[0].astype("int32")

    def _pairs(self, samples):
        return [self._image(s) for s in samples], [true_objects(s)[1] for s in samples]

    def _image(self, sample):
        from csbdeep.utils import normalize

        image = normalize(load_image(sample, self.channels), 1, 99.8, axis=(0, 1))
        return image[..., 0] if self.channels == 1 else image

    def _turned(self, image, labels):
        """Turned by quarters and mirrored, brightness changed: its examples' augmentation."""
        turns, mirrored = self.rng.integers(4), self.rng.random() < 0.5
        image, labels = (np.rot90(each, turns) for each in (image, labels))
        image, labels = (each[::-1] if mirrored else each for each in (image, labels))
        return image * self.rng.uniform(0.6, 2) + self.rng.uniform(-0.2, 0.2), labels


# ---- YOLO ----------------------------------------------------------------------------------------


class Yolo:
    """`yolo11n-seg` of the package ultralytics (AGPL-3.0), from its structure alone."""

    def __init__(self, folder, split, seed):
        from ultralytics import YOLO

        self.folder, self.seed, self.confidence = folder, seed, 0.25
        sides = [max(load_image(sample, 3).shape) for sample in split.train]
        self.size = min(640, max(CROP, 32 * round(statistics.median(sides) / 32)))
        for part, samples in (("train", split.train), ("val", split.val)):
            for sample in samples:
                self._write(part, sample)
        data = f"path: {folder}\ntrain: images/train\nval: images/val\nnames:\n  0: object\n"
        (folder / "data.yaml").write_text(data)
        self.model = YOLO("yolo11n-seg.yaml")
        self.weights = sum(each.numel() for each in self.model.model.parameters())

    def train(self, minutes):
        """Trains for the minutes, by the package's own rates and augmentation."""
        self.model.train(
            data=str(self.folder / "data.yaml"), time=minutes / 60, imgsz=self.size, batch=BATCH,
            device="cpu", workers=0, pretrained=False, plots=False, seed=self.seed, verbose=False,
            project=str(self.folder), name="run", amp=False,
        )  # fmt: skip

    def choose(self, samples):
        """The confidence with the highest F1 of objects."""
        scores = {}
        for self.confidence in CONFIDENCES:
            scores[self.confidence] = judged(self, samples)["f1"]
        self.confidence = max(scores, key=scores.get)

    def labels(self, sample):
        """Which object each pixel is of; where two overlap, the more confident one's."""
        image = np.ascontiguousarray(load_image(sample, 3)[..., ::-1])  # as OpenCV reads it
        (found,) = self.model.predict(
            image, imgsz=self.size, conf=self.confidence, max_det=1000, retina_masks=True,
            device="cpu", verbose=False,
        )  # fmt: skip
        labels = np.zeros(image.shape[:2], "int32")
        if found.masks is not None:
            order = np.argsort(found.boxes.conf.numpy())
            for number, place in enumerate(order, start=1):
                labels[found.masks.data[place].numpy() > 0.5] = number
        return labels

    def _write(self, part, sample):
        """An image, and a line for each object: its outline as shares of width and height."""
        from PIL import Image

        from keras_deepskip.inference.forms.polygons import path_of, polygons_of

        pixels = load_image(sample, 3)
        for kind in ("images", "labels"):
            (self.folder / kind / part).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(self.folder / "images" / part / f"{sample.name}.png")
        height, width = pixels.shape[:2]
        lines = []
        for outline in polygons_of(true_objects(sample)[1]):
            path = path_of(outline) / (width, height)
            lines.append("0 " + " ".join(f"{share:.6f}" for share in path.ravel()) + "\n")
        (self.folder / "labels" / part / f"{sample.name}.txt").write_text("".join(lines))


METHODS = {"stardist": StarDist, "yolo": Yolo}

if __name__ == "__main__":
    main()
