"""What can be written: who writes it, who runs it, and what has to be installed for both."""

import dataclasses
import importlib.util
from collections.abc import Callable

from keras_deepskip.export import runtimes, writers


@dataclasses.dataclass(frozen=True)
class Writer:
    """What writes a format under one backend.

    Attributes:
        write: function of (model, path, mask).
        needs: packages beside the backend's.
        volumes: whether it can write models of volumes.
    """

    write: Callable
    needs: tuple = ()
    volumes: bool = True


@dataclasses.dataclass(frozen=True)
class Format:
    """A format that `export` writes.

    Attributes:
        title: its name in sentences.
        suffix: how the file's name ends; "" of a folder.
        mark: of a folder, the file by which an older one is known.
        writers: by backend, in order of preference.
        open: of a path, returns the function from an image to a dict of arrays.
        runtime: the package that runs it.
        extra: of this package's installation, what brings the runtime.
    """

    title: str
    suffix: str
    writers: dict
    open: Callable
    runtime: str
    extra: str
    mark: str = ""

    def backend(self, current, volumes=False):
        """The backend to write it under: the one in use if it can, else the first installed.

        Args:
            current: the backend in use.
            volumes: whether the model is one of volumes.

        Raises:
            ValueError: if no model of volumes can be written.
            ImportError: if what runs it, or all that could write it, is not installed.
        """
        able = [name for name, writer in self.writers.items() if writer.volumes or not volumes]
        if not able:
            raise ValueError(
                f"a model of images (N, H, W, C) was expected: {self.title} cannot hold the "
                "pooling of volumes. Received: a model of volumes. Choose another format"
            )
        if not _installed(self.runtime):
            raise ImportError(
                f"{self.title} is run to be compared, which needs the package `{self.runtime}`. "
                f'Install it with: pip install "keras-deepskip[{self.extra}]"'
            )
        for backend in sorted(able, key=lambda name: name != current):
            if all(map(_installed, self._needs(backend))):
                return backend
        needs = " or ".join(" with ".join(self._needs(backend)) for backend in able)
        # what a writer needs beside comes with ONNX
        extras = [self.extra, *(["onnx"] if self.writers[able[0]].needs else []), able[0]]
        raise ImportError(
            f"writing {self.title} needs {needs}, whatever the backend in use. Install it with: "
            f'pip install "keras-deepskip[{",".join(dict.fromkeys(extras))}]"'
        )

    def _needs(self, backend):
        return (backend, *self.writers[backend].needs)


def _installed(package):
    return importlib.util.find_spec(package) is not None


FORMATS = {
    "saved_model": Format(
        title="a SavedModel",
        suffix="",
        mark="saved_model.pb",
        writers={"tensorflow": Writer(writers.saved_model)},
        open=runtimes.saved_model,
        runtime="tensorflow",
        extra="tensorflow",
    ),
    "onnx": Format(
        title="an ONNX file",
        suffix=".onnx",
        writers={
            "torch": Writer(writers.onnx_by_torch, needs=("onnx",), volumes=False),
            "tensorflow": Writer(writers.onnx_by_tensorflow, needs=("tf2onnx",)),
        },
        open=runtimes.onnx,
        runtime="onnxruntime",
        extra="onnx",
    ),
    "litert": Format(
        title="a LiteRT file",
        suffix=".tflite",
        writers={"tensorflow": Writer(writers.litert, volumes=False)},
        open=runtimes.litert,
        runtime="ai_edge_litert",
        extra="litert",
    ),
    "openvino": Format(
        title="an OpenVINO model",
        suffix="",
        mark="model.xml",
        writers={
            "torch": Writer(
                writers.openvino_by_torch, needs=("onnx", "onnxruntime"), volumes=False
            ),
            "tensorflow": Writer(writers.openvino_by_tensorflow),
        },
        open=runtimes.openvino,
        runtime="openvino",
        extra="openvino",
    ),
    "torch": Format(
        title="a PyTorch program",
        suffix=".pt2",
        writers={"torch": Writer(writers.torch_program)},
        open=runtimes.torch,
        runtime="torch",
        extra="torch",
    ),
    "stablehlo": Format(
        title="a StableHLO program",
        suffix=".stablehlo",
        writers={"jax": Writer(writers.stablehlo)},
        open=runtimes.stablehlo,
        runtime="jax",
        extra="jax",
    ),
}
