"""`yolo/`: labels for segmentation as Ultralytics reads them, a text an image, and `data.yaml`.

A line is an object: the class, counted from 0, then x and y of its outline as shares of width and
height. An object in several pieces, or with holes, is one path (see `path_of`).
"""

import json

from keras_deepskip import _files
from keras_deepskip.inference.forms.form import Form
from keras_deepskip.inference.forms.polygons import path_of


class Yolo(Form):
    """Writes `yolo/labels/NAME.txt` for each image."""

    name, packages = "yolo", {"shapely": "outlines"}
    file = "yolo/labels/{}.txt"

    def add(self, found):
        """Writes an image's file."""
        height, width = found.labels.shape
        lines = []
        for row, outline in zip(found.rows, found.polygons, strict=True):
            path = path_of(outline) / (width, height)
            shares = " ".join(f"{share:.6f}" for share in path.ravel())
            lines.append(f"{row['class_id'] - 1} {shares}\n")
        path = self.folder / self.file.format(found.sample.name)
        _files.write_text(path, "".join(lines))

    def finish(self, pieces):
        """Writes the classes' names."""
        names = [f"  {i - 1}: {json.dumps(name)}\n" for i, name in self.names.items()]
        _files.write_text(self.folder / "yolo" / "data.yaml", "names:\n" + "".join(names))
