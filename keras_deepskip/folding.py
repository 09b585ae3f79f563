"""`fold_batch_norm`: a network for inference, whose convolutions do the work of batch norms."""

import collections

import keras
import numpy as np
from keras import layers

from keras_deepskip._graphs import as_functional, tensors_of
from keras_deepskip.layers import DeepSupervision, FeatureAggregation
from keras_deepskip.layers.copying import set_weights

# Where the output channels are in a kernel's shape; (..., C, multiplier) makes C * multiplier.
CHANNEL_AXES = {
    layers.Conv1D: (-1,),
    layers.Conv2D: (-1,),
    layers.Conv3D: (-1,),
    layers.Conv2DTranspose: (-2,),
    layers.Conv3DTranspose: (-2,),
    layers.DepthwiseConv2D: (-2, -1),
}


def fold_batch_norm(model):
    """Returns a copy of a model for inference in which convolutions do the work of batch norms.

    In inference a batch norm multiplies each channel by a number and adds another. Behind a
    convolution both are a change of its weights: the copy's convolutions have those, and the batch
    norms are gone. Its outputs are the model's to 1e-5 of their size. A batch norm with no
    convolution of its own before it stays one. `DeepSupervision`, which does nothing in inference,
    is left out. Do not train the copy: nothing normalizes its batches.

    Args:
        model: a built `keras.Model`, functional or sequential. Models inside it are folded too.

    Returns:
        A `keras.Model` of the same inputs, outputs and name, not compiled.

    Raises:
        ValueError: if the model is neither functional nor sequential, or is not built.

    Example:

    >>> folded = fold_batch_norm(keras_deepskip.build_model(levels=2))
    >>> [weight.path for weight in folded.weights if "moving" in weight.path]
    []
    """
    graph = as_functional(model)
    norms = _norms_behind_convolutions(graph)
    gone = {norm.name for norm in norms.values()}

    def copy(layer):
        if isinstance(layer, keras.Model):
            return fold_batch_norm(layer)
        config = layer.get_config()
        if layer.name in norms:
            config["use_bias"] = True
        elif isinstance(layer, FeatureAggregation):
            config["use_batch_norm"] = False
        return type(layer).from_config(config)

    def call(layer, *inputs, **arguments):
        if isinstance(layer, DeepSupervision):
            return inputs[0][0]  # the output itself
        return inputs[0] if layer.name in gone else layer(*inputs, **arguments)

    folded = keras.models.clone_model(graph, clone_function=copy, call_function=call)
    for layer in folded.layers:
        if layer.weights and not isinstance(layer, keras.Model):  # those have theirs
            original = graph.get_layer(layer.name)
            set_weights(layer, _weights(original, norms.get(layer.name)))
    return folded


def _weights(layer, norm):
    """What the copy of a layer holds."""
    if norm is not None:
        return _folded(layer, norm)
    if isinstance(layer, FeatureAggregation) and layer.use_batch_norm:
        (conv1, norm1), (conv2, norm2) = layer.normalized
        return [*_folded(conv1, norm1), *_folded(conv2, norm2)]
    return layer.get_weights()


def _folded(conv, norm):
    """Kernel and bias of a convolution that does a batch norm's work too."""
    scale, shift = affine(norm)
    kernel = _exact(conv.kernel)
    bias = _exact(conv.bias) if conv.use_bias else 0.0
    along = [1] * kernel.ndim
    for axis in _channel_axes(conv):
        along[axis] = kernel.shape[axis]
    return [kernel * scale.reshape(along), bias * scale + shift]


def affine(norm):
    """What a batch norm does in inference, as (scale, shift) of each channel, in float64."""
    scale = 1 / np.sqrt(_exact(norm.moving_variance) + norm.epsilon)
    if norm.scale:
        scale = scale * _exact(norm.gamma)
    shift = -_exact(norm.moving_mean) * scale
    return scale, shift + _exact(norm.beta) if norm.center else shift


def _exact(variable):
    return keras.ops.convert_to_numpy(variable).astype("float64")


# --- Which batch norm follows which convolution --------------------------------------------------


def _norms_behind_convolutions(model):
    """A dict from a convolution's name to the batch norm that alone takes its map."""
    config = model.get_config()
    calls = {each["name"]: each["inbound_nodes"] for each in config["layers"]}
    sources = {name: _sources(nodes) for name, nodes in calls.items()}
    uses = collections.Counter(source for each in sources.values() for source in each)
    uses.update(_output_names(config["output_layers"]))
    operations = {operation.name: operation for operation in model.operations}
    found = {}
    for norm in model.layers:
        if not isinstance(norm, layers.BatchNormalization):
            continue
        name = sources[norm.name][0]
        conv = operations[name]
        alone = uses[name] == len(calls[name]) == len(calls[norm.name]) == 1
        if alone and _channel_axes(conv) and _fits(conv, norm):
            found[name] = norm
    return found


def _sources(nodes):
    """Names of the layers whose outputs a layer's calls take, each use once."""
    return [tensor["keras_history"][0] for tensor in tensors_of(nodes)]


def _output_names(node):
    """Names of the layers in a model's `output_layers`: [name, call, tensor], nested anyhow."""
    if isinstance(node, dict):
        node = list(node.values())
    if node and isinstance(node[0], str):
        return [node[0]]
    return [name for part in node for name in _output_names(part)]


def _channel_axes(layer):
    """Axes of a convolution's kernel that are its output channels; () for other layers."""
    found = [axes for kind, axes in CHANNEL_AXES.items() if isinstance(layer, kind)]
    return found[0] if found else ()


def _fits(conv, norm):
    """Whether nothing is between the two, and the norm is over the convolution's channels."""
    rank = len(norm.input.shape)
    channels = rank - 1 if conv.data_format == "channels_last" else 1
    return conv.activation is keras.activations.linear and norm.axis % rank == channels
