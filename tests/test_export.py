"""What `export` does around the writing: what it refuses, compares, keeps and says.

The formats themselves are in `test_export_formats.py`; here one is stood in for.
"""

import dataclasses
import importlib
import json
import shutil

import keras
import numpy as np
import pytest

from keras_deepskip import build_model, metrics
from keras_deepskip.export import FORMATS, ExportMismatch, export, formats
from tests import tiny

module = importlib.import_module("keras_deepskip.export.exporting")
worker = importlib.import_module("keras_deepskip.export.other_backend")
BACKEND = keras.backend.backend()
# A format of one file, and one of a folder.
BOTH = pytest.mark.parametrize("format", ["onnx", "saved_model"])


def numpy_of(outputs):
    return keras.ops.convert_to_numpy(outputs).astype("float32")


def stand_in(monkeypatch, format, text="new", error=0.0, mask_error=0, wrong_model=None):
    """Has a format be one of a text file, which computes the model with an error in the last image.

    The error is there only where the candidate is `wrong_model`, if one is given.
    """
    written = []

    def write(model, path, mask):
        written.append((model, mask))
        (path / FORMATS[format].mark if path.is_dir() else path).write_text(text)

    def opened(path):
        model, mask = written[-1]

        def run(image):
            outputs = numpy_of(model(image, training=False))
            found = {"probabilities": outputs}
            if mask is not None:
                found["mask"] = numpy_of(mask.of(keras.ops.convert_to_tensor(outputs)))
            if image.shape[:-1] == (3, 130, 37) and wrong_model in (None, model):
                found["probabilities"] = outputs + error
                if mask_error and mask is not None:
                    found["mask"].flat[:mask_error] = 1 - found["mask"].flat[:mask_error]
            return found

        return run

    stood_in = dataclasses.replace(
        FORMATS[format], writers={BACKEND: formats.Writer(write)}, open=opened, runtime="keras"
    )
    monkeypatch.setitem(FORMATS, format, stood_in)
    return written


def out(folder, format):
    return folder / f"out{FORMATS[format].suffix}"


def content(path, format):
    return (path / FORMATS[format].mark if path.is_dir() else path).read_text()


@BOTH
def test_what_is_said_and_kept(tmp_path, monkeypatch, format):
    stand_in(monkeypatch, format)
    path = out(tmp_path, format)
    report = export(tiny.bright_model(), path, format)
    assert list(report.differences) == [
        "1x45x83", "3x45x83", "1x64x64", "3x64x64", "1x130x37", "3x130x37",
    ]  # fmt: skip
    assert report.mask_differences is None and report.size == 3
    assert report.backend == BACKEND and report.versions["keras"] == keras.__version__
    said = report.text()
    assert "1x45x83" in said and "all within 1e-05\n" in said and f"under {BACKEND}" in said
    stored = json.loads(path.with_name(path.name + ".export.json").read_text())
    assert stored == json.loads(json.dumps(dataclasses.asdict(report)))
    assert stored["path"] == str(path) and stored["input_range"] == [0, 255]
    assert sorted(item.name for item in tmp_path.iterdir()) == [
        path.name, path.name + ".export.json",
    ]  # fmt: skip


@BOTH
@pytest.mark.parametrize("error", [2e-5, np.nan])
def test_a_file_that_computes_something_else_is_not_kept(tmp_path, monkeypatch, format, error):
    stand_in(monkeypatch, format, error=error)
    with pytest.raises(ExportMismatch, match=r"was not written.*(2.0\de-05|nan) for 3x130x37$"):
        export(tiny.bright_model(), out(tmp_path, format), format)
    assert list(tmp_path.iterdir()) == []


def test_outputs_of_another_shape_are_no_match(tmp_path, monkeypatch):
    """Broadcasting would compare (N, H, W, 1) with (N, 1, 1, 1) and find nothing."""
    assert module._difference(np.ones((1, 1, 1, 1)), np.ones((1, 4, 4, 1))) == np.inf


def test_a_wrong_mask_is_not_kept(tmp_path, monkeypatch):
    stand_in(monkeypatch, "onnx", mask_error=7)
    with pytest.raises(ExportMismatch, match="7 pixels of its masks are wrong"):
        export(tiny.bright_model(), tmp_path / "out.onnx", "onnx", mask=True)
    assert list(tmp_path.iterdir()) == []
    report = export(tiny.bright_model(), tmp_path / "out.onnx", "onnx")  # without one it is right
    assert max(report.differences.values()) == 0


