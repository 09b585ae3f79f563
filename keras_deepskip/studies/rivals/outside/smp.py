"""Networks of segmentation_models_pytorch, with random weights, on the PyTorch backend."""

import keras
from keras import ops

from keras_deepskip import _checks
from keras_deepskip.architectures.frame import Frame
from keras_deepskip.studies.rivals.outside.framing import PixelScores, framed, required


def smp(frame=Frame(), network="Unet", encoder="resnet34", name=None):
    """Returns a network of segmentation_models_pytorch as a functional `keras.Model`.

    Its weights are random. Height and width are padded to multiples of 32.

    Args:
        frame: the images and the classes, a `Frame`; `keras_deepskip.build_model` makes one.
        network: name of the package's class, such as `"Unet"` or `"UnetPlusPlus"`.
        encoder: name of an encoder that the package knows, such as `"mobilenet_v2"`.
        name: name of the model.

    Returns:
        A `keras.Model` from (N, H, W, C) to (N, H, W, num_classes).

    Raises:
        ImportError: if the package is not installed.
        ValueError: if there is no such network or encoder, the backend is not PyTorch, or the
            input is volumes.

    Example:

    ```python
    keras_deepskip.build_model(architecture="smp", network="UnetPlusPlus", encoder="mobilenet_v2")
    ```

    Source: P. Iakubovskii, Segmentation Models Pytorch, 2019.
    """
    if keras.backend.backend() != "torch":
        raise ValueError(
            "architecture='smp': expected Keras's backend to be PyTorch, as its networks are "
            f"PyTorch's modules. Received: {keras.backend.backend()!r}. Set KERAS_BACKEND=torch"
        )
    package = required("segmentation_models_pytorch", "smp")
    networks = [key for key, value in vars(package).items() if isinstance(value, type)]
    _checks.check_choice("network", network, networks)
    _checks.check_choice("encoder", encoder, package.encoders.get_encoder_names())
    layer = SmpNetwork(network, encoder, frame.channels, frame.num_classes, name="network")
    return framed(frame, layer, name or f"smp_{network.lower()}_{encoder}")


@keras.saving.register_keras_serializable(package="keras_deepskip")
class SmpNetwork(PixelScores, keras.layers.TorchModuleWrapper):
    """A network of segmentation_models_pytorch as a layer, which builds it anew when it is loaded.

    Its running statistics are weights that are not trained, so that copies of the layer have them.

    Args:
        network: name of the package's class.
        encoder: name of the encoder.
        channels: C, of the images.
        num_classes: K, channels of the scores.

    Input shape: (N, H, W, C), H and W multiples of 32.
    Output shape: (N, H, W, K), logits in float32.
    """

    def __init__(self, network, encoder, channels=3, num_classes=1, **arguments):
        import segmentation_models_pytorch

        build = getattr(segmentation_models_pytorch, network)
        module = build(encoder, encoder_weights=None, in_channels=channels, classes=num_classes)
        super().__init__(module, **arguments)
        self.network, self.encoder = network, encoder
        self.channels, self.num_classes = channels, num_classes
        for buffer in self.module.buffers():
            if buffer.is_floating_point():  # not the counts of batches, which nothing uses
                self._track_variable(keras.Variable(buffer, trainable=False))

    def call(self, inputs, training=None):
        scores = super().call(ops.transpose(inputs, (0, 3, 1, 2)), training=training)
        return ops.cast(ops.transpose(scores, (0, 2, 3, 1)), "float32")

    def get_config(self):
        # Not that of the wrapper, which holds the module as a pickle
        own = ("network", "encoder", "channels", "num_classes")
        return {
            **keras.layers.Layer.get_config(self),
            **{name: getattr(self, name) for name in own},
        }

    @classmethod
    def from_config(cls, config):
        return cls(**config)
