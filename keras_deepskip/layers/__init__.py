"""Keras layers of the deep-skip network, each usable by itself."""

from keras_deepskip.layers.depth_skip_block import DepthSkipBlock
from keras_deepskip.layers.feature_aggregation import FeatureAggregation
from keras_deepskip.layers.initializers import FanInNormal
from keras_deepskip.layers.resize import CropToMatch, PadToMultiple
from keras_deepskip.layers.upsampled_conv import UpsampledConv2D

__all__ = [
    "CropToMatch",
    "DepthSkipBlock",
    "FanInNormal",
    "FeatureAggregation",
    "PadToMultiple",
    "UpsampledConv2D",
]
