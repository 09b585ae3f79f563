"""The processes of the timed networks, as the process that times them sees them."""

import contextlib
import importlib.util
import json
import queue
import subprocess
import tempfile
import threading

from keras_deepskip._processes import (
    GPU_SHARING,
    child_environment,
    end_process_group,
    start_process,
)
from keras_deepskip.studies.timing.timed_networks import TIMED_NETWORKS

NETWORK_PROCESS = "keras_deepskip.studies.timing.network_process"


class Failure(Exception):
    """Why a network could not be measured."""


class ProcessPool:
    """One process per network, for one mode, image size and set of options at a time.

    A process is started when its network is first run, and ended by `close`, after a failure, or
    when one of the three changes: memory that prediction has left must not count in training.
    A network that could not be built is not tried again until then.

    Args:
        backend: the Keras backend, except for networks that are bound to one.
        limit_s: most seconds for each answer.
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
        """Measures a network once.

        Args:
            name: a name in `TIMED_NETWORKS`.
            case: dict with `mode`, `size`, `batch` and `options`.

        Returns:
            A dict: `ns`, the nanoseconds of the mean call, and `peak_bytes`.

        Raises:
            Failure: if it cannot be run; the text says why.
        """
        setting = (case["mode"], case["size"], case["options"])
        if self.setting != setting:
            self.close()
            self.setting = setting
        if case["mode"] == "train" and not TIMED_NETWORKS[name].trains:
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
            self.processes[name] = NetworkProcess(TIMED_NETWORKS[name].backend or self.backend)
            _, size, options = self.setting
            self.facts[name] = self._ask(name, do="build", network=name, size=size, options=options)
        except Failure as failure:
            self.unbuilt[name] = str(failure)
            raise

    def _ask(self, name, **request):
        try:
            return self.processes[name].ask(self.limit_s, **request)
        except Failure:
            self.processes.pop(name).end()
            raise


class NetworkProcess:
    """A running `network_process`.

    Args:
        backend: the Keras backend that it starts with.
    """

    def __init__(self, backend):
        self.errors = tempfile.TemporaryFile()
        self.process = start_process(
            NETWORK_PROCESS,
            environment=child_environment(backend, **GPU_SHARING),
            text=True, encoding="utf-8",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
        )  # fmt: skip
        self.answers = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def ask(self, limit_s, **request):
        """Sends a request and returns its answer.

        Raises:
            Failure: if the answer is one, takes over `limit_s` seconds, or the process has ended.
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
            raise Failure(self._ending())
        if "failure" in answer:
            raise Failure(answer["failure"])
        return answer

    def end(self):
        """Ends the process, whatever it is doing, and those that it has started."""
        end_process_group(self.process)
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.errors.close()

    def _listen(self):
        with self.process.stdout as lines:
            for line in lines:
                self.answers.put(json.loads(line))
        self.answers.put(None)

    def _ending(self):
        status = self.process.wait()
        if status == -9:
            return "killed: out of memory?"
        self.errors.seek(0)
        lines = self.errors.read().decode("utf-8", "replace").strip().splitlines() or ["no message"]
        return f"ended with status {status}: {lines[-1]}"[:160]


def check_installed(name):
    """Raises a `Failure` with the pip line if packages of a network are missing."""
    needs = TIMED_NETWORKS[name].needs.items()
    missing = [pip for module, pip in needs if importlib.util.find_spec(module) is None]
    if missing:
        raise Failure(f"not run: pip install {' '.join(missing)}")
