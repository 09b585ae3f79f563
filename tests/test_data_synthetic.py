"""Synthetic scenes: repeatable, exact, hard for thresholds, and doing what their arguments say."""

import json

import numpy as np
import pytest

from keras_deepskip.data.synthetic import (
    KINDS,
    class_names,
    composition,
    draw_scene,
    sample,
    scenes,
    writing,
)

pytestmark = pytest.mark.one_backend

ndimage = pytest.importorskip("scipy.ndimage")
EIGHT = np.ones((3, 3), bool)
SCENES = 8  # scenes by which a kind is tested


def scene(kind="coins", seed=0, **arguments):
    settings = {"height": 96, "width": 128, "count": (4, 4), "size": (8, 16)} | arguments
    return draw_scene(kind, np.random.default_rng(seed), **settings)


def objects(mask):
    """The connected components of a mask, as a list of boolean pictures."""
    labels, count = ndimage.label(mask > 0, EIGHT)
    return [labels == i for i in range(1, count + 1)]


def longest(region):
    """The largest distance between two pixels of a region, both pixels included."""
    points = np.argwhere(region)
    return np.sqrt(((points[:, None] - points) ** 2).sum(-1).max()) + 1


def best_iou(values, truth):
    """The best IoU that any single threshold reaches, from above or from below.

    All thresholds at once: sorted into 256 levels or more, intersections and unions are cumulative
    sums of histograms.
    """
    levels = np.round(values).astype(int)
    levels -= levels.min()
    everything = np.bincount(levels.ravel())
    hits = np.bincount(levels[truth], minlength=len(everything))
    best = 0.0
    for order in (slice(None), slice(None, None, -1)):
        called, hit = np.cumsum(everything[order]), np.cumsum(hits[order])
        best = max(best, (hit / (called + truth.sum() - hit)).max())
    return best


def channels(image):
    """Red, green, blue and grey, as float."""
    image = image.astype("float64")
    return [*np.moveaxis(image, -1, 0), image @ (0.299, 0.587, 0.114)]


@pytest.fixture(scope="module")
def defaults():
    """Default scenes of every kind, made once."""
    return {kind: scenes(kind, SCENES, seed=0) for kind in KINDS}


# What it is for: hard, and exact.


def test_best_iou_finds_a_separable_object_in_either_polarity():
    truth = np.zeros((8, 8), bool)
    truth[2:5, 3:6] = True
    assert best_iou(np.where(truth, 200, 90), truth) == 1.0
    assert best_iou(np.where(truth, 20, 90), truth) == 1.0
    assert best_iou(np.full((8, 8), 7), truth) == 9 / 64


@pytest.mark.parametrize("kind", KINDS)
def test_no_global_threshold_separates_the_objects(kind, defaults):
    ious = [
        max(best_iou(channel, mask[..., 0] > 0) for channel in channels(image))
        for image, mask in zip(*defaults[kind], strict=True)
    ]
    assert np.mean(ious) < 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_no_local_threshold_separates_the_objects(kind, defaults):
    ious = []
    for image, mask in zip(*defaults[kind], strict=True):
        best = 0.0
        for channel in channels(image):
            for sigma in (8, 20):
                above = channel - ndimage.gaussian_filter(channel, sigma)
                # The size of the difference finds lighter and darker objects alike.
                for values in (above, abs(above), ndimage.gaussian_filter(abs(above), 1.5)):
                    best = max(best, best_iou(2 * values, mask[..., 0] > 0))
        ious.append(best)
    assert np.mean(ious) < 0.6


def test_an_easy_scene_is_separable_so_the_tests_above_can_fail():
    image, mask = scene("coins", clutter=0.0, contrast=1.0, size=(16, 16))
    flat = abs(image.astype(float) - np.median(image, (0, 1))).max(-1)
    smooth = ndimage.gaussian_filter(flat, 1.0)
    assert best_iou(smooth, mask > 0) > 0.6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(4, 4), (5, 9), (40, 48)])
