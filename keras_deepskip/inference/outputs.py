"""What a model, and what it says, must be for `evaluate` and `predict`."""

import keras
import numpy as np

from keras_deepskip import _sizes
from keras_deepskip.architectures import adapter_of
from keras_deepskip.models import image_model_shapes, is_multilabel
from keras_deepskip.objects import objects_by_ids
from keras_deepskip.operating_point import operating_point_of


def check_model(model):
    """Returns channels and classes of a model from images to maps of probabilities.

    Raises:
        ValueError: if it has not one input (N, H, W, C) and one output (N, H, W, K), or is
            multilabel.
    """
    channels, classes = (shape[-1] for shape in image_model_shapes(model))
    refuse_multilabel(model)
    return channels, classes


def check_maps(model):
    """Returns spatial axes, channels and classes of a model from images or volumes to maps.

    Raises:
        ValueError: if it has not one input (N, H, W, C) and one output (N, H, W, K), or
            (N, D, H, W, C) and (N, D, H, W, K).
    """
    inputs, outputs = image_model_shapes(model, volumes=True)
    return len(inputs) - 2, inputs[-1], outputs[-1]


def check_sizes(model, sizes, name):
    """Raises a ValueError, with the image's name, if a model of one size takes no such image."""
    fixed = model.input_shape[1:-1]
    if any(own not in (None, length) for own, length in zip(fixed, sizes, strict=True)):
        raise ValueError(
            f"{name}: an image of the size that the model takes was expected, "
            f"{_by_sides(fixed)}. Received: {_by_sides(sizes)}. Crop or resize it as in training, "
            "or build the model with None for the sizes"
        )


def _by_sides(sizes):
    return " x ".join("any" if length is None else str(length) for length in sizes)


def refuse_multilabel(model):
    """Raises a ValueError if a pixel may be of several classes, so that no mask holds them."""
    if is_multilabel(model):
        raise ValueError(
            "a model for masks of one class a pixel was expected. Received: a multilabel one, "
            f"whose {model.output_shape[-1]} classes end in a sigmoid. Take `model.predict`, and "
            "the metrics with multilabel=True"
        )


def decision_of(model, run=None, threshold=None, min_area=None, separate=None):
    """The operating point by which a model, or that of a run, decides.

    Args:
        model: a `keras.Model` with probabilities as output.
        run: the `Run` that it is of, or None.
        threshold, min_area, separate: in place of the model's own, where they are not None.

    Returns:
        An `OperatingPoint`.

    Raises:
        ValueError: if they are out of range, or areas are fewer than the class ids.
    """
    known = operating_point_of(model) if run is None else run.operating_point
    point = known.replaced(threshold, min_area, separate)
    last = max(model.output_shape[-1] - 1, 1)  # class id
    if isinstance(point.min_area, tuple) and len(point.min_area) <= last:
        raise ValueError(
            f"`min_area` must be one number, or one for each class id from 0 to {last}. "
            f"Received: min_area={point.min_area}"
        )
    return point


class ObjectsOf:
    """Which object each pixel of a model's masks is of.

    A model that finds objects one by one (Mask R-CNN) says it itself, else the operating point.

    Args:
        model: a `keras.Model` from images to maps; None is one that finds masks alone.
        point: its `OperatingPoint`.

    Attributes:
        each_for_itself: whether objects that touch are told apart.
    """

    def __init__(self, model, point):
        self.point = point
        self._find = None if model is None else adapter_of(model).object_finder(model)
        self.each_for_itself = point.separate or self._find is not None

    def labels(self, mask, image):
        """`(labels, count)` of a predicted mask (H, W), of the image (H, W, C) that it is of."""
        if self._find is None:
            return self.point.labels(mask)
        labels = objects_by_ids(mask, self._find(image)(self.point.threshold))
        return labels, int(labels.max(initial=0))


def background_of(model):
    """What a model says of a pixel that is background: (K,), float32."""
    outputs = np.zeros(model.output_shape[-1], "float32")
    if len(outputs) > 1 and not is_multilabel(model):  # one class a pixel
        outputs[0] = 1
    return outputs


def outputs_of(model, images):
    """What a model says about a batch of images or volumes: (N, H, W, K), float32."""
    outputs = _sizes.predict_on_batch(model, images)
    return np.asarray(keras.ops.convert_to_numpy(outputs), "float32")
