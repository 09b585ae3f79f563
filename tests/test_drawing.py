"""Pictures: colours where they belong, and nothing else changed."""

import numpy as np
import pytest

from keras_deepskip.drawing import (
    CLASS_COLORS,
    FALSE,
    HIT,
    MISSED,
    draw_comparison,
    draw_mask,
    outline,
    side_by_side,
    to_rgb,
)

pytestmark = pytest.mark.one_backend


def coloured(picture, color):
    return (picture == color).all(axis=-1)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_eight_bit_images_are_shown_as_they_are(channels):
    image = np.random.default_rng(0).integers(0, 256, (4, 5, channels)).astype("uint8")
    expected = image[..., :3] if channels >= 3 else image[..., [0, 0, 0]]
    shown = to_rgb(image)
    np.testing.assert_array_equal(shown, expected)
    shown[:] = 0
    assert image.any()  # a copy


def test_other_images_are_stretched():
    image = np.linspace(1000, 3000, 10000).reshape(100, 100, 1).astype("uint16")
    shown = to_rgb(image)
    assert shown.dtype == np.uint8 and shown.min() == 0 and shown.max() == 255
    assert abs(int(shown[50, 0, 0]) - 127) <= 2
    np.testing.assert_array_equal(to_rgb(np.full((3, 3, 1), 7.0)), np.zeros((3, 3, 3)))


def test_an_outline_is_the_border_of_the_region():
    mask = np.zeros((9, 9), bool)
    mask[2:7, 2:7] = True
    picture = np.zeros((9, 9, 3), "uint8")
    drawn = outline(picture, mask, (255, 0, 0))
    inside = np.zeros((9, 9), bool)
    inside[3:6, 3:6] = True
    np.testing.assert_array_equal(coloured(drawn, (255, 0, 0)), mask & ~inside)
    assert not picture.any()
    assert coloured(outline(picture, mask, (255, 0, 0), width=2), (255, 0, 0)).sum() == 24


def test_a_large_picture_is_reduced_and_no_object_is_lost():
    image = np.full((100, 250, 3), 90, "uint8")
    mask = np.zeros((100, 250), "uint8")
    mask[3, 7] = mask[99, 249] = 1
    for labels in (None, mask.astype("int32")):
        drawn = draw_mask(image, mask, labels, longest=64)
        assert drawn.shape == (25, 63, 3)
        found = np.argwhere(coloured(drawn, CLASS_COLORS[0])).tolist()
        assert found == [[0, 1], [24, 62]]
        assert coloured(drawn, 90).sum() == drawn[..., 0].size - 2
    assert draw_mask(image, mask, longest=250).shape == image.shape


def test_each_class_has_its_colour():
    mask = np.zeros((10, 30), int)
    for number in range(8):
        mask[3:6, 1 + 3 * number : 3 + 3 * number] = number + 1
    drawn = draw_mask(np.zeros((10, 30, 1), "uint8"), mask)
    for number in range(8):  # the eighth class begins anew
        assert tuple(drawn[3, 1 + 3 * number]) == CLASS_COLORS[number % 7]
    assert not drawn[mask == 0].any()


def test_found_missed_and_false_objects():
    truth, prediction = np.zeros((20, 30), int), np.zeros((20, 30), int)
    truth[1:6, 1:6] = prediction[1:6, 1:6] = 1  # found
    truth[10:15, 1:6] = 1  # missed
    prediction[10:15, 20:25] = 1  # false
    drawn = draw_comparison(np.zeros((20, 30, 1), "uint8"), truth, prediction)
    image, left, right = drawn[:, :30], drawn[:, 34:64], drawn[:, 68:]
    assert not image.any()
    assert (drawn[:, 30:34] == 255).all() and (drawn[:, 64:68] == 255).all()
    ring = 5 * 5 - 3 * 3
    assert coloured(left, HIT)[1:6, 1:6].sum() == ring == coloured(left, HIT).sum()
    assert coloured(left, MISSED)[10:15, 1:6].sum() == ring == coloured(left, MISSED).sum()
    assert coloured(right, HIT).sum() == ring
    assert coloured(right, FALSE)[10:15, 20:25].sum() == ring == coloured(right, FALSE).sum()


def test_objects_are_those_of_the_labels():
    """Two that touch, of which the prediction has one: a component would be the other's size."""
    truth, labels = np.zeros((10, 14), int), np.zeros((10, 14), int)
    truth[2:8, 1:13], labels[2:8, 1:7], labels[2:8, 7:13] = 1, 1, 2
    prediction, found = truth * (labels == 1), (labels == 1).astype(int)
    image = np.zeros((10, 14, 1), "uint8")
    drawn = draw_comparison(image, truth, prediction, (labels, found))[:, 18:32]
    assert coloured(drawn, HIT).sum() == coloured(drawn, MISSED).sum() == 20


def test_an_object_of_the_wrong_class_is_no_hit():
    truth, prediction = np.zeros((10, 10), int), np.zeros((10, 10), int)
    truth[2:6, 2:6], prediction[2:6, 2:6] = 1, 2
    drawn = draw_comparison(np.zeros((10, 10, 1), "uint8"), truth, prediction)
    assert not coloured(drawn, HIT).any()
    assert coloured(drawn, MISSED).sum() == coloured(drawn, FALSE).sum() == 12


def test_touching_objects_keep_a_line_between_them():
    both = np.zeros((10, 14), int)
    both[2:8, 1:7], both[2:8, 7:13] = 1, 2
    drawn = draw_comparison(np.zeros((10, 14, 1), "uint8"), both, both)[:, 18:32]
    assert coloured(drawn, HIT)[2:8, 6].all() and coloured(drawn, HIT)[2:8, 7].all()
    assert not coloured(drawn, HIT)[3:7, 2:6].any()


def test_pictures_stand_side_by_side():
    row = side_by_side(np.zeros((2, 3, 3), "uint8"), np.ones((2, 5, 3), "uint8"))
    assert row.shape == (2, 12, 3)
    assert (row[:, 3:7] == 255).all() and (row[:, 7:] == 1).all()
