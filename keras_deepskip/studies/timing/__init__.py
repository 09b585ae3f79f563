"""Speed and memory of the deep-skip network beside its rivals: one process each, interleaved."""

from keras_deepskip.studies.timing.backbone_table import backbones
from keras_deepskip.studies.timing.rivals import RIVALS
from keras_deepskip.studies.timing.scaling_curves import scaling
from keras_deepskip.studies.timing.side_by_side import benchmark

__all__ = ["RIVALS", "backbones", "benchmark", "scaling"]
