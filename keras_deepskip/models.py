"""`build_model`: the one call that builds a network; `load_model`, which brings one back."""

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from keras_deepskip import _checks
from keras_deepskip._hub_files import fetch_model, is_hub_address
from keras_deepskip.architectures import Frame, find_architecture
from keras_deepskip.encoders.saved import read_keras_file
from keras_deepskip.layers.image_normalization import image_normalization_of


def build_model(
    input_shape: tuple[int | None, ...] = (None, None, 3),
    num_classes: int = 1,
    architecture: str = "deepskip",
    backbone: str | keras.Model | None = None,
    weights: str | os.PathLike | None = None,
    *,
    multilabel: bool = False,
    activation: str | None = "auto",
    input_range: tuple[float, float] = (0, 255),
    mean: float | Sequence[float] | None = None,
    variance: float | Sequence[float] | None = None,
    name: str | None = None,
    **options: Any,
) -> keras.Model:
    """Builds a network that finds small objects in images of any size.

    The model takes images as the user has them (uint8 or float, in `input_range`), of any height
    and width: it normalizes them with fixed statistics, pads them to its own stride and crops the
    result back. It is a functional `keras.Model`, not compiled.

    Args:
        input_shape: (height, width, channels); height and width may be None for any size. With
            (depth, height, width, channels) the network works on volumes: the deep-skip network on
            light encoders, `"unet"` and `"h_denseunet"`.
        num_classes: channels of the output. 1 for one kind of object against the background;
            K > 1 for K classes of which id 0 is the background; with `multilabel=True`, K kinds
            that may overlap.
        architecture: `"deepskip"`, the light network with deep skip connections; or one of those
            that it is compared with, as their papers have them: `"unet"`, `"unet3plus"`,
            `"fcn8s"`, `"pspnet"`, `"h_denseunet"`, `"mask_rcnn"`, or of other packages
            `"hub_deeplab"`, `"smp"`. Their options are in docs/architectures.md and in their
            docstrings (`architectures`, `studies.rivals`).
        backbone: the encoder; None takes the architecture's own, of the deep-skip network
            `"light_vgg16"`. For it: `"light_vgg16"` or `"light_resnet34"`, those of equations 3
            and 4; a name of Keras Applications in small letters, such as `"vgg16"`, `"resnet50v2"`,
            `"mobilenetv3small"`, `"efficientnetb0"`, `"convnexttiny"`, or `"resnet18"` and
            `"resnet34"` (`keras_deepskip.encoders.BACKBONES` lists all); or a functional
            `keras.Model` or a KerasHub or KerasCV backbone of one image, whose layers are copied.
            Levels finer than its own are a light encoder's.
        weights: of the backbone. None is random initialization; `"imagenet"` has Keras
            download them; or a file:
            `.weights.h5` or `.h5` of the backbone, or `.keras` of a whole network on the same
            backbone, whose normalization comes along. The first convolution is adapted to other
            numbers of channels.
        multilabel: whether each class is decided by itself (sigmoid in place of softmax).
        activation: `"auto"` gives probabilities (sigmoid or softmax, float32 under every dtype
            policy); None gives logits.
        input_range: (low, high) of the images' values, such as (0, 255) or (0, 1).
        mean: per channel, or one number, in the images' own units; None takes the middle of
            `input_range`, or what the named backbone was made for.
        variance: per channel, or one number; None takes the square of half of `input_range`, so
            that images enter the network in [-1, 1], or what the named backbone was made for.
        name: name of the model.
        **options: of the deep-skip network:
            `trainable_backbone`: True; False freezes the backbone; a number freezes the levels
            before it (`keras_deepskip.set_trainable_backbone` changes it later);
            `skips`: `"deep"` (equation 1) or `"flat"` (those of a plain U-Net);
            `levels`: B, the number of encoder levels; None is 5 for the light encoders, and all
            that another backbone has (5 or 6);
            `base_filters`: b, the channels at full resolution, 8;
            `decoder_filters`: C_1 .. C_{B-1}, the channels of the decoder's levels, finest first;
            None doubles `base_filters` from level to level;
            `kernel_size`: k, odd, 3;
            `blocks_per_level`: q_2 .. q_B of `light_resnet34`, (3, 4, 6, 3);
            `dropout`: share of channels dropped after each decoder level in training, 0;
            `deep_supervision`: whether in training the model returns every decoder level's
            scores, for `losses.DeepSupervisionLoss`, False.

    Returns:
        A `keras.Model` from (N, H, W, channels) to (N, H, W, num_classes).

    Raises:
        ValueError: if an argument is out of range, or an option is not known.
        FileNotFoundError: if there is no file of `weights`.

    Example:

    >>> model = build_model((None, None, 1), num_classes=1)
    >>> model.predict(np.zeros((1, 17, 40, 1), "uint8"), verbose=0).shape
    (1, 17, 40, 1)

    Source: H. Sun, Traitement du Signal 40(4), 2023, doi 10.18280/ts.400430.
    """
    chosen = find_architecture(architecture)
    _checks.check_choice("activation", activation, ("auto", None))
    if activation == "auto" and multilabel:
        activation = "sigmoid"
    frame = Frame(input_shape, num_classes, activation, input_range, mean, variance)
    given = {"backbone": backbone, "weights": weights}
    options |= {option: value for option, value in given.items() if value is not None}
    return chosen.build(frame, name=name, **_known_options(chosen, options))


