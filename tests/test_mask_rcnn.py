"""Mask R-CNN: each part against plain NumPy or values by hand, and the whole on a drawn scene."""

import importlib.util
import itertools
import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from keras_deepskip import analysis, build_model
from keras_deepskip.architectures import adapter_of
from keras_deepskip.data import CropDataset, MaskReading, find_samples, write_png
from keras_deepskip.studies.rivals.mask_rcnn import (
    InstanceDataset,
    NonMaxSuppression,
    ROIAlign,
    boxes,
    inference_model,
    instance_mask,
    instance_model,
    instances_from_masks,
    losses,
    targets,
    training_model,
)
from keras_deepskip.studies.rivals.mask_rcnn.anchors import all_anchors, anchor_shapes, anchors_at
from keras_deepskip.studies.rivals.mask_rcnn.detections import Detections, of_class
from keras_deepskip.studies.rivals.mask_rcnn.paste import PasteMasks
from keras_deepskip.studies.rivals.mask_rcnn.proposals import Proposals

pytestmark = pytest.mark.studies

SMALL = {
    "backbone": "light_vgg16", "levels": 3, "base_filters": 4, "fpn_filters": 8, "fc_units": 16,
    "mask_filters": 8, "mask_size": 8, "proposals": 20, "training_proposals": 30, "detections": 6,
}  # fmt: skip


def array(values):
    return ops.convert_to_numpy(values)


def tensor(values):
    return ops.convert_to_tensor(np.asarray(values))


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def drawn_boxes(*shape, size=32, seed=0):
    corners = np.random.default_rng(seed).uniform(0, size, (*shape, 2, 2)).astype("float32")
    return np.concatenate([corners.min(-2), corners.max(-2) + 0.5], axis=-1)


# ---- Boxes ---------------------------------------------------------------------------------------

EDGES = st.tuples(*[st.floats(0, 500, width=32)] * 2, *[st.floats(0.5, 500, width=32)] * 2)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(EDGES, EDGES), min_size=1, max_size=4))
def test_box_coding_round_trip(pairs):
    corners = np.array(pairs, "float32")
    both = np.concatenate([corners[..., :2], corners[..., :2] + corners[..., 2:]], axis=-1)
    expected, references = both[:, 0], both[:, 1]
    # a box grows by at most 1000 / 16 at once
    growth = (expected[:, 2:] - expected[:, :2]) / (references[:, 2:] - references[:, :2])
    expected = expected[growth.max(-1) < 62], references[growth.max(-1) < 62]
    for weights in ((1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)):
        code = boxes.encode(*map(tensor, expected), weights)
        back = array(boxes.decode(code, tensor(expected[1]), weights))
        np.testing.assert_allclose(back, expected[0], atol=2e-3, rtol=1e-4)


def test_box_code_by_hand():
    """Half its height further down, a quarter to the left, twice as high, of the same width."""
    code = boxes.encode(tensor([[6.0, 1.0, 14.0, 5.0]]), tensor([[6.0, 2.0, 10.0, 6.0]]))
    np.testing.assert_allclose(array(code), [[0.5, -0.25, math.log(2), 0.0]], atol=1e-6)


def test_iou_by_hand():
    one = np.array([[0.0, 0, 4, 4], [0, 0, 0, 0]])
    others = np.array([[0.0, 0, 4, 4], [2, 2, 6, 6], [4, 4, 8, 8], [0, 0, 0, 0]])
    np.testing.assert_allclose(
        array(boxes.iou(tensor(one), tensor(others))), [[1, 4 / 28, 0, 0], [0] * 4]
    )


def test_best_of_fewer():
    scores, places = boxes.best(tensor([[1.0, 3.0, 2.0]]), 5)
    assert array(scores).tolist() == [[3, 2, 1]] and array(places).tolist() == [[1, 2, 0]]
    assert array(boxes.filled_up(scores, 5)).tolist() == [[3, 2, 1, 0, 0]]


def greedy(found, scores, threshold, groups):
    """Non-maximum suppression as it is told: one box after the other."""
    stays = np.zeros(len(scores), bool)
    for i in np.argsort(-scores, kind="stable"):
        rivals = [j for j in np.flatnonzero(stays) if groups[i] == groups[j]]
        overlap = [
            max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
            for a, b in ((found[i], found[j]) for j in rivals)
        ]
        area = [(b[2] - b[0]) * (b[3] - b[1]) for b in found]
        ious = [o / (area[i] + area[j] - o) for o, j in zip(overlap, rivals, strict=True)]
        stays[i] = not any(value > threshold for value in ious)
    return stays


