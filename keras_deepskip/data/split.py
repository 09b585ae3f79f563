"""Splits into training, validation and test images that keep groups together."""

import csv
import dataclasses
import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_deepskip._checks import check_choice, check_integer, check_number
from keras_deepskip._files import read_json, write_json
from keras_deepskip.data._layout import PART_FOLDERS, PARTS, same_name
from keras_deepskip.data.folder import find_samples, part_folders
from keras_deepskip.data.samples import Sample
from keras_deepskip.data.stores import local_folder
from keras_deepskip.data.survey import Survey

FRACTIONS = (0.6, 0.15, 0.25)


@dataclasses.dataclass(frozen=True)
class Split:
    """Three lists of `Sample`: for training, for validation during training, and for evaluation."""

    train: list[Sample]
    val: list[Sample]
    test: list[Sample]


def split_samples(
    samples: list[Sample], fractions: Sequence[float] = FRACTIONS, seed: int = 0
) -> Split:
    """Splits samples by a seed, groups whole.

    The result depends on the samples' names, groups and the seed, not on their order. A part whose
    fraction is not 0 gets at least one group.

    Args:
        samples: list of `Sample`.
        fractions: shares of training, validation and test images; they sum to 1.
        seed: integer.

    Returns:
        A `Split`, each part sorted by name.

    Raises:
        ValueError: if there are fewer groups than parts, or if `fractions` are no shares.

    Example:

    ```python
    split = split_samples(find_samples("cells"), seed=1)
    ```
    """
    fractions = _checked_fractions(fractions)
    groups = _groups(samples)
    needed = [part for part in range(3) if fractions[part] > 0]
    if len(groups) < len(needed):
        names = ", ".join(PARTS[part] for part in needed)
        raise ValueError(
            f"At least {len(needed)} images that do not belong together are needed to split into "
            f"{names}. Received: {len(samples)} images in {len(groups)} groups. Add images, or "
            "make the parts yourself: folders train/, val/, test/ (each with images/ and masks/), "
            "or a split file; `group_by` says which images belong together"
        )
    return Split(*_dealt(groups, [len(samples) * fraction for fraction in fractions], seed))


def fold_splits(
    folder: str | os.PathLike | Survey,
    folds: int,
    seed: int = 0,
    group_by: str | None = None,
) -> list[Split]:
    """Splits the samples of a folder for cross-validation, groups whole.

    Each sample is a test sample once; of the others, a fifth is for validation.

    Args:
        folder: the folder, or a `Survey` of it.
        folds: number of splits, at least 2.
        seed: integer.
        group_by: as in `find_samples`.

    Returns:
        A list of `Split`.

    Raises:
        ValueError: if there are fewer groups than folds, or the folder says its own split.

    Example:

    ```python
    for split in fold_splits("cells", folds=5):
        print(len(split.test))
    ```
    """
    check_integer("folds", folds, minimum=2)
    root = folder.folder if isinstance(folder, Survey) else local_folder(folder)
    if root.is_dir() and part_folders(root):
        raise ValueError(
            f"{root}: one folder with images/ and masks/ was expected, as folds are dealt anew. "
            f"Received: {', '.join(f'{part}/' for part in part_folders(root))}. Put the images "
            "into one folder, or train without folds"
        )
    if isinstance(folder, Survey):
        samples = folder.samples("", group_by)
    else:
        samples = find_samples(root, group_by)
    groups = _groups(samples)
    if len(groups) < max(folds, 3):
        raise ValueError(
            f"{root}: at least {max(folds, 3)} images that do not belong together were expected "
            f"for {folds} folds. Received: {len(samples)} images in {len(groups)} groups. Give "
            "fewer folds, or more images"
        )
    parts = _dealt(groups, [len(samples) / folds] * folds, seed)
    splits = []
    for number, test in enumerate(parts, start=1):
        others = [sample for part in parts if part is not test for sample in part]
        if len(_groups(others)) < 2:
            raise ValueError(
                f"{root}: images that do not belong together, to train on and to validate, were "
                f"expected beside each of {folds} folds. Received: one group of images beside fold "
                f"{number}. Give more folds, or more images"
            )
        rest = split_samples(others, (0.8, 0.2, 0), seed)
        splits.append(Split(rest.train, rest.val, test))
    return splits


