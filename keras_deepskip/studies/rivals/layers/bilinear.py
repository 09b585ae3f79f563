"""Bilinear upsampling of maps whose sizes need not be known, and of learned transposed kernels."""

import keras
import numpy as np
from keras import ops

from keras_deepskip import _checks


@keras.saving.register_keras_serializable(package="keras_deepskip")
class BilinearUpsampling2D(keras.layers.Layer):
    """Upsamples maps by a whole factor, bilinearly between the centres of pixels.

    The values are those of `keras.layers.UpSampling2D(factor, interpolation="bilinear")`, and of
    PyTorch's `interpolate` with `align_corners=False`: what lies beyond the outermost centres has
    the outermost pixels' values. Keras's layer cannot be traced by TensorFlow where height or width
    is unknown; this one is made of slices and sums, and works everywhere.

    Args:
        factor: how many pixels a pixel becomes along each axis.

    Input shape: (N, H, W, C), of any size.
    Output shape: (N, factor H, factor W, C).

    Raises:
        ValueError: if `factor` is no whole number of at least 1.

    Example:

    >>> x = np.array([0.0, 4.0]).reshape(1, 1, 2, 1)
    >>> keras.ops.convert_to_numpy(BilinearUpsampling2D(2)(x))[0, :, :, 0].tolist()
    [[0.0, 1.0, 3.0, 4.0], [0.0, 1.0, 3.0, 4.0]]
    """

    def __init__(self, factor, **arguments):
        super().__init__(**arguments)
        self.factor = _checks.check_integer("factor", factor)

    def call(self, inputs):
        x = inputs
        for axis in (1, 2) if self.factor > 1 else ():
            x = _upsampled(x, axis, self.factor)
        return x  # (N, factor H, factor W, C)

    def compute_output_shape(self, input_shape):
        batch, *sizes, channels = input_shape
        return (batch, *(size and size * self.factor for size in sizes), channels)

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


def _upsampled(x, axis, factor):
    """Along one axis: each pixel becomes `factor`, the first half of them towards the one before.

    The new pixel r of a small pixel has its centre (r + 1/2) / factor - 1/2 from the small one's.
    """
    away = (np.arange(factor) + 0.5) / factor - 0.5
    ends = [(slice(None),) * axis + (which,) for which in _ENDS]
    before = ops.concatenate([x[ends[0]], x[ends[1]]], axis=axis)  # the outermost pixels repeated
    after = ops.concatenate([x[ends[2]], x[ends[3]]], axis=axis)
    parts = [_between(x, before, -away[away < 0], axis), _between(x, after, away[away >= 0], axis)]
    y = ops.concatenate(parts, axis=axis + 1)  # (.., H, factor, ..)
    shape = list(ops.shape(x))
    shape[axis] = shape[axis] * factor
    return ops.reshape(y, shape)


_ENDS = slice(0, 1), slice(0, -1), slice(1, None), slice(-1, None)


def _between(x, other, shares, axis):
    """New pixels after each pixel of `x`, with the shares that `other` has in them."""
    shares = shares.reshape(-1, *[1] * (len(x.shape) - axis - 1))
    own, others = (ops.convert_to_tensor(s, x.dtype) for s in (1 - shares, shares))
    return ops.expand_dims(x, axis + 1) * own + ops.expand_dims(other, axis + 1) * others


@keras.saving.register_keras_serializable(package="keras_deepskip")
class BilinearKernel(keras.initializers.Initializer):
    """Has a transposed convolution begin as bilinear upsampling, each channel by itself.

    For `Conv2DTranspose(channels, 2 * factor - factor % 2, factor, padding="same")` of as many
    channels as come in. It then gives what `BilinearUpsampling2D(factor)` gives, but within half a
    small pixel of the border, where it fades to zero.

    Example:

    >>> kernel = keras.ops.convert_to_numpy(BilinearKernel()((4, 4, 2, 2)))
    >>> kernel[0, :, 0, 0].tolist(), kernel[0, :, 0, 1].tolist()
    ([0.0625, 0.1875, 0.1875, 0.0625], [0.0, 0.0, 0.0, 0.0])

    Source: J. Long, E. Shelhamer, T. Darrell, Fully Convolutional Networks for Semantic
    Segmentation, CVPR 2015, section 3.3.
    """

    def __call__(self, shape, dtype=None):
        rows, columns, into, out = shape
        if into != out:
            raise ValueError(
                "bilinear upsampling keeps the number of channels. Received: a kernel of shape "
                f"{tuple(shape)}"
            )
        taps = np.multiply.outer(_tent(rows), _tent(columns))
        values = taps[:, :, None, None] * np.eye(into)
        return ops.convert_to_tensor(values.astype("float32"), dtype=dtype)

    def get_config(self):
        return {}


def _tent(size):
    """Shares that a pixel has in the new ones about it, upsampled by the half of `size`."""
    factor = (size + 1) // 2
    centre = factor - 1 if size % 2 else factor - 0.5
    return 1 - abs(np.arange(size) - centre) / factor
