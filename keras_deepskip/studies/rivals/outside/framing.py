"""A network of another package in the frame of all."""

import keras

from keras_deepskip import _checks

PIP = '"keras-deepskip[benchmark]"'
STRIDE = 32  # of the coarsest maps


class PixelScores:
    """What layers share that give `num_classes` scores of each pixel, in float32.

    Comes before `keras.layers.Layer` among a layer's bases.
    """

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.num_classes)

    def compute_output_spec(self, inputs, training=None):
        return keras.KerasTensor(self.compute_output_shape(inputs.shape), "float32")


def framed(frame, network, name):
    """The model of a layer that gives class scores of each pixel.

    Args:
        frame: the images and the classes, a `Frame`.
        network: function of a tensor (N, H, W, C), of values about -1 to 1, to logits (N, H, W, K);
            H and W are multiples of `STRIDE`.
        name: name of the model.
    """
    frame.check_images(name)
    inputs, x = frame.open(STRIDE)
    return frame.close(inputs, [network(x)], name, scored=True)


def required(module, name):
    """The module of another package; an error with the pip line if it is not installed."""
    return _checks.require(module, PIP, f"architecture={name!r}")
