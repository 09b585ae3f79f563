"""The rivals at the deep-skip network's size, each of its paper's structure at other widths.

A network's name ends in what it shares with the deep-skip network on `light_vgg16`: `_same_weights`
(647,465 weights, running statistics included, to 5 %), `_same_macs` (2.24 thousand million
multiply-adds for 256 x 256 pixels, to 6 %), or `_same_size` (both, to 12 %).
"""

_FCN = {"architecture": "fcn8s", "backbone": "light_vgg16"}
_PSP = {"architecture": "pspnet", "backbone": "light_resnet34"}
_DENSE = {"architecture": "h_denseunet", "blocks": (3, 6, 12, 8)}
_UNET = {"architecture": "unet", "batch_norm": True}
# A proposal costs as much as a small network, and few images hold more than 300 objects.
_FEW_PROPOSALS = {"proposals": 300, "training_proposals": 300, "detections": 300}

# Name: (label, options of `build_model`)
LIGHT_FORMS = {
    "unet_same_weights": ("U-Net 9..144", {**_UNET, "base_filters": 9}),
    "unet_same_macs": ("U-Net 14..224", {**_UNET, "base_filters": 14}),
    "unet3plus_same_size": (
        "UNet 3+ 11..176",
        {"architecture": "unet3plus", "base_filters": 11, "skip_filters": 5},
    ),
    "fcn8s_same_weights": ("FCN-8s, VGG16 8..128", {**_FCN, "fc_filters": 56}),
    "fcn8s_same_macs": (
        "FCN-8s, VGG16 23..368",
        {**_FCN, "base_filters": 23, "fc_filters": 64},
    ),
    "pspnet_same_weights": (
        "PSPNet, ResNet34 5..80",
        {**_PSP, "base_filters": 5, "pyramid_filters": 44},
    ),
    "pspnet_same_macs": (
        "PSPNet, ResNet34 8..128",
        {**_PSP, "base_filters": 8, "pyramid_filters": 96},
    ),
    "h_denseunet_same_weights": (
        "DenseUNet-71, growth 12",
        {**_DENSE, "growth": 12, "first_filters": 24, "features": 20},
    ),
    "h_denseunet_same_macs": (
        "DenseUNet-71, growth 21",
        {**_DENSE, "growth": 21, "first_filters": 42, "features": 32},
    ),
    "mask_rcnn_same_size": (
        "Mask R-CNN, VGG16 8..128",
        {
            "architecture": "mask_rcnn", "backbone": "light_vgg16", "fpn_filters": 32,
            "fc_units": 170, "mask_filters": 22, **_FEW_PROPOSALS,
        },
    ),
}  # fmt: skip
