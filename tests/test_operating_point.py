"""The operating point: how it decides, is chosen, travels with the model, and is used."""

import dataclasses
import json

import keras
import numpy as np
import pytest

from keras_deepskip import load_model
from keras_deepskip.architectures import TrainingAdapter
from keras_deepskip.data import MaskReading, find_images, find_samples, read_image, write_png
from keras_deepskip.data.masks import read_ids
from keras_deepskip.inference import (
    choose_operating_point,
    choosing,
    evaluate,
    image_work,
    predict,
    stream,
)
from keras_deepskip.layers import ImageNormalization
from keras_deepskip.objects import label_objects, remove_small
from keras_deepskip.operating_point import (
    OperatingPoint,
    operating_point_of,
    store_operating_point,
)
from tests import tiny


def grey_model():
    """A model whose probability is the grey value over 255, and that can hold a point."""
    inputs = keras.Input((None, None, 1))
    seen = ImageNormalization((0, 255), mean=[0.0], variance=[255.0**2])(inputs)
    outputs = keras.layers.Conv2D(1, 1, use_bias=False, kernel_initializer="ones")(seen)
    return keras.Model(inputs, outputs)


def scenes(folder, count=3, specks=6):
    """Objects of grey 100 (probability 0.39), and specks of 5 pixels as bright."""
    rng = np.random.default_rng(0)
    for number in range(count):
        image, mask = rng.integers(0, 20, (80, 90)), np.zeros((80, 90))
        for row in (5, 30, 55):
            for column in (5, 35, 65):
                image[row : row + 8, column : column + 8] = 100
                mask[row : row + 8, column : column + 8] = 1
        for place in range(specks):
            image[18 + 25 * (place % 2), 4 + 14 * place : 9 + 14 * place] = 100
        tiny.put(folder, f"s{number}", image, mask)
    return find_samples(folder)


def test_numbers_of_numpy_are_kept_as_plain_ones(tmp_path):
    point = OperatingPoint(np.float32(0.25), np.array([0, 3]), np.bool_(True))
    assert json.dumps(point.to_dict()) == json.dumps(
        {"threshold": 0.25, "min_area": (0, 3), "separate": True}
    )
    tiny.put(tmp_path, "a", np.pad(np.full((4, 4), 200), 3), np.pad(np.ones((4, 4)), 3))
    numbers = {"threshold": np.float32(0.25), "min_area": np.int64(3), "verbose": 0}
    assert len(predict(tiny.bright_model(), tmp_path, tmp_path / "out", **numbers)) == 1
    evaluate(tiny.bright_model(), find_samples(tmp_path), tmp_path / "judged", **numbers)


def test_too_few_least_areas_are_refused_at_once(tmp_path):
    tiny.put(tmp_path, "a", np.zeros((8, 9)))
    words = r"`min_area` must be one number, or one for each class id from 0 to 2.*: min_area=.0, 5"
    with pytest.raises(ValueError, match=words):
        predict(tiny.grey_level_model(), tmp_path, tmp_path / "out", min_area=(0, 5), verbose=0)
    with pytest.raises(ValueError, match="from 0 to 1"):
        evaluate(tiny.bright_model(), find_images(tmp_path), min_area=[3])


@pytest.mark.parametrize("connectivity", [4, 8])
def test_small_objects_are_removed_and_no_others(connectivity):
    rng = np.random.default_rng(1)
    mask = (rng.random((60, 70)) > 0.6).astype("uint8") * rng.integers(1, 3, (60, 70), "uint8")
    labels, count = label_objects(mask, connectivity)
    areas = np.bincount(labels.ravel())
    expected = mask.copy()
    for number in range(1, count + 1):
        least = (0, 3, 9)[mask[labels == number][0]]
        if areas[number] < least:
            expected[labels == number] = 0
    found = remove_small(mask, (0, 3, 9), connectivity)
    assert found.dtype == mask.dtype and np.array_equal(found, expected)
    assert not np.array_equal(found, mask) and remove_small(mask, 0) is mask


