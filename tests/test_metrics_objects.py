"""Object metrics: scenes counted by hand, a brute-force matcher, streaming, Keras, the callback."""

import doctest
import itertools
import json
import math
import warnings

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_deepskip as kd
from keras_deepskip import objects
from keras_deepskip.metrics import (
    COCO_STRATA,
    SIZE_STRATA,
    ObjectCounts,
    ObjectF1,
    ObjectMetricsCallback,
    ObjectPrecision,
    ObjectRecall,
    ObjectStream,
    callbacks,
    masks_from_outputs,
    object_counts,
    object_metrics,
)
from keras_deepskip.objects import (
    label_in_blocks,
    label_objects,
    match_objects,
    object_table,
    separate_objects,
)

METRICS = (ObjectRecall, ObjectPrecision, ObjectF1)


def scene(*rows):
    """A mask from rows of characters: `.` is 0, digits are class ids."""
    return np.array([[int(c) if c != "." else 0 for c in row] for row in rows], "uint8")


def counted(true, predicted, **arguments):
    counts = ObjectCounts(**arguments)
    counts.update(true, predicted)
    return counts.select()


# ---- Labels and tables


def test_labels_by_connectivity():
    mask = scene("1..1", ".1.1", "....")
    labels, count = label_objects(mask)
    assert count == 2 and labels.dtype == "int32"
    assert labels.tolist() == [[1, 0, 0, 2], [0, 1, 0, 2], [0, 0, 0, 0]]
    assert label_objects(mask, connectivity=4)[1] == 3


def test_touching_classes_stay_apart():
    labels, count = label_objects(scene("1122", "1122", "..11"))
    assert count == 2  # id 1 joins by the corner
    assert labels.tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [0, 0, 1, 1]]
    assert label_objects(np.zeros((3, 3), bool))[1] == 0


def test_object_table_by_hand():
    mask = scene("11.2", "1..2", "...2")
    probabilities = np.zeros((3, 4, 3))
    probabilities[..., 1] = 0.9
    probabilities[0, 0, 1] = 0.6
    probabilities[..., 2] = [[0.1], [0.2], [0.3]]
    first, second = object_table(mask, probabilities)
    assert first == {
        "class_id": 1, "area": 3, "centroid_y": pytest.approx(1 / 3),
        "centroid_x": pytest.approx(1 / 3), "top": 0, "left": 0, "bottom": 2, "right": 2,
        "mean_probability": pytest.approx(0.8),
    }  # fmt: skip
    assert second == {
        "class_id": 2, "area": 3, "centroid_y": 1.0, "centroid_x": 3.0, "top": 0, "left": 3,
        "bottom": 3, "right": 4, "mean_probability": pytest.approx(0.2),
    }  # fmt: skip
    assert json.loads(json.dumps([first, second]))[1]["area"] == 3  # plain Python numbers
    assert [row["mean_probability"] for row in object_table(mask)] == [None, None]
    assert object_table(np.zeros((2, 2), "uint8"), np.zeros((2, 2))) == []
    assert len(object_table(scene("1.", ".1"), connectivity=4)) == 2


def test_object_table_of_one_channel_and_of_labels_that_overlap():
    outputs = np.array([[[0.7], [0.9], [0.1]]])
    (row,) = object_table(scene("11."), outputs)
    assert row["mean_probability"] == pytest.approx(0.8)
    assert object_table(scene("11."), outputs[..., 0]) == [row]
    both = np.stack([scene("11.."), scene(".111")], axis=-1)
    rows = object_table(both, np.stack([both[..., 0] * 0.6, both[..., 1] * 0.8], axis=-1))
    assert [(r["class_id"], r["area"], r["left"]) for r in rows] == [(0, 2, 0), (1, 3, 1)]
    assert [r["mean_probability"] for r in rows] == pytest.approx([0.6, 0.8])


def test_object_table_of_labels_with_gaps():
    """Those of a tracker: numbers of objects that are gone stay free."""
    mask, labels = scene("11.2", "1..2"), np.array([[3, 3, 0, 7], [3, 0, 0, 7]])
    rows = object_table(mask, 0.5 * np.ones((2, 4, 3)), labels=labels)
    assert rows == object_table(mask, 0.5 * np.ones((2, 4, 3)))
    assert [row["area"] for row in rows] == [3, 2]


@pytest.mark.parametrize("shape", [(2, 2), (3, 4, 2), (3, 4, 1), (3, 5)])
def test_object_table_refuses_probabilities_of_another_shape(shape):
    with pytest.raises(ValueError, match="a channel for each of its classes"):
        object_table(scene("11.2", "1..2", "...2"), np.zeros(shape))


@pytest.mark.parametrize("mask", [np.zeros((2, 2)), np.zeros(2, int), np.zeros((2,) * 4, int)])
def test_labels_want_integers_in_two_or_three_axes(mask):
    with pytest.raises(ValueError, match="`mask` must hold integers"):
        label_objects(mask)


def test_connectivity_is_4_or_8():
    with pytest.raises(ValueError, match="`connectivity` must be one of 4, 8"):
        label_objects(scene("1"), connectivity=6)


# ---- Blocks of a mask


def pieces(length, size):
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    st.sampled_from([0.05, 0.3, 0.6]),
    st.sampled_from([4, 8]),
    st.booleans(),
    st.integers(0, 2**31),
)
@settings(max_examples=150, deadline=None)
def test_blocks_tell_what_the_whole_mask_tells(shape, size, share, connectivity, by_rows, seed):
    """In either order of blocks, with classes that touch, corners that meet at four blocks."""
    rng = np.random.default_rng(seed)
    mask = (rng.random(shape) < share) * rng.integers(1, 4, shape)
    outputs = rng.random((*shape, 4))
    rows, columns = (pieces(length, side) for length, side in zip(shape, size, strict=True))
    order = list(itertools.product(rows, columns))
    if not by_rows:
        order = [(row, column) for column in columns for row in rows]
    stream = ObjectStream(shape, connectivity)
    for box in order:
        stream.update(box, mask[box], outputs[box])
    found, expected = stream.table(), object_table(mask, outputs, connectivity)
    assert len(found) == len(expected)
    for row, wanted in zip(found, expected, strict=True):
        assert row == pytest.approx(wanted)


