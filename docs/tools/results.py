"""Writes the README's table of results, from the rows of a study that is in docs/measurements.

python docs/tools/results.py
"""

import csv
import re
import statistics
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
STUDY = ROOT / "docs" / "measurements" / "comparison" / "compare-same-size"
BETWEEN = re.compile(r"(?<=<!-- docs/tools/results.py writes this table -->\n\n)(\|.*\n)+")
# Each of the paper's networks once, at about our weights.
NETWORKS = (
    "deepskip", "h_denseunet_same_weights", "fcn8s_same_weights", "pspnet_same_weights",
    "unet3plus_same_size", "unet_same_weights", "mask_rcnn_same_size",
)  # fmt: skip
HEADERS = (
    "network", "IoU", "object F1", "AP 0.5", "found under 8 x 8", "count error", "parameters", "ms"
)  # fmt: skip


def text(readme):
    """The README with the table as the rows have it."""
    new, count = BETWEEN.subn(lambda _: table(), readme)
    if count != 1:
        raise SystemExit(f"{README}: one table below the comment was expected, {count} found")
    return new


def table():
    """The table as Markdown: means over categories and seeds, ours in bold."""
    with (STUDY / "results.csv").open(newline="", encoding="utf-8") as file:
        runs = list(csv.DictReader(file))
    rows = [row(name, [run for run in runs if run["network"] == name]) for name in NETWORKS]
    lines = [HEADERS, *rows]
    made = [f"| {' | '.join(line)} |\n" for line in lines]
    return "".join([made[0], "|---" * len(HEADERS) + "|\n", *made[1:]])


def row(network, runs):
    """The cells of a network."""
    label = runs[0]["label"]
    small = [sum(float(run[f"{each} <8x8"]) for run in runs) for each in ("found", "missed")]
    shares = [mean(runs, name) for name in ("IoU", "object_f1", "ap50")]
    shares.append(small[0] / sum(small))
    parameters, ms = cost(label)
    return [
        f"**{label}**" if network == NETWORKS[0] else label,
        *(f"{share:.3f}".lstrip("0") for share in shares),
        f"{mean(runs, 'count_mean_absolute'):.1f}", f"{parameters / 1e6:.2f} M", f"{ms:.0f}",
    ]  # fmt: skip


def mean(runs, name):
    """Mean of a column, each category counting as much as the others."""
    by_category = {}
    for run in runs:
        by_category.setdefault(run["category"], []).append(float(run[name]))
    return statistics.mean(map(statistics.mean, by_category.values()))


def cost(label):
    """Parameters and milliseconds of a prediction, from the table of costs in the report."""
    report = (STUDY / "report.md").read_text(encoding="utf-8")
    costs = report.partition("Cost of a prediction")[2]
    line = next(line for line in costs.splitlines() if line.startswith(f"| {label} "))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    return int(cells[2].replace(",", "")), float(cells[4])


if __name__ == "__main__":
    README.write_text(text(README.read_text(encoding="utf-8")), encoding="utf-8")
