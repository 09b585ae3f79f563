"""`predict`: masks, overlays and a table of the objects found."""

import dataclasses
import glob
import math
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np

from keras_deepskip import _checks, _files
from keras_deepskip._progress import progress_bar, resolve_verbose
from keras_deepskip.data import Sample, find_images, write_png
from keras_deepskip.data.placement import placement_of
from keras_deepskip.data.stores import is_address, local_images
from keras_deepskip.drawing import draw_mask
from keras_deepskip.folding import fold_batch_norm
from keras_deepskip.inference.finished import Finished
from keras_deepskip.inference.forms import ImageObjects, forms_of
from keras_deepskip.inference.large import predict_large
from keras_deepskip.inference.measures import IMAGE_COLUMNS, columns, counts, measure
from keras_deepskip.inference.outputs import check_model, decision_of
from keras_deepskip.inference.sinks import label_type, write_tiff
from keras_deepskip.inference.sources import open_source
from keras_deepskip.inference.tiled import probabilities_of
from keras_deepskip.inference.tta import KINDS
from keras_deepskip.inference.zarrs import is_zarr, zarr_name, zarr_placement
from keras_deepskip.models import RunLike, class_names_of, input_range_of, resolve_model
from keras_deepskip.objects import object_table

LARGE = 4096 * 4096  # pixels above which an image is read, predicted and written in parts

COLUMNS = (
    "image", "object", "class", "area", "centroid_y", "centroid_x",
    "top", "left", "bottom", "right", "mean_probability",
)  # fmt: skip
WHOLE = (slice(None), slice(None))
FAILURE_COLUMNS = ("image", "file", "error")
TABLE = {*COLUMNS, "class_id"}  # what is no measure


def predict(
    model: keras.Model | RunLike,
    images: str | os.PathLike | Sequence[str | os.PathLike],
    out: str | os.PathLike,
    *,
    probabilities: bool = False,
    overlays: bool = True,
    threshold: float | None = None,
    min_area: int | Sequence[int] | None = None,
    separate: bool | None = None,
    measures: bool = False,
    formats: Sequence[str] = (),
    tta: str | None = None,
    each: Callable[["FoundImage"], object] | None = None,
    verbose: int | str = "auto",
) -> list[dict]:
    """Finds the objects in images, and writes what was found.

    Writes in `out`: `masks/NAME.png` (class ids), `labels/NAME.tif` (0 for background, else the
    object's number in the table; 16 bits, 32 from 65,536 objects on), `overlays/NAME.png` (the
    image with the objects outlined), `probabilities/NAME.png` if asked (16 bits: 65535 is 1; of
    several classes `NAME_classK.png` each), and `objects.csv`, a line an object: image, number,
    class (and its name, if the model knows it), area in pixels, centroid and box in pixels (bottom
    and right are the first row and column outside), and the mean probability of its class; and
    `images.csv`, a line for each image and class: number of objects, share of the pixels that they
    cover, mean area. Masks and labels of a GeoTIFF keep its place on the map; its mask is
    `masks/NAME.tif`. Each file is whole or not there; `objects.csv` comes last.

    Of several images, one that cannot be read does not end it: it is a line of `failures.csv`, with
    the error, and a warning tells how many there are.

    An image of more than 2 million pixels is predicted window by window (`predict_tiled`), with
    the same result. One of more than 16 million is also read and written in parts, so that it may
    be larger than memory: its mask is `masks/NAME.tif`, its probabilities `probabilities/NAME.tif`
    (float32), its overlay reduced to 2048 pixels. Until it is done its probabilities take 4 bytes a
    pixel and class of disk, and its labels 4 more. Objects are whole wherever windows meet.

    Interrupted or killed at any moment, the same call resumes: images whose files are all there
    are not predicted again (nor are finished windows of large ones).

    Args:
        model: a built `keras.Model` with probabilities as output, or a `Run`.
        images: a folder of images, an image file, a `.npy` or `.zarr` array, a pattern of paths
            (`"plates/*/well_?.tif"`; `**` goes into sub-folders), the address of a folder, a file,
            a pattern or a `.txt` of images on a store (see `data.stores`), or a list of these.
        out: the folder to write to.
        probabilities: whether to write probabilities.
        overlays: whether to write overlays.
        threshold: probability above which a pixel is predicted positive; None takes the
            operating point that the model holds (see `OperatingPoint`), else 0.5.
        min_area: least area of a predicted object in pixels; None takes that of the operating
            point, else all count.
        separate: whether objects that touch are told apart by their shape; None takes that of the
            operating point, else an object is a connected component.
        measures: whether `objects.csv` also has each object's equivalent diameter, perimeter,
            eccentricity, solidity and mean intensity of each channel, as scikit-image measures
            them, in pixels and in the image's values; area, diameter and perimeter also in
            micrometres where OME-TIFF, OME-Zarr or ImageJ's TIFF say how large a pixel is. Images
            read in parts leave them empty.
        formats: further forms to write the objects in, each pixel of them: `"coco"`
            (`annotations.json`, COCO's file of instances in RLE, with the mean probability as
            `score`), `"geojson"` (`geojson/NAME.geojson`, outlines for QuPath and GIS: in map
            coordinates if the image is a GeoTIFF, else in pixels), `"imagej"` (`rois/NAME.zip`,
            regions of ImageJ), `"yolo"` (`yolo/labels/NAME.txt`, for segmentation, and
            `yolo/data.yaml`). Not for images read in parts.
        tta: test-time augmentation: `"flips"` takes the mean over 4 mirrored ways to look at an
            image, `"flips_and_rotations"` over 8; None looks once.
        each: function that is given each image as a `FoundImage`, when its files are there; a
            `reporting.Report` takes them so. None gives them to nobody.
        verbose: 0 shows nothing, 1 a progress bar, 2 one line; `"auto"` a bar on a terminal.

    Returns:
        A list of dicts, the lines of `objects.csv`.

    Raises:
        ImportError: if `measures` are asked for and scikit-image is not installed, or a format and
            its package is not.
        ValueError: if no image can be read, or none fits the model: the first is named. Also if two
            images share a name, if `out` is the folder of the images, or if the model gives no
            probabilities or is multilabel.

    Example:

    ```python
    objects = predict(model, "photographs", "found")
    print(len(objects), "objects")
    ```
    """
    model, run = resolve_model(model)
    expected = run.input_range if run else input_range_of(model)
    folder, (channels, classes) = Path(out), check_model(model)
    point = decision_of(model, run, threshold, min_area, separate)
    model, names = fold_batch_norm(model), class_names_of(model)
    sources = images if isinstance(images, list | tuple) else [images]
    _checks.check_choice("tta", tta, (*KINDS, None))
    forms = forms_of(formats, folder, names, classes)
    samples = [sample for source in sources for sample in _found(source, verbose)]
    _refuse_same_names(samples)
    _refuse_data_folder(folder, samples)
    progress = progress_bar(len(samples), verbose)
    asked = {
        "probabilities": probabilities, "overlays": overlays, "point": point, "tta": tta,
        "measures": measures, "forms": forms, "verbose": resolve_verbose(verbose),
    }  # fmt: skip
    finished = Finished(folder, model, [probabilities, overlays, point.to_dict(), tta, measures])
    found, failures = [], []
    for index, sample in enumerate(samples, start=1):
        try:
            source, place, image = _opened(sample, channels, expected)
        except ValueError as error:
            failures.append((sample, error))
        else:
            found.append(_predicted(model, sample, source, place, image, folder, finished, asked))
            if each is not None:
                each(found[-1])
        progress.update(index)
    if failures and not found:
        raise failures[0][1]
    for form in forms:
        form.finish()
    sized = any(image.pixel_size is not None for image in found)
    measured = columns(channels, sized) if measures else []
    _tell_failures(folder, failures, len(samples))
    rows = _write_tables(folder, found, names, classes, measured)
    finished.close(forget=True)
    return rows


