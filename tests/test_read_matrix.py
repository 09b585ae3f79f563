"""What is read, and how: docs/formats.md as files, compared with the truth pixel for pixel.

Images in every format x number type x channels x layout x colour space; masks in every form. What
is not read is refused by an error that names the file.
"""

import numpy as np
import pytest
import tifffile
from PIL import Image

from keras_deepskip.data import MaskReading, read_image, read_mask, write_png
from keras_deepskip.data.images import image_size
from keras_deepskip.inference.sources import open_source
from keras_deepskip.inference.zarrs import create_ome

pytestmark = pytest.mark.one_backend

SIZE = (23, 37)
WHOLE = (slice(None), slice(None))


def truth(dtype, channels, seed=0):
    """An image of all the values that its type has, floats from 0 to 1."""
    generator = np.random.default_rng(seed)
    if dtype == "float32":
        return generator.random((*SIZE, channels), "float32")
    high = np.iinfo(dtype).max
    return generator.integers(0, high, (*SIZE, channels), dtype, endpoint=True)


# ---- Images that are read ------------------------------------------------------------------------


def png(path, array):
    modes = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
    values = array[..., 0] if array.shape[-1] == 1 else array
    if array.dtype == np.uint16 and array.shape[-1] == 4:
        path.write_bytes(pytest.importorskip("imagecodecs").png_encode(array))
    elif array.dtype == np.uint16:
        write_png(path, array)
    else:
        Image.fromarray(values, modes[array.shape[-1]]).save(path)


def tiff(**how):
    def write(path, array):
        values = array[..., 0] if array.shape[-1] == 1 else array
        kind = "rgb" if array.shape[-1] in (3, 4) and array.dtype != np.float32 else "minisblack"
        kind = how.get("photometric", kind)
        more = {"planarconfig": "contig"} if values.ndim == 3 else {}
        tifffile.imwrite(path, values, **{"photometric": kind, **more, **how})

    return write


def channels_first(path, array):
    tifffile.imwrite(
        path, array.transpose(2, 0, 1), photometric="minisblack", planarconfig="separate"
    )


def ome_tiff(path, array):
    tifffile.imwrite(path, array.transpose(2, 0, 1), ome=True, metadata={"axes": "CYX"})


def turned(path, array):
    """Stored upside down, and said so."""
    values = array[::-1, ::-1]
    tags = [(274, "H", 1, 3, True)]
    tifffile.imwrite(path, values[..., 0], photometric="minisblack", extratags=tags)


def npy(path, array):
    np.save(path, array)


def zarr(path, array):
    pytest.importorskip("zarr").save(str(path), array)


def ome_zarr(path, array):
    pytest.importorskip("zarr")
    create_ome(path, array.shape, array.dtype)[:, :] = array


WAYS = [
    *[("a.png", png, dtype, c) for dtype, c in (("uint8", 1), ("uint8", 2), ("uint8", 3))],
    *[("a.png", png, dtype, c) for dtype, c in (("uint8", 4), ("uint16", 1), ("uint16", 3))],
    ("a.png", png, "uint16", 4),
    *[
        ("a.tif", tiff(), dtype, c)
        for dtype in ("uint8", "uint16", "float32")
        for c in (1, 2, 3, 5)
    ],
    *[("a.TIFF", tiff(compression="zlib"), dtype, 3) for dtype in ("uint8", "uint16", "float32")],
    *[("a.tif", tiff(tile=(16, 16)), dtype, 3) for dtype in ("uint8", "uint16", "float32")],
    *[("a.tif", tiff(byteorder=">", bigtiff=True), dtype, 1) for dtype in ("uint8", "uint16")],
    *[("a.tif", channels_first, dtype, 3) for dtype in ("uint8", "uint16", "float32")],
    ("a.ome.tif", ome_tiff, "uint16", 3),
    ("a.tif", turned, "uint8", 1),
    *[("a.npy", npy, dtype, c) for dtype in ("uint8", "uint16", "float32") for c in (1, 3, 5)],
    *[("a.zarr", zarr, dtype, c) for dtype in ("uint8", "uint16", "float32") for c in (1, 3)],
    *[("a.ome.zarr", ome_zarr, "float32", c) for c in (1, 3)],
]


@pytest.mark.parametrize(("name", "write", "dtype", "channels"), WAYS)
def test_an_image_is_read_as_it_is(tmp_path, name, write, dtype, channels):
    """By `read_image`, and in parts by `open_source`, which predictions use."""
    expected, path = truth(dtype, channels), tmp_path / name
    write(path, expected)
    if name.endswith((".png", ".tif", ".TIFF")):
        image = read_image(path)
        assert image.dtype == dtype and np.array_equal(image, expected)
    source = open_source(path, channels)
    assert source.shape == (*SIZE, channels)
    assert np.array_equal(source.read(WHOLE), expected)
    box = (slice(3, 19), slice(30, 37))
    assert np.array_equal(source.read(box), expected[box])


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_inverted_tiffs_are_read_as_they_are_shown(tmp_path, photometric):
    expected = truth("uint8", 1)
    stored = expected if photometric == "minisblack" else 255 - expected
    tifffile.imwrite(tmp_path / "a.tif", stored[..., 0], photometric=photometric)
    assert np.array_equal(read_image(tmp_path / "a.tif"), expected)
    assert np.array_equal(open_source(tmp_path / "a.tif", 1).read(WHOLE), expected)


