"""Objects one by one: ids beside the masks, judged and found each for itself."""

import csv
import dataclasses
import json

import numpy as np
import pytest
import tifffile
from PIL import Image

import keras_deepskip
from keras_deepskip import cli
from keras_deepskip.data import MaskReading, Sample, audit, find_samples, has_objects, load_objects
from keras_deepskip.inference import choose_operating_point, evaluate, image_work, predict
from keras_deepskip.metrics import ObjectCounts
from keras_deepskip.objects import label_objects, separate_objects
from keras_deepskip.operating_point import (
    OperatingPoint,
    operating_point_of,
    store_operating_point,
)
from tests import tiny

DISCS = [(20, 20), (20, 33), (50, 22), (50, 35), (50, 48)]  # two and three that touch


def scene():
    """An image of bright discs that touch, and which disc each pixel is of."""
    rows, columns = np.mgrid[:70, :70]
    distance = [(rows - y) ** 2 + (columns - x) ** 2 for y, x in DISCS]
    ids = np.where(np.min(distance, 0) <= 49, np.argmin(distance, 0) + 1, 0)
    return np.where(ids > 0, 200, 20).astype("uint8"), ids.astype("uint8")


@pytest.fixture
def folder(tmp_path):
    """A folder of three such images, with ids."""
    image, ids = scene()
    for number in range(3):
        tiny.put(
            tmp_path / "data", f"n{number}", np.roll(image, number, 0), np.roll(ids > 0, number, 0)
        )
        (tmp_path / "data" / "instances").mkdir(exist_ok=True)
        own = np.roll(ids, number, 0)
        Image.fromarray(own).save(tmp_path / "data" / "instances" / f"n{number}.png")
    return tmp_path / "data"


def test_ids_are_read_beside_the_masks(folder):
    sample = find_samples(folder)[0]
    assert sample.instances.name == "n0.png"
    mask = np.asarray(Image.open(sample.mask)).astype(int)
    _, ids = scene()
    assert np.array_equal(load_objects(sample, mask), ids)
    plain = dataclasses.replace(sample, instances=None)
    assert load_objects(plain, mask).max() == 2


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_rules_of_ids(tmp_path, suffix):
    mask = np.array([[1, 1, 0, 2, 2, 0, 1], [0, 0, 0, 2, 0, 0, 1]])
    ids = np.array([[7, 9, 9, 7, 7, 0, 0], [0, 0, 0, 9, 0, 7, 0]])
    path = tmp_path / f"a.{suffix}"
    Image.fromarray((ids * 1000).astype("uint16")).save(path)
    labels = load_objects(Sample("a", path, path, instances=path), mask)
    groups = {tuple(np.flatnonzero(labels == n).tolist()) for n in range(1, labels.max() + 1)}
    # An id with two classes is two objects; in two pieces it is one; without an id, a component.
    assert groups == {(0,), (1,), (3, 4), (10,), (6, 13)}
    assert not labels[mask == 0].any()
    everywhere = load_objects(Sample("a", path, path, instances=path), np.ones((2, 7), int))
    assert everywhere.min() == 1 and len(np.unique(everywhere)) == everywhere.max()


def no_data_is_zero(path, ids):
    tifffile.imwrite(f"{path}.tif", ids.astype("uint16"), extratags=[(42113, 2, 2, "0", True)])


def of_a_palette(path, ids):
    image = Image.fromarray(ids.astype("uint8"), "P")
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0] + [0] * 759)
    image.save(f"{path}.png")


def of_32_bits(path, ids):
    """Neighbours above 2^24, which float32 does not tell apart."""
    tifffile.imwrite(f"{path}.tif", np.where(ids > 0, ids + 2**24 - 1, 0).astype("uint32"))


@pytest.mark.parametrize("write", [no_data_is_zero, of_a_palette, of_32_bits])
def test_ids_are_read_as_masks_are(tmp_path, write):
    ids = np.zeros((12, 20), int)
    ids[2:9, 3:8], ids[2:9, 8:14] = 1, 2
    write(tmp_path / "ids", ids)
    (path,) = tmp_path.iterdir()
    assert np.array_equal(load_objects(Sample("a", path, path, instances=path), ids > 0), ids)
    by_mask = Sample("a", path, path)
    assert np.array_equal(load_objects(by_mask, ids > 0, MaskReading(kind="objects")), ids)


