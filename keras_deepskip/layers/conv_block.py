"""Convolution, batch norm, ReLU: the step that encoders and the aggregation F are made of."""

from keras import layers

from keras_deepskip.layers.fused_batch_norm import FusedBatchNormalization
from keras_deepskip.layers.initializers import FanInNormal
from keras_deepskip.layers.plain_conv import PLAIN_CONVS

# Running statistics follow the last tens of batches, not hundreds: a run on a small set has only
# hundreds of steps, and the network is evaluated with these statistics from the first epoch on.
BATCH_NORM_MOMENTUM = 0.9


def spatial_rank(shape):
    """Returns how many spatial axes maps of a shape have: 2 of images, 3 of volumes.

    Raises:
        ValueError: if it is another shape.

    Example:

    >>> spatial_rank((None, None, None, 8)), spatial_rank((None, 16, 16, 16, 8))
    (2, 3)
    """
    if len(shape) not in (4, 5):
        raise ValueError(
            f"maps (N, H, W, C) or (N, D, H, W, C) were expected. Received: shape={tuple(shape)}"
        )
    return len(shape) - 2


def plain_conv(
    filters, kernel_size, strides=1, rectified=True, use_bias=False, rank=2, **arguments
):
    """Returns a 'same' convolution layer, initialized for a ReLU after it or for none.

    `rank` is 2 for images, 3 for volumes.
    """
    return PLAIN_CONVS[rank](
        filters,
        kernel_size,
        strides,
        use_bias=use_bias,
        kernel_initializer=conv_initializer(rectified),
        **arguments,
    )


def conv_initializer(rectified=True):
    """Returns the initializer of a convolution followed by a ReLU, or by none."""
    return FanInNormal(2.0 if rectified else 1.0)


def batch_norm(**arguments):
    """Returns the batch norm layer that follows a convolution here."""
    return FusedBatchNormalization(momentum=BATCH_NORM_MOMENTUM, **arguments)


def conv_bn_relu(x, filters, kernel_size, name, suffix="", strides=1):
    """Applies convolution, batch norm and ReLU, named `{name}_conv{suffix}` and so on.

    Args:
        x: tensor of shape (N, H, W, C) or (N, D, H, W, C).
        filters: channels of the result.
        kernel_size: odd size of the kernel in pixels.
        name: prefix of the layers' names.
        suffix: what follows `conv`, `bn` and `relu` in the names, such as `"1"`.
        strides: step of the convolution in pixels.

    Returns:
        Tensor of shape (N, ceil(H / strides), ceil(W / strides), filters), or likewise with D.

    Example:

    >>> x = keras.Input((None, None, 3))
    >>> conv_bn_relu(x, 8, 3, name="e1", suffix="1").shape
    (None, None, None, 8)
    """
    rank = spatial_rank(x.shape)
    x = plain_conv(filters, kernel_size, strides, rank=rank, name=f"{name}_conv{suffix}")(x)
    x = batch_norm(name=f"{name}_bn{suffix}")(x)
    return layers.ReLU(name=f"{name}_relu{suffix}")(x)
