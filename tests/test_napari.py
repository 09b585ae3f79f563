"""The plugin for napari: layer data in and out, its manifest, and its widgets without a window."""

import importlib
import os
import re
import threading
import time
from importlib import metadata

import keras
import numpy as np
import pytest

from keras_deepskip.data import write_png
from keras_deepskip.inference import predict
from keras_deepskip.inference.tables import Rows
from keras_deepskip.operating_point import OperatingPoint, store_operating_point
from keras_deepskip_napari.prediction import AXES, Cancelled, Finder, load_finder
from keras_deepskip_napari.results import get_reader, layers_of, names_of, read_objects
from tests import tiny
from tests.test_forms import scene

pytestmark = pytest.mark.one_backend
MANIFEST = tiny.ROOT / "keras_deepskip_napari" / "napari.yaml"


def needed(module):
    """A module of napari or Qt; without it a test is skipped, but where CI requires it."""
    if os.environ.get("KERAS_DEEPSKIP_REQUIRE_NAPARI") == "1":
        return importlib.import_module(module)
    return pytest.importorskip(module, exc_type=ImportError)  # Qt may lack a system's library


@pytest.fixture(autouse=True)
def own_settings(monkeypatch, tmp_path_factory):
    """napari's settings are not those of whoever runs the tests."""
    monkeypatch.setenv("NAPARI_CONFIG", str(tmp_path_factory.mktemp("napari") / "settings.yaml"))


def image_of(seed=0):
    return np.where(scene(seed), 200, 20).astype("uint8")


def finder(model=None, axes=2, channels=1, **options):
    """A `Finder` of a model that calls what is bright, as `load_finder` makes it."""
    model = tiny.bright_model(channels) if model is None else model
    options = {"point": OperatingPoint(), "names": None, "expected": (0, 255), **options}
    return Finder("bright", model, axes=axes, channels=channels, **options)


def bright_volumes():
    """As `tiny.bright_model`, for volumes."""
    inputs = keras.Input((None, None, None, 1))
    outputs = keras.layers.Conv3D(1, 1, activation="sigmoid")(inputs)
    model = keras.Model(inputs, outputs)
    model.set_weights([np.ones((1, 1, 1, 1, 1)), np.array([-128.5])])
    return model


# ---- Objects of a layer --------------------------------------------------------------------------


@pytest.mark.parametrize("separate", [False, True])
def test_labels_and_features_are_those_of_predict(tmp_path, separate):
    write_png(tmp_path / "images" / "a.png", image_of())
    model = tiny.bright_model()
    rows = predict(model, tmp_path / "images", tmp_path / "out", separate=separate, verbose=0)
    (_, (written, attributes, _)) = layers_of(tmp_path / "out", "a")
    labels, found, kind = finder().find((image_of(), {"name": "a"}, "image"), separate=separate)
    assert kind == "labels" and labels.dtype == np.int32 and np.array_equal(labels, written)
    assert found["name"] == attributes["name"] == "a objects"
    assert list(found["features"]) == list(attributes["features"])
    for column, values in found["features"].items():
        assert np.array_equal(values, attributes["features"][column]), column
    told = found["metadata"]["keras_deepskip"]
    assert told == {"model": "bright", "threshold": 0.5, "min_area": 0, "separate": separate,
                    "objects": len(rows)}  # fmt: skip
    if not separate:
        assert found["features"]["area"] == [row["area"] for row in rows]


def test_a_model_that_finds_objects_one_by_one_says_which_they_are(tmp_path, monkeypatch):
    """As Mask R-CNN does; here each column is an object of its own."""
    from keras_deepskip.inference import outputs

    class Columns:
        def object_finder(self, network):
            assert network.count_params() == 2
            return lambda image: lambda threshold: np.broadcast_to(
                np.arange(1, image.shape[1] + 1), image.shape[:2]
            )  # fmt: skip

    monkeypatch.setattr(outputs, "adapter_of", lambda model: Columns())
    write_png(tmp_path / "images" / "a.png", image_of())
    predict(tiny.bright_model(), tmp_path / "images", tmp_path / "out", verbose=0)
    labels, found, _ = finder().find((image_of(),))
    written = layers_of(tmp_path / "out", "a")[-1]
    assert np.array_equal(labels, written[0]) and labels.max() == image_of().shape[1]
    assert np.array_equal(found["features"]["area"], written[1]["features"]["area"])


