"""Tables of a report: what was found, and how the run that is judged was made."""

import dataclasses
import json
from pathlib import Path

from keras_deepskip import _files
from keras_deepskip._versions import versions
from keras_deepskip.analysis import analyze
from keras_deepskip.export.noted import noted_exports
from keras_deepskip.inference.evaluation import OBJECT_COLUMNS, QUALITY_COLUMNS
from keras_deepskip.reporting.figures import size_text

MOST_ROWS = 1000  # of a table
FEW_IMAGES, FEW_OBJECTS = 10, 50  # of fewer figures say little
EXPORTS = ("*.export.json", "*/*.export.json", "*.quantization.json", "*/*.quantization.json")


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell of a table that is more than a text or a number.

    Attributes:
        text: what it says.
        value: number by which the column is sorted, and which a download has; None is the text.
        href: address, relative to the page, that it leads to; or None.
    """

    text: str
    value: float | None = None
    href: str | None = None


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of the page.

    Attributes:
        name: of its file, when it is downloaded.
        title: its heading.
        columns: names.
        rows: lists of texts, numbers and `Cell`s; None is shown as a dash.
        note: a sentence below the heading, or "".
    """

    name: str
    title: str
    columns: list[str]
    rows: list[list]
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Remark:
    """Something that says whether the figures can be trusted.

    Attributes:
        state: `"good"`, `"careful"` or `"unknown"`.
        text: a sentence.
    """

    state: str
    text: str


def named(class_id, class_names):
    """A class as people read it: its name, or its id."""
    return (class_names or {}).get(int(class_id)) or f"class {class_id}"


def result_tables(evaluation, counts):
    """Tables of an `Evaluation`: objects, pixels, scores by IoU, and images.

    Args:
        evaluation: the `Evaluation`.
        counts: list of `ImageCounts`.
    """
    tables = [_object_table(evaluation), _pixel_table(evaluation), _quality_table(evaluation)]
    return [*tables, _image_table(counts)]


def _object_table(evaluation):
    names = evaluation.class_names
    rows = {"all": evaluation.objects["all"]}
    rows |= {size_text(name): row for name, row in evaluation.objects["strata"].items()}
    if len(evaluation.objects["classes"]) > 1:
        rows |= {named(c, names): row for c, row in evaluation.objects["classes"].items()}
    found = [[name, *(row[key] for key in OBJECT_COLUMNS.values())] for name, row in rows.items()]
    note = "Matched one to one; sizes are areas in pixels."
    columns = ["objects", *OBJECT_COLUMNS]
    return Table("objects_by_size", "Objects by size and class", columns, found, note)


def _pixel_table(evaluation):
    rows = [["all", *evaluation.pixels.values()]]
    class_ids = list(next(iter(evaluation.pixels_by_class.values())))
    for class_id in class_ids if len(class_ids) > 1 else ():
        values = [by_class[class_id] for by_class in evaluation.pixels_by_class.values()]
        rows.append([named(class_id, evaluation.class_names), *values])
    return Table("pixels", "Pixels", ["pixels", *evaluation.pixels], rows)


def _quality_table(evaluation):
    names = evaluation.class_names
    rows = [
        [name if name == "all" else named(name, names), *(row[k] for k in QUALITY_COLUMNS.values())]
        for name, row in evaluation.quality.items()
        if name == "all" or len(evaluation.quality) > 2
    ]
    note = "AP counts matches at an IoU; COCO AP ranks objects by their probability."
    title, columns = "Objects by IoU, and errors of their number", ["objects", *QUALITY_COLUMNS]
    return Table("quality", title, columns, rows, note)


def _image_table(counts):
    rows = []
    for image in counts:
        found, missed, false = image.objects.sum(axis=0).tolist()
        total = 2 * found + missed + false
        f1 = 2 * found / total if total else 1.0
        rows.append(
            [image.name, found + missed, found + false, found, missed, false, f1, image.iou]
        )
    rows.sort(key=lambda row: (row[-1] + row[-2], row[0]))
    note = "The worst first." if len(rows) <= MOST_ROWS else f"The {MOST_ROWS:,} worst."
    columns = ["image", "true", "predicted", "found", "missed", "false", "object F1", "pixel IoU"]
    return Table("images", "Images", columns, rows[:MOST_ROWS], note)


