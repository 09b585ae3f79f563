"""Weight initializers that draw the same numbers on every backend."""

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
        values = np.random.standard_normal(shape)
        values *= math.sqrt(self.gain / fan_in)  # in place: a kernel may have 10^8 weights
        return keras.ops.convert_to_tensor(values.astype("float32"), dtype=dtype)

    def get_config(self):
        return {"gain": self.gain}


@keras.saving.register_keras_serializable(package="keras_deepskip")
class NumpyVarianceScaling(keras.initializers.Initializer):
    """`keras.initializers.VarianceScaling`, sampled by NumPy; by default Glorot's uniform one.

    For backbones that others have written: the same distribution as Keras's, and the reasons of
    `FanInNormal` (JAX takes up to 40 s for Keras's own draws of a large backbone).

    Args:
        scale: variance times fan.
        mode: `"fan_in"`, `"fan_out"` or `"fan_avg"`.
        distribution: `"uniform"`, `"truncated_normal"` or `"untruncated_normal"`.

    Raises:
        ValueError: if an argument is none of these.

    Example:

    >>> tuple(NumpyVarianceScaling()((3, 3, 8, 16)).shape)
    (3, 3, 8, 16)
    """

    def __init__(self, scale=1.0, mode="fan_avg", distribution="uniform"):
        self.scale = _checks.check_number("scale", scale, 1e-12, math.inf, open_high=True)
        self.mode = _checks.check_choice("mode", mode, ("fan_in", "fan_out", "fan_avg"))
        kinds = ("uniform", "truncated_normal", "untruncated_normal")
        self.distribution = _checks.check_choice("distribution", distribution, kinds)

    def __call__(self, shape, dtype=None):
        taps = math.prod(shape[:-2])
        fan_in, fan_out = taps * shape[-2], taps * shape[-1]
        fans = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
        values = self._unit_draws(shape) * math.sqrt(self.scale / fans[self.mode])
        return keras.ops.convert_to_tensor(values.astype("float32"), dtype=dtype)

    def _unit_draws(self, shape):
        """Draws of variance 1."""
        if self.distribution == "uniform":
            return np.random.uniform(-math.sqrt(3), math.sqrt(3), shape)
        values = np.random.standard_normal(shape)
        if self.distribution == "untruncated_normal":
            return values
        while (far := np.abs(values) > 2).any():
            values[far] = np.random.standard_normal(int(far.sum()))
        return values / 0.87962566103423978  # deviation of a normal cut at 2

    def get_config(self):
        return {"scale": self.scale, "mode": self.mode, "distribution": self.distribution}
