"""The graph of a built model, as Keras's public configuration describes it."""

import keras


def as_functional(model):
    """Returns a model as a functional one, uncompiled, of the very same layers.

    Args:
        model: a functional `keras.Model`, or a sequential one that is built.

    Raises:
        ValueError: if it is neither.
    """
    try:
        if isinstance(model, keras.Sequential):  # its `input` may be that of a model around it
            return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
        return keras.Model(model.input, model.output, name=model.name)
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            "expected a functional `keras.Model`, or a sequential one that is built. Received: "
            f"{type(model).__name__} {getattr(model, 'name', model)!r}. Call a sequential model "
            "once; of a subclass, take the functional models inside it"
        ) from error


def tensors_of(node):
    """Returns the configurations of the tensors in an inbound node of a model's configuration.

    Args:
        node: an entry of `inbound_nodes`, or a part of it.
    """
    if isinstance(node, dict):
        if node.get("class_name") == "__keras_tensor__":
            return [node["config"]]
        node = [node[key] for key in sorted(node)]
    if not isinstance(node, list | tuple):
        return []
    return [tensor for each in node for tensor in tensors_of(each)]
