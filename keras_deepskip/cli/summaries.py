"""The table with which each command ends, of what its function has returned."""

import csv
import json
import statistics
from pathlib import Path

from keras_deepskip.cli.ending import Ending, keras_deepskip

OBJECTS = {"recall": "recall", "precision": "precision", "F1": "f1"}
COUNTS = {"found": "tp", "missed": "fn", "false": "fp"}
SHOWN = 10  # images that the table of `suggest` has


def of_training(run, **rest):
    """What a `Run` reached on its validation images."""
    best, point = run.history[run.best_epoch - 1], run.operating_point
    figures = ("val_iou", "val_object_f1", "val_object_recall", "val_object_precision")
    row = [f"{run.best_epoch} of {len(run.history)}", *(best.get(name) for name in figures)]
    notes = ["Touching objects are told apart."] if point.separate else []
    return Ending(
        "Best epoch and operating point, chosen on the validation images:",
        ("epoch", "pixel IoU", "object F1", "recall", "precision", "threshold", "least area"),
        [[*row, f"{point.threshold:g}", areas_text(point.min_area)]], notes, **rest,
    )  # fmt: skip


def table_of_plan(plan):
    """Headings and rows of a `Plan`: what was chosen, and why."""
    headers, rows = plan.table()
    shown = [f"{value:g}" if isinstance(value, float) else value for _, value, _ in rows]
    return headers, [[row[0], value, row[2]] for row, value in zip(rows, shown, strict=True)]


def areas_text(min_area):
    """The least area of a predicted object, of one class or of each: pixels."""
    areas = min_area[1:] if isinstance(min_area, tuple | list) else [min_area]
    return ", ".join(map(str, areas))


def of_folds(found, **rest):
    """The figures of each fold of a `CrossValidation`."""
    return Ending("Of each fold's test images, which its network has not seen:",
                  *found.table(), **rest)  # fmt: skip


def of_evaluation(found, **rest):
    """Figures of an `Evaluation.to_dict()`: pixels and objects of all, by size and by class."""
    names = {int(key): name for key, name in (found["class_names"] or {}).items()}
    rows = [_evaluated("all", found["objects"]["all"], found["pixels"]["IoU"])]
    rows += [_evaluated(name, own) for name, own in found["objects"]["strata"].items()]
    classes = found["objects"]["classes"]
    for class_id, own in classes.items() if len(classes) > 1 else ():
        ious = {int(key): value for key, value in found["pixels_by_class"]["IoU"].items()}
        name = names.get(int(class_id)) or f"class {class_id}"
        rows.append(_evaluated(name, own, ious.get(int(class_id))))
    images, config = found["images"], found["objects"]["config"]
    rule = config["criterion"]
    rule = f"an IoU of at least {config['threshold']:g}" if rule == "iou" else rule
    return Ending(
        f"Found in {images} image{'s' * (images != 1)}, at a threshold of {found['threshold']:g}:",
        ("objects", "pixel IoU", *OBJECTS, *COUNTS), rows,
        [f"Sizes are areas in pixels; objects are matched one to one by {rule}.",
         *_quality_notes(found["quality"]), _worst_note(found["worst"])], **rest,
    )  # fmt: skip


def _evaluated(name, own, iou=None):
    counts = {**OBJECTS, **COUNTS}
    return [name, iou, *(own[key] for key in counts.values())]


def _quality_notes(quality):
    if not quality:
        return []
    own = quality["all"]
    known = {"AP at 0.5": own["ap50"], "COCO AP": own.get("coco_ap"), "PQ": own["pq"],
             "mean error of their number in an image": own["count_mean_absolute"]}  # fmt: skip
    texts = [f"{name} {value:.3f}" for name, value in known.items() if value is not None]
    return [f"{', '.join(texts)}."] if texts else []


def _worst_note(worst):
    return f"Lowest IoU: {', '.join(f'{name} ({value:.2f})' for name, value in worst)}."


def of_prediction(objects, names, **rest):
    """How many objects `predict` found of each class, from its table of images."""
    rows, counts, areas = [], {}, {}
    for line in _image_lines(objects.path):
        class_id, count = int(line["class"]), int(line["objects"])
        counts.setdefault(class_id, []).append(count)
        areas[class_id] = areas.get(class_id, 0.0) + count * float(line["mean_area"] or 0)
    for class_id, own in sorted(counts.items()):
        name = (names or {}).get(class_id) or ("all" if len(counts) == 1 else f"class {class_id}")
        mean = areas[class_id] / sum(own) if any(own) else None
        rows.append([name, len(own), sum(own), f"{statistics.median(own):g}", max(own), mean])
    headers = ("objects", "images", "number", "median in an image", "most", "mean area")
    title = f"Found {len(objects):,} object{'s' * (len(objects) != 1)}:"
    return Ending(title, headers, rows, **rest)


