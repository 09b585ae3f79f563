"""What training goes by: boxes of the true objects, and samples of what is right and wrong."""

import keras
from keras import ops

from keras_deepskip import _checks
from keras_deepskip.studies.rivals.mask_rcnn import boxes as box
from keras_deepskip.studies.rivals.mask_rcnn.roi_align import crossed, taps


@keras.saving.register_keras_serializable(package="keras_deepskip")
class TrueBoxes(keras.layers.Layer):
    """Finds the box and the class of each object of a map of instances.

    Args:
        max_instances: G, the highest number of an object that is looked at.
        object_classes: O; pixels of other classes than 1..O are no object.

    Input shape: (N, H, W, 2), integers: class, and number of the object in its image, 1..G in any
        order and with gaps, 0 for the background.
    Output shape: (N, G, 5): top, left, bottom, right, class; zeros for numbers without an object.
    """

    def __init__(self, max_instances, object_classes, **arguments):
        super().__init__(**{"dtype": "float32", "autocast": False, **arguments})
        self.max_instances = _checks.check_integer("max_instances", max_instances)
        self.object_classes = _checks.check_integer("object_classes", object_classes)

    def call(self, inputs):
        batch, height, width, _ = ops.shape(inputs)
        numbers = object_numbers(inputs, self.max_instances, self.object_classes)
        slots = self.max_instances + 1  # an image's; the first is the background's
        slot = numbers + ops.arange(batch, dtype="int32")[:, None, None] * slots
        y = ops.cast(ops.arange(height, dtype="int32"), "float32")[None, :, None]
        x = ops.cast(ops.arange(width, dtype="int32"), "float32")[None, None, :]
        zeros = ops.zeros_like(ops.cast(numbers, "float32"))
        label = ops.cast(inputs[..., 0], "float32")
        values = [ops.reshape(v + zeros, (-1,)) for v in (-y, -x, y + 1, x + 1, label)]
        slot = ops.reshape(slot, (-1,))
        # of each object: the largest of its pixels' values; of empty slots the least of all numbers
        found = [ops.segment_max(v, slot, num_segments=batch * slots) for v in values]
        top, left, bottom, right, label = (ops.reshape(v, (batch, slots))[:, 1:] for v in found)
        table = ops.stack([-top, -left, bottom, right, label], axis=-1)  # (N, G, 5)
        return ops.stop_gradient(ops.where(label[..., None] >= 1, table, 0.0))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.max_instances, 5)

    def get_config(self):
        return {
            **super().get_config(),
            "max_instances": self.max_instances,
            "object_classes": self.object_classes,
        }


def object_numbers(instances, max_instances, object_classes):
    """The numbers of a map of instances (N, H, W, 2), 0 where no object is that counts."""
    label, number = (ops.cast(instances[..., i], "int32") for i in range(2))
    known = (label >= 1) & (label <= object_classes) & (number >= 1) & (number <= max_instances)
    return ops.where(known, number, 0)


# --- Samples --------------------------------------------------------------------------------------


def matched(boxes, truth):
    """How well boxes fit the true ones.

    Args:
        boxes: (N, M, 4).
        truth: (N, G, 5), as of `TrueBoxes`.

    Returns:
        The overlaps (N, M, G), 0 with empty slots; the best of each box (N, M); and whose it is,
        (N, M), int32.
    """
    overlap = box.iou(boxes, truth[..., :4])
    return overlap, ops.max(overlap, axis=-1), ops.cast(ops.argmax(overlap, axis=-1), "int32")


def sampled(right, wrong, chances, count, share):
    """Draws a fixed number of boxes, at most a share of them right.

    Args:
        right, wrong: (N, M), boolean; a box may be neither.
        chances: (N, M), draws in [0, 1).
        count: S, number of boxes.
        share: most of them that are right; wrong ones take the place of those that are missing.

    Returns:
        Places (N, S), right ones first, and whether a box stands there (N, S), boolean: where there
        are fewer than S, the last do not. S is smaller where there are fewer boxes at all.
    """
    keys, _ = box.best(ops.where(right, chances, -1.0), max(int(count * share), 1))
    least = ops.min(keys, axis=1, keepdims=True)  # below 0 if all right ones find room
    chosen = right & (chances >= least)
    keys = ops.where(chosen, chances + 2, ops.where(wrong, chances, -1.0))
    keys, places = box.best(keys, count)
    return places, keys >= 0


