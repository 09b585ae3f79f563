"""Mask R-CNN, which finds objects one by one, and its adapter to semantic masks."""

from keras_deepskip.architectures.instance.instances import instance_mask, instance_model
from keras_deepskip.architectures.instance.network import mask_rcnn
from keras_deepskip.architectures.instance.training import (
    finds_instances,
    inference_model,
    training_model,
)

__all__ = [
    "finds_instances",
    "inference_model",
    "instance_mask",
    "instance_model",
    "mask_rcnn",
    "training_model",
]
