"""`Finished`: which images an interrupted `predict` has done, for the call that takes it up."""

import json

from keras_deepskip import _files
from keras_deepskip.inference.tiled import image_key, work_key


class Finished:
    """The objects of images that are done, a line each in a file that lasts until all are.

    Args:
        folder: where `predict` writes.
        model: the model.
        asked: what else decides its files, fit for JSON.
    """

    def __init__(self, folder, model, asked):
        self.path = folder / ".finished.jsonl"
        self.work = work_key(model, asked)
        self.known = dict(_lines(self.path))
        self._file = None

    def key(self, sample, source):
        """A text that another image, model or way of predicting has not."""
        return image_key(f"{self.work} {sample.name}", source)

    def add(self, key, objects):
        """Notes an image whose files are all there."""
        with _files.writing(self.path):
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self.path.open("a", encoding="utf-8")
                self._file.write("\n")  # the line before may have been cut off
            self._file.write(json.dumps([key, objects], default=float) + "\n")
            self._file.flush()

    def close(self, forget=False):
        """Closes the file; with `forget` it goes, as all images are done."""
        if self._file is not None:
            self._file.close()
        if forget:
            _files.remove(self.path)


def _lines(path):
    """Yields the key and the objects of each whole line."""
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                key, objects = json.loads(line)
            except ValueError:  # cut off when the process was killed, or empty
                continue
            yield key, objects
