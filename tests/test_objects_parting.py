"""Objects that touch, told apart: what must hold for any mask, and shapes that are known."""

import numpy as np
import pytest

from keras_deepskip.objects import label_objects, separate_objects

pytestmark = pytest.mark.one_backend


def discs(shape, places, radius):
    """A mask of discs (or balls) about places."""
    axes = np.indices(shape)
    inside = np.zeros(shape, bool)
    for place in places:
        distance = sum((axis - at) ** 2 for axis, at in zip(axes, place, strict=True))
        inside |= distance <= radius**2
    return inside


def blobs(seed, shape=(48, 56), classes=2):
    """A mask of discs of two classes that touch and lie over each other."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(shape, "uint8")
    for _ in range(rng.integers(5, 30)):
        place = [rng.integers(length) for length in shape]
        inside = discs(shape, [place], rng.uniform(1, 6))
        mask[inside] = rng.integers(1, classes + 1)
    return mask


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("shape", [(48, 56), (12, 14, 16)])
def test_what_holds_for_any_mask(seed, shape):
    mask = blobs(seed, shape)
    labels, count = separate_objects(mask)
    components, _ = label_objects(mask)
    assert labels.dtype == np.int32
    assert np.array_equal(labels > 0, mask > 0)
    assert np.array_equal(np.unique(labels[labels > 0]), np.arange(1, count + 1))
    for number in range(1, count + 1):
        own = labels == number
        assert label_objects(own.astype(int))[1] == 1  # in one piece
        assert len(np.unique(components[own])) == 1  # of one component, so of one class
    firsts = [np.flatnonzero(labels == n)[0] for n in range(1, count + 1)]
    of_class = [mask.reshape(-1)[first] for first in firsts]
    assert sorted(zip(of_class, firsts, strict=True)) == list(zip(of_class, firsts, strict=True))


@pytest.mark.parametrize("seed", range(6))
def test_a_component_is_parted_as_if_it_were_alone(seed):
    mask = blobs(seed, classes=1)
    labels, _ = separate_objects(mask)
    components, count = label_objects(mask)
    for number in range(1, count + 1):
        own = components == number
        alone, found = separate_objects(own)
        parts = np.unique(labels[own])
        assert np.array_equal(parts[alone[own] - 1], labels[own]) and found == len(parts)
        if not (own[[0, -1]].any() or own[:, [0, -1]].any()):  # not at the edge of the image
            moved, _ = separate_objects(np.pad(own, 3)[:, 2:])
            assert np.array_equal(moved[3:-3, 1:-3], alone)


def dynamics(inside, rise):
    """How many peaks rise above their pass, by flooding pixel after pixel from the top."""
    from keras_deepskip.objects.parting import FINENESS, _depth

    depth = _depth(inside) / FINENESS
    order = sorted(np.argwhere(inside).tolist(), key=lambda p: (-depth[tuple(p)], p))
    owner, height, apart = {}, {}, 0

    def find(place):
        while owner[place] != place:
            place = owner[place]
        return place

    for place in map(tuple, order):
        owner[place], height[place] = place, depth[place]
        for step in np.argwhere(np.ones((3, 3))) - 1:
            other = tuple(np.add(place, step).tolist())
            if other in owner and find(other) != find(place):
                low, high = sorted((find(place), find(other)), key=lambda root: height[root])
                apart += height[low] - depth[place] >= rise
                owner[low] = high
    return apart + label_objects(inside)[1]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("rise", [0.3, 0.5, 1.0])
def test_as_many_as_peaks_that_rise_above_their_pass(seed, rise):
    inside = blobs(seed, (40, 40), classes=1) > 0
    assert separate_objects(inside, rise)[1] == dynamics(inside, rise)


def test_discs_that_touch_are_told_apart_and_one_disc_is_one():
    two = discs((30, 40), [(14, 12), (14, 25)], 7)
    labels, count = separate_objects(two)
    assert label_objects(two)[1] == 1 and count == 2
    assert (labels[:, :19][two[:, :19]] == 1).all() and (labels[:, 19:][two[:, 19:]] == 2).all()
    assert separate_objects(discs((30, 40), [(14, 12)], 7))[1] == 1
    balls = discs((20, 20, 32), [(9, 9, 9), (9, 9, 21)], 7)
    assert separate_objects(balls)[1] == 2


def test_of_no_limit_they_are_the_components():
    mask = blobs(3)
    labels, count = separate_objects(mask, np.inf)
    expected, of_components = label_objects(mask)
    assert count == of_components and np.array_equal(labels, expected)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("least", [1, 12, 40])
def test_parts_that_are_too_small_stay_with_what_they_touch(seed, least):
    mask = blobs(seed)
    free, _ = separate_objects(mask)
    labels, count = separate_objects(mask, min_area=least)
    components, _ = label_objects(mask)
    assert np.array_equal(labels > 0, mask > 0) and labels.max() == count
    areas, of_component = np.bincount(labels.ravel()), np.bincount(components.ravel())
    for number in range(1, count + 1):
        own = labels == number
        alone = areas[number] == of_component[components[own][0]]
        assert areas[number] >= least or alone
        assert label_objects(own)[1] == 1
    for number in range(1, free.max() + 1):
        own = free == number
        assert len(np.unique(labels[own])) == 1  # parts are joined, never cut
        together = labels == labels[own][0]
        pieces = np.unique(free[together])
        if len(pieces) > 1:  # all but one of those that were joined were too small by themselves
            assert (np.bincount(free[together])[pieces] < least).any()


def test_a_speck_at_an_object_is_part_of_it():
    mask = discs((30, 40), [(14, 12)], 9) | discs((30, 40), [(14, 24)], 4)
    assert separate_objects(mask)[1] == 2
    assert separate_objects(mask, min_area=50)[1] == 1
    assert separate_objects(2 * mask.astype(int), min_area=(0, 50, 0))[1] == 2
    assert separate_objects(2 * mask.astype(int), min_area=(0, 0, 50))[1] == 1


def test_the_edge_of_the_image_is_no_border():
    half = discs((30, 30), [(0, 15)], 8)
    assert separate_objects(half)[1] == 1
    whole, count = separate_objects(np.ones((6, 7), int))
    assert count == 1 and (whole == 1).all()


def test_nothing_is_nothing():
    labels, count = separate_objects(np.zeros((4, 5), int))
    assert count == 0 and labels.shape == (4, 5) and not labels.any()


def test_a_pixel_is_an_object():
    mask = np.zeros((5, 5), int)
    mask[2, 2] = mask[0, 4] = 3
    assert separate_objects(mask)[1] == 2


def test_what_is_no_mask_is_refused():
    with pytest.raises(ValueError, match="`mask` must hold integers"):
        separate_objects(np.zeros((4, 4)))
    with pytest.raises(ValueError, match="`rise`"):
        separate_objects(np.zeros((4, 4), int), -1)
    for area in (-1, 1.5, (0, 3)):
        with pytest.raises(ValueError, match="`min_area` must be"):
            separate_objects(np.full((4, 4), 2), min_area=area)


def test_real_nuclei_and_coins_are_told_apart(real_data):
    """Of true masks: at least so many objects found (IoU 0.5) as were measured, less a little."""
    from PIL import Image

    from keras_deepskip.objects import match_objects

    for name, components, parted in (
        ("nuclei_fluorescence", 0.90, 0.94),
        ("euro_coins", 0.9, 0.98),
    ):
        scores = []
        for separate in (label_objects, separate_objects):
            found = total = 0
            for path in sorted((real_data / name / "instances").iterdir())[:20]:
                ids = np.asarray(Image.open(path))
                _, truth = np.unique(ids, return_inverse=True)
                truth = truth.reshape(ids.shape)
                labels, count = separate((ids > 0).astype("uint8"))
                found += 2 * len(match_objects(truth, labels)[0])
                total += int(truth.max()) + count
            scores.append(found / total)
        assert scores[0] < components and scores[1] > parted, (name, scores)