def test_a_model_that_folding_rounds_too_much_is_written_as_it_is(tmp_path, monkeypatch):
    model = build_model((None, None, 1), levels=2, base_filters=2)
    monkeypatch.setattr(module, "fold_batch_norm", lambda model: folded)
    folded = keras.models.clone_model(model)
    folded.set_weights(model.get_weights())
    written = stand_in(monkeypatch, "onnx", error=2e-5, wrong_model=folded)
    report = export(model, tmp_path / "out.onnx", "onnx")
    assert [candidate for candidate, _ in written] == [folded, model]
    assert max(report.differences.values()) == 0


@BOTH
def test_an_older_one_is_replaced_by_one_that_is_proven(tmp_path, monkeypatch, format):
    model, path = tiny.bright_model(), out(tmp_path, format)
    stand_in(monkeypatch, format, text="old")
    export(model, path, format)
    stand_in(monkeypatch, format, error=1.0)
    with pytest.raises(ExportMismatch):
        export(model, path, format)
    assert content(path, format) == "old"
    stand_in(monkeypatch, format)
    export(model, path, format)
    assert content(path, format) == "new" and not tiny.leftovers(tmp_path)


def test_what_is_no_export_is_not_replaced(tmp_path, monkeypatch):
    model = tiny.bright_model()
    for format in ("saved_model", "openvino", "onnx"):
        stand_in(monkeypatch, format)
    (tmp_path / "photos.onnx").mkdir()
    (tmp_path / "photos.onnx" / "a.png").write_text("a picture")
    (tmp_path / "file").write_text("text")
    (tmp_path / "older").mkdir()
    (tmp_path / "older" / "saved_model.pb").write_text("of another format")
    refused = [
        ("photos.onnx", "saved_model", "a new folder, or one that holds a SavedModel"),
        ("file", "saved_model", "a new folder"),
        ("older", "openvino", "a new folder, or one that holds an OpenVINO model"),
        ("photos.onnx", "onnx", "a file ending in .onnx was expected"),
    ]
    for name, format, message in refused:
        with pytest.raises(FileExistsError, match=f"{name}: {message}"):
            export(model, tmp_path / name, format)
    assert (tmp_path / "photos.onnx" / "a.png").exists() and (tmp_path / "file").exists()
    (tmp_path / "empty").mkdir()
    export(model, tmp_path / "empty")
    assert (tmp_path / "empty" / "saved_model.pb").exists()


# --- What is refused before the work begins -------------------------------------------------------


def installed(monkeypatch, *packages):
    """Has only these packages be there."""
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, package=None: name if name in packages else None
    )


@pytest.mark.parametrize(
    "format, packages, message",
    [
        ("saved_model", ["torch", "jax"], r'pip install "keras-deepskip\[tensorflow\]"'),
        ("onnx", ["torch", "onnx"], r'`onnxruntime`.*pip install "keras-deepskip\[onnx\]"'),
        ("onnx", ["onnxruntime", "onnx", "jax"], r"torch with onnx or tensorflow with tf2onnx.*"
                                                 r'"keras-deepskip\[onnx,torch\]"'),
        ("onnx", ["onnxruntime", "torch", "tensorflow"], r'"keras-deepskip\[onnx,torch\]"'),
        ("litert", ["tensorflow"], r'`ai_edge_litert`.*"keras-deepskip\[litert\]"'),
        ("litert", ["ai_edge_litert"], r"writing a LiteRT file needs tensorflow, whatever the.*"
                                       r'"keras-deepskip\[litert,tensorflow\]"'),
        ("openvino", ["torch"], r'"keras-deepskip\[openvino\]"'),
        ("openvino", ["torch", "openvino"], r'"keras-deepskip\[openvino,onnx,torch\]"'),
        ("torch", [], r'"keras-deepskip\[torch\]"'),
        ("stablehlo", [], r'"keras-deepskip\[jax\]"'),
    ],
)  # fmt: skip
def test_what_is_missing_is_said_before_the_work(tmp_path, monkeypatch, format, packages, message):
    installed(monkeypatch, *packages)
    monkeypatch.setattr(module, "_cases", lambda *_: pytest.fail("it began"))
    with pytest.raises(ImportError, match=message):
        export(tiny.bright_model(), out(tmp_path, format), format)
    assert list(tmp_path.iterdir()) == []


