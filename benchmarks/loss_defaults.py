"""Which `alpha` and `beta` of `SmallObjectLoss` serve dense and rare objects alike?

    python benchmarks/loss_defaults.py --data ../shared/data --out runs/loss_defaults

Trains the light VGG16 network with each pair of values on each set, several seeds, 200 steps of 8
crops of 96 x 96, and evaluates it on the held-out quarter of the images. Each run appends a line to
`rows.csv`; finished runs are not repeated, so an interrupted benchmark resumes. The table in
`docs/measurements/loss.md` was made with this. About a minute per run on two CPU cores.
"""

import argparse
import csv
import time
from pathlib import Path

import keras
import numpy as np

from keras_deepskip import build_model
from keras_deepskip._tables import markdown_table
from keras_deepskip.data import (
    Augmentation,
    CropDataset,
    channel_statistics,
    find_samples,
    split_samples,
)
from keras_deepskip.data.synthetic import sample
from keras_deepskip.inference import evaluate
from keras_deepskip.losses import SmallObjectLoss

# alpha = 0.5, beta = 2 is the plain cross-entropy plus Dice; beta = 0 is Dice alone.
PAIRS = ((0.5, 1.0), (0.5, 2.0), (0.75, 1.0), (0.5, 0.0))
SETS = ("nuclei_fluorescence", "nuclei_histology", "ecoli", "rare")
STEPS, METRICS = 200, ("IoU", "Precision", "Recall", "object F1")


def rare_objects(folder):
    """A synthetic set with few small objects: under 1 % of the pixels."""
    if not folder.exists():
        sample(folder, kind="lesions", images=60, seed=11, count=(0, 4), size=(6, 16))
    return folder


def run(folder, alpha, beta, seed):
    """Trains once and returns the metrics on the held-out images."""
    keras.utils.set_random_seed(seed)
    split = split_samples(find_samples(folder), seed=seed)
    mean, variance = channel_statistics(split.train + split.val, 3)
    model = build_model(mean=list(mean), variance=list(variance))
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, STEPS - 10, warmup_target=3e-3, warmup_steps=10
    )
    model.compile(keras.optimizers.Adam(schedule), SmallObjectLoss(alpha=alpha, beta=beta))
    crops = CropDataset(split.train + split.val, crop_size=96, batches_per_epoch=STEPS,
                        augmentation=Augmentation(), seed=seed)  # fmt: skip
    model.fit(crops, epochs=1, shuffle=False, verbose=0)
    found = evaluate(model, split.test, verbose=0)
    return {**found.pixels, "object F1": found.objects["all"]["f1"]}


def table(rows):
    """Mean and spread over seeds, a row for each set and pair."""
    lines = []
    for name in SETS:
        for pair in PAIRS:
            chosen = [r for r in rows if r["set"] == name and (r["alpha"], r["beta"]) == pair]
            if chosen:
                cells = [[float(r[metric]) for r in chosen] for metric in METRICS]
                shown = [f"{np.mean(c):.3f} ± {np.std(c):.3f}" for c in cells]
                lines.append([name, *map(str, pair), str(len(chosen)), *shown])
    return markdown_table(["set", "alpha", "beta", "seeds", *METRICS], lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the sets")
    parser.add_argument("--out", type=Path, required=True, help="folder for rows.csv")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "rows.csv"
    columns = ["set", "alpha", "beta", "seed", *METRICS, "seconds"]
    rows = []
    if path.exists():
        with path.open(newline="") as file:
            rows = [
                {**r, "alpha": float(r["alpha"]), "beta": float(r["beta"]), "seed": int(r["seed"])}
                for r in csv.DictReader(file)
            ]
    done = {(r["set"], r["alpha"], r["beta"], r["seed"]) for r in rows}
    todo = [
        (name, *pair, seed) for seed in range(arguments.seeds) for name in SETS for pair in PAIRS
    ]
    for key in (k for k in todo if k not in done):
        name, alpha, beta, seed = key
        folder = arguments.data / name
        if name == "rare":
            folder = rare_objects(arguments.out / "rare")
        start = time.perf_counter()
        metrics = run(folder, alpha, beta, seed)
        row = {
            "set": name, "alpha": alpha, "beta": beta, "seed": seed,
            **{metric: round(metrics[metric], 4) for metric in METRICS},
            "seconds": round(time.perf_counter() - start, 1),
        }  # fmt: skip
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, columns)
            if new:
                writer.writeheader()
            writer.writerow(row)
        rows.append(row)
        print(row, flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
