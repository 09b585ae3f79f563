"""How much Triton answers, how late, and what it does with more: a folder that `export` wrote.

    pip install --no-deps --target triton nvidia-pytriton==0.7.0 onnxruntime "numpy<2"
    python benchmarks/serving_load.py --triton triton [--seconds 20] [--side 256]

Exports the default network for Triton and serves it by `examples/triton/serve.py`. Measures images
a second of ONNX Runtime alone (one at a time), then of the server with 16 clients that wait for
their answers: its capacity. Then images come at random times, at half of the capacity, at all of
it and at twice, whether or not others are still waited for; a latency is the time from when an
image was due to its answer. Every answer is compared with ONNX Runtime's. Clients and server share
the machine.
"""

import argparse
import concurrent.futures
import contextlib
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
import onnxruntime

from keras_deepskip import build_model
from keras_deepskip._tables import markdown_table
from keras_deepskip.export import export

SERVE = Path(__file__).parents[1] / "examples" / "triton" / "serve.py"
LENGTH = "Inference-Header-Content-Length"
PORT = 18400
CLIENTS = 16
HEADERS = ["load", "due/s", "answered/s", "refused", "lost", "wrong", "p50, ms", "p95", "p99"]


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--triton", type=Path, required=True, help="where nvidia-pytriton lies")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each load")
    parser.add_argument("--side", type=int, default=256, help="of the images, in pixels")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "models" / "cells"
        file = export(build_model(), folder, serving="triton").path
        load = Load(file, options.side, options.seconds)
        print(f"keras {keras.__version__}, onnxruntime {onnxruntime.__version__}, ", end="")
        print(f"images of {options.side} x {options.side}, {os.cpu_count()} cores\n")
        print(f"ONNX Runtime alone: {load.alone:.1f} images/s")
        with served(options.triton, folder.parent):
            capacity, rows = load.capacity()
            rows = [rows, *(load.offered(share, capacity) for share in (0.5, 1, 2))]
            print(f"9 images in a request: {load.ask(np.zeros((9, 8, 8, 3), 'float32'))[0]}\n")
    print(markdown_table(HEADERS, rows))


@contextlib.contextmanager
def served(triton, repository):
    """While Triton serves the models of a folder."""
    options = [
        f"--http-port={PORT}",
        "--allow-grpc=false",
        "--log-info=false",
        "--exit-timeout-secs=2",
    ]
    server = subprocess.Popen([sys.executable, SERVE, triton, repository, *options])
    try:
        while not ready():
            if server.poll() is not None:
                sys.exit("the server ended")
            time.sleep(0.2)
        yield
    finally:
        server.terminate()
        server.wait()


def ready():
    """Whether the model can be asked."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", PORT)
        connection.request("GET", "/v2/models/cells/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False


class Load:
    """Requests of one image each, and what became of them."""

    def __init__(self, file, side, seconds):
        self.seconds = seconds
        self.draw = np.random.default_rng(0)
        self.images = self.draw.uniform(0, 255, (8, 1, side, side, 3)).astype("float32")
        session = onnxruntime.InferenceSession(file)
        self.expected = [session.run(None, {"image": image})[0] for image in self.images]
        begun, count = time.perf_counter(), 0
        while time.perf_counter() - begun < seconds / 2:
            session.run(None, {"image": self.images[count % 8]})
            count += 1
        self.alone = count / (time.perf_counter() - begun)
        self.own = threading.local()

    def ask(self, image):
        """The status of a request, and the values of its answer (None if it was refused)."""
        if not hasattr(self.own, "connection"):  # of this thread, kept open
            self.own.connection = http.client.HTTPConnection("127.0.0.1", PORT)
        tensor = {"name": "image", "datatype": "FP32", "shape": image.shape}
        tensor["parameters"] = {"binary_data_size": image.nbytes}
        head = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
        head = json.dumps(head).encode()
        headers = {LENGTH: str(len(head))}
        self.own.connection.request(
            "POST", "/v2/models/cells/infer", head + image.tobytes(), headers
        )
        answer = self.own.connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            return answer.status, None
        return 200, np.frombuffer(body[int(answer.headers[LENGTH]) :], "float32")

    def one(self, number, due):
        """What became of an image: its fate, and its latency in seconds."""
        time.sleep(max(due - time.perf_counter(), 0))
        try:
            status, values = self.ask(self.images[number % 8])
        except (OSError, http.client.HTTPException):
            return "lost", None
        if status != 200:
            return ("refused" if status == 503 else "lost"), None
        same = np.abs(values - self.expected[number % 8].ravel()).max() < 1e-5
        return ("answered" if same else "wrong"), time.perf_counter() - due

    def capacity(self):
        """Images a second with clients that wait for each answer, and its row."""
        begun = time.perf_counter()

        def client(first):
            fates, number = [], first
            while time.perf_counter() - begun < self.seconds:
                fates.append(self.one(number, time.perf_counter()))
                number += 1
            return fates

        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as threads:
            fates = sum(threads.map(client, range(CLIENTS)), [])
        took = time.perf_counter() - begun
        return len(fates) / took, self.row(f"{CLIENTS} clients that wait", None, fates, took)

    def offered(self, share, capacity):
        """The row of a load that does not wait."""
        rate = share * capacity
        gaps = self.draw.exponential(1 / rate, int(rate * self.seconds))
        begun = time.perf_counter() + 0.5
        due = begun + np.cumsum(gaps)
        with concurrent.futures.ThreadPoolExecutor(400) as threads:
            fates = list(threads.map(self.one, range(len(due)), due))
        took = time.perf_counter() - begun
        return self.row(f"{share:g} of that capacity", rate, fates, took)

    def row(self, name, rate, fates, took):
        """A row of the table."""
        kinds = [fate for fate, _ in fates]
        late = 1e3 * np.percentile([s for _, s in fates if s is not None] or [np.nan], [50, 95, 99])
        counts = [kinds.count(kind) for kind in ("refused", "lost", "wrong")]
        speed = f"{kinds.count('answered') / took:.1f}"
        return [name, f"{rate:.1f}" if rate else "", speed, *counts, *(f"{ms:.0f}" for ms in late)]


if __name__ == "__main__":
    main()
