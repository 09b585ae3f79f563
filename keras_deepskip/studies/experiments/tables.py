"""Tables of a study: their content, and how they are written (Markdown, CSV, LaTeX)."""

import dataclasses
import statistics

from keras_deepskip import _checks
from keras_deepskip._tables import markdown_table
from keras_deepskip.studies.experiments.spread import paired_test, spread

METRICS = {"IoU": "pixel IoU", "object_f1": "object F1"}
# LaTeX that pandas leaves to the caller: some signs, and the whole caption.
SIGNS = str.maketrans({"±": r"$\pm$", "<": r"$<$", ">": r"$>$"})
SPECIAL = str.maketrans({character: "\\" + character for character in "&%$#_{}"})


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
        return self._frame().to_csv(index=False, lineterminator="\n")

    def latex(self):
        """The table as a LaTeX `table` with booktabs rules."""
        text = self._frame().to_latex(
            index=False, escape=True, float_format="%.4f", na_rep="-",
            caption=self.title.translate(SPECIAL),
            column_format="l" + "r" * (len(self.headers) - 1),
        )  # fmt: skip
        return text.translate(SIGNS)

    def _frame(self):
        return _pandas().DataFrame(self.rows, columns=self.headers, dtype=object)


def _pandas():
    return _checks.require("pandas", '"keras-deepskip[studies]"', "the tables of a study")


# ---- Rows of runs --------------------------------------------------------------------------------


def chosen(rows, **values):
    """Returns the rows that have these values."""
    return [row for row in rows if all(row.get(name) == value for name, value in values.items())]


def names_of(rows, column):
    """Returns the different values of a column in order of appearance."""
    return list(dict.fromkeys(row[column] for row in rows))


def labels_of(rows):
    """Returns a dict from the networks' names to their labels."""
    return {row["network"]: row["label"] for row in rows}


def complete(rows):
    """Returns the rows of each network's seeds that have a result for every category.

    A mean without the category that failed would be one of easier images.
    """
    categories, known = set(names_of(rows, "category")), {}
    for row in rows:
        if "failure" not in row:
            known.setdefault((row["network"], row["seed"]), set()).add(row["category"])
    return [row for row in rows if known.get((row["network"], row["seed"])) == categories]


def category_title(rows, category):
    """Returns a category's name, and whether its images are synthetic."""
    synthetic = chosen(rows, category=category)[0]["source"] == "synthetic"
    return f"{category} (synthetic)" if synthetic else category


def strata_of(rows):
    """Returns the names of the size strata, the smallest first."""
    names = [name for row in rows for name in row if name.startswith("found ")]
    return list(dict.fromkeys(name.removeprefix("found ") for name in names))


def _frame(rows, columns):
    """The rows as a data frame; `columns` are numbers, NaN where a run failed."""
    frame = _pandas().DataFrame(rows)
    frame = frame.reindex(columns=[*dict.fromkeys(["network", *frame.columns, *columns])])
    return frame.astype(dict.fromkeys(columns, "float64"))


def _body(frame, rows):
    """Rows of a table from a data frame by network, in the order of `rows`; None for NaN."""
    labels = labels_of(rows)
    frame = frame.reindex(list(labels)).rename(labels).astype(object)
    return frame.where(frame.notna(), None).reset_index().to_numpy().tolist()


# ---- Tables --------------------------------------------------------------------------------------


def by_category(rows, metric):
    """A metric of each network, by category and over all: mean and spread over seeds.

    The spread of the last column is that of the seeds' means over categories.
    """
    categories = names_of(rows, "category")
    values = _frame(rows, [metric]).pivot(
        index=["network", "seed"], columns="category", values=metric
    )
    values = values[categories].assign(all=values.mean(axis="columns", skipna=False))
    cells = values.groupby("network").agg(lambda column: spread(column).text())
    headers = ["network", *(category_title(rows, name) for name in categories), "all"]
    named = METRICS[metric][0].upper() + METRICS[metric][1:]
    title = f"{named} by category: mean ± standard deviation over seeds."
    return Table(f"{metric.lower()}_by_category", title, headers, _body(cells, rows))


