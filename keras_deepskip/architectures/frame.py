"""What every network here has around it: normalization and padding before, head and crop behind."""

import keras
from keras import layers

from keras_deepskip.layers import CropToMatch, PadToMultiple
from keras_deepskip.layers.initializers import FanInNormal


def open_frame(input_shape, stride, mean, variance):
    """Returns the model's input, and the map that the network starts from.

    Args:
        input_shape: (H, W, C), H and W may be None.
        stride: the network's coarsest stride in pixels; the map's size is a multiple of it.
        mean: per channel, in the images' own units.
        variance: per channel, in the images' own units squared.

    Returns:
        Two tensors: the input (N, H, W, C), and the normalized and padded map.
    """
    inputs = keras.Input(input_shape, name="image")
    # In float32 under every policy: a 16-bit image's values overflow float16.
    x = layers.Normalization(mean=mean, variance=variance, name="normalize", dtype="float32")(
        inputs
    )
    return inputs, PadToMultiple(stride, name="pad", dtype="float32")(x)


def close_frame(inputs, x, num_classes, activation, name):
    """Returns the model that ends in class scores of the input's own height and width.

    Args:
        inputs: the model's input, (N, H, W, C).
        x: the network's last map, (N, >= H, >= W, any).
        num_classes: channels of the output.
        activation: "sigmoid", "softmax" or None for logits.
        name: name of the model.

    Returns:
        A `keras.Model` with one output (N, H, W, num_classes), float32 under every dtype policy.
    """
    x = CropToMatch(name="crop")([x, inputs])
    x = layers.Conv2D(
        num_classes, 1, kernel_initializer=FanInNormal(1.0), dtype="float32", name="head_conv"
    )(x)
    if activation is not None:
        x = layers.Activation(activation, dtype="float32", name="probabilities")(x)
    return keras.Model(inputs, x, name=name)
