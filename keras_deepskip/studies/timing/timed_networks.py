"""The networks that can be timed: how each is built and run, and which packages it needs.

Every network maps float32 images (N, size, size, 3) in [0, 1] to the probability of one kind of
object. Weights are random, as they do not change the time. Packages are imported when a network is
built.
"""

import dataclasses
from collections.abc import Callable, Mapping

import keras

from keras_deepskip.folding import fold_batch_norm
from keras_deepskip.models import build_model
from keras_deepskip.studies.light_forms import LIGHT_FORMS
from keras_deepskip.studies.timing.adapters import KerasModel, OnnxRuntime, OpenVino, TorchModule
from keras_deepskip.studies.timing.plain_networks import deepskip_plain


@dataclasses.dataclass(frozen=True)
class TimedNetwork:
    """A network, and the way in which it is run.

    Attributes:
        about: what it is, in a few words.
        build: function of the images' size in pixels (and of options) that returns the network.
        adapter: class in `adapters.py` that runs what `build` returns.
        needs: further packages: from the name to import to the name for pip.
        backend: the Keras backend that it always runs on; None is the chosen one.
        trains: whether it can be trained.
    """

    about: str
    build: Callable
    adapter: type = KerasModel
    needs: Mapping = dataclasses.field(default_factory=dict)
    backend: str | None = None
    trains: bool = True


# ---- This package's network ----------------------------------------------------------------------


def _deepskip(size, **options):
    return build_model((size, size, 3), num_classes=1, input_range=(0, 1), **options)


def _deepskip_folded(size, **options):
    return fold_batch_norm(_deepskip(size, **options))


def _network(**options):
    """Builds another network of `build_model` as `predict` runs it, batch norms folded."""
    return lambda size: _deepskip_folded(size, **options)


# ---- Keras packages ------------------------------------------------------------------------------


def _unet_3plus(size, base_filters):
    from keras_unet_collection import models

    widths = [base_filters * 2**level for level in range(5)]
    return models.unet_3plus_2d((size, size, 3), 1, widths, batch_norm=True)


def _unet_3plus_8(size):
    return _unet_3plus(size, 8)


def _unet_3plus_64(size):
    return _unet_3plus(size, 64)


def _segmodels_resnet34(size):
    import segmodels_keras

    return segmodels_keras.Unet("resnet34", (size, size, 3), encoder_weights=None)


def _segmodels_mobilenetv2(size):
    import segmodels_keras

    return segmodels_keras.Unet("mobilenetv2", (size, size, 3), encoder_weights=None)


def _hub_deeplab(size):
    from keras_deepskip.studies.rivals.outside.hub import deeplab_resnet34

    return _with_sigmoid(deeplab_resnet34((size, size, 3), 1))


def _hub_segformer(size):
    from keras_hub import models

    encoder = models.MiTBackbone(
        layerwise_depths=[2, 2, 2, 2],
        num_layers=4,
        layerwise_num_heads=[1, 2, 5, 8],
        layerwise_sr_ratios=[8, 4, 2, 1],
        max_drop_path_rate=0.1,
        layerwise_patch_sizes=[7, 3, 3, 3],
        layerwise_strides=[4, 2, 2, 2],
        hidden_dims=[32, 64, 160, 256],
        image_shape=(size, size, 3),
    )
    backbone = models.SegFormerBackbone(image_encoder=encoder, projection_filters=256)
    return _with_sigmoid(models.SegFormerImageSegmenter(backbone, num_classes=1))


def _with_sigmoid(segmenter):
    """A plain model of a keras-hub task model, whose `compile` has defaults of its own."""
    outputs = keras.layers.Activation("sigmoid")(segmenter.output)
    return keras.Model(segmenter.input, outputs)


# ---- PyTorch -------------------------------------------------------------------------------------


def _smp(network, encoder):
    def build(size):
        import segmentation_models_pytorch

        return getattr(segmentation_models_pytorch, network)(encoder, encoder_weights=None)

    return build


# ---- All of them ---------------------------------------------------------------------------------

COLLECTION = {"keras_unet_collection": "keras-unet-collection"}
SEGMODELS = {"segmodels_keras": "segmodels-keras"}
HUB = {"keras_hub": "keras-hub"}
SMP = {"segmentation_models_pytorch": "segmentation-models-pytorch", "torch": "torch"}
# `Model.export` writes ONNX files by tf2onnx.
ONNX = {"tensorflow": "tensorflow", "tf2onnx": "tf2onnx", "onnxruntime": "onnxruntime"}
OPENVINO = {"tensorflow": "tensorflow", "tf2onnx": "tf2onnx", "openvino": "openvino"}
EXPORTED = {"backend": "tensorflow", "trains": False}
SMP_NETWORKS = (
    ("unet", "U-Net", "Unet", "resnet34"),
    ("unet", "U-Net", "Unet", "mobilenet_v2"),
    ("unetplusplus", "U-Net++", "UnetPlusPlus", "resnet34"),
    ("unetplusplus", "U-Net++", "UnetPlusPlus", "mobilenet_v2"),
    ("pspnet", "PSPNet", "PSPNet", "resnet34"),
    ("segformer", "SegFormer", "Segformer", "mit_b0"),
)
NATIVE = {"adapter": TorchModule, "needs": SMP, "backend": "torch"}

