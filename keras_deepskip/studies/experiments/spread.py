"""Mean and spread over seeds; paired differences, and how likely chance makes them."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (of a sample, n - 1) of some figures.

    Attributes:
        mean: None if there are none.
        deviation: None of fewer than two.
        count: how many there are.
    """

    mean: float | None
    deviation: float | None
    count: int

    def text(self, digits=3):
        """As tables have it.

        Example:

        >>> spread([0.5, 0.7]).text()
        '0.600 ± 0.141'
        """
        if self.mean is None:
            return "-"
        mean = f"{self.mean:.{digits}f}"
        return mean if self.deviation is None else f"{mean} ± {self.deviation:.{digits}f}"


def spread(values):
    """Returns the `Spread` of numbers; None among them is left out."""
    known = np.array([value for value in values if value is not None], "float64")
    return Spread(
        float(known.mean()) if len(known) else None,
        float(known.std(ddof=1)) if len(known) > 1 else None,
        len(known),
    )


@dataclasses.dataclass(frozen=True)
class PairedTest:
    """What pairs of figures say about a difference.

    Attributes:
        count: number of pairs.
        mean: mean difference.
        low, high: its 95 % interval by Student's t; None of fewer than two pairs.
        p: two-sided probability of a mean difference at least as far from 0, were the sign of each
            pair's difference chance (exact permutation test up to 2^14 of them, else 9999 drawn
            ones). Of n pairs it is never below 2^(1 - n). None of fewer than two pairs.
    """

    count: int
    mean: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None


def paired_test(first, second):
    """Compares two lists of figures, pair by pair.

    Args:
        first, second: numbers of one length; pairs of which one is None are left out.

    Returns:
        A `PairedTest` of `first` - `second`.

    Example:

    >>> paired_test([0.8, 0.7, 0.9], [0.7, 0.6, 0.7]).p
    0.25
    """
    from scipy import stats

    pairs = [(a, b) for a, b in zip(first, second, strict=True) if None not in (a, b)]
    differences = np.array([a - b for a, b in pairs], "float64")
    count = len(differences)
    if count < 2:
        return PairedTest(count, float(differences[0]) if count else None)
    mean = float(differences.mean())
    reach = float(stats.t.ppf(0.975, count - 1) * differences.std(ddof=1) / np.sqrt(count))
    test = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", rng=np.random.default_rng(0),
        n_resamples=np.inf if count <= 14 else 9999,
    )  # fmt: skip
    return PairedTest(count, mean, mean - reach, mean + reach, float(test.pvalue))
