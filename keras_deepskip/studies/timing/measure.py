"""Cases, rounds, and the file that keeps the measurements."""

import datetime
import statistics
import time
from importlib import metadata

import keras
import numpy as np

from keras_deepskip import _checks, _files
from keras_deepskip._backend import BACKENDS
from keras_deepskip._versions import versions
from keras_deepskip.studies.timing.machine import machine
from keras_deepskip.studies.timing.process_pool import Failure, ProcessPool
from keras_deepskip.studies.timing.timed_networks import TIMED_NETWORKS

MODES = ("predict", "train")
# The first call compiles, and on TensorFlow the second step of a training may compile once more.
WARM_UPS = 2
PAUSE_S = 0.05  # until threads that wait busily for more work have gone to sleep


def measure(path, cases, rivals, repeats, limit_s, backend, log):
    """Measures the cases that `path` does not hold yet, and rewrites it after each of them.

    Cases that were measured with other settings or versions, or on another machine, are dropped.

    Args:
        path: the JSON file.
        cases: list of dicts with `mode`, `size`, `batch` and `options`.
        rivals: names in `TIMED_NETWORKS`.
        repeats: rounds of each case.
        limit_s: most seconds for one answer of a network.
        backend: name of the Keras backend; None is the one in use.
        log: function that takes a line of progress.

    Returns:
        A dict, as it is in the file: `settings`, `machine`, `versions`, `date`, and `cases`, each
        with `case` and `rivals`: by network, `parameters`, `macs`, `ns` (one per round) and
        `peak_bytes`, or `failure`.
    """
    backend = _checks.check_choice("backend", backend or keras.backend.backend(), BACKENDS)
    settings = {
        "backend": backend,
        "rivals": list(rivals),
        "repeats": _checks.check_integer("repeats", repeats),
        "limit_s": _checks.check_number("limit_s", limit_s, 0, float("inf"), open_high=True),
    }
    result = _begin(path, settings, log)
    done = [entry["case"] for entry in result["cases"]]
    todo = [case for case in cases if case not in done]
    if len(todo) < len(cases):
        log(f"{len(cases) - len(todo)} of {len(cases)} cases are in {path} already")
    with ProcessPool(backend, limit_s) as pool:
        for number, case in enumerate(todo, start=1):
            log(f"{number}/{len(todo)} {describe(case)}")
            result["cases"].append({"case": case, "rivals": _run_case(pool, case, settings, log)})
            _files.write_json(path, result)
    return result


def check_names(rivals, modes, reference):
    """Checks the names of networks, of modes, and of the network to compare with."""
    if not rivals:
        raise ValueError("`rivals` must be names of networks, one at least. Received: none")
    for name in rivals:
        _checks.check_choice("rivals", name, TIMED_NETWORKS)
    for mode in modes:
        _checks.check_choice("modes", mode, MODES)
    _checks.check_choice("reference", reference, rivals)


def describe(case):
    """Describes a case.

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
    """Returns the divisor of a call's time and the unit: per image in `predict`, else per step.

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


def _run_case(pool, case, settings, log):
    """Warms all networks up, then measures each of them once per round."""
    found = {}
    warm = range(WARM_UPS)
    for name in settings["rivals"]:
        runs = _attempt(lambda name=name: [pool.run(name, case) for _ in warm])
        found[name] = {"failure": runs} if isinstance(runs, str) else {**pool.facts[name]}
    times = {name: [] for name, own in found.items() if "failure" not in own}
    for _ in range(settings["repeats"]):
        for name in list(times):
            time.sleep(PAUSE_S)
            run = _attempt(lambda name=name: pool.run(name, case))
            if isinstance(run, str):
                found[name] = {"failure": run}
                del times[name]
            else:
                times[name].append(run)
    for name, runs in times.items():
        found[name]["ns"] = [run["ns"] for run in runs]
        peaks = [run["peak_bytes"] for run in runs]
        found[name]["peak_bytes"] = None if None in peaks else max(peaks)
    for name, own in found.items():
        log(f"    {name}: {_summary(own)}")
    return found


def _attempt(action):
    """Returns what an action returns, or the text of its failure."""
    try:
        return action()
    except Failure as failure:
        return str(failure)


def _summary(found):
    if "failure" in found:
        return found["failure"]
    return f"{statistics.median(found['ns']) / 1e6:.1f} ms"


# ---- The file ------------------------------------------------------------------------------------


def _begin(path, settings, log):
    """The content of the file if it was measured with these settings; else an empty result."""
    fresh = {
        "settings": settings,
        "machine": machine(),
        "versions": _versions(settings),
        "date": datetime.date.today().isoformat(),
        "cases": [],
    }
    if not path.exists():
        return fresh
    stored = _files.read_json(path, "the measurements of a benchmark")
    changed = [
        name for name in ("settings", "machine", "versions") if stored.get(name) != fresh[name]
    ]
    if not changed:
        return stored
    log(f"{path} was measured with other {' and '.join(changed)}: all cases are measured again")
    return fresh


def _versions(settings):
    """Of this package, its libraries, and the packages of the timed networks."""
    modules = {settings["backend"]}.union(
        *(TIMED_NETWORKS[name].needs for name in settings["rivals"])
    )
    distributions = metadata.packages_distributions()  # TensorFlow has several, such as -cpu
    packages = {name for module in modules for name in distributions.get(module, ())}
    own = {name: metadata.version(name) for name in sorted(packages)}
    return {**versions(), "backend": settings["backend"], **own}
