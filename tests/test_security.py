"""Files from anywhere: models that hold code, images that declare too much, names that climb out.

Each hostile file is made here. What must not take memory runs in a process of its own, whose peak
is measured.
"""

import json
import marshal
import struct
import warnings
import zipfile
import zlib
from base64 import b64encode

import keras
import numpy as np
import pytest
import tifffile
from PIL import Image, PngImagePlugin

from keras_deepskip.data import find_samples, load_split, read_image
from keras_deepskip.data.coco import coco_samples
from keras_deepskip.data.coco.runs import unpacked
from keras_deepskip.data.images import image_size, max_pixels, read_mask, write_png
from keras_deepskip.encoders.saved import read_keras_file
from keras_deepskip.models import build_model, load_model
from tests import tiny

pytestmark = pytest.mark.one_backend

# ---- Models --------------------------------------------------------------------------------------


@pytest.fixture
def model_file(tmp_path):
    """A small model as a file, and a function that writes it anew with something changed."""
    path = tmp_path / "model.keras"
    inputs = keras.Input((4,))
    keras.Model(inputs, keras.layers.Dense(2, name="dense")(inputs)).save(path)

    def change(edit=None, more=None, compression=zipfile.ZIP_STORED):
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        config = json.loads(members["config.json"])
        members["config.json"] = json.dumps(edit(config) if edit else config)
        hostile = tmp_path / "hostile.keras"
        with zipfile.ZipFile(hostile, "w", compression) as archive:
            for name, content in {**members, **(more or {})}.items():
                archive.writestr(name, content)
        return hostile

    return change


def with_layer(class_name, settings, module="keras.layers", registered=None):
    """Puts another layer in the place of the dense one."""

    def edit(config):
        layer = next(x for x in config["config"]["layers"] if x["class_name"] == "Dense")
        layer.update(module=module, class_name=class_name, registered_name=registered)
        layer["config"] = {"name": "dense", "trainable": True, **settings}
        layer.pop("build_config", None)
        return config

    return edit


def touching(path):
    """The code of a function that makes a file, as Keras's Lambda layer stores it."""
    source = f"lambda x: (open({str(path)!r}, 'w').write('!'), x)[1]"
    code = eval(source).__code__  # the lambda of this test
    return b64encode(marshal.dumps(code)).decode("ascii")


def lambda_layers(path):
    code = {"code": touching(path), "defaults": None, "closure": None}
    old = [touching(path) + "\n", None, None]
    return {
        "new": {"function": {"class_name": "__lambda__", "config": code}},
        "old": {"function": old, "function_type": "lambda", "module": "builtins"},
        "shape": {"function": "relu", "output_shape": {
            "class_name": "__lambda__", "config": code}},
    }  # fmt: skip


@pytest.mark.parametrize("form", ["new", "old", "shape"])
def test_a_lambda_layer_is_refused_and_never_run(model_file, tmp_path, form):
    marker = tmp_path / "marker"
    path = model_file(with_layer("Lambda", lambda_layers(marker)[form]))
    for load in (load_model, read_keras_file):
        with pytest.raises(ValueError, match=r"hostile\.keras: the model in it could not be read"):
            load(path)
    assert not marker.exists()
    if form == "new":
        with pytest.raises(ValueError, match="holds Python code.*is not run"):
            load_model(path)
        # The file is a real danger: told to trust it, Keras would run it.
        keras.models.load_model(path, safe_mode=False)(np.zeros((1, 4)))
        assert marker.exists()


def test_code_in_what_a_model_was_compiled_with_is_not_run(model_file, tmp_path):
    marker = tmp_path / "marker"
    code = {"code": touching(marker), "defaults": None, "closure": None}

    def edit(config):
        loss = {"class_name": "__lambda__", "config": {"value": code}}
        config["compile_config"] = {"optimizer": "sgd", "loss": loss, "metrics": None}
        return config

    with pytest.raises(ValueError, match="holds Python code"):
        load_model(model_file(edit))
    assert not marker.exists()