def draws(shape, seeds, training):
    """Uniform draws; outside of training always the same."""
    return keras.random.uniform(shape, seed=seeds if training else 0)


@keras.saving.register_keras_serializable(package="keras_deepskip")
class TrainingBoxes(keras.layers.Layer):
    """Draws the boxes that the heads learn from: of the proposals, and the true ones beside them.

    Args:
        count: S, boxes of an image.
        share: most of them that are on an object.
        iou_threshold: from which a box is on an object.
        seed: of the draws in training; outside of it they are always the same.

    Input shape: a list: proposals (N, R, 4), and the true boxes (N, G, 5).
    Output shape: (N, S, 6): top, left, bottom, right; the class 1..O, 0 for the background, -1 in
        slots that are not used; and the number 1..G of the object. Boxes on an object come first.
    """

    def __init__(self, count=512, share=0.25, iou_threshold=0.5, seed=0, **arguments):
        super().__init__(**{"dtype": "float32", **arguments})
        self.count = _checks.check_integer("count", count)
        self.share = _checks.check_number("share", share, 0, 1)
        self.iou_threshold = _checks.check_number("iou_threshold", iou_threshold, 0, 1)
        self.seed = _checks.check_integer("seed", seed, minimum=0)
        self.seeds = keras.random.SeedGenerator(self.seed)

    def call(self, inputs, training=None):
        proposals, truth = map(ops.stop_gradient, inputs)
        boxes = ops.concatenate([proposals, truth[..., :4]], axis=1)
        _, overlap, whose = matched(boxes, truth)
        real, on_object = box.is_box(boxes), overlap >= self.iou_threshold
        chances = draws(ops.shape(overlap), self.seeds, training)
        places, used = sampled(
            real & on_object, real & ops.logical_not(on_object), chances, self.count, self.share
        )
        positive = box.entries(ops.cast(on_object, "float32"), places) * ops.cast(used, "float32")
        whose = box.entries(whose, places)
        label = box.rows(truth, whose)[..., 4] * positive - ops.cast(
            ops.logical_not(used), "float32"
        )
        number = ops.cast(whose + 1, "float32") * positive
        table = ops.concatenate(
            [box.rows(boxes, places), label[..., None], number[..., None]], axis=-1
        )
        missing = ops.convert_to_tensor([0.0, 0.0, 0.0, 0.0, -1.0, 0.0])
        table = table - missing  # so that slots filled up with zeros are unused ones
        return ops.stop_gradient(box.filled_up(table, self.count) + missing)

    def compute_output_shape(self, input_shape):
        return (input_shape[0][0], self.count, 6)

    def get_config(self):
        return {
            **super().get_config(),
            "count": self.count,
            "share": self.share,
            "iou_threshold": self.iou_threshold,
            "seed": self.seed,
        }


def mask_targets(numbers, boxes, own, size):
    """What the mask of each box should be.

    Args:
        numbers: numbers of the objects at each pixel, (N, H, W), int32.
        boxes: (N, P, 4).
        own: (N, P), int32, the number of each box's object.
        size: m.

    Returns:
        Zeros and ones (N, P, m, m): where at least half of a bin of the box is the object.
    """
    batch, height, width = ops.shape(numbers)
    every = ops.zeros_like(own)
    rows, row_weights = taps(boxes[..., 0], boxes[..., 2], every + height, size, 2)
    columns, column_weights = taps(boxes[..., 1], boxes[..., 3], every + width, size, 2)
    first = ops.arange(batch, dtype="int32")[:, None] * (height * width)
    rows = rows * width + first[..., None, None]
    weights = crossed(ops.multiply, row_weights, column_weights)  # (N, P, m, m, 16)
    met = ops.take(ops.reshape(numbers, (-1,)), crossed(ops.add, rows, columns), axis=0)
    met = ops.cast(met == own[..., None, None, None], "float32")
    return ops.cast(ops.sum(met * weights, axis=-1) >= 0.5, "float32")
