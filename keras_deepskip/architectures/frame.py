"""What every network here has around it: normalization and padding before, head and crop behind."""

import keras
from keras import layers, ops

from keras_deepskip.layers import CropToMatch, PadToMultiple
from keras_deepskip.layers.initializers import FanInNormal


def open_frame(input_shape, stride, input_range, mean, variance, preprocessing=None):
    """Returns the model's input, and the map that the network starts from.

    Args:
        input_shape: (H, W, C) or (D, H, W, C); all but C may be None.
        stride: the network's coarsest stride in pixels, or that of each axis; the map's size is a
            multiple of it.
        input_range: (low, high) of the images' values.
        mean: per channel or one number, in the images' own units; None takes that of
            `preprocessing`, or the middle of `input_range`.
        variance: likewise, or the square of half of `input_range`.
        preprocessing: what the backbone wants, a `Preprocessing`; None is nothing.

    Returns:
        Two tensors: the input (N, H, W, C), and the normalized and padded map.
    """
    channels = input_shape[-1]
    own_mean, own_variance = _own_statistics(_check_range(input_range), preprocessing)
    inputs = keras.Input(input_shape, name="image")
    # In float32 under every policy: a 16-bit image's values overflow float16.
    x = layers.Normalization(
        mean=_per_channel("mean", mean, own_mean, channels),
        variance=_per_channel("variance", variance, own_variance, channels),
        name="normalize",
        dtype="float32",
    )(inputs)
    if preprocessing is not None and preprocessing.bgr:
        x = ops.take(x, [2, 1, 0, *range(3, channels)], axis=-1)
    return inputs, PadToMultiple(stride, name="pad", dtype="float32")(x)


def refuse_volumes(architecture, input_shape):
    """Raises if the images are volumes, for a network that has two axes alone."""
    if len(input_shape) != 3:
        raise ValueError(
            f"architecture={architecture!r} works on images (height, width, channels). Received: "
            f"input_shape={tuple(input_shape)}. Of volumes are 'deepskip' and 'unet'"
        )


def _own_statistics(input_range, preprocessing):
    """Mean and variance in the images' units."""
    low, high = input_range
    if preprocessing is None:
        return (low + high) / 2, ((high - low) / 2) ** 2
    unit, start = 1.0, 0.0  # the images' units for one of the backbone's
    if preprocessing.input_range is not None:
        theirs = preprocessing.input_range
        unit = (high - low) / (theirs[1] - theirs[0])
        start = low - theirs[0] * unit
    mean = [start + unit * value for value in preprocessing.mean]
    return mean, [(unit * value) ** 2 for value in preprocessing.deviation]


def _check_range(input_range):
    low, high = (float(value) for value in input_range)
    if not low < high:
        raise ValueError(
            "`input_range` must be (low, high) with low < high, such as (0, 255). "
            f"Received: input_range={input_range}"
        )
    return low, high


def _per_channel(name, value, default, channels):
    values = default if value is None else value
    values = [float(v) for v in values] if hasattr(values, "__len__") else [float(values)]
    values = values * channels if len(values) == 1 else values
    if len(values) != channels or (name == "variance" and min(values) < 0):
        raise ValueError(
            f"`{name}` must be one number, or one for each of the {channels} input channels"
            f"{' and not negative' if name == 'variance' else ''}. Received: {name}={value!r}"
        )
    return values


def close_frame(inputs, maps, num_classes, activation, name, supervision=None, scored=False):
    """Returns the model that ends in class scores of the input's own height and width.

    Args:
        inputs: the model's input, (N, H, W, C).
        maps: the network's last maps, the finest first: (N, >= H, >= W, any), ...
        num_classes: channels of the output.
        activation: "sigmoid", "softmax" or None for logits.
        name: name of the model.
        supervision: a `DeepSupervision` layer for all of the maps; None looks at the finest alone.
        scored: whether the first of the maps holds class scores, in float32; else a 1x1
            convolution makes them.

    Returns:
        A `keras.Model` with one output (N, H, W, num_classes), float32 under every dtype policy.
    """
    x = CropToMatch(name="crop", dtype="float32" if scored else None)([maps[0], inputs])
    x = x if scored else score_conv(x, num_classes, "head_conv")
    if activation is not None:
        x = layers.Activation(activation, dtype="float32", name="probabilities")(x)
    if supervision is not None:
        x = supervision([x, *maps[1:]])
    return keras.Model(inputs, x, name=name)


def score_conv(x, num_classes, name):
    """Class scores of a map's pixels: a 1x1 convolution in float32 under every dtype policy."""
    conv = layers.Conv2D if len(x.shape) == 4 else layers.Conv3D
    return conv(num_classes, 1, kernel_initializer=FanInNormal(1.0), dtype="float32", name=name)(x)
