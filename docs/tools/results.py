"""Writes the tables of results in the README and on the page of the comparison, from studies' rows.

python docs/tools/results.py
"""

import csv
import functools
import re
import statistics
from pathlib import Path

from keras_deepskip._tables import markdown_table
from keras_deepskip.studies.experiments import tables

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGE = ROOT / "docs" / "measurements" / "comparison.md"
FOLDER = PAGE.parent / "comparison"
STUDIES = {  # by category: the folder of its rows, and what the README calls it
    "microorganisms": ("compare-same-size", "nuclei"),
    "pathological areas": ("compare-same-size-tissue", "tissue"),
    "coins": ("compare-same-size-coins", "coins"),
    "pedestrians": ("compare-same-size-pedestrians", "people"),
    "vehicles": ("compare-same-size-vehicles", "vehicles"),
}
ABLATION = "ablation-same-minutes"
# Each of the paper's networks once, at about our weights.
NETWORKS = (
    "deepskip", "h_denseunet_same_weights", "fcn8s_same_weights", "pspnet_same_weights",
    "unet3plus_same_size", "unet_same_weights", "mask_rcnn_same_size",
)  # fmt: skip
TEXTS = {"category", "source", "network", "label", "backend", "keras"}  # columns without numbers
MARKED = re.compile(
    r"(?P<mark><!-- docs/tools/results.py writes this table: (?P<name>[\w ]+) -->\n\n)(\|.*\n)+"
)


def text(page):
    """A page with its tables as the rows have them."""
    return MARKED.sub(lambda found: found["mark"] + TABLES[found["name"]](), page)


def names_in(pages):
    """The names of the tables that the pages have a comment for."""
    return [found["name"] for page in pages for found in MARKED.finditer(page)]


def compared():
    """The runs of all sets, each network once."""
    runs = [run for folder, _ in STUDIES.values() for run in rows_of(folder)]
    return [run for name in NETWORKS for run in runs if run["network"] == name]


@functools.cache
def rows_of(folder):
    """The runs of a study."""
    with (FOLDER / folder / "results.csv").open(newline="", encoding="utf-8") as file:
        return [
            {name: value if name in TEXTS else float(value) for name, value in run.items()}
            for run in csv.DictReader(file)
        ]


def summary():
    """The README's table: object F1 of each set, and means over the sets, ours in bold."""
    rows = compared()
    heads = ["network", *(called for _, called in STUDIES.values())]
    heads += ["AP 0.5, all", "IoU, all", "parameters", "ms"]
    return markdown_table(heads, [summed(name, rows) for name in NETWORKS]) + "\n"


def summed(network, rows):
    """The README's cells of a network."""
    runs = tables.chosen(rows, network=network)
    label = runs[0]["label"]
    parameters, ms = cost(label)
    found = [mean(tables.chosen(runs, category=name), "object_f1") for name in STUDIES]
    over_all = [mean(runs, metric) for metric in ("ap50", "IoU")]
    cells = [f"{value:.3f}".lstrip("0") for value in (*found, *over_all)]
    label = f"**{label}**" if network == NETWORKS[0] else label
    return [label, *cells, f"{parameters / 1e6:.2f} M", f"{ms:.0f}"]


def mean(runs, metric):
    """The mean of a metric over runs."""
    return statistics.mean(run[metric] for run in runs)


def cost(label):
    """Parameters and milliseconds of a prediction, from the table of costs in the first report."""
    report = FOLDER / STUDIES["microorganisms"][0] / "report.md"
    costs = report.read_text(encoding="utf-8").partition("Cost of a prediction")[2]
    line = next(line for line in costs.splitlines() if line.startswith(f"| {label} "))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    return int(cells[2].replace(",", "")), float(cells[4])


def markdown(table):
    """A table of the studies' own, without its title."""
    return markdown_table(table.headers, table.rows) + "\n"


TABLES = {
    "summary": summary,
    "object F1": lambda: markdown(tables.by_category(compared(), "object_f1")),
    "IoU": lambda: markdown(tables.by_category(compared(), "IoU")),
    "one by one": lambda: markdown(tables.one_by_one(compared())),
    "by size": lambda: markdown(tables.recall_by_size(compared())),
    "paired": lambda: markdown(tables.paired(compared(), NETWORKS[0])),
    "ablation object F1": lambda: markdown(tables.by_category(rows_of(ABLATION), "object_f1")),
    "ablation IoU": lambda: markdown(tables.by_category(rows_of(ABLATION), "IoU")),
    "ablation one by one": lambda: markdown(tables.one_by_one(rows_of(ABLATION))),
    "ablation paired": lambda: markdown(tables.paired(rows_of(ABLATION), "deep_both")),
}

if __name__ == "__main__":
    pages = {path: path.read_text(encoding="utf-8") for path in (README, PAGE)}
    if sorted(names := names_in(pages.values())) != sorted(TABLES):
        raise SystemExit(f"{sorted(TABLES)} were expected below a comment each, {names} found")
    for path, page in pages.items():
        path.write_text(text(page), encoding="utf-8")
