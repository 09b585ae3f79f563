"""Drawn scenes: small objects of the paper's six kinds on cluttered grounds, with exact masks.

They are for a first run without any data of one's own, and for tests. Three things make a scene
hard for a threshold and yet fair to a network: objects are darker *and* lighter than their
ground, distractors have the objects' own colours, and only shape and inner structure tell the
two apart.

How a scene is drawn: ground, then distractors, then objects (so that nothing covers them), then
blur and sensor noise. Shapes are signed distances `d` in a frame where the object is one unit long
(negative inside), so a pixel's coverage is 1/2 exactly where its centre lies on the outline.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_deepskip._checks import check_choice, check_integer, check_number
from keras_deepskip._files import replacing_folder, write_json

MIXED = "mixed"
MAX_CLASSES = 3
SMALLEST = 4  # px; below this no kind has a shape left to recognise
GAP = 2  # px of ground around each object, so that connected components are objects
TRIES = 60  # places tried for one object


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


@dataclass(frozen=True)
class Distractor:
    """A form that is no object: its outline, and its length in multiples of an object's length."""

    outline: Callable  # (x, y, px, rng) -> (d, tone)
    times: tuple  # lowest and highest multiple
    of: int = 1  # of the smallest (0) or the largest (1) object of the scene
    fuzz: float = 0.0
    aligned: bool = False  # turned no more than the objects are


# Signed distances, negative inside. Only their zero line must be exact: it is the mask.


