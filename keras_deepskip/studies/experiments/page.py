"""The page of a study: its figures with their spread over seeds, what they cost, its pictures."""

import dataclasses
import statistics
from pathlib import Path

from keras_deepskip._versions import versions
from keras_deepskip.reporting.facts import Remark, Table
from keras_deepskip.reporting.page import Section, Tile, write_page
from keras_deepskip.reporting.spread_charts import cost_chart, course_chart, spread_chart
from keras_deepskip.studies import page_parts
from keras_deepskip.studies.experiments import tables
from keras_deepskip.studies.experiments.spread import mean_course, spread
from keras_deepskip.training.run import HISTORY, read_history

PAGE = "report.html"
MOST_LISTED = 3  # failures that are told on the first screen
SMALL = "recall of the smallest"
# By the name of a table in tables/, its heading on the page.
TITLES = {
    "iou_by_category": "Pixel IoU by category", "object_f1_by_category": "Object F1 by category",
    "one_by_one": "Objects one by one", "paired": "Pair by pair",
    "precision_recall": "Pixels and objects",
    "recall_by_size": "Recall by size of object", "effort": "Training", "costs": "Cost",
}  # fmt: skip
RUNS = {
    "category": "category", "label": "network", "seed": "seed", "IoU": "pixel IoU",
    "object_f1": "object F1", "object_recall": "recall", "object_precision": "precision",
    "steps": "steps", "best_epoch": "best epoch", "parameters": "parameters", "seconds": "seconds",
    "failure": "failure",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Results:
    """What the page of a study is made of.

    Attributes:
        study: the `Study`.
        rows: dicts, one for each run.
        made: a `report.Made`: when, with what and by which command.
        tables: list of `tables.Table`.
        pictures: list of (bytes of a PNG, title, caption).
        folder_of: function from a row to the folder of its run, or None.
        measured: what `timing.measure.measure` returns, or None.
    """

    study: object
    rows: list
    made: object
    tables: list
    pictures: list = dataclasses.field(default_factory=list)
    folder_of: object = None
    measured: dict | None = None

    @property
    def labels(self):
        """Labels of the networks by name."""
        return tables.labels_of(self.rows)

    @property
    def reference(self):
        """Label of the network that the others are compared with; None if it was not run."""
        return self.labels.get(self.study.reference)

    def seeds_of(self, network, figure):
        """A figure of a network, the mean over all categories for each seed: a dict by seed."""
        found = {}
        for row in tables.chosen(tables.complete(self.rows), network=network):
            found.setdefault(row["seed"], []).append(figure(row))
        return {
            seed: None if None in values else statistics.fmean(values)
            for seed, values in found.items()
        }

    def spread_of(self, network, figure):
        """The `Spread` of that figure over seeds."""
        return spread(self.seeds_of(network, figure).values())


def iou(row):
    """Pixel IoU of a run; None if it failed."""
    return row.get("IoU")


def object_f1(row):
    """F1 of objects of a run; None if it failed."""
    return row.get("object_f1")


def write_study_page(results, out):
    """Writes `report.html` of a study.

    Args:
        results: the `Results`.
        out: the study's folder.

    Returns:
        Its path.
    """
    path, found = Path(out) / PAGE, {own.name: own for own in results.tables}

    def shown(*names):
        return [_table(found[name]) for name in names if name in found]

    write_page(
        path, title=results.study.title, subtitle=_subtitle(results), tiles=_tiles(results),
        remarks=_remarks(results, found.get("paired")),
        sections=[
            Section("Figures", charts=_figure_charts(results),
                    tables=shown("iou_by_category", "object_f1_by_category", "one_by_one",
                                 "paired")),
            Section("Cost", charts=_cost_charts(results), tables=shown("costs")),
            Section("Sizes", tables=shown("recall_by_size", "precision_recall")),
            Section("Pictures", pictures=[page_parts.picture(*own) for own in results.pictures]),
            Section("Training", charts=_courses(results), tables=shown("effort")),
            Section("Runs", tables=[_runs(results.rows)]),
            Section("Versions, and how to repeat it", tables=[_versions(results)],
                    texts=[results.made.about], commands=[results.made.command]),
        ],
    )  # fmt: skip
    return path


def _table(own):
    return page_parts.table(own.name, TITLES[own.name], own.headers, own.rows, own.title)


# ---- First screen --------------------------------------------------------------------------------


def _counts(rows):
    """How many networks, categories and seeds there are, as text."""
    parts = []
    for column, one, many in (("network", "network", "networks"),
                              ("category", "category", "categories"),
                              ("seed", "seed", "seeds")):  # fmt: skip
        count = len(tables.names_of(rows, column))
        parts.append(f"{count} {one if count == 1 else many}")
    return f"{parts[0]}, {parts[1]}, {parts[2]}"


def _subtitle(results):
    images = [row["test_images"] for row in results.rows if "test_images" in row]
    text = f"{_counts(results.rows)}: {len(results.rows)} runs"
    if images:
        low, high = min(images), max(images)
        text += f", each judged on {low if low == high else f'{low} to {high}'} test images"
    return f"{text}. {results.made.made_text()}"


def _tiles(results):
    name = results.study.reference
    if results.reference is None:
        return [Tile("runs", f"{len(results.rows):,}", _counts(results.rows))]
    tiles = []
    for title, figure in (("pixel IoU", iou), ("object F1", object_f1), (SMALL, _small_recall)):
        own = results.spread_of(name, figure)
        if own.mean is not None:
            seeds = f"{own.count} seeds" if own.count > 1 else "one seed"
            spread = "" if own.deviation is None else f"± {own.deviation:.3f} over "
            tiles.append(Tile(title, f"{own.mean:.3f}", results.reference, "", spread + seeds))
    means = {other: results.spread_of(other, iou).mean for other in results.labels}
    known = sorted((mean for mean in means.values() if mean is not None), reverse=True)
    if means[name] is not None and len(known) > 1:
        place = known.index(means[name]) + 1
        tiles.append(Tile("place by pixel IoU", str(place), f"of {len(known)} networks"))
    milliseconds = _milliseconds(results).get(name)
    if milliseconds is not None:
        side = results.measured["cases"][0]["case"]["size"]
        tiles.append(Tile("time", f"{milliseconds:.1f} ms", f"an image of {side} × {side}"))
    return tiles


def _small_recall(row):
    """Recall of the smallest objects that the run's test images have; None if it failed."""
    return tables.small_recall(row)


def _remarks(results, paired):
    rows = results.rows
    seeds = len(tables.names_of(rows, "seed"))
    text = f"Each network was trained with {seeds} seed{'s' * (seeds != 1)} on each category"
    text += "; ± is the standard deviation over them." if seeds > 1 else ": no spread is known."
    remarks = [Remark("good" if seeds > 2 else "careful", text)]
    remarks.append(
        Remark(
            "good",
            "Splits and seeds are the same for all networks; test images were neither "
            "trained on nor looked at for the choice of the epoch.",
        )
    )
    if paired is not None:
        remarks += _of_pairs(paired)
    synthetic = tables.names_of(tables.chosen(rows, source="synthetic"), "category")
    if synthetic:
        text = f"Synthetic images stand for real ones: {', '.join(synthetic)}."
        remarks.append(Remark("careful", text))
    failed = [row for row in rows if "failure" in row]
    if failed:
        told = "; ".join(
            f"{row['label']}, {row['category']}, seed {row['seed']}: {row['failure']}"
            for row in failed[:MOST_LISTED]
        )
        text = f"{len(failed)} of {len(rows)} runs failed and count nowhere: {told}."
        remarks.append(Remark("careful", text))
    return remarks


def _of_pairs(paired):
    """How many differences are more than chance would make."""
    values = [page_parts.cell(row[-1]) for row in paired.rows]
    known = [own.value for own in values if own is not None]
    if not known:
        return
    sure = sum(value < 0.05 for value in known)
    text = (
        f"Differences were tested pair by pair: {sure} of {len(known)} have p < 0.05, where chance "
        f"alone would give {0.05 * len(known):.1f}."
    )
    yield Remark("good" if sure > 0.05 * len(known) else "careful", text)


# ---- Charts --------------------------------------------------------------------------------------


def _figure_charts(results):
    drawn, reference = {}, results.reference and page_parts.wrapped(results.reference)
    several = len(tables.names_of(results.rows, "category")) > 1
    end = "; each seed a ring, the mean a dot, one standard deviation to either side"
    kinds = {"iou": ("Pixel IoU", iou), "object_f1": ("Object F1", object_f1),
             "small": ("Recall of the smallest objects", _small_recall)}  # fmt: skip
    for key, (title, figure) in kinds.items():
        rows = [
            {"name": page_parts.wrapped(label), "value": value, "of": f"seed {seed}"}
            for name, label in results.labels.items()
            for seed, value in results.seeds_of(name, figure).items()
        ]
        text = title + (", mean over categories" if several else "") + end
        drawn[key] = spread_chart(title, text, rows, title, reference)
    for number, category in enumerate(tables.names_of(results.rows, "category") * several):
        rows = [
            {"name": page_parts.wrapped(row["label"]), "value": iou(row),
             "of": f"seed {row['seed']}"}
            for row in tables.chosen(results.rows, category=category)
        ]  # fmt: skip
        title = tables.category_title(results.rows, category)
        title = f"Pixel IoU: {title}"
        drawn[f"category_{number}"] = spread_chart(title, title + end, rows, "Pixel IoU", reference)
    return {name: own for name, own in drawn.items() if own is not None}


def _milliseconds(results):
    """Median time of a prediction by network, where it was measured."""
    if results.measured is None:
        return {}
    timed = results.measured["cases"][0]["rivals"]
    return {
        network.name: statistics.median(timed[network.timed_as]["ns"]) / 1e6
        for network in results.study.networks
        if "ns" in timed.get(network.timed_as, {})
    }


def _cost_charts(results):
    milliseconds = _milliseconds(results)
    weights = {row["network"]: row["parameters"] for row in results.rows if "parameters" in row}
    kinds = {
        "time": ("Pixel IoU against time", "milliseconds of a prediction", milliseconds),
        "weights": ("Pixel IoU against weights", "weights of the network", weights),
    }
    drawn = {}
    for name, (title, unit, cost_of) in kinds.items():
        rows = []
        for network, label in results.labels.items():
            own = results.spread_of(network, iou)
            rows.append({"name": label, "cost": cost_of.get(network), "gain": own.mean,
                         "spread": own.deviation})  # fmt: skip
        text = "Mean over categories, with one standard deviation over seeds to either side"
        chart = cost_chart(title, text, rows, unit, "pixel IoU", results.reference)
        if chart is not None:
            drawn[f"cost_{name}"] = chart
    return drawn


def _courses(results):
    """Loss, IoU and F1 by the share of the steps: means over categories and seeds."""
    if results.folder_of is None:
        return {}
    histories = {}
    for row in results.rows:
        path = Path(results.folder_of(row)) / HISTORY
        if "failure" not in row and path.is_file():
            histories.setdefault(row["label"], []).append(read_history(path))
    drawn = {}
    for name, title in (("val_iou", "Pixel IoU in training"),
                        ("val_object_f1", "Object F1 in training"),
                        ("val_loss", "Loss")):  # fmt: skip
        rows = [
            {"name": label, "x": share, "value": value}
            for label, own in histories.items()
            for share, value in zip(
                *mean_course([[row.get(name) for row in rows] for rows in own]), strict=True
            )
        ]
        text = f"{title}, of the validation images: means over categories and seeds"
        domain = None if name == "val_loss" else (0, 1)
        chart = course_chart(title, text, rows, "share of the network's steps", domain=domain)
        if chart is not None:
            drawn[f"course_{name}"] = chart
    return drawn


# ---- Tables --------------------------------------------------------------------------------------


def _runs(rows):
    columns = {key: title for key, title in RUNS.items() if any(key in row for row in rows)}
    body = [[row.get(key) for key in columns] for row in rows]
    return Table("runs", "All runs", list(columns.values()), body)


def _versions(results):
    now = versions()
    backends = {row["backend"] for row in results.rows if "backend" in row}
    kerases = {row["keras"] for row in results.rows if "keras" in row}
    rows = [["backend of the runs", ", ".join(sorted(backends))],
            ["keras of the runs", ", ".join(sorted(kerases))],
            *([f"{name} of this page", value] for name, value in now.items())]  # fmt: skip
    return Table("versions", "Versions", ["what", "version"], rows)
