"""Folders of models that servers load: a version of the model, and how requests are batched."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

from keras_deepskip import _checks, _files

MAX_BATCH_SIZE = 8  # images that are computed at a time
DELAY = 5000  # microseconds that a request waits for others
QUEUE = 64  # that may wait: batches of TensorFlow Serving, requests of Triton; more are refused


@dataclasses.dataclass(frozen=True)
class Server:
    """What a server loads.

    Attributes:
        format: a name in `FORMATS`.
        file: the name of the model in the folder of its version; "" if it is that folder.
        config: the name of the file beside the versions that says how it is served.
        text: function of (name, shapes, outputs, max_batch_size) that returns its text.
    """

    format: str
    file: str
    config: str
    text: Callable

    def next_path(self, folder: Path) -> Path:
        """Where the next version of a model belongs: servers take the highest one."""
        found = folder.iterdir() if folder.is_dir() else ()
        versions = [int(path.name) for path in found if path.name.isdecimal()]
        return folder / str(max(versions, default=0) + 1) / self.file

    def write_config(self, folder, image, outputs, max_batch_size):
        """Writes the file beside the versions.

        Args:
            folder: the model's folder, of its name on the server.
            image: shape of the input without N, None where it is free.
            outputs: dict from name to (Triton's type, shape without N).
            max_batch_size: most images that are computed at a time.
        """
        text = self.text(folder.resolve().name, image, outputs, max_batch_size)
        _files.write_text(folder / self.config, text)


def chosen_server(serving: str | None, format: str, max_batch_size: int | None) -> Server | None:
    """The server of that name, once the arguments fit each other."""
    if serving is None:
        if max_batch_size is not None:
            raise ValueError(
                "`max_batch_size` is of a server. Received: "
                f"max_batch_size={max_batch_size} without `serving`. Leave it out, or add it"
            )
        return None
    server = SERVERS[_checks.check_choice("serving", serving, SERVERS)]
    if max_batch_size is not None:
        _checks.check_integer("max_batch_size", max_batch_size)
    if format not in ("saved_model", server.format):
        raise ValueError(
            f"`format` must be {server.format!r} for serving={serving!r}. Received: "
            f"format={format!r}. Leave it out"
        )
    return server


def _tensorflow_text(name, image, outputs, max_batch_size):
    """Batching parameters of TensorFlow Serving (session_bundle_config.proto)."""
    values = {
        "max_batch_size": max_batch_size,
        "batch_timeout_micros": DELAY,
        "max_enqueued_batches": QUEUE,
    }
    return "".join(f"{key} {{ value: {value} }}\n" for key, value in values.items())


def _triton_text(name, image, outputs, max_batch_size):
    """Configuration of a model for Triton (model_config.proto)."""
    given = "\n".join(_tensor("output", key, *value) for key, value in outputs.items())
    return f"""name: {json.dumps(name)}
backend: "onnxruntime"
max_batch_size: {max_batch_size}
{_tensor("input", "image", "TYPE_FP32", image)}
{given}
dynamic_batching {{
  max_queue_delay_microseconds: {DELAY}
  default_queue_policy {{ max_queue_size: {QUEUE} }}
}}
"""


def _tensor(kind, name, number, shape):
    dims = ", ".join(str(-1 if size is None else size) for size in shape)
    return f'{kind} [ {{ name: "{name}", data_type: {number}, dims: [ {dims} ] }} ]'


SERVERS = {
    "tensorflow-serving": Server("saved_model", "", "batching_config.txt", _tensorflow_text),
    "triton": Server("onnx", "model.onnx", "config.pbtxt", _triton_text),
}
