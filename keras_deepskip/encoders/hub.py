"""Backbones of KerasHub and KerasCV: models that name the maps of their pyramid."""

import keras


def pyramid_of(backbone):
    """The maps of a KerasHub or KerasCV backbone, finest first; none of other models."""
    found = getattr(backbone, "pyramid_outputs", None)  # KerasHub: maps by level, "P2", "P3", ...
    if not found:  # KerasCV: names of layers
        names = getattr(backbone, "pyramid_level_inputs", None) or {}
        found = {level: backbone.get_layer(name).output for level, name in names.items()}
    return [found[level] for level in sorted(found, key=lambda level: int(str(level).strip("P")))]


@keras.saving.register_keras_serializable(package="keras_deepskip")
class PyramidBackbone(keras.layers.Layer):
    """A backbone that only its own class can rebuild, as a layer that gives its pyramid's maps.

    The layers of some backbones (KerasHub's MiT) cannot be copied or loaded one by one, as their
    configurations lack what they were made with; the backbone's class can rebuild all of it.

    Args:
        backbone: a KerasHub or KerasCV backbone; a copy of it is used.
        count: number of maps to take, the finest first; None takes all.

    Input shape: what the backbone takes.
    Output shape: a list of maps, finest first.
    """

    def __init__(self, backbone, count=None, name="backbone", **arguments):
        super().__init__(name=name, **arguments)
        self.count = count
        self._config = keras.saving.serialize_keras_object(backbone)
        copy = keras.saving.deserialize_keras_object(self._config)
        copy.set_weights(backbone.get_weights())
        self.maps = keras.Model(copy.inputs[0], pyramid_of(copy)[:count])
        self.built = True

    @property
    def inputs(self):
        return self.maps.inputs

    @property
    def outputs(self):
        return self.maps.outputs

    @property
    def input_shape(self):
        return self.maps.input_shape

    def call(self, inputs, training=None):
        return list(self.maps(inputs, training=training))

    def compute_output_shape(self, input_shape):
        return [tensor.shape for tensor in self.outputs]

    def get_config(self):
        return {**super().get_config(), "backbone": self._config, "count": self.count}

    @classmethod
    def from_config(cls, config):
        backbone = keras.saving.deserialize_keras_object(config["backbone"])
        return cls(**{**config, "backbone": backbone})
