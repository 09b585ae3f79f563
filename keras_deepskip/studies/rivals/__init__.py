"""The networks that the deep-skip network is compared with, as their papers have them."""

from keras_deepskip.analysis import RULES
from keras_deepskip.architectures import Architecture
from keras_deepskip.studies.rivals import (
    fcn8s,
    h_denseunet,
    layers,
    mask_rcnn,
    pspnet,
    unet3plus,
)

RIVALS = {
    "unet3plus": Architecture(unet3plus.unet3plus),
    "fcn8s": Architecture(fcn8s.fcn8s),
    "pspnet": Architecture(pspnet.pspnet),
    "h_denseunet": Architecture(h_denseunet.h_denseunet),
    "mask_rcnn": Architecture(mask_rcnn.mask_rcnn, mask_rcnn.MaskRCNNAdapter()),
}

for rival in RIVALS.values():
    RULES.update(rival.rules)

__all__ = ["RIVALS", "layers"]
