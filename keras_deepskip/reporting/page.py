"""The page of a report: a template of Jinja2, filled in, with all that it needs inside.

Whatever comes from a file or a name is text: Jinja2 escapes it in HTML, `tojson` in the blocks of
data, and the page's script sets it as text. The page says so to the browser too: its policy allows
the page's own scripts, known by their digests, and pictures that lie in it; no other script, no
`eval` and no address on the network.
"""

import base64
import dataclasses
import hashlib
from importlib import resources
from pathlib import Path

from keras_deepskip import _checks, _files
from keras_deepskip.reporting import charts as drawing

TEMPLATE, STYLE, SCRIPT = "report.html.jinja", "report.css", "report.js"
MARKS = {"good": "✓", "careful": "!", "unknown": "?"}


NO_GALLERY: dict = {"images": [], "seen": 0, "judged": False, "predicted": False,
                    "classes": [], "sizes": []}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture of the page.

    Attributes:
        title: its heading.
        text: what it shows, in a sentence; who cannot see it reads that.
        source: an address that holds it (`shown.data_uri`).
        width, height: in pixels.
    """

    title: str
    text: str
    source: str
    width: int
    height: int


@dataclasses.dataclass
class Section:
    """A section of the page.

    Attributes:
        heading: its heading.
        charts: dict of `charts.Drawing` by name.
        tables: list of `facts.Table`.
        pictures: list of `Picture`.
        texts: shown as they are.
        commands: command lines.
    """

    heading: str
    charts: dict = dataclasses.field(default_factory=dict)
    tables: list = dataclasses.field(default_factory=list)
    texts: list[str] = dataclasses.field(default_factory=list)
    commands: list[str] = dataclasses.field(default_factory=list)
    pictures: list[Picture] = dataclasses.field(default_factory=list)

    @property
    def holds_anything(self):
        """Whether there is anything to show."""
        kinds = (self.charts, self.tables, self.pictures, self.texts, self.commands)
        return any(kinds)


@dataclasses.dataclass(frozen=True)
class Tile:
    """A figure of the first screen.

    Attributes:
        name: what it is of.
        value: the figure.
        text: what it is a part of.
        kind: `"found"`, `"missed"`, `"false"`, `"predicted"` or "", which gives its sign.
        spread: its share and interval, or "".
    """

    name: str
    value: str
    text: str
    kind: str = ""
    spread: str = ""


def check_page(path):
    """Returns the path of a page, before the work for it begins.

    Raises:
        ValueError: if it is a folder.
    """
    if Path(path).is_dir():
        raise ValueError(
            "`out` must be the path of a page, a file. Received: "
            f"out={str(path)!r}, a folder. Add a name, such as {str(Path(path, 'report.html'))!r}"
        )
    return Path(path)


def write_page(path, *, title, subtitle, tiles, remarks, sections, gallery=NO_GALLERY):
    """Writes the page, whole or not at all.

    Args:
        path: of the page.
        title, subtitle: what it is, and on what.
        tiles: list of `Tile`.
        remarks: list of `facts.Remark`.
        sections: list of `Section`; those that hold nothing are left out.
        gallery: what `Gallery.contents` gives.
    """
    jinja2 = _checks.require("jinja2", drawing.PIP, "the report")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("keras_deepskip.reporting", "template"),
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["number"] = number
    sections = [section for section in sections if section.holds_anything]
    charts = {name: own for section in sections for name, own in section.charts.items()}
    files = resources.files("keras_deepskip.reporting") / "template"
    style, own = ((files / name).read_text(encoding="utf-8") for name in (STYLE, SCRIPT))
    scripts = [drawing.script(), own] if charts else [own]
    text = environment.get_template(TEMPLATE).render(
        title=title, subtitle=subtitle, tiles=tiles, remarks=remarks, gallery=gallery,
        sections=sections, specs={name: own.spec for name, own in charts.items()}, marks=MARKS,
        style=style, scripts=scripts, policy=_policy(scripts),
    )  # fmt: skip
    _files.write_text(path, text)


def _policy(scripts):
    """The Content-Security-Policy of a page with these scripts."""
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    allowed = " ".join(f"'sha256-{base64.b64encode(own).decode()}'" for own in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def number(value):
    """A number as a table shows it; None is a dash.

    Example:

    >>> number(1234), number(0.51234), number(2.1e-7), number(None)
    ('1,234', '0.512', '2.1e-07', '–')
    """
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.1e}" if 0 < abs(value) < 1e-3 else f"{value:,.3f}"