@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.tuples(st.integers(5, 30), st.integers(5, 30)),
    st.booleans(),
    st.integers(0, 2**31),
    st.sampled_from([0, 20, (0, 30, 10)]),
)
@settings(max_examples=60, deadline=None)
def test_blocks_tell_apart_what_the_whole_mask_does(shape, size, by_rows, seed, least):
    """Discs of two classes that touch across blocks; labels, numbers and lines are the same."""
    rng = np.random.default_rng(seed)
    mask = discs(rng, shape)
    outputs = rng.random((*shape, 3))
    rows, columns = (pieces(length, side) for length, side in zip(shape, size, strict=True))
    order = list(itertools.product(rows, columns))
    if not by_rows:
        order = [(row, column) for column in columns for row in rows]
    stream, labels = ObjectStream(shape, separate=True, min_area=least), np.zeros(shape, int)
    for box in order:
        for place, numbers in stream.update(box, mask[box], outputs[box]):
            assert not labels[place][numbers > 0].any()  # none comes twice
            labels[place] += numbers
    expected, count = separate_objects(mask, min_area=least)
    np.testing.assert_array_equal(stream.numbering()[labels], expected)
    lines = object_table(mask, outputs, labels=expected)
    assert len(stream.table()) == len(lines) == count
    for row, wanted in zip(stream.table(), lines, strict=True):
        assert row == pytest.approx(wanted)


