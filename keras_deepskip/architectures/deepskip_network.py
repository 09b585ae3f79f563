"""The light network with deep skip connections: equation 1 on an encoder of any origin."""

from keras_deepskip import _checks
from keras_deepskip.architectures.frame import Frame
from keras_deepskip.encoders import build_encoder
from keras_deepskip.layers import DeepSupervision, DepthSkipBlock, FeatureAggregation

SKIPS = ("deep", "flat")


def deepskip(
    frame=Frame(),
    backbone="light_vgg16",
    weights=None,
    trainable_backbone=True,
    skips="deep",
    levels=None,
    base_filters=8,
    decoder_filters=None,
    kernel_size=3,
    blocks_per_level=None,
    dropout=0.0,
    deep_supervision=False,
    name=None,
):
    """Returns the deep-skip network as a functional `keras.Model`.

    Args:
        frame: the images and the classes, a `Frame`; `keras_deepskip.build_model` makes one.
        backbone: a light encoder (`"light_vgg16"`, `"light_resnet34"`), another name in
            `keras_deepskip.encoders.BACKBONES`, or a model whose layers are copied.
        weights: weights of the backbone: `"imagenet"`, or a file; None takes random ones.
        trainable_backbone: whether the backbone is trained; a number freezes the levels before it.
        skips: `"deep"` (equation 1) or `"flat"` (those of a plain U-Net).
        levels: B, the number of encoder levels; None is 5 for the light encoders, and all that
            another backbone has.
        base_filters: b, the channels at full resolution.
        decoder_filters: C_1 .. C_{B-1}, the channels of the decoder's levels, finest first; None
            takes `base_filters`, doubled from level to level.
        kernel_size: k, odd, in pixels.
        blocks_per_level: q_2 .. q_B of `light_resnet34`; None is (3, 4, 6, 3).
        dropout: share of channels dropped after each decoder level in training.
        deep_supervision: whether in training the model returns the scores of every decoder level,
            for `losses.DeepSupervisionLoss`.
        name: name of the model.

    Returns:
        A `keras.Model` from (N, H, W, C) to (N, H, W, num_classes).

    Raises:
        ValueError: if an argument is out of range.
        FileNotFoundError: if there is no file of `weights`.

    Example:

    >>> deepskip(Frame((None, None, 1))).output_shape
    (None, None, None, 1)

    Source: equation 1 of H. Sun, Traitement du Signal 40(4), 2023.
    """
    _checks.check_choice("skips", skips, SKIPS)
    encoder = build_encoder(
        backbone, frame.input_shape, levels, base_filters, kernel_size, blocks_per_level, weights,
        trainable_backbone,
    )  # fmt: skip
    filters = _decoder_filters(decoder_filters, base_filters, encoder.levels)
    stride = 2 ** (encoder.levels - 1)
    inputs, x = frame.open(stride, encoder.preprocessing)
    decoded = _decode(encoder.maps(x), filters, kernel_size, skips, dropout)
    supervision = DeepSupervision(frame.num_classes, frame.activation) if deep_supervision else None
    model = frame.close(inputs, decoded, name or f"deepskip_{encoder.name}", supervision)
    encoder.finish(model)
    return model


def _decoder_filters(given, base_filters, levels):
    """C_1 .. C_{B-1}."""
    if given is None:
        return [2**level * base_filters for level in range(levels - 1)]
    filters = _checks.check_integers("decoder_filters", given)
    if len(filters) != levels - 1:
        raise ValueError(
            f"`decoder_filters` must have levels - 1 = {levels - 1} entries, the finest level "
            f"first. Received: decoder_filters={tuple(given)}"
        )
    return filters


def _decode(maps, filters, kernel_size, skips, dropout):
    """D_1 .. D_{B-1} of equation 1, from the encoder's maps E_1 .. E_B."""
    levels = len(maps)  # B
    encoder = dict(enumerate(maps, start=1))  # encoder[u] is E_u
    x = encoder[levels]  # at the bottom E_B takes the place of D_{u+1}
    decoded = []
    for u in range(levels - 1, 0, -1):
        deeper = range(u + 1, levels) if skips == "deep" else ()
        branches = [encoder[u], *(encoder[j] for j in deeper), x]
        # a list: the concatenation [.] of equation 1 is never made, F works on its parts
        parts = DepthSkipBlock(filters[u - 1], kernel_size, False, name=f"d{u}_skips")(branches)
        x = FeatureAggregation(filters[u - 1], kernel_size, dropout, name=f"d{u}_aggregate")(parts)
        decoded.insert(0, x)  # (N, H/2^(u-1), W/2^(u-1), C_u)
    return decoded