def test_connected_components_are_the_objects_drawn(kind, size):
    for seed in range(4):
        image, mask = scene(kind, seed, height=160, width=192, count=(5, 5), size=size)
        assert image.dtype == mask.dtype == np.uint8
        assert image.shape == (160, 192, 3) and mask.shape == (160, 192)
        assert set(np.unique(mask)) == {0, 1}
        assert len(objects(mask)) == 5


@pytest.mark.parametrize("kind", KINDS)
def test_objects_keep_their_distance_from_each_other_and_from_the_frame(kind):
    _, mask = scene(kind, height=64, width=64, count=(4, 30), size=(8, 12))
    for region in objects(mask):
        grown = ndimage.binary_dilation(region, EIGHT, iterations=composition.GAP)
        assert not (grown & (mask > 0) & ~region).any()
    frame = np.pad(np.zeros((62, 62), bool), 1, constant_values=True)
    assert not mask[frame].any()


def test_the_mask_of_a_coin_is_the_disc_to_half_a_pixel():
    # A plain coin of diameter 40 covers pi 20^2 = 1257 pixels; others are less than 4 % narrower.
    _, mask = scene("coins", count=(1, 1), size=(40, 40))
    rows, columns = np.nonzero(mask)
    radii = np.hypot(rows - rows.mean(), columns - columns.mean())
    assert 0.9 * np.pi * 20**2 < mask.sum() < 1.02 * np.pi * 20**2
    assert radii.max() < 20.7


def test_the_mask_lies_where_the_object_is_seen():
    """Moving the mask by 2 px any way must lose contrast between it and its surroundings."""

    def contrast(image, mask):
        around = ndimage.binary_dilation(mask, EIGHT, iterations=3) & ~mask
        return abs(image[mask].mean(0) - image[around].mean(0)).sum()

    for kind in KINDS:
        held = 0.0
        moved = np.zeros(4)
        for seed in range(4):
            image, mask = scene(kind, seed, count=(1, 1), size=(20, 24), clutter=0.0)
            image, mask = image.astype(float), mask > 0
            held += contrast(image, mask)
            shifts = [(-2, 0), (2, 0), (0, -2), (0, 2)]
            moved += [contrast(image, np.roll(mask, shift, (0, 1))) for shift in shifts]
        assert (held > moved).all(), kind


# What the arguments say.


def test_count_and_size_are_kept():
    for kind in KINDS:
        counts = [len(objects(scene(kind, seed, count=(2, 5))[1])) for seed in range(12)]
        assert 2 <= min(counts) < max(counts) <= 5
        for low, high in ((6, 9), (20, 28)):
            _, mask = scene(kind, height=160, width=160, count=(8, 8), size=(low, high))
            lengths = [longest(region) for region in objects(mask)]
            assert 0.6 * low < min(lengths) and max(lengths) < high + 2, kind


def test_count_may_be_none():
    image, mask = scene(count=(0, 0))
    assert mask.max() == 0 and image.std() > 1


def test_contrast_scales_the_difference_and_leaves_the_mask():
    def difference(kind, contrast):
        total = 0.0
        for seed in range(4):
            image, mask = scene(kind, seed, contrast=contrast, clutter=0.0)
            bare, _ = scene(kind, seed, contrast=0.0, clutter=0.0)
            change = abs(image.astype(float) - bare).mean(-1)
            total += change[mask > 0].mean()
        return total / 4 / 255

    for kind in KINDS:
        weak, strong = difference(kind, 0.1), difference(kind, 0.4)
        assert 0.03 < weak < 0.15 and 2 * weak < strong, kind
        masks = [scene(kind, contrast=c, clutter=k)[1] for c, k in ((0.1, 0.0), (0.9, 1.0))]
        np.testing.assert_array_equal(*masks)


