"""Objects of masks: the pixels that crops are placed by."""

import numpy as np
import pytest

from keras_deepskip.data.masks import value_counts
from keras_deepskip.objects import class_boxes, object_anchors


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
