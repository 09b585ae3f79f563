"""The budgets of runs in both studies: steps, crops, learning rates."""

from keras_deepskip.studies.experiments.categories import ALL, RARE, REAL

# Light networks with a batch norm after each convolution train at the default rate, but for those
# whose rate is measured (`LIGHT_RATES`). Wide or deep ones with random initialization need a lower
# one, VGG16 without any norm the lowest.
SLOW, SLOWER = {"learning_rate": 1e-3}, {"learning_rate": 3e-4}

CROPS = {"crop_size": 96, "batch_size": 8}

# A first look: all categories, and few steps, so that no network is left out.
QUICK = {
    "categories": ALL,
    "steps": 100,
    "epochs": 5,
    "recipe": {**CROPS, "validation_windows": 16},
    "test_images": 8,
}
# What a user does: all is planned, and each network has the same minutes (of one core: --jobs 2).
LIGHT = {"categories": (*REAL, RARE), "seeds": (0, 1, 2), "minutes": 2.5}
# For a GPU, four runs at once.
FULL = {
    "categories": ALL,
    "steps": 600,
    "epochs": 6,
    "recipe": {"crop_size": 160, "batch_size": 8, "workers": 4, "precision": "mixed_bfloat16"},
}
