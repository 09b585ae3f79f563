"""`scaling`: how time and memory grow with image area, batch, width and depth."""

import inspect
from pathlib import Path

from keras_deepskip import _checks, _files
from keras_deepskip.studies.page_parts import written
from keras_deepskip.studies.timing.figures import draw_scaling
from keras_deepskip.studies.timing.measure import check_names, measure
from keras_deepskip.studies.timing.pages import write_scaling_page
from keras_deepskip.studies.timing.tables import scaling_text
from keras_deepskip.studies.timing.timed_networks import TIMED_NETWORKS

DEFAULTS = {"levels": 5, "base_filters": 8}


def scaling(
    out,
    rivals=("deepskip", "deepskip_plain"),
    sizes=(256, 512, 1024, 2048, 4096),
    batches=(1, 2, 4, 8, 16),
    modes=("predict", "train"),
    repeats=5,
    limit_s=120.0,
    backend=None,
    base_filters=(4, 8, 16, 32),
    levels=(3, 4, 5, 6),
    log=lambda line: None,
):
    """Measures four curves: one quantity grows, the others stay at their first value or default.

    Processes, rounds and the form of the file are those of `benchmark`.

    Args:
        out: folder to write to: `scaling.json`, `scaling.md` (tables), `scaling.png` and, if the
            extra `report` is installed, `scaling.html`.
        rivals: names in `TIMED_NETWORKS` of networks that take `levels` and `base_filters`.
        sizes: heights and widths in pixels of the curve against image area; the other curves use
            the first one.
        batches: batch sizes of the curve against batch; the other curves use the first one.
        modes, repeats, limit_s, backend, log: as in `benchmark`.
        base_filters: channels at full resolution, of the curve against width.
        levels: encoder levels, of the curve against depth.

    Returns:
        A dict, as in `scaling.json`.

    Raises:
        ValueError: if a name is not known, a network has one width and depth alone, or a number is
            out of range.
        ImportError: if matplotlib is not installed.

    Example:

    ```python
    scaling("speed", sizes=[256, 512], batches=[1, 2], base_filters=[4, 8], levels=[3, 4])
    ```
    """
    check_names(rivals, modes, next(iter(rivals), None))
    _check_free(rivals)
    _checks.require("matplotlib", '"keras-deepskip[studies]"', "the figure of a benchmark")
    out = Path(out)
    curves = {"batch": batches, "size": sizes, "base_filters": base_filters, "levels": levels}
    base = {"batch": batches[0], "size": sizes[0], **DEFAULTS}
    cases = _cases(curves, base, modes)
    result = measure(out / "scaling.json", cases, rivals, repeats, limit_s, backend, log)
    _files.write_text(out / "scaling.md", scaling_text(result, base))
    with _files.replacing(out / "scaling.png") as path:
        path.write_bytes(draw_scaling(result, base))
    written(lambda: write_scaling_page(result, base, out / "scaling.html"), log)
    return result


def _check_free(rivals):
    """Refuses networks of one width and depth."""
    free = [name for name, network in TIMED_NETWORKS.items() if _takes_options(network.build)]
    for name in rivals:
        if name not in free:
            raise ValueError(
                f"scaling: expected networks that take {' and '.join(DEFAULTS)}: "
                f"{', '.join(free)}. Received: {name!r}, of one width and depth"
            )


def _takes_options(build):
    parameters = inspect.signature(build).parameters
    any_option = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    return any_option or set(DEFAULTS) <= set(parameters)


def _cases(curves, base, modes):
    """The points of all curves, each once, in the given order of the values."""
    cases = []
    for quantity, values in curves.items():
        for mode in modes:
            for value in values:
                point = {**base, quantity: _checks.check_integer(quantity, value)}
                case = {"mode": mode, "size": point["size"], "batch": point["batch"]}
                case["options"] = {name: point[name] for name in DEFAULTS}
                if case not in cases:
                    cases.append(case)
    return cases
