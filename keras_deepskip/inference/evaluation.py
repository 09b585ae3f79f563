"""`evaluate`: pixel and object figures of a model on images with masks."""

import dataclasses
import functools
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np

from keras_deepskip import _files
from keras_deepskip._checks import check_probabilities
from keras_deepskip._progress import progress
from keras_deepskip._tables import markdown_table
from keras_deepskip.data import MaskReading, Sample, load_objects, load_pair, no_data
from keras_deepskip.inference.outputs import (
    ObjectsOf,
    background_of,
    check_model,
    check_sizes,
    decision_of,
)
from keras_deepskip.inference.ranges import as_trained
from keras_deepskip.inference.tiled import probabilities_of
from keras_deepskip.metrics import (
    F1,
    CocoPrecision,
    Dice,
    IoU,
    ObjectCounts,
    ObjectQuality,
    Precision,
    Recall,
    masks_from_outputs,
)
from keras_deepskip.models import (
    RunLike,
    class_names_of,
    fill_of,
    input_range_of,
    resolve_model,
)
from keras_deepskip.objects import object_table

PIXEL_METRICS = (IoU, Dice, Precision, Recall, F1)
OBJECT_COLUMNS = {
    "recall": "recall",
    "precision": "precision",
    "F1": "f1",
    "found": "tp",
    "missed": "fn",
    "false": "fp",
}
QUALITY_COLUMNS = {
    "AP 0.5": "ap50",
    "AP 0.7": "ap70",
    "AP 0.5 to 0.95": "ap",
    "COCO AP": "coco_ap",
    "COCO AP 0.5": "coco_ap50",
    "PQ": "pq",
    "SQ": "sq",
    "RQ": "rq",
    "mean count error": "count_mean_absolute",
    "count bias": "count_bias",
}
WORST = 5


