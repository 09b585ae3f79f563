"""ResNet18 and ResNet34 at their full width, which `keras.applications` does not have."""

import keras
from keras import layers

from keras_deepskip.encoders.light_resnet import RESNET34_BLOCKS
from keras_deepskip.layers.initializers import FanInNormal

WIDTHS = (64, 128, 256, 512)
RESNET18_BLOCKS = (2, 2, 2, 2)
# As in the published networks, so that their weights fit and mean the same.
MOMENTUM, EPSILON = 0.9, 1e-5


def resnet18(input_shape):
    """Returns ResNet18 without its classifier; see `resnet34`."""
    return _resnet(input_shape, RESNET18_BLOCKS, "resnet18")


def resnet34(input_shape):
    """Returns ResNet34 without its classifier: the paper's q_u basic blocks, at full width.

    Args:
        input_shape: (H, W, C), H and W may be None.

    Returns:
        A `keras.Model` from (N, H, W, C) to (N, H/32, W/32, 512).

    Example:

    >>> resnet34((None, None, 3)).count_params()
    21301696

    Source: K. He et al., Deep Residual Learning for Image Recognition, 2016, table 1.
    """
    return _resnet(input_shape, RESNET34_BLOCKS, "resnet34")


def _resnet(input_shape, blocks, name):
    image = keras.Input(input_shape, name="image")
    x = _conv_bn(image, 64, 7, 2, "stem")
    x = layers.ReLU(name="stem_relu")(x)  # (N, H/2, W/2, 64)
    # the map is not negative, so a border of zeros is the border of minus infinity of the original
    x = layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
    x = layers.MaxPooling2D(3, 2, name="stem_pool")(x)
    for stage, (filters, count) in enumerate(zip(WIDTHS, blocks, strict=True), start=1):
        for index in range(1, count + 1):
            strides = 2 if index == 1 and stage > 1 else 1
            x = _basic_block(x, filters, strides, f"stage{stage}_block{index}")
    return keras.Model(image, x, name=name)


def _basic_block(x, filters, strides, name):
    shortcut = x
    if strides > 1:
        shortcut = _conv_bn(x, filters, 1, strides, f"{name}_project")
    x = _conv_bn(x, filters, 3, strides, f"{name}_1")
    x = layers.ReLU(name=f"{name}_1_relu")(x)
    x = _conv_bn(x, filters, 3, 1, f"{name}_2")
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.ReLU(name=f"{name}_relu")(x)


def _conv_bn(x, filters, kernel_size, strides, name):
    around = kernel_size // 2
    if strides > 1 and around:  # 'same' would pad an even map at its far sides alone
        x = layers.ZeroPadding2D(around, name=f"{name}_pad")(x)
    x = layers.Conv2D(
        filters,
        kernel_size,
        strides,
        padding="same" if strides == 1 else "valid",
        use_bias=False,
        kernel_initializer=FanInNormal(2.0),
        name=f"{name}_conv",
    )(x)
    return layers.BatchNormalization(momentum=MOMENTUM, epsilon=EPSILON, name=f"{name}_bn")(x)
