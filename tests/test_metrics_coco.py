"""COCO's AP, against pycocotools on drawn sets."""

import io
import math
from contextlib import redirect_stdout

import numpy as np
import pytest

from keras_deepskip.metrics import CocoPrecision
from keras_deepskip.objects import label_objects
from tests.test_metrics_quality import drawn

pytestmark = pytest.mark.one_backend


def scored(seed, ties):
    """Images as of `drawn`, with a score for each predicted object by its number."""
    rng = np.random.default_rng(seed)
    for image in drawn(seed, classes=2, images=6):
        scores = rng.random(int(image[3].max()))
        yield image, np.round(scores, 1) if ties else scores


def of_pycocotools(images, class_id, most):
    """AP at each IoU."""
    from pycocotools import mask as coco_mask
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    true, predicted = [], []
    for number, ((masks, found, labels, numbers), scores) in enumerate(images, start=1):
        for of, mask, ids in ((true, masks, labels), (predicted, found, numbers)):
            for label in np.unique(ids[(mask == class_id) & (ids > 0)]).tolist():
                pixels = np.asfortranarray((ids == label) & (mask == class_id), dtype="uint8")
                code = coco_mask.encode(pixels)
                of.append({"id": len(of) + 1, "image_id": number, "category_id": class_id,
                           "segmentation": {**code, "counts": code["counts"].decode()},
                           "area": int(pixels.sum()), "iscrowd": 0, "bbox": [0, 0, 1, 1],
                           "score": 1.0 if of is true else float(scores[label - 1])})  # fmt: skip
    coco = COCO()
    with redirect_stdout(io.StringIO()):
        coco.dataset = {
            "images": [{"id": n + 1, "height": 60, "width": 60} for n in range(len(images))],
            "categories": [{"id": class_id, "name": "a"}], "annotations": true,
        }  # fmt: skip
        coco.createIndex()
        judge = COCOeval(coco, coco.loadRes(predicted), "segm")
        judge.params.maxDets = [most]
        judge.evaluate()
        judge.accumulate()
    return judge.eval["precision"][:, :, 0, 0, 0].mean(axis=1)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("most", [None, 3])
@pytest.mark.parametrize("seed", range(3))
def test_figures_are_those_of_pycocotools(seed, most, ties):
    pytest.importorskip("pycocotools")
    images, own = list(scored(seed, ties)), CocoPrecision(num_classes=3, most=most)
    for (true, predicted, true_labels, predicted_labels), scores in images:
        own.update(true, predicted, scores, true_labels, predicted_labels)
    expected = {c: of_pycocotools(images, c, most or 1000) for c in (1, 2)}
    for class_id, values in expected.items():
        assert 0.05 < values.mean() < 0.95
        assert own.result(class_id=class_id) == pytest.approx(values.mean(), abs=1e-9)
        for place, threshold in enumerate(own.thresholds):
            found = own.result(threshold, class_id)
            assert found == pytest.approx(values[place], abs=1e-9)
    assert own.result() == pytest.approx(np.mean([values.mean() for values in expected.values()]))


def test_components_have_their_scores_in_the_order_of_their_numbers():
    mask = np.zeros((12, 12), int)
    mask[1:3, 1:3], mask[5:8, 5:8], mask[9:11, 1:4] = 1, 2, 1
    assert label_objects(mask)[1] == 3
    false = mask.copy()
    false[1:3, 9:11] = 2
    precision = CocoPrecision(num_classes=3)
    scores = {1: [0.9, 0.8], 2: [0.2, 0.7]}  # the false one, the first of class 2, is less sure
    precision.update(mask, false, scores[1] + scores[2])
    assert precision.result() == pytest.approx(1)
    with pytest.raises(ValueError, match="`scores` must have one for each"):
        precision.update(mask, false, [0.9])


def test_without_true_objects_there_is_no_figure():
    precision = CocoPrecision()
    precision.update(np.zeros((4, 4), int), np.ones((4, 4), int), [0.5])
    assert math.isnan(precision.result())
    precision.update(np.ones((4, 4), int), np.zeros((4, 4), int), [])
    assert precision.result() == 0


def test_bad_arguments():
    with pytest.raises(ValueError, match="`most`"):
        CocoPrecision(most=0)
    with pytest.raises(ValueError, match="must have one shape"):
        CocoPrecision().update(np.zeros((2, 2), int), np.zeros((2, 3), int), [])
    with pytest.raises(ValueError, match=r"`true_mask` must hold the values 0..1.*: \[255\]"):
        CocoPrecision().update(np.full((2, 2), 255), np.ones((2, 2), int), [1.0])
    with pytest.raises(ValueError, match=r"`predicted_mask` must hold the values 0..1.*: \[2\]"):
        CocoPrecision().update(np.ones((2, 2), int), np.full((2, 2), 2), [1.0])
    with pytest.raises(ValueError, match="`threshold` must be one of .*threshold=0.52"):
        CocoPrecision().result(0.52)
    with pytest.raises(ValueError, match="`class_id` must be one of .*class_id=7"):
        CocoPrecision().result(class_id=7)
