"""PSPNet: a dilated ResNet, and means over parts of the image as channels of each pixel."""

from keras import layers

from keras_deepskip import _checks
from keras_deepskip.architectures.frame import Frame, score_conv
from keras_deepskip.layers import DeepSupervision, conv_block
from keras_deepskip.studies.rivals.dilated_encoder import OUTPUT_STRIDE, dilated_encoder
from keras_deepskip.studies.rivals.layers import BilinearUpsampling2D, PyramidPooling

AUXILIARY_WEIGHT = 0.4  # of the loss on stage 4, in addition to 1 of the output's


def pspnet(
    frame=Frame(),
    backbone="resnet50",
    weights=None,
    trainable_backbone=True,
    base_filters=8,
    bins=(1, 2, 3, 6),
    pyramid_filters=512,
    auxiliary=True,
    dropout=0.1,
    blocks_per_level=None,
    name=None,
):
    """Returns the PSPNet of Zhao et al. as a functional `keras.Model`.

    A ResNet of output stride 8, pyramid pooling, a 3x3 convolution with batch norm and ReLU over
    the map and its pyramid, dropout, a 1x1 convolution to class scores, and their bilinear
    upsampling by 8. In training the model returns the scores of stage 4 too (a 3x3
    convolution of half of `pyramid_filters`, batch norm, ReLU, dropout, 1x1), for
    `losses.DeepSupervisionLoss(weights=(1, 0.4))`; the last layer says so in its `level_weights`.

    The ResNet begins with its 7x7 convolution, as Keras has it (and its weights); the authors have
    three 3x3 ones. Upsampling is between the centres of pixels, the authors' between corners.

    Args:
        frame: the images and the classes, a `Frame`; `keras_deepskip.build_model` makes one.
        backbone: `"resnet50"`, `"resnet101"`, `"resnet152"`, `"resnet34"` or `"resnet18"`; or the
            light encoder `"light_resnet34"`.
        weights: of the backbone: None, `"imagenet"`, or a file.
        trainable_backbone: True; False freezes the backbone; a number freezes the stages of the
            ResNet before it (1 .. 5).
        base_filters: channels of `"light_resnet34"` at full resolution; each level doubles them.
        bins: parts of the image along each axis, of each level of the pyramid.
        pyramid_filters: channels of each level, and of the 3x3 convolution after them.
        auxiliary: whether in training the model returns the scores of stage 4 too. To compile
            such a model with losses of one's own, put them in `losses.DeepSupervisionLoss`, and
            metrics in `metrics.FinestLevel`.
        dropout: share of values dropped before the scores in training.
        blocks_per_level: of `"light_resnet34"`.
        name: name of the model.

    Returns:
        A `keras.Model` from (N, H, W, C) to (N, H, W, num_classes).

    Raises:
        ValueError: if an argument is out of range.
        FileNotFoundError: if there is no file of `weights`.

    Example:

    >>> pspnet(Frame((None, None, 1)), "light_resnet34", pyramid_filters=8).output_shape
    (None, None, None, 1)

    Source: H. Zhao et al., Pyramid Scene Parsing Network, CVPR 2017, figures 3 and 4.
    """
    frame.check_images("pspnet")
    _checks.check_integer("pyramid_filters", pyramid_filters)
    _checks.check_number("dropout", dropout, 0, 1, open_high=True)
    encoder = dilated_encoder(
        backbone, frame.input_shape, weights, trainable_backbone, blocks_per_level, base_filters
    )
    inputs, x = frame.open(OUTPUT_STRIDE, encoder.preprocessing)
    *_, stage4, x = encoder.maps(x)  # (N, H/8, W/8, C) both
    x = PyramidPooling(bins, pyramid_filters, name="pyramid")(x)
    x = conv_block.conv_bn_relu(x, pyramid_filters, 3, "fuse")
    x = layers.Dropout(dropout, name="fuse_drop")(x) if dropout else x
    x = score_conv(x, frame.num_classes, "head_conv")  # (N, H/8, W/8, K)
    x = BilinearUpsampling2D(OUTPUT_STRIDE, dtype="float32", name="head_up")(x)
    supervision = None
    if auxiliary:
        supervision = DeepSupervision(
            frame.num_classes,
            frame.activation,
            factors=(OUTPUT_STRIDE,),
            hidden_filters=max(1, pyramid_filters // 2),
            dropout=dropout,
            level_weights=(1.0, AUXILIARY_WEIGHT),
        )
    model = frame.close(inputs, [x, stage4], name or f"pspnet_{backbone}", supervision, scored=True)
    encoder.finish(model)
    return model
