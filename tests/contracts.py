"""What holds for every layer of its kind, written once."""

import keras
import numpy as np


def as_list(value):
    """A list of arrays as it is, an array as a list of one."""
    return value if isinstance(value, list) else [value]


def check_layer(make, inputs, shape, policy, folder):
    """Shape, unknown sizes, config before and after build, save and load with equal outputs.

    Args:
        make: function that returns the layer.
        inputs: array, or list of arrays, that it is applied to.
        shape: of the result.
        policy: dtype policy that it is made under.
        folder: for the saved layer.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        layer = make()
        config = layer.get_config()
        unknown = (None,) * (len(shape) - 2)
        symbolic = [keras.Input((*unknown, x.shape[-1])) for x in as_list(inputs)]
        output = layer(symbolic if isinstance(inputs, list) else symbolic[0])
        assert output.shape == (None, *unknown, shape[-1])
        assert layer.get_config() == config
        assert type(layer).from_config(config).get_config() == config

        model = keras.Model(symbolic, output)
        expected = model.predict(inputs, verbose=0)
        assert expected.shape == shape
        model.save(folder / "layer.keras")
        again = keras.models.load_model(folder / "layer.keras")
        np.testing.assert_allclose(again.predict(inputs, verbose=0), expected, atol=1e-5)
        registered = keras.saving.get_registered_name(type(layer))
        assert registered == f"keras_deepskip>{type(layer).__name__}"
    finally:
        keras.config.set_dtype_policy(before)
