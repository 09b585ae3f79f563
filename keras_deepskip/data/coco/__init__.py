"""COCO files of instances as masks of class ids."""

from keras_deepskip.data.coco.mask import CocoMask
from keras_deepskip.data.coco.notes import Note
from keras_deepskip.data.coco.outlines import OUTLINE_SHARE
from keras_deepskip.data.coco.sets import (
    CocoSet,
    coco_classes,
    coco_samples,
    read_coco_set,
    write_masks,
)

__all__ = [
    "OUTLINE_SHARE",
    "CocoMask",
    "CocoSet",
    "Note",
    "coco_classes",
    "coco_samples",
    "read_coco_set",
    "write_masks",
]
