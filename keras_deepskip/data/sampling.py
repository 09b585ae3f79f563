"""Batches of crops for `fit`, and of windows for validation; statistics of a set of images."""

import collections
import math
import threading
from collections.abc import Sequence

import keras
import numpy as np

from keras_deepskip._checks import check_integer, check_number
from keras_deepskip.data import no_data
from keras_deepskip.data._disk_cache import DiskCache
from keras_deepskip.data._prefetch import Prefetcher
from keras_deepskip.data.images import decode_image, image_size
from keras_deepskip.data.masks import ONE_CLASS
from keras_deepskip.data.object_codes import CodedCrop, keys_of
from keras_deepskip.data.pasting import cut_object, paste_objects
from keras_deepskip.data.samples import (
    Sample,
    has_objects,
    load_image,
    load_objects,
    load_pair,
)
from keras_deepskip.data.survey import ImageFacts, Survey, moments_of
from keras_deepskip.objects import object_anchors
from keras_deepskip.tiling import Window, cut, windows


class CropDataset(keras.utils.PyDataset):
    """Random crops of images and masks, a fixed share of them on an object.

    Batch i of an epoch is a function of `(seed, epoch, i)` alone: neither the order in which
    batches are asked for nor the number of workers changes it.

    A crop on an object is found by choosing at random an image that has objects, a class in it, and
    one connected component of this class (8 neighbours), all with equal probability, so that small
    objects count as much as large ones; a pixel of the component's middle then lies anywhere in
    the crop. The other crops are uniformly random over all images by area. Images smaller than the
    crop are padded by reflection.

    `epoch` is the number of the epoch whose batches come next. It goes up when `fit` has seen
    every batch of an epoch (`on_epoch_begin`, all batches, `on_epoch_end`), and may be set, which
    an exact resume does. Two things are the caller's: `fit(..., shuffle=False)`, as Keras would
    otherwise shuffle the batches by Python's global generator; and, where `fit` is to decide which
    epoch it is (always right, also with a single batch an epoch),
    `fit(..., callbacks=[FollowEpoch(dataset)])`.

    Workers prepare batches ahead in threads or processes of this class, not of Keras (see
    `Prefetcher`). Each process holds its own cache. A script that uses processes must have its
    work under `if __name__ == "__main__":`.

    Args:
        samples: list of `Sample` with masks.
        crop_size: side of the crops in pixels.
        batch_size: crops in a batch.
        batches_per_epoch: length of the dataset.
        channels: channels of the images that are returned (see `to_channels`).
        masks: a `MaskReading` (see `read_mask`); None reads masks of one class. Pixels of its
            `ignore_class` are no object.
        positive_share: share of the crops on an object. Where a batch cannot hold it
            exactly, the number is rounded up or down at random, so that the mean is exact.
        augmentation: None, or a callable `(image, mask, rng) -> (image, mask)`. With `objects` its
            mask holds a number for each object, not class ids, and it may only move pixels.
        seed: integer of at least 0.
        cache_bytes: decoded images are kept up to this many bytes (for each process).
        workers: number of threads or processes; with 1 thread nothing is made ahead.
        use_multiprocessing: processes instead of threads.
        max_queue_size: most batches to hold ahead.
        survey: None, or a `Survey` of the files, which has the images' sizes.
        disk_cache_bytes: decoded images that do not fit into `cache_bytes` are kept on the disk up
            to this many bytes, in the cache folder (`KERAS_DEEPSKIP_CACHE`), as long as the dataset
            lives; of these only the crops are read. 0 decodes them each time.
        fill: value, or one for each channel, of pixels without data (NaN); their mask is the
            ignored class, -1 if `masks` has none.
        paste: share of the crops into which one to three objects of other crops are pasted, where
            no other object is (before they are augmented).
        objects: whether batches say which object each pixel is of, for a network with outputs that
            part objects. Then crops on an object choose among these, touching ones each for itself.

    Raises:
        ValueError: for arguments out of range, no samples, and, when a batch is made, for files
            that cannot be read (see `load_pair`).

    Output: `(images, masks)`: `(N, c, c, channels)` float32 in the files' own range of values, and
    `(N, c, c, 1)` int32. With `objects` `(images, (masks, objects))`: objects have the masks' shape
    and dtype, and are those of `load_objects`, numbered from 1 on in each crop, 0 for none.

    Example:

    ```python
    samples = find_samples("cells")
    dataset = CropDataset(samples, crop_size=160, augmentation=Augmentation(), workers=2)
    model.fit(dataset, epochs=20, shuffle=False, callbacks=[FollowEpoch(dataset)])
    ```
    """

    def __init__(
        self,
        samples,
        crop_size=160,
        batch_size=8,
        batches_per_epoch=100,
        channels=3,
        masks=None,
        positive_share=0.5,
        augmentation=None,
        seed=0,
        cache_bytes=2**30,
        workers=1,
        use_multiprocessing=False,
        max_queue_size=10,
        survey=None,
        disk_cache_bytes=0,
        fill=0.0,
        paste=0.0,
        objects=False,
    ):
        super().__init__()
        self.batches_per_epoch = check_integer("batches_per_epoch", batches_per_epoch)
        pairs = _Pairs(
            samples, channels, masks, cache_bytes, survey, disk_cache_bytes, fill, bool(objects)
        )
        crops = _Crops(pairs, crop_size, batch_size, positive_share, augmentation, seed, paste)
        self._batches = Prefetcher(
            crops.batch,
            check_integer("workers", workers, minimum=0),
            bool(use_multiprocessing),
            check_integer("max_queue_size", max_queue_size),
        )
        self._within_epoch = False
        self.epoch = 0

    @property
    def epoch(self):
        """Number of the epoch whose batches come next."""
        return self._epoch

    @epoch.setter
    def epoch(self, value):
        self._epoch = check_integer("epoch", value, minimum=0)
        self._seen = set()

    def __len__(self):
        return self.batches_per_epoch

    def __getitem__(self, index):
        index = range(len(self))[index]  # raises IndexError beyond the end
        batch = self._batches.get(self._epoch, index, len(self))
        if self._within_epoch:
            self._seen.add(index)
        return batch

    def on_epoch_begin(self):
        """Keras calls this before an epoch."""
        self._within_epoch = True

    def on_epoch_end(self):
        """Keras calls this after an epoch, and also before the first, which is none."""
        if self._within_epoch and len(self._seen) == len(self):
            self.epoch += 1
        self._within_epoch = False


