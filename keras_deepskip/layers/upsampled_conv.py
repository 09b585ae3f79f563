"""P(I(.)): nearest upsampling, then a convolution; computed on the small map."""

import contextlib
import functools
import math

import keras
import numpy as np
from keras import ops

from keras_deepskip import _checks
from keras_deepskip.layers import native
from keras_deepskip.layers.plain_conv import SameConv


class UpsampledConv(SameConv):
    """What `UpsampledConv2D` and `UpsampledConv3D` share."""

    FIXED = ("strides", *SameConv.FIXED)

    def __init__(self, filters, kernel_size=3, factor=2, **arguments):
        super().__init__(filters, kernel_size, **arguments)
        self.factor = _checks.check_integer("factor", factor)

    def convolve(self, inputs, kernel, bias, training):
        if self.factor == 1:
            return super().convolve(inputs, kernel, bias, training)
        form = FORMS[self.rank][native.BACKEND]["training" if training else "inference"]
        return form(inputs, kernel, self.factor, bias)

    def compute_output_shape(self, input_shape):
        batch, *sizes, _ = input_shape
        return (batch, *(_times(size, self.factor) for size in sizes), self.filters)

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


def _times(size, factor):
    return None if size is None else size * factor


@keras.saving.register_keras_serializable(package="keras_deepskip")
class UpsampledConv2D(UpsampledConv, keras.layers.Conv2D):
    """Upsamples a map `factor` times by nearest neighbour and convolves it with 'same' padding.

    The result is that of `UpSampling2D(factor)` followed by `Conv2D(filters, kernel_size,
    padding="same")`, borders included, and the weights are that convolution's own: same names, same
    shapes. The upsampled map is never made: what a pixel of the result sees of it is a few pixels
    of the small map, so kernels that are sums of the layer's own do the work there. With a kernel
    of 3 the multiply-adds fall to 4/9, 1/4 and 1/6 of those over the upsampled map (factors 2, 4,
    8).

    This is P(I(.)) of equation 1; with `factor=1` it is the plain convolution P.

    Args:
        filters: channels of the result.
        kernel_size: odd size of the kernel, in pixels of the upsampled map.
        factor: whole number of times that height and width grow.
        **arguments: what `keras.layers.Conv2D` takes beside these (`use_bias`,
            `kernel_initializer`, `name`, ...), but for strides, padding, data_format,
            dilation_rate and groups.

    Input shape: (N, H, W, C).
    Output shape: (N, factor H, factor W, filters).

    Raises:
        ValueError: if `kernel_size` is even, or `factor` no whole number of at least 1.

    Example:

    >>> x = np.ones((1, 4, 6, 16), "float32")
    >>> tuple(UpsampledConv2D(8, kernel_size=3, factor=4)(x).shape)
    (1, 16, 24, 8)

    Source: I and P of equation 1 in H. Sun, Traitement du Signal 40(4), 2023.
    """


@keras.saving.register_keras_serializable(package="keras_deepskip")
class UpsampledConv3D(UpsampledConv, keras.layers.Conv3D):
    """Upsamples a volume `factor` times by nearest neighbour and convolves it with 'same' padding.

    `UpsampledConv2D` with one axis more: the result is that of `UpSampling3D(factor)` followed by
    `Conv3D(filters, kernel_size, padding="same")`, borders included, the weights are that
    convolution's own, and the upsampled volume is never made. With a kernel of 3 the multiply-adds
    fall to 8/27, 1/8 and 1/14 of those over the upsampled volume (factors 2, 4, 8).

    Args:
        filters: channels of the result.
        kernel_size: odd size of the kernel, in voxels of the upsampled volume.
        factor: whole number of times that depth, height and width grow.
        **arguments: as `UpsampledConv2D`.

    Input shape: (N, D, H, W, C).
    Output shape: (N, factor D, factor H, factor W, filters).

    Raises:
        ValueError: as `UpsampledConv2D`.

    Example:

    >>> x = np.ones((1, 2, 4, 6, 16), "float32")
    >>> tuple(UpsampledConv3D(8, kernel_size=3, factor=4)(x).shape)
    (1, 8, 16, 24, 8)
    """


