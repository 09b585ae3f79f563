"""What an image's values mean: range, number type, no data, blank channels, alpha, orientation."""

import keras
import numpy as np
import pytest
import tifffile
from PIL import Image

from keras_deepskip import build_model, load_model
from keras_deepskip.data import (
    Augmentation,
    audit,
    channel_statistics,
    find_samples,
    load_pair,
    read_image,
    value_range,
    write_png,
)
from keras_deepskip.data.survey import Survey
from keras_deepskip.inference import (
    choose_operating_point,
    evaluate,
    predict,
    predict_tiled,
    stream,
)
from keras_deepskip.inference.ranges import check_values
from keras_deepskip.inference.sources import open_source
from keras_deepskip.layers import ImageNormalization
from keras_deepskip.models import input_range_of
from keras_deepskip.training import train
from tests import tiny


def scene(number=0):
    """Grey values 0 to 255 with two bright squares, and their mask."""
    image = np.random.default_rng(number).integers(0, 80, (40, 44, 1)).astype("float64")
    mask = np.zeros((40, 44), "uint8")
    mask[4 + number : 10 + number, 5:11] = mask[20:25, 30:36] = 1
    return image + 150 * mask[..., None], mask


def folder_of(root, write, count=6):
    """A set whose images `write(path without suffix, image)` writes."""
    (root / "images").mkdir(parents=True)
    for number in range(count):
        image, mask = scene(number)
        write(root / "images" / f"s{number}", image)
        write_png(root / "masks" / f"s{number}.png", mask)
    return root


def tiff(dtype="uint8", factor=1, photometric="minisblack", **how):
    def write(path, image):
        values = (image[..., 0] * factor).astype(dtype)
        tifffile.imwrite(f"{path}.tif", values, photometric=photometric, **how)

    return write


def findings(folder, severity):
    return [f.message for f in audit(folder).findings if f.severity == severity]


# ---- Range and number type -----------------------------------------------------------------------


def test_the_model_file_knows_its_range(tmp_path):
    model = build_model((None, None, 1), levels=2, input_range=(0, 65535))
    model.save(tmp_path / "a.keras")
    assert input_range_of(load_model(tmp_path / "a.keras")) == (0, 65535)
    x = keras.Input((None, None, 1))
    assert input_range_of(keras.Model(x, keras.layers.Conv2D(1, 1)(x))) is None


RIGHT = [("uint8", 1, (0, 255)), ("uint16", 257, (0, 65535)), ("float32", 1, (0, 255))]
RIGHT += [("float32", 1 / 255, (0, 1)), ("uint16", 1, (0, 700.0))]
WRONG = [("uint16", 257, (0, 255)), ("uint16", 1, (0, 255)), ("uint8", 1, (0, 65535))]
WRONG += [("float32", 1 / 255, (0, 255)), ("float32", 257, (0, 255)), ("float32", 1, (0, 1))]
WRONG += [("uint8", 1, (0, 1)), ("float32", 1 / 255, (0, 65535))]


@pytest.mark.parametrize(("dtype", "factor", "expected"), RIGHT)
def test_images_as_the_model_was_trained_on(tmp_path, dtype, factor, expected):
    folder = folder_of(tmp_path / "set", tiff(dtype, factor))
    model = build_model((None, None, 1), levels=2, base_filters=2, input_range=expected)
    predict(model, folder / "images", tmp_path / "out", verbose=0)
    assert evaluate(model, find_samples(folder), verbose=0).images == 6
    assert predict_tiled(model, folder / "images" / "s0.tif").shape == (40, 44, 1)


@pytest.mark.parametrize(("dtype", "factor", "expected"), WRONG)
def test_images_of_another_range_are_refused(tmp_path, dtype, factor, expected):
    """The file, what was expected and what it holds are named; nothing is written for it."""
    folder = folder_of(tmp_path / "set", tiff(dtype, factor))
    model = build_model((None, None, 1), levels=2, base_filters=2, input_range=expected)
    said = rf"s0\.tif: values .*{expected[1]:g}.* were expected.*Received: {dtype}"
    with pytest.raises(ValueError, match=said):
        predict(model, folder / "images", tmp_path / "out", verbose=0)
    assert not list((tmp_path / "out").rglob("*.png"))
    with pytest.raises(ValueError, match=said):
        evaluate(model, find_samples(folder), verbose=0)
    with pytest.raises(ValueError, match=said):
        predict_tiled(model, folder / "images" / "s0.tif")


def test_a_dark_part_of_an_image_is_no_other_range():
    check_values(np.full((4, 4), 0.5, "float32"), (0, 255), "a.tif", whole=False)
    with pytest.raises(ValueError, match=r"a\.tif: values from 0 to 255"):
        check_values(np.full((4, 4), 0.5, "float32"), (0, 255), "a.tif")
    check_values(np.zeros((4, 4), "float32"), (0, 255), "a.tif")  # black is black in any range


