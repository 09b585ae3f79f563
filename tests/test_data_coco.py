"""COCO annotations: the masks are what the polygons and runs say."""

import json
import pickle
import sys

import numpy as np
import pytest

from keras_deepskip.data.coco import coco_classes, coco_samples, write_masks
from keras_deepskip.data.folder import find_samples
from keras_deepskip.data.images import read_mask, write_png
from keras_deepskip.data.masks import MaskReading
from keras_deepskip.data.samples import load_pair
from keras_deepskip.data.split import load_split

pytestmark = pytest.mark.one_backend

pytest.importorskip("pycocotools")

HEIGHT, WIDTH = 20, 30


def box(left, top, right, bottom):
    """A rectangle as a polygon; it covers the pixels [top, bottom) x [left, right)."""
    return [[left, top, right, top, right, bottom, left, bottom]]


def runs(inside):
    """Uncompressed RLE: numbers of 0s and 1s in turn, column by column."""
    flat = inside.ravel(order="F")
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat, [0]])))
    counts = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return {"size": list(inside.shape), "counts": counts}


def annotation(number, image, category, segmentation, **more):
    entry = {"id": number, "image_id": image, "category_id": category, "iscrowd": 0}
    return entry | {"segmentation": segmentation} | more


@pytest.fixture
def folder(tmp_path):
    """Three images: two with objects, one without any annotation. Categories 7 (dog), 3 (cat)."""
    from pycocotools import mask as coco

    crowd = np.zeros((HEIGHT, WIDTH), "uint8")
    crowd[:, 20:] = 1
    packed = coco.encode(np.asfortranarray(crowd.T.copy().T))
    packed["counts"] = packed["counts"].decode()
    disc = np.zeros((HEIGHT, WIDTH), "uint8")
    disc[15:18, 3:9] = 1
    content = {
        "images": [
            {"id": 11, "file_name": "b.png", "height": HEIGHT, "width": WIDTH},
            {"id": 12, "file_name": "a.png", "height": HEIGHT, "width": WIDTH},
            {"id": 13, "file_name": "c.png", "height": HEIGHT, "width": WIDTH},
        ],
        "annotations": [
            annotation(1, 11, 3, box(4, 5, 6, 7), area=4),
            annotation(2, 11, 7, box(2, 3, 12, 13), area=100),
            annotation(3, 11, 7, runs(disc), area=18),
            annotation(4, 12, 7, packed, area=200, iscrowd=1),
            annotation(5, 12, 3, box(22, 1, 25, 4), area=9),
        ],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
    }
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    for number, name in enumerate("abc"):
        write_png(tmp_path / "images" / f"{name}.png", np.full((HEIGHT, WIDTH), number, "uint8"))
    return tmp_path


def change(folder, edit):
    path = folder / "annotations.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def masks(folder, ignore_class=None, **options):
    samples = coco_samples(folder / "annotations.json", folder / "images", **options)
    return [sample.mask.read(ignore_class) for sample in samples]


def test_masks_hold_class_ids_in_the_order_of_the_categories(folder):
    a, b, c = masks(folder)
    expected = np.zeros((HEIGHT, WIDTH), "int32")
    expected[3:13, 2:12] = 2  # dog, id 7
    expected[5:7, 4:6] = 1  # cat, id 3: smaller, on top though it was named first
    expected[15:18, 3:9] = 2
    assert b.dtype == np.int32 and np.array_equal(b, expected)
    expected = np.zeros((HEIGHT, WIDTH), "int32")
    expected[1:4, 22:25] = 1
    assert np.array_equal(a, expected) and not c.any()
    assert coco_classes(folder / "annotations.json") == {1: "cat", 2: "dog"}


def test_crowds_are_ignored_if_asked(folder):
    a = masks(folder, ignore_class=255)[0]
    assert (a[:, 20:] == 255).sum() == 200 - 9 and (a[1:4, 22:25] == 1).all()
    assert not a[:, :20].any()


def test_categories_and_least_area(folder):
    assert coco_classes(folder / "annotations.json", ["dog", "cat"]) == {1: "dog", 2: "cat"}
    b = masks(folder, categories=["dog"])[1]
    assert (b > 0).sum() == 118 and b.max() == 1
    b = masks(folder, min_area=50)[1]
    assert (b > 0).sum() == 100
    assert (masks(folder, min_area=50, ignore_class=9)[1] == 9).sum() == 18 + 4 - 4
    with pytest.raises(ValueError, match=r"among cat, dog. Received: cow"):
        masks(folder, categories=["cow"])


def test_a_folder_with_annotations_is_a_data_set(folder):
    samples = find_samples(folder)
    assert [sample.name for sample in samples] == ["a", "b", "c"]
    image, mask = load_pair(
        pickle.loads(pickle.dumps(samples[1])), channels=3, reading=MaskReading(3)
    )
    assert image.shape == (HEIGHT, WIDTH, 3) and set(np.unique(mask)) == {0, 1, 2}
    with pytest.raises(ValueError, match=r"annotations\.json \(image id 11\).*num_classes=3"):
        load_pair(samples[1], channels=3, reading=MaskReading(1))
    assert len(load_split(folder).train) == 1


def test_written_masks_are_those_read(folder, tmp_path):
    classes = write_masks(
        folder / "annotations.json", folder / "images", tmp_path / "out", ignore_class=255
    )
    assert classes == {1: "cat", 2: "dog"}
    for sample, expected in zip(find_samples(tmp_path / "out"), masks(folder, 255), strict=True):
        assert np.array_equal(read_mask(sample.mask, MaskReading(3, ignore_class=255)), expected)
        assert sample.image.read_bytes() == (folder / "images" / sample.image.name).read_bytes()


def test_nothing_is_printed(folder, capsys):
    masks(folder)
    assert capsys.readouterr() == ("", "")


WRONG = [
    [], None, 7, "x", [[1, 2, 3, 4, 5, 6, 7]], [[1, 2, 3, 4, 5, 6], 7], [[None] * 6], [["a"] * 6],
    {"size": [2, 2], "counts": [4]}, {"counts": "x"},
]  # fmt: skip


@pytest.mark.parametrize("segmentation", WRONG, ids=str)
def test_a_wrong_segmentation_is_named(folder, segmentation):
    def edit(content):
        content["annotations"][0]["segmentation"] = segmentation

    change(folder, edit)
    with pytest.raises(ValueError, match=r"annotations\.json.*annotation 1 was expected"):
        masks(folder)


@pytest.mark.parametrize(
    "edit, words",
    [
        (lambda c: c.pop("images"), "lists images, annotations and categories"),
        (lambda c: c["images"][0].pop("height"), "file_name, height and width"),
        (lambda c: c["images"][0].update(file_name="x.png"), "1 of 3 missing, such as x.png"),
        (lambda c: c["images"][0].update(file_name="a.png"), "one image a name"),
    ],
)
def test_a_wrong_file_is_named(folder, edit, words):
    change(folder, edit)
    with pytest.raises(ValueError, match=rf"annotations\.json.*{words}"):
        masks(folder)


def test_without_pycocotools_the_pip_line_is_said(folder, monkeypatch):
    samples = find_samples(folder)
    monkeypatch.setitem(sys.modules, "pycocotools.mask", None)
    with pytest.raises(ImportError, match="pip install pycocotools"):
        samples[0].mask.read()
