"""Runs model.onnx of a version for Triton, which makes batches of requests."""

from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton


class TritonPythonModel:
    """What Triton's backend for Python calls."""

    def initialize(self, args):
        """Loads the file of the version that is served."""
        folder = Path(args["model_repository"]) / args["model_version"]
        self.session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
        self.names = [output.name for output in self.session.get_outputs()]

    def execute(self, requests):
        """Computes all requests together; each gets its own part of every output."""
        tensors = [triton.get_input_tensor_by_name(request, "image") for request in requests]
        images = [tensor.as_numpy() for tensor in tensors]
        outputs = self.session.run(self.names, {"image": np.concatenate(images)})
        ends = np.cumsum([len(own) for own in images])[:-1]
        parts = zip(*(np.split(output, ends) for output in outputs), strict=True)
        return [self.response(own) for own in parts]

    def response(self, outputs):
        """What one request gets."""
        return triton.InferenceResponse(list(map(triton.Tensor, self.names, outputs)))
