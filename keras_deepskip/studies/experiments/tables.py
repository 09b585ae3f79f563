"""Tables of a study: what they hold, and how they are written (Markdown, CSV, LaTeX)."""

import csv
import dataclasses
import io
import statistics

from keras_deepskip._tables import markdown_table
from keras_deepskip.studies.experiments.spread import paired_test, spread

FIGURES = {"IoU": "pixel IoU", "object_f1": "object F1"}


@dataclasses.dataclass(frozen=True)
class Table:
    """A table: title, column headings, rows of texts and numbers."""

    name: str
    title: str
    headers: list
    rows: list

    def markdown(self):
        """The table with its title, as Markdown."""
        return f"{self.title}\n\n{markdown_table(self.headers, self.rows)}\n"

    def csv(self):
        """The table as CSV, headings first."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(self.headers)
        writer.writerows([["" if cell is None else cell for cell in row] for row in self.rows])
        return buffer.getvalue()

    def latex(self):
        """The table as a LaTeX `table` with booktabs rules."""
        lines = [
            r"\begin{table}",
            rf"\caption{{{_latex(self.title)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(self.headers) - 1)}}}",
            r"\toprule",
            _latex_row(self.headers),
            r"\midrule",
            *(_latex_row(row) for row in self.rows),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
        return "\n".join(lines) + "\n"


SPECIAL = {character: "\\" + character for character in "&%$#_{}"} | {
    "±": r"$\pm$", "<": r"$<$", ">": r"$>$", "^": r"\^{}", "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
}  # fmt: skip


def _latex_row(cells):
    return " & ".join(_latex(cell) for cell in cells) + r" \\"


def _latex(cell):
    text = "-" if cell is None else f"{cell:.4f}" if isinstance(cell, float) else str(cell)
    return "".join(SPECIAL.get(character, character) for character in text)


# ---- Rows of runs --------------------------------------------------------------------------------


def chosen(rows, **wanted):
    """The rows that have these values."""
    return [row for row in rows if all(row.get(name) == value for name, value in wanted.items())]


def names_of(rows, column):
    """The values of a column in the order in which they come, each once."""
    return list(dict.fromkeys(row[column] for row in rows))


def labels_of(rows):
    """A dict from the networks' names to their labels."""
    return {row["network"]: row["label"] for row in rows}


def category_title(rows, category):
    """A category's name, and whether its images are drawn."""
    drawn = chosen(rows, category=category)[0]["source"] == "drawn"
    return f"{category} (drawn)" if drawn else category


# ---- Tables --------------------------------------------------------------------------------------


def by_category(rows, figure):
    """A figure of each network, by category and over all: mean and spread over seeds.

    The spread of the last column is that of the seeds' means over categories.
    """
    categories, body = names_of(rows, "category"), []
    for network, label in labels_of(rows).items():
        own = chosen(rows, network=network)
        cells = [spread(_values(own, figure, category=name)).text() for name in categories]
        by_seed = [_mean_over(own, figure, categories, seed) for seed in names_of(own, "seed")]
        body.append([label, *cells, spread(by_seed).text()])
    headers = ["network", *(category_title(rows, name) for name in categories), "all"]
    named = FIGURES[figure][0].upper() + FIGURES[figure][1:]
    title = f"{named} by category: mean ± standard deviation over seeds."
    return Table(f"{figure.lower()}_by_category", title, headers, body)


def _values(rows, figure, **wanted):
    return [row.get(figure) for row in chosen(rows, **wanted)]


def _mean_over(rows, figure, categories, seed):
    """A seed's mean over the categories; None if one is missing."""
    values = [value for name in categories
              for value in _values(rows, figure, category=name, seed=seed)]  # fmt: skip
    complete = len(values) == len(categories) and None not in values
    return sum(values) / len(values) if complete else None


def paired(rows, reference):
    """The reference against each other network, on the same images with the same seeds."""
    labels, body = labels_of(rows), []
    for network in (name for name in labels if name != reference):
        for figure, title in {**FIGURES, "small_recall": "recall of the smallest"}.items():
            pairs = _pairs(rows, reference, network, figure)
            test = paired_test(*zip(*pairs, strict=True)) if pairs else paired_test([], [])
            body.append([labels[network], title, test.count, *_shown(test)])
    headers = ["against", "figure", "pairs", "mean difference", "95 % interval", "p"]
    title = (
        f"{labels[reference]} minus each other network, pair by pair (same category, split, crops "
        "and seed): mean difference, its 95 % interval (Student), and p of an exact sign-flip "
        "permutation test."
    )
    return Table("paired", title, headers, body)


def _shown(test):
    if test.mean is None:
        return "-", "-", "-"
    mean = f"{test.mean:+.3f}"
    if test.p is None:
        return mean, "-", "-"
    p = "<0.001" if test.p < 0.001 else f"{test.p:.3f}"
    return mean, f"{test.low:+.3f} to {test.high:+.3f}", p


