"""The networks that the deep-skip network is compared with, as their papers have them."""

from keras_deepskip.analysis import RULES
from keras_deepskip.architectures import Architecture
from keras_deepskip.studies.rivals import analysis_rules, layers
from keras_deepskip.studies.rivals.fcn8s import fcn8s
from keras_deepskip.studies.rivals.h_denseunet import h_denseunet
from keras_deepskip.studies.rivals.mask_rcnn import MaskRCNNAdapter, mask_rcnn
from keras_deepskip.studies.rivals.pspnet import pspnet
from keras_deepskip.studies.rivals.unet3plus import unet3plus

RIVALS = {
    "unet3plus": Architecture(unet3plus, rules=analysis_rules.BILINEAR),
    "fcn8s": Architecture(fcn8s),
    "pspnet": Architecture(
        pspnet, rules={**analysis_rules.BILINEAR, **analysis_rules.PYRAMID_POOLING}
    ),
    "h_denseunet": Architecture(h_denseunet, rules=analysis_rules.H_DENSEUNET),
    "mask_rcnn": Architecture(mask_rcnn, MaskRCNNAdapter(), analysis_rules.MASK_RCNN),
}

for rival in RIVALS.values():
    RULES.update(rival.rules)

__all__ = ["RIVALS", "layers"]
