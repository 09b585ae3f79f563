"""The command that trains a run again, from what its folder says of its arguments."""

import json
import shlex

import numpy as np

from keras_deepskip.architectures import find_architecture
from keras_deepskip.data.split import FRACTIONS
from keras_deepskip.training.recipe import Recipe

# Options of the network that have a flag; others are given by --option.
FLAGS = (
    "architecture", "backbone", "weights", "skips", "levels", "base_filters", "kernel_size",
    "dropout",
)  # fmt: skip


def command_of(config, data, out, split_file):
    """The command line that repeats a training run.

    Args:
        config: what `config.json` of the run holds.
        data: the folder of images and masks.
        out: the folder of the run.
        split_file: the run's split, which is given where its shares are no option of the command.

    Returns:
        A text, quoted for a shell; None of a run on a model of the user's own.
    """
    if config.get("model", {}).get("own", False):
        return None
    words = ["keras-deepskip", "train", "--data", str(data), "--out", str(out)]
    words += recipe_flags(config["recipe"])
    words += _model_flags(config.get("model", {}))
    words += data_flags(config["data"], split_file)
    return shlex.join(words)


def recipe_flags(fields):
    """The flags of a recipe's fields that are not the usual ones."""
    usual, words = Recipe().to_dict(), []
    for name, value in fields.items():
        if value == usual.get(name):
            continue
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", _shortest(value) if isinstance(value, float) else str(value)]
    return words


def _model_flags(options):
    options = {name: value for name, value in options.items() if name != "own"}
    usual = find_architecture(options.get("architecture", "deepskip")).options
    words = []
    for name, value in options.items():
        if value == {**usual, "architecture": "deepskip"}.get(name) or value is None:
            continue
        if name in FLAGS:
            words += [f"--{name.replace('_', '-')}", str(value)]
        else:
            words += ["--option", f"{name}={json.dumps(value)}"]
    return words


def _shortest(number):
    if float(number).is_integer():
        return str(int(number))
    return np.format_float_positional(number, trim="-")  # argparse takes -1e-05 for a flag


def data_flags(fields, split_file=None):
    """The flags of how images and masks are read and split; what `fields` lack has none.

    Args:
        fields: those of `MaskReading.to_dict`, `channels`, `input_range`, `group_by`, `split_file`
            and `fractions`.
        split_file: the file that says the split, where its shares are no flag.
    """
    words = []
    for name, flag in (("num_classes", "num-classes"), ("ignore_class", "ignore-class"),
                       ("kind", "mask-kind"), ("channels", "channels"),
                       ("group_by", "group-by")):  # fmt: skip
        if fields.get(name) is not None:
            text = str(fields[name])
            words += [f"--{flag}={text}"] if text.startswith("-") else [f"--{flag}", text]
    for red, green, blue, class_id in fields.get("colors") or ():
        words += ["--color", f"{red},{green},{blue}={class_id}"]
    for value, class_id in fields.get("values") or ():
        words += ["--mask-value", f"{value}={class_id}"]
    if fields.get("input_range"):
        words += ["--input-range", *(_shortest(value) for value in fields["input_range"])]
    given = fields.get("split_file")
    if given is None and tuple(fields.get("fractions") or FRACTIONS) != FRACTIONS:
        given = split_file
    return words + (["--split-file", str(given)] if given else [])
