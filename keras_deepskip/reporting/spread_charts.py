"""Charts of figures that were measured several times: their spread, their cost, their course."""

import math
import statistics

from keras_deepskip.reporting.charts import HEIGHT, LINES, chart_of, drawn, series

COST_HEIGHT = 290  # pixels of a chart of costs
ROW = 30  # pixels of a line of dots
WIDTH, LETTER, LINE = 330, 6.6, 15  # pixels that labels are placed by: chart, letter, line of text


def spread_chart(title, text, rows, unit, highlighted=None, domain=None):
    """Dots of each measurement, their mean, and one standard deviation to either side.

    Args:
        title, text: its heading, and what it shows.
        rows: dicts of `name`, `value` and `of`, what the measurement is of (a seed, a fold); those
            whose value is None are left out.
        unit: title of the axis.
        highlighted: name whose mean is a line across all, or None.
        domain: ends of the axis; None takes those of the values.

    Returns:
        A `Drawing`, or None if there is nothing to show.
    """
    import altair as alt

    rows = [row for row in rows if row["value"] is not None]
    names = list(dict.fromkeys(row["name"] for row in rows))
    if not rows:
        return None
    means = [_mean(name, [row["value"] for row in rows if row["name"] == name]) for name in names]
    scale = alt.Scale(domain=domain) if domain else _scale(log=False, padding=8)
    y = alt.Y("name:N", sort=names, title=None, axis=_names_axis())
    x = alt.X("value:Q", scale=scale, title=unit)
    color = alt.condition(
        alt.datum.name == highlighted, alt.value(LINES[0]), alt.value(LINES[2])
    ) if highlighted else alt.value(LINES[0])  # fmt: skip
    told = ["name:N", alt.Tooltip("mean:Q", format=".3f"), "spread:N", "count:Q"]
    lines = chart_of(means).mark_rule(strokeWidth=2).encode(
        x=alt.X("low:Q", scale=scale, title=unit), x2="high:Q", y=y, color=color, tooltip=told
    )  # fmt: skip
    centres = chart_of(means).mark_point(filled=True, size=90, opacity=1).encode(
        x=alt.X("mean:Q", scale=scale), y=y, color=color, tooltip=told
    )  # fmt: skip
    dots = chart_of(rows).mark_point(size=40, opacity=0.75, strokeWidth=1.4).encode(
        x=x, y=y, color=color,
        tooltip=["name:N", "of:N", alt.Tooltip("value:Q", format=".3f")],
    )  # fmt: skip
    layers = [lines, dots, centres]
    if highlighted in names:
        own = means[names.index(highlighted)]
        rule = chart_of([own]).mark_rule(strokeDash=[3, 4], color="var(--muted)")
        layers.insert(0, rule.encode(x=alt.X("mean:Q", scale=scale)))
    return drawn(title, text, layers, max(ROW * len(names), 60))


def _mean(name, values):
    mean = statistics.fmean(values)
    deviation = statistics.stdev(values) if len(values) > 1 else None
    reach = deviation or 0.0
    return {
        "name": name, "mean": mean, "low": mean - reach, "high": mean + reach, "count": len(values),
        "spread": "" if deviation is None else f"± {deviation:.3f}",
    }  # fmt: skip