class FollowEpoch(keras.callbacks.Callback):
    """Has a dataset give the batches of the epoch that `fit` is in.

    Args:
        dataset: a `CropDataset`.

    Example:

    ```python
    model.fit(dataset, initial_epoch=3, epochs=9, callbacks=[FollowEpoch(dataset)])
    ```
    """

    def __init__(self, dataset):
        super().__init__()
        self.dataset = dataset

    def on_epoch_begin(self, epoch, logs=None):
        self.dataset.epoch = epoch


class WindowDataset(keras.utils.PyDataset):
    """Fixed windows that cover the images, for validation during training.

    The windows of each image are those of `tiling.windows`; at its lower and right edge they
    overlap, and an image smaller than the window is padded by reflection (mask included). The
    last batch may be smaller than the others.

    Args:
        samples: list of `Sample` with masks.
        crop_size: side of the windows in pixels.
        batch_size: windows in a batch.
        channels, masks: as in `CropDataset`.
        max_windows: None, or the most windows to use: one is then chosen by `seed` from each of so
            many equal stretches of the list, so that all images have their share.
        seed: integer of at least 0.
        cache_bytes: decoded images are kept up to this many bytes.
        survey: None, or a `Survey` of the files, which has the images' sizes.
        disk_cache_bytes, fill: as in `CropDataset`.
        shares: number of devices that share a batch: the last one is filled up to a multiple of it
            with windows of which all pixels are ignored.
        objects: as in `CropDataset`.

    Raises:
        ValueError: as `CropDataset`.

    Output: as `CropDataset`.

    Example:

    ```python
    model.fit(dataset, validation_data=WindowDataset(split.val, crop_size=160, max_windows=64))
    ```
    """

    def __init__(
        self,
        samples,
        crop_size=160,
        batch_size=8,
        channels=3,
        masks=None,
        max_windows=None,
        seed=0,
        cache_bytes=2**30,
        survey=None,
        disk_cache_bytes=0,
        fill=0.0,
        shares=1,
        objects=False,
    ):
        super().__init__()
        self._with_objects = bool(objects)
        self.crop_size = check_integer("crop_size", crop_size)
        self.shares = check_integer("shares", shares)
        self._ignored = no_data.ignored_id(None if masks is None else masks.ignore_class)
        self.batch_size = check_integer("batch_size", batch_size)
        self._pairs = _Pairs(samples, channels, masks, cache_bytes, survey, disk_cache_bytes, fill)
        places = [
            (index, window)
            for index, size in enumerate(self._pairs.sizes)
            for window in windows(*size, self.crop_size)
        ]
        if max_windows is not None and check_integer("max_windows", max_windows) < len(places):
            edges = np.linspace(0, len(places), max_windows + 1)
            check_integer("seed", seed, minimum=0)
            chance = np.random.default_rng(seed).random(max_windows)
            places = [places[int(at)] for at in edges[:-1] + chance * np.diff(edges)]
        self.places = places
        self._objects, self._objects_bytes = {}, cache_bytes

    def __len__(self):
        return math.ceil(len(self.places) / self.batch_size)

    def __getitem__(self, index):
        pairs = [
            self._pairs.crop(place, window, self.crop_size) for place, window in self._places(index)
        ]
        image, mask = pairs[-1]
        pairs += [(image, np.full_like(mask, self._ignored))] * (-len(pairs) % self.shares)
        images, masks = _stacked(pairs)
        return images, (masks, self._labels(index)[..., None]) if self._with_objects else masks

    def objects(self, index):
        """Which object each pixel of a batch is of.

        Args:
            index: of the batch.

        Returns:
            `(N, c, c)` int32 as in `load_objects`, numbered from 1 on in each window; None if no
            sample says it: then objects are the connected components of the masks.
        """
        return self._labels(index) if self._pairs.know_objects else None

    def _labels(self, index):
        labels = [self._objects_at(*place) for place in self._places(index)]
        return np.stack(labels + [np.zeros_like(labels[0])] * (-len(labels) % self.shares))

    def _places(self, index):
        start = range(len(self))[index] * self.batch_size
        return self.places[start : start + self.batch_size]

    def _objects_at(self, place, window):
        """The objects of a window, kept in memory while there is room."""
        labels = self._objects.get((place, window))
        if labels is None:
            labels = _renumbered(cut(self._pairs.objects(place), window, self.crop_size))
            self._objects_bytes -= labels.nbytes
            if self._objects_bytes >= 0:
                self._objects[place, window] = labels
        return labels