# Networks of `build_model` that `experiments.COMPARISON` trains: what each is, and its options.
# They are timed as `predict` runs them, folded.
COMPARED = {
    "deepskip_resnet34": ("light_resnet34, folded", {"backbone": "light_resnet34"}),
    "unet_folded": (
        "U-Net, 64 to 1024 channels, with batch norms, folded",
        {"architecture": "unet", "batch_norm": True},
    ),
    "unet_8": (
        "U-Net, 8 to 128 channels, folded",
        {"architecture": "unet", "base_filters": 8, "batch_norm": True},
    ),
    "unet3plus_light": (
        "UNet 3+, 8 to 128 channels, folded",
        {"architecture": "unet3plus", "base_filters": 8},
    ),
    "fcn8s": ("FCN-8s, VGG16", {"architecture": "fcn8s"}),
    "pspnet": ("PSPNet, ResNet50, folded", {"architecture": "pspnet"}),
    "h_denseunet": ("DenseUNet-167, folded", {"architecture": "h_denseunet"}),
    # A proposal costs as much as a small network, and few images hold more than 300 objects.
    "mask_rcnn": (
        "Mask R-CNN, ResNet50-FPN, 300 proposals, folded",
        {
            "architecture": "mask_rcnn",
            "proposals": 300,
            "training_proposals": 500,
            "detections": 300,
        },
    ),
    "mask_rcnn_light": (
        "Mask R-CNN, light_resnet34, maps of 64 channels, 300 proposals, folded",
        {
            "architecture": "mask_rcnn",
            "backbone": "light_resnet34",
            "fpn_filters": 64,
            "fc_units": 256,
            "mask_filters": 64,
            "proposals": 300,
            "training_proposals": 300,
            "detections": 300,
        },
    ),
    **{name: (f"{label}, folded", options) for name, (label, options) in LIGHT_FORMS.items()},
}

TIMED_NETWORKS = {
    "deepskip": TimedNetwork("this package's network, light_vgg16", _deepskip),
    "deepskip_folded": TimedNetwork(
        "its batch norms folded into kernels", _deepskip_folded, trains=False
    ),
    "deepskip_plain": TimedNetwork("the same network in UpSampling2D and Conv2D", deepskip_plain),
    "deepskip_onnxruntime": TimedNetwork(
        "folded, in ONNX Runtime", _deepskip_folded, OnnxRuntime, ONNX, **EXPORTED
    ),
    "deepskip_openvino": TimedNetwork(
        "folded, in OpenVINO", _deepskip_folded, OpenVino, OPENVINO, **EXPORTED
    ),
    "unet": TimedNetwork(
        "U-Net, 64 to 1024 channels", lambda size: _deepskip(size, architecture="unet")
    ),
    "unet3plus_8": TimedNetwork(
        "keras-unet-collection UNet 3+, 8 to 128", _unet_3plus_8, needs=COLLECTION
    ),
    "unet3plus_64": TimedNetwork(
        "keras-unet-collection UNet 3+, 64 to 1024", _unet_3plus_64, needs=COLLECTION
    ),
    "segmodels_unet_resnet34": TimedNetwork(
        "segmodels-keras U-Net, ResNet34", _segmodels_resnet34, needs=SEGMODELS
    ),
    "segmodels_unet_mobilenetv2": TimedNetwork(
        "segmodels-keras U-Net, MobileNetV2", _segmodels_mobilenetv2, needs=SEGMODELS
    ),
    "hub_deeplabv3_resnet34": TimedNetwork(
        "keras-hub DeepLabV3+, ResNet34", _hub_deeplab, needs=HUB
    ),
    "hub_segformer_b0": TimedNetwork("keras-hub SegFormer-B0", _hub_segformer, needs=HUB),
    **{
        f"smp_{name}_{encoder}": TimedNetwork(
            f"smp {label}, {encoder}, PyTorch", _smp(network, encoder), **NATIVE
        )
        for name, label, network, encoder in SMP_NETWORKS
    },
    **{
        name: TimedNetwork(about, _network(**options), trains=False)
        for name, (about, options) in COMPARED.items()
    },
}