def load_model(path: str | os.PathLike) -> keras.Model:
    """Loads a model from a `.keras` file, written under any backend, or from the Hugging Face Hub.

    It is `keras.models.load_model`, with the layers, losses and metrics of this package known to
    it, and an error that says what is wrong with the file. Files may come from anywhere: no code of
    theirs is run (Keras's safe mode), and an archive that would unpack to far more than its own
    size is refused.

    Args:
        path: a `.keras` file, or the address of a model of `hub.push_to_hub`: `hf://user/name`, or
            with a branch, a tag or a commit `hf://user/name@revision`. A commit is one content for
            ever; the newest may be another tomorrow.

    Returns:
        The `keras.Model`, compiled if it was.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no Keras model, is damaged, or holds code.
        ImportError, ConnectionError: of an address, if huggingface_hub is not installed, or the
            hub does not answer.

    Example:

    ```python
    model = load_model("runs/first/model.keras")
    ```
    """
    path = fetch_model(path) if is_hub_address(path) else Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a .keras model, and there is no such file")
    if path.suffix != ".keras" or not zipfile.is_zipfile(path):
        raise ValueError(
            f"{path}: expected a model saved by Keras 3 (a .keras file). Received: "
            f"{path.stat().st_size} bytes of another kind. Save one with model.save('NAME.keras')"
        )
    return read_keras_file(path)


class RunLike(Protocol):
    """What functions need of a `training.Run`, which stands on a higher floor."""

    @property
    def model(self) -> keras.Model: ...
    @property
    def masks(self) -> Any: ...
    @property
    def input_range(self) -> tuple[float, float]: ...
    @property
    def operating_point(self) -> Any: ...
    @property
    def split(self) -> Any: ...


def resolve_model(model: keras.Model | RunLike) -> tuple[keras.Model, Any]:
    """Returns a model, and the run that it is of.

    Args:
        model: a `keras.Model`, or a `training.Run`.

    Returns:
        `(model, run)`; of a `keras.Model` the run is None.

    Raises:
        ValueError: if it is neither.

    Example:

    >>> model, run = resolve_model(build_model())
    >>> run is None
    True
    """
    if isinstance(model, keras.Model):
        return model, None
    if hasattr(model, "model") and hasattr(model, "masks"):  # a Run stands on a higher floor
        return model.model, model
    raise ValueError(
        "`model` must be a `keras.Model`, or a `Run` of `train` or `Run.load`. "
        f"Received: {type(model).__name__}"
    )


def input_range_of(model):
    """Returns (low, high) of the images' values that a model was made for; None if it is not known.

    Args:
        model: a `keras.Model`, such as `build_model` returns.

    Example:

    >>> input_range_of(build_model(input_range=(0, 1)))
    (0.0, 1.0)
    """
    layer = image_normalization_of(model)
    return None if layer is None else tuple(map(float, layer.input_range))


def is_multilabel(model):
    """Whether each of a model's classes is predicted by itself: several, that end in a sigmoid.

    Args:
        model: a `keras.Model` from images to maps.

    Example:

    >>> is_multilabel(build_model(num_classes=3, multilabel=True)), is_multilabel(build_model())
    (True, False)
    """
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.Average)]
    activation = keras.activations.get(getattr(layers[-1], "activation", None))
    return model.output_shape[-1] > 1 and activation is keras.activations.sigmoid


