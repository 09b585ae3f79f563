"""Images on object stores: what an address of fsspec names is copied to a folder of this machine.

The copy lies in the user's cache folder, and everything else works on it. Each object has a stamp:
what its store tells of it (time, tag, size). One whose stamp has changed is fetched again, others
are not. A run records the address, so that another machine finds the images too.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import datetime
import glob
import hashlib
import itertools
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_deepskip import _files
from keras_deepskip._checks import require
from keras_deepskip._progress import progress
from keras_deepskip.data._layout import LAYOUT, PART_FOLDERS
from keras_deepskip.data._stamps import Stamps
from keras_deepskip.data._survey_cache import CACHE_VARIABLE, cache_folder
from keras_deepskip.data.images import SUFFIXES

EXTRA = '"keras-deepskip[stores]"'
PACKAGES = {
    "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs",
    "http": "aiohttp", "https": "aiohttp", "sftp": "paramiko", "ssh": "paramiko",
}  # fmt: skip
PARALLEL = 16  # objects that are fetched at a time
CHUNK = 1024  # objects that wait for it at a time
RESERVE = 2**30  # bytes that stay free on the disk
# Of a folder of data, what `find_samples` and `Survey` read
FOLDERS = ("images", "masks", "instances", "labels")
TEXTS = (".json", ".yaml", ".yml", ".txt", ".csv")
PICTURES = (*SUFFIXES, ".npy")  # of images alone, what `predict` reads
LIST = ".txt"  # of a file that lists images
SILENT = ("name", "Key", "size", "Size", "type", "StorageClass")  # what tells of no change
PLAIN = (str, bytes, int, float, tuple, datetime.datetime)


def is_address(source: Any) -> bool:
    """Whether a value is an address of fsspec, such as `s3://bucket/cells`.

    Example:

    >>> is_address("s3://bucket/cells"), is_address("zip://images::cells.zip"), is_address("cells")
    (True, True, False)
    """
    pattern = r"[A-Za-z][A-Za-z0-9+.-]+(://|::)"  # a drive of Windows is one letter
    return isinstance(source, str) and re.match(pattern, source) is not None


def local_folder(source: str | os.PathLike, verbose: int | str = 0) -> Path:
    """Brings a folder of images and masks to this machine, if it is not there yet.

    Args:
        source: a folder, or the address of one. Of what is at an address it brings what
            `find_samples` reads, in `train/`, `val/` and `test/` too.
        verbose: 0 shows nothing, 1 a bar of the objects that are fetched, `"auto"` a bar on a
            terminal.

    Returns:
        The folder; of an address its copy, in the cache folder, without what the store no longer
        has.

    Raises:
        FileNotFoundError: if there is no such folder at the address.
        ImportError: if fsspec, or the package for this kind of store, is missing.
        ValueError: if the address holds a password, or the name of an object leads elsewhere.
        OSError: if the store does not answer or refuses, or if the disk has no room.

    Example:

    ```python
    samples = find_samples(local_folder("s3://bucket/cells", verbose=1))
    ```
    """
    if not is_address(source):
        return Path(source)
    store = _Store(str(source))
    objects = store.data()
    if not objects:
        raise FileNotFoundError(f"{source}: no images and masks in this folder; {LAYOUT}")
    return store.copy("data", objects, verbose)


def local_images(source: str, verbose: int | str = 0) -> list[Path]:
    """Brings images at an address to this machine, as `local_folder` does.

    Args:
        source: the address of a folder of images (or of one that holds `images/`), of an image, of
            a pattern (`"s3://bucket/plates/*/well_?.tif"`), or of a list: a `.txt` with an image in
            each line, its address or its path from the list's folder. Lines that begin with `#`
            say nothing.
        verbose: as in `local_folder`.

    Returns:
        A list of paths of the copies, in order of the names, or of the list.

    Raises:
        As `local_folder`.

    Example:

    ```python
    paths = local_images("gs://bucket/plates/**/*.png")
    ```
    """
    store = _Store(source)
    found = store.images()
    if store.single and source.lower().endswith(LIST):
        (listing,) = store.copy("images", found, 0).glob(f"*{LIST}")
        return _listed_images(listing, store.folder_address, verbose)
    if not found:
        raise FileNotFoundError(
            f"{source}: images ({', '.join(PICTURES)}) were expected here. Received: none. Check "
            "the address"
        )
    folder = store.copy("images", found, verbose)
    return [folder / name for name in sorted(found)]


def _listed_images(listing, folder, verbose):
    """The images that a file names. Each folder of theirs is listed once."""
    lines = listed_lines(listing)
    addresses = [line if is_address(line) else _below(folder, line) for line in lines]
    by_folder: dict[str, list[str]] = {}
    for address in addresses:
        by_folder.setdefault(_parted(address)[0], []).append(address)
    found = {}
    for own, members in by_folder.items():
        names = {_parted(address)[1]: address for address in members}
        store = _Store(own)
        copy = store.copy(f"list {listing}", store.named(names), verbose)
        found |= {address: copy / name for name, address in names.items()}
    return [found[address] for address in addresses]


def listed_lines(listing: Path) -> list[str]:
    """The lines of a list of images, without empty ones and those that begin with `#`."""
    # Editors of Windows put a mark before the first line
    lines = (line.strip() for line in listing.read_text(encoding="utf-8-sig").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _below(folder, name):
    """The address of a name in a folder: of an archive's member before the archive's address."""
    first, chain, rest = folder.partition("::")
    return f"{first.rstrip('/')}/{name}{chain}{rest}"


def _parted(address):
    """The address of the folder that an address lies in, and its name there."""
    first, chain, rest = address.partition("::")
    folder, _, name = first.rpartition("/")
    return f"{folder}{chain}{rest}", name


class _Store:
    """What lies at an address.

    Attributes:
        address: the address.
        system: the file system of fsspec.
        path: the address as that names it.
        single: whether it is that of one object.
        root: the folder that names of objects begin from; of a pattern the one before it.
    """

    def __init__(self, address):
        self.address = re.sub(r"://([^/@:]*):[^/@]*@", r"://\1:***@", address)
        if self.address != address:
            raise ValueError(
                f"{self.address}: an address without a password was expected, as runs record it. "
                "Give the password by the settings of fsspec, such as the environment variable "
                "FSSPEC_FTP_PASSWORD"
            )
        fsspec = require("fsspec", EXTRA, f"{address}: reading it")
        with self._errors("opened"):
            # Nothing remembered: what an archive or a folder held before
            self.system, path = fsspec.core.url_to_fs(address, skip_instance_cache=True)
            self.system.invalidate_cache()
            self.path = path.rstrip("/")
            self.pattern = glob.has_magic(self.path)
            named = Path(self.path).suffix and not self.pattern  # folders rarely have one
            self.single = bool(named) and self.system.isfile(self.path)
        parts = self.path.split("/")
        if self.pattern:
            parts = list(itertools.takewhile(lambda part: not glob.has_magic(part), parts))
        self.root = "/".join(parts[:-1] if self.single else parts)

    @property
    def folder_address(self):
        """The address of `root`."""
        _, chain, rest = self.address.partition("::")
        return f"{self.system.unstrip_protocol(self.root)}{chain}{rest}"

    # ---- What is there: dicts from the name below `root` to what the store tells -----------------

    def data(self):
        """The objects of a folder of images and masks."""
        if self.single or self.pattern:
            raise FileNotFoundError(f"{self.address}: the address of a folder was expected here")
        with self._errors("listed"):
            found = list(self._data_of(self.root, parts=True))
        return self._named(found)

    def images(self):
        """The images of a folder or a pattern, or the object that the address names."""
        with self._errors("listed"):
            found = list(self._images())
        of_images = (entry for entry in found if self.single or _ends(entry, PICTURES))
        return self._named(of_images)

    def named(self, names):
        """The objects of the folder that have these names: dict from a name to its address."""
        with self._errors("listed"):
            files, _ = self._listed(self.root)
        there = self._named(files)
        for name, address in names.items():
            if name not in there:
                raise FileNotFoundError(f"{address}: an image was expected here, as a list says")
        return {name: there[name] for name in names}

    def _images(self):
        if self.single:
            return [self.system.info(self.path)]
        if self.pattern:
            found = self.system.glob(self.path, detail=True).values()
            return [entry for entry in found if entry["type"] == "file"]
        files, folders = self._listed(self.root)
        return self._listed(folders["images"])[0] if "images" in folders else files

    def _data_of(self, folder, parts):
        files, folders = self._listed(folder)
        yield from (entry for entry in files if _ends(entry, TEXTS))
        known = {name for names in PART_FOLDERS.values() for name in names} if parts else ()
        for name, path in folders.items():
            if name in FOLDERS:
                yield from self.system.find(path, detail=True).values()
            elif name.lower() in known:
                yield from self._data_of(path, parts=False)

    def _listed(self, folder):
        """The files of a folder, and its folders by name."""
        entries = self.system.ls(folder, detail=True)
        files = [entry for entry in entries if entry["type"] == "file"]
        names = [entry["name"].rstrip("/") for entry in entries if entry["type"] == "directory"]
        return files, {name.rpartition("/")[2]: name for name in names}

    def _named(self, entries):
        """Objects by their names below the root, none of which leads out of a folder."""
        root = self.root.lstrip("/")
        objects, prefix = {}, f"{root}/" if root else ""
        for entry in entries:
            whole = entry["name"].lstrip("/")
            if whole.endswith("/"):
                continue  # what some stores have in place of a folder
            name = whole.removeprefix(prefix)
            outside = {"", ".", ".."} & set(name.split("/")) or not whole.startswith(prefix)
            if outside or re.search(r"[\\\0]", name) or Path(name).drive:
                raise ValueError(
                    f"{self.address}: names of objects that stay in their folder were expected. "
                    f"Received: {entry['name']!r}. Rename the object, or take it out"
                )
            objects[name] = entry
        return objects

    # ---- The copy --------------------------------------------------------------------------------

    def copy(self, kind: str, objects: dict, verbose: int | str) -> Path:
        """The folder that holds these objects and no others; it fetches what is not there yet.

        Args:
            kind: of what use they are: of each kind an address has a copy of its own.
            objects: dict from the name to what the store tells.
            verbose: as in `local_folder`.
        """
        filelock = require("filelock", EXTRA, f"{self.address}: reading it")
        folder = cache_folder() / "stores" / _folder_name(self.address, kind)
        with _files.writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        # Processes of one training ask for the same: the first one fetches, the others find it done
        with filelock.FileLock(folder.with_name(f"{folder.name}.lock")), Stamps(folder) as stamps:
            for path in folder.parent.glob(f".{folder.name}{_files.MARK}*"):
                _files.remove(path)  # of a process that was killed
            told = {name: _stamp(entry) for name, entry in objects.items()}
            stamps.remove_others(told)
            sizes = {name: entry.get("size") for name, entry in objects.items()}
            due = [name for name in objects if not stamps.holds(name, told[name], sizes[name])]
            if due:
                self._check_room(folder, sum(sizes[name] or 0 for name in due))
                self._fetch({name: objects[name] for name in due}, stamps, verbose)
        return folder

    def _fetch(self, objects, stamps, verbose):
        """Fetches objects, several at a time where the store's package bears that."""
        # Packages that say so wait for several answers at once; others may not bear threads
        pool = concurrent.futures.ThreadPoolExecutor(PARALLEL if self.system.async_impl else 1)
        prefix = f".{stamps.folder.name}{_files.MARK}"
        temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=stamps.folder.parent))
        names, number = iter(objects), 0
        try:
            with progress(len(objects), verbose, "Fetched", unit="object") as show:
                while chunk := list(itertools.islice(names, CHUNK)):
                    work = [
                        pool.submit(self._fetch_one, name, objects[name], stamps, temporary)
                        for name in chunk
                    ]
                    for done in concurrent.futures.as_completed(work):
                        done.result()
                        number += 1
                        show(number)
        finally:
            pool.shutdown(cancel_futures=True)
            _files.remove(temporary)

    def _fetch_one(self, name, entry, stamps, temporary):
        """Puts one object into the copy, whole or not at all, and notes it."""
        path, size = stamps.folder / name, entry.get("size")
        part = temporary / uuid.uuid4().hex
        most = shutil.disk_usage(temporary).free - RESERVE if size is None else size
        with self._errors(f"fetched ({name})"):
            self.system.get_file(entry["name"], str(part), callback=_stop_after(most, name))
            received = part.stat().st_size
            if size is not None and received != size:
                raise ValueError(f"{size:,} bytes were announced, {received:,} came")
        with _files.writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(part, path)
        stamps.add(name, _stamp(entry))

    def _check_room(self, folder, size):
        free = max(shutil.disk_usage(folder).free - RESERVE, 0)
        if size > free:
            raise OSError(
                f"{self.address}: room for {size:,} bytes was expected in {cache_folder()}. "
                f"Received: {free:,} bytes. Free some, or name a folder on another disk by the "
                f"environment variable {CACHE_VARIABLE}"
            )

    @contextlib.contextmanager
    def _errors(self, done: str) -> Iterator[None]:
        """Has what fsspec and the stores' packages raise name the address and what to do."""
        try:
            yield
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{self.address}: a folder, an image or a pattern was expected here. Received: an "
                f"address at which the store has nothing ({error})"
            ) from error
        except ImportError as error:
            package = PACKAGES.get(re.split("://|::", self.address)[0], "THE PACKAGE NAMED ABOVE")
            raise ImportError(
                f"{self.address}: reading it needs a package that could not be imported ({error}). "
                f"Install it with: pip install {package}"
            ) from error
        except Exception as error:  # each package has its own
            raise OSError(
                f"{self.address}: it could not be {done} ({type(error).__name__}: {error}). Check "
                "the address, the network and the credentials: those of the store's own tools "
                "(AWS_PROFILE, GOOGLE_APPLICATION_CREDENTIALS, ...) or settings of fsspec, such as "
                "FSSPEC_S3_ANON=true for a public bucket"
            ) from error


def _ends(entry, suffixes):
    return entry["name"].lower().endswith(suffixes)


def _folder_name(address, kind):
    """The name of a copy: one that people can tell, and no other address or kind has."""
    digest = hashlib.sha256(f"{kind}\n{address.rstrip('/')}".encode()).hexdigest()[:16]
    readable = re.sub(r"[^A-Za-z0-9]+", "-", address.partition("?")[0]).strip("-")
    return f"{readable[-60:]}-{digest}"


def _stamp(entry):
    """A text that changes with an object; None if the store tells nothing that would."""
    told = {
        name: value
        for name, value in entry.items()
        if name not in SILENT and isinstance(value, PLAIN)
    }
    text = repr((sorted(told.items()), entry.get("size")))
    return hashlib.sha256(text.encode()).hexdigest()[:32] if told else None


def _stop_after(most, name):
    """A callback of fsspec that ends a transfer of more bytes than were announced."""
    from fsspec.callbacks import Callback

    class StopAfter(Callback):
        def relative_update(self, inc=1):
            super().relative_update(inc)
            if self.value > most:
                raise ValueError(f"{name} has more bytes than the {most:,} announced or free")

    return StopAfter()
