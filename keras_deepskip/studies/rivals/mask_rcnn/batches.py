"""Objects one by one, of masks that hold classes, or that hold objects already."""

import keras
import numpy as np

from keras_deepskip._checks import check_integer
from keras_deepskip.objects import label_objects


def instances_from_masks(masks, max_instances=None, ignore_class=None):
    """Numbers the objects of masks, as networks that find objects one by one are trained with.

    An object is a connected component of a class's pixels (8 neighbours), unless the masks say
    which pixel belongs to which. Components are numbered from the top row down.

    Args:
        masks: class ids (H, W), (N, H, W) or (N, H, W, 1), 0 for background; or class ids and
            numbers of objects, (N, H, W, 2), which are returned as they are.
        max_instances: None, or the highest number; components beyond it become background.
        ignore_class: None, or an id that is no object.

    Returns:
        Array (N, H, W, 2), or (H, W, 2) for one mask (H, W), int32: class, and number of the object
        in its image; zeros for background.

    Raises:
        ValueError: if `masks` have another shape or are no integers.

    Example:

    >>> instances_from_masks(np.array([[1, 0, 1], [1, 0, 2]]))[..., 1].tolist()
    [[1, 0, 2], [1, 0, 3]]
    """
    masks = np.asarray(masks)
    if masks.dtype.kind not in "iub" or masks.ndim not in (2, 3, 4) or _channels(masks) > 2:
        raise ValueError(
            "`masks` must be integers (H, W), (N, H, W), (N, H, W, 1), or with numbers of objects "
            f"(N, H, W, 2). Received: {masks.dtype} of shape {masks.shape}"
        )
    if max_instances is not None:
        check_integer("max_instances", max_instances)
    if _channels(masks) == 2:
        return masks.astype("int32")
    if masks.ndim == 2:
        return _numbered(masks, max_instances, ignore_class)
    masks = masks[..., 0] if masks.ndim == 4 else masks
    return np.stack([_numbered(mask, max_instances, ignore_class) for mask in masks])


def _channels(masks):
    return masks.shape[-1] if masks.ndim == 4 else 1


def _numbered(mask, max_instances, ignore_class):
    mask = mask.astype("int32")
    if ignore_class is not None:
        mask = np.where(mask == ignore_class, 0, mask)
    labels, count = label_objects(mask)
    first = np.full(count + 1, mask.size)  # the first pixel of each, which gives their order
    np.minimum.at(first, labels.ravel(), np.arange(mask.size))
    numbers = np.zeros(count + 1, "int32")
    numbers[1 + np.argsort(first[1:])] = np.arange(1, count + 1)
    if max_instances is not None:
        numbers[numbers > max_instances] = 0
    numbers = numbers[labels]
    return np.stack([np.where(numbers > 0, mask, 0), numbers], axis=-1)


class InstanceDataset(keras.utils.PyDataset):
    """Batches of another dataset, with the objects that `training_model` asks for.

    Args:
        dataset: one with a length and batches `(images, masks)`, with weights after them or not,
            such as `CropDataset` or `WindowDataset`; with their `objects=True` touching objects are
            several. Where it counts epochs, this one does, so that `FollowEpoch` works on either.
        max_instances: most objects of an image; see `instances_from_masks`.
        ignore_class: likewise; its pixels are background to the network's losses.

    Output: `({"image": images, "instances": (N, H, W, 2) int32}, masks)`, masks (N, H, W, 1) of
    class ids, and the weights after them.

    Example:

    ```python
    dataset = InstanceDataset(CropDataset(samples, crop_size=160))
    training_model(model).fit(dataset, epochs=20, shuffle=False)
    ```
    """

    def __init__(self, dataset, max_instances=100, ignore_class=None):
        super().__init__()
        self.dataset = dataset
        self.max_instances = check_integer("max_instances", max_instances)
        self.ignore_class = ignore_class

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        images, masks, *weights = self.dataset[index]
        if isinstance(masks, tuple):
            classes, numbers = masks
            found = np.concatenate([np.where(numbers > 0, classes, 0), numbers], axis=-1)
            return {"image": images, "instances": found}, classes, *weights
        found = instances_from_masks(masks, self.max_instances, self.ignore_class)
        classes = found[..., :1] if _channels(masks) == 2 else masks
        return {"image": images, "instances": found}, classes, *weights

    @property
    def epoch(self):
        """Number of the epoch whose batches come next, if the dataset counts them."""
        return self.dataset.epoch

    @epoch.setter
    def epoch(self, value):
        self.dataset.epoch = value

    def objects(self, index):
        """Which object each pixel of a batch is of, if the dataset says so; else None."""
        known = getattr(self.dataset, "objects", None)
        return known and known(index)

    def on_epoch_begin(self):
        """Keras calls this before an epoch."""
        self._forward("on_epoch_begin")

    def on_epoch_end(self):
        """Keras calls this after an epoch."""
        self._forward("on_epoch_end")

    def _forward(self, name):
        if hasattr(self.dataset, name):
            getattr(self.dataset, name)()
