"""COCO files as tools write them: each is read as it is meant, refused, or warned of."""

import collections
import functools
import json
import random
import unicodedata
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_deepskip.data import Survey, audit, find_samples
from keras_deepskip.data.coco import CocoMask, coco_classes, coco_samples, write_masks
from keras_deepskip.data.coco.outlines import Outlines
from keras_deepskip.data.images import read_image, write_png
from keras_deepskip.data.masks import MaskReading

pytestmark = pytest.mark.one_backend

coco = pytest.importorskip("pycocotools.mask")

HEIGHT, WIDTH = 40, 60


def box(left, top, right, bottom):
    return [left, top, right, top, right, bottom, left, bottom]


def annotation(number, image, category=1, shape=None, **more):
    entry = {"id": number, "image_id": image, "category_id": category, "iscrowd": 0}
    return entry | {"segmentation": [shape or box(5, 5, 13, 13)]} | more


def painted(top=5, left=5, side=8):
    """A square as the uncompressed runs of a painting tool."""
    inside = np.zeros((HEIGHT, WIDTH), "uint8")
    inside[top : top + side, left : left + side] = 1
    flat = np.concatenate([[0], inside.ravel("F"), [0]])
    edges = np.flatnonzero(np.diff(flat))
    counts = np.diff(np.concatenate([[0], edges, [inside.size]])).tolist()
    return {"size": [HEIGHT, WIDTH], "counts": counts}


@pytest.fixture
def folder(tmp_path):
    """Function that writes a set of four images, with an object of 64 pixels each; some changed."""

    def made(edit=None, root=tmp_path):
        rng = np.random.default_rng(0)
        for number in range(1, 5):
            image = rng.integers(0, 256, (HEIGHT, WIDTH, 3)).astype("uint8")
            write_png(root / "images" / f"im{number}.png", image)
        content = {
            "images": [
                {"id": n, "file_name": f"im{n}.png", "height": HEIGHT, "width": WIDTH}
                for n in range(1, 5)
            ],
            "annotations": [annotation(10 + n, n, area=64) for n in range(1, 5)],
            "categories": [{"id": 1, "name": "cell"}],
        }
        if edit is not None:
            edit(content)
        (root / "annotations.json").write_text(json.dumps(content))
        return root

    return made