def test_which_backend_writes(monkeypatch):
    """The one in use if it can, else the first that is installed; TensorFlow where it must."""
    everything = ["onnxruntime", "onnx", "tf2onnx", "torch", "tensorflow", "jax", "openvino"]
    installed(monkeypatch, *everything)
    onnx = FORMATS["onnx"]
    backends = ("tensorflow", "torch", "jax")
    assert [onnx.backend(current) for current in backends] == ["tensorflow", "torch", "torch"]
    assert {onnx.backend(current, volumes=True) for current in backends} == {"tensorflow"}
    assert {FORMATS["stablehlo"].backend(current) for current in backends} == {"jax"}
    installed(monkeypatch, *(set(everything) - {"tensorflow"}))
    assert onnx.backend("jax") == FORMATS["openvino"].backend("torch") == "torch"
    installed(monkeypatch, *(set(everything) - {"tf2onnx"}))
    assert onnx.backend("tensorflow") == "torch"


def test_a_model_that_no_file_can_hold(tmp_path):
    image, other = keras.Input((None, None, 1)), keras.Input((None, None, 1))
    two = keras.Model([image, other], keras.layers.Add()([image, other]))
    with pytest.raises(ValueError, match="one input .N, H, W, C. and one output"):
        export(two, tmp_path / "out.onnx", "onnx")
    volumes = build_model((None, None, None, 1), levels=2, base_filters=2)
    with pytest.raises(ValueError, match="LiteRT file cannot hold the pooling of volumes"):
        export(volumes, tmp_path / "out.tflite", "litert")
    assert list(tmp_path.iterdir()) == []


def test_arguments_that_do_not_fit(tmp_path, monkeypatch):
    model = tiny.bright_model()
    for format in ("onnx", "saved_model"):
        stand_in(monkeypatch, format)
    with pytest.raises(ValueError, match="`format` must be one of 'saved_model', 'onnx'"):
        export(model, tmp_path / "out", format="h5")
    with pytest.raises(ValueError, match=r"must end in \.onnx for format='onnx'.*out.tflite"):
        export(model, tmp_path / "out.tflite", "onnx")
    with pytest.raises(ValueError, match="are of the mask.*Add mask=True"):
        export(model, tmp_path / "out", threshold=0.3)
    with pytest.raises(ValueError, match="threshold.*must be a number in"):
        export(model, tmp_path / "out", mask=True, threshold=1.3)
    small = {"levels": 2, "base_filters": 2}
    kinds = build_model((None, None, 1), num_classes=2, multilabel=True, **small)
    with pytest.raises(ValueError, match="2 classes that end in a sigmoid. Add multilabel=True"):
        export(kinds, tmp_path / "out", mask=True)
    inputs = keras.Input((None, None, 1))
    logits = keras.Model(inputs, keras.layers.Rescaling(1.0, offset=-9.0)(inputs))
    with pytest.raises(
        ValueError, match="outputs are probabilities in .0, 1.*Received: outputs from"
    ):
        export(logits, tmp_path / "out", mask=True)
    export(logits, tmp_path / "out")  # it is only the mask that they are no use for
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.export.json"]


# --- Masks ----------------------------------------------------------------------------------------


def test_the_threshold_of_the_mask_is_recorded(tmp_path, monkeypatch):
    """By it `examples/runtimes/objects.py` decides."""
    stand_in(monkeypatch, "onnx")
    path = tmp_path / "out.onnx"
    for arguments, expected in (({"threshold": 0.9}, 0.9), ({}, 0.5)):
        report = export(tiny.bright_model(), path, "onnx", mask=True, **arguments)
        stored = json.loads((tmp_path / "out.onnx.export.json").read_text())
        assert stored["operating_point"] == report.operating_point
        assert report.operating_point == {"threshold": expected, "min_area": 0, "separate": False}


@pytest.mark.parametrize(
    "classes, threshold, multilabel, shape",
    [(1, 0.3, False, (2, 5, 7)), (4, 0.5, False, (2, 5, 7)), (4, 0.7, True, (2, 5, 7, 4))],
)
def test_masks_are_those_of_the_metrics(classes, threshold, multilabel, shape):
    outputs = np.random.default_rng(0).random((2, 5, 7, classes), dtype="float32")
    mask = module.Mask(threshold, multilabel).of(keras.ops.convert_to_tensor(outputs))
    found = keras.ops.convert_to_numpy(mask)
    expected = metrics.masks_from_outputs(outputs, threshold, multilabel=multilabel)
    assert found.dtype == "uint8" and found.shape == shape
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(found)) == (4 if expected.ndim == 3 and classes == 4 else 2)


def test_masks_of_many_classes():
    outputs = np.zeros((1, 1, 2, 300), "float32")
    outputs[0, 0, 0, 299] = outputs[0, 0, 1, 256] = 1
    mask = module.Mask().of(keras.ops.convert_to_tensor(outputs))
    assert keras.ops.convert_to_numpy(mask).tolist() == [[[299, 256]]]


