"""The pages of the timings: of networks side by side, of how they scale, of backbones."""

from pathlib import Path

from keras_deepskip.reporting.facts import Remark, Table
from keras_deepskip.reporting.page import Section, Tile, write_page
from keras_deepskip.reporting.spread_charts import cost_chart, course_chart, interval_chart
from keras_deepskip.studies import page_parts
from keras_deepskip.studies.timing import tables
from keras_deepskip.studies.timing.curves import QUANTITIES, curve
from keras_deepskip.studies.timing.measure import by_mode_and_size, quartiles, time_per
from keras_deepskip.studies.timing.timed_networks import TIMED_NETWORKS

FEW_ROUNDS = 5  # of fewer, quartiles say little


def write_comparison_page(result, reference, path):
    """Writes the page of `benchmark`.

    Args:
        result: dict, as `measure` returns it.
        reference: network whose times divide the others'.
        path: of the page.

    Returns:
        The path.
    """
    groups = by_mode_and_size(result)
    sections = [
        Section(
            f"{mode.capitalize()}, {size} × {size}",
            charts=_times(mode, size, entries),
            tables=[_comparison_table(result, mode, size, entries, reference)],
        )
        for (mode, size), entries in groups.items()
    ]
    rivals = result["settings"]["rivals"]
    about = [[name, TIMED_NETWORKS[name].about] for name in rivals]
    known = Table("networks", "What they are", ["network", "is"], about)
    sections.append(Section("The networks", tables=[known]))
    title = "Speed and memory of networks"
    text = f"{len(rivals)} networks, {len(result['cases'])} cases. Ratios are to {reference}."
    command = tables.benchmark_command(result, reference)
    return _written(path, title, text, result, command, sections,
                    _comparison_tiles(result, reference))  # fmt: skip


def write_scaling_page(result, base, path):
    """Writes the page of `scaling`.

    Args:
        result: dict, as `measure` returns it.
        base: dict of the quantities' default values.
        path: of the page.

    Returns:
        The path.
    """
    modes = list(dict.fromkeys(entry["case"]["mode"] for entry in result["cases"]))
    sections = []
    for quantity, title in QUANTITIES.items():
        charts, found = {}, []
        for mode in modes:
            curves = {
                network: curve(result, network, mode, quantity, base)
                for network in result["settings"]["rivals"]
            }
            charts |= _scaling_charts(curves, quantity, title, mode)
            headers, rows = tables.scaling_rows(curves, title)
            name, heading = f"{quantity}_{mode}", f"{mode.capitalize()}, against {title}"
            note = tables.bends_text(curves)
            found.append(page_parts.table(name, heading, headers, rows, note))
        sections.append(Section(f"Against {title}", charts=charts, tables=found))
    text = (
        "Time and memory of a call as one quantity grows and the others stay: a curve bends where "
        "its exponent changes."
    )
    return _written(path, "How networks scale", text, result, "keras-deepskip benchmark --scaling",
                    sections, _common_tiles(result))  # fmt: skip


def write_backbones_page(found, path):
    """Writes the page of `backbones`.

    Args:
        found: the `BackboneTable`.
        path: of the page.

    Returns:
        The path.
    """
    rows = [{"name": row["name"], "cost": row["predict_ms"], "gain": row["parameters"] / 1e6,
             "spread": None} for row in found.rows]  # fmt: skip
    chart = cost_chart(
        "Weights against time", "Each backbone of the deep-skip network a point", rows,
        "milliseconds of a prediction", "weights, millions", "light_vgg16",
    )  # fmt: skip
    headers, body = found.table()
    settings = found.settings
    command = ["keras-deepskip backbones --out DIR"]
    command += [f"--size {settings['size']} --repeats {settings['repeats']}"]
    remarks = [
        Remark("good" if settings["repeats"] >= FEW_ROUNDS else "careful", found.explanation()),
        Remark("unknown", "How well each backbone finds objects is not measured here."),
    ]
    versions = [[name, str(value)] for name, value in found.versions.items()]
    fastest = min(found.rows, key=lambda row: row["predict_ms"])
    lightest = min(found.rows, key=lambda row: row["parameters"])
    tiles = [
        Tile("fastest", f"{fastest['predict_ms']:.0f} ms", fastest["name"]),
        Tile("lightest", f"{lightest['parameters'] / 1e6:.2f} million weights", lightest["name"]),
    ]
    write_page(
        path, title="Backbones of the deep-skip network",
        subtitle=f"{len(found.rows)} backbones: weights, multiply-adds and time of a prediction.",
        tiles=tiles, remarks=remarks,
        sections=[
            Section("Cost", charts={"backbones": chart} if chart else {},
                    tables=[page_parts.table("backbones", "Backbones", headers, body)]),
            Section("Versions, and how to repeat it", commands=[" ".join(command)],
                    tables=[Table("versions", "Versions", ["what", "version"], versions)]),
        ],
    )  # fmt: skip
    return Path(path)


