"""One function a format: opens what was written by its own runtime, which knows nothing of Keras.

Each returns a function from an image, float32 (N, H, W, C), to a dict of NumPy arrays.
"""


def saved_model(path):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))  # kept: the signature alone would lose its variables
    serve = loaded.signatures["serving_default"]

    def run(image, loaded=loaded):
        return {name: value.numpy() for name, value in serve(image=tf.constant(image)).items()}

    return run


def onnx(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda image: dict(zip(names, session.run(names, {"image": image}), strict=True))


def litert(path):
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(path)).get_signature_runner()  # it resizes the input to the image
    return lambda image: dict(runner(image=image))


def openvino(path):
    import openvino

    # Processors with bfloat16 would otherwise compute in that.
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(path / "model.xml", "CPU", exact)
    names = [_known(output.names) for output in compiled.outputs]
    return lambda image: {name: compiled({"image": image})[name].copy() for name in names}


def _known(names):
    """The name of an output among those that tensors of it bear inside the graph."""
    return next(name for name in ("probabilities", "mask") if name in names)


def torch(path):
    import torch

    program = torch.export.load(path).module()

    def run(image):
        with torch.no_grad():
            outputs = program(image=torch.from_numpy(image))
        return {name: value.numpy() for name, value in outputs.items()}

    return run


def stablehlo(path):
    import jax
    import numpy as np

    program = jax.export.deserialize(bytearray(path.read_bytes()))
    return lambda image: {name: np.asarray(value) for name, value in program.call(image).items()}
