"""When a batch of frames is closed: a budget of latency, and how long batches take."""

import math

NEWEST = 0.2  # weight of the newest measurement in the mean time of a batch
MARGIN = 1.25  # a batch is planned to take so many times its mean time
# Waiting ends earlier by another margin: whoever wakes late must not have to drop what waited.
WAKE = 0.002  # seconds that a thread may wake late


def plan(captured, now, *, batch_size, latency, live, complete, seconds):
    """Says what to do with the frames that are there.

    Args:
        captured: times when they were captured, oldest first; at least one.
        now: the time.
        batch_size, latency, live: as in `stream`.
        complete: whether no further frame can join them: the source has ended, the queue is full,
            or the next frame is of another size.
        seconds: function from a number of frames to the mean time that a batch of them takes.

    Returns:
        `(drop, take, wait)`: how many of the oldest to drop, how many of the rest to predict, and
        how many seconds to wait for another frame before doing so (infinity: till there is one).

    Example:

    >>> plan([0.0, 0.1], 0.5, batch_size=4, latency=0.3, live=True, complete=False,
    ...      seconds=lambda count: 0.1 * count)
    (1, 1, 0.0)
    """

    def planned(count):
        return MARGIN * seconds(count)

    drop = 0
    if live and latency is not None:
        while drop < len(captured) - 1 and captured[drop] + latency < now + planned(1):
            drop += 1
    take = min(len(captured) - drop, batch_size)
    if latency is None:
        waits = not live and not complete and take < batch_size
        return drop, take, math.inf if waits else 0.0
    due = captured[drop] + latency
    while live and take > 1 and due < now + planned(take):
        take -= 1
    if complete or take < len(captured) - drop or take == batch_size:
        return drop, take, 0.0
    return drop, take, max(due - now - MARGIN * planned(take + 1) - WAKE, 0.0)


class BatchTimes:
    """How long batches take: for each size of batch a running mean of seconds by pixel.

    Sizes are the powers of two up to the largest batch, and that. A batch between two counts as the
    larger. The first batch of a shape, for which a backend may compile, teaches nothing.

    Args:
        batch_size: of the largest batch.
    """

    def __init__(self, batch_size):
        powers = [1 << exponent for exponent in range(batch_size.bit_length())]
        self.sizes = sorted({*powers, batch_size})
        self._by_pixel, self._seen = {}, set()

    def size_of(self, count):
        """The size that a batch of `count` frames is filled up to."""
        return next(size for size in self.sizes if size >= count)

    def learn(self, count, shape, seconds):
        """Takes in how long a batch of `count` frames of a shape (H, W, C) took."""
        size = self.size_of(count)
        if (size, shape) not in self._seen:
            self._seen.add((size, shape))
            return
        new = seconds / (shape[0] * shape[1])
        old = self._by_pixel.get(size, new)
        self._by_pixel[size] = old + NEWEST * (new - old)

    def of(self, count, shape):
        """Seconds that a batch of `count` frames of a shape (H, W, C) is thought to take."""
        return self._by_pixel.get(self.size_of(count), 0.0) * shape[0] * shape[1]
