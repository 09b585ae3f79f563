"""Mask R-CNN, which finds objects one by one, and its adapter to semantic masks."""

from keras_deepskip.studies.rivals.mask_rcnn.adapter import MaskRCNNAdapter
from keras_deepskip.studies.rivals.mask_rcnn.batches import InstanceDataset, instances_from_masks
from keras_deepskip.studies.rivals.mask_rcnn.instance_outputs import instance_mask, instance_model
from keras_deepskip.studies.rivals.mask_rcnn.network import mask_rcnn
from keras_deepskip.studies.rivals.mask_rcnn.non_max_suppression import NonMaxSuppression
from keras_deepskip.studies.rivals.mask_rcnn.roi_align import ROIAlign
from keras_deepskip.studies.rivals.mask_rcnn.training_form import (
    finds_instances,
    inference_model,
    training_model,
)

__all__ = [
    "InstanceDataset",
    "MaskRCNNAdapter",
    "NonMaxSuppression",
    "ROIAlign",
    "finds_instances",
    "inference_model",
    "instance_mask",
    "instance_model",
    "instances_from_masks",
    "mask_rcnn",
    "training_model",
]
