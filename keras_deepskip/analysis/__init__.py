"""What a network costs and sees: equations 2-4 in integers, and the same counted on a built model.

The closed forms import no layer: they are an independent witness of what the builders build.
Counts are of kernels alone, of convolutions and of dense layers over the channels, without biases
and norm parameters, as in the paper.
"""

import dataclasses
import math
import re
from fractions import Fraction

import keras

from keras_deepskip import _checks
from keras_deepskip._tables import markdown_table

# --- Equations 2-4 ------------------------------------------------------------------------------


def decoder_parameters(u, B=5, b=8, k=3, skips="deep", dims=2):
    """O_u of equation 2: kernel weights of decoder level u.

    Args:
        u: decoder level, 1 (finest) .. B-1.
        B: encoder levels.
        b: base width, the channels of level 1.
        k: kernel size in pixels.
        skips: `"deep"` (equation 1), or `"flat"` (E_u and D_{u+1} alone).
        dims: 2 for images; 3 for volumes, whose kernels have k^3 places.

    Returns:
        An int.

    Example:

    >>> sum(decoder_parameters(u) for u in range(1, 5))
    349632

    Source: equation 2 of H. Sun, Traitement du Signal 40(4), 2023.
    """
    _checks.check_choice("u", u, range(1, B))
    _checks.check_choice("skips", skips, ("deep", "flat"))
    if skips == "deep":
        branches = sum(2 ** (j - u) for j in range(u, B)) + B - u + 4
    else:  # P(E_u), P(I(D_{u+1})), and F over their two maps
        branches = 1 + 2 + 2 + 1
    return branches * 2 ** (2 * u - 2) * b**2 * _places(k, dims)


def vgg_parameters(u, b=8, k=3, b0=3, dims=2):
    """Kernel weights of level u of the VGG16-style encoder: the terms of equation 3.

    Example:

    >>> [vgg_parameters(u) for u in (1, 2, 3)]
    [792, 3456, 13824]
    """
    into, own = _widths(u, b, b0)
    return (into * own + own**2) * _places(k, dims)


def resnet_parameters(u, q, b=8, k=3, b0=3, dims=2):
    """Kernel weights of level u of the ResNet34-style encoder: the terms of equation 4.

    Args:
        u: level; 1 is the stem.
        q: basic blocks of this level (for u = 1 it does not count).
        b, k, b0: base width, kernel size, input channels.
        dims: 2 for images, 3 for volumes; the projection's kernel has one place in both.

    Example:

    >>> resnet_parameters(2, q=3)
    12800
    """
    into, own = _widths(u, b, b0)
    if u == 1:
        return b0 * own * _places(k, dims)
    return into * own + (into * own + (2 * q - 1) * own**2) * _places(k, dims)


def closed_form(
    backbone="light_vgg16",
    levels=5,
    base_filters=8,
    kernel_size=3,
    channels=3,
    num_classes=1,
    skips="deep",
    blocks_per_level=None,
    dims=2,
):
    """Kernel weights of a whole network, part by part: equations 3 and 4.

    Args:
        backbone: `"light_vgg16"` (equation 3) or `"light_resnet34"` (equation 4).
        levels, base_filters, kernel_size: B, b and k.
        channels, num_classes: b0 and bc.
        skips: `"deep"` or `"flat"`.
        blocks_per_level: q_2 .. q_B of `light_resnet34`; None is (3, 4, 6, 3).
        dims: 2 for images, 3 for volumes.

    Returns:
        A dict from part to int: `"e1"` .. `"eB"`, `"d{B-1}"` .. `"d1"`, `"head"`.

    Example:

    >>> sum(closed_form("light_vgg16").values()), sum(closed_form("light_resnet34").values())
    (644192, 1677472)

    Source: equations 3 and 4 of H. Sun, Traitement du Signal 40(4), 2023.
    """
    _checks.check_choice("backbone", backbone, ("light_vgg16", "light_resnet34"))
    b, k = base_filters, kernel_size
    if backbone == "light_vgg16":
        encoder = {f"e{u}": vgg_parameters(u, b, k, channels, dims) for u in range(1, levels + 1)}
    else:
        q = (None, *(blocks_per_level or (3, 4, 6, 3)))
        encoder = {
            f"e{u}": resnet_parameters(u, q[u - 1], b, k, channels, dims)
            for u in range(1, levels + 1)
        }
    decoder = {
        f"d{u}": decoder_parameters(u, levels, b, k, skips, dims) for u in range(levels - 1, 0, -1)
    }
    return {**encoder, **decoder, "head": num_classes * b}  # bc C_1


