"""What a built model costs and sees: weights, multiply-adds, receptive field, stride."""

import math

from keras_deepskip.analysis.rules import is_kernel
from keras_deepskip.analysis.traces import by_part, part_of, trace
from keras_deepskip.analysis.views import widest_field


def conv_parameters(model):
    """Counts the kernels' weights of a built model, part by part.

    Args:
        model: a built `keras.Model`.

    Returns:
        A dict from part (`"e1"`, `"d2"`, `"head"`, ...: what precedes the first `_` of the layer's
        name; a model inside the model is one layer, such as `"backbone"`) to int.

    Example:

    >>> sum(conv_parameters(keras_deepskip.build_model()).values())
    644192
    """
    return count_weights(model, is_kernel)


def macs(model, height=256, width=256, depth=64):
    """Counts the multiply-adds of a built model's kernels for one image or volume.

    A convolution over an upsampled map is counted at the upsampled size, as it is defined. Layers
    that work in training alone cost nothing.

    Args:
        model: a functional `keras.Model` of 2-D or 3-D layers; it may hold other models.
        height, width: size of the image in pixels.
        depth: with them the size of a volume, in voxels; images have none.

    Returns:
        A dict from part to int, as `conv_parameters`.

    Raises:
        ValueError: if the model holds a layer whose cost is not known.

    Example:

    >>> sum(macs(keras_deepskip.build_model(), 256, 256).values())
    2241855488
    """
    trail, _ = trace(model, height, width, depth)
    return {part: view.macs for part, view in by_part(trail).items() if view.macs}


def receptive_field(model, height=256, width=256, depth=256):
    """Works out the receptive field of a built model's output, from its own graph.

    No output pixel depends on an input pixel farther away than this, wherever it lies on the
    network's grid. Batch norm is taken as in inference.

    Args:
        model: a functional `keras.Model` of 2-D or 3-D layers; it may hold other models.
        height, width, depth: size of the image or volume. It matters to a network that does not
            pad to its own stride: what a strided layer adds at the two ends changes with it.

    Returns:
        A `ReceptiveField`, in input pixels; of several outputs the widest.

    Raises:
        ValueError: if a layer sees the whole image (so there is no bounded field), or is not known.

    Example:

    >>> receptive_field(keras_deepskip.build_model(levels=2)).size
    21
    """
    _, outputs = trace(model, height, width, depth)
    for view in outputs:
        if view.whole:
            raise ValueError(f"layer {view.whole} sees the whole image: no bounded field")
    return widest_field(outputs)


def grid_stride(model):
    """Works out the stride of a network's grid: of all its strides, in input pixels.

    Cut at multiples of it, and as many pixels short of a multiple as the whole image, a window
    meets every strided layer and every padding as the image does.

    Args:
        model: a functional `keras.Model` of 2-D or 3-D layers; it may hold other models.

    Returns:
        The least common multiple of the strides of all maps and of what the model pads to.

    Raises:
        ValueError: if a layer is not known.

    Example:

    >>> grid_stride(keras_deepskip.build_model(levels=5))
    16
    """
    trail, _ = trace(model, 256, 256, 256)
    return math.lcm(*(axis.grid for view in trail for axis in view.all_axes))


def count_weights(model, chosen=lambda weight: True):
    """Sizes of a model's weights, those that are chosen, summed by part."""
    counts, seen = {}, set()
    for layer in model.layers:
        for weight in layer.weights:
            if chosen(weight) and id(weight) not in seen:
                seen.add(id(weight))
                part = part_of(layer.name)
                counts[part] = counts.get(part, 0) + math.prod(weight.shape)
    return counts
