"""Networks: one function each, which returns a functional `keras.Model`."""

from keras_deepskip.architectures.deepskip import deepskip
from keras_deepskip.architectures.fcn8s import fcn8s
from keras_deepskip.architectures.h_denseunet import h_denseunet
from keras_deepskip.architectures.instance import (
    finds_instances,
    inference_model,
    instance_mask,
    instance_model,
    mask_rcnn,
    training_model,
)
from keras_deepskip.architectures.pspnet import pspnet
from keras_deepskip.architectures.unet import unet
from keras_deepskip.architectures.unet3plus import unet3plus

ARCHITECTURES = {
    "deepskip": deepskip,
    "unet": unet,
    "unet3plus": unet3plus,
    "fcn8s": fcn8s,
    "pspnet": pspnet,
    "h_denseunet": h_denseunet,
    "mask_rcnn": mask_rcnn,
}

__all__ = [
    "ARCHITECTURES",
    "deepskip",
    "fcn8s",
    "finds_instances",
    "h_denseunet",
    "inference_model",
    "instance_mask",
    "instance_model",
    "mask_rcnn",
    "pspnet",
    "training_model",
    "unet",
    "unet3plus",
]
