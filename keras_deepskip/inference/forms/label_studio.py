"""`label-studio/`: tasks with predictions to correct in Label Studio, and the images they show.

The folder is whole in itself, to be moved to where Label Studio runs: `tasks.json` to import,
`labels.xml` to set the project up, and `images/`, which Label Studio serves. Objects are polygons
in percent of the width and height: of the forms that Label Studio knows, the one that it exports as
COCO, object by object, so that what was corrected can be trained on.
"""

import hashlib
import json
import shutil
import urllib.parse
from pathlib import PurePosixPath
from xml.sax.saxutils import quoteattr

import numpy as np

from keras_deepskip import _files
from keras_deepskip.data import write_png
from keras_deepskip.drawing import CLASS_COLORS, to_rgb
from keras_deepskip.inference.forms.form import Form, file_name_of
from keras_deepskip.inference.forms.polygons import path_of

SERVED = "/data/local-files/?d=images/"  # where Label Studio has the files of a folder on its disk
SHOWN = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")  # first bytes of files that a browser shows


class LabelStudio(Form):
    """Copies each image, and has its task handed on; `tasks.json` is written at the end."""

    name, packages = "label-studio", {"shapely": "outlines"}

    def add(self, found):
        """Writes the image, and returns its task."""
        shown = self._write_image(found)
        prediction = {"model_version": "keras_deepskip", "result": self._regions(found)}
        if found.rows:  # by which tasks can be sorted
            scores = [row["mean_probability"] for row in found.rows]
            prediction["score"] = round(float(np.mean(scores)), 4)
        image = SERVED + urllib.parse.quote(shown.as_posix())
        return {"data": {"image": image}, "predictions": [prediction]}

    def files_of(self, found):
        """The copy of the image."""
        shown, _ = _shown(found)
        return [f"label-studio/images/{shown}"]

    def finish(self, pieces):
        """Writes the tasks, a line each, and the form of the project."""
        folder = self.folder / "label-studio"
        _files.write_text(folder / "labels.xml", self._labels())
        with (
            _files.replacing(folder / "tasks.json") as new,
            new.open("w", encoding="utf-8") as file,
        ):
            file.write("[")
            for index, task in enumerate(pieces()):
                file.write(f"{',' if index else ''}\n{json.dumps(task, ensure_ascii=False)}")
            file.write("\n]\n")

    def _write_image(self, found):
        """Copies a file that a browser shows; of others writes a picture of the same size."""
        shown, plain = _shown(found)
        path = self.folder / "label-studio" / "images" / shown
        if plain:
            with _files.replacing(path) as new:
                shutil.copyfile(found.sample.image, new)
        else:
            write_png(path, to_rgb(found.image))
        return shown

    def _regions(self, found):
        """The objects as Label Studio's regions."""
        height, width = found.labels.shape
        regions = []
        for number, (row, outline) in enumerate(zip(found.rows, found.polygons, strict=True), 1):
            points = path_of(outline) * 100 / (width, height)
            regions.append(
                {
                    "id": hashlib.sha256(f"{found.sample.name} {number}".encode()).hexdigest()[:16],
                    "type": "polygonlabels", "from_name": "label", "to_name": "image",
                    "original_width": width, "original_height": height, "image_rotation": 0,
                    "score": round(row["mean_probability"], 4),
                    "value": {
                        "points": np.round(points, 8).tolist(), "closed": True,
                        "polygonlabels": [self.names[row["class_id"]]],
                    },
                }
            )  # fmt: skip
        return regions

    def _labels(self):
        """How a project shows the image and its labels, in Label Studio's own XML."""
        lines = []
        for class_id, name in self.names.items():
            color = bytes(CLASS_COLORS[(class_id - 1) % len(CLASS_COLORS)]).hex()
            lines.append(f'    <Label value={quoteattr(name)} background="#{color}"/>\n')
        return (
            '<View>\n  <Image name="image" value="$image" zoomControl="true"/>\n'
            f'  <PolygonLabels name="label" toName="image">\n{"".join(lines)}'
            "  </PolygonLabels>\n</View>\n"
        )


def _shown(found):
    """The name of the picture that a browser is given of an image, and whether that is its file."""
    name, source = PurePosixPath(found.sample.name), found.sample.image
    if found.image.dtype == np.uint8 and source.is_file():
        with source.open("rb") as file:
            if file.read(8).startswith(SHOWN):
                return file_name_of(found.sample), True
    return name.with_name(f"{name.name}.png"), False
