"""Objects of masks: the pixels that crops are placed by."""

import numpy as np
import pytest

from keras_deepskip.data.masks import value_counts
from keras_deepskip.objects import (
    class_boxes,
    label_objects,
    match_objects,
    object_anchors,
    object_table,
    remove_small,
    separate_objects,
)
from keras_deepskip.operating_point import OperatingPoint

pytestmark = pytest.mark.one_backend


def test_anchors_lie_on_their_objects():
    ring = np.zeros((20, 20), int)
    ring[2:18, 2:18] = 1
    ring[4:16, 4:16] = 0
    ring[9:11, 9:11] = 2
    ring[0, 0] = 255
    anchors = object_anchors(ring, ignore_class=255)
    assert sorted(anchors) == [1, 2] and [len(places) for places in anchors.values()] == [1, 1]
    assert ring[tuple(anchors[1][0])] == 1  # the middle of a ring is not on it
    diagonal = np.eye(5, dtype=int)
    assert object_anchors(diagonal)[1].tolist() == [[2, 2]]  # one component of 8 neighbours
    assert object_anchors(np.zeros((3, 3), int)) == {}


def test_anchors_of_several_objects_come_class_by_class():
    mask = np.array([[2, 0, 1], [0, 0, 0], [1, 1, 1], [0, 0, 0], [2, 2, 0]])
    anchors = {label: places.tolist() for label, places in object_anchors(mask).items()}
    assert anchors == {1: [[0, 2], [2, 1]], 2: [[0, 0], [4, 0]]}
    assert object_anchors(mask, ignore_class=2).keys() == {1}


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "int32", "uint64", "int64"])
def test_ids_are_counted_and_found_as_by_sorting(dtype):
    generator = np.random.default_rng(0)
    largest = min(np.iinfo(dtype).max, 2**40) if dtype != "bool" else 1
    for top in (1, 40, largest):
        mask = generator.integers(0, min(top, largest), (30, 30), endpoint=True).astype(dtype)
        values, numbers = np.unique(mask, return_counts=True)
        found = value_counts(mask)
        assert found[0].tolist() == values.tolist() and found[1].tolist() == numbers.tolist()
        boxes = dict(class_boxes(mask[:4, :4]))
        assert list(boxes) == np.setdiff1d(mask[:4, :4], 0).tolist()
        for label, box in boxes.items():
            rows, columns = np.nonzero(mask[:4, :4] == label)
            assert box == (
                slice(rows.min(), rows.max() + 1),
                slice(columns.min(), columns.max() + 1),
            )


def test_counts_of_no_pixels_and_of_negative_ids():
    assert [part.tolist() for part in value_counts(np.zeros((0, 3), int))] == [[], []]
    assert [part.tolist() for part in value_counts(np.array([-1, 3, -1]))] == [[-1, 3], [2, 1]]


def test_small_objects_of_boolean_masks():
    mask = np.array([[True, False, True, True]])
    assert remove_small(mask, (0, 2)).tolist() == [[False, False, True, True]]
    assert len(object_table(mask, np.full((1, 4, 2), 0.5))) == 2


def test_what_is_no_least_area():
    mask = np.array([[2, 0, 1, 1]])
    for area in ((0, 2), 1.9, -1):
        with pytest.raises(ValueError, match="`min_area` must be a number of pixels.*from 0 to 2"):
            remove_small(mask, area)
    assert OperatingPoint(min_area=3).masks(np.zeros((0, 5, 6, 1))).shape == (0, 5, 6)


def test_masks_of_no_pixels_have_no_objects():
    empty = np.zeros((0, 5), "uint8")
    assert label_objects(empty)[1] == separate_objects(empty)[1] == 0


def test_labels_of_any_type_of_whole_numbers_but_none_below_zero():
    labels = np.array([[1, 1, 0, 2]])
    pairs, _ = match_objects(labels.astype("uint64"), labels.astype("uint64"))
    assert pairs.tolist() == [[1, 1], [2, 2]]
    with pytest.raises(ValueError, match="`predicted_labels` must be 0 or more. Received: -2"):
        match_objects(labels, -labels)


def test_labels_of_a_volume_are_its_objects():
    mask, labels = np.ones((2, 2, 3), "uint8"), np.zeros((2, 2, 3), "int32")
    labels[..., 0], labels[..., 2] = 1, 2
    assert [row["area"] for row in object_table(mask, labels=labels)] == [4, 4]
    with pytest.raises(ValueError, match="`labels` are of a mask of class ids"):
        object_table(mask, labels=labels, multilabel=True)
