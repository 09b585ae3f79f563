"""FCN-8s: a classifier made convolutional, whose coarse scores are refined by two finer maps."""

from keras import layers

from keras_deepskip import _checks
from keras_deepskip.architectures.frame import Frame, score_conv
from keras_deepskip.encoders import build_encoder
from keras_deepskip.layers import conv_block
from keras_deepskip.studies.rivals.layers import BilinearKernel

BACKBONES = ("vgg16", "vgg19", "light_vgg16")
STRIDE = 32  # of the fifth pooling


def fcn8s(
    frame=Frame(),
    backbone="vgg16",
    weights=None,
    trainable_backbone=True,
    base_filters=8,
    fc_filters=4096,
    dropout=0.5,
    name=None,
):
    """Returns the FCN-8s of Long et al. as a functional `keras.Model`.

    VGG16 with its five poolings, its two dense layers as convolutions (7x7 and 1x1) with dropout,
    and a 1x1 convolution to class scores at stride 32. These are upsampled by 2 and added to scores
    of the fourth pooling, by 2 again and added to those of the third, and by 8 to the image's size.
    The upsamplings are transposed convolutions that begin as bilinear ones; as in the paper those
    by 2 learn and the one by 8 does not.

    In place of the paper's 100 pixels of padding around the image, and crops, all convolutions are
    padded to their maps' own size. The paper begins with scores of zero, on a trained VGG16; here
    the score convolutions start at random, so that also a network without `weights` has gradients
    in all its layers from the first step.

    Args:
        frame: the images and the classes, a `Frame`; `keras_deepskip.build_model` makes one.
        backbone: `"vgg16"`, `"vgg19"`, or the light encoder `"light_vgg16"`.
        weights: of the backbone: None, `"imagenet"`, or a file. Those of the dense layers
            start at random.
        trainable_backbone: as of the deep-skip network.
        base_filters: channels of `"light_vgg16"` at full resolution; each level doubles them.
        fc_filters: channels of the two layers that were dense, the paper's 4096.
        dropout: share of values dropped after each of them in training.
        name: name of the model.

    Returns:
        A `keras.Model` from (N, H, W, C) to (N, H, W, num_classes).

    Raises:
        ValueError: if an argument is out of range.
        FileNotFoundError: if there is no file of `weights`.

    Example:

    >>> fcn8s(Frame((None, None, 1)), "light_vgg16", fc_filters=8).output_shape
    (None, None, None, 1)

    Source: J. Long, E. Shelhamer, T. Darrell, Fully Convolutional Networks for Semantic
    Segmentation, CVPR 2015, sections 3 and 4.
    """
    frame.check_images("fcn8s")
    _checks.check_choice("backbone", backbone, BACKBONES)
    _checks.check_integer("fc_filters", fc_filters)
    _checks.check_number("dropout", dropout, 0, 1, open_high=True)
    encoder = build_encoder(
        backbone,
        frame.input_shape,
        levels=5,
        base_filters=base_filters,
        weights=weights,
        trainable_backbone=trainable_backbone,
    )
    inputs, x = frame.open(STRIDE, encoder.preprocessing)
    pools = {
        u: layers.MaxPooling2D(2, name=f"pool{u}")(x)  # (N, H/2^u, W/2^u, C_u)
        for u, x in enumerate(encoder.maps(x), start=1)
        if u >= 3
    }
    x = _fully_connected(pools[5], fc_filters, 7, dropout, "fc6")
    x = _fully_connected(x, fc_filters, 1, dropout, "fc7")
    x = score_conv(x, frame.num_classes, "fc7_score")  # (N, H/32, W/32, K)
    for u in (4, 3):
        x = _upsampled(x, 2, f"pool{u}_up")
        finer = score_conv(pools[u], frame.num_classes, f"pool{u}_score")
        x = layers.Add(name=f"pool{u}_add", dtype="float32")([x, finer])  # (N, H/2^u, W/2^u, K)
    x = _upsampled(x, 8, "head_up", trainable=False)
    model = frame.close(inputs, [x], name or "fcn8s", scored=True)
    encoder.finish(model)
    return model


def _fully_connected(x, filters, kernel_size, dropout, name):
    conv = conv_block.plain_conv(filters, kernel_size, use_bias=True, name=f"{name}_conv")
    x = layers.ReLU(name=f"{name}_relu")(conv(x))
    return layers.Dropout(dropout, name=f"{name}_drop")(x) if dropout else x


def _upsampled(x, factor, name, trainable=True):
    return layers.Conv2DTranspose(
        x.shape[-1],
        2 * factor,
        factor,
        padding="same",
        use_bias=False,
        kernel_initializer=BilinearKernel(),
        dtype="float32",
        trainable=trainable,
        name=name,
    )(x)
