"""`stream`: frames in order, none lost or those that are late, and a thread that ends."""

import functools
import gc
import sys
import threading
import time
import types
import weakref

import keras
import numpy as np
import pytest
import tifffile

from keras_deepskip import build_model, cli
from keras_deepskip.data import read_image, write_png
from keras_deepskip.data.masks import read_ids
from keras_deepskip.inference import frames as sources
from keras_deepskip.inference.batching import BatchTimes, plan
from keras_deepskip.inference.frames import Frames, open_frames
from keras_deepskip.inference.streaming import FrameResult, FrameStream, stream
from keras_deepskip.operating_point import OperatingPoint
from tests import tiny

SECONDS = 20  # to wait at most for what must happen


def pictures(count, shape=(12, 16, 1), seed=0):
    """Noise; no two frames are alike."""
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype("uint8")


def readers():
    return [t for t in threading.enumerate() if t.name == "keras_deepskip_frames"]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    gc.collect()
    assert not readers()


def bare(frames, predict=None, live=False, batch_size=4, latency=None, **settings):
    """A stream whose model is a function: the probability is the grey value / 255."""
    source = Frames("frames", live, lambda: ((f"f{i}", image) for i, image in enumerate(frames)))
    return FrameStream(
        predict or (lambda batch: batch / 255), source, batch_size=batch_size, latency=latency,
        live=live, point=OperatingPoint(), **settings,
    )  # fmt: skip


# ---- Equality and order --------------------------------------------------------------------------


@functools.cache
def network():
    """A small network whose batch norms have something to do."""
    keras.utils.set_random_seed(0)
    model, rng = build_model(levels=2, base_filters=2), np.random.default_rng(0)
    for weight in model.weights:
        if "moving" in weight.path:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return model


@pytest.mark.parametrize("batch_size", [1, 3, 4])
def test_each_frame_has_the_outputs_of_predict_in_order(batch_size):
    model = network()
    sizes = [(20, 30)] * 5 + [(17, 9)] * 2 + [(20, 30)] + [(33, 8)] * 3
    frames = [pictures(1, (*size, 3), seed=i)[0] for i, size in enumerate(sizes)]
    with stream(model, frames, batch_size=batch_size) as results:
        found = list(results)
    assert [result.index for result in found] == list(range(len(frames)))
    for frame, result in zip(frames, found, strict=True):
        np.testing.assert_array_equal(result.image, frame)
        expected = model.predict(frame[None].astype("float32"), verbose=0)[0]
        np.testing.assert_allclose(result.probabilities, expected, atol=1e-5)
        np.testing.assert_array_equal(result.mask, expected[..., 0] > 0.5)
        assert result.latency >= 0
    statistics = results.statistics
    assert (statistics.frames, statistics.dropped) == (len(frames), 0)


def test_several_classes():
    model, frames = tiny.grey_level_model(), pictures(5)
    for result, frame in zip(stream(model, frames), frames, strict=True):
        expected = np.select([frame > 192, frame > 64], [2, 1], 0)[..., 0]
        clear = ~np.isin(frame[..., 0], (64, 192))
        np.testing.assert_array_equal(result.mask[clear], expected[clear])


def test_batches_are_filled_up_to_few_sizes_and_cut_again():
    shapes = []

    def predict(batch):
        shapes.append(batch.shape)
        return batch / 255

    sizes = [(4, 5)] * 3 + [(6, 5)] + [(4, 5)] * 9
    frames = [pictures(1, (*size, 1), seed=i)[0] for i, size in enumerate(sizes)]
    results = list(bare(frames, predict, batch_size=6, pad=True))
    for frame, result in zip(frames, results, strict=True):
        np.testing.assert_allclose(result.probabilities, frame / 255)
    assert {shape[0] for shape in shapes} <= {1, 2, 4, 6}
    assert [shape[0] for shape in shapes[:8]] == [1, 1, 2, 2, 4, 4, 6, 6]  # the warm-up
    assert shapes[8:10] == [(4, 4, 5, 1), (1, 6, 5, 1)]


