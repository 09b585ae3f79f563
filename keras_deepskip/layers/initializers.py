"""The weight initializer of every convolution here: the same draw on every backend."""

import math

import keras
import numpy as np

from keras_deepskip import _checks


@keras.saving.register_keras_serializable(package="keras_deepskip")
class FanInNormal(keras.initializers.Initializer):
    """Normal draws with variance `gain / fan_in`, by NumPy.

    Keras's own initializers draw different numbers on different backends, and on JAX compile a
    program for each kernel shape. This one draws from NumPy's global generator, which
    `keras.utils.set_random_seed` seeds: one seed gives the same network on TensorFlow, JAX and
    PyTorch, and a model builds at once.

    Args:
        gain: 2 before a ReLU (He et al., 2015, eq. 10), 1 where nothing rectifies the output.

    Raises:
        ValueError: if `gain` is not a positive number.

    Example:

    >>> keras.utils.set_random_seed(0)
    >>> tuple(FanInNormal(gain=2.0)((3, 3, 8, 16)).shape)
    (3, 3, 8, 16)
    """

    def __init__(self, gain=2.0):
        _checks.check_number("gain", gain, 1e-12, math.inf, open_high=True)
        self.gain = gain

    def __call__(self, shape, dtype=None):
        fan_in = math.prod(shape[:-1])
        values = np.random.standard_normal(shape) * math.sqrt(self.gain / fan_in)
        return keras.ops.convert_to_tensor(values.astype("float32"), dtype=dtype)

    def get_config(self):
        return {"gain": self.gain}