def _pairs(rows, first, second, figure):
    key = {(row["category"], row["seed"]): row for row in chosen(rows, network=second)}
    pairs = [(row, key.get((row["category"], row["seed"]))) for row in chosen(rows, network=first)]
    return [(_figure(a, figure), _figure(b, figure)) for a, b in pairs if b is not None]


def _figure(row, figure):
    """A row's figure; `small_recall` is that of the smallest stratum that holds any object."""
    if figure != "small_recall":
        return row.get(figure)
    strata = strata_of([row])
    counts = ((row[f"found {name}"], row[f"missed {name}"]) for name in strata)
    return next((found / (found + missed) for found, missed in counts if found + missed), None)


def strata_of(rows):
    """Names of the size strata, the smallest first."""
    names = [name for row in rows for name in row if name.startswith("found ")]
    return list(dict.fromkeys(name.removeprefix("found ") for name in names))


def pixels_and_objects(rows):
    """Precision, recall and F1 of pixels and of objects: means over categories and seeds."""
    columns = {
        "Precision": "precision", "Recall": "recall", "F1": "F1",
        "object_precision": "object precision", "object_recall": "object recall",
        "object_f1": "object F1",
    }  # fmt: skip
    body = [
        [label, *(spread(_values(rows, name, network=network)).mean for name in columns)]
        for network, label in labels_of(rows).items()
    ]
    title = "Precision, recall and F1 of pixels and objects: means over categories and seeds."
    return Table("precision_recall", title, ["network", *columns.values()], body)


def recall_by_size(rows):
    """Share of the true objects of each size that were found, over all categories and seeds."""
    strata, body = strata_of(rows), []
    totals = dict.fromkeys(strata, 0)
    for network, label in labels_of(rows).items():
        own = [row for row in chosen(rows, network=network) if "failure" not in row]
        cells = []
        for name in strata:
            found, missed = (sum(row[f"{kind} {name}"] for row in own)
                             for kind in ("found", "missed"))  # fmt: skip
            totals[name] = max(totals[name], found + missed)
            cells.append(found / (found + missed) if found + missed else None)
        body.append([label, *cells])
    headers = ["network", *(f"{name} ({totals[name]:,})" for name in strata)]
    title = (
        "Object recall by size of the true object (pixels; number of objects, counted once a "
        "seed): found with an IoU of at least 0.5."
    )
    return Table("recall_by_size", title, headers, body)


def effort(rows):
    """What each network got: steps, time and memory of its training."""
    body = []
    for network, label in labels_of(rows).items():
        own = [row for row in chosen(rows, network=network) if "failure" not in row]
        if own:
            body.append([
                label, len(own), _range(own, "steps"), _range(own, "batch_size"),
                _range(own, "train_seconds"), _range(own, "train_peak_mb"),
                spread([row["best_epoch"] for row in own]).text(1).partition(" ")[0],
            ])  # fmt: skip
    headers = ["network", "runs", "steps", "batch", "training, s", "peak memory, MB", "best epoch"]
    title = (
        "What each network got. The peak is of the training's whole process, libraries included; "
        "the best epoch is the mean."
    )
    return Table("effort", title, headers, body)


def _range(rows, column):
    values = [row[column] for row in rows if row[column] is not None]
    if not values:
        return "-"
    low, high = (f"{round(value):,}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def costs(rows, networks, measured):
    """Parameters, MACs, time and memory of each network beside its mean IoU.

    Args:
        rows: of the runs.
        networks: list of `Network`.
        measured: the dict that `benchmark.measure` gives, of one case of prediction.
    """
    case = measured["cases"][0]
    body = []
    for network in networks:
        figures = case["rivals"].get(network.rival)
        if figures is None or not chosen(rows, network=network.name):
            continue
        iou = spread(_values(rows, "IoU", network=network.name)).mean
        if "failure" in figures:
            body.append([network.label, iou, None, figures["failure"], None, None])
            continue
        macs, peak = figures["macs"], figures["peak_bytes"]
        body.append([
            network.label,
            iou,
            figures["parameters"],
            "-" if macs is None else f"{macs / 1e9:.2f} G",
            f"{statistics.median(figures['ns']) / 1e6:.1f}",
            "-" if peak is None else f"{peak / 1e6:,.0f}",
        ])  # fmt: skip
    side = case["case"]["size"]
    headers = ["network", "mean IoU", "parameters", "MACs", "ms an image", "peak MB"]
    title = (
        f"What a prediction costs: one image of {side} x {side}, one process each, side by side "
        f"({measured['settings']['backend']}, {measured['date']})."
    )
    return Table("costs", title, headers, body)
