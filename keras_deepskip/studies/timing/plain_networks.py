"""The deep-skip network in plain Keras layers."""

import keras
from keras import layers

# As in the layers of keras_deepskip; repeated here, so that this network does not change.
BATCH_NORM = {"momentum": 0.9, "epsilon": 1e-3}


def deepskip_plain(size, levels=5, base_filters=8):
    """Returns the deep-skip network with `light_vgg16`, without any layer of this package.

    Each deeper map is upsampled by `UpSampling2D` and convolved by `Conv2D` at the size of its
    target level. The weights are those of `build_model`, in the same order:
    `deepskip_plain(256).set_weights(build_model((256, 256, 3)).get_weights())`.

    Args:
        size: height and width of the images in pixels, a multiple of 2^(levels-1).
        levels: B, the number of encoder levels.
        base_filters: b, the channels at full resolution.

    Returns:
        A `keras.Model` from images (N, size, size, 3) in [0, 1] to probabilities
        (N, size, size, 1).

    Raises:
        ValueError: if `size` is no multiple of 2^(levels-1).

    Example:

    >>> deepskip_plain(32, levels=3).output_shape
    (None, 32, 32, 1)
    """
    if size % 2 ** (levels - 1):
        raise ValueError(
            f"`size` must be a multiple of {2 ** (levels - 1)} with levels={levels}. "
            f"Received: size={size}"
        )
    inputs = keras.Input((size, size, 3))
    x = layers.Rescaling(2.0, offset=-1.0)(inputs)
    maps = []
    for u in range(1, levels + 1):
        x = layers.MaxPooling2D(2)(x) if u > 1 else x
        x = _two_convs(x, 2 ** (u - 1) * base_filters, f"e{u}")
        maps.append(x)  # E_u, (N, size/2^(u-1), size/2^(u-1), C_u)
    for u in range(levels - 1, 0, -1):
        filters = 2 ** (u - 1) * base_filters
        upsampled = [
            layers.UpSampling2D(2**j, interpolation="nearest")(maps[u - 1 + j])
            for j in range(1, levels - u)
        ]
        x = layers.UpSampling2D(2, interpolation="nearest")(x)
        branches = [
            layers.Conv2D(filters, 3, padding="same", name=f"d{u}_skip{position}_conv")(branch)
            for position, branch in enumerate([maps[u - 1], *upsampled, x])
        ]
        x = _two_convs(layers.Concatenate()(branches), filters, f"d{u}")
    outputs = layers.Conv2D(1, 1, activation="sigmoid", name="head_conv")(x)
    return keras.Model(inputs, outputs, name="deepskip_plain")


def _two_convs(x, filters, name):
    for index in "12":
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_conv{index}")(x)
        x = layers.BatchNormalization(**BATCH_NORM, name=f"{name}_bn{index}")(x)
        x = layers.ReLU()(x)
    return x
