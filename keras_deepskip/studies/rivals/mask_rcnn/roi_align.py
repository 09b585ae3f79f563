"""ROIAlign: what a pyramid of maps holds in each of many boxes, on a grid of fixed size."""

import keras
from keras import ops

from keras_deepskip import _checks

CANONICAL_LEVEL = 4  # k0 of the FPN paper: the level (stride 16) of boxes of the canonical size


@keras.saving.register_keras_serializable(package="keras_deepskip")
class ROIAlign(keras.layers.Layer):
    """Samples maps in boxes: a grid of `size` x `size` bins in each, whatever the box's size.

    A bin's value is the mean of `sampling_ratio`^2 points in it, each the bilinear mean of the four
    pixels around it; nothing is rounded, and pixel i of a map of stride s is centred at (i + 1/2) s
    ("aligned"). Each box is taken from the map of the level that fits its size,
    floor(4 + log2(sqrt(area) / canonical_size)). No gradient goes to the boxes.

    Args:
        size: bins along each side.
        sampling_ratio: points of a bin along each side.
        canonical_size: side in pixels of the box that is taken from level 4 (stride 16).
        first_level: number of the first map; its stride is 2^first_level pixels.

    Input shape: a list: maps (N, H_l, W_l, C), each of half the size of the one before, and boxes
        (N, R, 4 or more), (top, left, bottom, right) in pixels of the image; what follows in
        further columns is left alone.
    Output shape: (N R, size, size, C): boxes take the place of images.

    Raises:
        ValueError: if an argument is out of range.

    Example:

    >>> ramp = np.arange(8.0)[None, :, None, None] + np.zeros((1, 8, 8, 1))
    >>> boxes = np.array([[[2.0, 0.0, 6.0, 8.0]]])
    >>> np.array(ROIAlign(2, first_level=0)([ramp, boxes]))[0, :, 0, 0].tolist()
    [2.5, 4.5]

    Source: K. He et al., Mask R-CNN, 2017, section 3; the level by equation 1 of T.-Y. Lin et al.,
    Feature Pyramid Networks, 2017.
    """

    def __init__(self, size, sampling_ratio=2, canonical_size=224, first_level=2, **arguments):
        # boxes keep their float32 in mixed precision, where 16 bits would round to whole pixels
        super().__init__(autocast=False, **arguments)
        self.size = _checks.check_integer("size", size)
        self.sampling_ratio = _checks.check_integer("sampling_ratio", sampling_ratio)
        self.canonical_size = _checks.check_number("canonical_size", canonical_size, 1e-3, 1e9)
        self.first_level = _checks.check_integer("first_level", first_level, minimum=0)

    def call(self, inputs):
        *maps, boxes = inputs
        boxes = ops.stop_gradient(ops.cast(boxes[..., :4], "float32"))
        if len(maps) == 1:
            levels = ops.zeros_like(boxes[..., 0], dtype="int32")
        else:
            levels = self._levels(boxes, len(maps))  # (N, R)
        return self._sampled([ops.cast(x, self.compute_dtype) for x in maps], boxes, levels)

    def _levels(self, boxes, count):
        """The place of each box's map among the maps."""
        sides = ops.maximum(boxes[..., 2:] - boxes[..., :2], 1e-6)
        area = sides[..., 0] * sides[..., 1]
        # what lies a hair below a power of two, by rounding, is that power
        level = CANONICAL_LEVEL + ops.log2(ops.sqrt(area) / self.canonical_size) + 1e-6
        level = ops.cast(ops.floor(level), "int32") - self.first_level
        return ops.clip(level, 0, count - 1)

    def _sampled(self, maps, boxes, levels):
        batch, channels = ops.shape(maps[0])[0], maps[0].shape[-1]
        sizes = [ops.shape(x)[1:3] for x in maps]
        lengths = [height * width for height, width in sizes]
        flat = [ops.reshape(x, (batch, -1, channels)) for x in maps]
        flat = ops.concatenate(flat, axis=1)  # (N, sum of H_l W_l, C): all levels one after another
        starts = [sum(lengths[:level]) for level in range(len(maps))]
        image = ops.arange(batch, dtype="int32")[:, None] * ops.shape(flat)[1]  # where it begins
        start = _of_level(levels, starts) + image
        width = _of_level(levels, [size[1] for size in sizes])
        height = _of_level(levels, [size[0] for size in sizes])
        stride = ops.cast(_of_level(levels, self._strides(len(maps))), "float32")
        flat = ops.reshape(flat, (-1, channels))
        rows, row_weights = self._taps(boxes[..., 0], boxes[..., 2], stride, height)
        columns, column_weights = self._taps(boxes[..., 1], boxes[..., 3], stride, width)
        rows = rows * width[..., None, None] + start[..., None, None]
        places = crossed(ops.add, rows, columns)  # (N, R, size, size, 4 sampling_ratio^2)
        weights = ops.cast(crossed(ops.multiply, row_weights, column_weights), flat.dtype)
        total = 0.0
        for tap in range(places.shape[-1]):  # one after the other: the sum alone is held
            met = ops.take(flat, places[..., tap], axis=0)
            total = total + met * weights[..., tap, None]
        return ops.reshape(total, (-1, self.size, self.size, channels))

    def _strides(self, count):
        return [2 ** (self.first_level + level) for level in range(count)]

    def _taps(self, low, high, stride, length):
        return taps(low / stride, high / stride, length, self.size, self.sampling_ratio)

    def compute_output_shape(self, input_shape):
        (batch, *_, channels), (_, count, _) = input_shape[0], input_shape[-1]
        rois = None if None in (batch, count) else batch * count
        return (rois, self.size, self.size, channels)

    def get_config(self):
        return {
            **super().get_config(),
            "size": self.size,
            "sampling_ratio": self.sampling_ratio,
            "canonical_size": self.canonical_size,
            "first_level": self.first_level,
        }


