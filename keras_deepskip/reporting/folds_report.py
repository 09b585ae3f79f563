"""`folds_report`: the figures of a cross-validation and their spread over its folds, as a page."""

import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from keras_deepskip import _checks, _files
from keras_deepskip.inference.evaluation import OBJECT_COLUMNS
from keras_deepskip.reporting import charts, facts, figures
from keras_deepskip.reporting.page import Section, Tile, check_page, write_page
from keras_deepskip.reporting.spread_charts import course_chart, spread_chart

NEEDED = ("jinja2", "altair", "vl_convert")
FIGURES = {
    "iou": "pixel IoU", "object_f1": "object F1", "object_recall": "recall",
    "object_precision": "precision",
}  # fmt: skip
COUNTS = ("tp", "fn", "fp")
REPORT, EVALUATION, MODEL = "report.html", "evaluation.json", "model.keras"


class Folds(Protocol):
    """What the page needs of a `training.CrossValidation`, which stands on the same floor."""

    @property
    def folder(self) -> Path: ...
    @property
    def runs(self) -> Sequence[Any]: ...
    @property
    def figures(self) -> Sequence[dict]: ...
    @property
    def command(self) -> str | None: ...
    def summary(self) -> dict: ...


def folds_report(found: Folds, out: str | os.PathLike | None = None) -> Path:
    """Writes one HTML page of a cross-validation: mean and spread, and each fold's figures.

    Nothing is evaluated anew: the page is made of what `cross_validate` has written. It leads to
    each fold's own report, where there is one.

    Args:
        found: a `CrossValidation`.
        out: path of the page; None is `report.html` in its folder.

    Returns:
        Path of the page.

    Raises:
        ImportError: if a package of the extra `report` is not installed.
        FileNotFoundError: if the figures of a fold are not there.
        ValueError: if `out` is a folder.

    Example:

    ```python
    found = cross_validate("cells", "runs/cells", folds=5)
    folds_report(found)
    ```
    """
    for package in NEEDED:
        _checks.require(package, charts.PIP, "the report")
    path = check_page(Path(found.folder) / REPORT if out is None else out)
    judged = [
        _files.read_json(run.folder / EVALUATION, "the figures of a fold") for run in found.runs
    ]
    links = [_link(run, path) for run in found.runs]
    write_page(
        path, title=f"Cross-validation in {len(found.runs)} folds", subtitle=_subtitle(found),
        tiles=_tiles(found, judged), remarks=_remarks(found, judged),
        sections=[
            Section("Folds", charts=_fold_charts(found), tables=[_fold_table(found, links)]),
            Section("Curves", charts=_curves(found, judged)),
            Section("Tables", tables=[_size_table(judged), _worst_table(judged, links)]),
            *_made(found),
        ],
    )  # fmt: skip
    return path


def _link(run, page):
    """The address of a fold's own report, from the page; None if there is none."""
    report = Path(run.folder) / REPORT
    if not report.is_file():
        return None
    return quote(Path(os.path.relpath(report, page.resolve().parent)).as_posix())


# ---- First screen --------------------------------------------------------------------------------


def _subtitle(found):
    images = sum(row["images"] for row in found.figures)
    name = Path(str(found.runs[0].data)).name
    return (
        f"{len(found.runs)} networks of {found.runs[0].model.count_params():,} weights on the "
        f"{images:,} images of {name}; each image was judged by a network that was not "
        "trained on it."
    )


def _sums(judged):
    """Found, missed and false objects of all folds together."""
    return [sum(own["objects"]["all"][name] for own in judged) for name in COUNTS]


def _tiles(found, judged):
    hits, missed, false = _sums(judged)
    true, stated = hits + missed, hits + false
    tiles = [
        Tile("found", f"{hits:,}", f"of {true:,}", "found", _share(hits, true)),
        Tile("missed", f"{missed:,}", f"of {true:,}", "missed", _share(missed, true)),
        Tile("false", f"{false:,}", f"of {stated:,} predicted", "false", _share(false, stated)),
    ]
    for name in ("object_f1", "iou"):
        values = [row[name] for row in found.figures if row[name] is not None]
        if values:
            ends = f"{min(values):.2f} to {max(values):.2f}"
            if len(values) > 1:
                ends = f"± {statistics.stdev(values):.3f}; {ends}"
            mean = f"{statistics.fmean(values):.3f}"
            tiles.append(Tile(FIGURES[name], mean, "mean of the folds", "", ends))
    return tiles


def _share(part, whole):
    return f"{100 * part / whole:.1f} %" if whole else ""


def _remarks(found, judged):
    images = sum(own["images"] for own in judged)
    hits, missed, _ = _sums(judged)
    objects = hits + missed
    few = images < facts.FEW_IMAGES or objects < facts.FEW_OBJECTS
    end = ": few, so the figures may be far off." if few else "."
    text = f"{images:,} images with {objects:,} true objects were judged, each once{end}"
    remarks = [
        facts.Remark("careful" if few else "good", text),
        facts.Remark(
            "good",
            "Nothing was trained or chosen on the images of a fold by the network that judged them;"
            " images of a group are in one fold.",
        ),
        facts.Remark(
            "careful" if len(judged) < 3 else "good",
            f"± is the standard deviation over {len(judged)} folds. It says how much the figures "
            "vary with the images; as folds share most of their training images, that of other "
            "sets would be larger.",
        ),
    ]
    if (Path(found.folder) / MODEL).is_file():
        text = f"{MODEL} is the mean of these networks and has seen all images: its own figures "
        remarks.append(facts.Remark("careful", f"{text}are not known."))
    return remarks


