"""Published sets: small synthetic copies of their layouts, imported and compared pixel by pixel."""

import base64
import importlib.util
import io
import json
import os
import shutil

import numpy as np
import pytest
import tifffile
from PIL import Image

from keras_deepskip import cli
from keras_deepskip.data import (
    LAYOUTS,
    MaskReading,
    audit,
    find_samples,
    has_objects,
    import_set,
    load_mask,
    load_objects,
    load_split,
    read_image,
    read_mask,
    write_png,
)
from keras_deepskip.data.importers import _entry, importing
from keras_deepskip.data.importers._shapes import Ellipse, Polygon, rasterize, rectangle
from keras_deepskip.inference import predict
from tests import tiny

pytestmark = pytest.mark.one_backend

HEIGHT, WIDTH = 24, 32
needs_coco = pytest.mark.skipif(
    importlib.util.find_spec("pycocotools") is None, reason="needs pycocotools"
)


def picture(seed, height=HEIGHT, width=WIDTH):
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3)).astype("uint8")


def save(path, array):
    """Writes an image by its suffix; JPEG and BMP too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def box(top, left, bottom, right, value=1, shape=(HEIGHT, WIDTH)):
    mask = np.zeros(shape, "int32")
    mask[top:bottom, left:right] = value
    return mask


def grey(mask, value=255):
    return ((mask > 0) * value).astype("uint8")


# ---- Synthetic copies: each gives the expected masks by name, and the parts ----------------------


def bbbc038(root):
    expected = {}
    for seed, name in enumerate(("0a1b", "9c8d", "ffee")):
        one, two = box(2, 3, 6, 8), box(6, 8, 9, 14)  # they touch by a corner
        save(root / name / "images" / f"{name}.png", np.dstack([picture(seed), one * 0 + 255])
             .astype("uint8"))  # fmt: skip
        for number, mask in enumerate((one, two)):
            save(root / name / "masks" / f"{number}f.png", grey(mask))
        expected[name] = one + two
    return expected, None


def emds6(root):
    expected = {}
    for number, seed in (("01", 1), ("01", 2), ("21", 3)):
        stem, mask = f"EMDS5-g{number}-{seed:02d}", box(4, seed, 12, 20)
        save(root / "EMDS5-Original" / number / f"{stem}.png", picture(seed))
        truth = np.repeat(grey(mask)[..., None], 3, axis=-1)
        save(root / "EMDS5-Ground Truth" / number / f"{stem}-GTM.png", truth)
        expected[f"{number}_{stem}"] = mask
    return expected, None


def idrid(root):
    expected, parts = {}, {"train": [], "test": []}
    for seed, part in enumerate(("train", "train", "test"), start=1):
        folder = {"train": "a. Training Set", "test": "b. Testing Set"}[part]
        name = f"IDRiD_{seed:02d}"
        save(root / "1. Original Images" / folder / f"{name}.jpg", picture(seed))
        masks = {
            ("1. Microaneurysms", "MA"): box(3, 3, 5, 5),
            ("2. Haemorrhages", "HE"): box(2, 2, 10, 10),  # the microaneurysm lies on it
            ("3. Hard Exudates", "EX"): box(12, 12, 15, 20),
            ("4. Soft Exudates", "SE"): box(14, 2, 20, 14),
            ("5. Optic Disc", "OD"): box(0, 20, 8, 30),
        }
        if seed == 2:  # many images have no soft exudates, and then no file
            del masks["4. Soft Exudates", "SE"]
        truths = root / "2. All Segmentation Groundtruths" / folder
        for (kind, ending), mask in masks.items():
            red = np.zeros((3, 256), "uint16")
            red[0, 1] = 65535
            path = truths / kind / f"{name}_{ending}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(path, mask.astype("uint8"), photometric="palette", colormap=red)
        mask = box(14, 2, 20, 14, 4) * (seed != 2)
        for label, edges in ((2, (2, 2, 10, 10)), (3, (12, 12, 15, 20)), (1, (3, 3, 5, 5))):
            mask[box(*edges) > 0] = label
        expected[name] = mask
        parts[part].append(name)
    return expected, parts


SUIM_COLORS = {"diver": (0, 0, 255), "robot": (255, 0, 0), "fish": (255, 255, 0)}


def suim(root):
    expected, parts = {}, {"train": [], "test": []}
    for seed, part in enumerate(("train", "train", "test")):
        name = f"d_r_{seed}_"
        folder = root / {"train": "train_val", "test": "TEST"}[part]
        save(folder / "images" / f"{name}.jpg", picture(seed))
        mask, rgb = np.zeros((HEIGHT, WIDTH), "int32"), np.zeros((HEIGHT, WIDTH, 3), "uint8")
        rgb[18:] = (255, 255, 255)  # the ground of the sea, which is background here
        for label, color in enumerate(SUIM_COLORS.values(), start=1):
            rgb[2:8, 8 * label : 8 * label + 5] = color
            mask[2:8, 8 * label : 8 * label + 5] = label
        rgb[2, 8] = (3, 1, 250)  # some of the published colours are not pure
        if seed == 1:  # some masks lack a row
            rgb = rgb[:-1]
        save(folder / "masks" / f"{name}.bmp", rgb)
        expected[name] = mask
        parts[part].append(name)
    save(root / "TEST" / "masks" / "HD" / "d_r_2_.bmp", picture(0))  # masks of one class
    return expected, parts


def penn_fudan(root):
    expected = {}
    for seed, name in enumerate(("FudanPed00001", "FudanPed00002", "PennPed00001")):
        mask = box(2, 4, 20, 10, 1) + box(4, 10, 20, 15, 2)
        save(root / "PNGImages" / f"{name}.png", picture(seed))
        save(root / "PedMasks" / f"{name}_mask.png", mask.astype("uint8"))
        (root / "Annotation").mkdir(exist_ok=True)
        (root / "Annotation" / f"{name}.txt").write_text("# PASCAL Annotation Version 1.00")
        expected[name] = (mask > 0) * 1
    return expected, None


def isaid(root):
    expected, parts = {}, {"train": [], "test": []}
    for seed, (part, name) in enumerate(
        (("train", "P0001"), ("train", "P0002"), ("test", "P0003"))
    ):
        folder = root / {"train": "train", "test": "val"}[part]
        color, number = (np.zeros((HEIGHT, WIDTH, 3), "uint8") for _ in range(2))
        color[2:5, 2:6], number[2:5, 2:6] = (0, 0, 127), (0, 0, 1)
        color[2:5, 6:9], number[2:5, 6:9] = (0, 0, 127), (0, 1, 0)
        color[10:16, 4:20], number[10:16, 4:20] = (0, 127, 127), (1, 0, 0)
        color[18:22, 4:20], number[18:22, 4:20] = (0, 0, 63), (1, 0, 7)  # a ship
        save(folder / "images" / f"{name}.png", picture(seed))
        masks = folder / "images" if seed else folder / "Semantic_masks" / "images" / "images"
        save(masks / f"{name}_instance_color_RGB.png", color)
        save(folder / "images" / f"{name}_instance_id_RGB.png", number)
        expected[name] = box(2, 2, 5, 9) + box(10, 4, 16, 20, 2)
        parts[part].append(name)
    (root / "test" / "images").mkdir(parents=True)  # its masks are withheld
    return expected, parts


def polygon(top, left, bottom, right):
    return [[left, top, right, top, right, bottom, left, bottom]]


def annotation(number, image, category, edges, **more):
    top, left, bottom, right = edges
    entry = {"id": number, "image_id": image, "category_id": category, "iscrowd": 0}
    area = (bottom - top) * (right - left)
    return entry | {"segmentation": polygon(*edges), "area": area} | more


def coco(root):
    """Cars and people; image 3 of each part has neither, image 2 a large car alone."""
    crowd = np.zeros((HEIGHT, WIDTH), "uint8")
    crowd[:, 28:] = 1
    runs = {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * 28, HEIGHT * 4]}
    expected, parts = {}, {"train": [], "test": []}
    for part, year in (("train", "train2017"), ("test", "val2017")):
        entries = [
            annotation(1, 1, 3, (2, 2, 5, 6)),
            annotation(2, 1, 3, (2, 6, 5, 12)),
            annotation(3, 1, 1, (10, 4, 12, 6)),
            annotation(4, 1, 1, (0, 0, 0, 0), segmentation=runs, iscrowd=1),
            annotation(5, 2, 3, (1, 1, 21, 25)),
            annotation(6, 3, 44, (1, 1, 4, 4)),
        ]
        content = {
            "images": [
                {"id": i, "file_name": f"{part}{i:04d}.jpg", "height": HEIGHT, "width": WIDTH}
                for i in (1, 2, 3)
            ],
            "annotations": entries,
            "categories": [
                {"id": 1, "name": "person"}, {"id": 3, "name": "car"}, {"id": 44, "name": "bottle"},
            ],
        }  # fmt: skip
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{year}.json").write_text(json.dumps(content))
        (root / "annotations" / f"person_keypoints_{year}.json").write_text("{}")
        for i in (1, 2, 3):
            save(root / year / f"{part}{i:04d}.jpg", picture(i))
        mask = box(2, 2, 5, 12, 2) + box(10, 4, 12, 6)
        mask[crowd > 0] = 255
        expected |= {f"{part}0001": mask, f"{part}0002": box(1, 1, 21, 25, 2)}
        parts[part] += [f"{part}0001", f"{part}0002"]
    return expected, parts


def disc(y, x, radius):
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    return ((rows - y) ** 2 + (columns - x) ** 2 <= radius**2).astype("int32")


def via(root):
    """A project of VIA 2 for training, an export of VIA 1 for the rest."""
    shapes = {
        "circle": {"name": "circle", "cx": 8, "cy": 9, "r": 5.3},
        "rect": {"name": "rect", "x": 18, "y": 4, "width": 6, "height": 3},
        "polygon": {"name": "polygon", "all_points_x": [18, 24, 24, 18],
                    "all_points_y": [12, 12, 20, 20]},
        "ellipse": {"name": "ellipse", "cx": 8, "cy": 18, "rx": 2.2, "ry": 2.2, "theta": 0.3},
    }  # fmt: skip
    labels = {"circle": "euro", "rect": "euro", "polygon": "euro", "ellipse": "cent"}
    mask = box(4, 18, 7, 24) + box(12, 18, 20, 24)
    mask = np.maximum(mask, np.maximum(disc(9, 8, 5.3), disc(18, 8, 2.2)))
    expected, parts = {}, {"train": ["a", "b"], "test": ["c"]}
    regions = [
        {"shape_attributes": shape, "region_attributes": {"kind": labels[key]}}
        for key, shape in shapes.items()
    ]
    for name, part in (("a", "train"), ("b", "train"), ("c", "test")):
        save(root / part / f"{name}.jpg", picture(ord(name)))
        expected[name] = mask if name != "b" else mask * 0
    records = {
        f"{name}.jpg123": {
            "filename": f"{name}.jpg",
            "size": 123,
            "regions": regions if name == "a" else [],
        }
        for name in "ab"
    }
    project = {"_via_settings": {}, "_via_img_metadata": records, "_via_attributes": {}}
    (root / "train" / "project.json").write_text(json.dumps(project))
    numbered = {str(number): region for number, region in enumerate(regions)}
    export = {"c.jpg123": {"filename": "c.jpg", "size": 123, "regions": numbered}}
    (root / "test" / "via_region_data.json").write_text(json.dumps(export))
    return expected, parts


def labelme(root):
    expected = {}
    shapes = [
        {"label": "euro", "shape_type": "circle", "points": [[8, 9], [8, 14.3]]},
        {"label": "cent", "shape_type": "rectangle", "points": [[24, 7], [18, 4]]},
        {"label": "cent", "shape_type": "polygon", "points": [[18, 12], [24, 12], [24, 20],
                                                              [18, 20]]},
    ]  # fmt: skip
    mask = np.maximum(disc(9, 8, 5.3), box(4, 18, 7, 24) + box(12, 18, 20, 24))
    for name in "abc":
        content = {
            "shapes": shapes if name != "b" else [],
            "imagePath": f"..\\photos\\{name}.jpg",
            "imageHeight": HEIGHT,
            "imageWidth": WIDTH,
        }
        save(root / f"{name}.jpg", picture(ord(name)))
        (root / f"{name}.json").write_text(json.dumps(content))
        expected[name] = mask if name != "b" else mask * 0
    return expected, None


def outline(top, left, bottom, right):
    """The corners of a box as x and y."""
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def yolo(root):
    (root / "data.yaml").write_text("path: .\nnames:\n  0: person\n  1: 'car'\nnc: 2\n")
    expected, parts = {}, {"train": [], "val": [], "test": []}
    touching = [(0, (2, 3, 9, 8)), (0, (2, 8, 9, 12)), (1, (14, 4, 20, 19))]
    for seed, (folder, part) in enumerate((("train", "train"), ("train", "train"),
                                           ("val", "val"), ("test", "test"))):  # fmt: skip
        name = f"y{seed}"
        save(root / "images" / folder / f"{name}.jpg", picture(seed))
        lines, mask = "", np.zeros((HEIGHT, WIDTH), "int32")
        for label, edges in touching if seed != 1 else ():
            shares = (np.array(outline(*edges)) / (WIDTH, HEIGHT)).ravel()
            lines += f"{label} " + " ".join(f"{share:.6f}" for share in shares) + "\n"
            mask += box(*edges, label + 1)
        (root / "labels" / folder).mkdir(parents=True, exist_ok=True)
        if lines:  # an image without objects has no text
            (root / "labels" / folder / f"{name}.txt").write_text(lines)
        expected[name] = mask
        parts[part].append(name)
    return expected, parts


def qupath(root):
    expected = {}
    ring = box(2, 3, 12, 13) - box(5, 6, 8, 9)
    pieces = box(14, 4, 16, 8) + box(14, 10, 18, 12)
    geometries = [
        {"type": "Polygon", "coordinates": [outline(2, 3, 12, 13), outline(5, 6, 8, 9)]},
        {"type": "MultiPolygon", "coordinates": [[outline(14, 4, 16, 8)],
                                                 [outline(14, 10, 18, 12)]]},
    ]  # fmt: skip
    for name in "abc":
        features = [
            {"type": "Feature", "id": f"{name}{number}", "geometry": geometry,
             "properties": {"objectType": "annotation", "classification": {"name": kind}}}
            for number, (geometry, kind) in enumerate(zip(geometries, ("Tumor", "Stroma"),
                                                          strict=True))
        ]  # fmt: skip
        whole = {"type": "FeatureCollection", "features": features} if name == "a" else features
        tifffile.imwrite(root / f"{name}.tif", picture(ord(name)), photometric="rgb")
        (root / f"{name}.geojson").write_text(json.dumps(whole))
        expected[name] = ring + pieces
    return expected, None


def cellpose(root):
    expected, parts = {}, {"train": [], "test": []}
    for seed, (part, ending) in enumerate((("train", "masks.tif"), ("train", "cp_masks.png"),
                                           ("test", "masks.tif"))):  # fmt: skip
        name = f"cells_{seed}"
        numbers = box(2, 2, 8, 8, 1) + box(2, 8, 8, 14, 2) + box(12, 3, 18, 9, 700)
        save(root / part / f"{name}.png", picture(seed))
        save(root / part / f"{name}_cp_outlines.png", picture(seed))
        save(root / part / f"{name}_{ending}", numbers.astype("uint16"))
        expected[name] = (numbers > 0).astype("int32")
        parts[part].append(name)
    return expected, parts


COPIES = {
    "bbbc038": bbbc038,
    "emds6": emds6,
    "idrid": idrid,
    "suim": suim,
    "penn_fudan": penn_fudan,
    "isaid": isaid,
    "coco": coco,
    "via": via,
    "labelme": labelme,
    "yolo": yolo,
    "qupath": qupath,
    "cellpose": cellpose,
}
CLASSES = {"coco": ["person", "car"]}
NAMES = [pytest.param(name, marks=needs_coco if name == "coco" else ()) for name in COPIES]


@pytest.fixture
def copy(tmp_path):
    """Function that makes the copy of a layout: its folder, the masks expected, the parts."""

    def made(layout):
        root = tmp_path / "source" / layout
        root.mkdir(parents=True)
        return (root, *COPIES[layout](root))

    return made


def imported(layout, root, out, **options):
    options = {"classes": CLASSES.get(layout), "verbose": 0} | options
    return import_set(layout, root, out, **options)


def masks(out, ignore_class=None):
    samples = find_samples(out)
    return {s.name: load_mask(s, MaskReading(99, ignore_class=ignore_class)) for s in samples}


def assert_masks(out, expected, ignore_class=None):
    found = masks(out, ignore_class)
    assert sorted(found) == sorted(expected)
    for name, mask in expected.items():
        np.testing.assert_array_equal(found[name], mask, err_msg=name)


# ---- Every layout --------------------------------------------------------------------------------


def test_every_layout_has_a_copy():
    assert set(COPIES) == set(LAYOUTS)


@pytest.mark.parametrize("layout", [name for name in COPIES if name != "coco"])
def test_objects_keep_their_ids(copy, tmp_path, layout):
    """Where a set separates its objects, so does `instances/`; others have none."""
    root, expected, _ = copy(layout)
    out = tmp_path / "out"
    imported(layout, root, out)
    reading = MaskReading(99)
    for found in find_samples(out):
        mask = load_mask(found, reading)
        ids = load_objects(found, mask, reading)
        assert has_objects(found) == LAYOUTS[layout].instances
        assert np.array_equal(ids > 0, expected[found.name] > 0)
    again = imported(layout, root, out)  # nothing is there twice, or lost
    assert again.images == len(expected)


def test_touching_objects_of_a_class_are_apart(copy, tmp_path):
    for layout, number in (("yolo", 3), ("cellpose", 3), ("qupath", 2), ("bbbc038", 2)):
        root, _, _ = copy(layout)
        done = imported(layout, root, tmp_path / layout)
        found = find_samples(done.folder)[0]
        mask = load_mask(found, MaskReading(99))
        ids = load_objects(found, mask, MaskReading(99))
        assert ids.max() == number
        for one in range(1, number + 1):  # one class an object
            assert len(np.unique(mask[ids == one])) == 1
    assert (tmp_path / "yolo" / "classes.txt").read_text() == "person\ncar\n"


def test_more_objects_than_16_bits_hold(tmp_path):
    numbers = np.arange(300 * 300, dtype="uint32").reshape(300, 300)
    save(tmp_path / "in" / "a.png", picture(0, 300, 300))
    tifffile.imwrite(tmp_path / "in" / "a_masks.tif", numbers)
    done = imported("cellpose", tmp_path / "in", tmp_path / "out")
    found = find_samples(done.folder)[0]
    ids = load_objects(found, load_mask(found))
    assert found.instances.suffix == ".tif" and ids.max() == 300 * 300 - 1


@pytest.mark.parametrize(
    ("layout", "file", "text", "message"),
    [
        ("yolo", "labels/train/y0.txt", "0 .5 .5 .2 .2", r"y0\.txt: outlines .* a box"),
        ("yolo", "labels/train/y0.txt", "7 0 0 1 0 1 1", r"y0\.txt: classes 0 to 1 .* 7"),
        ("yolo", "labels/train/y0.txt", "0 0 0 1 0 1", r"y0\.txt: a class and pairs"),
        ("yolo", "labels/train/y0.txt", "0 0 0 1 nan 1 1", r"y0\.txt: a polygon"),
        ("yolo", "data.yaml", "nc: 2", r"data\.yaml: `names`"),
        ("yolo", "data.yaml", "names: [a, a]", r"data\.yaml: each class once"),
        ("qupath", "a.geojson", '{"features": 3}', r"a\.geojson: a FeatureCollection"),
        ("qupath", "a.geojson", '{"features": [], "crs": {}}', r"a\.geojson: outlines in pixels"),
        ("qupath", "a.geojson", '[{"geometry": {"type": "Point", "coordinates": [1, 2]}}]',
         r"a\.geojson: a polygon.*Point"),
        ("qupath", "d.geojson", "[]", r"d\.geojson: its image was expected"),
    ],
)  # fmt: skip
def test_what_is_no_outline_is_named(copy, tmp_path, layout, file, text, message):
    root, _, _ = copy(layout)
    (root / file).write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        imported(layout, root, tmp_path / "out")


@pytest.mark.parametrize(
    "properties",
    [
        {"classification": {"name": "Tumor"}},
        {"classification": {"names": ["CD8", "Tumor"], "color": [1, 2, 3]}},
        {"classification": "Tumor"},
        {"classification": ["Tumor", "CD8"]},
    ],
)
def test_classes_as_qupath_and_its_scripts_write_them(tmp_path, properties):
    geometry = {"type": "Polygon", "coordinates": [outline(2, 3, 12, 13)]}
    other = {"geometry": geometry | {"coordinates": [outline(2, 20, 9, 30)]}, "properties": ["x"]}
    root = tmp_path / "source"
    save(root / "a.png", picture(0))
    features = [{"geometry": geometry, "properties": properties}, other]
    (root / "a.geojson").write_text(json.dumps(features), "utf-8-sig")
    imported("qupath", root, tmp_path / "out", classes=["Tumor"])
    assert_masks(tmp_path / "out", {"a": box(2, 3, 12, 13)})
    imported("qupath", root, tmp_path / "all")
    assert_masks(tmp_path / "all", {"a": box(2, 3, 12, 13) + box(2, 20, 9, 30)})


def test_predictions_come_back_as_truth(copy, tmp_path):
    """What `predict` writes as YOLO's labels and GeoJSON, the importers read, pixel for pixel."""
    image = np.zeros((40, 50), "uint8")
    image[3:12, 4:20], image[6:9, 8:11], image[20:33, 30:44], image[33:36, 44:47] = 200, 0, 200, 200
    for layout, folder in (("yolo", "images"), ("qupath", "")):
        root = tmp_path / layout
        save(root / folder / "a.png", image)
        out = tmp_path / f"{layout}_found"
        form = {"yolo": "yolo", "qupath": "geojson"}[layout]
        predict(tiny.bright_model(), root / folder / "a.png", out, formats=[form], verbose=0)
        for path in (out / form).rglob("*"):
            if path.is_file():
                below = path.relative_to(out / form)
                (root / below).parent.mkdir(parents=True, exist_ok=True)
                (root / below).write_bytes(path.read_bytes())
        done = imported(layout, root, tmp_path / f"{layout}_set")
        found = find_samples(done.folder)[0]
        mask = load_mask(found)
        assert np.array_equal(mask, image > 128)
        labels = tifffile.imread(out / "labels" / "a.tif")
        ids = load_objects(found, mask)
        pairs = np.unique(np.stack([labels.ravel(), ids.ravel()]), axis=1)
        assert pairs.shape[1] == labels.max() + 1 == 3  # a bijection, with the background


