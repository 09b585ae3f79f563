"""Cases, rounds, and the file that keeps what was measured."""

import datetime
import statistics
import time
from importlib import metadata

import keras
import numpy as np

from keras_deepskip import _checks, _files
from keras_deepskip._versions import versions
from keras_deepskip.studies.timing.machine import machine
from keras_deepskip.studies.timing.process_pool import Crew, Failure
from keras_deepskip.studies.timing.rivals import RIVALS

BACKENDS = ("tensorflow", "jax", "torch")
MODES = ("predict", "train")
# The first call compiles, and on TensorFlow the second step of a training may compile once more.
WARM_UPS = 2
PAUSE_S = 0.05  # threads that wait busily for more work have gone to sleep by then


def measure(path, cases, rivals, repeats, limit_s, backend, say):
    """Measures the cases that `path` does not hold yet; it is written anew after each of them.

    What it holds was measured with other settings, versions or on another machine is dropped.

    Args:
        path: the JSON file.
        cases: list of dicts with `mode`, `size`, `batch` and `options`.
        rivals: names in `RIVALS`.
        repeats: rounds of each case.
        limit_s: seconds that a rival may take for one answer.
        backend: name of the Keras backend; None is the one in use.
        say: function that takes a line of progress.

    Returns:
        A dict, as it is in the file: `settings`, `machine`, `versions`, `date`, and `cases`, each
        with `case` and, by rival, `parameters`, `macs`, `ns` (one a round) and `peak_bytes`, or
        `failure`.
    """
    backend = _checks.check_choice("backend", backend or keras.backend.backend(), BACKENDS)
    settings = {
        "backend": backend,
        "rivals": list(rivals),
        "repeats": _checks.check_integer("repeats", repeats),
        "limit_s": _checks.check_number("limit_s", limit_s, 0, float("inf"), open_high=True),
    }
    result = _begin(path, settings, say)
    done = [entry["case"] for entry in result["cases"]]
    todo = [case for case in cases if case not in done]
    if len(todo) < len(cases):
        say(f"{len(cases) - len(todo)} of {len(cases)} cases are in {path} already")
    with Crew(backend, limit_s) as crew:
        for number, case in enumerate(todo, start=1):
            say(f"{number}/{len(todo)} {describe(case)}")
            result["cases"].append({"case": case, "rivals": _run_case(crew, case, settings, say)})
            _files.write_json(path, result)
    return result


def check_names(rivals, modes, reference):
    """Checks names of rivals, of modes, and of the rival that others are compared with."""
    for name in rivals:
        _checks.check_choice("rivals", name, RIVALS)
    for mode in modes:
        _checks.check_choice("modes", mode, MODES)
    _checks.check_choice("reference", reference, rivals)


def describe(case):
    """A case in words.

    Example:

    >>> describe({"mode": "train", "size": 256, "batch": 8, "options": {"levels": 4}})
    'train, 256 x 256, batch 8, levels 4'
    """
    options = "".join(f", {name} {value}" for name, value in case["options"].items())
    return f"{case['mode']}, {case['size']} x {case['size']}, batch {case['batch']}{options}"


def quartiles(ns):
    """Lower quartile, median and upper quartile of times in ns; each in ms.

    Example:

    >>> quartiles([4_000_000, 1_000_000, 2_000_000, 3_000_000, 5_000_000])
    (2.0, 3.0, 4.0)
    """
    return tuple(float(value) for value in np.quantile(ns, (0.25, 0.5, 0.75)) / 1e6)


def time_per(case):
    """What a call's time is divided by, and the unit then: images in `predict`, nothing else.

    Example:

    >>> time_per({"mode": "predict", "batch": 8}), time_per({"mode": "train", "batch": 8})
    ((8, 'ms an image'), (1, 'ms a step'))
    """
    return (case["batch"], "ms an image") if case["mode"] == "predict" else (1, "ms a step")


def by_mode_and_size(result):
    """Returns a dict from (mode, size) to the entries of `result["cases"]`, by batch."""
    groups = {}
    for entry in sorted(result["cases"], key=lambda entry: entry["case"]["batch"]):
        groups.setdefault((entry["case"]["mode"], entry["case"]["size"]), []).append(entry)
    return dict(sorted(groups.items()))


# ---- One case ------------------------------------------------------------------------------------


def _run_case(crew, case, settings, say):
    """Warms all rivals up, then goes round: every rival once, every rival once more, ..."""
    found = {}
    warm = range(WARM_UPS)
    for name in settings["rivals"]:
        runs = _attempt(lambda name=name: [crew.run(name, case) for _ in warm])
        found[name] = {"failure": runs} if isinstance(runs, str) else {**crew.facts[name]}
    times = {name: [] for name, figures in found.items() if "failure" not in figures}
    for _ in range(settings["repeats"]):
        for name in list(times):
            time.sleep(PAUSE_S)
            run = _attempt(lambda name=name: crew.run(name, case))
            if isinstance(run, str):
                found[name] = {"failure": run}
                del times[name]
            else:
                times[name].append(run)
    for name, runs in times.items():
        found[name]["ns"] = [run["ns"] for run in runs]
        peaks = [run["peak_bytes"] for run in runs]
        found[name]["peak_bytes"] = None if None in peaks else max(peaks)
    for name, figures in found.items():
        say(f"    {name}: {_said(figures)}")
    return found


def _attempt(action):
    """What an action returns, or the words of its failure."""
    try:
        return action()
    except Failure as failure:
        return str(failure)


def _said(figures):
    if "failure" in figures:
        return figures["failure"]
    return f"{statistics.median(figures['ns']) / 1e6:.1f} ms"


# ---- The file ------------------------------------------------------------------------------------


def _begin(path, settings, say):
    """What the file holds, if it goes with these settings; else a new beginning."""
    fresh = {
        "settings": settings,
        "machine": machine(),
        "versions": _versions(settings),
        "date": datetime.date.today().isoformat(),
        "cases": [],
    }
    if not path.exists():
        return fresh
    stored = _files.read_json(path, "what a benchmark has measured")
    changed = [
        name for name in ("settings", "machine", "versions") if stored.get(name) != fresh[name]
    ]
    if not changed:
        return stored
    say(f"{path} was measured with other {' and '.join(changed)}: all cases are measured anew")
    return fresh


def _versions(settings):
    """Of this package, the libraries below, and the rivals' own packages."""
    modules = {settings["backend"]}.union(*(RIVALS[name].needs for name in settings["rivals"]))
    distributions = metadata.packages_distributions()  # TensorFlow has several, such as -cpu
    packages = {name for module in modules for name in distributions.get(module, ())}
    own = {name: metadata.version(name) for name in sorted(packages)}
    return {**versions(), "backend": settings["backend"], **own}
