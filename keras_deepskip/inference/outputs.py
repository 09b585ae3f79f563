"""What a model must be for `evaluate` and `predict`, and what it says about an image."""

import keras
import numpy as np

from keras_deepskip.models import image_model_shapes


def check_model(model):
    """Returns channels and classes of a model from images to maps of probabilities.

    Raises:
        ValueError: if it has not one input (N, H, W, C) and one output (N, H, W, K), or is
            multilabel.
    """
    channels, classes = (shape[-1] for shape in image_model_shapes(model))
    if classes > 1 and getattr(model.layers[-1], "activation", None) is keras.activations.sigmoid:
        raise ValueError(
            "a model for masks of one class a pixel was wanted. Received: a multilabel one, whose "
            f"{classes} classes end in a sigmoid. Take `model.predict`, and the metrics with "
            "multilabel=True"
        )
    return channels, classes


def probabilities_of(model, image):
    """Returns what a model says about one image.

    Args:
        model: a built `keras.Model` with probabilities as output.
        image: array (H, W, C).

    Returns:
        Array (H, W, K), float32: the probability of the one class, or of each of K classes of
        which one is right.

    Raises:
        ValueError: if the outputs are no such probabilities.
    """
    outputs = model.predict_on_batch(image[None].astype("float32"))
    outputs = keras.ops.convert_to_numpy(outputs)[0].astype("float32")  # (H, W, K)
    wanted = "probabilities in [0, 1]"
    fits = 0 <= outputs.min() and outputs.max() <= 1
    if outputs.shape[-1] > 1:
        wanted += " that sum to 1 over the classes, for masks of one class a pixel"
        fits = fits and np.abs(outputs.sum(axis=-1) - 1).max() < 0.02
    if not fits:  # NaN does not fit either
        raise ValueError(
            f"a model whose outputs are {wanted} was wanted. Received: outputs from "
            f"{outputs.min():g} to {outputs.max():g}, shape {outputs.shape}. A model of logits "
            "needs its activation; of a multilabel one, take `model.predict` and the metrics with "
            "multilabel=True"
        )
    return outputs
