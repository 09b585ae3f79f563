"""Deep supervision: in training, every decoder level says what it sees."""

import math

import keras
from keras import layers, ops

from keras_deepskip import _checks
from keras_deepskip.layers.conv_block import (
    batch_norm,
    plain_conv,
    spatial_rank,
)
from keras_deepskip.layers.initializers import FanInNormal

ACTIVATIONS = ("sigmoid", "softmax", None)


@keras.saving.register_keras_serializable(package="keras_deepskip")
class DeepSupervision(layers.Layer):
    """Adds the class scores of the coarser decoder levels to the output, in training alone.

    Each coarser map has a head of its own: a 1x1 convolution to the classes, on demand with a 3x3
    convolution before it. Its scores are upsampled to the output's size by nearest neighbour. In
    training the result holds the scores of all levels, block after block of `num_classes` channels,
    the output's own first: `losses.DeepSupervisionLoss` and `metrics.FinestLevel` take it apart. In
    inference it is the output, unchanged, and nothing else is computed; `fold_batch_norm` leaves
    the layer out.

    Args:
        num_classes: K, the channels of the output.
        activation: of the output: `"sigmoid"`, `"softmax"`, or None for logits.
        factors: how many pixels of the output a pixel of each map is; None is 2, 4, 8, ...
        hidden_filters: channels of a 3x3 convolution with batch norm and ReLU that each head has
            before its 1x1 one; None leaves it out.
        dropout: share of values dropped after that convolution in training.
        level_weights: what the losses of the output and of the maps are to weigh, for
            `losses.DeepSupervisionLoss(weights=)`, where `train` puts them; None is that loss's own
            rule. The layer itself makes nothing of them.

    Input shape: a list: the output (N, H, W, K); then maps of half, a quarter, ... of its size (or
        as `factors` have it), rounded up: (N, >= H/2, >= W/2, C_2), ... Volumes likewise.
    Output shape: (N, H, W, L K) in training, L the length of the list; else (N, H, W, K).

    Raises:
        ValueError: if an argument is out of range, or of another number of maps.

    Example:

    >>> output, d2 = np.ones((1, 6, 6, 1)), np.ones((1, 4, 4, 16))
    >>> layer = DeepSupervision(1, "sigmoid")
    >>> tuple(layer([output, d2]).shape), tuple(layer([output, d2], training=True).shape)
    ((1, 6, 6, 1), (1, 6, 6, 2))

    Source: C.-Y. Lee et al., Deeply-Supervised Nets, 2015.
    """

    def __init__(
        self,
        num_classes,
        activation=None,
        factors=None,
        hidden_filters=None,
        dropout=0.0,
        level_weights=None,
        name="supervision",
        **arguments,
    ):
        # the output goes through as it is, in float32 under every dtype policy
        super().__init__(name=name, autocast=False, **arguments)
        self.num_classes = _checks.check_integer("num_classes", num_classes)
        self.activation = _checks.check_choice("activation", activation, ACTIVATIONS)
        self.factors = factors and tuple(_checks.check_integer("factors", f) for f in factors)
        self.hidden_filters = hidden_filters
        if hidden_filters is not None:
            _checks.check_integer("hidden_filters", hidden_filters)
        self.dropout = _checks.check_number("dropout", dropout, 0, 1, open_high=True)
        self.level_weights = level_weights and tuple(
            _checks.check_number("level_weights", w, 0, math.inf, open_high=True)
            for w in level_weights
        )
        self.hidden = []  # the steps before all heads, head after head: Keras saves no nested lists
        self.heads = []

    def build(self, input_shape):
        _check_count("factors", self.factors, len(input_shape) - 1, "map")
        _check_count("level_weights", self.level_weights, len(input_shape), "input")
        rank = spatial_rank(input_shape[0])
        conv = layers.Conv2D if rank == 2 else layers.Conv3D
        for level, shape in enumerate(input_shape[1:], start=2):
            steps = self._hidden_steps(rank, f"head{level}")
            for step in steps:
                step.build(shape)
                shape = step.compute_output_shape(shape)
            self.hidden.extend(steps)
            head = conv(
                self.num_classes,
                1,
                activation=self.activation,
                kernel_initializer=FanInNormal(1.0),
                dtype="float32",  # scores, as the output's own
                name=f"head{level}_conv",
            )
            head.build(shape)
            self.heads.append(head)
        self.built = True

    def call(self, inputs, training=None):
        output, *maps = inputs
        if not training:
            return output
        size = ops.shape(output)[1:-1]
        factors = self.factors or [2 ** (u + 1) for u in range(len(maps))]
        per_head = len(self.hidden) // max(len(maps), 1)
        blocks = [output]
        for u, (x, factor, head) in enumerate(zip(maps, factors, self.heads, strict=True)):
            for step in self.hidden[u * per_head : (u + 1) * per_head]:
                x = step(x)
            blocks.append(_upsampled(head(x), size, factor))
        return ops.concatenate(blocks, axis=-1)  # (N, H, W, L K)

    def _hidden_steps(self, rank, name):
        if self.hidden_filters is None:
            return []
        options = {"dtype": self.dtype_policy}
        drop = [layers.Dropout(self.dropout, name=f"{name}_drop", **options)] * bool(self.dropout)
        return [
            plain_conv(self.hidden_filters, 3, rank=rank, name=f"{name}_hidden_conv", **options),
            batch_norm(name=f"{name}_bn", **options),
            layers.ReLU(name=f"{name}_relu", **options),
            *drop,
        ]

    def compute_output_spec(self, inputs, training=None):
        return keras.KerasTensor(inputs[0].shape, dtype=inputs[0].dtype)

    def compute_output_shape(self, input_shape):
        return input_shape[0]

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "activation": self.activation,
            "factors": self.factors,
            "hidden_filters": self.hidden_filters,
            "dropout": self.dropout,
            "level_weights": self.level_weights,
        }


def _check_count(name, values, count, what):
    if values is not None and len(values) != count:
        raise ValueError(
            f"`{name}` must have a number for each {what}, here {count}. Received: {name}={values}"
        )


def _upsampled(x, size, factor):
    """By nearest neighbour, then cropped to a size of two or three numbers."""
    for axis, length in enumerate(size, start=1):
        x = ops.repeat(x, factor, axis=axis)
        x = x[(slice(None),) * axis + (slice(0, length),)]
    return x
