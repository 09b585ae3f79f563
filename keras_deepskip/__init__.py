"""Networks that find small objects in large images, for Keras 3."""

import importlib
import sys
from typing import TYPE_CHECKING

from keras_deepskip._backend import import_keras
from keras_deepskip._versions import __version__

if TYPE_CHECKING or "keras_deepskip_command" not in sys.modules:
    # Loaded at once: models, losses and metrics reload by Keras only if they are registered.
    import_keras()
    from keras_deepskip import layers, losses, metrics
    from keras_deepskip.models import build_model, load_model

if TYPE_CHECKING:
    from keras_deepskip import (
        analysis,
        architectures,
        data,
        encoders,
        export,
        hub,
        inference,
        objects,
        operating_point,
        quantization,
        reporting,
        tiling,
        training,
    )
    from keras_deepskip.data import audit
    from keras_deepskip.encoders import set_trainable_backbone
    from keras_deepskip.folding import fold_batch_norm
    from keras_deepskip.inference import evaluate, predict, predict_tiled, stream
    from keras_deepskip.quantization import quantize
    from keras_deepskip.reporting import report
    from keras_deepskip.training import Recipe, Run, train

# Loaded when they are first touched: sub-packages, and names that they hold.
PACKAGES = (
    "analysis", "architectures", "data", "encoders", "export", "hub", "inference", "objects",
    "operating_point", "quantization", "reporting", "studies", "tiling", "training",
)  # fmt: skip
NAMES = {
    "build_model": "models",
    "load_model": "models",
    "train": "training",
    "Recipe": "training",
    "Run": "training",
    "evaluate": "inference",
    "predict": "inference",
    "predict_tiled": "inference",
    "stream": "inference",
    "quantize": "quantization",
    "report": "reporting",
    "audit": "data",
    "fold_batch_norm": "folding",
    "set_trainable_backbone": "encoders",
}
__all__ = [
    "Recipe",
    "Run",
    "__version__",
    "analysis",
    "architectures",
    "audit",
    "build_model",
    "data",
    "encoders",
    "evaluate",
    "export",
    "fold_batch_norm",
    "hub",
    "inference",
    "layers",
    "load_model",
    "losses",
    "metrics",
    "objects",
    "operating_point",
    "predict",
    "predict_tiled",
    "quantization",
    "quantize",
    "report",
    "reporting",
    "set_trainable_backbone",
    "stream",
    "studies",
    "tiling",
    "train",
    "training",
]


def __getattr__(name):
    if name in PACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in NAMES:
        return getattr(importlib.import_module(f"{__name__}.{NAMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})