def load_split(
    folder: str | os.PathLike | Survey,
    split_file: str | os.PathLike | None = None,
    seed: int = 0,
    fractions: Sequence[float] = FRACTIONS,
    group_by: str | None = None,
) -> Split:
    """Finds the samples of a folder and splits them.

    1. With `split_file`: a JSON file `{"train": [names], "val": [names], "test": [names]}`, or a
       CSV file with the columns `name` and `split`. Parts may also be called as folders in 2, in
       any case. Names with or without suffix; images that it does not name are left out.
    2. Else, if `folder` holds `train/`: the sub-folders `train/`, `val/` (or `valid/`,
       `validation/`) and `test/`, each with `images/` and `masks/`.
    3. Else by `split_samples`.

    In 1 and 2 a missing `val` is chosen at random from `train` by the seed; a missing `test` is
    an empty list if there is a `val`, and an error if not. (A JSON list may be empty; then it is
    not missing.)

    Args:
        folder: the folder or its address on a store, or a `Survey` of it, whose files then are
            not read again.
        split_file: None, or the path of a JSON or CSV file.
        seed: seed of the parts that are chosen at random, an integer.
        fractions: shares of training, validation and test images, for random parts.
        group_by: as in `find_samples`.

    Returns:
        A `Split`.

    Raises:
        FileNotFoundError: if the folder or `split_file` is missing.
        ValueError: if the split file names unknown images or one twice, if a part is missing, or
            as `find_samples` and `split_samples`.

    Example:

    ```python
    split = load_split("cells", split_file="run/split.json")
    ```
    """
    survey = folder if isinstance(folder, Survey) else None
    folder = folder.folder if isinstance(folder, Survey) else local_folder(folder)

    def samples(root, part=""):
        return find_samples(root, group_by) if survey is None else survey.samples(part, group_by)

    parts = part_folders(folder) if folder.is_dir() else {}
    if not parts and split_file is None:
        return split_samples(samples(folder), fractions, seed)
    if parts:
        pools = {part: samples(root, part) for part, root in parts.items()}
    else:
        pools = {"train": samples(folder)}
    if split_file is not None:
        pools = _chosen(_read_split_file(Path(split_file)), pools, split_file)
    return _completed(pools, split_file or folder, fractions, seed)


def split_to_json(split: Split) -> dict[str, list[str]]:
    """Returns a split as a dict of lists of names, which `load_split` reads as a split file.

    Example:

    >>> split_to_json(Split([], [], []))
    {'train': [], 'val': [], 'test': []}
    """
    return {part: [sample.name for sample in getattr(split, part)] for part in PARTS}


def write_split(path: str | os.PathLike, split: Split) -> None:
    """Writes a split as a JSON file, which `load_split` reads as a split file.

    Args:
        path: the file to write, atomically.
        split: a `Split`.

    Raises:
        OSError: if it cannot be written.

    Example:

    ```python
    write_split("run/split.json", split)
    ```
    """
    write_json(path, split_to_json(split))


def _checked_fractions(fractions):
    fractions = tuple(check_number("fractions", value, 0, 1) for value in fractions)
    if len(fractions) != 3 or abs(sum(fractions) - 1) > 1e-6 or fractions[0] == 0:
        raise ValueError(
            "`fractions` must be three shares (training, validation, test) that sum to 1, the "
            f"first above 0. Received: fractions={fractions}"
        )
    return fractions


def _groups(samples):
    """Samples by the name of their group."""
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.group, []).append(sample)
    return groups


def _dealt(groups, targets, seed):
    """Distributes groups, each to the part that lacks most of its target number of images."""
    names = sorted(groups)
    names = [names[index] for index in np.random.default_rng(seed).permutation(len(names))]
    # A group larger than the smallest part must be dealt while the large parts are empty.
    smallest = min(target for target in targets if target > 0)
    names.sort(key=lambda name: -len(groups[name]) if len(groups[name]) > smallest else 0)
    parts = [[] for _ in targets]
    for name in names:
        lacking = [
            (1 - len(part) / target if target > 0 else -np.inf, target)
            for part, target in zip(parts, targets, strict=True)
        ]
        parts[lacking.index(max(lacking))] += groups[name]
    return [sorted(part, key=lambda sample: sample.name) for part in parts]