def areas(root, value=None, ignore_class=None, **options):
    """Pixels of objects (or of a value) in each image, and the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        samples = coco_samples(root / "annotations.json", root / "images", **options)
        masks = [sample.mask.read(ignore_class) for sample in samples]
    found = [int((mask > 0 if value is None else mask == value).sum()) for mask in masks]
    return found, [str(warning.message) for warning in caught]


def told(report, severity, *words):
    return [
        finding
        for finding in report.findings
        if finding.severity == severity
        and finding.file.endswith("annotations.json")
        and all(word in f"{finding.message} ({finding.fix})" for word in words)
    ]


def first(content):
    return content["annotations"][0]


# ---- Crowds --------------------------------------------------------------------------------------


def test_images_of_crowds_alone_hold_objects(folder):
    def edit(content):
        for entry in content["annotations"][:2]:
            entry.update(iscrowd=1, segmentation=painted())

    root = folder(edit)
    found, (warning,) = areas(root)
    assert found == [64] * 4
    assert "annotations.json: all annotations of 2 images are crowds" in warning
    report = audit(root)
    assert report.ok and told(report, "warning", "2 images", "crowds", "iscrowd 0")
    assert areas(root, crowds="ignored")[0] == [0, 0, 64, 64]
    assert areas(root, 255, 255, crowds="ignored")[0] == [64, 64, 0, 0]
    assert areas(root, crowds="objects") == ([64] * 4, [])
    with pytest.raises(ValueError, match=r"`crowds` must be .*by image"):
        areas(root, crowds="all")


def test_crowds_beside_objects_are_ignored_pixels_and_told(folder):
    def edit(content):
        content["annotations"] += [
            annotation(20 + n, 1 + n % 2, iscrowd=1, segmentation=painted(20, 20 + 10 * n))
            for n in range(3)
        ]

    root = folder(edit)
    found, (warning,) = areas(root)
    assert found == [64] * 4
    assert "3 crowds (iscrowd 1) on 2 images" in warning and "give ignore_class=255" in warning
    assert areas(root, 255, 255)[0] == [128, 64, 0, 0]
    assert told(audit(root), "warning", "3 crowds", "on 2 images", "ignore_class=255")
    report = audit(root, MaskReading(1, ignore_class=255))
    assert told(report, "note", "3 crowds", "ignored pixels") and not told(report, "warning")
    assert areas(root, crowds="objects")[0] == [192, 128, 64, 64]


def test_written_masks_warn_of_crowds_only_without_an_ignored_class(folder, tmp_path):
    root = folder(lambda c: c["annotations"].append(annotation(9, 1, iscrowd=1)))
    given = root / "annotations.json", root / "images"
    with pytest.warns(UserWarning, match="1 crowd"):
        write_masks(*given, tmp_path / "a")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_masks(*given, tmp_path / "b", ignore_class=255)


def test_training_warns_of_what_the_annotations_leave_open(folder):
    from keras_deepskip.training import Recipe, train

    root = folder(lambda c: c["annotations"].append(annotation(9, 1, iscrowd=1)))

    quick = Recipe(epochs=1, steps_per_epoch=1, batch_size=1, crop_size=16, validation_windows=1)
    with pytest.warns(UserWarning, match=r"annotations\.json: 1 crowd"):
        train(root, root / "run", quick, levels=2, base_filters=2, verbose=0)


# ---- Ids -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "edit",
    [
        lambda c: first(c).update(image_id="1"),
        lambda c: first(c).update(category_id="1"),
        lambda c: first(c).update(image_id=" 01 "),
        lambda c: first(c).update(iscrowd="0"),
        lambda c: first(c).update(area="64"),
        lambda c: c["images"][0].update(id="1"),
        lambda c: c["categories"][0].update(id="1"),
    ],
)
def test_numbers_as_text_are_matched_and_told(folder, edit):
    root = folder(edit)
    found, (warning,) = areas(root)
    assert found == [64] * 4 and "written as text (11" in warning
    assert told(audit(root), "warning", "written as text (11")


def test_ids_may_be_texts_and_decimals(folder):
    def edit(content):
        for entry in content["images"]:
            entry["id"] = f"scan {entry['id']}"
        for entry in content["annotations"]:
            entry.update(image_id=f"scan {entry['image_id']}", category_id=1.0)

    assert areas(folder(edit)) == ([64] * 4, [])


def test_texts_that_differ_are_different_ids(folder):
    def edit(content):
        for entry, number in zip(content["images"][:2], ("7", "07"), strict=True):
            entry["id"] = number
        for entry, number in zip(content["annotations"][:2], ("7", "07"), strict=True):
            entry["image_id"] = number

    assert areas(folder(edit)) == ([64] * 4, [])
    root = folder(lambda c: (edit(c), first(c).update(image_id=7)))  # which of them is meant?
    with pytest.raises(ValueError, match=r"annotation 11 \(image_id 7\)"):
        areas(root)


@pytest.mark.parametrize(
    "edit, words",
    [
        (
            lambda c: first(c).update(image_id=9),
            r"1 of 4 that name none: annotation 11 \(image",
        ),
        (lambda c: first(c).pop("image_id"), r"annotation 11 \(image_id None\)"),
        (lambda c: first(c).update(image_id=[1]), r"annotation 11 \(image_id \[1\]\)"),
        (lambda c: first(c).update(image_id=True), r"annotation 11 \(image_id True\)"),
        (lambda c: first(c).update(category_id=0), r"categories \(1\).*\(category_id 0\).*from 0"),
        (lambda c: first(c).update(category_id="cell"), r"\(category_id 'cell'\)"),
        (lambda c: first(c).pop("category_id"), r"\(category_id None\)"),
        (lambda c: [a.update(category_id=7) for a in c["annotations"]], "4 of 4.*11.*12.*13.*14"),
        (lambda c: c["images"][1].update(id=1), r"images with an id each.*1 id used.*\(1\)"),
        (
            lambda c: c["images"][0].update(id=None),
            "number or text was expected as id of 'im1.png'",
        ),
        (lambda c: c["images"].append("x"), "height and width were expected for every image"),
        (lambda c: c["images"][0].update(height="40"), r"for 'im1.png'. Received: '40' x '60'"),
        (lambda c: c["categories"].append({"id": 1, "name": "b"}), "categories with an id each"),
        (lambda c: c["categories"].append({"id": 2}), "id and name were expected for every cat"),
        (lambda c: c["categories"].append(7), "id and name were expected for every category"),
        (lambda c: c["annotations"].append([1]), r"annotations with image_id.*Received: \[1\]"),
        (lambda c: first(c).update(iscrowd="no"), "iscrowd` of annotation 11. Received: 'no'"),
        (lambda c: first(c).update(iscrowd=2), "0 or 1 was expected"),
        (lambda c: first(c).update(iscrowd=[]), "0 or 1 was expected"),
        (lambda c: first(c).update(area="big"), "area` of annotation 11. Received: 'big'"),
        (lambda c: first(c).update(area=float("nan")), "a number of pixels was expected"),
        (lambda c: c.update(annotations={"a": 1}), "Received: images: list, annotations: dict"),
        (lambda c: c.update(categories=None), "categories: NoneType"),
        (lambda c: c.pop("categories"), "annotations: list, no categories"),
    ],
)
def test_what_matches_nothing_is_an_error_that_names_it(folder, edit, words):
    root = folder(edit)
    with pytest.raises(ValueError, match=rf"annotations\.json: .*{words}"):
        find_samples(root)
    assert not audit(root).ok


def test_doubled_annotations_and_names_are_told(folder):
    def edit(content):
        content["annotations"][1]["id"] = 11
        content["categories"].append({"id": 2, "name": "cell"})
        content["annotations"][2]["category_id"] = 2

    root = folder(edit)
    found, messages = areas(root)
    assert found == [64] * 4 and len(messages) == 2
    assert "several categories have one name: cell" in messages[0]
    assert "1 id of annotations used more than once (11)" in messages[1]
    assert len(told(audit(root), "warning")) == 2
    assert areas(root, 1, categories=["cell"])[0] == [64] * 4  # both are of that name


# ---- Layouts -------------------------------------------------------------------------------------


def test_annotations_by_id(folder):
    """As LIVECell writes them; an entry may lack the id that is its key."""

    def edit(content):
        content["annotations"] = {str(a["id"]): a for a in content["annotations"]}
        content["annotations"]["11"].pop("id")

    root = folder(edit)
    assert areas(root) == ([64] * 4, [])
    assert told(audit(root), "note", "`annotations` is an object of entries by id")


def test_a_root_category_is_no_class(folder):
    """Roboflow's: the supercategory of all others, without an annotation."""

    def edit(content):
        content["categories"] = [
            {"id": 0, "name": "cells", "supercategory": "none"},
            {"id": 1, "name": "cell", "supercategory": "cells"},
        ]

    root = folder(edit)
    assert areas(root, 1) == ([64] * 4, [])
    assert coco_classes(root / "annotations.json") == {1: "cell"}
    report = audit(root)
    assert report.figures["suggested_num_classes"] == 1
    assert told(report, "note", "category 'cells'", "no class of its own")