@pytest.mark.parametrize("bits", [2, 4, 12])
def test_inverted_tiffs_of_few_bits(tmp_path, bits):
    pytest.importorskip("imagecodecs")
    expected = (truth("uint16", 1) % 2**bits).astype("uint8" if bits < 8 else "uint16")
    stored = 2**bits - 1 - expected[..., 0]
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="miniswhite", bitspersample=bits)
    assert np.array_equal(read_image(tmp_path / "a.tif"), expected)
    assert np.array_equal(open_source(tmp_path / "a.tif", 1).read(WHOLE), expected)


@pytest.mark.parametrize("how", [{}, {"tile": (16, 16), "compression": "zlib"}])
def test_a_thumbnail_in_front_is_not_the_image(tmp_path, how):
    expected, path = truth("uint8", 3), tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(expected[::4, ::4, 0], subfiletype=1, metadata=None)
        writer.write(expected, metadata=None, photometric="rgb", **how)
    assert image_size(path) == SIZE and np.array_equal(read_image(path), expected)
    source = open_source(path, 3)
    assert source.shape == (*SIZE, 3) and np.array_equal(source.read(WHOLE), expected)


def smooth():
    rows, columns = np.mgrid[0:64, 0:64]
    return np.stack([2 * rows, 2 * columns, rows + columns], axis=-1).astype("uint8")


@pytest.mark.parametrize("mode", ["RGB", "CMYK", "YCbCr"])
def test_colours_of_a_jpeg_are_those_that_a_viewer_shows(tmp_path, mode):
    Image.fromarray(smooth()).convert(mode).save(tmp_path / "a.jpg", quality=98)
    found = read_image(tmp_path / "a.jpg")
    assert found.shape == (64, 64, 3)
    assert np.abs(found.astype(int) - smooth()).max() <= 6


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr"])
@pytest.mark.parametrize("compression", [None, "jpeg", "tiff_lzw"])
def test_colours_of_a_tiff_are_those_that_a_viewer_shows(tmp_path, mode, compression):
    path = tmp_path / "a.tif"
    Image.fromarray(smooth()).convert(mode).save(path, compression=compression)
    found = read_image(path)
    assert found.shape == (64, 64, 3)
    assert np.abs(found.astype(int) - smooth()).max() <= (24 if compression == "jpeg" else 4)
    assert np.array_equal(open_source(path, 3).read(WHOLE), found)


def test_a_mask_with_an_inverting_table_of_imagej_has_the_values_that_count(tmp_path):
    written = {"imagej": True, "photometric": "miniswhite"}
    tifffile.imwrite(tmp_path / "m.tif", ONE * 255, **written)
    assert np.array_equal(read_mask(tmp_path / "m.tif"), ONE)
    assert np.array_equal(read_image(tmp_path / "m.tif")[..., 0], 255 - ONE * 255)


# ---- Masks that are read -------------------------------------------------------------------------

IDS = np.random.default_rng(1).integers(0, 3, SIZE).astype("uint8")
HALVES = np.kron([[0, 1]], np.ones((8, 8))).astype("uint8")  # blocks that JPEG leaves alone
ONE = (IDS > 0).astype("uint8")
PALETTE = [0, 0, 0, 200, 30, 0, 0, 40, 220]


def mask_png(values, mode=None):
    return lambda path: Image.fromarray(values, mode).save(path)


def with_palette(values, colors):
    def write(path):
        image = Image.fromarray(values, "P")
        image.putpalette(colors)
        image.save(path)

    return write


def few_bits(path):
    """Gray of two bits: values 0 to 3, which a viewer stretches to 0 to 255."""
    packed = pytest.importorskip("imagecodecs")
    del packed
    image = Image.fromarray(IDS, "P")
    image.putpalette([v for level in (0, 85, 170, 255) for v in (level,) * 3])
    image.save(path, bits=2)


