"""Predictions on images of many sizes: under JAX, which compiles for each, by a few programs.

A program is compiled for a canvas. The image lies at its top left, and the program is told how
large it is: in it, whatever a convolution, a pooling or a padding sees beyond the image (as padded
to the network's stride) is set to what that layer's own padding would hold. So the result is that
of one pass over the image alone, not only away from its borders.

TensorFlow and PyTorch compile nothing for a size (TensorFlow's XLA aside), and predict as ever.
"""

import math
import weakref

import keras
import numpy as np

from keras_deepskip.analysis import grid_stride

OWN = 4  # sizes of a model that may have a program of their own
OFTEN = 32  # images of a size before it gets one, but for the first size
WASTE = 4  # a canvas has at most so many pixels for each of the image's, if none of the smallest
SMALLEST = 128  # side of a canvas
SQUARE = 1024 * 1024  # pixels up to which canvases are square where `WASTE` allows it
TOLERANCE = 1e-5

_known: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def predict_on_batch(model, images):
    """`model.predict_on_batch(images)` to 1e-5, for a model of any size without many compilations.

    The first size, and those that come often, have a program of their own. Others share canvases,
    if a trial has shown that this model gives the same on them.

    Args:
        model: a built `keras.Model` of one input and one output.
        images: array (N, H, W, C); of a model of several inputs what it takes, N of each.

    Returns:
        Array or tensor (N, H, W, K).
    """
    if keras.backend.backend() != "jax" or not _takes_any_size(model):
        # Under a strategy of TensorFlow each replica predicts the whole batch.
        return model.predict_on_batch(images)[: len(keras.tree.flatten(images)[0])]
    programs = _known.get(model)
    if programs is None:  # the network is analysed once
        programs = _known[model] = _Programs(model)
    return programs.predict(np.asarray(images))


def _takes_any_size(model):
    try:
        shape = tuple(model.input_shape)
    except (AttributeError, ValueError):
        return False
    anew = keras.distribution.distribution() is not None or len(shape) != 4
    return not anew and shape[1:3] == (None, None)


def side(length, multiple=1, fine=False):
    """The side of a canvas for so many pixels: a power of two, or with `fine` one and a half.

    Example:

    >>> side(100), side(129), side(129, fine=True), side(129, multiple=96)
    (128, 256, 192, 288)
    """
    power = max(SMALLEST, 1 << (length - 1).bit_length())
    if fine and 3 * power // 4 >= max(length, SMALLEST):
        power = 3 * power // 4
    return -(-power // multiple) * multiple


class _Programs:
    """What is compiled for a model."""

    def __init__(self, model):
        self._model = weakref.ref(model)
        self._own, self._seen = set(), {}
        self._canvases = []
        self._masked = None
        self._stride = _stride(model)  # None: no canvas gives what one pass does
        self._tried = False

    def predict(self, images):
        model, shape = self._model(), images.shape
        self._seen[shape] = self._seen.get(shape, 0) + 1
        sizes = {own[1:] for own in self._own}
        often = self._seen[shape] > OFTEN and len(sizes) < OWN
        # Another number of images would be another canvas too
        alike = not sizes or shape[1:] in sizes
        if alike or often or self._stride is None:
            self._own.add(shape)
            return model.predict_on_batch(images)
        if not self._tried:
            self._tried = True
            if not self._equal(model, images):
                self._stride = None
                return model.predict_on_batch(images)
        if len(self._seen) > 10_000:
            self._seen.clear()
        return self._on_canvas(model, images)

    def _equal(self, model, images):
        """Whether a canvas gives what one pass does, of noise in units of 1 and of 255."""
        noise = np.random.default_rng(0).random(images.shape).astype("float32")
        for unit in (1, 255):
            expected = np.asarray(model.predict_on_batch(unit * noise), "float32")
            try:
                found = self._on_canvas(model, unit * noise)
            except Exception:  # a layer, or a release of JAX, that is not known: sizes compile anew
                return False
            if not np.allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE):
                return False
        return True

    def _on_canvas(self, model, images):
        canvas = self._canvas(images.shape)
        filled = np.zeros(canvas, images.dtype)
        height, width = images.shape[1:3]
        filled[:, :height, :width] = images
        if self._masked is None:
            self._masked = _masked(model, self._stride)
        values = [[v.value for v in own] for own in _variables(model)]
        outputs = self._masked(values, filled, np.array([height, width], "int32"))
        return np.asarray(outputs)[:, :height, :width]

    def _canvas(self, shape):
        """The smallest canvas there is that is not too large; else a new one."""
        count, height, width, channels = shape
        fine = height * width > SQUARE // WASTE
        sides = [side(length, self._stride, fine) for length in (height, width)]
        # One pixel over the stride's multiple: the network's own padding then shows in the program.
        over = int(self._stride > 1)
        most = max(WASTE * height * width, math.prod(each + over for each in sides))
        fitting = [
            canvas
            for canvas in self._canvases
            if (canvas[0], canvas[3]) == (count, channels)
            and canvas[1] >= height and canvas[2] >= width and canvas[1] * canvas[2] <= most
        ]  # fmt: skip
        if fitting:
            return min(fitting, key=lambda canvas: canvas[1] * canvas[2])
        square = side(max(height, width), self._stride)
        if square**2 <= min(most, SQUARE):
            sides = (square, square)
        canvas = (count, sides[0] + over, sides[1] + over, channels)
        self._canvases.append(canvas)
        return canvas


