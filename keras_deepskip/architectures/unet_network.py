"""The plain U-Net, at any width: what the deep-skip network is a light form of."""

from keras import layers

from keras_deepskip import _checks
from keras_deepskip.architectures.frame import Frame
from keras_deepskip.layers import conv_block

DIRECTIONS = {
    2: (layers.MaxPooling2D, layers.Conv2DTranspose),
    3: (layers.MaxPooling3D, layers.Conv3DTranspose),
}


def unet(
    frame=Frame(),
    base_filters=64,
    levels=5,
    batch_norm=False,
    dropout=0.0,
    name=None,
):
    """Returns the U-Net of Ronneberger et al. as a functional `keras.Model`.

    Two 3x3 convolutions a level, max-pooling down, 2x2 up-convolutions up, one skip a level. As in
    the paper there is no norm; convolutions are padded, so that the result has the image's size.

    Args:
        frame: the images and the classes, a `Frame`; `keras_deepskip.build_model` makes one.
        base_filters: channels at full resolution, the paper's 64; each level doubles them.
        levels: number of levels, the paper's 5.
        batch_norm: whether a batch norm follows each 3x3 convolution, in place of its bias.
        dropout: share of values dropped at the end of the two coarsest encoder levels in training;
            the paper has it without a number.
        name: name of the model.

    Returns:
        A `keras.Model` from (N, H, W, C) to (N, H, W, num_classes).

    Raises:
        ValueError: if an argument is out of range.

    Example:

    >>> unet(Frame((None, None, 1)), base_filters=8).output_shape
    (None, None, None, 1)

    Source: O. Ronneberger, P. Fischer, T. Brox, U-Net: Convolutional Networks for Biomedical Image
    Segmentation, MICCAI 2015, figure 1.
    """
    _checks.check_integer("base_filters", base_filters)
    _checks.check_integer("levels", levels, minimum=2)
    _checks.check_number("dropout", dropout, 0, 1, open_high=True)
    stride = 2 ** (levels - 1)
    inputs, x = frame.open(stride)
    pooling, up_conv = DIRECTIONS[conv_block.spatial_rank(x.shape)]
    skips = []
    for u in range(1, levels + 1):
        x = pooling(2, name=f"e{u}_pool")(x) if u > 1 else x
        x = _two_convs(x, 2 ** (u - 1) * base_filters, batch_norm, f"e{u}")
        x = layers.Dropout(dropout, name=f"e{u}_drop")(x) if dropout and u >= levels - 1 else x
        skips.append(x)  # (N, H/2^(u-1), W/2^(u-1), C_u)
    for u in range(levels - 1, 0, -1):
        filters = 2 ** (u - 1) * base_filters
        initializer = conv_block.conv_initializer(rectified=False)
        x = up_conv(filters, 2, 2, kernel_initializer=initializer, name=f"d{u}_up")(x)
        x = layers.Concatenate(name=f"d{u}_concat")([skips[u - 1], x])
        x = _two_convs(x, filters, batch_norm, f"d{u}")  # (N, H/2^(u-1), W/2^(u-1), C_u)
    return frame.close(inputs, [x], name or "unet")


def _two_convs(x, filters, batch_norm, name):
    rank = conv_block.spatial_rank(x.shape)
    for index in "12":
        if batch_norm:
            x = conv_block.conv_bn_relu(x, filters, 3, name, index)
            continue
        conv = conv_block.plain_conv(
            filters, 3, use_bias=True, rank=rank, name=f"{name}_conv{index}"
        )
        x = conv(x)
        x = layers.ReLU(name=f"{name}_relu{index}")(x)
    return x
