"""The six kinds of object of the paper: their objects, background and distractors."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from keras_deepskip._checks import check_choice
from keras_deepskip.data.synthetic import backgrounds, bodies

MIXED = "mixed"
MAX_CLASSES = 3


@dataclass(frozen=True)
class Kind:
    """How one kind of object, and the ground it lies on, is drawn.

    Args:
        variants: names of its `MAX_CLASSES` forms: the classes, if classes are asked for.
        body: `(x, y, px, variant, palette, rng) -> (d, tone, chroma)`: the signed distance, the
            lightness (+-1) and the colour offset of the object at unit coordinates `x, y`; `px` is
            the size of one pixel in that frame, so that thin parts can be kept visible.
        ground: `(rng, height, width) -> (canvas, palette)`: the ground in 0..1, and the `(n, 3)`
            colour offsets that its objects and its distractors are painted with.
        distractors: how many of each form of `DISTRACTORS` on 256 x 256 pixels at clutter 1.
        tilt: largest turn from the horizontal (or from upright) in radians.
        fuzz: width of the border, as a share of the length.
        opacity: how much of the ground's texture the object hides.
    """

    variants: tuple
    body: Callable
    ground: Callable
    distractors: dict
    tilt: float = np.pi
    fuzz: float = 0.0
    opacity: float = 1.0


KINDS = {
    "microorganisms": Kind(
        ("rod", "oval", "comma"),
        bodies.organism,
        backgrounds.slide,
        {"streak": 12, "ring": 9, "wash": 10, "speck": 40, "scrap": 7, "shard": 4},
        opacity=0.8,
    ),
    "coins": Kind(
        ("plain", "bimetallic", "scalloped"),
        bodies.coin,
        backgrounds.table,
        {"streak": 14, "ring": 14, "wash": 10, "speck": 60, "scrap": 10, "shard": 10, "sheet": 6},
    ),
    "lesions": Kind(
        ("smooth", "lobed", "crusted"),
        bodies.lesion,
        backgrounds.skin,
        {"streak": 24, "ring": 10, "wash": 14, "speck": 100, "scrap": 10, "shard": 10},
        fuzz=0.12,
    ),
    "fish": Kind(
        ("slender", "deep", "finned"),
        bodies.fish,
        backgrounds.water,
        {"streak": 10, "ring": 12, "wash": 8, "speck": 40, "scrap": 5, "shard": 3},
        tilt=0.5,
    ),
    "pedestrians": Kind(
        ("standing", "walking", "coated"),
        bodies.pedestrian,
        backgrounds.street,
        {"streak": 8, "ring": 6, "wash": 5, "speck": 40, "scrap": 7, "shard": 6, "sheet": 11},
        tilt=0.06,
    ),
    "vehicles": Kind(
        ("car", "van", "truck"),
        bodies.vehicle,
        backgrounds.road,
        {"streak": 9, "ring": 6, "wash": 8, "speck": 40, "scrap": 8, "shard": 6, "sheet": 8},
    ),
}


def class_names(kind, classes=1):
    """What the ids 1..`classes` mean in the masks of a kind.

    Example:

    >>> class_names("vehicles", 2)
    ['car', 'van or truck']
    """
    check_choice("kind", kind, (*KINDS, MIXED))
    if classes == 1:
        return [kind if kind in KINDS else "object"]
    if kind == MIXED:
        columns = zip(*(KINDS[name].variants for name in KINDS), strict=True)
        variants = [", ".join(names) for names in columns]
    else:
        variants = KINDS[kind].variants
    return [*variants[: classes - 1], " or ".join(variants[classes - 1 :])]
