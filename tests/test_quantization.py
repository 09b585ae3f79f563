"""A network in 8-bit integers: close to what it was, and honest about what was lost."""

import json
import sys

import keras
import numpy as np
import pytest
import tifffile

from keras_deepskip import build_model, cli
from keras_deepskip.data import Sample, load_image, load_split
from keras_deepskip.export import FORMATS
from keras_deepskip.inference import evaluate
from keras_deepskip.quantization import _calibrating, quantize
from tests import tiny

pytest.importorskip("onnxruntime")


def open_onnx(path):
    run = FORMATS["onnx"].open(path)
    return lambda image: run(image[None].astype("float32"))["probabilities"][0]


@pytest.mark.slow
def test_a_network_in_eight_bits(tmp_path):
    run, split = tiny.run(), load_split(tiny.data(), tiny.run().folder / "split.json")
    path = tmp_path / "small.onnx"
    report = quantize(run.model, path, split.train, split.test, images=3)
    assert report.calibration == 3 and report.held_out == len(split.test)

    quantized = open_onnx(path)
    for sample in split.test:  # of the sizes that it has not seen
        image = load_image(sample, 3)[:37, :41]
        exact = keras.ops.convert_to_numpy(run.model(image[None].astype("float32")))[0]
        found = quantized(image)
        assert found.shape == exact.shape and found.dtype == np.float32
        assert 0 < np.abs(found - exact).mean() < 0.02  # other numbers, but nearly the same

    own = evaluate(run.model, split.test, verbose=0)
    assert report.figures["float32"]["IoU"] == pytest.approx(own.pixels["IoU"], abs=1e-6)
    small = evaluate(run.model, split.test, predict=quantized, verbose=0)
    assert report.figures["int8"]["IoU"] == pytest.approx(small.pixels["IoU"], abs=1e-6)
    assert report.figures["int8"]["object recall"] == small.objects["all"]["recall"]
    assert report.bytes["int8"] == path.stat().st_size
    assert min(report.milliseconds.values()) > 0

    assert output_operation(path) == "Sigmoid"  # in float32
    weights = load_initializers(path)
    assert any(array.dtype == np.int8 and array.ndim == 4 for array in weights)
    assert not any(array.dtype == np.float32 and array.size > 64 for array in weights)
    notes = json.loads((tmp_path / "small.onnx.quantization.json").read_text())
    assert notes["figures"] == report.figures
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name, "small.onnx.quantization.json"]
    assert "int8" in report.text() and "calibrated with 3 images" in report.text()


def output_operation(path):
    """The operation that the output is of, whatever moves it."""
    import onnx

    graph = onnx.load(path).graph
    made_by = {name: node for node in graph.node for name in node.output}
    node = made_by[graph.output[0].name]
    while node.op_type in ("Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"):
        node = made_by[node.input[0]]
    return node.op_type


def load_initializers(path):
    import onnx

    tensors = onnx.load(path).graph.initializer
    return [onnx.numpy_helper.to_array(tensor) for tensor in tensors]


@pytest.mark.one_backend
@pytest.mark.slow
def test_by_the_command_line(tmp_path, capsys):
    """Calibrated on the run's training images, judged on its test images."""
    out = tmp_path / "small.onnx"
    command = ["quantize", "--run", str(tiny.first_run()), "--out", str(out), "--images", "1"]
    assert cli.main(command) == 0
    assert out.is_file() and "| int8" in capsys.readouterr().out
    assert (
        cli.main(["quantize", "--model", str(tiny.first_run() / "model.keras"), "--out", "a"]) == 1
    )
    assert "--data must name a folder" in capsys.readouterr().err


def test_what_calibrates_is_the_middle_of_an_image():
    sample = load_split(tiny.data(), tiny.run().folder / "split.json").train[0]
    image = load_image(sample, 3)

    def calibrating(*size, sample=sample, expected=(0, 255)):
        model = build_model((*size, 3), mean=(1, 2, 3), variance=1, **tiny.MODEL)
        return _calibrating(sample, 3, model, expected)[0]

    assert np.array_equal(calibrating(None, None), image)
    assert np.array_equal(calibrating(16, None), image[16:32])
    filled = calibrating(64, 48)
    assert filled.shape == (64, 48, 3) and np.array_equal(filled[:48], image)
    assert np.array_equal(filled[48:], image[:-17:-1])


def test_what_calibrates_is_what_the_model_is_given(tmp_path):
    """In the range that it was trained on, and with the mean where a file has no data."""
    pixels = np.full((32, 32), 4095, "uint16")
    pixels[:, :8] = 7
    model = build_model((None, None, 1), mean=(50,), variance=1, **tiny.MODEL)

    def calibrating(*tag):
        tifffile.imwrite(tmp_path / "a.tif", pixels, extratags=[tag])
        return _calibrating(Sample("a", tmp_path / "a.tif"), 1, model, (0, 255))[0]

    assert calibrating(281, 3, 1, 4095, True)[:, 8:] == pytest.approx(255)
    without = calibrating(42113, 2, 0, "7", True)
    assert (without[:, :8] == 50).all() and (without[:, 8:] == 4095).all()


@pytest.mark.one_backend
def test_what_does_not_fit_is_refused(tmp_path, monkeypatch):
    model = tiny.bright_model()
    with pytest.raises(ValueError, match="`path` must end in .onnx. Received: .*a.tflite"):
        quantize(model, tmp_path / "a.tflite", [1])
    with pytest.raises(ValueError, match="`calibration` must hold at least one image"):
        quantize(model, tmp_path / "a.onnx", [])
    split = load_split(tiny.data(), tiny.run().folder / "split.json")
    with pytest.raises(ValueError, match="an image of 5 channels was expected. Received: 3"):
        quantize(tiny.bright_model(5), tmp_path / "a.onnx", split.train)
    monkeypatch.setitem(sys.modules, "onnxruntime.quantization", None)
    with pytest.raises(ImportError, match=r"keras-deepskip\[onnx\]"):
        quantize(tiny.bright_model(3), tmp_path / "a.onnx", split.train)
    assert list(tmp_path.iterdir()) == []  # neither the file nor a part of it
