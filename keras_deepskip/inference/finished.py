"""`Finished`: notes of the images that `predict` has done, which its tables are made of.

A note is a line of JSON in a file in `.finished/`. Each process that predicts has a file of its
own, so that nothing that one of them leaves half written, killed, can spoil the lines of another.
In memory there is only where each image's note begins. An image that two processes have done has
two notes of the same content, of which one counts.
"""

import contextlib
import json
import operator
import os
import uuid

from keras_deepskip import _files

FOLDER = ".finished"  # in the folder that `predict` writes to; it lasts until all images are done


class Finished:
    """Where the notes of an earlier call, and those of this one, are.

    Args:
        out: the folder that `predict` writes to.
        work: a text that another model, or another way of predicting, has not.
    """

    def __init__(self, out, work):
        self.folder, self.work = out / FOLDER, work
        self.sized = False  # whether an image says how large its pixels are
        self._places = {}  # name of an image: (name of the file, where the note begins)

    def look_up(self, samples, stamp_of):
        """Finds the notes of interrupted calls that still hold.

        Args:
            samples: the images.
            stamp_of: function from a `Sample` to what changes with its file; see `note`.
        """
        known = {}
        for path in sorted(self.folder.glob("*.jsonl")):
            for offset, note in _lines(path):
                if note["work"] == self.work and self._has_files(note):
                    known[note["image"]] = (path.name, offset, note["stamp"], note["sized"])
        for sample in samples if known else ():
            *place, stamp, sized = known.get(sample.name, (None, None, None))
            if stamp is not None and stamp == stamp_of(sample):
                self.add(sample.name, place, sized)

    def _has_files(self, note):
        """Whether the files of an image are there: somebody may have removed one meanwhile."""
        return all((self.folder.parent / name).exists() for name in note.get("files", ()))

    def add(self, name, place, sized):
        """Takes in where the note of an image is: (name of the file, where it begins)."""
        self._places[name] = tuple(place)
        self.sized = self.sized or sized

    def __contains__(self, name):
        return name in self._places

    def __len__(self):
        return len(self._places)

    def notes(self, samples):
        """Yields the notes of those of the images that have one, in the images' order."""
        with contextlib.ExitStack() as stack:
            files = {}
            for sample in samples:
                if sample.name not in self._places:
                    continue
                name, offset = self._places[sample.name]
                if name not in files:
                    files[name] = stack.enter_context((self.folder / name).open("rb"))
                files[name].seek(offset)
                yield json.loads(files[name].readline())

    def forget(self):
        """Removes all notes, as all images are done."""
        _files.remove(self.folder)


class NoteFile:
    """A file of notes of this process alone, which is there from the first note on.

    Args:
        folder: that of `Finished`.
        make_folder: whether it is made. In a worker it is not: its work may be done, and forgotten.
    """

    def __init__(self, folder, make_folder=True):
        self._make_folder = make_folder
        self.path = folder / f"{os.getpid()}-{uuid.uuid4().hex}.jsonl"

    def __enter__(self):
        self._file = None
        return self

    def add(self, note):
        """Writes a note; returns its place, as `Finished.add` takes it."""
        with _files.writing(self.path):
            if self._file is None:
                if self._make_folder:
                    self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self.path.open("ab")
            offset = self._file.seek(0, 2)
            self._file.write(
                json.dumps(note, default=operator.methodcaller("item")).encode() + b"\n"
            )
            self._file.flush()
        return self.path.name, offset

    def __exit__(self, *_):
        if self._file is not None:
            self._file.close()  # on a shared disk it is only now that others surely see all of it


def _lines(path):
    """Yields where each whole line begins, and what it holds."""
    offset = 0
    with path.open("rb") as file:
        for line in file:
            with contextlib.suppress(ValueError):  # cut off when the process was killed
                yield offset, json.loads(line)
            offset += len(line)
