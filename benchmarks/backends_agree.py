"""Do the three backends train alike from one seed?

    python benchmarks/backends_agree.py runs/tensorflow runs/jax runs/torch

Reads `history.csv`, `split.json` and `evaluation.json` of runs with one recipe and one seed under
different backends, and prints them side by side.
"""

import argparse
import csv
import json
from pathlib import Path

from keras_deepskip._tables import markdown_table

EPOCHS = (1, 2, 5, 10, 20)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    runs = parser.parse_args().runs
    splits = {(run / "split.json").read_text(encoding="utf-8") for run in runs}
    print("one split" if len(splits) == 1 else f"{len(splits)} different splits")
    rows = []
    for run in runs:
        with (run / "history.csv").open(newline="", encoding="utf-8") as file:
            history = {int(row["epoch"]): row for row in csv.DictReader(file)}
        found = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
        shown = (history.get(epoch) for epoch in EPOCHS)
        losses = [round(float(row["loss"]), 4) if row else None for row in shown]
        metrics = [round(found["pixels"]["IoU"], 4), round(found["objects"]["all"]["f1"], 4)]
        rows.append([run.name, *losses, *metrics])
    headers = ["run", *(f"loss, epoch {epoch}" for epoch in EPOCHS), "test IoU", "test object F1"]
    print(markdown_table(headers, rows))


if __name__ == "__main__":
    main()
