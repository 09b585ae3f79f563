"""Decoded images and masks that do not fit into memory: files of which only crops are read."""

import contextlib
import os
import platform
import shutil
import uuid
import weakref

import numpy as np

from keras_deepskip.data._survey_cache import cache_folder

RESERVE = 2**30  # bytes that stay free on the disk
LOOK = 1 / 64  # of its bytes, that a process adds before it looks at the folder again
NAME = "decoded"


class DiskCache:
    """Pairs of arrays by number, in files that are mapped into memory when they are read.

    It is a convenience: where the disk is full or not writable, nothing is kept. The files go when
    the object does, or with the first cache of a later process if this one was killed. Processes
    to which it is sent share the files.

    Args:
        most_bytes: of all its files together; 0 keeps nothing.
    """

    def __init__(self, most_bytes):
        self.most_bytes = most_bytes
        name = f"{NAME}-{platform.node()}-{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self.folder = cache_folder() / name
        self._owner = True
        self._used = self._added = None  # bytes that a look at the folder found, and since then

    def __getstate__(self):
        if self.most_bytes:
            self._make()  # the one to which it is sent makes none
        known = {"most_bytes": self.most_bytes, "folder": self.folder, "_owner": False}
        return {**known, "_used": None, "_added": None}

    def get(self, number):
        """The pair of a number, two arrays that are read as they are used; None if not kept."""
        if not self.most_bytes:
            return None
        with contextlib.suppress(OSError, ValueError, EOFError):  # taken away or damaged meanwhile
            return tuple(np.load(path, mmap_mode="r") for path in self._paths(number))
        return None

    def put(self, number, image, mask):
        """Keeps a pair, if there is room for it."""
        paths, size = self._paths(number), image.nbytes + mask.nbytes
        if size > self.most_bytes or paths[-1].is_file():
            return
        temporary = self.folder / f"{uuid.uuid4().hex}.partial"
        try:
            self._make()
            free = shutil.disk_usage(self.folder).free - RESERVE
            if size > min(self.most_bytes - self._bytes(), free):
                return
            for path, array in zip(paths, (image, mask), strict=True):  # the last says both are
                with open(temporary, "wb") as file:
                    np.save(file, array, allow_pickle=False)
                os.replace(temporary, path)
            self._added += size
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _bytes(self):
        """Bytes of all files; a folder of many is looked at seldom, for what others have added."""
        if self._used is None or self._added > self.most_bytes * LOOK:
            self._used = self._added = 0
            with os.scandir(self.folder) as files:
                for file in files:
                    with contextlib.suppress(FileNotFoundError):  # renamed meanwhile
                        self._used += file.stat().st_size
        return self._used + self._added

    def _paths(self, number):
        return [self.folder / f"{number}.{kind}.npy" for kind in ("image", "mask")]

    def _make(self):
        if self._owner and not self.folder.is_dir():
            _remove_leftovers(self.folder.parent)
            self.folder.mkdir(mode=0o700, parents=True)
            weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)


def _remove_leftovers(folder):
    """Removes the files of processes of this computer that were killed."""
    if os.name != "posix":  # elsewhere asking for a process may end it
        return
    for path in folder.glob(f"{NAME}-{platform.node()}-*-*"):
        process = path.name.split("-")[-2]
        if process.isdecimal() and not _runs(int(process)):
            shutil.rmtree(path, ignore_errors=True)


def _runs(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
