"""Results of the timings as Markdown."""

from keras_deepskip._tables import markdown_table
from keras_deepskip.studies.timing.curves import BEND, QUANTITIES, bends, curve, exponents
from keras_deepskip.studies.timing.measure import by_mode_and_size, quartiles, time_per
from keras_deepskip.studies.timing.timed_networks import TIMED_NETWORKS

HOW = (
    "Each network runs in its own process and is measured once per round, while the others sleep. "
    "A measurement is the mean of the calls that fill a quarter of a second, or of one longer "
    "call. Times are medians over the rounds, with the quartiles. Calls take NumPy arrays and "
    "return a NumPy array (predict) or the loss as a number (train: one step of Adam). MB: the "
    "peak of the process's main memory during a measurement, above what it held before the "
    "network was built. MACs: multiply-adds of the forward pass; - where a layer's cost is not "
    "known."
)


def comparison_text(result, reference):
    """The report of `benchmark`: a table for each mode and size, with ratios to `reference`."""
    rivals = result["settings"]["rivals"]
    parts = ["# Speed and memory", _facts(result, benchmark_command(result, reference)), HOW]
    for (mode, size), entries in by_mode_and_size(result).items():
        parts.append(f"## {mode.capitalize()}, {size} x {size}")
        parts.append(markdown_table(*comparison_rows(entries, rivals, reference)))
    parts.append(
        f"x: the network's median over that of `{reference}`. Parameters: the trainable ones. "
        "GMACs: for one image."
    )
    parts.append(
        markdown_table(["network", "what it is"], [[n, TIMED_NETWORKS[n].about] for n in rivals])
    )
    return "\n\n".join(parts) + "\n"


def scaling_text(result, base):
    """The report of `scaling`: a table for each curve and mode, and where the curves bend."""
    parts = ["# Scaling", _facts(result, "keras-deepskip benchmark --scaling"), HOW]
    parts.append(
        "Exponent: how the time grows with the multiply-adds, from the row above to this one; 1 is "
        f"in proportion. A curve bends where the exponent changes by more than {BEND:g}."
    )
    modes = list(dict.fromkeys(entry["case"]["mode"] for entry in result["cases"]))
    for quantity, title in QUANTITIES.items():
        for mode in modes:
            curves = {
                network: curve(result, network, mode, quantity, base)
                for network in result["settings"]["rivals"]
            }
            parts.append(f"## {mode.capitalize()}, against {title}")
            parts.append(markdown_table(*scaling_rows(curves, title)))
            parts.append(bends_text(curves))
    return "\n\n".join(parts) + "\n"


# ---- Their parts ---------------------------------------------------------------------------------


def comparison_rows(entries, rivals, reference):
    """Headings and a row per network: parameters, MACs; for each batch time, ratio and memory."""
    unit = time_per(entries[0]["case"])[1]
    headers = ["network", "parameters", "GMACs"]
    for entry in entries:
        batch = f"batch {entry['case']['batch']}"
        headers += [f"{unit}, {batch}", f"x, {batch}", f"MB, {batch}"]
    rows = []
    for name in rivals:
        own = [entry["rivals"][name] for entry in entries]
        known = next((found for found in own if "ns" in found), {})
        row = [name, known.get("parameters"), _giga(known.get("macs"))]
        for entry, found in zip(entries, own, strict=True):
            row += _cells(entry["case"], found, entry["rivals"][reference])
        rows.append(row)
    return headers, rows


def _cells(case, found, reference):
    """Time, ratio and memory of a network in a case, or the reason why there is none."""
    if "failure" in found:
        return [_reason(found["failure"]), "-", "-"]
    low, middle, high = (value / time_per(case)[0] for value in quartiles(found["ns"]))
    ratio = "-"
    if "ns" in reference:
        ratio = f"{quartiles(found['ns'])[1] / quartiles(reference['ns'])[1]:.2f}"
    return [_spread(low, middle, high), ratio, _megabytes(found["peak_bytes"])]


def scaling_rows(curves, title):
    """Headings and a row per network and point: work, time, exponent, speed and memory."""
    rows = []
    for network, points in curves.items():
        for point, exponent in zip(points, exponents(points), strict=True):
            row = [network, point.value, _giga(point.work)]
            if point.failure:
                rows.append([*row, _reason(point.failure), "-", "-", "-"])
                continue
            speed = "-" if point.work is None else f"{point.work / point.ms[1] / 1e6:.1f}"
            steep = "-" if exponent is None else f"{exponent:.2f}"
            rows.append([*row, _spread(*point.ms), steep, speed, _megabytes(point.peak_bytes)])
    headers = ["network", title, "GMACs a call", "ms a call", "exponent", "GMACs a second", "MB"]
    return headers, rows


def bends_text(curves):
    """Where the curves bend, in a line."""
    found = [
        f"`{network}` at {', '.join(str(point.value) for point in bends(points)) or 'no point'}"
        for network, points in curves.items()
    ]
    return f"Bends: {'; '.join(found)}."


def _facts(result, command):
    """Command, date, machine and versions."""
    rows = [*result["machine"].items(), *result["versions"].items()]
    table = markdown_table(["", result["date"]], [[name, str(value)] for name, value in rows])
    return f"```bash\n{command_text(result, command)}\n```\n\n{table}"


def benchmark_command(result, reference):
    """The command `benchmark`, with the network to compare with if it is not the first."""
    first = result["settings"]["rivals"][0]
    return "keras-deepskip benchmark" + (f" --reference {reference}" if reference != first else "")


def command_text(result, command):
    """The command line that measures the same."""
    settings, cases = result["settings"], [entry["case"] for entry in result["cases"]]
    flags = {
        "rivals": settings["rivals"],
        "modes": dict.fromkeys(case["mode"] for case in cases),
        "sizes": dict.fromkeys(case["size"] for case in cases),
        "batches": dict.fromkeys(case["batch"] for case in cases),
        "repeats": [settings["repeats"]],
        "backend": [settings["backend"]],
        "limit": [f"{settings['limit_s']:g}"],
    }
    words = "".join(f" --{name} {' '.join(map(str, values))}" for name, values in flags.items())
    return f"{command} --out DIR{words}"


def _spread(low, middle, high):
    return f"{short(middle)} ({short(low)}-{short(high)})"


def short(value):
    """Returns three significant digits, or all before the decimal point.

    Example:

    >>> [short(value) for value in (0.01234, 1.2345, 12.345, 123.45, 1234.5)]
    ['0.0123', '1.23', '12.3', '123', '1,234']
    """
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _giga(count):
    return "-" if count is None else f"{count / 1e9:.3g}"


def _megabytes(count):
    return "-" if count is None else f"{count / 1e6:,.0f}"


def _reason(failure):
    return failure.replace("|", "/")  # a bar would end the cell