UPSAMPLED_CONVS = {2: UpsampledConv2D, 3: UpsampledConv3D}  # by spatial axes


# --- Four forms of one function: (small map, kernel, factor, bias) -> map of the upsampled size ---


def upsampled(x, kernel, factor, bias=None):
    """As it is defined: the upsampled map is made, and convolved."""
    for axis in range(1, len(x.shape) - 1):
        x = ops.repeat(x, factor, axis=axis)
    return native.convolve(x, kernel, bias=bias)


def transposed(x, kernel, factor, bias=None):
    """Each small pixel adds one stamp of side factor + k - 1, the kernel smeared over its square.

    Nearest upsampling is a transposed convolution with a square of ones; followed by a
    convolution it is a transposed convolution with that square convolved. (Of volumes: a cube.)
    """
    kernel_size = int(kernel.shape[0])  # PyTorch's tracer has tensors in shapes
    stamp = _tap_sums([smearing(kernel_size, factor)] * (len(kernel.shape) - 2), kernel)
    return native.convolve_transposed(x, stamp, factor, (kernel_size - 1) // 2, bias)


def by_rows(x, kernel, factor, bias=None):
    """A convolution of the small map gives whole rows; equal kinds of rows are computed once.

    All `factor` columns of a small pixel are channels of one convolution, so a row of the result
    lies in memory as it must. Of the `factor` rows of a small pixel those in the middle see the
    same small pixels (k - 1 others see neighbours too): they are one convolution, laid in place
    several times.
    """
    kernel_size, _, channels, filters = kernel.shape
    seen = sights(kernel_size, factor)  # (factor, window, kernel_size)
    window, around = seen.shape[1], seen.shape[1] // 2
    kinds, kind_of_row = np.unique(seen, axis=0, return_inverse=True)
    small = _tap_sums([kinds.reshape(-1, kernel_size), seen.reshape(-1, kernel_size)], kernel)
    small = ops.reshape(small, (len(kinds), window, factor, window, channels, filters))
    small = ops.transpose(small, (0, 1, 3, 4, 2, 5))
    small = ops.reshape(small, (len(kinds), window, window, channels, factor * filters))
    bias = None if bias is None else ops.tile(bias, [factor])
    computed = []
    for index, kind in enumerate(kinds):
        # it sees the small rows first - around .. last - around, counted from its own
        first, last = np.flatnonzero(kind.any(axis=1))[[0, -1]].tolist()
        padding = ((around - first, last - around), (around, around))
        own = small[index, first : last + 1]
        computed.append(native.convolve(x, own, padding, bias=bias))  # (N, H, W, factor filters)
    rows = ops.stack([computed[index] for index in kind_of_row.reshape(-1)], axis=2)
    batch, height, width = ops.shape(x)[:3]
    return ops.reshape(rows, (batch, height * factor, width * factor, filters))


def by_cells(x, kernel, factor, bias=None):
    """One convolution gives every small pixel's whole square (of volumes: cube) as channels.

    The stamps of `transposed`, cut into cells of side `factor` that fit the small map's grid, are
    the kernel; the cells are then laid in place. What reaches over the map's border is cut off.
    """
    kernel_size, *_, channels, filters = map(int, kernel.shape)  # as in `transposed`
    axes = len(kernel.shape) - 2
    smear = smearing(kernel_size, factor)
    cells = -(-len(smear) // factor)  # along one axis of a stamp
    smear = np.pad(smear, [(0, cells * factor - len(smear)), (0, 0)])
    # turned: a cell of the result sees small pixels before it by the later cells of their stamps
    smear = smear.reshape(cells, factor, kernel_size)[::-1].reshape(-1, kernel_size)
    small = ops.reshape(
        _tap_sums([smear] * axes, kernel), (*(cells, factor) * axes, channels, filters)
    )
    outer, inner = range(0, 2 * axes, 2), range(1, 2 * axes, 2)
    small = ops.transpose(small, (*outer, 2 * axes, *inner, 2 * axes + 1))
    small = ops.reshape(small, (*(cells,) * axes, channels, factor**axes * filters))
    y = native.convolve(x, small, ((cells - 1, cells - 1),) * axes)
    batch, *sizes, _ = ops.shape(y)
    y = ops.reshape(y, (batch, *sizes, *(factor,) * axes, filters))
    places = [place for axis in range(1, axes + 1) for place in (axis, axis + axes)]
    y = ops.transpose(y, (0, *places, 2 * axes + 1))
    y = ops.reshape(y, (batch, *(size * factor for size in sizes), filters))
    centre = (kernel_size - 1) // 2
    inside = [slice(centre, centre + size * factor) for size in ops.shape(x)[1:-1]]
    y = y[(slice(None), *inside)]
    return y if bias is None else y + bias


def _tap_sums(along, kernel):
    """Kernels (rows of the first matrix, of the second, ..., C, filters), each a sum over the taps
    that its row of each matrix of zeros and ones (any, k) names; `along` has one for each axis. One
    product of matrices: a call has no time for many small operations."""
    *size, channels, filters = map(int, kernel.shape)
    taps = ops.cast(functools.reduce(np.kron, along), kernel.dtype)
    sums = ops.matmul(taps, ops.reshape(kernel, (math.prod(size), channels * filters)))
    return ops.reshape(sums, (*map(len, along), channels, filters))


# By spatial axes and backend. For images: what was fastest in the whole network (see
# `docs/measurements/speed.md`); for volumes, by itself.
FORMS = {
    2: {
        "tensorflow": {"training": transposed, "inference": by_rows},
        "torch": {"training": transposed, "inference": transposed},
        "jax": {"training": by_rows, "inference": by_rows},
    },
    3: {
        "tensorflow": {"training": transposed, "inference": transposed},
        "torch": {"training": transposed, "inference": transposed},
        "jax": {"training": by_cells, "inference": by_cells},
    },
}


@contextlib.contextmanager
def images_in(form):
    """Has images be computed in one form in inference: for files that another runtime runs.

    Args:
        form: one of the four functions above.
    """
    own = FORMS[2][native.BACKEND]
    before, own["inference"] = own["inference"], form
    try:
        yield
    finally:
        own["inference"] = before


# --- Which tap of the kernel meets which small pixel (along one axis) -----------------------------


def smearing(kernel_size, factor):
    """How a kernel's taps add up to the stamp that one small pixel leaves on the upsampled map.

    Args:
        kernel_size: taps k of the kernel, odd.
        factor: s, of the upsampling.

    Returns:
        Array (s + k - 1, k) of zeros and ones. The small pixel covers the upsampled pixels 0 ..
        s-1; position u of the stamp, upsampled pixel u - c with c = (k - 1) / 2, meets it by tap t
        where 0 <= u - c + t - c < s.

    Example:

    >>> smearing(3, 2).tolist()
    [[0.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    """
    centre = (kernel_size - 1) // 2
    place = np.arange(factor + kernel_size - 1)[:, None] + np.arange(kernel_size) - 2 * centre
    return ((place >= 0) & (place < factor)).astype("float64")


def sights(kernel_size, factor):
    """Through which taps each of the `factor` positions in a small pixel sees which small pixels.

    Args:
        kernel_size: taps k of the kernel, odd.
        factor: s, of the upsampling.

    Returns:
        Array (s, 2 a + 1, k) of zeros and ones: position r sees the small pixel i, counted from its
        own (i = -a .. a), by tap t where floor((r + t - c) / s) = i, c = (k - 1) / 2.

    Example:

    >>> sights(3, 4)[0].tolist()  # the first position: its left tap meets the pixel before
    [[1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 0.0, 0.0]]
    """
    centre = (kernel_size - 1) // 2
    around = -(-centre // factor)
    met = (np.arange(factor)[:, None] + np.arange(kernel_size) - centre) // factor  # [r, t]
    return (met[:, None] == np.arange(-around, around + 1)[:, None]).astype("float64")
