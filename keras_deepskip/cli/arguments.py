"""The options of each command, with the defaults and words of the functions that they are for."""

import argparse
import dataclasses
import re
import typing

from keras_deepskip._docstrings import parameters
from keras_deepskip.cli import values

MODEL_OPTIONS = (
    "architecture", "backbone", "weights", "trainable_backbone", "skips", "levels", "base_filters",
    "decoder_filters", "kernel_size", "dropout", "deep_supervision",
)  # fmt: skip


class Options:
    """Adds parameters of a function to a parser as options.

    Args:
        parser: an argparse parser or group.
        documented: the function (or dataclass), which says the defaults and the help.
        given_only: whether the value of an option that is not given is None, whatever the default.
        flags: dict from parameters to their flags, where these are not called as the parameters.
    """

    def __init__(self, parser, documented, given_only=False, flags=None):
        self.parser, self.known, self.given_only = parser, parameters(documented), given_only
        self.flags = {name: "--" + name.replace("_", "-") for name in self.known} | (flags or {})

    def add(self, name, help=None, chosen=None, **settings):
        """Adds the option for a parameter.

        Args:
            name: the parameter.
            help: what it is for; None takes the first sentence of its entry in the docstring.
            chosen: what decides where it is left out; None shows the default.
            **settings: those of `add_argument`.
        """
        parameter = self.known[name]
        text = help or in_words_of_commands(parameter, self.flags)
        if parameter.required:
            settings["required"] = True
        else:
            settings.setdefault("default", None if self.given_only else parameter.default)
            text += f" (default: {chosen})" if chosen else shown_default(parameter.default)
        if isinstance(parameter.default, bool) and "type" not in settings:
            settings.setdefault("action", argparse.BooleanOptionalAction)
        self.parser.add_argument(self.flags[name], help=text.replace("%", "%%"), **settings)


def in_words_of_commands(parameter, flags):
    """The first sentence on a parameter, with flags for other parameters, and no `None`.

    Example:

    >>> text = "batches of `batch_size` crops (see `fit`); None takes 9. More is said here."
    >>> steps = keras_deepskip._docstrings.Parameter("steps", None, text)
    >>> in_words_of_commands(steps, {"batch_size": "--batch-size"})
    'batches of --batch-size crops; default: 9'
    """
    others = {name: flag for name, flag in flags.items() if name != parameter.name}
    text = re.sub(r" \(see [^)]*\)", "", parameter.summary)
    text = re.sub(r"`(\w+)`", lambda found: others.get(found[1], found[1]), text)
    return re.sub(r"\bNone (?:takes|is) ", "default: ", text).replace("`", "")


def shown_default(value):
    """How a default is shown after an option's help."""
    if value is None or isinstance(value, bool):
        return {True: " (default: on)", False: " (default: off)", None: ""}[value]
    if isinstance(value, tuple | list):
        value = " ".join(map(str, value)) or "none"
    return f" (default: {value})"


PLANNED = "chosen from the data"
BACKBONE = "light_vgg16 (default), light_resnet34, or any of `backbones --list`"


def describe_train(command):
    from keras_deepskip.training import Recipe, cross_validate, train

    main = command.add_argument_group("main options")
    options, recipe = Options(main, train), Options(main, Recipe)
    options.add("data")
    options.add("out")
    recipe.add("minutes", type=float, metavar="N")
    recipe.add("steps", type=int, metavar="N")
    recipe.add("epochs", type=int, metavar="N")
    recipe.add("scene", chosen=PLANNED)
    main.add_argument("--backbone", metavar="NAME", help=BACKBONE)
    options.add("resume", type=str, nargs="?", const=True, choices=("auto",))
    options.add("devices", type=values.number_or_all, metavar="N")
    main.add_argument(
        "--folds",
        type=int,
        metavar="N",
        help="cross-validate: train so many networks, each evaluated on its share of the images",
    )
    Options(main, cross_validate).add("ensemble", action="store_true")
    _add_report(main, "of the validation images")
    group = command.add_argument_group("data")
    options = Options(group, train)
    _add_masks(group)
    options.add("split_file", metavar="FILE")
    options.add("group_by", metavar="REGEX")
    options.add("channels", type=int, metavar="C")
    options.add("input_range", type=float, nargs=2, metavar=("LOW", "HIGH"))
    _add_network(command, backbone=False)
    _add_recipe(
        command.add_argument_group("recipe"), leave_out=("epochs", "minutes", "steps", "scene")
    )


def describe_evaluate(command):
    from keras_deepskip.inference import evaluate

    _add_judging(
        command, evaluate, metavar="DIR",
        help="folder that receives evaluation.json and evaluation.md (default: the run's folder, "
        "if its own test images are evaluated)",
    )  # fmt: skip
    _add_report(command, "in the folder that receives the results")


