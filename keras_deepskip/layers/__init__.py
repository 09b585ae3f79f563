"""Keras layers of the deep-skip network, each usable by itself."""

from keras_deepskip.layers.batch_norm import FusedBatchNormalization
from keras_deepskip.layers.bilinear import BilinearKernel, BilinearUpsampling2D
from keras_deepskip.layers.centred_conv import CentredConv2D, CentredConv3D
from keras_deepskip.layers.deep_supervision import DeepSupervision
from keras_deepskip.layers.depth_skip_block import DepthSkipBlock
from keras_deepskip.layers.feature_aggregation import FeatureAggregation
from keras_deepskip.layers.initializers import FanInNormal, NumpyVarianceScaling
from keras_deepskip.layers.non_max_suppression import NonMaxSuppression
from keras_deepskip.layers.plain_conv import (
    ConcatenatedConv2D,
    ConcatenatedConv3D,
    PlainConv2D,
    PlainConv3D,
)
from keras_deepskip.layers.pyramid_pooling import PyramidPooling
from keras_deepskip.layers.resize import CropToMatch, PadToMultiple
from keras_deepskip.layers.roi_align import ROIAlign
from keras_deepskip.layers.slices import NeighbouringSlices, StackSlices
from keras_deepskip.layers.upsampled_conv import UpsampledConv2D, UpsampledConv3D

__all__ = [
    "BilinearKernel",
    "BilinearUpsampling2D",
    "CentredConv2D",
    "CentredConv3D",
    "ConcatenatedConv2D",
    "ConcatenatedConv3D",
    "CropToMatch",
    "DeepSupervision",
    "DepthSkipBlock",
    "FanInNormal",
    "FeatureAggregation",
    "FusedBatchNormalization",
    "NeighbouringSlices",
    "NonMaxSuppression",
    "NumpyVarianceScaling",
    "PadToMultiple",
    "PlainConv2D",
    "PlainConv3D",
    "StackSlices",
    "PyramidPooling",
    "ROIAlign",
    "UpsampledConv2D",
    "UpsampledConv3D",
]
