"""What a network costs and sees: equations 2-4 in integers, and the same counted on a built model.

The closed forms import no layer: they are an independent witness of what the builders build.
Counts are of convolution kernels alone, without biases and norm parameters, as in the paper.
"""

import dataclasses
import math
import re
from fractions import Fraction

import keras

from keras_deepskip import _checks
from keras_deepskip._tables import markdown_table

# --- Equations 2-4 ------------------------------------------------------------------------------


def decoder_parameters(u, B=5, b=8, k=3, skips="deep"):
    """O_u of equation 2: kernel weights of decoder level u.

    Args:
        u: decoder level, 1 (finest) .. B-1.
        B: encoder levels.
        b: base width, the channels of level 1.
        k: kernel size in pixels.
        skips: `"deep"` (equation 1), or `"flat"` (E_u and D_{u+1} alone).

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
    return branches * 2 ** (2 * u - 2) * b**2 * k**2


def vgg_parameters(u, b=8, k=3, b0=3):
    """Kernel weights of level u of the VGG16-style encoder: the terms of equation 3.

    Example:

    >>> [vgg_parameters(u) for u in (1, 2, 3)]
    [792, 3456, 13824]
    """
    into, own = _widths(u, b, b0)
    return (into * own + own**2) * k**2


def resnet_parameters(u, q, b=8, k=3, b0=3):
    """Kernel weights of level u of the ResNet34-style encoder: the terms of equation 4.

    Args:
        u: level; 1 is the stem.
        q: basic blocks of this level (for u = 1 it does not count).
        b, k, b0: base width, kernel size, input channels.

    Example:

    >>> resnet_parameters(2, q=3)
    12800
    """
    into, own = _widths(u, b, b0)
    if u == 1:
        return b0 * own * k**2
    return into * own + (into * own + (2 * q - 1) * own**2) * k**2


def closed_form(
    backbone="light_vgg16",
    levels=5,
    base_filters=8,
    kernel_size=3,
    channels=3,
    num_classes=1,
    skips="deep",
    blocks_per_level=None,
):
    """Kernel weights of a whole network, part by part: equations 3 and 4.

    Args:
        backbone: `"light_vgg16"` (equation 3) or `"light_resnet34"` (equation 4).
        levels, base_filters, kernel_size: B, b and k.
        channels, num_classes: b0 and bc.
        skips: `"deep"` or `"flat"`.
        blocks_per_level: q_2 .. q_B of `light_resnet34`; None is (3, 4, 6, 3).

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
        encoder = {f"e{u}": vgg_parameters(u, b, k, channels) for u in range(1, levels + 1)}
    else:
        q = (None, *(blocks_per_level or (3, 4, 6, 3)))
        encoder = {
            f"e{u}": resnet_parameters(u, q[u - 1], b, k, channels) for u in range(1, levels + 1)
        }
    decoder = {
        f"d{u}": decoder_parameters(u, levels, b, k, skips) for u in range(levels - 1, 0, -1)
    }
    return {**encoder, **decoder, "head": num_classes * b}  # bc C_1