def test_a_large_image_is_predicted_window_by_window_and_can_be_cancelled(monkeypatch):
    from keras_deepskip.inference import tiled

    monkeypatch.setattr(tiled, "ONE_PASS", 2000)
    steps = []
    image = np.tile(image_of(), (20, 20))
    whole = finder().find((image,))
    reads = []

    class Slow:
        """An image that is only read in parts."""

        shape, ndim = image.shape, 2

        def __getitem__(self, box):
            reads.append(box)
            return image[box]

    labels, _, _ = finder().find((Slow(),), moved=lambda *step: steps.append(step))
    assert np.array_equal(labels, whole[0]) and labels.max() > 10_000
    assert len(reads) == 7  # a pixel, twice, four windows, and all of it for its objects
    assert steps == [(0, 1), (0, 4), (0, 4), (1, 4), (2, 4), (3, 4), (1, 1)]

    def cancel(done, of):
        if (done, of) == (2, 4):
            raise Cancelled

    reads.clear()
    with pytest.raises(Cancelled):
        finder().find((Slow(),), moved=cancel)
    assert len(reads) == 4


def test_planes_of_a_stack_are_images_of_their_own():
    planes = np.stack([image_of(0), 0 * image_of(), image_of(1)])
    steps = []
    labels, found, _ = finder().find((planes,), moved=lambda *step: steps.append(step))
    assert labels.shape == planes.shape and steps == [(0, 3), (1, 3), (2, 3), (3, 3)]
    features, before = found["features"], 0
    for place, plane in enumerate(planes):
        own, one, _ = finder().find((plane,))
        count = own.max()
        assert np.array_equal(labels[place], np.where(own, own + before, 0))
        there = [at == place for at in features["axis_0"]]
        assert [a for a, here in zip(features["area"], there, strict=True) if here] == (
            one["features"]["area"]
        )
        before += count
    assert features["index"] == list(range(1, before + 1))
    both, found, _ = finder().find((planes[None],))
    assert np.array_equal(both[0], labels) and set(found["features"]["axis_0"]) == {0}


def test_colours_are_channels_and_a_fourth_is_alpha():
    rgb = np.stack([image_of(seed) for seed in range(3)], axis=-1)
    attributes = {"name": "a", "rgb": True, "scale": [2.0, 3.0], "rotate": np.eye(2)}
    labels, found, _ = finder(channels=3).find((rgb, attributes, "image"))
    assert labels.shape == rgb.shape[:2] and labels.max() > 3
    assert found["scale"] == [2, 3] and found["rotate"] is attributes["rotate"]
    rgba = np.concatenate([rgb, np.zeros_like(rgb[..., :1])], axis=-1)
    assert np.array_equal(finder(channels=3).find((rgba, attributes, "image"))[0], labels)
    stack = finder(channels=3).find((rgba[None], {"rgb": True}, "image"))[0]
    assert np.array_equal(stack[0], labels)
    # A grey image fits a model of colours, and colours one of grey images
    grey = finder(channels=3).find((image_of(),))[0]
    assert np.array_equal(grey > 0, image_of() > 128)
    assert finder().find((rgb, attributes, "image"))[0].shape == rgb.shape[:2]