def class_names_of(model):
    """Returns the names of a model's classes by id, as its training data had them; None if unknown.

    Args:
        model: a `keras.Model`, such as `train` leaves.

    Example:

    >>> class_names_of(build_model()) is None
    True
    """
    layer = image_normalization_of(model)
    names = None if layer is None else layer.class_names
    return names and {int(class_id): name for class_id, name in names.items()}


def fill_of(model):
    """Returns what pixels without data are for a model: its mean of each channel, else 0.

    Args:
        model: a `keras.Model`, such as `build_model` returns.

    Example:

    >>> fill_of(build_model(mean=[90.0, 100.0, 110.0])).tolist()
    [90.0, 100.0, 110.0]
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            return np.ravel(keras.ops.convert_to_numpy(layer.mean)).astype("float32")
    return np.zeros(1, "float32")


def image_model_shapes(model, volumes=False):
    """Returns the shapes of a model from images to maps: input (N, H, W, C), output (N, H, W, K).

    Args:
        model: a `keras.Model`.
        volumes: whether a model for volumes is accepted too: input (N, D, H, W, C), output
            (N, D, H, W, K).

    Raises:
        ValueError: if it is not built, or has not one input and one output of this form.

    Example:

    >>> image_model_shapes(build_model((None, None, 1)))
    ((None, None, None, 1), (None, None, None, 1))
    """
    # A model of several inputs has lists of shapes, one that is not built has none.
    shapes = [getattr(model, name, None) for name in ("input_shape", "output_shape")]
    ranks = {len(s) if isinstance(s, tuple) and isinstance(s[-1], int) else 0 for s in shapes}
    if ranks != {4} and not (volumes and ranks == {5}):
        raise ValueError(
            "`model` must be built, with one input (N, H, W, C) and one output (N, H, W, K). "
            f"Received: input {shapes[0]}, output {shapes[1]}. (Use models for volumes with "
            "`fit`, `predict` and the metrics directly)"
        )
    return tuple(shapes)


def mean_model(models: Sequence[keras.Model]) -> keras.Model:
    """Joins models into one that gives the mean of their outputs, such as those of several folds.

    The models are copied. All of it is one functional model: it is saved, exported and tiled as
    each of them is, and costs as much as all of them.

    Args:
        models: list of functional `keras.Model` with one input and one output of the same shapes.

    Returns:
        A `keras.Model`.

    Raises:
        ValueError: if there is none, or their shapes or the ranges of their images differ.

    Example:

    >>> model = mean_model([build_model(levels=2), build_model(levels=2)])
    >>> model.output_shape
    (None, None, None, 1)
    """
    shapes = {image_model_shapes(model, volumes=True) for model in models}
    if len(shapes) != 1:
        raise ValueError(
            "`models` must be models of the same input and output shapes. Received: "
            f"{len(models)} models, shapes {sorted(map(str, shapes))}"
        )
    ranges = {input_range_of(model) for model in models}
    if len(ranges) > 1:
        raise ValueError(
            "`models` must be models of images of one range of values. Received: "
            f"{sorted(map(str, ranges))}"
        )
    inputs = keras.Input(next(iter(shapes))[0][1:])
    copies = [_copied(model, f"fold{number}_") for number, model in enumerate(models, start=1)]
    # `call`, not `__call__`: the layers of each are layers of the whole.
    outputs = [copy.call(inputs) for copy in copies]
    if len(outputs) == 1:
        return keras.Model(inputs, outputs[0])
    return keras.Model(inputs, keras.layers.Average(name="mean", dtype="float32")(outputs))


def _copied(model, prefix):
    """A copy of a model whose layers' names begin with a prefix."""

    def renamed(layer):
        return type(layer).from_config({**layer.get_config(), "name": prefix + layer.name})

    copy = keras.models.clone_model(model, clone_function=renamed)
    copy.set_weights(model.get_weights())
    return copy


def _known_options(architecture, options):
    for option, value in options.items():
        _checks.check_choice("option", option, architecture.options)
        # `trainable_backbone` may be a number: it is checked with the levels that there are
        if isinstance(architecture.options[option], bool) and option != "trainable_backbone":
            _checks.check_choice(option, value, (True, False))
    return options
