"""Forms that other tools open: each gives back every pixel of every object."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
from PIL import Image

from keras_deepskip.data import write_png
from keras_deepskip.data.placement import Placement, placement_of
from keras_deepskip.inference import predict
from keras_deepskip.inference.forms.polygons import path_of, polygons_of
from tests import tiny

pytestmark = pytest.mark.one_backend


def scene(seed, shape=(70, 83)):
    """Objects with holes, pieces that touch by corners, and some at the edges of the image."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((shape[0] // 5 + 1, shape[1] // 5 + 1)) < 0.4
    mask = np.kron(coarse, np.ones((5, 5), bool))[: shape[0], : shape[1]]
    return mask ^ (rng.random(shape) < 0.02)


def objects_of(path, labels):
    """The pixels inside a closed path, by points near their middles.

    The joints of pieces may pass right through the middle of a pixel, where rounding decides.
    """
    from matplotlib.path import Path

    rows, columns = np.indices(labels.shape)
    middles = np.stack([columns.ravel() + 0.4871, rows.ravel() + 0.5117], axis=1)
    return Path(np.concatenate([path, path[:1]])).contains_points(middles).reshape(labels.shape)


@pytest.fixture
def folder(tmp_path):
    for seed in range(2):
        tiny.put(tmp_path / "data", f"n{seed}", np.where(scene(seed), 200, 20))
    tiny.put(tmp_path / "data", "none", np.full((20, 30), 20))
    return tmp_path / "data" / "images"


def labels_of(out, name):
    return np.asarray(Image.open(out / "labels" / f"{name}.tif"))


@pytest.mark.parametrize("seed", range(3))
def test_polygons_follow_the_edges_of_pixels(seed):
    import shapely

    from keras_deepskip.objects import label_objects

    labels, count = label_objects(scene(seed))
    found = polygons_of(labels)
    assert len(found) == count > 5
    rows, columns = np.indices(labels.shape)
    several = holes = 0
    for number, polygon in enumerate(found, start=1):
        assert polygon.is_valid and polygon.area == (labels == number).sum()
        inside = shapely.contains_xy(polygon, columns + 0.5, rows + 0.5)
        assert np.array_equal(inside, labels == number)
        assert np.array_equal(objects_of(path_of(polygon), labels), labels == number)
        pieces = getattr(polygon, "geoms", [polygon])
        several += len(pieces) > 1
        holes += any(len(piece.interiors) for piece in pieces)
    assert several and holes


def test_geojson_is_read_by_shapely(folder, tmp_path):
    import shapely

    rows = predict(tiny.bright_model(), folder, tmp_path, formats=["geojson"], verbose=0)
    total = 0
    for name in ("n0", "n1", "none"):
        labels = labels_of(tmp_path, name)
        content = json.loads((tmp_path / "geojson" / f"{name}.geojson").read_text())
        assert content["type"] == "FeatureCollection" and "crs" not in content
        own = [row for row in rows if row["image"] == name]
        assert len(content["features"]) == len(own) == labels.max()
        total += len(own)
        ys, xs = np.indices(labels.shape)
        for number, (feature, row) in enumerate(zip(content["features"], own, strict=True), 1):
            outline = shapely.from_geojson(json.dumps(feature["geometry"]))
            assert np.array_equal(
                shapely.contains_xy(outline, xs + 0.5, ys + 0.5), labels == number
            )
            told = feature["properties"]
            assert told["objectType"] == "detection" and told["classification"]["name"] == "class 1"
            assert (told["object"], told["area"]) == (row["object"], row["area"])
            assert told["name"] == str(number)
            assert told["measurements"] == {
                "area": row["area"], "probability": row["mean_probability"]
            }  # fmt: skip
    assert total == len(rows) > 10


def test_yolo_and_imagej_are_one_path_an_object(folder, tmp_path):
    import roifile

    model = tiny.bright_model()
    predict(model, folder, tmp_path, formats=["yolo", "imagej", "yolo"], verbose=0)
    assert (tmp_path / "yolo" / "data.yaml").read_text() == 'names:\n  0: "class 1"\n'
    for name in ("n0", "n1"):
        labels = labels_of(tmp_path, name)
        lines = (tmp_path / "yolo" / "labels" / f"{name}.txt").read_text().splitlines()
        regions = roifile.roiread(tmp_path / "rois" / f"{name}.zip")
        assert len(lines) == len(regions) == labels.max()
        for number, (line, region) in enumerate(zip(lines, regions, strict=True), start=1):
            label, *shares = line.split()
            assert label == "0"
            path = np.array(shares, float).reshape(-1, 2)
            assert path.min() >= 0 and path.max() <= 1
            path = path * labels.shape[::-1]
            assert np.array_equal(objects_of(path, labels), labels == number)
            assert region.name == f"{number} class 1"
            assert np.array_equal(objects_of(region.coordinates(), labels), labels == number)
    assert (tmp_path / "yolo" / "labels" / "none.txt").read_text() == ""
    assert roifile.roiread(tmp_path / "rois" / "none.zip") == []


