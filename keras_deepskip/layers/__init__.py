"""Keras layers of the deep-skip network, each usable by itself."""

from keras_deepskip.layers.deep_supervision import DeepSupervision
from keras_deepskip.layers.depth_skip_block import DepthSkipBlock
from keras_deepskip.layers.feature_aggregation import FeatureAggregation
from keras_deepskip.layers.fused_batch_norm import FusedBatchNormalization
from keras_deepskip.layers.image_normalization import ImageNormalization
from keras_deepskip.layers.initializers import FanInNormal, NumpyVarianceScaling
from keras_deepskip.layers.plain_conv import (
    ConcatenatedConv2D,
    ConcatenatedConv3D,
    PlainConv2D,
    PlainConv3D,
)
from keras_deepskip.layers.resize import CropToMatch, PadToMultiple
from keras_deepskip.layers.upsampled_conv import UpsampledConv2D, UpsampledConv3D

__all__ = [
    "ConcatenatedConv2D",
    "ConcatenatedConv3D",
    "CropToMatch",
    "DeepSupervision",
    "DepthSkipBlock",
    "FanInNormal",
    "FeatureAggregation",
    "FusedBatchNormalization",
    "ImageNormalization",
    "NumpyVarianceScaling",
    "PadToMultiple",
    "PlainConv2D",
    "PlainConv3D",
    "UpsampledConv2D",
    "UpsampledConv3D",
]