@pytest.mark.parametrize(
    "class_name, settings, module",
    [
        ("system", {}, "os"),
        ("Popen", {"args": ["touch", "MARKER"]}, "subprocess"),
        ("Activation", {"activation": {"module": "os", "class_name": "function",
                                       "config": "system", "registered_name": "system"}},
         "keras.layers"),
        ("get_file", {"fname": "x", "origin": "file:///etc/hostname"}, "keras.utils"),
        ("TFSMLayer", {"filepath": "MARKER"}, "keras.layers"),
        ("TorchModuleWrapper", {"module": "gASVAAAA"}, "keras.layers"),
        ("Thing", {}, "tests.nothing_of_this_name"),
    ],
)  # fmt: skip
def test_names_of_other_packages_are_refused(model_file, tmp_path, class_name, settings, module):
    settings = json.loads(json.dumps(settings).replace("MARKER", str(tmp_path / "marker")))
    path = model_file(with_layer(class_name, settings, module))
    with pytest.raises(ValueError, match=r"hostile\.keras: the model") as caught:
        load_model(path)
    assert len(str(caught.value)) < 1000 and not (tmp_path / "marker").exists()


def test_words_that_would_be_read_from_the_disk_are_refused(model_file, tmp_path):
    (tmp_path / "secret.txt").write_text("secret\n")
    settings = {"vocabulary": str(tmp_path / "secret.txt"), "dtype": "string"}
    with pytest.raises(ValueError, match=r"hostile\.keras: the model"):
        load_model(model_file(with_layer("StringLookup", settings)))


@pytest.mark.parametrize("name", ["../climb", "assets/../../climb", "/climb", "..\\climb", "C:x"])
def test_members_that_climb_out_are_refused(model_file, tmp_path, name):
    with pytest.raises(ValueError, match="inside the archive's own folder"):
        load_model(model_file(more={name: "!"}))
    assert not [*tmp_path.rglob("climb"), *tmp_path.parent.glob("*climb")]