# ---- Their parts ---------------------------------------------------------------------------------


def _written(path, title, text, result, command, sections, tiles):
    machine = [[name, str(value)] for name, value in result["machine"].items()]
    versions = [[name, str(value)] for name, value in result["versions"].items()]
    again = Section(
        "Machine, versions, and how to repeat it",
        tables=[Table("machine", "The machine", ["what", "is"], machine),
                Table("versions", "Versions", ["what", "version"], versions)],
        commands=[tables.command_text(result, command)],
    )  # fmt: skip
    write_page(
        path, title=title, subtitle=f"{text} Measured on {result['date']}.", tiles=tiles,
        remarks=_remarks(result), sections=[*sections, again],
    )  # fmt: skip
    return Path(path)


def _remarks(result):
    rounds = result["settings"]["repeats"]
    text = f"Times are medians, with quartiles, of {rounds} rounds in which networks take turns."
    remarks = [Remark("good" if rounds >= FEW_ROUNDS else "careful", text)]
    failed = sorted(
        {f"{name} ({own['failure']})" for entry in result["cases"]
         for name, own in entry["rivals"].items() if "failure" in own}
    )  # fmt: skip
    if failed:
        remarks.append(Remark("careful", f"Not measured in all cases: {'; '.join(failed)}."))
    remarks.append(Remark("unknown", tables.HOW))
    return remarks


def _common_tiles(result):
    settings = result["settings"]
    return [
        Tile("networks", str(len(settings["rivals"])), f"on {settings['backend']}"),
        Tile("cases", str(len(result["cases"])), f"of {settings['repeats']} rounds"),
    ]


def _comparison_tiles(result, reference):
    """The reference's time and the fastest one's, in the first case of prediction."""
    tiles = _common_tiles(result)
    groups = by_mode_and_size(result)
    if not groups:
        return tiles
    (mode, size), (first, *_) = next(iter(groups.items()))
    part, unit = time_per(first["case"])
    medians = {
        name: quartiles(own["ns"])[1] / part for name, own in first["rivals"].items() if "ns" in own
    }
    where = f"{mode}, {size} × {size}, batch {first['case']['batch']}"
    if reference in medians:
        low, _, high = (value / part for value in quartiles(first["rivals"][reference]["ns"]))
        value = f"{tables.short(medians[reference])} ms"
        spread = f"{tables.short(low)} to {tables.short(high)}"
        tiles.insert(0, Tile(reference, value, f"{unit.removeprefix('ms ')}: {where}", "", spread))
    if medians:
        fastest = min(medians, key=medians.get)
        value = f"{tables.short(medians[fastest])} ms"
        tiles.insert(1, Tile("fastest", value, f"{fastest}: {where}"))
    return tiles


def _times(mode, size, entries):
    """Times, and memory, of all networks by batch."""
    unit = time_per(entries[0]["case"])[1]
    times, memory = [], []
    for entry in entries:
        part, batch = time_per(entry["case"])[0], f"batch {entry['case']['batch']}"
        for name, own in entry["rivals"].items():
            if "ns" not in own:
                continue
            low, middle, high = (value / part for value in quartiles(own["ns"]))
            times.append({"name": name, "kind": batch, "value": middle, "low": low, "high": high})
            if own["peak_bytes"]:
                peak = own["peak_bytes"] / 1e6
                memory.append(
                    {"name": name, "kind": batch, "value": peak, "low": peak, "high": peak}
                )
    where = f"{mode}, {size} × {size}"
    drawn = {
        "times": interval_chart(f"Time: {where}", "Medians, with quartiles", times, unit),
        "memory": interval_chart(f"Memory: {where}", "Peak above what the process held before",
                                 memory, "MB"),
    }  # fmt: skip
    return {f"{mode}_{size}_{name}": own for name, own in drawn.items() if own is not None}


def _comparison_table(result, mode, size, entries, reference):
    headers, rows = tables.comparison_rows(entries, result["settings"]["rivals"], reference)
    note = "x: the median over that of the reference. GMACs: for one image; MB: peak of memory."
    title = f"{mode.capitalize()}, {size} × {size}"
    return page_parts.table(f"{mode}_{size}", title, headers, rows, note)


def _scaling_charts(curves, quantity, title, mode):
    times, memory = [], []
    for network, points in curves.items():
        for point in points:
            if point.failure:
                continue
            low, middle, high = point.ms
            own = {"name": network, "x": point.value}
            times.append({**own, "value": middle, "low": low, "high": high})
            if point.peak_bytes:
                memory.append({**own, "value": point.peak_bytes / 1e6})
    drawn = {
        "time": course_chart(f"Time, {mode}", "Milliseconds of a call, with quartiles", times,
                             title, "ms a call", log=True),
        "memory": course_chart(f"Memory, {mode}", "Peak above what the process held before",
                               memory, title, "MB", log=True),
    }  # fmt: skip
    return {f"{quantity}_{mode}_{name}": own for name, own in drawn.items() if own is not None}