def label_studio(out):
    """The tasks and the labelling configuration, as JSON and XML are read."""
    folder = out / "label-studio"
    tasks = json.loads((folder / "tasks.json").read_text(encoding="utf-8"))
    return tasks, ElementTree.parse(folder / "labels.xml").getroot()


def test_label_studio_has_each_object_as_a_polygon(folder, tmp_path):
    """In percent, below the names that the labelling configuration has, each with its own id."""
    rows = predict(tiny.bright_model(), folder, tmp_path, formats=["label-studio"], verbose=0)
    tasks, view = label_studio(tmp_path)
    image, control = view.find("Image"), view.find("PolygonLabels")
    assert image.get("value") == "$image" and control.get("toName") == image.get("name")
    assert [label.get("value") for label in control] == ["class 1"]
    total, ids = 0, set()
    for name, task in zip(("n0", "n1", "none"), tasks, strict=True):
        assert task["data"] == {"image": f"/data/local-files/?d=images/{name}.png"}
        copied = tmp_path / "label-studio" / "images" / f"{name}.png"
        assert copied.read_bytes() == (folder / f"{name}.png").read_bytes()
        labels = labels_of(tmp_path, name)
        (prediction,) = task["predictions"]
        own = [row for row in rows if row["image"] == name]
        assert len(prediction["result"]) == len(own) == labels.max()
        for number, (region, row) in enumerate(zip(prediction["result"], own, strict=True), 1):
            assert region["type"] == "polygonlabels" and region["score"] == row["mean_probability"]
            assert region["from_name"] == control.get("name")
            assert region["to_name"] == image.get("name") and region["image_rotation"] == 0
            assert (region["original_height"], region["original_width"]) == labels.shape
            assert region["value"]["polygonlabels"] == ["class 1"]
            path = np.array(region["value"]["points"])
            assert path.min() >= 0 and path.max() <= 100
            path = path / 100 * labels.shape[::-1]
            assert np.array_equal(objects_of(path, labels), labels == number)
            ids.add(region["id"])
        total += len(own)
    assert len(ids) == total == len(rows) > 10
    assert "score" not in tasks[2]["predictions"][0] and tasks[2]["predictions"][0]["result"] == []
    assert tiny.leftovers(tmp_path) == []


def test_label_studio_shows_what_a_browser_shows(tmp_path):
    """Of other files a picture of the same size; of a JPEG that is turned, as it is turned."""
    images = tmp_path / "images"
    write(images / "a b.tif", image_of().astype("uint16") * 100)
    turned = Image.Exif()
    turned[274] = 6
    Image.fromarray(image_of()).save(images / "ü.jpg", exif=turned, quality=95)
    out = tmp_path / "out"
    predict(tiny.bright_model(), images, out, formats=["label-studio"], verbose=0)
    tasks, _ = label_studio(out)
    assert [task["data"]["image"].rpartition("=")[2] for task in tasks] == [
        "images/a%20b.png", "images/%C3%BC.jpg",
    ]  # fmt: skip
    shown = np.asarray(Image.open(out / "label-studio" / "images" / "a b.png"))
    assert shown.dtype == np.uint8 and np.array_equal(shown[..., 0] > 128, image_of() > 128)
    jpeg = out / "label-studio" / "images" / "ü.jpg"
    assert jpeg.read_bytes() == (images / "ü.jpg").read_bytes()
    region = tasks[1]["predictions"][0]["result"][0]
    height, width = image_of().shape
    assert (region["original_height"], region["original_width"]) == (width, height)


def test_label_studio_names_classes_as_the_model_does(tmp_path):
    from keras_deepskip.inference.forms import forms_of

    names = {1: 'a "round" & <flat> one', 2: "long"}
    (form,) = forms_of(["label-studio"], tmp_path, names, 3)
    form.finish(lambda: iter(()))
    tasks, view = label_studio(tmp_path)
    assert tasks == [] and [label.get("value") for label in view.iter("Label")] == [*names.values()]
    assert len({label.get("background") for label in view.iter("Label")}) == 2


