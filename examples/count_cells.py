# %% [markdown]
# # Count cells, also those that touch
#
# A mask says which pixels are cell, not where one cell ends. This script draws images with chains
# of touching cells, trains on them with the number of the cell at each pixel, and compares counts
# of connected components with counts of cells that were told apart. Two minutes on two CPU cores.

# %%
import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from PIL import Image

import keras_deepskip as kd
from keras_deepskip import data, drawing

IMAGES = int(os.environ.get("CELLS_IMAGES", 30))
SIDE = int(os.environ.get("CELLS_SIDE", 192))
STEPS = int(os.environ.get("CELLS_STEPS", 100))
LEVELS = int(os.environ.get("CELLS_LEVELS", 5))

# %% [markdown]
# ## Images, masks, and ids beside them
#
# A random walk sets a disc at each step, where it covers none of those before. With your own
# images, ids come from the tool that they were drawn in: `keras-deepskip import` reads QuPath,
# Cellpose, labelme and VIA, and masks of object ids are taken as they are.


# %%
def draw_cells(rng, side):
    """An image (side, side, 1) and the number of the cell at each pixel, 0 for background."""
    rows, columns = np.mgrid[:side, :side]
    image = rng.normal(60, 6, (side, side, 1))
    ids = np.zeros((side, side), "uint8")
    row, column = rng.uniform(0.2 * side, 0.8 * side, 2)
    for cell in range(1, 25):
        inside = np.hypot(rows - row, columns - column) < rng.uniform(7, 11)
        if not ids[inside].any():
            ids[inside] = cell
            image[inside] += rng.uniform(60, 110)
        angle = rng.uniform(0, 2 * np.pi)
        step = 19 * np.sin(angle), 19 * np.cos(angle)
        row, column = np.clip((row + step[0], column + step[1]), 12, side - 12)
    return image.clip(0, 255).astype("uint8"), ids


rng = np.random.default_rng(0)
for number in range(IMAGES):
    image, ids = draw_cells(rng, SIDE)
    for folder, pixels in (("images", image), ("masks", ids > 0), ("instances", ids)):
        Path("cells", folder).mkdir(parents=True, exist_ok=True)
        data.write_png(Path("cells", folder, f"{number:02d}.png"), pixels.astype("uint8"))
print(kd.audit("cells").text().split("|")[0])

# %% [markdown]
# ## Training
#
# The folder is split into images to train on, to validate with and to test on. At the end the
# validation images decide where the model calls a pixel cell, how small a cell may be, and whether
# cells that touch are told apart; this operating point is stored in the model's file.

# %%
run = kd.train("cells", "run", kd.Recipe(steps=STEPS), verbose=2, levels=LEVELS)
print(run.operating_point)

# %% [markdown]
# ## Cells, counted in two ways
#
# On test images, which training has not seen:

# %%
for separate in (True, False):
    found = kd.evaluate(run, separate=separate, verbose=0)
    print("told apart" if separate else "connected components")
    print(found.text().split("Objects, matched", 1)[1].split("\n\n")[1])

# %% [markdown]
# ## A picture and a table
#
# The test image with the most cells, and what was found in it: each cell has its own colour.

# %%
test = max(run.split.test, key=lambda sample: data.read_image(sample.instances).max())
image = data.read_image(test.image)
mask = kd.predict_tiled(run.model, image, output="mask")
labels, count = kd.objects.separate_objects(mask)
picture = drawing.side_by_side(drawing.to_rgb(image), drawing.draw_mask(image, mask, labels))
data.write_png("cells.png", picture)
print(f"{count} cells")
Image.fromarray(picture)

# %% [markdown]
# `predict` writes masks, labels, overlays, a line for each cell (`objects.csv`) and the counts of
# each image (`images.csv`).

# %%
rows = kd.predict(run, "cells/images", "counted", verbose=0)
print(len(rows), "cells;", Path("counted/images.csv").read_text(encoding="utf-8").splitlines()[:4])
