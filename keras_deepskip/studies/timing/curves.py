"""The curves of a scaling, how steep they are, and where they bend."""

import dataclasses
import math

from keras_deepskip.studies.timing.measure import quartiles

QUANTITIES = {
    "size": "side of the image, pixels",
    "batch": "images a batch",
    "base_filters": "base filters",
    "levels": "levels",
}
BEND = 0.25  # change of the exponent that counts as one


@dataclasses.dataclass(frozen=True)
class Point:
    """One case of one network.

    Attributes:
        value: of the quantity that grows along the curve.
        failure: why it could not be measured, or None.
        ms: lower quartile, median and upper quartile of a call's time.
        peak_bytes: memory, or None where the system does not report it.
        work: multiply-adds of a call (of its forward pass, in training), or None if not known.
    """

    value: int
    failure: str | None = None
    ms: tuple = ()
    peak_bytes: int | None = None
    work: int | None = None


def curve(result, network, mode, quantity, base):
    """Returns a network's points along which `quantity` grows and all else stays at `base`.

    Args:
        result: dict, as `measure` returns it.
        network, mode: their names.
        quantity: a name in `QUANTITIES`.
        base: dict of all quantities' default values.
    """
    points = []
    for entry in result["cases"]:
        case = entry["case"]
        own = {"size": case["size"], "batch": case["batch"], **case["options"]}
        if case["mode"] == mode and {**base, quantity: own[quantity]} == own:
            points.append(_point(own[quantity], entry["rivals"][network], case["batch"]))
    return sorted(points, key=lambda point: point.value)


def exponents(points):
    """Returns for each point how time has grown with work since the one before.

    1: time grows as the multiply-adds do. Below 1: the larger call uses the machine better; above
    1: worse. None for the first point, and where one of the two points was not measured.

    Example:

    >>> exponents([Point(1, ms=(1, 1, 1), work=10), Point(2, ms=(8, 8, 8), work=20)])
    [None, 3.0]
    """
    found = [None]
    for before, after in zip(points, points[1:], strict=False):
        known = before.ms and after.ms and before.work and after.work and before.work != after.work
        if not known:
            found.append(None)
            continue
        growth = math.log(after.ms[1] / before.ms[1])
        found.append(growth / math.log(after.work / before.work))
    return found


def bends(points):
    """Returns the points at which a curve's exponent changes by more than `BEND`.

    Example:

    >>> points = [Point(2**i, ms=(t, t, t), work=2**i) for i, t in enumerate((1, 2, 4, 16))]
    >>> [point.value for point in bends(points)]
    [4]
    """
    slopes = exponents(points)
    return [
        point
        for point, into, out_of in zip(points, slopes, slopes[1:], strict=False)
        if None not in (into, out_of) and abs(out_of - into) > BEND
    ]


def _point(value, found, batch):
    if "failure" in found:
        return Point(value, found["failure"])
    work = None if found["macs"] is None else found["macs"] * batch
    return Point(value, None, quartiles(found["ns"]), found["peak_bytes"], work)
