"""The light network with deep skip connections: equation 1 on one of the light encoders."""

from keras_deepskip import _checks
from keras_deepskip.architectures.frame import close_frame, open_frame
from keras_deepskip.encoders import ENCODERS
from keras_deepskip.layers import DepthSkipBlock, FeatureAggregation

SKIPS = ("deep", "flat")


def deepskip(
    input_shape,
    num_classes,
    activation,
    mean,
    variance,
    backbone="light_vgg16",
    skips="deep",
    levels=5,
    base_filters=8,
    kernel_size=3,
    blocks_per_level=None,
    dropout=0.0,
    name=None,
):
    """Returns the deep-skip network as a functional `keras.Model`.

    See `keras_deepskip.build_model` for the arguments, which it checks and completes.

    Source: equation 1 of H. Sun, Traitement du Signal 40(4), 2023.
    """
    _checks.check_choice("backbone", backbone, ENCODERS)
    _checks.check_choice("skips", skips, SKIPS)
    _checks.check_integer("levels", levels, minimum=2)
    _checks.check_integer("base_filters", base_filters)
    _checks.check_integer("kernel_size", kernel_size, odd=True)
    options = {}
    if backbone == "light_resnet34":
        options["blocks_per_level"] = blocks_per_level
    elif blocks_per_level is not None:
        raise ValueError(
            "`blocks_per_level` belongs to backbone='light_resnet34'. Received: "
            f"blocks_per_level={blocks_per_level!r} with backbone={backbone!r}. Leave it out"
        )

    inputs, x = open_frame(input_shape, 2 ** (levels - 1), mean, variance)
    maps = ENCODERS[backbone](x, levels, base_filters, kernel_size, **options)
    x = _decode(maps, base_filters, kernel_size, skips, dropout)
    return close_frame(inputs, x, num_classes, activation, name or f"deepskip_{backbone}")


def _decode(maps, base_filters, kernel_size, skips, dropout):
    """D_1 of equation 1, from the encoder's maps E_1 .. E_B."""
    levels = len(maps)  # B
    encoder = dict(enumerate(maps, start=1))  # encoder[u] is E_u
    x = encoder[levels]  # E_B stands where D_{u+1} stands above it
    for u in range(levels - 1, 0, -1):
        filters = 2 ** (u - 1) * base_filters  # C_u
        deeper = range(u + 1, levels) if skips == "deep" else ()
        branches = [encoder[u], *(encoder[j] for j in deeper), x]
        # a list: the concatenation [.] of equation 1 is never made, F works on its parts
        parts = DepthSkipBlock(filters, kernel_size, False, name=f"d{u}_skips")(branches)
        x = FeatureAggregation(filters, kernel_size, dropout, name=f"d{u}_aggregate")(parts)
    return x  # (N, H, W, C_1)