def test_channels_are_those_of_the_model():
    grey, colour = pictures(2, (8, 9)), pictures(2, (8, 9, 3))
    for result, frame in zip(stream(tiny.bright_model(3), grey), grey, strict=True):
        np.testing.assert_array_equal(result.image, np.repeat(frame[..., None], 3, axis=-1))
    for result, frame in zip(stream(tiny.bright_model(1), colour), colour, strict=True):
        expected = np.rint(frame @ [0.299, 0.587, 0.114])
        np.testing.assert_array_equal(result.image[..., 0], expected)
    with pytest.raises(ValueError, match="frame 0 of the iterator: an image of 3 channels"):
        next(stream(tiny.bright_model(3), pictures(1, (8, 9, 5))))


# ---- Back-pressure and dropping ------------------------------------------------------------------


def test_a_stored_source_is_read_no_further_than_the_queue_and_one(monkeypatch):
    read = []

    def source():
        for number in range(40):
            read.append(number)
            yield pictures(1, seed=number)[0]

    ahead = []
    with bare(source(), batch_size=3) as results:
        for given, _ in enumerate(results, start=1):
            ahead.append(len(read) - given)
            if given % 10 == 0:
                time.sleep(0.05)  # the reader has time to run away
    assert given == 40 and results.statistics.dropped == 0
    # Three wait, the reader holds one, and of the batch at hand at most two are yet to be given.
    assert max(ahead) <= 3 + 1 + 2


def test_a_slow_model_drops_the_oldest_frames_of_a_live_source():
    calm, done = threading.Event(), threading.Event()

    def source():
        yield pictures(1)[0]
        calm.wait(SECONDS)  # until the first is being predicted
        for number in range(1, 11):
            yield pictures(1, seed=number)[0]
        done.set()

    calls = []

    def predict(batch):
        calls.append(len(batch))
        if len(calls) == 7:  # 6 are the warm-up's
            calm.set()
            assert done.wait(SECONDS)
        return batch / 255

    results = bare(source(), predict, live=True, batch_size=4)
    found = list(results)
    assert [result.index for result in found] == [0, 7, 8, 9, 10]
    assert results.statistics.dropped == 6 and results.statistics.frames == 5
    for result in found:
        np.testing.assert_array_equal(result.image, pictures(1, seed=result.index)[0])


def test_a_stored_source_loses_nothing_however_slow_the_model_is():
    def predict(batch):
        time.sleep(0.01)
        return batch / 255

    results = bare(pictures(12), predict, batch_size=2, latency=0.001)
    assert [result.index for result in results] == list(range(12))
    assert results.statistics.dropped == 0 and results.statistics.late == 12


class Clock:
    """A time that passes when it is told to, and by a tick when it is asked for."""

    def __init__(self, tick=0.0):
        self.now, self.tick = 100.0, tick

    def __call__(self):
        self.now += self.tick
        return self.now


def test_latency_stays_within_the_budget_of_a_live_source():
    """A frame each 10 ms and 200 ms a batch, by a clock of hand: 30 frames wait for each batch.

    The source gives frames while a batch is predicted, and nowhere else.
    """
    clock, turn, asked = Clock(tick=1e-3), threading.Semaphore(0), threading.Semaphore(0)

    def source():
        yield pictures(1, (4, 4, 1))[0]
        while True:
            asked.release()  # the frame before is in the queue
            turn.acquire()
            clock.now += 0.01
            yield pictures(1, (4, 4, 1))[0]

    calls = []

    def predict(batch):
        calls.append(len(batch))
        if len(calls) <= 12:  # the warm-up: the source waits for it
            clock.now += 0.2
            return batch / 255
        if len(calls) == 13:
            assert asked.acquire(timeout=SECONDS)
        for _ in range(20):
            turn.release()
            assert asked.acquire(timeout=SECONDS)
        return batch / 255

    settings = {"live": True, "batch_size": 32, "latency": 0.35, "pad": False}
    with bare(source(), predict, clock=clock, **settings) as results:
        found = [next(results) for _ in range(40)]
        statistics = results.statistics
        turn.release()  # so that the reader sees the end
        results.close()
    assert 0.2 < max(result.latency for result in found) <= 0.35
    assert statistics.late == 0 and statistics.latency_p99 <= 0.35
    # A batch is thought to take 1.25 * 200 to 220 ms: there is time for the newest frames alone.
    assert set(calls[13:]) <= set(range(3, 11))
    assert statistics.dropped > len(found)
    assert [r.index for r in found] == sorted(r.index for r in found)


