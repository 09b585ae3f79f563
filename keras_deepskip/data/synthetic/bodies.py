"""The objects of the six kinds: outline, lightness and colour of each."""

import numpy as np

from keras_deepskip.data.synthetic.shapes import blob, box, capsule, convex, ellipse, step
from keras_deepskip.data.synthetic.textures import noise, tint


def organism(x, y, px, variant, palette, rng):
    """Rods, ovals, and commas: a wall, plasm lighter than the wall, and one or two grains."""
    bend = (rng.uniform(0.0, 0.35), 0.0, rng.uniform(0.9, 1.4))[variant]
    y = y + bend * (x**2 - 0.12)
    if variant == 1:
        d = ellipse(x, y, 0.5, rng.uniform(0.30, 0.40))
    else:
        radius = max(rng.uniform(0.14, 0.19), px)
        d = capsule(x, y, (radius - 0.5, 0.0), (0.5 - radius, 0.0), radius)
    wall = np.exp(-((d + 0.05) ** 2) / (2 * 0.035**2))
    tone = 0.65 + 0.5 * wall
    for spot in rng.uniform(-0.3, 0.3, rng.integers(1, 3)):
        tone = tone + 0.5 * np.exp(-((x - spot) ** 2 + y**2) / (2 * 0.07**2))
    return d, tone, tint(palette, rng)


def coin(x, y, px, variant, palette, rng):
    """Discs with a raised rim and a relief; one metal, two metals, or a scalloped edge."""
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    edge = 0.48 + 0.02 * np.cos(rng.integers(7, 12) * angle) if variant == 2 else 0.5
    d = radius - edge
    tone = 0.75 + 0.45 * np.exp(-((d + 0.04) ** 2) / (2 * 0.022**2))  # rim
    tone -= 0.55 * np.exp(-((d + 0.11) ** 2) / (2 * 0.025**2))  # groove inside the rim
    relief = noise(rng, *x.shape, cells=(max(0.16 / px, 2.0), max(0.09 / px, 1.5)))
    tone += 0.4 * relief * (d < -0.14)
    light = rng.uniform(0, 2 * np.pi)
    tone += 0.5 * (x * np.cos(light) + y * np.sin(light))
    chroma = tint(palette, rng)
    if variant == 1:
        core = step(-(radius - rng.uniform(0.26, 0.32)), px)[..., None]
        chroma = chroma * (1 - core) + tint(palette, rng) * core
        tone = tone - 0.35 * core[..., 0]
    return d, tone, chroma


def lesion(x, y, px, variant, palette, rng):
    """Soft irregular spots, reddest at the border; smooth, lobed, or with a crusted centre."""
    d = blob(x, y, rng, lobes=(2, 5, 3)[variant], ruffle=(0.12, 0.2, 0.14)[variant])
    border = np.exp(-((d + 0.04) ** 2) / (2 * 0.09**2))
    tone = 0.55 + 0.5 * step(-d - 0.12, 0.15)
    tone = tone + 0.2 * noise(rng, *x.shape, cells=(max(0.15 / px, 2.0),))
    if variant == 2:
        tone = tone - 0.9 * np.exp(-(x**2 + y**2) / (2 * 0.12**2))
    chroma = tint(palette, rng) + border[..., None] * np.array((0.45, -0.25, -0.15))
    return d, tone, chroma


