"""Images of any size: windows give what one pass gives, wherever the pixels come from and go to."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from keras_deepskip import build_model
from keras_deepskip.data import write_png
from keras_deepskip.data.masks import read_ids
from keras_deepskip.inference import large, plan_tiles, predict, predict_tiled, sinks
from keras_deepskip.inference.sources import open_source
from keras_deepskip.layers import CropToMatch
from keras_deepskip.objects import label_in_blocks, separate_objects
from keras_deepskip.operating_point import OperatingPoint
from keras_deepskip.tiling import blended_spans, blocks, exact_spans
from tests import tiny

not_on_jax = pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="JAX compiles anew for each of the drawn sizes"
)


def one_pass(model, image):
    """What the model gives for a whole image, (H, W, K)."""
    return keras.ops.convert_to_numpy(model(image[None].astype("float32"), training=False))[0]


def drawn(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype("uint8")


def strided(size=None):
    """A network that does not pad to its own stride: what it strides over depends on the size."""
    x = inputs = keras.Input((size, size, 2))
    x = layers.Conv2D(3, 3, strides=2, padding="same", name="a")(layers.Rescaling(1 / 255)(x))
    x = layers.Conv2D(3, 3, strides=2, padding="same", name="b")(x)
    return keras.Model(inputs, CropToMatch()([layers.UpSampling2D(4)(x), inputs]))


# ---- Geometry ------------------------------------------------------------------------------------


@given(st.integers(1, 400), st.integers(1, 120), st.sampled_from([1, 2, 4, 8]), st.data())
@settings(max_examples=200, deadline=None)
def test_exact_windows_keep_their_distance(length, size, stride, data):
    before, after = (data.draw(st.integers(0, 20)) for _ in range(2))
    size += before + after + 2 * stride - 2
    spans = exact_spans(length, size, stride, before, after)
    counted = np.zeros(length)
    for span in spans:
        assert span.stop - span.start <= size and span.stop <= length
        assert span.start % stride == 0 and (length - span.stop) % stride == 0
        low, high = span.support
        assert span.start == 0 or low - span.start >= before
        assert span.stop == length or span.stop - high >= after
        counted[span.start : span.stop] += span.weights
    assert (counted == 1).all()
    assert len({span.stop - span.start for span in spans}) == 1  # one shape to compile for


def test_windows_are_no_larger_than_their_number_asks_for():
    """Three windows of 4096 would compute each of 8192 pixels 1.5 times."""
    spans = exact_spans(8192, 4096, 16, 122, 122)
    assert [(span.start, span.stop) for span in spans] == [(0, 2912), (2656, 5568), (5280, 8192)]


def test_the_smallest_window():
    assert len(exact_spans(100, 21, 8, 3, 3)) > 1
    with pytest.raises(ValueError, match="windows of at least 21 pixels .* Received: 13"):
        exact_spans(100, 13, 8, 3, 3)


@given(
    st.integers(1, 300), st.integers(2, 90), st.sampled_from(["gaussian", "constant"]), st.data()
)
@settings(max_examples=100, deadline=None)
def test_blended_weights_sum_to_one(length, size, blend, data):
    overlap = data.draw(st.integers(0, size - 1))
    total = np.zeros(length)
    for span in blended_spans(length, size, overlap, blend):
        assert (span.weights > 0).all()
        total[span.start : span.stop] += span.weights
    np.testing.assert_allclose(total, 1)


def test_gaussian_weights_are_those_of_monai():
    """exp(-x^2 / (2 sigma^2)) about the middle, sigma an eighth of the window."""
    left, right = blended_spans(24, 16, 8)
    weight = np.exp(-((np.arange(16) - 7.5) ** 2) / (2 * 2.0**2))
    expected = weight[8:] / (weight[8:] + weight[:8])
    np.testing.assert_allclose(left.weights[8:], expected, atol=5e-3)  # the edge is held above 0
    np.testing.assert_allclose(left.weights[:8], 1)
    np.testing.assert_allclose(right.weights, left.weights[::-1])


@given(st.lists(st.tuples(st.integers(1, 200), st.integers(8, 60)), min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_blocks_hold_every_pixel_once_and_all_windows_that_count(axes):
    spans = [blended_spans(length, size, size // 3) for length, size in axes]
    seen = np.zeros([length for length, _ in axes], int)
    for block in blocks(spans, panel=3):
        seen[block.box] += 1
        for index, side, own in zip(
            zip(*block.windows, strict=True), block.box, spans, strict=True
        ):
            counting = {i for i, s in enumerate(own) if s.start < side.stop and s.stop > side.start}
            assert set(index) == counting
    assert (seen == 1).all()


def test_blocks_of_a_panel_follow_each_other():
    rows = columns = exact_spans(100, 20, 1, 2, 2)
    lefts = [block.box[1].start for block in blocks([rows, columns], panel=3)]
    assert len(rows) == 6 and lefts == [0] * 6 + [50] * 6


# ---- Exact mode ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def light():
    """The light networks at three levels, on two channels."""
    keras.utils.set_random_seed(0)
    shared = {"levels": 3, "base_filters": 3, "num_classes": 3}
    return {
        "light_vgg16": build_model((None, None, 2), **shared),
        "light_resnet34": build_model(
            (None, None, 2), backbone="light_resnet34", blocks_per_level=(1, 1), **shared
        ),
    }


@pytest.fixture(scope="module")
def small():
    """A network whose pixels see ten others either way."""
    keras.utils.set_random_seed(0)
    return build_model((None, None, 2), levels=2, base_filters=2)


@not_on_jax
@pytest.mark.parametrize("backbone", ["light_vgg16", "light_resnet34"])
@given(st.integers(1, 260), st.integers(1, 260), st.sampled_from([96, 101, 130]))
@settings(max_examples=12, deadline=None)
def test_windows_give_what_one_pass_gives(light, backbone, height, width, tile):
    image = drawn((height, width, 2), seed=height)
    found = predict_tiled(light[backbone], image, tile=tile, batch_size=3)
    np.testing.assert_allclose(found, one_pass(light[backbone], image), atol=1e-5)


@pytest.mark.parametrize("backbone", ["light_vgg16", "light_resnet34"])
def test_windows_give_what_one_pass_gives_on_an_odd_size(light, backbone):
    image = drawn((151, 203, 2))
    assert plan_tiles(light[backbone], (151, 203), tile=100).windows >= 6
    found = predict_tiled(light[backbone], image, tile=100, batch_size=2)
    assert found.shape == (151, 203, 3) and found.dtype == np.float32
    np.testing.assert_allclose(found, one_pass(light[backbone], image), atol=1e-5)


@pytest.mark.slow
def test_windows_on_an_applications_backbone():
    model = build_model((None, None, 3), backbone="mobilenet", levels=4, decoder_filters=[4, 4, 4])
    image = drawn((333, 270, 3))
    assert plan_tiles(model, (333, 270), tile=256).windows >= 4
    found = predict_tiled(model, image, tile=256)
    np.testing.assert_allclose(found, one_pass(model, image), atol=1e-5)


@pytest.mark.parametrize("size", [(97, 130), (98, 131), (99, 128)])
def test_a_model_that_does_not_pad_to_its_stride(size):
    """Windows are as many pixels short of a multiple as the image is."""
    model, image = strided(), drawn((*size, 2))
    found = predict_tiled(model, image, tile=40)
    np.testing.assert_allclose(found, one_pass(model, image), atol=1e-5)


@pytest.mark.parametrize(("tta", "ways"), [("flips", 4), ("flips_and_rotations", 8)])
def test_test_time_augmentation_is_exact_too(light, tta, ways):
    model, image = light["light_vgg16"], drawn((130, 111, 2))
    views = [image[::a, ::b] for a in (1, -1) for b in (1, -1)]
    outputs = [one_pass(model, v) for v in views]
    signs = [(a, b) for a in (1, -1) for b in (1, -1)]
    back = [o[::a, ::b] for o, (a, b) in zip(outputs, signs, strict=True)]
    if ways == 8:
        turned = [one_pass(model, v.swapaxes(0, 1)).swapaxes(0, 1) for v in views]
        back += [o[::a, ::b] for o, (a, b) in zip(turned, signs, strict=True)]
    assert len(back) == ways
    found = predict_tiled(model, image, tile=96, tta=tta)
    np.testing.assert_allclose(found, np.mean(back, axis=0), atol=1e-5)
    assert np.abs(found - outputs[0]).max() > 1e-3


def test_a_volume():
    model = build_model((None, None, None, 1), levels=2, base_filters=2)
    volume = drawn((37, 45, 50, 1))
    found = predict_tiled(model, volume, tile=(32, 32, 36))
    assert plan_tiles(model, (37, 45, 50), tile=(32, 32, 36)).windows >= 8
    np.testing.assert_allclose(found, one_pass(model, volume), atol=1e-5)
    assert predict_tiled(model, volume[..., 0], tile=36, output="mask").shape == (37, 45, 50)


def test_a_small_image_is_one_window():
    assert plan_tiles(build_model(), (600, 900)).windows == 1
    plan = plan_tiles(build_model(), (4000, 6000))
    assert plan.windows == 40 and plan.overhead == pytest.approx(1.6397, abs=1e-3)


def gated():
    """A model whose pixels see the whole image."""
    x = inputs = keras.Input((None, None, 2))
    x = layers.Conv2D(2, 3, padding="same", activation="sigmoid")(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(x)
    return keras.Model(inputs, layers.Multiply()([x, gate]))


def test_what_cannot_be_exact_is_refused_and_named(light):
    image = np.zeros((90, 90, 2))
    with pytest.raises(ValueError, match="'squeeze'.* sees the whole image.*mode='blended'"):
        predict_tiled(gated(), image, tile=64)
    with pytest.raises(ValueError, match="windows of at least .* Received: 24"):
        predict_tiled(light["light_vgg16"], image, tile=24)
    with pytest.raises(ValueError, match=r"of any size. Received: one of \(32, 32\)"):
        predict_tiled(strided(32), image)
    with pytest.raises(ValueError, match="what a window must be. Received: tile=48"):
        predict_tiled(strided(32), image, tile=48, mode="blended")
    with pytest.raises(ValueError, match=r"one for each of 2 axes. Received: tile=\(1, 2, 3\)"):
        predict_tiled(gated(), image, tile=(1, 2, 3))
    with pytest.raises(ValueError, match="`mode` must be one of 'exact', 'blended'"):
        predict_tiled(gated(), image, mode="exakt")
    with pytest.raises(ValueError, match=r"an array \(H, W\) or \(H, W, C\) was expected"):
        predict_tiled(gated(), np.zeros(4))
    with pytest.raises(ValueError, match="an image of 2 channels was expected. Received: 5"):
        predict_tiled(gated(), np.zeros((9, 9, 5)))


def test_one_window_is_one_pass_whatever_the_layers_see():
    image = drawn((90, 70, 2))
    found = predict_tiled(gated(), image)
    assert (
        found.shape == (90, 70, 2) and predict_tiled(gated(), image, tile=90).shape == found.shape
    )


# ---- Blended mode --------------------------------------------------------------------------------


def test_each_axis_may_have_an_overlap_of_its_own(small):
    plan = plan_tiles(small, (64, 64), tile=32, mode="blended", overlap=(8, 16))
    rows, columns = ([(s.start, s.stop) for s in own] for own in plan.spans)
    assert rows == [(0, 32), (24, 56), (32, 64)] and columns == [(0, 32), (16, 48), (32, 64)]
    with pytest.raises(ValueError, match="`overlap` must be one number, or one for each of 2 axes"):
        plan_tiles(small, (64, 64), tile=32, mode="blended", overlap=(8, 16, 8))
    with pytest.raises(ValueError, match="`overlap` is of windows that are blended"):
        plan_tiles(small, (64, 64), tile=72, overlap=8)


@pytest.mark.parametrize("blend", ["gaussian", "constant"])
def test_blending_is_the_weighted_mean_of_windows(blend):
    """Against a plain loop that adds up in the whole image."""
    model, image = gated(), drawn((70, 90, 2))
    found = predict_tiled(model, image, mode="blended", tile=32, overlap=12, blend=blend)
    total, weight = np.zeros((70, 90, 2)), np.zeros((70, 90, 1))
    own = np.exp(-((np.arange(32) - 15.5) ** 2) / (2 * 4.0**2)) if blend == "gaussian" else [1] * 32
    profile = np.maximum(own, 1e-3)[:, None] * np.maximum(own, 1e-3)
    for top in (0, 20, 38):
        for left in (0, 20, 40, 58):
            box = slice(top, top + 32), slice(left, left + 32)
            total[box] += one_pass(model, image[box]) * profile[..., None]
            weight[box] += profile[..., None]
    np.testing.assert_allclose(found, total / weight, atol=1e-5)


def test_a_window_is_computed_once(small):
    """Though it counts in several blocks."""
    seen = []

    class Counted:
        shape, dtype = (300, 90, 2), "uint8"

        def __getitem__(self, box):
            seen.append((box[0].start, box[1].start))
            return np.zeros([side.stop - side.start for side in box] + [2], "uint8")

    predict_tiled(small, Counted(), mode="blended", tile=64, overlap=32)
    seen = seen[1:]  # the first pixel, which tells the channels
    assert len(seen) == len(set(seen)) == 9 * 2


def test_a_model_of_one_size_is_blended():
    """Smaller images are filled up by reflection."""
    model = strided(32)
    found = predict_tiled(model, drawn((50, 20, 2)), mode="blended")
    assert found.shape == (50, 20, 3)
    padded = np.pad(drawn((20, 20, 2)), [(0, 12), (0, 12), (0, 0)], "reflect")
    expected = one_pass(model, padded)[:20, :20]
    np.testing.assert_allclose(
        predict_tiled(model, drawn((20, 20, 2)), mode="blended"), expected, atol=1e-5
    )


# ---- Sources and sinks ---------------------------------------------------------------------------


def write(path, array):
    """Writes an array as what the suffix says."""
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".zarr":
        zarr = pytest.importorskip("zarr")
        store = zarr.create_array(str(path), shape=array.shape, chunks=(50, 60, 1), dtype="uint8")
        store[:] = array
    elif path.stem.startswith("deflated"):
        tifffile.imwrite(path, array, compression="zlib", tile=(64, 64), photometric="rgb")
    else:
        tifffile.imwrite(path, array, photometric="rgb")
    return path


@pytest.mark.parametrize("name", ["a.npy", "a.zarr", "a.tif", "deflated.tif", "a.png"])
def test_sources_give_the_same(tmp_path, name):
    image, path = drawn((120, 143, 3)), tmp_path / name
    if path.suffix == ".png":
        write_png(path, image)
    else:
        write(path, image)
    source = open_source(path, channels=3)
    assert source.shape == (120, 143, 3)
    box = slice(11, 99), slice(50, 143)
    assert np.array_equal(source.read(box), image[box])
    grey = open_source(path, channels=1)
    assert grey.read(box).shape == (88, 93, 1)


def test_the_first_bytes_say_what_a_file_is(tmp_path):
    image = drawn((60, 83, 3))
    write_png(tmp_path / "a.png", image)
    write(tmp_path / "b.tif", image)
    (tmp_path / "a.png").rename(tmp_path / "png.tif")
    (tmp_path / "b.tif").rename(tmp_path / "tif.png")
    for name in ("png.tif", "tif.png"):
        source = open_source(tmp_path / name, channels=3)
        assert np.array_equal(source.read((slice(0, 60), slice(0, 83))), image)
    (tmp_path / "text.tif").write_text("no picture")
    with pytest.raises(ValueError, match=r"text\.tif: a PNG, JPEG or TIFF image was expected"):
        open_source(tmp_path / "text.tif", channels=3)


@pytest.mark.parametrize("kind", ["miniswhite", "planes", "turned", "palette"])
def test_a_tiff_that_is_not_plain_is_read_as_in_training(tmp_path, kind):
    from keras_deepskip.data import read_image

    path, grey = tmp_path / "a.tif", drawn((60, 83))
    if kind == "planes":
        tifffile.imwrite(path, drawn((3, 60, 83)), photometric="rgb", planarconfig="separate")
    elif kind == "turned":
        tifffile.imwrite(path, grey, extratags=[(274, "H", 1, 6, True)])
    elif kind == "palette":
        colors = drawn((3, 256)).astype("uint16") * 256
        tifffile.imwrite(path, grey, photometric="palette", colormap=colors)
    else:
        tifffile.imwrite(path, grey, photometric=kind)
    expected = read_image(path)
    source = open_source(path, channels=expected.shape[-1])
    assert np.array_equal(source.read((slice(5, 30), slice(2, 50))), expected[5:30, 2:50])


@pytest.mark.parametrize("name", ["out.npy", "out.tif", "out.zarr"])
@pytest.mark.parametrize("output", ["probabilities", "mask"])
def test_sinks_hold_the_same(light, tmp_path, name, output):
    model, image = light["light_vgg16"], drawn((120, 131, 2))
    path = tmp_path / "new" / name
    written = predict_tiled(model, image, tile=80, output=output, out=path)
    expected = one_pass(model, image)
    if output == "mask":
        assert written.dtype == np.uint8 and np.array_equal(written[:], expected.argmax(-1))
    else:
        np.testing.assert_allclose(written[:], expected, atol=1e-5)
    assert [p.name for p in path.parent.iterdir()] == [name]
    again = predict_tiled(model, image, tile=80, output=output, out=path)  # in place of the first
    assert np.array_equal(again[:], written[:])


@pytest.mark.parametrize(
    ("shape", "axes", "dtype"),
    [
        ((513, 1100), 2, "uint8"),
        ((600, 520, 3), 2, "float32"),
        ((3, 530, 40), 3, "uint16"),
        ((2, 40, 530, 2), 3, "float32"),
    ],
)
def test_tiffs_are_tiled_and_compressed(tmp_path, shape, axes, dtype):
    """Of masks and of probabilities, of images and of volumes; with tiles cut by the edges."""
    expected = np.zeros(shape, dtype)
    expected[..., :20, :9] = drawn(expected[..., :20, :9].shape)
    sink = sinks.FileSink(tmp_path / "a.tif", shape, dtype, "key")
    sink.write(tuple(slice(0, length) for length in shape[:axes]), expected)
    sink.finish()
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert np.array_equal(file.asarray(), expected)
        page = file.pages[0]
        assert page.is_tiled and page.compression.name == "ADOBE_DEFLATE"
    assert (tmp_path / "a.tif").stat().st_size < expected.nbytes / 2
    assert np.array_equal(sink.result()[:], expected)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]


def test_bad_files_are_named(light, tmp_path):
    model, image = light["light_vgg16"], drawn((20, 20, 2))
    with pytest.raises(ValueError, match=r"`out` must end in one of .npy, .tif.*'a.png'"):
        predict_tiled(model, image, out="a.png")
    (tmp_path / "a.npy").mkdir()
    with pytest.raises(FileExistsError, match="a.npy: something else is there"):
        predict_tiled(model, image, out=tmp_path / "a.npy")
    for name in ("none.npy", "none.zarr", "none.tif"):
        with pytest.raises(FileNotFoundError, match=name):
            predict_tiled(model, tmp_path / name)
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY, or so")
    (tmp_path / "broken.zarr").mkdir()
    for name in ("broken.npy", "broken.zarr"):
        with pytest.raises(ValueError, match=f"{name}: .* was expected. Received"):
            predict_tiled(model, tmp_path / name)
    np.save(tmp_path / "objects.npy", np.array([[{}]]), allow_pickle=True)
    with pytest.raises(ValueError, match="objects.npy: an array of numbers was expected"):
        predict_tiled(model, tmp_path / "objects.npy")


class Failing:
    """An image whose reading fails after so many windows, as a plug that is pulled."""

    def __init__(self, array, after):
        self.array, self.left, self.shape, self.read = array, after, array.shape, []

    def __getitem__(self, box):
        if box[0].stop - box[0].start > 64:  # a window, no probe
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
            self.read.append(box)
        return self.array[box]


@pytest.mark.parametrize("name", ["out.npy", "out.tif", "out.zarr"])
@pytest.mark.parametrize("mode", ["exact", "blended"])
def test_interrupted_work_goes_on(small, tmp_path, name, mode):
    model, image = small, drawn((400, 60, 2))
    ways = {"tile": 72, "mode": mode, "out": tmp_path / name}
    with pytest.raises(KeyboardInterrupt):
        predict_tiled(model, Failing(image, after=5), **ways)
    assert not (tmp_path / name).exists() and (tmp_path / ".out.unfinished.json").exists()
    rest = Failing(image, after=1000)
    found = predict_tiled(model, rest, **ways)
    fresh = Failing(image, after=1000)
    expected = predict_tiled(model, fresh, **{**ways, "out": None})
    assert np.array_equal(found[:], expected)
    assert len(fresh.read) - 5 <= len(rest.read) < len(fresh.read)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_other_work_does_not_go_on_with_what_is_there(small, tmp_path):
    model, image, out = small, drawn((400, 60, 2)), tmp_path / "out.npy"
    copy = keras.models.clone_model(small)  # of other weights
    for other in ({"image": image + 1}, {"model": copy}, {"tta": "flips"}):
        with pytest.raises(KeyboardInterrupt):
            predict_tiled(model, Failing(image, after=5), tile=72, out=out)
        other = {"model": model, "image": image, **other}
        fresh = Failing(other.pop("image"), after=1000)
        own = other.pop("model")
        found = predict_tiled(own, fresh, tile=72, out=out, **other)
        assert len(fresh.read) == plan_tiles(own, (400, 60), tile=72, **other).windows
        assert found.shape == (400, 60, 1)


def test_an_image_that_has_changed_is_other_work(tmp_path):
    """Also where its corners and its middle are as they were."""
    before = np.zeros((400, 400), "uint8")
    after = before.copy()
    after[70:150, 90:130] = 200
    names = []
    for pixels in (before, after):
        np.save(tmp_path / "a.npy", pixels)
        sources = [open_source(own, 1) for own in (tmp_path / "a.npy", pixels)]
        names.append([source.fingerprint() for source in sources])
    assert names[0][0] != names[1][0] and names[0][1] != names[1][1]


KILLED = """
import os, sys
import numpy as np
import keras_deepskip
from keras_deepskip.inference import predict_tiled, sinks
sinks.SAVE_S = 0
class Image:
    shape, windows = (2000, 60, 1), 0
    def __getitem__(self, box):
        if box[0].stop - box[0].start > 64:
            Image.windows += 1
        if Image.windows == 6:
            os.kill(os.getpid(), 9)
        return np.zeros([side.stop - side.start for side in box] + [1], "uint8")
