"""Convolution and batch norm by each backend's own routine, where Keras's way there costs more.

The results are Keras's. What is saved: under PyTorch, two copies of the map for every convolution
(Keras brings maps to channels first and back); under TensorFlow and PyTorch, the many passes over
the map that a batch norm of single operations takes; under TensorFlow and JAX, half of the vector
registers that a convolution of 8 filters leaves empty: see `docs/measurements/speed.md`.

Maps are (N, H, W, C), kernels (rows, columns, C, filters). Of volumes, (N, D, H, W, C) with kernels
of one axis more, the convolutions are Keras's own, but for JAX on a CPU.
"""

import functools

import keras
from keras import ops

BACKEND = keras.backend.backend()

# Fewer output channels than this leave vector registers empty: as many neighbouring pixels of a row
# are computed together, each as channels of its own. (PyTorch gains nothing by it.)
LANES = 16
LANES_OF_KERNEL_GRADIENT = 32  # under JAX


def convolve(x, kernel, padding="same", strides=None, bias=None):
    """Convolves a map, of an image or a volume.

    Args:
        x: map (N, H, W, C) or (N, D, H, W, C).
        kernel: (rows, columns, C, filters), or (slices, rows, columns, C, filters).
        padding: ((top, bottom), (left, right)), pixels of zeros, for a volume with (front, back)
            before them; or "same", for ceil(H / stride) rows of the result and so on.
        strides: steps (down, across), or (back, down, across), in pixels; None is 1 everywhere.
        bias: (filters,), or None.

    Returns:
        The map (N, H', W', filters) or (N, D', H', W', filters).
    """
    axes = len(kernel.shape) - 2
    routine = _CONVOLVE[BACKEND] if axes == 2 else _convolve_volume
    return routine(x, kernel, padding, strides or (1,) * axes, bias)


def convolve_transposed(x, kernel, factor, crop, bias=None):
    """Adds to an upsampled map, for each pixel of `x`, the kernel weighted by it.

    Args:
        x: map (N, H, W, C) or (N, D, H, W, C).
        kernel: (side, side, C, filters), or (side, side, side, C, filters), of the side
            factor + 2 crop.
        factor: distance of neighbouring pixels' kernels, in pixels of the upsampled map.
        crop: pixels left out on each side.
        bias: (filters,), or None.

    Returns:
        The map (N, factor H, factor W, filters), or (N, factor D, factor H, factor W, filters).
    """
    routine = _TRANSPOSED[BACKEND] if len(kernel.shape) == 4 else _transposed_volume
    return routine(x, kernel, factor, crop, bias)


def pad(x, around):
    """Pads with zeros, `around` being (before, after) of each axis.

    Under PyTorch without Keras's look at the numbers, by which `torch.export` would fix them.
    """
    return _PAD.get(BACKEND, ops.pad)(x, around)


def crop(x, sizes):
    """The first rows and columns (and slices before them) of a map, `sizes` of them."""
    if BACKEND == "torch":
        import torch

        if torch.compiler.is_exporting():
            # Whether a slice lies in one piece depends on the sizes, which would be fixed by that.
            for axis, size in enumerate(sizes, start=1):
                x = x.index_select(axis, torch.arange(size, device=x.device))
            return x
    return x[(slice(None), *map(slice, sizes))]


def normalize_batch(x, gamma, beta, epsilon):
    """Brings each channel of a float32 map (N, H, W, C) to the mean `beta` and deviation `gamma`.

    Only where `NORMALIZES`: JAX's compiler makes few passes of Keras's own operations.

    Returns:
        The map, and the channels' means and (biased) variances.
    """
    return _NORMALIZE[BACKEND](x, gamma, beta, epsilon)


def batch_is_shared():
    """Whether other replicas (TensorFlow) or processes (PyTorch) hold further shares of a batch.

    Under JAX operations are on the whole batch wherever its parts lie.
    """
    return _SHARED[BACKEND]() if BACKEND in _SHARED else False


def moments_of_shares(x, axes):
    """The mean and the (biased) variance of each channel over all shares of a batch."""
    return _MOMENTS[BACKEND](x, axes)