@dataclasses.dataclass(frozen=True)
class JudgedImage:
    """One image as `evaluate` judges it.

    Attributes:
        sample: the `Sample`.
        image: (H, W, C), as it was read.
        mask: true class ids, (H, W).
        ignore_class: the value of `mask` where pixels count nowhere.
        outputs: what the model says, (H, W, K); background where small objects were removed.
        predicted: predicted class ids, (H, W).
        true_labels, predicted_labels: which object each pixel is of, (H, W), 0 for none.
        objects: the lines of `object_table` of the predicted objects, by their labels from 1 on.
        criterion, object_threshold: when a predicted object matches a true one.
    """

    sample: Sample
    image: np.ndarray
    mask: np.ndarray
    ignore_class: int
    outputs: np.ndarray
    predicted: np.ndarray
    true_labels: np.ndarray
    predicted_labels: np.ndarray
    objects: list[dict]
    criterion: str = "iou"
    object_threshold: float = 0.5


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        images: number of images.
        threshold: probability above which a pixel was predicted positive.
        min_area: least area of a predicted object in pixels; of several classes one for each id.
        separate: whether predicted objects that touch were told apart by their shape.
        pixels: figure by name, over all pixels of all images, mean over classes.
        pixels_by_class: for each name, the figure of each class by its id, None where it is absent.
        objects: `ObjectCounts.summary()`.
        quality: `ObjectQuality.summary()`, with `coco_ap` and `coco_ap50` of `CocoPrecision`, whose
            scores are mean probabilities.
        class_names: names by class id, if the model knows them.
        worst: names of the images with the lowest IoU, and it, lowest first.
    """

    images: int
    threshold: float
    min_area: int | tuple[int, ...]
    pixels: dict
    pixels_by_class: dict
    objects: dict
    worst: list
    separate: bool = False
    quality: dict = dataclasses.field(default_factory=dict)
    class_names: dict | None = None

    def to_dict(self):
        """All of it as a dict fit for JSON."""
        return dataclasses.asdict(self)

    def text(self):
        """A readable report: tables of pixel and object figures."""
        rule = self.objects["config"]["criterion"]
        if rule == "iou":
            rule = f"IoU of at least {self.objects['config']['threshold']:g}"
        worst = ", ".join(f"{name} ({value:.2f})" for name, value in self.worst)
        return "\n".join(
            [
                f"Pixels of {self.images} images:",
                "",
                markdown_table(["", *self.pixels], self._pixel_rows()),
                "",
                f"Objects, matched one to one by {rule}, by their size in pixels:",
                "",
                markdown_table(["", *OBJECT_COLUMNS], self._object_rows()),
                "",
                *self._quality_lines(),
                f"Lowest IoU: {worst}",
            ]
        )

    def _pixel_rows(self):
        rows = [["all", *self.pixels.values()]]
        class_ids = list(next(iter(self.pixels_by_class.values())))
        for class_id in class_ids if len(class_ids) > 1 else ():
            figures = [by_class[class_id] for by_class in self.pixels_by_class.values()]
            rows.append([self._named(class_id), *figures])
        return rows

    def _named(self, class_id):
        name = (self.class_names or {}).get(int(class_id))
        return f"class {class_id}" + (f" ({name})" if name else "")

    def _quality_lines(self):
        if not self.quality:
            return []
        rows = [
            [
                name if name == "all" else self._named(name),
                *(row[figure] for figure in QUALITY_COLUMNS.values()),
            ]
            for name, row in self.quality.items()
            if name == "all" or len(self.quality) > 2
        ]
        table = markdown_table(["", *QUALITY_COLUMNS], rows)
        return ["Objects by IoU, and errors of their number in an image:", "", table, ""]

    def _object_rows(self):
        rows = {"all": self.objects["all"], **self.objects["strata"]}
        if len(self.objects["classes"]) > 1:
            rows |= {self._named(name): row for name, row in self.objects["classes"].items()}
        return [
            [name, *(row[figure] for figure in OBJECT_COLUMNS.values())]
            for name, row in rows.items()
        ]


def evaluate(
    model: keras.Model | RunLike,
    samples: Sequence[Sample] | None = None,
    out: str | os.PathLike | None = None,
    *,
    threshold: float | None = None,
    min_area: int | Sequence[int] | None = None,
    separate: bool | None = None,
    criterion: str = "iou",
    object_threshold: float = 0.5,
    masks: MaskReading | None = None,
    predict: Callable[[np.ndarray], np.ndarray] | None = None,
    each: Callable[[JudgedImage], object] | None = None,
    verbose: int | str = "auto",
) -> Evaluation:
    """Evaluates a model on images with masks, each one whole, by pixels and by objects.

    A sample that says which object each pixel is of (`instances/`) is judged by these objects; of
    others, objects are the connected components of the mask.

    Args:
        model: a built `keras.Model` with probabilities as output, or a `Run`.
        samples: list of `Sample` with masks; None takes the test images of the run.
        out: folder that receives `evaluation.json` and `evaluation.md`; None writes nothing.
        threshold: probability above which a pixel is predicted positive; None takes the
            operating point that the model holds (see `OperatingPoint`), else 0.5.
        min_area: least area of a predicted object in pixels; None takes that of the operating
            point, else all count.
        separate: whether predicted objects that touch are told apart by their shape; None takes
            that of the operating point, else an object is a connected component.
        criterion: when a predicted object matches a true one: `"iou"` (an IoU of at least 0.5) or
            `"centre"` (its centre lies in the true one). As in `ObjectCounts`.
        object_threshold: smallest IoU of a match.
        masks: a `MaskReading`: how the masks are read; None takes that of the run, else class ids
            as the model has them.
        predict: function from an image (H, W, C) to probabilities (H, W, K) that takes the place of
            the model: what an exported or quantized form of it says. None asks the model.
        each: function that is given each image as a `JudgedImage`, when it has been judged; a
            `reporting.Report` takes them so. None gives them to nobody.
        verbose: 0 shows nothing, 1 a progress bar, 2 one line; `"auto"` a bar on a terminal.

    Returns:
        An `Evaluation`.

    Raises:
        ValueError: if a file cannot be read, or does not fit the model; it is named. Also if the
            model's outputs are no probabilities, or it is multilabel.

    Example:

    ```python
    print(evaluate(Run.load("runs/first")).text())
    ```
    """
    model, run = resolve_model(model)
    expected = run.input_range if run else input_range_of(model)
    samples = run.split.test if samples is None and run else samples
    if not samples:
        raise ValueError("`samples` must hold at least one image with its mask. Received: none")
    channels, num_classes = check_model(model)
    masks = masks or (run.masks if run else MaskReading())
    ignored = no_data.ignored_id(masks.ignore_class)
    masks = dataclasses.replace(masks, num_classes=num_classes, ignore_class=ignored)
    fill, nothing = fill_of(model), background_of(model)
    point = decision_of(model, run, threshold, min_area, separate)
    threshold = point.threshold
    predicted = predict is not None  # by something else than the model
    objects_of = ObjectsOf(None if predicted else model, point)
    predict = predict or functools.partial(probabilities_of, model)
    counted = {"num_classes": num_classes, "ignore_class": masks.ignore_class}
    pixel_metrics = [metric(threshold=threshold, **counted) for metric in PIXEL_METRICS]
    image_iou = IoU(threshold=threshold, **counted)
    objects = ObjectCounts(criterion=criterion, threshold=object_threshold, **counted)
    quality, precision = ObjectQuality(**counted), CocoPrecision(**counted)
    by_image = []
    with progress(len(samples), verbose, "Evaluated") as show:
        for index, sample in enumerate(samples, start=1):
            image, mask = load_pair(sample, channels, masks)
            image = as_trained(image, expected, sample.image)
            if not predicted:  # `predict` may take other sizes
                check_sizes(model, mask.shape, sample.image)
            filled = no_data.filled(image, fill)
            outputs = predict(filled)[None]  # (1, H, W, K)
            if predicted:
                check_probabilities(outputs)
            outputs = _where_data_are(outputs, image, nothing)
            found = point.masks(outputs)
            outputs = _without_small(outputs, found, threshold)
            for metric in (*pixel_metrics, image_iou):
                metric.update_state(mask[None], outputs)
            labels = {
                "true_labels": load_objects(sample, mask, masks),
                "predicted_labels": objects_of.labels(found[0], filled)[0],
            }
            objects.update(mask, found[0], **labels)
            quality.update(mask, found[0], **labels)
            table = object_table(found[0], outputs[0], labels=labels["predicted_labels"])
            precision.update(mask, found[0], [row["mean_probability"] for row in table], **labels)
            if each is not None:
                each(
                    JudgedImage(
                        sample, image, mask, ignored, outputs[0], found[0], **labels, objects=table,
                        criterion=criterion, object_threshold=object_threshold,
                    )
                )  # fmt: skip
            by_image.append([sample.name, float(image_iou.result())])
            image_iou.reset_state()
            show(index)

    evaluation = Evaluation(
        images=len(samples),
        threshold=threshold,
        min_area=point.min_area,
        separate=point.separate,
        quality=_with_coco(quality.summary(), precision),
        class_names=class_names_of(model),
        pixels={type(metric).__name__: float(metric.result()) for metric in pixel_metrics},
        pixels_by_class={type(metric).__name__: _by_class(metric) for metric in pixel_metrics},
        objects=objects.summary(),
        worst=sorted(by_image, key=lambda row: row[1])[:WORST],
    )
    if out is not None:
        _files.write_json(Path(out) / "evaluation.json", evaluation.to_dict())
        _files.write_text(Path(out) / "evaluation.md", evaluation.text() + "\n")
    return evaluation


def _with_coco(figures, precision):
    """The figures of objects with COCO's AP, None where a class has no true object."""
    for name, row in figures.items():
        class_id = None if name == "all" else int(name)
        for key, threshold in (("coco_ap", None), ("coco_ap50", 0.5)):
            value = precision.result(threshold, class_id)
            row[key] = None if math.isnan(value) else value
    return figures


def _where_data_are(outputs, image, nothing):
    """Outputs (1, H, W, K) that say background where an image has no data, as in `predict`."""
    without = no_data.missing(image)
    if without is None:
        return outputs
    outputs = np.array(outputs)
    outputs[0][without] = nothing
    return outputs


def _without_small(outputs, found, threshold):
    """Probabilities (1, H, W, K) whose pixels are background where small objects were removed."""
    removed = masks_from_outputs(outputs, threshold) != found
    if not removed.any():
        return outputs
    outputs = np.array(outputs)
    outputs[removed] = 0
    if outputs.shape[-1] > 1:
        outputs[removed, 0] = 1
    return outputs


def _by_class(metric):
    """Figure by class id (as JSON has it: a string), None where the class is absent."""
    values = np.asarray(keras.ops.convert_to_numpy(metric.per_class()), "float64")
    first = 1 if len(values) == 1 else 0  # the one class of a binary model has id 1
    return {
        str(class_id): None if np.isnan(value) else float(value)
        for class_id, value in enumerate(values, start=first)
    }
