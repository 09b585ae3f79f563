"""The curves of a report, as Vega-Lite by Altair, drawn by the browser.

Why Vega-Altair, of the libraries that are made for this (measured on 2026-11-29: Altair 6.3 with
vl-convert 1.9, Plotly 7.1, Bokeh 3.9): its script is the smallest, 0.9 MB (Bokeh 1.3 MB, Plotly
4.8 MB); it draws SVG, whose text and colours follow the page's style from light to dark without
being drawn again, and whose marks bear labels for screen readers; and it can evaluate its
expressions without `eval`, so that the page may forbid all scripts but its own. The scripts are
those of the installed package vl-convert (BSD-3), put into the page when it is written.
"""

import dataclasses
import functools

from keras_deepskip import _checks
from keras_deepskip.reporting.figures import SIZES

PIP = '"keras-deepskip[report]"'
# Colours of the page's style, distinct to people with colour-blindness; lines also differ in dashes
LINES = tuple(f"var(--series-{number})" for number in range(1, 7))
DASHES = ([1, 0], [6, 3], [2, 2], [8, 2, 2, 2], [4, 4], [1, 3], [10, 4])
PANELS = (("loss", "Loss"), ("iou", "Pixel IoU"), ("object_f1", "Object F1"))
MOST_CLASSES = 4  # of curves of thresholds
HEIGHT = 230  # pixels of a chart
PADDING = {"left": 5, "top": 5, "right": 16, "bottom": 5}  # the last label of an axis is whole
MOST_POINTS = 2000  # of a cloud of points