@pytest.mark.parametrize("threshold", [0.1, 0.45, 0.7])
def test_non_max_suppression_is_greedy(threshold):
    """Whole numbers, so that there are equal scores too."""
    rng = np.random.default_rng(int(100 * threshold))
    found = np.round(drawn_boxes(3, 40, size=20, seed=2))
    found[..., 2:] += 1
    scores = rng.integers(0, 12, (3, 40)).astype("float32")
    groups = rng.integers(0, 2, (3, 40)).astype("float32")
    layer = NonMaxSuppression(threshold)
    expected = [greedy(*one, threshold, np.zeros(40)) for one in zip(found, scores, strict=True)]
    assert np.array_equal(array(layer([found, scores])), expected)
    expected = [
        greedy(f, s, threshold, g) for f, s, g in zip(found, scores, groups, strict=True)
    ]  # fmt: skip
    assert np.array_equal(array(layer([found, scores, groups])), expected)
    assert 0 < np.mean(expected) < 1


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="traces are PyTorch's")
def test_no_trace_of_suppression():
    """A trace would hold the sample's number of rounds, and be wrong for other images."""
    import torch

    with pytest.raises(NotImplementedError, match="KERAS_BACKEND=tensorflow"):
        torch.jit.trace(NonMaxSuppression(), ([torch.zeros(1, 3, 4), torch.zeros(1, 3)],))


def test_long_chain_of_suppression():
    """Each box suppresses the next alone: every second one stays, though all but one is beaten."""
    row = np.arange(30.0)
    chain = np.stack([0 * row, row, 0 * row + 4, row + 3], axis=-1)[None]  # IoU 1/2, then 1/5
    stays = NonMaxSuppression(0.4)([chain, -row[None]])
    assert array(stays)[0].tolist() == [True, False] * 15


# ---- ROIAlign ------------------------------------------------------------------------------------


def bilinear(x, at_y, at_x):
    """A map's value between its pixels' centres; beyond the border the border's, then 0."""
    height, width = x.shape[:2]
    if not (-1 <= at_y <= height and -1 <= at_x <= width):
        return np.zeros(x.shape[2])
    at_y, at_x = min(max(at_y, 0), height - 1), min(max(at_x, 0), width - 1)
    total = 0.0
    for row, column in itertools.product(range(height), range(width)):
        weight = max(1 - abs(at_y - row), 0) * max(1 - abs(at_x - column), 0)
        total = total + weight * x[row, column]
    return total


def roi_align(maps, rois, size, ratio, canonical, first_level):
    found = []
    for image, own in enumerate(rois):
        for top, left, bottom, right in own.astype("float64"):
            area = max((bottom - top) * (right - left), 1e-12)
            level = math.floor(4 + math.log2(math.sqrt(area) / canonical) + 1e-6)
            level = min(max(level, first_level), first_level + len(maps) - 1)
            x, stride = maps[level - first_level][image], 2**level
            bins = np.zeros((size, size, x.shape[-1]))
            for i, j, a, b in itertools.product(range(size), range(size), *[range(ratio)] * 2):
                at_y = top + (bottom - top) * (i + (a + 0.5) / ratio) / size
                at_x = left + (right - left) * (j + (b + 0.5) / ratio) / size
                bins[i, j] += bilinear(x, at_y / stride - 0.5, at_x / stride - 0.5) / ratio**2
            found.append(bins)
    return np.stack(found)


@pytest.mark.parametrize("size, ratio", [(3, 2), (2, 1), (2, 3)])
def test_roi_align(size, ratio):
    maps = [draw(2, 16, 20, 3), draw(2, 8, 10, 3, seed=1), draw(2, 4, 5, 3, seed=2)]
    rois = drawn_boxes(2, 6, size=70)
    rois[0, 0] = 0  # an empty slot
    rois[1, 0] = (10, 10, 11, 10.5)
    rois[1, 1] = (-20, 30, 90, 140)  # beyond the image
    layer = ROIAlign(size, ratio, canonical_size=64)
    expected = roi_align(maps, rois, size, ratio, 64, 2)
    further = np.concatenate([rois, rois[..., :2]], axis=-1)
    for given_boxes in (rois, further):
        found = array(layer([*maps, given_boxes]))
        np.testing.assert_allclose(found, expected, atol=2e-5)
    again = ROIAlign.from_config(layer.get_config())
    np.testing.assert_array_equal(array(again([*maps, rois])), found)


