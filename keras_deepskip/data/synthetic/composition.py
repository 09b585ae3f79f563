"""One scene: objects and distractors are placed, painted on a background and photographed."""

from dataclasses import dataclass

import numpy as np

from keras_deepskip._checks import check_choice, check_integer, check_number
from keras_deepskip.data.synthetic.distractors import DISTRACTORS
from keras_deepskip.data.synthetic.kinds import KINDS, MAX_CLASSES
from keras_deepskip.data.synthetic.shapes import step
from keras_deepskip.data.synthetic.textures import tint
from keras_deepskip.objects import label_objects

SMALLEST = 4  # px; below this no kind has a shape left to recognise
GAP = 2  # px of background around each object, so that connected components are objects
TRIES = 60  # places tried for one object


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
    """Places one object on free background and marks it in `taken`; None if there is no room.

    An object whose pixels fall apart (a thin waist between two pixel centres) is placed again.
    """
    from scipy.ndimage import binary_dilation

    eight = np.ones((3, 3), bool)
    for _ in range(TRIES):
        length = rng.uniform(*size)
        margin = length / 2 + GAP + 1
        centre = [rng.uniform(margin, limit - 1 - margin) for limit in taken.shape]
        place, x, y = _frame(rng, length, kind.tilt, centre, taken.shape, kind.fuzz)
        variant = int(rng.integers(len(kind.variants)))
        d, tone, chroma = kind.body(x, y, 1 / length, variant, palette, rng)
        coverage = step(-d, max(kind.fuzz, 1 / length))
        solid = coverage >= 0.5
        around = binary_dilation(solid, eight, iterations=GAP)
        if label_objects(solid)[1] == 1 and not (around & taken[place]).any():
            taken[place] |= solid
            return _Stamp(place, coverage, tone, chroma, kind.opacity, variant)
    return None


def _place_objects(rng, kind, palette, count, size, taken):
    """A random number of objects within `count`; fewer where the image is full, never too few."""
    stamps = []
    for _ in range(rng.integers(count[0], count[1] + 1)):
        stamp = _place_object(rng, kind, palette, size, taken)
        if stamp is None:
            break
        stamps.append(stamp)
    if len(stamps) < count[0]:
        raise ValueError(
            f"At least {count[0]} objects of {size[0]:g} to {size[1]:g} px were expected, and only "
            f"{len(stamps)} found room on {taken.shape[0]} x {taken.shape[1]} pixels. "
            f"Received: count={count}, size={size}. Lower either, or make the image larger"
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
        coverage = step(-d, max(form.fuzz, 1 / length))
        tone = tone * rng.uniform(0.6, 1.3) * np.ones_like(coverage)
        stamps.append(_Stamp(place, coverage, tone, tint(palette, rng), 0.85))
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
    """Makes one synthetic image of small objects of a kind, and its exact mask.

    Objects lie entirely in the image and `GAP` pixels apart, so each is one connected component of
    the mask (8 neighbours). The mask depends on neither `contrast` nor `clutter`.

    Args:
        kind: a name in `KINDS`.
        rng: a `numpy.random.Generator`; equal states give equal scenes.
        height: height of the image in pixels.
        width: width of the image in pixels.
        count: fewest and most objects, both included.
        size: least and greatest length (diameter, height of a pedestrian) in pixels.
        contrast: difference in lightness between an object (or a distractor) and what is under it,
            as a share of the full range: 0..1. Objects are lighter or darker at random.
        clutter: amount of distractors, 0 (none) to 1 (crowded).
        classes: number of classes, 1 to 3. With 1 every object has id 1. With more the ids are
            those of the kind's `variants`, the last id holding the variants that are left over.

    Returns:
        The image, uint8 `(height, width, 3)`, and the mask, uint8 `(height, width)` of ids, with 0
        for the background.

    Raises:
        ValueError: for arguments out of range, or if `count[0]` objects find no room.

    Example:

    >>> image, mask = draw_scene("coins", np.random.default_rng(0), count=(5, 5))
    >>> image.shape, mask.shape, mask.max()
    ((256, 256, 3), (256, 256), np.uint8(1))
    """
    kind = KINDS[check_choice("kind", kind, KINDS)]
    check_scene(height, width, count, size, contrast, clutter, classes)
    canvas, palette = kind.background(rng, height, width)
    # Objects are placed before distractors, and painted after them.
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


def check_scene(height, width, count, size, contrast, clutter, classes):
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
