"""The adapter: instances in, a semantic mask out, as every other network here gives one."""

import keras
from keras import ops

from keras_deepskip import _checks

ACTIVATIONS = ("sigmoid", "softmax", None)
CLOSE = 1e-7  # to 0 and 1, where logits end


@keras.saving.register_keras_serializable(package="keras_deepskip")
class PasteMasks(keras.layers.Layer):
    """Reduces detections with masks to probabilities of classes at each pixel.

    A detection's mask is upsampled bilinearly to its box, and is 0 outside. A class's probability
    at a pixel is the largest score x mask of its detections. With `"softmax"` the background gets
    what the likeliest class leaves of 1, and all are divided by their sum: a class wins where its
    probability is above 1/2, as in the binary case.

    In training the result is zeros: there the network learns from its own losses, and the branch
    that leads here is not computed.

    Args:
        num_classes: channels of the output: with `"softmax"`, or None and more than one, id 0 is
            the background; else each is a class of objects.
        activation: `"sigmoid"`, `"softmax"`, or None for the logits of these probabilities.

    Input shape: a list: masks (N, D, m, m), detections (N, D, 6) as of `Detections`, and the image
        (N, H, W, any).
    Output shape: (N, H, W, num_classes).
    """

    def __init__(self, num_classes, activation, **arguments):
        super().__init__(**{"dtype": "float32", **arguments})
        self.num_classes = _checks.check_integer("num_classes", num_classes)
        self.activation = _checks.check_choice("activation", activation, ACTIVATIONS)

    @property
    def with_background(self):
        """Whether channel 0 is the background."""
        return self.num_classes > 1 and self.activation != "sigmoid"

    def call(self, inputs, training=None):
        masks, detections, image = inputs
        batch, height, width = ops.shape(image)[:3]
        if training:
            return ops.zeros((batch, height, width, self.num_classes), "float32")
        objects = self.num_classes - self.with_background
        # As many as there are masks: TensorFlow's loop wants the canvas to know of its shape what
        # the masks know of theirs, neither more nor less.
        canvas = ops.zeros((ops.shape(masks)[0], height, width, objects), "float32")
        return self._scores(self._pasted(canvas, masks, detections))

    def _pasted(self, canvas, masks, detections):
        """The largest score x mask of each class, detection by detection: (N, H, W, O)."""
        height, width = ops.shape(canvas)[1:3]
        side = masks.shape[-1]
        down = interpolation(detections[..., 0], detections[..., 2], height, side)  # (N, D, H, m)
        across = interpolation(detections[..., 1], detections[..., 3], width, side)
        masks = masks * detections[..., 4, None, None]
        label = ops.cast(detections[..., 5], "int32") - 1
        own = ops.one_hot(label, canvas.shape[-1], dtype="float32")
        parts = [ops.swapaxes(x, 0, 1) for x in (down, masks, across, own)]  # (D, N, ...)

        def paste(index, canvas):
            down, mask, across, own = (x[index] for x in parts)
            values = ops.matmul(ops.matmul(down, mask), ops.swapaxes(across, 1, 2))  # (N, H, W)
            return ops.maximum(canvas, values[..., None] * own[:, None, None, :])

        return ops.fori_loop(0, ops.shape(masks)[1], paste, canvas)

    def _scores(self, canvas):
        if not self.with_background:
            if self.activation is not None:
                return canvas
            canvas = ops.clip(canvas, CLOSE, 1 - CLOSE)
            return ops.log(canvas) - ops.log(1 - canvas)
        left = 1 - ops.max(canvas, axis=-1, keepdims=True)
        shares = ops.concatenate([left, canvas], axis=-1)
        shares = shares / ops.sum(shares, axis=-1, keepdims=True)
        return shares if self.activation else ops.log(ops.maximum(shares, CLOSE))

    def compute_output_shape(self, input_shape):
        return (*input_shape[2][:-1], self.num_classes)

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "activation": self.activation,
        }


def interpolation(low, high, length, side):
    """How pixels along one axis of the image are means of a mask's: (N, D) to (N, D, length, side).

    Args:
        low, high: edges of the boxes along the axis, in pixels of the image.
        length: pixels of the image.
        side: pixels of the mask, which lie evenly in the box.

    Returns:
        Weights; those of a pixel whose centre is in the box sum to 1, of others they are 0.
    """
    pixels = ops.cast(ops.arange(length, dtype="int32"), "float32") + 0.5
    low, extent = low[..., None], ops.maximum((high - low)[..., None], 1e-4)
    share = (pixels - low) / extent  # (N, D, length), 0 to 1 in the box
    inside = ops.cast((share >= 0) & (share < 1), "float32")
    at = ops.clip(share * side - 0.5, 0.0, side - 1.0)
    steps = ops.abs(at[..., None] - ops.arange(side, dtype="float32"))
    return ops.maximum(1 - steps, 0.0) * inside[..., None]