@dataclasses.dataclass(frozen=True)
class FoundImage:
    """What `predict` found in an image.

    Attributes:
        sample: the `Sample`.
        folder: where the files are: `labels/NAME.tif` holds the objects, numbered as in `objects`.
        objects: the lines of `object_table`.
        sizes: height and width in pixels.
        pixel_size: height and width of a pixel in micrometres, or None.
    """

    sample: Sample
    folder: Path
    objects: list[dict]
    sizes: tuple[int, ...]
    pixel_size: tuple[float, float] | None


def _opened(sample, channels, expected):
    """An image as a `Source`, its `Placement`, and its pixels: None if it is read in parts."""
    source = open_source(sample.image, channels, expected=expected)
    placed = zarr_placement if is_zarr(sample.image) else placement_of
    small = math.prod(source.sizes) <= LARGE
    return source, placed(sample.image), source.read(WHOLE) if small else None


def _predicted(model, sample, source, place, image, folder, finished, asked):
    """Writes an image's files, unless an interrupted call has done it; returns a `FoundImage`."""
    if image is None and asked["forms"]:
        raise ValueError(
            f"{sample.image}: an image of at most {LARGE:,} pixels was expected for other formats. "
            f"Received: {source.sizes}. Leave `formats` out"
        )
    key = finished.key(sample, source)
    objects = finished.known.get(key)
    if objects is not None:
        _add_to_forms(asked["forms"], sample, folder, objects, place)
    else:
        if image is None:
            objects = predict_large(model, source, sample, folder, key=key, place=place, **asked)
        else:
            objects = _predict_small(model, image, sample, folder, place=place, **asked)
        finished.add(key, objects)
    return FoundImage(sample, folder, objects, source.sizes, place.pixel_size)


