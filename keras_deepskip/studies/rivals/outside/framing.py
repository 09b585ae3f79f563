"""A network of another package in the frame of all."""

from keras_deepskip import _checks

PIP = '"keras-deepskip[benchmark]"'


def framed(frame, stride, network, name):
    """The model of a layer that gives class scores of each pixel.

    Args:
        frame: the images and the classes, a `Frame`.
        stride: what height and width are padded to a multiple of.
        network: function of a tensor (N, H, W, C), of values about -1 to 1, to logits (N, H, W, K).
        name: name of the model.
    """
    frame.check_images(name)
    inputs, x = frame.open(stride)
    return frame.close(inputs, [network(x)], name, scored=True)


def required(module, name):
    """The module of another package; an error with the pip line if it is not installed."""
    return _checks.require(module, PIP, f"architecture={name!r}")
