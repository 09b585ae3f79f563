"""Object metrics during `fit`: a callback, since compiled steps cannot count objects."""

import copy
import re
import warnings

import keras
import numpy as np

from keras_deepskip import _checks, _sizes
from keras_deepskip.metrics.object_counts import ObjectCounts
from keras_deepskip.metrics.pixel import masks_from_outputs
from keras_deepskip.objects import separate_objects

ARRAY_BATCH = 8
INTEGERS = 255  # greatest value of 8 bits: from there on a range is that of an integer type


class ObjectMetricsCallback(keras.callbacks.Callback):
    """Puts object recall, precision and F1 on a held-out set into the logs of each epoch.

    At the end of the first epoch, of each `every`-th after it and of the last one, the model
    predicts the set batch by batch. Into `logs` go `val_object_recall`, `val_object_precision`,
    `val_object_f1`, and the recall of each stratum (`val_object_recall_under_8x8`,
    `..._8x8-16x16`, `..._16x16-32x32`, `..._from_32x32`: characters that TensorBoard does not take
    are spelled out), NaN where a stratum has no true objects. Callbacks after this one in the list,
    and `History`, see them. All counts of the last evaluation are in the attribute `counts`.

    Objects are connected components. Where the data say which object each pixel is of (a
    `WindowDataset` of samples with object ids), true objects are those, and predicted ones that
    touch are told apart by their shape, if more is found so.

    It also warns of images from 0 to 1 for a model whose `input_range` is that of 8 or 16 bits:
    they are nearly black to it. The images of `fit` itself cannot be looked at.

    Args:
        data: a `keras.utils.PyDataset` of batches `(images, masks)` or
            `(images, masks, sample_weight)`, or two arrays `(images, masks)`. Masks and weights
            are as in `ObjectCounts.update_batch`, of images or of volumes. A dataset may have a
            method `objects(index)`, which returns the objects' labels (N, H, W) of a batch, or
            None.
        prefix: what names in the logs begin with.
        every: epochs from one evaluation to the next.
        batch_size: images predicted at once, for arrays; None is 8. A dataset has its own.
        pixel_threshold: probability above which a pixel is predicted positive; of several classes
            as in `masks_from_outputs`.
        from_logits: whether the model's outputs are logits.
        **counts_arguments: arguments of `ObjectCounts`: `num_classes`, `criterion`, `threshold`,
            `strata`, `connectivity`, `ignore_class`, `multilabel`.

    Raises:
        ValueError: if an argument is out of range, or `data` is neither of the two.

    Example:

    ```python
    watch = ObjectMetricsCallback((images, masks))
    stop = keras.callbacks.EarlyStopping("val_object_f1", mode="max", patience=5)
    model.fit(dataset, epochs=100, callbacks=[watch, stop])
    ```
    """

    def __init__(
        self,
        data,
        prefix="val_",
        every=1,
        batch_size=None,
        pixel_threshold=0.5,
        from_logits=False,
        **counts_arguments,
    ):
        super().__init__()
        self.data = data
        self.prefix = prefix
        self.every = _checks.check_integer("every", every)
        self.batch_size = _check_data(data, batch_size)
        self._counts_arguments = counts_arguments
        self.counts = ObjectCounts(**counts_arguments)
        _checks.check_number("pixel_threshold", pixel_threshold, 0, 1)
        self.pixel_threshold = pixel_threshold
        self.from_logits = from_logits
        self._looked = False

    def on_train_begin(self, logs=None):
        if not isinstance(self.data, keras.utils.PyDataset):  # whose batches may cost time
            self._look_at(np.asarray(self.data[0][: self.batch_size]))

    def on_epoch_end(self, epoch, logs=None):
        last = epoch + 1 == (self.params or {}).get("epochs")
        if logs is not None and (epoch % self.every == 0 or last):
            self.evaluate()
            logs.update(self.figures())

    def evaluate(self):
        """Predicts the whole set with the model as it is; returns the new `counts`."""
        together, apart = ObjectCounts(**self._counts_arguments), None
        for (images, masks, *weight), objects in self._batches():
            self._look_at(images)
            predicted = masks_from_outputs(
                _sizes.predict_on_batch(self.model, images),
                self.pixel_threshold,
                self.from_logits,
                together.multilabel,
            )
            weight = keras.ops.convert_to_numpy(weight[0]) if weight else None
            masks = keras.ops.convert_to_numpy(masks)
            if objects is not None and apart is None:  # until now there was nothing to tell apart
                apart = copy.deepcopy(together)
            together.update_batch(masks, predicted, weight, objects)
            if apart is not None:
                separated = None
                if objects is not None:
                    separated = [separate_objects(own)[0] for own in predicted]
                apart.update_batch(masks, predicted, weight, objects, separated)
        better = apart is not None and apart.counts.any() and apart.f1() > together.f1()
        self.counts = apart if better else together
        return self.counts

    def figures(self):
        """Returns the figures of the last evaluation, by their names in the logs."""
        figures = {
            f"{self.prefix}object_recall": self.counts.recall(),
            f"{self.prefix}object_precision": self.counts.precision(),
            f"{self.prefix}object_f1": self.counts.f1(),
        }
        for stratum in self.counts.stratum_names:
            recall = self.counts.recall(stratum=stratum)
            name = f"{self.prefix}object_recall_{log_name(stratum)}"
            figures[name] = float("nan") if recall is None else recall
        return figures

    def _look_at(self, images):
        """Warns, once, of the first batch if the model expects other values."""
        if not self._looked:
            self._looked = True
            ranges = (getattr(layer, "input_range", None) for layer in self.model.layers)
            expected = next((each for each in ranges if each is not None), None)
            warn_of_unit_range(keras.ops.convert_to_numpy(images), expected)

    def _batches(self):
        if isinstance(self.data, keras.utils.PyDataset):
            objects = getattr(self.data, "objects", lambda index: None)
            for index in range(self.data.num_batches):
                yield self.data[index], objects(index)
            return
        for start in range(0, len(self.data[0]), self.batch_size):
            yield tuple(part[start : start + self.batch_size] for part in self.data), None


