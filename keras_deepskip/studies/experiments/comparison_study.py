"""Tables 2 and 3, figures 4 and 5: the deep-skip network, the paper's rivals, and others.

    keras-deepskip compare --preset light --data FOLDER_OF_SETS --out runs/compare --jobs 2

Takes on 2 CPU cores, counted: `light` two hours, `same_size` four (measured: 42 minutes a
category), `outside` three; `quick` 66 minutes with three runs at once; `full` by estimate 18 on an
H200, not run yet.

Results of 2026-12-01 at one size (docs/measurements/comparison.md): first in objects on the mean
of five sets, behind the U-Net on small, rare vehicles; FCN-8s level in IoU and PSPNet below, both
with half of its recall under 8 x 8.
"""

from keras_deepskip.studies.experiments.budgets import FULL, LIGHT, QUICK, SLOW, SLOWER
from keras_deepskip.studies.experiments.categories import CATEGORIES
from keras_deepskip.studies.experiments.study_config import Network, Preset, Study
from keras_deepskip.studies.light_forms import LIGHT_FORMS
from keras_deepskip.studies.timing.timed_networks import COMPARED, SMP_NETWORKS


def _network(name, label, recipe=(), timed_as=None):
    """A network with the options of the timed network that measures its cost."""
    timed_as = timed_as or name
    return Network(name, label, COMPARED[timed_as][1], dict(recipe), timed_as)


# Of other packages, wide or deep, with random weights; smp's run on PyTorch alone.
OUTSIDE = (
    Network(
        "hub_deeplab", "keras-hub DeepLabV3+, ResNet34", {"architecture": "hub_deeplab"},
        SLOW, "hub_deeplabv3_resnet34",
    ),
    *(
        Network(
            f"smp_{name}_{encoder}", f"smp {label}, {encoder}",
            {"architecture": "smp", "network": network, "encoder": encoder},
            SLOW, f"smp_{name}_{encoder}",
        )
        for name, label, network, encoder in SMP_NETWORKS if name != "pspnet"
    ),
)  # fmt: skip

# Of the light forms, where it is not the default: measured (`benchmarks/learning_rates.py`; the
# scores are in docs/measurements/comparison.md)
LIGHT_RATES = {
    "unet_same_weights": 1e-2, "unet_same_macs": 1e-2, "unet3plus_same_size": 1e-2,
    "fcn8s_same_weights": 1e-2, "fcn8s_same_macs": 1e-2,
    "pspnet_same_weights": 1e-2, "pspnet_same_macs": 1e-2,
    "h_denseunet_same_weights": 1e-2, "mask_rcnn_same_size": 1e-3,
}  # fmt: skip

NETWORKS = (
    Network("deepskip", "deep skips (ours), VGG16", timed_as="deepskip_folded"),
    _network("deepskip_resnet34", "deep skips (ours), ResNet34"),
    _network("unet", "U-Net 64..1024", SLOW, "unet_folded"),
    _network("unet_8", "U-Net 8..128"),
    _network("unet3plus_8", "UNet 3+ 8..128", timed_as="unet3plus_light"),
    _network("mask_rcnn_light", "Mask R-CNN, light ResNet34", SLOW),
    _network("fcn8s", "FCN-8s, VGG16", SLOWER),
    _network("pspnet", "PSPNet, ResNet50", SLOW),
    _network("h_denseunet", "DenseUNet-167 (H-DenseUNet)", SLOW),
    _network("mask_rcnn", "Mask R-CNN, ResNet50-FPN", SLOWER),
    *(
        _network(name, label, {"learning_rate": LIGHT_RATES[name]} if name in LIGHT_RATES else ())
        for name, (label, _) in LIGHT_FORMS.items()
    ),
    *OUTSIDE,
)

LIGHT_SEMANTIC = ("deepskip", "deepskip_resnet34", "unet_8", "unet3plus_8")
LIGHT_NETWORKS = (*LIGHT_SEMANTIC, "mask_rcnn_light")
HEAVY_NETWORKS = ("unet", "fcn8s", "pspnet", "h_denseunet", "mask_rcnn")

PRESETS = {
    "quick": Preset(
        "nine networks, all categories, few steps, one seed; fewer steps for the heavy ones",
        **QUICK,
        networks=(*LIGHT_SEMANTIC, *HEAVY_NETWORKS),  # one Mask R-CNN is enough
        seeds=(0,),
        steps_of=dict.fromkeys(HEAVY_NETWORKS, 15),
    ),
    "light": Preset(
        "the light networks, each trained for the same minutes as `train` would, where objects are "
        "many and where they are rare",
        **LIGHT,
        networks=LIGHT_NETWORKS,
    ),
    "same_size": Preset(
        "all architectures at the deep-skip network's weights or multiply-adds, same minutes",
        **LIGHT,
        networks=("deepskip", *LIGHT_FORMS),
    ),
    "outside": Preset(
        "networks of other packages, same minutes, on PyTorch",
        **LIGHT,
        networks=("deepskip", *(network.name for network in OUTSIDE)),
    ),
    "full": Preset(
        "all networks on full-size crops, for a GPU and --jobs 4",
        **FULL,
        seeds=(0, 1),
        networks=(*LIGHT_NETWORKS, *HEAVY_NETWORKS),
    ),
}

COMPARISON = Study(
    "compare",
    "Tables 2 and 3: the deep-skip network compared with others",
    NETWORKS,
    "deepskip",
    CATEGORIES,
    PRESETS,
    costs=True,
)
