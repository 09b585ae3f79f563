"""Volumes as slices: each an image with its neighbours as channels; and slices stacked again."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_deepskip")
class NeighbouringSlices(keras.layers.Layer):
    """Makes an image of each slice of a volume, with the slice before it and after it as channels.

    The first and the last slice, which lack a neighbour, are their own.

    Input shape: (N, D, H, W, C).
    Output shape: (N D, H, W, 3 C), the slices of a volume one after the other; the channels are
        those of the slice before, of the slice itself, and of the slice after.

    Example:

    >>> volume = np.arange(3, dtype="float32").reshape(1, 3, 1, 1, 1)
    >>> keras.ops.convert_to_numpy(NeighbouringSlices()(volume))[:, 0, 0].tolist()
    [[0.0, 0.0, 1.0], [0.0, 1.0, 2.0], [1.0, 2.0, 2.0]]

    Source: I_2d of X. Li et al., H-DenseUNet, IEEE TMI 37(12), 2018, section II.
    """

    def call(self, inputs):
        before = ops.concatenate([inputs[:, :1], inputs[:, :-1]], axis=1)
        after = ops.concatenate([inputs[:, 1:], inputs[:, -1:]], axis=1)
        x = ops.concatenate([before, inputs, after], axis=-1)  # (N, D, H, W, 3 C)
        batch, depth, height, width = ops.shape(inputs)[:4]
        return ops.reshape(x, (batch * depth, height, width, 3 * inputs.shape[-1]))

    def compute_output_shape(self, input_shape):
        batch, depth, *sizes, channels = input_shape
        images = None if None in (batch, depth) else batch * depth
        return (images, *sizes, 3 * channels)


@keras.saving.register_keras_serializable(package="keras_deepskip")
class StackSlices(keras.layers.Layer):
    """Stacks images, one of each slice, to the volumes that the slices are of.

    Undoes what `NeighbouringSlices` does to the shape.

    Input shape: a list of two: the images (N D, H, W, C), and the volumes (N, D, any, any, any).
    Output shape: (N, D, H, W, C).

    Example:

    >>> tuple(StackSlices()([np.ones((6, 8, 8, 5)), np.ones((2, 3, 8, 8, 1))]).shape)
    (2, 3, 8, 8, 5)
    """

    def call(self, inputs):
        images, volumes = inputs
        batch, depth = ops.shape(volumes)[:2]
        _, height, width, _ = ops.shape(images)
        return ops.reshape(images, (batch, depth, height, width, images.shape[-1]))

    def compute_output_shape(self, input_shape):
        images, volumes = input_shape
        return (*volumes[:2], *images[1:])
