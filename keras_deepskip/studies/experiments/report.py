"""The report of a study: its tables in three forms, its figures, and pages with both."""

import dataclasses
from pathlib import Path

from keras_deepskip import _files
from keras_deepskip.studies.experiments import figures, tables
from keras_deepskip.studies.experiments.page import Results, write_study_page
from keras_deepskip.studies.page_parts import written


@dataclasses.dataclass(frozen=True)
class Made:
    """How the results of a study were made.

    Attributes:
        date: of the report, as YYYY-MM-DD.
        libraries: Keras, the backend and Python, with their versions.
        command: the command line with all options that matter.
        about: what the figures are of.
    """

    date: str
    libraries: str
    command: str
    about: str

    def made_text(self):
        """When and with what, as a sentence."""
        return f"Made on {self.date} with {self.libraries}."

    def text(self):
        """All of it, as Markdown."""
        return f"{self.made_text()[:-1]} by `{self.command}`.\n\n{self.about}"


def write_report(study, rows, runs, out, made, measured=None, log=lambda line: None):
    """Writes `report.md` and `report.html`, `tables/*.csv`, `*.tex`, `results.csv`, the figures.

    Args:
        study: the `Study`.
        rows: list of dicts, one per finished run.
        runs: list of all `StudyRun`s.
        out: folder to write to.
        made: the `Made`.
        measured: result of `timing.measure.measure`, or None.
        log: function that takes a line: where the pages are.

    Returns:
        The path of `report.md`.
    """
    out = Path(out)
    _files.write_text(out / "results.csv", _files.csv_text(rows))
    found = [tables.by_category(rows, metric) for metric in tables.METRICS]
    if len(chosen := tables.labels_of(rows)) > 1 and study.reference in chosen:
        found.append(tables.paired(rows, study.reference))
    found.append(tables.pixels_and_objects(rows))
    if any("ap50" in row for row in rows):  # earlier results lack it
        found.append(tables.one_by_one(rows))
    found += [tables.recall_by_size(rows), tables.effort(rows)]
    if measured is not None:
        found.insert(2, tables.costs(rows, study.networks, measured))
    for table in found:
        _files.write_text(out / "tables" / f"{table.name}.csv", table.csv())
        _files.write_text(out / "tables" / f"{table.name}.tex", table.latex())
    by_key = {(run.category.name, run.network.name, run.seed): run.folder for run in runs}

    def folder_of(row):
        return by_key[row["category"], row["network"], row["seed"]]

    plots = _draw(rows, folder_of, out)
    parts = [f"# {study.title}", made.text(), *(table.markdown() for table in found)]
    parts += _failures(rows)
    parts += [f"![{caption}]({name})\n\n*{caption}*" for name, caption in plots]
    _files.write_text(out / "report.md", "\n\n".join(part.rstrip() for part in parts) + "\n")
    log(f"Wrote {out / 'report.md'}")
    # The page draws the curves and bars itself
    pictures = [((out / name).read_bytes(), "Test images", caption) for name, caption in plots
                if name.startswith("multiples")]  # fmt: skip
    results = Results(study, rows, made, found, pictures, folder_of, measured)
    written(lambda: write_study_page(results, out), log)
    return out / "report.md"


def _failures(rows):
    lines = [
        f"- {row['label']}, {row['category']}, seed {row['seed']}: {row['failure']}"
        for row in rows
        if "failure" in row
    ]
    about = (
        "Runs that failed (means over categories leave out a network's seeds that lack a category):"
    )
    return [about, "\n".join(lines)] if lines else []


def _draw(rows, folder_of, out):
    """Writes the figures; returns their names and captions."""
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
                figures.draw_small_multiples(tables.chosen(rows, source=source), folder_of, seed),
                f"Test images ({source}), seed {seed}: found objects blue, missed ones orange, "
                "false ones yellow.",
            )
            for source in tables.names_of(rows, "source")
        },
    }
    names = []
    for name, (png, caption) in plots.items():
        if png is not None:
            with _files.replacing(out / name) as path:
                path.write_bytes(png)
            names.append((name, caption))
    return names
