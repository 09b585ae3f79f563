"""Objects in forms that other tools open: COCO's annotations."""

import numpy as np

from keras_deepskip import _files
from keras_deepskip._checks import require

FORMATS = ("coco",)


def outlines_in_coco(labels):
    """The pixels of each object as COCO's compressed RLE.

    Args:
        labels: which object each pixel is of, (H, W), 1..n.

    Returns:
        A list of `{"size": [H, W], "counts": text}`, for objects 1..n in their order.

    Raises:
        ImportError: if pycocotools is not installed.
    """
    from scipy import ndimage

    coco = require("pycocotools.mask", '"keras-deepskip[coco]"', "`formats=['coco']`")
    found = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        # Encoded from the first column of the object to the last: the rest is two runs.
        whole = np.zeros((labels.shape[0], box[1].stop - box[1].start), "uint8", order="F")
        whole[box[0]] = labels[box] == number
        runs = _runs(whole)
        runs[0] += box[1].start * labels.shape[0]
        runs.append((labels.shape[1] - box[1].stop) * labels.shape[0])
        if whole[-1, -1]:  # the last run is of the object, what follows is a run of its own
            merged = runs
        else:
            merged = [*runs[:-2], runs[-2] + runs[-1]]
        plain = {"size": list(labels.shape), "counts": [int(run) for run in merged]}
        code = coco.frPyObjects(plain, *labels.shape)
        found.append({"size": list(labels.shape), "counts": code["counts"].decode("ascii")})
    return found


def _runs(mask):
    """Lengths of the runs of zeros and ones, column by column; the first is of zeros."""
    flat = mask.reshape(-1, order="F")
    ends = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *ends, len(flat)]).tolist()
    return [0, *runs] if flat[0] else runs


def write_coco(path, images, objects, names, num_classes):
    """Writes COCO annotations.

    Args:
        path: the JSON file.
        images: for each image `(file name, (height, width))`.
        objects: for each image its objects: lines of `object_table` with `segmentation`.
        names: of the classes by id, or None.
        num_classes: channels of the model's outputs.
    """
    annotations = []
    for image_id, own in enumerate(objects, start=1):
        for row in own:
            left, top = row["left"], row["top"]
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": image_id,
                    "category_id": row["class_id"], "segmentation": row["segmentation"],
                    "bbox": [left, top, row["right"] - left, row["bottom"] - top],
                    "area": row["area"], "iscrowd": 0,
                    "score": round(row["mean_probability"], 4),
                }
            )  # fmt: skip
    ids = range(1, max(num_classes, 2))
    content = {
        "images": [
            {"id": number, "file_name": name, "height": int(size[0]), "width": int(size[1])}
            for number, (name, size) in enumerate(images, start=1)
        ],
        "categories": [{"id": i, "name": (names or {}).get(i, f"class {i}")} for i in ids],
        "annotations": annotations,
    }
    _files.write_json(path, content)