def seconds(count):
    """The time of a batch: 20 ms and 10 ms a frame."""
    return 0.02 + 0.01 * count


@pytest.mark.parametrize(
    "captured, now, settings, expected",
    [
        # Without a budget: a stored source fills its batches, a live one does not wait.
        ([0.0], 9.0, {}, (0, 1, float("inf"))),
        ([0.0], 9.0, {"complete": True}, (0, 1, 0.0)),
        ([0.0] * 4, 9.0, {}, (0, 4, 0.0)),
        ([0.0] * 6, 9.0, {}, (0, 4, 0.0)),
        ([0.0], 9.0, {"live": True}, (0, 1, 0.0)),
        # With one it waits as long as a batch of one more would still be in time, with a margin:
        # 0.1 - 1.25^2 * 0.04 - 0.002.
        ([0.0], 0.0, {"latency": 0.1}, (0, 1, 0.0355)),
        ([0.0, 0.01], 0.01, {"latency": 0.1}, (0, 2, 0.009875)),
        ([0.0, 0.03], 0.06, {"latency": 0.1}, (0, 2, 0.0)),
        ([0.0, 0.01], 0.01, {"latency": 0.1, "complete": True}, (0, 2, 0.0)),
        # A stored source loses nothing, and is quickest in whole batches.
        ([0.0] * 4, 0.9, {"latency": 0.1}, (0, 4, 0.0)),
        # A live one answers as many as the oldest has time for, and drops what has none.
        ([0.0] * 4, 0.045, {"latency": 0.1, "live": True}, (0, 2, 0.0)),
        ([0.0, 0.0, 0.05, 0.06], 0.08, {"latency": 0.1, "live": True}, (2, 2, 0.0)),
        ([0.0, 0.05, 0.05, 0.05], 0.095, {"latency": 0.1, "live": True}, (1, 2, 0.0)),
        # The newest is answered even if it will be late.
        ([0.0, 0.01], 9.0, {"latency": 0.1, "live": True}, (1, 1, 0.0)),
        ([0.0], 0.0, {"latency": 0.001, "live": True}, (0, 1, 0.0)),
    ],
)
def test_when_a_batch_is_closed(captured, now, settings, expected):
    given = {"batch_size": 4, "latency": None, "live": False, "complete": False, **settings}
    drop, take, wait = plan(captured, now, seconds=seconds, **given)
    assert (drop, take, wait) == (*expected[:2], pytest.approx(expected[2], abs=1e-9))


def test_the_mean_time_of_batches():
    times = BatchTimes(6)
    assert times.sizes == [1, 2, 4, 6] and [times.size_of(n) for n in range(1, 7)] == [
        1, 2, 4, 4, 6, 6,
    ]  # fmt: skip
    times.learn(3, (10, 10, 1), 99.0)  # the first of its shape: it may have been compiled
    assert times.of(4, (10, 10, 1)) == 0
    times.learn(3, (10, 10, 1), 1.0)
    times.learn(4, (10, 10, 1), 2.0)
    assert times.of(4, (10, 10, 1)) == pytest.approx(1.2)
    assert times.of(3, (20, 10, 1)) == pytest.approx(2.4)


def test_what_the_statistics_say():
    clock = Clock()

    def predict(batch):
        clock.now += 0.05 * len(batch)
        return batch / 255

    results = bare(pictures(6), predict, batch_size=1, clock=clock)
    assert results.statistics.text() == "0 frames, 0 dropped, 0 late"
    assert results.statistics.latency_p50 is None
    first = next(results)
    assert first.latency == pytest.approx(0.05)  # without the warm-up
    list(results)
    statistics = results.statistics
    assert statistics.frames == 6 and statistics.seconds == pytest.approx(0.3)
    assert statistics.frames_per_second == pytest.approx(20)
    assert 0.05 <= statistics.latency_p50 <= statistics.latency_p95 <= statistics.latency_p99
    text = statistics.text()
    assert "6 frames, 0 dropped, 0 late: 20.0 frames/s over 0.3 s" in text
    assert f"{1e3 * statistics.latency_p99:.1f} ms" in text