def discs(rng, shape):
    """A mask of discs, some of which touch."""
    mask, (y, x) = np.zeros(shape, "uint8"), np.indices(shape)
    for _ in range(1 + shape[0] * shape[1] // 80):
        radius, class_id = rng.uniform(1, 6), rng.integers(1, 3)
        top, left = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        mask[(y - top) ** 2 + (x - left) ** 2 <= radius**2] = class_id
    return mask


def test_a_stream_keeps_no_more_than_what_may_still_grow():
    """Of 40 blocks in a column, each with a component of its own and one that goes through all."""
    stream = ObjectStream((400, 10), separate=True)
    mask = np.zeros((400, 10), "uint8")
    mask[4::10, 5:8], mask[:, 1] = 1, 1
    most = 0
    for top in range(0, 400, 10):
        box = slice(top, top + 10), slice(0, 10)
        stream.update(box, mask[box])
        most = max(most, len(stream._growing.pixels))
    assert most == 1 and not stream._growing.pixels and not stream._growing.parent
    assert len(stream.table()) == separate_objects(mask)[1]


def test_labels_of_an_array_are_written_block_by_block():
    mask = discs(np.random.default_rng(0), (50, 70))
    labels = np.zeros(mask.shape, "uint16")
    rows = label_in_blocks(mask, labels, separate=True, block=16, min_area=9)
    expected, _ = separate_objects(mask, min_area=9)
    np.testing.assert_array_equal(labels, expected)
    assert rows == object_table(mask, labels=expected)
    rows = label_in_blocks(mask, labels, block=16)  # what was there is overwritten
    np.testing.assert_array_equal(labels, label_objects(mask)[0])
    assert rows == object_table(mask) == label_in_blocks(mask, block=33)


def test_labels_of_an_array_need_a_fitting_one():
    mask = np.zeros((40, 40), "uint8")
    mask[::2, ::2] = 1
    with pytest.raises(ValueError, match="more than 255 objects or parts of them. Take uint32"):
        label_in_blocks(mask, np.zeros(mask.shape, "uint8"))
    with pytest.raises(ValueError, match=r"out.shape=\(4, 4\)"):
        label_in_blocks(mask, np.zeros((4, 4), "uint8"))
    with pytest.raises(ValueError, match="separate=True, connectivity=4"):
        ObjectStream((4, 4), connectivity=4, separate=True)


def test_a_stream_without_probabilities_or_objects():
    stream = ObjectStream((4, 4))
    assert stream.table() == []
    stream.update((slice(0, 4), slice(0, 4)), np.eye(4, dtype="uint8"))
    assert stream.table() == object_table(np.eye(4, dtype="uint8"))
    with pytest.raises(ValueError, match="`mask` must hold integers"):
        ObjectStream((4, 4)).update((slice(0, 4), slice(0, 4)), np.zeros((4, 4)))


# ---- Volumes


def volume(*voxels, size=(3, 4, 5)):
    """A mask of zeros and, at each (class id, z, y, x), a class id."""
    mask = np.zeros(size, "uint8")
    for class_id, *place in voxels:
        mask[tuple(place)] = class_id
    return mask


def test_labels_of_volumes_by_connectivity():
    face, edge, corner = (1, 0, 0, 0), (1, 1, 0, 0), (1, 2, 1, 0)  # each touches the one before
    mask = volume(face, edge, corner, (1, 1, 2, 1), (2, 0, 1, 0))
    labels, count = label_objects(mask)
    assert count == 2 and labels.dtype == "int32"
    assert (labels == mask).all()  # all of id 1 are one object, the last two by a corner
    assert (label_objects(mask, connectivity=26)[0] == labels).all()
    labels, count = label_objects(mask, connectivity=6)
    assert count == 4
    assert [labels[z, y, x] for _, z, y, x in (face, edge, corner)] == [1, 1, 3]
    assert labels[1, 2, 1] == 2 and labels[0, 1, 0] == 4


def test_a_volume_of_one_slice_is_the_image():
    image = np.random.default_rng(0).integers(0, 3, (9, 11))
    for flat, deep in ((8, 8), (8, 26), (4, 6)):
        labels, count = label_objects(image, flat)
        labels_of_volume, count_of_volume = label_objects(image[None], deep)
        assert count == count_of_volume and (labels == labels_of_volume[0]).all()
        of_volume = object_table(image[:, None], connectivity=deep, multilabel=False)
        wanted = object_table(image, connectivity=flat)
        for row, own in zip(of_volume, wanted, strict=True):  # rows of the image are slices here
            assert row["area"] == own["area"] and row["centroid_y"] == 0
            named = {"centroid_z": "centroid_y", "front": "top", "back": "bottom"}
            assert all(row[deep_name] == own[name] for deep_name, name in named.items())
            assert row["centroid_x"] == own["centroid_x"]


@pytest.mark.parametrize("shape, connectivity", [((2, 2), 6), ((2, 2), 26), ((2, 2, 2), 4)])
def test_a_connectivity_of_the_other_kind_is_refused(shape, connectivity):
    with pytest.raises(ValueError, match="`connectivity` must be one of"):
        label_objects(np.ones(shape, int), connectivity)


def test_object_table_of_a_volume_by_hand():
    mask = volume((1, 0, 1, 1), (1, 1, 1, 1), (1, 1, 2, 1), (1, 1, 1, 2), (2, 2, 3, 4))
    outputs = np.zeros((*mask.shape, 3))
    outputs[0, ..., 1], outputs[1, ..., 1], outputs[..., 2] = 0.6, 0.8, 0.3
    first, second = object_table(mask, outputs, multilabel=False)
    assert list(first.items()) == [
        ("class_id", 1), ("area", 4), ("centroid_z", 0.75), ("centroid_y", 1.25),
        ("centroid_x", 1.25), ("front", 0), ("top", 1), ("left", 1), ("back", 2), ("bottom", 3),
        ("right", 3), ("mean_probability", pytest.approx(0.75)),
    ]  # fmt: skip
    assert second["front"] == 2 and second["right"] == 5 and second["mean_probability"] == 0.3
    channels = np.stack([mask == 1, mask == 2], axis=-1)
    first_channel, second_channel = object_table(channels, outputs[..., 1:])
    assert first_channel == {**first, "class_id": 0}
    assert second_channel == {**second, "class_id": 1}
    assert object_table(channels, outputs[..., 1:], multilabel=True)[0] == first_channel
    with pytest.raises(ValueError, match=r"\(D, H, W, K\) of a mask \(D, H, W\)"):
        object_table(mask, outputs[:2], multilabel=False)


def test_counts_of_volumes_by_hand():
    """Two objects, one found; a false one; one of which only the centre is found."""
    true = np.zeros((2, 8, 10), "uint8")
    true[:, :4, :4] = 1  # 32 voxels
    true[:, 6:, 6:] = 1  # 16
    predicted = np.zeros_like(true)
    predicted[:, :4, :3] = 1  # IoU 24 / 32
    predicted[1, 7, 7] = 1  # IoU 1 / 16
    predicted[0, 0, 9] = 1
    assert counted(true, predicted) == (1, 2, 1)
    assert counted(true, predicted, threshold=0.8) == (0, 3, 2)
    assert counted(true, predicted, criterion="centre") == (2, 1, 0)
    strata = (("under 20", 0, 20), ("from 20", 20, math.inf))
    counts = ObjectCounts(strata=strata, connectivity=6)
    counts.update(true, predicted, ignored=np.arange(10) * np.ones_like(true) == 9)
    assert counts.select(stratum="from 20") == (1, 0, 0)
    assert counts.select(stratum="under 20") == (0, 1, 1)


@pytest.mark.parametrize("shape", [(2,), (2, 3, 4, 5), (2, 3, 4, 5, 1)])
def test_batches_of_volumes_and_their_weights(shape):
    true = np.stack([volume((1, 0, 0, 0)), volume((1, 0, 0, 0))])
    weight = np.ones(shape, "float32")
    weight[1] = 0
    for masks in (true, true[..., None]):
        counts = ObjectCounts()
        counts.update_batch(masks, 0 * true, weight)
        assert counts.select() == (0, 0, 1)
    channels = ObjectCounts(num_classes=2, multilabel=True)
    channels.update_batch(np.stack([true, 0 * true], -1), np.stack([true, true], -1), weight)
    assert channels.select(class_id=0) == (1, 0, 0) and channels.select(class_id=1) == (0, 1, 0)
    with pytest.raises(ValueError, match=r"or \(2, 3, 4, 5\)"):
        ObjectCounts().update_batch(true, true, np.ones((2, 3, 4)))


def test_a_centre_is_rounded_along_every_axis():
    """A centroid of (0, 1/3, 2/3) is the voxel (0, 0, 1)."""
    predicted = volume((1, 0, 0, 0), (1, 0, 0, 1), (1, 0, 1, 1))
    for place, found in (((0, 0, 1), 1), ((0, 0, 0), 0), ((0, 1, 1), 0), ((0, 1, 0), 0)):
        true = volume((1, *place))
        assert counted(true, predicted, criterion="centre")[0] == found


def test_metric_and_callback_on_volumes():
    """The model calls what is above 1/2; of two objects the second volume has one."""
    true = np.stack([volume((1, 0, 0, 0), (1, 2, 3, 4)), volume((1, 1, 1, 1))])
    images = true[..., None].astype("float32")
    images[0, 2, 3, 4] = 0
    metric = ObjectRecall()
    metric.update_state(true, images)
    assert metric.result() == pytest.approx(2 / 3)
    inputs = keras.Input((None, None, None, 1))
    model = keras.Model(inputs, keras.layers.Rescaling(1.0)(inputs))
    callback = ObjectMetricsCallback((images, true))
    callback.set_model(model)
    assert callback.evaluate().select() == (2, 0, 1)


# ---- Scenes by hand: (true, predicted, (tp, fp, fn)) with IoU of at least 0.5

SCENES = {
    "right": (("11.1", "11.1"), ("11.1", "11.1"), (2, 0, 0)),
    "nothing": (("....",), ("....",), (0, 0, 0)),
    "false alarm": (("11..",), ("11.1",), (1, 1, 0)),
    "miss": (("11.1",), ("11..",), (1, 0, 1)),
    # of 2x3 shifted by 1 column: intersection 4, union 8: IoU 0.5 exactly
    "shifted to IoU 0.5": (("111.", "111."), (".111", ".111"), (1, 0, 0)),
    # of 1x3: intersection 2, union 4, IoU 0.5; of 1x2: 1 of 3
    "shifted below": (("11.",), (".11",), (0, 1, 1)),
    # both halves have IoU 0.5: one is the match, the other is false
    "split in halves": (("11111",), ("11.11",), (0, 2, 1)),
    "split, one part large": (("111111",), ("1111.1",), (1, 1, 0)),
    # one prediction over two truths of 2 pixels: union 5, IoU 0.4 each
    "merged": (("11.11",), ("11111",), (0, 1, 2)),
    # over a truth of 4 and one of 1: IoU 4/6, and the small one is missed
    "merged, one part large": (("1111.1",), ("111111",), (1, 0, 1)),
    "touching objects of one class are one": (("1122",), ("1112",), (2, 0, 0)),
    "right place, wrong class": (("11..",), ("22..",), (0, 1, 1)),
}


@pytest.mark.parametrize("name", SCENES)
def test_scene(name):
    true, predicted, expected = SCENES[name]
    assert counted(scene(*true), scene(*predicted), num_classes=3) == expected


def test_one_prediction_never_matches_two_truths():
    # Two truths of 2 pixels, one prediction of 4: IoU 0.5 with each.
    true, predicted = scene("1122"), scene("3333")
    pairs, iou = match_objects(true, predicted)
    assert pairs.tolist() == [[1, 3]] and iou.tolist() == [0.5]
    pairs, _ = match_objects(predicted, true)
    assert len(pairs) == 1


def test_as_many_matches_as_can_be():
    # Truth 1 overlaps predictions 1 (3 pixels) and 2 (1 pixel), truth 2 only prediction 1:
    # the largest IoU first would leave truth 2 without a match.
    true, predicted = scene("211112"), scene("111122")
    true[0, 5] = 0
    pairs, _ = match_objects(true, predicted, threshold=0.1)
    assert pairs.tolist() == [[1, 2], [2, 1]]


def test_of_equal_counts_the_better_overlap():
    true, predicted = scene("11111"), scene("21111")
    pairs, iou = match_objects(true, predicted, threshold=0.1)
    assert pairs.tolist() == [[1, 1]] and iou.tolist() == [0.8]


def test_hit_by_centre():
    true = scene("11111", "11111", "11111", ".....")
    small = scene(".....", "..1..", ".....", ".....")
    assert counted(true, small) == (0, 1, 1)
    assert counted(true, small, criterion="centre") == (1, 0, 0)
    pairs, iou = match_objects(true, small, criterion="centre")
    assert pairs.tolist() == [[1, 1]] and iou.tolist() == [1 / 15]
    # centroid of rows 2, 3 is 2.5, rounded to 3: outside
    outside = scene(".....", ".....", "..1..", "..1..")
    assert counted(true, outside, criterion="centre") == (0, 1, 1)
    # two centres in one truth: one hit, one false alarm
    two = scene("1...1", ".....", ".....", ".....")
    assert counted(true, two, criterion="centre") == (1, 1, 0)
    # a ring's centre is not of the ring, and may be of the object inside: a hit with IoU 0
    ring, dot = scene("111", "1.1", "111"), scene("...", ".1.", "...")
    pairs, iou = match_objects(dot, ring, criterion="centre")
    assert pairs.tolist() == [[1, 1]] and iou.tolist() == [0.0]


def test_labels_need_not_be_dense():
    pairs, iou = match_objects(np.array([[9, 9, 0, 4]]), np.array([[7, 7, 0, 70000]]))
    assert pairs.tolist() == [[4, 70000], [9, 7]] and iou.tolist() == [1, 1]
    none, iou = match_objects(np.zeros((3, 3), int), np.zeros((3, 3), int))
    assert none.shape == (0, 2) and iou.shape == (0,)


def brute_force(true_labels, predicted_labels, threshold):
    """(pairs, total IoU) of the best matching, from all pairs of masks and all choices."""
    truths = [true_labels == i for i in np.unique(true_labels[true_labels > 0])]
    called = [predicted_labels == i for i in np.unique(predicted_labels[predicted_labels > 0])]
    edges = []
    for (i, t), (j, p) in itertools.product(enumerate(truths), enumerate(called)):
        iou = (t & p).sum() / (t | p).sum()
        if iou >= threshold:
            edges.append((i, j, iou))
    best = {frozenset(): (frozenset(), 0, 0.0)}  # used predictions, by truths gone through
    for i in range(len(truths)):
        for used, (_, count, total) in list(best.items()):
            for _, j, iou in (e for e in edges if e[0] == i and e[1] not in used):
                now = used | {j}
                if (count + 1, total + iou) > best.get(now, (0, -1, 0.0))[1:]:
                    best[now] = (now, count + 1, total + iou)
    return max((count, total) for _, count, total in best.values())


@pytest.mark.parametrize("seed", range(30))
def test_matching_agrees_with_brute_force(seed):
    rng = np.random.default_rng(seed)
    true, predicted = rng.integers(0, 5, (2, 4, 5)) * (rng.random((2, 4, 5)) < 0.9)
    threshold = rng.choice([0.05, 0.1, 0.2, 0.3, 0.5])
    pairs, iou = match_objects(true, predicted, threshold=threshold)
    assert len(set(pairs[:, 0])) == len(set(pairs[:, 1])) == len(pairs)
    for (t, p), value in zip(pairs, iou, strict=True):
        both, either = (true == t) & (predicted == p), (true == t) | (predicted == p)
        assert value == both.sum() / either.sum() >= threshold
    count, total = brute_force(true, predicted, threshold)
    assert len(pairs) == count
    assert iou.sum() == pytest.approx(total)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"criterion": "center"}, "Did you mean 'centre'"),
        ({"threshold": 0}, "must be above 0"),
        ({"threshold": 1.1}, r"in \[0, 1\]"),
        ({"criterion": "centre", "threshold": 0.3}, "uses none"),
    ],
)
def test_matching_refuses(arguments, words):
    with pytest.raises(ValueError, match=words):
        match_objects(scene("1"), scene("1"), **arguments)
    with pytest.raises(ValueError, match=words):
        ObjectCounts(**arguments)


