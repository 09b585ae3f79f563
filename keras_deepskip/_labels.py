"""Masks that a loss or a metric is given: a value that is no class ends in an error that names it.

Where values can be seen (PyTorch; steps that are not compiled) it is raised at once. A compiled
step has symbols only, and cannot raise by itself:

- under JAX it calls back to the host, whose error ends the step;
- under TensorFlow `Assert` ends it; XLA leaves that out, and then the function around the compiled
  step raises before the next one;
- a metric raises in `result()`, which Keras asks for at the end of an epoch or an evaluation. If
  a metric counts the masks that a loss has found fault with, the loss leaves the error to it, as a
  plain ValueError reads better than a backend's.
"""

import contextlib
import itertools
import math
import weakref

import keras
import numpy as np
from keras import ops

NAMED = 5  # values that an error names
PATIENCE = 100  # steps that a loss leaves the error to a metric; loops of one's own may never ask
_numbers = itertools.count()


def refuse_strays(owner, y_true, counted, top, whole=True):
    """Raises if a mask holds a value that is no class, or has the compiled step do so.

    Args:
        owner: what the error calls the loss or the metric.
        y_true: float32 tensor of mask values.
        counted: tensor that broadcasts with it, true where a pixel counts.
        top: the largest class id.
        whole: whether values between two ids are none.

    Returns:
        A float32 tensor (3,): how many values are no class, the smallest and the largest of them.

    Raises:
        ValueError: if there are such values, and they can be seen.
    """
    known = ops.logical_and(y_true >= 0, y_true <= top)  # NaN is not
    if whole:
        known = ops.logical_and(known, y_true == ops.floor(y_true))
    stray = ops.logical_and(ops.logical_not(known), counted)
    if not seen(stray):
        values = ops.where(stray, y_true, 0.0)
        count = ops.sum(ops.cast(stray, "float32"))
        return ops.stack([count, ops.min(values), ops.max(values)])
    if bool(ops.any(stray)):
        values = ops.convert_to_numpy(y_true)[ops.convert_to_numpy(stray)]
        raise ValueError(message(owner, np.unique(values), top, whole))
    return ops.zeros((3,))


def message(owner, values, top, whole=True):
    """The error's text; of `values`, those that are classes are left out."""
    values = [v for v in map(float, values) if not 0 <= v <= top or (whole and v % 1)]
    named = ", ".join(f"{value:g}" for value in values[:NAMED])
    named += f" and {len(values) - NAMED} more" * (len(values) > NAMED)
    wanted = f"ids of classes, 0 to {top}" if whole else f"values from 0 to {top}"
    classes = [int(value) for value in values if top < value < math.inf and value == int(value)]
    if top > 1 and classes:
        fix = f"More classes need `num_classes={max(classes) + 1}` or more"
    elif top > 1:
        fix = "Correct the masks, or say in `num_classes` how many classes there are"
    else:
        fix = "Of a mask of 0 and 255 take `(mask > 0)`; several classes need `num_classes`"
    return (
        f"`{owner}` expected masks of {wanted}. Received: y_true with {named}. {fix}; values that "
        "are to count nowhere are named by `ignore_class`"
    )


def seen(tensor):
    """Whether a tensor has values now, and not only later, in a compiled step."""
    if isinstance(tensor, keras.KerasTensor):
        return False
    return _SEEN.get(keras.backend.backend(), lambda _: True)(tensor)


def _seen_jax(tensor):
    import jax

    return not isinstance(tensor, jax.core.Tracer)


def _seen_tensorflow(tensor):
    import tensorflow as tf

    # a trial run of Keras in a function, too, meets a metric's values of before
    return tf.executing_eagerly() and not tf.is_symbolic_tensor(tensor)


def _seen_torch(tensor):
    import torch

    return tensor.device.type != "meta" and not torch.compiler.is_exporting()


_SEEN = {"jax": _seen_jax, "tensorflow": _seen_tensorflow, "torch": _seen_torch}


# ---- Compiled steps: who raises ------------------------------------------------------------------


class _Latest:
    """The masks that a loss was last called with, and what reports on them."""

    def __init__(self):
        self.forget()

    def forget(self):
        self.masks, self.reports, self.inside = None, [], False

    def are(self, masks):
        return self.masks is not None and self.masks() is masks


