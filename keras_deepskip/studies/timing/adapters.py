"""How networks are run: through Keras, as a PyTorch module, or as an exported file.

An adapter takes a builder `build(size, **options)`. It has `parameters` (trainable weights) and
`macs` (multiply-adds for one image; None if a layer's cost is not known). `predict(images)` and
`train(images, masks)` return a function without arguments whose calls are timed: NumPy in, NumPy or
a number out, so nothing is still being computed when a call ends.
"""

import concurrent.futures
import math
import multiprocessing
import tempfile
from pathlib import Path

import keras
import numpy as np

from keras_deepskip import analysis
from keras_deepskip.losses import SmallObjectLoss
from keras_deepskip.studies.timing.machine import cores

LEARNING_RATE = 1e-4
EXPORT_TOLERANCE = 1e-4  # of probabilities


class KerasModel:
    """A Keras model, on the backend that Keras was started with."""

    def __init__(self, build, size, options):
        self.model = build(size, **options)
        self.parameters = sum(math.prod(weight.shape) for weight in self.model.trainable_weights)
        self.macs = _keras_macs(self.model, size)

    def predict(self, images):
        return lambda: self.model.predict_on_batch(images)

    def train(self, images, masks):
        if not self.model.compiled:
            self.model.compile(keras.optimizers.Adam(LEARNING_RATE), SmallObjectLoss())
        return lambda: float(self.model.train_on_batch(images, masks))


class TorchModule:
    """A PyTorch module from images (N, 3, H, W) to logits (N, 1, H, W)."""

    def __init__(self, build, size, options):
        import torch

        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = build(size, **options).to(self.device)
        self.parameters = sum(weight.numel() for weight in self.model.parameters())
        self.macs = _torch_macs(self.model, torch.zeros(1, 3, size, size, device=self.device))
        self.optimizer = None

    def predict(self, images):
        import torch

        self.model.eval()
        images = _channels_first(images)

        def run():
            with torch.inference_mode():
                logits = self.model(torch.from_numpy(images).to(self.device))
                return torch.sigmoid(logits).cpu().numpy()

        return run

    def train(self, images, masks):
        import torch

        self.model.train()
        self.optimizer = self.optimizer or torch.optim.Adam(self.model.parameters(), LEARNING_RATE)
        images, masks = _channels_first(images), _channels_first(masks)

        def run():
            self.optimizer.zero_grad()
            logits = self.model(torch.from_numpy(images).to(self.device))
            loss = _torch_loss(logits, torch.from_numpy(masks).to(self.device))
            loss.backward()
            self.optimizer.step()
            return loss.item()

        return run


class _Exported:
    """A Keras model as an ONNX file; subclasses run it (`_load`, `predict`).

    Another process writes the file, so that the memory for it is not counted here.
    """

    def __init__(self, build, size, options):
        spawn = multiprocessing.get_context("spawn")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
                written = pool.submit(_write_onnx, path, build, size, options).result()
            self.parameters, self.macs, images, expected = written
            self._load(path)
        difference = np.abs(self.predict(images)() - expected).max()
        if not difference <= EXPORT_TOLERANCE:
            raise RuntimeError(
                f"the exported network's outputs differ from the model's by {difference:.1e}"
            )


class OnnxRuntime(_Exported):
    """An exported model in ONNX Runtime, on the CPU."""

    def _load(self, path):
        self.session = onnx_session(path, cores())

    def predict(self, images):
        name = self.session.get_inputs()[0].name
        return lambda: self.session.run(None, {name: images})[0]


class OpenVino(_Exported):
    """An exported model in OpenVINO, on the CPU, in float32."""

    def _load(self, path):
        import openvino

        self.core = openvino.Core()
        self.graph = self.core.read_model(path)

    def predict(self, images):
        self.graph.reshape(images.shape)  # a program for this exact size is the fastest
        program = self.core.compile_model(self.graph, "CPU", openvino_settings(cores()))
        return lambda: program(images)[0]


# ---- Their parts ---------------------------------------------------------------------------------


def onnx_session(path, threads):
    """A session of ONNX Runtime on the CPU, beside which other networks are timed."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that wait busily for the next call would slow the next network down.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def openvino_settings(threads):
    """How OpenVINO compiles a program that is timed: for the time of one call, in float32."""
    return {
        "INFERENCE_PRECISION_HINT": "f32",  # else bfloat16, where the processor has it
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }


def _keras_macs(model, size):
    """Multiply-adds of a Keras model; None if `analysis` has no rule for one of its layers."""
    try:
        return sum(analysis.macs(model, size, size).values())
    except (ValueError, TypeError, AttributeError, KeyError, NotImplementedError):
        return None


def _torch_macs(model, image):
    """Multiply-adds of a module's convolutions and dense layers, counted while it runs."""
    import torch

    convolutions = (torch.nn.Conv2d, torch.nn.ConvTranspose2d)
    counts = []

    def count(layer, inputs, output):
        if isinstance(layer, torch.nn.Linear):
            counts.append(output.numel() * layer.in_features)
            return
        # Each weight is applied once per pixel: of the input in a transposed convolution.
        transposed = isinstance(layer, torch.nn.ConvTranspose2d)
        height, width = (inputs[0] if transposed else output).shape[-2:]
        counts.append(layer.weight.numel() * height * width)

    layers = [m for m in model.modules() if isinstance(m, (*convolutions, torch.nn.Linear))]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.inference_mode():
        model.eval()(image)
    for hook in hooks:
        hook.remove()
    return sum(counts)


def _torch_loss(logits, masks):
    """`SmallObjectLoss()` in PyTorch: half the cross-entropy, plus Dice."""
    import torch

    crossentropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, masks)
    probabilities, image = torch.sigmoid(logits), (1, 2, 3)
    overlap = (masks * probabilities).sum(image)
    total = (masks**2 + probabilities**2).sum(image)
    return 0.5 * crossentropy + (1 - (2 * overlap + 1) / (total + 1)).mean()


def _channels_first(array):
    return np.ascontiguousarray(array.transpose(0, 3, 1, 2))


def _write_onnx(path, build, size, options):
    """Builds and writes a model; returns parameters, MACs, and images with their outputs."""
    adapter = KerasModel(build, size, options)
    images = np.random.default_rng(0).random((2, size, size, 3), dtype="float32")
    expected = adapter.predict(images)()
    for layer in adapter.model.layers:
        if isinstance(layer, keras.layers.Normalization):
            # tf2onnx makes an input of each tensor that a layer holds; arrays become constants.
            layer.mean, layer.variance = np.array(layer.mean), np.array(layer.variance)
    adapter.model.export(path, format="onnx", verbose=False)
    return adapter.parameters, adapter.macs, images, expected
