"""Batch norm, in training by the backend's own routine."""

import keras
from keras import ops

from keras_deepskip.layers import native


@keras.saving.register_keras_serializable(package="keras_deepskip")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` over the last axis, in few passes over the map.

    Results, weights and moving statistics are those of `BatchNormalization(momentum=momentum,
    epsilon=epsilon)`. In training, float32 maps of images go through the backend's own routine
    where it has one; see `keras_deepskip.layers.native`. Where several devices share a batch, mean
    and variance are those of the whole batch.

    Args:
        momentum: share of the moving statistics that a batch leaves as it is.
        epsilon: added to the variance.
        **arguments: `name`, `dtype`, `trainable` and the initializers, regularizers and constraints
            of `keras.layers.BatchNormalization`.

    Input shape: (N, H, W, C), or any other with the channels last.
    Output shape: as the input.

    Example:

    >>> x = np.arange(8, dtype="float32").reshape(1, 2, 2, 2)
    >>> y = FusedBatchNormalization()(x, training=True)
    >>> bool(abs(keras.ops.mean(y)) < 1e-6)
    True
    """

    def __init__(self, momentum=0.99, epsilon=1e-3, **arguments):
        super().__init__(momentum=momentum, epsilon=epsilon, **arguments)

    def call(self, inputs, training=None):
        single = keras.backend.standardize_dtype(inputs.dtype) == "float32"
        known = native.NORMALIZES and single and len(inputs.shape) == 4
        if not (known and training and self.trainable) or native.batch_is_shared():
            return super().call(inputs, training=training)
        gamma, beta = ops.convert_to_tensor(self.gamma), ops.convert_to_tensor(self.beta)
        outputs, mean, variance = native.normalize_batch(inputs, gamma, beta, self.epsilon)
        self._move(self.moving_mean, mean)
        self._move(self.moving_variance, variance)
        return ops.cast(outputs, self.compute_dtype)

    def _moments(self, inputs, mask):
        if mask is None and native.batch_is_shared():
            return native.moments_of_shares(inputs, self._reduction_axes)
        return super()._moments(inputs, mask)

    def _move(self, moving, value):
        moving.assign(moving * self.momentum + value * (1 - self.momentum))