def fish(x, y, px, variant, palette, rng):
    """A fusiform body, a forked tail, an eye and stripes; slender, deep, or with tall fins."""
    x = x * rng.choice([-1, 1])  # swims left or right
    half = max((rng.uniform(0.13, 0.16), rng.uniform(0.22, 0.27), 0.17)[variant], px)
    d = ellipse(x - 0.12, y, 0.38, half)
    fork = max(rng.uniform(0.15, 0.22), 1.3 * px)
    tail = convex(x, y, [(-0.5, -fork), (-0.10, 0.0), (-0.5, fork)])
    d = np.minimum(d, np.maximum(tail, -ellipse(x + 0.56, y, 0.14, 0.12)))
    if variant == 2:
        top = [(-0.08, -0.38), (0.30, -0.08), (-0.02, -0.08)]
        fins = convex(x, -y, top), convex(x, y, top)
        d = np.minimum(d, np.minimum(*fins))
    stripes = np.sin(rng.uniform(20, 32) * x + rng.uniform(0, 6))
    tone = 0.75 - 0.3 * y / half + rng.uniform(0.25, 0.5) * stripes
    tone = np.where(np.hypot(x - 0.36, y + 0.03) < 0.05, -1.0, tone)  # eye
    mixed = (0.5 + 0.5 * stripes)[..., None]
    return d, tone, tint(palette, rng) * mixed + tint(palette, rng) * (1 - mixed)


def pedestrian(x, y, px, variant, palette, rng):
    """Head, torso, arms and legs, each part in its own colour; standing, walking, or in a coat."""
    thin = max(0.05, 0.75 * px)
    stride = (0.05, rng.uniform(0.11, 0.16), 0.06)[variant]
    head = np.hypot(x, y + 0.40) - max(0.095, 0.9 * px)
    torso = box(x, y + 0.12, max(0.115, px), 0.21, 0.06)
    for side in (-1, 1):
        hand = (side * rng.uniform(0.15, 0.21), rng.uniform(0.0, 0.12))
        torso = np.minimum(torso, capsule(x, y, (side * 0.10, -0.26), hand, 0.8 * thin))
    if variant == 2:
        coat = [(-0.11, -0.2), (0.11, -0.2), (0.2, 0.24), (-0.2, 0.24)]
        torso = np.minimum(torso, convex(x, y, coat))
    left = capsule(x, y, (-0.05, 0.0), (-stride, 0.5 - thin), thin)
    right = capsule(x, y, (0.05, 0.0), (stride, 0.5 - thin), thin)
    legs = np.minimum(left, right)
    part = np.argmin([torso, legs, head], axis=0)
    tones = np.array([1.0, rng.choice([-1.0, -0.7, 0.8]), rng.uniform(0.3, 0.9)])
    colours = np.stack([tint(palette, rng), tint(palette, rng), np.array((0.3, 0.0, -0.2))])
    folds = 0.2 * np.sin(rng.uniform(14, 24) * x + rng.uniform(0, 6))
    return np.minimum(np.minimum(torso, legs), head), tones[part] + folds, colours[part]


def vehicle(x, y, px, variant, palette, rng):
    """Seen from above: a car with windscreen and windows, a van, or a truck with its trailer."""
    half = (0.23, 0.21, 0.16)[variant] * rng.uniform(0.95, 1.1)
    d = box(x, y, 0.5, half, (0.1, 0.06, 0.03)[variant])
    tone = 0.8 + 0.2 * np.exp(-((abs(y) - 0.6 * half) ** 2) / (2 * 0.04**2))
    screen, rear = ((0.17, -0.30), (0.30, -0.44), (0.36, -0.60))[variant]
    glass = box(x - screen, y, 0.055, 0.8 * half, 0.02)
    glass = np.minimum(glass, box(x - rear, y, 0.04, 0.75 * half, 0.02))
    if variant == 0:  # side windows
        glass = np.minimum(glass, box(x + 0.06, abs(y) - 0.87 * half, 0.15, 0.025, 0.01))
    if variant == 1:  # roof bars
        tone = tone - 0.35 * (np.cos(2 * np.pi * x / 0.16) > 0.8) * (x < 0.2)
    chroma = tint(palette, rng)
    if variant == 2:  # trailer of another colour behind a dark coupling
        trailer = step(0.24 - x, px)[..., None]
        chroma = chroma * (1 - trailer) + tint(palette, rng) * trailer
        glass = np.minimum(glass, box(x - 0.24, y, 0.02, half, 0.0))
    glazed = step(-glass, px)
    chroma = np.broadcast_to(chroma, (*x.shape, 3)) * (1 - glazed[..., None])
    return d, tone * (1 - glazed) - 0.8 * glazed, chroma