def test_an_archive_that_claims_too_much_is_refused(model_file):
    bomb = model_file(more={"assets/a": bytes(70 * 2**20)}, compression=zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 2**20
    with pytest.raises(ValueError, match=r"claim to be 7\d,\d{3},\d{3}.*save it again"):
        load_model(bomb)
    spaces = model_file(more={"config.json": b" " * (65 * 2**20)})
    with pytest.raises(ValueError, match=r"a config\.json of at most"):
        load_model(spaces)
    deep = model_file(more={"config.json": b"[" * 200_000})
    with pytest.raises(ValueError, match=r"its config\.json is broken"):
        load_model(deep)


def test_a_model_that_someone_compressed_is_loaded(model_file):
    assert load_model(model_file(compression=zipfile.ZIP_DEFLATED)).count_params() == 10


def test_weights_that_point_elsewhere_are_refused(model_file, tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["0"], file["1"] = np.ones((4, 2)), np.ones(2)
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["layers/dense/vars"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/")
    more = {"model.weights.h5": (tmp_path / "link.h5").read_bytes()}
    with pytest.raises(ValueError, match=r"hostile\.keras: the model"):
        load_model(model_file(more=more))


def test_pickled_weights_are_refused(model_file, tmp_path):
    class Touch:
        def __reduce__(self):
            return open, (str(tmp_path / "marker"), "w")

    np.savez(tmp_path / "w.npz", layers=np.array([Touch()], dtype=object))
    path = model_file(more={"model.weights.npz": (tmp_path / "w.npz").read_bytes()})
    bare = tmp_path / "bare.keras"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(bare, "w") as new:
        for name in set(old.namelist()) - {"model.weights.h5"}:
            new.writestr(name, old.read(name))
    (tmp_path / "marker").unlink(missing_ok=True)
    with pytest.raises(ValueError, match=r"bare\.keras: the model"):
        load_model(bare)
    assert not (tmp_path / "marker").exists()


def test_a_backbone_s_weights_are_read_as_safely(model_file, tmp_path):
    path = model_file(with_layer("Lambda", lambda_layers(tmp_path / "marker")["new"]))
    with pytest.raises(ValueError, match="holds Python code"):
        build_model(backbone="resnet18", weights=str(path))
    assert not (tmp_path / "marker").exists()


# ---- Images that declare too much ----------------------------------------------------------------


def png_chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width, height, depth=8, kind=0, body=b"", more=b"", packed=None):
    """A PNG whose head declares what is asked, whatever its body holds."""
    head = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    rest = png_chunk(b"IDAT", packed or zlib.compress(body)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + more + rest


def jpeg(width, height):
    """A JPEG of 8 x 8 whose head declares another size."""
    import io

    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, "JPEG")
    data = bytearray(buffer.getvalue())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def tiff(tags, data=b"\0" * 64, following=0):
    """A TIFF of one page with these tags, `(number, kind, values)`; "data" is where data lie."""
    entries = sorted(tags)
    start = 8 + 2 + 12 * len(entries) + 4
    extra, body = b"", b""
    sizes = {1: "B", 2: "s", 3: "H", 4: "I"}
    place = start + sum(
        len(v) * struct.calcsize(sizes[k]) for _, k, v in entries if k != 2 and len(v) > 1
    ) + sum(len(v) for _, k, v in entries if k == 2)  # fmt: skip
    for number, kind, values in entries:
        if kind == 2:
            packed = values
        else:
            values = [place if value == "data" else value for value in values]
            packed = struct.pack(f"<{len(values)}{sizes[kind]}", *values)
        count = len(values)
        if len(packed) > 4:
            field = struct.pack("<I", start + len(extra))
            extra += packed
        else:
            field = packed.ljust(4, b"\0")
        body += struct.pack("<HHI", number, kind, count) + field
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return head + body + struct.pack("<I", following) + extra + data


def plain(width, height, **other):
    """Tags of a grey page of 8 bits; others by number, such as `t259=(3, [8])`."""
    tags = {256: (4, [width]), 257: (4, [height]), 258: (3, [8]), 259: (3, [1]), 262: (3, [1]),
            273: (4, ["data"]), 277: (3, [1]), 278: (4, [height]), 279: (4, [64])}  # fmt: skip
    tags.update({int(name[1:]): value for name, value in other.items()})
    return [(number, *value) for number, value in tags.items() if value is not None]


CODE = """
import resource, sys, time, warnings
warnings.simplefilter("error")  # nothing is said beside the error
from keras_deepskip.data import read_image, image_size, read_mask
import tifffile, imagecodecs, PIL.PngImagePlugin, PIL.JpegImagePlugin
before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
for path in sys.argv[1:]:
    for read in (read_image, image_size, read_mask):
        try:
            print("READ", path.rpartition("/")[2], getattr(read(path), "shape", None))
        except ValueError as error:
            print("REFUSED", path.rpartition("/")[2], str(error).replace(path, ""))
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print("PEAK", (after - before) // 1024, "SECONDS", round(time.perf_counter() - begun, 1))
"""


def reading(*paths):
    """What each reader says of files, the memory that it took in MiB, and the time."""
    lines = tiny.python(CODE, *paths).strip().splitlines()
    peak, seconds = lines[-1].split()[1::2]
    return lines[:-1], int(peak), float(seconds)


def test_images_that_declare_too_much_are_refused_before_they_take_memory(tmp_path):
    pytest.importorskip("imagecodecs")
    side = 100_000
    ome = b'<?xml version="1.0"?><OME xmlns="o"><Image><Pixels DimensionOrder="XYZCT" SizeX="8" '
    ome += b'SizeY="8" SizeZ="1" SizeC="1" SizeT="2000000000" Type="uint8"/></Image></OME>\0'
    imagej = b"ImageJ=1.53\nimages=2000000000\nslices=2000000000\nhyperstack=true\n\0"
    shaped = b'{"shape": [2000000000, 8, 8]}\0'
    files = {
        "grey.png": png(side, side),
        "colour.png": png(side, side, 8, 2),
        "deep.png": png(side, side, 16, 2),
        "wide.png": png(2**31 - 1, 1),
        "words.png": png(side, side, more=png_chunk(b"tEXt", b"a\0b")),
        "photo.jpg": jpeg(65000, 65000),
        "grey.tif": tiff(plain(side, side)),
        "packed.tif": tiff(plain(side, side, t259=(3, [8])), zlib.compress(bytes(9999))),
        "samples.tif": tiff(plain(8192, 8192, t277=(3, [65535]))),
        "turned.tif": tiff(plain(side, side, t274=(3, [6]))),
        "tile.tif": tiff(plain(8, 8, t322=(4, [side]), t323=(4, [side]), t324=(4, ["data"]),
                               t325=(4, [64]), t273=None, t279=None, t259=(3, [8]))),
        "ome.tif": tiff(plain(8, 8, t270=(2, ome))),
        "imagej.tif": tiff(plain(8, 8, t270=(2, imagej))),
        "shaped.tif": tiff(plain(8, 8, t270=(2, shaped))),
        "strip.tif": tiff(plain(8, 8, t259=(3, [7]), t279=(4, [len(jpeg(65000, 65000))])),
                          jpeg(65000, 65000)),
        "inner.tif": tiff(plain(8, 8, t259=(3, [34933]), t279=(4, [len(png(side, side))])),
                          png(side, side)),
    }  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    lines, peak, seconds = reading(*(tmp_path / name for name in files))
    # The height and width of these are true, only their pixels declare more.
    small = {"tile.tif", "strip.tif", "inner.tif", "shaped.tif", "imagej.tif", "samples.tif"}
    for line in lines:
        verdict, name, text = line.split(maxsplit=2)
        assert verdict == "REFUSED" or (name in small and text == "None"), line
        assert verdict == "READ" or "declares" in text or "could not be read" in text, line
    sized = [line for line in lines if "KERAS_DEEPSKIP_MAX_PIXELS" in line]
    assert len(sized) >= 3 * 10 and "100000 x 100000 pixels" in sized[0]
    assert peak < 300, f"{peak} MiB"
    assert seconds < 20


def test_files_that_unpack_to_more_than_they_declare_take_no_more(tmp_path):
    pytest.importorskip("imagecodecs")
    bomb = zlib.compress(bytes(400_000_000), 1)
    text = PngImagePlugin.PngInfo()
    text.add_text("a", "x" * 100_000_000, zip=True)
    Image.new("L", (8, 8)).save(tmp_path / "text.png", pnginfo=text)
    long = plain(8, 8, t259=(3, [8]), t279=(4, [len(bomb)]))
    files = {
        "strip.tif": tiff(long, bomb),
        "body.png": png(8, 8, packed=bomb),
        "deep.png": png(8, 8, 16, 2, packed=bomb),
        "profile.png": png(8, 8, body=bytes(72), more=png_chunk(b"iCCP", b"a\0\0" + bomb)),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    _, peak, seconds = reading(*(tmp_path / name for name in (*files, "text.png")))
    assert peak < 300, f"{peak} MiB"
    assert seconds < 20


def test_loops_and_endless_chains_end(tmp_path):
    loop = tiff(plain(8, 8), following=8)
    chain = bytearray(tiff(plain(8, 8), following=400).ljust(400, b"\0"))
    for number in range(110_000):  # pages without a tag, each with the next
        chain += struct.pack("<HI", 0, 400 + 6 * (number + 1))
    exif = b"Exif\0\0" + b"II*\0" + struct.pack("<IHHHII", 8, 1, 0x8769, 4, 1, 8)
    exif += struct.pack("<I", 8)  # the next directory is this one, and so is that of its tag
    photo = jpeg(8, 8)
    photo = photo[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + photo[2:]
    huge = plain(8, 8, t320=(3, [0] * 9))
    raw = bytearray(tiff(huge))
    at = raw.index(struct.pack("<HHI", 320, 3, 9))
    raw[at + 4 : at + 8] = struct.pack("<I", 2**32 - 1)  # a colour map of 8 GiB
    files = {"loop.tif": loop, "chain.tif": bytes(chain), "exif.jpg": photo, "map.tif": bytes(raw)}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    lines, peak, seconds = reading(*(tmp_path / name for name in files))
    assert any(line.startswith("READ exif.jpg (8, 8, 1)") for line in lines)
    assert peak < 300, f"{peak} MiB"
    assert seconds < 30


def test_formats_that_were_not_asked_for_are_not_opened(tmp_path):
    """Pillow has EPS drawn by another program."""
    for kind in ("EPS", "GIF", "BMP", "PPM"):
        Image.new("RGB", (4, 4)).save(tmp_path / "a.bin", format=kind)
        (tmp_path / "a.png").write_bytes((tmp_path / "a.bin").read_bytes())
        for read in (read_image, image_size):
            with pytest.raises(ValueError, match=r"a\.png: a PNG, JPEG or TIFF image was expected"):
                read(tmp_path / "a.png")


def test_a_description_that_names_a_file_elsewhere_is_refused(tmp_path):
    ome = b'<OME xmlns="o"><Image><Pixels SizeX="8" SizeY="8" SizeZ="1" SizeC="1" SizeT="1">'
    ome += b'<TiffData><UUID FileName="&#46;&#46;/secret.tif">x</UUID></TiffData></Pixels></Image>'
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(plain(8, 8, t270=(2, ome + b"</OME>\0"))))
    with pytest.raises(ValueError, match=r"a\.tif.*a file elsewhere: '\.\./secret\.tif'"):
        read_image(path)


def test_the_bound_can_be_raised_and_lowered(tmp_path, monkeypatch):
    assert max_pixels() == 2**28
    write_png(tmp_path / "a.png", np.zeros((10, 10), "uint8"))
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((10, 10, 3), "uint8"), photometric="rgb")
    for read in (read_image, image_size, read_mask):
        monkeypatch.setenv("KERAS_DEEPSKIP_MAX_PIXELS", "99")
        for name in ("a.png", "a.tif"):
            with pytest.raises(
                ValueError, match=r"at most 99 pixels.*declares 10 x 10.*VARIABLE|99"
            ):
                read(tmp_path / name)
        monkeypatch.setenv("KERAS_DEEPSKIP_MAX_PIXELS", "100")
        for name in ("a.png", "a.tif"):
            read(tmp_path / name)
    for text in ("many", "0", "-1", "1e9"):
        monkeypatch.setenv("KERAS_DEEPSKIP_MAX_PIXELS", text)
        with pytest.raises(ValueError, match=r"KERAS_DEEPSKIP_MAX_PIXELS must be a whole number"):
            read_image(tmp_path / "a.png")


def test_large_images_that_are_allowed_are_read_without_a_warning(tmp_path):
    """Above Pillow's own bound of 89 million pixels, at which it warns."""
    Image.new("1", (10_000, 9_000)).save(tmp_path / "a.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert image_size(tmp_path / "a.png") == (9_000, 10_000)
        assert read_image(tmp_path / "a.png").shape == (9_000, 10_000, 1)


@pytest.mark.parametrize("compression", ["deflate", "lzw", "zstd", "lzma", "packbits", "jpeg",
                                         "jpeg2000", "png"])  # fmt: skip
@pytest.mark.parametrize("tile", [None, (16, 32)])
def test_compressed_tiff_is_read_as_before(tmp_path, compression, tile):
    pytest.importorskip("imagecodecs")
    image = np.random.default_rng(0).integers(0, 256, (45, 70, 3)).astype("uint8")
    path = tmp_path / "a.tif"
    args = {"compressionargs": {"level": 0}} if compression == "jpeg2000" else {}
    tifffile.imwrite(path, image, compression=compression, tile=tile, photometric="rgb", **args)
    found = read_image(path)
    if compression == "jpeg":
        assert found.shape == image.shape
    else:
        np.testing.assert_array_equal(found, image)
    assert image_size(path) == (45, 70)


# ---- Names in index files ------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """A data folder beside an image that is none of its own."""
    write_png(tmp_path / "secret.png", np.zeros((8, 8), "uint8"))
    for name in "abcd":
        tiny.put(tmp_path / "data", name, np.full((8, 8), ord(name)), np.eye(8))
    return tmp_path / "data"


def climbing(folder):
    return ["../../secret.png", "../../secret", str(folder.parent / "secret.png"), "..", "a/../a"]


def test_a_split_file_names_images_of_the_folder_alone(folder, tmp_path):
    for name in climbing(folder):
        split = tmp_path / "split.json"
        split.write_text(json.dumps({"train": ["a", name], "test": ["b"]}))
        with pytest.raises(ValueError, match=r"split\.json: names of images in the folder.*1 unk"):
            load_split(folder, split)
        table = tmp_path / "split.csv"
        table.write_text(f"name,split\na,train\n{name},train\nb,test\n")
        with pytest.raises(ValueError, match=r"split\.csv: names of images in the folder.*1 unk"):
            load_split(folder, table)


def coco(folder, **image):
    """A COCO file of one image, some of it changed."""
    entry = {"id": 1, "file_name": "a.png", "height": 8, "width": 8, **image}
    shapes = entry.pop("shapes", [])
    annotations = [
        {"id": n, "image_id": 1, "category_id": 1, "segmentation": shape, "area": 1}
        for n, shape in enumerate(shapes)
    ]
    content = {
        "images": [entry],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "x"}],
    }
    path = folder / "annotations.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("name", [
    "../../secret.png", "b/../../../secret.png", "ROOT/secret.png", "..\\..\\secret.png",
    "C:\\secret.png", "C:secret.png", "\\\\host\\share\\secret.png", "..", "", 7, None, "a\0.png",
])  # fmt: skip
def test_a_coco_file_names_images_of_the_folder_alone(folder, name):
    name = name.replace("ROOT", str(folder.parent)) if isinstance(name, str) else name
    path = coco(folder, file_name=name)
    with pytest.raises(ValueError, match=r"annotations\.json: image files inside the folder"):
        coco_samples(path, folder / "images")