def test_masks_of_ids_and_annotations_say_it_too(folder, tmp_path):
    _, ids = scene()
    sample = dataclasses.replace(find_samples(folder)[0], instances=None)
    tiny.put(tmp_path / "ids", "n0", ids, ids)
    by_mask = dataclasses.replace(sample, mask=tmp_path / "ids" / "masks" / "n0.png")
    reading = MaskReading(kind="objects")
    assert np.array_equal(load_objects(by_mask, (ids > 0).astype(int), reading), ids)
    assert has_objects(by_mask, reading) and not has_objects(by_mask, MaskReading())

    squares = [[x, 5, x + 6, 5, x + 6, 11, x, 11] for x in (4, 10, 30)]
    annotations = [
        {"id": n, "image_id": 1, "category_id": 1, "segmentation": [own], "iscrowd": 0}
        for n, own in enumerate(squares, start=1)
    ]
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 20, "width": 40}],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": annotations,
    }
    tiny.put(tmp_path / "coco", "a", np.zeros((20, 40)))
    (tmp_path / "coco" / "annotations.json").write_text(json.dumps(content))
    (sample,) = find_samples(tmp_path / "coco")
    mask = sample.mask.read()
    assert label_objects(mask)[1] == 2
    labels = load_objects(sample, mask)
    assert labels.max() == 3 and np.array_equal(labels > 0, mask > 0)


def test_ids_that_do_not_fit(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((3, 4), "uint8")).save(path)
    with pytest.raises(ValueError, match=r"a.png: object ids of the mask's size .* 3 x 4"):
        load_objects(Sample("a", path, path, instances=path), np.zeros((5, 4), int))
    Image.new("RGB", (4, 3), (9, 0, 0)).save(path)
    with pytest.raises(ValueError, match="one channel of object ids"):
        load_objects(Sample("a", path, path, instances=path), np.zeros((3, 4), int))


def test_the_audit_tells_how_many_touch(folder):
    (note,) = [f for f in audit(folder).findings if "touch another" in f.message]
    assert note.severity == "note" and "100 % of the objects" in note.message
    assert "(15 of 15 in 3 images)" in note.message
    assert not [f for f in audit(folder).findings if "no part uses" in f.message]
    Image.fromarray(np.zeros((3, 4), "uint8")).save(folder / "instances" / "n1.png")
    (error,) = [f for f in audit(folder).findings if f.severity == "error"]
    assert error.file.endswith("instances/n1.png") and "3 x 4" in error.message


def test_counts_of_labels():
    true = np.array([[1, 1, 1, 1, 0]])
    counts = ObjectCounts()
    counts.update(true, true, true_labels=np.array([[4, 4, 9, 9, 0]]))
    assert counts.select() == (0 + 1, 0, 1)  # half of the whole is found by it
    counts = ObjectCounts()
    labels = np.array([[4, 4, 9, 9, 0]])
    counts.update(true, true, true_labels=labels, predicted_labels=labels[:, ::1])
    assert counts.select() == (2, 0, 0)
    classes = ObjectCounts(num_classes=3)
    mask = np.array([[1, 1, 2, 2, 0]])
    classes.update(mask, mask, true_labels=np.array([[1, 1, 1, 2, 0]]))
    assert classes.select(class_id=1) == (1, 0, 0) and classes.select(class_id=2) == (1, 0, 1)
    with pytest.raises(ValueError, match="multilabel"):
        ObjectCounts(multilabel=True).update(true[..., None], true[..., None], true_labels=true)


def test_evaluation_judges_by_ids_and_the_point_tells_objects_apart(folder):
    model, samples = tiny.bright_model(), find_samples(folder)
    melted = evaluate(model, samples, verbose=0).objects["all"]
    assert (melted["tp"], melted["fn"], melted["fp"]) == (3, 12, 3)
    apart = evaluate(model, samples, separate=True, verbose=0)
    assert apart.objects["all"]["f1"] == 1 and apart.separate
    choice = choose_operating_point(model, samples, MaskReading())
    assert choice.point.separate and choice.score == 1
    plain = [dataclasses.replace(sample, instances=None) for sample in samples]
    assert not choose_operating_point(model, plain, MaskReading()).point.separate


def test_the_point_travels_with_the_model(tmp_path):
    model = keras_deepskip.build_model((None, None, 1), **tiny.MODEL)
    store_operating_point(model, OperatingPoint(0.4, 3, True))
    model.save(tmp_path / "model.keras")
    point = operating_point_of(keras_deepskip.load_model(tmp_path / "model.keras"))
    assert point == OperatingPoint(0.4, 3, True)
    assert point.replaced(separate=False) == OperatingPoint(0.4, 3)


