"""`stream`: what a model finds in frames as they come, within a budget of latency."""

import collections
import dataclasses
import math
import threading
import time
import weakref
from pathlib import Path

import keras
import numpy as np

from keras_deepskip import _checks
from keras_deepskip.data import write_png
from keras_deepskip.drawing import draw_mask
from keras_deepskip.folding import fold_batch_norm
from keras_deepskip.inference.frames import open_frames
from keras_deepskip.inference.outputs import check_model, outputs_of
from keras_deepskip.metrics import masks_from_outputs
from keras_deepskip.models import image_model_shapes, resolve_model

NEWEST = 0.2  # weight of the newest measurement in the mean time of a batch
MARGIN = 1.25  # a batch is planned to take so many times its mean time
# Waiting ends earlier by another margin: whoever wakes late must not have to drop what waited.
WAKE = 0.002  # seconds that a thread may wake late
REMEMBERED = 10_000  # latencies of which percentiles are reported
PATIENCE = 5.0  # seconds to wait for the reader to end, which may wait for a camera


@dataclasses.dataclass(frozen=True)
class FrameResult:
    """What was found in a frame.

    Attributes:
        index: number of the frame in its source, from 0; where numbers are missing, frames were
            dropped.
        name: the image's name, or the source's and the number; fit for a file.
        image: array (H, W, C), the frame as the model saw it.
        mask: array (H, W) of class ids.
        probabilities: array (H, W, K), float32.
        latency: seconds from the frame's capture to its result.
    """

    index: int
    name: str
    image: np.ndarray
    mask: np.ndarray
    probabilities: np.ndarray
    latency: float

    def write(self, out, overlay=False):
        """Writes `masks/NAME.png` and, if asked, `overlays/NAME.png` in a folder, as `predict`."""
        write_png(Path(out) / "masks" / f"{self.name}.png", self.mask)
        if overlay:
            picture = draw_mask(self.image, self.mask)
            write_png(Path(out) / "overlays" / f"{self.name}.png", picture)


@dataclasses.dataclass(frozen=True)
class StreamStatistics:
    """How a stream went so far. What comes before the warm-up's end does not count.

    Attributes:
        frames: number of frames that were answered.
        dropped: number of frames of a live source that were not.
        late: number of frames that were answered after more than the budget of latency.
        seconds: from the warm-up's end to the last answer.
        frames_per_second: answered frames by time.
        latency_p50, latency_p95, latency_p99: percentiles in seconds, of the last 10,000 frames;
            None before the first answer.
    """

    frames: int
    dropped: int
    late: int
    seconds: float
    frames_per_second: float
    latency_p50: float | None
    latency_p95: float | None
    latency_p99: float | None

    def text(self):
        """The statistics as a line or two."""
        text = f"{self.frames} frames, {self.dropped} dropped, {self.late} late"
        if not self.frames:
            return text
        percentiles = (self.latency_p50, self.latency_p95, self.latency_p99)
        shown = " / ".join(f"{1e3 * value:.1f}" for value in percentiles)
        return (
            f"{text}: {self.frames_per_second:.1f} frames/s over {self.seconds:.1f} s\n"
            f"latency p50 / p95 / p99: {shown} ms"
        )


def stream(model, frames, *, batch_size=4, latency=None, live=None, threshold=0.5):
    """Finds objects in frames as they come, in order, a few at a time.

    A thread reads frames into a queue of `batch_size`, which never grows: a stored source waits
    when it is full, so that no frame is lost; of a live source the oldest frame gives way, and
    counts as dropped. Frames are predicted in batches of one size of image. With a budget, a batch
    is closed as soon as waiting for another frame would make its oldest late, by the mean time that
    such batches took; of a live source, frames that would be late anyway are dropped, oldest first,
    but for the newest, so that latency stays bounded whatever the source's rate.

    The first frame waits for a warm-up (compilation), which counts neither as time nor as latency.
    The outputs of each frame are those of `model.predict` to 1e-5.

    Args:
        model: a built `keras.Model` with probabilities as output, or a `Run`.
        frames: a folder of images, a video file, the number of a camera, or an iterable of arrays:
            see `open_frames`.
        batch_size: most frames of a batch. 1 gives the least latency, more may give more frames a
            second.
        latency: None, or the budget in seconds from a frame's capture to its result. None waits for
            whole batches of a stored source, and takes what is there of a live one.
        live: whether frames are lost that nobody waits for; None says so of cameras alone.
        threshold: probability above which a pixel is predicted positive (one class).

    Returns:
        A `FrameStream`, an iterator of `FrameResult` with `statistics`. It stops reading when it is
        used up, closed or forgotten, or when something fails; in `with` it is closed for certain.

    Raises:
        FileNotFoundError, ImportError: as `open_frames`.
        ValueError: if an argument is out of range, or the model gives no probabilities or is
            multilabel. While it is iterated: if a frame cannot be read or does not fit the model,
            once those before it were given.

    Example:

    ```python
    with stream(model, 0, latency=0.1) as results:  # the first camera
        for result in results:
            print(result.index, result.mask.any())
    print(results.statistics.text())
    ```
    """
    model, _ = resolve_model(model)
    channels, _ = check_model(model)
    _checks.check_integer("batch_size", batch_size)
    _checks.check_number("threshold", threshold, 0, 1)
    if latency is not None:
        _checks.check_number("latency", latency, 1e-6, math.inf, open_high=True)
    source = open_frames(frames, channels)
    live = source.live if live is None else bool(live)
    sizes = image_model_shapes(model)[0][1:3]
    predict = _predictor(fold_batch_norm(model), sizes)
    return FrameStream(
        predict, source, batch_size=batch_size, latency=latency, live=live, threshold=threshold
    )


