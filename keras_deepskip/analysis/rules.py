"""Rules: what each kind of layer does to the views of its inputs.

A rule takes `(layer, views of its inputs, its further arguments)` and gives the view of its output.
`RULES` has them by the layer's class name, without "2D" and "3D"; this floor imports no layer. For
layers of your own, add an entry.
"""

import dataclasses
import math
import re
from fractions import Fraction

import keras

from keras_deepskip.analysis.views import Axis


def is_kernel(weight):
    return weight.name.endswith("kernel")  # "depthwise_kernel" too


def merged(layer, views, _arguments=None):
    """Pixel by pixel, of one map or of several on one grid; a map of one pixel goes to each."""
    largest = max(views, key=lambda view: math.prod(view.sizes))
    whole = next((view.whole for view in views if view.whole), None)
    if whole:
        return dataclasses.replace(largest, macs=0, whole=whole)
    grids = [[(axis.size, str(axis.step)) for axis in view.axes] for view in views]
    if any(grid != grids[0] for grid in grids):
        raise ValueError(
            "maps of one size and stride are expected where maps are merged. "
            f"Received: for {layer.name!r} (size, stride) of each axis {grids}"
        )
    axes = zip(*(view.axes for view in views), strict=True)
    return dataclasses.replace(largest, axes=tuple(map(Axis.widest, axes)), macs=0)


def convolved(layer, views, _arguments=None):
    out = merged(layer, views).changed(
        Axis.windowed, layer.kernel_size, layer.strides, layer.dilation_rate, layer.padding
    )
    return multiplied(layer, [out])


def _convolved_transposed(layer, views, _arguments):
    """Each input pixel takes every weight of the kernel once."""
    if set(layer.dilation_rate) != {1} or layer.output_padding is not None:
        raise no_rule(layer, "with dilation or output padding")
    work = multiplied(layer, views).macs
    out = views[0].changed(Axis.spread, layer.kernel_size, layer.strides, layer.padding)
    return dataclasses.replace(out, macs=work)


def multiplied(layer, views, _arguments=None):
    """Each output pixel takes every weight of the kernels once (also with groups)."""
    weights = sum(math.prod(weight.shape) for weight in layer.weights if is_kernel(weight))
    pixels = math.prod(axis.size for axis in views[0].all_axes)
    return dataclasses.replace(views[0], macs=pixels * weights)


def _upsampled_convolved(layer, views, _arguments):
    return convolved(layer, [views[0].changed(Axis.upsampled, layer.factor)])


def _upsampled(layer, views, _arguments):
    interpolation = getattr(layer, "interpolation", "nearest")
    if interpolation not in ("nearest", "bilinear"):
        raise no_rule(layer, f"with interpolation {interpolation!r}")
    return views[0].changed(Axis.upsampled, layer.size, interpolation)


def _pooled(layer, views, _arguments):
    return views[0].changed(Axis.windowed, layer.pool_size, layer.strides, 1, layer.padding)


def _padded(layer, views, _arguments):
    left, right = zip(*layer.padding, strict=True)
    return views[0].changed(Axis.padded, left, right)


def _cropped(layer, views, _arguments):
    left, right = ([-pixels for pixels in end] for end in zip(*layer.cropping, strict=True))
    return views[0].changed(Axis.padded, left, right)


def _padded_to_multiple(layer, views, _arguments):
    multiples = layer.multiples(len(views[0].axes))
    lacking = [-size % m for size, m in zip(views[0].sizes, multiples, strict=True)]
    view = views[0].changed(Axis.padded, 0, lacking)
    axes = [
        dataclasses.replace(axis, grid=Fraction(axis.step * m).numerator)
        for axis, m in zip(view.axes, multiples, strict=True)
    ]
    return dataclasses.replace(view, axes=tuple(axes))


def _cropped_to_match(_layer, views, _arguments):
    lacking = [s - own for s, own in zip(views[1].sizes, views[0].sizes, strict=True)]
    return views[0].changed(Axis.padded, 0, lacking)


def whole(layer, views, _arguments=None):
    """What takes numbers of the whole map, such as its mean."""
    seen = views[0].whole or f"{layer.name!r} ({type(layer).__name__})"
    return dataclasses.replace(views[0], macs=0, whole=seen)


def _pooled_whole(layer, views, _arguments):
    """(N, H, W, C) to (N, 1, 1, C), or to (N, C) without axes."""
    axes = (Axis(1),) * len(views[0].axes) if getattr(layer, "keepdims", False) else ()
    return dataclasses.replace(whole(layer, views), axes=axes)


