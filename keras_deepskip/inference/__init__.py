"""Inference: what a trained model finds, and how well."""

from keras_deepskip.inference.evaluate import Evaluation, evaluate
from keras_deepskip.inference.predict import predict

__all__ = ["Evaluation", "evaluate", "predict"]
