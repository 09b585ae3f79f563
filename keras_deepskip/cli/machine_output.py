"""`--json`: what a command found as one JSON document on standard output, for programs."""

import contextlib
import dataclasses
import json
import math
import sys
from collections.abc import Mapping
from typing import Any

from keras_deepskip.cli.ending import Ending


@dataclasses.dataclass(frozen=True)
class Result:
    """What a command gives.

    Attributes:
        facts: what programs get: a dict fit for JSON, but for NaN and paths.
        status: of the process.
        ending: what people read, or None.
    """

    facts: Mapping[str, Any]
    status: int = 0
    ending: Ending | None = None


@contextlib.contextmanager
def words_to_errors(wanted):
    """Has all that is printed for people go to standard error, if `wanted`."""
    with contextlib.redirect_stdout(sys.stderr) if wanted else contextlib.nullcontext():
        yield


def json_text(command, status, facts):
    """The document: the command, its status, and what it found; null for what is no number."""
    document = {"command": command, "status": status, **facts}
    return json.dumps(_plain(document), indent=2, allow_nan=False)


def _plain(value):
    if isinstance(value, Mapping):
        return {str(name): _plain(own) for name, own in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(own) for own in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float):
        return value
    return value.item() if hasattr(value, "item") else str(value)
