"""UNet 3+, at any width: every decoder level sees every scale."""

from keras import layers

from keras_deepskip import _checks
from keras_deepskip.architectures.frame import Frame
from keras_deepskip.layers import DeepSupervision, conv_block
from keras_deepskip.studies.rivals.layers import BilinearUpsampling2D


def unet3plus(
    frame=Frame(),
    base_filters=64,
    levels=5,
    skip_filters=None,
    deep_supervision=False,
    name=None,
):
    """Returns the UNet 3+ of Huang et al. as a functional `keras.Model`.

    The encoder is a U-Net's. Each decoder level takes `skip_filters` channels from every scale:
    finer encoder maps by max-pooling, its own, and deeper decoder maps (at the bottom the
    encoder's) upsampled bilinearly, each through a 3x3 convolution of its own; a further one works
    on the concatenation of all. Batch norm and ReLU follow each 3x3 convolution, which has no bias
    then. The head is a 1x1 convolution here (the authors' code has 3x3).

    Args:
        frame: the images and the classes, a `Frame`; `keras_deepskip.build_model` makes one.
        base_filters: channels at full resolution, the paper's 64; each level doubles them.
        levels: number of levels, the paper's 5.
        skip_filters: channels from each scale; None takes `base_filters`, as the paper does (64).
        deep_supervision: whether in training the model returns the scores of every decoder
            level and of the bottom, for `losses.DeepSupervisionLoss`.
        name: name of the model.

    Returns:
        A `keras.Model` from (N, H, W, C) to (N, H, W, num_classes).

    Raises:
        ValueError: if an argument is out of range.

    Example:

    >>> unet3plus(Frame((None, None, 1)), base_filters=4, levels=3).output_shape
    (None, None, None, 1)

    Source: H. Huang et al., UNet 3+: A Full-Scale Connected UNet for Medical Image Segmentation,
    ICASSP 2020, equation 1.
    """
    frame.check_images("unet3plus")
    _checks.check_integer("base_filters", base_filters)
    _checks.check_integer("levels", levels, minimum=2)
    skip_filters = base_filters if skip_filters is None else skip_filters
    _checks.check_integer("skip_filters", skip_filters)
    inputs, x = frame.open(2 ** (levels - 1))
    maps = {}  # by level: the encoder's, then, from the bottom up, the decoder's in their place
    for u in range(1, levels + 1):
        x = layers.MaxPooling2D(2, name=f"e{u}_pool")(x) if u > 1 else x
        for index in "12":
            x = conv_block.conv_bn_relu(x, 2 ** (u - 1) * base_filters, 3, f"e{u}", index)
        maps[u] = x  # (N, H/2^(u-1), W/2^(u-1), C_u)
    for u in range(levels - 1, 0, -1):
        maps[u] = _full_scale(maps, u, skip_filters)  # (N, H/2^(u-1), W/2^(u-1), B skip_filters)
    supervision = DeepSupervision(frame.num_classes, frame.activation) if deep_supervision else None
    return frame.close(inputs, list(maps.values()), name or "unet3plus", supervision)


def _full_scale(maps, u, filters):
    """Decoder level u, from the encoder maps 1 .. u and the decoder maps u+1 .. B."""
    branches = []
    for j, x in maps.items():
        if j < u:
            x = layers.MaxPooling2D(2 ** (u - j), name=f"d{u}_from{j}_pool")(x)
        elif j > u:
            x = BilinearUpsampling2D(2 ** (j - u), name=f"d{u}_from{j}_up")(x)
        branches.append(conv_block.conv_bn_relu(x, filters, 3, f"d{u}_from{j}"))
    x = layers.Concatenate(name=f"d{u}_concat")(branches)
    return conv_block.conv_bn_relu(x, len(maps) * filters, 3, f"d{u}")
