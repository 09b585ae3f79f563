"""The backgrounds of the six kinds."""

import numpy as np

from keras_deepskip.data.synthetic.shapes import step
from keras_deepskip.data.synthetic.textures import noise


def textured(rng, height, width, colour, rough, hue, stretch=1.0):
    """A ground of one colour with texture, drifting hue and uneven light: (height, width, 3)."""
    canvas = np.asarray(colour) + rough * noise(rng, height, width, stretch=stretch)[..., None]
    for channel in range(3):
        canvas[..., channel] += hue * noise(rng, height, width, cells=(80, 30))
    toward = rng.uniform(0, 2 * np.pi)
    rows, columns = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
    light = rows * np.sin(toward) + columns * np.cos(toward)
    return canvas + rng.uniform(0.03, 0.09) * light[..., None]


def slide(rng, height, width):
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
    return textured(rng, height, width, colour, 0.05, 0.008), palette


def table(rng, height, width):
    """Wood, stone, cloth or paper; metals in copper, gold and silver."""
    boards = np.array(
        [(0.52, 0.40, 0.28), (0.48, 0.48, 0.46), (0.33, 0.38, 0.45), (0.62, 0.6, 0.55)]
    )
    choice = rng.integers(len(boards))
    stretch = 8.0 if choice == 0 else 1.0
    metals = np.array([(0.35, -0.05, -0.3), (0.3, 0.12, -0.42), (0.0, 0.0, 0.03)])
    return textured(rng, height, width, boards[choice], 0.07, 0.015, stretch), metals


def skin(rng, height, width):
    """Skin of any shade, with a drifting flush."""
    pale, dark = np.array((0.80, 0.62, 0.54)), np.array((0.48, 0.34, 0.27))
    colour = pale + rng.uniform() * (dark - pale)
    palette = np.array([(0.3, -0.15, -0.15), (0.15, -0.1, -0.1), (0.1, 0.0, -0.1)])
    canvas = textured(rng, height, width, colour, 0.045, 0.0)
    flush = noise(rng, height, width, cells=(60, 25, 12))[..., None]
    return canvas + 0.06 * np.maximum(flush, 0.0) * np.array((1.0, -0.5, -0.4)), palette


def water(rng, height, width):
    """Murk, lighter above, with caustics and a rough floor."""
    colour = np.array((0.16, 0.44, 0.48)) + rng.uniform(-0.06, 0.06, 3)
    canvas = textured(rng, height, width, colour, 0.045, 0.015)
    depth = np.linspace(0.10, -0.10, height)[:, None, None]
    floor = rng.uniform(0.62, 0.9) * height + 10 * noise(rng, height, width)[height // 2]
    below = step(np.arange(height)[:, None] - floor, 12.0)[..., None]
    reef = 0.13 * noise(rng, height, width, cells=(24, 12, 6, 3))[..., None]
    palette = np.array([(0.5, 0.1, -0.5), (0.3, 0.2, -0.3), (-0.1, 0.0, 0.2), (0.0, 0.0, 0.0)])
    return canvas + depth + below * (reef + np.array((0.08, 0.0, -0.06))), palette


CLOTHES = np.array(
    [(0.6, -0.3, -0.3), (-0.35, -0.1, 0.5), (0.4, 0.25, -0.5), (-0.3, 0.35, -0.1), (0.0, 0.0, 0.0)]
)


def street(rng, height, width):
    """House fronts with rows of windows over a pavement."""
    canvas = textured(rng, height, width, (0.5, 0.49, 0.47), 0.06, 0.015)
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


def road(rng, height, width):
    """From above: asphalt with lane marks and kerbs, between verges."""
    canvas = textured(rng, height, width, (0.43, 0.43, 0.44), 0.055, 0.012)
    turn = rng.uniform(0, np.pi)
    rows, columns = np.arange(height)[:, None] - height / 2, np.arange(width) - width / 2
    across = rows * np.cos(turn) + columns * np.sin(turn) + rng.uniform(-0.2, 0.2) * height
    along = columns * np.cos(turn) - rows * np.sin(turn)
    road = rng.uniform(0.2, 0.32) * max(height, width)
    verge = step(abs(across) - road, 3.0)[..., None]
    grass = 0.07 * noise(rng, height, width, cells=(24, 12, 6, 3))[..., None]
    canvas += verge * (np.array((-0.06, 0.03, -0.12)) + grass)
    lanes = np.abs((across + road) % (road / 2) - road / 4) < 1.0
    canvas[lanes & (along % 34 < 16) & (abs(across) < road)] += 0.24
    canvas[abs(abs(across) - road) < 1.2] += 0.14
    return canvas, CLOTHES
