"""Splits: groups whole, parts not empty, the same whatever the order, readable again."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_deepskip.data.auditing import audit
from keras_deepskip.data.folder import find_samples
from keras_deepskip.data.images import write_png
from keras_deepskip.data.samples import Sample
from keras_deepskip.data.split import (
    PARTS,
    Split,
    fold_splits,
    load_split,
    split_samples,
    split_to_json,
    write_split,
)
from keras_deepskip.data.survey import Survey
from tests.test_data_folder import put

pytestmark = pytest.mark.one_backend


def random_samples(sizes):
    return [
        Sample(f"{group:02}_{number}", Path(f"{group:02}_{number}.png"), None, f"g{group}")
        for group, size in enumerate(sizes)
        for number in range(size)
    ]


@given(st.lists(st.integers(1, 6), min_size=3, max_size=30), st.integers(0, 99), st.randoms())
@settings(max_examples=150, deadline=None)
def test_groups_stay_whole_and_order_does_not_matter(sizes, seed, random):
    samples = random_samples(sizes)
    split = split_samples(samples, seed=seed)
    parts = [split.train, split.val, split.test]
    assert sorted(s.name for part in parts for s in part) == [s.name for s in samples]
    assert all(parts)
    where = {sample.group: part for part, listed in enumerate(parts) for sample in listed}
    assert all(where[s.group] == part for part, listed in enumerate(parts) for s in listed)
    shuffled = list(samples)
    random.shuffle(shuffled)
    assert split_samples(shuffled, seed=seed) == split
    if max(sizes) == 1:
        for part, share in zip(parts, (0.6, 0.15, 0.25), strict=True):
            assert abs(len(part) - share * len(samples)) <= 1.5


def test_the_seed_decides():
    samples = random_samples([1] * 20)
    names = {tuple(s.name for s in split_samples(samples, seed=seed).test) for seed in range(5)}
    assert len(names) == 5
    # each image comes into the test part in about a quarter of the seeds
    often = Counter(s.name for seed in range(200) for s in split_samples(samples, seed=seed).test)
    assert min(often.values()) > 25 and max(often.values()) < 80


def test_a_large_group_goes_to_training():
    split = split_samples(random_samples([1, 1, 30, 1, 1]), seed=3)
    assert len(split.train) >= 30


def test_fractions_of_zero_make_empty_parts():
    split = split_samples(random_samples([1, 1]), (0.5, 0.5, 0))
    assert (len(split.train), len(split.val), len(split.test)) == (1, 1, 0)
    for fractions in [(0.5, 0.5), (0.5, 0.5, 0.5), (0, 0.5, 0.5), (1.5, -0.5, 0)]:
        with pytest.raises(ValueError, match="fractions"):
            split_samples(random_samples([1, 1, 1]), fractions)


def test_too_few_groups_say_what_to_do(tmp_path):
    put(tmp_path, "a")
    with pytest.raises(
        ValueError, match=r"At least 3 .* 1 images in 1 groups.*train/, val/, test/"
    ):
        load_split(tmp_path)
    with pytest.raises(ValueError, match="2 groups"):
        split_samples(random_samples([4, 3]))


@pytest.fixture
def folder(tmp_path):
    for name in "abcdefgh":
        put(tmp_path, name)
    return tmp_path


def names(split):
    return {part: "".join(s.name for s in getattr(split, part)) for part in PARTS}


def test_seeded_split_and_its_file_agree(folder, tmp_path):
    split = load_split(folder, seed=5)
    write_split(tmp_path / "run" / "split.json", split)
    assert load_split(folder, tmp_path / "run" / "split.json", seed=6) == split
    assert json.loads((tmp_path / "run" / "split.json").read_text()) == split_to_json(split)
    assert load_split(folder, seed=6) != split


def test_an_empty_part_is_written_and_read_as_empty(folder):
    samples = load_split(folder).train
    write_split(folder / "s.json", Split(samples, [], []))
    assert load_split(folder, folder / "s.json") == Split(samples, [], [])


def test_split_files(folder):
    (folder / "s.json").write_text('{"train": ["a", "b.png"], "val": ["c"], "test": ["d"]}')
    assert names(load_split(folder, folder / "s.json")) == {"train": "ab", "val": "c", "test": "d"}
    (folder / "s.csv").write_text("name,split\na.png,train\nb, train\nc,test\nd,val\n")
    assert names(load_split(folder, folder / "s.csv")) == {"train": "ab", "val": "d", "test": "c"}
    (folder / "s.csv").write_text(
        "File,Name , SPLIT\n1,a,Training\n,,\n2,b,train\n3,c,validation\n4,d,VAL\n5,e,test\n , ,"
    )
    assert names(load_split(folder, folder / "s.csv")) == {"train": "ab", "val": "cd", "test": "e"}
    (folder / "s.json").write_text('{"training": ["a", "b"], "Val": ["c"]}', "utf-8-sig")
    assert names(load_split(folder, folder / "s.json")) == {"train": "ab", "val": "c", "test": ""}
    (folder / "s.json").write_text('{"train": ["a", "b", "c", "e"], "test": ["d"]}')
    split = load_split(folder, folder / "s.json")  # val is taken from train
    assert sorted(s.name for s in split.train + split.val) == list("abce") and split.val


@pytest.mark.parametrize(
    "content, words",
    [
        ('{"train": ["a", "x", "y"], "test": ["b"]}', "2 unknown, such as 'x', 'y'.*'a'"),
        ('{"train": ["a", "b"], "test": ["b.png"]}', "'b.png' in train and in test"),
        ('{"train": ["a", "a"], "test": ["b"]}', "'a' in train and in train"),
        ('{"train": ["a"], "tset": ["b"]}', "Did you mean 'test'"),
        ('{"train": ["a"]}', "test or val part was expected"),
        ('{"train": [], "test": ["a"]}', "none in train"),
        ('["a", "b"]', "was expected. Received"),
        ("not json", "no valid JSON"),
    ],
)
def test_wrong_split_files_are_named(folder, content, words):
    (folder / "s.json").write_text(content)
    with pytest.raises(ValueError, match=rf"s\.json.*{words}"):
        load_split(folder, folder / "s.json")


def test_wrong_split_tables_are_named(folder):
    for content, words in [
        ("a,b\n1,2\n", "columns name and split"),
        ("name,split\na,tran", "tran"),
    ]:
        (folder / "s.csv").write_text(content)
        with pytest.raises(ValueError, match=rf"s\.csv.*{words}"):
            load_split(folder, folder / "s.csv")
    for name in ("none.csv", "none.json"):
        with pytest.raises(FileNotFoundError, match=name):
            load_split(folder, folder / name)


def test_sub_folders(tmp_path):
    for part, inside in [("train", "abcd"), ("test", "ax")]:
        for name in inside:
            put(tmp_path / part, name, seed=ord(name) + len(part))
    split = load_split(tmp_path)
    assert sorted(s.name for s in split.train + split.val) == list("abcd")
    assert split.val and names(split)["test"] == "ax"
    # the same name in two sub-folders: each part's own comes first
    write_split(tmp_path / "s.json", split)
    assert load_split(tmp_path, tmp_path / "s.json", seed=9) == split
    put(tmp_path / "val", "v")
    assert names(load_split(tmp_path)) == {"train": "abcd", "val": "v", "test": "ax"}


def test_sub_folders_without_a_test_part(tmp_path):
    for name in "abc":
        put(tmp_path / "train", name)
    with pytest.raises(ValueError, match="test or val part was expected"):
        load_split(tmp_path)
    put(tmp_path / "val", "v")
    assert names(load_split(tmp_path)) == {"train": "abc", "val": "v", "test": ""}


@pytest.mark.real_data
@pytest.mark.parametrize("seed", range(5))
def test_a_field_in_two_modalities_stays_in_one_part(real_data, seed):
    split = load_split(real_data / "ecoli", seed=seed)
    parts = [{s.name[:-3] for s in getattr(split, part)} for part in PARTS]
    assert all(parts) and len(set.union(*parts)) == sum(map(len, parts)) == 7


# ---- Folders and names as tools and spreadsheets write them --------------------------------------


def parts_of(root, **numbers):
    for folder, count in numbers.items():
        for index in range(count):
            put(root / folder, f"{folder}{index}")
    return root


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Valid"])
def test_the_validation_folder_by_any_of_its_names(tmp_path, name):
    split = load_split(parts_of(tmp_path, train=4, **{name: 2}, test=1))
    assert [len(part) for part in (split.train, split.val, split.test)] == [4, 2, 1]
    surveyed = load_split(Survey.of(tmp_path))
    assert split_to_json(surveyed) == split_to_json(split)
    assert audit(tmp_path).figures["val"] == 2


def test_two_validation_folders_are_refused(tmp_path):
    parts_of(tmp_path, train=2, val=1, valid=1)
    with pytest.raises(ValueError, match="one folder for the val part.*val and valid"):
        load_split(tmp_path)
    assert not audit(tmp_path).ok


def test_folders_that_no_part_uses_are_told(tmp_path):
    parts_of(tmp_path, train=3, test=1, extra=2)
    messages = [finding.message for finding in audit(tmp_path).findings]
    assert "extra/ holds 2 images that no part uses" in messages


def test_suffixes_in_capitals(tmp_path):
    for name, suffix in (("a", ".PNG"), ("b", ".TIFF"), ("c", ".JPEG"), ("d", ".Tif")):
        put(tmp_path, name)
        (tmp_path / "images" / f"{name}.png").rename(tmp_path / "images" / f"{name}{suffix}")
    assert [sample.name for sample in find_samples(tmp_path)] == ["a", "b", "c", "d"]


def test_an_accent_composed_or_as_a_letter_of_its_own(tmp_path):
    composed, decomposed = "zell\u00e9", "zelle\u0301"
    put(tmp_path, composed, mask=False)
    for name in ("other", "third"):
        put(tmp_path, name)
    write_png(tmp_path / "masks" / f"{decomposed}.png", np.ones((6, 5), "uint8"))
    assert all(sample.mask is not None for sample in find_samples(tmp_path))
    table = tmp_path / "split.csv"
    table.write_text(f"name,split\n{decomposed},train\nother,val\n", encoding="utf-8")
    split = load_split(tmp_path, split_file=table)
    assert [sample.name for sample in split.train] == [composed]


@pytest.mark.parametrize(
    ("encoding", "delimiter"),
    [("utf-8", ","), ("utf-8-sig", ";"), ("cp1252", ";"), ("utf-16", "\t"), ("utf-8", "\t")],
)
def test_tables_of_spreadsheets(tmp_path, encoding, delimiter):
    for name in ("häu", "b", "c"):
        put(tmp_path, name)
    rows = [("name", "split"), ("häu", "train"), ("b", "val"), ("c", "test")]
    text = "\r\n".join(delimiter.join(row) for row in rows) + "\r\n"
    (tmp_path / "split.csv").write_bytes(text.encode(encoding))
    split = load_split(tmp_path, split_file=tmp_path / "split.csv")
    assert split_to_json(split) == {"train": ["häu"], "val": ["b"], "test": ["c"]}


def test_folds_and_shares_that_cannot_be(tmp_path):
    for name in "abc":
        put(tmp_path, name)
    for folds in (0, 1, 2.5):
        with pytest.raises(ValueError, match="`folds`"):
            fold_splits(tmp_path, folds)
    with pytest.raises(ValueError, match="to train on and to validate, .* beside each of 2 folds"):
        fold_splits(tmp_path, 2)
    for part in ("train", "test"):
        for name in "abc":
            put(tmp_path / "parts" / part, f"{part}_{name}")
    for fractions in ((0, 0, 1), (0.5, 0.9)):
        with pytest.raises(ValueError, match="`fractions` must be three shares"):
            load_split(tmp_path / "parts", fractions=fractions)
    with pytest.raises(ValueError, match="no validation part, which `fractions` must give"):
        load_split(tmp_path / "parts", fractions=(0.5, 0, 0.5))
