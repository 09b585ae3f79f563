"""Mask R-CNN: finds objects one by one, each with its box, class, score and mask."""

import dataclasses

import keras
from keras import layers

from keras_deepskip import _checks
from keras_deepskip.architectures.frame import Frame
from keras_deepskip.encoders import build_encoder
from keras_deepskip.layers import FanInNormal
from keras_deepskip.layers.conv_block import plain_conv
from keras_deepskip.studies.rivals.mask_rcnn.detections import Detections, MasksOfClass
from keras_deepskip.studies.rivals.mask_rcnn.paste import PasteMasks
from keras_deepskip.studies.rivals.mask_rcnn.proposals import OutsideTraining, Proposals
from keras_deepskip.studies.rivals.mask_rcnn.roi_align import ROIAlign

BOX_BINS = 7
FINEST = 2  # level of the pyramid's finest map, P2: stride 4


def mask_rcnn(
    frame=Frame(),
    backbone="resnet50",
    weights=None,
    trainable_backbone=True,
    levels=None,
    base_filters=8,
    fpn_filters=256,
    fc_units=1024,
    mask_filters=256,
    mask_size=28,
    anchor_sizes=None,
    anchor_ratios=(0.5, 1.0, 2.0),
    canonical_size=224,
    proposals=1000,
    training_proposals=2000,
    detections=100,
    score_threshold=0.05,
    name=None,
):
    """Returns Mask R-CNN on a feature pyramid as a functional `keras.Model`.

    From images it gives a semantic mask, as every network here: `PasteMasks` reduces the detections
    to it. `instance_model` gives the detections themselves, and `training_model` is what `fit` can
    train; both share all weights with it.

    Args:
        frame: the images and the classes, a `Frame`; `keras_deepskip.build_model` makes one.
        backbone: any by name, or a model, as of `keras_deepskip.build_model`; its maps of stride 4
            and more are the pyramid's C2, C3, ... (of "resnet50" C2 to C5). One map is added at the
            coarse end by leaving out every other pixel.
        weights: of the backbone.
        trainable_backbone: whether it learns.
        levels: number of the backbone's levels, counted from stride 1; None takes all.
        base_filters: channels of a light backbone at full resolution.
        fpn_filters: channels of the pyramid's maps, and of the region proposal network.
        fc_units: of the two dense layers of the box head.
        mask_filters: channels of the mask head.
        mask_size: pixels of a mask along each side, even.
        anchor_sizes: side of the anchors of each map in pixels, the finest first; None takes twice
            the strides, 8, 16, ... for small objects (the paper's are 32, 64, 128, 256, 512).
        anchor_ratios: height / width of the anchors.
        canonical_size: side in pixels of the box that the heads look at in P4.
        proposals: boxes that the heads look at; in training, `training_proposals`, of which a
            random sample is taken.
        detections: most objects of an image.
        score_threshold: least score of one.
        name: name of the model.

    Returns:
        A `keras.Model` from (N, H, W, C) to (N, H, W, num_classes).

    Raises:
        ValueError: if an argument is out of range.

    Example:

    >>> mask_rcnn(Frame((None, None, 1)), "light_resnet34", fpn_filters=8).output_shape
    (None, None, None, 1)

    Source: K. He, G. Gkioxari, P. Dollar, R. Girshick, Mask R-CNN, ICCV 2017; T.-Y. Lin et al.,
    Feature Pyramid Networks for Object Detection, CVPR 2017.
    """
    frame.check_images("mask_rcnn")
    _check(trainable_backbone, mask_size, fpn_filters, fc_units, mask_filters)
    encoder = build_encoder(
        backbone, frame.input_shape, levels, base_filters, weights=weights,
        trainable_backbone=trainable_backbone,
    )  # fmt: skip
    if encoder.levels <= FINEST:
        raise ValueError(
            f"`levels` must be at least {FINEST + 1}: the pyramid begins at stride 4. "
            f"Received: levels={encoder.levels}"
        )
    stride = 2 ** (encoder.levels - 1)
    image, x = frame.open(stride, encoder.preprocessing)
    # Finer maps are left out of the model: nothing looks at them, but for what the others need.
    pyramid = _pyramid(encoder.maps(x)[FINEST:], fpn_filters)
    sizes = _anchor_sizes(anchor_sizes, len(pyramid))
    scores, deltas = _regions(pyramid, fpn_filters, len(anchor_ratios))
    found = Proposals(
        proposals, training_proposals, sizes, _ratios(anchor_ratios), name="rpn_proposals"
    )([*scores, *deltas, image])  # (N, R, 4)
    rois = OutsideTraining(name="box_outside_training")(found)
    objects = frame.num_classes - (frame.num_classes > 1 and frame.activation != "sigmoid")
    heads = make_heads(objects, fc_units, mask_filters)
    aligned = ROIAlign(BOX_BINS, canonical_size=canonical_size, name="box_align")
    logits, shifts = apply_box_head(heads, aligned([*pyramid[:-1], rois]))
    table = Detections(detections, score_threshold, name="box_detections")(
        [logits, shifts, rois, image]
    )  # (N, D, 6)
    aligned = ROIAlign(mask_size // 2, canonical_size=canonical_size, name="mask_align")
    masks = apply_mask_head(heads, aligned([*pyramid[:-1], table]))
    masks = MasksOfClass(name="mask_of_class")([masks, table])  # (N, D, m, m)
    outputs = PasteMasks(frame.num_classes, frame.activation, name="mask_paste")(
        [masks, table, image]
    )
    model = keras.Model(image, outputs, name=name or f"mask_rcnn_{encoder.name}")
    encoder.finish(model)
    return model


def _check(trainable_backbone, mask_size, *widths):
    _checks.check_choice("trainable_backbone", trainable_backbone, (True, False))
    for name, width in zip(("fpn_filters", "fc_units", "mask_filters"), widths, strict=True):
        _checks.check_integer(name, width)
    if _checks.check_integer("mask_size", mask_size, minimum=2) % 2:
        raise ValueError(f"`mask_size` must be even. Received: mask_size={mask_size}")


def _anchor_sizes(given, count):
    if given is None:
        return [2.0 * 2 ** (FINEST + level) for level in range(count)]
    sizes = [_checks.check_number("anchor_sizes", size, 1e-3, 1e6) for size in given]
    if len(sizes) != count:
        raise ValueError(
            f"`anchor_sizes` must have {count} entries, one for each map of the pyramid, the "
            f"finest first. Received: anchor_sizes={tuple(given)}"
        )
    return sizes


def _ratios(given):
    return [_checks.check_number("anchor_ratios", ratio, 1e-3, 1e3) for ratio in given]


def _pyramid(maps, filters):
    """P2, P3, ...: each of a backbone's maps, and what all coarser ones know; and one more."""
    merged, found = None, []
    for level, x in reversed(list(enumerate(maps, start=FINEST))):
        lateral = _linear(filters, 1, f"fpn_lateral{level}")(x)
        if merged is not None:
            above = layers.UpSampling2D(2, name=f"fpn_up{level}")(merged)
            lateral = layers.Add(name=f"fpn_add{level}")([lateral, above])
        merged = lateral
        found.insert(0, _linear(filters, 3, f"fpn_out{level}")(merged))  # (N, H/2^l, W/2^l, C)
    coarsest = layers.MaxPooling2D(1, 2, name=f"fpn_out{FINEST + len(maps)}")
    return [*found, coarsest(found[-1])]


def _linear(filters, size, name):
    return plain_conv(filters, size, rectified=False, use_bias=True, name=name)


def _small(kind, *arguments, name):
    """A layer that begins with outputs near 0, in float32: scores and shifts."""
    return kind(*arguments, kernel_initializer=FanInNormal(0.01), dtype="float32", name=name)


def _regions(pyramid, filters, anchors):
    """The region proposal network, the same on each map: scores and shifts of the anchors."""
    conv = plain_conv(filters, 3, use_bias=True, activation="relu", name="rpn_conv")
    score = _small(layers.Conv2D, anchors, 1, name="rpn_scores")
    shift = _small(layers.Conv2D, 4 * anchors, 1, name="rpn_shifts")
    hidden = [conv(x) for x in pyramid]
    return [score(x) for x in hidden], [shift(x) for x in hidden]


# --- Heads ----------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Heads:
    """The layers that look at boxes, in order; in training they are called on other boxes too."""

    hidden: list  # of the box head
    scores: layers.Layer
    shifts: layers.Layer
    mask: list

    @staticmethod
    def of(model):
        """Those of a built network."""
        names = [layer.name for layer in model.layers]
        return Heads(
            [model.get_layer(name) for name in BOX_HIDDEN],
            model.get_layer("box_scores"),
            model.get_layer("box_shifts"),
            [model.get_layer(name) for name in MASK_LAYERS if name in names],
        )


BOX_HIDDEN = ("box_flat", "box_fc1", "box_fc2")
MASK_LAYERS = (*(f"mask_conv{i}" for i in range(1, 5)), "mask_up", "mask_logits")


def make_heads(objects, fc_units, mask_filters):
    """The box head: two dense layers; the mask head: four convolutions and an upsampling."""
    relu = {"activation": "relu", "kernel_initializer": FanInNormal(2.0)}
    hidden = [
        layers.Flatten(name="box_flat"),
        layers.Dense(fc_units, **relu, name="box_fc1"),
        layers.Dense(fc_units, **relu, name="box_fc2"),
    ]
    mask = [
        plain_conv(mask_filters, 3, use_bias=True, activation="relu", name=name)
        for name in MASK_LAYERS[:4]
    ]
    mask.append(layers.Conv2DTranspose(mask_filters, 2, 2, **relu, name="mask_up"))
    mask.append(_small(layers.Conv2D, objects, 1, name="mask_logits"))
    return Heads(
        hidden,
        _small(layers.Dense, objects + 1, name="box_scores"),
        _small(layers.Dense, 4 * objects, name="box_shifts"),
        mask,
    )


def apply_box_head(heads, x):
    """(N R, 7, 7, C) to logits (N R, 1 + O) and shifts (N R, 4 O)."""
    for layer in heads.hidden:
        x = layer(x)
    return heads.scores(x), heads.shifts(x)


def apply_mask_head(heads, x):
    """(N R, m/2, m/2, C) to logits (N R, m, m, O)."""
    for layer in heads.mask:
        x = layer(x)
    return x
