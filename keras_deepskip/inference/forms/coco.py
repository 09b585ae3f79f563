"""`annotations.json`: COCO's file of instances, in compressed RLE."""

import numpy as np

from keras_deepskip import _files
from keras_deepskip.inference.forms.form import Form


class Coco(Form):
    """Collects the objects of all images; the file is written at the end."""

    name, packages = "coco", {"pycocotools.mask": "coco"}

    def __init__(self, folder, names):
        super().__init__(folder, names)
        self.images, self.annotations = [], []

    def add(self, found):
        """Takes an image's objects."""
        height, width = found.labels.shape
        image_id, file_name = len(self.images) + 1, found.sample.image.name
        self.images.append(
            {"id": image_id, "file_name": file_name, "height": height, "width": width}
        )
        for row, outline in zip(found.rows, outlines_in_coco(found.labels), strict=True):
            left, top = row["left"], row["top"]
            self.annotations.append(
                {
                    "id": len(self.annotations) + 1, "image_id": image_id,
                    "category_id": row["class_id"], "segmentation": outline,
                    "bbox": [left, top, row["right"] - left, row["bottom"] - top],
                    "area": row["area"], "iscrowd": 0,
                    "score": round(row["mean_probability"], 4),
                }
            )  # fmt: skip

    def finish(self):
        """Writes the file."""
        content = {
            "images": self.images,
            "categories": [{"id": i, "name": name} for i, name in self.names.items()],
            "annotations": self.annotations,
        }
        _files.write_json(self.folder / "annotations.json", content)


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
