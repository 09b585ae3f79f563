"""Speed and memory of the deep-skip network beside its rivals: one process each, interleaved."""

from keras_deepskip.benchmark.backbones import backbones
from keras_deepskip.benchmark.benchmark import benchmark
from keras_deepskip.benchmark.rivals import RIVALS
from keras_deepskip.benchmark.scaling import scaling

__all__ = ["RIVALS", "backbones", "benchmark", "scaling"]
