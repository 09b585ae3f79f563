"""Encoders. Each gives maps E_1 .. E_B, where E_u has stride 2^(u-1): E_1 is at full resolution."""

from keras_deepskip.encoders.applications import APPLICATIONS, Preprocessing
from keras_deepskip.encoders.encoder import LIGHT, LIGHT_LEVELS, Encoder, build_encoder
from keras_deepskip.encoders.freezing import backbone_levels, set_trainable_backbone
from keras_deepskip.encoders.light_resnet import light_resnet34
from keras_deepskip.encoders.light_vgg import light_vgg16
from keras_deepskip.encoders.pretrained import adapt_kernel
from keras_deepskip.encoders.pyramid import cut_levels

BACKBONES = (*LIGHT, *APPLICATIONS)

__all__ = [
    "APPLICATIONS",
    "BACKBONES",
    "LIGHT",
    "LIGHT_LEVELS",
    "Encoder",
    "Preprocessing",
    "adapt_kernel",
    "backbone_levels",
    "build_encoder",
    "cut_levels",
    "light_resnet34",
    "light_vgg16",
    "set_trainable_backbone",
]
