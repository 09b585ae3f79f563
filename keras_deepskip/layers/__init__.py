"""Keras layers of the deep-skip network, each usable by itself."""

from keras_deepskip.layers.batch_norm import FusedBatchNormalization
from keras_deepskip.layers.depth_skip_block import DepthSkipBlock
from keras_deepskip.layers.feature_aggregation import FeatureAggregation
from keras_deepskip.layers.initializers import FanInNormal
from keras_deepskip.layers.plain_conv import ConcatenatedConv2D, PlainConv2D
from keras_deepskip.layers.resize import CropToMatch, PadToMultiple
from keras_deepskip.layers.upsampled_conv import UpsampledConv2D

__all__ = [
    "ConcatenatedConv2D",
    "CropToMatch",
    "DepthSkipBlock",
    "FanInNormal",
    "FeatureAggregation",
    "FusedBatchNormalization",
    "PadToMultiple",
    "PlainConv2D",
    "UpsampledConv2D",
]