# torchvision.ops.roi_align(x, rois, (2, 2), spatial_scale=1.0, sampling_ratio=2, aligned=True) of
# torchvision 0.28.0, rois as (x1, y1, x2, y2) of images 0, 0, 0, 1, 1, 1; a row a box: channel 0
# top left, top right, bottom left, bottom right, then channel 1.
REFERENCE_BOXES = np.array(
    [[[1, 2, 5.5, 6], [-3, 1.25, 3, 4], [0, 0, 7, 6]],
     [[0, 0, 7, 6], [2.2, 3.1, 2.9, 3.3], [6, 5, 9, 9.5]]], "float32",
)  # fmt: skip
REFERENCE = [
    [0.28125, 2.5625, -0.5625, -2.45312, 3.20312, 4.07812, -1.4375, 1.82812],
    [0.0, 0.92969, 0.0, 1.64453, 0.0, 2.28906, 0.0, -0.26953],
    [2.50781, -0.96094, -0.46094, -2.58594, -1.20312, 3.45312, -0.73438, 0.84375],
    [0.39062, -0.53125, -0.61719, -1.63281, 3.24219, 1.16406, 1.36719, 0.35156],
    [-5.55, -3.74, -6.25, -4.25, 1.13125, 0.67, 0.59375, -0.1],
    [-3.5, 0.0, 0.0, 0.0, 2.1875, 0.0, 0.0, 0.0],
]


def reference_map():
    return np.random.default_rng(0).integers(-9, 10, (2, 2, 6, 7)).astype("float32")


def test_roi_align_gives_torchvisions_values():
    maps = reference_map().transpose(0, 2, 3, 1)
    rois = REFERENCE_BOXES[..., [1, 0, 3, 2]]
    found = array(ROIAlign(2, first_level=0)([maps, rois]))
    np.testing.assert_allclose(found.transpose(0, 3, 1, 2).reshape(6, 8), REFERENCE, atol=1e-5)


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="needs torchvision")
def test_roi_align_against_torchvision():
    import torch
    import torchvision

    x, rois = draw(2, 12, 15, 4), drawn_boxes(2, 20, size=16)
    numbered = [torch.tensor(own[:, [1, 0, 3, 2]]) for own in rois]
    expected = torchvision.ops.roi_align(
        torch.tensor(x.transpose(0, 3, 1, 2)), numbered, 7, 1.0, 2, aligned=True
    )
    found = array(ROIAlign(7, first_level=0)([x, rois]))
    np.testing.assert_allclose(found.transpose(0, 3, 1, 2), expected.numpy(), atol=1e-5)


# ---- Anchors, proposals, detections --------------------------------------------------------------


def test_anchors_by_hand():
    """A map of 1 x 2 pixels at stride 8, then one of 1 x 1; squares, and boxes twice as high."""
    root = math.sqrt(2)
    maps = [np.zeros((1, 1, 2, 1)), np.zeros((1, 1, 1, 1))]
    found = array(all_anchors(maps, 8, (4, 16), (1.0, 2.0)))
    tall, wide = 4 * root / 2, 4 / root / 2
    expected = [
        [2, 2, 6, 6], [4 - tall, 4 - wide, 4 + tall, 4 + wide],
        [2, 10, 6, 14], [4 - tall, 12 - wide, 4 + tall, 12 + wide],
        [0, 0, 16, 16], [8 - 4 * tall, 8 - 4 * wide, 8 + 4 * tall, 8 + 4 * wide],
    ]  # fmt: skip
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert anchor_shapes(4, (1.0,)) == [(4.0, 4.0)]
    one = array(anchors_at(np.array([2]), 2, 8, [(4.0, 4.0), (4 * root, 4 / root)]))
    np.testing.assert_allclose(one, expected[2:3], atol=1e-5)


