"""Inference: what a trained model finds, on images of any size and in streams, and how well."""

from keras_deepskip.inference.choosing import OperatingChoice, choose_operating_point
from keras_deepskip.inference.evaluation import Evaluation, JudgedImage, evaluate
from keras_deepskip.inference.prediction import FoundImage, predict
from keras_deepskip.inference.streaming import FrameResult, FrameStream, StreamStatistics, stream
from keras_deepskip.inference.suggesting import suggest
from keras_deepskip.inference.tiled import plan_tiles, predict_tiled

__all__ = [
    "Evaluation",
    "FoundImage",
    "FrameResult",
    "FrameStream",
    "JudgedImage",
    "OperatingChoice",
    "StreamStatistics",
    "choose_operating_point",
    "evaluate",
    "plan_tiles",
    "predict",
    "predict_tiled",
    "stream",
    "suggest",
]