@functools.cache
def script():
    """The scripts that draw Vega-Lite, as vl-convert bundles them: a text.

    Raises:
        ImportError: if Altair or vl-convert is not installed.
    """
    altair = _checks.require("altair", PIP, "the report")
    bundler = _checks.require("vl_convert", PIP, "the report")
    own = ".".join(altair.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    known = bundler.get_vegalite_versions()
    text = bundler.javascript_bundle(vl_version=own if own in known else known[-1])
    # Within an HTML page these would end the script, or begin a comment.
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A chart of the page.

    Attributes:
        title: its heading.
        text: what it shows, in a sentence.
        spec: Vega-Lite, a dict fit for JSON.
        height: of what it draws, in pixels: the page keeps that room before it is drawn.
    """

    title: str
    text: str
    spec: dict
    height: int = HEIGHT


def chart_of(rows):
    import altair

    return altair.Chart(altair.Data(values=rows))


def training_charts(history, best_epoch):
    """Loss, pixel IoU and object F1 against epochs, of training and validation.

    Args:
        history: the rows of `history.csv`.
        best_epoch: number of the epoch whose model was kept, or None.

    Returns:
        A dict of `Drawing` by name.

    Example:

    >>> list(training_charts([{"epoch": 1, "loss": 1.0, "val_loss": 1.1}], best_epoch=1))
    ['training_loss']
    """
    import altair as alt

    found = {}
    for name, title in PANELS:
        rows = [
            {"epoch": row["epoch"], "part": part, "value": row[key]}
            for part, key in (("training", name), ("validation", f"val_{name}"))
            for row in history
            if row.get(key) is not None
        ]
        if not rows:
            continue
        scale = alt.Scale(zero=False) if name == "loss" else alt.Scale(domain=[0, 1])
        text = f"{title} of training and validation, by epoch"
        lines = chart_of(rows).mark_line(point=len(history) < 60, clip=True)
        layers = [
            lines.encode(
                x=alt.X("epoch:Q", axis=alt.Axis(tickMinStep=1, title="epoch", format="d")),
                y=alt.Y("value:Q", scale=scale, title=None),
                **series("part", ("training", "validation")),
                tooltip=["part:N", "epoch:Q", alt.Tooltip("value:Q", format=".3f")],
            )
        ]
        if best_epoch:
            layers.append(_rule([{"epoch": best_epoch, "text": "kept"}], "epoch"))
        found[f"training_{name}"] = drawn(title, text, layers)
    return found


def threshold_charts(curve, threshold, class_names=None):
    """Recall, precision and F1 of objects and IoU of pixels against the threshold, by class.

    A line marks the operating point. Of more than four classes the first four have a chart.

    Args:
        curve: `Run.operating_curve`.
        threshold: the one that was chosen.
        class_names: dict of names by class id, or None.

    Returns:
        A dict of `Drawing` by name.
    """
    import altair as alt

    found = {}
    classes = sorted({row["class"] for row in curve})[:MOST_CLASSES]
    for class_id in classes:
        rows = [
            {"threshold": row["threshold"], "figure": name, "value": row[name]}
            for name in ("recall", "precision", "f1")
            for row in curve
            if row["class"] == class_id
        ]
        name = (class_names or {}).get(class_id, f"class {class_id}")
        title = "Threshold" + (f": {name}" if len(classes) > 1 else "")
        text = "Recall, precision and F1 of validation objects by threshold, and the chosen one"
        lines = chart_of(rows).mark_line(point=True).encode(
            x=alt.X("threshold:Q", scale=alt.Scale(domain=[0, 1]), title="threshold"),
            y=alt.Y("value:Q", scale=alt.Scale(domain=[0, 1]), title=None),
            **series("figure", ("recall", "precision", "f1")),
            tooltip=["figure:N", "threshold:Q", alt.Tooltip("value:Q", format=".3f")],
        )  # fmt: skip
        chosen = _rule([{"threshold": threshold, "text": f"chosen: {threshold:g}"}], "threshold")
        found[f"threshold_{class_id}"] = drawn(title, text, [lines, chosen])
    return found


def recall_chart(rows):
    """Recall by size of object, with intervals of 95 %; see `recall_rows`."""
    import altair as alt

    text = "Share of the true objects that were found, by their size, with intervals of 95 %"
    chart = chart_of(rows)
    axis = alt.Axis(labelAngle=0, labelExpr="split(datum.label, ' to ')")
    x = alt.X("size:N", sort=list(SIZES), title="pixels", axis=axis)
    y = alt.Y("recall:Q", scale=alt.Scale(domain=[0, 1]), title="recall")
    tooltip = [
        "size:N", "found:Q", "true:Q", *_shares("recall", "low", "high"),
    ]  # fmt: skip
    bars = chart.mark_bar(color=LINES[0], opacity=0.85, size=34).encode(x=x, y=y, tooltip=tooltip)
    spread = chart.mark_rule(color="var(--ink)", strokeWidth=1.5).encode(
        x=x, y="low:Q", y2="high:Q", tooltip=tooltip
    )
    counts = chart.transform_calculate(text="datum.found + ' of ' + datum.true").mark_text(
        baseline="bottom", dy=-4, color="var(--ink)"
    )
    texts = counts.encode(x=x, y=alt.Y("high:Q"), text="text:N")
    return drawn("Recall by object size", text, [bars, spread, texts])


def calibration_chart(rows):
    """What is true against what is said to be so probable; see `Calibration.rows`."""
    import altair as alt

    text = "Share that is true against the predicted probability, of pixels and of objects"
    lines = (
        chart_of(rows)
        .mark_line(point=alt.OverlayMarkDef(size=45))
        .encode(
            x=alt.X("said:Q", scale=alt.Scale(domain=[0, 1]), title="predicted probability"),
            y=alt.Y("true:Q", scale=alt.Scale(domain=[0, 1]), title="share that is true"),
            **series("kind", ("pixels", "objects")),
            tooltip=["kind:N", "count:Q", *_shares("said", "true")],
        )
    )
    ends = alt.Chart(alt.Data(values=[{"a": 0}, {"a": 1}]))
    return drawn("Calibration", text, [_diagonal(ends), lines])


def count_chart(images):
    """Objects predicted against objects that are there, an image a point.

    Args:
        images: list of `ImageCounts`.
    """
    import altair as alt

    rows = []
    for image in images[:MOST_POINTS]:
        found, missed, false = image.objects.sum(axis=0).tolist()
        rows.append({"image": image.name, "true": found + missed, "predicted": found + false})
    most = max([1, *(max(row["true"], row["predicted"]) for row in rows)])
    scale = alt.Scale(domain=[0, most], nice=True)
    axis = alt.Axis(tickMinStep=1, format="d")
    text = "Number of predicted objects against the number of true ones, an image a point"
    points = chart_of(rows).mark_point(color=LINES[0], filled=True, opacity=0.7, size=55)
    points = points.encode(
        x=alt.X("true:Q", scale=scale, title="true objects", axis=axis),
        y=alt.Y("predicted:Q", scale=scale, title="predicted objects", axis=axis),
        tooltip=["image:N", "true:Q", "predicted:Q"],
    )
    ends = alt.Chart(alt.Data(values=[{"a": 0}, {"a": most}]))
    return drawn("Count, predicted against true", text, [_diagonal(ends), points])


def _diagonal(ends):
    return ends.mark_line(color="var(--muted)", strokeDash=[4, 4], strokeWidth=1).encode(
        x="a:Q", y="a:Q"
    )


def series(field, names, columns=0):
    """Lines told apart by colour and dashes; `columns` of the legend, 0 for one row."""
    import altair as alt

    legend = alt.Legend(
        title=None, orient="top", symbolType="stroke", symbolSize=400, columns=columns,
        labelLimit=260,
    )  # fmt: skip
    numbers = range(len(names))
    colors = [LINES[number % len(LINES)] for number in numbers]
    dashes = [DASHES[number % len(DASHES)] for number in numbers]
    return {
        "color": alt.Color(
            f"{field}:N", scale=alt.Scale(domain=names, range=colors), legend=legend
        ),
        "strokeDash": alt.StrokeDash(
            f"{field}:N", scale=alt.Scale(domain=names, range=dashes), legend=legend
        ),
    }


def _rule(rows, field):
    """A labelled line across a chart."""
    import altair as alt

    chart = alt.Chart(alt.Data(values=rows)).encode(x=f"{field}:Q")
    line = chart.mark_rule(color="var(--ink)", strokeWidth=1.2)
    text = chart.mark_text(align="left", dx=5, baseline="top", color="var(--ink)")
    return line + text.encode(text="text:N", y=alt.value(4))


def _shares(*names):
    import altair as alt

    return [alt.Tooltip(f"{name}:Q", format=".3f") for name in names]


def drawn(title, text, layers, height=HEIGHT):
    """The `Drawing` of layers, with the type and colours of the page."""
    import altair as alt

    text_colors = {"labelColor": "var(--muted)", "titleColor": "var(--muted)"}
    sizes = {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"}
    lines = {"gridColor": "var(--line)", "domainColor": "var(--line)", "tickColor": "var(--line)"}
    chart = (
        alt.layer(*layers)
        .properties(width="container", height=height, description=text)
        .configure(background="transparent", font="system-ui, sans-serif", padding=PADDING)
        .configure_view(stroke=None)
        .configure_axis(**lines, **text_colors, **sizes)
        .configure_legend(labelColor="var(--ink)", labelFontSize=12, symbolStrokeWidth=2)
    )
    return Drawing(title, text, chart.to_dict(), height)
