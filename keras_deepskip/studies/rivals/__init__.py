"""The networks that the deep-skip network is compared with: after their papers, and of others."""

from keras_deepskip.analysis import RULES
from keras_deepskip.architectures import Architecture
from keras_deepskip.studies.rivals import (
    analysis_rules,
    fcn8s,
    h_denseunet,
    layers,
    mask_rcnn,
    outside,
    pspnet,
    unet3plus,
)

RIVALS = {
    "unet3plus": Architecture(unet3plus.unet3plus, rules=analysis_rules.UNET3PLUS),
    "fcn8s": Architecture(fcn8s.fcn8s),
    "pspnet": Architecture(pspnet.pspnet, rules=analysis_rules.PSPNET),
    "h_denseunet": Architecture(h_denseunet.h_denseunet, rules=analysis_rules.H_DENSEUNET),
    "mask_rcnn": Architecture(
        mask_rcnn.mask_rcnn, mask_rcnn.MaskRCNNAdapter(), analysis_rules.MASK_RCNN
    ),
    "hub_deeplab": Architecture(outside.hub_deeplab),
    "smp": Architecture(outside.smp),
}

for rival in RIVALS.values():
    RULES.update(rival.rules)

__all__ = ["RIVALS", "layers"]
