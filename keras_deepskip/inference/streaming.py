"""`stream`: what a model finds in frames as they come, within a budget of latency."""

import collections
import dataclasses
import math
import os
import threading
import time
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path

import keras
import numpy as np

from keras_deepskip import _checks
from keras_deepskip.data import write_png
from keras_deepskip.drawing import class_palette, draw_mask
from keras_deepskip.folding import fold_batch_norm
from keras_deepskip.inference.batching import BatchTimes, plan
from keras_deepskip.inference.frame_queue import FrameQueue, end_reading, read_frames
from keras_deepskip.inference.frames import open_frames
from keras_deepskip.inference.outputs import check_model, decision_of
from keras_deepskip.inference.sinks import label_type, write_tiff
from keras_deepskip.inference.windows import predictor
from keras_deepskip.models import RunLike, image_model_shapes, input_range_of, resolve_model
from keras_deepskip.objects import ObjectTracker

REMEMBERED = 10_000  # latencies of which percentiles are reported


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
        labels: array (H, W), int32: the number of the object at each pixel, which stays the same
            from frame to frame; None without `track`.
    """

    index: int
    name: str
    image: np.ndarray
    mask: np.ndarray
    probabilities: np.ndarray
    latency: float
    labels: np.ndarray | None = None

    def write(self, out, overlay=False):
        """Writes `masks/NAME.png` and, if asked, `overlays/NAME.png` in a folder, as `predict`.

        If objects are tracked, `labels/NAME.tif` too, and overlays show them in their colours.
        """
        write_png(Path(out) / "masks" / f"{self.name}.png", self.mask, class_palette())
        if self.labels is not None:
            kind = label_type(int(self.labels.max(initial=0)))
            write_tiff(Path(out) / "labels" / f"{self.name}.tif", self.labels, dtype=kind)
        if overlay:
            picture = draw_mask(self.image, self.mask, self.labels)
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


def stream(
    model: keras.Model | RunLike,
    frames: str | os.PathLike | int | Iterable[np.ndarray],
    *,
    batch_size: int = 4,
    latency: float | None = None,
    live: bool | None = None,
    threshold: float | None = None,
    min_area: int | Sequence[int] | None = None,
    track: bool = False,
) -> "FrameStream":
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
        frames: a folder of images, a video file or the number of a camera. Also an iterable of
            arrays: see `open_frames`.
        batch_size: most frames of a batch. 1 gives the least latency, more may give more frames a
            second.
        latency: None, or the budget in seconds from a frame's capture to its result. None waits for
            whole batches of a stored source, and takes what is there of a live one.
        live: whether frames that cannot be processed in time are dropped; None is yes for a camera,
            else no.
        threshold: probability above which a pixel is predicted positive; None takes the
            operating point that the model holds (see `OperatingPoint`), else 0.5.
        min_area: least area of a predicted object in pixels; None takes that of the operating
            point, else all count.
        track: whether results have `labels`: objects, told apart as the operating point says, whose
            numbers stay from frame to frame, by their overlap (see `objects.ObjectTracker`).

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
    model, run = resolve_model(model)
    expected = run.input_range if run else input_range_of(model)
    channels, _ = check_model(model)
    point = decision_of(model, run, threshold, min_area)
    _checks.check_integer("batch_size", batch_size)
    if latency is not None:
        _checks.check_number("latency", latency, 1e-6, math.inf, open_high=True)
    source = open_frames(frames, channels, expected)
    live = source.live if live is None else bool(live)
    sizes = image_model_shapes(model)[0][1:3]
    predict = _predictor(fold_batch_norm(model), sizes)
    return FrameStream(
        predict, source, batch_size=batch_size, latency=latency, live=live, point=point,
        tracker=ObjectTracker() if track else None,
    )  # fmt: skip


def _predictor(model, sizes):
    """A function from a batch of images to probabilities (N, H, W, K), float32."""

    outputs_of = predictor(model)

    def predict(batch):
        expected = [own or given for own, given in zip(sizes, batch.shape[1:3], strict=True)]
        if list(batch.shape[1:3]) != expected:
            raise ValueError(
                f"frames of {expected[0]} x {expected[1]} pixels, the model's only size, were "
                f"expected. Received: {batch.shape[1]} x {batch.shape[2]}. Resize them, or build "
                "the model for (None, None, channels)"
            )
        outputs = outputs_of(batch)
        _checks.check_probabilities(outputs)
        return outputs

    return predict


class FrameStream:
    """The iterator that `stream` returns.

    Args:
        predict: function from images (N, H, W, C), float32, to probabilities (N, H, W, K).
        source: a `Frames`.
        batch_size, latency, live: as in `stream`.
        point: the `OperatingPoint`.
        tracker: an `ObjectTracker`, or None.
        pad: whether batches are filled up to a power of two; None does so under JAX, which compiles
            for each new shape.
        clock: function that gives the time in seconds.
    """

    def __init__(
        self, predict, source, *, batch_size, latency, live, point, tracker=None, pad=None,
        clock=None,
    ):  # fmt: skip
        self.batch_size, self.latency, self.live = batch_size, latency, live
        self.point, self._tracker = point, tracker
        self._clock = clock or time.monotonic
        self._pad = keras.backend.backend() == "jax" if pad is None else pad
        self._predict = predict
        self._times = BatchTimes(batch_size)
        self._queue = FrameQueue(batch_size, live, self._clock)
        self._reader = threading.Thread(
            target=read_frames,
            args=(source, self._queue),
            daemon=True,
            name="keras_deepskip_frames",
        )
        self._ready = collections.deque()
        self._frames, self._late, self._begun, self._ended = 0, 0, None, None
        self._latencies = collections.deque(maxlen=REMEMBERED)
        # The reader knows the queue alone, so that a stream that is forgotten can end it.
        self._end = weakref.finalize(self, end_reading, self._queue, self._reader)

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
                self.point.masks(self._predict(batch))
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
        masks = self.point.masks(outputs)
        labels = [self._followed(mask) for mask in masks]
        self._ended = self._clock()
        self._times.learn(len(frames), frames[0].image.shape, self._ended - begun)
        return [self._result(*own) for own in zip(frames, masks, outputs, labels, strict=True)]

    def _followed(self, mask):
        """The objects of a mask, by the numbers of earlier frames; None without a tracker."""
        if self._tracker is None:
            return None
        return self._tracker.follow(mask, self.point.labels(mask)[0])

    def _result(self, frame, mask, probabilities, labels):
        latency = self._ended - frame.captured
        self._frames += 1
        self._late += self.latency is not None and latency > self.latency
        self._latencies.append(latency)
        return FrameResult(
            frame.index, frame.name, frame.image, mask, probabilities, latency, labels
        )
