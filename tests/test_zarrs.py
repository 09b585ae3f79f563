"""OME-Zarr in and out: axes by the metadata, levels, volumes; other groups name their arrays."""

import json

import numpy as np
import pytest

from keras_deepskip import build_model
from keras_deepskip.inference import predict, predict_tiled
from keras_deepskip.inference.sources import open_source
from keras_deepskip.inference.zarrs import zarr_placement
from tests import tiny

zarr = pytest.importorskip("zarr")
IMAGE = np.random.default_rng(0).integers(0, 256, (70, 61, 3)).astype("uint8")


def write_ome(path, array, axes, version="0.4", levels=1):
    """An OME-Zarr image as other tools write it; further levels are coarser."""
    group = zarr.open_group(str(path), mode="w", zarr_format=2 if version == "0.4" else 3)
    for level in range(levels):
        box = tuple(slice(None, None, 2**level if axis in "yx" else 1) for axis in axes)
        own = array[box]
        group.create_array(str(level), shape=own.shape, chunks=own.shape, dtype=own.dtype)[:] = own
    datasets = [{"path": str(level)} for level in range(levels)]
    scales = [{"axes": [{"name": axis} for axis in axes], "datasets": datasets}]
    if version == "0.4":
        group.attrs["multiscales"] = [{"version": "0.4", **scales[0]}]
    else:
        group.attrs["ome"] = {"version": version, "multiscales": scales}
    return path


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize(
    ("axes", "array"),
    [
        ("cyx", IMAGE.transpose(2, 0, 1)),
        ("tczyx", IMAGE.transpose(2, 0, 1)[None, :, None]),
        ("yxc", IMAGE),
    ],
)
def test_the_finest_level_with_channels_last(tmp_path, axes, array, version):
    path = write_ome(tmp_path / "a.zarr", array, axes, version, levels=2)
    source = open_source(path, channels=3)
    assert source.shape == IMAGE.shape
    assert np.array_equal(source.read((slice(5, 40), slice(3, 9))), IMAGE[5:40, 3:9])
    level = open_source(path / "1", channels=3)
    assert np.array_equal(level.read((slice(None), slice(None))), IMAGE[::2, ::2])


def test_gray_images_and_volumes(tmp_path):
    gray = write_ome(tmp_path / "g.zarr", IMAGE[..., 0], "yx")
    assert np.array_equal(
        open_source(gray, channels=1).read((slice(0, 9), slice(0, 9))), IMAGE[:9, :9, :1]
    )
    volume = write_ome(tmp_path / "v.zarr", IMAGE.transpose(2, 0, 1), "zyx")
    box = (slice(1, 3), slice(0, 9), slice(0, 9))
    assert np.array_equal(
        open_source(volume, channels=1, axes=3).read(box)[..., 0], IMAGE.transpose(2, 0, 1)[box]
    )


def test_what_is_no_image_is_named(tmp_path):
    times = write_ome(tmp_path / "t.zarr", IMAGE[:, :, 0][None].repeat(2, 0), "tyx")
    with pytest.raises(ValueError, match=r"t\.zarr: one image or volume.*shape \(2, 70, 61\)"):
        open_source(times, channels=1)
    group = zarr.open_group(str(tmp_path / "g.zarr"), mode="w")
    for name in ("raw", "labels"):
        group.create_array(name, shape=(9, 9), dtype="uint8")
    with pytest.raises(ValueError, match=r"a group with .*g\.zarr/labels, .*g\.zarr/raw\. N"):
        open_source(tmp_path / "g.zarr", channels=1)
    assert open_source(tmp_path / "g.zarr" / "raw", channels=1).shape == (9, 9, 1)
    (tmp_path / "g.zarr" / "zarr.json").write_text("{")
    with pytest.raises(ValueError, match=r"g\.zarr: a Zarr array was expected"):
        open_source(tmp_path / "g.zarr", channels=1)


