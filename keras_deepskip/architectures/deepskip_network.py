"""The light network with deep skip connections: equation 1 on an encoder of any origin."""

from keras_deepskip import _checks
from keras_deepskip.architectures.frame import close_frame, open_frame
from keras_deepskip.encoders import build_encoder
from keras_deepskip.layers import DeepSupervision, DepthSkipBlock, FeatureAggregation

SKIPS = ("deep", "flat")


def deepskip(
    input_shape,
    num_classes,
    activation,
    input_range,
    mean,
    variance,
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

    See `keras_deepskip.build_model` for the arguments, which it checks and completes.

    Source: equation 1 of H. Sun, Traitement du Signal 40(4), 2023.
    """
    _checks.check_choice("skips", skips, SKIPS)
    encoder = build_encoder(
        backbone, input_shape, levels, base_filters, kernel_size, blocks_per_level, weights,
        trainable_backbone,
    )  # fmt: skip
    filters = _decoder_filters(decoder_filters, base_filters, encoder.levels)
    stride = 2 ** (encoder.levels - 1)
    inputs, x = open_frame(input_shape, stride, input_range, mean, variance, encoder.preprocessing)
    decoded = _decode(encoder.maps(x), filters, kernel_size, skips, dropout)
    supervision = DeepSupervision(num_classes, activation) if deep_supervision else None
    model = close_frame(
        inputs, decoded, num_classes, activation, name or f"deepskip_{encoder.name}", supervision
    )
    encoder.finish(model)
    return model


def _decoder_filters(given, base_filters, levels):
    """C_1 .. C_{B-1}."""
    if given is None:
        return [2**level * base_filters for level in range(levels - 1)]
    filters = [_checks.check_integer("decoder_filters", count) for count in given]
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
    x = encoder[levels]  # E_B stands where D_{u+1} stands above it
    decoded = []
    for u in range(levels - 1, 0, -1):
        deeper = range(u + 1, levels) if skips == "deep" else ()
        branches = [encoder[u], *(encoder[j] for j in deeper), x]
        # a list: the concatenation [.] of equation 1 is never made, F works on its parts
        parts = DepthSkipBlock(filters[u - 1], kernel_size, False, name=f"d{u}_skips")(branches)
        x = FeatureAggregation(filters[u - 1], kernel_size, dropout, name=f"d{u}_aggregate")(parts)
        decoded.insert(0, x)  # (N, H/2^(u-1), W/2^(u-1), C_u)
    return decoded