model = keras_deepskip.load_model(sys.argv[1])
predict_tiled(model, Image(), tile=160, out=sys.argv[2])
"""


@pytest.mark.one_backend
def test_a_killed_process_leaves_what_it_had(tmp_path):
    model = build_model((None, None, 1), levels=2, base_filters=2)
    model.save(tmp_path / "model.keras")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path / "model.keras", tmp_path / "out.npy"],
        env=tiny.environ(), cwd=tiny.ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == -9
    notes = json.loads((tmp_path / ".out.unfinished.json").read_text())
    assert notes["done"] == 5 and not (tmp_path / "out.npy").exists()
    image = np.zeros((2000, 60, 1), "uint8")
    found = predict_tiled(model, image, tile=160, out=tmp_path / "out.npy")
    np.testing.assert_allclose(found, one_pass(model, image), atol=1e-5)


def test_a_full_disk_is_an_error_and_the_work_goes_on(small, tmp_path, monkeypatch):
    model, image, out = small, drawn((400, 60, 2)), tmp_path / "out.npy"
    write = sinks._LineWriter.write

    def full(self, box, values):
        if box[0].start > 100:
            raise OSError(28, "No space left on device")
        write(self, box, values)

    with monkeypatch.context() as patched:
        patched.setattr(sinks._LineWriter, "write", full)
        with pytest.raises(OSError, match="could not write .*out.npy .No space left on device"):
            predict_tiled(model, image, tile=72, out=out)
    found = predict_tiled(model, image, tile=72, out=out)
    np.testing.assert_allclose(found, one_pass(model, image), atol=1e-5)


# ---- predict on large images ---------------------------------------------------------------------


@pytest.fixture
def everything_is_large(monkeypatch):
    from keras_deepskip.inference import image_work, large, tiled, windows

    monkeypatch.setattr(image_work, "LARGE", 1000)
    monkeypatch.setattr(large, "BLOCK", 50)
    monkeypatch.setattr(large, "LONGEST", 60)
    monkeypatch.setattr(windows, "TILES", {2: 40, 3: 40})
    monkeypatch.setattr(tiled, "ONE_PASS", 1000)


def scene():
    """A picture with objects that cross the borders of windows and of pieces."""
    image = np.full((130, 170), 20, "uint8")
    image[10:14, 5:165] = 200
    image[14:120, 60:63] = 200
    image[70:75, 90:95] = 200
    return image


@pytest.mark.parametrize("suffix", ["tif", "npy", "zarr"])
def test_objects_of_a_large_image_are_whole(tmp_path, everything_is_large, suffix):
    path = tmp_path / f"a.{suffix}"
    if suffix == "zarr":
        pytest.importorskip("zarr").save(str(path), scene())
    elif suffix == "npy":
        np.save(path, scene())
    else:
        tifffile.imwrite(path, scene())
    out = tmp_path / "out"
    rows = predict(tiny.bright_model(), path, out, probabilities=True, verbose=0)
    assert [row["area"] for row in rows] == [4 * 160 + 106 * 3, 25]
    assert [(row["top"], row["left"], row["bottom"], row["right"]) for row in rows] == [
        (10, 5, 120, 165), (70, 90, 75, 95),
    ]  # fmt: skip
    assert np.array_equal(tifffile.imread(out / "masks" / "a.tif"), scene() > 100)
    probabilities = tifffile.imread(out / "probabilities" / "a.tif")
    assert probabilities.dtype == np.float32 and np.array_equal(
        probabilities[..., 0] > 0.5, scene() > 100
    )
    picture = open_source(out / "overlays" / "a.png", 3).read((slice(None), slice(None)))
    assert picture.shape == (44, 57, 3)
    files = sorted(p.name for p in out.rglob("*") if p.is_file())
    assert files == ["a.png", "a.tif", "a.tif", "a.tif", "images.csv", "objects.csv"]


@pytest.mark.parametrize(("area", "reach"), [((9000, 3), 3), (5, 5), ((7, 2, 4), 4)])
def test_parts_are_read_as_wide_as_small_objects_may_be(area, reach):
    """Of the background nothing is removed, whatever its least area."""
    asked = []

    class Outputs:
        shape = (900, 900, 2)

        def __getitem__(self, box):
            asked.append(box)
            return np.zeros([side.stop - side.start for side in box] + [2]) + [1.0, 0.0]

    box = (slice(100, 120), slice(200, 230))
    assert large._mask_of(Outputs(), box, OperatingPoint(min_area=area)).shape == (20, 30)
    assert asked == [(slice(100 - reach, 120 + reach), slice(200 - reach, 230 + reach))]


def test_a_large_image_and_a_small_one_tell_the_same(tmp_path, monkeypatch, everything_is_large):
    keras.utils.set_random_seed(1)  # a network whose outputs are not all alike
    model, image = build_model(levels=2, base_filters=2), drawn((90, 101, 3))
    np.save(tmp_path / "a.npy", image)
    values = np.sort(one_pass(model, image).ravel())
    values = values[-2000:-500]  # few are above these, and far between
    widest = np.argmax(np.diff(values))  # so that rounding moves no pixel across the threshold
    ways = {"threshold": float(values[widest : widest + 2].mean()), "verbose": 0}
    in_parts = predict(model, tmp_path / "a.npy", tmp_path / "parts", **ways)
    monkeypatch.undo()
    whole = predict(model, tmp_path / "a.npy", tmp_path / "whole", **ways)
    assert len(in_parts) == len(whole) > 3
    for part, row in zip(in_parts, whole, strict=True):
        assert part == pytest.approx(row, abs=1e-4)
    assert np.array_equal(
        tifffile.imread(tmp_path / "parts" / "masks" / "a.tif"),
        read_ids(tmp_path / "whole" / "masks" / "a.png"),
    )


def test_images_that_were_finished_are_not_predicted_again(
    tmp_path, everything_is_large, monkeypatch
):
    from keras_deepskip.inference import large

    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", scene())
    images, out = [tmp_path / "a.npy", tmp_path / "b.npy"], tmp_path / "out"
    predicted = []
    run = large.predict_tiled

    def counted(model, image, **arguments):
        predicted.append(image.stem)
        if predicted == ["a", "b"]:
            raise KeyboardInterrupt
        return run(model, image, **arguments)

    monkeypatch.setattr(large, "predict_tiled", counted)
    with pytest.raises(KeyboardInterrupt):
        predict(tiny.bright_model(), images, out, verbose=0)
    rows = predict(tiny.bright_model(), images, out, verbose=0)
    assert predicted == ["a", "b", "b"]
    assert [row["image"] for row in rows] == ["a", "a", "b", "b"]
    assert tiny.leftovers(out) == []


def test_a_large_image_is_not_predicted_again_once_all_windows_are_there(
    tmp_path, everything_is_large, monkeypatch
):
    from keras_deepskip.inference import large

    np.save(tmp_path / "a.npy", scene())
    model, out, predicted, gone_through = tiny.bright_model(), tmp_path / "out", [], []
    run, go_through = large.predict_tiled, large._go_through

    def counted(*arguments, **options):
        predicted.append(options["out"].name)
        return run(*arguments, **options)

    def interrupted(*arguments):
        gone_through.append(arguments)
        if len(gone_through) == 1:
            raise KeyboardInterrupt
        return go_through(*arguments)

    monkeypatch.setattr(large, "predict_tiled", counted)
    monkeypatch.setattr(large, "_go_through", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict(model, tmp_path / "a.npy", out, verbose=0)
    rows = predict(model, tmp_path / "a.npy", out, verbose=0)
    assert len(predicted) == 1 and len(rows) == 2 and tiny.leftovers(out) == []
    gone_through.clear()
    with pytest.raises(KeyboardInterrupt):
        predict(model, tmp_path / "a.npy", out, verbose=0)
    np.save(tmp_path / "a.npy", 0 * scene()[:-1])  # another image now
    assert len(predict(model, tmp_path / "a.npy", out, verbose=0)) == 0
    assert len(predicted) == 3 and tiny.leftovers(out) == []


def test_a_model_that_sees_everything_predicts_in_blended_windows(tmp_path, everything_is_large):
    inputs = keras.Input((None, None, 1))
    x = layers.Conv2D(2, 3, padding="same", activation="sigmoid")(inputs)
    x = layers.Multiply()([x, layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(x)])
    model = keras.Model(inputs, layers.Conv2D(1, 1, activation="sigmoid")(x))
    np.save(tmp_path / "a.npy", scene())
    with pytest.warns(UserWarning, match="overlapping windows.*'squeeze'"):
        predict(model, tmp_path / "a.npy", tmp_path / "out", verbose=0)
    assert tifffile.imread(tmp_path / "out" / "masks" / "a.tif").shape == (130, 170)


# ---- Dask ----------------------------------------------------------------------------------------


def test_dask_arrays_give_what_one_pass_gives(light):
    array = pytest.importorskip("dask.array")
    model, image = light["light_resnet34"], drawn((211, 163, 2))
    lazy = array.from_array(image, chunks=(70, 50, 2))
    found = predict_tiled(model, lazy, tile=100)
    assert found.shape == (211, 163, 3) and found.npartitions > 2
    np.testing.assert_allclose(
        found.compute(scheduler="threads"), one_pass(model, image), atol=1e-5
    )
    mask = predict_tiled(model, lazy, tile=100, output="mask", tta="flips")
    expected = predict_tiled(model, image, tile=100, output="mask", tta="flips")
    assert mask.dtype == np.uint8 and np.array_equal(mask.compute(scheduler="sync"), expected)
    grey, image = build_model((None, None, 1), levels=2, base_filters=2), drawn((90, 70, 3))
    found = predict_tiled(grey, array.from_array(image, chunks=40)).compute(scheduler="sync")
    np.testing.assert_allclose(found, predict_tiled(grey, image), atol=1e-5)


def test_objects_of_dask_arrays_are_labelled_in_zarr(tmp_path):
    array, zarr = pytest.importorskip("dask.array"), pytest.importorskip("zarr")
    y, x = np.indices((90, 130))
    inside = sum((y - 40) ** 2 + (x - at) ** 2 <= 144 for at in (20, 42, 64, 86, 108)) > 0
    mask = array.from_array(inside.astype("uint8"), chunks=25)
    labels = zarr.create_array(
        tmp_path / "labels.zarr", shape=mask.shape, dtype="uint16", chunks=(32, 32)
    )
    rows = label_in_blocks(mask, labels, separate=True, block=32)
    expected, count = separate_objects(inside)
    assert len(rows) == count == 5
    np.testing.assert_array_equal(labels[:], expected)


def test_dask_arrays_that_do_not_fit_are_refused(light, tmp_path):
    array = pytest.importorskip("dask.array")
    lazy = array.zeros((200, 200, 5), chunks=100)
    with pytest.raises(ValueError, match=r"the Dask array: .*2 channels.*5"):
        predict_tiled(light["light_vgg16"], lazy)
    with pytest.raises(ValueError, match=r"of 2 axes, and one of channels.*\(200, 200, 5, 1"):
        predict_tiled(light["light_vgg16"], lazy[..., None])
    with pytest.raises(ValueError, match="exact windows. Received: mode='blended'"):
        predict_tiled(light["light_vgg16"], lazy[..., :2], mode="blended")
    with pytest.raises(ValueError, match="result.to_zarr"):
        predict_tiled(light["light_vgg16"], lazy[..., :2], out=tmp_path / "out.zarr")


CLUSTER = """
import sys
import numpy as np
import dask.array
from dask.distributed import Client, LocalCluster
import keras_deepskip
from keras_deepskip.inference import predict_tiled

