"""Tables 2 and 3, figures 4 and 5: the deep-skip network beside the paper's rivals, and others.

    keras-deepskip compare --preset quick --data FOLDER_OF_SETS --out runs/compare

How long it takes and what it gave is in docs/comparison.md.
"""

from keras_deepskip.experiments.categories import ALL, CATEGORIES, REAL
from keras_deepskip.experiments.plan import Network, Preset, Study

# Networks with a batch norm behind each convolution bear the default rate. VGG16 has none, and
# deep backbones from random weights take a lower one.
SLOWER = {"learning_rate": 3e-4}
# A proposal costs as much as a small network; crops and images here hold fewer objects than 300.
FEWER_BOXES = {"proposals": 300, "training_proposals": 500}
SLOW = {"learning_rate": 1e-3}

NETWORKS = (
    Network("deepskip", "deep skips (ours), VGG16", rival="deepskip_folded"),
    Network(
        "deepskip_resnet34", "deep skips (ours), ResNet34", {"backbone": "light_resnet34"},
        rival="deepskip_resnet34",
    ),
    Network("unet", "U-Net 64..1024", {"architecture": "unet", "batch_norm": True}, SLOW, "unet"),
    Network(
        "unet_8", "U-Net 8..128", {"architecture": "unet", "batch_norm": True, "base_filters": 8},
        rival="unet_8",
    ),
    Network(
        "unet3plus_8", "UNet 3+ 8..128", {"architecture": "unet3plus", "base_filters": 8},
        rival="unet3plus_light",
    ),
    Network("fcn8s", "FCN-8s, VGG16", {"architecture": "fcn8s"}, SLOWER, "fcn8s"),
    Network("pspnet", "PSPNet, ResNet50", {"architecture": "pspnet"}, SLOW, "pspnet"),
    Network(
        "h_denseunet", "DenseUNet-167 (H-DenseUNet)", {"architecture": "h_denseunet"}, SLOW,
        "h_denseunet",
    ),
    Network(
        "mask_rcnn", "Mask R-CNN, ResNet50-FPN", {"architecture": "mask_rcnn", **FEWER_BOXES},
        SLOWER, "mask_rcnn",
    ),
)  # fmt: skip

LIGHT = ("deepskip", "deepskip_resnet34", "unet_8", "unet3plus_8")
HEAVY = ("unet", "fcn8s", "pspnet", "h_denseunet", "mask_rcnn")
CROPS = {"crop_size": 96, "batch_size": 8}

PRESETS = {
    "quick": Preset(
        "all networks and categories, few steps, one seed; the heavy ones get what fits",
        categories=ALL,
        seeds=(0,),
        steps=100,
        steps_of=dict.fromkeys(HEAVY, 15),
        epochs=5,
        recipe={**CROPS, "validation_windows": 16},
        test_images=8,
    ),
    "light": Preset(
        "the light networks, trained until they no longer gain much, on the real categories",
        categories=REAL,
        networks=LIGHT,
        seeds=(0, 1, 2),
        steps=300,
        epochs=6,
        recipe={**CROPS, "validation_windows": 24},
    ),
    "full": Preset(
        "all networks with the default crops and three seeds, for a GPU",
        categories=ALL,
        seeds=(0, 1, 2),
        steps=1000,
        epochs=10,
        recipe={"crop_size": 160, "batch_size": 8, "workers": 4},
    ),
}

COMPARISON = Study(
    "compare",
    "Tables 2 and 3: the deep-skip network beside others",
    NETWORKS,
    "deepskip",
    CATEGORIES,
    PRESETS,
    costs=True,
)
