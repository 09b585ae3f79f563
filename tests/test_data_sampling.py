"""Crops: a pure function of (seed, epoch, index), a stated share of them on objects."""

import collections
import gc
import os
import pickle
import platform
import shutil
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
import tifffile

from keras_deepskip.data import _disk_cache
from keras_deepskip.data._survey_cache import cache_folder
from keras_deepskip.data.augmentation import Augmentation
from keras_deepskip.data.folder import find_samples
from keras_deepskip.data.images import write_png
from keras_deepskip.data.masks import MaskReading
from keras_deepskip.data.samples import Sample, load_mask, load_objects
from keras_deepskip.data.sampling import (
    CropDataset,
    FollowEpoch,
    WindowDataset,
    channel_statistics,
    value_range,
)
from keras_deepskip.tiling import cut
from tests.test_data_folder import put


def coded(height, width, start):
    """An image whose first two channels are the pixel's row and column, the third is `start`."""
    rows, columns = np.indices((height, width))
    return np.stack([rows, columns, np.full_like(rows, start)], axis=-1).astype("uint8")


@pytest.fixture
def rare(tmp_path):
    """Four images of 64 x 80, of which one holds a single object of 3 x 3."""
    for number in range(4):
        mask = np.zeros((64, 80), "uint8")
        if number == 2:
            mask[40:43, 70:73] = 1
        put(tmp_path, f"n{number}", image=coded(64, 80, number), mask=mask)
    return find_samples(tmp_path)


def fingerprints(dataset):
    return [hash(images.tobytes() + masks.tobytes()) for images, masks in dataset]


def test_form_of_a_batch(rare):
    dataset = CropDataset(rare, crop_size=32, batch_size=5, batches_per_epoch=7)
    assert len(dataset) == 7
    images, masks = dataset[6]
    assert images.shape == (5, 32, 32, 3) and images.dtype == np.float32
    assert masks.shape == (5, 32, 32, 1) and masks.dtype == np.int32
    assert images.max() > 1  # the files' own range
    with pytest.raises(IndexError):
        dataset[7]


def test_image_and_mask_are_cut_at_the_same_place(rare):
    images, masks = CropDataset(rare, crop_size=16, batch_size=64, positive_share=0.7)[0]
    rows, columns, number = np.moveaxis(images, -1, 0)
    inside = (rows >= 40) & (rows < 43) & (columns >= 70) & (columns < 73) & (number == 2)
    assert np.array_equal(inside, masks[..., 0] == 1) and inside.any()


def test_a_rare_object_is_found_in_its_share(rare):
    dataset = CropDataset(rare, crop_size=16, batch_size=5, batches_per_epoch=200, seed=1)
    found = np.array([(masks > 0).any(axis=(1, 2, 3)).sum() for _, masks in dataset])
    assert found.min() >= 2  # 2.5 is rounded to 2 or 3, and some are met by chance
    assert {2, 3} <= set(found.tolist())
    # A 3 x 3 object is met by a uniform crop of this image with p < 18 x 18 / (49 x 65) = 0.10.
    assert 0.48 < found.mean() / 5 < 0.55
    without = CropDataset(rare, crop_size=16, batch_size=5, batches_per_epoch=100, positive_share=0)
    assert np.mean([(masks > 0).any(axis=(1, 2, 3)) for _, masks in without]) < 0.06


def test_the_rounding_has_the_exact_mean(rare):
    dataset = CropDataset(
        rare, crop_size=2, batch_size=3, batches_per_epoch=400, positive_share=0.2
    )
    found = [(masks > 0).any(axis=(1, 2, 3)).sum() for _, masks in dataset]
    assert set(found) <= {0, 1, 2} and abs(np.mean(found) / 3 - 0.2) < 0.03


def test_small_objects_count_as_much_as_large_ones(tmp_path):
    mask = np.zeros((64, 64), "uint8")
    mask[2:42, 2:42] = 1
    mask[50:53, 50:53] = 1
    mask[58:61, 10:40] = 2
    put(tmp_path, "a", image=coded(64, 64, 0), mask=mask)
    dataset = CropDataset(
        find_samples(tmp_path), 8, 50, 20, positive_share=1, masks=MaskReading(3), seed=3
    )
    found = collections.Counter()
    for images, masks in dataset:
        for image, crop in zip(images, masks[..., 0], strict=True):
            far = image[..., 0][crop == 1]
            found["class 2" if (crop == 2).any() else "small" if far.min() >= 50 else "large"] += 1
    assert abs(found["class 2"] / 1000 - 0.5) < 0.06  # classes by equal chances
    assert abs(found["small"] / 1000 - 0.25) < 0.05  # and within one, components


