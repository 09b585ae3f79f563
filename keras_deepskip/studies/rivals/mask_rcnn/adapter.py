"""How `train` trains Mask R-CNN: in its training form, object by object."""

import keras
import numpy as np

from keras_deepskip.architectures import TrainingAdapter
from keras_deepskip.studies.rivals.mask_rcnn.batches import InstanceDataset
from keras_deepskip.studies.rivals.mask_rcnn.instance_outputs import instance_mask, instance_model
from keras_deepskip.studies.rivals.mask_rcnn.training_form import (
    finds_instances,
    inference_model,
    training_model,
)

# Boxes of a crop that the heads learn from. The paper's 512 are of whole photographs of a million
# pixels; a crop has room for few objects, and the heads take most of the time.
BOXES = 64


class MaskRCNNAdapter(TrainingAdapter):
    """Trains `training_model` of the network, on masks whose objects are numbered."""

    computes_loss = True
    of_objects = True

    def fits(self, model):
        return finds_instances(model)

    def training_form(self, network):
        return training_model(network, boxes=BOXES)

    def network(self, trained):
        return inference_model(trained)

    def dataset(self, dataset, ignore_class=None):
        return InstanceDataset(dataset, ignore_class=ignore_class)

    def object_finder(self, network):
        instances = instance_model(network)

        def find(image):
            found = instances.predict_on_batch(image[None].astype("float32"))
            first = {name: keras.ops.convert_to_numpy(own)[0] for name, own in found.items()}
            # Score x mask above the threshold, as in the semantic mask: all of it has a number
            return lambda threshold: instance_mask(
                first, *image.shape[:2], threshold, threshold, weighted=True
            )[0]

        return find

    def inputs(self, images):
        return {"image": images, "instances": np.zeros((*images.shape[:3], 2), "int32")}

    def callbacks(self):
        return [LossAlone()]


class LossAlone(keras.callbacks.Callback):
    """Takes the metrics of the training out of the logs, all but the loss.

    Mask R-CNN gives no mask while it trains (it would cost more than the training), so metrics of
    training batches would be of masks that are not there.
    """

    def on_epoch_end(self, epoch, logs=None):
        for name in [name for name in logs if name != "loss" and not name.startswith("val_")]:
            del logs[name]
