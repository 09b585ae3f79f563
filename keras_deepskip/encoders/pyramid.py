"""Levels of any convolutional network: which of its maps stand for E_u, found by structure.

Layers' names say little (some families name layers anew with each model that is built), so the
maps are found by their sizes: the network is called on an image of known size, and of all maps of
one stride the last is the level's.
"""

from typing import NamedTuple

import keras
from keras import layers

from keras_deepskip import _checks
from keras_deepskip.encoders.hub import PyramidBackbone, pyramid_of
from keras_deepskip.layers.copying import set_weights

PROBE = 256  # side in pixels of the image that strides are read from, where any will do
SIZES = (PROBE, PROBE + 96)  # a map belongs to a stride if it divides both


def cut_levels(backbone, levels=None, skip=()):
    """Returns a network from an image to the maps of its levels, finest first.

    It has layers and weights of its own, copies of those of `backbone` that the maps need.

    Args:
        backbone: a `keras.Model` from one image (N, H, W, C): with several outputs, these are the
            levels, and finer ones are found by structure; else all are. A KerasHub or KerasCV
            backbone: its pyramid's maps are the levels.
        levels: number of the coarsest level to take, counted from stride 1; None takes all.
        skip: layers of one input that are left out (preprocessing).

    Returns:
        The `keras.Model` named "backbone", and the number of its first level: its first output has
        the stride 2^(first - 1) and each further one twice the one before.

    Raises:
        ValueError: if the network has not one image as input, or no maps of strides that double
            from 1, 2 or 4 on.

    Example:

    >>> vgg = keras.applications.VGG16(include_top=False, weights=None)
    >>> cut, first = cut_levels(vgg)
    >>> first, [tensor.shape[-1] for tensor in cut.outputs]
    (1, [64, 128, 256, 512, 512])
    """
    graph = _as_graph(backbone)
    strides = _strides_of_steps(graph, skip)
    chosen = _complete(_chosen(strides, len(graph.outputs)), levels, graph)
    image, steps = _called(graph, graph.input_shape[1:], skip)
    cut = keras.Model(image, [steps[place].map for place in chosen.values()], name="backbone")
    if pyramid_of(backbone) and not _reloads(cut):
        finest = min(stride for stride, _ in strides[-len(graph.outputs) :])
        return PyramidBackbone(backbone, sum(s >= finest for s in chosen)), finest.bit_length()
    copy = keras.models.clone_model(cut)
    set_weights(copy, cut.get_weights())
    return copy, min(chosen).bit_length()


def _reloads(model):
    """Whether a model can be made from the configurations of its layers."""
    try:
        keras.models.model_from_json(model.to_json())
    except (TypeError, ValueError):  # a layer's lacks what it was made with
        return False
    return True


class Step(NamedTuple):
    """The call of a layer or an operation: its map, and it (None for the network's outputs)."""

    map: keras.KerasTensor
    layer: keras.Operation | None


def _as_graph(backbone):
    """The network as a plain functional model whose outputs are all that it offers as levels."""
    try:
        inputs, outputs = backbone.inputs, pyramid_of(backbone) or backbone.outputs
        if len(inputs) != 1 or len(inputs[0].shape) != 4:
            raise ValueError(f"its inputs have the shapes {[tensor.shape for tensor in inputs]}")
        return keras.Model(inputs[0], outputs, name=backbone.name)
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            "`backbone` must be a name, or a built functional `keras.Model` of one image "
            f"(N, H, W, C). Received: {backbone!r} ({error})"
        ) from error


def _called(graph, shape, skip=()):
    """Calls a model on a new input; returns the input, and the steps from its first weights on."""
    image, steps = keras.Input(shape, name="image"), []

    def call(layer, *inputs, **arguments):
        if layer.name in skip:
            return inputs[0]
        outputs = layer(*inputs, **arguments)
        learns = not isinstance(layer, layers.Normalization) and getattr(layer, "weights", None)
        if steps or learns:  # a rescaled image is no feature
            steps.append(Step(outputs, layer))
        return outputs

    same = keras.models.clone_model(
        graph, input_tensors=image, clone_function=lambda layer: layer, call_function=call
    )
    return image, [*steps, *(Step(tensor, None) for tensor in same.outputs)]


def _strides_of_steps(graph, skip):
    """A list of (stride, layer) of the steps; the stride is None for what is no map of one."""
    *own, channels = graph.input_shape[1:]
    found = []
    for side in SIZES:
        size = [fixed or side for fixed in own]
        _, steps = _called(graph, (*size, channels), skip)
        found.append([_stride(step.map, *size) for step in steps])
    agreed = [a if a == b else None for a, b in zip(*found, strict=True)]
    return [(stride, step.layer) for stride, step in zip(agreed, steps, strict=True)]


def _stride(tensor, height, width):
    shape = getattr(tensor, "shape", ())
    if len(shape) != 4 or None in shape[1:3] or 0 in shape[1:3]:
        return None
    stride = height // shape[1]
    fits = shape[1] * stride == height and shape[2] * stride == width
    return stride if fits and stride & (stride - 1) == 0 else None


def _chosen(steps, count):
    """A dict from stride to the place of its map in the list of steps, finest first.

    Args:
        steps: (stride, layer) of each step; the last `count` are the network's outputs.
        count: number of outputs.
    """
    first = len(steps) - count
    outputs = [stride for stride, _ in steps[first:]]
    if None in outputs:
        raise ValueError(
            "`backbone` must give maps whose sizes are the image's divided by 1, 2, 4, ... "
            f"Received: one whose outputs have the strides {outputs} (None: no such size). "
            "Convolutions with 'valid' padding do that; leave such outputs out, or pad"
        )
    chosen = {}
    for place, (stride, _) in enumerate(steps[:first]):
        # squeeze-and-excitation has maps of one pixel: no level is coarser than the output
        if stride is not None and stride <= max(outputs):
            chosen[stride] = place  # the last one stays
    if count > 1:  # the outputs are the levels; only finer ones are found by structure
        chosen = {stride: place for stride, place in chosen.items() if stride < min(outputs)}
        chosen |= {stride: first + index for index, stride in enumerate(outputs)}
    elif chosen and _is_mere_pooling(steps[:first], max(chosen)):
        del chosen[max(chosen)]
    return dict(sorted(chosen.items()))


def _is_mere_pooling(steps, stride):
    """Whether all that a level holds is what pooling makes of the level above (VGG's last)."""
    of_level = [layer for own, layer in steps if own == stride]
    return len(of_level) == 1 and "Pooling" in type(of_level[0]).__name__


def _complete(chosen, levels, graph):
    """The levels up to the last one to take, if they follow each other without a gap."""
    strides = list(chosen)
    doubling = [2 * stride for stride in strides[:-1]] == strides[1:]
    if len(strides) < 2 or strides[0] > 4 or not doubling:
        raise ValueError(
            "`backbone` must have maps whose strides double from one to the next, the first of "
            f"them 1, 2 or 4 pixels. Received: {graph.name!r} with maps of the strides {strides}. "
            "A network that ends in a mask is cut before: keras.Model(model.input, [the levels' "
            "maps])"
        )
    last = strides[-1].bit_length()
    if levels is None:
        return chosen
    _checks.check_integer("levels", levels, minimum=max(2, strides[0].bit_length()))
    if levels > last:
        raise ValueError(
            f"`levels` must be at most {last}: the coarsest map of the backbone has the stride "
            f"{strides[-1]}. Received: levels={levels}"
        )
    return {stride: place for stride, place in chosen.items() if stride.bit_length() <= levels}
