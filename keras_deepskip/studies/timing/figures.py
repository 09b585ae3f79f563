"""Results of the timings as figures."""

from keras_deepskip.drawing import figure_png, new_figure
from keras_deepskip.studies.timing.curves import QUANTITIES, bends, curve
from keras_deepskip.studies.timing.measure import by_mode_and_size, quartiles, time_per

WHY = "the figure of a benchmark"


def draw_times(result):
    """Draws the medians with their quartiles, a panel for each mode and size.

    Args:
        result: dict, as `measure` returns it. What could not be measured has no dot.

    Returns:
        The bytes of a PNG.
    """
    groups, rivals = by_mode_and_size(result), result["settings"]["rivals"]
    modes = list(dict.fromkeys(mode for mode, _ in groups))
    sizes = list(dict.fromkeys(size for _, size in groups))
    height = len(modes) * (1.2 + 0.35 * len(rivals))
    figure = new_figure(2.5 + 4 * len(sizes), height, WHY)
    grid = figure.subplots(len(modes), len(sizes), squeeze=False, sharey=True)
    for (mode, size), entries in groups.items():
        axes = grid[modes.index(mode), sizes.index(size)]
        for position, entry in enumerate(entries):
            _draw_dots(axes, entry, rivals, position, len(entries))
        unit = time_per(entries[0]["case"])[1]
        axes.set(title=f"{mode}, {size} x {size}", xlabel=unit, xscale="log")
        _label_plainly(axes.xaxis)
        axes.set_yticks(range(len(rivals)), rivals)
        axes.grid(alpha=0.3)
    grid[0, 0].set_ylim(len(rivals) - 0.5, -0.5)  # the first on top; the panels share the axis
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure_png(figure)


def draw_scaling(result, base):
    """Draws time and memory against each quantity; a ring marks where a curve of time bends.

    Args:
        result: dict, as `measure` returns it.
        base: dict of the quantities' default values.

    Returns:
        The bytes of a PNG.
    """
    modes = list(dict.fromkeys(entry["case"]["mode"] for entry in result["cases"]))
    figure = new_figure(4 * len(QUANTITIES), 7, WHY)
    grid = figure.subplots(2, len(QUANTITIES))
    for (quantity, title), column in zip(QUANTITIES.items(), grid.T, strict=True):
        values = set()
        for mode in modes:
            for network in result["settings"]["rivals"]:
                points = curve(result, network, mode, quantity, base)
                points = [point for point in points if not point.failure]
                _draw_curve(column, points, f"{network}, {mode}")
                values |= {point.value for point in points}
        for axes, unit in zip(column, ("ms a call", "MB"), strict=True):
            axes.set(xlabel=title, ylabel=unit, xscale="log", yscale="log")
            _label_plainly(axes.xaxis)
            _label_plainly(axes.yaxis)
            axes.set_xticks(sorted(values), sorted(values))
            axes.grid(alpha=0.3)
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure_png(figure)


def _draw_dots(axes, entry, rivals, position, count):
    """The dots of one batch size, the `position`-th of `count` in each row."""
    share = 0.6 / count
    part = time_per(entry["case"])[0]
    places, medians, errors = [], [], ([], [])
    for row, name in enumerate(rivals):
        found = entry["rivals"][name]
        if "ns" in found:
            low, middle, high = (value / part for value in quartiles(found["ns"]))
            places.append(row - 0.3 + share * (position + 0.5))
            medians.append(middle)
            errors[0].append(middle - low)
            errors[1].append(high - middle)
    label = f"batch {entry['case']['batch']}"
    axes.errorbar(medians, places, xerr=errors, fmt="o", markersize=5, capsize=3, label=label)


def _draw_curve(column, points, label):
    """Draws times with their quartiles into the upper axes, memory into the lower ones."""
    upper, lower = column
    values = [point.value for point in points]
    (line,) = upper.plot(values, [point.ms[1] for point in points], marker=".", label=label)
    color = line.get_color()
    spread = [[point.ms[side] for point in points] for side in (0, 2)]
    upper.fill_between(values, *spread, alpha=0.2, color=color)
    for point in bends(points):
        upper.plot(point.value, point.ms[1], "o", color=color, fillstyle="none", markersize=10)
    known = [point for point in points if point.peak_bytes is not None]
    memory = [point.peak_bytes / 1e6 for point in known]
    lower.plot([point.value for point in known], memory, marker=".", color=color)


def _label_plainly(axis):
    """Makes a logarithmic axis show plain numbers: 1, 2, 5, 10, ..."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())