def test_what_label_studio_exports_is_trained_on(folder, tmp_path):
    """Its COCO names local files by their whole path, and counts categories from 0."""
    from keras_deepskip.data.coco import coco_samples

    predict(tiny.bright_model(), folder, tmp_path, formats=["label-studio"], verbose=0)
    tasks, _ = label_studio(tmp_path)
    served = tmp_path / "label-studio"
    content = {"images": [], "categories": [{"id": 0, "name": "class 1"}], "annotations": []}
    for number, task in enumerate(tasks[:2]):
        path = served / task["data"]["image"].rpartition("=")[2]
        with Image.open(path) as image:
            width, height = image.size
        entry = {"id": number, "file_name": str(path), "width": width, "height": height}
        content["images"].append(entry)
        for region in task["predictions"][0]["result"]:  # as if they were accepted
            points = np.array(region["value"]["points"]) / 100 * (width, height)
            (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
            content["annotations"].append(
                {"id": len(content["annotations"]), "image_id": number, "category_id": 0,
                 "segmentation": [points.ravel().tolist()], "ignore": 0, "iscrowd": 0,
                 "bbox": [left, top, right - left, bottom - top], "area": 1.0}
            )  # fmt: skip
    (served / "result.json").write_text(json.dumps(content))
    samples = coco_samples(served / "result.json", served / "images")
    assert [sample.name for sample in samples] == ["n0", "n1"]
    for sample in samples:
        assert sample.image.parent == served / "images"
        labels = labels_of(tmp_path, sample.name)
        assert np.array_equal(sample.mask.read() > 0, labels > 0)
        assert len(sample.mask.regions) == labels.max()


def test_a_lacking_package_is_named_before_anything_is_written(folder, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "shapely", None)
    with pytest.raises(ImportError, match=r'pip install "keras-deepskip\[outlines\]"'):
        predict(tiny.bright_model(), folder, tmp_path / "out", formats=["geojson"], verbose=0)
    assert not (tmp_path / "out").exists()


# ---- Where pixels lie ----------------------------------------------------------------------------

KEYS = (1, 1, 0, 2, 1024, 0, 1, 1, 3072, 0, 1, 32633)  # projected, EPSG:32633
SCALE = (33550, 12, 3, (0.5, 0.25, 0.0), True)
TIE = (33922, 12, 6, (0.0, 0.0, 0.0, 400000.0, 5000000.0, 0.0), True)


def write(path, image, *tags, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, image, extratags=tags, **options)
    return path


def image_of(seed=0):
    return np.where(scene(seed), 200, 20).astype("uint8")


def test_ome_zarr_holds_the_image_with_its_labels_beside_it(tmp_path):
    """Pixels, places and metadata as NGFF 0.5 has them; micrometres where the file says so."""
    zarr = pytest.importorskip("zarr")
    models = pytest.importorskip("ome_zarr_models.v05")
    image = np.stack([image_of(seed) for seed in range(3)], axis=-1)
    path = tmp_path / "images" / "n.ome.tif"
    path.parent.mkdir()
    metadata = {"axes": "YXS", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5}
    tifffile.imwrite(path, image, metadata=metadata, photometric="rgb")
    out = tmp_path / "found"
    rows = predict(tiny.bright_model(3), path, out, formats=["ome-zarr"], verbose=0)
    (folder,) = (out / "zarr").iterdir()
    assert folder.name == "n.ome.ome.zarr" and len(rows) > 3
    group = zarr.open_group(str(folder), mode="r")
    assert np.array_equal(group["0"][:], image.transpose(2, 0, 1))
    assert np.array_equal(group["labels/objects/0"][:], labels_of(out, "n.ome"))
    assert np.array_equal(group["labels/classes/0"][:] > 0, labels_of(out, "n.ome") > 0)

    read = models.Image.from_zarr(group)  # raises where the metadata break a rule
    (scales,) = read.attributes.ome.multiscales
    assert scales.datasets[0].coordinateTransformations[0].scale == [1, 0.5, 0.25]
    assert read.labels.attributes.ome.labels == ["objects", "classes"]
    for name in read.labels.attributes.ome.labels:
        label = models.ImageLabel.from_zarr(group[f"labels/{name}"])
        (scales,) = label.attributes.ome.multiscales
        assert [(axis.name, axis.unit) for axis in scales.axes] == [
            ("y", "micrometer"), ("x", "micrometer"),
        ]  # fmt: skip
        assert scales.datasets[0].coordinateTransformations[0].scale == [0.5, 0.25]
        assert label.attributes.ome.image_label.source.image == "../../"
    properties = group["labels/objects"].attrs["ome"]["image-label"]["properties"]
    assert [each["label-value"] for each in properties] == list(range(1, len(rows) + 1))
    assert [each["area"] for each in properties] == [row["area"] for row in rows]
    assert tiny.leftovers(out) == []


def test_geotiff_is_placed_on_its_map(tmp_path):
    keys = (34735, 3, len(KEYS), KEYS, True)
    path = write(tmp_path / "images" / "map.tif", image_of(), SCALE, TIE, keys)
    place = placement_of(path)
    assert place.epsg == 32633 and place.pixel_size is None
    corner = place.on_map(np.array([[0, 0], [4, 8]], float))
    assert corner.tolist() == [[400000, 5000000], [400002, 4999998]]
    out = tmp_path / "found"
    predict(tiny.bright_model(), path, out, formats=["geojson"], verbose=0)
    for folder in ("masks", "labels"):
        assert placement_of(out / folder / "map.tif") == place
    assert not (out / "masks" / "map.png").exists()
    assert np.array_equal(tifffile.imread(out / "masks" / "map.tif") > 0, image_of() > 128)
    content = json.loads((out / "geojson" / "map.geojson").read_text())
    assert content["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32633"
    import shapely

    areas = [
        shapely.from_geojson(json.dumps(feature["geometry"])).area
        for feature in content["features"]
    ]
    assert np.allclose(areas, [f["properties"]["area"] / 8 for f in content["features"]])
    ring = shapely.from_geojson(json.dumps(content["features"][0]["geometry"]))
    assert getattr(ring, "geoms", [ring])[0].exterior.is_ccw  # as RFC 7946 has it


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ([(34264, 12, 16, (2, 0, 0, 10, 0, -2, 0, 20, *[0] * 8), True)], (2, 0, 10, 0, -2, 20)),
        ([SCALE, TIE, (34735, 3, 8, (1, 1, 0, 1, 1025, 0, 1, 2), True)],
         (0.5, 0, 399999.75, 0, -0.25, 5000000.125)),  # the middle of the pixel is meant
        ([SCALE], None),
    ],
)  # fmt: skip
def test_ways_to_say_a_place(tmp_path, tags, expected):
    place = placement_of(write(tmp_path / "a.tif", image_of(), *tags))
    assert place.transform == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"ome": True, "metadata": {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25}}, (0.25, 0.5)),
        ({"ome": True, "metadata": {"PhysicalSizeX": 500, "PhysicalSizeXUnit": "nm",
                                    "PhysicalSizeY": 500, "PhysicalSizeYUnit": "nm"}}, (0.5, 0.5)),
        ({"imagej": True, "resolution": (2, 4), "metadata": {"unit": "um"}}, (0.25, 0.5)),
        ({"imagej": True, "resolution": (2, 2), "metadata": {"unit": "\\u00B5m"}}, (0.5, 0.5)),
        ({"imagej": True, "resolution": (2, 2), "metadata": {"unit": "pixel"}}, None),
        ({"imagej": True, "resolution": (0, 2), "metadata": {"unit": "um"}}, None),
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, None),  # of a printer, not of a lens
        ({"ome": True}, None),
    ],
)  # fmt: skip
def test_ways_to_say_a_size(tmp_path, options, expected):
    assert placement_of(write(tmp_path / "a.tif", image_of(), **options)).pixel_size == (
        None if expected is None else pytest.approx(expected, rel=1e-6)
    )