def _stride(model):
    """What the model pads to by itself, if that is its whole grid; else None."""
    multiples = [1]
    for layer in model.layers:
        multiples += np.ravel(getattr(layer, "multiple", 1)).tolist()
    stride = math.lcm(*multiples)
    try:
        return stride if stride % grid_stride(model) == 0 else None
    except ValueError:  # a layer that the analysis does not know
        return None


def _variables(model):
    return model.trainable_variables, model.non_trainable_variables


# ---- The program: JAX's own, with what is beyond the image masked --------------------------------


def _masked(model, stride):
    """Returns the compiled function of variables' values, a canvas and the image's size.

    It holds the model weakly, as it is kept as long as the model is.
    """
    import jax

    model = weakref.ref(model)

    def call(canvas, values):
        return model().stateless_call(*values, canvas, training=False)[0]

    def masked(values, canvas, size):
        closed = jax.make_jaxpr(call)(canvas, values)
        whole = tuple(-(-n // stride) * stride for n in canvas.shape[1:3])
        extents = _Extents(canvas.shape[1:3], size, whole, -(-size // stride) * stride)
        others = jax.tree_util.tree_leaves(values)
        of_image = [True, *[False] * len(others)]
        return _run(closed, [canvas, *others], of_image, extents)[0][0]

    return jax.jit(masked)


class _Extents:
    """How much of a map is the image's.

    Args:
        outer: (H, W) of the canvas, whose first `size` pixels are the image's.
        whole: that of the canvas as the network pads it, `inner` of it the image's as padded.
    """

    def __init__(self, outer, size, whole, inner):
        self.outer, self.size, self.whole, self.inner = tuple(outer), size, whole, inner

    def mask(self, x, beyond):
        """A map (N, H, W, C) with the value `beyond` where the image is not; others as they are."""
        from jax import lax
        from jax import numpy as jnp

        if x.ndim != 4:
            return x
        if x.shape[1:3] == self.outer:
            size = self.size
        else:
            rows, columns = (a // b for a, b in zip(self.whole, x.shape[1:3], strict=True))
            if not rows or (rows * x.shape[1], rows * x.shape[2]) != self.whole or rows != columns:
                return x
            size = self.inner // rows
        inside = [lax.broadcasted_iota("int32", x.shape, axis) < size[axis - 1] for axis in (1, 2)]
        return jnp.where(inside[0] & inside[1], x, jnp.asarray(beyond, x.dtype))


def _run(jaxpr, arguments, of_image, extents):
    """Evaluates what JAX would compile, masking what looks beyond a pixel.

    Args:
        jaxpr: a closed one.
        arguments: its arguments' values.
        of_image: for each of them, whether it comes of the image: kernels are padded, too.

    Returns:
        The results, and for each whether it comes of the image.
    """
    inner, known = jaxpr.jaxpr, {}
    known.update(zip(inner.constvars, ((each, False) for each in jaxpr.consts), strict=True))
    known.update(zip(inner.invars, zip(arguments, of_image, strict=True), strict=True))

    def read(variables):
        pairs = [(v.val, False) if hasattr(v, "val") else known[v] for v in variables]
        return [value for value, _ in pairs], [flag for _, flag in pairs]

    for step in inner.eqns:
        given, flags = read(step.invars)
        part = step.params.get("jaxpr" if step.primitive.name in ("jit", "pjit") else "call_jaxpr")
        if hasattr(part, "jaxpr"):
            results = zip(*_run(part, given, flags, extents), strict=True)
        else:
            if step.primitive.name in _BEYOND and flags[0]:
                given[0] = extents.mask(given[0], _BEYOND[step.primitive.name])
            results = [(result, any(flags)) for result in _bound(step, given)]
        known.update(zip(step.outvars, results, strict=True))
    return read(inner.outvars)


def _bound(step, given):
    """The results of one of JAX's operations."""
    parameters, functions = step.primitive.get_bind_params(step.params), ()
    if isinstance(parameters, tuple):  # before JAX 0.10
        functions, parameters = parameters
    results = step.primitive.bind(*functions, *given, **parameters)
    return results if step.primitive.multiple_results else [results]


# What these hold beyond a map's border, by the names of JAX's operations.
_BEYOND = {
    "conv_general_dilated": 0,
    "pad": 0,
    "reduce_window_sum": 0,
    "reduce_window_max": -math.inf,
    "reduce_window_min": math.inf,
}