def test_the_point_that_finds_the_objects_is_chosen(tmp_path):
    choice = choose_operating_point(grey_model(), scenes(tmp_path))
    assert 0.05 < choice.point.threshold < 100 / 255 and 5 < choice.point.min_area <= 64
    assert choice.images == 3 and choice.objects == 27
    thresholds = [row["threshold"] for row in choice.curve]
    assert thresholds == sorted(thresholds)
    rows = {row["threshold"]: row for row in choice.curve}
    assert rows[0.3]["f1"] == 1 and rows[0.5]["recall"] == 0


def test_few_objects_and_small_gains_leave_the_default(tmp_path):
    few = scenes(tmp_path / "a", count=1)
    for sample in few:
        mask = np.zeros((80, 90))
        mask[5:13, 5:13] = 1
        tiny.put(tmp_path / "a", sample.name, read_image(sample.image)[..., 0], mask)
    assert choose_operating_point(grey_model(), few).point == OperatingPoint()
    for number in range(2):  # 0.5 is as good as any other
        tiny.put(tmp_path / "b", f"s{number}", *bright(tmp_path))
    assert choose_operating_point(grey_model(), find_samples(tmp_path / "b")).point.threshold == 0.5


@pytest.mark.parametrize(("count", "moves"), [(1, False), (8, True)])
def test_a_small_gain_needs_many_objects(tmp_path, count, moves):
    """Rims of a tenth of each object are found below 0.4 alone: of pixels, .09 more IoU."""
    for number in range(count):
        image, mask = np.zeros((60, 60)), np.zeros((60, 60))
        for top, left in np.ndindex(2, 3):
            top, left = 5 + 25 * top, 3 + 18 * left
            image[top : top + 10, left : left + 10] = 250
            image[top + 10, left : left + 10] = 100
            mask[top : top + 11, left : left + 10] = 1
        tiny.put(tmp_path, f"s{number}", image, mask)
    choice = choose_operating_point(grey_model(), find_samples(tmp_path))
    assert choice.objects == 6 * count
    assert (choice.point.threshold < 100 / 255) == moves
    rows = {row["threshold"]: row for row in choice.curve}
    assert rows[0.5]["f1"] == rows[0.3]["f1"] == rows[0.3]["iou"] == 1
    assert rows[0.5]["iou"] == pytest.approx(10 / 11)
    assert choice.score == pytest.approx(1 if moves else 21 / 22)


def bright(folder):
    (sample, *_) = scenes(folder / "c", count=1, specks=0)
    image = read_image(sample.image)[..., 0]
    return np.where(image == 100, 250, 0), image == 100


def test_preferring_recall_or_precision_moves_it(tmp_path):
    """Half of the objects are dim, and as dim as much that is none."""
    rng = np.random.default_rng(2)
    for number in range(4):
        image, mask = np.zeros((90, 90)), np.zeros((90, 90))
        for place, (row, column) in enumerate(np.ndindex(8, 8)):
            top, left = 2 + 11 * row, 2 + 11 * column
            kind = rng.integers(4) if place else 0
            image[top : top + 7, left : left + 7] = 200 if kind == 0 else 60
            mask[top : top + 7, left : left + 7] = kind < 2
        tiny.put(tmp_path, f"s{number}", image, mask)
    samples = find_samples(tmp_path)
    low, high = (
        choose_operating_point(grey_model(), samples, prefer=prefer).point.threshold
        for prefer in ("recall", "precision")
    )
    assert low < 60 / 255 <= high
    with pytest.raises(ValueError, match="prefer"):
        choose_operating_point(grey_model(), samples, prefer="speed")


def test_of_several_classes_each_has_its_least_area(tmp_path):
    model = tiny.grey_level_model()  # class 1 from 64 on, class 2 from 192 on
    for number in range(3):
        image, mask = np.zeros((70, 90)), np.zeros((70, 90))
        for place in range(5):
            for row, grey, class_id in ((5, 120, 1), (40, 250, 2)):
                image[row : row + 9, 4 + 17 * place : 13 + 17 * place] = grey
                mask[row : row + 9, 4 + 17 * place : 13 + 17 * place] = class_id
            image[25, 4 + 17 * place : 8 + 17 * place] = 120  # specks of the first class alone
        tiny.put(tmp_path, f"s{number}", image, mask)
    point = choose_operating_point(model, find_samples(tmp_path)).point
    assert point.threshold == 0.5 and point.min_area[0] == 0
    assert 4 < point.min_area[1] <= 81 and point.min_area[2] == 0


