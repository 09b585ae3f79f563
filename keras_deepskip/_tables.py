"""Tables as text: Markdown that also reads well in a terminal."""


def markdown_table(headers, rows, right=None):
    """Returns a Markdown table with padded columns; numbers are set to the right.

    Args:
        headers: texts.
        rows: lists of texts and numbers; None is a dash.
        right: for each column, whether it is set to the right; None: those of numbers alone.

    Example:

    >>> print(markdown_table(["level", "kernels"], [["1", 584], ["all", 1168]]))
    | level | kernels |
    |-------|--------:|
    | 1     |     584 |
    | all   |   1,168 |
    """
    cells = [[_text(cell) for cell in row] for row in rows]
    widths = [
        max(len(line[column]) for line in [headers, *cells]) for column in range(len(headers))
    ]
    numeric = right or [
        bool(rows) and all(isinstance(row[column], int | float | None) for row in rows)
        for column in range(len(headers))
    ]

    def line(values):
        padded = (
            value.rjust(width) if right else value.ljust(width)
            for value, width, right in zip(values, widths, numeric, strict=True)
        )
        return "| " + " | ".join(padded) + " |"

    rule = (
        "-" * (width + 1) + (":" if right else "-")
        for width, right in zip(widths, numeric, strict=True)
    )
    return "\n".join([line(headers), "|" + "|".join(rule) + "|", *map(line, cells)])


def _text(value):
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
