"""`evaluate` and `predict`, against models that are known by heart."""

import csv
import json

import keras
import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy import ndimage

import keras_deepskip
from keras_deepskip.data import MaskReading, find_samples, read_image, write_png
from keras_deepskip.data.masks import read_ids
from keras_deepskip.drawing import CLASS_COLORS
from keras_deepskip.inference import evaluate, image_work, predict
from tests import tiny


def squares(shape, *places, value=200):
    """A dark image with bright squares at (top, left, side)."""
    image = np.full(shape, 20, "uint8")
    for top, left, side in places:
        image[top : top + side, left : left + side] = value
    return image


def logits_model():
    """Gives an image's own values."""
    inputs = keras.Input((None, None, 1))
    model = keras.Model(inputs, keras.layers.Conv2D(1, 1)(inputs))
    model.set_weights([np.ones((1, 1, 1, 1)), np.zeros(1)])
    return model


def multilabel_model():
    inputs = keras.Input((None, None, 1))
    outputs = keras.layers.Conv2D(3, 1, activation="sigmoid")(inputs)
    return keras.Model(inputs, outputs)


def unnormalized_model():
    """Three probabilities of one half each."""
    inputs = keras.Input((None, None, 1))
    x = keras.layers.Conv2D(3, 1, activation="sigmoid", kernel_initializer="zeros")(inputs)
    return keras.Model(inputs, keras.layers.Identity()(x))


# ---- evaluate ------------------------------------------------------------------------------------


@pytest.fixture
def marked(tmp_path):
    """Two images; predicted are squares of brightness 200.

    `a`: a square of 4 x 4 found, of which 12 pixels are called (IoU 12 / 16), and one of 20 x 20
    missed.
    `b`: a square of 10 x 10 called where there is nothing.
    """
    mask = squares((40, 48), (2, 2, 4), (10, 20, 20), value=1)
    mask[mask == 20] = 0
    image = squares((40, 48), (2, 2, 4))
    image[5, 2:6] = 20
    tiny.put(tmp_path / "data", "a", image, mask)
    tiny.put(tmp_path / "data", "b", squares((40, 48), (5, 5, 10)), np.zeros((40, 48)))
    return find_samples(tmp_path / "data")


def test_figures_are_those_computed_by_hand(marked, tmp_path):
    found = evaluate(tiny.bright_model(), marked, out=tmp_path / "out", verbose=0)
    tp, fp, fn = 12, 100, 4 + 400
    assert found.images == 2
    assert found.pixels == pytest.approx(
        {
            "IoU": tp / (tp + fp + fn),
            "Dice": 2 * tp / (2 * tp + fp + fn),
            "Precision": tp / (tp + fp),
            "Recall": tp / (tp + fn),
            "F1": 2 * tp / (2 * tp + fp + fn),
        }
    )
    everything = found.objects["all"]
    assert (everything["tp"], everything["fp"], everything["fn"]) == (1, 1, 1)
    assert everything["recall"] == everything["precision"] == everything["f1"] == 0.5
    assert found.objects["strata"]["<8x8"]["recall"] == 1
    assert found.objects["strata"]["16x16-32x32"]["recall"] == 0
    assert found.worst == [["b", 0.0], ["a", pytest.approx(12 / 416)]]


def test_figures_are_written_as_json_and_as_a_table(marked, tmp_path):
    found = evaluate(tiny.bright_model(), marked, out=tmp_path / "out", verbose=0)
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text()) == found.to_dict()
    text = (tmp_path / "out" / "evaluation.md").read_text()
    assert text == found.text() + "\n"
    for figure in found.pixels.values():
        assert f"{figure:.4f}" in text
    row = next(line for line in text.splitlines() if line.startswith("| 16x16-32x32"))
    assert [cell.strip() for cell in row.strip("|").split("|")][1:] == [
        "0.0000", "-", "0.0000", "0", "1", "0",
    ]  # fmt: skip
    assert "Lowest IoU: b (0.00), a (0.03)" in text
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "evaluation.json",
        "evaluation.md",
    ]