def test_proposals_by_hand():
    """Of two anchors a pixel the two good ones, moved, cut at the edge, none twice; then none."""
    layer = Proposals(4, 6, (8, 16), (1.0, 1.0), first_stride=8)
    scores = [np.full((1, 2, 2, 2), -3.0, "float32"), np.full((1, 1, 1, 2), -4.0, "float32")]
    deltas = [np.zeros((1, 2, 2, 8), "float32"), np.zeros((1, 1, 1, 8), "float32")]
    scores[0][0, 0, 0] = 5, 4  # the same box twice: one falls away
    scores[0][0, 1, 1] = 3, -9
    deltas[0][0, 1, 1, :4] = 0.5, 0, 0, 0  # half its height down: half of it is outside
    image = np.zeros((1, 15, 16, 1))
    found = array(layer([*scores, *deltas, image]))
    assert found.shape == (1, 4, 4)
    np.testing.assert_allclose(found[0, :2], [[0, 0, 8, 8], [12, 8, 15, 16]], atol=1e-5)
    trained = array(layer([*scores, *deltas, image], training=True))
    assert trained.shape == (1, 6, 4)
    areas = (trained[0, :, 2] - trained[0, :, 0]) * (trained[0, :, 3] - trained[0, :, 1])
    # of each pixel one, and one of the coarser map; the last slot is empty
    assert (areas > 0).tolist() == [True] * 5 + [False] and len(np.unique(trained[0], axis=0)) == 6
    small = array(layer([*scores, *deltas, np.zeros((1, 1, 1, 1))]))
    assert (small[0, :2] == [0, 0, 1, 1]).all() and not small[0, 2:].any()  # one of each map


def test_detections_by_hand():
    """Two classes on two proposals; an empty slot and a low score give nothing."""
    rois = np.array([[[0, 0, 8, 8], [0, 0, 8, 9], [0, 0, 0, 0]]], "float32")
    share = np.array([[0.2, 0.5, 0.3], [0.1, 0.6, 0.3], [0.0, 0.5, 0.5]]) + 1e-9
    shifts = np.zeros((3, 8), "float32")
    shifts[1, 4:] = 10 * 0.5, 0, 0, 0  # of class 2 at weight 10: half its height down
    layer = Detections(5, score_threshold=0.25)
    found = array(layer([np.log(share), shifts, rois, np.zeros((1, 10, 10, 1))]))
    expected = [[0, 0, 8, 9, 0.6, 1], [0, 0, 8, 8, 0.3, 2], [4, 0, 10, 9, 0.3, 2]]
    assert found.shape == (1, 5, 6) and not found[0, 3:].any()
    rows = sorted(np.round(found[0, :3], 5).tolist(), key=lambda row: (-row[4], row[0]))
    np.testing.assert_allclose(rows, expected, atol=1e-5)
    assert (
        array(layer([np.log(share), shifts, rois, np.zeros((1, 10, 10, 1))], training=True)).shape[
            1
        ]
        == 1
    )


def test_of_class():
    values = np.arange(12.0).reshape(4, 3)  # two images of two boxes, three classes
    assert array(of_class(tensor(values), tensor([[1.0, 3.0], [0.0, 2.0]]))).tolist() == [
        [0, 5],
        [0, 10],
    ]


# ---- The adapter ---------------------------------------------------------------------------------


def pasted(mask, box, height, width):
    """One mask, by the rule: at a pixel's centre, between the centres of the mask's pixels."""
    side, out = len(mask), np.zeros((height, width))
    top, left, bottom, right = box
    for y, x in itertools.product(range(height), range(width)):
        if top <= y + 0.5 < bottom and left <= x + 0.5 < right:
            at_y = (y + 0.5 - top) / (bottom - top) * side - 0.5
            at_x = (x + 0.5 - left) / (right - left) * side - 0.5
            clipped = np.clip([at_y, at_x], 0, side - 1)
            out[y, x] = bilinear(mask[..., None], *clipped)[0]
    return out


def detected():
    """Two images of three detections, and an empty slot each; classes 1 and 2."""
    table = np.zeros((2, 4, 6), "float32")
    table[:, :3, :4] = drawn_boxes(2, 3, size=12, seed=4)
    table[:, :3, 4] = [[0.9, 0.8, 0.3], [1.0, 0.6, 0.5]]
    table[:, :3, 5] = [[1, 2, 1], [1, 2, 1]]
    masks = np.random.default_rng(1).uniform(0.5, 1, (2, 4, 5, 5)).astype("float32")
    return masks, table, np.zeros((2, 9, 11, 3), "float32")


