"""Crops that know which object each pixel is of, through augmentation, pasting and processes."""

import keras
import numpy as np
import pytest
from scipy import ndimage

from keras_deepskip.data import (
    Augmentation,
    CropDataset,
    MaskReading,
    WindowDataset,
    find_samples,
    load_objects,
    load_pair,
    write_png,
)
from keras_deepskip.data.object_codes import CodedCrop, keys_of
from tests import tiny

pytestmark = pytest.mark.one_backend
SETTINGS = {"crop_size": 48, "batch_size": 6, "batches_per_epoch": 3, "channels": 1}
CLASSES = MaskReading(num_classes=3)


@pytest.fixture
def folder(tmp_path):
    """Images whose touching objects each have a grey value of their own, which is their id."""
    rng = np.random.default_rng(0)
    rows, columns = np.indices((80, 96))
    for number in range(3):
        ids = np.zeros((80, 96), "uint8")
        for object_id in range(20, 240, 10):
            row, column, radius = rng.integers(80), rng.integers(96), rng.uniform(2, 12)
            ids[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = object_id
        classes = np.where(ids > 0, 1 + (ids // 10) % 2, 0).astype("uint8")
        for kind, plane in (("images", ids), ("masks", classes), ("instances", ids)):
            write_png(tmp_path / kind / f"{number}.png", plane)
    return tmp_path


def pairs_of(*planes):
    """The pairs of values at the pixels of arrays of one shape."""
    return set(zip(*(np.asarray(plane).ravel().tolist() for plane in planes), strict=True))


@pytest.mark.parametrize("seed", range(8))
def test_codes_stand_for_classes_and_objects(seed):
    rng = np.random.default_rng(seed)
    objects = rng.integers(0, 6, (9, 11))
    mask = np.where(objects > 0, objects % 3 + 1, -rng.integers(0, 2, (9, 11)))  # -1: ignored
    crop = CodedCrop(keys_of(mask, objects))
    assert (crop.codes[(mask == 0) & (objects == 0)] == 0).all()
    order = rng.permutation(9)
    classes, numbers = crop.decoded(crop.codes[order])
    np.testing.assert_array_equal(classes, mask[order])
    np.testing.assert_array_equal(numbers > 0, objects[order] > 0)
    assert len(pairs_of(numbers, objects[order])) == len(np.unique(objects))
    added = crop.add(int(keys_of(np.array(2), np.array(5))))
    classes, numbers = crop.decoded(np.array([[added]]))
    assert classes == [[2]] and numbers[0, 0] > objects.max() - 1 and crop.codes.max() < added


@pytest.mark.parametrize("augmentation", [None, Augmentation(color=0, brightness=0, contrast=0)])
@pytest.mark.parametrize("workers", [1, 2])
def test_crops_carry_the_objects_of_their_pixels(folder, augmentation, workers):
    samples = find_samples(folder)
    dataset = CropDataset(
        samples, **SETTINGS, masks=CLASSES, objects=True, augmentation=augmentation,
        workers=workers, use_multiprocessing=workers > 1,
    )  # fmt: skip
    for index in range(3):
        images, (masks, objects) = dataset[index]
        assert masks.shape == objects.shape == images.shape == (6, 48, 48, 1)
        assert masks.dtype == objects.dtype == np.int32
        for image, mask, labels in zip(images.round(), masks, objects, strict=True):
            found = pairs_of(image, labels)  # each grey value is one object, and the reverse
            assert len({value for value, _ in found}) == len({label for _, label in found})
            assert len(found) == len({value for value, _ in found})
            expected = np.where(image > 0, 1 + (image // 10) % 2, 0)
            np.testing.assert_array_equal(mask, expected)


def test_turned_and_scaled_crops_carry_them(folder):
    """Within an object, where the image is not mixed with what is beside it."""
    augmentation = Augmentation(color=0, brightness=0, contrast=0, rotation=20, scale=0.3)
    dataset = CropDataset(
        find_samples(folder), **SETTINGS, masks=CLASSES, objects=True, augmentation=augmentation
    )
    seen = 0
    for image, labels in zip(dataset[0][0], dataset[0][1][1], strict=True):
        for number in np.unique(labels[labels > 0]):
            inner = ndimage.binary_erosion(labels[..., 0] == number, np.ones((3, 3)), iterations=2)
            values = np.unique(image[..., 0][inner].round())
            assert len(values) <= 1 and not (values % 10).any()
            seen += len(values)
    assert seen > 20


def test_pasted_objects_have_numbers_of_their_own(folder):
    plain, pasted = (
        CropDataset(find_samples(folder), **SETTINGS, masks=CLASSES, objects=True, paste=share)
        for share in (0.0, 1.0)
    )
    more = 0
    for index in range(3):
        images, (masks, objects) = pasted[index]
        more += sum(len(np.unique(labels)) for labels in objects)
        more -= sum(len(np.unique(labels)) for labels in plain[index][1][1])
        np.testing.assert_array_equal(objects > 0, masks > 0)
        for image, labels in zip(images, objects, strict=True):
            for number in np.unique(labels[labels > 0]):
                assert len(np.unique(image[labels == number])) == 1  # pixels of one object alone
    assert more >= 6


def test_touching_objects_are_drawn_each_for_itself(tmp_path):
    """A mask has one component here; the ids say that three pixels of it are another object."""
    ids = np.zeros((64, 64), "uint8")
    ids[20:44, 20:44], ids[44, 30:33] = 1, 2
    tiny.put(tmp_path, "a", np.where(ids == 2, 200, 20), ids > 0)
    write_png(tmp_path / "instances" / "a.png", ids)
    settings = {**SETTINGS, "crop_size": 8, "batch_size": 200, "positive_share": 1.0}

    def share(**options):
        images = CropDataset(find_samples(tmp_path), **settings, **options)[0][0]
        return (images == 200).any(axis=(1, 2, 3)).mean()

    assert share() < 0.1 and 0.4 < share(objects=True) < 0.6


def test_without_ids_objects_are_the_components(tmp_path):
    rng = np.random.default_rng(1)
    for number in range(2):
        mask = np.kron(rng.random((10, 10)) < 0.2, np.ones((8, 8)))
        tiny.put(tmp_path, str(number), rng.integers(0, 255, (80, 80)), mask)
    samples = find_samples(tmp_path)
    settings = {**SETTINGS, "crop_size": 80}
    images, (masks, objects) = CropDataset(samples, **settings, objects=True)[1]
    expected = [load_objects(sample, load_pair(sample, 1)[1]) for sample in samples]
    for labels in objects[..., 0]:
        assert any(np.array_equal(labels > 0, own > 0) for own in expected)
        assert any(len(pairs_of(labels, own)) == own.max() + 1 for own in expected)
    plain = CropDataset(samples, **settings)[1]
    np.testing.assert_array_equal(images, plain[0])
    np.testing.assert_array_equal(masks, plain[1])


def test_windows_carry_them_too(folder):
    samples = find_samples(folder)
    settings = {"channels": 1, "masks": CLASSES, "objects": True, "shares": 3}
    dataset = WindowDataset(samples, 48, batch_size=5, **settings)
    images, (masks, objects) = dataset[1]
    np.testing.assert_array_equal(objects[..., 0], dataset.objects(1))
    assert objects.shape == masks.shape == images.shape


def test_a_network_of_two_outputs_is_fitted(folder):
    samples = find_samples(folder)
    image = keras.Input((None, None, 1))
    outputs = [keras.layers.Conv2D(1, 1, activation=kind)(image) for kind in ("sigmoid", None)]
    model = keras.Model(image, outputs)
    model.compile("sgd", ["mean_squared_error", "mean_absolute_error"])
    windows = WindowDataset(samples, 48, channels=1, masks=CLASSES, objects=True)
    crops = CropDataset(samples, **SETTINGS, masks=CLASSES, objects=True)
    history = model.fit(crops, validation_data=windows, verbose=0).history
    assert np.isfinite(history["val_loss"]).all()
