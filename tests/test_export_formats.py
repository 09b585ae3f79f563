"""Every format: what is written runs without Keras, as the model does, at sizes of all kinds."""

import collections
import functools
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tifffile

from keras_deepskip import build_model, data, metrics
from keras_deepskip.export import FORMATS, ExportMismatch, export, formats, writers
from keras_deepskip.layers.image_normalization import image_normalization_of
from keras_deepskip.operating_point import OperatingPoint
from tests import tiny

BACKEND = keras.backend.backend()
EXAMPLES = tiny.ROOT / "examples" / "runtimes"
ALL = pytest.mark.parametrize("format", FORMATS)
OWN = [name for name, each in FORMATS.items() if BACKEND in each.writers]

# Runs an example for image after image; it may import nothing of this package, nor Keras (but
# TensorFlow does, where Keras is).
RUNNER = """
import os, runpy, sys
example, file, *images = sys.argv[1:]
sys.path.insert(0, os.path.dirname(example))  # as Python does for a program that it starts
for image in images:
    labels = image.replace("image", "labels").replace("png", "tif")
    sys.argv = [example, file, image, image.replace("image", "mask"), labels]
    runpy.run_path(example, run_name="__main__")
assert "keras_deepskip" not in sys.modules
assert "keras" not in sys.modules or "tensorflow" in sys.modules
assert "tensorflow" not in sys.modules or "saved_model" in example
"""


def needs(format):
    """Skips where the format cannot be written or run."""
    try:
        FORMATS[format].backend(BACKEND)
    except ImportError as error:
        pytest.skip(str(error))


@functools.cache
def network(classes=1, size=(None, None)):
    """A small network, the same on every backend, that finds pixels of every class in noise."""
    model = build_model((*size, 3), num_classes=classes, levels=3, base_filters=2)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        numbers = rng.standard_normal(weight.shape)
        if len(weight.shape) == 4:
            weight.assign(numbers * np.sqrt(2 / np.prod(weight.shape[:-1])))
        elif weight.path.endswith(("moving_mean", "beta", "bias")):
            weight.assign(0.3 * numbers)
    found = probabilities(model, an_image(*(own or 40 for own in size))[None])
    scores = np.log(found / (1 - found) if classes == 1 else found)
    bias = model.get_layer("head_conv").bias
    bias.assign(keras.ops.convert_to_numpy(bias) - np.median(scores, axis=(0, 1, 2)))
    return model


def probabilities(model, image):
    return keras.ops.convert_to_numpy(model(image.astype("float32"), training=False))


def an_image(height, width):
    return np.random.default_rng(height).integers(0, 256, (height, width, 3)).astype("uint8")


@pytest.mark.slow
@ALL
def test_a_file_of_any_size_runs_without_keras(tmp_path, monkeypatch, format):
    """By the example program of its runtime, on sizes that `export` has not compared.

    The program decides by the model's operating point, and numbers the objects as `predict` does.
    PyTorch's programs take no image that is smaller than the stride.
    """
    needs(format)
    path = tmp_path / f"out{FORMATS[format].suffix}"
    point = OperatingPoint(0.5, 3, separate=True)
    monkeypatch.setattr(image_normalization_of(network()), "operating_point", point.to_dict())
    report = export(network(), path, format, mask=True)
    assert list(report.differences) == [
        "1x45x83", "3x45x83", "1x64x64", "3x64x64", "1x130x37", "3x130x37",
    ]  # fmt: skip
    assert max(report.differences.values()) <= 1e-5 and not any(report.mask_differences.values())
    assert report.size > 20_000 and "masks as the probabilities say" in report.text()
    assert sorted(item.name for item in tmp_path.iterdir()) == [
        path.name, path.name + ".export.json",
    ]  # fmt: skip

    sizes = [(37, 50), (48, 16), (5, 6) if format == "torch" else (1, 3)]
    for index, size in enumerate(sizes):
        data.write_png(tmp_path / f"image{index}.png", an_image(*size))
    images = [tmp_path / f"image{index}.png" for index in range(len(sizes))]
    said = tiny.python(RUNNER, EXAMPLES / f"run_{format}.py", path, *images)
    assert said.count("of the pixels") == 3
    compared = 0
    for index, size in enumerate(sizes):
        expected = probabilities(network(), an_image(*size)[None])
        found = data.read_image(tmp_path / f"mask{index}.png")[..., 0]
        assert index or 0 < found.mean() < 1  # the first holds pixels of both kinds
        labels, count = point.labels(found)
        np.testing.assert_array_equal(tifffile.imread(tmp_path / f"labels{index}.tif"), labels)
        if (np.abs(expected[0, ..., 0] - 0.5) > 1e-5).all():
            np.testing.assert_array_equal(found, point.masks(expected)[0])
            compared += count
    assert compared


@pytest.mark.slow
@pytest.mark.parametrize("format", OWN)
def test_a_file_of_one_size(tmp_path, format):
    """Of several classes; the batch is free."""
    needs(format)
    path = tmp_path / f"out{FORMATS[format].suffix}"
    report = export(network(3, (24, 20)), path, format, mask=True, threshold=0.3)
    assert list(report.differences) == ["1x24x20", "3x24x20"] and report.backend == BACKEND
    run = FORMATS[format].open(path)
    images = np.stack([an_image(24, 20)] * 5).astype("float32")
    found = run(images)
    expected = probabilities(network(3, (24, 20)), images)
    assert found["mask"].dtype == "uint8" and found["mask"].shape == (5, 24, 20)
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("format", OWN)
def test_volumes(tmp_path, format):
    volumes = build_model((None, None, None, 1), levels=2, base_filters=2)
    path = tmp_path / f"out{FORMATS[format].suffix}"
    chosen = FORMATS[format]
    if not chosen.writers[BACKEND].volumes:
        others = [name for name, writer in chosen.writers.items() if writer.volumes]
        assert format == "litert" and not others or others == ["tensorflow"]
        return
    needs(format)
    report = export(volumes, path, format, mask=True)
    assert "3x9x17x21" in report.differences and max(report.differences.values()) <= 1e-5