def found_tables(counts):
    """The table of images of which the truth is not known.

    Args:
        counts: list of `FoundCounts`.
    """
    rows = [[image.name, image.objects, image.area, image.probability] for image in counts]
    rows.sort(key=lambda row: (-row[1], row[0]))
    columns = ["image", "objects", "mean area", "mean probability"]
    note = "" if len(rows) <= MOST_ROWS else f"The {MOST_ROWS:,} with most objects."
    return [Table("images", "Images", columns, rows[:MOST_ROWS], note)]


def remarks_of(run, parts, images, objects):
    """What says whether the figures can be trusted.

    Args:
        run: the `Run`, or None.
        parts: a dict from the part of the run's split (None: unseen) to the number of images.
        images, objects: how many were judged.

    Returns:
        A list of `Remark`.
    """
    few = images < FEW_IMAGES or objects < FEW_OBJECTS
    text = f"{images:,} images with {objects:,} true objects were judged"
    text += ": few, so the figures may be far off." if few else "."
    remarks = [Remark("careful" if few else "good", text)]
    if images > 1:
        text = (
            "Figures in brackets are intervals of 95 %, by resampling the images 1,000 times "
            "(bootstrap): how much the figures would vary with other images of the same kind."
        )
        remarks.append(Remark("careful" if few else "good", text))
    if run is None:
        text = "Whether the model has seen these images in its training is not known."
        return [*remarks, Remark("unknown", text)]
    return [*remarks, _seen(run, parts), *_leaks(run, parts), *_chosen(run, parts), *_warnings(run)]


def _seen(run, parts):
    total = sum(parts.values())
    if not run.knows_images:
        text = "Whether it was trained on these images is not known: the run is an older one."
        return Remark("unknown", text)
    trained, chosen = parts.get("train", 0), parts.get("val", 0)
    if trained:
        text = f"{trained} of {total} images are among those that it was trained on."
        return Remark("careful", f"{text} The figures are too good.")
    if chosen:
        text = f"{chosen} of {total} images are validation images, by which the epoch and the "
        return Remark("careful", f"{text}threshold were chosen. The figures are too good.")
    if parts.get("test", 0) == total:
        return Remark("good", "All are test images: nothing was trained or chosen on them.")
    return Remark("good", "Nothing was trained or chosen on any of these images.")


def _leaks(run, parts):
    leaks = run.audit.get("figures", {}).get("leaks")
    if leaks is None:
        yield Remark("unknown", "Whether images are in two parts of the split was not looked at.")
    elif leaks:
        text = f"{leaks} images or masks are in two parts of the split."
        yield Remark("careful", f"{text} The figures may be too good.")
    elif parts.get("test"):
        text = "No image and no mask is in two parts of the split, by the content of the files."
        yield Remark("good", text)


def _chosen(run, parts):
    point, basis = run.operating_point, run.operating_basis
    if basis and not parts.get("val"):
        text = (
            f"The threshold, {point.threshold:g}, was chosen on {basis['images']:,} other images "
            f"with {basis['objects']:,} objects."
        )
        yield Remark("good", text)


def _warnings(run):
    count = sum(finding["severity"] == "warning" for finding in run.audit.get("findings", ()))
    if count:
        text = f"The audit of the data gave {count} warning{'s' * (count > 1)}: see The data."
        yield Remark("careful", text)


def plan_tables(run):
    """What the plan chose and why, and the whole recipe."""
    recipe, reasons = run.plan.recipe.to_dict(), run.plan.reasons
    chosen = [[name, _text(recipe[name]), reason] for name, reason in reasons.items()]
    plan = Table("plan", "What the plan chose", ["choice", "value", "reason"], chosen)
    values = [[name, _text(value)] for name, value in recipe.items() if value is not None]
    whole = Table("recipe", "The whole recipe", ["name", "value"], values)
    return [plan, whole] if chosen else [whole]