def test_predict_writes_each_object(folder, tmp_path, capsys):
    out = tmp_path / "found"
    rows = predict(tiny.bright_model(), folder / "images", out, separate=True, verbose=0)
    _, ids = scene()
    assert len(rows) == 15
    labels = np.asarray(Image.open(out / "labels" / "n0.tif"))
    assert labels.dtype == np.uint16 and np.array_equal(labels > 0, ids > 0)
    for row in rows[:5]:
        own = labels == row["object"]
        assert own.sum() == row["area"]
        assert np.argwhere(own).mean(0) == pytest.approx(
            [row["centroid_y"], row["centroid_x"]], abs=0.01
        )
    whole = predict(tiny.bright_model(), folder / "images", tmp_path / "b", verbose=0)
    assert len(whole) == 6
    model = tmp_path / "model.keras"
    tiny.bright_model().save(model)
    command = ["predict", "--model", str(model), "--images", str(folder / "images"), "--out"]
    assert cli.main([*command, str(tmp_path / "c"), "--separate", "--format", "coco"]) == 0
    assert len(json.loads((tmp_path / "c" / "annotations.json").read_text())["annotations"]) == 15
    assert "Found 15 objects" in capsys.readouterr().out
    with (tmp_path / "c" / "objects.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 15


def test_measures_are_those_of_scikit_image_and_images_are_counted(folder, tmp_path):
    out = tmp_path / "found"
    options = {"separate": True, "measures": True, "verbose": 0}
    rows = predict(tiny.bright_model(), folder / "images", out, **options)
    with (out / "objects.csv").open() as file:
        written = list(csv.DictReader(file))
    assert [float(row["solidity"]) for row in written] == [row["solidity"] for row in rows]
    for row in rows:
        assert row["equivalent_diameter"] == pytest.approx(
            2 * np.sqrt(row["area"] / np.pi), abs=1e-3
        )
        assert row["eccentricity"] < 0.6 and row["solidity"] > 0.9  # nearly discs
        assert row["intensity_mean_0"] == 200 and 35 < row["perimeter"] < 50
    with (out / "images.csv").open() as file:
        counted = list(csv.DictReader(file))
    assert [(row["image"], row["class"], row["objects"]) for row in counted] == [
        (f"n{n}", "1", "5") for n in range(3)
    ]
    assert [row["file"] for row in counted] == [
        str((folder / "images" / f"{row['image']}.png").absolute()) for row in counted
    ]
    areas = [row["area"] for row in rows if row["image"] == "n0"]
    assert float(counted[0]["covered_share"]) == pytest.approx(sum(areas) / 4900, abs=1e-6)
    assert float(counted[0]["mean_area"]) == pytest.approx(np.mean(areas), abs=0.01)


@pytest.mark.parametrize("separate", [True, False])
def test_coco_annotations_hold_every_pixel_of_every_object(folder, tmp_path, separate):
    from pycocotools.coco import COCO

    ends = np.zeros((70, 70))  # objects at the first and the last pixel
    ends[:3, :2], ends[-2:, -4:], ends[10:12, 5:9] = 200, 200, 200
    tiny.put(folder, "ends", ends)
    out = tmp_path / "found"
    options = {"separate": separate, "formats": ["coco"], "verbose": 0}
    rows = predict(tiny.bright_model(), folder / "images", out, **options)
    coco = COCO(out / "annotations.json")
    names = {image["file_name"]: image["id"] for image in coco.dataset["images"]}
    assert sorted(names) == ["ends.png", "n0.png", "n1.png", "n2.png"]
    assert len(coco.anns) == len(rows) == (18 if separate else 9)
    for name, image_id in names.items():
        labels = np.asarray(Image.open(out / "labels" / name.replace("png", "tif")))
        own = coco.loadAnns(coco.getAnnIds(image_id))
        for number, annotation in enumerate(own, start=1):
            mask = coco.annToMask(annotation)
            assert np.array_equal(mask > 0, labels == number)
            top, left = np.argwhere(mask).min(0)
            assert annotation["bbox"][:2] == [left, top] and annotation["area"] == mask.sum()
            assert annotation["score"] > 0.5
    with pytest.raises(ValueError, match="`formats` must be one of 'coco', 'geojson'"):
        predict(tiny.bright_model(), folder / "images", out, formats=["cocoa"], verbose=0)


@pytest.mark.parametrize("separate", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_objects_of_large_images_are_those_of_one_pass(tmp_path, monkeypatch, seed, separate):
    """Touching discs of drawn sizes, over borders of parts and the edge of the image."""
    rng = np.random.default_rng(seed)
    shape = rng.integers(150, 260, 2)
    rows, columns = np.indices(shape)
    inside = np.zeros(shape, bool)
    for _ in range(60):
        y, x = rng.integers(shape)
        inside |= (rows - y) ** 2 + (columns - x) ** 2 <= rng.uniform(2, 14) ** 2
    tiny.put(tmp_path / "data", "a", np.where(inside, 200, 20))
    options = {"separate": separate, "min_area": 9, "verbose": 0, "overlays": False}
    images = tmp_path / "data" / "images"
    expected = predict(tiny.bright_model(), images, tmp_path / "one", **options)
    monkeypatch.setattr(image_work, "LARGE", 100)
    monkeypatch.setattr("keras_deepskip.inference.large.BLOCK", 64)
    found = predict(tiny.bright_model(), images, tmp_path / "parts", **options)
    assert separate_objects(inside)[1] > label_objects(inside)[1]

    assert len(found) == len(expected)
    for row, wanted in zip(found, expected, strict=True):
        assert row == pytest.approx(wanted)
    whole, parts = (
        np.asarray(Image.open(tmp_path / name / "labels" / "a.tif")) for name in ("one", "parts")
    )
    assert parts.dtype == np.uint16
    np.testing.assert_array_equal(parts, whole)
    for number, row in enumerate(found, start=1):
        assert row["object"] == number and (parts == number).sum() == row["area"]
    assert not list((tmp_path / "parts").rglob("*.npy"))