def test_matching_wants_one_shape():
    with pytest.raises(ValueError, match="must have one shape"):
        match_objects(scene("1"), scene("11"))


def test_thousands_of_objects_without_a_loop_over_pairs():
    # 2,500 squares of 4x4 in 400x400, the predictions shifted by 1: intersection 12 of 20.
    tile = np.zeros((8, 8), "uint8")
    tile[1:5, 1:5] = 1
    true = np.tile(tile, (50, 50))
    assert counted(true, np.roll(true, 1, axis=1)) == (2500, 0, 0)
    assert counted(true, np.roll(true, 1, axis=1), threshold=0.61) == (0, 2500, 2500)


# ---- Strata


def block(area, columns=64):
    """A mask whose one object has `area` pixels."""
    mask = np.zeros((64, columns), "uint8")
    mask.flat[:area] = 1
    return mask


@pytest.mark.parametrize(
    "area, stratum",
    [
        (1, "<8x8"), (63, "<8x8"), (64, "8x8-16x16"), (255, "8x8-16x16"),
        (256, "16x16-32x32"), (1023, "16x16-32x32"), (1024, ">=32x32"), (4096, ">=32x32"),
    ],
)  # fmt: skip
def test_strata_borders(area, stratum):
    counts = ObjectCounts()
    counts.update(block(area), block(area))
    counts.update(block(area), block(0))
    counts.update(block(0), block(area))
    assert counts.select(stratum=stratum) == (1, 1, 1) == counts.select()
    others = {name for name, _, _ in SIZE_STRATA} - {stratum}
    assert {counts.select(stratum=name) for name in others} == {(0, 0, 0)}


def test_a_match_falls_in_its_truths_stratum_and_a_false_alarm_in_its_own():
    counts = ObjectCounts()
    counts.update(block(60), block(70))  # IoU 60/70
    assert counts.select(stratum="<8x8") == (1, 0, 0)
    assert counts.select(stratum="8x8-16x16") == (0, 0, 0)
    counts.update(block(60), block(200))  # IoU 0.3
    assert counts.select(stratum="<8x8") == (1, 0, 1)
    assert counts.select(stratum="8x8-16x16") == (0, 1, 0)
    assert counts.recall(stratum="<8x8") == 0.5
    assert counts.precision(stratum="<8x8") == 1
    assert counts.precision(stratum="8x8-16x16") == 0
    assert counts.recall(stratum="8x8-16x16") is None  # no truth of that size
    assert counts.f1(stratum=">=32x32") is None