RGB = np.array(PALETTE, "uint8").reshape(3, 3)[IDS]
CLASSES, BINARY = MaskReading(3), MaskReading(1)
COLORS = MaskReading(3, {tuple(PALETTE[3 * i : 3 * i + 3]): i for i in range(3)})
MASKS = {
    "png ids": ("m.png", mask_png(IDS), CLASSES, IDS),
    "png ids of 16 bit": ("m.png", mask_png(IDS.astype("uint16")), CLASSES, IDS),
    "png palette": ("m.png", with_palette(IDS, PALETTE), CLASSES, IDS),
    "png palette of 2 bits": ("m.png", few_bits, CLASSES, IDS),
    "png palette by colours": ("m.png", with_palette(IDS, PALETTE), COLORS, IDS),
    "png colours": ("m.png", mask_png(RGB), COLORS, IDS),
    "png gray as RGB": ("m.png", mask_png(np.repeat(IDS[..., None], 3, -1)), CLASSES, IDS),
    "png 0 and 1": ("m.png", mask_png(ONE), BINARY, ONE),
    "png 0 and 255": ("m.png", mask_png(ONE * 255), BINARY, ONE),
    "png one bit": ("m.png", mask_png(ONE > 0), BINARY, ONE),
    "png white first": ("m.png", with_palette(1 - ONE, [255] * 3 + [0] * 3), BINARY, ONE),
    "png alpha": ("m.png", mask_png(np.dstack([ONE * 0 + 9, ONE * 255]), "LA"), BINARY, ONE),
    "jpeg 0 and 255": ("m.jpg", mask_png(HALVES * 255), BINARY, HALVES),
    "tiff ids": ("m.tif", lambda path: tifffile.imwrite(path, IDS), CLASSES, IDS),
    "tiff ids, deflated": (
        "m.tif", lambda path: tifffile.imwrite(path, IDS, compression="zlib"), CLASSES, IDS,
    ),
    "tiff float ids": ("m.tif", lambda p: tifffile.imwrite(p, IDS.astype("float32")), CLASSES, IDS),
    "tiff int32 object ids": (
        "m.tif", lambda path: tifffile.imwrite(path, IDS.astype("int32") * 70_000),
        MaskReading(1, kind="objects"), ONE,
    ),
    "values by a table": (
        "m.png", mask_png(IDS * 100), MaskReading(3, values={0: 0, 100: 1, 200: 2}), IDS,
    ),
    "ignored pixels": (
        "m.png", mask_png(np.where(IDS == 2, 255, IDS).astype("uint8")),
        MaskReading(2, ignore_class=255), np.where(IDS == 2, 255, IDS),
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", MASKS)
def test_a_mask_is_read_as_class_ids(tmp_path, form):
    name, write, reading, expected = MASKS[form]
    write(tmp_path / name)
    found = read_mask(tmp_path / name, reading)
    assert found.dtype == np.int32 and np.array_equal(found, expected)


# ---- What is refused -----------------------------------------------------------------------------


def complex_npy(path):
    np.save(path, np.zeros(SIZE, complex))


def complex_tiff(path):
    tifffile.imwrite(path, np.ones(SIZE, "complex64"))


def stack(path):
    tifffile.imwrite(path, np.zeros((4, *SIZE), "uint8"), metadata={"axes": "ZYX"}, ome=True)


def lab(path):
    Image.fromarray(smooth(), "LAB").save(path)


def lone_ome(path):
    """OME-TIFF of two channels, the second in a file that is not there."""
    name = "urn:uuid:{0}1111111-1111-1111-1111-111111111111".format
    planes = "".join(
        f'<TiffData IFD="0" FirstC="{c}" PlaneCount="1"><UUID FileName="{file}">{name(c)}</UUID>'
        "</TiffData>"
        for c, file in enumerate([path.name, "gone.tif"])
    )
    text = (
        f'<OME UUID="{name(0)}" xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        f'<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" '
        f'SizeX="{SIZE[1]}" SizeY="{SIZE[0]}" SizeC="2" SizeZ="1" SizeT="1">{planes}</Pixels>'
        "</Image></OME>"
    )
    tifffile.imwrite(path, IDS, description=text, metadata=None)


REFUSED = {
    "Lab colours": ("a.tif", lab, "kind CIELAB"),
    "a part of an OME-TIFF": ("a.tif", lone_ome, "1 of 2 planes are in other files"),
    "a stack": ("a.tif", stack, "a stack of slices"),
    "a GIF": ("a.png", lambda p: Image.fromarray(IDS).save(p, "GIF"), "a PNG, JPEG or TIFF"),
    "complex numbers": ("a.npy", complex_npy, "an array of numbers"),
    "a TIFF of complex numbers": ("a.tif", complex_tiff, "complex numbers .complex64"),
    "an object array": ("a.npy", lambda p: np.save(p, np.array([{}])), "an array of numbers"),
    "an empty file": ("a.png", lambda p: p.write_bytes(b""), "an empty file"),
    "half a file": (
        "a.png",
        lambda p: (mask_png(IDS)(p), p.write_bytes(p.read_bytes()[:200])),
        "could not be read",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused_is_named(tmp_path, kind):
    name, write, message = REFUSED[kind]
    write(tmp_path / name)
    with pytest.raises(ValueError, match=message) as error:
        open_source(tmp_path / name, 1)
    assert name in str(error.value)