_latest = _Latest()


@contextlib.contextmanager
def masks_of_a_loss(y_true):
    """Within it, `end_step` knows which masks are looked at: a metric may come that counts them."""
    if not _latest.are(y_true):
        _latest.forget()
        with contextlib.suppress(TypeError):  # an array of no backend
            _latest.masks = weakref.ref(y_true)
    _latest.inside = True
    try:
        yield
    finally:
        _latest.inside = False


def counted_by_a_metric(y_true):
    """A metric that raises in `result()` counts these masks."""
    if _latest.are(y_true):
        for report in _latest.reports:
            report.wait_for_a_metric()


def end_step(owner, found, top, whole):
    """Has a compiled step end in an error if values were found that are no class.

    Args:
        owner, top, whole: as in `refuse_strays`.
        found: what that gave, in a compiled step.
    """
    if seen(found) or isinstance(found, keras.KerasTensor):
        return
    report = _Report(owner, top, whole)
    if _latest.inside:
        _latest.reports.append(report)
    _TELL.get(keras.backend.backend(), lambda *_: None)(report, found)


class _Report:
    """What a compiled step tells the host."""

    def __init__(self, owner, top, whole):
        self.owner, self.top, self.whole = owner, top, whole
        self.patience = 0
        self.kept = self.excused = None  # of TensorFlow

    def wait_for_a_metric(self):
        self.patience = PATIENCE
        self.excuse()

    def excuse(self):
        """Tells TensorFlow's `Assert` how long to wait for a metric."""
        if self.excused is not None:
            import tensorflow as tf

            with tf.init_scope():
                value = tf.constant(float(self.patience))
                tf.raw_ops.AssignVariableOp(resource=self.excused, value=value)

    def text(self, values):
        return message(self.owner, np.unique(values), self.top, self.whole)

    def __call__(self, found):
        count, *values = np.asarray(found).tolist()
        if not count:
            return
        self.patience -= 1
        if self.patience < 0:
            raise ValueError(self.text(values))


def _tell_jax(report, found):
    import jax

    if jax.default_backend() not in ("cpu", "gpu", "tpu"):
        return  # no calls back to the host there
    jax.lax.cond(found[0] > 0, lambda f: jax.debug.callback(report, f), lambda f: None, found)


def _tell_tensorflow(report, found):
    import tensorflow as tf

    with tf.init_scope():  # plain resources: a function has no variables made after its first call
        report.kept, report.excused = _resource_tensorflow((3,)), _resource_tensorflow(())
        report.excuse()
    excused = tf.raw_ops.ReadVariableOp(resource=report.excused, dtype="float32")
    expected = f"`{report.owner}` expected masks of ids of classes, 0 to {report.top}. Received:"
    fine = tf.logical_or(found[0] <= 0, excused > 0)
    left = excused - tf.cast(found[0] > 0, "float32")
    tf.raw_ops.AssignVariableOp(resource=report.excused, value=left)
    tf.debugging.Assert(fine, [expected, "y_true with values from / to", found[1:]])
    around = getattr(tf.compat.v1.get_default_graph(), "outer_graph", None)
    if not hasattr(around, "outer_graph") or tf.distribute.has_strategy():
        return
    # XLA leaves `Assert` out: what was found is looked at in the function around the compiled step,
    # which comes to it before the next step.
    tf.raw_ops.AssignVariableOp(resource=report.kept, value=found)
    with around.as_default():
        kept = tf.raw_ops.ReadVariableOp(resource=report.kept, dtype="float32")

        def tell():
            with tf.control_dependencies([tf.py_function(report, [kept], [])]):
                return tf.constant(True)

        tf.cond(kept[0] > 0, tell, lambda: tf.constant(True))


def _resource_tensorflow(shape):
    import tensorflow as tf

    name = f"keras_deepskip_masks_{next(_numbers)}"
    handle = tf.raw_ops.VarHandleOp(dtype="float32", shape=shape, shared_name=name)
    tf.raw_ops.AssignVariableOp(resource=handle, value=tf.zeros(shape))
    return handle


_TELL = {"jax": _tell_jax, "tensorflow": _tell_tensorflow}
