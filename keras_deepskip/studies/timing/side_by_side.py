"""`benchmark`: the deep-skip network's speed and memory compared with other networks'."""

from pathlib import Path

from keras_deepskip import _checks, _files
from keras_deepskip.studies.page_parts import written
from keras_deepskip.studies.timing.figures import draw_times
from keras_deepskip.studies.timing.measure import check_names, measure
from keras_deepskip.studies.timing.pages import write_comparison_page
from keras_deepskip.studies.timing.tables import comparison_text
from keras_deepskip.studies.timing.timed_networks import TIMED_NETWORKS


def benchmark(
    out,
    rivals=tuple(TIMED_NETWORKS),
    sizes=(256, 512, 1024),
    batches=(1, 8),
    modes=("predict", "train"),
    repeats=7,
    limit_s=120.0,
    backend=None,
    reference=None,
    log=lambda line: None,
):
    """Times networks side by side: one process each, every network once per round.

    The result of a network that cannot be run (its package is missing, memory runs out, it takes
    too long) is the reason; the others continue. Results are kept case by case: after an interrupt
    the same call resumes, unless settings, versions or the machine have changed.

    Args:
        out: folder to write to: `results.json`, `results.md` (tables), `results.png` and, if the
            extra `report` is installed, `results.html`.
        rivals: names in `TIMED_NETWORKS`.
        sizes: heights and widths of the square images in pixels.
        batches: batch sizes.
        modes: `"predict"`, `"train"` (one step of Adam) or both.
        repeats: timed rounds, after two to warm up.
        limit_s: most seconds to build a network, or for one measurement of it.
        backend: Keras backend of the networks that are not bound to one; None is the one in use.
        reference: network whose times divide the others'; None is the first of `rivals`.
        log: function that takes a line of progress.

    Returns:
        A dict: `settings`, `machine`, `versions`, `date`, `cases`, as in `results.json`.

    Raises:
        ValueError: if a name is not known, or a number out of range.
        ImportError: if matplotlib is not installed.

    Example:

    ```python
    benchmark("speed", ["deepskip", "deepskip_plain"], sizes=[256], batches=[1], log=print)
    ```
    """
    reference = reference or next(iter(rivals), None)
    check_names(rivals, modes, reference)
    _checks.require("matplotlib", '"keras-deepskip[studies]"', "the figure of a benchmark")
    out = Path(out)
    cases = [
        {"mode": mode, "size": size, "batch": batch, "options": {}}
        for size in (_checks.check_integer("sizes", size) for size in sizes)
        for mode in modes
        for batch in (_checks.check_integer("batches", batch) for batch in batches)
    ]
    result = measure(out / "results.json", cases, rivals, repeats, limit_s, backend, log)
    _files.write_text(out / "results.md", comparison_text(result, reference))
    with _files.replacing(out / "results.png") as path:
        path.write_bytes(draw_times(result))
    written(lambda: write_comparison_page(result, reference, out / "results.html"), log)
    return result