def test_objects_are_lighter_and_darker_than_the_ground():
    signs = set()
    for seed in range(8):
        image, mask = scene("vehicles", seed, clutter=0.0)
        bare, _ = scene("vehicles", seed, clutter=0.0, contrast=0.0)
        change = image.astype(float).mean(-1) - bare.astype(float).mean(-1)
        signs |= {np.sign(np.median(change[region])) for region in objects(mask)}
    assert signs >= {-1.0, 1.0}


def test_clutter_adds_distractors_outside_the_objects():
    def changed(kind, clutter):
        share = []
        for seed in range(3):
            image, mask = scene(kind, seed, clutter=clutter)
            bare, _ = scene(kind, seed, clutter=0.0)
            far = abs(image.astype(float) - bare).max(-1) > 40
            share.append(far[mask == 0].mean())
        return np.mean(share)

    for kind in KINDS:
        none, some, much = (changed(kind, clutter) for clutter in (0.0, 0.3, 1.0))
        assert none == 0.0 and 0.01 < some < much, kind


def test_classes_are_variants_and_leave_the_picture():
    one, three = (scenes("fish", 4, height=96, width=96, classes=c) for c in (1, 3))
    np.testing.assert_array_equal(one[0], three[0])
    np.testing.assert_array_equal(one[1] > 0, three[1] > 0)
    assert set(np.unique(three[1])) == {0, 1, 2, 3}
    assert set(np.unique(scenes("fish", 4, height=96, width=96, classes=2)[1])) == {0, 1, 2}
    for mask in three[1][..., 0]:  # an object is of one class
        assert all(len(set(mask[region])) == 1 for region in objects(mask))
    assert class_names("fish") == ["fish"]
    assert class_names("fish", 2) == ["slender", "deep or finned"]
    assert len(class_names("mixed", 3)) == 3


def test_kinds_look_different_and_mixed_goes_through_them():
    small = {"height": 64, "width": 64, "count": (1, 2), "size": (6, 20)}
    mixed, _ = scenes("mixed", len(KINDS), seed=3, **small)
    for i, kind in enumerate(KINDS):
        alone, _ = scenes(kind, len(KINDS), seed=3, **small)
        np.testing.assert_array_equal(mixed[i], alone[i])
    assert len({picture.tobytes() for picture in mixed}) == len(KINDS)


def test_every_distractor_is_used_and_every_kind_has_three_variants():
    used = {name for kind in KINDS.values() for name in kind.distractors}
    assert used == set(composition.DISTRACTORS)
    assert all(len(kind.variants) == composition.MAX_CLASSES for kind in KINDS.values())


# In memory and on disk.

SMALL = {"height": 48, "width": 64, "count": (1, 3), "size": (6, 12)}


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_scenes_have_the_shapes_that_fit_wants():
    images, masks = scenes("lesions", 3, seed=1, **SMALL)
    assert images.shape == (3, 48, 64, 3) and images.dtype == np.uint8
    assert masks.shape == (3, 48, 64, 1) and masks.dtype == np.int32


def test_a_seed_gives_the_same_bytes_whatever_the_number(tmp_path):
    first = files(sample(tmp_path / "a", "mixed", images=7, seed=5, **SMALL))
    again = files(sample(tmp_path / "b", "mixed", images=7, seed=5, **SMALL))
    fewer = files(sample(tmp_path / "c", "mixed", images=3, seed=5, **SMALL))
    other = files(sample(tmp_path / "d", "mixed", images=3, seed=6, **SMALL))
    assert first == again and len(first) == 15
    pictures = {name for name in fewer if name.suffix == ".png"}
    assert len(pictures) == 6
    assert all(first[name] == fewer[name] for name in pictures)
    assert all(other[name] != fewer[name] for name in pictures)