def _capsule(x, y, start, end, radius):
    (x0, y0), (x1, y1) = start, end
    along = ((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / ((x1 - x0) ** 2 + (y1 - y0) ** 2)
    along = np.clip(along, 0.0, 1.0)
    return np.hypot(x - x0 - along * (x1 - x0), y - y0 - along * (y1 - y0)) - radius


def _box(x, y, half_length, half_width, radius):
    over_x, over_y = abs(x) - half_length + radius, abs(y) - half_width + radius
    outside = np.hypot(np.maximum(over_x, 0.0), np.maximum(over_y, 0.0))
    return outside + np.minimum(np.maximum(over_x, over_y), 0.0) - radius


def _ellipse(x, y, a, b):
    level = np.hypot(x / a, y / b)
    slope = np.hypot(x / a**2, y / b**2)
    return level * (level - 1.0) / np.maximum(slope, 1e-6) - 1e-9


def _convex(x, y, corners):
    """A convex polygon, its corners given clockwise on the screen (y points down)."""
    sides = []
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        across = (x - x0) * (y1 - y0) - (y - y0) * (x1 - x0)
        sides.append(across / np.hypot(x1 - x0, y1 - y0))
    return np.max(sides, axis=0)


def _blob(x, y, rng, lobes, ruffle):
    """A closed curve of radius r(angle), a few drawn harmonics, at most 1/2 from the centre."""
    angle, turns = np.arctan2(y, x), np.arange(2, 2 + lobes)
    heights = ruffle * rng.uniform(0.3, 1.0, lobes) / turns
    phases = rng.uniform(0, 2 * np.pi, lobes)
    waves = [a * np.cos(k * angle + p) for a, k, p in zip(heights, turns, phases, strict=True)]
    return np.hypot(x, y) - (0.5 - heights.sum() + sum(waves))


# The six kinds.


def _organism(x, y, px, variant, palette, rng):
    """Rods, ovals, and commas: a wall, plasm lighter than the wall, and one or two grains."""
    bend = (rng.uniform(0.0, 0.35), 0.0, rng.uniform(0.9, 1.4))[variant]
    y = y + bend * (x**2 - 0.12)
    if variant == 1:
        d = _ellipse(x, y, 0.5, rng.uniform(0.30, 0.40))
    else:
        radius = max(rng.uniform(0.14, 0.19), px)
        d = _capsule(x, y, (radius - 0.5, 0.0), (0.5 - radius, 0.0), radius)
    wall = np.exp(-((d + 0.05) ** 2) / (2 * 0.035**2))
    tone = 0.65 + 0.5 * wall
    for spot in rng.uniform(-0.3, 0.3, rng.integers(1, 3)):
        tone = tone + 0.5 * np.exp(-((x - spot) ** 2 + y**2) / (2 * 0.07**2))
    return d, tone, _tint(palette, rng)


def _coin(x, y, px, variant, palette, rng):
    """Discs with a raised rim and a relief; one metal, two metals, or a scalloped edge."""
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    edge = 0.48 + 0.02 * np.cos(rng.integers(7, 12) * angle) if variant == 2 else 0.5
    d = radius - edge
    tone = 0.75 + 0.45 * np.exp(-((d + 0.04) ** 2) / (2 * 0.022**2))  # rim
    tone -= 0.55 * np.exp(-((d + 0.11) ** 2) / (2 * 0.025**2))  # groove inside the rim
    relief = _noise(rng, *x.shape, cells=(max(0.16 / px, 2.0), max(0.09 / px, 1.5)))
    tone += 0.4 * relief * (d < -0.14)
    light = rng.uniform(0, 2 * np.pi)
    tone += 0.5 * (x * np.cos(light) + y * np.sin(light))
    chroma = _tint(palette, rng)
    if variant == 1:
        core = _step(-(radius - rng.uniform(0.26, 0.32)), px)[..., None]
        chroma = chroma * (1 - core) + _tint(palette, rng) * core
        tone = tone - 0.35 * core[..., 0]
    return d, tone, chroma


def _lesion(x, y, px, variant, palette, rng):
    """Soft irregular spots, reddest at the border; smooth, lobed, or with a crusted centre."""
    d = _blob(x, y, rng, lobes=(2, 5, 3)[variant], ruffle=(0.12, 0.2, 0.14)[variant])
    border = np.exp(-((d + 0.04) ** 2) / (2 * 0.09**2))
    tone = 0.55 + 0.5 * _step(-d - 0.12, 0.15)
    tone = tone + 0.2 * _noise(rng, *x.shape, cells=(max(0.15 / px, 2.0),))
    if variant == 2:
        tone = tone - 0.9 * np.exp(-(x**2 + y**2) / (2 * 0.12**2))
    chroma = _tint(palette, rng) + border[..., None] * np.array((0.45, -0.25, -0.15))
    return d, tone, chroma


def _fish(x, y, px, variant, palette, rng):
    """A fusiform body, a forked tail, an eye and stripes; slender, deep, or with tall fins."""
    x = x * rng.choice([-1, 1])  # swims left or right
    half = max((rng.uniform(0.13, 0.16), rng.uniform(0.22, 0.27), 0.17)[variant], px)
    d = _ellipse(x - 0.12, y, 0.38, half)
    fork = max(rng.uniform(0.15, 0.22), 1.3 * px)
    tail = _convex(x, y, [(-0.5, -fork), (-0.10, 0.0), (-0.5, fork)])
    d = np.minimum(d, np.maximum(tail, -_ellipse(x + 0.56, y, 0.14, 0.12)))
    if variant == 2:
        top = [(-0.08, -0.38), (0.30, -0.08), (-0.02, -0.08)]
        fins = _convex(x, -y, top), _convex(x, y, top)
        d = np.minimum(d, np.minimum(*fins))
    stripes = np.sin(rng.uniform(20, 32) * x + rng.uniform(0, 6))
    tone = 0.75 - 0.3 * y / half + rng.uniform(0.25, 0.5) * stripes
    tone = np.where(np.hypot(x - 0.36, y + 0.03) < 0.05, -1.0, tone)  # eye
    mixed = (0.5 + 0.5 * stripes)[..., None]
    return d, tone, _tint(palette, rng) * mixed + _tint(palette, rng) * (1 - mixed)


def _pedestrian(x, y, px, variant, palette, rng):
    """Head, torso, arms and legs, each part in its own colour; standing, walking, or in a coat."""
    thin = max(0.05, 0.75 * px)
    stride = (0.05, rng.uniform(0.11, 0.16), 0.06)[variant]
    head = np.hypot(x, y + 0.40) - max(0.095, 0.9 * px)
    torso = _box(x, y + 0.12, max(0.115, px), 0.21, 0.06)
    for side in (-1, 1):
        hand = (side * rng.uniform(0.15, 0.21), rng.uniform(0.0, 0.12))
        torso = np.minimum(torso, _capsule(x, y, (side * 0.10, -0.26), hand, 0.8 * thin))
    if variant == 2:
        coat = [(-0.11, -0.2), (0.11, -0.2), (0.2, 0.24), (-0.2, 0.24)]
        torso = np.minimum(torso, _convex(x, y, coat))
    left = _capsule(x, y, (-0.05, 0.0), (-stride, 0.5 - thin), thin)
    right = _capsule(x, y, (0.05, 0.0), (stride, 0.5 - thin), thin)
    legs = np.minimum(left, right)
    part = np.argmin([torso, legs, head], axis=0)
    tones = np.array([1.0, rng.choice([-1.0, -0.7, 0.8]), rng.uniform(0.3, 0.9)])
    colours = np.stack([_tint(palette, rng), _tint(palette, rng), np.array((0.3, 0.0, -0.2))])
    folds = 0.2 * np.sin(rng.uniform(14, 24) * x + rng.uniform(0, 6))
    return np.minimum(np.minimum(torso, legs), head), tones[part] + folds, colours[part]


def _vehicle(x, y, px, variant, palette, rng):
    """Seen from above: a car with windscreen and windows, a van, or a truck with its trailer."""
    half = (0.23, 0.21, 0.16)[variant] * rng.uniform(0.95, 1.1)
    d = _box(x, y, 0.5, half, (0.1, 0.06, 0.03)[variant])
    tone = 0.8 + 0.2 * np.exp(-((abs(y) - 0.6 * half) ** 2) / (2 * 0.04**2))
    screen, rear = ((0.17, -0.30), (0.30, -0.44), (0.36, -0.60))[variant]
    glass = _box(x - screen, y, 0.055, 0.8 * half, 0.02)
    glass = np.minimum(glass, _box(x - rear, y, 0.04, 0.75 * half, 0.02))
    if variant == 0:  # side windows
        glass = np.minimum(glass, _box(x + 0.06, abs(y) - 0.87 * half, 0.15, 0.025, 0.01))
    if variant == 1:  # roof bars
        tone = tone - 0.35 * (np.cos(2 * np.pi * x / 0.16) > 0.8) * (x < 0.2)
    chroma = _tint(palette, rng)
    if variant == 2:  # trailer of another colour behind a dark coupling
        trailer = _step(0.24 - x, px)[..., None]
        chroma = chroma * (1 - trailer) + _tint(palette, rng) * trailer
        glass = np.minimum(glass, _box(x - 0.24, y, 0.02, half, 0.0))
    glazed = _step(-glass, px)
    chroma = np.broadcast_to(chroma, (*x.shape, 3)) * (1 - glazed[..., None])
    return d, tone * (1 - glazed) - 0.8 * glazed, chroma


def _step(d, width):
    """0 to 1 while `d` goes from -width/2 to width/2."""
    return np.clip(0.5 + d / width, 0.0, 1.0)


def _tint(palette, rng):
    """One colour of the scene's palette, a little off: (3,)."""
    return palette[rng.integers(len(palette))] + rng.uniform(-0.1, 0.1, 3)


# Grounds.


def _noise(rng, height, width, cells=(96, 48, 24, 12, 6, 3), stretch=1.0):
    """Smooth noise of several octaves: standard deviation about 1; `cells` are their sizes in px.

    `stretch` draws it out along the width, as in wood grain.
    """

    def along(length, cell):
        place = np.arange(length) / cell + rng.uniform()
        low = place.astype(int)
        share = place - low
        return low, share * share * (3 - 2 * share)

    total, power = np.zeros((height, width)), 0.0
    for cell in cells:
        (row, down), (column, right) = along(height, cell), along(width, cell * stretch)
        grid = rng.normal(size=(row[-1] + 2, column[-1] + 2))
        lines = grid[row] + (grid[row + 1] - grid[row]) * down[:, None]
        field = lines[:, column] + (lines[:, column + 1] - lines[:, column]) * right
        total += np.sqrt(cell) * field
        power += cell * 0.55  # smoothstep between independent values keeps this much variance
    return total / np.sqrt(power)


def _textured(rng, height, width, colour, rough, hue, stretch=1.0):
    """A ground of one colour with texture, drifting hue and uneven light: (height, width, 3)."""
    canvas = np.asarray(colour) + rough * _noise(rng, height, width, stretch=stretch)[..., None]
    for channel in range(3):
        canvas[..., channel] += hue * _noise(rng, height, width, cells=(80, 30))
    toward = rng.uniform(0, 2 * np.pi)
    rows, columns = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
    light = rows * np.sin(toward) + columns * np.cos(toward)
    return canvas + rng.uniform(0.03, 0.09) * light[..., None]


def _slide(rng, height, width):
    """Under the microscope: fluorescence in one stain, or brightfield."""
    if rng.uniform() < 0.5:
        stains = np.array(
            [(0.0, 0.0, 0.0), (-0.3, 0.4, -0.2), (-0.35, 0.0, 0.4), (0.4, -0.2, -0.2)]
        )
        stain = stains[rng.integers(len(stains))]
        colour = rng.uniform(0.18, 0.28) + 0.25 * stain
        palette = stain[None]
    else:
        colour = rng.uniform(0.5, 0.66) + np.array((0.03, 0.02, -0.03))
        palette = np.array([(0.0, 0.0, 0.0), (-0.1, 0.1, 0.05)])
    return _textured(rng, height, width, colour, 0.05, 0.008), palette


def _table(rng, height, width):
    """Wood, stone, cloth or paper; metals in copper, gold and silver."""
    boards = np.array(
        [(0.52, 0.40, 0.28), (0.48, 0.48, 0.46), (0.33, 0.38, 0.45), (0.62, 0.6, 0.55)]
    )
    choice = rng.integers(len(boards))
    stretch = 8.0 if choice == 0 else 1.0
    metals = np.array([(0.35, -0.05, -0.3), (0.3, 0.12, -0.42), (0.0, 0.0, 0.03)])
    return _textured(rng, height, width, boards[choice], 0.07, 0.015, stretch), metals


def _skin(rng, height, width):
    """Skin of any shade, with a drifting flush."""
    pale, dark = np.array((0.80, 0.62, 0.54)), np.array((0.48, 0.34, 0.27))
    colour = pale + rng.uniform() * (dark - pale)
    palette = np.array([(0.3, -0.15, -0.15), (0.15, -0.1, -0.1), (0.1, 0.0, -0.1)])
    canvas = _textured(rng, height, width, colour, 0.045, 0.0)
    flush = _noise(rng, height, width, cells=(60, 25, 12))[..., None]
    return canvas + 0.06 * np.maximum(flush, 0.0) * np.array((1.0, -0.5, -0.4)), palette


def _water(rng, height, width):
    """Murk, lighter above, with caustics and a rough floor."""
    colour = np.array((0.16, 0.44, 0.48)) + rng.uniform(-0.06, 0.06, 3)
    canvas = _textured(rng, height, width, colour, 0.045, 0.015)
    depth = np.linspace(0.10, -0.10, height)[:, None, None]
    floor = rng.uniform(0.62, 0.9) * height + 10 * _noise(rng, height, width)[height // 2]
    below = _step(np.arange(height)[:, None] - floor, 12.0)[..., None]
    reef = 0.13 * _noise(rng, height, width, cells=(24, 12, 6, 3))[..., None]
    palette = np.array([(0.5, 0.1, -0.5), (0.3, 0.2, -0.3), (-0.1, 0.0, 0.2), (0.0, 0.0, 0.0)])
    return canvas + depth + below * (reef + np.array((0.08, 0.0, -0.06))), palette


CLOTHES = np.array(
    [(0.6, -0.3, -0.3), (-0.35, -0.1, 0.5), (0.4, 0.25, -0.5), (-0.3, 0.35, -0.1), (0.0, 0.0, 0.0)]
)


def _street(rng, height, width):
    """House fronts with rows of windows over a pavement."""
    canvas = _textured(rng, height, width, (0.5, 0.49, 0.47), 0.06, 0.015)
    left = 0
    kerb = int(height * rng.uniform(0.25, 0.5))
    while left < width:
        right = left + rng.integers(30, 90)
        top = int(kerb * rng.uniform(0.0, 0.5))
        front = canvas[top:kerb, left:right]
        front += rng.uniform(-0.16, 0.16) + rng.uniform(-0.05, 0.05, 3)
        rows, columns = np.arange(len(front))[:, None], np.arange(front.shape[1])
        pitch = rng.integers(9, 18)
        window = (rows % (pitch + 5) > pitch // 2) & (columns % pitch > pitch // 2)
        front[window] += rng.choice([-0.16, 0.14])
        left = right
    seams = (np.arange(height) > kerb) & (np.arange(height) % 23 == 0)
    canvas[seams] -= 0.07
    return canvas, CLOTHES


def _road(rng, height, width):
    """From above: asphalt with lane marks and kerbs, between verges."""
    canvas = _textured(rng, height, width, (0.43, 0.43, 0.44), 0.055, 0.012)
    turn = rng.uniform(0, np.pi)
    rows, columns = np.arange(height)[:, None] - height / 2, np.arange(width) - width / 2
    across = rows * np.cos(turn) + columns * np.sin(turn) + rng.uniform(-0.2, 0.2) * height
    along = columns * np.cos(turn) - rows * np.sin(turn)
    road = rng.uniform(0.2, 0.32) * max(height, width)
    verge = _step(abs(across) - road, 3.0)[..., None]
    grass = 0.07 * _noise(rng, height, width, cells=(24, 12, 6, 3))[..., None]
    canvas += verge * (np.array((-0.06, 0.03, -0.12)) + grass)
    lanes = np.abs((across + road) % (road / 2) - road / 4) < 1.0
    canvas[lanes & (along % 34 < 16) & (abs(across) < road)] += 0.24
    canvas[abs(abs(across) - road) < 1.2] += 0.14
    return canvas, CLOTHES


# Distractors: the objects' colours in other forms.


def _streak(x, y, px, rng):
    """A bent line: hair, scratch, filament, pole, weed."""
    y = y + rng.uniform(-1.0, 1.0) * (x**2 - 0.08)
    return _capsule(x, y, (-0.5, 0.0), (0.5, 0.0), px * rng.uniform(0.5, 1.8)), 0.9


def _ring(x, y, px, rng):
    """A thin closed line: bubble, stain of a cup, defocused grain."""
    line = px * rng.uniform(0.5, 1.2)
    return abs(_ellipse(x, y, 0.5, rng.uniform(0.3, 0.5))) - line, 0.9


def _wash(x, y, px, rng):
    """A broad soft spot without inner structure: shadow, stain, flush, defocused body."""
    return _blob(x, y, rng, lobes=3, ruffle=0.12), rng.uniform(0.5, 0.9)


def _speck(x, y, px, rng):
    """A grain smaller than any object."""
    return _ellipse(x, y, 0.5, rng.uniform(0.3, 0.5)), 1.0


def _scrap(x, y, px, rng):
    """A rag of texture with a torn outline, light and dark in turn: debris, foliage, rubble."""
    grain = _noise(rng, *x.shape, cells=(rng.uniform(3.0, 6.0), 2.0))
    return _blob(x, y, rng, lobes=6, ruffle=0.25), 0.5 + 0.6 * grain


def _shard(x, y, px, rng):
    """A flat sharp-cornered splinter of an object's size, without inner structure."""
    angles = np.sort(rng.uniform(0, 2 * np.pi / 3, 3) + np.arange(3) * 2 * np.pi / 3)
    return _convex(x, y, [(0.5 * np.cos(a), 0.5 * np.sin(a)) for a in angles]), 1.0


def _sheet(x, y, px, rng):
    """A long bar with straight edges, lying or standing: paper, kerb, wall, post."""
    x, y = (x, y) if rng.uniform() < 0.5 else (y, x)
    return _box(x, y, 0.5, rng.uniform(0.03, 0.16), 0.0), rng.uniform(0.5, 0.9)


DISTRACTORS = {
    "streak": Distractor(_streak, (1.5, 4.0)),
    "ring": Distractor(_ring, (0.25, 1.4)),
    "wash": Distractor(_wash, (0.9, 2.6), fuzz=0.35),
    "speck": Distractor(_speck, (0.25, 0.6), of=0),
    "scrap": Distractor(_scrap, (0.8, 2.0)),
    "shard": Distractor(_shard, (0.4, 1.3)),
    "sheet": Distractor(_sheet, (1.5, 4.0), aligned=True),
}

KINDS = {
    "microorganisms": Kind(
        ("rod", "oval", "comma"),
        _organism,
        _slide,
        {"streak": 12, "ring": 9, "wash": 10, "speck": 40, "scrap": 7, "shard": 4},
        opacity=0.8,
    ),
    "coins": Kind(
        ("plain", "bimetallic", "scalloped"),
        _coin,
        _table,
        {"streak": 14, "ring": 14, "wash": 10, "speck": 60, "scrap": 10, "shard": 10, "sheet": 6},
    ),
    "lesions": Kind(
        ("smooth", "lobed", "crusted"),
        _lesion,
        _skin,
        {"streak": 24, "ring": 10, "wash": 14, "speck": 100, "scrap": 10, "shard": 10},
        fuzz=0.12,
    ),
    "fish": Kind(
        ("slender", "deep", "finned"),
        _fish,
        _water,
        {"streak": 10, "ring": 12, "wash": 8, "speck": 40, "scrap": 5, "shard": 3},
        tilt=0.5,
    ),
    "pedestrians": Kind(
        ("standing", "walking", "coated"),
        _pedestrian,
        _street,
        {"streak": 8, "ring": 6, "wash": 5, "speck": 40, "scrap": 7, "shard": 6, "sheet": 11},
        tilt=0.06,
    ),
    "vehicles": Kind(
        ("car", "van", "truck"),
        _vehicle,
        _road,
        {"streak": 9, "ring": 6, "wash": 8, "speck": 40, "scrap": 8, "shard": 6, "sheet": 8},
    ),
}


# A scene.


@dataclass(frozen=True)
class _Stamp:
    """One form, ready to be painted: where it goes, its coverage and its look."""

    place: tuple  # slices of rows and columns
    coverage: np.ndarray  # (h, w)
    tone: np.ndarray  # (h, w), signed lightness
    chroma: np.ndarray  # (3,) or (h, w, 3)
    opacity: float
    variant: int = 0


def _frame(rng, length, tilt, centre, shape, fuzz):
    """Pixels around `centre` (row, column), and their unit coordinates turned by up to `tilt`."""
    reach = length * (0.5 + fuzz / 2) + 3
    place = tuple(
        slice(max(0, int(at - reach)), min(limit, int(at + reach) + 2))
        for at, limit in zip(centre, shape, strict=True)
    )
    down = (np.arange(place[0].start, place[0].stop) - centre[0])[:, None] / length
    right = (np.arange(place[1].start, place[1].stop) - centre[1]) / length
    turn = rng.uniform(-tilt, tilt)
    x = right * np.cos(turn) + down * np.sin(turn)
    y = down * np.cos(turn) - right * np.sin(turn)
    return place, x, y


def _place_object(rng, kind, palette, size, taken):
    """Draws one object on free ground and marks it in `taken`, or returns None if none was found.

    An object whose pixels fall apart (a thin waist between two pixel centres) is drawn again.
    """
    from scipy.ndimage import binary_dilation, label

    eight = np.ones((3, 3), bool)
    for _ in range(TRIES):
        length = rng.uniform(*size)
        margin = length / 2 + GAP + 1
        centre = [rng.uniform(margin, limit - 1 - margin) for limit in taken.shape]
        place, x, y = _frame(rng, length, kind.tilt, centre, taken.shape, kind.fuzz)
        variant = int(rng.integers(len(kind.variants)))
        d, tone, chroma = kind.body(x, y, 1 / length, variant, palette, rng)
        coverage = _step(-d, max(kind.fuzz, 1 / length))
        solid = coverage >= 0.5
        around = binary_dilation(solid, eight, iterations=GAP)
        if label(solid, eight)[1] == 1 and not (around & taken[place]).any():
            taken[place] |= solid
            return _Stamp(place, coverage, tone, chroma, kind.opacity, variant)
    return None


def _place_objects(rng, kind, palette, count, size, taken):
    """As many objects as drawn from `count`; fewer where the picture is full, never too few."""
    stamps = []
    for _ in range(rng.integers(count[0], count[1] + 1)):
        stamp = _place_object(rng, kind, palette, size, taken)
        if stamp is None:
            break
        stamps.append(stamp)
    if len(stamps) < count[0]:
        raise ValueError(
            f"At least {count[0]} objects of {size[0]:g} to {size[1]:g} px were wanted, and only "
            f"{len(stamps)} found room on {taken.shape[0]} x {taken.shape[1]} pixels. "
            f"Received: count={count}, size={size}. Lower either, or enlarge the picture"
        )
    return stamps


def _place_distractors(rng, kind, palette, clutter, size, shape):
    """Distractors anywhere, in random order, so that no form always lies on top."""
    area = shape[0] * shape[1] / 256**2
    names = [
        name
        for name, density in kind.distractors.items()
        for _ in range(rng.poisson(clutter * density * area))
    ]
    stamps = []
    for name in rng.permutation(names):
        form = DISTRACTORS[str(name)]
        length = max(1.5, size[form.of] * rng.uniform(*form.times))
        centre = [rng.uniform(0, limit) for limit in shape]
        tilt = kind.tilt if form.aligned else np.pi
        place, x, y = _frame(rng, length, tilt, centre, shape, form.fuzz)
        d, tone = form.outline(x, y, 1 / length, rng)
        coverage = _step(-d, max(form.fuzz, 1 / length))
        tone = tone * rng.uniform(0.6, 1.3) * np.ones_like(coverage)
        stamps.append(_Stamp(place, coverage, tone, _tint(palette, rng), 0.85))
    return stamps


def _paint(canvas, stamp, sign, contrast):
    """Lays a stamp on the canvas, lighter (sign 1) or darker (-1) than what is under it."""
    under = canvas[stamp.place]
    cover = stamp.coverage[..., None]
    mean = (under * cover).sum((0, 1)) / max(cover.sum(), 1e-6)
    level = mean.mean()
    room = {1: 1.0 - level, -1: level}
    if room[sign] < min(contrast, room[-sign]):  # no shade left on that side
        sign = -sign
    ground = stamp.opacity * mean + (1 - stamp.opacity) * under
    colour = ground + contrast * (sign * stamp.tone[..., None] + stamp.chroma)
    canvas[stamp.place] = under + cover * (np.clip(colour, 0.0, 1.0) - under)


def _photograph(rng, canvas):
    """Blur, sensor noise (more where there is more light), and eight bits."""
    from scipy.ndimage import gaussian_filter

    sigma = rng.uniform(0.4, 0.7)
    seen = gaussian_filter(np.clip(canvas, 0.0, 1.0), (sigma, sigma, 0), mode="nearest")
    spread = rng.uniform(0.008, 0.025) * np.sqrt(0.3 + seen)
    seen += spread * rng.standard_normal(seen.shape)
    return np.round(255 * np.clip(seen, 0.0, 1.0)).astype("uint8")


def draw_scene(
    kind,
    rng,
    height=256,
    width=256,
    count=(3, 12),
    size=(6, 28),
    contrast=0.35,
    clutter=0.6,
    classes=1,
):
    """Draws one picture of small objects of a kind, and its exact mask.

    Objects lie wholly in the picture and `GAP` pixels apart, so each is one connected component of
    the mask (8 neighbours). The mask depends on neither `contrast` nor `clutter`.

    Args:
        kind: a name in `KINDS`.
        rng: a `numpy.random.Generator`; equal states draw equal scenes.
        height, width: of the picture, in pixels.
        count: fewest and most objects, both included.
        size: least and greatest length (diameter, height of a pedestrian) in pixels.
        contrast: difference in lightness between an object (or a distractor) and what is under it,
            as a share of the full range: 0..1. Objects are lighter or darker at random.
        clutter: amount of distractors, 0 (none) to 1 (crowded).
        classes: 1 to 3. With 1 every object has id 1. With more the ids are those of the kind's
            `variants`, the last id holding the variants that are left over.

    Returns:
        The image, uint8 `(height, width, 3)`, and the mask, uint8 `(height, width)` of ids, with 0
        for the ground.

    Raises:
        ValueError: for arguments out of range, or if `count[0]` objects find no room.

    Example:

    >>> image, mask = draw_scene("coins", np.random.default_rng(0), count=(5, 5))
    >>> image.shape, mask.shape, mask.max()
    ((256, 256, 3), (256, 256), np.uint8(1))
    """
    kind = KINDS[check_choice("kind", kind, KINDS)]
    _check_scene(height, width, count, size, contrast, clutter, classes)
    canvas, palette = kind.ground(rng, height, width)
    # Objects are drawn before distractors, and painted after them.
    taken = np.ones((height, width), bool)
    taken[1:-1, 1:-1] = False  # the frame counts as taken, so that no object is cut off
    objects = _place_objects(rng, kind, palette, count, size, taken)
    distractors = _place_distractors(rng, kind, palette, clutter, size, (height, width))
    stamps = distractors + objects
    for stamp, sign in zip(stamps, rng.choice([-1, 1], len(stamps)), strict=True):
        _paint(canvas, stamp, int(sign), contrast)
    mask = np.zeros((height, width), "uint8")
    for stamp in objects:
        mask[stamp.place][stamp.coverage >= 0.5] = min(stamp.variant + 1, classes)
    return _photograph(rng, canvas), mask


def scenes(kind="microorganisms", images=8, seed=0, **arguments):
    """Draws scenes into memory: the pictures that `sample` writes.

    Args:
        kind: a name in `KINDS`, or `"mixed"` for each of them in turn.
        images: how many pictures.
        seed: whole number; picture `i` depends on the seed and `i`, not on how many there are.
        **arguments: `height`, `width`, `count`, `size`, `contrast`, `clutter`, `classes`, as in
            `draw_scene`.

    Returns:
        Images, uint8 `(images, height, width, 3)`, and masks, int32 `(images, height, width, 1)`.

    Raises:
        ValueError: for arguments out of range, or unknown ones.

    Example:

    >>> pictures, masks = scenes("fish", images=2, height=64, width=96, count=(1, 3))
    >>> pictures.shape, masks.shape
    ((2, 64, 96, 3), (2, 64, 96, 1))
    """
    drawn = list(_draw(*_check_sample(kind, images, seed, arguments)))
    pictures, masks = zip(*drawn, strict=True)
    return np.stack(pictures), np.stack(masks)[..., None].astype("int32")


def sample(out, kind="microorganisms", images=40, seed=0, overwrite=False, **arguments):
    """Writes a data folder of drawn scenes: `images/`, `masks/` and `sample.json`.

    The masks are PNGs of plain ids (0 is the ground); `sample.json` holds all arguments and the
    names of the classes. The folder appears whole or not at all.

    Args:
        out: the folder to make.
        kind: a name in `KINDS`, or `"mixed"` for each of them in turn.
        images: how many pictures.
        seed: whole number; the same seed gives the same bytes, and a larger sample begins with the
            pictures of a smaller one.
        overwrite: whether a folder that has something in it is replaced; all in it is then lost.
        **arguments: `height`, `width`, `count`, `size`, `contrast`, `clutter`, `classes`, as in
            `draw_scene`.

    Returns:
        The path of the folder.

    Raises:
        FileExistsError: if `out` is a file, or a folder with something in it and `overwrite` is
            False.
        ValueError: for arguments out of range, or unknown ones.

    Example:

    ```python
    folder = sample("coins", kind="coins", images=12, height=128, width=128, count=(2, 6))
    ```
    """
    from PIL import Image

    out = Path(out)
    kind, images, seed, settings = _check_sample(kind, images, seed, arguments)
    _check_vacant(out, overwrite)
    with replacing_folder(out) as folder:
        (folder / "images").mkdir()
        (folder / "masks").mkdir()
        for i, (image, mask) in enumerate(_draw(kind, images, seed, settings)):
            Image.fromarray(image).save(folder / "images" / f"{i:04d}.png")
            Image.fromarray(mask).save(folder / "masks" / f"{i:04d}.png")
        note = {"kind": kind, "images": images, "seed": seed, **settings}
        note["class_names"] = ["background", *class_names(kind, settings["classes"])]
        write_json(folder / "sample.json", note)
    return out


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


def _draw(kind, images, seed, settings):
    """Yields scene after scene, each from a generator of its own."""
    cycle = list(KINDS) if kind == MIXED else [kind]
    for i in range(images):
        yield draw_scene(cycle[i % len(cycle)], np.random.default_rng([seed, i]), **settings)


# Checks.


def _check_scene(height, width, count, size, contrast, clutter, classes):
    least = 4 * SMALLEST
    height, width = check_integer("height", height, least), check_integer("width", width, least)
    most = min(height, width) / 2
    fewest = _check_pair("count", count)
    check_integer("count[0]", fewest[0], 0)
    check_integer("count[1]", fewest[1], fewest[0])
    low, high = _check_pair("size", size)
    check_number("size[0]", low, SMALLEST, most)
    check_number("size[1]", high, low, most)  # half the picture's side at most
    check_number("contrast", contrast, 0, 1)
    check_number("clutter", clutter, 0, 1)
    if check_integer("classes", classes) > MAX_CLASSES:
        raise ValueError(f"`classes` must be 1 to {MAX_CLASSES}. Received: classes={classes}")


def _check_pair(name, value):
    if isinstance(value, (list, tuple)) and len(value) == 2:
        return value
    raise ValueError(f"`{name}` must be a pair (low, high). Received: {name}={value!r}")


def _check_sample(kind, images, seed, arguments):
    """Checks all before anything is drawn; returns them with the scene arguments' defaults."""
    check_choice("kind", kind, (*KINDS, MIXED))
    parameters = inspect.signature(draw_scene).parameters.values()
    settings = {p.name: p.default for p in parameters if p.default is not p.empty}
    for name in arguments:
        check_choice("scene argument", name, settings)
    settings |= arguments
    _check_scene(**settings)
    return kind, check_integer("images", images), check_integer("seed", seed, 0), settings


def _check_vacant(out, overwrite):
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"`out` must be a folder or new. Received: out={str(out)!r}, a file")
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        raise FileExistsError(
            f"`out` must be new or empty. Received: out={str(out)!r}, which holds files. Choose "
            "another folder, or replace it with overwrite=True"
        )
