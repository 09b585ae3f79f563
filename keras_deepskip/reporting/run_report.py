"""`report`: what a model finds, how sure that is, and how it was made, as one page."""

import os
import shlex
import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath

import keras
import numpy as np

from keras_deepskip import _checks
from keras_deepskip.data import MaskReading, Sample
from keras_deepskip.drawing import to_rgb
from keras_deepskip.inference import Evaluation, FoundImage, JudgedImage, evaluate
from keras_deepskip.inference.sources import open_source
from keras_deepskip.metrics.object_counts import object_classes
from keras_deepskip.models import RunLike, class_names_of, resolve_model
from keras_deepskip.reporting import charts, facts, figures
from keras_deepskip.reporting.gallery import Gallery
from keras_deepskip.reporting.page import Section, Tile, check_page, write_page
from keras_deepskip.reporting.shown import (
    MINI,
    SIDE,
    densest_window,
    found_image,
    judged_objects,
    reduced,
    shown_image,
    shown_objects,
    webp,
)

NEEDED = ("jinja2", "altair", "vl_convert", "shapely")
MOST_PIXELS = 2**24  # of an image that is read whole for the picture that shows where a crop lies
PARTS = {"train": "training", "val": "validation", "test": "test"}


def report(
    model: keras.Model | RunLike,
    out: str | os.PathLike | None = None,
    samples: Sequence[Sample] | None = None,
    *,
    part: str = "test",
    threshold: float | None = None,
    min_area: int | Sequence[int] | None = None,
    separate: bool | None = None,
    criterion: str = "iou",
    masks: MaskReading | None = None,
    verbose: int | str = "auto",
) -> Path:
    """Evaluates a model and writes one HTML page of what it finds and how it was made.

    The page holds all that it shows and asks nothing of the network: figures with intervals, a
    gallery of the images with their objects outlined, the worst first, curves, tables, the plan
    with its reasons, and the command that repeats the run. Of more than 100 images the gallery has
    the 100 worst, of images of more than 512 pixels per side the crop with the most errors; the
    whole ones, with their objects outlined, are then in a folder beside the page.

    Args:
        model: a `Run`, or a built `keras.Model` with probabilities as output.
        out: path of the page; None is `report.html` in the run's folder.
        samples: list of `Sample` with masks; None takes those of the run's `part`.
        part: `"test"`, `"val"` or `"train"`; of no meaning with `samples`.
        threshold, min_area, separate, criterion, masks: as in `evaluate`.
        verbose: 0 shows nothing, 1 a progress bar, 2 one line; `"auto"` a bar on a terminal.

    Returns:
        Path of the page.

    Raises:
        ImportError: if a package of the extra `report` is not installed.
        ValueError: if there are no samples, if `out` is a folder, or not given for a model; and as
            `evaluate`.

    Example:

    ```python
    print(report(Run.load("runs/first")))
    ```
    """
    page, (_, run) = Report(model), resolve_model(model)
    if out is None and run is None:
        raise ValueError(
            "`out` must be the path of the page where a model is given. Received: out=None. "
            'Give out="report.html", or a `Run`'
        )
    path = check_page(run.folder / "report.html" if out is None else out)
    _checks.check_choice("part", part, tuple(PARTS))
    if samples is None and run is not None:
        samples = getattr(run.split, part)
    if not samples:
        raise ValueError(
            f"images with masks were expected, of the {part} part or in `samples`. Received: none"
        )
    found = evaluate(
        model, samples, threshold=threshold, min_area=min_area, separate=separate,
        criterion=criterion, masks=masks, each=page.add, verbose=verbose,
    )  # fmt: skip
    return page.write(path, found)