@pytest.mark.parametrize(
    "changes", [{"name": "other"}, {"supercategory": "cells"}, {"id": 1}], ids=str
)
def test_other_categories_without_annotations_stay_classes(folder, changes):
    def edit(content):
        root = {"id": 0, "name": "cells", "supercategory": "none"} | changes
        content["categories"] = [root, {"id": 2, "name": "cell", "supercategory": "cells"}]
        for entry in content["annotations"]:
            entry["category_id"] = 2
        first(content)["category_id"] = 2 if root["id"] == 0 else 1

    assert len(coco_classes(folder(edit) / "annotations.json")) == 2


def test_parts_that_name_other_classes_are_an_error(folder, tmp_path):
    folder(root=tmp_path / "train")
    folder(lambda c: c["categories"].insert(0, {"id": 0, "name": "dirt"}), tmp_path / "val")
    report = audit(tmp_path)
    (error,) = (finding for finding in report.findings if finding.severity == "error")
    assert "name different classes" in error.message and "dirt" in error.message


@pytest.mark.parametrize("name", ["sub/im1.png", "./im1.png", "set\\images\\im1.png"])
def test_folders_in_a_file_name(folder, name):
    root = folder(lambda c: c["images"][0].update(file_name=name))
    assert areas(root) == ([64] * 4, [])
    assert [sample.image.name for sample in find_samples(root)].count("im1.png") == 1
    write_png(root / "images" / "sub" / "im1.png", np.zeros((HEIGHT, WIDTH), "uint8"))
    samples = {s.name: s for s in coco_samples(root / "annotations.json", root / "images")}
    there = read_image(samples["im1"].image).any()
    assert there == (name != "sub/im1.png")  # where it is named, it is taken


