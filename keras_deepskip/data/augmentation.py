"""Augmentation of an image and its mask together; the mask stays a mask of class ids."""

import threading

import keras
import numpy as np

from keras_deepskip._checks import check_number


class Augmentation:
    """Flips, rotates and scales an image and its mask, and changes the image's brightness.

    Geometry moves image (linear interpolation) and mask (nearest) by one matrix; what comes in at
    the edges is reflected. Photometry leaves the mask alone and clips to `value_range`. Everything
    is taken from the `rng` of the call, so a call can be repeated.

    With `rotation` or `scale` an object at the edge of a crop may be turned out of it.

    Args:
        flips: flip rows and columns, each with probability 1/2.
        rotate90: turn by 0, 90, 180 or 270 degrees (0 or 180 where the image is not square).
        rotation: largest turn in degrees, either way.
        scale: largest change of size as a fraction: 0.2 gives factors from 1/1.2 to 1.2.
        brightness: largest change of exposure: 0.3 multiplies the values by 0.7 to 1.3. It is no
            shift: one that suits a bright image would wipe out what a dim one shows.
        contrast: largest change of contrast about the image's mean: 0.1 gives 0.9 to 1.1.
        gamma: largest change of the exponent as a fraction: 0.5 gives from 1/1.5 to 1.5.
        noise: largest standard deviation of normal noise, as a fraction of the value range.
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
    ):
        self.flips, self.rotate90 = bool(flips), bool(rotate90)
        self.rotation = check_number("rotation", rotation, 0, 180)
        self.scale = check_number("scale", scale, 0, 10)
        self.brightness = check_number("brightness", brightness, 0, 1)
        self.contrast = check_number("contrast", contrast, 0, 1)
        self.gamma = check_number("gamma", gamma, 0, 10)
        self.noise = check_number("noise", noise, 0, 1)
        low, high = (float(value) for value in value_range)
        if not low < high:
            raise ValueError(
                f"`value_range` must be (low, high), low < high. Received: {value_range!r}"
            )
        self.value_range = (low, high)

    def __call__(self, image, mask, rng):
        """Augments one image.

        Args:
            image: `(H, W, C)` float32 array.
            mask: `(H, W)` integer array.
            rng: `numpy.random.Generator`.

        Returns:
            `(image, mask)`, new arrays of the same shapes and dtypes.
        """
        image, mask = self._turned(image, mask, rng)
        if self.rotation or self.scale:
            image, mask = self._warped(image, mask, rng)
        return self._relit(image, rng), np.ascontiguousarray(mask)

    def _turned(self, image, mask, rng):
        if self.flips:
            steps = tuple(slice(None, None, step) for step in rng.choice((1, -1), size=2))
            image, mask = image[steps], mask[steps]
        if self.rotate90:
            square = image.shape[0] == image.shape[1]
            turns = int(rng.integers(4)) if square else 2 * int(rng.integers(2))
            image, mask = np.rot90(image, turns), np.rot90(mask, turns)
        return image, mask

    def _warped(self, image, mask, rng):
        from scipy import ndimage

        angle = np.deg2rad(rng.uniform(-self.rotation, self.rotation))
        factor = (1 + self.scale) ** rng.uniform(-1, 1)
        # from pixels of the result to pixels of the source, about the centre
        matrix = (
            np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / factor
        )
        centre = (np.array(mask.shape) - 1) / 2
        how = {"offset": centre - matrix @ centre, "mode": "reflect"}
        channels = [
            ndimage.affine_transform(image[..., channel], matrix, order=1, **how)
            for channel in range(image.shape[-1])
        ]
        mask = ndimage.affine_transform(mask, matrix, order=0, **how)
        return np.stack(channels, axis=-1), mask

    def _relit(self, image, rng):
        low, high = self.value_range
        values = (image.astype(np.float32) - low) / (high - low)  # 0 to 1
        if self.gamma:
            exponent = (1 + self.gamma) ** rng.uniform(-1, 1)
            values = np.clip(values, 0, 1) ** np.float32(exponent)
        if self.brightness:
            values = values * np.float32(rng.uniform(1 - self.brightness, 1 + self.brightness))
        if self.contrast:
            # About each channel's own mean: about a common one, a blank channel would not stay so.
            mean = values.mean(axis=(0, 1), dtype=np.float64).astype(np.float32)
            values = mean + (values - mean) * rng.uniform(1 - self.contrast, 1 + self.contrast)
        if self.noise:
            deviation = rng.uniform(0, self.noise)
            values = values + deviation * rng.standard_normal(values.shape, np.float32)
        return (low + np.clip(values, 0, 1) * (high - low)).astype(image.dtype)


class KerasAugmentation:
    """Lets a Keras layer, or a pipeline of layers, augment an image and its mask.

    The layer gets `{"images": (1, H, W, C), "segmentation_masks": (1, H, W, 1)}` with float32
    values and `training=True`. Before each call the states of its seed generators are set from
    `rng`, so that a call can be repeated; other sources of randomness are not repeatable.
    Calls from several threads wait for each other. Do not use it with worker processes under JAX
    or TensorFlow on a GPU: each process would reserve the device.

    Layers of Keras that move image and mask together: RandomFlip, RandomRotation, RandomZoom,
    RandomTranslation, RandomShear, RandomPerspective, RandomElasticTransform; those that leave the
    mask alone: RandomBrightness, RandomContrast, RandomHue, RandomSaturation, RandomSharpness and
    their like. MixUp, CutMix, AugMix and RandomGrayscale are not sound for masks.

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
            ValueError: if the layer changed a shape, or made a mask of other than whole numbers.
        """
        given = {
            "images": keras.ops.convert_to_tensor(image[None].astype(np.float32)),
            "segmentation_masks": keras.ops.convert_to_tensor(mask[None, ..., None], "float32"),
        }
        with self._lock:
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

    def _seed(self, rng):
        for variable in getattr(self.layer, "variables", ()):
            if variable.path.endswith("seed_generator_state"):
                state = rng.integers(2**32, size=variable.shape, dtype=np.uint32)
                variable.assign(state.astype(variable.dtype))
