"""One function a format and backend: writes a model, free where its input is free.

Each takes (model, path, mask): a built model of float32, where to write, and a `Mask` or None.
"""

import contextlib
import dataclasses
import io
import logging
import tempfile
import warnings
from pathlib import Path

import keras
import numpy as np
from keras import ops

from keras_deepskip.layers import upsampled_conv
from keras_deepskip.metrics.pixel import weigh_background

AXES = {2: "nhw", 3: "ndhw"}  # names of the free axes, by the number of spatial ones
# By what PyTorch is shown the model: no multiples of any stride, and larger than each.
SAMPLE_SIZES = {2: (75, 107), 3: (35, 37, 41)}
ONNX_OPSET = 17
# Of the upsampled convolutions that TensorFlow writes for ONNX Runtime and OpenVINO: as fast there
# as any in float32, and faster in 8 bits, for which there are no transposed convolutions
# (docs/measurements/speed.md)
FORM = upsampled_conv.by_cells


@dataclasses.dataclass(frozen=True)
class Mask:
    """How class ids follow from probabilities, inside the file: as `metrics.masks_from_outputs`.

    Attributes:
        threshold: probability above which a pixel is predicted positive; of several classes as in
            `metrics.masks_from_outputs`.
        multilabel: whether each channel is a class by itself.
    """

    threshold: float = 0.5
    multilabel: bool = False

    def of(self, outputs):
        """Class ids (N, H, W), or (N, H, W, K) with `multilabel`, of a tensor (N, H, W, K)."""
        classes = outputs.shape[-1]
        if not self.multilabel and classes > 1:
            weighed = weigh_background(outputs, self.threshold, concatenate=ops.concatenate)
            return ops.cast(_argmax(weighed), "uint8" if classes <= 256 else "int32")
        predicted = ops.cast(outputs > self.threshold, "uint8")
        return predicted if self.multilabel else predicted[..., 0]


def _argmax(outputs):
    if keras.backend.backend() != "tensorflow":
        return ops.argmax(outputs, axis=-1)
    import tensorflow as tf

    # Keras's has to do with -0.0, by operations that LiteRT lacks; probabilities are no -0.0
    return tf.argmax(outputs, axis=-1, output_type=tf.int32)


def outputs_by_name(model, mask, image):
    """What a file computes, in tensors of the backend."""
    outputs = model(image, training=False)
    found = {"probabilities": outputs}
    if mask is not None:
        found["mask"] = mask.of(outputs)
    return found


# --- TensorFlow ---------------------------------------------------------------------------------


def saved_model(model, path, mask):
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", *_tensorflow_signature(model, mask))
    archive.write_out(str(path), verbose=False)


def litert(model, path, mask):
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        saved_model(model, folder, mask)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        path.write_bytes(converter.convert())


def onnx_by_tensorflow(model, path, mask):
    import tf2onnx

    with (
        _constant_normalization(model),
        _quiet("tf2onnx"),
        upsampled_conv.images_in(FORM),
    ):
        function, signature = _tensorflow_function(model, mask)
        tf2onnx.convert.from_function(function, signature, opset=ONNX_OPSET, output_path=str(path))


def openvino_by_tensorflow(model, path, mask):
    import openvino

    with _constant_normalization(model), upsampled_conv.images_in(FORM):
        function, _ = _tensorflow_function(model, mask)
        _save_openvino(openvino.convert_model(function), path)


def _tensorflow_signature(model, mask):
    import tensorflow as tf

    def serve(image):
        return outputs_by_name(model, mask, image)

    return serve, [tf.TensorSpec([None, *model.input_shape[1:]], tf.float32, name="image")]


def _tensorflow_function(model, mask):
    import tensorflow as tf

    serve, signature = _tensorflow_signature(model, mask)
    return tf.function(serve, input_signature=signature), signature