@pytest.mark.parametrize("name", ["../../a.png", "ROOT/a.png", "C:\\work\\a.png", "b/../a.png"])
def test_of_a_name_elsewhere_the_last_part_is_looked_for_in_the_folder(folder, name):
    """As tools write it that know images by their place on a server; the file there is not read."""
    write_png(folder.parent / "a.png", np.zeros((8, 8), "uint8"))
    path = coco(folder, file_name=name.replace("ROOT", str(folder.parent)))
    (sample,) = coco_samples(path, folder / "images")
    assert sample.image == folder / "images" / "a.png"


def test_links_and_folders_that_the_user_placed_are_followed(folder, tmp_path):
    (folder / "images" / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "masks" / "link.png").symlink_to(folder / "masks" / "a.png")
    assert "link" in [sample.name for sample in find_samples(folder)]
    write_png(folder / "images" / "more" / "e.png", np.zeros((8, 8), "uint8"))
    samples = coco_samples(coco(folder, file_name="more/e.png"), folder / "images")
    assert samples[0].image == folder / "images" / "more" / "e.png"


COCO_CODE = """
import json, pathlib, resource, sys
from keras_deepskip.data.coco import coco_samples
import pycocotools.mask, PIL.PngImagePlugin
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[2:]:
    try:
        mask = coco_samples(path, sys.argv[1])[0].mask.read()
        print("READ", mask.shape, int(mask.sum()))
    except ValueError as error:
        print("REFUSED", " ".join(str(error).split()))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
CLAIMS = [
    ({"height": 100_000, "width": 100_000}, "declares 100000 x 100000 pixels"),
    ({"height": 2.5, "width": 8}, "a height and width in pixels"),
    ({"height": -8, "width": 8}, "a height and width in pixels"),
    ({"shapes": [{"size": [90_000, 90_000], "counts": [8_100_000_000]}]}, "the image's size"),
    ({"shapes": [{"size": [90_000, 90_000], "counts": "PPYo1"}]}, "the image's size"),
    ({"shapes": [{"size": [8, 8], "counts": [2**31, 2**31]}]}, "do not fill 8 x 8"),
    ({"shapes": [{"size": [8, 8], "counts": "1"}]}, "do not fill 8 x 8"),
    ({"shapes": [{"size": [8, 8], "counts": ""}]}, "do not fill 8 x 8"),
    ({"shapes": [{"size": [8, 8], "counts": "o" * 99}]}, "a run of more than"),
    ({"shapes": [[[0, 0, 1e9, 0, 1e9, 1e9]]]}, "an outline"),
    ({"shapes": [[[0, 0, 1e300, 0, 1, 1]]]}, "an outline"),
    ({"shapes": [[[0, 0, 8000, 8000] * 9999]]}, "an outline"),
]


def test_annotations_that_declare_too_much_are_refused(folder):
    pytest.importorskip("pycocotools")
    paths = []
    for number, (image, _) in enumerate(CLAIMS):
        paths.append(coco(folder, **image).rename(folder / f"declared{number}.json"))
    square = [[1, 1, 3, 1, 3, 3, 1, 3]]
    paths.append(coco(folder, height=3000, width=3000, shapes=[square] * 100))
    *lines, peak = tiny.python(COCO_CODE, folder / "images", *paths).strip().splitlines()
    for line, (_, words), path in zip(lines, CLAIMS, paths, strict=False):
        assert line.startswith("REFUSED") and words in line and str(path) in line
    assert lines[-1] == "READ (3000, 3000) 4" and len(lines) == len(CLAIMS) + 1
    assert int(peak) < 200, f"{peak} MiB"  # the drawn masks of all 100 would be 900 MB


def test_packed_runs_are_those_of_pycocotools():
    coco_tools = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    for share in np.linspace(0, 1, 40):
        mask = np.asfortranarray((rng.random(rng.integers(1, 60, 2)) < share).astype("uint8"))
        flat = np.concatenate([[0], mask.ravel("F")])
        edges = np.concatenate([[0], np.flatnonzero(np.diff(flat)), [mask.size]])
        assert unpacked(coco_tools.encode(mask)["counts"].decode()) == np.diff(edges).tolist()
