"""Outlines as signed distances: negative inside, 0 on the outline.

Only the zero line must be exact: it is the mask.
"""

import numpy as np


def capsule(x, y, start, end, radius):
    (x0, y0), (x1, y1) = start, end
    along = ((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / ((x1 - x0) ** 2 + (y1 - y0) ** 2)
    along = np.clip(along, 0.0, 1.0)
    return np.hypot(x - x0 - along * (x1 - x0), y - y0 - along * (y1 - y0)) - radius


def box(x, y, half_length, half_width, radius):
    over_x, over_y = abs(x) - half_length + radius, abs(y) - half_width + radius
    outside = np.hypot(np.maximum(over_x, 0.0), np.maximum(over_y, 0.0))
    return outside + np.minimum(np.maximum(over_x, over_y), 0.0) - radius


def ellipse(x, y, a, b):
    level = np.hypot(x / a, y / b)
    slope = np.hypot(x / a**2, y / b**2)
    return level * (level - 1.0) / np.maximum(slope, 1e-6) - 1e-9


def convex(x, y, corners):
    """A convex polygon, its corners given clockwise on the screen (y points down)."""
    sides = []
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        across = (x - x0) * (y1 - y0) - (y - y0) * (x1 - x0)
        sides.append(across / np.hypot(x1 - x0, y1 - y0))
    return np.max(sides, axis=0)


def blob(x, y, rng, lobes, ruffle):
    """A closed curve of radius r(angle), a few drawn harmonics, at most 1/2 from the centre."""
    angle, turns = np.arctan2(y, x), np.arange(2, 2 + lobes)
    heights = ruffle * rng.uniform(0.3, 1.0, lobes) / turns
    phases = rng.uniform(0, 2 * np.pi, lobes)
    waves = [a * np.cos(k * angle + p) for a, k, p in zip(heights, turns, phases, strict=True)]
    return np.hypot(x, y) - (0.5 - heights.sum() + sum(waves))


def step(d, width):
    """0 to 1 while `d` goes from -width/2 to width/2."""
    return np.clip(0.5 + d / width, 0.0, 1.0)
