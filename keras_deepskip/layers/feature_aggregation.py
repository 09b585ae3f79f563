"""F of equation 1: convolution, batch norm and ReLU, twice."""

import keras
from keras import layers

from keras_deepskip import _checks
from keras_deepskip.layers.conv_block import batch_norm, conv_initializer
from keras_deepskip.layers.plain_conv import ConcatenatedConv2D, PlainConv2D


@keras.saving.register_keras_serializable(package="keras_deepskip")
class FeatureAggregation(keras.layers.Layer):
    """Brings the concatenated branches of a decoder level together: F of equation 1.

    Convolution, batch norm and ReLU, twice; the first convolution takes the branches' channels
    down to `filters`.

    Args:
        filters: channels of the result, C_u.
        kernel_size: odd size of both kernels in pixels.
        dropout: share of whole channels that are dropped in training, after the second ReLU.
        use_batch_norm: False gives the convolutions a bias instead, which is what inference needs
            (`keras_deepskip.fold_batch_norm`).

    Input shape: (N, H, W, C), or a list of (N, H, W, C_i), which is worked on as if concatenated.
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

    def __init__(self, filters, kernel_size=3, dropout=0.0, use_batch_norm=True, **arguments):
        super().__init__(**arguments)
        self.filters = _checks.check_integer("filters", filters)
        self.kernel_size = _checks.check_integer("kernel_size", kernel_size, odd=True)
        self.dropout = _checks.check_number("dropout", dropout, 0, 1, open_high=True)
        self.use_batch_norm = use_batch_norm
        self.steps = []
        for index, kind in (("1", ConcatenatedConv2D), ("2", PlainConv2D)):
            conv = kind(
                filters,
                kernel_size,
                use_bias=not use_batch_norm,
                kernel_initializer=conv_initializer(),
                name=f"conv{index}",
                dtype=self.dtype_policy,
            )
            norm = [batch_norm(name=f"bn{index}", dtype=self.dtype_policy)] * use_batch_norm
            self.steps += [conv, *norm, layers.ReLU(name=f"relu{index}", dtype=self.dtype_policy)]
        if dropout:
            self.steps.append(layers.SpatialDropout2D(dropout, name="drop"))

    @property
    def normalized(self):
        """The convolutions, each with the batch norm behind it."""
        norms = [step for step in self.steps if isinstance(step, layers.BatchNormalization)]
        convs = [step for step in self.steps if isinstance(step, PlainConv2D)]
        return list(zip(convs, norms, strict=self.use_batch_norm))

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
        return self.steps[0].compute_output_shape(input_shape)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "dropout": self.dropout,
            "use_batch_norm": self.use_batch_norm,
        }
