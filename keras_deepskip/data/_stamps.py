"""`Stamps`: which objects of a store a copy holds, and how they were when they were fetched."""

import contextlib
import json
import threading

from keras_deepskip import _files


class Stamps:
    """The stamp of each object in a folder, in a file beside it: a line each; the last one counts.

    Lines are added as objects come, so that a process that is killed has noted what it fetched; a
    process that ends well writes the file anew.

    Args:
        folder: the copy.
    """

    def __init__(self, folder):
        self.folder, self.path = folder, folder.with_name(f"{folder.name}.stamps")
        self.known = dict(self._lines())
        self._changed, self._file, self._lock = False, None, threading.Lock()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self._file is not None:
            self._file.close()
        if self._changed and kind is None:
            lines = (json.dumps(pair) + "\n" for pair in self.known.items())
            _files.write_text(self.path, "".join(lines))

    def holds(self, name, stamp, size):
        """Whether the copy has an object as its store has it; a stamp of None is not known."""
        if stamp is None or self.known.get(name) != stamp:
            return False
        with contextlib.suppress(OSError):
            found = (self.folder / name).stat().st_size
            return size is None or found == size
        return False

    def add(self, name, stamp):
        """Notes an object that was fetched; several threads may do so at a time."""
        with self._lock:
            if self._file is None:
                self._file = self.path.open("a", encoding="utf-8")
                self._file.write("\n")  # the line before may have been cut off
            self._file.write(json.dumps([name, stamp]) + "\n")
            self._file.flush()
            self.known[name], self._changed = stamp, True

    def remove_others(self, names):
        """Removes what the copy holds beside some names."""
        for path in self.folder.rglob("*"):
            name = path.relative_to(self.folder).as_posix()
            if name not in names and path.is_file():
                _files.remove(path)
        for name in self.known.keys() - names:
            del self.known[name]
            self._changed = True

    def _lines(self):
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
                with contextlib.suppress(ValueError):  # cut off by a kill, or empty
                    name, stamp = json.loads(line)
                    yield name, stamp
