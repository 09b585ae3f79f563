"""What `predict` does for images, in its own process as in those of a cluster.

Images come in groups of some that follow each other. Those of a group that are of one size are one
batch for the network, and whoever predicts some of them again, after an interrupt or in another
process, forms the same batches: so files are the same, byte for byte, however the work was shared.
"""

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_deepskip.data import write_png
from keras_deepskip.data.placement import placement_of
from keras_deepskip.drawing import LONGEST, class_palette, draw_mask
from keras_deepskip.inference.forms import ImageObjects, forms_of
from keras_deepskip.inference.large import predict_large
from keras_deepskip.inference.measures import counts, measure
from keras_deepskip.inference.outputs import ObjectsOf, check_model, check_sizes
from keras_deepskip.inference.sinks import label_type, write_tiff
from keras_deepskip.inference.sources import file_stamp, open_source
from keras_deepskip.inference.tables import object_values
from keras_deepskip.inference.tiled import probabilities_of, probabilities_of_batch
from keras_deepskip.inference.zarrs import is_zarr, zarr_placement
from keras_deepskip.objects import object_table
from keras_deepskip.operating_point import OperatingPoint

LARGE = 4096 * 4096  # pixels above which an image is read, predicted and written in parts
GROUP = 8  # images, of which those of one size are a batch
BATCHED = 512 * 512  # pixels up to which they are; larger ones are predicted one by one
ALONE = 2**22  # bytes of a file from which on it is a group of its own
WHOLE = (slice(None), slice(None))


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What `predict` was asked for, resolved; it travels to the processes of a cluster.

    Attributes:
        folder: the folder to write to.
        probabilities, overlays, overlay_channels, measures, formats, tta: as in `predict`.
        point: the `OperatingPoint`.
        names: of the classes by id, or None.
        expected: (low, high) of the images' values, or None.
        verbose: 1 shows a bar for an image that is read in parts.
    """

    folder: Path
    probabilities: bool
    overlays: bool
    overlay_channels: tuple[int, ...] | None
    measures: bool
    formats: tuple[str, ...]
    tta: str | None
    point: OperatingPoint
    names: dict[int, str] | None
    expected: tuple[float, float] | None
    verbose: int = 0

    def key(self):
        """What decides the content of files and notes, fit for JSON."""
        own = dataclasses.asdict(self)
        return [own[name] for name in own if name not in ("folder", "verbose")]


class ImageWork:
    """Predicts images and writes their files.

    Args:
        model: the model, its batch norms folded.
        wanted: a `Wanted`.
        work: a text that other work has not (`work_key`).

    Raises:
        ValueError, ImportError: as `predict`.
    """

    def __init__(self, model, wanted, work):
        self.model, self.wanted, self.work = model, wanted, work
        self.channels, self.classes = check_model(model)
        self.objects_of = ObjectsOf(model, wanted.point)
        self.forms = forms_of(wanted.formats, wanted.folder, wanted.names, self.classes)

    def stamp(self, sample):
        """What changes when the image does: size and time of a file, pixels of a Zarr array."""
        if is_zarr(sample.image):
            try:
                source = open_source(sample.image, self.channels, expected=self.wanted.expected)
                return [os.path.abspath(sample.image), source.fingerprint()]
            except (ValueError, OSError):
                return None
        return file_stamp(sample.image)

    def predict(self, group, finished=()):
        """Predicts the images of a group and writes their files.

        Args:
            group: a list of `Sample`, as in `groups_of`.
            finished: holds the names of those whose files are there; they may be read, as others
                are in a batch with them.

        Yields:
            `(sample, note)` for each of the others; in place of a note the error, if the image
            cannot be read.
        """
        batches = {}
        for sample in group:
            done = sample.name in finished
            if done and (len(group) == 1 or is_zarr(sample.image)):
                continue
            stamp = self.stamp(sample)  # before it is read: it may change meanwhile
            try:
                source, place, image = self._opened(sample)
            except (ValueError, OSError) as error:
                if not done:
                    yield sample, error
                continue
            opened = _Opened(sample, stamp, source, place, image, done)
            if image is not None and math.prod(source.sizes) <= BATCHED:
                batches.setdefault(image.shape, []).append(opened)
            elif not done:
                yield sample, self._predict_alone(opened)
        for batch in batches.values():
            yield from self._predict_batch(batch)

    def _opened(self, sample):
        """An image as a `Source`, its `Placement`, and its pixels: None if it is read in parts."""
        source = open_source(sample.image, self.channels, expected=self.wanted.expected)
        placed = zarr_placement if is_zarr(sample.image) else placement_of
        small = math.prod(source.sizes) <= LARGE
        if small:  # larger ones are cut into windows of the model's size
            check_sizes(self.model, source.sizes, sample.image)
        if not small and self.forms:
            raise ValueError(
                f"{sample.image}: an image of at most {LARGE:,} pixels was expected for other "
                f"formats. Received: {source.sizes}. Leave `formats` out"
            )
        return source, placed(sample.image), source.read(WHOLE) if small else None

    def _predict_batch(self, batch):
        if all(opened.done for opened in batch):
            return
        if len(batch) == 1:
            yield batch[0].sample, self._predict_alone(batch[0])
            return
        images = np.stack([opened.image.astype("float32") for opened in batch])
        outputs = probabilities_of_batch(self.model, images, GROUP, self.wanted.tta)
        for opened, own in zip(batch, outputs, strict=True):
            if not opened.done:
                yield opened.sample, self._noted(opened, *self._written(opened, own))

    def _predict_alone(self, opened):
        wanted = self.wanted
        if opened.image is not None:
            outputs = probabilities_of(self.model, opened.image, wanted.tta)  # (H, W, K)
            return self._noted(opened, *self._written(opened, outputs))
        key = hashlib.sha256(json.dumps([self.work, opened.stamp]).encode()).hexdigest()
        rows = predict_large(
            self.model, opened.source, opened.sample, wanted, key=key, place=opened.place
        )
        name, files = opened.sample.name, ["masks/{}.tif", "labels/{}.tif"]
        files += ["overlays/{}.png"] * wanted.overlays
        files += ["probabilities/{}.tif"] * wanted.probabilities
        return self._noted(opened, rows, {}, [file.format(name) for file in files])

    def _written(self, opened, outputs):
        """Writes the files of an image.

        Returns:
            `(rows, pieces, files)`: the lines of `object_table`, what forms hand on, and the files'
            names in the folder.
        """
        wanted, name, place = self.wanted, opened.sample.name, opened.place
        folder, files = wanted.folder, [f"masks/{name}.{'tif' if place.tags else 'png'}"]
        mask = wanted.point.masks(outputs[None])[0]
        labels, count = self.objects_of.labels(mask, opened.image)
        if place.tags:  # PNG cannot say where on a map it lies
            write_tiff(folder / files[0], mask, place)
        else:
            write_png(folder / files[0], mask, class_palette())
        files.append(f"labels/{name}.tif")
        write_tiff(folder / files[-1], labels, place, label_type(count))
        if wanted.overlays:
            files.append(f"overlays/{name}.png")
            shown = labels if self.objects_of.each_for_itself else None
            picture = draw_mask(opened.image, mask, shown, wanted.overlay_channels, LONGEST)
            write_png(folder / files[-1], picture)
        if wanted.probabilities:
            files += _write_probabilities(folder, name, outputs)
        rows = object_table(mask, outputs, labels=labels)
        found = ImageObjects(opened.sample, opened.image, mask, labels, rows, place)
        pieces = {form.name: form.add(found) for form in self.forms}
        files += [file for form in self.forms for file in form.files_of(found)]
        if wanted.measures:
            measured = measure(labels, opened.image, place.pixel_size)
            rows = [{**row, **own} for row, own in zip(rows, measured, strict=True)]
        return rows, pieces, files

    def _noted(self, opened, rows, pieces, files):
        """What tables and forms need of an image, fit for JSON."""
        name, pixels = opened.sample.name, math.prod(opened.source.sizes)
        columns, values = object_values(rows)
        lines = counts(name, rows, pixels, self.classes)
        return {
            "work": self.work,
            "image": name,
            "stamp": opened.stamp,
            "sizes": list(opened.source.sizes),
            "sized": opened.place.pixel_size is not None,
            "classes": [list(line.values())[1:] for line in lines],
            "columns": columns,
            "rows": values,
            "pieces": {form: piece for form, piece in pieces.items() if piece is not None},
            "files": files,
        }


@dataclasses.dataclass(frozen=True)
class _Opened:
    """An image of a group; `image` is None if it is read in parts."""

    sample: object
    stamp: list
    source: object
    place: object
    image: np.ndarray | None
    done: bool


def groups_of(samples: Sequence) -> list[list]:
    """Cuts images into groups of `GROUP`; one in a large file, or in Zarr, is a group of its own.

    Args:
        samples: a list of `Sample`, in order.
    """
    groups: list[list] = [[]]
    for sample in samples:
        alone = is_alone(sample.image)
        if groups[-1] and (alone or len(groups[-1]) == GROUP):
            groups.append([])
        groups[-1].append(sample)
        if alone:
            groups.append([])
    return [group for group in groups if group]


def is_alone(path):
    """Whether an image is a group of its own."""
    try:
        return path.is_dir() or path.stat().st_size >= ALONE
    except OSError:  # it is gone, which shows when it is read
        return False


def _write_probabilities(folder, name, outputs):
    """Writes an image a channel; returns the files' names."""
    files = []
    for channel in range(outputs.shape[-1]):
        suffix = "" if outputs.shape[-1] == 1 else f"_class{channel}"
        scaled = np.round(outputs[..., channel].astype("float64") * 65535).astype("uint16")
        files.append(f"probabilities/{name}{suffix}.png")
        write_png(folder / files[-1], scaled)
    return files
