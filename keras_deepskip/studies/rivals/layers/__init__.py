"""Layers of the paper's rivals alone."""

from keras_deepskip.studies.rivals.layers.bilinear import BilinearKernel, BilinearUpsampling2D
from keras_deepskip.studies.rivals.layers.centred_conv import CentredConv2D, CentredConv3D
from keras_deepskip.studies.rivals.layers.pyramid_pooling import PyramidPooling
from keras_deepskip.studies.rivals.layers.slices import NeighbouringSlices, StackSlices

__all__ = [
    "BilinearKernel",
    "BilinearUpsampling2D",
    "CentredConv2D",
    "CentredConv3D",
    "NeighbouringSlices",
    "PyramidPooling",
    "StackSlices",
]
