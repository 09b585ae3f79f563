"""Folders of images and masks: found, read, split, audited, cut into batches."""

from keras_deepskip.data.auditing import AuditReport, Finding, audit
from keras_deepskip.data.augmentation import Augmentation, KerasAugmentation
from keras_deepskip.data.coco import CocoMask, coco_classes, coco_samples, write_masks
from keras_deepskip.data.folder import find_images, find_samples
from keras_deepskip.data.images import (
    image_size,
    read_image,
    read_mask,
    to_channels,
    write_png,
)
from keras_deepskip.data.importers import LAYOUTS, ImportedSet, Layout, import_set
from keras_deepskip.data.masks import MaskReading, mask_values
from keras_deepskip.data.samples import (
    Sample,
    has_objects,
    load_image,
    load_mask,
    load_objects,
    load_pair,
)
from keras_deepskip.data.sampling import (
    CropDataset,
    FollowEpoch,
    WindowDataset,
    channel_statistics,
    value_range,
)
from keras_deepskip.data.split import (
    Split,
    fold_splits,
    load_split,
    split_samples,
    split_to_json,
    write_split,
)
from keras_deepskip.data.survey import Survey
from keras_deepskip.data.synthetic import KINDS, class_names, draw_scene, sample, scenes

__all__ = [
    "AuditReport",
    "Augmentation",
    "CocoMask",
    "CropDataset",
    "Finding",
    "FollowEpoch",
    "ImportedSet",
    "KINDS",
    "KerasAugmentation",
    "LAYOUTS",
    "Layout",
    "MaskReading",
    "Sample",
    "Split",
    "Survey",
    "WindowDataset",
    "audit",
    "channel_statistics",
    "class_names",
    "coco_classes",
    "coco_samples",
    "draw_scene",
    "find_images",
    "find_samples",
    "fold_splits",
    "image_size",
    "import_set",
    "load_image",
    "load_mask",
    "has_objects",
    "load_objects",
    "load_pair",
    "load_split",
    "mask_values",
    "read_image",
    "read_mask",
    "sample",
    "scenes",
    "split_samples",
    "split_to_json",
    "to_channels",
    "value_range",
    "write_masks",
    "write_png",
    "write_split",
]
