"""The tables of `predict`, written line by line from the notes of images, and read again."""

import collections.abc
import contextlib
import csv
import itertools
import operator

from keras_deepskip import _checks, _files
from keras_deepskip._checks import require
from keras_deepskip.inference.measures import IMAGE_COLUMNS

COLUMNS = (
    "image", "object", "class", "area", "centroid_y", "centroid_x",
    "top", "left", "bottom", "right", "mean_probability",
)  # fmt: skip
TEXTS = {"image", "class_name", "file"}
INTEGERS = {"object", "class", "area", "top", "left", "bottom", "right", "objects"}
PARQUET = '"keras-deepskip[parquet]"'
GROUP = 65536  # lines of a group of a Parquet file, the most that is in memory


def object_values(rows):
    """The columns and the values of an image's objects, rounded as tables have them.

    Args:
        rows: the lines of `object_table`, with measures if there are any.

    Returns:
        `(columns, lists of values)`, without the image's name, the object's number and the name of
        its class.
    """
    own = {*COLUMNS[3:], "class_id"}
    measures = list(dict.fromkeys(key for row in rows for key in row if key not in own))
    values = [
        [
            row["class_id"], row["area"], round(row["centroid_y"], 2), round(row["centroid_x"], 2),
            row["top"], row["left"], row["bottom"], row["right"],
            round(row["mean_probability"], 4),
            *(round(row[key], 4) if key in row else None for key in measures),
        ]
        for row in rows
    ]  # fmt: skip
    return [*COLUMNS[2:], *measures], values


def write_tables(folder, notes, tables, names, measured):
    """Writes `images` and, last, `objects`; other forms of tables than those asked for go.

    Args:
        folder: the folder that `predict` writes to.
        notes: the images' notes (`ImageWork`), in order.
        tables: names in `TABLES`.
        names: of the classes by id, or None.
        measured: the columns of measures.

    Returns:
        The lines of `objects`, as `Rows`.
    """
    named = (*COLUMNS[:3], *(["class_name"] if names else ()), *COLUMNS[3:], *measured)
    kinds = [TABLES[table] for table in tables]
    count = 0
    with contextlib.ExitStack() as stack:
        objects = [kind.writing(stack, folder / "objects", named) for kind in kinds]
        columns = (*IMAGE_COLUMNS, "file")
        images = [kind.writing(stack, folder / "images", columns) for kind in kinds]
        for note in notes:
            file = (note["stamp"] or [""])[0]  # None if the file is gone by now
            lines = [
                dict(zip(columns, (note["image"], *own, file), strict=True))
                for own in note["classes"]
            ]
            rows = [
                _row(note, number, values, names) for number, values in enumerate(note["rows"], 1)
            ]
            count += len(rows)
            for writer in images:
                writer.write(lines)
            for writer in objects:
                writer.write(rows)
    remove_tables(folder, kept=tables)
    return Rows(folder / f"objects{kinds[0].suffix}", count)


def remove_tables(folder, kept=()):
    """Removes the tables that an earlier call has written to a folder, but for forms in `kept`."""
    for name, kind in TABLES.items():
        for table in ("objects", "images") if name not in kept else ():
            _files.remove(folder / f"{table}{kind.suffix}")


def _row(note, number, values, names):
    named = zip(note["columns"], values, strict=True)
    row = {"image": note["image"], "object": number, **dict(named)}
    if names:
        row["class_name"] = names.get(row["class"], "")
    return row


class Rows(collections.abc.Sequence):
    """The lines of a table, dicts, which are read from its file as they are asked for.

    It is equal to a list of the same dicts. What a line leaves empty is not in its dict.

    Args:
        path: the table, CSV or Parquet.
        count: how many lines it has.
    """

    def __init__(self, path, count):
        self.path, self._count = path, count

    def __len__(self):
        return self._count

    def __iter__(self):
        kind = next(kind for kind in TABLES.values() if kind.suffix == self.path.suffix)
        return kind.read(self.path)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return list(self)[index]
        at = range(self._count)[operator.index(index)]
        return next(itertools.islice(self, at, None))

    def __eq__(self, other):
        if not isinstance(other, collections.abc.Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(
            own == its for own, its in zip(self, other, strict=True)
        )

    def __repr__(self):
        return f"<{self._count} lines of {self.path}>"


class _Csv:
    """A table as CSV."""

    suffix = ".csv"

    def __init__(self, file, columns):
        self._writer = csv.DictWriter(file, columns, lineterminator="\n")
        self._writer.writeheader()

    @classmethod
    def writing(cls, stack, path, columns):
        """A table that is there, whole, when the stack is closed."""
        temporary = stack.enter_context(_files.replacing(path.with_suffix(cls.suffix)))
        return cls(stack.enter_context(temporary.open("w", newline="", encoding="utf-8")), columns)

    def write(self, rows):
        """Writes lines, dicts; what one lacks is left empty."""
        self._writer.writerows(rows)

    @staticmethod
    def read(path):
        """Yields the lines."""
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                yield {
                    name: value if name in TEXTS else _number(name, value)
                    for name, value in row.items()
                    if value or name in TEXTS
                }


def _number(name, text):
    return int(text) if name in INTEGERS else float(text)


class _Parquet:
    """A table as Parquet: texts, integers of 64 bits and doubles; null where CSV is empty."""

    suffix = ".parquet"

    def __init__(self, stack, path, columns):
        self._arrow = require("pyarrow", PARQUET, "`tables=['parquet']`")
        parquet = require("pyarrow.parquet", PARQUET, "`tables=['parquet']`")
        kinds = {**dict.fromkeys(TEXTS, "string"), **dict.fromkeys(INTEGERS, "int64")}
        self._schema = self._arrow.schema(
            [(name, self._arrow.type_for_alias(kinds.get(name, "float64"))) for name in columns]
        )
        self._rows = []
        temporary = stack.enter_context(_files.replacing(path.with_suffix(self.suffix)))
        self._writer = stack.enter_context(parquet.ParquetWriter(temporary, self._schema))
        stack.push(self._end)

    @classmethod
    def writing(cls, stack, path, columns):
        """A table that is there, whole, when the stack is closed."""
        return cls(stack, path, columns)

    def write(self, rows):
        """Writes lines, dicts; what one lacks is null."""
        self._rows += rows
        if len(self._rows) >= GROUP:
            self._flush()

    def _flush(self):
        if self._rows:
            table = self._arrow.Table.from_pylist(self._rows, schema=self._schema)
            self._writer.write_table(table)
            self._rows = []

    def _end(self, failure, *_):
        if failure is None:
            self._flush()

    @staticmethod
    def read(path):
        """Yields the lines."""
        parquet = require("pyarrow.parquet", PARQUET, f"{path}: a table in Parquet")
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    yield {name: value for name, value in row.items() if value is not None}


TABLES = {"csv": _Csv, "parquet": _Parquet}


def check_tables(tables):
    """Returns the names of tables, each once.

    Raises:
        ValueError: if there is none, or one is not known.
        ImportError: if a package that writes one is missing.
    """
    tables = [tables] if isinstance(tables, str) else list(dict.fromkeys(tables))
    if not tables:
        raise ValueError(f"`tables` must name one of {', '.join(TABLES)}. Received: none")
    for table in tables:
        _checks.check_choice("tables", table, TABLES)
    if "parquet" in tables:
        require("pyarrow.parquet", PARQUET, "`tables=['parquet']`")
    return tables
