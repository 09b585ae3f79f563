"""Encoders. Each gives maps E_1 .. E_B, where E_u has stride 2^(u-1): E_1 is at full resolution."""

from keras_deepskip.encoders.resnet import light_resnet34
from keras_deepskip.encoders.vgg import light_vgg16

ENCODERS = {
    "light_vgg16": light_vgg16,
    "light_resnet34": light_resnet34,
}

__all__ = ["ENCODERS", "light_resnet34", "light_vgg16"]