def test_paste_masks():
    masks, table, image = detected()
    expected = np.zeros((2, 9, 11, 2))
    for n, d in itertools.product(range(2), range(3)):
        one = table[n, d, 4] * pasted(masks[n, d], table[n, d, :4].astype("float64"), 9, 11)
        label = int(table[n, d, 5]) - 1
        expected[n, ..., label] = np.maximum(expected[n, ..., label], one)
    found = array(PasteMasks(2, "sigmoid")([masks, table, image]))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    logits = array(PasteMasks(1, None)([masks, table * (table[..., 5:] == 1), image]))
    np.testing.assert_allclose(1 / (1 + np.exp(-logits[..., 0])), expected[..., 0], atol=1e-5)
    shares = array(PasteMasks(3, "softmax")([masks, table, image]))
    np.testing.assert_allclose(shares.sum(-1), 1, atol=1e-6)
    left = 1 - expected.max(-1, keepdims=True)
    np.testing.assert_allclose(
        shares[..., 1:], expected / (left + expected.sum(-1, keepdims=True)), atol=1e-5
    )
    called = np.where(expected.max(-1) > 0.5, expected.argmax(-1) + 1, 0)  # as in the binary case
    assert np.array_equal(shares.argmax(-1), called) and len(np.unique(called)) == 3
    scores = array(PasteMasks(3, None)([masks, table, image]))
    np.testing.assert_allclose(np.exp(scores), shares, atol=1e-5)
    assert not array(PasteMasks(3, "softmax")([masks, table, image], training=True)).any()


def test_instance_mask():
    """The better one lies on top; thresholds; and the same pixels as the adapter's."""
    masks, table, _ = detected()
    one = {"boxes": table[0, :, :4], "scores": table[0, :, 4], "masks": masks[0]}
    numbers, places = instance_mask(one, 9, 11, score_threshold=0.2)
    expected = np.zeros((9, 11), int)
    for number in (3, 2, 1):
        mask = pasted(masks[0, number - 1], table[0, number - 1, :4].astype("float64"), 9, 11)
        expected[mask > 0.5] = number
    assert np.array_equal(numbers, expected) and places.tolist() == [0, 1, 2] and numbers.any()
    assert instance_mask(one, 9, 11)[1].tolist() == [0, 1]
    assert instance_mask(one, 9, 11, score_threshold=0)[1].tolist() == [0, 1, 2]  # no empty slot


# ---- What training goes by -----------------------------------------------------------------------


def test_true_boxes():
    instances = np.zeros((2, 6, 7, 2), "int32")
    instances[0, 1:3, 2:6] = 1, 3
    instances[0, 4, 4] = 2, 1
    instances[0, 5, 0] = 2, 9  # a number too high
    instances[0, 0, 0] = 3, 2  # a class that is none
    instances[1, :, :, 1] = 2  # numbers without a class
    found = array(targets.TrueBoxes(3, 2)(instances))
    assert found.tolist() == [
        [[4, 4, 5, 5, 2], [0] * 5, [1, 2, 3, 6, 1]],
        [[0] * 5] * 3,
    ]


def test_anchor_truth_by_hand():
    """Right: 0.7, or the best for an object; wrong: under 0.3; between: neither."""
    objects = np.array(
        [[[0, 0, 10, 10, 1], [50, 50, 60, 60, 2], [0] * 5], [[0] * 5] * 3], "float32"
    )
    anchors = np.array([[0, 0, 10, 8], [0, 0, 10, 5], [0, 0, 10, 2], [50, 50, 60, 52]], "float32")
    right, wrong, whose = map(
        array, losses.anchor_truth(tensor(anchors), tensor(objects), 0.7, 0.3)
    )
    assert right.tolist() == [[True, False, False, True], [False] * 4]
    assert wrong.tolist() == [[False, False, True, False], [True] * 4]
    assert whose[0, [0, 3]].tolist() == [0, 1]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 20), st.integers(0, 20), st.integers(1, 30), st.integers(0, 99))
def test_sampled(rights, wrongs, count, seed):
    rng = np.random.default_rng(seed)
    kinds = rng.permutation(np.array([1] * rights + [2] * wrongs + [0] * (40 - rights - wrongs)))
    chances = rng.uniform(0, 1, (1, 40)).astype("float32")
    places, used = targets.sampled(
        tensor([kinds == 1]), tensor([kinds == 2]), tensor(chances), count, 0.25
    )
    places, used = array(places)[0], array(used)[0]
    most = max(int(count * 0.25), 1)
    positive = min(rights, most)
    assert used.sum() == min(positive + wrongs, count)
    assert (kinds[places[:positive]] == 1).all()
    assert (kinds[places[positive : used.sum()]] == 2).all()
    assert len(set(places[used])) == used.sum()


