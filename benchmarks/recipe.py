"""The earlier recipe and the current plan, on folders of images and masks, with several seeds.

    python benchmarks/recipe.py FOLDER... --out results.jsonl [--seeds 3] [--steps 300]
        [--variant NAME=JSON ...]

Each line of the results is one training, evaluated on its test images. Earlier: batches of 8 crops
of 160, half of them on objects, all flips and quarter turns, threshold 0.5, every component. Now:
what the plan chooses, of half as many pixels in twice the steps. `--variant` adds one: fields of
`Recipe` in place of what the plan chooses. A seed has one split, so figures of one seed are pairs.
Trainings that the file already has are not repeated: an interrupted run resumes. Prints a table of
means and standard deviations over the seeds.
"""

import argparse
import json
import math
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras_deepskip
from keras_deepskip._tables import markdown_table
from keras_deepskip.training import Recipe

BEFORE = {
    "crop_size": 160, "batch_size": 8, "positive_share": 0.5, "scene": "any", "jitter": False,
    "size_balance": 0.0, "include_absent": True,
}  # fmt: skip
FIGURES = {"pixel IoU": "iou", "object F1": "f1", "AP 0.5": "ap50"}
RECALLS = ("recall <8x8", "recall 8x8-16x16", "recall 16x16-32x32")


def main():
    """Trains what is missing, and prints the table."""
    options = arguments()
    done = results(options.out)
    variants = {"before": BEFORE, "now": {}, **dict(options.variant)}
    for seed in range(options.seeds):
        for folder in options.folders:
            for name, fields in variants.items():
                key = [folder.name, name, seed, options.steps]
                if key not in [row["key"] for row in done]:
                    steps = options.steps * (1 if name == "before" else 2)
                    recipe = Recipe(steps=steps, seed=seed, **fields)
                    row = {"key": key, **train_and_judge(folder, recipe, name == "before")}
                    note(options.out, done, [row])
    print(table(done, options.steps))


def arguments():
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300, help="of 8 crops of 160, or as much")
    parser.add_argument("--variant", type=variant, action="append", default=[])
    return parser.parse_args()


def variant(text):
    """A name and fields of `Recipe`."""
    name, _, fields = text.partition("=")
    return name, json.loads(fields)


def results(path):
    """The trainings that a file of results holds."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def note(path, done, rows):
    """Adds rows to the results and to their file, and prints them."""
    with path.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    done += rows
    print(*map(json.dumps, rows), sep="\n", flush=True)


def train_and_judge(folder, recipe, plain):
    """The figures of one training on the test images of its split."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        run = keras_deepskip.train(folder, Path(scratch) / "run", recipe, verbose=0)
        seconds = time.perf_counter() - start
        point = {"threshold": 0.5, "min_area": 0, "separate": False} if plain else {}
        found = keras_deepskip.evaluate(run, **point)
    objects = found.objects
    recalls = {f"recall {name}": row["recall"] for name, row in objects["strata"].items()}
    return {
        "iou": found.pixels["IoU"], "f1": objects["all"]["f1"], **recalls,
        "false": objects["all"]["fp"] / found.images,
        **{name: found.quality["all"][name] for name in ("ap50", "ap70")},
        "seconds": round(seconds, 1), "crop": run.recipe.crop_size, "scene": run.recipe.scene,
        "images": found.images,
    }  # fmt: skip


def table(done, steps):
    """Means and standard deviations of all seeds, a row for each folder and variant."""
    rows = []
    for key, own in grouped(done, steps):

        def shown(name, *how, own=own):
            return mean_and_spread([row.get(name) for row in own], *how)

        recalls = ", ".join(shown(name, 2, False) for name in RECALLS)
        rows.append(
            [*key, len(own), *map(shown, FIGURES.values()), recalls, shown("false", 1, False)]
        )
    columns = ["set", "recipe", "seeds", *FIGURES, "recall < 8x8, 8-16, 16-32", "false an image"]
    return markdown_table(columns, rows)


def grouped(done, budget, name_of=lambda row: row["key"][1]):
    """The rows of a budget, by set and name: pairs of ((set, name), rows), in order.

    Their `key` is of the set, the name, the seed and the budget.
    """
    groups = {}
    for row in done:
        if row["key"][3] == budget:
            groups.setdefault((row["key"][0], name_of(row)), []).append(row)
    return sorted(groups.items())


def mean_and_spread(values, digits=3, spread=True):
    """Text of a mean and (if asked) a standard deviation; of what is known."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return "-"
    deviation = spread and len(known) > 1
    return f"{statistics.mean(known):.{digits}f}" + (
        f" ± {statistics.stdev(known):.{digits}f}" if deviation else ""
    )


if __name__ == "__main__":
    main()
