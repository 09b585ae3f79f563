"""The audit: every fault planted in a folder is named, and a sound folder has none."""

import json

import numpy as np
import pytest
import tifffile

from keras_deepskip.data.auditing import AuditReport, Finding, audit
from keras_deepskip.data.folder import find_samples
from keras_deepskip.data.images import write_png
from keras_deepskip.data.masks import MaskReading
from tests.test_data_folder import put

pytestmark = pytest.mark.one_backend


def blob(value=1, size=6, side=40):
    mask = np.zeros((side, side), "uint8")
    mask[5 : 5 + size, 7 : 7 + size] = value
    return mask


def picture(number, channels=3, dtype="uint8"):
    shape = (40, 40, channels) if channels else (40, 40)
    return np.random.default_rng(number).integers(0, 256, shape).astype(dtype)


@pytest.fixture
def folder(tmp_path):
    """Five sound pairs, objects of 6 x 6, 7 x 7, ... pixels."""
    for number in range(5):
        put(tmp_path, "abcde"[number], image=picture(number), mask=blob(size=6 + number))
    return tmp_path


def named(report, severity, *words):
    """The findings of a severity that hold all the words."""
    return [
        finding
        for finding in report.findings
        if finding.severity == severity
        and all(word in f"{finding.file}: {finding.message} ({finding.fix})" for word in words)
    ]


def test_a_sound_folder(folder):
    report = audit(folder, stride=4)
    assert report.ok and report.findings == []
    figures = report.figures
    assert figures["images"] == figures["readable"] == figures["objects"] == 5
    assert figures["height"] == {"least": 40, "median": 40, "most": 40}
    assert figures["channels"] == {"3": 5} and figures["dtypes"] == {"uint8": 5}
    assert figures["classes"] == {"0": 5, "1": 5} and figures["suggested_num_classes"] == 1
    pixels = sum(size**2 for size in range(6, 11))
    assert figures["positive_share"] == pytest.approx(pixels / (5 * 1600))
    assert figures["empty_share"] == 0
    assert figures["object_area_percentiles"]["50"] == 64
    assert figures["objects_under_8x8"] == 0.4 and figures["objects_under_16x16"] == 1
    assert (figures["train"], figures["val"], figures["test"]) == (3, 1, 1)
    assert "nothing to report" in report.text() and "positive share" in report.text()


def test_the_report_is_json_and_text(folder):
    (folder / "masks" / "b.png").unlink()
    report = audit(folder)
    again = json.loads(json.dumps(report.to_dict()))
    assert again["ok"] is False and again["figures"] == report.figures
    assert again["findings"][0]["file"].endswith("images/b.png")
    text = report.text()
    assert "1 error" in text and "b.png: it has no mask" in text and "fix: Make the mask" in text


def test_many_findings_of_a_kind_are_shown_shortly():
    findings = [Finding("error", f"{n}.png", "broken", "repair") for n in range(50)]
    text = AuditReport("f", findings, {}).text()
    assert text.count("broken") == 4 and "and 46 more like it" in text and text.count("repair") == 1


