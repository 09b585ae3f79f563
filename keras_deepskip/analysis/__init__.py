"""What a network costs and sees: equations 2-4 in integers, and the same of a built model."""

from keras_deepskip.analysis.costs import conv_parameters, grid_stride, macs, receptive_field
from keras_deepskip.analysis.equations import (
    closed_form,
    decoder_parameters,
    resnet_parameters,
    vgg_parameters,
)
from keras_deepskip.analysis.report import Analysis, analyze
from keras_deepskip.analysis.rules import RULES
from keras_deepskip.analysis.views import ReceptiveField

__all__ = [
    "RULES",
    "Analysis",
    "ReceptiveField",
    "analyze",
    "closed_form",
    "conv_parameters",
    "decoder_parameters",
    "grid_stride",
    "macs",
    "receptive_field",
    "resnet_parameters",
    "vgg_parameters",
]
