"""Frames between the thread that reads them and the one that predicts."""

import collections
import dataclasses
import math
import threading

import numpy as np

PATIENCE = 5.0  # seconds to wait for the reader to end, which may wait for a camera


@dataclasses.dataclass
class Frame:
    """A frame that waits: its number, name, image (H, W, C) and the time of its capture."""

    index: int
    name: str
    image: np.ndarray
    captured: float


class FrameQueue:
    """Frames between the thread that reads and the one that predicts; it never grows.

    Args:
        capacity: most frames that wait.
        live: whether the oldest frame gives way when it is full; else the reader waits.
        clock: function that gives the time in seconds.
    """

    def __init__(self, capacity, live, clock):
        self.capacity, self.live, self.clock = capacity, live, clock
        self.dropped = 0
        self._waiting = collections.deque()
        self._changed = threading.Condition()
        self._closed, self._ended, self._error, self._going = False, False, None, False

    def put(self, index, name, image):
        """Adds a frame, for the reader; returns whether it shall continue."""
        frame = Frame(index, name, image, self.clock())
        with self._changed:
            while not self._closed and not self.live and len(self._waiting) >= self.capacity:
                self._changed.wait()
            if self._closed:
                return False
            if len(self._waiting) >= self.capacity:
                self._drop(1)
            self._waiting.append(frame)
            self._changed.notify_all()
            # After the first frame the source waits for the warm-up.
            while not self._closed and not self._going:
                self._changed.wait()
            return not self._closed

    def finish(self, error=None):
        """Says that no frame follows, for the reader; the error is raised after the last one."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def first(self):
        """Waits for the first frame and leaves it there; None if the source has none."""
        with self._changed:
            while not self._waiting and not self._ended:
                self._changed.wait()
            if not self._waiting and self._error is not None:
                raise self._error
            return self._waiting[0] if self._waiting else None

    def go_on(self):
        """Ends the warm-up: the first frame counts as captured now, and the source is read on."""
        with self._changed:
            for frame in self._waiting:
                frame.captured = self.clock()
            self._going = True
            self._changed.notify_all()

    def take(self, planned):
        """Waits for a batch, and drops what the plan says.

        Args:
            planned: function that plans, of `(captured, complete)` as `plan` has them, and the
                frames' shape.

        Returns:
            A list of `Frame`, all of one size; an empty one at the end.

        Raises:
            Exception: the one that reading ended with, once all frames before it were taken.
        """
        with self._changed:
            while True:
                if not self._waiting:
                    if self._ended or self._closed:
                        break
                    self._changed.wait()
                    continue
                alike = self._alike()
                complete = self._ended or len(self._waiting) > len(alike)
                complete = complete or len(self._waiting) >= self.capacity
                captured, shape = [frame.captured for frame in alike], alike[0].image.shape
                drop, count, wait = planned(captured, complete, shape)
                self._drop(drop)
                if wait <= 0:
                    taken = [self._waiting.popleft() for _ in range(count)]
                    self._changed.notify_all()
                    return taken
                self._changed.wait(None if math.isinf(wait) else wait)
            if self._error is not None:
                raise self._error
            return []

    def close(self):
        """Has the reader end, and forgets what waits."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()

    def _alike(self):
        """The oldest frames that are of one size and number type of image."""
        first = self._waiting[0].image
        alike = []
        for frame in self._waiting:
            if (frame.image.shape, frame.image.dtype) != (first.shape, first.dtype):
                break
            alike.append(frame)
        return alike

    def _drop(self, count):
        for _ in range(count):
            self._waiting.popleft()
        self.dropped += count


def read_frames(source, queue):
    """The reader's work: frame by frame until the source ends or the stream is closed."""
    frames = source.read()
    try:
        for index, (name, image) in enumerate(frames):
            if not queue.put(index, name, image):
                break
    except BaseException as error:  # reported where it matters: to the one that waits for the frame
        queue.finish(error)
    else:
        queue.finish()
    finally:
        frames.close()


def end_reading(queue, reader):
    """Has the reader's thread end; waits for it, but not for ever."""
    queue.close()
    if reader.is_alive() and reader is not threading.current_thread():
        reader.join(PATIENCE)