@pytest.mark.parametrize("layout", NAMES)
def test_masks_images_split_and_audit(copy, tmp_path, layout):
    root, expected, parts = copy(layout)
    out = tmp_path / "out"
    done = imported(layout, root, out)
    assert done.images == len(expected) and done.folder == out
    assert_masks(out, expected, done.ignore_class)
    originals = {path.read_bytes() for path in root.rglob("*") if path.is_file()}
    for sample in find_samples(out):
        assert sample.image.read_bytes() in originals, "images are copied as they are"
    # The masks of a copy are much the same, which would make one group of its images.
    how = {"split_file": done.split_file, "group_by": ".+"}
    report = audit(out, MaskReading(done.num_classes, ignore_class=done.ignore_class), **how)
    assert report.ok, report.text()
    if parts is None:
        assert done.split_file is None and not (out / "split.json").exists()
    else:
        assert json.loads((out / "split.json").read_text()) == parts
        split = load_split(out, **how)
        assert [s.name for s in split.test] == parts["test"]
        rest = sorted(parts["train"] + parts.get("val", []))
        assert sorted(s.name for s in split.train + split.val) == rest
    note = json.loads((out / "SOURCE.json").read_text())
    described = LAYOUTS[layout]
    assert note["images"] == len(expected) and note["complete"] is True
    assert (note["citation"], note["licence"]) == (described.citation, described.licence)
    assert str(tmp_path) not in json.dumps(note)


