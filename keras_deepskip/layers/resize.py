"""Any height and width (and depth): pad to what the network can halve, crop back at the end."""

import keras
from keras import ops

from keras_deepskip import _checks
from keras_deepskip.layers import native


@keras.saving.register_keras_serializable(package="keras_deepskip")
class PadToMultiple(keras.layers.Layer):
    """Pads with zeros at the bottom and the right to a multiple of `multiple` pixels.

    Volumes are padded at the back too. What has such a size already passes unchanged. Behind the
    normalization layer a zero is the training images' mean.

    Args:
        multiple: the number of pixels that height and width (and depth) become a multiple of; or a
            tuple with a number for each axis, such as (4, 32, 32) for depth, height and width.

    Input shape: (N, H, W, C) or (N, D, H, W, C), of any size.
    Output shape: (N, multiple ceil(H / multiple), multiple ceil(W / multiple), C), likewise.

    Raises:
        ValueError: if `multiple` is no whole number of at least 1, or a tuple of others or for
            other axes.

    Example:

    >>> tuple(PadToMultiple(16)(np.ones((1, 17, 40, 3), "float32")).shape)
    (1, 32, 48, 3)
    """

    def __init__(self, multiple, **arguments):
        super().__init__(**arguments)
        if isinstance(multiple, list | tuple):
            self.multiple = tuple(_checks.check_integer("multiple", each) for each in multiple)
        else:
            self.multiple = _checks.check_integer("multiple", multiple)

    def call(self, inputs):
        sizes = ops.shape(inputs)[1:-1]
        others = [
            [0, _padded(size, multiple) - size]
            for size, multiple in zip(sizes, self.multiples(len(sizes)), strict=True)
        ]
        return native.pad(inputs, [[0, 0], *others, [0, 0]])

    def compute_output_shape(self, input_shape):
        batch, *sizes, channels = input_shape
        return (batch, *map(_padded, sizes, self.multiples(len(sizes))), channels)

    def multiples(self, axes):
        """The multiple of each of so many axes."""
        if not isinstance(self.multiple, tuple):
            return (self.multiple,) * axes
        if len(self.multiple) != axes:
            raise ValueError(
                "`multiple` must be one number, or one for each axis of the map. Received: "
                f"multiple={self.multiple} for {axes} axes"
            )
        return self.multiple

    def get_config(self):
        return {**super().get_config(), "multiple": self.multiple}


def _padded(size, multiple):
    # Not size + -size % multiple: where JAX has but a name for a size, it does not see that the
    # sum can be halved. And nothing of negative numbers: ONNX divides those in another way.
    return None if size is None else (size + multiple - 1) // multiple * multiple


@keras.saving.register_keras_serializable(package="keras_deepskip")
class CropToMatch(keras.layers.Layer):
    """Crops the first map to the height and width of the second, at the bottom and the right.

    Volumes are cropped to the second's depth too, at the back. Undoes `PadToMultiple`.

    Input shape: a list of two: (N, H', W', C), and (N, H, W, any) with H <= H', W <= W'; or
        (N, D', H', W', C), and (N, D, H, W, any).
    Output shape: (N, H, W, C), or (N, D, H, W, C).

    Example:

    >>> tuple(CropToMatch()([np.ones((1, 32, 48, 1)), np.ones((1, 17, 40, 3))]).shape)
    (1, 17, 40, 1)
    """

    def call(self, inputs):
        x, reference = inputs
        return native.crop(x, ops.shape(reference)[1:-1])

    def compute_output_shape(self, input_shape):
        shape, reference = input_shape
        return (shape[0], *reference[1:-1], shape[-1])