def _image_lines(table):
    """The lines of the table of images beside that of objects."""
    path = Path(table).with_name("images" + Path(table).suffix)
    if path.suffix == ".parquet":
        from pyarrow import parquet

        return parquet.read_table(path).to_pylist()
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def of_suggestions(rows, count, **rest):
    """The images with the most disagreement."""
    shown = [[row["image"], row["disagreement"], row["objects"]] for row in rows[:count][:SHOWN]]
    title = f"Most disagreement, of {len(rows):,} images:"
    return Ending(title, ("image", "disagreement", "objects"), shown, **rest)


def of_stream(told, **rest):
    """`StreamStatistics`."""
    latencies = (told.latency_p50, told.latency_p95, told.latency_p99)
    shown = ["-" if value is None else f"{1e3 * value:.1f}" for value in latencies]
    headers = ("frames", "dropped", "late", "frames per second")
    headers += ("ms, median", "ms, 95 %", "ms, 99 %")
    speed = f"{told.frames_per_second:.1f}" if told.frames else "-"
    return Ending("", headers, [[told.frames, told.dropped, told.late, speed, *shown]], **rest)


def of_export(report, **rest):
    """An `ExportReport`: how far the file is from the model, by size of the input."""
    masks = report.mask_differences
    rows = [
        [shape, f"{value:.1e}", *([] if masks is None else [masks.get(shape)])]
        for shape, value in report.differences.items()
    ]
    headers = ["images", "largest difference", *([] if masks is None else ["wrong mask pixels"])]
    notes = [report.agreement(), report.origin()]
    return Ending(f"{report.format}, run and compared with Keras:", headers, rows, notes, **rest)


def of_study(rows, reference, **rest):
    """The networks of a study: their IoU by category and F1 of objects, with spread over seeds."""
    from keras_deepskip.studies.experiments import tables

    table = tables.by_category(rows, "IoU")
    f1 = tables.by_category(rows, "object_f1")
    body = [[*row, own[-1]] for row, own in zip(table.rows, f1.rows, strict=True)]
    notes = [f"{len(rows)} runs; the reference is {tables.labels_of(rows).get(reference)}."]
    return Ending("Pixel IoU by category, and object F1, with spread over seeds:",
                  [*table.headers, "object F1"], body, notes, **rest)  # fmt: skip


def training_of_best(rows, study):
    """The words of a training with the network of a study that has the highest mean IoU."""
    from keras_deepskip.studies.experiments import tables
    from keras_deepskip.studies.experiments.spread import spread

    known = tables.complete(rows)
    means = {
        name: spread(row["IoU"] for row in tables.chosen(known, network=name)).mean
        for name in tables.labels_of(rows)
    }
    best = max(means, key=lambda name: means[name] or 0)
    options = next(dict(network.options) for network in study.networks if network.name == best)
    words = [f"--architecture={options.pop('architecture', 'deepskip')}"]
    for name, value in options.items():
        words += ["--option", f"{name}={json.dumps(value)}"]
    return keras_deepskip("train", *words, "--data", "FOLDER", "--out", "RUN")


def of_backbones(found, **rest):
    """A `BackboneTable`."""
    headers = ("backbone", "parameters", "encoder", "GMACs", "channels", "ms", "times")
    notes = ["Channels are those at strides 1, 2, 4, ...; times those of light_vgg16.",
             found.explanation()]  # fmt: skip
    return Ending("", headers, found.table()[1], notes, **rest)


def of_benchmark(result, **rest):
    """Median times of each network in each mode and size, of the smallest batch."""
    from keras_deepskip.studies.timing.measure import by_mode_and_size, quartiles, time_per

    firsts = {key: entries[0] for key, entries in by_mode_and_size(result).items()}
    headers = ["network", "parameters", *(f"{mode} {size}, ms" for mode, size in firsts)]
    rows = []
    for name in result["settings"]["rivals"]:
        own = [entry["rivals"][name] for entry in firsts.values()]
        parameters = next((found["parameters"] for found in own if "ns" in found), None)
        cells = [
            f"{quartiles(found['ns'])[1] / time_per(entry['case'])[0]:.3g}" if "ns" in found
            else found["failure"]
            for found, entry in zip(own, firsts.values(), strict=True)
        ]  # fmt: skip
        rows.append([name, parameters, *cells])
    batch = next(iter(firsts.values()))["case"]["batch"] if firsts else 1
    title = f"Medians in ms, batch {batch} (predict: of an image; train: of a step):"
    return Ending(title, headers, rows, **rest)