def test_coco_strata():
    counts = ObjectCounts(strata=COCO_STRATA)
    for area in (1023, 1024):
        counts.update(block(area), block(area))
    assert [counts.select(stratum=name)[0] for name in ("small", "medium", "large")] == [1, 1, 0]
    large = np.ones((96, 96), "uint8")
    counts.update(large, large)
    assert counts.select(stratum="large") == (1, 0, 0)


@pytest.mark.parametrize(
    "strata",
    [
        (),
        (("a", 1, math.inf),),
        (("a", 0, 10),),
        (("a", 0, 10), ("b", 11, None)),
        (("a", 0, 10), ("a", 10, None)),
        (("a", 0, 10), ("b", 10, 10), ("c", 10, None)),
    ],
)
def test_strata_with_gaps_are_refused(strata):
    with pytest.raises(ValueError, match="without gap"):
        ObjectCounts(strata=strata)


# ---- Counts over a set


def drawn(seed, n=4, num_classes=1, size=(24, 20)):
    """True and predicted masks of blobs that agree in part."""
    rng = np.random.default_rng(seed)
    true = np.zeros((n, *size), "uint8")
    for image in true:
        for _ in range(5):
            y, x, s = rng.integers(0, size[0]), rng.integers(0, size[1]), rng.integers(2, 10)
            image[y : y + s, x : x + s] = rng.integers(1, max(num_classes, 2))
    predicted = np.where(rng.random((n, *size)) < 0.08, 0, np.roll(true, 1, axis=2))
    predicted[0] = 0
    return true, predicted.astype("uint8")


def test_streamed_and_merged_counts_equal_all_at_once():
    true, predicted = drawn(0, num_classes=3)
    whole = ObjectCounts(num_classes=3)
    whole.update_batch(true[..., None], predicted)
    one_by_one = ObjectCounts(num_classes=3)
    for t, p in zip(true, predicted, strict=True):
        one_by_one.update(t, p)
    halves = [ObjectCounts(num_classes=3) for _ in range(2)]
    halves[0].update_batch(true[:2], predicted[:2])
    halves[1].update_batch(true[2:], predicted[2:])
    merged = halves[0].merge(halves[1])
    assert merged is halves[0]
    assert whole.summary() == one_by_one.summary() == merged.summary()
    tp, fp, fn = whole.select()
    assert min(tp, fp, fn) > 0
    assert whole.f1() == 2 * tp / (2 * tp + fp + fn)
    mean_of_images = np.mean([_f1(t, p) for t, p in zip(true, predicted, strict=True)])
    assert abs(mean_of_images - whole.f1()) > 0.01


def _f1(true, predicted):
    counts = ObjectCounts(num_classes=3)
    counts.update(true, predicted)
    return counts.f1()


# Found, false and missed objects, some counts equal: a sum with a wrong sign would be 0 and the
# class would count as absent.
BY_COUNTS = {
    "1": (1, 0, 0), "1.1 1..": (1, 0, 1), "1.. 1.1": (1, 1, 0), "1... ..1.": (0, 1, 1),
    ".. 1.": (0, 1, 0), "1. ..": (0, 0, 1), "1.1.1.. 1...1.1": (2, 1, 1),
    "1.1 1.1": (2, 0, 0), "1.1... ....1.": (0, 1, 2), "1.1.... 1...1.1": (1, 2, 1),
}  # fmt: skip


@pytest.mark.parametrize("masks, found", BY_COUNTS.items())
def test_f1_and_presence_by_counts(masks, found):
    true, *predicted = masks.split()
    counts = ObjectCounts()
    counts.update(scene(true), scene(*predicted or [true]))
    tp, fp, fn = found
    assert counts.select() == found
    expected = 2 * tp / (2 * tp + fp + fn)
    assert counts.f1() == counts.f1(class_id=1) == counts.f1(stratum="<8x8") == expected
    assert counts.summary()["classes"]["1"]["f1"] == expected
    assert counts.precision() == (tp / (tp + fp) if tp + fp else 0)
    assert counts.recall() == (tp / (tp + fn) if tp + fn else 0)


def test_merge_wants_the_same_arguments():
    with pytest.raises(ValueError, match="the same arguments"):
        ObjectCounts().merge(ObjectCounts(threshold=0.3))


def test_figures_of_nothing():
    counts = ObjectCounts(num_classes=3)
    assert counts.recall() == counts.precision() == counts.f1() == 1.0
    assert counts.recall(stratum="<8x8") is None
    summary = counts.summary()
    assert summary["all"]["f1"] == 1.0
    assert summary["classes"]["1"]["f1"] is None and summary["strata"]["<8x8"]["f1"] is None
    counts.update(scene("1."), scene(".."))
    assert (counts.recall(), counts.precision(), counts.f1()) == (0, 0, 0)
    counts = ObjectCounts()
    counts.update(scene(".."), scene("1."))
    assert (counts.recall(), counts.precision(), counts.f1()) == (0, 0, 0)


def test_summary_by_class_is_json():
    counts = ObjectCounts(num_classes=3)
    counts.update(scene("11.22.1"), scene("11....."))  # fmt: skip
    summary = json.loads(json.dumps(counts.summary(), allow_nan=False))
    assert summary["classes"]["1"]["recall"] == 0.5 == counts.recall(class_id=1)
    assert summary["classes"]["2"]["strata"]["<8x8"] == {
        "recall": 0.0, "precision": None, "f1": 0.0, "tp": 0, "fp": 0, "fn": 1,
    }  # fmt: skip
    assert summary["all"] == {
        "recall": pytest.approx(1 / 3), "precision": 1.0, "f1": 0.5, "tp": 1, "fp": 0, "fn": 2,
    }  # fmt: skip
    again = ObjectCounts(**summary["config"])
    assert again.get_config() == counts.get_config() and again.strata == counts.strata