def test_training_boxes_and_targets():
    """Proposals on an object, beside it, and none; the true box itself is among them."""
    objects = np.array([[[4, 4, 12, 12, 2], [0] * 5]], "float32")
    proposals = np.array([[[4, 4, 12, 11], [20, 20, 28, 28], [0, 0, 0, 0]]], "float32")
    layer = targets.TrainingBoxes(8)
    for training in (False, True):
        found = array(layer([proposals, objects], training=training))
        assert found.shape == (1, 8, 6)
        first = sorted(found[0, :2].tolist())
        assert first == [[4, 4, 12, 11, 2, 1], [4, 4, 12, 12, 2, 1]]
        assert found[0, 2].tolist() == [20, 20, 28, 28, 0, 0]
        assert found[0, 3:, 4].tolist() == [-1] * 5
    numbers = np.zeros((1, 30, 30), "int32")
    numbers[0, 4:12, 4:8] = 1  # the left half is the object
    numbers[0, 4:12, 8:12] = 2
    whole = tensor(np.array([[[4, 4, 12, 12]]], "float32"))
    mask = array(targets.mask_targets(tensor(numbers), whole, tensor(np.array([[1]], "int32")), 4))
    assert mask[0, 0].tolist() == [[1, 1, 0, 0]] * 4


def test_loss_formulas():
    x = np.array([-200.0, -1.0, 0.0, 3.0, 200.0], "float32")
    for t in (0.0, 1.0):
        expected = np.logaddexp(0, x.astype("float64")) - t * x
        found = array(losses.binary_crossentropy(ops.convert_to_tensor(x), t))
        np.testing.assert_allclose(found, expected, atol=1e-5)
    found = array(losses.smooth_l1(ops.convert_to_tensor([-2.0, 0.5, 0.0]), 1.0))
    np.testing.assert_allclose(found, [1.5, 0.125, 0.0], atol=1e-6)


# ---- Objects of masks ----------------------------------------------------------------------------


def test_instances_from_masks():
    mask = np.array([[0, 2, 0, 1], [1, 0, 1, 0], [0, 0, 0, 255], [1, 1, 0, 2]])
    found = instances_from_masks(mask, ignore_class=255)
    assert found[..., 0].tolist() == np.where(mask == 255, 0, mask).tolist()
    assert found[..., 1].tolist() == [[0, 1, 0, 2], [3, 0, 2, 0], [0] * 4, [4, 4, 0, 5]]
    few = instances_from_masks(mask[None, ..., None], 2, ignore_class=255)
    assert few.dtype == np.int32 and few.shape == (1, 4, 4, 2)
    assert few[0, ..., 1].tolist() == [[0, 1, 0, 2], [0, 0, 2, 0], [0] * 4, [0] * 4]
    assert few[0, ..., 0].tolist() == [[0, 2, 0, 1], [0, 0, 1, 0], [0] * 4, [0] * 4]
    assert np.array_equal(instances_from_masks(found[None]), found[None])  # they are told already
    with pytest.raises(ValueError, match="Received: float64"):
        instances_from_masks(mask / 2)


class Counting(keras.utils.PyDataset):
    """Two batches, and epochs that are counted."""

    epoch = 0

    def __init__(self, numbered=False):
        super().__init__()
        self.numbered = numbered

    def __len__(self):
        return 2

    def __getitem__(self, index):
        mask = np.full((1, 4, 4, 1), index, "int32")
        mask = np.concatenate([mask, 7 * mask], -1) if self.numbered else mask
        return np.full((1, 4, 4, 3), self.epoch, "float32"), mask, np.ones(1)

    def on_epoch_end(self):
        self.epoch += 1


def test_instance_dataset():
    dataset = InstanceDataset(Counting())
    assert len(dataset) == 2 and dataset.epoch == 0
    inputs, masks, weights = dataset[1]
    assert (inputs["instances"] == 1).all() and inputs["instances"].shape == (1, 4, 4, 2)
    assert masks.shape == (1, 4, 4, 1) and weights.shape == (1,)
    dataset.on_epoch_begin()
    dataset.on_epoch_end()
    assert dataset.epoch == dataset.dataset.epoch == 1 and (dataset[0][0]["image"] == 1).all()
    dataset.epoch = 5
    assert dataset.dataset.epoch == 5
    inputs, masks, _ = InstanceDataset(Counting(numbered=True))[1]
    assert (inputs["instances"] == [1, 7]).all() and masks.shape == (1, 4, 4, 1)


