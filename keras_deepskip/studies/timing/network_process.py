"""The process of one network: builds it, runs it on request, answers with times and memory.

    python -m keras_deepskip.studies.timing.network_process

Requests are JSON lines on the standard input; each is answered by one on the standard output:

    {"do": "build", "network": "unet", "size": 256, "options": {}}
        {"parameters": 31031745, "macs": null}
    {"do": "run", "mode": "predict", "batch": 8}
        {"ns": 512345678, "peak_bytes": 310000000}

or by {"failure": "what went wrong"}. Between requests the process sleeps.
"""

import importlib
import json
import os
import sys
import time

import numpy as np

from keras_deepskip.studies.timing import machine
from keras_deepskip.studies.timing.timed_networks import TIMED_NETWORKS

MIN_TIMED_NS = 250_000_000  # a quarter of a second


def main():
    """Answers requests until the standard input ends."""
    answers = _own_output()
    machine.raise_oom_score()
    handler = RequestHandler()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(handler, request.pop("do"))(**request)
        except Exception as error:  # whatever a network raises is its result
            answer = {"failure": _in_a_line(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


class RequestHandler:
    """Answers requests to build and to run one network; each method answers one."""

    def __init__(self):
        self.adapter = None
        self.size = None
        self.baseline = None
        self.prepared = None
        self.task = None

    def build(self, network, size, options):
        """Builds the network. Memory counts from just before, when its packages are loaded."""
        entry = TIMED_NETWORKS[network]
        for module in entry.needs:
            importlib.import_module(module)
        self.size = size
        self.baseline = machine.resident()
        self.adapter = entry.adapter(entry.build, size, options)
        return {"parameters": self.adapter.parameters, "macs": self.adapter.macs}

    def run(self, mode, batch):
        """Runs the network on a batch for a while; data are generated before the clock starts.

        The time is the mean of the calls that fill `MIN_TIMED_NS`, or of the one that exceeds it: a
        single quick call would be mostly the waking of threads and caches.
        """
        if self.prepared != (mode, batch):
            self._prepare(mode, batch)
        has_peak = machine.reset_peak()
        start, calls, passed = time.perf_counter_ns(), 0, 0
        while passed < MIN_TIMED_NS:
            self.task()
            calls += 1
            passed = time.perf_counter_ns() - start
        peak = machine.peak() - self.baseline if has_peak else None
        return {"ns": passed // calls, "peak_bytes": peak}

    def _prepare(self, mode, batch):
        self.prepared = self.task = None
        machine.release_memory()  # what the previous batch has left must not count in this one
        rng = np.random.default_rng(0)
        images = rng.random((batch, self.size, self.size, 3), dtype="float32")
        if mode == "predict":
            self.task = self.adapter.predict(images)
        else:
            masks = (rng.random((batch, self.size, self.size, 1), dtype="float32") < 0.05) * 1.0
            self.task = self.adapter.train(images, masks.astype("float32"))
        self.prepared = (mode, batch)


def _own_output():
    """The standard output for answers only: what libraries print goes to the standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _in_a_line(error):
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:160]


if __name__ == "__main__":
    main()
