"""`yolo/`: labels for segmentation as Ultralytics reads them, a text an image, and `data.yaml`.

A line is an object: the class, counted from 0, then x and y of its outline as shares of width and
height. An object in several pieces, or with holes, is one path (see `path_of`).
"""

import json

from keras_deepskip import _files
from keras_deepskip._checks import require
from keras_deepskip.inference.forms.polygons import path_of, polygons_of


class Yolo:
    """Writes `yolo/labels/NAME.txt` for each image."""

    def __init__(self, folder, names, num_classes):
        require("shapely", '"keras-deepskip[outlines]"', "`formats=['yolo']`")
        self.folder, self.names, self.num_classes = folder / "yolo", names or {}, num_classes

    def add(self, sample, labels, rows):
        """Writes an image's file."""
        height, width = labels.shape
        lines = []
        for row, outline in zip(rows, polygons_of(labels), strict=True):
            path = path_of(outline) / (width, height)
            shares = " ".join(f"{share:.6f}" for share in path.ravel())
            lines.append(f"{row['class_id'] - 1} {shares}\n")
        _files.write_text(self.folder / "labels" / f"{sample.name}.txt", "".join(lines))

    def finish(self):
        """Writes the classes' names."""
        ids = range(1, max(self.num_classes, 2))
        names = [f"  {i - 1}: {json.dumps(self.names.get(i, f'class {i}'))}\n" for i in ids]
        _files.write_text(self.folder / "data.yaml", "names:\n" + "".join(names))