def cost_chart(title, text, rows, cost, gain, highlighted=None, log=True):
    """What is gained against what it costs, a name a point, with the spread of the gain.

    A name stands beside its point where there is room; all are told by pointing at them.

    Args:
        title, text: its heading, and what it shows.
        rows: dicts of `name`, `cost`, `gain`, and `spread` (a standard deviation or None).
        cost, gain: titles of the axes.
        highlighted: name that is shown in another colour.
        log: whether costs grow by factors.

    Returns:
        A `Drawing`, or None if there are fewer than two points.
    """
    import altair as alt

    known = [row for row in rows if row["cost"] is not None and row["gain"] is not None]
    if len(known) < 2:
        return None
    points = []
    for row in known:
        reach = row["spread"] or 0.0
        points.append({**row, "low": row["gain"] - reach, "high": row["gain"] + reach})
    axis = alt.Axis(format="~s", tickCount=4, labelOverlap=True)
    x = alt.X("cost:Q", scale=_scale(log, padding=14), title=cost, axis=axis)
    ends = alt.Scale(zero=False, nice=True, padding=14)
    color = alt.condition(
        alt.datum.name == highlighted, alt.value(LINES[0]), alt.value(LINES[2])
    )  # fmt: skip
    told = ["name:N", alt.Tooltip("cost:Q", format=",.4~r"), alt.Tooltip("gain:Q", format=".3f")]
    base = chart_of(points)
    layers = [
        base.mark_rule(strokeWidth=1.6).encode(
            x=x, y=alt.Y("low:Q", scale=ends, title=gain), y2="high:Q", color=color, tooltip=told
        ),
        base.mark_point(filled=True, size=80, opacity=1).encode(
            x=x, y=alt.Y("gain:Q", scale=ends), color=color, tooltip=told
        ),
    ]
    for (align, dx, dy), own in _beside(points, log, highlighted).items():
        label = chart_of(own).mark_text(align=align, dx=dx, dy=dy, fontSize=11, color="var(--ink)")
        layers.append(label.encode(x=x, y=alt.Y("gain:Q", scale=ends), text="name:N"))
    return drawn(title, text, layers, COST_HEIGHT)


def _scale(log, **settings):
    """A scale that need not begin at 0."""
    import altair as alt

    kind = {"type": "log", "nice": False} if log else {"zero": False, "nice": True}
    return alt.Scale(**kind, **settings)


def _names_axis():
    """An axis of names; those of several lines stand on several lines."""
    import altair as alt

    return alt.Axis(labelLimit=180, domain=False, labelExpr="split(datum.label, '\\n')")


def _beside(points, log, first):
    """Where names have room beside their points: a dict from alignment and shift to points."""

    costs = [math.log(p["cost"]) if log and p["cost"] > 0 else p["cost"] for p in points]
    each = 0.88 * WIDTH / ((max(costs) - min(costs)) or 1)
    xs = [0.06 * WIDTH + each * (cost - min(costs)) for cost in costs]
    lows, highs = [p["low"] for p in points], [p["high"] for p in points]
    unit = 0.88 * COST_HEIGHT / ((max(highs) - min(lows)) or 1)
    ys = [COST_HEIGHT * 0.94 - unit * (p["gain"] - min(lows)) for p in points]
    reaches = [unit * (p["high"] - p["gain"]) for p in points]
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in zip(xs, ys, strict=True)]
    bars = [(x - 2, y - up, x + 2, y + up) for x, y, up in zip(xs, ys, reaches, strict=True)]
    found = {}
    order = sorted(range(len(points)), key=lambda at: points[at]["name"] != first)
    for point, x, y in ((points[at], xs[at], ys[at]) for at in order):
        wide = LETTER * len(point["name"])
        places = {
            ("left", 9, 0): (x + 9, y - 7), ("right", -9, 0): (x - 9 - wide, y - 7),
            ("left", 6, -13): (x + 6, y - 20), ("left", 6, 14): (x + 6, y + 7),
            ("right", -6, -13): (x - 6 - wide, y - 20), ("right", -6, 14): (x - 6 - wide, y + 7),
        }  # fmt: skip
        boxes = {at: (left, top, left + wide, top + LINE) for at, (left, top) in places.items()}
        boxes = {at: box for at, box in boxes.items() if box[0] >= -4 and box[2] <= WIDTH + 10}
        # Where no place is clear of the bars too, a name may cross one, but no point or name.
        free = [at for others in ([*taken, *bars], taken) for at, box in boxes.items()
                if not any(_overlap(box, other) for other in others)]  # fmt: skip
        if free:
            taken.append(boxes[free[0]])
            found.setdefault(free[0], []).append(point)
    return found