def test_the_object_lies_anywhere_in_the_crop(rare):
    dataset = CropDataset(rare, crop_size=8, batch_size=100, batches_per_epoch=5, positive_share=1)
    places = set()
    for _, masks in dataset:
        for crop in masks[..., 0]:
            places.add(tuple(np.argwhere(crop).max(axis=0).tolist()))
    assert len(places) >= 48  # of the 64 pixels that the object's middle may have in the crop


def test_uniform_crops_go_by_area(tmp_path):
    put(tmp_path, "large", image=coded(60, 60, 1), mask=np.zeros((60, 60), "uint8"))
    put(tmp_path, "small", image=coded(30, 30, 2), mask=np.zeros((30, 30), "uint8"))
    dataset = CropDataset(find_samples(tmp_path), 8, 100, 10)  # no object: all are uniform
    numbers = np.concatenate([images[:, 0, 0, 2] for images, _ in dataset])
    assert abs((numbers == 1).mean() - 0.8) < 0.05
    corners = np.concatenate([images[:, 0, 0, :2] for images, _ in dataset])[numbers == 1]
    assert corners.min() == 0 and corners.max() == 52


@pytest.mark.parametrize("shape", [(1, 1), (17, 401), (401, 17)])
def test_odd_sizes(tmp_path, shape):
    mask = np.zeros(shape, "uint8")
    mask[0, shape[1] // 2] = 1
    put(tmp_path, "a", image=np.full(shape, 7, "uint8"), mask=mask)
    samples = find_samples(tmp_path)
    for dataset in (CropDataset(samples, 32, 4, 2, positive_share=1), WindowDataset(samples, 32)):
        images, masks = dataset[0]
        assert images.shape[1:] == (32, 32, 3) and (images == 7).all()
        assert masks.shape[1:] == (32, 32, 1)
    assert all((CropDataset(samples, 32, 4, 2, positive_share=1)[0][1] > 0).any(axis=(1, 2, 3)))


# --------------------------------------------------------------------------- repeatable, workers


OPTIONS = {"crop_size": 16, "batch_size": 2, "batches_per_epoch": 4, "augmentation": Augmentation()}


def test_batches_depend_on_seed_epoch_and_index_alone(rare):
    dataset = CropDataset(rare, **OPTIONS)
    first = fingerprints(dataset)
    assert len(set(first)) == 4
    backwards = CropDataset(rare, **OPTIONS, cache_bytes=0)
    assert [fingerprints([backwards[i]])[0] for i in (3, 1, 2, 0)] == [
        first[i] for i in (3, 1, 2, 0)
    ]
    dataset.epoch = 1
    second = fingerprints(dataset)
    assert not set(first) & set(second)
    assert not set(first) & set(fingerprints(CropDataset(rare, **OPTIONS, seed=1)))
    dataset.epoch = 0
    assert fingerprints(dataset) == first
    with pytest.raises(ValueError, match="epoch"):
        dataset.epoch = -1


def test_a_pickled_dataset_gives_the_same(rare):
    dataset = CropDataset(rare, **OPTIONS, workers=2)
    expected = fingerprints(dataset)
    assert fingerprints(pickle.loads(pickle.dumps(dataset))) == expected


class Recorder(keras.Model):
    """A model that notes which of the known batches `fit` gives it."""

    def train_step(self, *arguments):
        images = keras.ops.convert_to_numpy(arguments[-1][0])
        self.seen.append(hash(images.tobytes()))
        return super().train_step(*arguments)


def recorded(dataset, epochs, initial_epoch=0, follow=False):
    inputs = keras.Input((None, None, 3))
    model = Recorder(inputs, keras.layers.Conv2D(1, 1, activation="sigmoid")(inputs))
    model.seen = []
    model.compile("sgd", "binary_crossentropy", metrics=["accuracy"], run_eagerly=True)
    callbacks = [FollowEpoch(dataset)] if follow else []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(
            dataset,
            epochs=epochs,
            initial_epoch=initial_epoch,
            shuffle=False,
            verbose=0,
            callbacks=callbacks,
        )
    return model.seen


def expected_batches(samples, epochs, **options):
    dataset = CropDataset(samples, **options)
    expected = []
    for epoch in epochs:
        dataset.epoch = epoch
        expected += [hash(images.tobytes()) for images, _ in dataset]
    return expected


@pytest.mark.parametrize(
    "workers",
    [{}, {"workers": 4}, {"workers": 4, "max_queue_size": 1},
     {"workers": 2, "use_multiprocessing": True}],
    ids=["one", "threads", "short_queue", "processes"],
)  # fmt: skip
def test_fit_sees_each_epoch_s_own_batches(rare, workers):
    expected = expected_batches(rare, range(3), **OPTIONS)
    dataset = CropDataset(rare, **OPTIONS, **workers)
    assert recorded(dataset, epochs=3) == expected
    assert dataset.epoch == 3
    # a run that is resumed from its second epoch
    dataset.epoch = 1
    assert recorded(dataset, epochs=3, initial_epoch=1) == expected[4:]


def test_two_fits_in_a_row_go_on(rare):
    dataset = CropDataset(rare, **OPTIONS)
    seen = recorded(dataset, epochs=1) + recorded(dataset, epochs=2, initial_epoch=1)
    assert seen == expected_batches(rare, range(2), **OPTIONS)


@pytest.mark.parametrize("workers", [1, 3])
def test_follow_epoch_is_right_with_one_batch_an_epoch(rare, workers):
    options = {**OPTIONS, "batches_per_epoch": 1}
    dataset = CropDataset(rare, **options, workers=workers)
    seen = recorded(dataset, epochs=5, initial_epoch=2, follow=True)
    assert seen == expected_batches(rare, range(2, 5), **options)


def test_batches_of_another_epoch_are_forgotten(rare):
    dataset = CropDataset(rare, **OPTIONS, workers=2, max_queue_size=3)
    dataset[0]
    assert set(dataset._batches._futures) == {(0, 1), (0, 2), (0, 3)}
    dataset.epoch = 5
    dataset[1]
    assert set(dataset._batches._futures) == {(5, 2), (5, 3)}


@pytest.mark.parametrize("workers", [1, 3])
def test_a_bad_file_stops_with_its_name(rare, workers):
    rare[1].image.write_bytes(rare[1].image.read_bytes()[:60])
    dataset = CropDataset(rare, **OPTIONS, positive_share=0, workers=workers)
    with pytest.raises(ValueError, match=r"n1\.png"):
        fingerprints(dataset)


def test_the_cache_stays_below_its_limit_and_saves_reading(rare, monkeypatch):
    size = 64 * 80 * 4  # three channels and the mask
    dataset = CropDataset(rare, **OPTIONS, cache_bytes=2 * size)
    pairs = dataset._batches.make.__self__.pairs
    for index in (0, 1, 2, 2, 3):
        pairs.pair(index)
        assert pairs._kept_bytes == sum(i.nbytes + m.nbytes for i, m in pairs._kept.values())
        assert pairs._kept_bytes <= 2 * size
    assert list(pairs._kept) == [2, 3]
    for sample in rare:
        sample.image.unlink()
    pairs.pair(3)
    with pytest.raises(FileNotFoundError):
        pairs.pair(0)


DISK = {"cache_bytes": 0, "disk_cache_bytes": 2**20}


def cached():
    """The folders of decoded images in the cache."""
    return sorted(cache_folder().glob("decoded-*"))


def test_batches_from_the_disk_are_those_from_the_files(rare):
    before = cached()
    expected = fingerprints(CropDataset(rare, **OPTIONS))
    dataset = CropDataset(rare, **OPTIONS, **DISK)
    assert fingerprints(dataset) == expected
    (folder,) = set(cached()) - set(before)
    assert len(list(folder.iterdir())) == 2 * len(rare)
    for sample in rare:
        sample.image.unlink()
    dataset.epoch = 0
    assert fingerprints(dataset) == expected
    shutil.rmtree(folder)  # a cleaned cache: the files are read again
    with pytest.raises(FileNotFoundError):
        dataset[0]
    del dataset
    gc.collect()
    assert cached() == before


def test_what_fits_into_memory_is_not_written(rare):
    before = cached()
    dataset = CropDataset(rare, **OPTIONS, disk_cache_bytes=2**20)
    fingerprints(dataset)
    assert cached() == before
    windows = WindowDataset(rare, crop_size=32, **DISK)
    np.testing.assert_array_equal(windows[0][0], WindowDataset(rare, crop_size=32)[0][0])
    windows[2]
    assert len(cached()) == len(before) + 1


def test_the_files_on_the_disk_stay_below_their_limit(rare):
    size = 64 * 80 * 4
    dataset = CropDataset(rare, **OPTIONS, cache_bytes=0, disk_cache_bytes=2 * size + 1000)
    pairs = dataset._batches.make.__self__.pairs
    for index in range(4):
        pairs.pair(index)
    assert [pairs.disk.get(index) is not None for index in range(4)] == [True, True, False, False]
    assert sum(path.stat().st_size for path in pairs.disk.folder.iterdir()) < 2 * size + 1000


def test_a_disk_that_takes_nothing_stops_nothing(rare, monkeypatch):
    expected = fingerprints(CropDataset(rare, **OPTIONS))
    monkeypatch.setattr(_disk_cache, "RESERVE", 2**62)  # it is full
    dataset = CropDataset(rare, **OPTIONS, **DISK)
    assert fingerprints(dataset) == expected
    assert not list(dataset._batches.make.__self__.pairs.disk.folder.iterdir())
    monkeypatch.undo()
    blocked = cache_folder() / "a file"
    blocked.write_text("")
    monkeypatch.setenv("KERAS_DEEPSKIP_CACHE", str(blocked))
    assert fingerprints(CropDataset(rare, **OPTIONS, **DISK)) == expected


def test_processes_share_the_files_on_the_disk(rare):
    dataset = CropDataset(rare, **OPTIONS, **DISK)
    disk = dataset._batches.make.__self__.pairs.disk
    other = pickle.loads(pickle.dumps(dataset._batches.make.__self__.pairs))
    other.pair(1)
    assert disk.get(1) is not None and disk.get(0) is None
    del other
    gc.collect()
    assert disk.folder.is_dir()  # it is not the copy's


def test_what_a_killed_process_left_is_removed(rare):
    name = "decoded-{}-{}-0".format
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    kept = [name(platform.node(), os.getpid()), name("elsewhere", gone.pid)]
    for folder in (name(platform.node(), gone.pid), *kept):
        (cache_folder() / folder).mkdir()
    dataset = CropDataset(rare, **OPTIONS, **DISK)
    dataset[0]
    assert {path.name for path in cached()} >= set(kept)
    assert not (cache_folder() / name(platform.node(), gone.pid)).exists()
    for folder in kept:
        (cache_folder() / folder).rmdir()


@pytest.mark.parametrize(
    "options",
    [{"crop_size": 0}, {"batch_size": 0}, {"batches_per_epoch": 0}, {"positive_share": 1.5},
     {"disk_cache_bytes": -1}, {"seed": -1}, {"workers": -1}, {"channels": 0}],
)  # fmt: skip
def test_wrong_options_are_refused(rare, options):
    with pytest.raises(ValueError, match=f"`{next(iter(options))}`"):
        CropDataset(rare, **options)


def test_no_samples_are_refused():
    for make in (CropDataset, WindowDataset, value_range, lambda s: channel_statistics(s, 3)):
        with pytest.raises(ValueError, match="At least one sample"):
            make([])


# ------------------------------------------------------------------------------------ validation


def test_windows_see_every_pixel(rare):
    dataset = WindowDataset(rare, crop_size=32, batch_size=5)
    batches = [dataset[i] for i in range(len(dataset))]
    assert [len(images) for images, _ in batches] == [5, 5, 5, 5, 4]  # 4 images of 2 x 3 windows
    pixels = {tuple(p) for images, _ in batches for p in images.reshape(-1, 3).tolist()}
    assert len(pixels) == 4 * 64 * 80
    assert sum((masks > 0).sum() for _, masks in batches) >= 9
    assert batches[0][0].dtype == np.float32 and batches[0][1].dtype == np.int32


def test_windows_are_chosen_evenly(rare):
    dataset = WindowDataset(rare, crop_size=32, max_windows=8, seed=4)
    assert collections.Counter(index for index, _ in dataset.places) == dict.fromkeys(range(4), 2)
    assert dataset.places == WindowDataset(rare, crop_size=32, max_windows=8, seed=4).places
    assert dataset.places != WindowDataset(rare, crop_size=32, max_windows=8, seed=5).places
    assert len(WindowDataset(rare, crop_size=32, max_windows=99).places) == 24


@pytest.mark.one_backend
def test_windows_know_the_objects_of_samples_that_do(rare):
    assert WindowDataset(rare, crop_size=32).objects(0) is None
    folder = rare[0].image.parent.parent
    ids = np.zeros((64, 80), "uint16")
    ids[40:42, 70:73], ids[42, 70:73] = 300, 7
    write_png(folder / "instances" / "n2.png", ids)
    samples = find_samples(folder)
    for cache_bytes in (0, 2**20):
        dataset = WindowDataset(samples, 48, batch_size=5, shares=3, cache_bytes=cache_bytes)
        assert len(dataset.places) == 16
        for index in range(4):
            labels, (_, masks) = dataset.objects(index), dataset[index]
            np.testing.assert_array_equal(labels > 0, masks[..., 0] == 1)
            own = dataset.places[5 * index : 5 * index + 5]
            for found, (place, window) in zip(labels[: len(own)], own, strict=True):
                expected = load_objects(samples[place], load_mask(samples[place]))
                np.testing.assert_array_equal(found, cut(expected, window, 48))
                assert len(np.unique(found)) == (3 if found.any() else 1)


# ------------------------------------------------------------------------------------ statistics


def test_channel_statistics_are_those_of_all_pixels(tmp_path):
    rng = np.random.default_rng(0)
    arrays = [
        rng.integers(low, 60000, (h, w, 3), "uint16") for low, h, w in [(0, 5, 9), (50000, 31, 2)]
    ]
    for number, array in enumerate(arrays):
        put(tmp_path, f"n{number}", image=array, mask=np.zeros(array.shape[:2], "uint8"))
    mean, variance = channel_statistics(find_samples(tmp_path), 3)
    pixels = np.concatenate([array.reshape(-1, 3) for array in arrays]).astype("float64")
    np.testing.assert_allclose(mean, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(variance, pixels.var(axis=0), rtol=1e-12)


def test_value_range(tmp_path):
    import tifffile

    def samples(*arrays):
        for number, array in enumerate(arrays):
            tifffile.imwrite(tmp_path / "images" / f"{number}.tif", array)
            write_png(tmp_path / "masks" / f"{number}.png", np.zeros(array.shape, "uint8"))
        return find_samples(tmp_path)

    (tmp_path / "images").mkdir()
    tiny = np.array([[0, 3]])
    assert value_range(samples(tiny.astype("uint8"))) == (0, 255)
    assert value_range(samples(tiny.astype("uint16"))) == (0, 65535)
    assert value_range(samples(tiny.astype("float32") / 4)) == (0, 1)
    assert value_range(samples(tiny.astype("float32"), tiny - 1.5)) == (-1.5, 3)
    with pytest.raises(ValueError, match=r"1\.tif.*uint8.*float32.*0\.tif"):
        value_range(samples(tiny.astype("float32"), tiny.astype("uint8")))
    with pytest.raises(ValueError, match=r"0\.tif.*infinity"):
        channel_statistics(samples(np.array([[np.inf, 1.0]])), 1)
    kept = samples(np.array([[np.nan, 4.0, 2.0]]), np.array([[3.0]]))  # NaN is no data
    assert channel_statistics(kept, 1)[0] == 3


@pytest.mark.real_data
def test_a_real_set(real_data):
    dataset = CropDataset(find_samples(real_data / "coco_person"), 96, 8, 10, seed=2)
    found = [(masks > 0).any(axis=(1, 2, 3)).sum() for _, masks in dataset]
    assert min(found) >= 4


def _all(dataset):
    return [dataset[index] for index in range(len(dataset))]


def test_pixels_without_data_are_no_object(tmp_path):
    """Crops on objects do not go to holes, and none is pasted."""
    for number in range(4):
        image, mask = np.full((64, 64, 1), 20, "float32"), np.zeros((64, 64), "uint8")
        image[:20, :20] = np.nan
        mask[50:54, 50:54] = number == 0
        tifffile.imwrite(tmp_path / f"{number}.tif", image[..., 0])
        write_png(tmp_path / f"{number}.png", mask)
    samples = [Sample(str(n), tmp_path / f"{n}.tif", tmp_path / f"{n}.png") for n in range(4)]
    options = {
        "crop_size": 32,
        "batch_size": 4,
        "positive_share": 1.0,
        "batches_per_epoch": 8,
        "channels": 1,
    }
    found = [mask for _, masks in _all(CropDataset(samples, **options)) for mask in masks]
    assert all((mask > 0).any() for mask in found)
    empty = _all(CropDataset(samples[1:], **options, paste=1.0))
    assert max((mask < 0).sum() for _, masks in empty for mask in masks) <= 20 * 20


@pytest.mark.parametrize(
    "augmentation",
    [Augmentation(rotation=45), Augmentation(rotation=180, scale=0.5), Augmentation(scale=0.35)],
)
def test_objects_stay_in_crops_that_are_turned_and_scaled(tmp_path, augmentation):
    image, mask = np.full((300, 300, 1), 20, "uint8"), np.zeros((300, 300), "uint8")
    mask[150:153, 150:153] = 1
    put(tmp_path, "a", image, mask)
    crops = CropDataset(
        find_samples(tmp_path), crop_size=48, batch_size=8, batches_per_epoch=20, channels=1,
        positive_share=1.0, augmentation=augmentation,
    )  # fmt: skip
    found = [mask for _, masks in _all(crops) for mask in masks]
    assert np.mean([(mask > 0).any() for mask in found]) > 0.97  # a rim of it may be outside