@pytest.mark.parametrize("layout", NAMES)
def test_a_folder_around_the_set_is_seen_through(copy, tmp_path, layout):
    root, expected, _ = copy(layout)
    around = tmp_path / "downloads" / "archive"
    (around / "__MACOSX").mkdir(parents=True)
    shutil.move(root, around / "inner")
    done = imported(layout, tmp_path / "downloads", tmp_path / "out")
    assert done.images == len(expected)


@pytest.mark.parametrize("layout", list(COPIES))
def test_another_folder_is_refused_with_the_expected_layout(tmp_path, layout):
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "readme.txt").write_text("cats")
    with pytest.raises(FileNotFoundError, match="it holds: readme.txt") as error:
        imported(layout, tmp_path / "cats", tmp_path / "out")
    assert LAYOUTS[layout].expected in str(error.value)
    assert not (tmp_path / "out").exists()
    with pytest.raises(FileNotFoundError, match="no such folder"):
        imported(layout, tmp_path / "nowhere", tmp_path / "out")


@pytest.mark.parametrize("layout", NAMES)
def test_an_interrupted_import_goes_on(copy, tmp_path, layout, monkeypatch):
    root, expected, parts = copy(layout)
    out, whole = tmp_path / "out", importing._write_image
    written = []

    def interrupted(image, path):
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(path)
        whole(image, path)

    monkeypatch.setattr(importing, "_write_image", interrupted)
    with pytest.raises(KeyboardInterrupt):
        imported(layout, root, out)
    assert json.loads((out / "SOURCE.json").read_text())["complete"] is False
    assert not (out / "split.json").exists()
    (out / "masks" / ".x.partial-123.png").write_bytes(b"half")  # of a process that was killed
    first = written[0].stat().st_mtime_ns
    monkeypatch.setattr(importing, "_write_image", whole)
    done = imported(layout, root, out)
    assert_masks(out, expected, done.ignore_class)
    assert written[0].stat().st_mtime_ns == first, "what is whole is kept"
    assert (done.split_file is None) == (parts is None)
    assert not list(out.rglob("*.partial-*"))