def _of_level(levels, values):
    """What of a list of numbers belongs to each of the levels, int32."""
    found = ops.zeros_like(levels) + values[0]
    for level, value in enumerate(values[1:], start=1):
        found = ops.where(levels == level, ops.zeros_like(levels) + value, found)
    return ops.cast(found, "int32")


def crossed(combine, rows, columns):
    """All pairs of a bin's rows and columns: twice (N, R, size, T) to (N, R, size, size, T^2)."""
    pairs = combine(rows[:, :, :, None, :, None], columns[:, :, None, :, None, :])
    *lengths, size, count = ops.shape(rows)
    return ops.reshape(pairs, (*lengths, size, size, count**2))


def taps(low, high, length, size, ratio):
    """Along one axis: the pixels that each bin is a weighted sum of.

    Args:
        low, high: edges of the boxes, (N, R), in pixels of the map.
        length: pixels of the map along the axis, (N, R), int32.
        size: number of bins.
        ratio: points of a bin.

    Returns:
        Pixels (N, R, size, 2 ratio), int32, and their weights. A point up to a pixel outside of the
        centres of the map's pixels has the border's value, one farther away 0.
    """
    points = [(i + (s + 0.5) / ratio) / size for i in range(size) for s in range(ratio)]
    points = ops.convert_to_tensor(points, "float32")
    length = length[..., None]
    limit = ops.cast(length, "float32")
    at = low[..., None] + (high - low)[..., None] * points - 0.5  # (N, R, size ratio)
    inside = ops.cast((at >= -1) & (at <= limit), "float32")
    at = ops.clip(at, 0.0, 1e9)
    at = ops.minimum(at, limit - 1)
    before = ops.minimum(ops.cast(ops.floor(at), "int32"), length - 1)
    share = at - ops.cast(before, "float32")
    pixels = ops.stack([before, ops.minimum(before + 1, length - 1)], axis=-1)
    weights = ops.stack([1 - share, share], axis=-1) * inside[..., None] / ratio
    shape = (*ops.shape(low), size, 2 * ratio)
    return ops.reshape(pixels, shape), ops.stop_gradient(ops.reshape(weights, shape))
