"""DeepLabV3+ of KerasHub, with random weights.

KerasHub's SegFormer is not among the networks of the comparison, as it takes images of one size;
`smp` has one that takes any.
"""

import keras

from keras_deepskip.architectures.frame import Frame
from keras_deepskip.layers.conv_block import BATCH_NORM_MOMENTUM
from keras_deepskip.studies.rivals.outside.framing import PixelScores, framed, required


def hub_deeplab(frame=Frame(), name=None):
    """Returns KerasHub's DeepLabV3+ with a ResNet34 as a functional `keras.Model`.

    As KerasHub's presets have it: dilations of 6, 12 and 18 at stride 32, a decoder at stride 4
    with 48 channels of the encoder's. Its weights are random. Height and width are padded to
    multiples of 32.

    Args:
        frame: the images and the classes, a `Frame`; `keras_deepskip.build_model` makes one.
        name: name of the model.

    Returns:
        A `keras.Model` from (N, H, W, C) to (N, H, W, num_classes).

    Raises:
        ImportError: if keras-hub is not installed.
        ValueError: if the input is volumes.

    Example:

    ```python
    keras_deepskip.build_model(architecture="hub_deeplab")  # pip install keras-hub
    ```

    Source: L. Chen et al., Encoder-Decoder with Atrous Separable Convolution for Semantic Image
    Segmentation, ECCV 2018.
    """
    required("keras_hub", "hub_deeplab")
    layer = HubDeepLab(frame.channels, frame.num_classes, name="network")
    return framed(frame, layer, name or "hub_deeplab")


@keras.saving.register_keras_serializable(package="keras_deepskip")
class HubDeepLab(PixelScores, keras.layers.Layer):
    """KerasHub's DeepLabV3+ as a layer, which builds it anew when it is loaded.

    Args:
        channels: C, of the images.
        num_classes: K, channels of the scores.

    Input shape: (N, H, W, C), H and W multiples of 32.
    Output shape: (N, H, W, K), logits in float32.
    """

    def __init__(self, channels=3, num_classes=1, **arguments):
        super().__init__(**arguments)
        self.channels, self.num_classes = channels, num_classes
        segmenter = deeplab_resnet34((None, None, channels), num_classes)
        # A plain model: KerasHub's own is compiled, with metrics that `fit` would ask
        self.segmenter = keras.Model(segmenter.inputs, segmenter.outputs[0])
        for layer in self.segmenter._flatten_layers():  # the pyramid is no model
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = BATCH_NORM_MOMENTUM  # as of all networks here
        self.built = True

    def call(self, inputs, training=None):
        return keras.ops.cast(self.segmenter(inputs, training=training), "float32")

    def get_config(self):
        own = {name: getattr(self, name) for name in ("channels", "num_classes")}
        return {**super().get_config(), **own}


def deeplab_resnet34(shape, num_classes):
    """The segmenter as KerasHub builds it, from (H, W, C) to logits of all pixels."""
    from keras_hub import models

    encoder = models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 128, 256, 512],
        stackwise_num_blocks=[3, 4, 6, 3],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block",
        image_shape=shape,
    )
    backbone = models.DeepLabV3Backbone(
        image_encoder=encoder,
        projection_filters=48,
        low_level_feature_key="P2",
        spatial_pyramid_pooling_key="P5",
        upsampling_size=8,
        dilation_rates=[6, 12, 18],
        image_shape=shape,
    )
    return models.DeepLabV3ImageSegmenter(backbone, num_classes=num_classes)
