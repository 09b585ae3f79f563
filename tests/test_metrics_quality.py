"""AP, PQ and count errors, against a plain reference on drawn sets."""

import itertools
import math

import numpy as np
import pytest

from keras_deepskip.metrics import ObjectQuality
from keras_deepskip.objects import label_objects

pytestmark = pytest.mark.one_backend


def drawn(seed, classes=1, images=4):
    """Pairs of true and predicted masks and labels: rectangles, some moved, some missing."""
    rng = np.random.default_rng(seed)
    for _ in range(images):
        masks, labels = np.zeros((2, 60, 60), int), np.zeros((2, 60, 60), int)
        for number in range(1, 12):
            top, left = rng.integers(0, 50, 2)
            height, width = rng.integers(3, 10, 2)
            class_id = rng.integers(1, classes + 1)
            for side, shift in enumerate((0, rng.integers(-2, 3))):
                if side == 0 or rng.random() < 0.8:
                    box = slice(top, top + height), slice(max(left + shift, 0), left + width)
                    masks[side][box], labels[side][box] = class_id, number
        yield masks[0], masks[1], labels[0], labels[1]


def reference(images, class_id, threshold):
    """TP, FP, FN and the IoUs of matches, by looking at all pairs."""
    tp = fp = fn = 0
    overlaps = []
    for true_mask, predicted_mask, true_labels, predicted_labels in images:
        sides = [
            [
                (labels == n) & (mask == class_id)
                for n in np.unique(labels[(mask == class_id) & (labels > 0)])
            ]
            for mask, labels in ((true_mask, true_labels), (predicted_mask, predicted_labels))
        ]
        found = set()
        for (a, true), (b, predicted) in itertools.product(*map(enumerate, sides)):
            iou = (true & predicted).sum() / (true | predicted).sum()
            if iou >= threshold:
                found.add((a, b))
                overlaps.append(iou)
        assert len({a for a, _ in found}) == len({b for _, b in found}) == len(found)
        tp, fp, fn = (
            tp + len(found),
            fp + len(sides[1]) - len(found),
            fn + len(sides[0]) - len(found),
        )
    return tp, fp, fn, overlaps


@pytest.mark.parametrize("seed", range(4))
def test_figures_are_those_of_all_pairs(seed):
    images, quality = list(drawn(seed, classes=2)), ObjectQuality(num_classes=3)
    for image in images:
        quality.update(*image)
    summary = quality.summary()
    for class_id in (1, 2):
        for threshold in (0.55, 0.7, 0.9):  # at 0.5 itself two may be as good
            tp, fp, fn, _ = reference(images, class_id, threshold)
            name = f"ap{round(100 * threshold)}"
            assert summary[str(class_id)][name] == pytest.approx(tp / (tp + fp + fn))
        tp, fp, fn, overlaps = reference(images, class_id, 0.5 + 1e-9)
        own = quality.panoptic(class_id)
        if tp == quality._pairs[class_id - 1]:
            assert own["sq"] == pytest.approx(np.mean(overlaps))
            assert own["pq"] == pytest.approx(sum(overlaps) / (tp + fp / 2 + fn / 2))
        assert own["pq"] == pytest.approx(own["sq"] * own["rq"])
    mean = np.mean([summary["1"]["ap70"], summary["2"]["ap70"]])
    assert summary["all"]["ap70"] == pytest.approx(mean)
    thresholds = [summary["1"][f"ap{n}"] for n in range(50, 100, 5)]
    assert summary["1"]["ap"] == pytest.approx(np.mean(thresholds))


def test_errors_of_the_number_of_objects():
    quality = ObjectQuality()
    two, one = np.array([[1, 0, 1]]), np.array([[1, 0, 0]])
    quality.update(two, one)
    quality.update(one, two)
    quality.update(np.zeros((1, 3), int), two)
    assert quality.count_error() == {
        "mean_absolute": pytest.approx(4 / 3),
        "bias": pytest.approx(2 / 3),
    }


def test_what_is_ignored_counts_nowhere():
    quality = ObjectQuality(ignore_class=255)
    quality.update(np.array([[1, 0, 255, 255]]), np.array([[1, 0, 1, 1]]))
    assert quality.average_precision(0.5) == 1 and quality.count_error()["bias"] == 0


def test_without_objects_there_is_no_figure():
    quality = ObjectQuality()
    quality.update(np.zeros((3, 3), int), np.zeros((3, 3), int))
    assert math.isnan(quality.average_precision()) and quality.summary()["all"]["pq"] is None
    quality.update(np.zeros((3, 3), int), np.ones((3, 3), int))
    assert quality.average_precision() == 0 and quality.panoptic()["pq"] == 0


def test_labels_part_what_masks_melt():
    mask, labels = np.ones((4, 8), int), np.repeat([[1] * 4 + [2] * 4], 4, 0)
    quality = ObjectQuality()
    quality.update(mask, mask, labels, label_objects(mask)[0])
    assert quality.average_precision(0.5) == pytest.approx(1 / 2)  # one of IoU 0.5, one missed
    parted = ObjectQuality()
    parted.update(mask, mask, labels, labels)
    assert parted.average_precision() == 1


def test_bad_arguments():
    with pytest.raises(ValueError, match="`thresholds`"):
        ObjectQuality(thresholds=(0.3,))
    with pytest.raises(ValueError, match="must have one shape"):
        ObjectQuality().update(np.zeros((2, 2), int), np.zeros((2, 3), int))
    with pytest.raises(ValueError, match=r"`true_mask` must hold the values 0..1.*: \[255\]"):
        ObjectQuality().update(np.full((2, 2), 255), np.ones((2, 2), int))
    with pytest.raises(ValueError, match=r"`predicted_mask` must hold the values 0..1.*: \[2\]"):
        ObjectQuality().update(np.ones((2, 2), int), np.full((2, 2), 2))
    with pytest.raises(ValueError, match="`threshold` must be one of .*threshold=0.52"):
        ObjectQuality().average_precision(0.52)
    with pytest.raises(ValueError, match="`class_id` must be one of .*class_id=7"):
        ObjectQuality().average_precision(class_id=7)


def test_a_class_of_which_nothing_is_found_has_no_quality():
    """Neither is it left out of the mean of SQ, as in the panoptic API of COCO."""
    quality = ObjectQuality(num_classes=3)
    true = np.array([[1, 1, 0, 2, 2]])
    quality.update(true, np.where(true == 1, true, 0))
    assert quality.panoptic() == {"pq": 0.5, "sq": 0.5, "rq": 0.5}
    assert math.isnan(ObjectQuality(num_classes=3).panoptic(1)["sq"])
