"""The rivals' processes, seen from the one that times them."""

import contextlib
import importlib.util
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from keras_deepskip.studies.timing.rivals import RIVALS

ROOT = Path(__file__).resolve().parents[2]
# Several processes share a GPU: none takes all of its memory at once.
GPU_SHARING = {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


class Failure(Exception):
    """Why a rival has no figure."""


class Crew:
    """One process a rival, for one mode, one size of image and one set of options at a time.

    A process is started when its rival is first run, and ended with `close`, after a failure, or
    when one of the three changes: a process that trains should not hold what prediction has left.
    What could not be built is not tried again until then.

    Args:
        backend: the Keras backend, but for rivals that are bound to one.
        limit_s: seconds that a rival may take for each answer.
    """

    def __init__(self, backend, limit_s):
        self.backend = backend
        self.limit_s = limit_s
        self.setting = None
        self.processes, self.facts, self.unbuilt = {}, {}, {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def run(self, name, case):
        """Gives a rival one turn.

        Args:
            name: a name in `RIVALS`.
            case: dict with `mode`, `size`, `batch` and `options`.

        Returns:
            A dict: `ns`, the nanoseconds of its mean call, and `peak_bytes`.

        Raises:
            Failure: if it cannot be run; the text says why.
        """
        setting = (case["mode"], case["size"], case["options"])
        if self.setting != setting:
            self.close()
            self.setting = setting
        if case["mode"] == "train" and not RIVALS[name].trains:
            raise Failure("predicts only")
        if name not in self.processes:
            self._start(name)
        return self._ask(name, do="run", mode=case["mode"], batch=case["batch"])

    def close(self):
        """Ends all processes."""
        for name in list(self.processes):
            self.processes.pop(name).end()
        self.unbuilt.clear()

    def _start(self, name):
        if name in self.unbuilt:
            raise Failure(self.unbuilt[name])
        try:
            check_installed(name)
            self.processes[name] = Process(RIVALS[name].backend or self.backend)
            _, size, options = self.setting
            self.facts[name] = self._ask(name, do="build", rival=name, size=size, options=options)
        except Failure as failure:
            self.unbuilt[name] = str(failure)
            raise

    def _ask(self, name, **request):
        try:
            return self.processes[name].ask(self.limit_s, **request)
        except Failure:
            self.processes.pop(name).end()
            raise


class Process:
    """A `worker` process.

    Args:
        backend: the Keras backend that it starts with.
    """

    def __init__(self, backend):
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        environment = {
            **os.environ,
            "KERAS_BACKEND": backend,
            "PYTHONPATH": os.pathsep.join(path for path in paths if path),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            **GPU_SHARING,
        }
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "keras_deepskip.studies.timing.rival_process"],
            env=environment, text=True, encoding="utf-8",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
            start_new_session=True,  # an interrupt from the keyboard is the first process's matter
        )  # fmt: skip
        self.answers = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def ask(self, limit_s, **request):
        """Sends a request and returns its answer.

        Raises:
            Failure: if the answer is one, does not come in `limit_s` seconds, or never will.
        """
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            answer = self.answers.get(timeout=limit_s)
        except queue.Empty:
            raise Failure(f"over the limit of {limit_s:g} s") from None
        except BrokenPipeError:
            answer = None
        if answer is None:
            raise Failure(self._last_words())
        if "failure" in answer:
            raise Failure(answer["failure"])
        return answer

    def end(self):
        """Ends the process, whatever it is doing, and those that it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.errors.close()

    def _listen(self):
        with self.process.stdout as lines:
            for line in lines:
                self.answers.put(json.loads(line))
        self.answers.put(None)

    def _last_words(self):
        status = self.process.wait()
        if status == -9:
            return "killed: out of memory?"
        self.errors.seek(0)
        lines = self.errors.read().decode("utf-8", "replace").strip().splitlines() or ["no word"]
        return f"ended with status {status}: {lines[-1]}"[:160]


def check_installed(name):
    """Raises a `Failure` with the pip line if packages of a rival are missing."""
    needs = RIVALS[name].needs.items()
    missing = [pip for module, pip in needs if importlib.util.find_spec(module) is None]
    if missing:
        raise Failure(f"not run: pip install {' '.join(missing)}")
