"""Losses of Mask R-CNN, each a layer that adds its own and passes the semantic mask on.

They are added outside of training too, so that `evaluate` and `val_loss` show what training does;
the samples that they are computed on are always the same there.
"""

import keras
from keras import ops

from keras_deepskip import _checks
from keras_deepskip.studies.rivals.mask_rcnn import boxes as box
from keras_deepskip.studies.rivals.mask_rcnn.anchors import all_anchors
from keras_deepskip.studies.rivals.mask_rcnn.detections import BOX_WEIGHTS, of_class
from keras_deepskip.studies.rivals.mask_rcnn.targets import (
    draws,
    mask_targets,
    matched,
    object_numbers,
    sampled,
)


def binary_crossentropy(logits, truth):
    """-t log s(x) - (1 - t) log(1 - s(x)), of any size of x."""
    return ops.maximum(logits, 0.0) - logits * truth + ops.log1p(ops.exp(-ops.abs(logits)))


def smooth_l1(difference, beta):
    """d^2 / (2 beta) up to |d| = beta, then |d| - beta / 2."""
    size = ops.abs(difference)
    return ops.where(size < beta, 0.5 * size**2 / beta, size - 0.5 * beta)


def mean_of(values, weights, count=None):
    """The sum of weighted values, divided by that of the weights (of others if given)."""
    total = ops.sum(weights if count is None else count)
    return ops.sum(values * weights) / ops.maximum(total, 1.0)


class PassingLoss(keras.layers.Layer):
    """A layer of several inputs that adds a loss, and whose output is the first input."""

    def __init__(self, name=None, dtype="float32", **arguments):
        super().__init__(name=name, dtype=dtype, **arguments)

    def compute_output_shape(self, input_shape):
        return input_shape[0]


@keras.saving.register_keras_serializable(package="keras_deepskip")
class RegionLoss(PassingLoss):
    """The loss of the region proposals: is it an object, and where are its edges.

    An anchor is right if it overlaps an object by 0.7, or overlaps one as much as the best anchor
    does; wrong if it overlaps each by less than 0.3. Of either a random sample is taken.

    Args:
        anchor_sizes, anchor_ratios, first_stride: as of `Proposals`.
        count: anchors that are sampled from an image, at most half of them right.
        seed: of the draws.

    Input shape: a list: the mask, which passes; scores of L maps (N, H_l, W_l, A); their shifts
        (N, H_l, W_l, 4 A); the true boxes (N, G, 5).

    Source: S. Ren et al., Faster R-CNN, 2015, section 3.1.2.
    """

    RIGHT, WRONG, BETA = 0.7, 0.3, 1 / 9

    def __init__(self, anchor_sizes, anchor_ratios, first_stride=4, count=256, seed=0, **arguments):
        super().__init__(**arguments)
        self.anchor_sizes = list(anchor_sizes)
        self.anchor_ratios = list(anchor_ratios)
        self.first_stride = _checks.check_integer("first_stride", first_stride)
        self.count = _checks.check_integer("count", count)
        self.seed = _checks.check_integer("seed", seed, minimum=0)
        self.seeds = keras.random.SeedGenerator(self.seed)

    def call(self, inputs, training=None):
        passing, *maps, truth = inputs
        levels = len(self.anchor_sizes)
        batch = ops.shape(passing)[0]
        logits = ops.concatenate([ops.reshape(x, (batch, -1)) for x in maps[:levels]], axis=1)
        deltas = [ops.reshape(x, (batch, -1, 4)) for x in maps[levels:]]
        deltas = ops.concatenate(deltas, axis=1)  # (N, M, 4)
        anchors = all_anchors(
            maps[:levels], self.first_stride, self.anchor_sizes, self.anchor_ratios
        )
        right, wrong, whose = anchor_truth(anchors, truth, self.RIGHT, self.WRONG)
        chances = draws(ops.shape(logits), self.seeds, training)
        places, used = sampled(right, wrong, chances, self.count, 0.5)
        used = ops.cast(used, "float32")
        positive = box.entries(ops.cast(right, "float32"), places) * used
        loss = mean_of(binary_crossentropy(box.entries(logits, places), positive), used)
        expected = box.rows(truth[..., :4], box.entries(whose, places))
        expected = box.encode(expected, ops.take(anchors, places, axis=0))
        shift = smooth_l1(box.rows(deltas, places) - ops.stop_gradient(expected), self.BETA)
        self.add_loss(loss + mean_of(ops.sum(shift, axis=-1), positive, used))
        return passing

    def get_config(self):
        return {
            **super().get_config(),
            "anchor_sizes": self.anchor_sizes,
            "anchor_ratios": self.anchor_ratios,
            "first_stride": self.first_stride,
            "count": self.count,
            "seed": self.seed,
        }


