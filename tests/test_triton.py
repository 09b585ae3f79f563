"""Triton itself with a folder that `export` wrote: answers, batches, refusals, versions.

`KERAS_DEEPSKIP_TRITON` names the folder where nvidia-pytriton lies, whose wheel carries the server
(`examples/triton/serve.py` says how it comes there). Without it these tests skip.
"""

import concurrent.futures
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

import keras
import numpy as np
import pytest

from keras_deepskip import data
from keras_deepskip.export import export
from keras_deepskip.models import build_model
from tests import tiny

FOLDER = os.environ.get("KERAS_DEEPSKIP_TRITON")
EXAMPLES = tiny.ROOT / "examples"
LENGTH = "Inference-Header-Content-Length"
START_S = 60

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(keras.backend.backend() != "torch", reason="PyTorch writes ONNX soonest"),
    pytest.mark.skipif(not FOLDER, reason="KERAS_DEEPSKIP_TRITON does not name Triton's folder"),
]


class Client:
    """Asks a server for a model's outputs."""

    def __init__(self, port, model="cells"):
        self.address = f"http://127.0.0.1:{port}/v2/models/{model}"

    def get(self, path=""):
        """What it says of the model; None where it does not answer, or not yet."""
        try:
            with urllib.request.urlopen(self.address + path) as answer:
                return json.loads(answer.read() or "{}")
        except (urllib.error.URLError, ConnectionError):
            return None

    def infer(self, images):
        """Version and outputs for images (N, H, W, 3); a refusal's status and message."""
        images = np.asarray(images, "float32")
        tensor = {"name": "image", "datatype": "FP32", "shape": images.shape}
        tensor["parameters"] = {"binary_data_size": images.nbytes}
        head = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
        head = json.dumps(head).encode()
        body = head + images.tobytes()
        request = urllib.request.Request(f"{self.address}/infer", body, {LENGTH: str(len(head))})
        try:
            with urllib.request.urlopen(request) as answer:
                values, length = answer.read(), int(answer.headers[LENGTH])
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())["error"]
        said, outputs = json.loads(values[:length]), {}
        for output in said["outputs"]:
            kind = {"FP32": "float32", "UINT8": "uint8"}[output["datatype"]]
            end = length + output["parameters"]["binary_data_size"]
            own = np.frombuffer(values[length:end], kind).reshape(output["shape"])
            outputs[output["name"]], length = own, end
        return said["model_version"], outputs


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A model, its folder, and a client of the server that serves it; another has one size."""
    folder = tmp_path_factory.mktemp("triton") / "cells"
    keras.utils.set_random_seed(0)
    model = build_model((None, None, 3), levels=2, base_filters=2)
    middle = np.median(model.predict(an_image()[None], verbose=0))
    raise_scores(model, np.log(1 / middle - 1))  # half of the pixels are of objects
    export(model, folder, mask=True, serving="triton", max_batch_size=4)
    fixed = build_model((32, 48, 3), levels=2, base_filters=2)
    export(fixed, folder.parent / "fixed", serving="triton")
    port = tiny.free_port()
    command = [
        sys.executable, EXAMPLES / "triton" / "serve.py", FOLDER, folder.parent,
        f"--http-port={port}", "--allow-grpc=false",
        "--model-control-mode=poll", "--repository-poll-secs=1",
    ]  # fmt: skip
    log = folder.parent.with_suffix(".log")
    with log.open("wb") as written:
        server = subprocess.Popen(command, stdout=written, stderr=written, env=tiny.environ())
    try:
        clients = Client(port), Client(port, "fixed")
        until(lambda: all(each.get("/ready") is not None for each in clients), server, log)
        yield model, folder, *clients
    finally:
        server.terminate()
        server.wait(START_S)


def an_image():
    return np.random.default_rng(0).integers(0, 256, (37, 52, 3)).astype("uint8")


def raise_scores(model, amount):
    """Adds so much to what a model calculates before its sigmoid."""
    last = [layer for layer in model.layers if getattr(layer, "bias", None) is not None][-1]
    last.bias.assign(last.bias + amount)


def until(ready, server, log):
    """Waits for the server."""
    end = time.monotonic() + START_S
    while not ready():
        assert server.poll() is None and time.monotonic() < end, log.read_text()[-2000:]
        time.sleep(0.1)


def test_the_answers_are_the_models(served, tmp_path):
    model, folder, client, _ = served
    config = client.get("/config")
    assert (config["max_batch_size"], config["backend"]) == (4, "onnxruntime")
    image = an_image()
    expected = model.predict(image[None], verbose=0)
    _, outputs = client.infer(image[None])
    np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-5)
    assert np.array_equal(outputs["mask"], (outputs["probabilities"] > 0.5)[..., 0])

    data.write_png(tmp_path / "image.png", image)
    for program, first in (
        ("request_triton", client.address), ("run_onnx", folder / "1" / "model.onnx")
    ):  # fmt: skip
        files = [tmp_path / f"{program}_mask.png", tmp_path / f"{program}_labels.tif"]
        path = EXAMPLES / "runtimes" / f"{program}.py"
        command = [sys.executable, path, first, tmp_path / "image.png", *files]
        subprocess.run(command, check=True, env=tiny.environ())
    for kind in ("mask.png", "labels.tif"):
        own = [data.read_image(tmp_path / f"{p}_{kind}") for p in ("request_triton", "run_onnx")]
        assert np.array_equal(*own) and own[0].any()


def test_requests_at_once_are_batched_and_none_is_lost(served):
    """Of three sizes and one to four images each, from many threads."""
    model, _, client, _ = served
    draw = np.random.default_rng(1)
    sizes = draw.integers(0, 3, 60)
    requests = [
        draw.integers(0, 256, (draw.integers(1, 5), 24 + 8 * size, 32, 3)) for size in sizes
    ]
    before = client.get("/stats")["model_stats"][0]
    with concurrent.futures.ThreadPoolExecutor(30) as threads:
        answers = list(threads.map(client.infer, requests))
    for images, (version, outputs) in zip(requests, answers, strict=True):
        assert version == "1", outputs
        expected = model.predict_on_batch(images.astype("float32"))
        np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-5)
    after = client.get("/stats")["model_stats"][0]
    counted = [after[key] - before[key] for key in ("inference_count", "execution_count")]
    assert counted[0] == sum(map(len, requests)) and counted[1] < len(requests)


def test_what_waits_too_long_in_line_is_refused(served):
    """More requests than computed and waiting together: each is answered or refused."""
    model, _, client, _ = served
    image = np.random.default_rng(2).integers(0, 256, (1, 256, 256, 3))
    expected = model.predict_on_batch(image.astype("float32"))
    with concurrent.futures.ThreadPoolExecutor(150) as threads:
        answers = list(threads.map(client.infer, [image] * 300))
    refused = [said for status, said in answers if status == 503]
    assert 0 < len(refused) < 300 and all("maximum queue size" in said for said in refused)
    for status, outputs in answers:
        if status != 503:
            assert status == "1", outputs
            np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "shape", "words"),
    [
        ("cells", (5, 16, 16, 3), "batch-size must be <= 4"),
        ("cells", (1, 16, 16, 2), "unexpected shape for input 'image'"),
        ("fixed", (9, 32, 48, 3), "batch-size must be <= 8"),
        ("fixed", (1, 64, 48, 3), "unexpected shape for input 'image'"),
    ],
)
def test_what_is_too_large_or_wrong_is_refused(served, model, shape, words):
    client = dict(zip(("cells", "fixed"), served[2:], strict=True))[model]
    status, said = client.infer(np.zeros(shape))
    assert status == 400 and words in said
    status, outputs = client.infer(np.zeros((1, 32, 48, 3)))
    assert status in "12" and outputs["probabilities"].shape == (1, 32, 48, 1)


def test_a_new_version_is_taken(served):
    model, folder, client, _ = served
    image = an_image()[None]
    raise_scores(model, 1.0)
    export(model, folder, mask=True, serving="triton", max_batch_size=4)
    end = time.monotonic() + START_S
    while client.infer(image)[0] != "2" and time.monotonic() < end:
        time.sleep(0.2)
    version, outputs = client.infer(image)
    assert version == "2"
    expected = model.predict(image, verbose=0)
    np.testing.assert_allclose(outputs["probabilities"], expected, atol=1e-5)


def test_a_missing_server_is_told(tmp_path):
    command = [sys.executable, EXAMPLES / "triton" / "serve.py", tmp_path, tmp_path]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1 and "is missing. Install" in ended.stderr