def test_instances_of_crops_that_know_their_objects(tmp_path):
    """Two touching objects and one that is ignored."""
    ids = np.zeros((32, 32), "uint8")
    ids[4:10, 4:10], ids[10:14, 4:10], ids[20:24, 20:24] = 1, 2, 3
    for kind, plane in (
        ("images", ids), ("masks", np.where(ids == 3, 2, ids > 0)), ("instances", ids),
    ):  # fmt: skip
        write_png(tmp_path / kind / "a.png", plane.astype("uint8"))
    reading = MaskReading(num_classes=1, ignore_class=2)
    crops = CropDataset(
        find_samples(tmp_path), crop_size=32, batch_size=1, masks=reading, objects=True
    )
    inputs, masks = InstanceDataset(crops, ignore_class=2)[0]
    found = inputs["instances"][0]
    assert found.dtype == np.int32 and (masks[0, ..., 0][ids == 3] == 2).all()
    assert (found[ids == 1] == [1, 1]).all() and (found[ids == 2] == [1, 2]).all()
    assert not found[(ids == 0) | (ids == 3)].any()


# ---- The whole -----------------------------------------------------------------------------------


def scene():
    """Two images of 64 x 64 with a disc and a box each, classes 1 and 2, and who is who."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64]
    shapes = [
        [(y - 16) ** 2 + (x - 20) ** 2 < 81, (abs(y - 44) < 7) & (abs(x - 40) < 10)],
        [(y - 40) ** 2 + (x - 14) ** 2 < 100, (abs(y - 20) < 9) & (abs(x - 44) < 6)],
    ]
    images = rng.normal(20, 5, (2, 64, 64, 1)).astype("float32")
    instances = np.zeros((2, 64, 64, 2), "int32")
    for n, d in itertools.product(range(2), range(2)):
        images[n][shapes[n][d]] += (180, 100)[d]
        instances[n][shapes[n][d]] = (d + 1, d + 1)
    return images, instances


def small(num_classes=3, **options):
    keras.utils.set_random_seed(0)
    return build_model((None, None, 1), num_classes, "mask_rcnn", **{**SMALL, **options})


COMPILES = keras.backend.backend() == "jax"  # which single operations take long on, once each


def loss_of(trained, inputs):
    """The loss outside of training, where samples are always the same."""
    if COMPILES:
        return trained.evaluate(inputs, inputs["instances"][..., :1], verbose=0)
    trained(inputs, training=False)
    return float(sum(trained.losses))


def outputs_of(model, inputs):
    if COMPILES:
        return model.predict(inputs, verbose=0)
    return keras.tree.map_structure(array, model(inputs))


def overlap(a, b):
    return (a & b).sum() / (a | b).sum()


@pytest.mark.slow
@pytest.mark.one_backend
def test_overfits_a_scene(tmp_path):
    """Masks of all objects, and of both classes, at an IoU above 0.9; and all of it reloads."""
    images, instances = scene()
    semantic, steps = instances[..., :1], 160
    options = {"fpn_filters": 32, "fc_units": 64, "mask_filters": 16, "mask_size": 28}
    model = small(**options, base_filters=8, proposals=40, training_proposals=40,
                  anchor_sizes=(16, 24))  # fmt: skip
    trained = training_model(model, max_instances=4, boxes=32, anchors=64)
    rate = keras.optimizers.schedules.CosineDecay(3e-3, steps, alpha=0.05)
    trained.compile(keras.optimizers.Adam(rate))
    inputs = {"image": images, "instances": instances}
    before = loss_of(trained, inputs)
    repeated = {key: np.tile(value, (steps, 1, 1, 1)) for key, value in inputs.items()}
    trained.fit(repeated, np.tile(semantic, (steps, 1, 1, 1)), batch_size=2, verbose=0)
    after = loss_of(trained, inputs)
    assert 0 < after < 0.2 * before

    outputs = outputs_of(model, images)
    called = outputs.argmax(-1)
    for label in (1, 2):
        assert overlap(called == label, semantic[..., 0] == label) > 0.9
    found = outputs_of(instance_model(model), images)
    for n in range(2):
        numbers, places = instance_mask({key: v[n] for key, v in found.items()}, 64, 64)
        assert found["class_ids"][n, places].tolist() in ([1, 2], [2, 1])
        for number, place in enumerate(places, start=1):
            own = instances[n, ..., 1] == found["class_ids"][n, place]
            assert overlap(numbers == number, own) > 0.9
        told = adapter_of(model).object_finder(model)(images[n])
        for threshold in (0.2, 0.35, 0.5, 0.7):  # each pixel of an object of the mask has a number
            assert told(threshold)[outputs[n][..., 1:].max(-1) > threshold].all()
        assert sorted(np.unique(told(0.5))) == [0, 1, 2]

    trained.save(tmp_path / "training_form.keras")
    again = keras.models.load_model(tmp_path / "training_form.keras")
    assert loss_of(again, inputs) == pytest.approx(after, abs=1e-5)
    inference_model(again).save(tmp_path / "network.keras")
    network = keras.models.load_model(tmp_path / "network.keras")
    np.testing.assert_allclose(outputs_of(network, images), outputs, atol=1e-5)


def test_one_training_step_of_a_dataset():
    """Finite, and every kernel has a gradient."""
    images, instances = scene()

    class Scene(keras.utils.PyDataset):
        def __len__(self):
            return 1

        def __getitem__(self, index):
            return images, instances[..., :1]

    model = small()
    trained = training_model(model, max_instances=4, boxes=16, anchors=32)
    assert {id(w) for w in model.weights} <= {id(w) for w in trained.weights}
    trained.compile("adam")
    before = [np.array(w) for w in model.get_weights()]
    history = trained.fit(InstanceDataset(Scene(), 4), epochs=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    same = [np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    stuck = [w.path for w, is_same in zip(model.weights, same, strict=True) if is_same]
    assert not [path for path in stuck if path.endswith("kernel")], "kernels without gradient"
    nothing = {"image": images, "instances": 0 * instances}  # images without objects
    assert np.isfinite(loss_of(trained, nothing))


def test_parameters_are_those_of_torchvision():
    """maskrcnn_resnet50_fpn of 91 classes has 44,401,393 without the norms' numbers.

    It has shifts (of 4 numbers) and a mask for the background too, which nobody looks at; Keras's
    ResNet50 has a bias in each convolution, 26,560, and four numbers of each norm.
    """
    background = 4 * (1024 + 1) + (256 + 1)
    model = build_model((None, None, 3), 91, "mask_rcnn")
    assert model.count_params() == 44_401_393 - background + 26_560 + 4 * 26_560 == 44_529_836


def test_parameters_by_part():
    """Counted from the paper's figures, of other widths; twice the boxes cost the heads twice."""
    table = analysis.analyze(small(num_classes=3))
    rows = {row[0]: row for row in table.rows}
    c, fc, m, bins = 8, 16, 8, 7 * 7
    fpn = (16 * c + c) + (9 * c * c + c)  # one map of 16 channels is merged
    rpn = (9 * c * c + c) + (3 * c + 3) + (12 * c + 12)
    heads = (bins * c * fc + fc) + (fc * fc + fc) + (fc * 3 + 3) + (fc * 8 + 8)
    masks = (9 * c * m + m) + 3 * (9 * m * m + m) + (4 * m * m + m) + (2 * m + 2)
    assert [rows[part][3] for part in ("fpn", "rpn", "box", "mask")] == [fpn, rpn, heads, masks]
    assert table.seen == "whole image"
    more = {row[0]: row for row in analysis.analyze(small(num_classes=3, proposals=40)).rows}
    assert more["box"][4] == 2 * rows["box"][4] == 2 * 20 * (heads - 2 * fc - 3 - 8)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(policy)
    try:
        model = small(num_classes=1)
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    out = model.predict(scene()[0][:, :40], verbose=0)
    assert out.dtype == np.float32 and np.isfinite(out).all() and out.max() > 0