def describe_report(command):
    from keras_deepskip.reporting import report

    _add_judging(command, report, metavar="FILE")


def _add_judging(command, function, **out):
    """The options of a command that evaluates a run or a model on images with masks."""
    from keras_deepskip.inference import evaluate

    _add_run_or_model(command)
    _add_samples(command)
    Options(command, function).add("out", **out)
    options = Options(command, evaluate)
    options.add("threshold", type=float)
    options.add("min_area", type=int, metavar="PIXELS")
    options.add("separate", action=argparse.BooleanOptionalAction)
    options.add("criterion")
    _add_masks(command.add_argument_group("masks"), classes=False)


def describe_push(command):
    from keras_deepskip.hub import push_to_hub

    command.add_argument(
        "--run", dest="run_folder", required=True, metavar="RUN", help="folder of a training run"
    )
    options = Options(command, push_to_hub)
    options.add("repo_id", metavar="USER/NAME")
    options.add("licence", metavar="NAME")
    options.add("pictures", type=int, metavar="N")
    options.add("private", action="store_true")
    options.add("revision", metavar="BRANCH")


def describe_predict(command):
    from keras_deepskip.inference import predict

    _add_run_or_model(command)
    options = Options(command, predict, flags={"formats": "--format"})
    options.add("images", nargs="+")
    options.add("out", metavar="DIR")
    options.add("probabilities", action="store_true")
    options.add("overlays")
    options.add("overlay_channels", type=int, nargs="+", metavar="CHANNEL")
    options.add("threshold", type=float)
    options.add("min_area", type=int, metavar="PIXELS")
    options.add("separate", action=argparse.BooleanOptionalAction)
    options.add("measures", action="store_true")
    _add_formats(options)
    options.add("tta", metavar="WAYS")
    options.add("tables", nargs="+", metavar="FORM")
    options.add("cluster", metavar="{local:N,tcp://HOST:PORT}")
    _add_report(command, "of what was found")


def describe_suggest(command):
    from keras_deepskip.inference import predict, suggest

    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--run", dest="runs", nargs="+", metavar="RUN", help="folders of training runs"
    )
    source.add_argument("--model", dest="models", nargs="+", metavar="MODEL", help=".keras files")
    options = Options(command, suggest, flags={"formats": "--format"})
    Options(command, predict).add("images", nargs="+")
    options.add("out", metavar="DIR")
    options.add("count", type=int)
    _add_formats(options)


def describe_stream(command):
    from keras_deepskip.inference import stream

    _add_run_or_model(command)
    options = Options(command, stream, flags={"frames": "--source"})
    options.add("frames")
    command.add_argument("--out", metavar="DIR", help="folder for masks/; else nothing is written")
    command.add_argument("--overlays", action="store_true", help="write overlays/ there too")
    command.add_argument(
        "--latency", type=float, metavar="MS", help="budget of a frame in milliseconds"
    )
    options.add("batch_size", type=int, metavar="N")
    options.add("live", action=argparse.BooleanOptionalAction)
    command.add_argument("--limit", type=int, metavar="N", help="stop after so many frames")
    options.add("threshold", type=float)
    options.add("min_area", type=int, metavar="PIXELS")
    options.add("track", action="store_true")


def describe_export(command):
    from keras_deepskip.export import export

    _add_run_or_model(command)
    options = Options(command, export, flags={"path": "--out"})
    options.add("path")
    options.add("format")
    options.add("mask", action="store_true")
    options.add("threshold", type=float)
    options.add("input_range", type=float, nargs=2, metavar=("LOW", "HIGH"))
    options.add("serving", metavar="SERVER")
    options.add("max_batch_size", type=int, metavar="N")


def describe_quantize(command):
    from keras_deepskip.quantization import quantize

    _add_run_or_model(command)
    command.add_argument("--data", help="folder with images/ and masks/; else that of the run")
    options = Options(command, quantize, flags={"path": "--out"})
    options.add("path")
    options.add("images", type=int, metavar="N")
    options.add("threshold", type=float)
    options.add("input_range", type=float, nargs=2, metavar=("LOW", "HIGH"))
    _add_masks(command.add_argument_group("masks"), classes=False)


def describe_analyze(command):
    from keras_deepskip.architectures import Frame

    command.add_argument("--model", help="a .keras file, in place of the options below")
    Options(command, Frame).add("num_classes", type=int)
    command.add_argument(
        "--channels", type=int, default=3, help="channels of the images (default: 3)"
    )
    command.add_argument(
        "--size", type=int, default=256, help="side of the image for MACs (default: 256)"
    )
    _add_network(command)