def test_ignored_pixels():
    true = np.array([[1, 1, 255, 255, 255, 0, 0, 1]], "uint8")
    #                a false alarm with 2 of 3 pixels ignored; a miss
    assert counted(true, scene("11.111.."), ignore_class=255) == (1, 0, 1)
    # 1 of 2 ignored is not more than half
    assert counted(true, scene("11..11.."), ignore_class=255) == (1, 1, 1)
    # a match reaches over ignored pixels: they are not compared
    assert counted(true, scene("1111...."), ignore_class=255, threshold=0.9) == (1, 0, 1)
    assert counted(true, scene("11......"), ignore_class=255) == (1, 0, 1)
    counts = ObjectCounts()
    true[true == 255] = 1
    counts.update(true, scene("11.111.1"), ignored=[[0, 0, 1, 1, 1, 0, 0, 0]])
    assert counts.select() == (2, 0, 0)


def test_an_ignored_class_is_not_scored():
    counts = ObjectCounts(num_classes=3, ignore_class=2)
    counts.update(scene("11.22"), scene("11.22"))
    assert counts.class_ids == (1,) and counts.select() == (1, 0, 0)
    with pytest.raises(ValueError, match="At least one class"):
        ObjectCounts(ignore_class=1)


def test_multilabel_channels_are_classes_by_themselves():
    true = np.stack([scene("11..1"), scene(".111.")], axis=-1)
    predicted = np.stack([scene("11..."), scene(".1111")], axis=-1)
    counts = ObjectCounts(num_classes=2, multilabel=True)
    counts.update(true, predicted)
    assert counts.select(class_id=0) == (1, 0, 1) and counts.select(class_id=1) == (1, 0, 0)
    true[0, 4, 0] = 255
    counts = ObjectCounts(num_classes=2, multilabel=True, ignore_class=255)
    counts.update_batch(true[None], predicted[None])
    assert counts.select(class_id=0) == (1, 0, 0) and counts.select(class_id=1) == (1, 0, 0)


def test_connectivity_changes_counts():
    diagonal = scene("1.", ".1")
    assert counted(diagonal, diagonal) == (1, 0, 0)
    assert counted(diagonal, diagonal, connectivity=4) == (2, 0, 0)


@pytest.mark.parametrize("shape", [(3,), (3, 4, 8), (3, 4, 8, 1)])
def test_weights_of_zero_leave_out(shape):
    true = np.tile(block(20, 8)[:4], (3, 1, 1))
    predicted = np.tile(block(0, 8)[:4], (3, 1, 1))
    weight = np.ones(shape, "float32")
    weight[1] = 0
    true[1, -1] = 7  # what is left out is not looked at
    counts = ObjectCounts()
    counts.update_batch(true, predicted, weight)
    assert counts.select() == (0, 0, 2)


@pytest.mark.parametrize(
    "weight, words", [(np.full(3, 0.5), "0 .leave out. or 1"), (np.ones((3, 4)), "the shape")]
)
def test_other_weights_are_refused(weight, words):
    with pytest.raises(ValueError, match=words):
        ObjectCounts().update_batch(np.zeros((3, 4, 8)), np.zeros((3, 4, 8)), weight)


@pytest.mark.parametrize(
    "true, predicted, arguments, words",
    [
        (scene("12"), scene("11"), {}, r"0\.\.1. Received: \[2\]"),
        (scene("11"), scene("13"), {"num_classes": 3}, "`predicted_mask` must hold"),
        (scene("11"), scene("1"), {}, "one shape"),
        (np.zeros((1, 1, 2, 3), int), np.zeros((1, 1, 2, 3), int), {}, r"shape \(H, W\)"),
        (np.zeros((2, 3, 2), int), np.zeros((2, 3, 2), int), {"multilabel": True}, r"\(H, W, 1\)"),
        (scene("11"), scene("11"), {"num_classes": 2, "multilabel": True}, r"\(H, W, 2\)"),
        (np.array([[255, 0]]), np.array([[0, 255]]), {"ignore_class": 255}, "predicted_mask"),
    ],
)
def test_masks_that_do_not_fit_are_named(true, predicted, arguments, words):
    with pytest.raises(ValueError, match=words):
        ObjectCounts(**arguments).update(true, predicted)


def test_unknown_selections_list_what_there_is():
    with pytest.raises(ValueError, match="`class_id` must be one of 1, 2"):
        ObjectCounts(num_classes=3).recall(class_id=0)
    with pytest.raises(ValueError, match="'<8x8'"):
        ObjectCounts().recall(stratum="tiny")


# ---- Keras metrics


def outputs_of(masks, num_classes=1):
    """Outputs whose masks are `masks`."""
    if num_classes == 1:
        return (0.2 + 0.6 * masks[..., None]).astype("float32")
    return np.eye(num_classes, dtype="float32")[masks]


@pytest.mark.parametrize("metric_class", METRICS)
@pytest.mark.parametrize("num_classes", [1, 3])
def test_metrics_equal_counts(metric_class, num_classes):
    true, predicted = drawn(1, num_classes=num_classes)
    counts = ObjectCounts(num_classes=num_classes)
    counts.update_batch(true, predicted)
    metric = metric_class(num_classes=num_classes)
    for half in (slice(0, 2), slice(2, 4)):
        outputs = keras.ops.convert_to_tensor(outputs_of(predicted[half], num_classes))
        metric.update_state(true[half, ..., None], outputs)
    name = metric_class.__name__.removeprefix("Object").lower()
    expected = getattr(counts, name)()
    assert metric.result() == expected and isinstance(metric.result(), float)
    assert 0 < expected < 1
    assert metric.counts().summary() == counts.summary()
    metric.reset_state()
    assert metric.result() == 1.0


def test_every_argument_of_the_metrics_changes_the_figure():
    def of(y_true, y_pred, **arguments):
        metric = ObjectF1(**arguments)
        metric.update_state(y_true[None], y_pred[None])
        return metric.result()

    true, predicted = scene("11..1.1", "11...1."), scene("1...1..", "11.....")
    outputs = outputs_of(predicted)
    plain = of(true, outputs)
    assert plain == 2 * 1 / (2 * 1 + 1 + 1)  # tp 1 (IoU 0.75), the dot is IoU 1/3
    assert of(true, outputs, pixel_threshold=0.9) == 0
    assert of(true, np.log(outputs / (1 - outputs)), from_logits=True, pixel_threshold=0.1) == 0
    assert of(true, outputs, threshold=0.3) == 1
    assert of(true, outputs, threshold=0.8) == 0
    assert of(true, outputs, connectivity=4) == 2 * 2 / (2 * 2 + 2)
    assert of(scene("11111.."), outputs[:1], criterion="centre") == 2 / (2 + 1)
    assert math.isnan(of(true, outputs, stratum=">=32x32"))
    assert of(true, outputs, strata=(("all", 0, None),), stratum="all") == plain
    ignored = true + 254 * (np.arange(7) > 2).astype("uint8") * true
    assert of(ignored, outputs, ignore_class=255) == 1
    classes, called = scene("11.22"), scene("11...")
    assert of(classes, outputs_of(called, 3), num_classes=3) == 2 / 3
    assert of(classes, outputs_of(called, 3), num_classes=3, class_id=1) == 1
    both = np.stack([scene("11."), scene(".11")], axis=-1)
    assert of(both, 0.2 + 0.6 * both, num_classes=2, multilabel=True) == 1


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"stratum": "tiny"}, "`stratum` must be one of"),
        ({"class_id": 2}, "`class_id` must be one of 1"),
        ({"pixel_threshold": 2}, "`pixel_threshold` must be a number"),
        ({"num_classes": 3, "pixel_threshold": 1.4}, "`pixel_threshold` must be a number in"),
    ],
)
def test_metrics_refuse(arguments, words):
    with pytest.raises(ValueError, match=words):
        ObjectRecall(**arguments)