# ---- Sections ------------------------------------------------------------------------------------


def _fold_charts(found):
    rows = [
        {"name": title, "value": row[name], "of": f"fold {number}"}
        for name, title in FIGURES.items()
        for number, row in enumerate(found.figures, start=1)
    ]
    text = "Each fold a ring, their mean a dot, and one standard deviation to either side"
    drawing = spread_chart("Figures of the folds", text, rows, "of 1", domain=(0, 1))
    return {} if drawing is None else {"folds": drawing}


def _fold_table(found, links):
    rows = []
    for number, (run, row, link) in enumerate(
        zip(found.runs, found.figures, links, strict=True), start=1
    ):
        name = f"fold {number}"
        point = run.operating_point
        areas = point.min_area
        shown = areas if isinstance(areas, int) else ", ".join(map(str, areas[1:]))
        rows.append(
            [
                facts.Cell(name, href=link) if link else name, row["images"],
                *(row[key] for key in FIGURES), run.best_epoch, point.threshold, shown,
            ]
        )  # fmt: skip
    summary = found.summary()
    means = [summary[key]["mean"] if key in summary else None for key in FIGURES]
    spreads = [summary[key]["standard_deviation"] if key in summary else None for key in FIGURES]
    rows += [["mean", None, *means, None, None, None],
             ["standard deviation", None, *spreads, None, None, None]]  # fmt: skip
    columns = ["fold", "images", *FIGURES.values(), "best epoch", "threshold", "least area"]
    note = "The threshold and the least area of an object were chosen on each fold's validation "
    note += "images. A fold leads to its own report." if any(links) else "images."
    return facts.Table("folds", "Each fold", columns, rows, note)


def _pooled(judged):
    """The counts of all folds together, by size of object, as `Evaluation.objects` has them."""
    strata = {}
    for own in judged:
        for name, row in own["objects"]["strata"].items():
            counts = strata.setdefault(name, dict.fromkeys(COUNTS, 0))
            for key in COUNTS:
                counts[key] += row[key]
    return {"strata": strata}


def _curves(found, judged):
    drawn = {}
    rows = figures.recall_rows(_pooled(judged))
    if rows:
        drawn["recall"] = charts.recall_chart(rows)
    for name, title in (("val_iou", "Pixel IoU"), ("val_object_f1", "Object F1"),
                        ("val_loss", "Loss")):  # fmt: skip
        rows = [
            {"name": f"fold {number}", "x": epoch["epoch"], "value": epoch.get(name)}
            for number, run in enumerate(found.runs, start=1)
            for epoch in run.history
        ]
        text = f"{title} of each fold's validation images, by epoch"
        domain = None if name == "val_loss" else (0, 1)
        chart = course_chart(f"{title} in training", text, rows, "epoch", domain=domain)
        if chart is not None:
            drawn[name] = chart
    return drawn


def _size_table(judged):
    rows = [["all", *_figures_of(dict(zip(COUNTS, _sums(judged), strict=True)))]]
    for name, counts in _pooled(judged)["strata"].items():
        rows.append([figures.size_text(name), *_figures_of(counts)])
    note = "Counts of all folds together; sizes are areas in pixels."
    return facts.Table(
        "objects_by_size", "Objects by size", ["objects", *OBJECT_COLUMNS], rows, note
    )


def _figures_of(counts):
    hits, missed, false = (counts[name] for name in COUNTS)
    recall = hits / (hits + missed) if hits + missed else None
    precision = hits / (hits + false) if hits + false else None
    f1 = 2 * hits / (2 * hits + missed + false) if hits + missed + false else None
    return recall, precision, f1, hits, missed, false


def _worst_table(judged, links):
    rows = [
        [name, facts.Cell(f"fold {number}", href=link) if link else f"fold {number}", iou]
        for number, (own, link) in enumerate(zip(judged, links, strict=True), start=1)
        for name, iou in own["worst"]
    ]
    rows.sort(key=lambda row: (row[2], row[0]))
    columns = ["image", "fold", "pixel IoU"]
    return facts.Table("worst", "Images with the lowest IoU", columns, rows, "A few of each fold.")


def _made(found):
    """How the networks were made; plan and data are those of the first fold."""
    run = found.runs[0]
    yield Section("Plan, of the first fold", tables=facts.plan_tables(run))
    yield Section("The data", tables=facts.data_tables(run))
    yield Section("The network", tables=facts.network_tables(run.model))
    commands = [found.command] if found.command else []
    yield Section("Versions, and how to repeat it", tables=[facts.version_table(run)],
                  commands=commands)  # fmt: skip