def test_latency_is_that_of_the_whole_result():
    """With the objects of a frame, which a tracker follows."""
    clock = Clock()

    class Slow:
        def follow(self, mask, labels):
            clock.now += 0.2
            return labels

    def predict(batch):
        clock.now += 0.05
        return batch / 255

    results = bare(pictures(3), predict, batch_size=1, clock=clock, tracker=Slow())
    assert next(results).latency == pytest.approx(0.25)


# ---- Ends ----------------------------------------------------------------------------------------


def endless():
    while True:
        yield pictures(1)[0]


def closing(how):
    released = []

    def read():
        try:
            yield from (("f", image) for image in endless())
        finally:
            released.append(True)

    results = FrameStream(
        lambda batch: batch / 255, Frames("x", False, read), batch_size=2, latency=None,
        live=False, point=OperatingPoint(),
    )  # fmt: skip
    how(results)
    return results, released


def test_the_thread_ends_when_the_stream_is_closed():
    def how(results):
        next(results)
        assert readers()
        results.close()

    results, released = closing(how)
    assert released and not readers()
    assert list(results) == [] and results.statistics.frames == 2
    results.close()


def test_the_thread_ends_with_a_block_that_fails():
    def how(results):
        with pytest.raises(ZeroDivisionError), results:
            for _ in results:
                raise ZeroDivisionError

    _, released = closing(how)
    assert released and not readers()


def test_the_thread_ends_when_the_stream_is_forgotten():
    forgotten = []

    def how():
        for result in bare(endless()):
            forgotten.append(weakref.ref(result))
            break

    how()
    gc.collect()
    assert not readers()


@pytest.mark.parametrize("error", [RuntimeError("no memory"), KeyboardInterrupt()])
def test_the_thread_ends_when_predicting_fails(error):
    calls = []

    def predict(batch):
        calls.append(1)
        if len(calls) > 8:
            raise error
        return batch / 255

    results = bare(endless(), predict)
    with pytest.raises(type(error)):
        list(results)
    assert not readers()


def test_a_stream_that_never_began_has_no_thread():
    results = bare(endless())
    assert not readers()
    results.close()
    assert list(results) == []


def test_an_error_of_the_source_comes_after_the_frames_before_it():
    def source():
        yield from pictures(5)
        raise OSError("the cable")

    results, found = stream(tiny.bright_model(), source()), []
    with pytest.raises(RuntimeError, match="frame 5 of the iterator.*OSError: the cable"):
        for result in results:
            found.append(result.index)
    assert found == list(range(5)) and not readers()
    with pytest.raises(ValueError, match=r"frame 1 of the iterator.*shape \(3,\)"):
        list(stream(tiny.bright_model(), [pictures(1)[0], np.zeros(3)]))
    assert list(stream(tiny.bright_model(), [])) == []


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"batch_size": 0}, "`batch_size` must be an integer of at least 1"),
        ({"latency": 0}, "`latency` must be a number"),
        ({"threshold": 2}, "`threshold` must be a number"),
        ({"frames": 3.5}, "`frames` must be a folder of images, a video file"),
    ],
)
def test_wrong_arguments(settings, words):
    settings = {"frames": pictures(1), **settings}
    with pytest.raises(ValueError, match=words):
        stream(tiny.bright_model(), settings.pop("frames"), **settings)


def test_models_that_do_not_fit():
    inputs = keras.Input((None, None, 1))
    logits = keras.Model(inputs, keras.layers.Conv2D(1, 1, kernel_initializer="ones")(inputs))
    with pytest.raises(ValueError, match="outputs are probabilities"):
        next(stream(logits, pictures(1)))
    inputs = keras.Input((8, 8, 1))
    fixed = keras.Model(inputs, keras.layers.Conv2D(1, 1, activation="sigmoid")(inputs))
    with pytest.raises(ValueError, match="frames of 8 x 8 pixels.*Received: 12 x 16"):
        next(stream(fixed, pictures(1)))


