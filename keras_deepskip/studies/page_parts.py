"""What the pages of studies share: cells, pictures, and what is said where no page can be made."""

import io
import re
import textwrap

import numpy as np

from keras_deepskip import _checks
from keras_deepskip.reporting.charts import PIP
from keras_deepskip.reporting.facts import Cell, Table
from keras_deepskip.reporting.folds_report import NEEDED
from keras_deepskip.reporting.page import Picture
from keras_deepskip.reporting.shown import data_uri, within

# A number, with its spread, its range or its unit behind it: the column is sorted by the number.
MEASURED = re.compile(r"<?([-+]?[\d,]*\.?\d+)( ± .*| \(.*\)| to .*| G)?")
WRAPPED = 27  # letters of a line of a name beside a chart
MOST_BYTES = 1_500_000  # of a picture


def written(write, log):
    """Has a page be written, and says where it is, or which packages it needs.

    Args:
        write: function without arguments that writes it and returns its path.
        log: function that takes a line.
    """
    try:
        for package in NEEDED:
            _checks.require(package, PIP, "the page of a study")
        log(f"Wrote {write()}")
    except ImportError as error:
        log(f"Wrote no page: {error}")


def cell(value):
    """A cell of a table of Markdown as one that is sorted by its number.

    Example:

    >>> cell("0.845 ± 0.008").value, cell("+0.019").value, cell("-"), cell("ours")
    (0.845, 0.019, None, 'ours')
    """
    if value == "-":
        return None
    found = MEASURED.fullmatch(value) if isinstance(value, str) else None
    return value if found is None else Cell(value, float(found[1].replace(",", "")))


def table(name, title, columns, rows, note=""):
    """A table of a page, of the cells of one of Markdown."""
    return Table(name, title, list(columns), [list(map(cell, row)) for row in rows], note)


def wrapped(name):
    """A name on several lines, for the axis of a chart."""
    return textwrap.fill(name, WRAPPED)


def picture(png, title, text):
    """A picture that a page holds, of the bytes of a PNG."""
    from PIL import Image

    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    return Picture(title, text, data_uri(within(pixels, MOST_BYTES)), *pixels.shape[1::-1])