def test_predict_takes_the_image_and_its_levels(tmp_path):
    bright = np.zeros((40, 44), "uint8")
    bright[5:11, 7:20] = 200
    path = write_ome(tmp_path / "a.ome.zarr", bright, "yx", levels=2)
    rows = predict(tiny.bright_model(), [path, path / "1"], tmp_path / "out", verbose=0)
    assert [(row["image"], row["area"]) for row in rows] == [("a", 78), ("a_1", 18)]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_the_size_of_pixels_is_that_of_the_level(tmp_path, version):
    path = write_ome(tmp_path / "a.zarr", IMAGE.transpose(2, 0, 1), "cyx", version, levels=2)
    assert zarr_placement(path).pixel_size is None
    group = zarr.open_group(str(path), mode="r+")
    attributes = dict(group.attrs)
    (scales,) = attributes.get("multiscales") or attributes["ome"]["multiscales"]
    units = {"c": {}, "y": {"unit": "micrometer"}, "x": {"unit": "nanometer"}}
    scales["axes"] = [{"name": name, **unit} for name, unit in units.items()]
    for level, dataset in enumerate(scales["datasets"]):
        scale = [1, 0.25 * 2**level, 500 * 2**level]
        dataset["coordinateTransformations"] = [
            {"type": "scale", "scale": scale}, {"type": "translation", "translation": [0, 1, 1]},
        ]  # fmt: skip
    scales["coordinateTransformations"] = [{"type": "scale", "scale": [1, 2, 1]}]
    group.attrs.update(attributes)
    assert zarr_placement(path).pixel_size == zarr_placement(path / "0").pixel_size == (0.5, 0.5)
    assert zarr_placement(path / "1").pixel_size == (1.0, 1.0)
    zarr.create_array(str(tmp_path / "plain.zarr"), shape=(4, 4), dtype="uint8")
    assert zarr_placement(tmp_path / "plain.zarr").pixel_size is None


def test_measures_in_micrometres(tmp_path):
    pytest.importorskip("skimage")
    bright = np.zeros((40, 44), "uint8")
    bright[5:15, 7:27] = 200
    path = write_ome(tmp_path / "a.ome.zarr", bright, "yx")
    group = zarr.open_group(str(path), mode="r+")
    (scales,) = group.attrs["multiscales"]
    scales["axes"] = [{"name": name, "unit": "micrometer"} for name in "yx"]
    step = {"type": "scale", "scale": [0.5, 0.5]}
    scales["datasets"][0]["coordinateTransformations"] = [step]
    group.attrs["multiscales"] = [scales]
    (row,) = predict(tiny.bright_model(), path, tmp_path / "out", measures=True, verbose=0)
    assert row["area"] == 200
    assert [value for name, value in row.items() if name.startswith("area_")] == [50.0]


@pytest.mark.parametrize("output", ["mask", "probabilities"])
def test_results_as_ome_zarr(tmp_path, output):
    """Channels first, as NGFF orders axes; interrupted work resumes."""
    model = build_model((None, None, 3), num_classes=2, levels=2, base_filters=2)
    expected = predict_tiled(model, IMAGE, tile=48, output=output)
    found = predict_tiled(model, IMAGE, tile=48, output=output, out=tmp_path / "r.ome.zarr")
    assert np.array_equal(found[:, :], expected)
    group = zarr.open_group(str(tmp_path / "r.ome.zarr"), mode="r")
    (scales,) = group.attrs["ome"]["multiscales"]
    axes = "".join(axis["name"] for axis in scales["axes"])
    stored = group["0"][:]
    assert axes == ("yx" if output == "mask" else "cyx") and stored.ndim == len(axes)
    assert np.array_equal(stored if output == "mask" else stored.transpose(1, 2, 0), expected)
    if output == "probabilities":
        again = open_source(tmp_path / "r.ome.zarr", channels=2)
        assert np.array_equal(again.read((slice(None), slice(None))), expected)
    assert [path.name for path in tmp_path.iterdir()] == ["r.ome.zarr"]


def test_interrupted_work_in_ome_zarr_resumes(tmp_path):
    class Failing:
        shape, reads = IMAGE.shape, 0

        def __getitem__(self, box):
            if box[0].stop - box[0].start > 32:  # a window, no probe
                Failing.reads += 1
                if Failing.reads == 4:
                    raise KeyboardInterrupt
            return IMAGE[box]

    model = build_model((None, None, 3), num_classes=2, levels=2, base_filters=2)
    expected = predict_tiled(model, IMAGE, tile=48)
    with pytest.raises(KeyboardInterrupt):
        predict_tiled(model, Failing(), tile=48, out=tmp_path / "r.ome.zarr")
    notes = json.loads((tmp_path / ".r.ome.unfinished.json").read_text())
    assert notes["done"] >= 1
    found = predict_tiled(model, Failing(), tile=48, out=tmp_path / "r.ome.zarr")
    assert np.array_equal(found[:, :], expected)


def test_notes_of_another_form_say_nothing_of_pixels(tmp_path):
    """A scale of fewer numbers than axes; the image is read all the same."""
    path = write_ome(tmp_path / "a.zarr", IMAGE[..., 0], "yx")
    group = zarr.open_group(str(path), mode="r+")
    (scales,) = group.attrs["multiscales"]
    axes = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"]
    for scale in ([2.0, 3.0], [2.0]):
        steps = [{"type": "scale", "scale": scale}]
        level = {"path": "0", "coordinateTransformations": steps}
        group.attrs["multiscales"] = [{**scales, "axes": axes, "datasets": [level]}]
        assert zarr_placement(path).pixel_size == ((2.0, 3.0) if len(scale) == 2 else None)
