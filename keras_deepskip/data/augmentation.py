"""Augmentation of an image and its mask together; the mask stays a mask of class ids."""

import math
import threading

import keras
import numpy as np

from keras_deepskip._checks import check_choice, check_number

# Trials of a Keras layer, and the least mean share of an image's variance that its mask must
# explain: over .9 after layers that move both together (.83 after large erased parts), .78 after
# turns of image and mask that differ by two degrees on the mean, 0 after unlike distortions
TRIALS, TOGETHER = 8, 0.8


class Augmentation:
    """Flips, rotates and scales an image and its mask, and changes the image's light and colours.

    Geometry moves image (linear interpolation) and mask (nearest) by one matrix about the centre.
    `CropDataset` gives it more than the crop, as much as `reach` says, so that all of the crop is
    image; otherwise what comes in at the edges is reflected. Photometry leaves the mask alone and
    clips to `value_range`. Everything is taken from the `rng` of the call, so a call can be
    repeated.

    Args:
        flips: flip rows and columns, each with probability 1/2; `"horizontal"` flips left and right
            alone, for scenes that have an up and a down.
        rotate90: turn by 0, 90, 180 or 270 degrees (0 or 180 where the image is not square).
        rotation: largest turn in degrees, either way.
        scale: largest change of size as a fraction: 0.2 gives factors from 1/1.2 to 1.2.
        brightness: largest change of exposure: 0.3 multiplies the values by 0.7 to 1.3. It is no
            shift: one that suits a bright image would wipe out what a dim one shows.
        contrast: largest change of contrast about the image's mean: 0.1 gives 0.9 to 1.1.
        gamma: largest change of the exponent as a fraction: 0.5 gives from 1/1.5 to 1.5.
        noise: largest standard deviation of normal noise, as a fraction of the value range.
        color: largest change of each channel by itself: 0.1 multiplies it by 0.9 to 1.1.
        blur: largest standard deviation, in pixels, of a Gaussian blur, which half of the images
            get.
        value_range: `(low, high)` of the images' values.

    Raises:
        ValueError: if an argument is out of its range.

    Example:

    >>> augment = Augmentation(rotation=15, value_range=(0, 255))
    >>> rng = np.random.default_rng(0)
    >>> image, mask = augment(np.ones((8, 8, 3), "float32"), np.eye(8, dtype="int32"), rng)
    >>> image.shape, mask.dtype
    ((8, 8, 3), dtype('int32'))
    """

    def __init__(
        self,
        flips=True,
        rotate90=True,
        rotation=0.0,
        scale=0.0,
        brightness=0.3,
        contrast=0.2,
        gamma=0.0,
        noise=0.0,
        value_range=(0, 255),
        color=0.0,
        blur=0.0,
    ):
        self.flips = check_choice("flips", flips, (True, False, "horizontal"))
        self.rotate90 = bool(rotate90)
        self.rotation = check_number("rotation", rotation, 0, 180)
        self.scale = check_number("scale", scale, 0, 10)
        self.brightness = check_number("brightness", brightness, 0, 1)
        self.contrast = check_number("contrast", contrast, 0, 1)
        self.gamma = check_number("gamma", gamma, 0, 10)
        self.noise = check_number("noise", noise, 0, 1)
        self.color = check_number("color", color, 0, 1)
        self.blur = check_number("blur", blur, 0, 10)
        low, high = (float(value) for value in value_range)
        if not low < high:
            raise ValueError(
                f"`value_range` must be (low, high), low < high. Received: {value_range!r}"
            )
        self.value_range = (low, high)

    def reach(self, size):
        """Side of the square around a crop from which it may come, in pixels.

        Args:
            size: side of the crop.
        """
        if not (self.rotation or self.scale):
            return size
        turn = np.deg2rad(min(self.rotation, 45))
        return math.ceil(size * (1 + self.scale) * (np.cos(turn) + np.sin(turn))) + 2

    def __call__(self, image, mask, rng, size=None):
        """Augments one image.

        Args:
            image: `(H, W, C)` float32 array.
            mask: `(H, W)` integer array.
            rng: `numpy.random.Generator`.
            size: side of the result, a square about the centre of the image; None keeps the shape.

        Returns:
            `(image, mask)`, new arrays of the same dtypes.
        """
        shape = mask.shape if size is None else (size, size)
        image, mask = self._turned(image, mask, rng)
        if self.rotation or self.scale:
            image, mask = self._warped(image, mask, rng, shape)
        return self._relit(image, rng), np.ascontiguousarray(mask)

    def _turned(self, image, mask, rng):
        if self.flips == "horizontal":
            step = int(rng.choice((1, -1)))
            image, mask = image[:, ::step], mask[:, ::step]
        elif self.flips:
            steps = tuple(slice(None, None, step) for step in rng.choice((1, -1), size=2))
            image, mask = image[steps], mask[steps]
        if self.rotate90:
            square = image.shape[0] == image.shape[1]
            turns = int(rng.integers(4)) if square else 2 * int(rng.integers(2))
            image, mask = np.rot90(image, turns), np.rot90(mask, turns)
        return image, mask

    def _warped(self, image, mask, rng, shape):
        angle = np.deg2rad(rng.uniform(-self.rotation, self.rotation))
        factor = (1 + self.scale) ** rng.uniform(-1, 1)
        needed = self.reach(max(shape))
        missing = [max(needed - own, 0) for own in mask.shape]
        if any(missing):
            around = [(lacking // 2, lacking - lacking // 2) for lacking in missing]
            image = np.pad(image, [*around, (0, 0)], mode="symmetric")
            mask = np.pad(mask, around, mode="symmetric")
        cos, sin = np.cos(angle) / factor, np.sin(angle) / factor
        matrix = np.array([[cos, -sin], [sin, cos]])  # from (x, y) of the result to the source
        centre, target = (np.array(sides[::-1]) / 2 for sides in (mask.shape, shape))
        offset = centre - matrix @ target
        table = (*matrix[0], offset[0], *matrix[1], offset[1])
        channels = [_moved(image[..., c], table, shape, 1) for c in range(image.shape[-1])]
        return np.stack(channels, axis=-1), _moved(mask, table, shape, 0)

    def _relit(self, image, rng):
        low, high = self.value_range
        values = (image.astype(np.float32) - low) / (high - low)  # 0 to 1
        if self.gamma:
            exponent = (1 + self.gamma) ** rng.uniform(-1, 1)
            values = np.clip(values, 0, 1) ** np.float32(exponent)
        if self.color:
            gains = rng.uniform(1 - self.color, 1 + self.color, values.shape[-1])
            values = values * gains.astype(np.float32)
        if self.brightness:
            values = values * np.float32(rng.uniform(1 - self.brightness, 1 + self.brightness))
        if self.contrast:
            # About each channel's own mean: about a common one, a blank channel would not stay so.
            mean = values.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)
            values = mean + (values - mean) * rng.uniform(1 - self.contrast, 1 + self.contrast)
        if self.blur and rng.random() < 0.5:
            values = _blurred(values, rng.uniform(0, self.blur))
        if self.noise:
            deviation = rng.uniform(0, self.noise)
            values = values + deviation * rng.standard_normal(values.shape, np.float32)
        return (low + np.clip(values, 0, 1) * (high - low)).astype(image.dtype)


def _moved(plane, table, shape, order):
    """A plane (H, W) under an affine map, by Pillow, which is faster here than SciPy."""
    from PIL import Image

    how = Image.Resampling.BILINEAR if order else Image.Resampling.NEAREST
    kind = np.float32 if order else np.int32
    image = Image.fromarray(np.ascontiguousarray(plane, kind))
    moved = image.transform(shape[::-1], Image.Transform.AFFINE, table, how)
    return np.asarray(moved).astype(plane.dtype)


def _blurred(values, deviation):
    from scipy import ndimage

    return ndimage.gaussian_filter(values, (deviation, deviation, 0))


class KerasAugmentation:
    """Lets a Keras layer, or a pipeline of layers, augment an image and its mask.

    The layer gets `{"images": (1, H, W, C), "segmentation_masks": (1, H, W, 1)}` with float32
    values and `training=True`. Before each call the states of its seed generators are set from
    `rng`, so that a call can be repeated; other sources of randomness are not repeatable.
    Calls from several threads wait for each other. Do not use it with worker processes under JAX
    or TensorFlow on a GPU: each process would reserve the device.

    Layers of Keras that move image and mask together: RandomFlip, RandomRotation, RandomZoom,
    RandomTranslation, RandomShear, RandomPerspective; those that leave the mask alone:
    RandomBrightness, RandomContrast, RandomHue, RandomSaturation, RandomSharpness and their like.
    MixUp, CutMix, AugMix and RandomGrayscale are not sound for masks. In Keras 3.15
    RandomElasticTransform draws another distortion for the mask than for the image, and under
    PyTorch RandomRotation turns the mask otherwise. Before its first image each layer is
    tried on stripes, and refused if they come apart.

    Args:
        layer: a `keras.layers.Layer` or a callable that takes and returns such a dict.

    Example:

    ```python
    augment = KerasAugmentation(keras.layers.RandomFlip())
    dataset = CropDataset(samples, augmentation=augment)
    ```
    """

    def __init__(self, layer):
        self.layer = layer
        self._tried = False
        self._lock = threading.Lock()

    def __getstate__(self):
        return {"layer": self.layer}

    def __setstate__(self, state):
        self.__init__(**state)

    def __call__(self, image, mask, rng):
        """Augments one image.

        Args:
            image: `(H, W, C)` float32 array.
            mask: `(H, W)` integer array.
            rng: `numpy.random.Generator`.

        Returns:
            `(image, mask)` of the same shapes; the mask is int32.

        Raises:
            ValueError: if the layer changed a shape, made a mask of other than whole numbers, or
                moves the mask otherwise than the image.
        """
        with self._lock:
            if not self._tried:
                self._try(image)
            return self._augmented(image, mask, rng)

    def _augmented(self, image, mask, rng):
        given = {
            "images": keras.ops.convert_to_tensor(image[None].astype(np.float32)),
            "segmentation_masks": keras.ops.convert_to_tensor(mask[None, ..., None], "float32"),
        }
        self._seed(rng)
        result = self.layer(given, training=True)
        new_image = keras.ops.convert_to_numpy(result["images"])[0]
        new_mask = keras.ops.convert_to_numpy(result["segmentation_masks"])[0]
        if new_image.shape != image.shape or new_mask.shape != (*mask.shape, 1):
            raise ValueError(
                "An augmentation that keeps shapes was expected: image "
                f"{image.shape}, mask {(*mask.shape, 1)}. Received: {new_image.shape} and "
                f"{new_mask.shape} from {self.layer!r}. Leave that layer out"
            )
        if not np.array_equal(new_mask, np.rint(new_mask)):
            raise ValueError(
                "An augmentation that leaves masks whole numbers was expected. Received: values "
                f"such as {new_mask[new_mask != np.rint(new_mask)][0]:g} from {self.layer!r}. "
                "Leave that layer out (MixUp, AugMix), or use Augmentation"
            )
        return new_image.astype(np.float32), new_mask[..., 0].astype(np.int32)

    def _try(self, image):
        """Refuses a layer after which a mask of stripes says little of where they are.

        They have the darkest and the brightest value of `image`: a layer has its own value range.
        """
        low, high = float(image.min()), float(image.max())
        if low == high:
            return  # the next image may say more
        stripes = (np.indices((192, 192)).sum(axis=0) // 8 % 2).astype(np.int32)
        drawn = np.repeat((low + (high - low) * stripes)[..., None], image.shape[-1], axis=-1)
        rng, explained = np.random.default_rng(0), 0.0
        for left in reversed(range(TRIALS)):
            explained += _explained(*self._augmented(drawn, stripes, rng))
            if explained + left < TOGETHER * TRIALS:  # whatever the others say
                raise ValueError(
                    "An augmentation that moves image and mask alike was expected. Received: "
                    f"{self.layer!r}, after which they do not fit each other in Keras "
                    f"{keras.__version__} under {keras.backend.backend()}. Leave that layer out, "
                    "or use Augmentation (rotation, scale)"
                )
        self._tried = True

    def _seed(self, rng):
        for variable in getattr(self.layer, "variables", ()):
            if variable.path.endswith("seed_generator_state"):
                state = rng.integers(2**32, size=variable.shape, dtype=np.uint32)
                variable.assign(state.astype(variable.dtype))


def _explained(image, mask):
    """Share of an image's variance that lies between the pixels of a mask and the others."""
    values, objects = image.mean(axis=-1), mask > 0
    total = values.var()
    if total == 0 or objects.all() or not objects.any():
        return 1.0  # nothing to see: no reproach
    between = values[objects].mean() - values[~objects].mean()
    return between**2 * objects.mean() * (1 - objects.mean()) / total
