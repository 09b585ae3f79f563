"""Pyramid pooling: means over parts of the image, from the whole of it down."""

import keras
from keras import layers, ops

from keras_deepskip import _checks
from keras_deepskip.layers.conv_block import batch_norm, conv_initializer


@keras.saving.register_keras_serializable(package="keras_deepskip")
class PyramidPooling(keras.layers.Layer):
    """Appends to each pixel what the map is like around it, in parts of several sizes.

    For each number of `bins` the map is averaged in bins x bins parts, which overlap by a pixel
    where the size does not divide (PyTorch's `AdaptiveAvgPool2d`); a 1x1 convolution, batch norm
    and ReLU follow; and the few pixels are upsampled to the map's size, bilinearly between their
    centres. A map may be smaller than `bins`. Both steps are products with small matrices that are
    worked out from the sizes, so these need not be known.

    Args:
        bins: parts along each axis, of each level of the pyramid.
        filters: channels of each level.

    Input shape: (N, H, W, C), of any size.
    Output shape: (N, H, W, C + L filters): the map, then the L levels.

    Raises:
        ValueError: if an argument is out of range.

    Example:

    >>> x = np.ones((1, 5, 7, 16), "float32")
    >>> tuple(PyramidPooling((1, 2), 8)(x).shape)
    (1, 5, 7, 32)

    Source: H. Zhao et al., Pyramid Scene Parsing Network, CVPR 2017, figure 3 (c).
    """

    def __init__(self, bins=(1, 2, 3, 6), filters=512, **arguments):
        super().__init__(**arguments)
        self.bins = tuple(_checks.check_integer("bins", count) for count in bins)
        if not self.bins or len(set(self.bins)) < len(self.bins):
            raise ValueError(
                "`bins` must be one number or several, each another, such as (1, 2, 3, 6). "
                f"Received: bins={tuple(bins)}"
            )
        self.filters = _checks.check_integer("filters", filters)
        self.steps = []
        for count in self.bins:
            conv = layers.Conv2D(
                self.filters,
                1,
                use_bias=False,
                kernel_initializer=conv_initializer(),
                name=f"bins{count}_conv",
                dtype=self.dtype_policy,
            )
            norm = batch_norm(name=f"bins{count}_bn", dtype=self.dtype_policy)
            self.steps += [conv, norm]

    def build(self, input_shape):
        for conv, norm in self._pairs():
            conv.build(input_shape)
            norm.build((None, None, None, self.filters))
        self.built = True

    def _pairs(self):
        return list(zip(self.steps[::2], self.steps[1::2], strict=True))

    def call(self, inputs, training=None):
        height, width = ops.shape(inputs)[1:3]
        levels = [inputs]
        for count, (conv, norm) in zip(self.bins, self._pairs(), strict=True):
            x = adaptive_average(inputs, count)  # (N, bins, bins, C)
            x = ops.relu(norm(conv(x), training=training))
            levels.append(bilinear_resize(x, height, width))  # (N, H, W, filters)
        return ops.concatenate(levels, axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] + len(self.bins) * self.filters)

    def get_config(self):
        return {**super().get_config(), "bins": self.bins, "filters": self.filters}


def adaptive_average(x, bins):
    """Averages a map in bins x bins parts.

    Part i of an axis of size S holds its pixels from floor(i S / bins) to before
    ceil((i + 1) S / bins).

    Args:
        x: map (N, H, W, C).
        bins: parts along each axis.

    Returns:
        The map (N, bins, bins, C), of the dtype of `x`; means are taken in float32.

    Example:

    >>> x = np.arange(5, dtype="float32").reshape(1, 1, 5, 1)
    >>> keras.ops.convert_to_numpy(adaptive_average(x, 2))[0, 0, :, 0].tolist()
    [1.0, 3.0]
    """
    _, height, width, _ = ops.shape(x)
    return _resampled(x, _averaging(height, bins), _averaging(width, bins), bins, bins)


def bilinear_resize(x, height, width):
    """Brings a map of few pixels to another size, bilinearly between the centres of pixels.

    Args:
        x: map (N, h, w, C), h and w known.
        height, width: size of the result.

    Returns:
        The map (N, height, width, C), of the dtype of `x`.

    Example:

    >>> x = np.array([0.0, 4.0], "float32").reshape(1, 1, 2, 1)
    >>> keras.ops.convert_to_numpy(bilinear_resize(x, 1, 4))[0, 0, :, 0].tolist()
    [0.0, 1.0, 3.0, 4.0]
    """
    rows, columns = (_interpolating(own, new) for own, new in
                     zip(x.shape[1:3], (height, width), strict=True))  # fmt: skip
    return _resampled(x, rows, columns, height, width)


def _resampled(x, rows, columns, height, width):
    """The map with its rows and its columns mixed by matrices (new, old)."""
    batch, old_height, old_width, channels = ops.shape(x)
    y = ops.reshape(ops.cast(x, "float32"), (batch, old_height, old_width * channels))
    y = ops.reshape(ops.matmul(rows, y), (batch, height, old_width, channels))
    y = ops.matmul(columns, y)  # (N, height, width, C)
    return ops.cast(ops.reshape(y, (batch, height, width, channels)), x.dtype)


def _places(size):
    return ops.arange(size, dtype="int32")


def _averaging(size, bins):
    """(bins, size): the share of each pixel in each part, in integers up to the last division."""
    part, place = _places(bins)[:, None], _places(size)[None]
    inside = (part * size < bins * (place + 1)) & ((part + 1) * size > bins * place)
    inside = ops.cast(inside, "float32")
    return inside / ops.sum(inside, axis=1, keepdims=True)


def _interpolating(size, new):
    """(new, size): the share of each of `size` pixels in each of `new`."""
    centre = (ops.cast(_places(new), "float32") + 0.5) * (size / ops.cast(new, "float32")) - 0.5
    centre = ops.clip(centre, 0, size - 1)[:, None]
    away = ops.abs(centre - ops.cast(_places(size), "float32")[None])
    return ops.maximum(1 - away, 0.0)