def test_a_last_part_that_two_images_share_is_no_match(folder):
    def edit(content):
        content["images"][0]["file_name"] = "a/im1.png"
        content["images"][1]["file_name"] = "b/im1.png"

    with pytest.raises(ValueError, match="2 of 4 missing, such as a/im1.png, b/im1.png"):
        areas(folder(edit))


def test_a_name_found_by_its_last_part_is_noted(folder):
    root = folder(lambda c: c["images"][0].update(file_name="export/im1.png"))
    assert told(audit(root), "note", "1 image found by the last part", "export/im1.png")


# ---- Shapes --------------------------------------------------------------------------------------

SQUARE = box(5, 5, 13, 13)
PAIRS = [[5, 5], [13, 5], [13, 13], [5, 13]]


@pytest.mark.parametrize("shape", [SQUARE, PAIRS, [PAIRS], [SQUARE]], ids=str)
def test_outlines_in_the_forms_of_tools(folder, shape):
    root = folder(lambda c: first(c).update(segmentation=shape))
    assert areas(root) == ([64] * 4, [])


@pytest.mark.parametrize(
    "shape",
    [
        [[5, 5, 13, 13]],
        [[5, 5, 13, 13], []],
        [[5, 5, 13, 5, 9, 5]],
        [[0.1, 0.3, 10.1, 20.3, 5.1, 10.3]],  # on a line but for rounding
        [[5.5, 5.5] * 4],
        [[5.1, 5.1, 5.2, 5.1, 5.2, 5.2]],  # between the pixels' centres
        [box(10.1, 2, 10.4, 30)],  # so narrow that it lies between columns
        [box(70, 5, 90, 25)],  # outside
        [box(5, -20, 15, -2)],
    ],
    ids=str,
)
def test_outlines_that_cover_no_pixel_are_skipped_and_counted(folder, shape):
    root = folder(lambda c: first(c).update(segmentation=shape))
    found, (warning,) = areas(root)
    assert found == [0, 64, 64, 64]
    assert f"{len(shape)} outline" in warning and "annotation 11" in warning
    assert "1 object with them" in warning
    assert told(audit(root), "warning", "cover no pixel")
    # Beside another outline the object stays.
    root = folder(lambda c: first(c).update(segmentation=[SQUARE, *shape]))
    found, (warning,) = areas(root)
    assert found == [64] * 4 and "0 objects with them" in warning


def test_a_figure_of_eight_has_an_inside(folder):
    root = folder(lambda c: first(c).update(segmentation=[[5, 5, 15, 15, 15, 5, 5, 15]]))
    found, messages = areas(root)
    assert found[0] > 20 and not messages