def _layer_normalized(layer, views, arguments):
    rule = merged if _is_along_channels(layer.axis, views[0]) else whole
    return rule(layer, views, arguments)


def _reshaped(layer, views, _arguments):
    """One pixel is written as another: (N, C) as (N, 1, 1, C)."""
    sizes = tuple(layer.target_shape[:-1])
    if {*sizes, *views[0].sizes} - {1}:
        raise ValueError(
            "only a map of one pixel is known to reshape. "
            f"Received: {layer.name!r} of sizes {views[0].sizes} to {layer.target_shape}"
        )
    return dataclasses.replace(views[0], axes=(Axis(1),) * len(sizes), macs=0)


def _along_channels(operation, views, _arguments):
    if not _is_along_channels(operation.axis, views[0]):
        raise no_rule(operation, f"along axis {operation.axis}")
    return merged(operation, views)


def _indexed(operation, views, arguments):
    """x[..., a:b:c] or x[:, :, :, a:b:c], of channels alone."""
    *others, channels = arguments[1] if isinstance(arguments[1], list | tuple) else [arguments[1]]
    spelled = [ALL_PIXELS] * (len(views[0].axes) + 1)
    is_slice = isinstance(channels, dict) and channels["class_name"] == "__slice__"
    if others not in ([REST], spelled) or not is_slice:
        raise no_rule(operation, "of other axes than the channels")
    return merged(operation, views)


def _is_along_channels(axis, view):
    axes = axis if isinstance(axis, list | tuple) else [axis]
    return set(axes) <= {-1, len(view.axes) + 1}


def first_map(_layer, views, _arguments):
    """The first map as it is: what the layer does with others it does in training."""
    return dataclasses.replace(views[0], macs=0)


def no_rule(operation, what=""):
    what = f"{kind_of(operation)} {what}".strip()
    kind = "layer" if isinstance(operation, keras.Layer) else "operation"
    return ValueError(
        f"no rule for the {kind} {what!r} ({operation.name}). Add one to "
        "keras_deepskip.analysis.RULES"
    )


# `...` and `:` in a model's configuration
REST = {"class_name": "__ellipsis__", "config": {}}
ALL_PIXELS = {"class_name": "__slice__", "config": {"start": None, "stop": None, "step": None}}

# By class name, for this floor imports no layer; without "2D" and "3D".
# (layer, views of its inputs, its further arguments) -> view.
RULES = {
    **dict.fromkeys(
        ("Conv", "DepthwiseConv", "SeparableConv", "PlainConv", "ConcatenatedConv"), convolved
    ),
    **dict.fromkeys(("Conv2DTranspose", "Conv3DTranspose"), _convolved_transposed),
    "UpsampledConv": _upsampled_convolved,
    "Dense": multiplied,
    **dict.fromkeys(("MaxPooling", "AveragePooling"), _pooled),
    "UpSampling": _upsampled,
    "ZeroPadding": _padded,
    "Cropping": _cropped,
    "PadToMultiple": _padded_to_multiple,
    "CropToMatch": _cropped_to_match,
    "Reshape": _reshaped,
    "LayerNormalization": _layer_normalized,
    "GroupNormalization": whole,
    **dict.fromkeys(("Flatten", "GlobalAveragePooling", "GlobalMaxPooling"), _pooled_whole),
    "DeepSupervision": first_map,
    "Concatenate": _along_channels,
    **dict.fromkeys(
        ("Activation", "Add", "BatchNormalization", "Dropout", "FusedBatchNormalization")
        + ("ImageNormalization", "LayerScale", "LeakyReLU", "Multiply", "Normalization", "PReLU")
        + ("ReLU", "Rescaling", "SpatialDropout", "StochasticDepth", "Subtract"),
        merged,
    ),
    # what `keras.ops` leaves in a graph
    **dict.fromkeys(("Concatenate_op", "Flip_op", "Take_op"), _along_channels),
    "GetItem_op": _indexed,
    **dict.fromkeys(
        ("Add_op", "Cast_op", "Clip_op", "Divide_op", "HardSigmoid_op", "Multiply_op", "Relu_op")
        + ("Relu6_op", "Sigmoid_op", "Silu_op", "Subtract_op", "TrueDivide_op"),
        merged,
    ),
}


def kind_of(operation):
    """What `RULES` calls it."""
    name = re.sub(r"[23]D$", "", type(operation).__name__)
    return name if isinstance(operation, keras.Layer) else f"{name}_op"