def _read_split_file(path):
    """Returns a dict from part to list of names."""
    if path.suffix.lower() == ".csv":
        chosen = _read_split_table(path)
    else:
        chosen = read_json(path, 'a split {"train": [...], "val": [...], "test": [...]}')
    if not isinstance(chosen, dict) or not all(isinstance(v, list) for v in chosen.values()):
        raise ValueError(
            f'{path}: {{"train": [names], "val": [names], "test": [names]}} was expected. '
            f"Received: {str(chosen)[:80]}"
        )
    parts: dict[str, list] = {}
    for name, listed in chosen.items():
        parts.setdefault(_part(name, path), []).extend(listed)
    return parts


def _part(name, path):
    """A part by its name, or any that its folder may have."""
    for part, names in PART_FOLDERS.items():
        if name.lower() in names:
            return part
    try:
        return check_choice("split", name, PARTS)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read_split_table(path):
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: a split file was expected here, and there is no such file"
        )
    rows = _rows(path)
    if not rows or "name" not in rows[0] or "split" not in rows[0]:
        columns = ", ".join(str(column) for column in rows[0]) if rows else "no rows"
        raise ValueError(f"{path}: the columns name and split were expected. Received: {columns}")
    chosen = {}
    for row in rows:
        name, part = ((row[key] or "").strip() for key in ("name", "split"))
        if name or part:  # spreadsheets write empty rows too
            chosen.setdefault(part, []).append(name)
    return chosen


def _rows(path):
    """The rows of a table as spreadsheets write it: with a byte order mark, semicolons, Latin-1."""
    content = path.read_bytes()
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")  # older spreadsheets, Western Europe
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows.fieldnames = [name.strip().lower() for name in rows.fieldnames or ()]
    return list(rows)


def _chosen(names, pools, split_file):
    """Looks the names of a split file up in the pools of samples."""
    known = {part: _by_name(pool) for part, pool in pools.items()}
    chosen, seen, unknown = {part: [] for part in names}, {}, []
    for part, name in ((part, str(name)) for part, listed in names.items() for name in listed):
        # Sub-folders may use a name twice; then the part's own comes first.
        key = same_name(name)
        found = [known[pool][key] for pool in (part, *PARTS) if key in known.get(pool, {})]
        if not found:
            unknown.append(name)
        elif found[0].image in seen:
            raise ValueError(
                f"{split_file}: each image once was expected. Received: {name!r} in "
                f"{seen[found[0].image]} and in {part}"
            )
        else:
            seen[found[0].image] = part
            chosen[part].append(found[0])
    if unknown:
        there = [sample.name for pool in pools.values() for sample in pool]
        raise ValueError(
            f"{split_file}: names of images in the folder were expected. Received: "
            f"{len(unknown)} unknown, such as {', '.join(map(repr, unknown[:5]))}; the folder has "
            f"{len(there)}, such as {', '.join(map(repr, there[:3]))}"
        )
    return chosen


def _by_name(samples):
    """Samples by file name and, before that, by name without suffix."""
    named = {s.image.name: s for s in samples} | {s.name: s for s in samples}
    return {same_name(name): sample for name, sample in named.items()}


def _completed(pools, source, fractions, seed):
    """Makes a Split of the parts given; a missing validation part is taken from training."""
    if not pools.get("train"):
        raise ValueError(f"{source}: images to train on were expected. Received: none in train")
    if "test" not in pools and "val" not in pools:
        raise ValueError(
            f"{source}: a test or val part was expected in addition to train. Received: "
            "train alone. Give the folder that holds images/ and masks/: it is split by the seed"
        )
    train, val = pools["train"], pools.get("val")
    if val is None:
        fractions = _checked_fractions(fractions)
        if not fractions[1]:
            raise ValueError(
                f"{source}: there is no validation part, which `fractions` must give a share. "
                f"Received: fractions={fractions}"
            )
        share = fractions[1] / (fractions[0] + fractions[1])
        parts = split_samples(train, (1 - share, share, 0), seed)
        train, val = parts.train, parts.val
    return Split(list(train), list(val), list(pools.get("test", [])))
