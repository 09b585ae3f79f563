"""Surveys: each file read once, results equal to reading them all again, a cache never trusted."""

import collections
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

from keras_deepskip.data import (
    CropDataset,
    MaskReading,
    Survey,
    WindowDataset,
    _decoders,
    _survey_cache,
    audit,
    channel_statistics,
    find_samples,
    load_split,
    value_range,
)
from keras_deepskip.data.images import write_png
from tests.test_data_folder import put

pytestmark = pytest.mark.one_backend

NAMES = ["a", "b", "c", "d", "e", "f", "g", "h"]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_DEEPSKIP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path, cache):
    """Eight images with masks; two images are the same file, two masks too."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(NAMES):
        image = rng.integers(0, 256, (20, 24, 3), "uint8")
        mask = np.zeros((20, 24), "uint8")
        mask[2 + number : 6 + number, 3:8] = 255
        put(tmp_path / "set", name, image, mask)
    for kind, (old, new) in {"images": "ab", "masks": "cd"}.items():
        data = (tmp_path / "set" / kind / f"{old}.png").read_bytes()
        (tmp_path / "set" / kind / f"{new}.png").write_bytes(data)
    aged(tmp_path / "set")
    return tmp_path / "set"


def aged(folder, seconds=100):
    """Makes files older than those that the cache leaves out as too recent."""
    at = time.time_ns() - seconds * 10**9
    for path in folder.rglob("*.*"):
        os.utime(path, ns=(at, at))


@pytest.fixture
def decodes(monkeypatch):
    """Counts the decodes of each file."""
    counts, decode = collections.Counter(), _decoders.decode

    def counted(path, data=None, **how):
        counts[Path(path).parent.name + "/" + Path(path).name] += 1
        return decode(path, data, **how)

    monkeypatch.setattr(_decoders, "decode", counted)
    return counts


@pytest.fixture
def opens(monkeypatch):
    """Counts the files that are opened by Python's `open`."""
    import builtins
    import io

    counts, original = collections.Counter(), builtins.open

    def counted(file, *args, **kwargs):
        if isinstance(file, (str, Path)):
            counts[Path(file).parent.name + "/" + Path(file).name] += 1
        return original(file, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", counted)
    monkeypatch.setattr(io, "open", counted)
    return counts


def findings(report):
    return report.to_dict()


def names(split):
    return [[(s.name, s.group) for s in getattr(split, part)] for part in ("train", "val", "test")]


# ---- One pass -----------------------------------------------------------------------------------


def test_each_file_is_opened_and_decoded_once(folder, decodes, opens):
    survey = Survey.of(folder)
    audit(survey)
    split = load_split(survey)
    everything = split.train + split.val + split.test
    channel_statistics(everything, 3, survey)
    channel_statistics(everything, 1, survey)
    value_range(everything, survey)
    CropDataset(everything, crop_size=8, survey=survey)
    WindowDataset(everything, crop_size=8, survey=survey)
    files = {f"{kind}/{name}.png": 1 for kind in ("images", "masks") for name in NAMES}
    assert decodes == files
    assert {name: count for name, count in opens.items() if name in files} == files


def test_results_are_those_of_reading_the_files(folder):
    survey = Survey.of(folder)
    assert findings(audit(survey)) == findings(audit(folder))
    split = load_split(survey)
    assert split == load_split(folder)
    groups = {sample.name: sample.group for sample in split.train + split.val + split.test}
    assert (
        groups["a"] == groups["b"] and groups["c"] == groups["d"] and len(set(groups.values())) == 6
    )
    for how in ({"seed": 1}, {"seed": 2, "group_by": "^([a-d]|.)"}):
        assert names(load_split(survey, **how)) == names(load_split(folder, **how))
    by_name = Survey.of(folder, group_by="^(.)")
    assert names(load_split(by_name)) == names(load_split(folder, group_by="^(.)"))
    assert value_range(split.train, survey) == value_range(split.train)
    for channels in (1, 3):
        for ours, theirs in zip(
            channel_statistics(split.train, channels, survey),
            channel_statistics(split.train, channels),
            strict=True,
        ):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9)


