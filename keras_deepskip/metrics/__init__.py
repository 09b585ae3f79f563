"""Metrics: of pixels, counted in compiled steps; of objects, on predictions or by a callback."""

from keras_deepskip.metrics.callbacks import ObjectMetricsCallback
from keras_deepskip.metrics.coco_precision import CocoPrecision
from keras_deepskip.metrics.finest_level import FinestLevel
from keras_deepskip.metrics.object_counts import COCO_STRATA, SIZE_STRATA, ObjectCounts
from keras_deepskip.metrics.object_metrics import ObjectF1, ObjectPrecision, ObjectRecall
from keras_deepskip.metrics.object_quality import ObjectQuality
from keras_deepskip.metrics.pixel import F1, Dice, IoU, Precision, Recall, masks_from_outputs
from keras_deepskip.objects import ObjectStream

__all__ = [
    "COCO_STRATA",
    "SIZE_STRATA",
    "CocoPrecision",
    "Dice",
    "F1",
    "FinestLevel",
    "IoU",
    "ObjectCounts",
    "ObjectF1",
    "ObjectMetricsCallback",
    "ObjectPrecision",
    "ObjectQuality",
    "ObjectRecall",
    "ObjectStream",
    "Precision",
    "Recall",
    "masks_from_outputs",
]