def test_metrics_name_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="y_pred.shape="):
        ObjectRecall().update_state(np.zeros((1, 4, 4)), np.zeros((1, 4, 4, 2)))


def tiny_model(noise=0.5):
    """Calls pixels brighter than 0 in the first of 3 channels, with some noise of the others."""
    model = keras.Sequential([keras.Input((24, 20, 3)), keras.layers.Conv2D(1, 1)])
    model.add(keras.layers.Activation("sigmoid"))
    model.layers[0].set_weights([np.array([8, noise, noise]).reshape(1, 1, 3, 1), np.zeros(1)])
    return model


def images_for(predicted, seed=3):
    images = np.random.default_rng(seed).normal(size=(*predicted.shape, 3)).astype("float32")
    images[..., 0] = predicted - 0.5
    return images


def test_reload_from_a_keras_file_and_use_in_eager_steps(tmp_path):
    true, predicted = drawn(4)
    images = images_for(predicted)
    model = tiny_model()
    metrics = [metric(strata=COCO_STRATA, threshold=0.4) for metric in METRICS]
    model.compile("sgd", "binary_crossentropy", metrics=metrics, run_eagerly=True)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    if keras.backend.backend() == "jax":
        with pytest.raises(Exception, match="ObjectMetricsCallback"):
            again.evaluate(images, true[..., None], verbose=0)
        return
    again.run_eagerly = True
    figures = again.evaluate(images, true[..., None], batch_size=3, verbose=0, return_dict=True)
    counts = ObjectCounts(threshold=0.4)
    counts.update_batch(true, masks_from_outputs(model.predict(images, verbose=0)))
    assert figures["object_recall"] == pytest.approx(counts.recall())
    assert figures["object_precision"] == pytest.approx(counts.precision())
    assert figures["object_f1"] == pytest.approx(counts.f1())
    # on torch Keras first tries the step on made-up tensors: no trace of them is left
    fresh = tiny_model()
    fresh.compile("sgd", "binary_crossentropy", metrics=[ObjectRecall()], run_eagerly=True)
    got = fresh.test_on_batch(images, true[..., None], return_dict=True)["object_recall"]
    counts = ObjectCounts()
    counts.update_batch(true, masks_from_outputs(model.predict(images, verbose=0)))
    assert got == pytest.approx(counts.recall())


@pytest.mark.parametrize("metric_class", METRICS)
def test_config_round_trip(metric_class):
    arguments = {
        "num_classes": 3, "pixel_threshold": 0.4, "from_logits": True, "multilabel": True,
        "criterion": "iou", "threshold": 0.3, "strata": [["a", 0, 9], ["b", 9, None]],
        "stratum": "b", "class_id": 2, "connectivity": 4, "ignore_class": 255, "name": "mine",
        "dtype": "float32",
    }  # fmt: skip
    metric = metric_class(**arguments)
    assert metric.get_config() == arguments
    again = keras.metrics.deserialize(json.loads(json.dumps(keras.metrics.serialize(metric))))
    assert type(again) is metric_class and again.get_config() == arguments
    registered = f"keras_deepskip>{metric_class.__name__}"
    assert keras.saving.get_registered_name(metric_class) == registered


def test_symbols_name_the_way_out():
    symbol = keras.KerasTensor((2, 24, 20, 1))
    with pytest.raises(RuntimeError, match="ObjectMetricsCallback"):
        ObjectRecall().update_state(symbol, symbol)


def test_a_compiled_step_names_the_way_out():
    if keras.backend.backend() == "torch":
        pytest.skip("torch steps are eager")
    true, predicted = drawn(5)
    model = tiny_model()
    model.compile("sgd", "binary_crossentropy", metrics=[ObjectRecall()])
    with pytest.raises(Exception, match="ObjectMetricsCallback"):
        model.fit(images_for(predicted), true[..., None], verbose=0)


# ---- Callback


class Pairs(keras.utils.PyDataset):
    """Batches of 3 images, masks and (if given) weights."""

    def __init__(self, *arrays):
        super().__init__()
        self.arrays = arrays

    def __len__(self):
        return math.ceil(len(self.arrays[0]) / 3)

    def __getitem__(self, index):
        return tuple(array[3 * index : 3 * index + 3] for array in self.arrays)


class Seen(keras.callbacks.Callback):
    """What a callback after the watched one finds in the logs, and the model's own figures."""

    def __init__(self, images, true, **arguments):
        super().__init__()
        self.images, self.true, self.arguments = images, true, arguments
        self.logs, self.expected = [], []

    def on_epoch_end(self, epoch, logs=None):
        counts = ObjectCounts(**self.arguments)
        outputs = keras.ops.convert_to_numpy(self.model(self.images, training=False))
        counts.update_batch(self.true, masks_from_outputs(outputs))
        self.logs.append(dict(logs))
        self.expected.append((counts.recall(), counts.precision(), counts.f1()))


