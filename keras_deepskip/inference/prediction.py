"""`predict`: masks, overlays and a table of the objects found."""

import dataclasses
import functools
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import keras

from keras_deepskip import _checks, _files
from keras_deepskip._progress import progress, resolve_verbose
from keras_deepskip.data import Sample
from keras_deepskip.folding import fold_batch_norm
from keras_deepskip.inference.choice_of_images import chosen_images
from keras_deepskip.inference.cluster import check_cluster, predict_on_cluster
from keras_deepskip.inference.finished import Finished, NoteFile
from keras_deepskip.inference.image_work import ImageWork, Wanted, groups_of
from keras_deepskip.inference.measures import columns
from keras_deepskip.inference.outputs import check_model, decision_of
from keras_deepskip.inference.tables import Rows, check_tables, remove_tables, write_tables
from keras_deepskip.inference.tiled import work_key
from keras_deepskip.inference.tta import check_tta
from keras_deepskip.models import RunLike, class_names_of, input_range_of, resolve_model

FAILURES = "failures.csv"
FAILURE_COLUMNS = ("image", "file", "error")


def predict(
    model: keras.Model | RunLike,
    images: str | os.PathLike | Sequence[str | os.PathLike | Sample],
    out: str | os.PathLike,
    *,
    probabilities: bool = False,
    overlays: bool = True,
    overlay_channels: Sequence[int] | None = None,
    threshold: float | None = None,
    min_area: int | Sequence[int] | None = None,
    separate: bool | None = None,
    measures: bool = False,
    formats: Sequence[str] = (),
    tta: str | None = None,
    tables: str | Sequence[str] = ("csv",),
    cluster: str | None = None,
    each: Callable[["FoundImage"], object] | None = None,
    verbose: int | str = "auto",
) -> Rows:
    """Finds the objects in images, and writes what was found.

    Writes in `out`: `masks/NAME.png` (class ids, with a palette in which viewers show them, as
    Pascal VOC's have), `labels/NAME.tif` (0 for background, else the object's number in the table;
    16 bits, 32 from 65,536 objects on), `overlays/NAME.png` (the image with the objects outlined,
    reduced to 2048 pixels per side if it is larger), `probabilities/NAME.png` if asked (16 bits:
    65535 is 1; of several classes `NAME_classK.png` each), and `objects.csv`, one line per object:
    image, number, class (and its name, if the model knows it), area in pixels, centroid and box in
    pixels (bottom and right are the first row and column outside), and the mean probability of its
    class; and `images.csv`, a line for each image and class: number of objects, share of the pixels
    that they cover, mean area, and the image's file. Masks and labels of a GeoTIFF keep its place
    on the map; its mask is `masks/NAME.tif`. Each file is whole or not there; `objects.csv` comes
    last.

    Of several images, one that cannot be read, or is of another size than the only one that the
    model takes, does not end it: it is a line of `failures.csv`, with
    the error, and a warning tells how many there are. Images of one name in several folders are
    named by their path: `masks/plate1/well3.png`.

    With `cluster` the images are shared among the processes of a Dask cluster; all files are the
    same, byte for byte, and a process that is lost costs time alone.

    An image of more than 2 million pixels is predicted window by window (`predict_tiled`), with
    the same result. One of more than 16 million is also read and written in parts, so that it may
    be larger than memory: its mask is `masks/NAME.tif`, its probabilities `probabilities/NAME.tif`
    (float32). Until it is done its probabilities take 4 bytes a
    pixel and class of disk, and its labels 4 more. Objects are whole wherever windows meet.

    Interrupted or killed at any moment, the same call resumes, with or without a cluster: images
    whose files are all there are not predicted again (nor are finished windows of large ones).
    Tables are written at the end, line by line: memory does not grow with the objects found.

    Args:
        model: a built `keras.Model` with probabilities as output, or a `Run`.
        images: a folder of images (or, if it has none itself, of folders of images), an image file,
            a `.npy` or `.zarr` array, a pattern of paths (`"plates/*/well_?.tif"`; `**` goes into
            sub-folders), a `.txt` file with one path per line (lines that begin with `#` are
            comments), the address of a folder, a file, a pattern or a `.txt` of images on a store
            (see `data.stores`), or several of these. A list may also hold `Sample`s. Where a folder
            has `images/`, what lies beside it, such as masks, is no image.
        out: the folder to write to.
        probabilities: whether to write `probabilities/`.
        overlays: whether to write `overlays/`.
        overlay_channels: which channels overlays show, from 0 on: three as red, green and blue, or
            one in grey. None takes the first three, or the first.
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
            regions of ImageJ), `"label-studio"` (`label-studio/`: tasks with outlines to correct in
            Label Studio, its labelling configuration, and a copy of each image), `"ome-zarr"`
            (`zarr/NAME.ome.zarr`, NGFF 0.5: the image, and its objects and classes as label images,
            for napari), `"yolo"` (`yolo/labels/NAME.txt`, for segmentation, and `yolo/data.yaml`).
            Not for images read in parts.
        tta: test-time augmentation: `"flips"` takes the mean over 4 mirrored ways to look at an
            image, `"flips_and_rotations"` over 8; None takes the image alone.
        tables: in which forms to write the tables: `"csv"`, `"parquet"` (`objects.parquet` and
            `images.parquet`), or both.
        cluster: Dask processes that share the images: `"local:4"` starts four on this machine,
            `"tcp://HOST:PORT"` takes those of a scheduler, which must see `images` and `out` under
            the same paths. None predicts in this process.
        each: function that is given each image as a `FoundImage`, in order, when the files of all
            are there; a `reporting.Report` takes them so. None gives them to nobody.
        verbose: 0 shows nothing, 1 a progress bar, 2 one line; `"auto"` a bar on a terminal.

    Returns:
        The lines of `objects.csv`, dicts: a sequence that is read from that file when it is asked
        for.

    Raises:
        ImportError: if `measures` are asked for and scikit-image is not installed, or a format,
            a table or a cluster and its package is not.
        ConnectionError: if no scheduler answers, or it has no workers.
        RuntimeError: if a worker has other versions or another backend, or does not see the
            folders; if the same images end one process after the other.
        ValueError: if no image can be read, or none fits the model: the first is named, and
            `failures.csv` lists all. Also if two images share a name, if `out` is the folder of the
            images, or if the model gives no probabilities or is multilabel.

    Example:

    ```python
    objects = predict(model, "photographs", "found")
    print(len(objects), "objects")
    ```
    """
    cluster, tables = check_cluster(cluster), check_tables(tables)
    model, run = resolve_model(model)
    expected = run.input_range if run else input_range_of(model)
    folder, (channels, _) = Path(out), check_model(model)
    point = decision_of(model, run, threshold, min_area, separate)
    model, names = fold_batch_norm(model), class_names_of(model)
    check_tta(tta, model.input_shape[1:-1])
    formats = (formats,) if isinstance(formats, str) else tuple(dict.fromkeys(formats))
    shown = resolve_verbose(verbose) if cluster is None else 0  # workers share a terminal
    wanted = Wanted(
        folder, probabilities, overlays, _shown_channels(overlay_channels, channels), measures,
        formats, tta, point, names, expected, shown,
    )  # fmt: skip
    work = ImageWork(model, wanted, work_key(model, wanted.key()))
    samples = chosen_images(images, folder, verbose)
    finished = Finished(folder, work.work)
    killed = cluster is not None or finished.folder.is_dir()  # then files may have been cut off
    finished.look_up(samples, work.stamp)
    groups = [
        group for group in groups_of(samples) if not all(own.name in finished for own in group)
    ]
    run_groups = _predict_here if cluster is None else predict_on_cluster(cluster)
    failures = {}
    with progress(len(samples), verbose, "Predicted", done=len(finished)) as show:
        for name, error in run_groups(work, groups, finished):
            if error is not None:
                failures[name] = error
            show(len(finished) + len(failures))
    failed = [(own, failures[own.name]) for own in samples if own.name in failures]
    _write_failures(folder, failed)
    if failed and not len(finished):
        finished.forget()
        remove_tables(folder)  # those of another call
        raise failed[0][1]
    if killed:
        _files.remove_leftovers(folder, below=True)
    for form in work.forms:
        form.finish(functools.partial(_pieces, form.name, finished, samples))
    if each is not None:
        for found in _found_images(finished, samples, folder):
            each(found)
    measured = columns(channels, finished.sized) if measures else []
    if failed:
        _tell_failures(folder, failed, len(samples))
    rows = write_tables(folder, finished.notes(samples), tables, names, measured)
    finished.forget()
    return rows


