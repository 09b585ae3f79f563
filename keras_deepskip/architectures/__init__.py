"""Networks: one function each, which returns a functional `keras.Model`."""

from keras_deepskip.architectures.deepskip import deepskip

ARCHITECTURES = {
    "deepskip": deepskip,
}

__all__ = ["ARCHITECTURES", "deepskip"]
