"""Which part of a network's encoder learns."""

import re

import keras
from keras import layers

from keras_deepskip import _checks


def set_trainable_backbone(model, trainable=True, batch_norm=True):
    """Says which levels of a network's backbone learn; its decoder always does.

    A frozen batch norm works with its moving statistics also in training, and keeps them. Compile
    the model (again) afterwards: Keras looks at it then.

    Args:
        model: a network of `build_model`.
        trainable: True, False, or the number of the finest level that learns: with 4, the levels 1
            to 3 are frozen, and 4 and all coarser ones learn.
        batch_norm: whether the batch norms of what learns learn too. False keeps the statistics
            that a backbone was trained with, which small batches would spoil.

    Raises:
        ValueError: if `trainable` is no level of the network.

    Example:

    >>> model = keras_deepskip.build_model(backbone="mobilenetv3small")
    >>> set_trainable_backbone(model, False)
    >>> [weight.path for weight in model.get_layer("backbone").trainable_weights]
    []
    """
    levels = backbone_levels(model)
    if not levels:
        raise ValueError(
            f"`model` must be a network of build_model. Received: {model.name!r}, without a "
            "backbone"
        )
    if isinstance(trainable, bool):
        first = min(levels) if trainable else max(levels) + 1
    else:  # 0 is no level, and not False
        choices = {str(each): each for each in (True, False, *levels)}
        first = choices[_checks.check_choice("trainable_backbone", str(trainable), choices)]
    for level, of_level in levels.items():
        for layer in of_level:
            layer.trainable = level >= first
            for norm in batch_norms(layer) if not batch_norm else ():
                norm.trainable = False


def backbone_levels(model):
    """Returns the layers of a network's backbone, by level.

    Args:
        model: a network of `build_model`.

    Returns:
        A dict from the number of the level, finest first, to a list of layers. A backbone in a
        layer of that name is the backbone; else the light encoder is.
    """
    light = {}
    for layer in model.layers:
        level = re.match(r"e(\d+)_", layer.name)
        if level:
            light.setdefault(int(level[1]), []).append(layer)
    backbone = next((layer for layer in model.layers if layer.name == "backbone"), None)
    if backbone is None:
        return dict(sorted(light.items()))
    levels, known = {}, set()
    for level, output in enumerate(backbone.outputs, start=len(light) + 1):
        needed = keras.Model(backbone.inputs, output).layers
        levels[level] = [layer for layer in needed if id(layer) not in known]
        known |= {id(layer) for layer in needed}
    return levels


def batch_norms(layer):
    """Returns the batch norms in a layer: itself, or those of a model."""
    inner = [norm for part in getattr(layer, "layers", ()) for norm in batch_norms(part)]
    return inner + [layer] * isinstance(layer, layers.BatchNormalization)