def test_unreadable_files_and_pairs(folder):
    for name in ("a", "c"):
        data = (folder / "images" / f"{name}.png").read_bytes()
        (folder / "images" / f"{name}.png").write_bytes(
            data[: len(data) // 2 if name == "a" else 0]
        )
    (folder / "masks" / "b.png").write_text("no image")
    (folder / "masks" / "d.png").unlink()
    write_png(folder / "masks" / "e.png", blob(side=41))
    write_png(folder / "masks" / "z.png", blob())
    (folder / "images" / "list.txt").write_text("")
    report = audit(folder)
    assert not report.ok
    assert named(report, "error", "images/a.png", "truncated")
    assert named(report, "error", "images/c.png", "empty file")
    assert named(report, "error", "masks/b.png", "could not be read")
    assert named(report, "error", "images/d.png", "no mask")
    assert named(report, "error", "masks/e.png", "41 x 41", "40 x 40")
    assert named(report, "warning", "masks/z.png", "without an image")
    assert named(report, "warning", "list.txt", "not PNG")
    assert sum(finding.severity == "error" for finding in report.findings) == 5
    assert report.figures["readable"] == 1


@pytest.mark.parametrize("num_classes", [None, 1])
def test_masks_of_0_and_255_are_a_note(folder, num_classes):
    write_png(folder / "masks" / "b.png", blob(255))
    report = audit(folder, MaskReading(num_classes))
    assert report.ok and report.figures["suggested_num_classes"] == 1
    assert named(report, "note", "masks/b.png", "0 and 255")
    assert report.figures["classes"] == {"0": 5, "1": 5}


def test_0_and_255_among_several_classes_is_an_error(folder):
    write_png(folder / "masks" / "b.png", blob(255))
    write_png(folder / "masks" / "c.png", blob(2))
    report = audit(folder)
    assert report.figures["suggested_num_classes"] == 3
    assert named(report, "error", "masks/b.png", "ids 0, 255", "ignore_class=255")
    assert audit(folder, MaskReading(ignore_class=255)).ok


def test_255_beside_class_ids_may_mean_pixels_that_do_not_count(folder):
    mask = blob()
    mask[30:] = 255
    write_png(folder / "masks" / "b.png", mask)
    report = audit(folder)
    assert report.figures["suggested_num_classes"] == 1
    assert named(report, "error", "masks/b.png", "ids 0, 1, 255", "ignore_class=255")
    report = audit(folder, MaskReading(ignore_class=255))
    assert report.ok and report.figures["objects"] == 5


def test_class_ids_out_of_range(folder):
    mask = blob()
    mask[30:37, 0] = range(7)
    write_png(folder / "masks" / "b.png", mask)
    assert audit(folder).figures["suggested_num_classes"] == 7
    report = audit(folder, MaskReading(num_classes=3))
    assert named(report, "error", "masks/b.png", "7 classes", "num_classes=7")
    assert (
        not audit(folder, MaskReading(num_classes=1)).ok
        and audit(folder, MaskReading(num_classes=7)).ok
    )


def test_a_mask_that_is_a_picture(folder):
    write_png(folder / "masks" / "b.png", picture(3, channels=None))
    report = audit(folder)
    assert named(report, "error", "masks/b.png", "looks like a picture")
    assert report.figures["suggested_num_classes"] == 1 and report.figures["objects"] == 4


def test_masks_in_colours(folder):
    write_png(folder / "masks" / "b.png", np.stack([blob(200), blob(0), blob(0)], axis=-1))
    assert named(audit(folder), "error", "masks/b.png", "(200, 0, 0)", "colors=")
    colors = {(0, 0, 0): 0, (200, 0, 0): 2, (1, 1, 1): 1}
    report = audit(folder, MaskReading(colors=colors))
    assert report.ok and report.figures["classes"] == {"0": 5, "1": 4, "2": 1}
    assert named(
        audit(folder, MaskReading(colors={(0, 0, 0): 0})), "error", "masks/b.png", "(200, 0, 0)"
    )


def test_channels_and_number_types(folder):
    write_png(folder / "images" / "b.png", picture(9, channels=1))
    assert named(audit(folder), "note", "1: 1, 3: 4")
    write_png(folder / "images" / "b.png", picture(9, channels=1, dtype="uint16"))
    assert named(audit(folder), "error", "uint16: 1, uint8: 4")
    (folder / "images" / "b.png").unlink()
    tifffile.imwrite(folder / "images" / "b.tif", picture(9, channels=5), photometric="minisblack")
    assert named(audit(folder), "error", "channels differ", "5: 1")
    tifffile.imwrite(folder / "images" / "b.tif", picture(9, channels=2), photometric="minisblack")
    assert named(audit(folder), "error", "channels differ", "2: 1")  # no alpha: two stains


def test_pages_without_a_name_may_be_no_channels(folder):
    def write(name, pages, **how):
        stack = np.random.default_rng(pages).integers(0, 255, (pages, 40, 40), "uint8")
        path = folder / "images" / f"{name}.png"
        path.unlink(missing_ok=True)
        tifffile.imwrite(path.with_suffix(".tif"), stack, photometric="minisblack", **how)

    for name in "abcde":
        write(name, 30, metadata=None)
    assert named(audit(folder), "warning", "30, such as a.tif", "slices or frames")
    for name in "abcde":
        write(name, 30, ome=True, metadata={"axes": "CYX"})
    assert not named(audit(folder), "warning", "without a name")
    for name in "abcde":
        write(name, 5, metadata=None)
    assert not named(audit(folder), "warning", "without a name")


def test_a_split_without_validation_images(folder, tmp_path):
    split = {"train": ["a", "b", "c"], "val": [], "test": ["d", "e"]}
    (tmp_path / "split.json").write_text(json.dumps(split))
    report = audit(folder, split_file=tmp_path / "split.json")
    assert named(report, "error", "split.json", "images to validate on")


def test_arrays_in_a_folder_are_left_out_and_told(folder):
    np.save(folder / "images" / "f.npy", picture(9))
    report = audit(folder)
    assert named(report, "warning", "f.npy", "Write it as TIFF") and report.figures["images"] == 5
    assert named(audit(folder / "images" / "f.npy"), "error", "a folder was expected", "a file")


def test_values_of_images(folder):
    write_png(folder / "images" / "b.png", np.full((40, 40), 7, "uint8"))
    assert named(audit(folder), "warning", "b.png", "all its pixels are 7")
    for name in "abcde":
        write_png(folder / "images" / f"{name}.png", picture(ord(name), 1, "uint16") * 8)
    assert named(audit(folder), "note", "12 bit")
    (folder / "images" / "b.png").unlink()
    array = picture(1, 1).astype("float32")
    array[3, 3] = np.inf
    tifffile.imwrite(folder / "images" / "b.tif", array)
    assert named(audit(folder), "error", "b.tif", "infinity")
    tifffile.imwrite(folder / "images" / "b.tif", np.full_like(array, np.nan))
    assert named(audit(folder), "warning", "b.tif", "none of its pixels has data")


def test_sizes_against_the_stride(folder):
    put(folder, "f", image=np.zeros((9, 40), "uint8"), mask=np.ones((9, 40), "uint8"))
    mask = blob(size=10)
    mask[30, 30] = 1
    write_png(folder / "masks" / "a.png", mask)
    report = audit(folder, stride=16)
    assert named(report, "warning", "images/f.png", "9 x 40", "stride of 16")
    assert named(report, "note", "86 % of the objects", "stride of 16")  # 6 of 7
    assert named(report, "warning", "1 of 7 objects", "fewer than 4 pixels")
    assert report.figures["objects_smaller_than_stride"] == pytest.approx(6 / 7)


def test_empty_masks(folder):
    for name in "abcd":
        write_png(folder / "masks" / f"{name}.png", blob(0))
    report = audit(folder)
    assert named(report, "warning", "80 % of the images", "empty") and report.ok
    assert report.figures["empty_share"] == 0.8
    write_png(folder / "masks" / "e.png", blob(0))
    assert named(audit(folder), "error", "no object in any of 5 masks")


def test_wrong_folders(tmp_path):
    assert named(audit(tmp_path / "none"), "error", "no such folder")
    assert named(audit(tmp_path), "error", "no images/", "FOLDER/images")
    (tmp_path / "images").mkdir()
    report = audit(tmp_path)
    assert named(report, "error", "no image in", "FOLDER/images") and report.text()
    assert json.dumps(report.to_dict())


def test_a_folder_with_one_image(tmp_path):
    put(tmp_path, "a", image=picture(1), mask=blob())
    report = audit(tmp_path)
    assert named(report, "error", "At least 3", "1 images")
    assert report.figures["objects"] == 1


def test_the_same_picture_in_two_parts(tmp_path):
    for part, names in [("train", "abc"), ("val", "d"), ("test", "e")]:
        for name in names:
            size = 5 + ord(name) % 7
            put(tmp_path / part, name, image=picture(ord(name)), mask=blob(size=size))
    assert audit(tmp_path, stride=4).findings == []
    put(tmp_path / "test", "copy", image=picture(ord("b")), mask=blob(size=20))
    report = audit(tmp_path)
    assert named(report, "warning", "same image", "train: b.png", "test: copy.png")
    put(tmp_path / "val", "other", image=picture(199), mask=blob(size=5 + ord("a") % 7))
    report = audit(tmp_path)
    assert named(report, "warning", "same mask", "train: a.png", "val: other.png")
    put(tmp_path / "val", "empty", image=picture(200), mask=blob(0))
    put(tmp_path / "test", "empty", image=picture(201), mask=blob(0))
    leaks = named(audit(tmp_path), "warning", "two parts of the split (")
    assert len(leaks) == 2, leaks  # empty masks say nothing
    assert not named(audit(tmp_path), "note", "kept together")
    assert audit(tmp_path).figures["groups"] == 9


def test_split_files(folder):
    (folder / "s.json").write_text('{"train": ["a", "b"], "val": ["c"], "test": ["x"]}')
    report = audit(folder, split_file=folder / "s.json")
    assert named(report, "error", "unknown", "'x'")
    (folder / "s.json").write_text('{"train": ["a", "b"], "val": ["c"], "test": ["d"]}')
    report = audit(folder, split_file=folder / "s.json")
    assert report.ok and named(report, "note", "1 images are in no part")
    assert report.figures["train"] == 2


def test_a_class_that_a_part_lacks(folder):
    write_png(folder / "masks" / "b.png", blob(2))
    (folder / "s.json").write_text('{"train": ["a", "c", "d"], "val": ["e"], "test": ["b"]}')
    report = audit(folder, split_file=folder / "s.json")
    assert named(report, "warning", "train part holds class 2")
    assert named(report, "warning", "test part holds class 1")


def test_groups_and_series(tmp_path):
    for number in range(9):
        name = f"patient{number // 3}_z{number % 3}"
        put(tmp_path, name, image=picture(number), mask=blob(size=4 + number))
    report = audit(tmp_path)
    assert named(report, "note", "3 series", "patient0_z* (3)", "group_by")
    assert not named(audit(tmp_path, group_by=r"^(.*?)\d+$"), "note", "fall into")
    write_png(tmp_path / "masks" / "patient0_z0.png", blob(size=5))
    report = audit(tmp_path)
    assert named(report, "note", "1 groups", "kept together")
    assert not named(report, "warning", "two parts of the split (")


def test_coco_folders(tmp_path):
    pytest.importorskip("pycocotools")
    write_png(tmp_path / "images" / "a.png", picture(1))
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 40, "width": 41}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 9, 1, 9, 9]]}
        ],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    assert named(audit(tmp_path), "error", "image id 1", "40 x 41")
    content["annotations"][0]["segmentation"] = []
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    assert named(audit(tmp_path), "error", "annotation 1")
    (tmp_path / "annotations.json").write_text("{}")
    assert named(audit(tmp_path), "error", "annotations.json", "lists images")


@pytest.mark.parametrize("options", [{"stride": 0}, {"stride": 1.5}])
def test_wrong_options_are_refused(folder, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        audit(folder, **options)


@pytest.mark.real_data
def test_real_sets(real_data):
    report = audit(real_data / "ecoli")
    assert report.ok and report.figures["groups"] == 7 and report.figures["objects"] == 96
    assert report.figures["images"] == len(find_samples(real_data / "ecoli")) == 14
    report = audit(real_data / "mri_tumour")
    assert report.ok and report.figures["empty_share"] == pytest.approx(
        6 / 19
    )  # as its README says
    assert named(report, "note", "brain1_z* (9)", "group_by")
    report = audit(real_data / "suim_underwater", MaskReading(num_classes=3))
    assert named(report, "error", "num_classes=4")
