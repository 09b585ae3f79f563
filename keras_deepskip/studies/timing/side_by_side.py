"""`benchmark`: the deep-skip network's speed and memory beside its rivals'."""

from pathlib import Path

from keras_deepskip import _checks, _files
from keras_deepskip.studies.timing.figures import draw_times
from keras_deepskip.studies.timing.measure import check_names, measure
from keras_deepskip.studies.timing.rivals import RIVALS
from keras_deepskip.studies.timing.tables import comparison_text


def benchmark(
    out,
    rivals=tuple(RIVALS),
    sizes=(256, 512, 1024),
    batches=(1, 8),
    modes=("predict", "train"),
    repeats=7,
    limit_s=120.0,
    backend=None,
    reference=None,
    say=lambda line: None,
):
    """Times rivals side by side: one process each, every rival once a round.

    A rival that cannot be run (its package is missing, memory runs out, it takes too long) has the
    reason in its place, and the others go on. What is measured is kept case by case: the same call
    after an interrupt goes on where it was, unless settings, versions or the machine have changed.

    Args:
        out: folder to write to: `results.json`, `results.md` (tables) and `results.png`.
        rivals: names in `RIVALS`.
        sizes: heights and widths of the square images in pixels.
        batches: numbers of images taken at once.
        modes: `"predict"`, `"train"` (one step of Adam) or both.
        repeats: rounds that are timed, after two that are not.
        limit_s: seconds that a rival may take to be built, or for one call.
        backend: Keras backend of the rivals that are not bound to one; None is the one in use.
        reference: rival that the others are divided by; None is the first of `rivals`.
        say: function that takes a line of progress.

    Returns:
        A dict: `settings`, `machine`, `versions`, `date`, `cases`, as in `results.json`.

    Raises:
        ValueError: if a name is not known, or a number out of range.
        ImportError: if matplotlib is not installed.

    Example:

    ```python
    benchmark("speed", ["deepskip", "deepskip_plain"], sizes=[256], batches=[1], say=print)
    ```
    """
    reference = reference or rivals[0]
    check_names(rivals, modes, reference)
    _checks.require("matplotlib", '"keras-deepskip[benchmark]"', "the plot of a benchmark")
    out = Path(out)
    cases = [
        {"mode": mode, "size": size, "batch": batch, "options": {}}
        for size in (_checks.check_integer("sizes", size) for size in sizes)
        for mode in modes
        for batch in (_checks.check_integer("batches", batch) for batch in batches)
    ]
    result = measure(out / "results.json", cases, rivals, repeats, limit_s, backend, say)
    _files.write_text(out / "results.md", comparison_text(result, reference))
    with _files.replacing(out / "results.png") as path:
        path.write_bytes(draw_times(result))
    return result