def describe_backbones(command):
    from keras_deepskip.studies.timing import backbones

    command.add_argument("--list", action="store_true", help="print the names only")
    options = Options(command, backbones)
    options.add("names", "backbones to build", "all", nargs="+", metavar="NAME")
    options.add("size", type=int)
    options.add("repeats", type=int, metavar="N")
    options.add(
        "out", metavar="DIR",
        help="folder that receives backbones.json, backbones.md and, if the extra `report` is "
        "installed, backbones.html",
    )  # fmt: skip


def describe_plan(command):
    from keras_deepskip.training import Recipe, train

    Options(command, train).add("data")
    recipe = Options(command, Recipe)
    for name, kind in (("minutes", float), ("steps", int), ("epochs", int), ("seed", int)):
        recipe.add(name, type=kind, metavar="N")
    recipe.add("scene", chosen=PLANNED)
    _add_masks(command.add_argument_group("masks"))
    options = Options(command, train)
    options.add("split_file", metavar="FILE")
    options.add("group_by", metavar="REGEX")


def describe_audit(command):
    from keras_deepskip.data import load_split
    from keras_deepskip.training import train

    options = Options(command, train)
    options.add("data")
    _add_masks(command.add_argument_group("masks"))
    options.add("split_file", metavar="FILE")
    options.add("group_by", metavar="REGEX")
    Options(command, load_split).add("seed", type=int)
    command.add_argument(
        "--json",
        metavar="FILE",
        nargs="?",
        const=True,
        help="file that receives the report as JSON; without one, standard output does",
    )


def describe_sample(command):
    from keras_deepskip.data import draw_scene, sample

    options, scene = Options(command, sample), Options(command, draw_scene)
    options.add("out", metavar="DIR")
    options.add("kind")
    options.add("images", type=int)
    options.add("seed", type=int)
    scene.add("height", type=int)
    scene.add("width", type=int)
    scene.add("count", type=int, nargs=2, metavar=("MIN", "MAX"))
    scene.add("size", type=float, nargs=2, metavar=("MIN", "MAX"))
    scene.add("contrast", type=float)
    scene.add("clutter", type=float)
    scene.add("classes", type=int)
    options.add("overwrite", action="store_true")


def describe_import(command):
    from keras_deepskip.data import LAYOUTS, import_set

    options = Options(command, import_set)
    options.add("layout", help="layout of the set", metavar=f"{{{','.join(LAYOUTS)}}}")
    options.add("source", metavar="DIR")
    options.add("out", metavar="DIR")
    options.add(
        "classes",
        "classes to take: NAME for the ids 1, 2, ... in this order, or NAME=ID, where names may "
        "share an id",
        "those of the layout",
        type=values.class_and_id, nargs="+", metavar="NAME[=ID]",
    )  # fmt: skip
    options.add("limit", type=int, metavar="N")
    options.add("overwrite", action="store_true")
    options.add("separate_touching", action="store_true")
    options.add("max_area", type=float, metavar="PIXELS")


def describe_demo(command):
    from keras_deepskip.demo import demo

    options = Options(command, demo)
    options.add("out", metavar="DIR")
    options.add("epochs", type=int, metavar="N")
    options.add("seed", type=int)


def describe_completion(command):
    command.add_argument(
        "--shell",
        choices=("bash", "zsh", "tcsh"),
        default="bash",
        help="the shell that the script is for (default: bash)",
    )


def describe_benchmark(command):
    from keras_deepskip.studies.timing import benchmark

    command.add_argument(
        "--scaling", action="store_true",
        help="time the deep-skip network over size, batch and width, in place of the others",
    )  # fmt: skip
    options = Options(command, benchmark, given_only=True, flags={"limit_s": "--limit"})
    options.add("out", metavar="DIR")
    options.add("rivals", help="networks to time", nargs="+", metavar="NAME")
    options.add("sizes", type=int, nargs="+", metavar="PIXELS")
    options.add("batches", type=int, nargs="+", metavar="N")
    options.add("modes", nargs="+", metavar="MODE")
    options.add("repeats", type=int, metavar="N")
    options.add("limit_s", type=float, dest="limit_s", metavar="SECONDS")
    options.add("backend")
    options.add("reference", metavar="NAME")


def describe_ablation(command):
    from keras_deepskip.studies.experiments import ABLATION

    _add_study(command, ABLATION)


def describe_compare(command):
    from keras_deepskip.studies.experiments import COMPARISON

    _add_study(command, COMPARISON)