def test_the_rule_of_matching_can_be_chosen(marked):
    strict = evaluate(tiny.bright_model(), marked, object_threshold=0.8, verbose=0)
    assert strict.objects["all"]["tp"] == 0  # 12 / 16 is less
    centre = evaluate(tiny.bright_model(), marked, criterion="centre", verbose=0)
    assert centre.objects["all"]["tp"] == 1 and "by centre" in centre.text()


def test_figures_on_drawn_scenes_are_those_of_their_pixels():
    samples = find_samples(tiny.data())
    found = evaluate(tiny.bright_model(3), samples, verbose=0)
    tp = fp = fn = objects = 0
    for sample in samples:
        called = read_image(sample.image).astype(int).sum(axis=-1) > 384
        true = read_image(sample.mask)[..., 0] > 0
        tp, fp, fn = (
            tp + (called & true).sum(),
            fp + (called & ~true).sum(),
            fn + (~called & true).sum(),
        )
        objects += ndimage.label(true, np.ones((3, 3)))[1]
    assert found.pixels["IoU"] == pytest.approx(tp / (tp + fp + fn), abs=1e-6)
    assert found.pixels["Recall"] == pytest.approx(tp / (tp + fn), abs=1e-6)
    assert found.objects["all"]["tp"] + found.objects["all"]["fn"] == objects > 0


def test_several_classes_and_ignored_pixels(tmp_path):
    """Grey levels 0 | 128 | 255 are called 0 | 1 | 2; a strip of the mask does not count."""
    image = np.zeros((20, 30), "uint8")
    image[2:6, 2:6], image[2:6, 10:14] = 128, 255
    mask = np.zeros((20, 30), "uint8")
    mask[2:6, 2:6], mask[2:6, 10:14] = 1, 1  # the second is called 2
    mask[15:], image[15:] = 255, 128
    tiny.put(tmp_path, "a", image, mask)
    found = evaluate(
        tiny.grey_level_model(),
        find_samples(tmp_path),
        masks=MaskReading(ignore_class=255),
        verbose=0,
    )
    assert found.pixels_by_class["IoU"] == pytest.approx({"0": 1.0, "1": 0.5, "2": 0.0})
    assert found.pixels["IoU"] == pytest.approx(0.25)  # mean of the classes that are objects
    assert {name: row["tp"] for name, row in found.objects["classes"].items()} == {"1": 1, "2": 0}
    assert "class 2" in found.text()


@pytest.mark.parametrize(
    "make, words",
    [
        (logits_model, "outputs are probabilities in .0, 1.*Received.*logits"),
        (multilabel_model, "classes end in a sigmoid"),
        (unnormalized_model, "sum to 1 over the classes.*multilabel"),
        (lambda: keras.Sequential(), "`model` must be built, with one input"),
    ],
)
def test_models_that_give_no_masks_are_refused(marked, tmp_path, make, words):
    model = make()
    with pytest.raises(ValueError, match=words):
        evaluate(model, marked, verbose=0)
    with pytest.raises(ValueError, match=words):
        predict(model, marked[0].image, tmp_path / "out", verbose=0)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", [7.0, np.nan])
def test_a_function_that_gives_no_probabilities_is_refused(marked, value):
    with pytest.raises(ValueError, match="outputs are probabilities in .0, 1"):
        evaluate(
            tiny.bright_model(), marked, predict=lambda image: np.full(image.shape, value),
            verbose=0,
        )  # fmt: skip


def test_nothing_to_evaluate():
    with pytest.raises(ValueError, match="at least one image with its mask"):
        evaluate(tiny.bright_model(), [])


