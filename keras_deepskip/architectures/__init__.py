"""Networks: one function each, which returns a functional `keras.Model`."""

from keras_deepskip.architectures.deepskip import deepskip
from keras_deepskip.architectures.unet import unet

ARCHITECTURES = {
    "deepskip": deepskip,
    "unet": unet,
}

__all__ = ["ARCHITECTURES", "deepskip", "unet"]
