"""`annotations.json`: COCO's file of instances, in compressed RLE."""

import json

import numpy as np

from keras_deepskip import _files
from keras_deepskip.inference.forms.form import Form, file_name_of


class Coco(Form):
    """Has each image's annotations handed on; the file is written at the end."""

    name, packages = "coco", {"pycocotools.mask": "coco"}

    def add(self, found):
        """Returns an image, and its annotations, without their numbers."""
        height, width = found.labels.shape
        annotations = []
        for row, outline in zip(found.rows, outlines_in_coco(found.labels), strict=True):
            left, top = row["left"], row["top"]
            annotations.append(
                {
                    "category_id": row["class_id"], "segmentation": outline,
                    "bbox": [left, top, row["right"] - left, row["bottom"] - top],
                    "area": row["area"], "iscrowd": 0,
                    "score": round(row["mean_probability"], 4),
                }
            )  # fmt: skip
        image = {"file_name": str(file_name_of(found.sample)), "height": height, "width": width}
        return {"image": image, "annotations": annotations}

    def finish(self, pieces):
        """Writes the file, a line for each image and annotation."""
        categories = [{"id": i, "name": name} for i, name in self.names.items()]
        images = ({"id": i, **piece["image"]} for i, piece in enumerate(pieces(), start=1))
        parts = {"images": images, "categories": categories, "annotations": _numbered(pieces())}
        with (
            _files.replacing(self.folder / "annotations.json") as new,
            new.open("w", encoding="utf-8") as file,
        ):
            for number, (name, items) in enumerate(parts.items()):
                file.write(f'{"," if number else "{"}\n"{name}": [')
                for index, item in enumerate(items):
                    file.write(f"{',' if index else ''}\n{json.dumps(item)}")
                file.write("\n]")
            file.write("\n}\n")


def _numbered(pieces):
    """Yields the annotations of all images, each with its number and its image's."""
    number = 0
    for image_id, piece in enumerate(pieces, start=1):
        for annotation in piece["annotations"]:
            number += 1
            yield {"id": number, "image_id": image_id, **annotation}


def outlines_in_coco(labels):
    """The pixels of each object as COCO's compressed RLE.

    Args:
        labels: which object each pixel is of, (H, W), 1..n.

    Returns:
        A list of `{"size": [H, W], "counts": text}`, for objects 1..n in their order.
    """
    from pycocotools import mask as coco
    from scipy import ndimage

    height, width = labels.shape
    found = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        # Encoded from the first column of the object to the last: the rest is two runs.
        whole = np.zeros((height, box[1].stop - box[1].start), "uint8", order="F")
        whole[box[0]] = labels[box] == number
        runs = _runs(whole)
        runs[0] += box[1].start * height
        rest = (width - box[1].stop) * height
        if whole[-1, -1]:  # the last run is of the object, what follows is a run of its own
            runs.append(rest)
        else:
            runs[-1] += rest
        plain = {"size": [height, width], "counts": [int(run) for run in runs]}
        code = coco.frPyObjects(plain, height, width)
        found.append({"size": [height, width], "counts": code["counts"].decode("ascii")})
    return found


def _runs(mask):
    """Lengths of the runs of zeros and ones, column by column; the first is of zeros."""
    flat = mask.reshape(-1, order="F")
    ends = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *ends, len(flat)]).tolist()
    return [0, *runs] if flat[0] else runs
