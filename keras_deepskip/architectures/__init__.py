"""Networks: one function each, which returns a functional `keras.Model`."""

from keras_deepskip.architectures.deepskip_network import deepskip
from keras_deepskip.architectures.frame import Frame
from keras_deepskip.architectures.registry import (
    ARCHITECTURES,
    Architecture,
    TrainingAdapter,
    adapter_of,
    find_architecture,
)
from keras_deepskip.architectures.unet_network import unet

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "Frame",
    "TrainingAdapter",
    "adapter_of",
    "deepskip",
    "find_architecture",
    "unet",
]