if __name__ == "__main__":
    model = keras_deepskip.load_model(sys.argv[1])
    image = np.load(sys.argv[2])
    lazy = dask.array.from_array(image, chunks=(80, 80, 1))
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        result = predict_tiled(model, lazy, tile=96)
        assert result.npartitions >= 4, result
        found = client.gather(client.compute(result))
        assert len(client.scheduler_info()["workers"]) == 2
        tasks = client.run(lambda dask_worker: len(dask_worker.state.log) > 0)
        assert all(tasks.values()), tasks
    alone = predict_tiled(model, image, tile=96)
    assert np.abs(found - alone).max() <= 1e-5, np.abs(found - alone).max()
    print("equal")
"""


@pytest.mark.one_backend
@pytest.mark.slow
def test_two_processes_of_a_cluster_give_what_one_gives(tmp_path):
    pytest.importorskip("distributed")
    build_model((None, None, 1), levels=2, base_filters=2).save(tmp_path / "model.keras")
    np.save(tmp_path / "image.npy", drawn((300, 250, 1)))
    script = tmp_path / "cluster.py"
    script.write_text(CLUSTER)
    done = subprocess.run(
        [sys.executable, script, tmp_path / "model.keras", tmp_path / "image.npy"],
        env={**tiny.environ(), "PYTHONPATH": str(tiny.ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout.endswith("equal\n"), done.stderr[-3000:]


# ---- Files from strangers ------------------------------------------------------------------------


def test_a_tile_that_claims_too_much_is_refused(tmp_path, monkeypatch):
    """An image may be of any size, what is decoded at once may not."""
    monkeypatch.setenv("KERAS_DEEPSKIP_MAX_PIXELS", "10000")
    small, large = tmp_path / "small.tif", tmp_path / "large.tif"
    tifffile.imwrite(small, drawn((300, 300)), compression="zlib", tile=(64, 64))
    tifffile.imwrite(large, drawn((300, 300)), compression="zlib", tile=(256, 256))
    assert open_source(small, channels=1).shape == (300, 300, 1)
    with pytest.raises(ValueError, match="large.tif: .*10,000 pixels.*256 x 256"):
        open_source(large, channels=1)


def test_a_broken_tiff_is_named(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"II*\0" + b"\1" * 40)
    with pytest.raises(ValueError, match="a.tif: .*could not be read"):
        open_source(tmp_path / "a.tif", channels=1)