def _overlap(a, b):
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def course_chart(title, text, rows, x_title, y_title=None, domain=None, log=False):
    """Lines, a name a line, told apart by colour and dashes, with a band where it is known.

    Args:
        title, text: its heading, and what it shows.
        rows: dicts of `name`, `x`, `value`, and `low` and `high` of the band, or without these.
        x_title, y_title: titles of the axes.
        domain: ends of the vertical axis; None takes those of the values.
        log: whether both axes grow by factors.

    Returns:
        A `Drawing`, or None if there is nothing to show.
    """
    import altair as alt

    rows = [row for row in rows if row["value"] is not None]
    if not rows:
        return None
    names = list(dict.fromkeys(row["name"] for row in rows))
    across = _scale(log)
    up = alt.Scale(domain=domain) if domain else _scale(log)
    values = sorted({row["x"] for row in rows}) if log else None
    axis = alt.Axis(values=values, format="~g") if log else alt.Axis()
    x = alt.X("x:Q", scale=across, title=x_title, axis=axis)
    y = alt.Y("value:Q", scale=up, title=y_title)
    told = ["name:N", alt.Tooltip("x:Q", title=x_title), alt.Tooltip("value:Q", format=".4~r")]
    lines = chart_of(rows).mark_line(point=log, strokeWidth=2).encode(
        x=x, y=y, **series("name", names, 1 if max(map(len, names)) > 24 else 3), tooltip=told
    )  # fmt: skip
    layers = [lines]
    if all("low" in row for row in rows):
        colors = [LINES[number % len(LINES)] for number in range(len(names))]
        band = chart_of(rows).mark_area(opacity=0.15).encode(
            x=x, y=alt.Y("low:Q", scale=up), y2="high:Q",
            color=alt.Color("name:N", scale=alt.Scale(domain=names, range=colors), legend=None),
        )  # fmt: skip
        layers.insert(0, band)
    return drawn(title, text, layers, HEIGHT + 40)


def interval_chart(title, text, rows, unit, log=True):
    """Times with their intervals, a name a line, a kind a colour and shape.

    Args:
        title, text: its heading, and what it shows.
        rows: dicts of `name`, `kind`, `value`, `low`, `high`.
        unit: title of the axis.
        log: whether values grow by factors.

    Returns:
        A `Drawing`, or None if there is nothing to show.
    """
    import altair as alt

    if not rows:
        return None
    names, kinds = (list(dict.fromkeys(row[key] for row in rows)) for key in ("name", "kind"))
    scale = _scale(log, padding=10)
    axis = alt.Axis(format="~g", tickCount=5, labelOverlap=True)
    y = alt.Y("name:N", sort=names, title=None, axis=_names_axis())
    offset = alt.YOffset("kind:N", sort=kinds)
    colors = [LINES[number % len(LINES)] for number in range(len(kinds))]
    color = alt.Color("kind:N", scale=alt.Scale(domain=kinds, range=colors),
                      legend=alt.Legend(title=None, orient="top"))  # fmt: skip
    shape = alt.Shape(
        "kind:N", scale=alt.Scale(domain=kinds), legend=alt.Legend(title=None, orient="top")
    )
    told = [
        "name:N",
        "kind:N",
        *(alt.Tooltip(f"{n}:Q", format=".4~r") for n in ("value", "low", "high")),
    ]
    base = chart_of(rows)
    layers = [
        base.mark_rule(strokeWidth=2).encode(
            x=alt.X("low:Q", scale=scale, title=unit, axis=axis), x2="high:Q", y=y, yOffset=offset,
            color=color, tooltip=told,
        ),
        base.mark_point(filled=True, size=70, opacity=1).encode(
            x=alt.X("value:Q", scale=scale), y=y, yOffset=offset, color=color, shape=shape,
            tooltip=told,
        ),
    ]  # fmt: skip
    return drawn(title, text, layers, max(len(names) * (16 + 12 * len(kinds)), 60))