# --- The second process ---------------------------------------------------------------------------


def elsewhere(monkeypatch):
    """Has a format be written by another backend's process; returns that backend."""
    other = "jax" if BACKEND != "jax" else "torch"
    onnx = dataclasses.replace(FORMATS["onnx"], writers={other: formats.Writer(None)})
    monkeypatch.setitem(FORMATS, "onnx", dataclasses.replace(onnx, runtime="keras"))
    monkeypatch.setattr(formats, "_installed", lambda package: True)  # that one may not be
    return other


def test_a_second_process_that_fails_is_heard(tmp_path, monkeypatch):
    other = elsewhere(monkeypatch)
    monkeypatch.setattr(worker, "MAIN", "raise SystemExit('it is full\\nof eels')")
    message = f"writes an ONNX file under the {other} backend ended with status 1;.*of eels$"
    with pytest.raises(RuntimeError, match=f"(?s){message}"):
        export(tiny.bright_model(), tmp_path / "out.onnx", "onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_second_process_that_hangs_is_ended(tmp_path, monkeypatch):
    elsewhere(monkeypatch)
    monkeypatch.setattr(worker, "MAIN", "import time; time.sleep(60)")
    monkeypatch.setattr(worker, "TIMEOUT", 0.5)
    with pytest.raises(RuntimeError, match="an ONNX file under the .* took more than 0.5 s"):
        export(tiny.bright_model(), tmp_path / "out.onnx", "onnx")
    assert list(tmp_path.iterdir()) == []


@BOTH
def test_a_converter_that_fails_half_way_leaves_nothing(tmp_path, monkeypatch, format):
    stand_in(monkeypatch, format)

    def write(model, path, mask):
        (path / FORMATS[format].mark if path.is_dir() else path).write_text("half")
        raise KeyError("no such operation")

    broken = dataclasses.replace(FORMATS[format], writers={BACKEND: formats.Writer(write)})
    monkeypatch.setitem(FORMATS, format, broken)
    with pytest.raises(RuntimeError, match=f"under the {BACKEND} backend.*KeyError.*no such oper"):
        export(tiny.bright_model(), out(tmp_path, format), format)
    assert list(tmp_path.iterdir()) == []


# --- Exact arithmetic -----------------------------------------------------------------------------


@BOTH
def test_a_full_disk_is_named(tmp_path, monkeypatch, format):
    stand_in(monkeypatch, format)

    def write(model, path, mask):
        raise ValueError("iostream error")  # what OpenVINO says of it

    monkeypatch.setitem(
        FORMATS,
        format,
        dataclasses.replace(FORMATS[format], writers={BACKEND: formats.Writer(write)}),
    )
    path = out(tmp_path, format)
    with pytest.raises(RuntimeError, match="iostream error"):
        export(tiny.bright_model(), path, format)
    usage = shutil.disk_usage(tmp_path)._replace(free=8)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match=rf"could not write .*{path.name} \(No space left on device"):
        export(tiny.bright_model(), path, format)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_model_of_mixed_precision_is_exported_in_float32(policy):
    small = {"levels": 2, "base_filters": 2, "dropout": 0.1}
    keras.utils.set_random_seed(0)
    expected, before = build_model((None, None, 3), **small), keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        mixed = build_model((None, None, 3), **small)
    finally:
        keras.config.set_dtype_policy(before)
    mixed.compile("adam", "binary_crossentropy")
    mixed.set_weights(expected.get_weights())
    image = np.random.default_rng(0).uniform(0, 255, (1, 16, 16, 3)).astype("float32")
    models = (expected, mixed, module._in_float32(mixed))
    outputs = [keras.ops.convert_to_numpy(model(image)) for model in models]
    np.testing.assert_allclose(outputs[2], outputs[0], atol=1e-6)
    assert np.abs(outputs[1] - outputs[0]).max() > 2e-6  # it does compute in 16 bits
    assert module._in_float32(expected) is expected


def test_full_precision_is_put_back():
    def setting():
        backend = keras.backend.backend()
        if backend == "torch":
            import torch

            return torch.backends.cudnn.allow_tf32
        if backend == "jax":
            import jax

            return jax.config.jax_default_matmul_precision
        import tensorflow as tf

        return tf.config.experimental.tensor_float_32_execution_enabled()

    before = setting()
    with pytest.raises(KeyError), module._full_precision():
        assert setting() in (False, "highest")
        raise KeyError
    assert setting() == before
