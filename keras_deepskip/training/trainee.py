"""What `fit` works on: the network itself; of Mask R-CNN, the form that learns object by object."""

import keras
import numpy as np

from keras_deepskip.architectures import finds_instances, inference_model, training_model
from keras_deepskip.data import InstanceDataset

# Boxes of a crop that the heads learn from. The paper's 512 are of whole photographs of a million
# pixels; a crop has room for few objects, and the heads take most of the time.
BOXES = 64


def trainee_of(network):
    """Returns what `fit` trains: `network` itself, or its training form, of the same layers."""
    return training_model(network, boxes=BOXES) if finds_instances(network) else network


def network_of(trainee):
    """Returns the network from images to probabilities that is trained."""
    return inference_model(trainee) if finds_instances(trainee) else trainee


def batches_for(trainee, dataset, ignore_class=None):
    """Returns a dataset of (images, masks) as the trainee takes it."""
    if not finds_instances(trainee):
        return dataset
    return InstanceDataset(dataset, ignore_class=ignore_class)


def images_for(trainee, images):
    """Returns images (N, H, W, C) as the trainee takes them in `predict`."""
    if not finds_instances(trainee):
        return images
    return {"image": images, "instances": np.zeros((*images.shape[:3], 2), "int32")}


class LossAlone(keras.callbacks.Callback):
    """Takes the figures of the training out of the logs, all but the loss.

    Mask R-CNN gives no mask while it trains (it would cost more than the training), so metrics of
    training batches would tell of masks that are not there.
    """

    def on_epoch_end(self, epoch, logs=None):
        for name in [name for name in logs if name != "loss" and not name.startswith("val_")]:
            del logs[name]
