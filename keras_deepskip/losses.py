"""The loss for small objects: weighted cross-entropy plus Dice (equations 5-8).

Throughout, `o` is the predicted probability and `t` the truth (1 where the pixel is of the class),
both float32 tensors of shape (N, H, W, V): images, rows, columns, classes. `w` (N, H, W, 1) holds
the pixels' weights; a weight of 0 takes the pixel out of every sum. Volumes have one axis more,
(N, D, H, W, V), and voxels are their pixels.
"""

import math

import keras
from keras import ops

from keras_deepskip import _checks, _labels

# log(o) stays finite, and with it the gradient; float32 still distinguishes 1 - 1e-7 from 1.
PROBABILITY_FLOOR = 1e-7
POOLINGS = ("image", "batch")
SURROUNDINGS = 33  # side of the square in which a pixel's own object is measured, in pixels
SMALL = 400  # object pixels there (20 x 20), from which on a pixel counts as any other
MOST = 8.0  # times that a pixel counts, at most


def small_object_loss(
    y_true,
    y_pred,
    alpha=0.5,
    beta=1.0,
    class_weights=None,
    pooling="image",
    from_logits=False,
    ignore_class=None,
    multilabel=False,
    include_background=True,
    smooth=1.0,
    sample_weight=None,
    dice_weight=1.0,
    size_balance=0.0,
    include_absent=True,
):
    """Weighted cross-entropy plus Dice, image by image: equation 8.

    Takes tensors of shape (N, H, W, V), or of volumes (N, D, H, W, V), and gives (N,), or (1,) with
    `pooling="batch"`. See `SmallObjectLoss` for the arguments. `sample_weight` holds pixel weights
    here, (N, H, W) or (N, H, W, 1): each image's loss is a weighted mean over its pixels, and an
    image all of whose weights are 0 costs 0.

    Example:

    >>> y_true = np.array([[[0, 1], [0, 0]]])
    >>> y_pred = np.array([[[[0.0], [1.0]], [[0.0], [0.0]]]])
    >>> float(small_object_loss(y_true, y_pred)[0]) < 1e-6
    True
    """
    t, o, log_o, log_rest, w, strays = _prepare(
        y_true, y_pred, from_logits, ignore_class, multilabel, sample_weight
    )
    binary = multilabel or o.shape[-1] == 1
    q = _class_weights(class_weights, o.shape[-1], include_background or binary)
    sized = w * _size_weights(t if binary else t[..., 1:], size_balance) if size_balance else w
    loss = beta * _weighted_crossentropy(t, log_o, log_rest, sized, alpha, q, pooling)
    if dice_weight:
        present = None if binary or include_absent else _over_image(w * t, pooling) > 0
        loss = loss + dice_weight * _dice_loss(t, o, w, q, smooth, pooling, present)
    # The step that comes to this ends in an error, or the metrics that count the same masks do.
    return ops.where(strays > 0, math.nan, loss)


