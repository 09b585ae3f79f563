"""A run whose every found, missed and false object is known: what the tests of the report share."""

import dataclasses
import functools

import keras
import numpy as np

from keras_deepskip.data import MaskReading, Split, find_samples
from keras_deepskip.layers import ImageNormalization
from tests import tiny

NASTY = "<img src=x onerror=alert(1)>"
CLASSES = {1: 'a "dim" one', 2: "</script><script>alert(2)</script>"}
DIM, BRIGHT = 128, 255  # grey values that `model` takes for classes 1 and 2


@functools.cache
def model():
    """0 up to a value of 64, class 1 up to 192, class 2 above; it knows the classes' names."""
    inputs = keras.Input((None, None, 1))
    layer = ImageNormalization(mean=[0.0], variance=[1.0], class_names=CLASSES)
    outputs = keras.layers.Conv2D(3, 1, activation="softmax")(layer(inputs))
    known = keras.Model(inputs, outputs, name="grey_levels")
    known.layers[-1].set_weights(
        [np.array([[[[0.0, 0.1, 0.2]]]]), np.array([0.0, -6.4, -25.6])]
    )  # of the lines 0, 0.1 v - 6.4 and 0.2 v - 25.6 the largest changes at 64 and at 192
    return known


def square(array, top, left, side, value):
    array[top : top + side, left : left + side] = value


@functools.cache
def folder():
    """Three images.

    `good`: two objects of class 1 (6 x 6), both found. The nasty one, 48 x 64: of class 1 one found
    (6 x 6), one missed (10 x 10); of class 2 one found (20 x 20), one false (4 x 4). `large`, 700 x
    560: of class 1 one missed at its lower right, one found at its upper left.
    """
    made = tiny.scratch() / "judged"
    images = {
        "good": np.zeros((32, 32)), NASTY: np.zeros((48, 64)), "large": np.full((700, 560), 10),
    }  # fmt: skip
    masks = {name: np.zeros(image.shape, "uint8") for name, image in images.items()}
    for top in (4, 20):
        square(images["good"], top, 4, 6, DIM)
        square(masks["good"], top, 4, 6, 1)
    found = ((2, 2, 6, DIM, 1), (20, 30, 20, BRIGHT, 2))
    for top, left, side, value, class_id in found:
        square(images[NASTY], top, left, side, value)
        square(masks[NASTY], top, left, side, class_id)
    square(masks[NASTY], 30, 5, 10, 1)  # missed
    square(images[NASTY], 4, 50, 4, BRIGHT)  # false
    square(images["large"], 20, 20, 30, DIM)
    square(masks["large"], 20, 20, 30, 1)
    square(masks["large"], 650, 500, 12, 1)
    for name, image in images.items():
        tiny.put(made, name, image, masks[name])
    return made


@functools.cache
def run():
    """A run of that model on these images as test images; its training is that of `tiny.run`."""
    made = dataclasses.replace(
        tiny.run(), masks=MaskReading(num_classes=3), channels=1, class_names=CLASSES
    )
    vars(made).update(model=model(), split=Split([], [], find_samples(folder())))
    return made