def warn_of_unit_range(images, input_range):
    """Warns if images hold floats from 0 to 1 where a model expects those of an integer type.

    Args:
        images: array of any shape; all zeros say nothing.
        input_range: (low, high) that the model expects; None if it does not say.

    Example:

    >>> warn_of_unit_range(np.array([0, 0.8]), (0, 1))
    """
    if input_range is None or images.dtype.kind != "f" or not images.size:
        return
    low, high = map(float, input_range)
    least, most = (float(f.reduce(images, axis=None)) for f in (np.fmin, np.fmax))  # not NaN
    if low == 0 and high >= INTEGERS and least >= 0 and 0 < most <= 1:
        warnings.warn(
            f"images from {low:g} to {high:g}, the model's `input_range`, were expected. Received: "
            f"{images.dtype}, {least:g} to {most:g}, nearly black to it. Give images as they were "
            "before a division, or build the model with input_range=(0, 1)",
            stacklevel=3,
        )


def log_name(stratum):
    """Returns the name of a stratum in the characters that TensorBoard takes.

    Example:

    >>> log_name("<8x8"), log_name(">=32x32"), log_name("8x8-16x16")
    ('under_8x8', 'from_32x32', '8x8-16x16')
    """
    spelled = stratum.replace(">=", "from_").replace("<", "under_")
    return re.sub(r"[^\w.-]", "_", spelled, flags=re.ASCII)


def _check_data(data, batch_size):
    """Returns the batch size to use with `data`, after checking both."""
    if isinstance(data, keras.utils.PyDataset):
        if data.num_batches is None:
            raise ValueError("`data` must have an end. Received a PyDataset with num_batches=None")
        if batch_size is not None:
            raise ValueError(
                "`batch_size` is for arrays; a dataset has its own. "
                f"Received: batch_size={batch_size}. Leave it out"
            )
        return None
    pair = isinstance(data, tuple | list) and len(data) == 2
    if not pair or np.shape(data[0])[:1] != np.shape(data[1])[:1]:
        received = f"{len(data)} items or other lengths" if pair else type(data).__name__
        raise ValueError(
            "`data` must be a keras.utils.PyDataset or two arrays (images, masks) of one length. "
            f"Received: {received}"
        )
    return ARRAY_BATCH if batch_size is None else _checks.check_integer("batch_size", batch_size)
