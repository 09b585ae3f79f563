"""YOLO's outlines in place: both layouts, objects and names, and what is no such set."""

import dataclasses
import unicodedata

import numpy as np
import pytest
from PIL import Image

from keras_deepskip.data import (
    MaskReading,
    Survey,
    audit,
    find_samples,
    import_set,
    load_mask,
    load_objects,
    load_split,
)
from keras_deepskip.training import train
from tests import tiny
from tests.test_data_survey import aged

pytestmark = pytest.mark.one_backend
HEIGHT, WIDTH = 48, 64
READING = MaskReading(num_classes=3)
BOXES = [(0, (4, 6, 20, 14)), (0, (4, 14, 20, 22)), (1, (30, 10, 40, 40))]  # two that touch


def write_set(root, folder="images/{}", texts="labels/{}", parts=("train", "val", "test")):
    """A set with the three objects of `BOXES` on each image but the second of a part."""
    rng = np.random.default_rng(5)
    for part in parts:
        pictures, labels = root / folder.format(part), root / texts.format(part)
        pictures.mkdir(parents=True, exist_ok=True)
        labels.mkdir(parents=True, exist_ok=True)
        for number in range(4):
            image = rng.integers(0, 90, (HEIGHT, WIDTH)).astype("uint8")
            for _, (top, left, bottom, right) in BOXES if number != 1 else ():
                image[top:bottom, left:right] += 120
            Image.fromarray(image).save(pictures / f"{part}{number}.png")
            if number != 1:
                (labels / f"{part}{number}.txt").write_text("".join(map(line, BOXES)))
    (root / "data.yaml").write_text("names: [cell, 'long cell']\ntrain: images/train\n")
    return root


def line(entry):
    number, (top, left, bottom, right) = entry
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    shares = (corners / (WIDTH, HEIGHT)).ravel()
    return f"{number} " + " ".join(f"{share:.6f}" for share in shares) + "\n"


