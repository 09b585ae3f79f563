"""Where what was exported of a run lies: the paths of the reports, in the run's folder."""

import contextlib
import os
from pathlib import Path
from typing import Any

from keras_deepskip import _files

NOTE = "exports.json"


def note_export(run: Any, report: Path) -> None:
    """Has a run's folder say where a report of `export` or `quantize` lies.

    Args:
        run: the `Run`, or None of a model without one.
        report: the file.
    """
    if run is None:
        return
    path = os.path.abspath(report)
    known = [str(own) for own in noted_exports(run.folder)]
    if path not in known:
        with contextlib.suppress(OSError):  # the folder may be for reading alone
            _files.write_json(run.folder / NOTE, [*known, path])


def noted_exports(folder: Path) -> list[Path]:
    """The reports that a run's folder tells of; some may be gone since."""
    path = folder / NOTE
    if not path.is_file():
        return []
    return _files.read_json(path, "paths of reports", lambda found: [Path(own) for own in found])
