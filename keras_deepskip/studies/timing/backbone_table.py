"""`backbones`: parameters, MACs and time of the deep-skip network on each backbone."""

import dataclasses
import math
import statistics
import time
from pathlib import Path

import keras
import numpy as np

from keras_deepskip import _checks, _files, analysis
from keras_deepskip._tables import markdown_table
from keras_deepskip._versions import versions
from keras_deepskip.encoders import BACKBONES
from keras_deepskip.folding import fold_batch_norm
from keras_deepskip.models import build_model
from keras_deepskip.studies.page_parts import written
from keras_deepskip.studies.timing.pages import write_backbones_page

REFERENCE = "light_vgg16"
WARM_UP = 2  # calls that are not timed


@dataclasses.dataclass(frozen=True)
class BackboneTable:
    """The result of `backbones`.

    Attributes:
        rows: dicts of `name`; `parameters` of the whole network, `encoder` of its encoder; `macs`
            for one image; `widths`, the channels of E_1 .. E_B (strides 1, 2, 4, ...);
            `predict_ms`, and `ratio` to the reference in the same rounds.
        settings: `size`, `repeats`, `backend`.
        versions: as in a training run's `config.json`.
    """

    rows: list
    settings: dict
    versions: dict

    HEADERS = (
        "backbone", "parameters", "encoder", "GMACs", "channels at strides 1, 2, 4, ...",
        "predict ms", "times light_vgg16",
    )  # fmt: skip

    def text(self):
        """The table as Markdown."""
        return f"{markdown_table(*self.table())}\n\n{self.explanation()}"

    def table(self):
        """The headings and the rows of the table of `text`."""
        lines = [
            [
                row["name"], row["parameters"], row["encoder"], f"{row['macs'] / 1e9:.2f}",
                " ".join(map(str, row["widths"])), f"{row['predict_ms']:.0f}",
                f"{row['ratio']:.1f}",
            ]
            for row in self.rows
        ]  # fmt: skip
        return self.HEADERS, lines

    def explanation(self):
        """What was timed, in a line."""
        size = self.settings["size"]
        return (
            f"One image of {size} x {size}, batch norms folded; medians of "
            f"{self.settings['repeats']} calls, alternating with calls of {REFERENCE}. "
            f"Backend {self.settings['backend']}, Keras {self.versions['keras']}."
        )


def backbones(names=None, size=256, repeats=10, out=None, log=lambda line: None):
    """Builds the network on each backbone, counts what it costs and times its inference.

    Timed calls alternate with calls of the network on `light_vgg16`, so that the ratio holds on a
    machine whose speed changes. Rows are kept one by one: the same call resumes after an interrupt
    if size, repeats and versions are the same.

    Args:
        names: of backbones; None takes all that are known by name.
        size: height and width of the image in pixels.
        repeats: calls that are timed.
        out: folder that receives `backbones.json`, `backbones.md` and, if the extra `report` is
            installed, `backbones.html`; None writes nothing.
        log: function that takes a line of progress.

    Returns:
        A `BackboneTable`.

    Raises:
        ValueError: if a name is not known, or a number out of range.

    Example:

    ```python
    print(backbones(["light_vgg16", "mobilenetv3small"]).text())
    ```
    """
    names = list(BACKBONES if names is None else names)
    if not names:
        raise ValueError("`names` must be names of backbones, one at least. Received: none")
    for name in names:
        _checks.check_choice("names", name, BACKBONES)
    _checks.check_integer("repeats", repeats)
    settings = {
        "size": _checks.check_integer("size", size),
        "repeats": repeats,
        "backend": keras.backend.backend(),
    }
    path = None if out is None else Path(out) / "backbones.json"
    rows = _kept(path, settings)
    reference = fold_batch_norm(build_model(backbone=REFERENCE))
    for name in names:
        if name not in rows:
            rows[name] = _row(name, reference, **settings)
            log(f"{name}: {rows[name]['predict_ms']:.0f} ms")
        table = BackboneTable(
            [rows[known] for known in names if known in rows], settings, versions()
        )
        if path is not None:
            everything = {**dataclasses.asdict(table), "rows": list(rows.values())}
            _files.write_json(path, everything)
            _files.write_text(path.with_suffix(".md"), table.text() + "\n")
    if path is not None:
        written(lambda: write_backbones_page(table, path.with_suffix(".html")), log)
    return table


def _kept(path, settings):
    """Rows of an earlier call of the same settings and versions, by name."""
    if path is None or not path.exists():
        return {}
    found = _files.read_json(path, "a table of backbones")
    if found.get("settings") != settings or found.get("versions") != versions():
        return {}
    return {row["name"]: row for row in found["rows"]}


def _row(name, reference, size, repeats, backend):
    keras.utils.set_random_seed(0)
    model = build_model(backbone=name)
    own, other = _times([fold_batch_norm(model), reference], size, repeats)
    decoder = sum(
        math.prod(weight.shape)
        for layer in model.layers
        if layer.name.startswith(("d", "head"))
        for weight in layer.weights
    )
    return {
        "name": name,
        "parameters": model.count_params(),
        "encoder": model.count_params() - decoder - model.get_layer("normalize").count_params(),
        "macs": sum(analysis.macs(model, size, size).values()),
        "widths": level_widths(model),
        "predict_ms": 1e3 * own,
        "ratio": own / other,
    }


def level_widths(model):
    """Channels of the encoder's maps E_1 .. E_B of a deep-skip network.

    Example:

    >>> level_widths(build_model())
    [8, 16, 32, 64, 128]
    """
    skips = [layer for layer in model.layers if layer.name.endswith("_skips")]  # coarsest first
    return [layer.input[0].shape[-1] for layer in reversed(skips)] + [
        skips[0].input[-1].shape[-1]  # E_B takes the place of D_{u+1} at the coarsest level
    ]


def _times(models, size, repeats):
    """Median seconds of a call of each model; calls of the models alternate."""
    image = np.random.default_rng(0).uniform(0, 255, (1, size, size, 3)).astype("float32")
    seconds = [[] for _ in models]
    for round_number in range(WARM_UP + repeats):
        for model, found in zip(models, seconds, strict=True):
            begin = time.perf_counter()
            np.asarray(model.predict_on_batch(image))
            if round_number >= WARM_UP:
                found.append(time.perf_counter() - begin)
    return [statistics.median(found) for found in seconds]