def test_of_several_classes_one_threshold_is_chosen(tmp_path):
    """Objects of two classes whose probabilities are right, and below that of the background."""
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, keras.layers.Rescaling(1 / 255)(inputs))
    for number in range(3):
        image, mask = np.zeros((70, 90, 3)), np.zeros((70, 90))
        image[...] = 255 * np.array([0.8, 0.1, 0.1])
        for place in range(5):
            for row, class_id in ((5, 1), (40, 2)):
                box = slice(row, row + 9), slice(4 + 17 * place, 13 + 17 * place)
                image[box] = 255 * np.eye(3)[class_id] * 0.4 + 255 * np.array([0.6, 0, 0])
                mask[box] = class_id
        tiny.put(tmp_path, f"s{number}", image, mask)
    samples = find_samples(tmp_path)
    choice = choose_operating_point(model, samples, MaskReading(3))
    assert 0.111 < choice.point.threshold < 0.4 and choice.score == 1
    assert {row["class"] for row in choice.curve} == {1, 2}
    options = {"masks": MaskReading(3), "verbose": 0}
    found = evaluate(model, samples, threshold=choice.point.threshold, **options)
    assert found.objects["all"]["f1"] == 1 and found.pixels["IoU"] == 1
    plain = evaluate(model, samples, **options)
    assert plain.objects["all"]["tp"] == 0


def test_it_travels_in_the_models_file(tmp_path):
    model = grey_model()
    assert operating_point_of(model) == OperatingPoint()
    assert store_operating_point(model, OperatingPoint(0.3, (0, 7)))
    model.save(tmp_path / "m.keras")
    assert operating_point_of(load_model(tmp_path / "m.keras")) == OperatingPoint(0.3, (0, 7))
    assert not store_operating_point(tiny.bright_model(), OperatingPoint())


def test_everything_decides_by_it_unless_told_otherwise(tmp_path, monkeypatch):
    samples, model = scenes(tmp_path / "set"), grey_model()
    assert evaluate(model, samples, verbose=0).objects["all"]["tp"] == 0
    store_operating_point(model, OperatingPoint(0.3, 6))
    figures = evaluate(model, samples, verbose=0)
    assert figures.objects["all"] | {"tp": 27, "fn": 0, "fp": 0} == figures.objects["all"]
    assert figures.pixels["IoU"] == 1 and (figures.threshold, figures.min_area) == (0.3, 6)
    assert evaluate(model, samples, min_area=0, verbose=0).objects["all"]["fp"] == 18
    assert evaluate(model, samples, threshold=0.6, verbose=0).objects["all"]["tp"] == 0

    images = tmp_path / "set" / "images"
    assert len(predict(model, images, tmp_path / "a", verbose=0)) == 27
    truth = [read_ids(sample.mask) for sample in samples]
    found = [read_ids(tmp_path / "a" / "masks" / f"s{n}.png") for n in range(3)]
    assert all(np.array_equal(a, b) for a, b in zip(found, truth, strict=True))
    assert len(predict(model, images, tmp_path / "b", min_area=0, verbose=0)) == 45
    assert [result.mask.sum() for result in stream(model, images)] == [9 * 64] * 3

    monkeypatch.setattr(image_work, "LARGE", 1000)  # read and written in parts
    monkeypatch.setattr("keras_deepskip.inference.large.BLOCK", 21)
    assert len(predict(model, images, tmp_path / "c", verbose=0)) == 27
    large = [read_ids(tmp_path / "c" / "masks" / f"s{n}.tif") for n in range(3)]
    assert all(np.array_equal(a, b) for a, b in zip(large, truth, strict=True))