def test_sample_writes_what_scenes_draws(tmp_path):
    from PIL import Image

    folder = sample(tmp_path / "deep" / "down", "coins", images=2, classes=2, **SMALL)
    images, masks = scenes("coins", 2, classes=2, **SMALL)
    for i in range(2):
        with Image.open(folder / "images" / f"{i:04d}.png") as picture:
            np.testing.assert_array_equal(np.asarray(picture), images[i])
        with Image.open(folder / "masks" / f"{i:04d}.png") as picture:
            np.testing.assert_array_equal(np.asarray(picture), masks[i, ..., 0])
    note = json.loads((folder / "sample.json").read_text())
    assert note["height"] == 48 and note["contrast"] == 0.35 and note["kind"] == "coins"
    assert note["class_names"] == ["background", "plain", "bimetallic or scalloped"]


def test_a_folder_with_something_in_it_is_left_alone_unless_told(tmp_path):
    kept = tmp_path / "mine.txt"
    kept.write_text("precious")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        sample(tmp_path, images=1, **SMALL)
    assert list(tmp_path.iterdir()) == [kept]
    with pytest.raises(FileExistsError, match="a file"):
        sample(kept, images=1, overwrite=True, **SMALL)
    assert kept.read_text() == "precious"

    folder = tmp_path / "new"
    folder.mkdir()
    sample(folder, images=2, **SMALL)  # empty: fine
    sample(folder, images=1, overwrite=True, **SMALL)
    assert sorted(p.name for p in (folder / "images").iterdir()) == ["0000.png"]


def test_a_sample_that_fails_midway_leaves_nothing(tmp_path, monkeypatch):
    def broken(kind, rng, **arguments):
        if broken.left == 0:
            raise OSError("disk full")
        broken.left -= 1
        return draw(kind, rng, **arguments)

    draw = writing.draw_scene
    settings = writing._check_sample("coins", 3, 0, SMALL)  # before the signature is replaced
    monkeypatch.setattr(writing, "_check_sample", lambda *_: settings)
    monkeypatch.setattr(writing, "draw_scene", broken)
    for stood in (False, True):
        broken.left = 2
        folder = tmp_path / "out"
        if stood:
            folder.mkdir()
            (folder / "old.txt").write_text("old")
        with pytest.raises(OSError, match="disk full"):
            sample(folder, "coins", images=3, overwrite=True)
        assert [p.name for p in tmp_path.rglob("*")] == (["out", "old.txt"] if stood else [])


# Bad arguments.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "coin"}, "Did you mean 'coins'"),
        ({"kind": "mixed"}, "`kind` must be one of"),
        ({"height": 4}, "`height` must be an integer of at least"),
        ({"width": 64.5}, "`width`"),
        ({"count": 4}, "`count` must be a pair"),
        ({"count": (3, 2)}, r"`count\[1\]`"),
        ({"count": (-1, 2)}, r"`count\[0\]`"),
        ({"size": (2, 9)}, r"`size\[0\]`"),
        ({"size": (12, 9)}, r"`size\[1\]`"),
        ({"size": (12, 90)}, r"`size\[1\]`"),
        ({"size": "12"}, "`size` must be a pair"),
        ({"contrast": 1.5}, "`contrast`"),
        ({"clutter": -0.1}, "`clutter`"),
        ({"clutter": float("nan")}, "`clutter`"),
        ({"classes": 4}, "`classes` must be 1 to 3. Received: classes=4"),
        ({"classes": 0}, "`classes`"),
        ({"count": (40, 50), "size": (30, 40)}, "found room on 96 x 128"),
    ],
)
def test_bad_scenes_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        scene(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "boats"}, "`kind`.*'mixed'"),
        ({"images": 0}, "`images`"),
        ({"seed": -1}, "`seed`"),
        ({"clutterr": 0.2}, "Did you mean 'clutter'"),
        ({"size": (2, 9)}, r"`size\[0\]`"),
    ],
)
def test_bad_samples_are_named_before_anything_is_written(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        sample(tmp_path / "out", **arguments)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match=message):
        scenes(**arguments)