def anchor_truth(anchors, truth, right_from, wrong_below):
    """Which anchors (M, 4) are right and which are wrong, and whose each is: three (N, M)."""
    overlap, best, whose = matched(anchors[None], truth)
    of_object = ops.max(overlap, axis=1, keepdims=True)  # the best that any anchor does for it
    is_best = ops.any((overlap >= of_object - 1e-6) & (of_object > 0), axis=-1)
    right = (best >= right_from) | is_best
    return right, (best < wrong_below) & ops.logical_not(right), whose


@keras.saving.register_keras_serializable(package="keras_deepskip")
class BoxLoss(PassingLoss):
    """The loss of the box head: cross-entropy of the class, and of its box the smooth L1.

    Input shape: a list: the mask, which passes; logits (N S, 1 + O); shifts (N S, 4 O); the boxes
        that they are of and the truth, (N, S, 6) as of `TrainingBoxes`; the true boxes (N, G, 5).

    Source: R. Girshick, Fast R-CNN, 2015, section 2.3.
    """

    BETA = 1.0

    def call(self, inputs):
        passing, logits, deltas, rois, truth = inputs
        classes = logits.shape[-1]
        label = ops.reshape(rois[..., 4], (-1,))
        used, positive = (ops.cast(label >= low, "float32") for low in (0, 1))
        own = ops.one_hot(ops.cast(ops.maximum(label, 0.0), "int32"), classes, dtype="float32")
        loss = mean_of(-ops.sum(own * ops.log_softmax(logits, axis=-1), axis=-1), used)
        deltas = ops.swapaxes(ops.reshape(deltas, (-1, classes - 1, 4)), 1, 2)
        deltas = of_class(deltas, rois[..., 4])  # (N, S, 4)
        whose = ops.maximum(ops.cast(rois[..., 5], "int32") - 1, 0)
        expected = box.encode(box.rows(truth[..., :4], whose), rois[..., :4], BOX_WEIGHTS)
        shift = smooth_l1(deltas - ops.stop_gradient(expected), self.BETA)
        shift = ops.reshape(ops.sum(shift, axis=-1), (-1,))
        self.add_loss(loss + mean_of(shift, positive, used))
        return passing


@keras.saving.register_keras_serializable(package="keras_deepskip")
class MaskLoss(PassingLoss):
    """The loss of the mask head: binary cross-entropy of the mask of the true class alone.

    Args:
        max_instances, object_classes: as of `TrueBoxes`.

    Input shape: a list: the mask, which passes; logits (N P, m, m, O); the boxes that they are of,
        (N, P, 6) as of `TrainingBoxes`; and the map of instances (N, H, W, 2).

    Source: K. He et al., Mask R-CNN, 2017, section 3.
    """

    def __init__(self, max_instances, object_classes, **arguments):
        super().__init__(**{"autocast": False, **arguments})
        self.max_instances = _checks.check_integer("max_instances", max_instances)
        self.object_classes = _checks.check_integer("object_classes", object_classes)

    def call(self, inputs):
        passing, logits, rois, instances = inputs
        numbers = object_numbers(instances, self.max_instances, self.object_classes)
        own = ops.cast(rois[..., 5], "int32")
        expected = mask_targets(numbers, rois[..., :4], own, logits.shape[1])
        cost = binary_crossentropy(of_class(logits, rois[..., 4]), ops.stop_gradient(expected))
        positive = ops.cast(rois[..., 4] >= 1, "float32")
        self.add_loss(mean_of(ops.mean(cost, axis=(2, 3)), positive))
        return passing

    def get_config(self):
        return {
            **super().get_config(),
            "max_instances": self.max_instances,
            "object_classes": self.object_classes,
        }
