"""The process of one run: trains, evaluates, and writes a row.

    python -m keras_deepskip.studies.experiments.run_process FOLDER

`FOLDER/run.json` holds all settings of the run. The files of `train` are written to the same
folder, then `evaluation.json`, the first test images (`shown/image/`) with their masks (`truth/`)
and which objects were found (`judged/`), and last `row.json`, which marks the run as done.
"""

import shutil
import sys
import time
from pathlib import Path

import numpy as np

from keras_deepskip import _files
from keras_deepskip._processes import peak_memory

# Of the objects one by one, as `metrics.ObjectQuality` has them
QUALITY = ("ap50", "ap70", "pq", "sq", "rq", "count_mean_absolute", "count_bias")
SHOWN = 3  # test images that are kept for the figures


def main(folder):
    """Executes the run of `folder/run.json`."""
    folder = Path(folder)
    request = _files.read_json(folder / "run.json", "the settings of a run")
    start = time.perf_counter()
    row = _run(folder, request)
    row["seconds"] = round(time.perf_counter() - start, 1)
    _files.write_json(folder / "row.json", {**request["row"], **row})
    from keras_deepskip.training.run import CHECKPOINT

    # Three times the weights; only unfinished runs need it, so it goes after the row is there
    shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)


def _run(folder, request):
    from keras_deepskip._versions import versions
    from keras_deepskip.data import write_png
    from keras_deepskip.drawing import draw_judged, to_rgb
    from keras_deepskip.folding import fold_batch_norm
    from keras_deepskip.inference import evaluate
    from keras_deepskip.training import Recipe, TrainingDiverged, train
    from keras_deepskip.training.run import CONFIG

    try:
        run = train(
            request["data"],
            folder,
            Recipe(**request["recipe"]),
            group_by=request["group_by"],
            resume=(folder / CONFIG).exists(),
            verbose=0,
            **request["options"],
        )
    except TrainingDiverged as error:  # is a result
        return {"failure": str(error)}
    peak = peak_memory()  # of the training: evaluation comes later
    split = run.split
    tested = _evenly_chosen(split.test, request["test_images"])
    shown = {sample.name for sample in tested[:SHOWN]}

    def keep(judged):
        name = f"{judged.sample.name}.png"
        if judged.sample.name in shown:
            truth = np.where(judged.mask == judged.ignore_class, 0, judged.mask)
            write_png(folder / "shown" / "image" / name, to_rgb(judged.image))
            write_png(folder / "shown" / "truth" / name, truth.astype("uint8"))
            labels = (judged.true_labels, judged.predicted_labels)
            picture = draw_judged(judged.image, truth, judged.predicted, labels)
            write_png(folder / "shown" / "judged" / name, picture)

    model = fold_batch_norm(run.model)
    found = evaluate(model, tested, masks=run.masks, out=folder, each=keep, verbose=0)
    made = versions()
    return {
        "backend": made["backend"],
        "keras": made["keras"],
        "images": len(split.train) + len(split.val) + len(split.test),
        "test_images": len(tested),
        "steps": len(run.history) * run.recipe.steps_per_epoch,
        "batch_size": run.recipe.batch_size,
        "train_seconds": round(sum(epoch["seconds"] for epoch in run.history), 1),
        "train_peak_mb": None if peak is None else round(peak / 1e6),
        "best_epoch": run.best_epoch,
        "parameters": run.model.count_params(),
        **found.pixels,
        **_object_metrics(found.objects),
        **{name: found.quality["all"][name] for name in QUALITY},
    }


def _evenly_chosen(samples, most):
    """At most `most` samples at even distances in the list; None takes all."""
    if most is None or len(samples) <= most:
        return samples
    return [samples[round(place)] for place in np.linspace(0, len(samples) - 1, most)]


def _object_metrics(objects):
    """Metrics over all objects, and the counts of recall by size stratum."""
    metrics = {f"object_{name}": objects["all"][name] for name in ("recall", "precision", "f1")}
    for stratum, row in objects["strata"].items():
        metrics[f"found {stratum}"] = row["tp"]
        metrics[f"missed {stratum}"] = row["fn"]
    return metrics


if __name__ == "__main__":
    main(sys.argv[1])