def test_a_run_keeps_its_point_and_curve():
    run = tiny.run()
    assert run.operating_point == operating_point_of(run.model)
    old = dataclasses.replace(run, folder=tiny.scratch())
    assert old.operating_point == OperatingPoint()  # of a run that is older


@pytest.mark.parametrize("options", [{"threshold": 1.2}, {"min_area": -1}, {"min_area": (0, 2.5)}])
def test_what_is_out_of_range(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        OperatingPoint(**options)


def disc_pictures(folder, name, *objects):
    """An image whose bright objects are unions of discs of radius 5, one id each."""
    rows, columns = np.mgrid[:48, :96]
    ids = np.zeros((48, 96), "uint8")
    for number, discs in enumerate(objects, start=1):
        for row, column in discs:
            ids[(rows - row) ** 2 + (columns - column) ** 2 <= 25] = number
    image = np.where(ids > 0, 200, 20).astype("uint8")
    for kind, pixels in (("images", image), ("masks", ids > 0), ("instances", ids)):
        write_png(folder / kind / f"{name}.png", pixels.astype("uint8"))


@pytest.mark.one_backend
def test_true_masks_say_whether_shape_tells_objects_apart(tmp_path):
    """Where no object of the validation images touches another, those of training images may."""
    apart = [[(10, 10 + 20 * index)] for index in range(4)] + [[(36, 10)], [(36, 50)]]
    disc_pictures(tmp_path / "val", "a", *apart)
    disc_pictures(tmp_path / "touching", "b", [(20, 20)], [(20, 28)], [(20, 36)])
    disc_pictures(tmp_path / "waists", "c", [(20, 20), (20, 28)], [(40, 60), (40, 68)])
    val, touching, waists = (find_samples(tmp_path / n) for n in ("val", "touching", "waists"))
    model = tiny.bright_model()
    for trained_on, separate in (((), False), (touching, True), (waists, False)):
        choice = choose_operating_point(model, val, trained_on=trained_on)
        assert choice.point.separate is separate


@pytest.mark.parametrize(("count", "gain", "area"), [(200, 0.1, 64), (200, 0.001, 0), (2, 0.1, 0)])
def test_least_areas_are_earned_at_any_threshold(count, gain, area):
    """By classes of enough objects, that gain by them; beside one that decides the threshold."""

    def row(threshold, score, gained=0.0):
        plain = {"min_area": 0, "score": score}
        best = {"min_area": 64, "score": score + gained}
        return {"threshold": threshold, **best, "plain": plain}

    rows = {1: [row(0.3, 0.9), row(0.5, 0.5)], 2: [row(0.3, 0.9 - gain, gain), row(0.5, 0.5)]}
    threshold, chosen = choosing._threshold(rows, {1: 200, 2: count})
    assert threshold == 0.3 and chosen[1]["min_area"] == 0 and chosen[2]["min_area"] == area


def test_a_network_that_finds_objects_is_judged_by_those(tmp_path, monkeypatch):
    """Two halves of a bright square, at a probability of 0.4: each is found, if they are told."""
    image, ids = np.zeros((40, 40), "uint8"), np.zeros((40, 40), "uint8")
    for number, (top, left) in enumerate(np.ndindex(3, 3)):
        image[2 + 12 * top : 10 + 12 * top, 2 + 12 * left : 10 + 12 * left] = 100
        ids[2 + 12 * top : 10 + 12 * top, 2 + 12 * left : 6 + 12 * left] = 2 * number + 1
        ids[2 + 12 * top : 10 + 12 * top, 6 + 12 * left : 10 + 12 * left] = 2 * number + 2
    tiny.put(tmp_path, "a", image, ids > 0)
    write_png(tmp_path / "instances" / "a.png", ids)

    class Finder(TrainingAdapter):
        def object_finder(self, network):
            return lambda image: lambda threshold: np.where(image[..., 0] > 255 * threshold, ids, 0)

    monkeypatch.setattr(choosing, "adapter_of", lambda model: Finder())
    choice = choose_operating_point(grey_model(), find_samples(tmp_path))
    assert choice.point.threshold < 100 / 255 and choice.score == 1 and not choice.point.separate
