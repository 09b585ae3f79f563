"""What masks say is decided from all of a set, and told; where it is not sure, it is an error."""

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy import ndimage

from keras_deepskip.cli import main
from keras_deepskip.data import MaskReading, audit, load_mask, read_mask, write_png
from keras_deepskip.data.folder import find_samples
from keras_deepskip.data.survey import Survey
from tests import tiny

pytestmark = pytest.mark.one_backend
SIDE = 48


def truths(count=6):
    """Masks of 5 and more separate squares, and of other numbers of them."""
    found = []
    for number in range(count):
        mask = np.zeros((SIDE, SIDE), bool)
        for k in range(5 + number % 3):
            row, column = divmod(k, 4)
            mask[12 * row + 2 : 12 * row + 7, 12 * column + number % 4 :][:, :5] = True
        found.append(mask)
    return found


def folder_of(root, write):
    """A set of the masks that `write(path without suffix, truth, number)` writes."""
    generator = np.random.default_rng(0)
    (root / "masks").mkdir(parents=True)
    for number, mask in enumerate(truths()):
        image = generator.integers(0, 90, mask.shape) + 120 * mask
        write_png(root / "images" / f"m{number}.png", image.astype("uint8"))
        write(root / "masks" / f"m{number}", mask, number)
    return root


def values(**of):
    """Writes one value for the background and one for objects."""

    def write(path, mask, number):
        write_png(f"{path}.png", np.where(mask, of["inside"], of["outside"]).astype("uint8"))

    return write


def object_ids(path, mask, number):
    write_png(f"{path}.png", ndimage.label(mask)[0].astype("uint8"))


def sparse_ids(path, mask, number):
    labels, count = ndimage.label(mask)
    table = np.r_[0, 30_000 + 97 * np.arange(count) + 13 * number]
    write_png(f"{path}.png", table[labels].astype("uint16"))


