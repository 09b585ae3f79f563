"""Backbones by name: the families of `keras.applications`, and ResNet18 and 34, which it lacks."""

import dataclasses
import warnings

import keras
import numpy as np
from keras import layers

from keras_deepskip.encoders.full_resnet import resnet18, resnet34
from keras_deepskip.layers import NumpyVarianceScaling


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """What a network wants done to images: (value - mean) / deviation in each channel.

    Attributes:
        mean: per channel, red first.
        deviation: likewise.
        bgr: whether the first three channels then go in as blue, green, red.
        input_range: (low, high) that mean and deviation are for; None: that of the user's images.
    """

    mean: tuple
    deviation: tuple
    bgr: bool = False
    input_range: tuple | None = (0, 255)

    def for_channels(self, channels):
        """The same for images of so many channels: those beyond the known ones get the mean."""
        return dataclasses.replace(
            self,
            mean=_spread(self.mean, channels),
            deviation=_spread(self.deviation, channels),
            bgr=self.bgr and channels >= 3,
        )


def _spread(values, channels):
    known = values[:channels] if channels >= len(values) else ()
    return (*known, *[sum(values) / len(values)] * (channels - len(known)))


# What `preprocess_input` of the families does to values of 0 .. 255, by Keras's names for it. The
# numbers are the means and deviations of ImageNet's pictures.
MODES = {
    "caffe": Preprocessing((123.68, 116.779, 103.939), (1.0, 1.0, 1.0), bgr=True),
    "tf": Preprocessing((127.5,) * 3, (127.5,) * 3),
    "torch": Preprocessing(
        tuple(255 * mean for mean in (0.485, 0.456, 0.406)),
        tuple(255 * deviation for deviation in (0.229, 0.224, 0.225)),
    ),
}

# name: (constructor: ours, or its name in keras.applications; mode of its preprocessing).
# The last three groups have it as layers inside, with which they are built; these are left out here
# in favour of the network's own normalization, the same for all.
APPLICATIONS = {
    "resnet18": (resnet18, "torch"),
    "resnet34": (resnet34, "torch"),
    **{name.lower(): (name, "caffe") for name in (
        "VGG16", "VGG19", "ResNet50", "ResNet101", "ResNet152")},
    **{name.lower(): (name, "tf") for name in (
        "ResNet50V2", "ResNet101V2", "ResNet152V2", "MobileNet", "MobileNetV2")},
    **{name.lower(): (name, "torch") for name in ("DenseNet121", "DenseNet169", "DenseNet201")},
    **{name.lower(): (name, "tf") for name in (
        "MobileNetV3Small", "MobileNetV3Large",
        "EfficientNetV2S", "EfficientNetV2M", "EfficientNetV2L")},
    **{f"efficientnetb{size}": (f"EfficientNetB{size}", "torch") for size in range(8)},
    **{f"efficientnetv2b{size}": (f"EfficientNetV2B{size}", "torch") for size in range(4)},
    **{f"convnext{size.lower()}": (f"ConvNeXt{size}", "torch") for size in (
        "Tiny", "Small", "Base", "Large", "XLarge")},
}  # fmt: skip

_VALID = "its convolutions with 'valid' padding give maps that lie beside the image's own grid"
UNFIT = {
    "xception": _VALID,
    "inceptionv3": _VALID,
    "inceptionresnetv2": _VALID,
    "nasnetmobile": "it cannot be built for images of any size",
    "nasnetlarge": "it cannot be built for images of any size",
}


def construct(name, channels, weights=None):
    """Builds a backbone of a name in `APPLICATIONS` for images of any size, without a classifier.

    Without weights it starts from draws by NumPy of the distributions that Keras would draw from:
    the same on every backend, and on JAX at once.

    Args:
        name: key of `APPLICATIONS`.
        channels: of the images.
        weights: None or `"imagenet"` (3 channels; Keras downloads them).

    Returns:
        A `keras.Model`.
    """
    constructor, _ = APPLICATIONS[name]
    shape = (None, None, channels)
    if callable(constructor):
        return constructor(shape)
    build = getattr(keras.applications, constructor)
    replaced = {"glorot_uniform": NumpyVarianceScaling, "VarianceScaling": NumpyVarianceScaling}
    with keras.saving.custom_object_scope(replaced), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This model usually expects 1 or 3 input channels")
        return build(include_top=False, weights=weights, input_shape=shape)


def preprocessing_layers(model):
    """The rescaling and normalization that a model begins with."""
    found = []
    for layer in model.layers[1:]:
        if not isinstance(layer, layers.Rescaling | layers.Normalization):
            return found
        found.append(layer)
    return found


def preprocessing_of(name, model=None):
    """What a family wants done to images; of a model with weights, as its own layers have it."""
    mode = MODES[APPLICATIONS[name][1]]
    steps = preprocessing_layers(model) if model is not None else []
    if not steps:
        return mode
    factor, shift = np.ones(1), np.zeros(1)  # of value -> factor value + shift
    for step in steps:
        if isinstance(step, layers.Rescaling):
            scale, offset = np.asarray(step.scale), np.asarray(step.offset)
        else:
            mean, variance = (channel_values(each) for each in (step.mean, step.variance))
            scale = 1 / np.sqrt(variance)
            offset = -mean * scale
        factor, shift = factor * scale, shift * scale + offset
    channels = model.input_shape[-1]
    mean, deviation = (np.broadcast_to(v, channels) for v in (-shift / factor, 1 / factor))
    return Preprocessing(tuple(mean.tolist()), tuple(deviation.tolist()))


def channel_values(tensor):
    """A normalization's mean or variance as float64, (C,)."""
    return keras.ops.convert_to_numpy(tensor).astype("float64").reshape(-1)
