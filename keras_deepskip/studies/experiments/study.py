"""`ablation` and `compare`: a study from its configuration to its report."""

import dataclasses
import datetime
import shlex
from pathlib import Path

from keras_deepskip import _checks
from keras_deepskip._versions import versions
from keras_deepskip.studies.experiments.ablation_study import ABLATION
from keras_deepskip.studies.experiments.comparison_study import COMPARISON
from keras_deepskip.studies.experiments.report import Made, write_report
from keras_deepskip.studies.experiments.runner import run_all, runs_of
from keras_deepskip.studies.timing.measure import measure

COST_SIZE, COST_REPEATS, COST_LIMIT_S = 256, 7, 300.0


def ablation(out, preset="quick", data=None, **options):
    """Runs Table 1: the ablation of deep skips and of the loss's parts.

    See `run_study` for the arguments and the files that are written.

    Example:

    ```python
    ablation("runs/ablation", "quick", data="sets", log=print)
    ```
    """
    return run_study(ABLATION, out, preset, data, **options)


def compare(out, preset="quick", data=None, **options):
    """Runs Tables 2 and 3: the deep-skip network and U-Net, FCN, PSPNet, Mask R-CNN and others.

    See `run_study` for the arguments and the files that are written.

    Example:

    ```python
    compare("runs/compare", "light", data="sets", log=print)
    ```
    """
    return run_study(COMPARISON, out, preset, data, **options)


def run_study(
    study,
    out,
    preset="quick",
    data=None,
    *,
    networks=None,
    categories=None,
    own_categories=(),
    seeds=None,
    steps=None,
    jobs=1,
    log=lambda line: None,
):
    """Trains and evaluates every network of a study on every category with every seed, and reports.

    Each run is a process of its own, with a folder `out/CATEGORY/NETWORK/seedN` that holds all its
    settings. All networks have the same splits and seeds, and the same minutes or, in other
    presets, the same crops and number of steps. After an interrupt or a kill the same call resumes,
    also within a run.

    Writes to `out`: `report.md`, `report.html` (if the extra `report` is installed), `results.csv`
    (a row per run), `tables/` (CSV and LaTeX), `categories.png`, `curves.png`, `multiples_real.png`
    and `multiples_synthetic.png` (if there are such images), and `synthetic/` with synthetic sets.

    Args:
        study: a `Study`, such as `ABLATION`.
        out: folder to write to.
        preset: name in `study.presets`.
        data: folder that holds the sets.
        networks, categories: names; None takes those of the preset.
        own_categories: further `Category`s, in place of the preset's unless `categories` names some
            of these too.
        seeds: list of integers; None takes those of the preset.
        steps: training steps of every run, without exception; None takes those of the preset.
        jobs: number of runs at once, among which the cores are divided.
        log: function that takes a line of progress.

    Returns:
        A list of dicts, a row per run.

    Raises:
        ValueError: if a name is not known, or `out` holds runs with other settings.
        FileNotFoundError: if a category's images are not there.
        RuntimeError: if processes failed; the report of the others is written, and the same call
            tries these again.

    Example:

    ```python
    run_study(COMPARISON, "runs/cells", own_categories=[Category("my cells", "/home/me/cells")])
    ```
    """
    for package in ("matplotlib", "pandas", *(("psutil",) if study.costs else ())):
        _checks.require(package, '"keras-deepskip[studies]"', "the report of a study")
    chosen = study.presets[_checks.check_choice("preset", preset, study.presets)]
    if steps is not None:
        _checks.check_integer("steps", steps)
        chosen = dataclasses.replace(chosen, steps=steps, steps_of={}, minutes=None)
    picked = {"networks": networks, "categories": categories, "seeds": seeds, "steps": steps}
    made = _made(study, preset, picked, own_categories)
    study, categories = _with_own(study, own_categories, categories)
    runs = runs_of(study, chosen, out, networks, categories, seeds)
    log(f"{study.title}: {len(runs)} runs, preset {preset} ({chosen.about})")
    rows, failures = run_all(runs, chosen, data, out, jobs, log)
    measured = _costs(study, runs, out, log) if study.costs else None
    if rows:
        write_report(study, rows, runs, out, made, measured, log)
    if failures:
        raise RuntimeError(
            f"{len(failures)} of {len(runs)} runs failed; the same command tries them again. "
            + "; ".join(failures[:3])
        )
    return rows


def _with_own(study, own, categories):
    """The study with further categories, and the names of the categories to run."""
    names = [category.name for category in own]
    wider = dataclasses.replace(study, categories=(*study.categories, *own))
    return wider, categories if categories or not own else names


def _costs(study, runs, out, log):
    """Time and memory of a prediction of each network that runs, side by side."""
    names = {run.network.name for run in runs}
    timed = [n.timed_as for n in study.networks if n.timed_as and n.name in names]
    case = {"mode": "predict", "size": COST_SIZE, "batch": 1, "options": {}}
    path = Path(out) / "costs.json"
    return measure(path, [case], timed, COST_REPEATS, COST_LIMIT_S, None, log)


def _made(study, preset, picked, own):
    """How the report was made: libraries, and the command with all options that matter."""
    made = versions()
    libraries = f"keras {made['keras']}, {made['backend']} {made[made['backend']]}"
    words = ["keras-deepskip", study.name, "--preset", preset]
    for name, value in picked.items():
        if value is not None:
            values = value if isinstance(value, list | tuple) else [value]
            words += [f"--{name}", *map(str, values)]
    for category in own:
        words += ["--category", f"{category.name}=FOLDER"]
    return Made(
        datetime.date.today().isoformat(),
        f"{libraries} (Python {made['python']})",
        f"{shlex.join(words)} --data FOLDER_OF_SETS --out FOLDER",
        "Metrics are of test images that no run has trained on, each predicted whole, with the "
        "weights of the epoch that was best on the validation images, and its operating point. "
        "*Synthetic* categories replace real "
        "sets that are too small.",
    )