def test_a_mask_of_another_size_is_named(tmp_path):
    tiny.put(tmp_path, "a", np.zeros((8, 8)), np.zeros((8, 9)))
    with pytest.raises(ValueError, match="a.png: image and mask of one size.*8 x 9"):
        evaluate(tiny.bright_model(), find_samples(tmp_path), verbose=0)


# ---- predict -------------------------------------------------------------------------------------


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_masks_overlays_and_table_are_those_of_the_objects(tmp_path):
    image = squares((40, 48), (2, 3, 4), (10, 20, 20))
    write_png(tmp_path / "photo.png", image)
    out = tmp_path / "out"
    rows = predict(tiny.bright_model(), tmp_path / "photo.png", out, verbose=0)
    with Image.open(out / "masks" / "photo.png") as file:
        assert file.mode == "P" and file.getpalette()[:6] == [0, 0, 0, *CLASS_COLORS[0]]
        np.testing.assert_array_equal(np.array(file), image > 128)
    np.testing.assert_array_equal(read_ids(out / "masks" / "photo.png"), image > 128)

    overlay = read_image(out / "overlays" / "photo.png")
    assert overlay.shape == (40, 48, 3)
    changed = (overlay != image[..., None]).any(axis=-1)
    border = (image > 128) & ~ndimage.binary_erosion(image > 128)
    np.testing.assert_array_equal(changed, border)

    assert [tuple(row.values()) for row in rows] == [
        ("photo", 1, 1, 16, 3.5, 4.5, 2, 3, 6, 7, 1.0),
        ("photo", 2, 1, 400, 19.5, 29.5, 10, 20, 30, 40, 1.0),
    ]
    written = rows_of(out / "objects.csv")
    assert [list(row.values()) for row in written] == [
        [str(v) for v in row.values()] for row in rows
    ]
    folders = ["images.csv", "labels", "masks", "objects.csv", "overlays"]
    assert sorted(path.name for path in out.iterdir()) == folders
    assert not tiny.leftovers(out)


def test_overlays_show_the_channels_that_are_asked_for(tmp_path):
    image = np.random.default_rng(0).integers(0, 100, (20, 24, 4)).astype("uint8")
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="minisblack", planarconfig="contig")
    model = keras_deepskip.build_model((None, None, 4), **tiny.MODEL)
    for channels, expected in (((3, 1, 0), image[..., [3, 1, 0]]), ([2], image[..., [2, 2, 2]])):
        options = {"overlay_channels": channels, "threshold": 1.0, "verbose": 0}
        predict(model, tmp_path / "a.tif", tmp_path / "out", **options)
        written = read_image(tmp_path / "out" / "overlays" / "a.png")
        np.testing.assert_array_equal(written, expected)
    for wrong in ((0, 1), (4,), (-1,), ("a",)):
        with pytest.raises(ValueError, match="`overlay_channels`"):
            predict(model, tmp_path / "a.tif", tmp_path / "no", overlay_channels=wrong)


def test_probabilities_are_16_bit(tmp_path):
    write_png(tmp_path / "photo.png", np.array([[0, 127, 128, 129, 130, 255]], "uint8"))
    out = tmp_path / "out"
    rows = predict(
        tiny.bright_model(),
        tmp_path / "photo.png",
        out,
        probabilities=True,
        overlays=False,
        verbose=0,
    )
    written = read_image(out / "probabilities" / "photo.png")
    expected = 1 / (1 + np.exp(128.5 - np.array([0, 127, 128, 129, 130, 255])))
    assert written.dtype == np.uint16
    np.testing.assert_allclose(written[0, :, 0], 65535 * expected, atol=0.6)
    assert not (out / "overlays").exists()
    assert rows[0]["mean_probability"] == pytest.approx(expected[3:].mean(), abs=1e-4)


def test_the_threshold_decides(tmp_path):
    write_png(tmp_path / "photo.png", np.array([[129, 130, 255]], "uint8"))
    rows = predict(
        tiny.bright_model(), tmp_path / "photo.png", tmp_path / "out", threshold=0.7, verbose=0
    )
    assert rows[0]["area"] == 2  # 0.62 is not enough


