"""Non-maximum suppression: of boxes that overlap, the one of the highest score."""

import keras
from keras import ops

from keras_deepskip import _checks
from keras_deepskip.studies.rivals.mask_rcnn import boxes as box


@keras.saving.register_keras_serializable(package="keras_deepskip")
class NonMaxSuppression(keras.layers.Layer):
    """Tells which boxes stay when each suppresses those of lower scores that it overlaps.

    The result is that of the greedy rule: boxes are looked at from the highest score on (of equal
    scores, in their order), and one stays if it overlaps none that stayed before. It is computed
    for all boxes at once, in as many rounds as the longest chain of suppression, on lists of fixed
    length.

    Args:
        iou_threshold: intersection over union above which a box is suppressed.

    Input shape: a list: boxes (N, K, 4), and scores (N, K); and, where boxes suppress only those of
        their own group, such as a class, the groups (N, K).
    Output shape: (N, K), boolean: whether the box stays.

    Raises:
        ValueError: if `iou_threshold` is not in [0, 1].

    Example:

    >>> boxes = np.array([[[0, 0, 4, 4], [0, 0, 4, 5], [5, 5, 9, 9]]], "float32")
    >>> np.array(NonMaxSuppression(0.5)([boxes, np.array([[0.8, 0.9, 0.7]])])).tolist()
    [[False, True, True]]
    """

    def __init__(self, iou_threshold=0.5, **arguments):
        super().__init__(**{"dtype": "float32", **arguments})
        self.iou_threshold = _checks.check_number("iou_threshold", iou_threshold, 0, 1)

    def call(self, inputs):
        return non_max_suppression(inputs[0], inputs[1], self.iou_threshold, *inputs[2:])

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs[1].shape, "bool")

    def get_config(self):
        return {**super().get_config(), "iou_threshold": self.iou_threshold}


def non_max_suppression(boxes, scores, iou_threshold, groups=None):
    """See `NonMaxSuppression`: (N, K, 4), (N, K), a number, and (N, K) or None to (N, K), bool."""
    _refuse_traces()
    boxes, scores = ops.stop_gradient(boxes), ops.stop_gradient(scores)
    order = ops.cumsum(ops.ones_like(scores), axis=1)
    ahead = scores[:, :, None] > scores[:, None, :]
    equal = scores[:, :, None] == scores[:, None, :]
    ahead = ahead | (equal & (order[:, :, None] < order[:, None, :]))
    beats = (box.iou(boxes, boxes) > iou_threshold) & ahead  # (N, i, j): i suppresses j if it stays
    if groups is not None:
        beats = beats & (groups[:, :, None] == groups[:, None, :])
    beats = ops.cast(beats, "float32")

    def unsettled(stays, before):
        return ops.any(stays != before)

    def settle(stays, _before):
        beaten = ops.matmul(stays[:, None, :], beats)[:, 0]  # by how many that stay
        return ops.cast(beaten == 0, "float32"), stays

    # After round t the t first by score are settled, and nothing changes once all are.
    stays = ops.ones_like(scores, dtype="float32")
    stays, _ = ops.while_loop(unsettled, settle, (stays, ops.zeros_like(stays)))
    return stays > 0


def _refuse_traces():
    """A trace by PyTorch holds as many rounds as its sample took, and says no word of it."""
    if keras.backend.backend() != "torch":
        return
    import torch

    if torch.jit.is_tracing() or torch.compiler.is_exporting():
        raise NotImplementedError(
            "a network with non-maximum suppression cannot be written under PyTorch, whose files "
            "hold no loop of as many rounds as the boxes ask for. Load it with "
            "KERAS_BACKEND=tensorflow (SavedModel, ONNX, LiteRT) or jax (StableHLO), and export "
            "it there"
        )
