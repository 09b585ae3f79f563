"""What every network here has around it: normalization and padding before, head and crop after."""

import collections.abc
import dataclasses
import numbers

import keras
from keras import layers, ops

from keras_deepskip import _checks
from keras_deepskip.layers import CropToMatch, ImageNormalization, PadToMultiple
from keras_deepskip.layers.initializers import FanInNormal

ACTIVATIONS = ("auto", "sigmoid", "softmax", None)


@dataclasses.dataclass(frozen=True)
class Frame:
    """The images that a network takes and the scores that it gives: what all architectures share.

    Every value is checked here, so builders take it as it is.

    Args:
        input_shape: (H, W, C) of images or (D, H, W, C) of volumes; all sizes but C may be None.
        num_classes: channels of the output.
        activation: `"sigmoid"`, `"softmax"`, or None for logits. `"auto"` becomes `"sigmoid"` for
            one class and `"softmax"` for several.
        input_range: (low, high) of the images' values.
        mean: per channel or one number, in the images' own units; None takes that of the backbone,
            or the middle of `input_range`.
        variance: per channel or one number, in the square of the images' units; None takes that of
            the backbone, or the square of half of `input_range`.

    Raises:
        ValueError: if a value is out of range.

    Example:

    >>> frame = Frame((None, None, 1), num_classes=3)
    >>> frame.activation, frame.channels
    ('softmax', 1)
    """

    input_shape: tuple = (None, None, 3)
    num_classes: int = 1
    activation: str | None = "auto"
    input_range: tuple = (0, 255)
    mean: float | collections.abc.Sequence | None = None
    variance: float | collections.abc.Sequence | None = None

    def __post_init__(self):
        _checks.check_choice("activation", self.activation, ACTIVATIONS)
        _checks.check_integer("num_classes", self.num_classes)
        checked = {
            "input_shape": _check_input_shape(self.input_shape),
            "input_range": _check_range(self.input_range),
        }
        if self.activation == "auto":
            checked["activation"] = "sigmoid" if self.num_classes == 1 else "softmax"
        channels = checked["input_shape"][-1]
        for name in ("mean", "variance"):
            value = getattr(self, name)
            if value is not None:
                checked[name] = tuple(_per_channel(name, value, channels))
        for name, value in checked.items():
            object.__setattr__(self, name, value)  # the dataclass is frozen

    @property
    def channels(self):
        """C, the channels of the input."""
        return self.input_shape[-1]

    @property
    def volumes(self):
        """Whether the input is volumes (D, H, W, C)."""
        return len(self.input_shape) == 4

    def check_images(self, architecture):
        """Raises if the input is volumes, for a network that works on two axes only.

        Args:
            architecture: name of the network, for the error.

        Raises:
            ValueError: if the input is volumes.
        """
        if self.volumes:
            raise ValueError(
                f"architecture={architecture!r} works on images (height, width, channels). "
                f"Received: input_shape={self.input_shape}. Give a shape of three entries, or "
                "take an architecture that works on volumes, such as 'deepskip'"
            )

    def open(self, stride, preprocessing=None):
        """Returns the model's input, and the map that the network starts from.

        Args:
            stride: the network's coarsest stride in pixels, or that of each axis; the map's size is
                a multiple of it.
            preprocessing: what the backbone expects, a `Preprocessing`; None is nothing.

        Returns:
            Two tensors: the input (N, H, W, C), and the normalized and padded map.
        """
        mean, variance = _own_statistics(self.input_range, preprocessing)
        inputs = keras.Input(self.input_shape, name="image")
        # In float32 under every policy: a 16-bit image's values overflow float16.
        x = ImageNormalization(
            self.input_range,
            mean=_per_channel("mean", mean if self.mean is None else self.mean, self.channels),
            variance=_per_channel(
                "variance", variance if self.variance is None else self.variance, self.channels
            ),
            name="normalize",
            dtype="float32",
        )(inputs)
        if preprocessing is not None and preprocessing.bgr:
            x = ops.take(x, [2, 1, 0, *range(3, self.channels)], axis=-1)
        return inputs, PadToMultiple(stride, name="pad", dtype="float32")(x)

    def close(self, inputs, maps, name, supervision=None, scored=False):
        """Returns the model that ends in class scores of the input's own height and width.

        Args:
            inputs: the model's input, (N, H, W, C).
            maps: the network's last maps, the finest first: (N, >= H, >= W, any), ...
            name: name of the model.
            supervision: a `DeepSupervision` layer for all of the maps; None uses the finest only.
            scored: whether the first of the maps holds class scores, in float32; otherwise a 1x1
                convolution makes them.

        Returns:
            A `keras.Model` with one output (N, H, W, num_classes), float32 under every dtype
            policy.
        """
        x = CropToMatch(name="crop", dtype="float32" if scored else None)([maps[0], inputs])
        x = x if scored else score_conv(x, self.num_classes, "head_conv")
        x = self.activate(x)
        if supervision is not None:
            x = supervision([x, *maps[1:]])
        return keras.Model(inputs, x, name=name)

    def activate(self, scores):
        """Returns probabilities of class scores, in float32; the scores if there is no activation.

        Args:
            scores: tensor (N, H, W, num_classes).
        """
        if self.activation is None:
            return scores
        return layers.Activation(self.activation, dtype="float32", name="probabilities")(scores)


def score_conv(x, num_classes, name):
    """Class scores of a map's pixels: a 1x1 convolution in float32 under every dtype policy."""
    conv = layers.Conv2D if len(x.shape) == 4 else layers.Conv3D
    return conv(num_classes, 1, kernel_initializer=FanInNormal(1.0), dtype="float32", name=name)(x)


def _check_input_shape(shape):
    shape = tuple(shape)
    sizes = all(s is None or (isinstance(s, numbers.Integral) and s >= 1) for s in shape[:-1])
    channels = len(shape) in (3, 4) and isinstance(shape[-1], numbers.Integral) and shape[-1] >= 1
    if not sizes or not channels:
        raise ValueError(
            "`input_shape` must be (height, width, channels), or (depth, height, width, channels) "
            "for volumes, the sizes positive or None for any. "
            f"Received: input_shape={shape}"
        )
    return shape


def _check_range(input_range):
    low, high = (float(value) for value in input_range)
    if not low < high:
        raise ValueError(
            "`input_range` must be (low, high) with low < high, such as (0, 255). "
            f"Received: input_range={input_range}"
        )
    return low, high


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


def _per_channel(name, value, channels):
    values = [float(v) for v in value] if hasattr(value, "__len__") else [float(value)]
    values = values * channels if len(values) == 1 else values
    if len(values) != channels or (name == "variance" and min(values) < 0):
        raise ValueError(
            f"`{name}` must be one number, or one for each of the {channels} input channels"
            f"{' and not negative' if name == 'variance' else ''}. Received: {name}={value!r}"
        )
    return values
