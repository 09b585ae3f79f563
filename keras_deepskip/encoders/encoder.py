"""What an architecture stands on: an encoder of any origin, to the one contract.

Level u has the stride 2^(u-1), and E_1 is at the input's own resolution. Where a backbone begins at
stride 2 or 4, the levels before it are a light encoder's, beside it on the same image.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from keras_deepskip import _checks
from keras_deepskip.encoders.applications import APPLICATIONS, UNFIT, Preprocessing
from keras_deepskip.encoders.freezing import (
    backbone_levels,
    batch_norms,
    set_trainable_backbone,
)
from keras_deepskip.encoders.light_resnet import light_resnet34
from keras_deepskip.encoders.light_vgg import light_vgg16
from keras_deepskip.encoders.pretrained import (
    adapt_kernel,
    normalization_of,
    pretrained,
    read_network,
)
from keras_deepskip.encoders.pyramid import cut_levels
from keras_deepskip.layers.conv_block import BATCH_NORM_MOMENTUM

LIGHT = {
    "light_vgg16": light_vgg16,
    "light_resnet34": light_resnet34,
}
LIGHT_LEVELS = 5  # the paper's B


@dataclasses.dataclass(frozen=True)
class Encoder:
    """An encoder that is chosen, and not yet applied.

    Attributes:
        name: of the backbone.
        levels: B, the number of maps.
        maps: function from the normalized and padded image (N, H, W, C) to [E_1 .. E_B].
        preprocessing: what the backbone wants done to images; None: nothing of its own.
        finish: function of the whole network, to be called when it is built: brings weights that
            can only come then, and freezes what is not to learn.
    """

    name: str
    levels: int
    maps: Callable
    preprocessing: Preprocessing | None
    finish: Callable


def build_encoder(
    backbone,
    input_shape,
    levels=None,
    base_filters=8,
    kernel_size=3,
    blocks_per_level=None,
    weights=None,
    trainable_backbone=True,
):
    """Chooses an encoder. See `keras_deepskip.build_model` for the arguments.

    Returns:
        An `Encoder`.

    Raises:
        ValueError: if the backbone is not known or does not fit, or an argument has no meaning with
            it.
        FileNotFoundError: if there is no file of `weights`.
    """
    if levels is not None:
        _checks.check_integer("levels", levels, minimum=2)
    _checks.check_integer("base_filters", base_filters)
    _checks.check_integer("kernel_size", kernel_size, odd=True)
    named = isinstance(backbone, str)
    name = _check_name(backbone) if named else backbone.name if hasattr(backbone, "name") else ""
    if blocks_per_level is not None and name != "light_resnet34":
        raise ValueError(
            "`blocks_per_level` belongs to backbone='light_resnet34'. Received: "
            f"blocks_per_level={blocks_per_level!r} with backbone={name!r}. Leave it out"
        )
    if named and name in LIGHT:
        return _light(
            name, input_shape[-1], levels or LIGHT_LEVELS, base_filters, kernel_size,
            blocks_per_level, weights, trainable_backbone,
        )  # fmt: skip
    _refuse_volume(name, input_shape)
    if named:
        cut, first, expected = pretrained(name, input_shape[-1], levels, weights)
        for norm in batch_norms(cut):  # made for runs of a million steps: up to 0.999
            norm.momentum = min(norm.momentum, BATCH_NORM_MOMENTUM)
    else:
        _refuse_weights_of_object(weights)
        (cut, first), expected = cut_levels(backbone, levels), None
        _check_images(cut, first - 1 + len(cut.outputs), input_shape)

    def maps(x):
        light = light_vgg16(x, first - 1, base_filters, kernel_size) if first > 1 else []
        found = cut(x)
        return [*light, *(found if isinstance(found, list | tuple) else [found])]

    def finish(model):
        _freeze(model, trainable_backbone)

    expected = expected and expected.for_channels(input_shape[-1])
    return Encoder(name, first - 1 + len(cut.outputs), maps, expected, finish)


def _light(name, channels, levels, base_filters, kernel_size, blocks, weights, trainable):
    options = {"blocks_per_level": blocks} if name == "light_resnet34" else {}
    donor = None if weights is None else _light_donor(name, weights)

    def maps(x):
        return LIGHT[name](x, levels, base_filters, kernel_size, **options)

    def finish(model):
        if donor is not None:
            _take_encoder(model, donor, name, weights)
        _freeze(model, trainable)

    expected = None if donor is None else normalization_of(donor).for_channels(channels)
    return Encoder(name, levels, maps, expected, finish)


def _freeze(model, trainable):
    if trainable is not True:  # what is frozen in a model of one's own stays so
        set_trainable_backbone(model, trainable)


def _check_name(name):
    name = name.lower()
    if name in UNFIT:
        raise ValueError(
            f"`backbone` {name!r} does not fit: {UNFIT[name]}. Take another, such as 'resnet50'"
        )
    return _checks.check_choice("backbone", name, (*LIGHT, *APPLICATIONS))


def _refuse_volume(name, input_shape):
    if len(input_shape) != 3:
        raise ValueError(
            "volumes (depth, height, width, channels) go with the light encoders, "
            f"{' and '.join(map(repr, LIGHT))}. Received: backbone={name!r} with "
            f"input_shape={input_shape}"
        )


def _refuse_weights_of_object(weights):
    if weights is not None:
        raise ValueError(
            "`weights` belong to a backbone by name; a model has its own. Received: "
            f"weights={str(weights)!r}. Load them into the model, and leave `weights` out"
        )


def _check_images(cut, levels, input_shape):
    """Whether a model of one's own takes the images, padded to the network's stride."""
    *sizes, channels = cut.input_shape[1:]
    if channels not in (None, input_shape[-1]):
        raise ValueError(
            f"`backbone` takes images of {channels} channels. Received: input_shape="
            f"{input_shape}. Give the model that was made for {input_shape[-1]}; a backbone by "
            "name adapts its weights"
        )
    stride = 2 ** (levels - 1)
    padded = [own and own + -own % stride for own in input_shape[:-1]]
    if any(size not in (None, own) for size, own in zip(sizes, padded, strict=True)):
        raise ValueError(
            f"`backbone` takes images of {sizes[0]} x {sizes[1]} alone, and images are padded to a "
            f"multiple of {stride}. Received: input_shape={input_shape}. Give that size, or build "
            "the backbone for (None, None, channels)"
        )


def _light_donor(name, path):
    if not str(path).endswith(".keras"):
        raise ValueError(
            f"`weights` of {name!r} come from a network that was saved with it, a .keras file. "
            f"Received: weights={str(path)!r}"
        )
    return read_network(Path(path))


def _take_encoder(model, donor, name, path):
    """The encoder of another network on the same light encoder, layer by layer."""
    given = _encoder_layers(donor)
    for layer in _encoder_layers(model).values():
        weights = given[layer.name].get_weights() if layer.name in given else []
        expected = [tuple(weight.shape) for weight in layer.weights]
        if layer.name in ("e1_conv1", "e1_conv") and weights:  # the first of both light encoders
            weights[0] = adapt_kernel(weights[0], expected[0][-2])
        if [weight.shape for weight in weights] != expected:
            raise ValueError(
                f"{path}: a network on {name!r} of the same levels and widths was expected. "
                f"Received: {donor.name!r}, whose layer {layer.name!r} is missing or another"
            )
        layer.set_weights(weights)


def _encoder_layers(network):
    levels = backbone_levels(network).values()
    return {layer.name: layer for of_level in levels for layer in of_level if layer.weights}