def _renumbered(labels):
    """Labels from 1 on without gaps, in their order; 0 stays 0."""
    objects, renumbered = labels > 0, np.zeros_like(labels)
    renumbered[objects] = np.unique(labels[objects], return_inverse=True)[1] + 1
    return renumbered


VARIANCE_FLOOR = 1e-4  # of a channel's variance, as a share of the greatest channel's


def channel_statistics(
    samples: Sequence[Sample], channels: int, survey: Survey | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of each channel over all pixels of the samples' images.

    A channel of (nearly) one value gets a ten-thousandth of the greatest channel's variance, so
    that dividing by it does not turn noise into signal; if all are of one value, 1. NaN, and what
    a GeoTIFF declares as no data, is left out.

    Args:
        samples: list of `Sample`.
        channels: channels of the images (see `to_channels`).
        survey: None, or a `Survey` of the files, which then are not read again.

    Returns:
        `(mean, variance)`, float64 arrays of shape `(channels,)`, in the files' own values.

    Raises:
        ValueError: if an image holds infinity, or there are no samples.

    Example:

    ```python
    mean, variance = channel_statistics(split.train, channels=3)
    ```
    """
    _refuse_none(samples)
    count, mean, scatter = np.zeros(channels), np.zeros(channels), np.zeros(channels)
    for sample in samples:
        own_mean, own_scatter, pixels = _moments(sample, channels, survey)
        if not np.isfinite(own_mean).all():
            raise ValueError(
                f"{sample.image}: finite values were expected. Received: infinity. Replace it in "
                "the file"
            )
        # Two sets' scatter about their common mean (Chan, Golub, LeVeque 1983)
        step = own_mean - mean
        total = np.maximum(count + pixels, 1)
        scatter += own_scatter + step**2 * count * pixels / total
        mean += step * pixels / total
        count += pixels
    variance = scatter / np.maximum(count, 1)
    return mean, np.maximum(variance, VARIANCE_FLOOR * variance.max() or 1.0)


def _moments(sample, channels, survey):
    """Mean and scatter of each channel of an image, and the number of values that they are of."""
    facts = None if survey is None else survey.image(sample)
    moments = facts.moments_in(channels) if isinstance(facts, ImageFacts) else None
    if moments is None:  # not surveyed, or not such an image: reading it says why
        moments = moments_of(load_image(sample, channels))
    return np.array(moments)


def value_range(samples: Sequence[Sample], survey: Survey | None = None) -> tuple[float, float]:
    """The range that the images' values may take, by their dtype.

    uint8 gives (0, 255); uint16 (0, 65535), also where a camera of 12 bit used a part of it alone;
    float (0, 1) if all values lie in it, else their least and greatest.

    Args:
        samples: list of `Sample`.
        survey: None, or a `Survey` of the files, which then are not read again.

    Returns:
        `(low, high)` floats, low < high.

    Raises:
        ValueError: if the images differ in dtype, or there are no samples.

    Example:

    ```python
    augmentation = Augmentation(value_range=value_range(split.train))
    ```
    """
    _refuse_none(samples)
    kind, low, high = None, 0.0, 1.0
    for sample in samples:
        facts = None if survey is None else survey.image(sample)
        if isinstance(facts, ImageFacts):
            dtype, least, most = np.dtype(facts.dtype), facts.low, facts.high
        else:
            image, stored = decode_image(sample.image)
            dtype = np.dtype(stored)
            least, most = (float(f.reduce(image, axis=None)) for f in (np.fmin, np.fmax))
        kind = dtype if kind is None else kind
        if dtype != kind:
            raise ValueError(
                f"{sample.image}: images of one dtype were expected, as their ranges differ. "
                f"Received: {dtype} here, {kind} in {samples[0].image}. Convert one kind"
            )
        if dtype == np.float32:
            low, high = min(low, least), max(high, most)
    if kind is None or kind == np.float32:
        return low, high
    return 0.0, float(np.iinfo(kind).max)


class _Crops:
    """Makes batches of crops; `batch` is a pure function of `(seed, epoch, index)`."""

    def __init__(self, pairs, crop_size, batch_size, positive_share, augmentation, seed, paste):
        self.pairs = pairs
        self.crop_size = check_integer("crop_size", crop_size)
        self.batch_size = check_integer("batch_size", batch_size)
        self.positive_share = check_number("positive_share", positive_share, 0, 1)
        self.augmentation = augmentation
        self.paste = check_number("paste", paste, 0, 1)
        self.seed = check_integer("seed", seed, minimum=0)
        areas = np.array([height * width for height, width in pairs.sizes], np.float64)
        self.area_below = np.cumsum(areas) / areas.sum()

    def batch(self, epoch, index):
        rng = np.random.default_rng([self.seed, epoch, index])
        positives, rest = divmod(self.positive_share * self.batch_size, 1)
        positives += rng.random() < rest
        return _stacked([self._crop(number < positives, rng) for number in range(self.batch_size)])

    def _crop(self, positive, rng):
        index, window = (self._on_object(rng) if positive else None) or self._anywhere(rng)
        size, reach = self.crop_size, self._reach
        if reach == size:
            image, mask = self.pairs.crop(index, window, size)
        else:
            image, mask = self.pairs.around(index, window, size, reach)
        coded = CodedCrop(mask) if self.pairs.of_objects else None
        mask = mask if coded is None else coded.codes
        if self.paste and rng.random() < self.paste:
            paste_objects(image, mask, lambda rng: self._object(rng, coded), rng)
        if self.augmentation is not None:
            room = [] if reach == size else [size]
            image, mask = self.augmentation(image, mask, rng, *room)
        return image, mask if coded is None else coded.decoded(mask)

    def _object(self, rng, coded):
        """An object as `paste_objects` takes it; with a code of its own in a coded crop."""
        chosen = self._anchor(rng)
        if chosen is None:
            return None
        found = cut_object(*self.pairs.pair(chosen[0]), chosen[1], self.crop_size // 2)
        if found is None or coded is None:
            return found
        image, inside, key = found
        return image, inside, coded.add(key)

    def _on_object(self, rng):
        """A sample and a window on one of its objects; None if no sample has any."""
        chosen = self._anchor(rng)
        if chosen is None:
            return None
        index, anchor = chosen
        # Before the window is moved inside the image; where the augmentation leaves it in the crop
        size = self.crop_size
        inner = size**2 // self._reach
        edge = (size - inner) // 2
        top, left = (int(at) - edge - int(rng.integers(inner)) for at in anchor)
        return index, self._window(index, top, left)

    @property
    def _reach(self):
        """Side of the square that a crop may come from, as its augmentation turns and scales it."""
        size = self.crop_size
        return getattr(self.augmentation, "reach", lambda size: size)(size)

    def _anchor(self, rng):
        """A sample and a pixel of one of its objects; None if no sample has any."""
        for index in rng.permutation(len(self.pairs.sizes)).tolist():
            anchors = self.pairs.anchors(index)
            if anchors:
                places = anchors[list(anchors)[rng.integers(len(anchors))]]
                return index, places[rng.integers(len(places))].tolist()
        return None

    def _anywhere(self, rng):
        last = len(self.area_below) - 1
        index = min(int(np.searchsorted(self.area_below, rng.random(), side="right")), last)
        top, left = (
            int(rng.integers(max(length - self.crop_size, 0) + 1))
            for length in self.pairs.sizes[index]
        )
        return index, self._window(index, top, left)

    def _window(self, index, top, left):
        """The window nearest to the requested one that lies inside the image."""
        height, width = self.pairs.sizes[index]
        size = self.crop_size
        top = min(max(top, 0), max(height - size, 0))
        left = min(max(left, 0), max(width - size, 0))
        return Window(top, left, min(size, height), min(size, width))


class _Pairs:
    """Decoded images and masks of samples, the last used kept; safe to use from threads.

    Of objects, what stands for a mask holds keys of classes and objects (`keys_of`).
    """

    def __init__(
        self, samples, channels, reading, cache_bytes, survey, disk_cache_bytes, fill,
        of_objects=False,
    ):  # fmt: skip
        self.samples = list(samples)
        _refuse_none(self.samples)
        self.channels = check_integer("channels", channels)
        self.reading = ONE_CLASS if reading is None else reading
        self.cache_bytes = check_integer("cache_bytes", cache_bytes, minimum=0)
        self.disk = DiskCache(check_integer("disk_cache_bytes", disk_cache_bytes, minimum=0))
        self.fill = np.asarray(fill, np.float32)
        self.of_objects = of_objects
        self.kind = np.int64 if of_objects else np.int32  # of the masks' values
        self.sizes = [sample_size(sample, survey) for sample in self.samples]
        self._clear()

    def _clear(self):
        self._kept, self._kept_bytes = collections.OrderedDict(), 0
        self._anchors, self._lock = {}, threading.Lock()

    def __getstate__(self):
        private = ("_kept", "_kept_bytes", "_anchors", "_lock")
        return {name: value for name, value in self.__dict__.items() if name not in private}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._clear()

    def crop(self, index, window, size):
        """Image `(size, size, C)` float32 and mask `(size, size)` of `kind` at a window."""
        image, mask = (cut(plane, window, size) for plane in self.pair(index))
        return image.astype(np.float32), mask.astype(self.kind)

    def around(self, index, window, size, reach):
        """As `crop`, of side `reach` about the same centre; what lies outside is reflected."""
        image, mask = self.pair(index)
        before = (reach - size) // 2
        boxes, pads = [], []
        for start, length in zip(window[:2], mask.shape, strict=True):
            low, high = start - before, start - before + reach
            boxes.append(slice(max(low, 0), min(high, length)))
            pads.append((max(-low, 0), max(high - length, 0)))
        image, mask = image[tuple(boxes)], mask[tuple(boxes)]
        image = np.pad(image, [*pads, (0, 0)], mode="symmetric")
        return image.astype(np.float32), np.pad(mask, pads, mode="symmetric").astype(self.kind)

    def pair(self, index):
        with self._lock:
            if index in self._kept:
                self._kept.move_to_end(index)
                return self._kept[index]
        found = self.disk.get(index)
        if found is not None:
            return found
        image, mask = load_pair(self.samples[index], self.channels, self.reading)
        image = no_data.filled(image, self.fill)
        if self.of_objects:
            mask = keys_of(mask, load_objects(self.samples[index], mask, self.reading))
        if 0 <= mask.min() and mask.max() < 256:
            mask = mask.astype(np.uint8)
        for pair in self._keep(index, image, mask):
            self.disk.put(*pair)
        return image, mask

    def _keep(self, index, image, mask):
        """Keeps a pair in memory; returns those that have no room there: `(index, image, mask)`."""
        size = image.nbytes + mask.nbytes
        with self._lock:
            if index in self._kept:
                return []
            if size > self.cache_bytes:
                return [(index, image, mask)]
            self._kept[index] = image, mask
            self._kept_bytes += size
            gone = []
            while self._kept_bytes > self.cache_bytes:
                other, (image, mask) = self._kept.popitem(last=False)
                self._kept_bytes -= image.nbytes + mask.nbytes
                gone.append((other, image, mask))
            return gone

    @property
    def know_objects(self):
        """Whether a sample says which object its pixels are of."""
        return any(has_objects(sample, self.reading) for sample in self.samples)

    def objects(self, index):
        """Number of the object at each pixel of an image, (H, W) int32."""
        return load_objects(self.samples[index], self.pair(index)[1], self.reading)

    def anchors(self, index):
        """A pixel in the middle of each object of an image, by class."""
        if index not in self._anchors:
            mask = self.pair(index)[1]
            of_mask = _anchors_of_keys if self.of_objects else object_anchors
            # Pixels without data are no object, whether a class is ignored or not
            ignored = no_data.ignored_id(self.reading.ignore_class)
            self._anchors[index] = of_mask(mask, ignored)
        return self._anchors[index]


def _anchors_of_keys(keys, ignore_class):
    """As `object_anchors`, of the objects of an image; an ignored class has none."""
    crop = CodedCrop(keys)
    mask, objects = crop.decoded(crop.codes)
    places = [place for own in object_anchors(objects).values() for place in own]
    anchors = {}
    for place in places:
        anchors.setdefault(int(mask[tuple(place)]), []).append(place)
    return {class_id: np.array(own) for class_id, own in sorted(anchors.items())}


def sample_size(sample: Sample, survey: Survey | None = None) -> tuple[int, int]:
    """(height, width) of a sample's image, which the survey knows without reading it again."""
    facts = None if survey is None else survey.image(sample)
    return facts.shape[:2] if isinstance(facts, ImageFacts) else image_size(sample.image)


def _stacked(crops):
    """Batches `(image, mask)` crops, or `(image, (mask, objects))`."""
    images = np.stack([image for image, _ in crops])  # (N, c, c, C)
    masks = np.stack([mask for _, mask in crops])  # (N, c, c), or (N, 2, c, c)
    if masks.ndim == 4:
        return images, tuple(np.ascontiguousarray(masks[:, plane, ..., None]) for plane in (0, 1))
    return images, masks[..., None]


def _refuse_none(samples):
    if len(samples) == 0:
        raise ValueError("At least one sample was expected. Received: samples=[]")