def many_ids(path, mask, number):
    """Of which one in ten is in two pieces, as where objects cross."""
    labels = np.arange(SIDE * SIDE // 4).reshape(SIDE // 2, SIDE // 2) + 1
    labels = np.where((labels + number) % 3, 0, np.where(labels % 10, labels, labels + 30))
    write_png(f"{path}.png", np.kron(labels, [[1, 0], [0, 0]]).astype("uint16"))


def alpha(path, mask, number):
    pixels = np.dstack([np.full(mask.shape, 255), 255 * mask]).astype("uint8")
    Image.fromarray(pixels, "LA").save(f"{path}.png")


def black_opaque(path, mask, number):
    pixels = np.dstack([np.zeros((*mask.shape, 3)), 255 * mask]).astype("uint8")
    Image.fromarray(pixels, "RGBA").save(f"{path}.png")


def white_first_palette(path, mask, number):
    image = Image.fromarray((~mask).astype("uint8"), "P")
    image.putpalette([255, 255, 255, 0, 0, 0])
    image.save(f"{path}.png")


def one_bit(path, mask, number):
    Image.fromarray(mask).save(f"{path}.png")


@pytest.mark.parametrize(
    ("write", "kind", "text"),
    [
        (values(outside=0, inside=1), "binary", "binary (0 and 1)"),
        (values(outside=0, inside=255), "binary", "binary (0 and 255)"),
        (values(outside=0, inside=128), "binary", "binary (0 and 128)"),
        (alpha, "binary", "binary (0 and 255)"),
        (black_opaque, "binary", "binary (0 and 255)"),
        (white_first_palette, "binary", "binary (0 and 255)"),
        (one_bit, "binary", "binary (0 and 1)"),
        (object_ids, "objects", "object ids"),
        (sparse_ids, "objects", "object ids"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_one_class_is_read_as_it_is_meant(tmp_path, write, kind, text):
    folder = folder_of(tmp_path / "set", write)
    survey = Survey.of(folder)
    found = survey.kind_of(MaskReading())
    assert found.reading == MaskReading(1, kind=kind) and found.text.startswith(text)
    for sample, mask in zip(find_samples(folder), truths(), strict=True):
        assert np.array_equal(load_mask(sample, found.reading), mask)
    report = audit(survey)
    assert report.ok and report.figures["num_classes"] == 1
    assert report.text().splitlines()[1].startswith(f"masks: {text}")
    assert report.figures["classes"].keys() == {"0", "1"}
    assert report.figures["objects"] == sum(5 + number % 3 for number in range(6))


def test_many_object_ids_some_in_pieces(tmp_path):
    found = Survey.of(folder_of(tmp_path / "set", many_ids)).kind_of(MaskReading())
    assert found.reading.kind == "objects"


def class_ids(*of):
    """Squares of these ids in turn, several of each."""

    def write(path, mask, number):
        labels = ndimage.label(mask)[0]
        write_png(f"{path}.png", np.r_[0, np.resize(of, 99)][labels].astype("uint8"))

    return write


def test_class_ids_stay_class_ids(tmp_path):
    found = Survey.of(folder_of(tmp_path / "set", class_ids(1, 2))).kind_of(MaskReading())
    assert found.reading == MaskReading(3, kind="classes") and found.text == "class ids 0 to 2"
    void = Survey.of(folder_of(tmp_path / "void", class_ids(1, 2, 255))).kind_of(MaskReading())
    assert void.reading == MaskReading(3, kind="classes")


def first_four(path, mask, number):
    labels = ndimage.label(mask)[0]
    write_png(f"{path}.png", np.where(labels > 4, 0, labels).astype("uint8"))


@pytest.mark.parametrize(
    ("write", "message", "fix"),
    [
        (first_four, "up to 4 values, each of them one connected region", "--mask-kind classes"),
        (values(outside=1, inside=2), "no mask holds 0, the background; they hold 1, 2", "values="),
        (class_ids(50, 100, 150), "3 values up to 150, with large gaps", "{0: 0, 50: 1, 100: 2"),
    ],
)
def test_what_may_mean_two_things_is_an_error_with_the_choices(tmp_path, write, message, fix):
    folder = folder_of(tmp_path / "set", write)
    (finding,) = [f for f in audit(folder).findings if f.severity == "error"]
    assert message in finding.message and fix in finding.fix


def test_the_choices_are_taken(tmp_path):
    folder = folder_of(tmp_path / "a", values(outside=1, inside=2))
    reading = MaskReading(values={1: 0, 2: 1})
    assert audit(folder, reading).ok
    assert np.array_equal(read_mask(folder / "masks" / "m0.png", reading), truths()[0])
    given = ["--data", str(folder), "--mask-value", "1=0", "--mask-value", "2=1"]
    assert main(["audit", *given]) == 0
    levels = folder_of(tmp_path / "b", class_ids(50, 100, 150))
    report = audit(levels, MaskReading(values={0: 0, 50: 1, 100: 2, 150: 3}))
    assert report.ok and report.figures["num_classes"] == 4
    assert report.figures["classes"].keys() == {"0", "1", "2", "3"}
    few = folder_of(tmp_path / "c", first_four)
    assert audit(few, MaskReading(kind="classes")).figures["num_classes"] == 5
    assert audit(few, MaskReading(kind="objects")).figures["num_classes"] == 1
    assert main(["audit", "--data", str(few), "--mask-kind", "objects"]) == 0


def test_inverted_masks_are_told(tmp_path):
    folder = folder_of(tmp_path / "set", values(outside=255, inside=0))
    found = [f for f in audit(folder).findings if f.severity == "warning"]
    assert any("objects cover 9" in f.message and "{0: 1, 255: 0}" in f.fix for f in found)
    reading = MaskReading(values={0: 1, 255: 0})
    assert np.array_equal(read_mask(folder / "masks" / "m0.png", reading), truths()[0])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "labels"}, "`kind` must be one of 'classes', 'objects'"),
        ({"kind": "objects", "num_classes": 3}, "kind='objects' have one class.*num_classes=3"),
        ({"kind": "binary", "values": {0: 1}}, "`values` say all that masks mean"),
    ],
)
def test_readings_that_contradict_themselves(fields, message):
    with pytest.raises(ValueError, match=message):
        MaskReading(**fields)


def test_a_reading_in_json():
    for reading in (
        MaskReading(1, kind="objects", ignore_class=7),
        MaskReading(2, values={0: 1, 255: 0}),
        MaskReading(3, {(1, 2, 3): 1}),
    ):
        assert MaskReading.from_dict(reading.to_dict()) == reading


def test_values_that_a_table_does_not_name(tmp_path):
    write_png(tmp_path / "m.png", np.array([[0, 7, 9]], "uint8"))
    with pytest.raises(ValueError, match=r"m\.png: values 0, 7 were expected. Received also: 9"):
        read_mask(tmp_path / "m.png", MaskReading(values={0: 0, 7: 1}))


def test_ignored_pixels_among_object_ids(tmp_path):
    write_png(tmp_path / "m.png", np.array([[0, 1, 2, 255]], "uint8"))
    reading = MaskReading(1, ignore_class=255, kind="objects")
    assert read_mask(tmp_path / "m.png", reading).tolist() == [[0, 1, 1, 255]]


def test_colour_and_alpha_that_disagree(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 3, (9, 9, 2)).astype("uint8")
    Image.fromarray(pixels, "LA").save(tmp_path / "m.png")
    with pytest.raises(ValueError, match=r"m\.png: a mask whose transparent pixels are 0"):
        read_mask(tmp_path / "m.png", MaskReading())