def _add_to_forms(forms, sample, folder, objects, place):
    """Adds the objects of an image that was done before, whose labels are on the disk."""
    if forms:
        import tifffile

        labels = tifffile.imread(folder / "labels" / f"{sample.name}.tif")
        for form in forms:
            form.add(ImageObjects(sample, labels, objects, place))


def _tell_failures(folder, failures, count):
    """Writes `failures.csv`, and warns of it; without failures there is none."""
    path = folder / "failures.csv"
    if not failures:
        _files.remove(path)
        return
    lines = [
        {"image": sample.name, "file": str(sample.image), "error": str(error)}
        for sample, error in failures
    ]
    _files.write_text(path, _files.csv_text(lines, FAILURE_COLUMNS))
    warnings.warn(
        f"{len(failures)} of {count} images could not be predicted; {path} lists them. The first: "
        f"{failures[0][1]}",
        stacklevel=3,
    )


def _write_tables(folder, found, names, classes, measured):
    """Writes `images.csv` and, last, `objects.csv`; returns the lines of this."""
    rows, lines = [], []
    for image in found:
        rows += [_row(image.sample.name, *item, names) for item in enumerate(image.objects, 1)]
        lines += counts(image.sample.name, image.objects, math.prod(image.sizes), classes)
    named = (*COLUMNS[:3], *(["class_name"] if names else ()), *COLUMNS[3:], *measured)
    _files.write_text(folder / "images.csv", _files.csv_text(lines, IMAGE_COLUMNS))
    _files.write_text(folder / "objects.csv", _files.csv_text(rows, named))
    return rows


def _found(source, verbose=0):
    """The images of a folder, a pattern or an address; a file or a Zarr array is an image."""
    if is_address(source):
        return [sample for path in local_images(source, verbose) for sample in find_images(path)]
    if glob.has_magic(str(source)) and not Path(source).exists():
        paths = sorted(glob.glob(str(source), recursive=True))
        if not paths:
            raise FileNotFoundError(f"{source}: no file or folder has such a path")
        return [sample for path in paths for sample in _found(path)]
    if is_zarr(source):
        return [Sample(zarr_name(Path(source)), Path(source))]
    return find_images(source)


def _predict_small(
    model,
    image,
    sample,
    out,
    *,
    probabilities,
    overlays,
    point,
    place,
    measures,
    forms,
    tta,
    **_,
):
    """Writes an image's files; returns the lines of `object_table`."""
    name = sample.name
    outputs = probabilities_of(model, image, tta)  # (H, W, K)
    mask = point.masks(outputs[None])[0]
    labels, count = point.labels(mask)
    if place.tags:  # PNG cannot say where on a map it lies
        write_tiff(out / "masks" / f"{name}.tif", mask, place)
    else:
        write_png(out / "masks" / f"{name}.png", mask)
    write_tiff(out / "labels" / f"{name}.tif", labels, place, label_type(count))
    if overlays:
        write_png(
            out / "overlays" / f"{name}.png",
            draw_mask(image, mask, labels if point.separate else None),
        )
    if probabilities:
        _write_probabilities(out / "probabilities", name, outputs)
    rows = object_table(mask, outputs, labels=labels)
    found = ImageObjects(sample, labels, rows, place)
    for form in forms:
        form.add(found)
    measured = measure(labels, image, place.pixel_size) if measures else [{}] * len(rows)
    return [{**row, **own} for row, own in zip(rows, measured, strict=True)]


def _refuse_same_names(samples):
    names = [sample.name for sample in samples]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ValueError(
            "each image's files are named after it, and several images share a name. Received: "
            f"{', '.join(doubled[:5])}. Rename them, or predict the folders one by one"
        )


def _refuse_data_folder(out, samples):
    """Masks made by hand must not be overwritten: `out/masks` may be the true masks."""
    folders = {sample.image.resolve().parent for sample in samples}
    if out.resolve() in folders or (out / "images").is_dir():
        raise ValueError(
            "`out` must be a folder of its own, as masks/ would be written over. Received: "
            f"out={str(out)!r}, a folder of images. Choose another"
        )


def _write_probabilities(folder, name, outputs):
    for channel in range(outputs.shape[-1]):
        suffix = "" if outputs.shape[-1] == 1 else f"_class{channel}"
        scaled = np.round(outputs[..., channel].astype("float64") * 65535).astype("uint16")
        write_png(folder / f"{name}{suffix}.png", scaled)


def _row(name, number, found, names):
    values = (
        found["class_id"], found["area"], round(found["centroid_y"], 2),
        round(found["centroid_x"], 2), found["top"], found["left"], found["bottom"],
        found["right"], round(found["mean_probability"], 4),
    )  # fmt: skip
    row = dict(zip(COLUMNS, (name, number, *values), strict=True))
    if names:
        row["class_name"] = names.get(found["class_id"], "")
    return row | {key: round(value, 4) for key, value in found.items() if key not in TABLE}
