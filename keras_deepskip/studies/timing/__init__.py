"""Speed and memory of the deep-skip network compared with others: one process each, interleaved."""

from keras_deepskip.studies.timing.backbone_table import backbones
from keras_deepskip.studies.timing.scaling_curves import scaling
from keras_deepskip.studies.timing.side_by_side import benchmark
from keras_deepskip.studies.timing.timed_networks import TIMED_NETWORKS

__all__ = ["TIMED_NETWORKS", "backbones", "benchmark", "scaling"]
