"""Mean and spread over seeds; paired differences and their significance."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (of a sample, n - 1) of numbers.

    Attributes:
        mean: None if there are none.
        deviation: None for fewer than two.
        count: how many numbers there are.
    """

    mean: float | None
    deviation: float | None
    count: int

    def text(self, digits=3):
        """Returns it as in the tables.

        Example:

        >>> spread([0.5, 0.7]).text()
        '0.600 ± 0.141'
        """
        if self.mean is None:
            return "-"
        mean = f"{self.mean:.{digits}f}"
        return mean if self.deviation is None else f"{mean} ± {self.deviation:.{digits}f}"


def spread(values):
    """Returns the `Spread` of numbers; None and NaN are left out."""
    known = _known(values)
    return Spread(
        float(known.mean()) if len(known) else None,
        float(known.std(ddof=1)) if len(known) > 1 else None,
        len(known),
    )


@dataclasses.dataclass(frozen=True)
class PairedTest:
    """The mean difference of pairs of numbers, and its significance.

    Attributes:
        count: number of pairs.
        mean: mean difference.
        low, high: its 95 % interval by Student's t; None for fewer than two pairs.
        p: two-sided probability of a mean difference at least as far from 0 if the sign of each
            pair's difference is random (exact permutation test up to 2^18 sign patterns, else 9999
            random ones). For n pairs it is never below 2^(1 - n). None for fewer than two pairs.
    """

    count: int
    mean: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None


def paired_test(first, second):
    """Compares two lists of numbers, pair by pair.

    Args:
        first, second: of one length; pairs of which one is None or NaN are left out.

    Returns:
        A `PairedTest` of `first` - `second`.

    Example:

    >>> paired_test([0.8, 0.7, 0.9], [0.7, 0.6, 0.7]).p
    0.25
    """
    from scipy import stats

    differences = _known(np.array(first, "float64") - np.array(second, "float64"))
    count = len(differences)
    if count < 2:
        return PairedTest(count, float(differences[0]) if count else None)
    mean = float(differences.mean())
    reach = float(stats.t.ppf(0.975, count - 1) * differences.std(ddof=1) / np.sqrt(count))
    test = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", rng=np.random.default_rng(0),
        n_resamples=np.inf if count <= 18 else 9999,
    )  # fmt: skip
    return PairedTest(count, mean, mean - reach, mean + reach, float(test.pvalue))


def mean_course(lines):
    """The mean of lines of numbers, each over the share of its own length.

    Args:
        lines: list of lists; those that hold None or NaN are left out.

    Returns:
        `(shares, means)`, as many as the longest line has numbers.

    Example:

    >>> shares, means = mean_course([[0.0, 1.0], [1.0, 2.0, 3.0, 4.0]])
    >>> shares.tolist(), means.tolist()
    ([0.25, 0.5, 0.75, 1.0], [0.5, 1.0, 1.75, 2.5])
    """
    lines = [np.array(line, "float64") for line in lines]
    lines = [line for line in lines if len(line) and not np.isnan(line).any()]
    shares = [np.arange(1, len(line) + 1) / len(line) for line in lines]
    common = max(shares, key=len, default=np.zeros(0))
    known = [np.interp(common, *own) for own in zip(shares, lines, strict=True)]
    return common, np.mean(known, axis=0) if known else common


def _known(values):
    """The numbers as an array, without None and NaN."""
    values = np.array(list(values), "float64")
    return values[~np.isnan(values)]