LAYOUTS = {
    "parts in images": ("images/{}", "labels/{}"),
    "images in parts": ("{}/images", "{}/labels"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_samples_masks_and_objects(tmp_path, layout):
    root = write_set(tmp_path, *LAYOUTS[layout])
    split = load_split(root)
    assert [len(part) for part in (split.train, split.val, split.test)] == [4, 4, 4]
    expected = np.zeros((HEIGHT, WIDTH), int)
    numbers = expected.copy()
    for place, (number, (top, left, bottom, right)) in enumerate(BOXES, start=1):
        expected[top:bottom, left:right], numbers[top:bottom, left:right] = number + 1, place
    for sample in split.train:
        empty = sample.name == "train1"
        mask = load_mask(sample, READING)
        np.testing.assert_array_equal(mask, 0 * expected if empty else expected)
        ids = load_objects(sample, mask, READING)
        pairs = np.unique(np.stack([ids.ravel(), (numbers * (not empty)).ravel()]), axis=1)
        assert pairs.shape[1] == (1 if empty else 4)


def test_one_folder_without_parts_is_split_by_the_seed(tmp_path):
    root = write_set(tmp_path, "images", "labels", parts=("a",))
    assert [sample.name for sample in find_samples(root)] == ["a0", "a1", "a2", "a3"]


def test_survey_audit_and_training_know_the_classes(tmp_path):
    root = write_set(tmp_path / "set")
    survey = Survey.of(root)
    assert survey.pools["val"].classes == {1: "cell", 2: "long cell"}
    report = audit(survey)
    assert report.figures["num_classes"] == 3
    assert not [finding for finding in report.findings if finding.severity == "error"]
    recipe = dataclasses.replace(tiny.RECIPE, epochs=1)
    run = train(survey, tmp_path / "run", recipe, verbose=0, **tiny.MODEL)
    assert run.class_names == {1: "cell", 2: "long cell"}
    again = train(root, tmp_path / "run", recipe, verbose=0, resume=True, **tiny.MODEL)
    assert [sample.name for sample in again.split.val] == [s.name for s in run.split.val]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("labels/train/train0.txt", "0 .5 .5 .2 .2", r"train0\.txt: outlines .* a box"),
        ("labels/train/train0.txt", "2 0 0 1 0 1 1", r"train0\.txt: classes 0 to 1 .* 2"),
        ("labels/train/train0.txt", "0 0 0 1 nan 1 1", r"train0\.txt: a polygon of finite"),
        ("labels/train/train0.txt", "x 0 0", r"train0\.txt: a class and pairs"),
        (
            "labels/train/train0.txt",
            "\n0 9 9 30 9 30 30",
            r"train0\.txt: shares .* line 2: '0 9 9 ",
        ),
        ("labels/train/train0.txt", b"0 0 0 1 0 1 1\n\xe9", r"train0\.txt: a text in UTF-8"),
        ("data.yaml", "names: cell", r"data\.yaml: `names` .* 'cell'. Write `names: \[cell\]`"),
        ("data.yaml", "names: {0: a, 2: b}", r"data\.yaml: `names` of the classes"),
        ("data.yaml", None, r"data\.yaml: the names of the classes .* no such file"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, file, text, message):
    root = write_set(tmp_path)
    (root / file).unlink()
    if text is not None:
        (root / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_split(root)
    (finding, *_) = [f for f in audit(root).findings if f.severity == "error"]
    assert file.rpartition("/")[2] in finding.message + finding.file


def test_texts_without_an_image_are_told(tmp_path):
    """An image whose text has another name would be one without objects, in silence."""
    root = write_set(tmp_path / "set")
    labels = root / "labels" / "train"
    assert not [f for f in audit(root).findings if "without an image" in f.message]
    (labels / "classes.txt").write_text("cell\nlong cell\n")
    (labels / "train0.txt").rename(labels / "train_0.txt")
    (finding,) = [f for f in audit(root).findings if "text" in f.message]
    assert finding.severity == "warning" and "train_0.txt" in finding.message
    assert finding.file == str(root / "images" / "train")
    with pytest.warns(UserWarning, match=r"1 text without an image \(train_0\.txt\): left out"):
        train(root, tmp_path / "run", dataclasses.replace(tiny.RECIPE, epochs=1), verbose=0,
              **tiny.MODEL)  # fmt: skip


def test_a_byte_order_mark_and_points_beside_the_image(tmp_path):
    root = write_set(tmp_path, "images", "labels", parts=("a",))
    (root / "labels" / "a0.txt").write_text("0 -.02 -.02 1.2 -.02 1.2 1.2 -.02 1.2", "utf-8-sig")
    assert (load_mask(find_samples(root)[0], READING) == 1).all()


@pytest.mark.parametrize("name", ["data.yaml", "dataset.yml"])
def test_the_file_of_names_among_others(tmp_path, name):
    root = write_set(tmp_path / "set")
    (root / "data.yaml").rename(root / name)
    (root / "args.yaml").write_text("task: segment\nepochs: 3\n")
    assert Survey.of(root).pools["val"].classes == {1: "cell", 2: "long cell"}
    done = import_set("yolo", root, tmp_path / "out", verbose=0)
    assert done.classes == {"cell": 1, "long cell": 2}


def test_outlines_of_images_of_another_size_are_drawn_anew(tmp_path, monkeypatch):
    """The texts, shares of the size, are those that the last survey read."""
    monkeypatch.setenv("KERAS_DEEPSKIP_CACHE", str(tmp_path / "cache"))
    root = write_set(tmp_path / "set", "images", "labels", parts=("a",))
    aged(root)
    assert audit(root).ok
    for path in (root / "images").iterdir():
        Image.open(path).resize((2 * WIDTH, 2 * HEIGHT), Image.Resampling.NEAREST).save(path)
    report = audit(root)
    assert report.ok, report.text()
    assert sorted(Survey.of(root).mask(find_samples(root)[0]).areas) == [4 * 2 * 128, 4 * 300]


def test_masks_beside_outlines_are_what_counts(tmp_path):
    root = write_set(tmp_path, "images", "labels", parts=("a",))
    for sample in find_samples(root):
        tiny.put(root, sample.name, np.zeros((HEIGHT, WIDTH)), np.ones((HEIGHT, WIDTH)))
    assert all(load_mask(sample).all() for sample in find_samples(root))


def test_names_in_any_form_of_unicode(tmp_path):
    """An accent as a letter of its own, as macOS writes it."""
    root = write_set(tmp_path)
    for folder, suffix in (("images", ".png"), ("labels", ".txt")):
        form = "NFD" if folder == "images" else "NFC"
        name = unicodedata.normalize(form, "Zähl") + suffix
        (root / folder / "train" / f"train0{suffix}").rename(root / folder / "train" / name)
    mask = {s.name: load_mask(s, READING) for s in load_split(root).train}
    assert mask[unicodedata.normalize("NFD", "Zähl")].any()


def test_labels_of_poses_are_no_outlines(tmp_path):
    root = write_set(tmp_path)
    with (root / "data.yaml").open("a") as file:
        file.write("kpt_shape: [4, 3]\n")
    with pytest.raises(ValueError, match="Received: `kpt_shape`, of labels for poses"):
        load_split(root)
