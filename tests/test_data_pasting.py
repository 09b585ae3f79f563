"""Copy-paste: masks are exact, nothing is covered, and crops stay functions of the seed."""

import numpy as np
import pytest

from keras_deepskip.data import CropDataset, find_samples
from keras_deepskip.data.pasting import MARGIN, cut_object, paste_objects
from tests import tiny

pytestmark = pytest.mark.one_backend
MASK = np.zeros((40, 40), "uint8")
MASK[10:15, 20:24] = 2
MASK[0:3, 5:8] = 1  # cut by the edge
MASK[30:38, 2:38] = 1


def test_an_object_is_cut_out_whole_or_not_at_all():
    image = np.arange(40 * 40 * 3).reshape(40, 40, 3)
    cut, inside, class_id = cut_object(image, MASK, (11, 21), 15)
    assert class_id == 2 and inside.sum() == 20 and inside.shape == (5 + 2 * MARGIN, 4 + 2 * MARGIN)
    np.testing.assert_array_equal(cut[inside], image[MASK == 2])
    assert cut_object(image, MASK, (1, 6), 15) is None
    assert cut_object(image, MASK, (33, 20), 15) is None  # longer than that


def test_masks_are_exact_and_what_is_there_is_not_covered():
    rng = np.random.default_rng(0)
    source, inside = np.full((9, 9, 1), 200.0), np.zeros((9, 9), bool)
    inside[3:6, 3:6] = True
    for _ in range(20):
        image, mask = np.zeros((40, 40, 1), "float32"), np.zeros((40, 40), "int32")
        mask[::13] = 5
        before = mask.copy()
        paste_objects(image, mask, lambda rng: (source, inside, 3), rng)
        assert (mask[before == 5] == 5).all() and (image[before == 5] == 0).all()
        assert (image[mask == 3] == 200).all()
        assert (mask == 3).sum() in (9, 18, 27) and image.max() <= 200
        assert (image[mask == 0] < 200).all()


def test_no_room_and_no_object_change_nothing():
    image, mask = np.zeros((8, 8, 1), "float32"), np.ones((8, 8), "int32")
    whole = np.ones((9, 9, 1)), np.ones((9, 9), bool), 1
    small = np.ones((3, 3, 1)), np.ones((3, 3), bool), 1
    for drawn in (None, whole, small):
        paste_objects(image, mask, lambda rng, drawn=drawn: drawn, np.random.default_rng(0))
    assert not image.any() and (mask == 1).all()


def test_crops_hold_more_objects_and_repeat(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(4):
        image, mask = rng.integers(0, 50, (90, 90)), np.zeros((90, 90))
        image[40:48, 40:47], mask[40:48, 40:47] = 200, 1
        tiny.put(tmp_path, str(number), image, mask)
    settings = {"crop_size": 64, "batch_size": 8, "batches_per_epoch": 2, "channels": 1}

    def batch(paste):
        return CropDataset(find_samples(tmp_path), **settings, paste=paste)[1]

    plain, pasted = batch(0.0), batch(1.0)
    assert pasted[1].sum() > 1.5 * plain[1].sum()
    assert pasted[0][pasted[1] == 1].min() >= 200 > plain[0][plain[1] == 0].max()
    for first, second in zip(pasted, batch(1.0), strict=True):
        np.testing.assert_array_equal(first, second)
    with pytest.raises(ValueError, match="`paste`"):
        batch(2)