# ---- Sources -------------------------------------------------------------------------------------


def test_a_folder_in_the_order_of_names(tmp_path):
    frames = dict(zip(("b", "a", "c"), pictures(3), strict=True))
    for name, frame in frames.items():
        write_png(tmp_path / "images" / f"{name}.png", frame)
    for place in (tmp_path, tmp_path / "images"):
        found = list(stream(tiny.bright_model(), place, batch_size=2))
        assert [result.name for result in found] == ["a", "b", "c"]
        for result in found:
            np.testing.assert_array_equal(result.image, frames[result.name])
    assert len(list(stream(tiny.bright_model(), tmp_path / "images" / "b.png"))) == 1
    (tmp_path / "images" / "b.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"b\.png: a PNG, JPEG or TIFF image was expected"):
        list(stream(tiny.bright_model(), tmp_path))
    with pytest.raises(FileNotFoundError, match="nothing.mp4: a folder of images or a video"):
        stream(tiny.bright_model(), tmp_path / "nothing.mp4")


def video(path, colors, shape=(48, 64)):
    cv2 = pytest.importorskip("cv2")
    code = cv2.VideoWriter_fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(path), code, 10, shape[::-1])
    if not writer.isOpened():
        pytest.skip("OpenCV writes no MJPG here")
    for color in colors:  # red, green, blue
        writer.write(np.full((*shape, 3), color[::-1], "uint8"))
    writer.release()


def test_a_video_file(tmp_path):
    colors = [(250, 10, 10), (10, 250, 10), (10, 10, 250), (250, 250, 10), (9, 9, 9)] * 3
    video(tmp_path / "clip.avi", colors)
    found = list(stream(tiny.bright_model(3), tmp_path / "clip.avi", batch_size=4))
    assert [result.name for result in found] == [f"clip_{n:06d}" for n in range(15)]
    for result, color in zip(found, colors, strict=True):
        assert result.image.shape == (48, 64, 3) and result.image.dtype == np.uint8
        assert np.abs(result.image.astype(int) - color).max() < 12


def test_a_video_without_frames(tmp_path):
    pytest.importorskip("cv2")
    (tmp_path / "clip.avi").write_bytes(b"RIFF no video")
    with pytest.raises(ValueError, match=r"clip\.avi: a video file that OpenCV can open"):
        list(stream(tiny.bright_model(3), tmp_path / "clip.avi"))


class Camera:
    """A stand-in for `cv2.VideoCapture`: blue frames."""

    opened = []

    def __init__(self, source, frames=3):
        self.source, self.left, self.released = source, frames, False
        Camera.opened.append(self)

    def isOpened(self):  # noqa: N802
        return self.source != 9

    def set(self, *setting):
        return True

    def read(self):
        self.left -= 1
        if self.left < 0:
            return False, None
        return True, np.full((6, 7, 3), (200, 100, 50), "uint8")

    def release(self):
        self.released = True


@pytest.fixture
def cameras(monkeypatch):
    stand_in = types.SimpleNamespace(VideoCapture=Camera, CAP_PROP_BUFFERSIZE=38)
    monkeypatch.setitem(sys.modules, "cv2", stand_in)
    monkeypatch.setattr(Camera, "opened", [])
    return stand_in


def test_a_camera(cameras):
    assert open_frames(0, 3).live
    results = stream(tiny.bright_model(3), 2, batch_size=1, live=False)
    result = next(results)
    assert result.name == "camera2_000000"
    assert result.image[0, 0].tolist() == [50, 100, 200]  # red, green, blue
    results.close()
    assert [(c.source, c.released) for c in Camera.opened] == [(2, True)]


def test_a_camera_that_stops_or_cannot_be_opened(cameras, monkeypatch):
    results, found = stream(tiny.bright_model(3), 0, live=False), []
    with pytest.raises(ValueError, match="camera 0: another frame was expected"):
        for result in results:
            found.append(result)
    assert len(found) == 3
    with pytest.raises(ValueError, match="camera 9 that OpenCV can open was expected"):
        next(stream(tiny.bright_model(3), 9))
    assert all(camera.released for camera in Camera.opened)


