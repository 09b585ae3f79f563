"""A strided convolution that pads alike at both ends, as most networks published elsewhere do."""

import keras

from keras_deepskip.layers import native
from keras_deepskip.layers.plain_conv import PlainConv


class CentredConv(PlainConv):
    """What `CentredConv2D` and `CentredConv3D` share."""

    def convolve(self, inputs, kernel, bias, training):
        around = [(size // 2, size // 2) for size in self.kernel_size]
        return native.convolve(inputs, kernel, around, self.strides, bias)


@keras.saving.register_keras_serializable(package="keras_deepskip")
class CentredConv2D(CentredConv, keras.layers.Conv2D):
    """`PlainConv2D` with kernel_size // 2 zeros at each end of each axis.

    At stride 1 that is `PlainConv2D`. At others the sizes are the same, and the kernels' centres
    lie on the first pixel and every `strides` pixels from there, whatever the size; those of a
    'same' convolution move with it.

    Args:
        filters: channels of the result.
        kernel_size: odd size of the kernel in pixels.
        strides: step of the kernel in pixels.
        **arguments: as `PlainConv2D`.

    Input shape: (N, H, W, C).
    Output shape: (N, ceil(H / strides), ceil(W / strides), filters).

    Raises:
        ValueError: as `PlainConv2D`.

    Example:

    >>> layer = CentredConv2D(1, 3, 2, kernel_initializer="ones")
    >>> keras.ops.convert_to_numpy(layer(np.ones((1, 4, 4, 1), "float32")))[0, :, :, 0].tolist()
    [[4.0, 6.0], [6.0, 9.0]]
    """


@keras.saving.register_keras_serializable(package="keras_deepskip")
class CentredConv3D(CentredConv, keras.layers.Conv3D):
    """`CentredConv2D` over volumes.

    Args:
        filters: channels of the result.
        kernel_size: odd size of the kernel in voxels, along all three axes.
        strides: step of the kernel in voxels.
        **arguments: as `PlainConv2D`.

    Input shape: (N, D, H, W, C).
    Output shape: (N, ceil(D / strides), ceil(H / strides), ceil(W / strides), filters).

    Raises:
        ValueError: as `PlainConv2D`.

    Example:

    >>> tuple(CentredConv3D(8, 3, 2)(np.ones((1, 4, 5, 6, 3), "float32")).shape)
    (1, 2, 3, 3, 8)
    """


# By spatial axes: of images, of volumes.
CENTRED_CONVS = {2: CentredConv2D, 3: CentredConv3D}
