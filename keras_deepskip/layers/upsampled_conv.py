"""P(I(.)): nearest enlargement, then a convolution."""

import keras
from keras import ops

from keras_deepskip import _checks


@keras.saving.register_keras_serializable(package="keras_deepskip")
class UpsampledConv2D(keras.layers.Conv2D):
    """Enlarges a map `factor` times by nearest neighbour and convolves it with 'same' padding.

    The result is that of `UpSampling2D(factor)` followed by `Conv2D(filters, kernel_size,
    padding="same")`, and the weights are that convolution's own: same names, same shapes. This is
    P(I(.)) of equation 1: with `factor=1` it is the plain convolution P.

    Args:
        filters: channels of the result.
        kernel_size: odd size of the kernel, in pixels of the enlarged map.
        factor: whole number of times that height and width grow.
        **arguments: what `keras.layers.Conv2D` takes beside these (`use_bias`,
            `kernel_initializer`, `name`, ...), but for strides and padding.

    Input shape: (N, H, W, C).
    Output shape: (N, factor H, factor W, filters).

    Raises:
        ValueError: if `kernel_size` is even, or `factor` no whole number of at least 1.

    Example:

    >>> x = np.ones((1, 4, 6, 16), "float32")
    >>> tuple(UpsampledConv2D(8, kernel_size=3, factor=4)(x).shape)
    (1, 16, 24, 8)

    Source: I and P of equation 1 in H. Sun, Traitement du Signal 40(4), 2023.
    """

    def __init__(self, filters, kernel_size=3, factor=2, **arguments):
        for fixed in ("strides", "padding", "data_format", "dilation_rate", "groups"):
            if fixed in arguments:
                raise ValueError(
                    f"`{fixed}` of UpsampledConv2D is fixed (stride 1, 'same', channels last). "
                    f"Received: {fixed}={arguments[fixed]!r}. Leave it out"
                )
        _checks.check_integer("factor", factor)
        size = kernel_size[0] if isinstance(kernel_size, list | tuple) else kernel_size
        _checks.check_integer("kernel_size", size, odd=True)
        super().__init__(
            filters, kernel_size, padding="same", data_format="channels_last", **arguments
        )
        self.factor = factor

    def call(self, inputs):
        if self.factor > 1:
            inputs = ops.repeat(ops.repeat(inputs, self.factor, axis=1), self.factor, axis=2)
        return super().call(inputs)  # (N, factor H, factor W, filters)

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        return (batch, _times(height, self.factor), _times(width, self.factor), self.filters)

    def get_config(self):
        config = super().get_config()
        for fixed in ("strides", "padding", "data_format", "dilation_rate", "groups"):
            del config[fixed]
        return {**config, "factor": self.factor}


def _times(size, factor):
    return None if size is None else size * factor
