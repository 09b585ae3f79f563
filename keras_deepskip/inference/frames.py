"""Where a stream's frames come from: an iterator, a folder of images, a video file, a camera."""

import dataclasses
import numbers
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from keras_deepskip._checks import require
from keras_deepskip.data import find_images
from keras_deepskip.data.images import SUFFIXES, to_channels
from keras_deepskip.inference.sources import open_source

VIDEO = '"keras-deepskip[video]"'  # the extra that brings OpenCV


@dataclasses.dataclass(frozen=True)
class Frames:
    """A source of frames.

    Attributes:
        name: what errors call it.
        live: whether frames come when they come, as those of a camera, and are lost if nobody takes
            them.
        read: function that gives an iterator of `(name, image)`, of one frame each; names are fit
            for files, images are arrays (H, W, C). What it opens, it closes when it is closed.
    """

    name: str
    live: bool
    read: Callable


def open_frames(frames, channels, expected=None):
    """Finds out what a source of frames is.

    Args:
        frames: a folder of images (in the order of their names), an image, a video file, the number
            of a camera, or an iterable of arrays (H, W) or (H, W, C), RGB where they are in colour.
        channels: number of channels to bring frames to. Grey and RGB are turned into each other,
            and alpha is dropped, as `data.to_channels` does.
        expected: (low, high) of the values that the model was trained on; files of images of
            another range are refused. None refuses none.

    Returns:
        A `Frames`. Nothing is opened before it is read.

    Raises:
        FileNotFoundError: if there is no such folder or file.
        ImportError: if a video or a camera is asked for and OpenCV is missing.
        ValueError: if `frames` is none of these.

    Example:

    >>> source = open_frames([np.zeros((4, 6), "uint8")], channels=3)
    >>> [(name, image.shape) for name, image in source.read()]
    [('frame_000000', (4, 6, 3))]
    """
    if isinstance(frames, str | Path):
        return _of_path(Path(frames), channels, expected)
    if isinstance(frames, numbers.Integral) and not isinstance(frames, bool):
        _opencv(f"camera {frames}")
        return Frames(f"camera {frames}", True, lambda: _of_camera(int(frames), channels))
    if isinstance(frames, Iterable):
        return Frames("the iterator of frames", False, lambda: _of_iterable(frames, channels))
    raise ValueError(
        "`frames` must be a folder of images, a video file, the number of a camera, or an iterable "
        f"of arrays. Received: frames={frames!r}"
    )


def _of_path(path, channels, expected):
    if path.is_dir() or path.suffix.lower() in SUFFIXES:
        samples = find_images(path)
        images = ((sample.name, _of_file(sample, channels, expected)) for sample in samples)
        return Frames(str(path), False, lambda: images)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: a folder of images or a video file was expected here, and there is none"
        )
    _opencv(f"{path}: a video")
    return Frames(str(path), False, lambda: _of_video(path, channels))


def _of_file(sample, channels, expected):
    return open_source(sample.image, channels, expected=expected).read((slice(None), slice(None)))


def _of_iterable(frames, channels):
    iterator, index = iter(frames), 0
    while True:
        try:
            frame = next(iterator)
        except StopIteration:
            return
        except Exception as error:
            raise RuntimeError(
                f"frame {index} of the iterator could not be had: {type(error).__name__}: {error}"
            ) from error
        yield f"frame_{index:06d}", _as_image(frame, channels, f"frame {index} of the iterator")
        index += 1


def _as_image(frame, channels, name):
    image = np.asarray(frame)
    if image.ndim not in (2, 3) or 0 in image.shape or image.dtype.kind not in "uifb":
        raise ValueError(
            f"{name}: an array of numbers (H, W) or (H, W, C) was expected. Received: shape "
            f"{image.shape}, {image.dtype}"
        )
    return to_channels(image[..., None] if image.ndim == 2 else image, channels, name)


def _of_video(path, channels):
    name = None
    for index, image in enumerate(_captured(str(path), f"{path}: a video file", channels)):
        name = f"{path.stem}_{index:06d}"
        yield name, image
    if name is None:
        raise ValueError(
            f"{path}: a video of at least one frame was expected. Received: one of which OpenCV "
            "reads none. Play it elsewhere; convert or copy it again"
        )


def _of_camera(number, channels):
    what = f"camera {number}"
    for index, image in enumerate(_captured(number, what, channels)):
        yield f"camera{number}_{index:06d}", image
    raise ValueError(
        f"{what}: another frame was expected. Received: none, as if it was unplugged or taken by "
        "another program"
    )


def _captured(source, what, channels):
    """The frames that OpenCV gives of a file's name or a camera's number, as RGB."""
    cv2 = _opencv(what)
    capture = cv2.VideoCapture(source)
    try:
        if not capture.isOpened():
            raise ValueError(
                f"{what} that OpenCV can open was expected. Received: one that it cannot. Look for "
                "a damaged file or unknown format, a camera's number (0 is the first), or another "
                "program that uses it"
            )
        if not isinstance(source, str):
            capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest frame, not one that has waited
        while True:
            there, frame = capture.read()
            if not there:
                return
            colour = frame.ndim == 3 and frame.shape[-1] == 3
            # OpenCV's order is blue, green, red.
            yield _as_image(frame[..., ::-1] if colour else frame, channels, what)
    finally:
        capture.release()


def _opencv(what):
    return require("cv2", VIDEO, what)