def test_channels_first_and_last():
    channels = [image_of(seed) for seed in range(4)]
    model = tiny.bright_model(4)
    expected, _, _ = finder(model, channels=4).find((np.stack(channels),))
    assert expected.max() > 3
    last = np.stack(channels, axis=-1)
    attributes = {"scale": [2.0, 3.0, 1.0], "translate": [5.0, 6.0, 0.0], "affine": np.eye(4)}
    labels, found, _ = finder(model, channels=4).find((last, attributes, "image"))
    assert np.array_equal(labels, expected)
    assert found["scale"] == [2, 3] and found["translate"] == [5, 6] and "affine" not in found
    first = (np.stack(channels), {"scale": [1.0, 2.0, 3.0]}, "image")
    assert finder(model, channels=4).find(first)[1]["scale"] == [2, 3]
    times = np.stack([np.stack(channels), 0 * np.stack(channels)])
    labels, found, _ = finder(model, channels=4).find((times, {"scale": [9, 1, 2, 3]}, "image"))
    assert np.array_equal(labels[0], expected) and not labels[1].any()
    assert found["scale"] == [9, 2, 3]


def test_what_can_be_read_in_two_ways_is_asked():
    planes = np.stack([image_of(seed) for seed in range(3)])
    with pytest.raises(ValueError, match=r"2 ways by the model.*'stack', 'channels first'"):
        finder(channels=3).find((planes,))
    stacked = finder(channels=3).find((planes,), axes="stack")[0]
    assert stacked.shape == planes.shape
    assert np.array_equal(stacked > 0, planes > 128)
    joined = finder(channels=3).find((planes,), axes="channels first")[0]
    assert joined.shape == planes.shape[1:]
    rgb = np.moveaxis(planes, 0, -1)
    assert np.array_equal(joined, finder(channels=3).find((rgb, {"rgb": True}, "image"))[0])
    assert np.array_equal(joined, finder(channels=3).find((rgb,), axes="channels last")[0])


def test_volumes():
    model = bright_volumes()
    volume = np.zeros((4, 20, 30), "uint8")
    volume[1:3, 5:9, 5:9] = volume[:, 12:16, 20:25] = 200
    labels, found, _ = finder(model, axes=3).find((volume,))
    assert labels.shape == volume.shape and labels.max() == 2
    assert np.array_equal(labels > 0, volume > 0)
    features = found["features"]
    assert sorted(features["area"]) == [32, 80] and {"front", "centroid_z"} <= set(features)
    assert finder(model, axes=3).find((volume[None],))[0].shape == (1, *volume.shape)
    with pytest.raises(ValueError, match=r"\(D, H, W\) was expected by the model, which is for vo"):
        finder(model, axes=3).find((volume[0], {"name": "flat"}, "image"))
    # Shape tells them apart too
    assert finder(model, axes=3).find((volume,), separate=True)[0].max() == 2