@pytest.mark.parametrize("layout", NAMES)
def test_what_changed_in_the_source_is_converted_anew(copy, tmp_path, layout):
    root, expected, _ = copy(layout)
    out = tmp_path / "out"
    imported(layout, root, out)
    masks_before = {path: path.stat().st_mtime_ns for path in (out / "masks").iterdir()}
    kept = imported(layout, root, out)
    assert {path: path.stat().st_mtime_ns for path in (out / "masks").iterdir()} == masks_before
    pictures = {path.read_bytes() for path in (out / "images").iterdir()}
    for path in root.rglob("*"):  # all but the images: that is, what the masks are made from
        if path.is_file() and path.read_bytes() not in pictures:
            os.utime(path, ns=(10**18, 10**18))
    again = imported(layout, root, out)
    assert again.images == kept.images == len(expected)
    assert_masks(out, expected, again.ignore_class)
    assert all(path.stat().st_mtime_ns > at for path, at in masks_before.items())


def test_corrected_annotations_are_imported_and_deleted_ones_leave(copy, tmp_path):
    root, _, _ = copy("qupath")
    out = tmp_path / "out"
    imported("qupath", root, out)
    untouched = (out / "masks" / "b.png").stat().st_mtime_ns
    features = json.loads((root / "a.geojson").read_text())["features"]
    (root / "a.geojson").write_text(json.dumps(features[:1]))
    (root / "c.geojson").unlink()
    done = imported("qupath", root, out)
    assert done.images == 2 and sorted(masks(out)) == ["a", "b"]
    np.testing.assert_array_equal(masks(out)["a"], box(2, 3, 12, 13) - box(5, 6, 8, 9))
    assert (out / "masks" / "b.png").stat().st_mtime_ns == untouched


# ---- Classes, limits, options --------------------------------------------------------------------


def test_classes_by_list_and_by_id(copy, tmp_path):
    root, _, _ = copy("suim")
    done = imported("suim", root, tmp_path / "a", classes=["fish", "sea_floor"])
    mask = masks(tmp_path / "a")["d_r_0_"]
    np.testing.assert_array_equal(mask, box(2, 24, 8, 29) + box(18, 0, HEIGHT, WIDTH, 2))
    assert done.num_classes == 3
    done = imported("suim", root, tmp_path / "b", classes={"fish": 1, "robot": 1})
    np.testing.assert_array_equal(
        masks(tmp_path / "b")["d_r_0_"], box(2, 24, 8, 29) + box(2, 16, 8, 21)
    )
    assert done.num_classes == 1