@pytest.mark.parametrize("empty", [None, [], {}, "missing"])
def test_boxes_without_masks_are_refused(folder, empty):
    def edit(content):
        for entry in content["annotations"][1:]:
            entry.update(segmentation=empty, bbox=[5, 5, 8, 8])
            if empty == "missing":
                del entry["segmentation"]

    words = r"annotation 12 was expected.*3 of 4 annotations have no mask, 3 of them a box.*12, 13"
    root = folder(edit)
    with pytest.raises(ValueError, match=rf"annotations\.json: .*{words}.*Export polygons"):
        areas(root)
    assert not audit(root).ok


def test_boxes_of_categories_that_are_not_read_do_no_harm(folder):
    def edit(content):
        content["categories"].append({"id": 2, "name": "field"})
        content["annotations"].append(annotation(9, 1, 2, segmentation=[], bbox=[1, 1, 5, 5]))

    assert areas(folder(edit), categories=["cell"]) == ([64] * 4, [])


def test_shares_of_the_image_are_no_pixels(folder):
    def edit(content):
        for entry in content["annotations"]:
            entry["segmentation"] = [[0.1, 0.1, 0.3, 0.1, 0.3, 0.3]]

    with pytest.raises(ValueError, match=r"coordinates in pixels.*fractions from 0 to 1.*Multiply"):
        areas(folder(edit))


def test_a_missing_area_is_no_reason_to_leave_an_object_out(folder):
    root = folder(lambda c: (first(c).pop("area"), c["annotations"][1].update(area=None)))
    assert areas(root, min_area=50)[0] == [64] * 4
    assert areas(root, min_area=65)[0] == [64, 64, 0, 0]


# ---- Drawing -------------------------------------------------------------------------------------


def whole(regions, height, width, ignore_class=None):
    """The mask by pycocotools on the whole image, one object after the other."""
    mask, coded = np.zeros((height, width), "int32"), []
    for label, entry in regions:
        shape = entry["segmentation"]
        code = shape
        if isinstance(shape, list):
            code = coco.merge(coco.frPyObjects(shape, height, width))
        coded.append((label, code, int(coco.area(code))))
    coded.sort(key=lambda region: (region[0] is not None, -region[2]))
    for label, code, _ in coded:
        value = ignore_class if label is None else label
        if value is not None:
            mask[coco.decode(code) > 0] = value
    return mask


# Halves and fifths are where pycocotools rounds; the rest lies anywhere, outside of the image too.
NUMBERS = st.one_of(
    st.integers(-8, 70),
    st.integers(-16, 140).map(lambda n: n / 2),
    st.integers(-80, 700).map(lambda n: n / 10),
    st.floats(-9, 71, width=32),
    st.floats(-9, 71),
)
POINTS = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=3, max_size=9)
POLYGONS = st.lists(
    POINTS.map(lambda p: [float(n) for xy in p for n in xy]), min_size=1, max_size=3
)
LABELS = st.sampled_from([None, 1, 2, 3])


@st.composite
def scenes(draw):
    height, width = draw(st.integers(1, 64)), draw(st.integers(1, 64))
    regions = draw(st.lists(st.tuples(LABELS, POLYGONS), max_size=6))
    regions = [(label, {"id": 1, "segmentation": shape}) for label, shape in regions]
    for label in draw(st.lists(LABELS, max_size=3)):
        share, seed = draw(st.floats(0, 1)), draw(st.integers(0, 99))
        inside = np.random.default_rng(seed).random((height, width)) < share
        code = coco.encode(np.asfortranarray(inside.astype("uint8")))
        code["counts"] = code["counts"].decode()
        regions.append((label, {"id": 2, "segmentation": code}))
    return height, width, tuple(regions)