@pytest.mark.parametrize("kind", [bool, complex, "datetime64[s]"])
def test_arrays_of_other_kinds_of_numbers(tmp_path, kind):
    np.save(tmp_path / "a.npy", np.zeros((20, 20, 1), kind))
    if kind is bool:
        assert predict(tiny.bright_model(), tmp_path / "a.npy", tmp_path / "out", verbose=0) == []
        return
    with pytest.raises(ValueError, match=r"a\.npy: an array of numbers was expected"):
        predict(tiny.bright_model(), tmp_path / "a.npy", tmp_path / "out", verbose=0)


def bright_model():
    """`tiny.bright_model` that knows that it is for 8 bits."""
    inputs = keras.Input((None, None, 1))
    seen = ImageNormalization((0, 255), mean=[0.0], variance=[1.0])(inputs)
    return keras.Model(inputs, tiny.bright_model()(seen))


@pytest.mark.parametrize("declared", ["tag", "bits"])
def test_files_that_say_their_own_range_are_brought_to_the_models(tmp_path, declared):
    """12 bits of a scene that the model knows in 8."""
    image, mask = scene()
    deep = np.rint(image[..., 0] / 255 * 4095).astype("uint16")
    (tmp_path / "images").mkdir()
    path = tmp_path / "images" / "a.tif"
    if declared == "tag":
        tifffile.imwrite(path, deep, extratags=[(281, "H", 1, 4095, True)])
    else:
        pytest.importorskip("imagecodecs")
        tifffile.imwrite(path, deep, bitspersample=12)
    write_png(tmp_path / "masks" / "a.png", mask)
    model = bright_model()
    found = open_source(path, 1, expected=input_range_of(model)).read((slice(None), slice(None)))
    np.testing.assert_allclose(found, image, atol=255 / 4095)
    assert evaluate(model, find_samples(tmp_path), verbose=0).pixels["IoU"] == 1
    assert choose_operating_point(model, find_samples(tmp_path)).score == 1
    tifffile.imwrite(path, deep)  # the same values, of which nobody knows the range
    with pytest.raises(ValueError, match=r"a\.tif: values of uint8"):
        evaluate(model, find_samples(tmp_path), verbose=0)
    with pytest.raises(ValueError, match=r"a\.tif: values of uint8"):
        choose_operating_point(model, find_samples(tmp_path))
    with pytest.raises(ValueError, match=r"a\.tif: values of uint8"):
        next(stream(model, tmp_path / "images"))


# ---- No data -------------------------------------------------------------------------------------


def with_hole(dtype="float32", **how):
    def write(path, image):
        values = image[..., 0].astype(dtype)
        values[30:] = -9999
        tifffile.imwrite(f"{path}.tif", values, **how)

    return write


def test_declared_no_data_is_left_out_of_statistics(tmp_path):
    declared = [(42113, "s", 0, "-9999", True)]
    folder = folder_of(tmp_path / "set", with_hole(extratags=declared))
    hole = read_image(folder / "images" / "s0.tif")
    assert np.isnan(hole[30:]).all() and not np.isnan(hole[:30]).any()
    samples, survey = find_samples(folder), Survey.of(folder)
    expected = np.concatenate([scene(n)[0][:30].ravel() for n in range(6)])
    for known in (None, survey):
        mean, variance = channel_statistics(samples, 1, known)
        np.testing.assert_allclose(mean, expected.mean(), rtol=1e-6)
        np.testing.assert_allclose(variance, expected.var(), rtol=1e-6)
        assert value_range(samples, known) == (0, expected.max())
    assert not findings(folder, "error")
    told = "6 images have pixels without data, 25 % of all pixels"
    assert told in findings(folder, "note")


def test_no_data_is_ignored_in_truth_and_background_in_predictions(tmp_path):
    declared = [(42113, "s", 0, "-9999", True)]
    folder = folder_of(tmp_path / "set", with_hole(extratags=declared))
    run = train(folder, tmp_path / "run", tiny.RECIPE, verbose=0, **tiny.MODEL)
    assert run.masks.ignore_class == -1
    assert all(np.isfinite(row["loss"]) for row in run.history)
    sample = run.split.test[0]
    image, mask = load_pair(sample, 1, run.masks)
    assert (mask[30:] == -1).all() and (mask[:30] >= 0).all()
    # A model that is right wherever there are data, and finds objects where there are none.
    right = evaluate(run, [sample], predict=lambda image: (mask != 0)[..., None] * 1.0, verbose=0)
    assert right.pixels["IoU"] == 1 and right.objects["all"]["fp"] == 0
    predict(run, folder / "images", tmp_path / "out", probabilities=True, verbose=0)
    for path in (tmp_path / "out" / "probabilities").iterdir():
        found = read_image(path)
        assert not found[30:].any() and found[:30].any()


