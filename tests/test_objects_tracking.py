"""Objects of frames keep their numbers, by a rule that a few frames show."""

import numpy as np
import pytest

from keras_deepskip.objects import ObjectTracker, label_objects

pytestmark = pytest.mark.one_backend


def frame(*objects, shape=(40, 60)):
    """A mask of boxes (class, top, left, side), and its labels."""
    mask = np.zeros(shape, "int32")
    for class_id, top, left, side in objects:
        mask[top : top + side, left : left + side] = class_id
    return mask, label_objects(mask)[0]


def numbers_at(ids, *places):
    return [int(ids[place]) for place in places]


def test_objects_that_move_keep_their_numbers_whatever_their_order():
    """One goes down past the other, so that the frame's own labels change places."""
    tracker, seen = ObjectTracker(), []
    for step in range(12):
        mask, labels = frame((1, 2 + 3 * step, 5, 6), (1, 20, 30, 6))
        ids = tracker.follow(mask, labels)
        seen.append(numbers_at(ids, (4 + 3 * step, 7), (22, 32)))
        assert np.array_equal(ids > 0, labels > 0) and ids.dtype == np.int32
    assert seen == [[1, 2]] * 12 and tracker.count == 2


def test_new_lost_and_far_objects_get_new_numbers():
    tracker = ObjectTracker()
    assert tracker.follow(*frame((1, 2, 2, 6))).max() == 1
    both = tracker.follow(*frame((1, 3, 3, 6), (1, 20, 20, 6)))
    assert numbers_at(both, (5, 5), (22, 22)) == [1, 2]
    assert tracker.follow(*frame((1, 20, 21, 6))).max() == 2  # the first is gone ...
    back = tracker.follow(*frame((1, 3, 3, 6), (1, 20, 21, 6)))
    assert numbers_at(back, (5, 5), (22, 22)) == [3, 2]  # ... and comes back as another
    far = tracker.follow(*frame((1, 3, 20, 6), (1, 20, 21, 6)))
    assert numbers_at(far, (5, 22), (22, 22)) == [4, 2]
    assert not tracker.follow(*frame()).any()
    assert tracker.follow(*frame((1, 20, 21, 6))).max() == 5 == tracker.count


def test_one_to_one_and_within_a_class():
    tracker = ObjectTracker()
    tracker.follow(*frame((1, 10, 10, 12)))
    split = tracker.follow(*frame((1, 10, 10, 7), (1, 18, 18, 4)))
    assert numbers_at(split, (12, 12), (19, 19)) == [1, 2]  # the larger part is the one from before
    changed = tracker.follow(*frame((2, 10, 10, 7), (1, 18, 18, 4)))
    assert numbers_at(changed, (12, 12), (19, 19)) == [3, 2]
    assert numbers_at(tracker.follow(*frame((2, 10, 10, 7), shape=(30, 30))), (12, 12)) == [4]


def test_wrong_arguments():
    with pytest.raises(ValueError, match="`threshold` must be above 0"):
        ObjectTracker(0)
    with pytest.raises(ValueError, match="mask.*labels"):
        ObjectTracker().follow(np.zeros((4, 4), int), np.zeros((4, 5), int))