def paired(rows, reference):
    """The reference against each other network, on the same images with the same seeds."""
    metrics = {**METRICS, "small_recall": "recall of the smallest"}
    rows = [{**row, "small_recall": small_recall(row)} for row in rows]
    frame, labels, body = _frame(rows, metrics), labels_of(rows), []
    own = frame[frame["network"] == reference]
    for network in (name for name in labels if name != reference):
        other = frame[frame["network"] == network]
        pairs = own.merge(other, on=["category", "seed"], suffixes=("", " of other"))
        for metric, title in metrics.items():
            test = paired_test(pairs[metric], pairs[f"{metric} of other"])
            body.append([labels[network], title, test.count, *_shown(test)])
    headers = ["against", "metric", "pairs", "mean difference", "95 % interval", "p"]
    title = (
        f"{labels[reference]} minus each other network, pair by pair (same category, split and "
        "seed): mean difference, its 95 % interval (Student), and p of a sign-flip permutation "
        "test. Pairs of one category are not independent: p is a guide."
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


def small_recall(row):
    """Returns the recall of the smallest stratum with any object, or None."""
    counts = ((row[f"found {name}"], row[f"missed {name}"]) for name in strata_of([row]))
    return next((found / (found + missed) for found, missed in counts if found + missed), None)


def pixels_and_objects(rows):
    """Precision, recall and F1 of pixels and of objects: means over categories and seeds."""
    columns = {
        "Precision": "precision", "Recall": "recall", "F1": "F1",
        "object_precision": "object precision", "object_recall": "object recall",
        "object_f1": "object F1",
    }  # fmt: skip
    means = _frame(complete(rows), columns).groupby("network")[list(columns)].mean()
    title = "Precision, recall and F1 of pixels and objects: means over categories and seeds."
    return Table("precision_recall", title, ["network", *columns.values()], _body(means, rows))


def one_by_one(rows):
    """AP, PQ and the error of the number of objects: means over categories, spread over seeds."""
    columns = {
        "ap50": "AP 0.5", "ap70": "AP 0.7", "pq": "PQ", "sq": "SQ", "rq": "RQ",
        "count_mean_absolute": "count error", "count_bias": "count bias",
    }  # fmt: skip
    seeds = _frame(complete(rows), columns).groupby(["network", "seed"])[list(columns)].mean()
    cells = seeds.groupby("network").agg(lambda column: spread(column).text())
    title = (
        "Objects one by one, by their ids where the set has them: mean over categories ± standard "
        "deviation over seeds. Count error and bias: objects in an image."
    )
    return Table("one_by_one", title, ["network", *columns.values()], _body(cells, rows))


def recall_by_size(rows):
    """Share of the true objects of each size that were found, over all categories and seeds."""
    strata = strata_of(rows)
    counts = [f"{kind} {name}" for kind in ("found", "missed") for name in strata]
    sums = _frame(complete(rows), counts).groupby("network")[counts].sum()
    found, missed = (
        sums[[f"{kind} {name}" for name in strata]].set_axis(strata, axis="columns")
        for kind in ("found", "missed")
    )
    total = found + missed
    headers = ["network", *(f"{name} ({count:,.0f})" for name, count in total.max().items())]
    title = (
        "Object recall by size of the true object (pixels; number of objects, counted once per "
        "seed): found with an IoU of at least 0.5."
    )
    return Table("recall_by_size", title, headers, _body(found / total, rows))


def effort(rows):
    """The training of each network: steps, time and memory."""
    columns = {
        "steps": "steps", "batch_size": "batch", "train_seconds": "training, s",
        "train_peak_mb": "peak memory, MB",
    }  # fmt: skip
    finished = [row for row in rows if "failure" not in row]
    groups = _frame(finished, [*columns, "best_epoch"]).groupby("network")
    cells = groups[list(columns)].agg(_range)
    cells.insert(0, "runs", groups.size())
    cells["best epoch"] = groups["best_epoch"].mean().map("{:.1f}".format)
    headers = ["network", "runs", *columns.values(), "best epoch"]
    title = (
        "The training of each network. The peak is that of the whole process, libraries included; "
        "the best epoch is the mean."
    )
    return Table("effort", title, headers, _body(cells, finished))


def _range(values):
    if values.isna().all():
        return "-"
    low, high = (f"{round(value):,}" for value in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"


def costs(rows, networks, measured):
    """Parameters, MACs, time and memory of each network next to its mean IoU.

    Args:
        rows: of the runs.
        networks: list of `Network`.
        measured: the dict that `timing.measure.measure` returns, of one case of prediction.
    """
    case, whole = measured["cases"][0], complete(rows)
    body = []
    for network in networks:
        found = case["rivals"].get(network.timed_as)
        if found is None or not chosen(rows, network=network.name):
            continue
        iou = spread(row["IoU"] for row in chosen(whole, network=network.name)).mean
        if "failure" in found:
            body.append([network.label, iou, None, found["failure"], None, None])
            continue
        macs, peak = found["macs"], found["peak_bytes"]
        body.append([
            network.label,
            iou,
            found["parameters"],
            "-" if macs is None else f"{macs / 1e9:.2f} G",
            f"{statistics.median(found['ns']) / 1e6:.1f}",
            "-" if peak is None else f"{peak / 1e6:,.0f}",
        ])  # fmt: skip
    side = case["case"]["size"]
    headers = ["network", "mean IoU", "parameters", "MACs", "ms per image", "peak MB"]
    title = (
        f"Cost of a prediction: one image of {side} x {side}, one process each, side by side "
        "(batch norms folded, but not those of other packages' networks; "
        f"{measured['settings']['backend']}, {measured['date']})."
    )
    return Table("costs", title, headers, body)
