"""Detections: what the box head makes of the proposals, and each detection's own mask."""

import keras
from keras import ops

from keras_deepskip import _checks
from keras_deepskip.studies.rivals.mask_rcnn import boxes as box
from keras_deepskip.studies.rivals.mask_rcnn.non_max_suppression import non_max_suppression

BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # of the second stage: the spread of its shifts is that small
CANDIDATES = 1000  # most boxes, of all classes, that suppression begins with


@keras.saving.register_keras_serializable(package="keras_deepskip")
class Detections(keras.layers.Layer):
    """Makes a fixed number of detections of the scores and shifts of all proposals.

    Each proposal is moved once for each class; what scores above the threshold is thinned out by
    non-maximum suppression within its class, and the best of all classes are kept. (Suppression
    begins with the best 1,000 boxes.)

    Args:
        count: number of detections.
        score_threshold: least score of a detection.
        iou_threshold: above which the lower one of two detections of a class falls away.

    Input shape: a list: logits of the classes (N R, 1 + O), background first; shifts (N R, 4 O);
        proposals (N, R, 4); and the image (N, H, W, any).
    Output shape: (N, count, 6): top, left, bottom, right in pixels of the image, score, and class
        1..O; all zeros in slots without a detection, which are at the end. In training, where
        nobody looks, (N, 1, 6).
    """

    def __init__(self, count=100, score_threshold=0.05, iou_threshold=0.5, **arguments):
        super().__init__(**{"dtype": "float32", **arguments})
        self.count = _checks.check_integer("count", count)
        self.score_threshold = _checks.check_number("score_threshold", score_threshold, 0, 1)
        self.iou_threshold = _checks.check_number("iou_threshold", iou_threshold, 0, 1)

    def call(self, inputs, training=None):
        logits, deltas, proposals, image = map(ops.stop_gradient, inputs)
        batch, count = ops.shape(proposals)[:2]
        classes = logits.shape[-1] - 1
        scores = ops.reshape(ops.softmax(logits, axis=-1), (batch, count, classes + 1))[..., 1:]
        deltas = ops.reshape(deltas, (batch, count, classes, 4))
        boxes = box.decode(deltas, proposals[:, :, None], BOX_WEIGHTS)
        boxes = box.clip(boxes, *ops.shape(image)[1:3])  # (N, R, O, 4)
        real = box.is_box(boxes) & box.is_box(proposals)[..., None]
        scores = ops.where(real & (scores > self.score_threshold), scores, box.EMPTY)
        boxes, scores = ops.reshape(boxes, (batch, -1, 4)), ops.reshape(scores, (batch, -1))
        found = self._kept(boxes, scores, classes)
        return found[:, :1] if training else found

    def _kept(self, boxes, scores, classes):
        """The detections of boxes (N, R O, 4) and scores (N, R O), the classes side by side."""
        scores, places = box.best(scores, CANDIDATES)
        boxes, label = box.rows(boxes, places), ops.cast(places % classes + 1, "float32")
        stays = non_max_suppression(boxes, scores, self.iou_threshold, label)
        scores = ops.where(stays, scores, box.EMPTY)
        table = ops.concatenate([boxes, scores[..., None], label[..., None]], axis=-1)
        scores, places = box.best(scores, self.count)
        table = ops.where(scores[..., None] > box.EMPTY, box.rows(table, places), 0.0)
        return box.filled_up(table, self.count)

    def compute_output_shape(self, input_shape):
        return (input_shape[2][0], self.count, 6)

    def get_config(self):
        return {
            **super().get_config(),
            "count": self.count,
            "score_threshold": self.score_threshold,
            "iou_threshold": self.iou_threshold,
        }


@keras.saving.register_keras_serializable(package="keras_deepskip")
class MasksOfClass(keras.layers.Layer):
    """Picks of each detection's masks, one a class, that of its own class, as probabilities.

    Input shape: a list: logits (N D, m, m, O), and detections (N, D, 6) as of `Detections`.
    Output shape: (N, D, m, m).
    """

    def __init__(self, name=None, dtype="float32", **arguments):
        super().__init__(name=name, dtype=dtype, **arguments)

    def call(self, inputs):
        logits, detections = inputs
        return ops.sigmoid(of_class(logits, detections[..., 5]))

    def compute_output_shape(self, input_shape):
        (_, *size, _), (batch, count, _) = input_shape
        return (batch, count, *size)


def of_class(values, labels):
    """Picks what belongs to each one's class.

    Args:
        values: (N R, ..., O), of each class.
        labels: (N, R) float, the class 1..O; of any other the result is 0.

    Returns:
        Tensor (N, R, ...).
    """
    classes = values.shape[-1]
    batch, count = ops.shape(labels)
    values = ops.reshape(values, (batch, count, *values.shape[1:]))
    own = ops.one_hot(ops.cast(labels, "int32") - 1, classes, dtype=values.dtype)
    own = ops.reshape(own, (batch, count, *[1] * (len(values.shape) - 3), classes))
    return ops.sum(values * own, axis=-1)
