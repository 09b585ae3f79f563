"""The report of a study: its tables in three forms, its figures, and a page with both."""

from pathlib import Path

from keras_deepskip import _files
from keras_deepskip.studies.experiments import figures, tables


def write_report(study, rows, runs, out, settings, measured=None):
    """Writes `report.md`, `tables/*.csv`, `tables/*.tex`, `results.csv` and the figures.

    Args:
        study: the `Study`.
        rows: list of dicts, one per finished run.
        runs: list of all `StudyRun`s.
        out: folder to write to.
        settings: text on how the results were made.
        measured: result of `timing.measure.measure`, or None.

    Returns:
        The path of `report.md`.
    """
    out = Path(out)
    _files.write_text(out / "results.csv", _files.csv_text(rows))
    found = [tables.by_category(rows, metric) for metric in tables.METRICS]
    if len(chosen := tables.labels_of(rows)) > 1 and study.reference in chosen:
        found.append(tables.paired(rows, study.reference))
    found += [tables.pixels_and_objects(rows), tables.recall_by_size(rows), tables.effort(rows)]
    if measured is not None:
        found.insert(2, tables.costs(rows, study.networks, measured))
    for table in found:
        _files.write_text(out / "tables" / f"{table.name}.csv", table.csv())
        _files.write_text(out / "tables" / f"{table.name}.tex", table.latex())
    plots = _draw(rows, runs, out)
    parts = [f"# {study.title}", settings, *(table.markdown() for table in found)]
    parts += _failures(rows)
    parts += [f"![{caption}]({name})\n\n*{caption}*" for name, caption in plots]
    _files.write_text(out / "report.md", "\n\n".join(part.rstrip() for part in parts) + "\n")
    return out / "report.md"


def _failures(rows):
    lines = [
        f"- {row['label']}, {row['category']}, seed {row['seed']}: {row['failure']}"
        for row in rows
        if "failure" in row
    ]
    return ["Runs that failed:", "\n".join(lines)] if lines else []


def _draw(rows, runs, out):
    """Writes the figures; returns their names and captions."""
    by_key = {(run.category.name, run.network.name, run.seed): run.folder for run in runs}

    def folder_of(row):
        return by_key[row["category"], row["network"], row["seed"]]

    def data_of(row):
        return _files.read_json(folder_of(row) / "run.json", "the settings of a run")["data"]

    seed = min(row["seed"] for row in rows)
    plots = {
        "categories.png": (
            figures.draw_categories(rows),
            "Mean IoU by category and network; lines show the standard deviation over seeds.",
        ),
        "curves.png": (
            figures.draw_histories(rows, folder_of),
            "Loss, Dice and IoU in training (above) and on the validation images (below): means "
            "over categories and seeds. Losses of different kinds have different scales.",
        ),
        **{
            f"multiples_{source}.png": (
                figures.draw_small_multiples(
                    tables.chosen(rows, source=source), folder_of, data_of, seed
                ),
                f"Test images ({source}), seed {seed}: found objects blue, missed ones orange, "
                "false ones yellow.",
            )
            for source in tables.names_of(rows, "source")
        },
    }
    written = []
    for name, (png, caption) in plots.items():
        if png is not None:
            with _files.replacing(out / name) as path:
                path.write_bytes(png)
            written.append((name, caption))
    return written
