"""Forms in the objects' own colours that are no objects."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from keras_deepskip.data.synthetic.shapes import blob, box, capsule, convex, ellipse
from keras_deepskip.data.synthetic.textures import noise


@dataclass(frozen=True)
class Distractor:
    """A form that is no object: its outline, and its length in multiples of an object's length."""

    outline: Callable  # (x, y, px, rng) -> (d, tone)
    times: tuple  # lowest and highest multiple
    of: int = 1  # of the smallest (0) or the largest (1) object of the scene
    fuzz: float = 0.0
    aligned: bool = False  # turned no more than the objects are


def _streak(x, y, px, rng):
    """A bent line: hair, scratch, filament, pole, weed."""
    y = y + rng.uniform(-1.0, 1.0) * (x**2 - 0.08)
    return capsule(x, y, (-0.5, 0.0), (0.5, 0.0), px * rng.uniform(0.5, 1.8)), 0.9


def _ring(x, y, px, rng):
    """A thin closed line: bubble, stain of a cup, defocused grain."""
    line = px * rng.uniform(0.5, 1.2)
    return abs(ellipse(x, y, 0.5, rng.uniform(0.3, 0.5))) - line, 0.9


def _wash(x, y, px, rng):
    """A broad soft spot without inner structure: shadow, stain, flush, defocused body."""
    return blob(x, y, rng, lobes=3, ruffle=0.12), rng.uniform(0.5, 0.9)


def _speck(x, y, px, rng):
    """A grain smaller than any object."""
    return ellipse(x, y, 0.5, rng.uniform(0.3, 0.5)), 1.0


def _scrap(x, y, px, rng):
    """A rag of texture with a torn outline, light and dark in turn: debris, foliage, rubble."""
    grain = noise(rng, *x.shape, cells=(rng.uniform(3.0, 6.0), 2.0))
    return blob(x, y, rng, lobes=6, ruffle=0.25), 0.5 + 0.6 * grain


def _shard(x, y, px, rng):
    """A flat sharp-cornered splinter of an object's size, without inner structure."""
    angles = np.sort(rng.uniform(0, 2 * np.pi / 3, 3) + np.arange(3) * 2 * np.pi / 3)
    return convex(x, y, [(0.5 * np.cos(a), 0.5 * np.sin(a)) for a in angles]), 1.0


def _sheet(x, y, px, rng):
    """A long bar with straight edges, lying or standing: paper, kerb, wall, post."""
    x, y = (x, y) if rng.uniform() < 0.5 else (y, x)
    return box(x, y, 0.5, rng.uniform(0.03, 0.16), 0.0), rng.uniform(0.5, 0.9)


DISTRACTORS = {
    "streak": Distractor(_streak, (1.5, 4.0)),
    "ring": Distractor(_ring, (0.25, 1.4)),
    "wash": Distractor(_wash, (0.9, 2.6), fuzz=0.35),
    "speck": Distractor(_speck, (0.25, 0.6), of=0),
    "scrap": Distractor(_scrap, (0.8, 2.0)),
    "shard": Distractor(_shard, (0.4, 1.3)),
    "sheet": Distractor(_sheet, (1.5, 4.0), aligned=True),
}