KINDS = {
    "gray": ((), "uint8", (1, 3)),
    "rgb": ((3,), "uint8", (1, 3)),
    "rgba": ((4,), "uint8", (1, 3, 4)),
    "rgb16": ((3,), "uint16", (1, 3)),
    "float": ((3,), "float32", (1, 3)),
    "stack": ((5,), "uint8", (5,)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_statistics_of_any_subset_and_number_of_channels(tmp_path, cache, kind):
    """Against mean and variance of all pixels at once, after the conversion of each image."""
    from keras_deepskip.data import load_image

    shape, dtype, expected = KINDS[kind]
    rng = np.random.default_rng(1)
    for name in "abc":
        size = (int(rng.integers(8, 40)), 13)
        image = rng.random((*size, *shape)) * (1 if dtype == "float32" else 200)
        options = {"extrasamples": ["unassalpha"]} if kind == "rgba" else {}
        (tmp_path / "images").mkdir(exist_ok=True)
        photometric = "rgb" if shape in ((3,), (4,)) else "minisblack"
        tifffile.imwrite(
            tmp_path / "images" / f"{name}.tif",
            image.astype(dtype),
            photometric=photometric,
            **options,
        )
        write_png(tmp_path / "masks" / f"{name}.png", np.ones(size, "uint8"))
    survey = Survey.of(tmp_path)
    samples = find_samples(tmp_path)
    for subset in (samples, samples[1:], samples[:1]):
        for channels in expected:
            pixels = np.concatenate(
                [load_image(s, channels).reshape(-1, channels).astype("float64") for s in subset]
            )
            mean, variance = channel_statistics(subset, channels, survey)
            np.testing.assert_allclose(mean, pixels.mean(axis=0), rtol=1e-9)
            np.testing.assert_allclose(variance, pixels.var(axis=0), rtol=1e-9)
    assert value_range(samples, survey) == value_range(samples)


def test_errors_are_those_of_reading_the_files(folder):
    tifffile.imwrite(folder / "images" / "z.tif", np.full((20, 24, 3), np.inf, "float32"))
    write_png(folder / "masks" / "z.png", np.ones((20, 24), "uint8"))
    tifffile.imwrite(folder / "images" / "y.tif", np.ones((20, 24, 5), "float32"))
    write_png(folder / "masks" / "y.png", np.ones((20, 24), "uint8"))
    survey, samples = Survey.of(folder), find_samples(folder)
    for samples_of, call in (
        (samples[-1:], lambda s, **known: channel_statistics(s, 3, **known)),
        (samples[-2:-1], lambda s, **known: channel_statistics(s, 3, **known)),
        (samples[-3:], lambda s, **known: value_range(s, **known)),
    ):
        with pytest.raises(ValueError) as expected:
            call(samples_of)
        with pytest.raises(ValueError) as received:
            call(samples_of, survey=survey)
        assert str(received.value) == str(expected.value)


def test_what_is_broken_is_kept_as_an_exception(folder):
    (folder / "images" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (folder / "masks" / "b.png").write_bytes(b"")
    survey = Survey.of(folder)
    samples = {sample.name: sample for sample in survey.all_samples}
    assert "a.png" in str(survey.image(samples["a"])) and "b.png" in str(survey.mask(samples["b"]))
    assert findings(audit(survey)) == findings(audit(folder))
    (folder / "masks" / "c.png").unlink()
    with pytest.raises(ValueError, match=r"no mask for 1 of 8 images: c\.png"):
        load_split(Survey.of(folder))


def test_the_survey_counts_classes_and_objects(folder):
    mask = np.zeros((20, 24), "uint8")
    mask[0:2, 0:3], mask[5:10, 5], mask[15, 15] = 1, 3, 255
    write_png(folder / "masks" / "a.png", mask)
    survey = Survey.of(folder, MaskReading(ignore_class=255))
    facts = survey.mask(survey.all_samples[0])
    assert facts.counts == [[0, 20 * 24 - 12], [1, 6], [3, 5], [255, 1]]
    assert facts.areas == [6, 5] and facts.sides == [3, 5]
    found = survey.kind_of(survey.reading).reading.num_classes
    assert found == 4 == audit(survey).figures["suggested_num_classes"]


def test_another_reading_of_the_masks_is_refused(folder):
    survey = Survey.of(folder)
    assert audit(survey, MaskReading(num_classes=1)).ok
    with pytest.raises(ValueError, match="`masks` must have the colours and the ignored class"):
        audit(survey, MaskReading(ignore_class=255))


# ---- The cache ----------------------------------------------------------------------------------


def state(survey):
    """All facts of a survey, to compare."""
    return {
        sample.name: (survey.image(sample), survey.mask(sample)) for sample in survey.all_samples
    }


def test_an_unchanged_folder_is_not_read_again(folder, decodes, opens):
    first = Survey.of(folder)
    decodes.clear(), opens.clear()
    again = Survey.of(folder)
    assert not decodes and not [name for name in opens if name.endswith(".png")]
    assert state(again) == state(first)
    assert findings(audit(again)) == findings(audit(first))
    assert load_split(again) == load_split(first)
    assert not [name for name in opens if name.endswith(".png")]


def change(folder):
    write_png(folder / "images" / "c.png", np.full((20, 24, 3), 9, "uint8"))
    return {"images/c.png"}


def touch(folder):
    os.utime(folder / "images" / "c.png", ns=(10**18, 10**18 + 1))
    return {"images/c.png"}


def same_size_and_other_bytes(folder):
    """Only the time differs, by one nanosecond."""
    path = folder / "masks" / "c.png"
    status = path.stat()
    path.write_bytes((folder / "masks" / "e.png").read_bytes())
    if path.stat().st_size != status.st_size:
        path.write_bytes(path.read_bytes()[: status.st_size].ljust(status.st_size, b"\0"))
    os.utime(path, ns=(status.st_mtime_ns, status.st_mtime_ns + 1))
    return {"masks/c.png"}


def add(folder):
    put(folder, "new", np.ones((20, 24, 3), "uint8"), np.ones((20, 24), "uint8"))
    return {"images/new.png", "masks/new.png"}


def remove(folder):
    (folder / "images" / "h.png").unlink()
    (folder / "masks" / "h.png").unlink()
    return set()


def rename(folder):
    (folder / "images" / "h.png").rename(folder / "images" / "i.png")
    (folder / "masks" / "h.png").rename(folder / "masks" / "i.png")
    return {"images/i.png", "masks/i.png"}


@pytest.mark.parametrize("edit", [change, touch, same_size_and_other_bytes, add, remove, rename])
def test_only_what_changed_is_read_again(folder, decodes, tmp_path, monkeypatch, edit):
    Survey.of(folder)
    decodes.clear()
    changed = edit(folder)
    survey = Survey.of(folder)
    assert set(decodes) == changed
    monkeypatch.setenv("KERAS_DEEPSKIP_CACHE", str(tmp_path / "another"))
    anew = Survey.of(folder)
    for (image, mask), (other_image, other_mask) in zip(
        state(survey).values(), state(anew).values(), strict=True
    ):
        assert image == other_image
        assert mask == other_mask or str(mask) == str(other_mask)
    assert findings(audit(survey)) == findings(audit(anew))


def test_a_file_that_has_just_been_written_is_not_kept(folder, decodes):
    """Written again within the clock's step it would have the same size and time."""
    write_png(folder / "images" / "c.png", np.full((20, 24, 3), 9, "uint8"))
    Survey.of(folder)
    decodes.clear()
    Survey.of(folder)
    assert set(decodes) == {"images/c.png"}


def test_other_readings_and_limits_have_surveys_of_their_own(folder, decodes, monkeypatch):
    Survey.of(folder)
    decodes.clear()
    Survey.of(folder, MaskReading(num_classes=5))
    assert not decodes
    Survey.of(folder, MaskReading(ignore_class=7))
    assert len(decodes) == 16
    decodes.clear()
    monkeypatch.setenv("KERAS_DEEPSKIP_MAX_PIXELS", "100")
    survey = Survey.of(folder)
    assert all(isinstance(facts, ValueError) for pair in state(survey).values() for facts in pair)


def test_failures_are_not_kept(folder, decodes):
    (folder / "images" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    aged(folder)
    Survey.of(folder)
    decodes.clear()
    assert isinstance(state(Survey.of(folder))["a"][0], ValueError)
    assert set(decodes) == {"images/a.png"}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: "no survey",
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"infinite": false', '"infinite": true', 1),
        lambda text: "\0" * len(text),
        lambda text: "0" * 64 + "\n" + json.dumps([1, 2, 3]),
    ],
)
def test_a_corrupt_cache_is_no_cache(folder, cache, decodes, spoil):
    first = Survey.of(folder)
    (path,) = cache.iterdir()
    path.write_text(spoil(path.read_text()))
    decodes.clear()
    assert state(Survey.of(folder)) == state(first) and len(decodes) == 16
    decodes.clear()
    Survey.of(folder)
    assert not decodes, "it was written anew"


def test_a_cache_that_cannot_be_written_is_no_error(folder, cache, monkeypatch, tmp_path):
    cache.write_text("a file where the folder should be")
    first = Survey.of(folder)
    assert cache.read_text() == "a file where the folder should be"
    monkeypatch.delenv("KERAS_DEEPSKIP_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert state(Survey.of(folder)) == state(first)


def test_surveys_that_nobody_uses_are_removed(folder, cache, decodes, tmp_path):
    """Those of 90 days ago; one that was read since then is left, and so are other files."""
    Survey.of(folder)
    (used,) = cache.glob("survey-*.json")
    unused, other = cache / "survey-0.json", cache / "notes.json"
    for path in (unused, other):
        path.write_text("{}")
    long_ago = time.time() - 91 * 24 * 3600
    for path in (used, unused, other):
        os.utime(path, (long_ago, long_ago))
    decodes.clear()
    Survey.of(folder)  # reads it
    assert not decodes and unused.exists()
    another = tmp_path / "another"
    shutil.copytree(folder, another)
    Survey.of(another)
    assert used.exists() and other.exists() and not unused.exists()


def test_a_read_only_cache_folder(folder, cache, decodes, monkeypatch):
    def refused(path, text):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(_survey_cache, "write_text", refused)  # root may write everywhere
    first = Survey.of(folder)
    decodes.clear()
    assert state(Survey.of(folder)) == state(first)
    assert len(decodes) == 16 and not cache.exists()


def test_where_the_cache_lies(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_DEEPSKIP_CACHE", str(tmp_path))
    assert _survey_cache.cache_folder() == tmp_path
    monkeypatch.delenv("KERAS_DEEPSKIP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert _survey_cache.cache_folder() == tmp_path / "keras_deepskip"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert _survey_cache.cache_folder() == Path.home() / ".cache" / "keras_deepskip"


def test_an_interrupted_survey_resumes(folder, cache, monkeypatch):
    decode, seen = _decoders.decode, []

    def interrupted(path, data=None, **how):
        if len(seen) == 6:
            raise KeyboardInterrupt
        seen.append(Path(path).name)
        return decode(path, data, **how)

    monkeypatch.setattr(_decoders, "decode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Survey.of(folder)
    assert len(list(cache.iterdir())) == 1, "one whole file, no temporary one"
    monkeypatch.setattr(
        _decoders, "decode", lambda *args, **how: seen.append(0) or decode(*args, **how)
    )
    survey = Survey.of(folder)
    assert len(seen) == 16, "what was read before is not read again"
    monkeypatch.setenv("KERAS_DEEPSKIP_CACHE", str(cache / "another"))
    assert state(Survey.of(folder)) == state(survey)


def test_a_relative_folder_has_the_same_cache(folder, decodes, monkeypatch):
    Survey.of(folder)
    decodes.clear()
    monkeypatch.chdir(folder.parent)
    Survey.of(folder.name)
    monkeypatch.chdir(folder)
    assert audit(Survey.of(".")).ok
    assert not decodes


def test_parts_and_coco_are_surveyed(tmp_path, cache, decodes):
    pytest.importorskip("pycocotools")
    image = np.random.default_rng(0).integers(0, 256, (12, 12, 3), "uint8")
    for name in "ab":
        write_png(tmp_path / "train" / "images" / f"{name}.png", image)
    content = {
        "images": [
            {"id": n, "file_name": f"{name}.png", "height": 12, "width": 12}
            for n, name in enumerate("ab")
        ],
        "annotations": [
            {"id": 1, "image_id": 0, "category_id": 1, "area": 9, "iscrowd": 0,
             "segmentation": [[1, 1, 4, 1, 4, 4, 1, 4]]}
        ],
        "categories": [{"id": 1, "name": "cell"}],
    }  # fmt: skip
    annotations = tmp_path / "train" / "annotations.json"
    annotations.write_text(json.dumps(content))
    put(tmp_path / "val", "c", image, np.ones((12, 12), "uint8"))
    aged(tmp_path)
    survey = Survey.of(tmp_path)
    assert list(survey.pools) == ["train", "val"]
    assert findings(audit(survey)) == findings(audit(tmp_path))
    assert load_split(survey) == load_split(tmp_path)
    assert survey.mask(survey.all_samples[0]).areas == [9]
    decodes.clear()
    content["annotations"][0]["segmentation"] = [[1, 1, 6, 1, 6, 4, 1, 4]]
    annotations.write_text(json.dumps(content))
    assert Survey.of(tmp_path).mask(survey.all_samples[0]).areas == [15]
    assert not decodes, "the images have not changed"


def test_progress_is_shown_when_asked(folder, capsys):
    Survey.of(folder)
    assert capsys.readouterr().out == ""
    Survey.of(folder, verbose=1)
    assert "8/8" in capsys.readouterr().out


def test_real_images(real_data, cache):
    for name in ("ecoli", "mri_tumour"):
        survey = Survey.of(real_data / name)
        assert findings(audit(survey)) == findings(audit(real_data / name))
        split = load_split(survey)
        assert split == load_split(real_data / name)
        channels = survey.image(split.train[0]).shape[2]
        for ours, theirs in zip(
            channel_statistics(split.train, channels, survey),
            channel_statistics(split.train, channels),
            strict=True,
        ):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9)
