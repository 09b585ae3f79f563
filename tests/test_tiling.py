"""Windows and boxes: they cover every pixel, stay inside, and are filled up by reflection."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_deepskip.tiling import Window, boxes, cut, windows

pytestmark = pytest.mark.one_backend

sides = st.integers(1, 90)


@given(sides, sides, st.integers(1, 40), st.data())
@settings(max_examples=150, deadline=None)
def test_windows_cover_everything_and_stay_inside(height, width, size, data):
    overlap = data.draw(st.integers(0, size - 1))
    seen = np.zeros((height, width), int)
    placed = windows(height, width, size, overlap)
    for top, left, rows, columns in placed:
        assert (rows, columns) == (min(size, height), min(size, width))
        assert 0 <= top <= height - rows and 0 <= left <= width - columns
        seen[top : top + rows, left : left + columns] += 1
    assert seen.min() >= 1
    assert len(set(placed)) == len(placed)
    # not one more than needed along either axis
    step = size - overlap
    rows, columns = (max(-(-max(n - size, 0) // step), 0) + 1 for n in (height, width))
    assert len(placed) == rows * columns


@given(sides, st.integers(2, 40), st.data())
@settings(max_examples=50, deadline=None)
def test_neighbouring_windows_share_the_overlap(length, size, data):
    overlap = data.draw(st.integers(0, size - 1))
    lefts = [window.left for window in windows(1, length, size, overlap)]
    assert all(b - a <= size - overlap for a, b in zip(lefts, lefts[1:], strict=False))


def test_last_window_is_shifted_back_inside():
    assert [w.left for w in windows(4, 10, 4)] == [0, 4, 6]
    assert [w.left for w in windows(4, 8, 4)] == [0, 4]
    assert windows(3, 2, 4) == [Window(0, 0, 3, 2)]


@given(sides, sides, st.integers(1, 40), st.sampled_from([(), (3,)]))
@settings(max_examples=60, deadline=None)
def test_cut_keeps_pixels_and_reflects_the_rest(height, width, size, channels):
    array = np.arange(height * width * 3)[: height * width * (3 if channels else 1)]
    array = array.reshape(height, width, *channels)
    for window in windows(height, width, size)[:3]:
        piece = cut(array, window, size)
        top, left, rows, columns = window
        assert piece.shape == (size, size, *channels) and piece.dtype == array.dtype
        inside = array[top : top + rows, left : left + columns]
        assert np.array_equal(piece[:rows, :columns], inside)
        if rows > 1 and size > rows:
            assert np.array_equal(piece[rows, :columns], inside[rows - 2])
        if rows == 1:
            assert (piece == piece[:1]).all()


@pytest.mark.parametrize("shape", [(1, 1), (17, 4001), (4001, 17)])
def test_odd_sizes(shape):
    array = np.random.default_rng(0).integers(0, 9, shape)
    pieces = [cut(array, window, 160) for window in windows(*shape, 160)]
    assert {piece.shape for piece in pieces} == {(160, 160)}
    assert len(pieces) == -(-max(shape) // 160)


@pytest.mark.parametrize(
    "arguments, word",
    [
        ((0, 5, 4), "height"),
        ((5, 5, 0), "size"),
        ((5, 5, 4, 4), "overlap"),
        ((5, 5, 4, -1), "over"),
    ],
)
def test_wrong_windows_are_refused(arguments, word):
    with pytest.raises(ValueError, match=word):
        windows(*arguments)


@pytest.mark.parametrize(
    "window, size", [((3, 0, 2, 2), 4), ((-1, 0, 2, 2), 4), ((0, 0, 4, 4), 3), ((0, 3, 2, 2), 4)]
)
def test_wrong_cuts_are_refused(window, size):
    with pytest.raises(ValueError, match="Received"):
        cut(np.zeros((4, 4)), Window(*window), size)


# --- Boxes, over any number of axes


@given(
    st.lists(st.tuples(st.integers(1, 20), st.integers(1, 9)), min_size=1, max_size=3), st.data()
)
@settings(max_examples=100, deadline=None)
def test_boxes_cover_everything_and_stay_inside(axes, data):
    shape, size = zip(*axes, strict=True)
    overlap = tuple(data.draw(st.integers(0, side - 1)) for side in size)
    seen = np.zeros(shape, int)
    placed = boxes(shape, size, overlap)
    for box in placed:
        assert all(0 <= s.start < s.stop <= length for s, length in zip(box, shape, strict=True))
        assert seen[box].shape == tuple(min(pair) for pair in axes)
        seen[box] += 1
    assert seen.min() >= 1
    steps = [side - own for side, own in zip(size, overlap, strict=True)]
    counts = [-(-max(n - side, 0) // s) + 1 for n, side, s in zip(shape, size, steps, strict=True)]
    assert len(placed) == np.prod(counts)


@given(sides, sides, st.integers(1, 40), st.data())
@settings(max_examples=30, deadline=None)
def test_windows_are_boxes(height, width, size, data):
    overlap = data.draw(st.integers(0, size - 1))
    placed = windows(height, width, size, overlap)
    assert [window.box for window in placed] == boxes((height, width), size, overlap)


def test_the_last_axis_runs_fastest():
    starts = [tuple(s.start for s in box) for box in boxes((3, 2, 3), 2)]
    assert starts == [(0, 0, 0), (0, 0, 1), (1, 0, 0), (1, 0, 1)]


@pytest.mark.parametrize("channels", [(), (2,)])
def test_cut_of_volumes_keeps_voxels_and_reflects_the_rest(channels):
    volume = np.random.default_rng(0).integers(0, 99, (5, 7, 3, *channels))
    for box in boxes(volume.shape[:3], 4):
        piece = cut(volume, box, 4)
        assert piece.shape == (4, 4, 4, *channels) and piece.dtype == volume.dtype
        inside = volume[box]  # (4, 4, 3)
        assert np.array_equal(piece[:, :, :3], inside)
        assert np.array_equal(piece[:, :, 3], inside[:, :, 1])
    (box,) = boxes(volume.shape[:3], 8)
    piece = cut(volume, box, (6, 7, 5))
    assert np.array_equal(piece[5, :, :3], volume[3])
    assert np.array_equal(piece[:5, :, 4], volume[:, :, 0])
    assert np.shares_memory(cut(volume, box, (5, 7, 3)), volume)


@pytest.mark.parametrize(
    "call, word",
    [
        (lambda: boxes((5, 0, 5), 4), "shape"),
        (lambda: boxes((5, 5, 5), (4, 4)), "one for each of 3 axes"),
        (lambda: boxes((5, 5, 5), (4, 4, 2), 2), "`overlap` must be less"),
        (lambda: cut(np.zeros((4, 4)), (slice(0, 2),) * 3, 2), "inside the array"),
        (lambda: cut(np.zeros((4, 4, 4)), (slice(0, 2), slice(0, 2), slice(3, 5)), 2), "inside"),
        (lambda: cut(np.zeros((4, 4, 4)), (slice(0, 3),) * 3, (3, 3, 2)), "at least the window's"),
    ],
)
def test_wrong_boxes_are_refused(call, word):
    with pytest.raises(ValueError, match=word):
        call()
