"""A walk through the graph of a built model: the views of all that it computes."""

import dataclasses

import keras

from keras_deepskip._graphs import as_functional, tensors_of
from keras_deepskip.analysis.rules import RULES, kind_of, no_rule
from keras_deepskip.analysis.views import Axis, View


def trace(model, height, width, depth):
    """The views of all that is computed, in that order, and those of the outputs."""
    graph = _flat(model)
    starts = [
        View("input", tuple(map(Axis, spatial_sizes(tensor.shape, height, width, depth))))
        for tensor in graph.inputs
    ]
    return walk(graph, starts)


def spatial_sizes(shape, height, width, depth):
    """The spatial sizes of an input of this (symbolic) shape: its own where they are fixed."""
    if len(shape) not in (4, 5):
        raise ValueError(
            "a model of images (N, H, W, C) or volumes (N, D, H, W, C) was expected. "
            f"Received: an input of shape {shape}"
        )
    asked = (height, width) if len(shape) == 4 else (depth, height, width)
    return tuple(own or size for own, size in zip(shape[1:-1], asked, strict=True))


def _flat(model):
    """The model as a functional one with lists of inputs and outputs."""
    graph = as_functional(model)
    return keras.Model(graph.inputs, graph.outputs)


def walk(graph, starts, part=None):
    """The views of all that is computed in a graph, and those of its outputs."""
    config = graph.get_config()
    operations = {operation.name: operation for operation in graph.operations}
    views = dict(zip(map(tuple, config["input_layers"]), starts, strict=True))
    waiting = [
        (each["name"], index, node)
        for each in config["layers"]
        for index, node in enumerate(each["inbound_nodes"])
    ]
    trail = []
    while waiting:  # in order at once, but for a layer's second call
        later = []
        for name, index, node in waiting:
            sources = [tuple(tensor["keras_history"]) for tensor in tensors_of(node)]
            if not all(source in views for source in sources):
                later.append((name, index, node))
                continue
            incoming = [views[source] for source in sources]
            steps, results = _through(operations[name], node, incoming, part or part_of(name))
            trail += steps
            views.update({(name, index, place): view for place, view in enumerate(results)})
        waiting = later
    outputs = []
    for name, index, place in config["output_layers"]:
        # here, and here alone, Keras counts the calls of a functional model from 1
        first = isinstance(operations[name], keras.Function)
        outputs.append(views[name, index - first, place])
    return trail, outputs


def _through(operation, node, incoming, part):
    """The views that arise in one call of a layer or operation, and those of its outputs."""
    rule = RULES.get(kind_of(operation))
    if rule:
        view = dataclasses.replace(rule(operation, incoming, node["args"]), part=part)
        return [view], [view]
    if not isinstance(operation, keras.Layer):
        raise no_rule(operation)
    if isinstance(operation, keras.Model) and getattr(operation, "inputs", None):
        return walk(_flat(operation), incoming, part)
    return walk(_opened(operation, node), incoming, part)


def _opened(layer, node):
    """A model of what a composite layer does: a copy of it, called on symbolic inputs."""
    inputs = [keras.Input(batch_shape=tensor["shape"]) for tensor in tensors_of(node)]
    first = [*node["args"], *node["kwargs"].values()][0]
    several = isinstance(first, list | tuple)
    given = inputs if several else inputs[0]
    copy = type(layer).from_config(layer.get_config())
    copy.build([tensor.shape for tensor in inputs] if several else given.shape)
    opened = keras.Model(inputs, keras.tree.flatten(copy.call(given)))
    if {id(weight) for weight in copy.weights} - {id(weight) for weight in opened.weights}:
        raise no_rule(layer, "with weights of its own")
    return opened


def by_part(trail):
    """By part: the multiply-adds in it, and the view of its last map."""
    parts = {}
    for view in trail:
        known = parts.get(view.part)
        total = view.macs + (known.macs if known else 0)
        parts[view.part] = dataclasses.replace(view, macs=total)
    return parts


def part_of(name):
    return name.partition("_")[0]
