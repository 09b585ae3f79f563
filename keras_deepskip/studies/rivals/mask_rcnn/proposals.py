"""Regions that may hold an object: the best of the anchors, moved as the network says."""

import keras
from keras import ops

from keras_deepskip import _checks
from keras_deepskip.studies.rivals.mask_rcnn import boxes as box
from keras_deepskip.studies.rivals.mask_rcnn.anchors import anchor_shapes, anchors_at
from keras_deepskip.studies.rivals.mask_rcnn.non_max_suppression import non_max_suppression


@keras.saving.register_keras_serializable(package="keras_deepskip")
class Proposals(keras.layers.Layer):
    """Makes a fixed number of proposals of the scores and shifts of all anchors.

    Of each map the best anchors are taken and moved, cut at the image's edges, and thinned out by
    non-maximum suppression; of all maps together the best are kept. No gradient goes through.

    Args:
        count: proposals in inference, and most anchors taken of a map.
        training_count: likewise in training.
        anchor_sizes: side of the anchors of each map, in pixels, the finest map first.
        anchor_ratios: height / width of the anchors of a pixel.
        first_stride: of the first map; each further one has twice the one before.
        iou_threshold: above which the lower one of two proposals of one map falls away.

    Input shape: a list: the scores of L maps (N, H_l, W_l, A), their shifts (N, H_l, W_l, 4 A), and
        the image (N, H, W, any).
    Output shape: (N, count, 4); in training (N, training_count, 4). Slots without a proposal are
        boxes of no area, at the end.

    Source: S. Ren et al., Faster R-CNN, 2015; T.-Y. Lin et al., Feature Pyramid Networks, 2017.
    """

    def __init__(
        self,
        count,
        training_count,
        anchor_sizes,
        anchor_ratios,
        first_stride=4,
        iou_threshold=0.7,
        **arguments,
    ):
        super().__init__(**{"dtype": "float32", **arguments})
        self.count = _checks.check_integer("count", count)
        self.training_count = _checks.check_integer("training_count", training_count)
        self.anchor_sizes = list(anchor_sizes)
        self.anchor_ratios = list(anchor_ratios)
        self.first_stride = _checks.check_integer("first_stride", first_stride)
        self.iou_threshold = _checks.check_number("iou_threshold", iou_threshold, 0, 1)

    def call(self, inputs, training=None):
        *maps, image = inputs
        levels = len(self.anchor_sizes)
        count = self.training_count if training else self.count
        size = ops.shape(image)[1:3]
        found = [
            self._of_level(level, maps[level], maps[levels + level], size, count)
            for level in range(levels)
        ]
        boxes, scores = (ops.concatenate(parts, axis=1) for parts in zip(*found, strict=True))
        scores, places = box.best(scores, count)
        boxes = ops.where(scores[..., None] > box.EMPTY, box.rows(boxes, places), 0.0)
        return ops.stop_gradient(box.filled_up(boxes, count))

    def _of_level(self, level, scores, deltas, image_size, count):
        """Boxes and scores of one map's proposals; EMPTY for those that fall away."""
        scores, deltas = ops.stop_gradient(scores), ops.stop_gradient(deltas)
        batch, _, width, _ = ops.shape(scores)
        stride = self.first_stride * 2**level
        shapes = anchor_shapes(self.anchor_sizes[level], self.anchor_ratios)
        scores, places = box.best(ops.reshape(scores, (batch, -1)), count)
        deltas = box.rows(ops.reshape(deltas, (batch, -1, 4)), places)
        boxes = box.decode(deltas, anchors_at(places, width, stride, shapes))
        boxes = box.clip(boxes, *image_size)
        scores = ops.where(box.is_box(boxes), scores, box.EMPTY)
        stays = non_max_suppression(boxes, scores, self.iou_threshold)
        return boxes, ops.where(stays, scores, box.EMPTY)

    def compute_output_shape(self, input_shape):
        return (input_shape[0][0], None, 4)  # as many as the phase has

    def get_config(self):
        return {
            **super().get_config(),
            "count": self.count,
            "training_count": self.training_count,
            "anchor_sizes": self.anchor_sizes,
            "anchor_ratios": self.anchor_ratios,
            "first_stride": self.first_stride,
            "iou_threshold": self.iou_threshold,
        }


@keras.saving.register_keras_serializable(package="keras_deepskip")
class OutsideTraining(keras.layers.Layer):
    """Passes a list of boxes on; in training its first slot alone.

    What follows, the branch of inference, then costs next to nothing in training.

    Input shape: (N, R, 4).
    Output shape: the same; in training (N, 1, 4).
    """

    def __init__(self, name=None, dtype="float32", **arguments):
        super().__init__(name=name, dtype=dtype, **arguments)

    def call(self, inputs, training=None):
        return inputs[:, :1] if training else inputs

    def compute_output_shape(self, input_shape):
        return input_shape