def test_several_classes(tmp_path):
    image = np.zeros((20, 30), "uint8")
    image[2:6, 2:6], image[2:6, 6:9], image[10:12, 10:14] = 128, 255, 128
    write_png(tmp_path / "photo.png", image)
    out = tmp_path / "out"
    rows = predict(
        tiny.grey_level_model(), tmp_path / "photo.png", out, probabilities=True, verbose=0
    )
    assert [(row["class"], row["area"]) for row in rows] == [(1, 16), (1, 8), (2, 12)]
    expected = np.select([image == 128, image == 255], [1, 2], 0)
    np.testing.assert_array_equal(read_ids(out / "masks" / "photo.png"), expected)
    names = sorted(path.name for path in (out / "probabilities").iterdir())
    assert names == [f"photo_class{number}.png" for number in range(3)]
    assert read_image(out / "probabilities" / "photo_class2.png")[3, 7, 0] == 65535


def test_images_of_any_size_and_kind(tmp_path):
    """1 x 1 and 17 x 4001; grey, RGB and RGBA files for a model of three channels."""
    write_png(tmp_path / "in" / "one.png", np.full((1, 1), 200, "uint8"))
    write_png(tmp_path / "in" / "wide.png", squares((17, 4001, 3), (5, 3900, 9)))
    Image.new("RGBA", (6, 5), (250, 250, 250, 9)).save(tmp_path / "in" / "alpha.png")
    rows = predict(tiny.bright_model(3), tmp_path / "in", tmp_path / "out", verbose=0)
    assert [(row["image"], row["area"]) for row in rows] == [
        ("alpha", 30),
        ("one", 1),
        ("wide", 81),
    ]
    assert read_ids(tmp_path / "out" / "masks" / "wide.png").shape == (17, 4001)


def test_the_network_takes_any_size_too(tmp_path):
    write_png(tmp_path / "in" / "one.png", np.full((1, 1), 200, "uint8"))
    write_png(tmp_path / "in" / "wide.png", np.zeros((17, 4001), "uint8"))
    predict(tiny.run().model, tmp_path / "in", tmp_path / "out", verbose=0)
    assert read_ids(tmp_path / "out" / "masks" / "one.png").shape == (1, 1)
    assert read_ids(tmp_path / "out" / "masks" / "wide.png").shape == (17, 4001)


def test_no_objects_give_a_table_of_headings(tmp_path):
    write_png(tmp_path / "dark.png", np.zeros((4, 5), "uint8"))
    assert predict(tiny.bright_model(), tmp_path / "dark.png", tmp_path / "out", verbose=0) == []
    assert (tmp_path / "out" / "objects.csv").read_text().startswith("image,object,class,area,")
    assert len((tmp_path / "out" / "objects.csv").read_text().splitlines()) == 1


def test_an_unreadable_image_is_a_line_of_failures_and_the_others_are_found(tmp_path):
    images, out = tmp_path / "in", tmp_path / "out"
    write_png(images / "a.png", squares((8, 9), (1, 1, 3)))
    (images / "b.png").write_bytes(b"no picture")
    write_png(images / "c.png", squares((8, 9), (1, 1, 3)))
    (images / "d.png").write_bytes((images / "c.png").read_bytes()[:-30])
    with pytest.warns(UserWarning, match="2 of 4 images .*failures.csv lists them.*b.png"):
        rows = predict(tiny.bright_model(), images, out, formats=["coco"], verbose=0)
    assert [(row["image"], row["area"]) for row in rows] == [("a", 9), ("c", 9)]
    with (out / "failures.csv").open(newline="") as file:
        failed = list(csv.DictReader(file))
    assert [row["image"] for row in failed] == ["b", "d"]
    assert failed[0]["file"] == str(images / "b.png")
    assert "b.png: a PNG, JPEG or TIFF image was expected" in failed[0]["error"]
    assert sorted(path.name for path in (out / "masks").iterdir()) == ["a.png", "c.png"]
    assert len(json.loads((out / "annotations.json").read_text())["images"]) == 2
    for name in ("b.png", "d.png"):
        (images / name).unlink()
    predict(tiny.bright_model(), images, out, verbose=0)
    assert not (out / "failures.csv").exists()