@pytest.mark.parametrize(
    "layout, classes, expected",
    [
        ("emds6", ["actinophrys", "synchaeta"], {"01_EMDS5-g01-01": 1, "21_EMDS5-g21-03": 2}),
        ("emds6", ["synchaeta"], {"01_EMDS5-g01-01": 0, "21_EMDS5-g21-03": 1}),
        ("idrid", ["optic_disc"], {"IDRiD_01": 1, "IDRiD_02": 1}),
        ("idrid", ["soft_exudate"], {"IDRiD_01": 1, "IDRiD_02": 0}),
        ("isaid", ["ship"], {"P0001": 1}),
        ("labelme", ["cent"], {"a": 1, "b": 0}),
        ("via", ["cent", "euro"], {"a": 2, "b": 0}),
    ],
)
def test_chosen_classes(copy, tmp_path, layout, classes, expected):
    root, _, _ = copy(layout)
    imported(layout, root, tmp_path / "out", classes=classes)
    found = masks(tmp_path / "out")
    assert {name: found[name].max() for name in expected} == expected


def test_shapes_that_were_not_chosen_hide_nothing(copy, tmp_path):
    root, _, _ = copy("labelme")
    imported("labelme", root, tmp_path / "out", classes=["euro"])
    np.testing.assert_array_equal(masks(tmp_path / "out")["a"], disc(9, 8, 5.3))


@needs_coco
def test_coco_classes_and_areas(copy, tmp_path):
    root, _, _ = copy("coco")
    done = imported("coco", root, tmp_path / "all", classes=None)
    assert done.classes == {"person": 1, "car": 2, "bottle": 3} and done.images == 6
    done = imported("coco", root, tmp_path / "small", max_area=8)
    assert sorted(masks(tmp_path / "small", 255)) == ["test0001", "train0001"]
    assert "--ignore-class 255" in done.text() and "--split-file" in done.text()
    done = imported("coco", root, tmp_path / "one", classes={"car": 1, "person": 1})
    assert masks(tmp_path / "one", 255)["train0001"].max() == 255 and done.num_classes == 1
    shutil.rmtree(root / "val2017")  # one of the two will do, and is then split by the seed
    assert imported("coco", root, tmp_path / "half").split_file is None
    with pytest.raises(ValueError, match="lorry"):
        imported("coco", root, tmp_path / "none", classes=["lorry"])


def test_limit_is_spread_over_the_parts_and_can_grow(copy, tmp_path):
    root, expected, parts = copy("suim")
    out = tmp_path / "out"
    assert imported("suim", root, out, limit=2).images == 2
    assert json.loads((out / "split.json").read_text()) == {"train": ["d_r_0_"], "test": ["d_r_2_"]}
    done = imported("suim", root, out)
    assert done.images == 3
    assert_masks(out, expected)
    assert json.loads((out / "split.json").read_text()) == parts


def test_touching_objects_are_kept_apart(copy, tmp_path):
    root, _, _ = copy("penn_fudan")
    imported("penn_fudan", root, tmp_path / "out", separate_touching=True)
    # The left one has 108 pixels, the right one 80: the line is the left one's.
    expected = box(2, 4, 20, 10) + box(4, 10, 20, 15)
    expected[3:20, 9] = 0
    np.testing.assert_array_equal(masks(tmp_path / "out")["FudanPed00001"], expected)
    root, _, _ = copy("bbbc038")
    imported("bbbc038", root, tmp_path / "nuclei", separate_touching=True)
    expected = box(2, 3, 6, 8) + box(6, 8, 9, 14)
    expected[5, 7] = 0  # they touched by a corner; the first has 20 pixels, the other 18
    np.testing.assert_array_equal(masks(tmp_path / "nuclei")["0a1b"], expected)
    root, _, _ = copy("isaid")
    imported("isaid", root, tmp_path / "cars", separate_touching=True)
    expected = box(2, 2, 5, 9) + box(10, 4, 16, 20, 2)
    expected[2:5, 5] = 0
    np.testing.assert_array_equal(masks(tmp_path / "cars")["P0001"], expected)


@needs_coco
def test_crowds_of_coco_are_ignored_and_oddities_told(copy, tmp_path):
    root, expected, _ = copy("coco")
    path = root / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    runs = content["annotations"][3]["segmentation"]
    crowd = annotation(9, 3, 1, (0, 0, 1, 1), segmentation=runs, iscrowd=1)
    content["annotations"] = [*content["annotations"][:5], crowd]  # all that image 3 has
    content["annotations"][0]["image_id"] = "1"
    path.write_text(json.dumps(content))
    with pytest.warns(UserWarning, match=r"instances_train2017\.json: 1 annotation.*as text"):
        imported("coco", root, tmp_path / "out")
    assert_masks(tmp_path / "out", expected, 255)  # image 3 is not among them


@needs_coco
def test_touching_objects_of_coco(copy, tmp_path):
    root, _, _ = copy("coco")
    imported("coco", root, tmp_path / "out", separate_touching=True)
    expected = box(2, 2, 5, 12, 2) + box(10, 4, 12, 6)
    expected[2:5, 6] = 0
    expected[:, 28:] = 255
    np.testing.assert_array_equal(masks(tmp_path / "out", 255)["train0001"], expected)


