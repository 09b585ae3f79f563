"""F of equation 1: convolution, batch norm and ReLU, twice."""

import keras
from keras import layers

from keras_deepskip import _checks
from keras_deepskip.layers.conv_block import batch_norm, plain_conv


@keras.saving.register_keras_serializable(package="keras_deepskip")
class FeatureAggregation(keras.layers.Layer):
    """Brings the concatenated branches of a decoder level together: F of equation 1.

    Convolution, batch norm and ReLU, twice; the first convolution takes the branches' channels
    down to `filters`.

    Args:
        filters: channels of the result, C_u.
        kernel_size: odd size of both kernels in pixels.
        dropout: share of whole channels that are dropped in training, after the second ReLU.

    Input shape: (N, H, W, C).
    Output shape: (N, H, W, filters).

    Raises:
        ValueError: if `filters` is not positive, `kernel_size` is even, or `dropout` is outside
            [0, 1).

    Example:

    >>> x = np.ones((1, 16, 16, 40), "float32")
    >>> tuple(FeatureAggregation(8)(x).shape)
    (1, 16, 16, 8)

    Source: F in equation 1 of H. Sun, Traitement du Signal 40(4), 2023 (there: Phi).
    """

    def __init__(self, filters, kernel_size=3, dropout=0.0, **arguments):
        super().__init__(**arguments)
        self.filters = _checks.check_integer("filters", filters)
        self.kernel_size = _checks.check_integer("kernel_size", kernel_size, odd=True)
        self.dropout = _checks.check_number("dropout", dropout, 0, 1, open_high=True)
        self.steps = []
        for index in "12":
            self.steps += [
                plain_conv(filters, kernel_size, name=f"conv{index}", dtype=self.dtype_policy),
                batch_norm(name=f"bn{index}", dtype=self.dtype_policy),
                layers.ReLU(name=f"relu{index}", dtype=self.dtype_policy),
            ]
        if dropout:
            self.steps.append(layers.SpatialDropout2D(dropout, name="drop"))

    def build(self, input_shape):
        for step in self.steps:
            step.build(input_shape)
            input_shape = step.compute_output_shape(input_shape)
        self.built = True

    def call(self, inputs, training=None):
        x = inputs
        for step in self.steps:
            takes_training = isinstance(step, layers.BatchNormalization | layers.SpatialDropout2D)
            x = step(x, training=training) if takes_training else step(x)
        return x  # (N, H, W, filters)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "dropout": self.dropout,
        }
