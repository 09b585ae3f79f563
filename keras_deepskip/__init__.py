"""Networks that find small objects in large images, for Keras 3."""

from keras_deepskip import analysis, data, layers, losses, metrics
from keras_deepskip._versions import __version__
from keras_deepskip.encoders import set_trainable_backbone
from keras_deepskip.folding import fold_batch_norm
from keras_deepskip.models import build_model, load_model

__all__ = [
    "__version__",
    "analysis",
    "build_model",
    "data",
    "fold_batch_norm",
    "layers",
    "load_model",
    "losses",
    "metrics",
    "set_trainable_backbone",
]
