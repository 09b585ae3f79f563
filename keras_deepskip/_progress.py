"""Progress of long work: a bar with the time left on a terminal, plain lines elsewhere."""

import contextlib
import os
import sys
import time

import keras

REDRAW_S = 0.1  # least seconds between two pictures of a bar
LINE_S = 30.0  # and between two lines


def resolve_verbose(verbose="auto"):
    """Returns Keras's `verbose`: `"auto"` is 1, a bar, where one can be redrawn; else 2, lines.

    Example:

    >>> resolve_verbose(0)
    0
    """
    if verbose != "auto":
        return int(verbose)
    return 1 if _on_terminal() or _in_notebook() else 2


def shown_as(verbose="auto"):
    """How progress is shown: as `"bar"`, by Rich, as `"keras"`, in notebooks, `"lines"`, or None.

    Example:

    >>> shown_as(2)
    'lines'
    """
    verbose = resolve_verbose(verbose)
    if verbose == 1 and _on_terminal():
        return "bar"
    if verbose == 1 and _in_notebook():
        return "keras"
    return "lines" if verbose else None


def _on_terminal():
    """Whether what is printed goes to a terminal that can redraw a line."""
    dumb = os.environ.get("TERM", "").lower() in ("dumb", "unknown")
    return sys.stdout is not None and sys.stdout.isatty() and not dumb


def _in_notebook():
    """Whether this runs in a kernel of Jupyter (and has not only imported one)."""
    ipython = sys.modules.get("IPython")
    return hasattr(ipython.get_ipython() if ipython else None, "kernel")


def say(text):
    """Writes a line about the progress of long work, if there is anywhere to write it."""
    if sys.stdout is None:
        return
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def duration(seconds):
    """Seconds as people read them.

    Example:

    >>> [duration(seconds) for seconds in (0.002, 3.14, 59.6, 90, 5400)]
    ['0.1 s', '3.1 s', '60 s', '1.5 min', '1.5 h']
    """
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 9.95 else f"{max(seconds, 0.1):.1f} s"
    if seconds < 3600:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


@contextlib.contextmanager
def progress(total, verbose="auto", what="Done", unit="image", done=0):
    """Shows how much of some work is done, while its block lasts.

    Args:
        total: number of steps.
        verbose: 0 shows nothing; 1 a bar with the time left where one can be redrawn, 2 lines at
            intervals; both end with a line; `"auto"` chooses.
        what: the word for what is done, such as `"Read"`.
        unit: what one step is.
        done: number of steps that were done before.

    Yields:
        A function of the number of steps that are done by now.

    Example:

    >>> with progress(2, verbose=2, what="Read") as show:
    ...     show(1)
    ...     show(2)
    Read 2/2 images in ... s
    """
    how = shown_as(verbose) if total else None
    if how is None:
        yield lambda number: None
        return
    if how == "keras":
        yield keras.utils.Progbar(total, unit_name=unit).update
        return
    clock, whole = Clock(total, done), not _open
    with Bar(total) if how == "bar" else Lines() as shown:

        def show(number):
            clock.number = number
            shown.show(number, what, clock.text(unit))

        show(done)
        yield show
    if whole:  # not a part of other work that is shown
        say(f"{what} {clock.number:,}/{total:,} {unit}s in {duration(clock.seconds)}")


class Clock:
    """How many steps are done, in what time, and what time is left.

    Args:
        total: number of steps.
        done: number of steps that were done before.

    Attributes:
        number: of the steps that are done by now.
    """

    def __init__(self, total, done=0):
        self.total, self.before, self.number = total, done, done
        self._begun = time.perf_counter()

    @property
    def seconds(self):
        """Since it was made."""
        return time.perf_counter() - self._begun

    @property
    def left(self):
        """Seconds that are left, if the rest is as fast as what was done; None if not known."""
        own = self.number - self.before
        return self.seconds / own * (self.total - self.number) if own > 0 else None

    def text(self, unit):
        """How many steps are done, and the time left."""
        text = f"{self.number:,}/{self.total:,} {unit}s"
        if self.left is None or self.number >= self.total:
            return text
        return f"{text}, about {duration(self.left)} left"


_open: list["Bar | Lines"] = []  # the bars and lines that are shown, each within the one before


class Lines:
    """Lines about long work, at intervals that grow with the time that has passed.

    Args:
        least: seconds between two lines; of long work it is a tenth of the time that has passed.
    """

    def __init__(self, least=LINE_S):
        self.least = least
        self._begun = self._last = time.perf_counter()

    def __enter__(self):
        _open.append(self)
        return self

    def __exit__(self, *error):
        _open.remove(self)

    def show(self, number, before, after):
        """Says where the work is, unless it was said a short time ago."""
        now = time.perf_counter()
        if now - self._last >= max(self.least, (now - self._begun) / 10):
            self._last = now
            say(f"{before} {after}")


class Bar:
    """A bar on a terminal, by Rich, that vanishes when its block ends.

    It is redrawn when it is told something: a thread that redraws would be copied, with its locks,
    into processes that the work forks. Within the block of another bar it stands below that one.

    Args:
        total: number of steps.
    """

    def __init__(self, total):
        self.total, self._drawn = total, -REDRAW_S

    def __enter__(self):
        outer = next((own for own in _open if isinstance(own, Bar)), None)
        self._display = outer._display if outer else _display()
        self._task = None
        _open.append(self)
        return self

    def __exit__(self, *error):
        _open.remove(self)
        if self._task is not None:
            self._display.remove_task(self._task)
        if not any(isinstance(own, Bar) for own in _open):
            self._display.stop()

    def show(self, number, before, after):
        """Draws the bar with this number of steps done, unless it was drawn just now."""
        now = time.perf_counter()
        if now - self._drawn < REDRAW_S:
            return
        self._drawn = now
        if self._task is None:
            self._task = self._display.add_task(before, total=self.total, after=after)
            self._display.start()  # which it may have been
        self._display.update(self._task, completed=number, description=before, after=after)
        self._display.refresh()


def _display():
    """What draws bars where standard output goes to a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    # What is printed meanwhile stands above; so do errors, unless they go elsewhere.
    return Progress(
        TextColumn("{task.description}", markup=False), BarColumn(24),
        TextColumn("{task.fields[after]}", markup=False),
        console=Console(file=sys.stdout, highlight=False), auto_refresh=False, transient=True,
        redirect_stderr=sys.stderr is not None and sys.stderr.isatty(),
    )  # fmt: skip
