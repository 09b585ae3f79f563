"""Objects in the forms that other tools open: one writer a form, which `predict` is asked for.

A writer is made with the folder, the names of the classes by id (or None) and the number of
channels of the model's outputs. `add(sample, labels, rows)` takes an image's objects: its `Sample`,
which object each pixel is of, and the lines of `object_table`. `finish()` comes after the last.
"""

from typing import Any

from keras_deepskip.inference.forms.coco import Coco
from keras_deepskip.inference.forms.geojson import GeoJson
from keras_deepskip.inference.forms.imagej import ImageJ
from keras_deepskip.inference.forms.yolo import Yolo

FORMS: dict[str, Any] = {"coco": Coco, "geojson": GeoJson, "imagej": ImageJ, "yolo": Yolo}
__all__ = ["FORMS"]
