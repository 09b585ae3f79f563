"""Weights of one model in a copy of it."""

from keras import layers


def set_weights(layer, weights):
    """Sets all weights of a layer or model, as `set_weights` does, and has them take effect.

    Keras's `Normalization` works with numbers that it derives from its weights, and `set_weights`
    leaves the old ones in place.

    Args:
        layer: a `keras.Layer`, or a model with layers inside.
        weights: list of arrays.

    Example:

    >>> layer = keras.layers.Normalization()
    >>> layer.build((None, 1))
    >>> set_weights(layer, [np.array([5.0]), np.array([4.0]), np.array(1)])
    >>> float(layer(np.array([[9.0]]))[0, 0])
    2.0
    """
    layer.set_weights(weights)
    _derive(layer)


def _derive(layer):
    if isinstance(layer, layers.Normalization):
        layer.finalize_state()
    for inner in getattr(layer, "layers", ()):
        _derive(inner)