def test_a_video_of_no_frames(cameras, monkeypatch, tmp_path):
    monkeypatch.setattr(cameras, "VideoCapture", lambda source: Camera(source, frames=0))
    (tmp_path / "clip.mp4").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"clip\.mp4: a video of at least one frame was expected"):
        list(stream(tiny.bright_model(3), tmp_path / "clip.mp4"))


def test_without_opencv_the_pip_line_is_said(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "cv2", None)
    (tmp_path / "clip.mp4").write_bytes(b"x")
    for frames in (0, tmp_path / "clip.mp4"):
        with pytest.raises(ImportError, match=r'pip install "keras-deepskip\[video\]"'):
            stream(tiny.bright_model(3), frames)
    assert len(list(stream(tiny.bright_model(1), pictures(2)))) == 2
    assert sources.VIDEO == '"keras-deepskip[video]"'


# ---- The command ---------------------------------------------------------------------------------


def command(*arguments):
    return cli.main(["stream", *(str(argument) for argument in arguments)])


@pytest.fixture
def model_file(tmp_path):
    tiny.bright_model().save(tmp_path / "bright.keras")
    return tmp_path / "bright.keras"


def test_the_command_writes_masks_and_statistics(tmp_path, model_file, capsys):
    frames = pictures(5)
    for number, frame in enumerate(frames):
        write_png(tmp_path / "in" / f"n{number}.png", frame)
    base = ("--model", model_file, "--source", tmp_path / "in")
    assert command(*base, "--out", tmp_path / "out", "--overlays", "--latency", 1e5) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "| frames | dropped | late |" in text and "| 5 | 0 | 0 |" in text
    assert f"Wrote {tmp_path / 'out' / 'masks'}" in text
    for number, frame in enumerate(frames):
        mask = read_ids(tmp_path / "out" / "masks" / f"n{number}.png")
        np.testing.assert_array_equal(mask, frame[..., 0] > 128)
        assert read_image(tmp_path / "out" / "overlays" / f"n{number}.png").shape == (12, 16, 3)
    assert command(*base, "--limit", 2, "--batch-size", 1) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "| 2 | 0 | 0 |" in text and "Next: --out DIR writes the masks" in text
    for out in (tmp_path / "in", tmp_path):
        assert command(*base, "--out", out) == 1
        assert "--out must be another folder" in capsys.readouterr().err
    assert command("--model", model_file, "--source", tmp_path / "none") == 1
    assert "none: a folder of images or a video file" in capsys.readouterr().err


def test_tracked_objects_keep_their_numbers(tmp_path, model_file):
    """A square that moves by a pixel a frame, and one that comes in the third above it."""
    for number in range(5):
        image = np.full((24, 40, 1), 20, "uint8")
        image[12:18, 4 + number : 10 + number] = 220
        if number > 1:
            image[2:8, 20:26] = 220
        write_png(tmp_path / "in" / f"n{number}.png", image)
    base = ("--model", model_file, "--source", tmp_path / "in", "--batch-size", 2)
    assert command(*base, "--out", tmp_path / "out", "--track", "--overlays") == 0
    for number in range(5):
        labels = tifffile.imread(tmp_path / "out" / "labels" / f"n{number}.tif")
        assert labels.dtype == np.uint16
        assert labels[14, 8] == 1 and labels[4, 22] == (2 if number > 1 else 0)
    with stream(tiny.bright_model(), tmp_path / "in") as results:
        assert all(result.labels is None for result in results)


def test_the_command_tells_statistics_after_an_interrupt(
    tmp_path, model_file, cameras, monkeypatch, capsys
):
    monkeypatch.setattr(cameras, "VideoCapture", lambda source: Camera(source, frames=10**6))
    written = []

    def write(result, out, overlay):
        written.append(result.name)
        if len(written) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(FrameResult, "write", write)
    done = command("--model", model_file, "--source", "0", "--out", tmp_path / "out")
    said = capsys.readouterr()
    assert done == 130 and "interrupted" in said.err
    assert "frames per second" in said.out and len(written) == 3
    assert all(camera.released for camera in Camera.opened) and not readers()
