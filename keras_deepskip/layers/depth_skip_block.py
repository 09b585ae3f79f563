"""The deep skip connections of one decoder level: the branches of equation 1, concatenated."""

import keras
from keras import ops

from keras_deepskip import _checks
from keras_deepskip.layers.conv_block import spatial_rank
from keras_deepskip.layers.initializers import FanInNormal
from keras_deepskip.layers.upsampled_conv import UPSAMPLED_CONVS


@keras.saving.register_keras_serializable(package="keras_deepskip")
class DepthSkipBlock(keras.layers.Layer):
    """Brings this level's and every deeper encoder map to one decoder level.

    Takes `[E_u, E_{u+1}, ..., D_{u+1}]` and gives `[P(E_u), P(I(E_{u+1})), ..., P(I(D_{u+1}))]`
    concatenated, in equation 1's letters: each deeper map is upsampled to the size of the first and
    brought to `filters` channels by a convolution of its own. The map at position j is upsampled
    2^j times; the last one, the decoder's, comes from one level below and is upsampled twice.
    With two inputs this is the plain skip connection of a U-Net (`skips="flat"`), or level B-1.

    Args:
        filters: channels of each branch, C_u.
        kernel_size: odd size of the convolutions' kernels in pixels.
        concatenate: False gives the list of branches. `FeatureAggregation` takes it as it takes
            their concatenation, which then is never in memory.

    Input shape: a list of n >= 2 maps: (N, H, W, C_0), (N, H/2, W/2, C_1), (N, H/4, W/4, C_2),
        ..., and last (N, H/2, W/2, C_{n-1}). Of volumes likewise, with D before H.
    Output shape: (N, H, W, n filters); with `concatenate=False` n times (N, H, W, filters).

    Raises:
        ValueError: if fewer than two maps are given, or their sizes do not halve from one to the
            next.

    Example:

    >>> e1, e2, d2 = np.ones((1, 32, 32, 8)), np.ones((1, 16, 16, 16)), np.ones((1, 16, 16, 16))
    >>> tuple(DepthSkipBlock(8)([e1, e2, d2]).shape)
    (1, 32, 32, 24)

    Source: equation 1 of H. Sun, Traitement du Signal 40(4), 2023.
    """

    def __init__(self, filters, kernel_size=3, concatenate=True, **arguments):
        super().__init__(**arguments)
        self.filters = _checks.check_integer("filters", filters)
        self.kernel_size = _checks.check_integer("kernel_size", kernel_size, odd=True)
        self.concatenate = concatenate
        self.branches = []

    def build(self, input_shape):
        factors = _enlargements(input_shape)
        conv = UPSAMPLED_CONVS[spatial_rank(input_shape[0])]
        self.branches = [
            conv(
                self.filters,
                self.kernel_size,
                factor,
                kernel_initializer=FanInNormal(gain=1.0),  # P has no ReLU after it
                name=f"skip{position}_conv",
                dtype=self.dtype_policy,
            )
            for position, factor in enumerate(factors)
        ]
        for branch, shape in zip(self.branches, input_shape, strict=True):
            branch.build(shape)
        self.built = True

    def call(self, inputs):
        parts = [branch(x) for branch, x in zip(self.branches, inputs, strict=True)]
        return ops.concatenate(parts, axis=-1) if self.concatenate else parts

    def compute_output_shape(self, input_shape):
        around, count = input_shape[0][:-1], len(input_shape)
        if self.concatenate:
            return (*around, count * self.filters)
        return [(*around, self.filters)] * count

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "concatenate": self.concatenate,
        }


def _enlargements(shapes):
    """How often each map is upsampled: 1, 2, 4, ... and 2 for the decoder's map, the last."""
    nested = isinstance(shapes, list | tuple) and all(isinstance(s, list | tuple) for s in shapes)
    if not nested or len(shapes) < 2:
        raise ValueError(
            "DepthSkipBlock takes a list of at least two maps, [E_u, E_{u+1}, ..., D_{u+1}]. "
            f"Received: shapes {shapes}"
        )
    factors = [2**position for position in range(len(shapes) - 1)] + [2]
    for shape, factor in zip(shapes, factors, strict=True):
        sizes = zip(shape[1:-1], shapes[0][1:-1], strict=False)
        halve = all(a is None or b is None or a * factor == b for a, b in sizes)
        if len(shape) != len(shapes[0]) or not halve:
            raise ValueError(
                "DepthSkipBlock takes maps that halve from one to the next, and last one of "
                f"half the first's size (factors {factors}). Received: shapes {shapes}"
            )
    return factors
