"""The network with what `fit` needs beside it, and the network back out of that."""

import keras

from keras_deepskip import _checks
from keras_deepskip.studies.rivals.mask_rcnn.losses import BoxLoss, MaskLoss, RegionLoss
from keras_deepskip.studies.rivals.mask_rcnn.network import Heads, apply_box_head, apply_mask_head
from keras_deepskip.studies.rivals.mask_rcnn.roi_align import ROIAlign
from keras_deepskip.studies.rivals.mask_rcnn.targets import TrainingBoxes, TrueBoxes

POSITIVE_SHARE = 0.25  # of the boxes that the heads learn from; these the mask head sees


def training_model(model, max_instances=100, boxes=512, anchors=256, seed=0):
    """Returns Mask R-CNN as a model that `fit` trains, of the very same layers.

    Its inputs are a dict of `"image"`, (N, H, W, C), and `"instances"`, (N, H, W, 2): class and
    number of the object at each pixel, as `instances_from_masks` gives. The losses are inside;
    compile it without one. The output is the semantic mask, for metrics in validation; in training
    it is zeros, as the branch to it is not computed then.

    Args:
        model: a network of `mask_rcnn`.
        max_instances: highest number of an object in an image; those above are taken for
            background.
        boxes: number sampled from an image's proposals for the heads, a quarter of them on objects
            at most.
        anchors: number sampled from an image's anchors, half of them on objects at most.
        seed: of these draws.

    Returns:
        A `keras.Model`, not compiled.

    Raises:
        ValueError: if `model` is no such network, or an argument is out of range.

    Example:

    ```python
    trained = training_model(model)
    trained.compile("adam", metrics=[keras_deepskip.metrics.IoU()])
    trained.fit(InstanceDataset(dataset), epochs=20)
    ```
    """
    check_network(model)
    _checks.check_integer("boxes", boxes, minimum=4)
    image, semantic = model.inputs[0], model.outputs[0]
    regions, aligned = model.get_layer("rpn_proposals"), model.get_layer("box_align")
    heads = Heads.of(model)
    objects = heads.mask[-1].filters
    instances = keras.Input((*image.shape[1:3], 2), dtype="int32", name="instances")
    truth = TrueBoxes(max_instances, objects, name="training_truth")(instances)
    semantic = RegionLoss(
        regions.anchor_sizes, regions.anchor_ratios, regions.first_stride, anchors, seed,
        name="training_region_loss",
    )([semantic, *regions.input[:-1], truth])  # fmt: skip
    rois = TrainingBoxes(boxes, POSITIVE_SHARE, seed=seed + 1, name="training_boxes")(
        [regions.output, truth]
    )  # (N, S, 6)
    pyramid = aligned.input[:-1]
    logits, shifts = apply_box_head(heads, _again(aligned)([*pyramid, rois]))
    semantic = BoxLoss(name="training_box_loss")([semantic, logits, shifts, rois, truth])
    rois = rois[:, : max(int(boxes * POSITIVE_SHARE), 1)]  # those on objects come first
    masks = apply_mask_head(heads, _again(model.get_layer("mask_align"))([*pyramid, rois]))
    semantic = MaskLoss(max_instances, objects, name="training_mask_loss")(
        [semantic, masks, rois, instances]
    )
    inputs = {"image": image, "instances": instances}
    return keras.Model(inputs, semantic, name=f"{model.name}_training")


def _again(layer):
    """A layer of the same settings, for the other boxes."""
    config = layer.get_config()
    return ROIAlign.from_config({**config, "name": f"training_{config['name']}"})


def inference_model(model):
    """Returns the network from images to the semantic mask, of the very same layers.

    Args:
        model: what `training_model` gives, also when it was saved and loaded; or such a network
            itself.

    Raises:
        ValueError: if `model` is no such network.
    """
    check_network(model)
    outputs = model.get_layer("mask_paste").output
    return keras.Model(_image(model), outputs, name=model.name.removesuffix("_training"))


def _image(model):
    return model.get_layer("image").output


def finds_instances(model):
    """Tells whether a model is a network of `mask_rcnn`, or what `training_model` makes of one.

    Example:

    >>> finds_instances(keras_deepskip.build_model())
    False
    """
    names = {layer.name for layer in getattr(model, "layers", ())}
    return {"image", "rpn_proposals", "box_detections", "mask_of_class"} <= names


def check_network(model):
    """Refuses models that are not of `mask_rcnn` or `training_model`."""
    if not finds_instances(model):
        raise ValueError(
            "`model` must be a network of the architecture 'mask_rcnn'. "
            f"Received: {type(model).__name__} {getattr(model, 'name', model)!r}"
        )
