"""The paper's light encoder after ResNet34: basic blocks of two convolutions with a shortcut."""

from keras import layers

from keras_deepskip import _checks
from keras_deepskip.layers.conv_block import batch_norm, conv_bn_relu, plain_conv, spatial_rank

RESNET34_BLOCKS = (3, 4, 6, 3)  # q_u of levels u = 2..5


def light_resnet34(x, levels=5, base_filters=8, kernel_size=3, blocks_per_level=None):
    """Returns the maps E_1 .. E_B of the ResNet34-style encoder.

    One convolution at full resolution, then `q_u` basic blocks a level; the first block of a level
    halves the map and brings its shortcut along by a 1x1 projection.

    Args:
        x: tensor of shape (N, H, W, b0), or of volumes (N, D, H, W, b0), with sizes that are
            multiples of 2^(levels-1).
        levels: B, the number of maps.
        base_filters: b, the channels of E_1; each level doubles them.
        kernel_size: odd size of the kernels in pixels.
        blocks_per_level: q_2 .. q_B, `levels - 1` whole numbers; None takes ResNet34's
            (3, 4, 6, 3), its first `levels - 1` for a shallower network.

    Returns:
        A list: E_u has stride 2^(u-1) and 2^(u-1) b channels, u = 1..B.

    Raises:
        ValueError: if `blocks_per_level` has not `levels - 1` entries.

    Example:

    >>> [e.shape[-1] for e in light_resnet34(keras.Input((64, 64, 3)))]
    [8, 16, 32, 64, 128]

    Source: the encoder of equation 4 in H. Sun, Traitement du Signal 40(4), 2023.
    """
    blocks = resolve_blocks(blocks_per_level, levels)
    x = conv_bn_relu(x, base_filters, kernel_size, "e1")
    maps = [x]  # (N, H, W, C_1)
    for u, count in enumerate(blocks, start=2):
        for index in range(1, count + 1):
            strides = 2 if index == 1 else 1
            x = _basic_block(x, 2 ** (u - 1) * base_filters, kernel_size, strides, f"e{u}_b{index}")
        maps.append(x)  # (N, H/2^(u-1), W/2^(u-1), C_u)
    return maps


def resolve_blocks(blocks_per_level, levels):
    """Returns q_2 .. q_B as a tuple: as given, or ResNet34's own."""
    if blocks_per_level is None:
        blocks_per_level = RESNET34_BLOCKS[: levels - 1]
    blocks = tuple(_checks.check_integers("blocks_per_level", blocks_per_level))
    if len(blocks) != levels - 1:
        raise ValueError(
            f"`blocks_per_level` must have levels - 1 = {levels - 1} entries, one for each level "
            f"below the first. Received: blocks_per_level={blocks}. Pass it when levels exceeds 5"
        )
    return blocks


def _basic_block(x, filters, kernel_size, strides, name):
    shortcut, rank = x, spatial_rank(x.shape)
    if strides > 1:
        project = plain_conv(
            filters, 1, strides, rectified=False, rank=rank, name=f"{name}_project"
        )
        shortcut = batch_norm(name=f"{name}_project_bn")(project(x))
    x = conv_bn_relu(x, filters, kernel_size, name, "1", strides)
    x = plain_conv(filters, kernel_size, rank=rank, name=f"{name}_conv2")(x)
    x = batch_norm(name=f"{name}_bn2")(x)
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.ReLU(name=f"{name}_relu2")(x)
