"""Weights of a backbone from a file or from Keras, brought to the images' number of channels."""

import warnings
import zipfile
from pathlib import Path

import numpy as np

from keras_deepskip.encoders.applications import (
    Preprocessing,
    channel_values,
    construct,
    preprocessing_layers,
    preprocessing_of,
)
from keras_deepskip.encoders.pyramid import cut_levels
from keras_deepskip.encoders.saved import read_keras_file
from keras_deepskip.layers.copying import set_weights


def pretrained(name, channels, levels=None, weights=None):
    """Builds a named backbone with weights.

    Args:
        name: key of `APPLICATIONS`.
        channels: of the images. The first convolution is adapted where the weights are of another
            number: see `adapt_kernel`.
        levels: number of the coarsest level to take; None takes all.
        weights: None; `"imagenet"`; or a file: weights of the whole backbone (`.weights.h5`, or the
            `.h5` that Keras publishes), of the cut one (`get_layer("backbone").save_weights`), or a
            whole network of this package on the same backbone (`.keras`), whose normalization is
            taken too.

    Returns:
        The backbone cut to its levels and the number of the first of them, as in `cut_levels`; and
        its `Preprocessing`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it holds weights of another network.
    """
    if weights is None:
        model = construct(name, channels)
        return *_cut(model, levels), preprocessing_of(name)
    if weights == "imagenet":
        model = construct(name, 3, weights)
        donor, preprocessing = _cut(model, levels)[0], preprocessing_of(name, model)
    elif str(weights).endswith(".keras"):
        donor, preprocessing = _of_network(name, Path(weights))
    else:
        donor, preprocessing = _of_file(name, channels, levels, Path(weights))
    target, first = _cut(construct(name, channels), levels)
    _transfer(donor, target, name, weights)
    return target, first, preprocessing


def _cut(model, levels):
    return cut_levels(model, levels, [layer.name for layer in preprocessing_layers(model)])


def _of_file(name, channels, levels, path):
    """A backbone that the file's weights fit, of the images' channels or of 3, or 1."""
    if not path.is_file() or path.suffix != ".h5":
        raise FileNotFoundError(
            f"{path}: weights of a backbone were expected here: None, 'imagenet', or a file that "
            "is there and ends in .weights.h5, .h5 or .keras"
        )
    errors = []
    for count in dict.fromkeys((channels, 3, 1)):
        model = construct(name, count)
        cut, _ = _cut(model, levels)
        for candidate in (model, cut):
            try:
                _load(candidate, path)
            except (ValueError, KeyError, OSError, IndexError, UserWarning) as error:
                errors.append(str(error).strip().splitlines()[0])
                continue
            if candidate is cut:  # saved by this package, which keeps preprocessing outside
                return cut, preprocessing_of(name)
            return _cut(model, levels)[0], preprocessing_of(name, model)
    raise ValueError(
        f"{path}: weights of the backbone {name!r} without its classifier, for {channels}, 3 or 1 "
        f"channels, were expected. Received: others, or a damaged file ({errors[0]})"
    )


def _load(model, path):
    """Loads weights. Layers that the file has nothing for are an error; Keras only warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model.load_weights(path)


def _of_network(name, path):
    """The backbone of a whole network, and its normalization."""
    network = read_network(path)
    try:
        backbone = network.get_layer("backbone")
    except ValueError as error:
        raise ValueError(
            f"{path}: a network of this package on the backbone {name!r} was expected. Received: "
            f"{network.name!r}, which has no layer 'backbone'"
        ) from error
    return backbone, normalization_of(network, preprocessing_of(name).bgr)


def normalization_of(network, bgr=False):
    """What a network of this package does to its images, as a `Preprocessing`."""
    own = network.get_layer("normalize")
    mean, variance = (channel_values(each) for each in (own.mean, own.variance))
    return Preprocessing(tuple(mean), tuple(np.sqrt(variance)), bgr, input_range=None)


def read_network(path):
    """Loads a `.keras` file for its weights, or says what is wrong with it."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        raise FileNotFoundError(
            f"{path}: a network saved as .keras was expected, and there is none"
        )
    return read_keras_file(path, compile=False)


def _transfer(donor, target, name, source):
    """Copies weights; the first kernel is adapted where it is of other channels."""
    given, expected = donor.get_weights(), target.get_weights()
    fitted = []
    for own, other in zip(given, expected, strict=False):
        if not fitted and own.ndim == 4 and own.shape[2] != other.shape[2]:
            own = adapt_kernel(own, other.shape[2])
        fitted.append(own)
    if [w.shape for w in fitted] != [w.shape for w in expected] or len(given) != len(expected):
        raise ValueError(
            f"{source}: weights of the backbone {name!r} with the same levels were expected. "
            f"Received: {len(given)} arrays where {len(expected)} are expected, or others in shape"
        )
    set_weights(target, fitted)


def adapt_kernel(kernel, channels):
    """Brings the kernel of a first convolution to another number of input channels.

    The kernel of a channel that the weights know stays as it is. A further channel gets that of a
    known one, in turn, times known / `channels`, so that the sum does not grow with their number.
    For fewer channels than known, the kernels of those that fall away are added to those that stay:
    of one channel the result is what the network gave for a grey picture in colour.

    Args:
        kernel: array (rows, columns, known, filters), of volumes with one axis more.
        channels: number of channels to adapt to.

    Returns:
        Array (rows, columns, channels, filters), likewise.

    Example:

    >>> adapt_kernel(np.ones((3, 3, 3, 8)), 1)[0, 0, 0, :2].tolist()
    [3.0, 3.0]
    """
    known = kernel.shape[-2]
    if channels >= known:
        further = np.arange(known, channels) % known
        return np.concatenate([kernel, kernel[..., further, :] * (known / channels)], axis=-2)
    folded = [kernel[..., start::channels, :].sum(axis=-2) for start in range(channels)]
    return np.stack(folded, axis=-2)