def _predictor(model, sizes):
    """A function from a batch of images to probabilities (N, H, W, K), float32."""

    def predict(batch):
        expected = [own or given for own, given in zip(sizes, batch.shape[1:3], strict=True)]
        if list(batch.shape[1:3]) != expected:
            raise ValueError(
                f"frames of {expected[0]} x {expected[1]} pixels, the model's only size, were "
                f"expected. Received: {batch.shape[1]} x {batch.shape[2]}. Resize them, or build "
                "the model for (None, None, channels)"
            )
        outputs = outputs_of(model, batch)
        _checks.check_probabilities(outputs)
        return outputs

    return predict


class FrameStream:
    """The iterator that `stream` returns.

    Args:
        predict: function from images (N, H, W, C), float32, to probabilities (N, H, W, K).
        source: a `Frames`.
        batch_size, latency, live, threshold: as of `stream`.
        pad: whether batches are filled up to a power of two; None does so under JAX, which compiles
            for each new shape.
        clock: function that gives the time in seconds.
    """

    def __init__(
        self, predict, source, *, batch_size, latency, live, threshold, pad=None, clock=None
    ):
        self.batch_size, self.latency, self.live = batch_size, latency, live
        self.threshold = threshold
        self._clock = clock or time.monotonic
        self._pad = keras.backend.backend() == "jax" if pad is None else pad
        self._predict = predict
        self._times = BatchTimes(batch_size)
        self._queue = FrameQueue(batch_size, live, self._clock)
        self._reader = threading.Thread(
            target=_read, args=(source, self._queue), daemon=True, name="keras_deepskip_frames"
        )
        self._ready = collections.deque()
        self._frames, self._late, self._begun, self._ended = 0, 0, None, None
        self._latencies = collections.deque(maxlen=REMEMBERED)
        # The reader knows the queue alone, so that a stream that is forgotten can end it.
        self._end = weakref.finalize(self, _end, self._queue, self._reader)

    def __iter__(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def close(self):
        """Stops reading, and releases the source. What is not yet given is lost."""
        self._ready.clear()
        self._end()

    @property
    def statistics(self):
        """A `StreamStatistics` of all that was answered so far."""
        seconds = 0.0 if self._ended is None else self._ended - self._begun
        percentiles = [None] * 3
        if self._latencies:
            percentiles = [float(p) for p in np.percentile(self._latencies, (50, 95, 99))]
        rate = self._frames / seconds if seconds > 0 else 0.0
        return StreamStatistics(
            self._frames, self._queue.dropped, self._late, seconds, rate, *percentiles
        )

    def __next__(self):
        try:
            if not self._ready:
                self._ready.extend(self._answered(self._next_batch()))
        except BaseException:  # an interrupt, too, and the end
            self.close()
            raise
        return self._ready.popleft()

    def _next_batch(self):
        """The frames to predict next, all of one size; raises StopIteration after the last."""
        if self._begun is None:
            self._begin()
        frames = self._queue.take(self._planned)
        if not frames:
            raise StopIteration
        return frames

    def _planned(self, captured, complete, shape):
        return plan(
            captured, self._clock(), batch_size=self.batch_size, latency=self.latency,
            live=self.live, complete=complete,
            seconds=lambda count: self._times.of(count, shape),
        )  # fmt: skip

    def _begin(self):
        """Starts the reader, and warms up with its first frame."""
        if not self._end.alive:
            raise StopIteration  # closed before it began
        self._reader.start()
        first = self._queue.first()
        if first is not None:
            for count in self._times.sizes:
                batch = np.stack([first.image] * count).astype("float32")
                self._predict(batch)  # compiles
                self._times.learn(count, first.image.shape, 0.0)
                begun = self._clock()
                self._predict(batch)
                self._times.learn(count, first.image.shape, self._clock() - begun)
        self._begun = self._clock()
        self._queue.go_on()

    def _answered(self, frames):
        """Predicts a batch; returns a result for each frame."""
        images = [frame.image for frame in frames]
        if self._pad:
            images += images[-1:] * (self._times.size_of(len(frames)) - len(frames))
        begun = self._clock()
        outputs = self._predict(np.stack(images).astype("float32"))[: len(frames)]
        self._ended = self._clock()
        self._times.learn(len(frames), frames[0].image.shape, self._ended - begun)
        masks = masks_from_outputs(outputs, self.threshold)
        return [
            self._result(frame, mask, own)
            for frame, mask, own in zip(frames, masks, outputs, strict=True)
        ]

    def _result(self, frame, mask, probabilities):
        latency = self._ended - frame.captured
        self._frames += 1
        self._late += self.latency is not None and latency > self.latency
        self._latencies.append(latency)
        return FrameResult(frame.index, frame.name, frame.image, mask, probabilities, latency)


# --- When a batch is closed -----------------------------------------------------------------------


def plan(captured, now, *, batch_size, latency, live, complete, seconds):
    """Says what to do with the frames that are there.

    Args:
        captured: times when they were captured, oldest first; at least one.
        now: the time.
        batch_size, latency, live: as of `stream`.
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


# --- Reading --------------------------------------------------------------------------------------


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


def _read(source, queue):
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


def _end(queue, reader):
    queue.close()
    if reader.is_alive() and reader is not threading.current_thread():
        reader.join(PATIENCE)