def _shown_channels(chosen, channels):
    """The channels of overlays, checked."""
    if chosen is None:
        return None
    chosen = tuple(_checks.check_integer("overlay_channels", one, minimum=0) for one in chosen)
    if len(chosen) not in (1, 3) or max(chosen) >= channels:
        raise ValueError(
            f"`overlay_channels` must be one or three of the images' channels, 0 to "
            f"{channels - 1}. Received: overlay_channels={chosen}"
        )
    return chosen


@dataclasses.dataclass(frozen=True)
class FoundImage:
    """What `predict` found in an image.

    Attributes:
        sample: the `Sample`.
        folder: where the files are: `labels/NAME.tif` holds the objects, numbered as in `objects`.
        objects: the lines of `object_table`, rounded as in `objects.csv`, with measures if there
            are any.
        sizes: height and width in pixels.
    """

    sample: Sample
    folder: Path
    objects: list[dict]
    sizes: tuple[int, ...]


def _found_images(finished, samples, folder):
    """Yields a `FoundImage` of each image that has a note."""
    done = [sample for sample in samples if sample.name in finished]
    for sample, note in zip(done, finished.notes(done), strict=True):
        names = ["class_id", *note["columns"][1:]]
        objects = [dict(zip(names, values, strict=True)) for values in note["rows"]]
        yield FoundImage(sample, folder, objects, tuple(note["sizes"]))


def _predict_here(work, groups, finished):
    """Predicts groups of images in this process; yields the name of each image, and None or why
    it cannot be read."""
    with NoteFile(finished.folder) as notes:
        for group in groups:
            for sample, note in work.predict(group, finished):
                if isinstance(note, Exception):
                    yield sample.name, note
                    continue
                finished.add(sample.name, notes.add(note), note["sized"])
                yield sample.name, None


def _pieces(form, finished, samples):
    """Yields what a form has handed on of each image, in order."""
    for note in finished.notes(samples):
        if form in note["pieces"]:
            yield note["pieces"][form]


def _write_failures(folder, failures):
    """Writes `failures.csv`; without failures there is none."""
    path = folder / FAILURES
    if not failures:
        _files.remove(path)
        return
    lines = [
        {"image": sample.name, "file": str(sample.image), "error": str(error)}
        for sample, error in failures
    ]
    _files.write_text(path, _files.csv_text(lines, FAILURE_COLUMNS))


def _tell_failures(folder, failures, count):
    warnings.warn(
        f"{len(failures)} of {count} images could not be predicted; {folder / FAILURES} lists "
        f"them. The first: {failures[0][1]}",
        stacklevel=3,
    )
