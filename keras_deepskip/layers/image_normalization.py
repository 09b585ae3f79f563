"""Normalization that knows which images a model was made for, and how it decides."""

import keras


@keras.saving.register_keras_serializable(package="keras_deepskip")
class ImageNormalization(keras.layers.Normalization):
    """Keras's `Normalization` of images, with the range of the values that they have.

    The range changes nothing in what is computed. It travels in the model's file, so that `predict`
    and `evaluate` notice images of another range: 16-bit ones, say, for a model of 8-bit ones. So
    do the operating point (see `keras_deepskip.operating_point`) and the names of the classes.

    Args:
        input_range: (low, high) of the images' values.
        operating_point: None, or a dict of the fields of an `OperatingPoint`.
        class_names: None, or a dict from class id, as text, to name.
        **arguments: as in `keras.layers.Normalization`, such as `mean` and `variance`.

    Input and output shape: (N, ..., C).

    Example:

    >>> layer = ImageNormalization((0, 255), mean=[100.0], variance=[400.0])
    >>> float(layer(np.full((1, 1, 1), 140.0))[0, 0, 0])
    2.0
    """

    def __init__(self, input_range=(0, 255), operating_point=None, class_names=None, **arguments):
        super().__init__(**arguments)
        self.input_range = tuple(input_range)
        self.operating_point = operating_point
        self.class_names = class_names

    def get_config(self):
        names = ("input_range", "operating_point", "class_names")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def image_normalization_of(model):
    """The first `ImageNormalization` of a model; None if it has none."""
    found = (layer for layer in model.layers if isinstance(layer, ImageNormalization))
    return next(found, None)