@contextlib.contextmanager
def _constant_normalization(model):
    """Has `Normalization` layers hold arrays: converters make an input of each tensor they hold."""
    found = [layer for layer in _layers(model) if isinstance(layer, keras.layers.Normalization)]
    held = [(layer.mean, layer.variance) for layer in found]
    for layer in found:
        layer.mean, layer.variance = np.array(layer.mean), np.array(layer.variance)
    try:
        yield
    finally:
        for layer, (mean, variance) in zip(found, held, strict=True):
            layer.mean, layer.variance = mean, variance


def _layers(layer):
    yield layer
    for inner in getattr(layer, "layers", ()):
        yield from _layers(inner)


# --- PyTorch ------------------------------------------------------------------------------------


def onnx_by_torch(model, path, mask):
    import torch

    axes = dict(enumerate(AXES[len(model.input_shape) - 2]))
    free = {axis: name for axis, name in axes.items() if model.input_shape[axis] is None}
    names = ["probabilities", *(["mask"] if mask else [])]
    with torch.no_grad(), _quiet("torch.onnx"):
        torch.onnx.export(
            _torch_module(model, mask), (_sample(model),), str(path), dynamo=False,
            input_names=["image"], output_names=names, opset_version=ONNX_OPSET,
            dynamic_axes={name: free for name in ("image", *names)},
        )  # fmt: skip
    _simplify(path)


def _simplify(path):
    """Takes out of an ONNX file what need not be computed: PyTorch's exporter leaves transpositions
    around each convolution and sums of kernels, with which OpenVINO takes 1.7 times as long."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    # No further: beyond it are operators that only ONNX Runtime knows
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "simple.onnx")
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        simple = onnx.load(options.optimized_model_filepath)
    used = {node.domain for node in simple.graph.node}
    domains = [each for each in simple.opset_import if each.domain in used]
    del simple.opset_import[:]
    simple.opset_import.extend(domains)
    onnx.save(simple, str(path))


def openvino_by_torch(model, path, mask):
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        onnx_by_torch(model, file, mask)
        _save_openvino(openvino.convert_model(file), path)


def torch_program(model, path, mask):
    import torch

    shape = model.input_shape[:-1]
    free = {axis: torch.export.Dim.DYNAMIC for axis, size in enumerate(shape) if size is None}
    with torch.no_grad(), _quiet("torch.export"):
        program = torch.export.export(
            _torch_module(model, mask), (), {"image": _sample(model)},
            dynamic_shapes={"image": free}, strict=False,
        )  # fmt: skip
        held = io.BytesIO()  # PyTorch ends the process when it cannot write a file to its end
        torch.export.save(program, held)
    path.write_bytes(held.getbuffer())


def _torch_module(model, mask):
    import torch

    class Served(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, image):
            return outputs_by_name(self.model, mask, image)

    return Served().eval()


def _sample(model):
    import torch

    _, *sizes, channels = model.input_shape
    sample = SAMPLE_SIZES[len(sizes)]
    sizes = [own or free for own, free in zip(sizes, sample, strict=True)]
    return torch.zeros((2, *sizes, channels))


# --- JAX ----------------------------------------------------------------------------------------


def stablehlo(model, path, mask):
    import jax
    from jax import export

    axes = AXES[len(model.input_shape) - 2]
    sizes = [size or name for size, name in zip(model.input_shape, axes, strict=False)]
    shape = export.symbolic_shape(", ".join(map(str, [*sizes, model.input_shape[-1]])))
    program = export.export(
        jax.jit(lambda image: outputs_by_name(model, mask, image)),
        platforms=("cpu", "cuda", "tpu"),
    )(jax.ShapeDtypeStruct(shape, np.float32))
    path.write_bytes(program.serialize())


# --- What they share ----------------------------------------------------------------------------


def _save_openvino(converted, path):
    import openvino

    openvino.save_model(converted, path / "model.xml", compress_to_fp16=False)


@contextlib.contextmanager
def _quiet(logger):
    """Hides a converter's warnings: the comparison shows what it got wrong."""
    logger = logging.getLogger(logger)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
