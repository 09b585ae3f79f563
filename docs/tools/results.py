"""Writes the README's table of results, from rows of the studies that are in docs/measurements.

python docs/tools/results.py
"""

import csv
import re
import statistics
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
COMPARISON = ROOT / "docs" / "measurements" / "comparison"
STUDIES = {  # by category: the folder of its rows, and what the README calls it
    "microorganisms": ("compare-same-size", "nuclei"),
    "pedestrians": ("compare-same-size-pedestrians", "people"),
}
COSTS = COMPARISON / "compare-same-size" / "report.md"
BETWEEN = re.compile(r"(?<=<!-- docs/tools/results.py writes this table -->\n\n)(\|.*\n)+")
# Each of the paper's networks once, at about our weights.
NETWORKS = (
    "deepskip", "h_denseunet_same_weights", "fcn8s_same_weights", "pspnet_same_weights",
    "unet3plus_same_size", "unet_same_weights", "mask_rcnn_same_size",
)  # fmt: skip
METRICS = {"IoU": "IoU", "object_f1": "object F1", "ap50": "AP 0.5"}


def text(readme):
    """The README with the table as the rows have it."""
    new, count = BETWEEN.subn(lambda _: table(), readme)
    if count != 1:
        raise SystemExit(f"{README}: one table below the comment was expected, {count} found")
    return new


def table():
    """The table as Markdown: means over seeds, ours in bold."""
    headers = ["network"]
    for _, called in STUDIES.values():
        headers += [f"{called}: {metric}" for metric in METRICS.values()]
    headers += ["parameters", "ms"]
    runs = [run for folder, _ in STUDIES.values() for run in rows_of(COMPARISON / folder)]
    rows = [row(name, [run for run in runs if run["network"] == name]) for name in NETWORKS]
    made = [f"| {' | '.join(line)} |\n" for line in (headers, *rows)]
    return "".join([made[0], "|---" * len(headers) + "|\n", *made[1:]])


def rows_of(folder):
    """The runs of a study."""
    with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def row(network, runs):
    """The cells of a network."""
    label = runs[0]["label"]
    parameters, ms = cost(label)
    cells = [f"**{label}**" if network == NETWORKS[0] else label]
    for category in STUDIES:
        own = [run for run in runs if run["category"] == category]
        for metric in METRICS:
            mean = statistics.mean(float(run[metric]) for run in own)
            cells.append(f"{mean:.3f}".lstrip("0"))
    return [*cells, f"{parameters / 1e6:.2f} M", f"{ms:.0f}"]


def cost(label):
    """Parameters and milliseconds of a prediction, from the table of costs in the report."""
    costs = COSTS.read_text(encoding="utf-8").partition("Cost of a prediction")[2]
    line = next(line for line in costs.splitlines() if line.startswith(f"| {label} "))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    return int(cells[2].replace(",", "")), float(cells[4])


if __name__ == "__main__":
    README.write_text(text(README.read_text(encoding="utf-8")), encoding="utf-8")