@pytest.mark.parametrize(
    ("layer", "channels", "options", "match"),
    [
        ((image_of(), {}, "labels"), 1, {}, "an image layer was expected. Received: a layer of la"),
        ((image_of()[0], {"name": "x"}), 1, {}, r"layer 'x': an image \(H, W\) was expected"),
        ((image_of(),), 4, {}, "layer 'image': an image of 4 channels was expected. Received: 1"),
        ((np.zeros((5, 9, 9)),), 4, {}, "4 channels, first or last, were expected by the model"),
        ((np.zeros((4, 9, 4)),), 4, {}, "2 ways .*'channels first', 'channels last'"),
        ((image_of(),), 1, {"axes": "channels last"}, "an axis of channels was expected"),
        ((np.zeros((9, 9, 3)), {"rgb": True}), 3, {"axes": "channels first"}, "are its colours"),
        ((image_of(),), 1, {"axes": "z"}, "`axes` must be one of 'automatic', 'stack'"),
        ((image_of(),), 1, {"threshold": 2}, "`threshold` must be a number in"),
        ((image_of() > 9,), 1, {}, "layer 'image': an array of numbers was expected"),
        ((image_of().astype("uint16"), {"name": "x"}), 1, {}, "layer 'x': values of uint8"),
        ((image_of() / 255, {"name": "x"}), 1, {}, "layer 'x': values from 0 to 255 were expected"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told(layer, channels, options, match):
    with pytest.raises(ValueError, match=match):
        finder(channels=channels).find(layer, **options)


def test_levels_and_dask_arrays():
    array = pytest.importorskip("dask.array")
    image = image_of()
    expected = finder().find((image,))[0]
    levels = [array.from_array(image, chunks=16), array.from_array(image[::2, ::2], chunks=16)]
    assert np.array_equal(finder().find((levels, {"multiscale": True}))[0], expected)


def test_nothing_found_is_an_empty_table():
    labels, found, _ = finder().find((0 * image_of(),))
    assert not labels.any() and found["features"]["index"] == found["features"]["area"] == []


def test_a_model_file_and_a_run_bring_their_operating_point(tmp_path):
    run = tiny.run()
    loaded = load_finder(run.folder)
    assert loaded.point == run.operating_point and loaded.expected == run.input_range
    assert (loaded.name, loaded.axes, loaded.channels) == (run.folder.name, 2, run.channels)
    file = load_finder(run.folder / "model.keras")
    assert (file.point, file.expected, file.name) == (loaded.point, loaded.expected, loaded.name)

    model = keras.models.clone_model(run.model)
    store_operating_point(model, OperatingPoint(0.3, 7, True))
    model.save(tmp_path / "own.keras")
    loaded = load_finder(tmp_path / "own.keras")
    assert loaded.point == OperatingPoint(0.3, 7, True) and loaded.name == "own.keras"
    with pytest.raises(FileNotFoundError, match=r"no\.keras"):
        load_finder(tmp_path / "no.keras")


def test_the_code_of_the_page_runs(tmp_path, monkeypatch, capsys):
    page = (tiny.ROOT / "docs" / "viewers.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "first").symlink_to(tiny.run().folder)
    monkeypatch.chdir(tmp_path)
    exec(code.replace("512, 512", "48, 48"), {})
    assert capsys.readouterr().out.startswith("labels well 3 objects ")


def test_classes_have_their_names():
    model = tiny.grey_level_model()
    image = np.zeros((9, 20), "uint8")
    image[2:4, 2:4], image[5:8, 10:13] = 128, 250
    found = finder(model, names={1: "dim", 2: "bright"}).find((image,))[1]["features"]
    assert found["class"] == [1, 2] and found["class_name"] == ["dim", "bright"]
    assert found["area"] == [4, 9]


# ---- What predict has written --------------------------------------------------------------------


@pytest.fixture
def written(tmp_path):
    """What `predict` writes of a grey image, a coloured one, and an empty one in a folder."""
    images = tmp_path / "images"
    write_png(images / "p" / "a.png", image_of())
    write_png(images / "p" / "b.png", np.stack([image_of(seed) for seed in range(3)], axis=-1))
    write_png(images / "q" / "none.png", 0 * image_of())
    predict(tiny.bright_model(), images, tmp_path / "out", measures=True, verbose=0)
    return tmp_path / "out"


def test_images_are_opened_with_their_objects_over_them(written):
    assert names_of(written) == ["p/a", "p/b", "q/none"]
    reader = get_reader(str(written / "objects.csv"))
    layers = reader(str(written / "objects.csv"))
    assert [(attributes["name"], kind) for _, attributes, kind in layers] == [
        ("p/a", "image"), ("p/a objects", "labels"), ("p/b", "image"), ("p/b objects", "labels"),
        ("q/none", "image"), ("q/none objects", "labels"),
    ]  # fmt: skip
    assert np.array_equal(layers[0][0], image_of()) and layers[2][1]["rgb"] is True
    labels, attributes, _ = layers[1]
    rows = [row for row in Rows(written / "objects.csv", 0) if row["image"] == "p/a"]
    features = attributes["features"]
    assert features["index"].tolist() == [row["object"] for row in rows]
    assert features["index"].dtype == features["area"].dtype == np.int64
    for column in ("class", "area", "mean_probability", "solidity"):
        assert features[column].tolist() == [row[column] for row in rows]
    for number, area in zip(features["index"], features["area"], strict=True):
        assert (labels == number).sum() == area
    assert len(layers[5][1]["features"]["index"]) == 0 and not layers[5][0].any()


def test_an_image_that_is_gone_has_its_overlay(written, tmp_path):
    (tmp_path / "images" / "p" / "a.png").unlink()
    (overlay, attributes, _), (labels, _, _) = layers_of(written, "p/a")
    assert overlay.shape == (*labels.shape, 3) and attributes["name"] == "p/a overlay"
    assert attributes["scale"] == [1, 1] and attributes["translate"] == [0, 0]
    write_png(written / "overlays" / "p" / "a.png", overlay[:35:, :41])  # as of a large image
    attributes = layers_of(written, "p/a")[0][1]
    assert attributes["scale"] == [2, 83 / 41] and attributes["translate"] == [0.5, 21 / 41]
    (written / "overlays" / "p" / "a.png").unlink()
    assert [kind for _, _, kind in layers_of(written, "p/a")] == ["labels"]


def test_other_arrays_are_read_as_predict_reads_them(tmp_path):
    zarr = pytest.importorskip("zarr")
    image = np.stack([image_of(seed) for seed in range(4)], axis=-1)
    np.save(tmp_path / "a.npy", image)
    zarr.save(str(tmp_path / "b.zarr"), image)
    files = [tmp_path / "a.npy", tmp_path / "b.zarr"]
    predict(tiny.bright_model(4), files, tmp_path / "out", verbose=0)
    for name in "ab":
        layers = layers_of(tmp_path / "out", name)
        assert [each[1]["name"] for each in layers] == [
            *(f"{name} channel {place}" for place in range(4)), f"{name} objects",
        ]  # fmt: skip
        assert np.array_equal(np.stack([each[0] for each in layers[:4]], axis=-1), image)


def test_what_is_no_result_is_refused(written, tmp_path, monkeypatch):
    from keras_deepskip_napari import results

    (tmp_path / "objects.csv").write_text("image\n")
    for path in (tmp_path / "objects.csv", written / "images.csv", written):
        assert get_reader(str(path)) is None
    assert get_reader([str(written / "objects.csv")] * 2) is None
    with pytest.raises(FileNotFoundError, match=r"labels/, images\.csv and objects\.csv\. Receiv"):
        names_of(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        names_of(tmp_path / "no")
    with pytest.raises(FileNotFoundError, match="There are: p/a, p/b, q/none"):
        layers_of(written, "c")
    write_png(tmp_path / "images" / "p" / "a.png", image_of()[:50])
    with pytest.raises(ValueError, match=r"a\.png: an image of 70 x 83 pixels was expected"):
        layers_of(written, "p/a")
    monkeypatch.setattr(results, "MOST", 2)
    with pytest.raises(ValueError, match="at most 2 images were expected.*Received: 3.*Found obj"):
        read_objects(written / "objects.csv")


# ---- The plugin ----------------------------------------------------------------------------------


def test_napari_finds_the_plugin():
    npe2 = needed("npe2")
    manifest = npe2.PluginManifest.from_file(MANIFEST)  # checks what it holds
    (entry,) = (
        entry for entry in metadata.entry_points(group="napari.manifest")
        if entry.name == "keras-deepskip"
    )  # fmt: skip
    assert entry.value == "keras_deepskip_napari:napari.yaml"
    assert manifest.name == "keras-deepskip" == metadata.metadata("keras-deepskip")["Name"]
    needed("magicgui")
    for command in manifest.contributions.commands:
        module, name = command.python_name.split(":")
        assert callable(getattr(importlib.import_module(module), name))
    (reader,) = manifest.contributions.readers
    assert reader.filename_patterns == ["objects.csv"] and not reader.accepts_directories


def test_napari_opens_what_was_found(written):
    """By its own plugin manager, which keeps to the patterns of the manifest."""
    npe2 = needed("npe2")
    components = needed("napari.components")
    manager = npe2.PluginManager.instance()
    manager.discover()
    viewer = components.ViewerModel()
    layers = viewer.open(str(written / "objects.csv"), plugin="keras-deepskip")
    assert [layer.name for layer in layers][:2] == ["p/a", "p/a objects"]
    labels = layers[1]
    assert labels.features["area"].sum() == (labels.data > 0).sum()
    told = labels.get_status((2, 57), world=True)
    assert "area: 25" in str(told)


FIRST = """
import sys, time
import numpy as np
from napari.components import ViewerModel
from qtpy.QtWidgets import QApplication
from keras_deepskip_napari.results import get_reader
from keras_deepskip_napari.widgets import FindObjects

application, viewer = QApplication([]), ViewerModel()
widget = FindObjects(viewer)
viewer.add_image(np.load(sys.argv[1]))
widget.reset_choices()
assert get_reader("/x/objects.csv") is None and "keras" not in sys.modules

def wait():
    end = time.monotonic() + 240
    while widget.worker is not None and time.monotonic() < end:
        application.processEvents()
        time.sleep(0.01)

widget.model.value = sys.argv[2]
wait()
widget.find.changed.emit(True)
wait()
print(widget.told.value)
"""


def test_the_window_waits_for_no_backend_and_its_thread_loads_it(tmp_path):
    """In a process of its own: TensorFlow once ended it, loaded in one thread of Qt's pool and
    asked in another."""
    needed("napari")
    needed("qtpy.QtWidgets")
    np.save(tmp_path / "image.npy", image_of())
    tiny.bright_model().save(tmp_path / "bright.keras")
    arguments = (tmp_path / "image.npy", tmp_path / "bright.keras")
    told = tiny.python(FIRST, *arguments, QT_QPA_PLATFORM="offscreen")
    assert told.splitlines()[-1] == "63 objects"


@pytest.fixture
def viewer(monkeypatch):
    """napari's model of a viewer, and Qt without a screen: widgets, and no window."""
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    needed("napari")
    qt = needed("qtpy.QtWidgets")
    model = needed("napari.components").ViewerModel()
    application = qt.QApplication.instance() or qt.QApplication([])
    yield model, application
    application.processEvents()


def wait(widget, application):
    """Until no thread is at work, and what it had to show is shown."""
    end = time.monotonic() + 60
    while widget.worker is not None and time.monotonic() < end:
        application.processEvents()
        time.sleep(0.01)
    assert widget.worker is None
    application.processEvents()


@pytest.fixture
def errors(monkeypatch):
    """What the widgets show as errors."""
    from keras_deepskip_napari import widgets

    shown = []
    monkeypatch.setattr(widgets, "show_error", shown.append)
    return shown


def test_the_widget_adds_the_objects_of_the_chosen_image(viewer, errors, tmp_path):
    from keras_deepskip_napari.widgets import FindObjects

    viewer, application = viewer
    widget = FindObjects(viewer)
    assert not widget.find.enabled
    viewer.add_image(image_of(), name="cells", scale=(2, 2), units="um")
    widget.reset_choices()  # napari does when layers come and go
    model = keras.models.clone_model(tiny.bright_model())
    model.set_weights(tiny.bright_model().get_weights())
    model.save(tmp_path / "bright.keras")
    widget.model.value = tmp_path / "bright.keras"
    wait(widget, application)
    assert widget.find.enabled and widget.threshold.value == 0.5 and not widget.separate.value
    assert widget.told.value == "bright.keras\nimages of 1 channel\nsmallest object 0 pixels"
    widget.find.changed.emit(True)
    assert widget.cancel.enabled and not widget.find.enabled
    wait(widget, application)
    image, labels = viewer.layers
    expected, attributes, _ = load_finder(tmp_path / "bright.keras").find((image_of(),))
    assert labels.name == "cells objects" and np.array_equal(labels.data, expected)
    assert labels.features["area"].tolist() == attributes["features"]["area"]
    assert labels.scale.tolist() == [2, 2] and labels.units == image.units
    assert widget.told.value == f"{expected.max()} objects"
    assert widget.find.enabled and not widget.cancel.enabled and errors == []

    widget.separate.value, widget.threshold.value = True, 0.9
    widget.find.changed.emit(True)
    wait(widget, application)
    told = viewer.layers[-1].metadata["keras_deepskip"]
    assert (told["separate"], told["threshold"]) == (True, 0.9)


def test_the_widget_shows_what_a_run_holds_and_what_is_wrong(viewer, errors, tmp_path):
    from keras_deepskip_napari.widgets import FindObjects

    viewer, application = viewer
    widget = FindObjects(viewer)
    model = keras.models.clone_model(tiny.run().model)
    store_operating_point(model, OperatingPoint(0.3, 7, True))
    model.save(tmp_path / "own.keras")
    widget.model.value = tmp_path / "own.keras"
    wait(widget, application)
    assert (widget.threshold.value, widget.separate.value) == (0.3, True)
    assert "smallest object 7 pixels" in widget.told.value
    widget.model.value = tiny.run().folder
    wait(widget, application)
    point = tiny.run().operating_point
    assert (widget.threshold.value, widget.separate.value) == (point.threshold, point.separate)
    widget.find.changed.emit(True)
    assert "an image layer was expected. Received: none" in errors.pop()
    viewer.add_image(image_of() / 255, name="dim")
    widget.reset_choices()
    widget.find.changed.emit(True)
    wait(widget, application)
    assert "layer 'dim': values from 0 to 255 were expected" in errors.pop()
    assert len(viewer.layers) == 1 and widget.find.enabled
    (tmp_path / "bad.keras").write_bytes(b"no model")
    widget.model.value = tmp_path / "bad.keras"
    wait(widget, application)
    assert "bad.keras: expected a model saved by Keras 3" in errors.pop()
    assert not widget.find.enabled and widget.told.value == "Not done"
    assert [choice for choice in widget.axes.choices] == list(AXES)


def test_the_widget_can_be_cancelled_between_planes(viewer, errors, monkeypatch, tmp_path):
    from keras_deepskip_napari.widgets import FindObjects

    viewer, application = viewer
    widget = FindObjects(viewer)
    tiny.bright_model().save(tmp_path / "bright.keras")
    widget.model.value = tmp_path / "bright.keras"
    wait(widget, application)
    viewer.add_image(np.stack([image_of()] * 3))
    widget.reset_choices()
    reached, go_on = threading.Event(), threading.Event()
    outputs = Finder._outputs

    def slow(self, *arguments):
        reached.set()
        assert go_on.wait(30)
        return outputs(self, *arguments)

    monkeypatch.setattr(Finder, "_outputs", slow)
    widget.find.changed.emit(True)
    assert reached.wait(30)
    application.processEvents()
    assert widget.bar.max == 3 and widget.bar.value == 0
    widget.cancel.changed.emit(True)
    go_on.set()
    wait(widget, application)
    assert widget.told.value == "Cancelled" and len(viewer.layers) == 1 and errors == []
    assert widget.find.enabled


def test_the_other_widget_goes_through_what_was_found(viewer, errors, written, tmp_path):
    from keras_deepskip_napari.widgets import FoundObjects

    viewer, _ = viewer
    viewer.add_points(name="mine")
    widget = FoundObjects(viewer)
    assert widget.chosen.choices == ()
    widget.folder.value = written
    assert widget.chosen.choices == ("p/a", "p/b", "q/none")

    def shown():
        return [layer.name for layer in viewer.layers]

    assert shown() == ["mine", "p/a", "p/a objects"]
    widget.next.changed.emit(True)
    assert shown() == ["mine", "p/b", "p/b objects"]
    widget.previous.changed.emit(True)
    widget.previous.changed.emit(True)
    assert shown() == ["mine", "q/none", "q/none objects"] and errors == []
    viewer.layers.remove("q/none")  # by the user
    widget.chosen.value = "p/a"
    assert shown() == ["mine", "p/a", "p/a objects"]
    (written / "labels" / "p" / "b.tif").unlink()
    widget.chosen.value = "p/b"
    assert shown() == ["mine"] and "the objects of an image of" in errors.pop()
    widget.folder.value = tmp_path
    assert widget.chosen.choices == () and "a folder that `predict` has written" in errors.pop()
