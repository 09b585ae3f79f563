"""Deep supervision: in training, every decoder level says what it sees."""

import keras
from keras import layers, ops

from keras_deepskip import _checks
from keras_deepskip.layers.initializers import FanInNormal

ACTIVATIONS = ("sigmoid", "softmax", None)


@keras.saving.register_keras_serializable(package="keras_deepskip")
class DeepSupervision(layers.Layer):
    """Adds the class scores of the coarser decoder levels to the output, in training alone.

    Each coarser map has a 1x1 convolution of its own to the classes; its scores are enlarged to the
    output's size by nearest neighbour. In training the result holds the scores of all levels, block
    after block of `num_classes` channels, the output's own first: `losses.DeepSupervisionLoss` and
    `metrics.FinestLevel` take it apart. In inference it is the output, unchanged, and nothing else
    is computed; `fold_batch_norm` leaves the layer out.

    Args:
        num_classes: K, the channels of the output.
        activation: of the output: `"sigmoid"`, `"softmax"`, or None for logits.

    Input shape: a list: the output (N, H, W, K); then maps of half, a quarter, ... of its size,
        rounded up: (N, >= H/2, >= W/2, C_2), ... Volumes likewise.
    Output shape: (N, H, W, L K) in training, L the length of the list; else (N, H, W, K).

    Raises:
        ValueError: if an argument is out of range.

    Example:

    >>> output, d2 = np.ones((1, 6, 6, 1)), np.ones((1, 4, 4, 16))
    >>> layer = DeepSupervision(1, "sigmoid")
    >>> tuple(layer([output, d2]).shape), tuple(layer([output, d2], training=True).shape)
    ((1, 6, 6, 1), (1, 6, 6, 2))

    Source: C.-Y. Lee et al., Deeply-Supervised Nets, 2015.
    """

    def __init__(self, num_classes, activation=None, name="supervision", **arguments):
        super().__init__(name=name, **arguments)
        self.num_classes = _checks.check_integer("num_classes", num_classes)
        self.activation = _checks.check_choice("activation", activation, ACTIVATIONS)
        self.heads = []

    def build(self, input_shape):
        conv = layers.Conv2D if len(input_shape[0]) == 4 else layers.Conv3D
        for level, shape in enumerate(input_shape[1:], start=2):
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
        scores = [_enlarged(head(x), size, 2 ** (u + 1))
                  for u, (head, x) in enumerate(zip(self.heads, maps, strict=True))]  # fmt: skip
        return ops.concatenate([output, *scores], axis=-1)  # (N, H, W, L K)

    def compute_output_shape(self, input_shape):
        return input_shape[0]

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "activation": self.activation,
        }


def _enlarged(x, size, factor):
    """By nearest neighbour, then cropped to a size of two or three numbers."""
    for axis, length in enumerate(size, start=1):
        x = ops.repeat(x, factor, axis=axis)
        x = x[(slice(None),) * axis + (slice(0, length),)]
    return x
