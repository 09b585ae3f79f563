"""The paper's light encoder after VGG16: two convolutions a level, max-pooling between levels."""

from keras import layers

from keras_deepskip.layers.conv_block import conv_bn_relu, spatial_rank

POOLINGS = {2: layers.MaxPooling2D, 3: layers.MaxPooling3D}  # by spatial axes


def light_vgg16(x, levels=5, base_filters=8, kernel_size=3):
    """Returns the maps E_1 .. E_B of the VGG16-style encoder.

    Args:
        x: tensor of shape (N, H, W, b0), or of volumes (N, D, H, W, b0), with sizes that are
            multiples of 2^(levels-1).
        levels: B, the number of maps.
        base_filters: b, the channels of E_1; each level doubles them.
        kernel_size: odd size of the kernels in pixels.

    Returns:
        A list: E_u has stride 2^(u-1) and 2^(u-1) b channels, u = 1..B.

    Example:

    >>> [e.shape[-1] for e in light_vgg16(keras.Input((64, 64, 3)))]
    [8, 16, 32, 64, 128]

    Source: the encoder of equation 3 in H. Sun, Traitement du Signal 40(4), 2023. Two convolutions
    a level are the paper's count, though VGG16 itself has three from its third block on.
    """
    pooling = POOLINGS[spatial_rank(x.shape)]
    maps = []
    for u in range(1, levels + 1):
        if u > 1:
            x = pooling(2, name=f"e{u}_pool")(x)
        for index in "12":
            x = conv_bn_relu(x, 2 ** (u - 1) * base_filters, kernel_size, f"e{u}", index)
        maps.append(x)  # (N, H/2^(u-1), W/2^(u-1), C_u)
    return maps