def test_separated_against_a_slow_reading_of_the_rule():
    rng = np.random.default_rng(0)
    instances = rng.integers(0, 4, (9, 11))
    classes = np.array([0, 1, 1, 2])[instances]
    areas = np.bincount(instances.ravel(), minlength=4)
    expected = classes.copy()
    for row, column in np.ndindex(classes.shape):
        own = instances[row, column]
        around = np.s_[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        for other, label in zip(instances[around].ravel(), classes[around].ravel(), strict=True):
            smaller = other and (areas[other], other) < (areas[own], own)
            if own and smaller and label == classes[row, column]:
                expected[row, column] = 0
    np.testing.assert_array_equal(_entry.separated(classes, instances), expected)


# ---- labelme's own labels and masks --------------------------------------------------------------


def labelme_shape(label, *edges, **more):
    """A box (top, left, bottom, right)."""
    top, left, bottom, right = edges
    points = [[left, top], [right, top], [right, bottom], [left, bottom]]
    return {"label": label, "shape_type": "polygon", "points": points} | more


def labelme_mask(label, values, top, left, mode=None):
    """A shape of labelme's AI tool: a PNG, and its first and last pixel."""
    buffer = io.BytesIO()
    picture = Image.fromarray(values)
    (picture.convert(mode) if mode else picture).save(buffer, "PNG")
    corners = [[left, top], [left + values.shape[1] - 1, top + values.shape[0] - 1]]
    text = base64.b64encode(buffer.getvalue()).decode()
    return {"label": label, "shape_type": "mask", "points": corners, "mask": text}


def labelme_file(root, *shapes):
    root.mkdir()
    save(root / "a.png", picture(0))
    (root / "a.json").write_text(json.dumps({"shapes": list(shapes), "imagePath": "a.png"}))
    return root


def test_labelme_ignores_and_cuts_out(tmp_path):
    root = labelme_file(
        tmp_path / "s",
        labelme_shape("cell", 2, 2, 12, 12),
        labelme_shape("_background_", 4, 4, 6, 20),  # cuts out of what is before it,
        labelme_shape("__ignore__", 10, 10, 16, 16),
        labelme_shape("cell", 5, 15, 20, 25),  # and not out of what comes after
        labelme_shape("_background_", 14, 14, 15, 15),
    )
    expected = box(2, 2, 12, 12)
    expected[4:6, 4:20] = 0
    expected[10:16, 10:16] = 255
    expected[5:20, 15:25] = 1
    expected[14, 14] = 0
    done = imported("labelme", root, tmp_path / "out")
    assert done.ignore_class == 255 and done.classes == {"object": 1} and done.num_classes == 1
    assert "--ignore-class 255" in done.text()
    np.testing.assert_array_equal(masks(tmp_path / "out", 255)["a"], expected)
    done = imported("labelme", root, tmp_path / "apart", separate_touching=True)
    expected[5:20, 15] = np.where(expected[5:20, 14] == 1, 0, expected[5:20, 15])
    np.testing.assert_array_equal(masks(tmp_path / "apart", 255)["a"], expected)
    done = imported("labelme", root, tmp_path / "named", classes=["cell", "__ignore__"])
    assert done.ignore_class is None and masks(tmp_path / "named")["a"].max() == 2


def test_pieces_of_a_labelme_group_are_one_object(tmp_path):
    root = labelme_file(
        tmp_path / "s",
        labelme_shape("cell", 2, 2, 6, 6, group_id=1),
        labelme_shape("cell", 2, 10, 6, 14, group_id=1),
        labelme_shape("debris", 10, 2, 14, 6, group_id=1),  # another label is another object
        labelme_shape("cell", 10, 10, 14, 14, group_id=None),
        labelme_shape("cell", 10, 20, 14, 24),
    )
    imported("labelme", root, tmp_path / "out", classes=["cell", "debris"])
    (found,) = find_samples(tmp_path / "out")
    ids = load_objects(found, load_mask(found, MaskReading(3)), MaskReading(3))
    assert ids.max() == 4 and ids[3, 3] == ids[3, 11]
    assert len({ids[3, 3], ids[11, 3], ids[11, 11], ids[11, 21]}) == 4


def test_shapes_outside_of_the_image_are_counted(tmp_path):
    root = labelme_file(
        tmp_path / "s",
        labelme_shape("cell", 2, 2, 6, 6),
        labelme_shape("cell", -9, 2, -1, 6),
        labelme_shape("cell", 2, WIDTH + 5, 6, WIDTH + 9),
        labelme_shape("cell", 18, 20, HEIGHT + 5, WIDTH + 9),  # in part
    )
    told = r"2 shapes outside of the image, on 1 image \(a\.png\): skipped"
    with pytest.warns(UserWarning, match=told):
        imported("labelme", root, tmp_path / "out")
    expected = box(2, 2, 6, 6) + box(18, 20, HEIGHT, WIDTH)
    assert_masks(tmp_path / "out", {"a": expected})


@pytest.mark.parametrize("mode", [None, "1", "P", "LA", "RGB"])
def test_labelme_masks_are_drawn(tmp_path, mode):
    values = np.zeros((5, 7), "uint8")
    values[1:, 2:] = 255
    root = labelme_file(
        tmp_path / "s",
        labelme_shape("cent", 0, 0, 20, 20),
        labelme_mask("euro", values, 6, 9, mode),
        labelme_mask("euro", values, HEIGHT - 3, -4, mode),  # over the image's edges
    )
    imported("labelme", root, tmp_path / "out", classes=["cent", "euro"])
    expected = box(0, 0, 20, 20)
    expected[7:11, 11:16] = expected[HEIGHT - 2 :, :3] = 2
    np.testing.assert_array_equal(masks(tmp_path / "out")["a"], expected)


@pytest.mark.parametrize(
    "edit, words",
    [
        ({"mask": "%%%"}, "base64"),
        ({"mask": base64.b64encode(b"GIF89a").decode()}, "a mask is a PNG"),
        ({"mask": base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"?" * 40).decode()}, "its mask"),
        ({"mask": None}, "a polygon, rectangle, circle, ellipse or mask"),
        ({"points": [[1, 1], [5, 5]]}, "5 x 7 pixels, between its two points are 5 x 5"),
        ({"points": [[1, 1]]}, "a polygon, rectangle, circle, ellipse or mask"),
        ({"points": [[1, 1], [float("inf"), 5]]}, "a polygon, rectangle, circle, ellipse or mask"),
    ],
)
def test_a_wrong_labelme_mask_is_named(tmp_path, edit, words):
    shape = labelme_mask("euro", np.ones((5, 7), "uint8"), 1, 1) | edit
    with pytest.raises(ValueError, match=rf"a\.json: .*{words}"):
        imported("labelme", labelme_file(tmp_path / "s", shape), tmp_path / "out")


# ---- Shapes --------------------------------------------------------------------------------------


def test_shapes_cover_the_pixels_whose_centres_they_hold():
    rng = np.random.default_rng(1)
    rows, columns = np.mgrid[:40, :50] + 0.5
    for _ in range(20):
        x, y, a, b, angle = rng.uniform((0, 0, 1, 1, -3), (50, 40, 20, 20, 3))
        u = (columns - x) * np.cos(angle) + (rows - y) * np.sin(angle)
        v = -(columns - x) * np.sin(angle) + (rows - y) * np.cos(angle)
        rasterized = rasterize([Ellipse(x, y, a, b, angle)], 40, 50, "test")
        np.testing.assert_array_equal(rasterized, (u / a) ** 2 + (v / b) ** 2 <= 1)
        points = rng.uniform(-10, 60, (6, 2))
        inside = np.zeros((40, 50), bool)
        for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
            crosses = (y0 <= rows) != (y1 <= rows)
            inside ^= crosses & (columns >= x0 + (rows - y0) * (x1 - x0) / (y1 - y0))
        rasterized = rasterize([Polygon(tuple(map(tuple, points)))], 40, 50, "test")
        np.testing.assert_array_equal(rasterized > 0, inside)


def test_the_smaller_shape_lies_on_top():
    shapes = [rectangle(3, 3, 5, 5), rectangle(0, 0, 10, 8), rectangle(-5, -5, -1, 90)]
    expected = box(0, 0, 8, 10, 2, (8, 10))
    expected[3:5, 3:5] = 1
    np.testing.assert_array_equal(rasterize(shapes, 8, 10, "test"), expected)


