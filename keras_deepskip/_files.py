"""Files that are whole or not there: written under a temporary name, then renamed."""

import contextlib
import csv
import io
import json
import os
import shutil
import tempfile
from pathlib import Path

MARK = ".partial-"  # in the name of every temporary file and folder of this package


@contextlib.contextmanager
def replacing(path):
    """Gives a temporary path beside `path`, which takes its place when the block ends well.

    The temporary file keeps the suffix of `path`, for writers that look at it. If the block raises,
    the temporary file is removed and whatever stood at `path` stays as it was.

    Raises:
        OSError: what the writer raised, with the name of the file that was being written.

    Example:

    ```python
    with replacing("figures.json") as temporary:
        temporary.write_text("{}")
    ```
    """
    path = Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(path.suffix, f".{path.stem}{MARK}", path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            _reach_the_disk(temporary)
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def check_folder(path: str | os.PathLike) -> Path:
    """Returns the path of a folder to write to.

    Raises:
        ValueError: if there is a file at `path`.
    """
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise ValueError(
            f"`out` must be a folder to write to. Received: out={str(path)!r}, a file. Choose "
            "another"
        )
    return folder


@contextlib.contextmanager
def replacing_folder(path):
    """As `replacing`, for a folder: a new folder at `path`, whole, or the old one untouched.

    What stands at `path` is replaced with all that is in it: the caller sees that it may be.

    Raises:
        OSError: as `replacing`; also if there is a file at `path`.
    """
    path = Path(path)
    with writing(path):
        if path.is_file():
            raise NotADirectoryError(f"{path} is a file")
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}{MARK}", dir=path.parent))
        try:
            yield temporary
            os.chmod(temporary, 0o777 & ~_umask())
            _exchange(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def writing(path):
    """Has an `OSError` of the block name the file that could not be written, and say what to do."""
    try:
        yield
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror or str(error)
        text = (
            f"could not write {path} ({reason}); what stood there before is unchanged. Free space "
            "or choose another folder, then run the command again"
        )
        failure = OSError(text) if error.errno is None else OSError(error.errno, text)
        failure.reason = reason  # a block around this one names its own file, not a temporary one
        raise failure from error


def remove_leftovers(folder, below=False):
    """Removes what `replacing` and `replacing_folder` left in a folder when they were killed.

    Args:
        folder: the folder.
        below: whether its folders are gone through too, but for those that are one result, Zarr's.
    """
    for place, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            if name.startswith(".") and MARK in name:
                remove(Path(place, name))
        folders[:] = [n for n in folders if below and MARK not in n and not n.endswith(".zarr")]


def remove(path):
    """Removes a file or a folder, if there is one."""
    path = Path(path)
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_text(path, text):
    """Writes `text` to `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path, value):
    """Writes `value` to `path` as indented JSON, whole or not at all.

    Raises:
        ValueError: if it holds a NaN or an infinity, which JSON does not know.
    """
    write_text(path, json.dumps(value, indent=2, sort_keys=False, allow_nan=False) + "\n")


def csv_text(rows, columns=None):
    """Returns rows as CSV with a line of column names.

    Args:
        rows: list of dicts; what a row lacks is left empty.
        columns: names in order; None takes those of the rows as they come.

    Example:

    >>> csv_text([{"name": "a", "area": 9}])
    'name,area\\na,9\\n'
    """
    columns = columns or list(dict.fromkeys(name for row in rows for name in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def read_json(path, what, parse=lambda value: value):
    """Reads a JSON file that should hold `what`; a missing or broken file is named in the error.

    Args:
        path: the file.
        what: for the error.
        parse: function from the file's value to what is returned; what it misses is an error too.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected {what} here. Received: no such file")
    try:
        # Editors of some systems put a byte order mark before UTF-8.
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{path}: expected {what}. Received: no valid JSON ({error})") from error
    try:
        return parse(value)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: expected {what}. Received: JSON of another form, damaged or of another "
            f"version ({type(error).__name__}: {error})"
        ) from error


def _exchange(new, path):
    """Puts the folder `new` at `path`; what was there is removed once `new` has its place."""
    aside = new.with_name(new.name + "-old")
    replaced = path.exists()
    if replaced:
        os.replace(path, aside)
    try:
        os.replace(new, path)
    except OSError:
        if replaced:
            os.replace(aside, path)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _reach_the_disk(path):
    """Has the system write a file out: on some disks it is only then that they turn out full."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