@settings(max_examples=300, deadline=None)
@given(scene=scenes(), ignore_class=st.sampled_from([None, 255]))
def test_masks_are_those_of_pycocotools_on_the_whole_image(scene, ignore_class):
    height, width, regions = scene
    lines = [
        Outlines.of(entry["segmentation"]).are_lines().any()
        for _, entry in regions
        if isinstance(entry["segmentation"], list)
    ]
    if any(lines):  # which are skipped
        return
    mask = CocoMask("a.json", 1, height, width, regions).read(ignore_class)
    np.testing.assert_array_equal(mask, whole(regions, height, width, ignore_class))
    assert mask.dtype == np.int32 and mask.flags["C_CONTIGUOUS"]


def test_many_objects_far_from_the_origin():
    """Where moving an outline into its box would round it otherwise."""
    rng = np.random.default_rng(0)
    regions = []
    for number in range(700):  # more than one call of pycocotools' area takes
        corner = rng.integers(0, 1990, 2)
        points = corner + rng.integers(0, 101, (rng.integers(3, 8), 2)) / 10
        regions.append((number + 1, {"id": number, "segmentation": [points.ravel().tolist()]}))
    mask = CocoMask("a.json", 1, 2000, 1500, tuple(regions)).read()
    np.testing.assert_array_equal(mask, whole(regions, 2000, 1500))


def test_images_that_are_not_listed_are_told(folder):
    def edit(content):
        content["images"].pop(2)
        content["annotations"].pop(2)

    report = audit(folder(edit))
    assert told(report, "warning", "1 image in images/ not listed (im3.png): left out")
    assert report.figures["images"] == 3
    assert not told(audit(folder()), "warning", "not listed")


def test_the_survey_of_parts_warns_through_the_audit_alone(folder):
    root = folder(lambda c: first(c).update(image_id="1"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        survey = Survey.of(root)
        assert told(audit(survey), "warning", "as text")
        survey.samples()


# ---- Anything else -------------------------------------------------------------------------------

VALUES = [
    None, True, -1, 0.5, 1e308, float("nan"), float("inf"), 10**30, "", "1", "x", "../a", [], {},
    [[]], [[1]], [None], [1] * 6, ["1"] * 6, [1, "2", 3, 4, 5, 6], [1e300] * 6, [[{"a": 1}] * 6],
    {"counts": [2400]}, {"size": [HEIGHT, WIDTH], "counts": [2400.0]}, {"a": {"b": 1}},
    {"size": [HEIGHT, WIDTH], "counts": "\u00e9"}, {"size": [HEIGHT, WIDTH], "counts": [2**70]},
]  # fmt: skip


def places(value, path=()):
    """The path of each value in a file."""
    inner = value.items() if isinstance(value, dict) else ()
    inner = enumerate(value) if isinstance(value, list) else inner
    for key, part in inner:
        yield (*path, key)
        yield from places(part, (*path, key))


def test_whatever_is_changed_an_error_names_the_file(folder):
    root, rng = folder(lambda c: first(c).update(segmentation=painted())), random.Random(0)
    path = root / "annotations.json"
    text, outcomes = path.read_text(), collections.Counter()
    for _ in range(400):
        content = json.loads(text)
        for _ in range(rng.choice([1, 1, 2])):
            *way, last = rng.choice(list(places(content)))
            inner = functools.reduce(lambda part, key: part[key], way, content)
            if rng.random() < 0.2:
                del inner[last]
            else:
                inner[last] = rng.choice(VALUES)
        path.write_text(json.dumps(content))
        try:
            areas(root, 255, 255)
            outcomes["read"] += 1
        except ValueError as error:
            assert str(path) in str(error)
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 20


@pytest.mark.parametrize(("listed", "stored"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_in_composed_and_decomposed_unicode(folder, listed, stored):
    """macOS stores names decomposed; JSON often has them composed."""
    name = "Z\u00fcrich.png"
    root = folder(
        lambda c: c["images"][0].update(file_name="export/" + unicodedata.normalize(listed, name))
    )
    image = root / "images" / unicodedata.normalize(stored, name)
    (root / "images" / "im1.png").rename(image)
    assert image in [sample.image for sample in find_samples(root)]
    assert told(audit(root), "note", "1 image found by", "another Unicode form")
