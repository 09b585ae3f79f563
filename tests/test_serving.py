"""What servers load: versions of a model, and files that the servers' own parsers take.

The schemas are those of TensorFlow Serving (session_bundle_config.proto, 2.21) and Triton
(model_config.proto, 2.73): the fields that are used, written down here.
"""

import json

import keras
import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from keras_deepskip.export import export, exporting
from keras_deepskip.models import build_model
from tests.test_export import stand_in

BACKEND = keras.backend.backend()
KINDS = descriptor_pb2.FieldDescriptorProto
# By message the fields and their types: of a name in capitals a message or an enumeration.
TENSOR = {"name": "string", "data_type": "DataType", "dims": "int64*"}
SCHEMAS = {
    "batching_config.txt": {
        "Int64Value": {"value": "int64"},
        "Config": dict.fromkeys(
            ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches"), "Int64Value"
        ),
    },
    "config.pbtxt": {
        "ModelInput": TENSOR,
        "ModelOutput": TENSOR,
        "ModelQueuePolicy": {"max_queue_size": "uint32"},
        "ModelDynamicBatching": {
            "max_queue_delay_microseconds": "uint64",
            "default_queue_policy": "ModelQueuePolicy",
        },
        "Config": {
            "name": "string",
            "backend": "string",
            "max_batch_size": "int32",
            "input": "ModelInput*",
            "output": "ModelOutput*",
            "dynamic_batching": "ModelDynamicBatching",
        },
    },
}
DATA_TYPES = ("TYPE_INVALID", "TYPE_UINT8", "TYPE_INT32", "TYPE_FP32")


def parsed(path):
    """A configuration as the server reads it, as a message of its schema."""
    file = descriptor_pb2.FileDescriptorProto(name=path.name, syntax="proto3")
    numbers = file.enum_type.add(name="DataType")
    for number, name in enumerate(DATA_TYPES):
        numbers.value.add(name=name, number=number)
    for name, fields in SCHEMAS[path.name].items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), start=1):
            plain = kind.removesuffix("*")
            added = message.field.add(name=field, number=number)
            added.label = KINDS.LABEL_REPEATED if kind[-1] == "*" else KINDS.LABEL_OPTIONAL
            if plain[0].isupper():
                added.type = KINDS.TYPE_ENUM if plain == "DataType" else KINDS.TYPE_MESSAGE
                added.type_name = plain
            else:
                added.type = getattr(KINDS, f"TYPE_{plain.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    made = message_factory.GetMessageClass(pool.FindMessageTypeByName("Config"))
    return text_format.Parse(path.read_text(), made())


def test_triton(tmp_path, monkeypatch):
    """Two versions of one model, with what the file itself takes and gives."""
    stand_in(monkeypatch, "onnx")
    folder = tmp_path / "cells"
    model = build_model((None, None, 2), num_classes=3, levels=2, base_filters=2)
    report = export(model, folder, mask=True, serving="triton", max_batch_size=4)
    assert report.path == str(folder / "1" / "model.onnx")
    config = parsed(folder / "config.pbtxt")
    assert (config.name, config.backend, config.max_batch_size) == ("cells", "onnxruntime", 4)
    (image,), (probabilities, mask) = config.input, config.output
    assert (image.name, list(image.dims)) == ("image", [-1, -1, 2])
    assert (probabilities.name, list(probabilities.dims)) == ("probabilities", [-1, -1, 3])
    assert (mask.name, list(mask.dims)) == ("mask", [-1, -1])
    kinds = [DATA_TYPES[tensor.data_type] for tensor in (image, probabilities, mask)]
    assert kinds == ["TYPE_FP32", "TYPE_FP32", "TYPE_UINT8"]
    assert config.dynamic_batching.max_queue_delay_microseconds == 5000
    assert config.dynamic_batching.default_queue_policy.max_queue_size == 64

    (folder / "9").mkdir()
    fixed = build_model((32, 48, 1), levels=2, base_filters=2)
    assert export(fixed, folder, serving="triton").path == str(folder / "10" / "model.onnx")
    config = parsed(folder / "config.pbtxt")
    assert list(config.input[0].dims) == [32, 48, 1] and config.max_batch_size == 8
    assert [output.name for output in config.output] == ["probabilities"]


def test_a_failed_export_leaves_no_version(tmp_path, monkeypatch):
    """Triton would load an empty one in place of the last."""
    stand_in(monkeypatch, "onnx")

    def differs(report):
        raise exporting.ExportMismatch("of another sum")

    monkeypatch.setattr(exporting, "_check_equal", differs)
    with pytest.raises(exporting.ExportMismatch):
        export(build_model(levels=2, base_filters=2), tmp_path / "cells", serving="triton")
    assert not list((tmp_path / "cells").glob("*"))


@pytest.mark.skipif(BACKEND != "torch", reason="PyTorch writes ONNX soonest")
def test_triton_loads_what_onnx_runtime_runs(tmp_path):
    """The names, kinds and free axes of the configuration are those of the file."""
    import onnxruntime

    model = build_model((None, None, 1), levels=2, base_filters=2)
    report = export(model, tmp_path / "cells", mask=True, serving="triton")
    session = onnxruntime.InferenceSession(report.path)
    config = parsed(tmp_path / "cells" / "config.pbtxt")
    kinds = {"TYPE_FP32": "tensor(float)", "TYPE_UINT8": "tensor(uint8)"}
    tensors = [*session.get_inputs(), *session.get_outputs()]
    for said, own in zip([*config.input, *config.output], tensors, strict=True):
        assert (said.name, kinds[DATA_TYPES[said.data_type]]) == (own.name, own.type)
        assert [size if size > 0 else str for size in said.dims] == [
            size if isinstance(size, int) else str for size in own.shape[1:]
        ]


def test_tensorflow_serving(tmp_path, monkeypatch):
    stand_in(monkeypatch, "saved_model")
    model = build_model(levels=2, base_filters=2)
    report = export(model, tmp_path / "cells", serving="tensorflow-serving")
    assert report.path == str(tmp_path / "cells" / "1")
    assert (tmp_path / "cells" / "1" / "saved_model.pb").is_file()
    config = parsed(tmp_path / "cells" / "batching_config.txt")
    assert config.max_batch_size.value == 8 and config.batch_timeout_micros.value == 5000
    assert config.max_enqueued_batches.value == 64
    said = json.loads((tmp_path / "cells" / "1.export.json").read_text())
    assert said["format"] == "saved_model" and np.max(list(said["differences"].values())) < 1e-5


def test_arguments_of_servers(tmp_path):
    model = build_model(levels=2, base_filters=2)
    for arguments, words in (
        ({"serving": "tritn"}, "Did you mean 'triton'"),
        ({"max_batch_size": 4}, "without `serving`"),
        ({"serving": "triton", "max_batch_size": 0}, "`max_batch_size` must be"),
        ({"serving": "triton", "format": "openvino"}, "`format` must be 'onnx'.*'openvino'"),
    ):
        with pytest.raises(ValueError, match=words):
            export(model, tmp_path / "cells", **arguments)
    assert not (tmp_path / "cells").exists()