def test_other_backbones_and_kinds_of_classes():
    """Of ResNet18 C2 to C5; kinds that may overlap have no background."""
    model = small(3, backbone="resnet18", levels=None, multilabel=True)
    names = {layer.name for layer in model.layers}
    assert {name for name in names if "fpn_out" in name} == {f"fpn_out{p}" for p in range(2, 7)}
    assert model.get_layer("rpn_proposals").anchor_sizes == [8, 16, 32, 64, 128]
    assert model.get_layer("mask_logits").filters == 3
    assert not [name for name in names if name.startswith("e1_")]  # no level that nobody needs


@pytest.mark.parametrize(
    "options, message",
    [
        ({"levels": 2}, "`levels` must be at least 3"),
        ({"mask_size": 7}, "`mask_size` must be even"),
        ({"anchor_sizes": (8,)}, "must have 2 entries"),
        ({"proposals": 0}, "`count` must be an integer"),
        ({"trainable_backbone": 3}, "`trainable_backbone`"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_other_models_are_refused():
    with pytest.raises(ValueError, match="works on images"):
        build_model((None, None, None, 1), 1, "mask_rcnn", **SMALL)
    for function in (training_model, inference_model, instance_model):
        with pytest.raises(ValueError, match="architecture 'mask_rcnn'"):
            function(build_model(levels=2, base_filters=2))
