"""Image and mask files of every kind: what is written comes back, what is wrong is named."""

import json
import struct
import sys
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from keras_deepskip.data.images import image_size, read_image, read_mask, to_channels, write_png
from keras_deepskip.data.masks import MaskReading, mask_values

pytestmark = pytest.mark.one_backend

SHAPE = (11, 7)


def random_array(channels=None, dtype="uint8", high=None):
    high = high or {"uint8": 256, "uint16": 65536}.get(dtype, 1)
    shape = SHAPE if channels is None else (*SHAPE, channels)
    values = np.random.default_rng(7).random(shape) * high
    return values.astype(dtype)


def png_bits(values, depth, kind=0):
    """A PNG of 1, 2 or 4 bits written by hand (Pillow writes no 2- and 4-bit grey)."""
    rows = b""
    for row in values:
        bits = "".join(f"{value:0{depth}b}" for value in row)
        bits += "0" * (-len(bits) % 8)
        rows += b"\0" + int(bits, 2).to_bytes(len(bits) // 8, "big")

    def chunk(name, body):
        check = zlib.crc32(name + body)
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], depth, kind, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("channels", [None, 1, 3])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_png_round_trip(tmp_path, channels, dtype):
    array = random_array(channels, dtype)
    write_png(tmp_path / "a.png", array)
    back = read_image(tmp_path / "a.png")
    assert back.dtype == dtype
    assert np.array_equal(back, array.reshape(*SHAPE, channels or 1))
    assert image_size(tmp_path / "a.png") == SHAPE


@pytest.mark.parametrize(
    "array", [random_array(2), random_array(None, "float32"), random_array(4), np.zeros(3, "uint8")]
)
def test_write_png_refuses_what_png_cannot_hold(tmp_path, array):
    (tmp_path / "a.png").write_bytes(b"old")
    with pytest.raises(ValueError, match=r"a\.png.*Received"):
        write_png(tmp_path / "a.png", array)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == b"old"


@pytest.mark.parametrize("mode, channels", [("L", 1), ("LA", 2), ("RGB", 3), ("RGBA", 4)])
def test_png_of_pillow(tmp_path, mode, channels):
    array = random_array(None if channels == 1 else channels)
    Image.fromarray(array).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), array.reshape(*SHAPE, channels))


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_16_bit_colour_png_keeps_its_bits(tmp_path, channels):
    codecs = pytest.importorskip("imagecodecs")
    array = random_array(channels, "uint16")
    (tmp_path / "a.png").write_bytes(codecs.png_encode(array))
    assert np.array_equal(read_image(tmp_path / "a.png"), array)
    assert image_size(tmp_path / "a.png") == SHAPE


def test_16_bit_colour_png_without_imagecodecs_says_the_pip_line(tmp_path, monkeypatch):
    write_png(tmp_path / "a.png", random_array(3, "uint16"))
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(ImportError, match=r'a\.png.*pip install "keras-deepskip\[images\]"'):
        read_image(tmp_path / "a.png")


def test_palette_and_one_bit_png(tmp_path):
    indices = random_array(high=3)
    palette = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 7]], "uint8")
    image = Image.fromarray(indices)
    image.putpalette(palette.tobytes())
    image.save(tmp_path / "p.png")
    assert np.array_equal(read_image(tmp_path / "p.png"), palette[indices])
    assert np.array_equal(read_mask(tmp_path / "p.png", MaskReading(3)), indices)
    bits = random_array(high=2)
    Image.fromarray(bits.astype(bool)).save(tmp_path / "b.png")
    assert np.array_equal(read_image(tmp_path / "b.png")[..., 0], bits * 255)
    assert np.array_equal(read_mask(tmp_path / "b.png"), bits)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_low_bit_grey_png_masks_are_not_stretched(tmp_path, depth):
    ids = random_array(high=2**depth)
    (tmp_path / "m.png").write_bytes(png_bits(ids, depth))
    assert np.array_equal(read_mask(tmp_path / "m.png", MaskReading(2**depth)), ids)
    assert read_image(tmp_path / "m.png").max() == 255


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg(tmp_path, mode):
    smooth = np.indices((32, 48)).sum(axis=0).astype("uint8") * 3
    image = Image.fromarray(smooth).convert(mode)
    image.save(tmp_path / "a.jpg", quality=95)
    back = read_image(tmp_path / "a.jpg")
    assert back.shape == (32, 48, 1 if mode == "L" else 3) and back.dtype == np.uint8
    assert np.abs(back[..., 0].astype(int) - smooth).max() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_orientation_is_applied(tmp_path, orientation, suffix):
    image = Image.fromarray(np.indices((16, 40)).sum(axis=0).astype("uint8") * 4)
    path = tmp_path / f"a{suffix}"
    exif = Image.Exif()
    exif[274] = orientation
    image.save(tmp_path / "truth.png", exif=exif)
    # (Pillow 13 itself garbles an uncompressed TIFF that is turned by 90 degrees.)
    with Image.open(tmp_path / "truth.png") as stored:
        shown = np.asarray(ImageOps.exif_transpose(stored))
    if suffix == ".tif":
        tifffile.imwrite(path, np.asarray(image), extratags=[(274, 3, 1, orientation, True)])
    else:
        image.save(path, exif=exif, **({"quality": 100} if suffix == ".jpg" else {}))
    back = read_image(path)[..., 0]
    assert back.shape == shown.shape == image_size(path)
    assert np.abs(back.astype(int) - shown).max() <= (3 if suffix == ".jpg" else 0)