def test_no_data_parts_objects_in_evaluation_as_in_prediction(tmp_path):
    """What the network would find there is no part of an object."""
    image, mask = np.full((9, 12), 10, "float32"), np.zeros((9, 12), "uint8")
    image[3:6, 2:9], mask[3:6, 2:9] = 250, 1
    image[:, 5] = np.nan
    (tmp_path / "images").mkdir()
    tifffile.imwrite(tmp_path / "images" / "a.tif", image)
    write_png(tmp_path / "masks" / "a.png", mask)
    inputs = keras.Input((None, None, 1))
    x = ImageNormalization((0, 255), mean=[200.0], variance=[1.0])(inputs)  # bright where filled
    model = keras.Model(inputs, keras.layers.Conv2D(1, 1, activation="sigmoid", name="head")(x))
    model.get_layer("head").set_weights([np.ones((1, 1, 1, 1)), np.array([71.5])])
    assert len(predict(model, tmp_path / "images", tmp_path / "out", verbose=0)) == 2
    assert evaluate(model, find_samples(tmp_path), verbose=0).objects["all"]["tp"] == 2


@pytest.mark.parametrize("dtype, value", [("uint8", 0), ("int16", -9999), ("uint16", 65535)])
def test_no_data_of_integers_is_where_all_channels_have_it(tmp_path, dtype, value):
    pixels = np.full((20, 24, 3), 100, dtype)
    pixels[:5] = value
    pixels[9, 9, 1] = value  # one channel alone is a value like any other
    tags = [(42113, "s", 0, str(value), True)]
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, photometric="rgb", extratags=tags)
    image = read_image(path)
    expected = pixels.astype("float32")
    expected[:5] = np.nan
    np.testing.assert_array_equal(image, expected)
    if dtype != "int16":  # which is decoded whole
        source = open_source(path, 3)
        np.testing.assert_array_equal(source.read((slice(3, 12), slice(8, 24))), image[3:12, 8:])


def test_images_with_and_without_no_data_are_of_one_type(tmp_path):
    def write(path, image):
        values = image.astype("uint8")
        values[: 8 * int(path.stem[1])] = 0
        tags = [(42113, "s", 0, "0", True)] if path.stem != "s1" else []
        tifffile.imwrite(f"{path}.tif", values[..., 0], extratags=tags)

    folder = folder_of(tmp_path / "set", write)
    assert not findings(folder, "error")
    for known in (None, Survey.of(folder)):
        assert value_range(find_samples(folder), known) == (0, 255)


@pytest.mark.parametrize("classes", [1, 3])
def test_windows_without_data_give_what_one_pass_gives(classes):
    model = build_model((None, None, 1), num_classes=classes, levels=2, mean=9.0, variance=40.0)
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 30, (150, 170, 1)).astype("float32")
    image[20:50, 100:] = np.nan
    whole = predict_tiled(model, image)
    outside = np.where(np.isnan(image), 9, image)
    plain = predict_tiled(model, outside)
    background = [0.0] if classes == 1 else [1.0, 0.0, 0.0]
    assert (whole[20:50, 100:] == background).all()
    np.testing.assert_array_equal(whole[:20], plain[:20])
    np.testing.assert_allclose(predict_tiled(model, image, tile=128), whole, atol=1e-5)


# ---- Channels ------------------------------------------------------------------------------------


def blue(path, image):
    pixels = np.zeros((*image.shape[:2], 3), "uint8")
    pixels[..., 2] = image[..., 0]
    write_png(f"{path}.png", pixels)


def test_a_blank_channel_stays_blank_and_is_not_divided_by(tmp_path):
    folder = folder_of(tmp_path / "set", blue)
    mean, variance = channel_statistics(find_samples(folder), 3)
    assert mean[0] == 0 and variance[0] == pytest.approx(1e-4 * variance[2]) and variance[2] > 1000
    assert "channel 0, 1 of 3 is blank in every image" in findings(folder, "note")
    image, mask = read_image(folder / "images" / "s0.png"), np.zeros((40, 44), "int32")
    augment, rng = Augmentation(noise=0.0), np.random.default_rng(0)
    for _ in range(8):
        relit, _ = augment(image.astype("float32"), mask, rng)
        assert relit[..., :2].max() < 1e-3


def test_images_of_one_value_have_a_variance_of_one(tmp_path):
    write_png(tmp_path / "images" / "a.png", np.full((9, 9), 7, "uint8"))
    write_png(tmp_path / "masks" / "a.png", np.zeros((9, 9), "uint8"))
    mean, variance = channel_statistics(find_samples(tmp_path), 1)
    assert mean.tolist() == [7] and variance.tolist() == [1]


def test_alpha_of_a_tiff_is_no_channel_of_the_network(tmp_path):
    def write(path, image):
        pixels = np.dstack([image] * 3 + [np.full_like(image, 255)]).astype("uint8")
        tifffile.imwrite(f"{path}.tif", pixels, photometric="rgb", extrasamples=["unassalpha"])

    folder = folder_of(tmp_path / "set", write)
    run = train(folder, tmp_path / "run", tiny.RECIPE, verbose=0, **tiny.MODEL)
    assert run.channels == 3


def test_a_turned_photograph_is_told(tmp_path):
    def write(path, image):
        exif = Image.Exif()
        exif[274] = 3
        pixels = np.repeat(image, 3, axis=-1).astype("uint8")
        Image.fromarray(pixels).save(f"{path}.jpg", exif=exif)

    told = findings(folder_of(tmp_path / "set", write), "warning")
    assert any(message.startswith("6 images have an EXIF orientation") for message in told)