class Report:
    """A page that is given images one by one, and written when all were given.

    Args:
        model: a `Run`, or a `keras.Model`.
        title: heading of the page; None makes one.
        exports: paths of reports of `export` and `quantize` beside those in the run's folder.

    Raises:
        ImportError: if a package of the extra `report` is not installed.

    Example:

    ```python
    page = Report(run)
    found = evaluate(run, each=page.add)
    page.write("report.html", found)
    ```
    """

    def __init__(
        self,
        model: keras.Model | RunLike,
        title: str | None = None,
        exports: Sequence[str | os.PathLike] = (),
    ):
        for package in NEEDED:
            _checks.require(package, charts.PIP, "the report")
        self.model, self.run = resolve_model(model)
        self.title, self.exports = title, list(exports)
        self._class_names = class_names_of(self.model)
        self._gallery = Gallery(self._classes(), self._class_names)
        self._counts: list[figures.ImageCounts] = []
        self._found = figures.FoundFigures()
        self._parts: Counter = Counter()
        self._calibration = figures.Calibration()
        self._notes: list[tuple[str, str]] = []

    def _classes(self, ignore_class=None):
        return object_classes(self.model.output_shape[-1], ignore_class)

    def add(self, image: JudgedImage | FoundImage) -> None:
        """Takes an image of `evaluate(each=)` or of `predict(each=)`."""
        if isinstance(image, FoundImage):
            self._add_found(image)
            return
        class_ids = self._classes(image.ignore_class)
        objects, *labels = judged_objects(image, class_ids)
        counts = figures.image_counts(image, objects, class_ids)
        self._counts.append(counts)
        self._calibration.add(image, objects)
        if self.run is not None:
            self._parts[self.run.part_of(image.sample)] += 1
        if self._gallery.takes(image.sample.name, objects, counts.iou):
            self._gallery.add(shown_image(image, objects, labels, counts.iou))

    def _add_found(self, found):
        """An image whose truth is not known, from the files of `predict`: its densest crop."""
        objects = shown_objects(found.objects)
        self._found.add(found.sample.name, objects)
        if not self._gallery.takes(found.sample.name, objects):
            return
        channels = self.model.input_shape[-1]
        path = found.folder / "labels" / f"{found.sample.name}.tif"
        centres = [(row["centroid_y"], row["centroid_x"]) for row in found.objects]
        corner = densest_window(centres, [], found.sizes)
        box = tuple(slice(at, at + SIDE) for at in corner)
        source = open_source(found.sample.image, channels)
        labels = open_source(path, 1).read(box)[..., 0].astype("int64")
        mini, image = None, source.read(box)
        if max(found.sizes) > SIDE and found.sizes[0] * found.sizes[1] <= MOST_PIXELS:
            whole = to_rgb(source.read((slice(None), slice(None))))
            mini = webp(reduced(whole, MINI), 70)
        self._gallery.add(
            found_image(found.sample.name, image, labels, objects, corner, found.sizes, mini)
        )

    def add_note(self, heading: str, text: str) -> None:
        """Adds a text as it is, such as a table, below all else."""
        self._notes.append((heading, text))

    def write(self, path: str | os.PathLike, evaluation: Evaluation | None = None) -> Path:
        """Writes the page, and beside it the whole images that are larger than their crops.

        Args:
            path: of the page.
            evaluation: the `Evaluation` of the images that were added; None if no truth is known.

        Returns:
            The path.

        Raises:
            OSError: if a file cannot be written; it is named.
        """
        path = Path(path)
        pictures = self._gallery.contents(path)
        sections = [self._curves(evaluation), self._tables(evaluation), *self._made()]
        for heading, text in self._notes:
            sections.append(Section(heading, texts=[text]))
        write_page(
            path, title=self.title or self._own_title(), subtitle=self._subtitle(evaluation),
            tiles=self._tiles(evaluation), remarks=self._remarks(evaluation), gallery=pictures,
            sections=sections,
        )  # fmt: skip
        return path

    # ---- What the page says ----------------------------------------------------------------------

    def _own_title(self):
        if not self._counts:
            return f"Objects predicted in {len(self._found.images):,} images"
        names = ", ".join((self._class_names or {}).values())
        what = names if names and len(names) < 60 else "Objects"
        return f"{what} found" + self._data_name(" in")

    def _data_name(self, before):
        """The name of the run's folder of data, if the images are of it."""
        own = self.run is not None and self._parts and None not in self._parts
        return f"{before} {PurePath(str(self.run.data)).name}" if own else ""

    def _subtitle(self, evaluation):
        data = self._data_name(" of")
        weights = f"A network of {self.model.count_params():,} weights"
        if evaluation is None:
            images = len(self._found.images)
            return f"{weights} on {images:,} image{'s' * (images != 1)} whose truth is not known."
        kinds = [PARTS[p] for p in PARTS if self._parts.get(p)]
        kind = kinds[0] + " " if len(kinds) == 1 and not self._parts.get(None) else ""
        point = f"threshold {evaluation.threshold:g}"
        if np.any(evaluation.min_area):
            point += f", smallest object {_areas(evaluation)} pixels"
        if evaluation.separate:
            point += ", touching objects told apart"
        plural = "s" * (evaluation.images != 1)
        return f"{weights} on {evaluation.images:,} {kind}image{plural}{data}; {point}."

    def _tiles(self, evaluation):
        if evaluation is None:
            return self._tiles_of_found()
        found = figures.figures_of(self._counts)
        counts = evaluation.objects["all"]
        bias = evaluation.quality["all"]["count_bias"]
        true, stated = counts["tp"] + counts["fn"], counts["tp"] + counts["fp"]
        lean = "" if not bias else f", {abs(bias):.2f} too {_sides(bias)} on average"
        return [
            Tile("found", f"{counts['tp']:,}", f"of {true:,}", "found", _share(found["recall"])),
            Tile("missed", f"{counts['fn']:,}", f"of {true:,}", "missed", _share(found["missed"])),
            Tile("false", f"{counts['fp']:,}", f"of {stated:,} predicted", "false",
                 _share(found["false"])),
            Tile("count error", f"{found['count_error'][0]:.2f}",
                 f"an image{lean}", "", _interval(found["count_error"])),
            Tile("pixel IoU", f"{found['iou'][0]:.3f}", "overlap of areas", "",
                 _interval(found["iou"])),
        ]  # fmt: skip

    def _tiles_of_found(self):
        """Figures of images whose truth is not known."""
        images = self._found.images
        numbers = [image.objects for image in images] or [0]
        tiles = [
            Tile("objects", f"{sum(numbers):,}",
                 f"in {len(images):,} image" + "s" * (len(images) != 1), "predicted"),
            Tile("in an image", f"{statistics.median(numbers):,g}",
                 f"median, {min(numbers):,} to {max(numbers):,}"),
        ]  # fmt: skip
        areas = self._found.areas()
        if areas is not None:
            median, least, most = areas
            text = f"pixels, median, {least:,} to {most:,}"
            tiles.append(Tile("area", f"{median:,g}", text))
        return tiles

    def _remarks(self, evaluation):
        if evaluation is None:
            text = "The truth of these images is not known: the page shows what was predicted."
            return [facts.Remark("unknown", text)]
        counts = evaluation.objects["all"]
        true = counts["tp"] + counts["fn"]
        return facts.remarks_of(self.run, self._parts, len(self._counts), true)

    def _curves(self, evaluation):
        drawn = {}
        if evaluation is not None:
            rows = figures.recall_rows(evaluation.objects)
            drawn |= {"recall": charts.recall_chart(rows)} if rows else {}
            drawn["count"] = charts.count_chart(self._counts)
            drawn["calibration"] = charts.calibration_chart(self._calibration.rows())
        if self.run is not None and self.run.operating_curve:
            point = self.run.operating_point
            drawn |= charts.threshold_charts(
                self.run.operating_curve, point.threshold, self._class_names
            )
        if self.run is not None and self.run.history:
            drawn |= charts.training_charts(self.run.history, self.run.best_epoch)
        return Section("Curves", charts=drawn)

    def _tables(self, evaluation):
        if evaluation is None:
            return Section("Tables", tables=facts.found_tables(self._found.images))
        return Section("Tables", tables=facts.result_tables(evaluation, self._counts))

    def _made(self):
        """How the model was made: plan, data, network, files, versions, command."""
        run, network = self.run, facts.network_tables(self.model)
        exports = facts.export_tables(run and run.folder, self.exports)
        again = Section("Versions, and how to repeat it", tables=[facts.version_table(run)])
        if run is not None:
            yield Section("Plan", tables=facts.plan_tables(run))
            yield Section("The data", tables=facts.data_tables(run))
            if run.command is not None:
                command = ["keras-deepskip", "report", "--run", str(run.folder)]
                again.commands += [run.command, shlex.join(command)]
        yield Section("The network", tables=network)
        yield Section("Exported files", tables=exports)
        yield again


def _sides(bias):
    return "many" if bias > 0 else "few"


def _areas(evaluation):
    area = evaluation.min_area
    return ", ".join(map(str, area[1:])) if isinstance(area, tuple | list) else area


def _share(figure):
    """A share and its interval in per cent."""
    value, low, high = (None if number is None else 100 * number for number in figure)
    if value is None:  # of nothing
        return ""
    return f"{value:.1f} %" + ("" if low is None else f" ({low:.1f} to {high:.1f})")


def _interval(figure):
    _, low, high = figure
    return "" if low is None else f"{low:.2f} to {high:.2f}"
