"""Metrics of a network that in training gives the scores of several decoder levels."""

import keras

from keras_deepskip import _checks


@keras.saving.register_keras_serializable(package="keras_deepskip")
class FinestLevel(keras.metrics.Metric):
    """A metric of the finest level's scores, for networks with `deep_supervision=True`.

    In training such a network gives block after block of `num_classes` channels, in validation the
    first one alone; the metric sees the first in both.

    Args:
        metric: the `keras.metrics.Metric`; the result has its name.
        num_classes: K, the channels of a block.

    Raises:
        ValueError: if `metric` is none.

    Example:

    >>> metric = FinestLevel(keras_deepskip.metrics.IoU())
    >>> right, wrong = np.ones((1, 2, 2, 1)), np.zeros((1, 2, 2, 1))
    >>> metric.update_state(right, np.concatenate([right, wrong], axis=-1))
    >>> float(metric.result())
    1.0
    """

    def __init__(self, metric, num_classes=1, name=None, dtype=None):
        if not isinstance(metric, keras.metrics.Metric):
            raise ValueError(f"`metric` must be a keras.metrics.Metric. Received: {metric!r}")
        super().__init__(name=name or metric.name, dtype=dtype)
        self.metric = metric
        self.num_classes = _checks.check_integer("num_classes", num_classes)

    def update_state(self, y_true, y_pred, sample_weight=None):
        finest = y_pred[..., : self.num_classes]
        return self.metric.update_state(y_true, finest, sample_weight=sample_weight)

    def result(self):
        return self.metric.result()

    def reset_state(self):
        self.metric.reset_state()

    def get_config(self):
        return {
            **super().get_config(),
            "metric": keras.saving.serialize_keras_object(self.metric),
            "num_classes": self.num_classes,
        }

    @classmethod
    def from_config(cls, config):
        metric = keras.saving.deserialize_keras_object(config["metric"])
        return cls(**{**config, "metric": metric})