@pytest.mark.parametrize(
    "colors",
    [
        [255, 255, 255, 255, 0, 0],  # white is the background, red an object
        [200, 200, 200, 0, 0, 0, 255, 0, 0],  # a black class
        [68, 1, 84, 59, 82, 139, 33, 145, 140],
        [255, 255, 255, 170, 170, 170, 85, 85, 85, 0, 0, 0],
    ],
)
@pytest.mark.parametrize("held", [[0], [0, 1], [0, 1, 2]])
def test_a_palette_of_several_colours_is_read_by_index(tmp_path, colors, held):
    """Whatever of it a mask holds: one without objects is empty."""
    held = [min(index, len(colors) // 3 - 1) for index in held]
    image = Image.fromarray(np.array([held], "uint8"), "P")
    image.putpalette(colors)
    image.save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png", MaskReading()).tolist() == [held]


@pytest.mark.parametrize("held", [[0], [255], [0, 255]])
def test_a_palette_from_white_to_black_is_read_as_it_is_shown(tmp_path, held):
    image = Image.fromarray(np.array([held], "uint8"), "P")
    image.putpalette([255 - level for level in range(256) for _ in range(3)])
    image.save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png").tolist() == [[int(index == 0) for index in held]]


def test_a_palette_of_black_first_is_read_by_index(tmp_path):
    for colors in ([0, 0, 0, 255, 255, 255], [0, 0, 0, 128, 0, 0], [9, 9, 9, 128, 0, 0]):
        image = Image.fromarray(np.array([[0, 1, 1]], "uint8"), "P")
        image.putpalette(colors)
        image.save(tmp_path / "m.png")
        assert read_mask(tmp_path / "m.png").tolist() == [[0, 1, 1]]


@pytest.mark.parametrize("quality", [75, 100])
def test_a_jpeg_of_ids_is_refused(tmp_path, quality):
    mask = ndimage.label(truths()[0])[0].astype("uint8") * 20
    Image.fromarray(mask).save(tmp_path / "m.jpg", quality=quality)
    with pytest.raises(ValueError, match=r"m\.jpg: .*JPEG changes values"):
        read_mask(tmp_path / "m.jpg", MaskReading())


def test_a_run_reads_masks_as_its_training_decided(tmp_path):
    """Object ids: from Python and the command line, in a file that alone could mean anything."""
    from keras_deepskip.training import Run, train

    folder = folder_of(tmp_path / "set", object_ids)
    train(folder, tmp_path / "run", tiny.RECIPE, verbose=0, **tiny.MODEL)
    run = Run.load(tmp_path / "run")
    assert run.masks == MaskReading(1, kind="objects")
    assert main(["evaluate", "--run", str(tmp_path / "run")]) == 0


def test_facts_of_a_table_of_values_are_of_its_classes(tmp_path):
    """Inverted masks have the objects of others, in the plan too; empty ones are no group."""
    plain = Survey.of(folder_of(tmp_path / "plain", values(outside=0, inside=255)))
    reading = MaskReading(values={0: 1, 255: 0})
    inverted = Survey.of(folder_of(tmp_path / "set", values(outside=255, inside=0)), reading)
    for one, other in zip(plain.all_samples, inverted.all_samples, strict=True):
        expected, found = plain.mask(one), inverted.mask(other)
        assert sorted(found.areas) == sorted(expected.areas)
        assert found.positive == expected.positive == sum(found.areas)
    assert not [f for f in audit(inverted).findings if "read as 0 and 1" in f.message]


def test_full_masks_of_16_bits_are_known_at_any_size(tmp_path):
    for number, side in enumerate((40, 300, 40, 300)):
        mask = np.zeros((side, side), "uint16")
        mask[4 : 9 + number, 4:9] = 65535
        image = np.full((side, side), 20, "uint8")
        image[mask > 0] = 200
        write_png(tmp_path / "images" / f"{number}.png", image + number)
        write_png(tmp_path / "masks" / f"{number}.png", mask)
    assert Survey.of(tmp_path).kind_of(MaskReading()).reading.kind == "binary"


def test_boolean_masks_as_tifffile_writes_them(tmp_path):
    """Stored with white as zero; their values count."""

    def write(path, mask, number):
        tifffile.imwrite(f"{path}.tif", mask.astype(bool))

    folder = folder_of(tmp_path / "set", write)
    for sample, truth in zip(find_samples(folder), truths(), strict=True):
        np.testing.assert_array_equal(load_mask(sample), truth)


def test_ignored_pixels_are_no_objects(tmp_path):
    """Neither for the share of objects, nor as a class that a part of the split lacks."""

    def write(path, mask, number):
        ids = mask.astype("uint8")
        ids[: 2 * len(ids) // 3] = 255
        write_png(f"{path}.png", ids)

    folder = folder_of(tmp_path / "set", write)
    found = audit(folder, masks=MaskReading(ignore_class=255))
    assert found.figures["positive_share"] < 0.3 and "255" not in found.figures["classes"]
    assert not [f for f in found.findings if "objects cover" in f.message or "255" in f.message]