def data_tables(run):
    """What the audit found in the data, and their numbers."""
    report, tables = run.audit, []
    rows = [[f["severity"], f["file"], f["message"], f["fix"]] for f in report.get("findings", ())]
    if rows:
        columns = ["kind", "file", "finding", "what to do"]
        tables.append(Table("findings", "What the audit found", columns, rows[:MOST_ROWS]))
    figures = {
        "folder": str(run.data), "classes": _text(run.class_names), "input_range": run.input_range,
        **report.get("figures", {}),
    }  # fmt: skip
    rows = [[name.replace("_", " "), _text(value)] for name, value in figures.items()]
    return [*tables, Table("data", "Numbers of the data", ["name", "value"], rows)]


def network_tables(model):
    """The parts of a network: what each holds, costs and sees; of unknown layers its weights."""
    known = [
        ["name", model.name], ["takes", _shape(model.input_shape)],
        ["gives", _shape(model.output_shape)], ["parameters", f"{model.count_params():,}"],
        ["layers", str(len(model.layers))],
    ]  # fmt: skip
    tables = [Table("network", "The network", ["name", "value"], known)]
    try:
        found = analyze(model)
    except (ValueError, TypeError, NotImplementedError):  # a layer that the analysis does not know
        return tables
    rows = [[row[0], *row[2:]] for row in (*found.rows, found.total)]
    columns = ["part", *found.HEADERS[2:]]
    size = " × ".join(map(str, found.sizes))
    note = f"MACs: multiply-adds of an image of {size} pixels; receptive field: side in pixels."
    return [*tables, Table("network_parts", "Its parts", columns, rows, note)]


def version_table(run):
    """What the run was made with, and what it was judged with."""
    made, now = run.versions if run else {}, versions()
    rows = [[name, made.get(name), now.get(name)] for name in {**made, **now}]
    return Table("versions", "Versions", ["what", "trained with", "judged with"], rows)


def export_tables(folder, files=()):
    """What was exported and what became of it in 8 bits, and how that compares with the model.

    Args:
        folder: the run's, in which the reports of `export` and `quantize` are looked for, and which
            says where others lie; or None.
        files: paths of such reports beside these; one that is not there is left out.
    """
    inside = [] if folder is None else [p for own in EXPORTS for p in sorted(folder.glob(own))]
    told = [] if folder is None else noted_exports(folder)
    given = [path for path in (*told, *map(Path, files)) if path.is_file()]
    paths = {path.resolve(): path for path in (*inside, *given)}.values()
    reports = [_files.read_json(path, "the report of an export") for path in paths]
    exported = [_export_row(report) for report in reports if "differences" in report]
    columns = ["file", "format", "written under", "bytes", "largest difference", "tolerance"]
    note = "Each file was run by its own runtime and its outputs compared with the model's."
    tables = [Table("exports", "Exported files", columns, exported, note)] if exported else []
    rows = [row for report in reports if "held_out" in report for row in _quantized_rows(report)]
    if rows:
        columns = ["file", "numbers", "bytes", "ms per call"]
        columns += list(dict.fromkeys(name for row in rows for name in row[4]))
        rows = [[*row[:4], *(row[4].get(name) for name in columns[4:])] for row in rows]
        tables.append(Table("quantized", "8 bits against float32", columns, rows))
    return tables


def _export_row(report):
    most = max(report["differences"].values(), default=None)
    named = (report[name] for name in ("path", "format", "backend", "size"))
    return [*named, most, report["tolerance"]]


def _quantized_rows(report):
    for kind, size in report["bytes"].items():
        figures = report["figures"].get(kind, {})
        yield [report["path"], kind, size, report["milliseconds"].get(kind), figures]


def _shape(shape):
    return " × ".join("any" if side is None else str(side) for side in shape[1:])


def _text(value):
    """A value of JSON as people read it."""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_text(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return " to ".join(_text(part) for part in value)
    if value is None or isinstance(value, str | bool):
        return {None: "-", True: "yes", False: "no"}.get(value, value)
    return f"{value:.6g}" if isinstance(value, float) else json.dumps(value)