# --- Few filters: neighbouring pixels of a row together ------------------------------------------


def side_by_side(kernel, columns):
    """The kernel that gives as channels what `kernel` gives at `columns` neighbouring pixels.

    Args:
        kernel: (rows, k, C, filters).
        columns: number of pixels of a row.

    Returns:
        The kernel (rows, k + columns - 1, C, columns filters), to be moved by `columns` pixels: for
        pixel i the kernel itself, i pixels to the right.
    """
    if columns == 1:
        return kernel
    shifted = [((0, 0), (i, columns - 1 - i), (0, 0), (0, 0)) for i in range(columns)]
    return ops.concatenate([ops.pad(kernel, around) for around in shifted], axis=-1)


def _laid_out(y, width, columns):
    """(N, H, ceil(width / columns), columns C) as (N, H, width, C)."""
    batch, height, blocks, channels = ops.shape(y)
    y = ops.reshape(y, (batch, height, blocks * columns, channels // columns))
    return y[:, :, :width]


# --- Volumes ------------------------------------------------------------------------------------


def _convolve_volume(x, kernel, padding, strides, bias):
    if padding == "same" and tuple(kernel.shape[:3]) == (1, 1, 1):
        # as under TensorFlow with images
        x, strides = x[:, :: strides[0], :: strides[1], :: strides[2]], (1, 1, 1)
    if _plane_by_plane():
        y = _convolve_planes(x, kernel, padding, strides)
    elif padding == "same":
        y = ops.conv(x, kernel, tuple(strides), "same")
    else:
        y = ops.conv(ops.pad(x, [(0, 0), *padding, (0, 0)]), kernel, tuple(strides), "valid")
    return y if bias is None else y + bias


def _plane_by_plane():
    """Whether one axis after the other is quicker: XLA for CPUs is slow with convolutions of three
    axes and their gradients (8 times, of 8 filters)."""
    if BACKEND != "jax":
        return False
    import jax

    return jax.default_backend() == "cpu"


def _convolve_planes(x, kernel, padding, strides):
    """The convolution as a sum over the kernel's planes, each convolved with all slices."""
    count, step = kernel.shape[0], strides[0]
    if padding == "same":
        depth, around = -(-x.shape[1] // step), _same_padding(x.shape[1], count, step)
    else:
        around, *padding = padding
        depth = (x.shape[1] + sum(around) - count) // step + 1
    x = ops.pad(x, [(0, 0), around, *[(0, 0)] * 3])
    total = 0.0
    for plane in range(count):
        met = x[:, plane : plane + (depth - 1) * step + 1 : step]  # (N, D', H, W, C)
        met = ops.reshape(met, (-1, *x.shape[2:]))
        total = total + convolve(met, kernel[plane], padding, strides[1:])
    return ops.reshape(total, (-1, depth, *total.shape[1:]))


def _transposed_volume(x, kernel, factor, crop, bias):
    # of a kernel of side factor + 2 crop, "same" leaves out `crop` on each side, on every backend
    y = ops.conv_transpose(x, ops.swapaxes(kernel, -1, -2), factor, "same")
    return y if bias is None else y + bias


# --- TensorFlow ---------------------------------------------------------------------------------


def _convolve_tensorflow(x, kernel, padding, strides, bias):
    import tensorflow as tf

    if padding == "same" and tuple(kernel.shape[:2]) == (1, 1):
        # oneDNN's kernel gradient of a strided 1x1 convolution of 8 channels or fewer writes
        # outside its memory (TensorFlow 2.21): the pixels are picked before
        x, strides = x[:, :: strides[0], :: strides[1]], (1, 1)
    padding = "SAME" if padding == "same" else [[0, 0], *map(list, padding), [0, 0]]
    columns = 1
    together = padding == "SAME" and tuple(strides) == (1, 1) and kernel.shape[1] > 1
    # Not of one channel: stepping over two columns, oneDNN leaves a result of one column as its
    # memory was (TensorFlow 2.21).
    if together and kernel.shape[2] > 1:
        columns = min(LANES // kernel.shape[-1], 2) or 1
    bias = None if bias is None else tf.tile(bias, [columns])
    y = tf.nn.conv2d(x, side_by_side(kernel, columns), (strides[0], columns * strides[1]), padding)
    y = y if bias is None else tf.nn.bias_add(y, bias)
    return y if columns == 1 else _laid_out(y, ops.shape(x)[2], columns)


def _transposed_tensorflow(x, kernel, factor, crop, bias):
    import tensorflow as tf

    batch, height, width = keras.ops.shape(x)[:3]
    shape = (batch, height * factor, width * factor, kernel.shape[-1])
    kernel = tf.transpose(kernel, (0, 1, 3, 2))
    # "SAME" is this very crop; put in numbers, TensorFlow would leave oneDNN for slower routines
    y = tf.nn.conv2d_transpose(x, kernel, shape, factor, "SAME")
    return y if bias is None else tf.nn.bias_add(y, bias)


def _pad_tensorflow(x, around):
    """Before a `Conv3D`, TensorFlow's graph optimizer takes a `Pad` of known numbers into the
    convolution and loses that one's own "SAME" padding (2.21, with oneDNN: a smaller result and no
    word). It leaves `PadV2` alone, which is what a tensor as the value of the padding gives.
    """
    import tensorflow as tf

    value = 0 if len(x.shape) == 4 else tf.zeros((), x.dtype)
    y = tf.pad(x, around, constant_values=value)
    if all(isinstance(number, int) for each in around for number in each):
        return y
    # by numbers that are not known yet: LiteRT's converter then loses the number of channels
    return tf.reshape(y, [*tf.unstack(tf.shape(y)[:-1]), x.shape[-1]])


def _normalize_tensorflow(x, gamma, beta, epsilon):
    import tensorflow as tf

    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x, scale=gamma, offset=beta, mean=[], variance=[], epsilon=epsilon, is_training=True
    )
    # the routine's variance is unbiased: n / (n - 1) of Keras's
    count = tf.cast(tf.size(x) / tf.size(mean), variance.dtype)
    return y, mean, variance * ((count - 1) / count)


def _shared_tensorflow():
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return context is not None and context.num_replicas_in_sync > 1


def _moments_tensorflow(x, axes):
    return ops.moments(x, axes, synchronized=True)


# --- PyTorch ------------------------------------------------------------------------------------


def _convolve_torch(x, kernel, padding, strides, bias):
    import torch
    from torch.nn import functional

    if padding == "same" and tuple(kernel.shape[:2]) == (1, 1) and max(strides) > 1:
        # oneDNN's gradient of it crashes with 8 channels, as under TensorFlow (PyTorch 2.13)
        x, strides = x[:, :: strides[0], :: strides[1]], (1, 1)
    if padding == "same":
        padding = map(_same_padding, x.shape[1:3], kernel.shape[:2], strides)
    (top, bottom), (left, right) = padding
    x = _channels_first(x)
    if (top, left) != (bottom, right):
        x, top, left = functional.pad(x, (left, right, top, bottom)), 0, 0
    kernel = kernel.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
    y = functional.conv2d(x, kernel, bias, stride=tuple(strides), padding=(top, left))
    return y.permute(0, 2, 3, 1)


def _transposed_torch(x, kernel, factor, crop, bias):
    from torch.nn import functional

    kernel = kernel.permute(2, 3, 0, 1)
    y = functional.conv_transpose2d(_channels_first(x), kernel, bias, stride=factor, padding=crop)
    return y.permute(0, 2, 3, 1)


def _pad_torch(x, around):
    from torch.nn import functional

    return functional.pad(x, [number for each in reversed(around) for number in each])


def _same_padding(size, kernel, stride):
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _channels_first(x):
    """The same numbers at the same places in memory, seen as (N, C, H, W)."""
    return x.contiguous().permute(0, 3, 1, 2)


def _normalize_torch(x, gamma, beta, epsilon):
    import torch

    y, mean, scale = torch.native_batch_norm(
        _channels_first(x), gamma, beta, None, None, True, 0.0, epsilon
    )  # scale = 1 / sqrt(variance + epsilon)
    return y.permute(0, 2, 3, 1), mean, scale.pow(-2) - epsilon


def _shared_torch():
    from torch import distributed

    ready = distributed.is_available() and distributed.is_initialized()
    return ready and distributed.get_world_size() > 1


def _moments_torch(x, axes):
    import torch

    x = x.float()
    count = x.numel() / x.shape[-1]
    own = torch.stack([x.sum(axes), x.square().sum(axes), x.new_full((x.shape[-1],), count)])
    total, squares, count = _sum_of_shares_torch().apply(own)
    mean = total / count
    return mean, (squares / count - mean.square()).clamp(min=0)


@functools.cache
def _sum_of_shares_torch():
    """A sum over all processes, whose gradient is the sum of all processes' gradients."""
    import torch
    from torch import distributed

    class SumOfShares(torch.autograd.Function):
        @staticmethod
        def forward(context, own):
            total = own.clone()
            distributed.all_reduce(total)
            return total

        @staticmethod
        def backward(context, gradient):
            total = gradient.contiguous().clone()
            distributed.all_reduce(total)
            return total

    return SumOfShares


# --- JAX ----------------------------------------------------------------------------------------

_JAX_LAYOUT = ("NHWC", "HWIO", "NHWC")


def _convolve_jax(x, kernel, padding, strides, bias):
    from jax import lax

    if padding == "same" and tuple(strides) == (1, 1) and kernel.shape[1] > 1:
        y = _narrow_jax()(x, kernel)
    else:
        padding = "SAME" if padding == "same" else padding
        y = lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=_JAX_LAYOUT)
    return y if bias is None else y + bias


@functools.cache
def _narrow_jax():
    """A 'same' convolution at stride 1 that computes several pixels of a row together, as do both
    of its gradients (JAX's own gradient of such a convolution would be slow)."""
    import jax
    from jax import lax

    def together(x, kernel, columns):
        around = [(size // 2, size // 2) for size in kernel.shape[:2]]
        y = lax.conv_general_dilated(
            x, side_by_side(kernel, columns), (1, columns), around, dimension_numbers=_JAX_LAYOUT
        )
        return y.reshape(*x.shape[:3], kernel.shape[-1])

    @jax.custom_vjp
    def convolve(x, kernel):
        return together(x, kernel, _columns(x, kernel.shape[-1], LANES))

    def forward(x, kernel):
        return convolve(x, kernel), (x, kernel)

    def backward(kept, gradient):
        x, kernel = kept
        columns = _columns(x, kernel.shape[-1], LANES_OF_KERNEL_GRADIENT)
        _, of_kernel = jax.vjp(lambda kernel: together(x, kernel, columns), kernel)
        turned = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
        return convolve(gradient, turned), *of_kernel(gradient)

    convolve.defvjp(forward, backward)
    return convolve


def _columns(x, filters, lanes):
    """How many pixels of a row to compute together, a divisor of its width."""
    columns = 1
    while 2 * columns * filters <= lanes and x.shape[2] % (2 * columns) == 0:
        columns *= 2
    return columns


def _transposed_jax(x, kernel, factor, crop, bias):
    from jax import lax

    around = kernel.shape[0] - 1 - crop
    y = lax.conv_general_dilated(
        x, kernel[::-1, ::-1], (1, 1), ((around, around),) * 2,
        lhs_dilation=(factor, factor), dimension_numbers=_JAX_LAYOUT,
    )  # fmt: skip
    return y if bias is None else y + bias


_CONVOLVE = {
    "tensorflow": _convolve_tensorflow,
    "torch": _convolve_torch,
    "jax": _convolve_jax,
}
_TRANSPOSED = {
    "tensorflow": _transposed_tensorflow,
    "torch": _transposed_torch,
    "jax": _transposed_jax,
}
_PAD = {
    "tensorflow": _pad_tensorflow,
    "torch": _pad_torch,
}
_NORMALIZE = {
    "tensorflow": _normalize_tensorflow,
    "torch": _normalize_torch,
}
NORMALIZES = BACKEND in _NORMALIZE
_SHARED = {
    "tensorflow": _shared_tensorflow,
    "torch": _shared_torch,
}
_MOMENTS = {
    "tensorflow": _moments_tensorflow,
    "torch": _moments_torch,
}
