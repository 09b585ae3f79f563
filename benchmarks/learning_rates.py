"""The learning rate of each network of the comparison, chosen by one rule.

    KERAS_BACKEND=torch python benchmarks/learning_rates.py --out rates.jsonl [--networks NAME ...]
        [--rates 0.0003 0.001 0.003 0.01] [--minutes 1.5]

The rule: of the rates, the lowest whose score on the validation images (mean of pixel IoU and
object F1, of the best epoch) is within 0.01 of the highest, after the same minutes on synthetic
scenes, which are in no table of the comparison. A rate at an end of the list asks for another
beyond it. What is found goes into the networks of `studies/experiments/comparison_study.py`.
Trainings that the file already has are not repeated: an interrupted run resumes.
"""

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import recipe as recipes  # the other benchmark: results

import keras_deepskip
from keras_deepskip._tables import markdown_table
from keras_deepskip.data import sample
from keras_deepskip.studies.experiments import COMPARISON
from keras_deepskip.training import Recipe

LEVEL = 0.01  # scores that differ by less are level
SCENES = {"kind": "microorganisms", "images": 48, "seed": 11}


def main():
    """Trains what is missing, and prints the table."""
    options = arguments()
    done = recipes.results(options.out)
    networks = {network.name: network for network in COMPARISON.networks}
    with tempfile.TemporaryDirectory() as scratch:
        scenes = sample(Path(scratch) / "scenes", **SCENES)
        for name in options.networks:
            for rate in options.rates:
                key = [name, rate, options.minutes]
                if key in [row["key"] for row in done]:
                    continue
                found = score(networks[name], rate, options.minutes, scenes)
                recipes.note(options.out, done, [{"key": key, **found}])
    print(table(done, options))


def arguments():
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    light = COMPARISON.presets["same_size"].networks
    parser.add_argument("--networks", nargs="+", default=list(light))
    parser.add_argument("--rates", type=float, nargs="+", default=[0.0003, 0.001, 0.003, 0.01])
    parser.add_argument("--minutes", type=float, default=1.5)
    return parser.parse_args()


def score(network, rate, minutes, scenes):
    """The best epoch's validation score of one training, and its steps."""
    recipe = Recipe(minutes=minutes, seed=0, **{**network.recipe, "learning_rate": rate})
    with tempfile.TemporaryDirectory() as folder:
        try:
            run = keras_deepskip.train(scenes, folder, recipe, verbose=0, **network.options)
        except ArithmeticError as error:  # it diverged
            return {"score": 0.0, "steps": 0, "failure": str(error)}
        best = run.history[run.best_epoch - 1]
        return {"score": best["val_score"], "steps": len(run.history) * run.recipe.steps_per_epoch}


def table(done, options):
    """A row for each network: the score at each rate, and the rate that the rule chooses."""
    rows = []
    for name in options.networks:
        own = {row["key"][1]: row for row in done if row["key"][::2] == [name, options.minutes]}
        best = max(row["score"] for row in own.values())
        chosen = min(rate for rate, row in own.items() if row["score"] >= best - LEVEL)
        at_end = " (at an end)" if chosen in (min(own), max(own)) else ""
        scores = [f"{own[rate]['score']:.3f}" if rate in own else "-" for rate in options.rates]
        steps = max(row["steps"] for row in own.values())
        rows.append([name, *scores, steps, f"{chosen:g}{at_end}"])
    return markdown_table(["network", *(f"{r:g}" for r in options.rates), "steps", "chosen"], rows)


if __name__ == "__main__":
    main()