@pytest.mark.parametrize("as_dataset", [False, True])
def test_callback_figures_equal_the_evaluators(as_dataset, tmp_path):
    true, predicted = drawn(6, n=5)
    images = images_for(predicted)
    model = tiny_model(noise=3)
    model.compile(keras.optimizers.SGD(2.0), "binary_crossentropy")
    data = Pairs(images, true[..., None]) if as_dataset else (images, true)
    watch = ObjectMetricsCallback(data, threshold=0.4, batch_size=None if as_dataset else 2)
    seen = Seen(images, true, threshold=0.4)
    table = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    best = keras.callbacks.ModelCheckpoint(
        tmp_path / "best.keras", monitor="val_object_f1", mode="max", save_best_only=True
    )
    watched = [watch, seen, table, best]
    history = model.fit(
        images, true[..., None], epochs=3, batch_size=5, verbose=0, callbacks=watched
    ).history
    names = ("val_object_recall", "val_object_precision", "val_object_f1")
    assert [tuple(logs[name] for name in names) for logs in seen.logs] == seen.expected
    assert len(set(seen.expected)) > 1  # training moves the figures
    assert [history[name] for name in names] == [
        list(row) for row in zip(*seen.expected, strict=True)
    ]
    strata = [f"val_object_recall_{s}" for s in ("under_8x8", "8x8-16x16", "from_32x32")]
    assert set(strata) < set(history)
    assert history[strata[0]][-1] == watch.counts.recall(stratum="<8x8")
    assert math.isnan(history[strata[2]][-1]) and watch.counts.recall(stratum=">=32x32") is None
    assert "val_object_f1" in (tmp_path / "log.csv").read_text().splitlines()[0]
    assert (tmp_path / "best.keras").is_file()


def test_callback_epochs_prefix_and_weights():
    true, predicted = drawn(7, n=4)
    images = images_for(predicted)
    model = tiny_model()
    model.compile(keras.optimizers.SGD(0.0), "binary_crossentropy")
    weight = np.array([1.0, 0.0, 1.0, 1.0])
    watch = ObjectMetricsCallback(Pairs(images, true, weight), prefix="test_", every=3)
    seen = Seen(images, true)
    model.fit(images, true[..., None], epochs=6, verbose=0, callbacks=[watch, seen])
    # the first epoch, each third after it, and the last
    when = ["test_object_f1" in logs for logs in seen.logs]
    assert when == [True, False, False, True, False, True]
    counts = ObjectCounts()
    counts.update_batch(true, masks_from_outputs(model.predict(images, verbose=0)), weight)
    assert watch.counts.summary() == counts.summary()


class Known(Pairs):
    """Pairs that know their objects."""

    def __init__(self, images, masks, labels):
        super().__init__(images, masks)
        self.labels = labels

    def objects(self, index):
        return None if self.labels is None else self.labels[3 * index : 3 * index + 3]


def test_callback_counts_known_objects():
    """Two discs that touch are two; a rod with a waist is one, if the data say so."""
    rows, columns = np.mgrid[:24, :20]
    discs = [(rows - at) ** 2 + (columns - 9) ** 2 <= 16 for at in (6, 13)]
    masks = np.broadcast_to(discs[0] | discs[1], (4, 24, 20)).astype("uint8")
    two = np.broadcast_to(np.where(discs[0], 1, 2 * discs[1]), masks.shape)
    model = tiny_model(noise=0.0)
    for labels, found in ((None, 4), (two, 8), (masks.astype("int32"), 4)):
        watch = ObjectMetricsCallback(Known(images_for(masks), masks, labels))
        watch.set_model(model)
        assert watch.evaluate().select() == (found, 0, 0)
    first = Known(images_for(masks), masks, two)  # of its two batches the second says nothing
    first.objects = lambda index: two[:3] if index == 0 else None
    watch = ObjectMetricsCallback(first)
    watch.set_model(model)
    assert watch.evaluate().select() == (7, 0, 0)


def test_callback_thresholds_probabilities_and_logits():
    true, predicted = drawn(8, n=3)
    images = images_for(predicted)
    model = tiny_model(noise=3)
    watch = ObjectMetricsCallback((images, true), pixel_threshold=0.9)
    watch.set_model(model)
    counts = ObjectCounts()
    counts.update_batch(true, masks_from_outputs(model.predict(images, verbose=0), 0.9))
    assert watch.evaluate().summary() == counts.summary()
    logits = keras.Sequential(model.layers[:-1])
    watch = ObjectMetricsCallback((images, true), pixel_threshold=0.9, from_logits=True)
    watch.set_model(logits)
    assert watch.evaluate().summary() == counts.summary()
    plain = ObjectMetricsCallback((images, true))
    plain.set_model(model)
    assert plain.evaluate().select() != counts.select()


class Endless(Pairs):
    num_batches = None


@pytest.mark.parametrize(
    "data, arguments, words",
    [
        (np.zeros((2, 4, 4, 3)), {}, "two arrays"),
        ((np.zeros((2, 4, 4, 3)), np.zeros((3, 4, 4))), {}, "of one length"),
        (Pairs(np.zeros((2, 4, 4, 3))), {"batch_size": 4}, "Leave it out"),
        (Endless(), {}, "must have an end"),
        ((np.zeros((2, 4, 4, 3)), np.zeros((2, 4, 4))), {"every": 0}, "`every` must be"),
        ((np.zeros((2, 4, 4, 3)), np.zeros((2, 4, 4))), {"pixel_threshold": 2}, "a number in"),
    ],
)
def test_callback_refuses(data, arguments, words):
    with pytest.raises(ValueError, match=words):
        ObjectMetricsCallback(data, **arguments)


@pytest.mark.parametrize("module", [objects, object_counts, object_metrics, callbacks])
def test_examples_run(module):
    assert doctest.testmod(module).failed == 0


class Halves(keras.utils.PyDataset):
    """Batches of a user's own, divided by 255."""

    num_batches = 1

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return np.full((2, 8, 8, 3), 0.5, "float32"), np.zeros((2, 8, 8), "uint8")


def normalizing_model(input_range):
    return kd.build_model(levels=2, base_filters=2, input_range=input_range)


def fit_watched(data, input_range=(0, 255)):
    model = normalizing_model(input_range)
    watch = ObjectMetricsCallback(data)
    watch.set_model(model)
    watch.set_params({"epochs": 1})
    watch.on_train_begin()
    watch.on_epoch_end(0, {})


@pytest.mark.one_backend
def test_images_from_0_to_1_for_a_model_of_8_bits_warn():
    bright = np.linspace(0, 1, 2 * 8 * 8 * 3, dtype="float32").reshape(2, 8, 8, 3)
    masks = np.zeros((2, 8, 8), "uint8")
    said = r"from 0 to 255, .* Received: float32, 0 to 1, nearly black"
    with pytest.warns(UserWarning, match=said) as found:
        fit_watched((bright, masks))
    assert sum("nearly black" in str(each.message) for each in found) == 1  # not at each look
    with pytest.warns(UserWarning, match=r"Received: float32, 0.5 to 0.5"):
        fit_watched(Halves())
    fine = [(bright * 255, (0, 255)), (bright, (0, 1)), ((bright * 255).astype("uint8"), (0, 255)),
            (bright * 0, (0, 255))]  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*nearly black")
        for images, input_range in fine:
            fit_watched((images, masks), input_range)