def _widths(u, b, b0):
    """Channels that enter level u, and its own C_u."""
    own = 2 ** (u - 1) * b
    return (b0 if u == 1 else own // 2), own


def _places(k, dims):
    """Places of a kernel of side k: k^2 of an image's, k^3 of a volume's."""
    return k ** _checks.check_choice("dims", dims, (2, 3))


# --- The same, counted on a built model ---------------------------------------------------------


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
    return _counted(model, _is_kernel)


def macs(model, height=256, width=256, depth=64):
    """Counts the multiply-adds of a built model's kernels for one image or volume.

    A convolution over an enlarged map is counted at the enlarged size, as it is defined. Layers
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
    trail, _ = _trace(model, height, width, depth)
    return {part: view.macs for part, view in _by_part(trail).items() if view.macs}


@dataclasses.dataclass(frozen=True)
class ReceptiveField:
    """How far an output pixel sees: `before` pixels up and left, `after` down and right.

    Along the axis on which it sees farthest, where axes differ.
    """

    before: int
    after: int

    @property
    def size(self):
        """Side of the square (of a volume: the cube) that is seen, in pixels."""
        return self.before + 1 + self.after


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
    _, outputs = _trace(model, height, width, depth)
    for view in outputs:
        if view.whole:
            raise ValueError(f"layer {view.whole} sees the whole image: no bounded field")
    return _widest(outputs)


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
    trail, _ = _trace(model, 256, 256, 256)
    return math.lcm(*(axis.grid for view in trail for axis in view.all_axes))


def _counted(model, wanted=lambda weight: True):
    """Sizes of a model's weights, those that are wanted, summed by part."""
    counts, seen = {}, set()
    for layer in model.layers:
        for weight in layer.weights:
            if wanted(weight) and id(weight) not in seen:
                seen.add(id(weight))
                part = _part(layer.name)
                counts[part] = counts.get(part, 0) + math.prod(weight.shape)
    return counts


def _is_kernel(weight):
    return weight.name.endswith("kernel")  # "depthwise_kernel" too


def _part(name):
    return name.partition("_")[0]


# --- What is known of a tensor --------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Axis:
    """One spatial axis of a tensor: its size, and which input pixels one of its pixels sees.

    Pixel i sees input pixels i * step - before .. i * step + after.
    """

    size: int
    step: Fraction = Fraction(1)
    before: Fraction = Fraction(0)
    after: Fraction = Fraction(0)
    grid: int = 1  # input pixels between places where the layer that made it begins anew

    @staticmethod
    def widest(axes):
        """Of axes on one grid, an axis whose pixels see what those of all the axes see."""
        return dataclasses.replace(
            axes[0],
            before=max(axis.before for axis in axes),
            after=max(axis.after for axis in axes),
        )

    def padded(self, left, right):
        """With so many pixels more at the two ends; fewer, if negative."""
        return dataclasses.replace(
            self,
            size=self.size + left + right,
            before=self.before + left * self.step,
            after=self.after - left * self.step,
        )

    def windowed(self, kernel, stride, dilation=1, padding="valid"):
        """Through a window of `kernel` pixels, `dilation` apart, that moves by `stride`."""
        reach = (kernel - 1) * dilation  # from its first pixel to its last
        if padding == "same":
            lacking = max((math.ceil(self.size / stride) - 1) * stride + reach + 1 - self.size, 0)
            filled = self.padded(lacking // 2, lacking - lacking // 2)
            return filled.windowed(kernel, stride, dilation)
        if self.size <= reach:
            raise ValueError(
                f"a window of {reach + 1} pixels meets a map of {self.size}. Take a larger image"
            )
        return dataclasses.replace(
            self,
            size=(self.size - reach - 1) // stride + 1,
            step=self.step * stride,
            after=self.after + reach * self.step,
            grid=Fraction(self.step * stride).numerator,
        )

    def spread(self, kernel, stride, padding="valid"):
        """Through a transposed convolution: each pixel is a kernel, `stride` new pixels apart."""
        lacking = max(kernel - stride, 0)
        cut = lacking if padding == "same" else 0  # new pixels left out at the two ends
        step = self.step / stride
        return dataclasses.replace(
            self,
            size=self.size * stride + lacking - cut,
            step=step,
            before=self.before + (kernel - 1 - cut // 2) * step,
            after=self.after + cut // 2 * step,
        )

    def enlarged(self, factor, interpolation="nearest"):
        """Enlarged: pixel i is of pixel floor(i / factor), or of the two about its own centre."""
        back, ahead = {
            "nearest": (2 * factor - 2, 0),
            "bilinear": (3 * factor - 2 - factor % 2, factor - factor % 2),
        }[interpolation]  # in halves of the new pixels
        half = self.step / factor / 2
        return dataclasses.replace(
            self,
            size=self.size * factor,
            step=self.step / factor,
            before=self.before + back * half,
            after=self.after + ahead * half,
        )


@dataclasses.dataclass(frozen=True)
class _View:
    """What is known of a tensor: its axes, the part it is of, and the work that made it.

    Where the slices of a volume are images by themselves, `slices` is the axis that they lie along;
    where the boxes of an image are, the list of them.
    """

    part: str
    axes: tuple
    macs: int = 0
    whole: str | None = None  # the layer by which its pixels see the whole image
    slices: _Axis | None = None

    @property
    def sizes(self):
        return tuple(axis.size for axis in self.axes)

    @property
    def all_axes(self):
        return self.axes if self.slices is None else (self.slices, *self.axes)

    @property
    def field(self):
        """The receptive field of its pixels; None if they see the whole image."""
        if self.whole:
            return None
        return ReceptiveField(
            max((math.ceil(axis.before) for axis in self.all_axes), default=0),
            max((math.ceil(axis.after) for axis in self.all_axes), default=0),
        )

    def changed(self, change, *settings):
        """Every axis changed, each with its own of the settings (or with the one for all)."""
        settings = [
            value if isinstance(value, list | tuple) else [value] * len(self.axes)
            for value in settings
        ]
        axes = [change(axis, *own) for axis, *own in zip(self.axes, *settings, strict=True)]
        return dataclasses.replace(self, axes=tuple(axes), macs=0)


def _widest(views):
    """The receptive field that holds those of all the views; None if one has no bounds."""
    fields = [view.field for view in views]
    if None in fields:
        return None
    return ReceptiveField(max(f.before for f in fields), max(f.after for f in fields))


# --- Rules: what a layer does to the views of its inputs ------------------------------------------


def _merged(layer, views, _arguments=None):
    """Pixel by pixel, of one map or of several on one grid; a map of one pixel goes to each."""
    largest = max(views, key=lambda view: math.prod(view.sizes))
    whole = next((view.whole for view in views if view.whole), None)
    if whole:
        return dataclasses.replace(largest, macs=0, whole=whole)
    grids = [[(axis.size, str(axis.step)) for axis in view.axes] for view in views]
    if any(grid != grids[0] for grid in grids):
        raise ValueError(
            "maps of one size and stride are wanted where maps are merged. "
            f"Received: for {layer.name!r} (size, stride) of each axis {grids}"
        )
    axes = zip(*(view.axes for view in views), strict=True)
    return dataclasses.replace(largest, axes=tuple(map(_Axis.widest, axes)), macs=0)


def _convolved(layer, views, _arguments=None):
    out = _merged(layer, views).changed(
        _Axis.windowed, layer.kernel_size, layer.strides, layer.dilation_rate, layer.padding
    )
    return _multiplied(layer, [out])


def _convolved_transposed(layer, views, _arguments):
    """Each input pixel takes every weight of the kernel once."""
    if set(layer.dilation_rate) != {1} or layer.output_padding is not None:
        raise _no_rule(layer, "with dilation or output padding")
    work = _multiplied(layer, views).macs
    out = views[0].changed(_Axis.spread, layer.kernel_size, layer.strides, layer.padding)
    return dataclasses.replace(out, macs=work)


def _centre_convolved(layer, views, _arguments):
    ends = [size // 2 for size in layer.kernel_size]
    out = _merged(layer, views).changed(_Axis.padded, ends, ends)
    return _multiplied(layer, [out.changed(_Axis.windowed, layer.kernel_size, layer.strides)])


def _multiplied(layer, views, _arguments=None):
    """Each output pixel takes every weight of the kernels once (also with groups)."""
    weights = sum(math.prod(weight.shape) for weight in layer.weights if _is_kernel(weight))
    pixels = math.prod(axis.size for axis in views[0].all_axes)
    return dataclasses.replace(views[0], macs=pixels * weights)


def _upsampled_convolved(layer, views, _arguments):
    return _convolved(layer, [views[0].changed(_Axis.enlarged, layer.factor)])


def _upsampled(layer, views, _arguments):
    interpolation = getattr(layer, "interpolation", "nearest")
    if interpolation not in ("nearest", "bilinear"):
        raise _no_rule(layer, f"with interpolation {interpolation!r}")
    return views[0].changed(_Axis.enlarged, layer.size, interpolation)


def _enlarged_bilinearly(layer, views, _arguments):
    return views[0].changed(_Axis.enlarged, layer.factor, "bilinear")


def _pooled(layer, views, _arguments):
    return views[0].changed(_Axis.windowed, layer.pool_size, layer.strides, 1, layer.padding)


def _padded(layer, views, _arguments):
    left, right = zip(*layer.padding, strict=True)
    return views[0].changed(_Axis.padded, left, right)


def _cropped(layer, views, _arguments):
    left, right = ([-pixels for pixels in end] for end in zip(*layer.cropping, strict=True))
    return views[0].changed(_Axis.padded, left, right)


def _padded_to_multiple(layer, views, _arguments):
    multiples = layer.multiples(len(views[0].axes))
    lacking = [-size % m for size, m in zip(views[0].sizes, multiples, strict=True)]
    view = views[0].changed(_Axis.padded, 0, lacking)
    axes = [
        dataclasses.replace(axis, grid=Fraction(axis.step * m).numerator)
        for axis, m in zip(view.axes, multiples, strict=True)
    ]
    return dataclasses.replace(view, axes=tuple(axes))


def _cropped_to_match(_layer, views, _arguments):
    lacking = [s - own for s, own in zip(views[1].sizes, views[0].sizes, strict=True)]
    return views[0].changed(_Axis.padded, 0, lacking)


def _cut_into_slices(_layer, views, _arguments):
    """Each slice an image, with the one before it and the one behind it as channels."""
    slices, *axes = views[0].axes
    slices = dataclasses.replace(
        slices, before=slices.before + slices.step, after=slices.after + slices.step
    )
    return dataclasses.replace(views[0], axes=tuple(axes), macs=0, slices=slices)


def _stacked(layer, views, _arguments):
    """Images that are slices, as a volume again."""
    if views[0].slices is None:
        raise _no_rule(layer, "of images that are no slices")
    return dataclasses.replace(views[0], axes=views[0].all_axes, macs=0, slices=None)


def _boxes_found(layer, views, _arguments):
    """A list of boxes, of a length that the layer says, chosen among those of the whole image."""
    return dataclasses.replace(_whole(layer, views), axes=(), slices=_Axis(layer.count))


def _aligned(layer, views, _arguments):
    """Each box an image by itself, of so many bins."""
    return dataclasses.replace(views[-1], axes=(_Axis(layer.size),) * 2, macs=0)


def _pasted(layer, views, _arguments):
    """Two products of matrices for each box: its mask is enlarged down, then across."""
    masks, _, image = views
    (height, width), (side, _) = image.sizes, masks.sizes
    work = masks.slices.size * height * side * (side + width)
    return dataclasses.replace(image, macs=work, whole=masks.whole)


def _whole(layer, views, _arguments=None):
    """What takes numbers of the whole map, such as its mean."""
    seen = views[0].whole or f"{layer.name!r} ({type(layer).__name__})"
    return dataclasses.replace(views[0], macs=0, whole=seen)


def _pooled_whole(layer, views, _arguments):
    """(N, H, W, C) to (N, 1, 1, C), or to (N, C) without axes."""
    axes = (_Axis(1),) * len(views[0].axes) if getattr(layer, "keepdims", False) else ()
    return dataclasses.replace(_whole(layer, views), axes=axes)


def _pyramid(layer, views, _arguments):
    """The 1x1 convolutions of a pyramid's few pixels, and means over the whole map."""
    pixels = sum(bins ** len(views[0].axes) for bins in layer.bins)
    weights = sum(math.prod(weight.shape) for weight in layer.weights if _is_kernel(weight))
    view = _whole(layer, views)
    return dataclasses.replace(view, macs=pixels * (weights // len(layer.bins)))


def _layer_normalized(layer, views, arguments):
    rule = _merged if _is_along_channels(layer.axis, views[0]) else _whole
    return rule(layer, views, arguments)


def _reshaped(layer, views, _arguments):
    """One pixel is written as another: (N, C) as (N, 1, 1, C)."""
    sizes = tuple(layer.target_shape[:-1])
    if {*sizes, *views[0].sizes} - {1}:
        raise ValueError(
            "only a map of one pixel is known to reshape. "
            f"Received: {layer.name!r} of sizes {views[0].sizes} to {layer.target_shape}"
        )
    return dataclasses.replace(views[0], axes=(_Axis(1),) * len(sizes), macs=0)


def _along_channels(operation, views, _arguments):
    if not _is_along_channels(operation.axis, views[0]):
        raise _no_rule(operation, f"along axis {operation.axis}")
    return _merged(operation, views)


def _indexed(operation, views, arguments):
    """x[..., a:b:c] or x[:, :, :, a:b:c], of channels alone."""
    *others, channels = arguments[1] if isinstance(arguments[1], list | tuple) else [arguments[1]]
    spelled = [ALL_PIXELS] * (len(views[0].axes) + 1)
    is_slice = isinstance(channels, dict) and channels["class_name"] == "__slice__"
    if others not in ([REST], spelled) or not is_slice:
        raise _no_rule(operation, "of other axes than the channels")
    return _merged(operation, views)


def _is_along_channels(axis, view):
    axes = axis if isinstance(axis, list | tuple) else [axis]
    return set(axes) <= {-1, len(view.axes) + 1}


def _in_inference(_layer, views, _arguments):
    """The first map as it is: what the layer does with others it does in training."""
    return dataclasses.replace(views[0], macs=0)


def _no_rule(operation, what=""):
    what = f"{_kind(operation)} {what}".strip()
    kind = "layer" if isinstance(operation, keras.Layer) else "operation"
    return ValueError(
        f"no rule for the {kind} {what!r} ({operation.name}). Add one to analysis.RULES"
    )


# `...` and `:` in a model's configuration
REST = {"class_name": "__ellipsis__", "config": {}}
ALL_PIXELS = {"class_name": "__slice__", "config": {"start": None, "stop": None, "step": None}}

# By class name, for this floor imports no layer; without "2D" and "3D".
# (layer, views of its inputs, its further arguments) -> view.
RULES = {
    **dict.fromkeys(
        ("Conv", "DepthwiseConv", "SeparableConv", "PlainConv", "ConcatenatedConv"), _convolved
    ),
    **dict.fromkeys(("Conv2DTranspose", "Conv3DTranspose"), _convolved_transposed),
    "CentredConv": _centre_convolved,
    "UpsampledConv": _upsampled_convolved,
    "Dense": _multiplied,
    **dict.fromkeys(("MaxPooling", "AveragePooling"), _pooled),
    "UpSampling": _upsampled,
    "BilinearUpsampling": _enlarged_bilinearly,
    "PyramidPooling": _pyramid,
    "ZeroPadding": _padded,
    "Cropping": _cropped,
    "PadToMultiple": _padded_to_multiple,
    "CropToMatch": _cropped_to_match,
    "NeighbouringSlices": _cut_into_slices,
    "StackSlices": _stacked,
    "Reshape": _reshaped,
    "LayerNormalization": _layer_normalized,
    "GroupNormalization": _whole,
    **dict.fromkeys(("Flatten", "GlobalAveragePooling", "GlobalMaxPooling"), _pooled_whole),
    **dict.fromkeys(("Proposals", "Detections"), _boxes_found),
    "ROIAlign": _aligned,
    "PasteMasks": _pasted,
    **dict.fromkeys(("DeepSupervision", "MasksOfClass", "OutsideTraining"), _in_inference),
    "Concatenate": _along_channels,
    **dict.fromkeys(
        ("Activation", "Add", "BatchNormalization", "Dropout", "FusedBatchNormalization")
        + ("LayerScale", "LeakyReLU", "Multiply", "Normalization", "PReLU", "ReLU", "Rescaling")
        + ("SpatialDropout", "StochasticDepth", "Subtract"),
        _merged,
    ),
    # what `keras.ops` leaves in a graph
    **dict.fromkeys(("Concatenate_op", "Flip_op", "Take_op"), _along_channels),
    "GetItem_op": _indexed,
    **dict.fromkeys(
        ("Add_op", "Cast_op", "Clip_op", "Divide_op", "HardSigmoid_op", "Multiply_op", "Relu_op")
        + ("Relu6_op", "Sigmoid_op", "Silu_op", "Subtract_op", "TrueDivide_op"),
        _merged,
    ),
}


def _kind(operation):
    """What `RULES` calls it."""
    name = re.sub(r"[23]D$", "", type(operation).__name__)
    return name if isinstance(operation, keras.Layer) else f"{name}_op"


# --- A walk through the graph ---------------------------------------------------------------------


def _trace(model, height, width, depth):
    """The views of all that is computed, in that order, and those of the outputs."""
    graph = _graph(model)
    starts = [
        _View("input", tuple(map(_Axis, _sizes(tensor.shape, height, width, depth))))
        for tensor in graph.inputs
    ]
    return _walk(graph, starts)


def _sizes(shape, height, width, depth):
    """The spatial sizes of an input of this (symbolic) shape."""
    if len(shape) not in (4, 5):
        raise ValueError(
            "a model of images (N, H, W, C) or volumes (N, D, H, W, C) was wanted. "
            f"Received: an input of shape {shape}"
        )
    return (height, width) if len(shape) == 4 else (depth, height, width)


def _graph(model):
    """The model as a functional one, of the very same layers, with lists of inputs and outputs."""
    try:
        return keras.Model(model.inputs, model.outputs)
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            "a functional `keras.Model`, or a sequential one that is built, was wanted. "
            f"Received: {type(model).__name__} {getattr(model, 'name', model)!r}"
        ) from error


def _walk(graph, starts, part=None):
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
            sources = [tuple(tensor["keras_history"]) for tensor in _tensors(node)]
            if not all(source in views for source in sources):
                later.append((name, index, node))
                continue
            incoming = [views[source] for source in sources]
            steps, results = _through(operations[name], node, incoming, part or _part(name))
            trail += steps
            views.update({(name, index, place): view for place, view in enumerate(results)})
        waiting = later
    outputs = []
    for name, index, place in config["output_layers"]:
        # here, and here alone, Keras counts the calls of a functional model from 1
        first = isinstance(operations[name], keras.Function)
        outputs.append(views[name, index - first, place])
    return trail, outputs


def _tensors(node):
    """The tensors among a call's arguments, as the model's configuration tells them."""
    if isinstance(node, dict):
        if node.get("class_name") == "__keras_tensor__":
            return [node["config"]]
        node = [node[key] for key in sorted(node)]
    if not isinstance(node, list | tuple):
        return []
    return [tensor for each in node for tensor in _tensors(each)]


def _through(operation, node, incoming, part):
    """The views that arise in one call of a layer or operation, and those of its outputs."""
    rule = RULES.get(_kind(operation))
    if rule:
        view = dataclasses.replace(rule(operation, incoming, node["args"]), part=part)
        return [view], [view]
    if not isinstance(operation, keras.Layer):
        raise _no_rule(operation)
    if isinstance(operation, keras.Model) and getattr(operation, "inputs", None):
        return _walk(_graph(operation), incoming, part)
    return _walk(_opened(operation, node), incoming, part)


def _opened(layer, node):
    """A model of what a composite layer does: a copy of it, called on symbolic inputs."""
    inputs = [keras.Input(batch_shape=tensor["shape"]) for tensor in _tensors(node)]
    first, *_ = (*node["args"], *node["kwargs"].values())
    several = isinstance(first, list | tuple)
    given = inputs if several else inputs[0]
    copy = type(layer).from_config(layer.get_config())
    copy.build([tensor.shape for tensor in inputs] if several else given.shape)
    opened = keras.Model(inputs, keras.tree.flatten(copy.call(given)))
    if {id(weight) for weight in copy.weights} - {id(weight) for weight in opened.weights}:
        raise _no_rule(layer, "with weights of its own")
    return opened


def _by_part(trail):
    """By part: the multiply-adds in it, and the view of its last map."""
    parts = {}
    for view in trail:
        known = parts.get(view.part)
        total = view.macs + (known.macs if known else 0)
        parts[view.part] = dataclasses.replace(view, macs=total)
    return parts


# --- Both side by side --------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Analysis:
    """The table of `analyze`: one row a part of the network.

    Attributes:
        rows: lists in the order of `HEADERS`.
        sizes: (H, W) of the image or (D, H, W) of the volume that the multiply-adds are for.
        seen: the receptive field of the output, its side in pixels or `"whole image"`.
    """

    rows: list
    sizes: tuple
    seen: int | str

    HEADERS = ("part", "closed form", "kernels", "parameters", "MACs", "receptive field")

    @property
    def total(self):
        """The last row: sums, and the receptive field of the output."""
        return ["all", *self._sums(self.rows), self.seen]

    def text(self):
        """The table as Markdown."""
        decoder = [row for row in self.rows if re.fullmatch(r"d\d+", row[0])]
        lines = [*self.rows]
        if decoder:
            lines.append(["decoder", *self._sums(decoder), decoder[-1][5]])
        table = markdown_table(self.HEADERS, [*lines, self.total])
        kind, unit = ("image", "pixels") if len(self.sizes) == 2 else ("volume", "voxels")
        size = " x ".join(map(str, self.sizes))
        return (
            f"{table}\n\nKernels: weights of convolutions and dense layers, without biases and "
            f"norms. MACs: for one {kind} of {size}. Receptive field: side in {unit}."
        )

    @staticmethod
    def _sums(rows):
        columns = zip(*(row[1:5] for row in rows), strict=True)
        return [None if None in column else sum(column) for column in columns]


def analyze(model, expected=None, height=256, width=256, depth=64):
    """Tells part by part what a network holds, costs and sees, beside the paper's closed form.

    Args:
        model: a functional `keras.Model` of 2-D or 3-D layers; it may hold other models.
        expected: kernel weights by part, as `closed_form` gives them; None leaves them out.
        height, width: size of the image that the multiply-adds are for, in pixels.
        depth: with them the size of a volume, in voxels; images have none.

    Returns:
        An `Analysis`; `print(analysis.text())` shows the table. Where pixels see the whole image,
        as behind squeeze-and-excitation, their receptive field is `"whole image"`.

    Raises:
        ValueError: if the model holds a layer that is not known.

    Example:

    >>> analyze(keras_deepskip.build_model(), closed_form()).total[:3]
    ['all', 644192, 644192]
    """
    trail, outputs = _trace(model, height, width, depth)
    kernels, views, parameters = conv_parameters(model), _by_part(trail), _counted(model)
    encoder_first = sorted(parameters, key=lambda part: not re.fullmatch(r"e\d+|backbone", part))
    rows = [
        [
            part,
            None if expected is None else expected.get(part, 0),
            kernels.get(part, 0),
            parameters[part],
            views[part].macs,
            _side(views[part].field),
        ]
        for part in encoder_first
    ]
    sizes = _sizes(model.inputs[0].shape, height, width, depth)
    return Analysis(rows, sizes, _side(_widest(outputs)))


def _side(field):
    return "whole image" if field is None else field.size
