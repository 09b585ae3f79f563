"""Figures of a study: IoU by category and network, curves, and images with predictions."""

import textwrap
from pathlib import Path

import numpy as np

from keras_deepskip import _checks
from keras_deepskip.data import read_image
from keras_deepskip.data.masks import read_ids
from keras_deepskip.drawing import figure_png, new_figure
from keras_deepskip.studies.experiments.spread import mean_course, spread
from keras_deepskip.studies.experiments.tables import category_title, chosen, labels_of, names_of
from keras_deepskip.training.run import HISTORY, read_history

CURVES = (("loss", "loss"), ("f1", "pixel Dice (F1)"), ("iou", "pixel IoU"))
CELL = 128  # side in pixels of a cell of the small multiples
WHY = "the figures of a study"
TITLE_WIDTH = 20  # in characters, of a cell's title


def draw_categories(rows):
    """Draws the mean IoU by category and network, with the spread over seeds (figure 4).

    Returns:
        The bytes of a PNG.
    """
    categories, labels = names_of(rows, "category"), labels_of(rows)
    figure = new_figure(2 + 1.6 * len(categories), 4.5, WHY)
    axes, width = figure.subplots(), 0.8 / len(labels)
    for index, (network, label) in enumerate(labels.items()):
        found = [
            spread([row.get("IoU") for row in chosen(rows, category=name, network=network)])
            for name in categories
        ]
        axes.bar(
            np.arange(len(categories)) - 0.4 + (index + 0.5) * width,
            [each.mean or 0 for each in found],
            width,
            yerr=[each.deviation or 0 for each in found],
            error_kw={"lw": 0.8},
            color=_color(index),
            label=label,
        )
    titles = [category_title(rows, name).replace(" (", "\n(") for name in categories]
    axes.set_xticks(np.arange(len(categories)), titles)
    axes.set(ylabel="pixel IoU, test images", ylim=(0, 1))
    axes.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    return figure_png(figure, dpi=110)


def draw_histories(rows, folder_of):
    """Draws loss, Dice and IoU of training and validation, a line per network (figure 5).

    Lines are means over categories and seeds. The horizontal axis is the share of the network's own
    steps, as networks may differ in their number.

    Args:
        rows: of the runs.
        folder_of: function from a row to the run's folder.

    Returns:
        The bytes of a PNG.
    """
    pandas = _checks.require("pandas", '"keras-deepskip[studies]"', WHY)
    figure = new_figure(12, 6.5, WHY)
    grid = figure.subplots(2, len(CURVES), sharex=True)
    for index, (network, label) in enumerate(labels_of(rows).items()):
        own = [row for row in chosen(rows, network=network) if "failure" not in row]
        histories = [pandas.DataFrame(read_history(Path(folder_of(row)) / HISTORY)) for row in own]
        for axes_row, prefix in zip(grid, ("", "val_"), strict=True):
            for axes, (name, _) in zip(axes_row, CURVES, strict=True):
                lines = [each[prefix + name] for each in histories if prefix + name in each]
                _draw_mean(axes, lines, _color(index), label)
    for axes_row, part in zip(grid, ("training", "validation"), strict=True):
        for axes, (name, title) in zip(axes_row, CURVES, strict=True):
            axes.set(title=f"{title}, {part}", xlabel="share of the network's steps")
            axes.grid(alpha=0.3)
            if name != "loss":
                axes.set_ylim(0, 1)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    return figure_png(figure, dpi=110)


def _draw_mean(axes, lines, color, label):
    """Draws the mean of lines, each over the share of its own length."""
    shares, means = mean_course(lines)
    if len(shares):
        marker = "o" if len(shares) == 1 else None  # of one epoch there is no line
        axes.plot(shares, means, color=color, label=label, lw=1.3, marker=marker, ms=4)


def draw_small_multiples(rows, folder_of, seed):
    """Draws test images of each category with each network's found, missed and false objects.

    Found objects are blue, missed ones orange, and false ones yellow. Images are cropped to the
    part with most objects.

    Args:
        rows: of the runs.
        folder_of: function from a row to the run's folder.
        seed: of the runs that are shown.

    Returns:
        The bytes of a PNG.
    """
    labels, cells = labels_of(rows), []
    for category in names_of(rows, "category"):
        own = {row["network"]: row for row in chosen(rows, category=category, seed=seed)
               if "failure" not in row}  # fmt: skip
        if own:
            cells.append((category, *_cells(own, folder_of)))
    if not cells:
        return None
    figure = new_figure(1.5 * (len(labels) + 1), 1.65 * len(cells) + 0.6, WHY)
    grid = figure.subplots(len(cells), len(labels) + 1, squeeze=False)
    for line, (category, image, results) in zip(grid, cells, strict=True):
        shown = [image, *(results.get(network) for network in labels)]
        for axes, cell in zip(line, shown, strict=True):
            axes.set(xticks=[], yticks=[])
            axes.axis("off") if cell is None else axes.imshow(cell, interpolation="nearest")
        line[0].set_ylabel(category, fontsize=8)
    titles = ["image", *(textwrap.fill(label, TITLE_WIDTH) for label in labels.values())]
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=7)
    return figure_png(figure, dpi=130)


def _cells(rows_by_network, folder_of):
    """The part of an image with most objects, and by network what was found there."""
    shown = {name: Path(folder_of(row)) / "shown" for name, row in rows_by_network.items()}
    first = next(iter(shown.values()))
    truths = {path.name: read_ids(path) for path in sorted((first / "truth").glob("*.png"))}
    name = max(truths, key=lambda name: (truths[name] > 0).mean())
    window = _fullest_window(truths[name])
    results = {network: read_image(own / "judged" / name)[window] for network, own in shown.items()}
    return read_image(first / "image" / name)[window], results


def _fullest_window(mask):
    """Slices of the part of `CELL` pixels with most objects in it, by steps of half of it."""
    height, width = mask.shape
    corners = [
        (top, left)
        for top in range(0, max(1, height - CELL + 1), CELL // 2)
        for left in range(0, max(1, width - CELL + 1), CELL // 2)
    ]
    top, left = max(
        corners, key=lambda at: (mask[at[0] : at[0] + CELL, at[1] : at[1] + CELL] > 0).sum()
    )
    return slice(top, top + CELL), slice(left, left + CELL)


def _color(index):
    from matplotlib import colormaps

    # Ten colors, then their lighter forms
    return colormaps["tab20"]((2 * index + index // 10) % 20)