@pytest.mark.skipif("onnx" not in OWN, reason="another backend writes it")
def test_an_onnx_file_holds_what_is_quick_to_run(tmp_path):
    """Operators of the standard alone; no kernels to be summed up, and no transposition for each
    convolution (PyTorch), no transposed convolution, which ONNX Runtime lacks in 8 bits
    (TensorFlow)."""
    onnx = pytest.importorskip("onnx")
    export(network(), tmp_path / "cells.onnx", "onnx", mask=True)
    file = onnx.load(tmp_path / "cells.onnx")
    assert {node.domain for node in file.graph.node} <= {"", "ai.onnx"}
    versions = {each.domain: each.version for each in file.opset_import}
    assert versions[""] == writers.ONNX_OPSET and "com.microsoft" not in versions
    kinds = collections.Counter(node.op_type for node in file.graph.node)
    if BACKEND == "torch":
        assert kinds["MatMul"] == 0 and kinds["Transpose"] < kinds["Conv"] / 3
    else:
        assert kinds["ConvTranspose"] == 0 < kinds["Conv"]


@pytest.mark.parametrize("format", OWN)
def test_a_writer_that_drops_something_is_found(tmp_path, monkeypatch, format):
    """The normalization, as a converter could that takes it for an input."""
    needs(format)
    chosen = FORMATS[format]
    writer = chosen.writers[BACKEND].write

    def call(layer, *inputs, **arguments):
        dropped = isinstance(layer, keras.layers.Normalization)
        return inputs[0] if dropped else layer(*inputs, **arguments)

    def broken(model, path, mask):
        rest = keras.models.clone_model(model, call_function=call)
        rest.set_weights(model.get_weights())
        writer(rest, path, mask)

    monkeypatch.setitem(chosen.writers, BACKEND, formats.Writer(broken))
    with pytest.raises(ExportMismatch, match="differ from the model's by more than 1e-05"):
        export(network(1, (24, 20)), tmp_path / f"out{chosen.suffix}", format)
    assert list(tmp_path.iterdir()) == []


def test_openvinos_files_are_both_there_or_none(tmp_path):
    needs("openvino")
    if BACKEND not in FORMATS["openvino"].writers:
        pytest.skip("written by another process")
    export(network(1, (24, 20)), tmp_path / "out", "openvino")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["model.bin", "model.xml"]


# --- TensorFlow Serving ---------------------------------------------------------------------------


@functools.cache
def served():
    """A SavedModel of three classes, of any size, with its mask."""
    path = tiny.scratch() / "served" / "1"
    export(network(3), path, mask=True)
    return path


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "tensorflow", reason="about the SavedModel itself")
def test_the_signatures_that_serving_finds():
    from importlib.metadata import entry_points

    assert any(each.name == "saved_model_cli" for each in entry_points(group="console_scripts"))
    command = "from tensorflow.python.tools.saved_model_cli import main; main()"
    said = subprocess.run(
        [sys.executable, "-c", command, "show", "--dir", str(served()), "--tag_set", "serve",
         "--signature_def", "serving_default"],
        env=tiny.environ(), capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    lines = [line.strip() for line in said.splitlines()]
    inputs, outputs = said.split("The given SavedModel SignatureDef contains the following output")
    assert "inputs['image']" in inputs and "shape: (-1, -1, -1, 3)" in inputs
    assert "outputs['probabilities']" in outputs and "outputs['mask']" in outputs
    assert lines.count("dtype: DT_FLOAT") == 2 and lines.count("dtype: DT_UINT8") == 1
    assert "shape: (-1, -1, -1)" in lines and lines[-1].startswith(
        "Method name is: tensorflow/serv"
    )


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "tensorflow", reason="about the SavedModel itself")
@pytest.mark.parametrize("with_mask", [True, False])
def test_a_request_as_to_tensorflow_serving(tmp_path, with_mask):
    """The example program's request, answered as Serving's REST interface does."""
    image = an_image(9, 13)
    data.write_png(tmp_path / "image.png", image)
    with answering(served(), with_mask) as (address, requests):
        tiny.python(
            RUNNER, EXAMPLES / "request_serving.py", f"{address}/v1/models/cells",
            tmp_path / "image.png",
        )  # fmt: skip
    ((path, body),) = requests
    assert path == "/v1/models/cells:predict" and list(body) == ["signature_name", "instances"]
    expected = metrics.masks_from_outputs(probabilities(network(3), image[None]))[0]
    found = data.read_image(tmp_path / "mask.png")[..., 0]
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(found)) > 1


def answering(folder, with_mask):
    """A server in this process that does what TensorFlow Serving does with a row of instances."""
    import contextlib
    import http.server
    import threading

    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    requests = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append((self.path, body))
            images = tf.constant(body["instances"], tf.float32)
            outputs = loaded.signatures[body["signature_name"]](image=images)
            outputs = {name: value.numpy().tolist() for name, value in outputs.items()}
            if with_mask:  # one output is given bare, several by their names
                rows = [dict(zip(outputs, row)) for row in zip(*outputs.values())]  # noqa: B905
            else:
                rows = outputs["probabilities"]
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"predictions": rows}).encode())

        def log_message(self, *_):
            pass

    @contextlib.contextmanager
    def running():
        server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", requests
        finally:
            server.shutdown()
            server.server_close()

    return running()
