"""F of equation 1: convolution, batch norm and ReLU, twice."""

import keras
from keras import layers

from keras_deepskip import _checks
from keras_deepskip.layers.conv_block import (
    batch_norm,
    conv_initializer,
    spatial_rank,
)
from keras_deepskip.layers.plain_conv import CONCATENATED_CONVS, PLAIN_CONVS, SameConv

DROPOUTS = {2: layers.SpatialDropout2D, 3: layers.SpatialDropout3D}  # by spatial axes


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

    Input shape: (N, H, W, C), or a list of (N, H, W, C_i), which is worked on as if concatenated;
        or volumes, (N, D, H, W, C).
    Output shape: (N, H, W, filters), or (N, D, H, W, filters).

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
        self.steps = []  # what they are shows with the maps: images or volumes

    def _make_steps(self, rank):
        steps = []
        for index, kinds in (("1", CONCATENATED_CONVS), ("2", PLAIN_CONVS)):
            conv = kinds[rank](
                self.filters,
                self.kernel_size,
                use_bias=not self.use_batch_norm,
                kernel_initializer=conv_initializer(),
                name=f"conv{index}",
                dtype=self.dtype_policy,
            )
            norm = [batch_norm(name=f"bn{index}", dtype=self.dtype_policy)] * self.use_batch_norm
            steps += [conv, *norm, layers.ReLU(name=f"relu{index}", dtype=self.dtype_policy)]
        if self.dropout:
            steps.append(DROPOUTS[rank](self.dropout, name="drop"))
        return steps

    @property
    def normalized(self):
        """The convolutions, each with the batch norm after it."""
        norms = [step for step in self.steps if isinstance(step, layers.BatchNormalization)]
        convs = [step for step in self.steps if isinstance(step, SameConv)]
        return list(zip(convs, norms, strict=self.use_batch_norm))

    def build(self, input_shape):
        listed = isinstance(input_shape[0], list | tuple)
        self.steps = self._make_steps(spatial_rank(input_shape[0] if listed else input_shape))
        for step in self.steps:
            step.build(input_shape)
            input_shape = step.compute_output_shape(input_shape)
        self.built = True

    def call(self, inputs, training=None):
        x = inputs
        for step in self.steps:  # Keras hands `training` on to them
            x = step(x)
        return x  # (N, H, W, filters)

    def compute_output_shape(self, input_shape):
        first = input_shape[0] if isinstance(input_shape[0], list | tuple) else input_shape
        return (*first[:-1], self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "dropout": self.dropout,
            "use_batch_norm": self.use_batch_norm,
        }
