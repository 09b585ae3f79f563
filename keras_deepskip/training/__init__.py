"""Training: `train`, its recipe, the run that it leaves, and the callbacks that it uses."""

from keras_deepskip.training.callbacks import (
    Checkpoint,
    SeedEpochs,
    StopOnNaN,
    TensorBoardLogger,
    TrainingDiverged,
)
from keras_deepskip.training.devices import on_devices
from keras_deepskip.training.fitting import train
from keras_deepskip.training.folds import CrossValidation, cross_validate
from keras_deepskip.training.planning import Plan, make_plan
from keras_deepskip.training.recipe import Recipe
from keras_deepskip.training.run import Run

__all__ = [
    "Checkpoint",
    "CrossValidation",
    "Plan",
    "Recipe",
    "Run",
    "SeedEpochs",
    "StopOnNaN",
    "TensorBoardLogger",
    "TrainingDiverged",
    "cross_validate",
    "make_plan",
    "on_devices",
    "train",
]