@keras.saving.register_keras_serializable(package="keras_deepskip")
class SmallObjectLoss(keras.losses.Loss):
    """The loss for small objects: `beta` times weighted cross-entropy, plus Dice.

    Binary (one output channel), for each image of N pixels (equations 5-8):

        L = beta (1/N) sum_i -(alpha t_i log o_i + (1 - alpha) (1 - t_i) log(1 - o_i))
            + 1 - (2 sum_i t_i o_i + smooth) / (sum_i (t_i^2 + o_i^2) + smooth)

    With V classes (softmax; id 0 is the background), the cross-entropy of pixel i is
    `-a_i log o_iv` of its own class v, `a_i` = alpha where v > 0 and 1 - alpha where v = 0, and
    Dice is the mean over classes with the weights Q_v. With `multilabel=True` the loss is the mean
    with the weights Q_v of V binary losses.

    An image without objects, rightly predicted, costs 0; a false pixel on it costs something, and
    the loss is continuous in between. Sums are in float32 whatever the dtype policy.

    Args:
        alpha: weight of object pixels in the cross-entropy, in [0, 1]; background has 1 - alpha.
            0.5 is half of the plain cross-entropy.
        beta: weight of the cross-entropy against Dice, not negative.
        class_weights: Q_v of equation 7, one not negative number for each output channel; they
            are normalized to sum 1, so only their ratios count. None weighs all alike.
        pooling: `"image"` gives each image its own Dice and takes the mean, so that a missed small
            object is not hidden by another image's large one; `"batch"` pools all images'
            pixels.
        from_logits: whether predictions are logits.
        ignore_class: class id of pixels that count nowhere, such as 255.
        multilabel: whether truth is (N, H, W, V) zeros and ones, each class by itself.
        include_background: whether class 0 of several has its term in Dice.
        smooth: eps of equation 7, in pixels, more than 0.
        dice_weight: of Dice, not negative; 0 leaves the cross-entropy alone. Equation 8 has 1.
        size_balance: power by which the pixels of small objects count more in the cross-entropy, in
            [0, 1]. A pixel of an object with n pixels of its class within 16 pixels around counts
            `(400 / n)^size_balance` times, between once and 8 times: at 1 an object of 60 pixels
            counts as much as one of 400. 0, as the paper has it, counts all pixels alike.
        include_absent: whether classes of which an image has no pixel have their term in its Dice,
            as equation 7 has it. False weighs those that are there alone: a pixel that is taken
            for an absent class is missing from its own, and costs there. Of many classes the
            absent ones outweigh the others, and a network may learn to find nothing at all. (Where
            no class that is there has a weight, all have their term.)
            Without effect on one class and with `multilabel`.
        reduction: of the images' losses: `"sum_over_batch_size"`, `"mean"`, `"sum"`,
            `"mean_with_sample_weight"`, `"none"` or None, as in Keras.
        name: name of the loss.

    Call arguments:
        y_true: class ids, (N, H, W) or (N, H, W, 1); zeros and ones (N, H, W, V) if `multilabel`.
        y_pred: probabilities or logits, (N, H, W, V).
        sample_weight: per image, (N,): the images' losses are weighted as Keras does (with
            `pooling="batch"`, their pixels). Or per pixel, (N, H, W) or (N, H, W, 1): enters both
            parts, and what is under a weight of 0 changes nothing.

    Volumes have D before H in all of these shapes, and each volume is an image.

    Raises:
        ValueError: if an argument is out of range, shapes do not fit, or `y_true` holds a value
            that is no class where a pixel counts: it is named. Zeros and ones may also be anything
            between (soft masks). In a compiled step it is the backend's own error with the same
            text, or, if a pixel metric of this package counts the same masks, that metric's
            ValueError at the epoch's end; the loss is NaN until then, never negative.

    Example:

    >>> loss = SmallObjectLoss()
    >>> y_true = np.zeros((2, 8, 8), "uint8")
    >>> float(loss(y_true, np.zeros((2, 8, 8, 1), "float32"))) < 1e-6
    True

    Source: equations 5-8 of H. Sun, Traitement du Signal 40(4), 2023; the rules that the paper
    leaves open (pooling, smooth, weights) are this package's.
    """

    def __init__(
        self,
        alpha=0.5,
        beta=1.0,
        class_weights=None,
        pooling="image",
        from_logits=False,
        ignore_class=None,
        multilabel=False,
        include_background=True,
        smooth=1.0,
        dice_weight=1.0,
        size_balance=0.0,
        include_absent=True,
        reduction="sum_over_batch_size",
        name="small_object_loss",
        dtype="float32",
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.alpha = _checks.check_number("alpha", alpha, 0, 1)
        self.beta = _checks.check_number("beta", beta, 0, math.inf, open_high=True)
        self.class_weights = _check_class_weights(class_weights)
        self.pooling = _checks.check_choice("pooling", pooling, POOLINGS)
        self.from_logits = from_logits
        self.ignore_class = ignore_class
        self.multilabel = multilabel
        self.include_background = include_background
        self.smooth = _checks.check_number("smooth", smooth, 1e-12, math.inf, open_high=True)
        self.dice_weight = _check_parts(beta, dice_weight)
        self.size_balance = _checks.check_number("size_balance", size_balance, 0, 1)
        self.include_absent = include_absent

    def __call__(self, y_true, y_pred, sample_weight=None):
        image_weight, pixel_weight = _split_weight(sample_weight, y_pred)
        if self.pooling == "batch" and image_weight is not None:
            image_weight, pixel_weight = None, _over_pixels(image_weight, y_pred)
        # Keras's own reduction sees the images' losses and weights; pixel weights ride with y_true.
        truth = {"mask": y_true if image_weight is None else _weighted(y_true, image_weight)}
        if pixel_weight is not None:
            truth["weight"] = pixel_weight
        with _labels.masks_of_a_loss(y_true):
            return super().__call__(truth, y_pred, sample_weight=image_weight)

    def call(self, y_true, y_pred):
        if not isinstance(y_true, dict):
            y_true = {"mask": y_true}
        return small_object_loss(
            y_true["mask"],
            y_pred,
            alpha=self.alpha,
            beta=self.beta,
            class_weights=self.class_weights,
            pooling=self.pooling,
            from_logits=self.from_logits,
            ignore_class=self.ignore_class,
            multilabel=self.multilabel,
            include_background=self.include_background,
            smooth=self.smooth,
            sample_weight=y_true.get("weight"),
            dice_weight=self.dice_weight,
            size_balance=self.size_balance,
            include_absent=self.include_absent,
        )

    def get_config(self):
        return {
            **super().get_config(),
            "alpha": self.alpha,
            "beta": self.beta,
            "class_weights": self.class_weights,
            "pooling": self.pooling,
            "from_logits": self.from_logits,
            "ignore_class": self.ignore_class,
            "multilabel": self.multilabel,
            "include_background": self.include_background,
            "smooth": self.smooth,
            "dice_weight": self.dice_weight,
            "size_balance": self.size_balance,
            "include_absent": self.include_absent,
        }


@keras.saving.register_keras_serializable(package="keras_deepskip")
class DeepSupervisionLoss(keras.losses.Loss):
    """One loss for the scores of every decoder level, for networks with `deep_supervision=True`.

    In training such a network gives the scores of L levels, block after block of `num_classes`
    channels, the finest first. Their loss is the weighted mean of the blocks' losses. In
    validation and inference there is one block, and its loss is the loss.

    Args:
        loss: of one block: a `keras.losses.Loss`.
        num_classes: K, the channels of a block.
        weights: of the levels, the finest first, not negative; they are normalized to sum 1. None
            halves the weight from one level to the next.
        name: name of the loss.

    Call arguments: those of `loss`, with `y_pred` (N, H, W, L K) or (N, H, W, K).

    Raises:
        ValueError: if the channels are no whole number of blocks, or `weights` are of another
            number of levels.

    Example:

    >>> loss = DeepSupervisionLoss(SmallObjectLoss(), weights=(3, 1))
    >>> y_true = np.zeros((1, 4, 4), "uint8")
    >>> y_pred = np.zeros((1, 4, 4, 2), "float32")
    >>> float(loss(y_true, y_pred)) < 1e-6
    True
    """

    def __init__(self, loss, num_classes=1, weights=None, name="deep_supervision_loss"):
        super().__init__(name=name)
        if not isinstance(loss, keras.losses.Loss):
            raise ValueError(f"`loss` must be a keras.losses.Loss. Received: loss={loss!r}")
        self.loss = loss
        self.num_classes = _checks.check_integer("num_classes", num_classes)
        self.weights = _check_level_weights(weights)

    def __call__(self, y_true, y_pred, sample_weight=None):
        classes, channels = self.num_classes, y_pred.shape[-1]
        blocks = [y_pred[..., start : start + classes] for start in range(0, channels, classes)]
        if len(blocks) == 1 and channels == classes:
            return self.loss(y_true, y_pred, sample_weight)
        weights = self.weights or [0.5**level for level in range(len(blocks))]
        if channels % classes or len(weights) != len(blocks):
            raise ValueError(
                f"`y_pred` must hold {classes} channels, or that many for each of the levels of "
                f"`weights`. Received: {channels} channels, num_classes={classes}, "
                f"weights={self.weights}"
            )
        losses = [self.loss(y_true, block, sample_weight) for block in blocks]
        total = sum(weight * loss for weight, loss in zip(weights, losses, strict=True))
        return total / sum(weights)

    def get_config(self):
        return {
            "loss": keras.saving.serialize_keras_object(self.loss),
            "num_classes": self.num_classes,
            "weights": self.weights,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config):
        loss = keras.saving.deserialize_keras_object(config["loss"])
        return cls(**{**config, "loss": loss})


def _check_parts(beta, dice_weight):
    """Returns the weight of Dice, if one of the two parts counts."""
    _checks.check_number("dice_weight", dice_weight, 0, math.inf, open_high=True)
    if not beta and not dice_weight:
        raise ValueError(
            "a loss has at least one part. Received: beta=0 (no cross-entropy) and dice_weight=0 "
            "(no Dice). Give one of them"
        )
    return dice_weight


def _check_level_weights(weights):
    if weights is None:
        return None
    checked = [_checks.check_number("weights", w, 0, math.inf, open_high=True) for w in weights]
    if not sum(checked):
        raise ValueError(f"`weights` must not all be 0. Received: weights={tuple(weights)}")
    return checked


def _weighted_crossentropy(t, log_o, log_rest, w, alpha, q, pooling):
    """Equations 5 and 6: (N,), the weighted mean over each image's pixels."""
    if log_rest is not None:  # one or several binary problems: equation 6, combined by Q_v
        terms = alpha * t * log_o + (1 - alpha) * (1 - t) * log_rest  # (N, H, W, V)
        pixel = ops.sum(q * terms, axis=-1, keepdims=True)
    else:
        a = ops.concatenate([(1 - alpha) * t[..., :1], alpha * t[..., 1:]], axis=-1)  # a_i t_iv
        pixel = ops.sum(a * log_o, axis=-1, keepdims=True)
    return -_ratio(_over_image(w * pixel, pooling), _over_image(w, pooling))[:, 0]


def _size_weights(t, power):
    """How much each pixel counts by the size of its object: (N, H, W, 1), at least 1.

    Args:
        t: truth of the objects' classes, (N, H, W, V).
        power: `size_balance`.
    """
    near = t
    for axis in range(1, len(t.shape) - 1):  # a square is summed side by side
        near = _sum_around(near, axis)
    times = ops.clip((SMALL / ops.maximum(near, 1.0)) ** power, 1.0, MOST)
    return 1 + ops.max(t * (times - 1), axis=-1, keepdims=True)


def _sum_around(x, axis):
    """Sums over `SURROUNDINGS` neighbours along an axis; beyond the border there is nothing."""
    pad = [(0, 0)] * len(x.shape)
    pad[axis] = (SURROUNDINGS // 2 + 1, SURROUNDINGS // 2)
    sums = ops.cumsum(ops.pad(x, pad), axis=axis)
    length = x.shape[axis] or ops.shape(x)[axis]
    ends = ops.take(sums, ops.arange(length) + SURROUNDINGS, axis=axis)
    return ends - ops.take(sums, ops.arange(length), axis=axis)


def _dice_loss(t, o, w, q, smooth, pooling, present=None):
    """Equation 7: (N,); with `present` (N, V) of the classes that are there, Q_v of these alone."""
    overlap = _over_image(w * t * o, pooling)  # (N, V)
    total = _over_image(w * (t * t + o * o), pooling)
    dice = (2 * overlap + smooth) / (total + smooth)
    if present is None:
        return ops.sum(q * (1 - dice), axis=-1)
    own = q * ops.cast(present, "float32")
    # Where none of them has a weight (an image without objects, the background left out), all do
    q = ops.where(ops.sum(own, axis=-1, keepdims=True) > 0, own, q + 0 * own)
    return _ratio(ops.sum(q * (1 - dice), axis=-1), ops.sum(q, axis=-1))


def _over_image(x, pooling):
    """Sums over the pixels of each image, (N, V), or of all of them, (1, V).

    Row by row: one long float32 sum over a large image loses digits on some backends.
    """
    while len(x.shape) > 2:
        x = ops.sum(x, axis=-2)
    return ops.sum(x, axis=0, keepdims=True) if pooling == "batch" else x


def _prepare(y_true, y_pred, from_logits, ignore_class, multilabel, weight):
    """Returns t, o, log o, log(1 - o) (None for a softmax), w, in float32, and how many values of
    the truth are no class: 0, but for a compiled step."""
    y_pred = ops.cast(ops.convert_to_tensor(y_pred), "float32")
    y_true = ops.cast(ops.convert_to_tensor(y_true), "float32")
    _check_shapes(_shape(y_true, "y_true"), _shape(y_pred, "y_pred"), multilabel)
    classes = y_pred.shape[-1]
    y_true = y_true if len(y_true.shape) == len(y_pred.shape) else y_true[..., None]

    w = ops.ones_like(y_pred[..., :1])
    if weight is not None:
        weight = ops.cast(ops.convert_to_tensor(weight), "float32")
        w = w * (weight if len(weight.shape) == len(y_pred.shape) else weight[..., None])
    if ignore_class is not None:
        ignored = ops.equal(y_true, float(ignore_class))
        y_true = ops.where(ignored, 0.0, y_true)
        w = ops.where(ops.any(ignored, axis=-1, keepdims=True), 0.0, w)
    # NaN under a weight of 0 must not come back as 0 * NaN.
    y_pred = ops.where(w > 0, y_pred, 0.0 if from_logits else 0.5)
    y_true = ops.where(w > 0, y_true, 0.0)

    binary = multilabel or classes == 1
    strays = _refuse_strays(y_true, w, 1 if binary else classes - 1, whole=not binary)
    t = y_true if binary else ops.one_hot(ops.cast(y_true[..., 0], "int32"), classes)
    return (t, *_probabilities(y_pred, binary, from_logits), w, strays)


def _refuse_strays(y_true, w, top, whole):
    found = _labels.refuse_strays("SmallObjectLoss", y_true, w > 0, top, whole)
    _labels.end_step("SmallObjectLoss", found, top, whole)
    return found[0]


def _probabilities(y_pred, binary, from_logits):
    """Returns o, log o and log(1 - o) of predictions; the last is None for a softmax."""
    if from_logits:
        if not binary:
            return ops.softmax(y_pred), ops.log_softmax(y_pred), None
        return ops.sigmoid(y_pred), ops.log_sigmoid(y_pred), ops.log_sigmoid(-y_pred)
    safe = ops.clip(y_pred, PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)
    return y_pred, ops.log(safe), ops.log(1 - safe) if binary else None


def _ratio(part, whole):
    """part / whole, and 0 where the whole is 0 (an image that is ignored altogether)."""
    return ops.where(whole > 0, part / ops.where(whole > 0, whole, 1.0), 0.0)


def _class_weights(class_weights, classes, include_background):
    """Q_v of equation 7, normalized to sum 1."""
    values = [1.0] * classes if class_weights is None else list(class_weights)
    if len(values) != classes:
        raise ValueError(
            "`class_weights` must have one entry for each output channel, here "
            f"{classes}. Received: class_weights={class_weights}"
        )
    if not include_background:
        values[0] = 0.0
    total = sum(values)
    if total <= 0:
        raise ValueError(
            "`class_weights` must hold a positive weight for at least one class that Dice counts. "
            f"Received: class_weights={class_weights}, include_background={include_background}"
        )
    return ops.convert_to_tensor([value / total for value in values], dtype="float32")


def _check_class_weights(class_weights):
    if class_weights is None:
        return None
    return [
        _checks.check_number("class_weights", v, 0, math.inf, open_high=True) for v in class_weights
    ]


def _check_shapes(true_shape, pred_shape, multilabel):
    if len(pred_shape) not in (4, 5):
        raise ValueError(
            "predictions must be (N, H, W, classes), or of volumes (N, D, H, W, classes). "
            f"Received: y_pred of shape {tuple(pred_shape)}"
        )
    expected = tuple(pred_shape) if multilabel else (*pred_shape[:-1], 1)
    received = tuple(true_shape)
    if len(received) == len(pred_shape) - 1 and not multilabel:
        received = (*received, 1)
    fits = len(received) == len(expected) and all(
        a is None or b is None or a == b for a, b in zip(received, expected, strict=True)
    )
    if not fits:
        hint = "" if multilabel else " Class ids are expected, not one-hot vectors"
        raise ValueError(
            f"the truth must be of shape {expected} to go with predictions of shape "
            f"{tuple(pred_shape)}. Received: y_true of shape {tuple(true_shape)}.{hint}"
        )


def _split_weight(weight, y_pred):
    """Returns (image weights or None, pixel weights or None)."""
    if weight is None:
        return None, None
    weight = ops.convert_to_tensor(weight, dtype="float32")
    shape, pixels = _shape(weight, "sample_weight"), _shape(y_pred, "y_pred")[1:-1]
    if len(shape) == 1:
        return weight, None
    if len(shape) == 2 and shape[1] == 1:
        return weight[:, 0], None
    rank = len(pixels) + 1
    fits = len(shape) == rank or (len(shape) == rank + 1 and shape[-1] == 1)
    sizes = zip(shape[1:rank], pixels, strict=False)
    if not fits or any(a is not None and b is not None and a != b for a, b in sizes):
        raise ValueError(
            "`sample_weight` must be (N,) for images, or (N, H, W) or (N, H, W, 1) for pixels "
            f"(volumes: with D before H) of predictions of shape {tuple(y_pred.shape)}. "
            f"Received: shape {shape}"
        )
    return None, weight


def _shape(tensor, name):
    """The static shape; TensorFlow forgets the rank of what came in several ranks."""
    try:
        return tuple(tensor.shape)
    except ValueError as error:
        raise ValueError(
            f"`{name}` came in several ranks, such as (N,) and (N, H, W), into one compiled model, "
            "and TensorFlow no longer knows its rank. Keep to one, or compile the model again"
        ) from error


def _weighted(y_true, image_weight):
    """The truth, 0 in images of weight 0, whatever it holds there."""
    y_true = ops.convert_to_tensor(y_true)
    weight = ops.reshape(image_weight, (-1, *[1] * (len(_shape(y_true, "y_true")) - 1)))
    return ops.where(weight > 0, y_true, ops.zeros_like(y_true))


def _over_pixels(image_weight, y_pred):
    ones = ops.ones_like(y_pred[..., 0], dtype="float32")
    return ones * ops.reshape(image_weight, (-1, *[1] * (len(ones.shape) - 1)))
