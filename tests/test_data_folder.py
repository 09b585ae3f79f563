"""Folders of images and masks: pairs found, what is missing named, groups kept."""

import zlib

import numpy as np
import pytest
from PIL import Image

from keras_deepskip.data.folder import find_images, find_samples, scan
from keras_deepskip.data.images import write_png
from keras_deepskip.data.samples import Sample, load_image, load_mask, load_pair

pytestmark = pytest.mark.one_backend


def put(folder, name, image=None, mask=None, seed=None):
    """Writes an image, and its mask if there is one, of 6 x 5 pixels."""
    rng = np.random.default_rng(zlib.crc32(name.encode()) if seed is None else seed)
    image = rng.integers(0, 256, (6, 5, 3), "uint8") if image is None else image
    write_png(folder / "images" / f"{name}.png", image)
    if mask is not False:
        mask = rng.integers(0, 2, (6, 5)).astype("uint8") if mask is None else mask
        write_png(folder / "masks" / f"{name}.png", mask)


def test_pairs_by_name_whatever_the_suffix(tmp_path):
    put(tmp_path, "b")
    put(tmp_path, "a.1", mask=False)
    write_png(tmp_path / "masks" / "a.1_mask.png", np.ones((6, 5), "uint8"))
    (tmp_path / "images").joinpath("c.JPG").write_bytes(b"")
    Image.new("L", (5, 6)).save(tmp_path / "masks" / "c.tif")
    (tmp_path / "images" / ".hidden.png").write_bytes(b"")
    samples = find_samples(tmp_path)
    assert [sample.name for sample in samples] == ["a.1", "b", "c"]
    assert [sample.mask.name for sample in samples] == ["a.1_mask.png", "b.png", "c.tif"]
    assert [sample.image.name for sample in samples] == ["a.1.png", "b.png", "c.JPG"]


def test_a_missing_mask_is_named(tmp_path):
    for name in "abcdefgh":
        put(tmp_path, name, mask=None if name == "c" else False)
    with pytest.raises(ValueError, match=r"no mask for 7 of 8 images: a\.png, b\.png.* 2 more"):
        find_samples(tmp_path)


def test_masks_without_an_image_are_left_alone(tmp_path):
    put(tmp_path, "a")
    write_png(tmp_path / "masks" / "z.png", np.zeros((6, 5), "uint8"))
    (tmp_path / "images" / "notes.txt").write_text("")
    assert [sample.name for sample in find_samples(tmp_path)] == ["a"]
    found = scan(tmp_path)
    assert [path.name for path in found.orphans] == ["z.png"]
    assert [path.name for path in found.skipped] == ["notes.txt"]


@pytest.mark.parametrize("folder", ["images", "masks"])
def test_two_files_of_one_name_are_refused(tmp_path, folder):
    put(tmp_path, "a")
    Image.new("L", (5, 6)).save(tmp_path / folder / "a.tif")
    with pytest.raises(ValueError, match=r"a\.png and a\.tif"):
        find_samples(tmp_path)


