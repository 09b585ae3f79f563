"""Normalization that knows which images a model was made for, and how it decides."""

import keras


@keras.saving.register_keras_serializable(package="keras_deepskip")
class ImageNormalization(keras.layers.Normalization):
    """Keras's `Normalization` of images, with the range of the values that they have.

    The range changes nothing in what is computed. It travels in the model's file, so that `predict`
    and `evaluate` notice images of another range: 16-bit ones, say, for a model of 8-bit ones. So
    does the operating point (see `keras_deepskip.operating_point`).

    Args:
        input_range: (low, high) of the images' values.
        operating_point: None, or a dict of `threshold` and `min_area`.
        **arguments: as of `keras.layers.Normalization`, such as `mean` and `variance`.

    Input and output shape: (N, ..., C).

    Example:

    >>> layer = ImageNormalization((0, 255), mean=[100.0], variance=[400.0])
    >>> float(layer(np.full((1, 1, 1), 140.0))[0, 0, 0])
    2.0
    """

    def __init__(self, input_range=(0, 255), operating_point=None, **arguments):
        super().__init__(**arguments)
        self.input_range = tuple(input_range)
        self.operating_point = operating_point

    def get_config(self):
        known = {"input_range": self.input_range, "operating_point": self.operating_point}
        return {**super().get_config(), **known}


def image_normalization_of(model):
    """The first `ImageNormalization` of a model; None if it has none."""
    found = (layer for layer in model.layers if isinstance(layer, ImageNormalization))
    return next(found, None)
