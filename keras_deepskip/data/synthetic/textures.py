"""Random textures and colours that scenes are painted with."""

import numpy as np


def noise(rng, height, width, cells=(96, 48, 24, 12, 6, 3), stretch=1.0):
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


def tint(palette, rng):
    """One colour of the scene's palette, a little off: (3,)."""
    return palette[rng.integers(len(palette))] + rng.uniform(-0.1, 0.1, 3)
