"""ResNets whose last stages keep the map's size: they step by dilation where they had strides."""

import re

import keras
from keras import layers

from keras_deepskip import _checks
from keras_deepskip.encoders.encoder import LIGHT_LEVELS, Encoder
from keras_deepskip.encoders.freezing import batch_norms, set_trainable_backbone
from keras_deepskip.encoders.light_resnet import light_resnet34
from keras_deepskip.encoders.pretrained import pretrained
from keras_deepskip.layers.conv_block import BATCH_NORM_MOMENTUM
from keras_deepskip.layers.copying import set_weights

OUTPUT_STRIDE = 8
_OF_APPLICATIONS = {"conv4_": 2, "conv5_": 4}  # names of a stage's layers begin so: its dilation
_OF_FULL = {"stage3_": 2, "stage4_": 4}  # of encoders/full_resnet.py
DILATIONS = {
    "resnet18": _OF_FULL,
    "resnet34": _OF_FULL,
    "resnet50": _OF_APPLICATIONS,
    "resnet101": _OF_APPLICATIONS,
    "resnet152": _OF_APPLICATIONS,
    "light_resnet34": {"e5_": 2},  # E_4 has stride 8
}


def dilated_encoder(
    backbone,
    input_shape,
    weights=None,
    trainable_backbone=True,
    blocks_per_level=None,
    base_filters=8,
):
    """Chooses a ResNet of output stride 8.

    The strides of its last two stages are gone, and the 3x3 convolutions after them have dilations
    of 2 and 4, so that each sees what it saw. (The light one, which begins at stride 1, has stride
    8 but for its last stage.) Weights are those of the network with strides.

    Args:
        backbone: a key of `DILATIONS`.
        input_shape: (H, W, C), of the image.
        weights: None, `"imagenet"`, or a file, as of `keras_deepskip.build_model`; of the light one
            None.
        trainable_backbone: True; False; or the number of the first stage that learns, 1 .. 5.
        blocks_per_level: q_2 .. q_5 of `light_resnet34`; None is (3, 4, 6, 3).
        base_filters: of `light_resnet34`, the channels of E_1.

    Returns:
        An `Encoder` whose five maps are the ends of ResNet's stages 1 .. 5, of the strides 2, 4, 8,
        8 and 8; of the light one E_1 .. E_5, of the strides 1, 2, 4, 8 and 8.

    Raises:
        ValueError: if the backbone is not one of these, or an argument has no meaning with it.
        FileNotFoundError: if there is no file of `weights`.

    Example:

    >>> maps = dilated_encoder("resnet18", (64, 64, 3)).maps(keras.Input((64, 64, 3)))
    >>> [x.shape[1] for x in maps], [x.shape[-1] for x in maps]
    ([32, 16, 8, 8, 8], [64, 64, 128, 256, 512])

    Source: H. Zhao et al., Pyramid Scene Parsing Network, CVPR 2017, section 3.3; F. Yu,
    V. Koltun, T. Funkhouser, Dilated Residual Networks, CVPR 2017.
    """
    _checks.check_choice("backbone", backbone, DILATIONS)
    _checks.check_integer("base_filters", base_filters)
    channels = input_shape[-1]
    if backbone == "light_resnet34":
        cut, preprocessing = _light(channels, weights, blocks_per_level, base_filters), None
    elif blocks_per_level is not None:
        raise ValueError(
            "`blocks_per_level` belongs to backbone='light_resnet34'. Received: "
            f"blocks_per_level={blocks_per_level!r} with backbone={backbone!r}. Leave it out"
        )
    else:
        cut, _, preprocessing = pretrained(backbone, channels, None, weights)
        preprocessing = preprocessing.for_channels(channels)
    dilated = dilate(cut, DILATIONS[backbone])
    for norm in batch_norms(dilated):
        norm.momentum = min(norm.momentum, BATCH_NORM_MOMENTUM)

    def finish(model):
        if trainable_backbone is not True:
            set_trainable_backbone(model, trainable_backbone)

    return Encoder(backbone, len(cut.outputs), dilated, preprocessing, finish)


def _light(channels, weights, blocks_per_level, base_filters):
    if weights is not None:
        raise ValueError(
            "the dilated 'light_resnet34' is trained with its network. Received: "
            f"weights={str(weights)!r}. Leave `weights` out"
        )
    image = keras.Input((None, None, channels), name="image")
    maps = light_resnet34(image, LIGHT_LEVELS, base_filters, blocks_per_level=blocks_per_level)
    return keras.Model(image, maps, name="backbone")


def dilate(model, dilations):
    """Returns a copy of a network in which stages have dilation in place of strides.

    Args:
        model: a functional `keras.Model` whose 3x3 convolutions are padded to their map's size.
        dilations: a dict from how the names of a stage's layers begin to the dilation of its
            convolutions, all of its strides up to there.

    Returns:
        A `keras.Model` of the same name, outputs and weights.
    """

    def copy(layer):
        config = layer.get_config()
        stage = re.match("|".join(map(re.escape, dilations)), layer.name)
        if stage and isinstance(layer, layers.Conv2D):
            return _dilated_conv(layer, config, dilations[stage[0]])
        if stage and isinstance(layer, layers.ZeroPadding2D):
            config["padding"] = (dilations[stage[0]] // 2,) * 2  # it stands before a strided 3x3
        return type(layer).from_config(config)

    dilated = keras.models.clone_model(model, clone_function=copy)
    set_weights(dilated, model.get_weights())
    return dilated


def _dilated_conv(layer, config, dilation):
    """Keras's own layer: a `PlainConv2D` has no dilation.

    A convolution that had a stride still works on the grid of the stage before it.
    """
    dilation = dilation // max(layer.strides)
    single = tuple(config["kernel_size"]) == (1, 1)
    return layers.Conv2D.from_config(
        {
            **config,
            "padding": layer.padding,
            "strides": (1, 1),
            "dilation_rate": (1 if single else dilation,) * 2,
        }
    )