def test_where_no_image_can_be_read_the_first_is_named(tmp_path):
    for name in "ab":
        tmp_path.joinpath(f"{name}.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"a\.png: a PNG, JPEG or TIFF image was expected"):
        predict(tiny.bright_model(), tmp_path, tmp_path / "out", verbose=0)
    assert [row["image"] for row in rows_of(tmp_path / "out" / "failures.csv")] == ["a", "b"]


def test_where_no_image_can_be_read_no_tables_of_another_call_stay(tmp_path):
    images, out = tmp_path / "in", tmp_path / "out"
    write_png(images / "a.png", squares((8, 9), (1, 1, 3)))
    predict(tiny.bright_model(), images, out, verbose=0)
    (images / "a.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"a\.png"):
        predict(tiny.bright_model(), images, out, verbose=0)
    assert sorted(path.name for path in out.glob("*.*")) == ["failures.csv"]


def of_one_size(height, width):
    """As `bright_model`, but it takes images of one size alone."""
    inputs = keras.Input((height, width, 1))
    model = keras.Model(inputs, keras.layers.Conv2D(1, 1, activation="sigmoid")(inputs))
    model.set_weights(tiny.bright_model().get_weights())
    return model


def test_an_image_of_another_size_than_the_model_takes_is_a_line_of_failures(tmp_path):
    images, model = tmp_path / "images", of_one_size(8, 9)
    tiny.put(tmp_path, "a", squares((8, 9), (1, 1, 3)), np.zeros((8, 9)))
    tiny.put(tmp_path, "b", squares((8, 10), (1, 1, 3)), np.zeros((8, 10)))
    with pytest.warns(UserWarning, match="1 of 2 images could not be predicted"):
        rows = predict(model, images, tmp_path / "out", verbose=0)
    assert [(row["image"], row["area"]) for row in rows] == [("a", 9)]
    words = r"b\.png: an image of the size that the model takes was expected, 8 x 9.*: 8 x 10\."
    with pytest.raises(ValueError, match=words):
        predict(model, images / "b.png", tmp_path / "none", verbose=0)
    with pytest.raises(ValueError, match=words):
        evaluate(model, find_samples(tmp_path), verbose=0)


def test_rotations_of_a_model_of_images_that_are_not_square_are_refused_at_once(tmp_path):
    write_png(tmp_path / "a.png", squares((8, 9), (1, 1, 3)))
    with pytest.raises(ValueError, match="`tta` with rotations is for images, and a model of sq"):
        predict(of_one_size(8, 9), tmp_path, tmp_path / "out", tta="flips_and_rotations", verbose=0)
    assert not (tmp_path / "out").exists()


def test_a_wrong_number_of_channels_is_named(tmp_path):
    import tifffile

    tifffile.imwrite(
        tmp_path / "five.tif", np.zeros((5, 20, 30), "uint8"), photometric="minisblack"
    )
    with pytest.raises(
        ValueError, match=r"five\.tif: an image of 3 channels was expected.*5 channels"
    ):
        predict(tiny.bright_model(3), tmp_path / "five.tif", tmp_path / "out", verbose=0)


def test_images_of_one_name_are_named_by_their_folders(tmp_path):
    """In a list, by a pattern, in a folder of folders, in a file of paths."""
    for number, folder in enumerate(("a", "b/c")):
        write_png(tmp_path / "in" / folder / "x.png", squares((8, 9), (1, 1, 3 + number)))
    (tmp_path / "list.txt").write_text("in/a/x.png\n\nin/b/c/x.png\n")
    folders = [tmp_path / "in" / "a", tmp_path / "in" / "b" / "c"]
    pattern = str(tmp_path / "in" / "**" / "*.png")
    for number, source in enumerate([folders, pattern, tmp_path / "in", tmp_path / "list.txt"]):
        out = tmp_path / f"out{number}"
        options = {"formats": ["coco"], "verbose": 0}
        rows = predict(tiny.bright_model(), source, out, **options)
        assert [(row["image"], row["area"]) for row in rows] == [("a/x", 9), ("b/c/x", 16)]
        for folder in ("masks", "overlays"):
            names = [str(path.relative_to(out / folder)) for path in (out / folder).rglob("*.png")]
            assert sorted(names) == ["a/x.png", "b/c/x.png"]
        images = json.loads((out / "annotations.json").read_text())["images"]
        assert [image["file_name"] for image in images] == ["a/x.png", "b/c/x.png"]


def test_masks_beside_images_are_no_images(tmp_path):
    for part in ("train", "val"):
        image = squares((8, 9), (1, 1, 3))
        tiny.put(tmp_path / part, f"{part}1", image, np.where(image > 128, 255, 0))
    rows = predict(tiny.bright_model(), tmp_path, tmp_path / "out", verbose=0)
    assert [row["image"] for row in rows] == ["train/images/train1", "val/images/val1"]


def test_a_list_may_begin_with_a_mark_and_hold_comments(tmp_path):
    write_png(tmp_path / "x.png", squares((8, 9), (1, 1, 3)))
    (tmp_path / "list.txt").write_bytes("\ufeffx.png\r\n# plate 3\r\n".encode())
    rows = predict(tiny.bright_model(), tmp_path / "list.txt", tmp_path / "out", verbose=0)
    assert [row["image"] for row in rows] == ["x"]


def test_a_file_that_two_sources_name_is_one_image(tmp_path):
    write_png(tmp_path / "in" / "x.png", squares((8, 9), (1, 1, 3)))
    sources = [tmp_path / "in", tmp_path / "in" / ".." / "in" / "x.png"]
    rows = predict(tiny.bright_model(), sources, tmp_path / "out", verbose=0)
    assert [row["image"] for row in rows] == ["x"]
    with pytest.raises(ValueError, match="`images` must hold at least one image"):
        predict(tiny.bright_model(), [], tmp_path / "none", verbose=0)


def test_results_in_the_folder_of_the_images_are_no_images(tmp_path):
    write_png(tmp_path / "a" / "x.png", squares((8, 9), (1, 1, 3)))
    for _ in range(2):
        rows = predict(tiny.bright_model(), tmp_path, tmp_path / "found", verbose=0)
        assert [row["image"] for row in rows] == ["a/x"]


def test_names_that_clash_are_refused(tmp_path):
    for suffix in ("png", "npy"):
        (tmp_path / f"x.{suffix}").touch()
    with pytest.raises(ValueError, match="several images share a name. Received: x"):
        predict(tiny.bright_model(), str(tmp_path / "x.*"), tmp_path / "out", verbose=0)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("source", [".", "images", "images/x.png"])
def test_masks_that_were_drawn_are_not_written_over(tmp_path, source):
    tiny.put(tmp_path, "x", np.zeros((4, 5)), np.eye(4, 5))
    before = (tmp_path / "masks" / "x.png").read_bytes()
    with pytest.raises(ValueError, match="`out` must be a folder of its own"):
        predict(tiny.bright_model(), tmp_path / source, tmp_path, verbose=0)
    assert (tmp_path / "masks" / "x.png").read_bytes() == before


@pytest.mark.one_backend
def test_tables_in_parquet_are_those_in_csv(tmp_path):
    """Names of classes, measures, and empty cells; only what is asked for is left."""
    parquet = pytest.importorskip("pyarrow.parquet")
    image = squares((40, 48), (2, 3, 4), (10, 20, 20))
    for name in "ab":
        write_png(tmp_path / "in" / f"{name}.png", image if name == "b" else 0 * image)
    options = {"measures": True, "verbose": 0, "out": tmp_path / "out"}
    images, model = tmp_path / "in", tiny.bright_model()
    rows = list(predict(model, images, tables=["csv", "parquet"], **options))
    written = parquet.read_table(tmp_path / "out" / "objects.parquet")
    assert written.to_pylist() == rows and len(rows) == 2
    assert written.column_names == list(rows_of(tmp_path / "out" / "objects.csv")[0])
    counted = parquet.read_table(tmp_path / "out" / "images.parquet").to_pylist()
    for line, text in zip(counted, rows_of(tmp_path / "out" / "images.csv"), strict=True):
        assert {k: "" if v is None else str(v) for k, v in line.items()} == text
    assert counted[0]["mean_area"] is None and counted[1]["objects"] == 2

    alone = predict(model, images, tables="parquet", **options)
    assert alone == rows and alone[-1] == rows[-1] and alone[:1] == rows[:1]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.*")) == [
        "images.parquet", "objects.parquet",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="`tables` must be one of 'csv', 'parquet'"):
        predict(model, images, tables=["excel"], **options)


# ---- Interrupted, and taken up -------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch):
    """The images that are predicted, by their sizes; and a size at which it is interrupted."""
    seen, plain = {"sizes": [], "interrupt": None}, image_work.probabilities_of

    def probabilities_of(model, image, *others):
        if image.shape[0] == seen["interrupt"]:
            raise KeyboardInterrupt
        seen["sizes"].append(image.shape[0])
        return plain(model, image, *others)

    monkeypatch.setattr(image_work, "probabilities_of", probabilities_of)
    return seen


def files_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_an_interrupted_call_is_taken_up(tmp_path, counted):
    """Finished images are not predicted again; all files are those of an uninterrupted call."""
    images, out = tmp_path / "in", tmp_path / "out"
    for number in range(4):
        write_png(images / f"{number}.png", squares((20 + number, 25), (1, 1, 3), (9, 9, 4)))
    options = {"formats": ["coco", "yolo"], "measures": True, "verbose": 0}
    expected = predict(tiny.bright_model(), images, tmp_path / "whole", **options)
    counted.update(sizes=[], interrupt=22)
    with pytest.raises(KeyboardInterrupt):
        predict(tiny.bright_model(), images, out, **options)
    assert counted["sizes"] == [20, 21]
    assert not (out / "objects.csv").exists()

    (notes,) = (out / ".finished").iterdir()
    notes.write_text(notes.read_text()[:-7])  # killed while the second image was noted
    counted.update(sizes=[], interrupt=None)
    assert predict(tiny.bright_model(), images, out, **options) == expected
    assert counted["sizes"] == [21, 22, 23]
    assert files_of(out) == files_of(tmp_path / "whole")
    assert not (out / ".finished").exists()


def test_what_was_removed_since_an_interrupt_is_written_again(tmp_path, counted):
    images, out = tmp_path / "in", tmp_path / "out"
    for number in range(5):
        write_png(images / f"{number}.png", squares((20 + number, 25), (1, 1, 3), (9, 9, 4)))
    options = {"probabilities": True, "formats": ["yolo", "label-studio"], "verbose": 0}
    predict(tiny.bright_model(), images, tmp_path / "whole", **options)
    counted["interrupt"] = 24
    with pytest.raises(KeyboardInterrupt):
        predict(tiny.bright_model(), images, out, **options)
    removed = ("masks/0.png", "yolo/labels/1.txt", "label-studio/images/2.png")
    for name in removed:
        (out / name).unlink()
    counted.update(sizes=[], interrupt=None)
    predict(tiny.bright_model(), images, out, **options)
    assert counted["sizes"] == [20, 21, 22, 24]
    assert files_of(out) == files_of(tmp_path / "whole")


def test_batches_of_one_size_give_what_each_image_gives_also_after_an_interrupt(
    tmp_path, monkeypatch
):
    """What is done again after an interrupt is in the batch that it was in: the same bytes."""
    images, model, sizes = tmp_path / "in", tiny.run().model, []
    for number in range(11):
        noise = np.random.default_rng(number).integers(0, 256, (20 + number % 2, 25, 3))
        write_png(images / f"{number:02}.png", noise.astype("uint8"))
    outputs = model.predict(np.full((1, 20, 25, 3), 128, "uint8"), verbose=0)
    threshold = float(np.median(outputs))
    options = {"probabilities": True, "threshold": threshold, "min_area": 0, "verbose": 0}
    plain = image_work.probabilities_of_batch

    def probabilities_of_batch(model, batch, *others):
        sizes.append(batch.shape[:2])
        return plain(model, batch, *others)

    monkeypatch.setattr(image_work, "probabilities_of_batch", probabilities_of_batch)
    expected = list(predict(model, images, tmp_path / "whole", **options))
    assert sizes == [(4, 20), (4, 21), (2, 20)] and len(expected) > 11
    for number in (1, 8):
        path = images / f"{number:02}.png"
        alone = predict(model, path, tmp_path / "alone", **options)
        own = [row for row in expected if row["image"] == path.stem]
        assert len(own) == len(alone)
        for row, other in zip(own, alone, strict=True):
            assert row == pytest.approx(other, abs=1e-4)

    out, counts, calls = tmp_path / "out", image_work.counts, []

    def interrupted(*found):
        calls.append(found)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return counts(*found)

    with monkeypatch.context() as patched:
        patched.setattr(image_work, "counts", interrupted)
        with pytest.raises(KeyboardInterrupt):
            predict(model, images, out, **options)
    sizes.clear()
    assert predict(model, images, out, **options) == expected
    assert sizes == [(4, 21), (2, 20)]  # the first batch was done
    assert files_of(out) == files_of(tmp_path / "whole")


@pytest.mark.parametrize("change", ["threshold", "image", "model"])
def test_what_another_call_has_done_is_not_taken(tmp_path, counted, change):
    images, out, model = tmp_path / "in", tmp_path / "out", tiny.bright_model()
    for number in range(2):
        write_png(images / f"{number}.png", squares((20 + number, 25), (1, 1, 3)))
    counted["interrupt"] = 21
    with pytest.raises(KeyboardInterrupt):
        predict(model, images, out, verbose=0)
    counted.update(sizes=[], interrupt=None)
    options = {"threshold": 0.4} if change == "threshold" else {}
    if change == "image":
        write_png(images / "0.png", squares((20, 25), (1, 1, 5)))
    if change == "model":
        model = keras.models.clone_model(model)
        model.set_weights([1.1 * weight for weight in tiny.bright_model().get_weights()])
    rows = predict(model, images, out, verbose=0, **options)
    assert counted["sizes"] == [20, 21]
    assert rows[0]["area"] == (25 if change == "image" else 9)


def test_images_by_a_pattern(tmp_path):
    for plate in "ab":
        write_png(tmp_path / plate / f"{plate}_well.png", squares((8, 9), (1, 1, 3)))
        write_png(tmp_path / plate / f"{plate}_other.png", squares((8, 9), (1, 1, 2)))
    pattern = str(tmp_path / "*" / "*_well.png")
    rows = predict(tiny.bright_model(), pattern, tmp_path / "out", verbose=0)
    assert [(row["image"], row["area"]) for row in rows] == [("a_well", 9), ("b_well", 9)]
    with pytest.raises(FileNotFoundError, match="no file or folder has such a path"):
        predict(tiny.bright_model(), str(tmp_path / "*.gif"), tmp_path / "out", verbose=0)
