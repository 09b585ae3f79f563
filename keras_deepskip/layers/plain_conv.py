"""P: a convolution at the map's own size; and one over several maps that are not concatenated.

Each is written once, for images (`...2D`) and volumes (`...3D`); a class for either adds Keras's
layer of that rank.
"""

import keras
from keras import ops

from keras_deepskip import _checks
from keras_deepskip.layers import native


class SameConv:
    """What the convolutions here share: a kernel of one odd size, 'same' padding, channels last.

    Comes before `keras.layers.Conv2D` or `Conv3D` among a layer's bases.
    """

    FIXED: tuple[str, ...] = ("padding", "data_format", "dilation_rate", "groups")

    def __init__(self, filters, kernel_size=3, **arguments):
        for fixed in self.FIXED:
            if fixed in arguments:
                raise ValueError(
                    f"`{fixed}` of {type(self).__name__} is fixed ('same' padding, channels last). "
                    f"Received: {fixed}={arguments[fixed]!r}. Leave it out"
                )
        sizes = set(kernel_size) if isinstance(kernel_size, list | tuple) else {kernel_size}
        if len(sizes) > 1:
            raise ValueError(
                "`kernel_size` must be one size, for all axes alike. "
                f"Received: kernel_size={kernel_size!r}"
            )
        size = _checks.check_integer("kernel_size", *sizes, odd=True)
        super().__init__(filters, size, padding="same", data_format="channels_last", **arguments)

    def call(self, inputs, training=None):
        kernel = ops.convert_to_tensor(self.kernel)
        bias = ops.convert_to_tensor(self.bias) if self.use_bias else None
        outputs = self.convolve(inputs, kernel, bias, training)  # (N, H', W', filters)
        return outputs if self.activation is None else self.activation(outputs)

    def convolve(self, inputs, kernel, bias, training):
        """The convolution itself, of tensors; a subclass may have others, one for training."""
        return native.convolve(inputs, kernel, strides=self.strides, bias=bias)

    def get_config(self):
        config = super().get_config()
        return {name: value for name, value in config.items() if name not in self.FIXED}


class PlainConv(SameConv):
    """What `PlainConv2D` and `PlainConv3D` share."""

    def __init__(self, filters, kernel_size=3, strides=1, **arguments):
        super().__init__(filters, kernel_size, strides=strides, **arguments)


class ConcatenatedConv(SameConv):
    """What `ConcatenatedConv2D` and `ConcatenatedConv3D` share."""

    FIXED = ("strides", *SameConv.FIXED)

    def __init__(self, filters, kernel_size=3, **arguments):
        super().__init__(filters, kernel_size, **arguments)
        self.input_spec = None  # Keras's asks for one map

    def build(self, input_shape):
        super().build(_concatenated(input_shape))
        self.input_spec = None

    def convolve(self, inputs, kernel, bias, training):
        if not isinstance(inputs, list | tuple):
            return super().convolve(inputs, kernel, bias, training)
        total, start = None, 0
        for x in inputs:
            width = int(x.shape[-1])  # PyTorch's tracer has tensors in shapes
            part = kernel[..., start : start + width, :]
            y = super().convolve(x, part, bias if total is None else None, training)
            total, start = y if total is None else total + y, start + width
        return total  # (N, H, W, filters)

    def compute_output_shape(self, input_shape):
        return super().compute_output_shape(_concatenated(input_shape))


def _concatenated(shapes):
    """The shape of maps after concatenation; of one map its own."""
    if not isinstance(shapes[0], list | tuple):
        return shapes
    return (*shapes[0][:-1], sum(shape[-1] for shape in shapes))


@keras.saving.register_keras_serializable(package="keras_deepskip")
class PlainConv2D(PlainConv, keras.layers.Conv2D):
    """`keras.layers.Conv2D` with 'same' padding, by the backend's own routine.

    Result and weights are those of `Conv2D(filters, kernel_size, strides, padding="same")`; see
    `keras_deepskip.layers.native` for what it saves.

    Args:
        filters: channels of the result.
        kernel_size: odd size of the kernel in pixels.
        strides: step of the kernel in pixels.
        **arguments: what `keras.layers.Conv2D` takes beside these (`use_bias`,
            `kernel_initializer`, `name`, ...), but for padding, data_format, dilation_rate and
            groups.

    Input shape: (N, H, W, C).
    Output shape: (N, ceil(H / strides), ceil(W / strides), filters).

    Raises:
        ValueError: if `kernel_size` is even or not one number, or a fixed argument is given.

    Example:

    >>> tuple(PlainConv2D(8)(np.ones((1, 5, 6, 3), "float32")).shape)
    (1, 5, 6, 8)

    Source: P of equation 1 in H. Sun, Traitement du Signal 40(4), 2023.
    """


@keras.saving.register_keras_serializable(package="keras_deepskip")
class PlainConv3D(PlainConv, keras.layers.Conv3D):
    """`PlainConv2D` over volumes: `keras.layers.Conv3D` with 'same' padding.

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

    >>> tuple(PlainConv3D(8)(np.ones((1, 4, 5, 6, 3), "float32")).shape)
    (1, 4, 5, 6, 8)
    """


@keras.saving.register_keras_serializable(package="keras_deepskip")
class ConcatenatedConv2D(ConcatenatedConv, keras.layers.Conv2D):
    """Convolves the concatenation of several maps, without making it.

    The result is that of `Concatenate()` followed by `Conv2D(filters, kernel_size,
    padding="same")`, and the weights are that convolution's own. Each map is convolved with its
    part of the kernel, and the results are added: the concatenated map is never in memory.

    Args:
        filters: channels of the result.
        kernel_size: odd size of the kernel in pixels.
        **arguments: as `PlainConv2D`.

    Input shape: a list of maps (N, H, W, C_1), (N, H, W, C_2), ...; or one map.
    Output shape: (N, H, W, filters).

    Raises:
        ValueError: if `kernel_size` is even, or a fixed argument is given.

    Example:

    >>> maps = [np.ones((1, 5, 6, 3), "float32"), np.ones((1, 5, 6, 4), "float32")]
    >>> layer = ConcatenatedConv2D(8)
    >>> tuple(layer(maps).shape), tuple(layer.kernel.shape)
    ((1, 5, 6, 8), (3, 3, 7, 8))

    Source: what F of equation 1 begins with, in H. Sun, Traitement du Signal 40(4), 2023.
    """


@keras.saving.register_keras_serializable(package="keras_deepskip")
class ConcatenatedConv3D(ConcatenatedConv, keras.layers.Conv3D):
    """`ConcatenatedConv2D` over volumes.

    Args:
        filters: channels of the result.
        kernel_size: odd size of the kernel in voxels, along all three axes.
        **arguments: as `PlainConv2D`.

    Input shape: a list of maps (N, D, H, W, C_1), (N, D, H, W, C_2), ...; or one map.
    Output shape: (N, D, H, W, filters).

    Raises:
        ValueError: as `ConcatenatedConv2D`.

    Example:

    >>> maps = [np.ones((1, 4, 5, 6, 3), "float32"), np.ones((1, 4, 5, 6, 4), "float32")]
    >>> tuple(ConcatenatedConv3D(8)(maps).shape)
    (1, 4, 5, 6, 8)
    """


# By spatial axes: of images, of volumes.
PLAIN_CONVS = {2: PlainConv2D, 3: PlainConv3D}
CONCATENATED_CONVS = {2: ConcatenatedConv2D, 3: ConcatenatedConv3D}
