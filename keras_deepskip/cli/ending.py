"""How a command ends: what was found in one table, where it lies, and what to do next.

On a terminal Rich sets the table into its width; elsewhere it is Markdown, and lines stay whole.
"""

import dataclasses
import math
import re
import shlex
import sys

from keras_deepskip._tables import markdown_table

NUMBER = re.compile(r"-|[-+]?[\d.,]+(e[-+]\d+)?( %)?")  # a cell that is set to the right


@dataclasses.dataclass(frozen=True)
class Ending:
    """What a command says when it is done.

    Attributes:
        title: what the table is of, in a line; or "".
        headers, rows: the table; no headers, no table.
        notes: lines below it.
        wrote: pairs of a path and what it is ("" where the name says it).
        following: what to do next: the words of a command, or a text; None says nothing.
    """

    title: str = ""
    headers: tuple = ()
    rows: tuple | list = ()
    notes: tuple | list = ()
    wrote: tuple | list = ()
    following: tuple | list | str | None = None

    def next_text(self):
        """What to do next as a line."""
        words = self.following
        return words if isinstance(words, str) else shlex.join(str(word) for word in words)


def keras_deepskip(*words):
    """The words of a command of this package; None are left out."""
    return ["keras-deepskip", *(word for word in words if word is not None)]


def show(ending):
    """Prints an `Ending`."""
    rows = [[cell_text(cell) for cell in row] for row in ending.rows]
    columns = zip(*rows, strict=True) if rows else [()] * len(ending.headers)
    right = [bool(column) and all(map(NUMBER.fullmatch, column)) for column in columns]
    if ending.title:
        _print_text(f"\n{ending.title}\n")
    if ending.headers and sys.stdout.isatty():
        _print_table(ending.headers, rows, right)
    elif ending.headers:
        print(markdown_table(list(ending.headers), rows, right))
    if ending.headers and ending.notes:
        print()
    for note in ending.notes:
        _print_text(note)
    if ending.headers or ending.notes:
        print()
    # Whole lines, which can be copied
    for path, what in ending.wrote:
        print(f"Wrote {printable(path)}" + (f" ({what})" if what else ""))
    if ending.following is not None:
        print(f"Next: {printable(ending.next_text())}")
    sys.stdout.flush()


def _print_text(text):
    """Prints a text; on a terminal no line ends within a word."""
    if not sys.stdout.isatty():
        print(printable(text))
        return
    from rich.console import Console
    from rich.text import Text

    Console(file=sys.stdout, highlight=False).print(Text(printable(text)))


def _print_table(headers, rows, right):
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for header, is_right in zip(headers, right, strict=True):
        table.add_column(Text(header), justify="right" if is_right else "left")
    for row in rows:
        table.add_row(*map(Text, row))  # as texts: no name of a file is markup
    Console(file=sys.stdout, highlight=False).print(table)


def cell_text(value):
    """A cell as people read it.

    Example:

    >>> [cell_text(value) for value in (1234, 0.51234, 1234.56, float("nan"), None, "a")]
    ['1,234', '0.512', '1,234.6', '-', '-', 'a']
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 100 else f"{value:,.1f}"
    return printable(value)


def printable(value):
    """A text that a terminal only shows: what would steer it (in names of files) is spelled out.

    Example:

    >>> printable("a\\x1b[2J.png")
    'a\\\\x1b[2J.png'
    """
    return "".join(
        sign if sign.isprintable() or sign == "\n" else sign.encode("unicode_escape").decode()
        for sign in str(value)
    )