def test_measures_are_in_micrometres_where_the_image_says_so(tmp_path):
    sized = {"imagej": True, "resolution": (2, 2), "metadata": {"unit": "um"}}
    write(tmp_path / "images" / "a.tif", image_of(), **sized)
    write_png(tmp_path / "images" / "b.png", image_of(1))
    out = tmp_path / "out"
    rows = predict(tiny.bright_model(), tmp_path / "images", out, measures=True, verbose=0)
    header, *lines = (out / "objects.csv").read_text().splitlines()
    assert {"area_um2", "equivalent_diameter_um", "perimeter_um"} <= set(header.split(","))
    for row in rows:
        if row["image"] == "b":
            assert "area_um2" not in row
            continue
        assert row["area_um2"] == pytest.approx(row["area"] / 4)
        assert row["perimeter_um"] == pytest.approx(row["perimeter"] / 2, abs=1e-3)
        diameter = row["equivalent_diameter"] / 2
        assert row["equivalent_diameter_um"] == pytest.approx(diameter, abs=1e-3)
    assert len(lines) == len(rows)
    assert placement_of(out / "labels" / "a.tif").pixel_size is None  # centimetres are of printers


def test_other_files_say_nothing(tmp_path):
    write_png(tmp_path / "a.png", image_of())
    turned = write(tmp_path / "t.tif", image_of(), SCALE, TIE, (274, 3, 1, 6, True))
    for path in (tmp_path / "a.png", turned, tmp_path / "missing.tif"):
        assert placement_of(path) == Placement()
    (tmp_path / "bad.tif").write_bytes(b"II*\0" + b"\xff" * 30)
    with pytest.raises(ValueError, match=r"bad\.tif"):
        placement_of(tmp_path / "bad.tif")
