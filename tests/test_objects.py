"""Objects of masks: the pixels that crops are placed by."""

import numpy as np

from keras_deepskip.objects import object_anchors


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
