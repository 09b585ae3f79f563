"""Training: the recipe, what happens along the way, and `train` that does it all."""

from keras_deepskip.training.callbacks import (
    Checkpoint,
    SeedEpochs,
    StopOnNaN,
    TensorBoardLogger,
    TrainingDiverged,
)
from keras_deepskip.training.fitting import TrainingRun, train
from keras_deepskip.training.recipe import Recipe

__all__ = [
    "Checkpoint",
    "Recipe",
    "SeedEpochs",
    "StopOnNaN",
    "TensorBoardLogger",
    "TrainingDiverged",
    "TrainingRun",
    "train",
]