def _add_study(command, study):
    from keras_deepskip.studies.experiments import run_study

    options = Options(command, run_study)
    options.add("out", metavar="DIR")
    options.add("data", metavar="DIR")
    options.add("preset", help=f"what is trained, and for how long: {', '.join(study.presets)}")
    for field in ("networks", "categories"):
        known = [f'"{each.name}"' if " " in each.name else each.name for each in vars(study)[field]]
        help = f"{field} to take, of {', '.join(known)}"
        options.add(field, help, "those of the preset", nargs="+", metavar="NAME")
    command.add_argument(
        "--category",
        type=values.named_folder,
        action="append",
        metavar="NAME=FOLDER",
        help="a category of your own: a folder of images and masks; may be repeated",
    )
    options.add(
        "seeds", "seeds, one run each", "those of the preset", type=int, nargs="+", metavar="N"
    )
    options.add("steps", type=int, metavar="N")
    options.add("jobs", type=int)


# --- What several commands share ----------------------------------------------------------------


def _add_formats(options):
    """Names after one flag, or after several."""
    options.add("formats", dest="formats", nargs="+", action="extend", default=None, metavar="NAME")


def _add_run_or_model(command):
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", dest="run_folder", metavar="RUN", help="folder of a training run")
    source.add_argument("--model", help="a .keras file, or hf://USER/NAME of the hub")


def _add_samples(command):
    command.add_argument("--data", help="folder with images/ and masks/; else that of the run")
    command.add_argument(
        "--split",
        choices=("train", "val", "test", "all"),
        help="which of its images (default: the run's test images, or of --data all that the run "
        "has not seen)",
    )


def _add_report(command, where):
    command.add_argument(
        "--report",
        action=argparse.BooleanOptionalAction,
        default=True,
        help=f"write report.html {where}, if the extra `report` is installed (default: on)",
    )


def _add_masks(group, classes=True):
    from keras_deepskip.data import MaskReading

    flags = {"colors": "--color", "kind": "--mask-kind", "values": "--mask-value"}
    options = Options(group, MaskReading, flags=flags)
    if classes:
        options.add("num_classes", type=int, metavar="K")
    options.add("ignore_class", type=int, metavar="ID")
    options.add(
        "colors", dest="color", type=values.color_and_id, action="append", metavar="R,G,B=ID",
        help="class id of a colour, such as 255,0,0=1, in masks that are colour pictures; may be "
        "repeated",
    )  # fmt: skip
    options.add("kind", dest="mask_kind", metavar="KIND")
    options.add(
        "values", dest="mask_values", type=values.value_and_id, action="append", metavar="VALUE=ID",
        help="class id of a value of the masks, such as 50=1; may be repeated",
    )  # fmt: skip


def _add_network(command, backbone=True):
    """Options that, where they are given, go to `build_model`; the architecture has defaults."""
    from keras_deepskip import build_model
    from keras_deepskip.architectures import deepskip

    group = command.add_argument_group("network", "defaults are those of the deep-skip network")
    Options(group, build_model, given_only=True).add("architecture", metavar="NAME")
    options = Options(group, deepskip, given_only=True)
    if backbone:
        group.add_argument("--backbone", metavar="NAME", help=BACKBONE)
    options.add("weights")
    options.add("trainable_backbone", type=values.boolean_or_number, metavar="{yes,no,LEVEL}")
    options.add("skips")
    options.add("levels", type=int)
    options.add("base_filters", type=int)
    options.add("decoder_filters", type=int, nargs="+", metavar="C")
    options.add("kernel_size", type=int)
    options.add("dropout", type=float)
    options.add("deep_supervision", action="store_const", const=True)
    group.add_argument(
        "--option",
        type=values.option_value,
        action="append",
        metavar="NAME=VALUE",
        help="any other option of the architecture, its value in JSON; may be repeated",
    )


def _add_recipe(group, leave_out):
    from keras_deepskip.training import Recipe
    from keras_deepskip.training.recipe import PLANNED as IN_PLAN

    options = Options(group, Recipe)
    for field in dataclasses.fields(Recipe):
        chosen = PLANNED if field.name in IN_PLAN else None
        if field.name in leave_out:
            continue
        if field.type is bool:
            options.add(field.name)
        elif field.name == "patience":
            options.add(field.name, type=values.number_or_none, metavar="{N,none}")
        elif field.default is None:
            kind = next(kind for kind in typing.get_args(field.type) if kind is not type(None))
            if kind is bool:
                options.add(field.name, chosen=chosen, action=argparse.BooleanOptionalAction)
                continue
            options.add(field.name, chosen=chosen, type=kind, metavar=kind.__name__.upper())
        else:
            options.add(field.name, type=field.type, metavar=field.type.__name__.upper())