def _widths(u, b, b0):
    """Channels that enter level u, and its own C_u."""
    own = 2 ** (u - 1) * b
    return (b0 if u == 1 else own // 2), own


# --- The same, counted on a built model ---------------------------------------------------------


def conv_parameters(model):
    """Counts the convolution kernels' weights of a built model, part by part.

    Args:
        model: a built `keras.Model`.

    Returns:
        A dict from part (`"e1"`, `"d2"`, `"head"`, ...: what precedes the first `_` of the layer's
        name) to int.

    Example:

    >>> sum(conv_parameters(keras_deepskip.build_model()).values())
    644192
    """
    counts = {}
    for weight in model.weights:
        if weight.path.endswith("/kernel"):
            part = _part(weight.path)
            counts[part] = counts.get(part, 0) + math.prod(weight.shape)
    return counts


def macs(model, height=256, width=256):
    """Counts the multiply-adds of a built model's convolutions for one image.

    A convolution over an enlarged map is counted at the enlarged size, as it is defined.

    Args:
        model: a functional `keras.Model` of 2-D layers.
        height, width: size of the image in pixels.

    Returns:
        A dict from part to int, as `conv_parameters`.

    Raises:
        ValueError: if the model holds a layer whose cost is not known.

    Example:

    >>> sum(macs(keras_deepskip.build_model(), 256, 256).values())
    2241855488
    """
    return {part: view.macs for part, view in _views(model, height, width).items() if view.macs}


@dataclasses.dataclass(frozen=True)
class ReceptiveField:
    """How far an output pixel sees: `before` pixels up and left, `after` down and right."""

    before: int
    after: int

    @property
    def size(self):
        """Side of the square that is seen, in pixels."""
        return self.before + 1 + self.after


def receptive_field(model):
    """Works out the receptive field of a built model's output, from its own graph.

    No output pixel depends on an input pixel farther away than this, wherever it lies on the
    network's grid. Batch norm is taken as in inference.

    Args:
        model: a functional `keras.Model` of 2-D layers.

    Returns:
        A `ReceptiveField`, in input pixels.

    Raises:
        ValueError: if a layer sees the whole image (so there is no bounded field), or is not known.

    Example:

    >>> receptive_field(keras_deepskip.build_model(levels=2)).size
    21
    """
    return _trace(model, 256, 256)[-1].field


@dataclasses.dataclass
class _View:
    """What is known of a tensor: its size, and which input pixels one of its pixels sees.

    Pixel i of a tensor sees input pixels i * step - before .. i * step + after.
    """

    part: str
    height: int
    width: int
    step: Fraction = Fraction(1)
    before: Fraction = Fraction(0)
    after: Fraction = Fraction(0)
    macs: int = 0

    @property
    def field(self):
        return ReceptiveField(math.ceil(self.before), math.ceil(self.after))

    def strided(self, kernel, strides, padding):
        """Through a window of `kernel` pixels that moves by `strides`."""
        size = [math.ceil(s / strides) for s in (self.height, self.width)]
        if padding != "same":
            size = [(s - kernel) // strides + 1 for s in (self.height, self.width)]
        left = max(kernel - strides, 0) // 2 if padding == "same" else 0
        return dataclasses.replace(
            self,
            height=size[0],
            width=size[1],
            step=self.step * strides,
            before=self.before + left * self.step,
            after=self.after + (kernel - 1 - left) * self.step,
            macs=0,
        )

    def enlarged(self, factor):
        """Through nearest enlargement: pixel i is pixel floor(i / factor) of the small map."""
        return dataclasses.replace(
            self,
            height=self.height * factor,
            width=self.width * factor,
            step=self.step / factor,
            before=self.before + (factor - 1) * self.step / factor,
            macs=0,
        )

    def padded(self, multiple):
        return dataclasses.replace(
            self,
            height=self.height + -self.height % multiple,
            width=self.width + -self.width % multiple,
            macs=0,
        )


def _merged(views):
    """Several maps of one grid (or one map), added or concatenated."""
    views = _listed(views)
    if len({view.step for view in views}) > 1:
        raise ValueError(f"maps of different strides are merged. Received: {views}")
    return dataclasses.replace(
        views[0],
        before=max(view.before for view in views),
        after=max(view.after for view in views),
        macs=0,
    )


def _convolved(layer, view):
    (kernel, other), strides, dilation = layer.kernel_size, layer.strides[0], layer.dilation_rate[0]
    if kernel != other or strides != layer.strides[1]:
        raise ValueError(f"square kernels and strides are wanted. Received: {layer}")
    out = view.strided((kernel - 1) * dilation + 1, strides, layer.padding)
    # Each output pixel takes every weight of the kernel once (also with groups).
    return dataclasses.replace(out, macs=out.height * out.width * math.prod(layer.kernel.shape))


def _pooled(layer, view):
    return view.strided(layer.pool_size[0], layer.strides[0], layer.padding)


def _first(_layer, views):
    return dataclasses.replace(views[0] if isinstance(views, list) else views, macs=0)


# By class name, for this floor imports no layer: (layer, view or views) -> view.
RULES = {
    "Conv2D": _convolved,
    "DepthwiseConv2D": _convolved,
    "PlainConv2D": _convolved,
    "UpsampledConv2D": lambda layer, view: _convolved(layer, view.enlarged(layer.factor)),
    "ConcatenatedConv2D": lambda layer, views: _convolved(layer, _merged(views)),
    "MaxPooling2D": _pooled,
    "AveragePooling2D": _pooled,
    "UpSampling2D": lambda layer, view: view.enlarged(layer.size[0]),
    "PadToMultiple": lambda layer, view: view.padded(layer.multiple),
    "CropToMatch": lambda layer, views: dataclasses.replace(
        views[0], height=views[1].height, width=views[1].width, macs=0
    ),
    **dict.fromkeys(("Add", "Concatenate", "Multiply"), lambda layer, views: _merged(views)),
    **dict.fromkeys(
        ("Activation", "BatchNormalization", "Dropout", "FusedBatchNormalization", "InputLayer")
        + ("Normalization", "ReLU", "Rescaling", "SpatialDropout2D"),
        _first,
    ),
    # what `keras.ops` leaves in a graph
    "Concatenate_op": lambda layer, views: _merged(views),
}
SEE_ALL = ("GlobalAveragePooling2D", "GlobalMaxPooling2D", "LayerNormalization", "Flatten")


def _trace(model, height, width):
    """The view of every layer's output, in the order in which they are computed."""
    start = _View("input", height, width)
    return _walk(model, [start for _ in model.inputs])[0]


def _walk(model, starts, part=None):
    """The views of all that is computed in a model, and those of its outputs."""
    views = {id(tensor): view for tensor, view in zip(model.inputs, starts, strict=True)}
    trail = []
    for operation in model.operations:
        if type(operation).__name__ == "InputLayer":
            continue
        incoming = [views[id(tensor)] for tensor in _listed(operation.input) if id(tensor) in views]
        owner = part or operation.name.partition("_")[0]
        steps, results = _through(operation, incoming, owner)
        trail += steps
        views.update(zip(map(id, _listed(operation.output)), results, strict=True))
    return trail, [views[id(tensor)] for tensor in model.outputs]


def _listed(value):
    return value if isinstance(value, list | tuple) else [value]


def _through(operation, incoming, part):
    """The views that arise in one operation, and those of its outputs."""
    kind = type(operation).__name__
    if kind in SEE_ALL:
        raise ValueError(
            f"layer {operation.name!r} ({kind}) sees the whole image: no bounded field"
        )
    if not isinstance(operation, keras.Layer):
        kind += "_op"
    if kind in RULES:
        incoming = incoming if len(incoming) > 1 else incoming[0]
        view = dataclasses.replace(RULES[kind](operation, incoming), part=part)
        return [view], [view]
    if not isinstance(operation, keras.Layer):
        raise ValueError(
            f"no rule for the operation {kind!r} ({operation.name}). Add one to analysis.RULES"
        )
    return _walk(_opened(operation), incoming, part)


def _opened(layer):
    """A model of what a composite layer does: a copy of it, called on symbolic inputs."""
    copy = type(layer).from_config(layer.get_config())
    inputs = [keras.Input(batch_shape=tensor.shape) for tensor in _listed(layer.input)]
    given = inputs if isinstance(layer.input, list | tuple) else inputs[0]
    copy.build([tensor.shape for tensor in inputs] if given is inputs else given.shape)
    return keras.Model(inputs, copy.call(given))


def _views(model, height, width):
    """By part: the multiply-adds in it, and the view of its last map."""
    parts = {}
    for view in _trace(model, height, width):
        known = parts.get(view.part)
        total = view.macs + (known.macs if known else 0)
        parts[view.part] = dataclasses.replace(view, macs=total)
    return parts


def _part(path):
    return re.split(r"[_/]", path, maxsplit=1)[0]


# --- Both side by side --------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Analysis:
    """The table of `analyze`: one row a part of the network."""

    rows: list
    height: int
    width: int

    HEADERS = ("part", "closed form", "kernels", "parameters", "MACs", "receptive field")

    @property
    def total(self):
        """The last row: sums, and the receptive field of the output."""
        sums = [
            None if any(row[i] is None for row in self.rows) else sum(row[i] for row in self.rows)
            for i in range(1, 5)
        ]
        return ["all", *sums, self.rows[-1][5]]

    def text(self):
        """The table as Markdown."""
        decoder = [row for row in self.rows if row[0].startswith("d")]
        lines = [*self.rows]
        if decoder:
            kernels = sum(row[2] for row in decoder)
            form = None if decoder[0][1] is None else sum(row[1] for row in decoder)
            work = [sum(row[i] for row in decoder) for i in (3, 4)]
            lines.append(["decoder", form, kernels, *work, decoder[-1][5]])
        table = markdown_table(self.HEADERS, [*lines, self.total])
        return (
            f"{table}\n\nKernels: weights of convolutions, without biases and norms. MACs: for one "
            f"image of {self.height} x {self.width}. Receptive field: side in pixels."
        )


def analyze(model, expected=None, height=256, width=256):
    """Tells part by part what a network holds, costs and sees, beside the paper's closed form.

    Args:
        model: a functional `keras.Model` of 2-D layers.
        expected: kernel weights by part, as `closed_form` gives them; None leaves them out.
        height, width: size of the image that the multiply-adds are for, in pixels.

    Returns:
        An `Analysis`; `print(analysis.text())` shows the table.

    Example:

    >>> analyze(keras_deepskip.build_model(), closed_form()).total[:3]
    ['all', 644192, 644192]
    """
    kernels, views = conv_parameters(model), _views(model, height, width)
    parameters = {}
    for weight in model.weights:
        part = _part(weight.path)
        parameters[part] = parameters.get(part, 0) + math.prod(weight.shape)
    rows = [
        [
            part,
            None if expected is None else expected.get(part, 0),
            kernels.get(part, 0),
            count,
            views[part].macs,
            views[part].field.size,
        ]
        for part, count in parameters.items()
    ]
    return Analysis(rows, height, width)