def test_wrong_folders_show_the_layout(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"(?s)none.*FOLDER/images/NAME"):
        find_samples(tmp_path / "none")
    (tmp_path / "pictures").mkdir()
    with pytest.raises(FileNotFoundError, match=r"(?s)no images/.*pictures.*FOLDER/masks"):
        find_samples(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(ValueError, match=r"(?s)no image in.*FOLDER/images/NAME"):
        find_samples(tmp_path)
    np.save(tmp_path / "images" / "a.npy", np.zeros((6, 5), "uint8"))
    with pytest.raises(ValueError, match=r"no image in.*Its 1 \.npy are not read .*TIFF"):
        find_samples(tmp_path)
    (tmp_path / "annotations.json").write_text("{}")
    with pytest.raises(ValueError, match=r"annotations\.json: a folder .* a file"):
        find_samples(tmp_path / "annotations.json")


def test_images_that_show_the_same_thing_share_a_group(tmp_path):
    field = np.eye(6, 5, dtype="uint8")
    empty = np.zeros((6, 5), "uint8")
    put(tmp_path, "7_bf", mask=field)
    put(tmp_path, "7_fl", mask=field)
    put(tmp_path, "copy_a", image=np.full((6, 5), 3, "uint8"), mask=empty)
    put(tmp_path, "copy_b", image=np.full((6, 5), 3, "uint8"), mask=np.rot90(field, 2).copy())
    put(tmp_path, "lone", mask=empty)  # an empty mask says nothing
    groups = {sample.name: sample.group for sample in find_samples(tmp_path)}
    assert groups["7_bf"] == groups["7_fl"]
    assert groups["copy_a"] == groups["copy_b"]
    assert len(set(groups.values())) == 3


def test_groups_are_joined_through_a_chain(tmp_path):
    one, two = np.eye(6, 5, dtype="uint8"), np.eye(6, 5, 1, dtype="uint8")
    same = np.full((6, 5), 3, "uint8")
    put(tmp_path, "d", mask=one)
    put(tmp_path, "c", mask=one, image=same)
    put(tmp_path, "b", mask=two, image=same)
    put(tmp_path, "a", mask=two)
    assert {sample.group for sample in find_samples(tmp_path)} == {"a"}


def test_groups_by_a_regular_expression(tmp_path):
    for name in ("p1_z1", "p1_z2", "p2_z1"):
        put(tmp_path, name)
    assert [s.group for s in find_samples(tmp_path, r"(p\d)_")] == ["p1", "p1", "p2"]
    assert [s.group for s in find_samples(tmp_path, r"^p\d")] == ["p1", "p1", "p2"]
    with pytest.raises(ValueError, match=r"does not match 'p1_z1'"):
        find_samples(tmp_path, "q")
    with pytest.raises(ValueError, match="regular expression"):
        find_samples(tmp_path, "(")


def test_load_pair(tmp_path):
    put(tmp_path, "a", image=np.full((6, 5), 9, "uint8"), mask=np.full((6, 5), 255, "uint8"))
    image, mask = load_pair(find_samples(tmp_path)[0], channels=3)
    assert image.shape == (6, 5, 3) and image.dtype == np.uint8
    assert mask.shape == (6, 5) and mask.dtype == np.int32 and (mask == 1).all()


def test_a_mask_of_another_size_is_named(tmp_path):
    put(tmp_path, "a", mask=np.zeros((5, 6), "uint8"))
    with pytest.raises(ValueError, match=r"images/a\.png.*6 x 5.*5 x 6.*masks/a\.png"):
        load_pair(find_samples(tmp_path)[0], channels=3)


def test_a_wrong_channel_count_is_named(tmp_path):
    put(tmp_path, "a")
    with pytest.raises(ValueError, match=r"a\.png.*4 channels was expected. Received: 3"):
        load_image(find_samples(tmp_path)[0], channels=4)


def test_images_alone(tmp_path):
    put(tmp_path, "a", mask=False)
    write_png(tmp_path / "b.png", np.zeros((6, 5), "uint8"))
    assert [sample.name for sample in find_images(tmp_path)] == ["a"]
    assert [sample.name for sample in find_images(tmp_path / "images")] == ["a"]
    (single,) = find_images(tmp_path / "b.png")
    assert single == Sample("b", tmp_path / "b.png", None, "b")
    with pytest.raises(ValueError, match="mask=None"):
        load_mask(single)
    with pytest.raises(ValueError, match="no image found"):
        (tmp_path / "empty").mkdir()
        find_images(tmp_path / "empty")
    np.save(tmp_path / "empty" / "a.npy", np.zeros((6, 5), "uint8"))
    with pytest.raises(ValueError, match=r"Its 1 \.npy are not read .* TIFF .*empty/\*\.npy"):
        find_images(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="none"):
        find_images(tmp_path / "none")


@pytest.mark.real_data
def test_real_folders(real_data):
    number = {"ecoli": 14, "nuclei_fluorescence": 78, "mri_tumour": 19}
    for name, expected in number.items():
        samples = find_samples(real_data / name)
        assert len(samples) == expected
        image, mask = load_pair(samples[0], channels=3)
        assert image.shape == (*mask.shape, 3) and set(np.unique(mask)) <= {0, 1}
    groups = {s.name[:-3]: s.group for s in find_samples(real_data / "ecoli")}
    assert len(set(groups.values())) == 7
