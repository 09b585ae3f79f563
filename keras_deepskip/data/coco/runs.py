"""Run-length encoding: numbers of pixels outside and inside in turn, column by column."""

import numpy as np

LETTERS = 12  # of one run, 60 bits
MOST_BYTES = 2**18  # of packed runs that are unpacked at once


def checked_runs(segmentation):
    """An RLE with its runs as numbers. pycocotools takes what they leave out from free memory."""
    size, counts = segmentation["size"], segmentation["counts"]
    if isinstance(counts, str | bytes):
        counts = unpacked(counts)
    whole = all(isinstance(count, int) and count >= 0 for count in counts)
    if not whole or sum(counts) != size[0] * size[1]:
        raise ValueError(f"its runs do not fill {size[0]} x {size[1]} pixels")
    return {"size": size, "counts": counts}


def unpacked(text):
    """The runs of one packed RLE (text or bytes), a list."""
    code = text if isinstance(text, bytes) else text.encode()
    return _unpacked([code])[0].tolist()


def areas(codes):
    """The number of pixels inside, for each of a list of packed RLE."""
    found = [np.zeros(0, np.int64)]
    for part in _parts(codes):
        counts, owners, places = _unpacked(part)
        inside = places % 2 == 1
        sums = np.bincount(owners[inside], counts[inside], minlength=len(part))
        found.append(sums.astype(np.int64))
    return np.concatenate(found)


def paint(canvas, codes, values):
    """Sets the pixels inside packed RLE, one after the other: later ones lie on top.

    Only the pixels that change are touched, however large the image is.

    Args:
        canvas: `(W * H,)` array, the image column by column.
        codes: list of packed RLE (bytes).
        values: what each of them is set to.
    """
    values = iter(values)
    for part in _parts(codes):
        counts, owners, places = _unpacked(part)
        ends = np.cumsum(counts)
        lengths = np.bincount(owners, counts, minlength=len(part)).astype(np.int64)
        ends -= (np.cumsum(lengths) - lengths)[owners]  # each begins at the image's first pixel
        inside = (places % 2 == 1) & (counts > 0)
        ends, starts = ends[inside], (ends - counts)[inside]
        own = [next(values) for _ in part]
        for start, end, owner in zip(
            starts.tolist(), ends.tolist(), owners[inside].tolist(), strict=True
        ):
            canvas[start:end] = own[owner]


def _parts(codes):
    """The codes in turn, in lists of limited size: unpacked, they take many times the memory."""
    part, size = [], 0
    for code in codes:
        part.append(code)
        size += len(code)
        if size > MOST_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def _unpacked(codes):
    """The runs of packed RLE: numbers of 5 bits a letter, from the fourth on differences.

    Returns:
        `(counts, owners, places)`: the runs one after the other, which code each belongs to, and
        its place there.
    """
    letters = np.frombuffer(b"".join(codes), np.uint8).astype(np.int64) - 48
    if letters.size and not (letters.min() >= 0 and letters.max() < 64):
        raise ValueError("other letters than those of an RLE")
    ends = np.flatnonzero(letters & 32 == 0)  # a number's last letter
    starts = np.concatenate([[0], ends[:-1] + 1])[: len(ends)]
    widths = ends - starts + 1
    if letters.size - (ends[-1] + 1 if ends.size else 0) >= LETTERS or (widths > LETTERS).any():
        raise ValueError("a run of more than 60 bits")
    if not ends.size:
        return (np.zeros(0, np.int64),) * 3
    letters = letters[: ends[-1] + 1]
    shifts = 5 * (np.arange(letters.size) - np.repeat(starts, widths))
    numbers = np.add.reduceat((letters & 31) << shifts, starts)
    numbers -= np.where(letters[ends] & 16, 1 << (5 * widths), 0)  # with its sign
    bounds = np.cumsum([len(code) for code in codes])
    owners = np.searchsorted(bounds, starts, side="right")
    first = np.searchsorted(owners, np.arange(len(codes)))
    places = np.arange(len(starts)) - first[owners]
    return _summed(numbers, owners, places), owners, places


def _summed(numbers, owners, places):
    """Undoes the differences: from the fourth on, a run was packed less the one before the last."""
    series = owners * 3 + np.where(places == 0, 0, 1 + places % 2)
    order = np.argsort(series, kind="stable")
    sums = np.cumsum(numbers[order])
    begins = np.flatnonzero(np.diff(series[order], prepend=-1))
    before = np.where(begins > 0, sums[begins - 1], 0)
    counts = np.empty_like(numbers)
    counts[order] = sums - np.repeat(before, np.diff(np.append(begins, len(order))))
    return counts