@pytest.mark.parametrize(
    "points",
    [[[0, 0], [1, 1]], [[0, 0], [1, float("nan")], [2, 2]], [[0, 0], [1e300, 0], [2, 2]], "xy",
     [[0, 0], [10**400, 0], [2, 2]], [[0, 0, 0]] * 3, None],
)  # fmt: skip
def test_shapes_that_are_none(copy, tmp_path, points):
    root, _, _ = copy("labelme")
    content = {"shapes": [{"label": "a", "shape_type": "polygon", "points": points}]}
    (root / "a.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"a\.json: a polygon, rectangle"):
        imported("labelme", root, tmp_path / "out")


@pytest.mark.parametrize("shape", [
    {"name": "circle", "cx": 1, "cy": 1, "r": 0}, {"name": "point", "cx": 1, "cy": 1},
    {"name": "circle", "cx": 1, "cy": 1}, {"name": "ellipse", "cx": 1, "cy": 1, "rx": 1e300,
    "ry": 1}, {"name": "polygon", "all_points_x": [1, 2, 3], "all_points_y": [1, 2]}, 7, None,
])  # fmt: skip
def test_regions_of_via_that_are_none(copy, tmp_path, shape):
    root, _, _ = copy("via")
    region = {"shape_attributes": shape, "region_attributes": {}}
    content = {"c": {"filename": "c.jpg", "regions": [region]}}
    (root / "test" / "via_region_data.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"via_region_data\.json: a polygon, rectangle"):
        imported("via", root, tmp_path / "out")


# ---- What is wrong with a source -----------------------------------------------------------------


@pytest.mark.parametrize("layout, missing, words", [
    ("bbbc038", "9c8d/masks", "9c8d: one image and the masks"),
    ("emds6", "EMDS5-Ground Truth/01/EMDS5-g01-02-GTM.png", "the mask of EMDS5-g01-02.png"),
    ("suim", "train_val/masks/d_r_1_.bmp", "the mask of d_r_1_.jpg"),
    ("penn_fudan", "PedMasks/FudanPed00002_mask.png", "the mask of FudanPed00002.png"),
    ("isaid", "val/images/P0003_instance_color_RGB.png", "the mask of P0003.png"),
    ("via", "test/c.jpg", "the image that it names"),
    ("labelme", "c.jpg", "the image that it names"),
    pytest.param("coco", "train2017/train0002.jpg", "train0002.jpg", marks=needs_coco),
])  # fmt: skip
def test_missing_files_are_named(copy, tmp_path, layout, missing, words):
    root, _, _ = copy(layout)
    path = root / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        imported(layout, root, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_image_of_idrid_without_any_mask(copy, tmp_path):
    root, _, _ = copy("idrid")
    for path in root.rglob("IDRiD_02_*.tif"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match="IDRiD_02.jpg: a mask of one lesion at least"):
        imported("idrid", root, tmp_path / "out")


@pytest.mark.parametrize("layout, mask", [
    ("bbbc038", "9c8d/masks/1f.png"),
    ("emds6", "EMDS5-Ground Truth/01/EMDS5-g01-02-GTM.png"),
    ("suim", "train_val/masks/d_r_1_.bmp"),
    ("penn_fudan", "PedMasks/FudanPed00002_mask.png"),
    ("isaid", "val/images/P0003_instance_color_RGB.png"),
    ("idrid", "2. All Segmentation Groundtruths/b. Testing Set/1. Microaneurysms/IDRiD_03_MA.tif"),
])  # fmt: skip
def test_masks_of_another_size_and_broken_ones(copy, tmp_path, layout, mask):
    root, _, _ = copy(layout)
    save(root / mask, np.zeros((HEIGHT + 5, WIDTH), "uint8"))
    with pytest.raises(ValueError, match=rf"{HEIGHT + 5} x {WIDTH}"):
        imported(layout, root, tmp_path / "out")
    (root / mask).write_bytes((root / mask).read_bytes()[:30])
    with pytest.raises(ValueError, match=(root / mask).name):
        imported(layout, root, tmp_path / "out")
    (root / mask).write_bytes(b"")
    with pytest.raises(ValueError, match=(root / mask).name):
        imported(layout, root, tmp_path / "out")


def test_a_bmp_that_declares_too_much(copy, tmp_path, monkeypatch):
    root, _, _ = copy("suim")
    monkeypatch.setenv("KERAS_DEEPSKIP_MAX_PIXELS", str(HEIGHT * WIDTH))
    path = root / "train_val" / "masks" / "d_r_0_.bmp"
    head = bytearray(path.read_bytes())
    head[18:22] = (30_000).to_bytes(4, "little")  # its width
    path.write_bytes(head)
    with pytest.raises(ValueError, match="that declares 24 x 30000 pixels"):
        imported("suim", root, tmp_path / "out")


def test_a_colour_that_isaid_does_not_have(copy, tmp_path):
    root, _, _ = copy("isaid")
    mask = np.full((HEIGHT, WIDTH, 3), 200, "uint8")
    mask[0, 0] = 1
    save(root / "val" / "images" / "P0003_instance_color_RGB.png", mask)
    with pytest.raises(ValueError, match="P0003_instance_color_RGB.png: colours"):
        imported("isaid", root, tmp_path / "out")
    (root / "train" / "images" / "P0001_instance_id_RGB.png").unlink()
    with pytest.raises(FileNotFoundError, match="P0001.png.*separate_touching"):
        imported("isaid", root, tmp_path / "other", separate_touching=True)


def test_json_that_is_another(copy, tmp_path):
    root, _, _ = copy("via")
    (root / "test" / "other.json").write_text('{"categories": []}')
    with pytest.raises(ValueError, match="other.json: a project or export of VIA"):
        imported("via", root, tmp_path / "out")
    (root / "test" / "other.json").write_text((root / "test" / "via_region_data.json").read_text())
    with pytest.raises(ValueError, match="each image once"):
        imported("via", root, tmp_path / "out")
    root, _, _ = copy("labelme")
    (root / "other.json").write_text("[1]")
    with pytest.raises(ValueError, match="other.json: a file of labelme"):
        imported("labelme", root, tmp_path / "out")
    (root / "other.json").write_text("{")
    with pytest.raises(ValueError, match="other.json: expected a file of labelme. Received: no"):
        imported("labelme", root, tmp_path / "out")


def test_shapes_of_an_image_of_another_size(copy, tmp_path):
    root, _, _ = copy("labelme")
    save(root / "b.jpg", picture(0, HEIGHT * 2))
    with pytest.raises(ValueError, match="b.json: shapes of an image of 48 x 32"):
        imported("labelme", root, tmp_path / "out")


@pytest.mark.parametrize(
    "name", ["../secret.jpg", "..\\secret.jpg", "{root}/secret.jpg", "", None, "\0", ".."]
)
def test_an_image_elsewhere_is_not_fetched(copy, tmp_path, name):
    root, _, _ = copy("via")
    save(root / "secret.jpg", picture(9))
    name = name and name.format(root=root)
    content = {"c": {"filename": name, "regions": []}}
    (root / "test" / "via_region_data.json").write_text(json.dumps(content))
    with pytest.raises(FileNotFoundError, match="via_region_data.json: the image that it names"):
        imported("via", root, tmp_path / "out")


def test_a_class_that_no_shape_has(copy, tmp_path):
    root, _, _ = copy("labelme")
    with pytest.raises(ValueError, match="none named cents; there are: cent, euro"):
        imported("labelme", root, tmp_path / "out", classes=["cents"])


# ---- Names, formats ------------------------------------------------------------------------------


def test_names_that_collide_or_leave_the_folder(tmp_path):
    names = ["a", "A", "a_2", "a", "../../x", ".hidden", "..", "b:c", "x" * 500]
    entries = [_entry.Entry(name, tmp_path / "i.png", None) for name in names]
    found = [entry.name for entry in importing._named(entries)]
    assert found[:4] == ["a", "A_3", "a_2", "a_4"]
    assert found[4:8] == ["_.._x", "hidden", "image", "b_c"]
    assert len({name.lower() for name in found}) == len(names)
    for name in found:
        assert (tmp_path / f"{name}.png").parent == tmp_path and not name.startswith(".")
        assert 0 < len(name) <= 125


def test_images_of_one_name_in_two_parts(copy, tmp_path):
    root, expected, _ = copy("suim")
    for folder, suffix in (("images", "jpg"), ("masks", "bmp")):
        (root / "TEST" / folder / f"d_r_2_.{suffix}").rename(
            root / "TEST" / folder / f"d_r_0_.{suffix}"
        )
    done = imported("suim", root, tmp_path / "out")
    split = load_split(tmp_path / "out", done.split_file, group_by=".+")
    assert [sample.name for sample in split.test] == ["d_r_0__2"]
    np.testing.assert_array_equal(load_mask(split.test[0], MaskReading(4)), expected["d_r_2_"])


def test_bmp_images_become_png(copy, tmp_path):
    root, expected, _ = copy("labelme")
    (root / "a.jpg").unlink()
    save(root / "a.bmp", picture(5))
    imported("labelme", root, tmp_path / "out")
    image = tmp_path / "out" / "images" / "a.png"
    np.testing.assert_array_equal(read_image(image), picture(5))
    assert_masks(tmp_path / "out", expected)


def test_drawn_masks_of_any_value(tmp_path):
    mask = box(1, 1, 3, 4, shape=(6, 7)) > 0
    for name, array in {
        "one": mask * np.uint8(1),
        "white": mask * np.uint8(255),
        "sixteen": mask * np.uint16(65535),
        "none": mask * np.uint8(0),
        "red": np.dstack([mask * 255, mask * 0, mask * 0]).astype("uint8"),
        "smooth": np.where(mask, 255, 90).astype("uint8"),
    }.items():
        write_png(tmp_path / f"{name}.png", array)
        found = _entry.read_binary(tmp_path / f"{name}.png")
        np.testing.assert_array_equal(found, mask & (name != "none"), err_msg=name)


# ---- The folder that is written ------------------------------------------------------------------


def test_another_import_is_not_mixed_in(copy, tmp_path):
    root, expected, _ = copy("suim")
    out = tmp_path / "out"
    imported("suim", root, out, classes=["fish"])
    with pytest.raises(FileExistsError, match="Received: another classes"):
        imported("suim", root, out)
    imported("suim", root, out, overwrite=True)
    assert_masks(out, expected)
    other, _, _ = copy("penn_fudan")
    with pytest.raises(FileExistsError, match="another layout, classes"):
        imported("penn_fudan", other, out)


def test_files_of_the_user_are_left_alone(copy, tmp_path):
    root, _, _ = copy("suim")
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match="holds other files"):
            imported("suim", root, out, overwrite=overwrite)
    with pytest.raises(FileExistsError, match="a file"):
        imported("suim", root, out / "thesis.txt")
    for apart in (root, root / "out", root.parent):
        with pytest.raises(ValueError, match="`out` must lie apart from `source`"):
            imported("suim", root, apart, overwrite=True)
    assert (out / "thesis.txt").read_text() == "years"


@pytest.mark.parametrize("layout, options, words", [
    ("suims", {}, "Did you mean 'suim'"),
    ("suim", {"classes": ["fisch"]}, "Did you mean 'fish'"),
    ("suim", {"classes": "fish"}, "names of classes"),
    ("suim", {"classes": []}, "names of classes"),
    ("suim", {"classes": ["fish", "fish"]}, "each class once"),
    ("suim", {"classes": {"fish": 2}}, "without a gap"),
    ("suim", {"classes": {"fish": 0}}, "at least 1"),
    ("suim", {"limit": 0}, "`limit` must be an integer"),
    ("suim", {"separate_touching": True}, "separates its objects: bbbc038"),
    ("suim", {"max_area": 100}, "option of the layout coco"),
    ("coco", {"max_area": 0}, "`max_area` must be a number"),
])  # fmt: skip
def test_bad_arguments(tmp_path, layout, options, words):
    with pytest.raises(ValueError, match=words):
        import_set(layout, tmp_path / "a", tmp_path / "b", verbose=0, **options)


# ---- The command ---------------------------------------------------------------------------------


def test_command(copy, tmp_path, capsys):
    root, _, _ = copy("suim")
    out = tmp_path / "fish"
    command = ["import", "--layout", "suim", "--source", str(root), "--out", str(out)]
    assert cli.main([*command, "--classes", "fish", "robot", "--limit", "2"]) == 0
    said = capsys.readouterr().out
    assert "| 2 | fish, robot | yes |" in " ".join(said.split()) and f"Wrote {out}\n" in said
    assert f"--num-classes 3 --split-file {out / 'split.json'} --out runs/fish" in said
    assert cli.main([*command, "--classes", "fish=1", "robot=1", "--overwrite"]) == 0
    assert read_mask(out / "masks" / "d_r_0_.png").max() == 1
    assert cli.main([*command, "--classes", "fish=1", "robot"]) == 1
    assert "not both" in capsys.readouterr().err
    assert cli.main([*command[:-1], str(root)]) == 1
    assert "`out` must lie apart" in capsys.readouterr().err


def test_parts_as_other_tools_name_them(tmp_path):
    """`valid/` and `validation/` are parts; annotations beside parts are refused."""
    (tmp_path / "y").mkdir()
    expected, _ = yolo(tmp_path / "y")
    for kind in ("images", "labels"):
        (tmp_path / "y" / kind / "val").rename(tmp_path / "y" / kind / "validation")
    assert imported("yolo", tmp_path / "y", tmp_path / "yolo").images == len(expected)
    for part in ("train", "Valid"):
        (tmp_path / "l" / part).mkdir(parents=True)
        labelme(tmp_path / "l" / part)
        for path in list((tmp_path / "l" / part).iterdir()):
            path.rename(path.with_name(f"{part}_{path.name}"))
        for path in (tmp_path / "l" / part).glob("*.json"):
            content = json.loads(path.read_text())
            path.write_text(json.dumps({**content, "imagePath": f"{path.stem}.jpg"}))
    done = imported("labelme", tmp_path / "l", tmp_path / "labelme", classes=None)
    assert done.images == 6
    split = json.loads((tmp_path / "labelme" / "split.json").read_text())
    assert len(split["train"]) == len(split["val"]) == 3
    labelme(tmp_path / "l")
    with pytest.raises(ValueError, match="in the folder, or in its parts.*Received: both"):
        imported("labelme", tmp_path / "l", tmp_path / "both", classes=None)


def test_images_of_cellpose_that_end_in_img(tmp_path):
    """As its documentation names them, with what it writes beside them."""
    root = tmp_path / "in"
    save(root / "wells_1_img.png", picture(1))
    save(root / "wells_1_masks.png", box(2, 2, 8, 8, 1).astype("uint16"))
    save(root / "wells_1_img_cp_output.png", picture(2))
    imported("cellpose", root, tmp_path / "out")
    assert_masks(tmp_path / "out", {"wells_1_img": box(2, 2, 8, 8)})


def test_the_nearer_of_two_images_that_fit(tmp_path):
    """By the whole name before a shorter one, and as labelme's file calls it."""
    (tmp_path / "q").mkdir()
    qupath(tmp_path / "q")
    for name, level in (("scan", 10), ("scan.v2", 200)):
        pixels = np.full((HEIGHT, WIDTH, 3), level, "uint8")
        tifffile.imwrite(tmp_path / "q" / f"{name}.tif", pixels, photometric="rgb")
    text = (tmp_path / "q" / "a.geojson").read_text()
    for path in tmp_path.glob("q/?.*"):
        path.unlink()
    (tmp_path / "q" / "scan.v2.geojson").write_text(text)
    imported("qupath", tmp_path / "q", tmp_path / "out")
    (found,) = find_samples(tmp_path / "out")
    assert read_image(found.image).max() == 200

    (tmp_path / "l").mkdir()
    labelme(tmp_path / "l")
    save(tmp_path / "l" / "a.png", np.full((HEIGHT, WIDTH, 3), 77, "uint8"))
    path = tmp_path / "l" / "a.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "imagePath": "a.png"}))
    imported("labelme", tmp_path / "l", tmp_path / "labelme")
    (found,) = (s for s in find_samples(tmp_path / "labelme") if s.name == "a")
    assert (read_image(found.image) == 77).all()