def test_orientation_of_16_bit_colour_png(tmp_path):
    codecs = pytest.importorskip("imagecodecs")
    array = random_array(3, "uint16")
    code = codecs.png_encode(array)
    exif = Image.Exif()
    exif[274] = 6
    body = exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(body)) + b"eXIf" + body
    chunk += struct.pack(">I", zlib.crc32(b"eXIf" + body))
    (tmp_path / "a.png").write_bytes(code[:33] + chunk + code[33:])
    assert np.array_equal(read_image(tmp_path / "a.png"), np.rot90(array, -1))


TIFFS = {
    "grey8": (random_array(), {}, 1),
    "grey16": (random_array(dtype="uint16"), {}, 1),
    "float": (random_array(dtype="float32"), {}, 1),
    "rgb": (random_array(3), {"photometric": "rgb"}, 3),
    "rgb16": (random_array(3, "uint16"), {"photometric": "rgb"}, 3),
    "planar": (random_array(3).transpose(2, 0, 1), {"photometric": "rgb", "planarconfig": 2}, 3),
    "first": (random_array(5, "uint16").transpose(2, 0, 1), {"photometric": "minisblack"}, 5),
    "last": (random_array(5, "uint16"), {"photometric": "minisblack"}, 5),
    "named": (
        random_array(5).transpose(2, 0, 1), {"imagej": True, "metadata": {"axes": "CYX"}}, 5
    ),
    "ome": (random_array(2).transpose(2, 0, 1), {"ome": True, "metadata": {"axes": "CYX"}}, 2),
    "zlib": (random_array(3), {"photometric": "rgb", "compression": "zlib"}, 3),
    "lzw": (random_array(3), {"photometric": "rgb", "compression": "lzw"}, 3),
    "zstd": (random_array(), {"compression": "zstd"}, 1),
    "bigtiff": (random_array(), {"bigtiff": True}, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", TIFFS)
def test_tiff(tmp_path, name):
    if name in ("lzw", "zstd"):
        pytest.importorskip("imagecodecs")
    array, options, channels = TIFFS[name]
    tifffile.imwrite(tmp_path / "a.tif", array, **options)
    if array.ndim == 2:
        array = array[..., None]
    elif array.shape[1:] == SHAPE:
        array = array.transpose(1, 2, 0)
    back = read_image(tmp_path / "a.tif")
    assert back.shape == (*SHAPE, channels) and back.dtype == array.dtype
    assert np.array_equal(back, array)
    assert image_size(tmp_path / "a.tif") == SHAPE


def test_tiff_number_types(tmp_path):
    for dtype, expected in [("float64", "float32"), ("int16", "float32"), ("uint32", "float32")]:
        array = np.arange(-3 if dtype != "uint32" else 0, 9).reshape(3, -1).astype(dtype)
        tifffile.imwrite(tmp_path / "a.tif", array)
        back = read_image(tmp_path / "a.tif")
        assert back.dtype == expected and np.array_equal(back[..., 0], array)


def test_tiff_white_is_zero_and_palette(tmp_path):
    array = random_array()
    tifffile.imwrite(tmp_path / "w.tif", array, photometric="miniswhite")
    assert np.array_equal(read_image(tmp_path / "w.tif")[..., 0], 255 - array)
    image = Image.fromarray(random_array(high=3))
    image.putpalette([0, 0, 0, 200, 10, 0, 0, 30, 255])
    image.save(tmp_path / "p.tif")
    assert np.array_equal(read_image(tmp_path / "p.tif"), np.asarray(image.convert("RGB")))
    assert np.array_equal(read_mask(tmp_path / "p.tif", MaskReading(3)), random_array(high=3))


def test_a_stack_of_slices_is_refused(tmp_path):
    stack = np.zeros((4, *SHAPE), "uint8")
    tifffile.imwrite(tmp_path / "z.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    with pytest.raises(
        ValueError, match=r"z\.tif: an image, .*a stack of slices .*axes ZYX.*files of their own"
    ):
        read_image(tmp_path / "z.tif")


def broken_files(folder):
    write_png(folder / "whole.png", random_array(3))
    Image.fromarray(random_array(3)).resize((90, 90)).save(folder / "whole.jpg")
    tifffile.imwrite(folder / "whole.tif", np.zeros((90, 90), "uint8"))
    write_png(
        folder / "deep.png", random_array(3, "uint16")
    ) if "imagecodecs" in sys.modules else None
    for path in list(folder.iterdir()):
        data = path.read_bytes()
        (folder / f"cut_{path.stem}{path.suffix}").write_bytes(data[: len(data) * 2 // 3])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("this is no image")
    (folder / "magic.tif").write_bytes(b"II*\0")
    (folder / "magic.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return sorted(path for path in folder.iterdir() if path.stem not in ("whole", "deep"))


def test_unreadable_files_are_named_with_the_cause(tmp_path):
    pytest.importorskip("imagecodecs")
    files = broken_files(tmp_path)
    assert len(files) == 8
    for path in files:
        for read in (read_image, read_mask):
            with pytest.raises(ValueError, match="Received") as caught:
                read(path)
            assert str(path) in str(caught.value)


def test_the_size_is_had_without_decoding(tmp_path):
    write_png(tmp_path / "a.png", np.zeros((400, 300), "uint8"))
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:50])
    assert image_size(tmp_path / "a.png") == (400, 300)


def test_an_image_beyond_the_bound_says_what_to_do(tmp_path, monkeypatch):
    write_png(tmp_path / "a.png", random_array())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)  # Pillow's own bound plays no part
    read_image(tmp_path / "a.png")
    monkeypatch.setenv("KERAS_DEEPSKIP_MAX_PIXELS", "76")
    with pytest.raises(ValueError, match=r"a\.png.*11 x 7 pixels.*KERAS_DEEPSKIP_MAX_PIXELS"):
        read_image(tmp_path / "a.png")
    monkeypatch.setenv("KERAS_DEEPSKIP_MAX_PIXELS", "77")
    assert read_image(tmp_path / "a.png").shape == (*SHAPE, 1)


def test_a_missing_file_is_named(tmp_path):
    for read in (read_image, read_mask, image_size):
        with pytest.raises(FileNotFoundError, match=r"none\.png"):
            read(tmp_path / "none.png")


# ------------------------------------------------------------------------------------- channels


def test_to_channels(tmp_path):
    grey, rgb, rgba = random_array(1), random_array(3), random_array(4)
    assert np.array_equal(to_channels(grey, 3, "a.png"), np.concatenate([grey] * 3, axis=-1))
    Image.fromarray(rgba).save(tmp_path / "a.png")  # whose last channel is alpha
    assert np.array_equal(to_channels(rgba, 3, tmp_path / "a.png"), rgba[..., :3])
    gray_alpha = random_array(2)
    assert np.array_equal(to_channels(gray_alpha, 1, tmp_path / "a.png"), gray_alpha[..., :1])
    luminance = np.asarray(Image.fromarray(rgb).convert("L")).astype(int)
    mine = to_channels(rgb, 1, "a.png")
    assert mine.dtype == np.uint8 and np.abs(mine[..., 0].astype(int) - luminance).max() <= 1
    gray = to_channels(rgba[..., :3], 1, "a.png")
    assert np.array_equal(to_channels(rgba, 1, tmp_path / "a.png"), gray)
    assert to_channels(random_array(5), 5, "a.tif").shape == (*SHAPE, 5)
    # equal channels keep their value in 16 bit too
    full = np.full((2, 2, 3), 65535, "uint16")
    assert to_channels(full, 1, "a.tif").max() == 65535


@pytest.mark.parametrize("received, expected", [(5, 3), (3, 5), (1, 2), (3, 4), (3, 2)])
def test_to_channels_refuses_what_would_lose_something(received, expected):
    with pytest.raises(ValueError, match=rf"cell\.tif.*{expected} channels.*{received} channels"):
        to_channels(random_array(received), expected, "cell.tif")


@pytest.mark.parametrize("received, expected", [(4, 3), (2, 1)])
def test_the_last_channel_of_an_array_is_no_alpha(received, expected):
    """It may be an infrared band, which must not be dropped without a word."""
    with pytest.raises(ValueError, match=f"`image`: .*Received: {received} channels"):
        to_channels(random_array(received), expected, "`image`")


def test_fourth_channel_of_a_tiff_is_alpha_only_if_it_says_so(tmp_path):
    how = {"photometric": "rgb"}
    tifffile.imwrite(tmp_path / "a.tif", random_array(4), extrasamples=["unassalpha"], **how)
    tifffile.imwrite(tmp_path / "n.tif", random_array(4), extrasamples=["unspecified"], **how)
    assert to_channels(read_image(tmp_path / "a.tif"), 3, tmp_path / "a.tif").shape[-1] == 3
    with pytest.raises(ValueError, match="Received: 4 channels"):
        to_channels(read_image(tmp_path / "n.tif"), 3, tmp_path / "n.tif")


# ---------------------------------------------------------------------------------------- masks


def mask_file(tmp_path, values, dtype="uint8"):
    path = tmp_path / "mask.png"
    write_png(path, np.array([values], dtype))
    return path


@pytest.mark.parametrize(
    "values, dtype, options, expected",
    [
        ([0, 1, 1], "uint8", {}, [0, 1, 1]),
        ([0, 255, 0], "uint8", {}, [0, 1, 0]),
        ([255, 255, 255], "uint8", {}, [1, 1, 1]),
        ([0, 65535, 0], "uint16", {}, [0, 1, 0]),
        ([0, 1, 300], "uint16", {"num_classes": 301}, [0, 1, 300]),
        ([0, 2, 3], "uint8", {"num_classes": 4}, [0, 2, 3]),
        ([0, 255, 3], "uint8", {"num_classes": 4, "ignore_class": 255}, [0, 255, 3]),
        ([0, 255, 1], "uint8", {"ignore_class": 255}, [0, 255, 1]),
        ([0, 255, 0], "uint8", {"ignore_class": 255}, [0, 255, 0]),
        ([0, 0, 0], "uint8", {}, [0, 0, 0]),
    ],
)
def test_read_mask(tmp_path, values, dtype, options, expected):
    mask = read_mask(
        mask_file(tmp_path, values, dtype), MaskReading(**{"num_classes": 1} | options)
    )
    assert mask.dtype == np.int32 and mask.tolist() == [expected]


@pytest.mark.parametrize(
    "values, options, words",
    [
        ([0, 7, 7], {}, "0 and 1 were expected.*ids 0, 7.*as 1 .or 255."),
        ([0, 1, 255], {}, "0 and 1 were expected.*If 255 marks"),
        ([0, 254, 255], {}, "0 and 1 were expected"),
        ([0, 1, 2, 3, 4, 5, 6], {"num_classes": 3}, "0 to 2.*7 classes, ids 0, 1.*num_classes=7"),
        ([0, 1, 255], {"num_classes": 3}, "ignore_class=255"),
        ([0, 3], {"num_classes": 3}, "ids 0, 3.*num_classes=4"),
        ([0, 255], {"num_classes": 3}, "ids 0, 255"),
    ],
)
def test_wrong_class_ids_are_named(tmp_path, values, options, words):
    with pytest.raises(ValueError, match=rf"mask\.png: .*{words}"):
        read_mask(mask_file(tmp_path, values), MaskReading(**{"num_classes": 1} | options))


def test_a_mask_that_is_a_picture_says_so(tmp_path):
    smooth = np.indices((32, 48)).sum(axis=0).astype("uint8") * 3
    Image.fromarray(smooth).save(tmp_path / "m.jpg")
    with pytest.raises(ValueError, match=r"m\.jpg.*JPEG changes values.*PNG"):
        read_mask(tmp_path / "m.jpg")


def test_masks_by_colour(tmp_path):
    red, blue = (255, 0, 0), (0, 0, 255)
    write_png(tmp_path / "c.png", np.array([[(0, 0, 0), red, blue]], "uint8"))
    colors = {(0, 0, 0): 0, red: 2, blue: 1}
    assert read_mask(tmp_path / "c.png", MaskReading(3, colors)).tolist() == [[0, 2, 1]]
    del colors[blue]
    with pytest.raises(ValueError, match=r"c\.png.*Received also: \(0, 0, 255\)"):
        read_mask(tmp_path / "c.png", MaskReading(3, colors))
    with pytest.raises(ValueError, match=r"c\.png.*\(255, 0, 0\).*colors="):
        read_mask(tmp_path / "c.png", MaskReading(3))
    with pytest.raises(ValueError, match=r"num_classes=2"):
        read_mask(tmp_path / "c.png", MaskReading(2, {(0, 0, 0): 0, red: 2, blue: 1}))


def test_colours_of_a_palette(tmp_path):
    image = Image.fromarray(np.array([[0, 1]], "uint8"))
    image.putpalette([9, 9, 9, 128, 0, 0])
    image.save(tmp_path / "p.png")
    assert read_mask(
        tmp_path / "p.png", MaskReading(3, {(9, 9, 9): 0, (128, 0, 0): 2})
    ).tolist() == [[0, 2]]


def test_a_grey_mask_saved_as_colour_is_grey(tmp_path):
    ids = random_array(high=2)
    write_png(tmp_path / "m.png", np.stack([ids * 255] * 3, axis=-1))
    assert np.array_equal(read_mask(tmp_path / "m.png"), ids)
    rgba = np.stack([ids, ids, ids, ids * 0 + 255], axis=-1)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    assert np.array_equal(read_mask(tmp_path / "a.png"), ids)


def test_float_masks(tmp_path):
    tifffile.imwrite(tmp_path / "m.tif", np.array([[0, 1, 2]], "float32"))
    assert read_mask(tmp_path / "m.tif", MaskReading(3)).tolist() == [[0, 1, 2]]
    tifffile.imwrite(tmp_path / "m.tif", np.array([[0, 0.5]], "float32"))
    with pytest.raises(ValueError, match=r"m\.tif.*fractions"):
        read_mask(tmp_path / "m.tif", MaskReading(3))
    tifffile.imwrite(tmp_path / "m.tif", np.array([[0, np.nan]], "float32"))
    with pytest.raises(ValueError, match=r"m\.tif.* NaN or infinity in 1 values.*ignore_class"):
        read_mask(tmp_path / "m.tif", MaskReading(3))


def test_without_a_number_of_classes_masks_hold_what_they_hold(tmp_path):
    for values in ([0, 255, 0], [0, 7, 255]):
        assert read_mask(mask_file(tmp_path, values), MaskReading()).tolist() == [values]
    write_png(tmp_path / "c.png", np.array([[(0, 0, 9), (1, 2, 3)]], "uint8"))
    by_color = MaskReading(colors={(0, 0, 9): 0, (1, 2, 3): 300})
    assert read_mask(tmp_path / "c.png", by_color).tolist() == [[0, 300]]


@pytest.mark.parametrize("num_classes", [0, -1, 1.5, True])
def test_wrong_numbers_of_classes_are_refused(num_classes):
    with pytest.raises(ValueError, match="`num_classes`"):
        MaskReading(num_classes=num_classes)


@pytest.mark.parametrize(
    "reading", [MaskReading(), MaskReading(4, {(0, 0, 0): 0, (9, 9, 9): 3}, 255)]
)
def test_a_mask_reading_is_kept_as_json(reading):
    assert MaskReading.from_dict(json.loads(json.dumps(reading.to_dict()))) == reading


def test_mask_values(tmp_path):
    assert mask_values(mask_file(tmp_path, [0, 0, 0, 7, 255, 255])) == {0: 3, 255: 2, 7: 1}
    write_png(tmp_path / "c.png", np.array([[(1, 2, 3), (1, 2, 3), (0, 0, 9)]], "uint8"))
    assert mask_values(tmp_path / "c.png") == {(1, 2, 3): 2, (0, 0, 9): 1}
