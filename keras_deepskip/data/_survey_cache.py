"""Where a survey is kept between commands: a file that is never trusted over the images."""

import contextlib
import hashlib
import json
import os
import time
from pathlib import Path

from keras_deepskip._files import write_text
from keras_deepskip._versions import versions
from keras_deepskip.data._limits import max_pixels
from keras_deepskip.data.masks import MaskReading

CACHE_VARIABLE = "KERAS_DEEPSKIP_CACHE"  # environment variable: another cache folder
RULES = 10  # goes up when files are read by other rules than before: records are then of no use
KEPT = 90 * 24 * 3600  # seconds without use, after which a survey's file is removed
RECENT = 2 * 10**9  # nanoseconds: a file that young may change again within its time's resolution


def cache_folder() -> Path:
    """The user's cache folder: `KERAS_DEEPSKIP_CACHE`, or the package's part of the system's."""
    own = os.environ.get(CACHE_VARIABLE)
    if own:
        return Path(own)
    system = os.environ.get("XDG_CACHE_HOME")
    return (Path(system) if system else Path.home() / ".cache") / "keras_deepskip"


def key_of(folder: str | os.PathLike, reading: MaskReading) -> dict:
    """All that a survey's records depend on, apart from the files.

    The number of classes is not among it: the records hold the masks' ids as they are.
    """
    fields = reading.to_dict()
    return {
        "folder": str(Path(folder).resolve()),
        "colors": fields["colors"],
        "values": fields["values"],
        "ignore_class": fields["ignore_class"],
        "max_pixels": max_pixels(),
        "rules": RULES,
        "version": versions()["keras_deepskip"],
    }


def load(folder: str | os.PathLike, reading: MaskReading) -> dict:
    """The records of the last survey of a folder; none if there is no such file, or a bad one."""
    try:
        key = key_of(folder, reading)
        path = _path(key)
        checksum, text = path.read_text(encoding="utf-8").split("\n", 1)
        if hashlib.sha256(text.encode()).hexdigest() != checksum:
            return {}
        content = json.loads(text)
        with contextlib.suppress(OSError):  # of another user, say
            os.utime(path)  # in use: `_remove_unused` leaves it
        return content["records"] if content["key"] == key else {}
    except (OSError, RuntimeError, ValueError, KeyError, TypeError):
        return {}  # then the files are read again


def save(folder: str | os.PathLike, reading: MaskReading, records: dict) -> None:
    """Writes the records atomically, and removes files that nobody uses any more.

    A cache that cannot be written is none.
    """
    try:
        key = key_of(folder, reading)
        latest = time.time_ns() - RECENT
        records = {name: record for name, record in records.items() if record["stat"][1] < latest}
        text = json.dumps({"key": key, "records": records})
        checksum = hashlib.sha256(text.encode()).hexdigest()
        write_text(_path(key), f"{checksum}\n{text}")
        _remove_unused()
    except (OSError, RuntimeError, ValueError, TypeError):
        return  # the next survey reads the files again


def _remove_unused():
    """Surveys of folders that are gone, and of releases from before."""
    oldest = time.time() - KEPT
    for path in cache_folder().glob("survey-*.json"):
        if path.stat().st_mtime < oldest:
            path.unlink(missing_ok=True)


def _path(key):
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
    return cache_folder() / f"survey-{name}.json"
