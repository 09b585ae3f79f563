"""An exported SavedModel computes what the model does, without Keras; else there is none."""

import importlib.util
import json

import keras
import numpy as np
import pytest

from keras_deepskip import build_model
from keras_deepskip.export import ExportMismatch, _full_precision, _in_float32, export
from tests import tiny

UNDER_TENSORFLOW = keras.backend.backend() == "tensorflow"
needs_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="writing a SavedModel needs TensorFlow"
)

# Another process, which has TensorFlow alone.
LOADER = """
import sys
import numpy as np
import tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
inputs = np.load(sys.argv[2])
run = loaded.signatures["serving_default"]
_, wanted = run.structured_input_signature
assert list(wanted) == ["image"] and wanted["image"].dtype == tf.float32, wanted
assert list(run.structured_outputs) == ["probabilities"]
outputs = {name: run(image=tf.constant(inputs[name]))["probabilities"].numpy() for name in inputs}
again = loaded.serve(image=tf.constant(inputs["a"]))["probabilities"].numpy()
assert (again == outputs["a"]).all()
np.savez(sys.argv[3], **outputs)
assert "keras_deepskip" not in sys.modules  # (TensorFlow itself imports Keras where it is)
"""


@pytest.mark.slow
@needs_tensorflow
def test_a_saved_model_runs_without_keras(tmp_path):
    """At sizes and batches other than those that `export` has compared, on raw 8-bit values."""
    model = build_model((None, None, 3), num_classes=3, levels=3, base_filters=2)
    report = export(model, tmp_path / "out")
    assert list(report.differences) == [
        "1x45x83", "3x45x83", "1x64x64", "3x64x64", "1x130x31", "3x130x31",
    ]  # fmt: skip
    assert max(report.differences.values()) <= report.tolerance == 1e-5
    assert "1x45x83" in report.text() and "all within 1e-05" in report.text()
    assert json.loads((tmp_path / "out.export.json").read_text()) == {
        "path": str(tmp_path / "out"),
        "format": "saved_model",
        "differences": report.differences,
        "tolerance": 1e-5,
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.export.json"]

    rng = np.random.default_rng(1)
    shapes = {"a": (2, 17, 40, 3), "b": (1, 33, 5, 3)}
    images = {name: rng.integers(0, 256, shape).astype("float32") for name, shape in shapes.items()}
    np.savez(tmp_path / "in.npz", **images)
    tiny.python(LOADER, tmp_path / "out", tmp_path / "in.npz", tmp_path / "done.npz")
    with np.load(tmp_path / "done.npz") as outputs:
        for name, image in images.items():
            wanted = keras.ops.convert_to_numpy(model(image, training=False))
            np.testing.assert_allclose(outputs[name], wanted, atol=1e-5)


@pytest.mark.skipif(not UNDER_TENSORFLOW, reason="written in this process under TensorFlow alone")
def test_a_model_of_ones_own(tmp_path):
    """Of one size, with outputs far above 1, for values in (0, 1)."""
    inputs = keras.Input((16, 24, 1))
    outputs = keras.layers.Conv2D(2, 3, padding="same")(keras.layers.Rescaling(1000.0)(inputs))
    report = export(keras.Model(inputs, outputs), tmp_path / "out", input_range=(0, 1))
    assert list(report.differences) == ["1x16x24", "3x16x24"]
    assert (tmp_path / "out" / "saved_model.pb").is_file()


# The rest is about what comes before and after the writing, which is stood in for.


def stand_in(monkeypatch, model, error=0.0):
    """Writes a file, and gives the model's own outputs with an error added to the last."""

    def write(_, folder, images):
        (folder / "saved_model.pb").write_text("new")
        outputs = [keras.ops.convert_to_numpy(model(image)) for image in images]
        return [*outputs[:-1], outputs[-1] + error]

    monkeypatch.setattr("keras_deepskip.export._written_from", write)
    monkeypatch.setattr("keras_deepskip.export._check_tensorflow_installed", lambda: None)


@pytest.mark.parametrize("error", [2e-5, np.nan])
def test_a_file_that_computes_something_else_is_not_kept(tmp_path, monkeypatch, error):
    model = tiny.bright_model()
    stand_in(monkeypatch, model, error)
    with pytest.raises(ExportMismatch, match=r"out was not written.*(2.00e-05|nan) for 3x130x31$"):
        export(model, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_folding_rounds_too_much_is_written_as_it_is(tmp_path, monkeypatch):
    model, tried = tiny.bright_model(), []
    stand_in(monkeypatch, model)

    def write(candidate, folder, images):
        tried.append(candidate is model)
        (folder / "saved_model.pb").write_text("new")
        error = 0.0 if candidate is model else 2e-5
        return [keras.ops.convert_to_numpy(model(image)) + error for image in images]

    monkeypatch.setattr("keras_deepskip.export._written_from", write)
    report = export(model, tmp_path / "out")
    assert tried == [False, True] and max(report.differences.values()) == 0


def test_an_older_one_is_replaced_by_one_that_is_proven(tmp_path, monkeypatch):
    model, path = tiny.bright_model(), tmp_path / "out"
    path.mkdir()
    (path / "saved_model.pb").write_text("old")
    (path / "variables").mkdir()
    stand_in(monkeypatch, model, error=1.0)
    with pytest.raises(ExportMismatch):
        export(model, path)
    assert (path / "saved_model.pb").read_text() == "old" and (path / "variables").is_dir()
    stand_in(monkeypatch, model)
    export(model, path)
    assert [item.name for item in path.iterdir()] == ["saved_model.pb"]
    assert (path / "saved_model.pb").read_text() == "new"
    assert not tiny.leftovers(tmp_path)


def test_what_is_no_saved_model_is_not_replaced(tmp_path, monkeypatch):
    model = tiny.bright_model()
    stand_in(monkeypatch, model)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_text("a picture")
    (tmp_path / "file").write_text("text")
    for name in ("photos", "file"):
        with pytest.raises(FileExistsError, match=f"{name}: a new folder, or one that holds"):
            export(model, tmp_path / name)
    assert (tmp_path / "photos" / "a.png").exists() and (tmp_path / "file").exists()
    (tmp_path / "empty").mkdir()
    export(model, tmp_path / "empty")
    assert (tmp_path / "empty" / "saved_model.pb").exists()


def test_without_tensorflow_it_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: None)
    with pytest.raises(ImportError, match=r'pip install "keras-deepskip\[tensorflow\]"'):
        export(tiny.bright_model(), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format(tmp_path):
    with pytest.raises(ValueError, match="`format` must be one of 'saved_model'"):
        export(tiny.bright_model(), tmp_path / "out", format="h5")


@pytest.mark.skipif(UNDER_TENSORFLOW, reason="there is no second process under TensorFlow")
def test_a_second_process_that_fails_is_heard(tmp_path, monkeypatch):
    monkeypatch.setattr("keras_deepskip.export.sys.executable", "/bin/false")
    with pytest.raises(RuntimeError, match="ended with status 1; nothing was written"):
        export(tiny.bright_model(), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_model_of_mixed_precision_is_exported_in_float32(policy):
    small = {"levels": 2, "base_filters": 2, "dropout": 0.1}
    keras.utils.set_random_seed(0)
    wanted, before = build_model((None, None, 3), **small), keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        mixed = build_model((None, None, 3), **small)
    finally:
        keras.config.set_dtype_policy(before)
    mixed.compile("adam", "binary_crossentropy")
    mixed.set_weights(wanted.get_weights())
    image = np.random.default_rng(0).uniform(0, 255, (1, 16, 16, 3)).astype("float32")
    outputs = [keras.ops.convert_to_numpy(m(image)) for m in (wanted, mixed, _in_float32(mixed))]
    np.testing.assert_allclose(outputs[2], outputs[0], atol=1e-6)
    assert np.abs(outputs[1] - outputs[0]).max() > 2e-6  # it does compute in 16 bits
    assert _in_float32(wanted) is wanted


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
    with pytest.raises(KeyError), _full_precision():
        assert setting() in (False, "highest")
        raise KeyError
    assert setting() == before
