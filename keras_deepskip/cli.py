"""The command `keras-deepskip`: each subcommand is a thin skin over a function of the same name."""

import argparse
import contextlib
import dataclasses
import functools
import itertools
import json
import signal
import sys
import threading
from pathlib import Path

from keras_deepskip._versions import __version__


def main(arguments=None):
    """Runs one command and returns its exit status.

    Args:
        arguments: list of texts; None takes those of the command line.

    Returns:
        0; 1 after an error, or if `audit` found errors; 130 after an interrupt (SIGTERM too).

    Example:

    ```python
    main(["analyze", "--backbone", "light_resnet34"])
    ```
    """
    options = _parser().parse_args(arguments)
    try:
        with _termination_as_interrupt():
            return options.run(options) or 0
    except KeyboardInterrupt:
        begun = options.command == "train" and (Path(options.out) / "config.json").exists()
        again = " The same command with --resume goes on." if begun else ""
        again = " The same command goes on." if options.command in GO_ON else again
        print(f"\nkeras-deepskip {options.command}: interrupted.{again}", file=sys.stderr)
        return 130
    except (ValueError, OSError, ImportError, ArithmeticError, RuntimeError) as error:
        # Errors of the user's files and arguments are told in words, without a traceback.
        if options.debug:
            raise
        print(f"keras-deepskip {options.command}: {error}", file=sys.stderr)
        return 1


@contextlib.contextmanager
def _termination_as_interrupt():
    """What a scheduler sends ends a command as Ctrl-C does: its processes too, nothing lost."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may say what becomes of a signal
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


# Commands that, repeated, go on where they were interrupted.
GO_ON = ("ablation", "benchmark", "compare", "import", "predict")


# --- What each command takes --------------------------------------------------------------------


def _parser():
    parser = argparse.ArgumentParser(
        prog="keras-deepskip",
        description="Light deep-skip networks that find small objects in large images.",
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks of errors")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (run, describe, help_text) in COMMANDS.items():
        command = commands.add_parser(name, help=help_text, description=help_text)
        describe(command)
        command.set_defaults(run=run)
    return parser


def _train_options(command):
    command.add_argument("--data", required=True, help="folder with images/ and masks/")
    command.add_argument("--out", required=True, help="folder of the run")
    command.add_argument("--resume", action="store_true", help="go on with the run in --out")
    group = _data_options(command)
    group.add_argument("--channels", type=int, help="of the images; else what they have")
    _input_range_option(group, "of the images' values; else that of their number type")
    _model_options(command)
    from keras_deepskip.training.recipe import Recipe

    group = command.add_argument_group("recipe")
    for field in dataclasses.fields(Recipe):
        flag, default = "--" + field.name.replace("_", "-"), field.default
        shown = {"default": default, "help": f"by default {default}"}
        if field.type is bool:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, **shown)
        elif field.type == int | None:
            group.add_argument(flag, type=_number_or_none, metavar="N|none", **shown)
        else:
            group.add_argument(flag, type=field.type, metavar=field.type.__name__.upper(), **shown)


def _data_options(command):
    group = command.add_argument_group("data")
    group.add_argument("--num-classes", type=int, help="1, or the classes with the background")
    group.add_argument("--split-file", help="JSON or CSV: which image is for what")
    group.add_argument("--group-by", help="regular expression: images of one group stay together")
    _mask_options(group)
    return group


def _input_range_option(group, text):
    group.add_argument("--input-range", type=float, nargs=2, metavar=("LOW", "HIGH"), help=text)


def _mask_options(group):
    group.add_argument("--ignore-class", type=int, help="class id of pixels that count nowhere")
    group.add_argument(
        "--color",
        type=_color,
        action="append",
        metavar="R,G,B=ID",
        help="class of a colour, for colour masks; once for each colour",
    )


def _model_options(command):
    """Those that are given go to `build_model`; of the others the architecture has defaults."""
    group = command.add_argument_group("network")
    group.add_argument("--architecture", help="deepskip (the default), unet, pspnet, ...")
    group.add_argument(
        "--backbone",
        metavar="NAME",
        help="light_vgg16, light_resnet34, or another: `keras-deepskip backbones --list`",
    )
    group.add_argument("--weights", help="of the backbone: imagenet, or a .weights.h5 or .keras")
    group.add_argument(
        "--trainable-backbone",
        type=_boolean_or_number,
        metavar="yes|no|LEVEL",
        help="no freezes it, a number freezes the levels before it",
    )
    group.add_argument("--skips", help="deep or flat")
    group.add_argument("--levels", type=int, help="5 of the light encoders; else all it has")
    group.add_argument("--base-filters", type=int, help="8")
    group.add_argument(
        "--decoder-filters", type=int, nargs="+", metavar="C", help="by level, finest first"
    )
    group.add_argument("--kernel-size", type=int, help="3")
    group.add_argument("--dropout", type=float)
    group.add_argument(
        "--deep-supervision", action="store_const", const=True, help="a loss at each level"
    )
    group.add_argument(
        "--option",
        type=_option,
        action="append",
        metavar="NAME=VALUE",
        help="any other option of the architecture, its value as JSON; once for each",
    )


def _evaluate_options(command):
    _run_or_model(command)
    command.add_argument("--data", help="folder with images/ and masks/; else that of the run")
    command.add_argument(
        "--split",
        choices=("train", "val", "test", "all"),
        help="which of its images; by default the run's test images, or all of --data",
    )
    command.add_argument(
        "--out", help="folder for evaluation.json and .md; by default that of the run, for its test"
    )
    command.add_argument("--threshold", type=float, default=0.5, help="by default 0.5")
    command.add_argument("--criterion", default="iou", help="iou or centre: when objects match")
    _mask_options(command)


def _predict_options(command):
    _run_or_model(command)
    command.add_argument(
        "--images", required=True, nargs="+", help="folders, image files, .npy or .zarr arrays"
    )
    command.add_argument("--out", required=True, help="folder to write to")
    command.add_argument("--probabilities", action="store_true", help="write probabilities too")
    command.add_argument("--overlays", action=argparse.BooleanOptionalAction, default=True)
    command.add_argument("--threshold", type=float, default=0.5)
    command.add_argument(
        "--tta", metavar="WAYS", help="flips or flips_and_rotations: the mean over 4 or 8 views"
    )


def _stream_options(command):
    _run_or_model(command)
    command.add_argument(
        "--source", required=True, help="folder of images, video file, or number of a camera"
    )
    command.add_argument("--out", help="folder for masks/; else nothing is written")
    command.add_argument("--overlays", action="store_true", help="write overlays/ there too")
    command.add_argument("--latency", type=float, metavar="MS", help="budget of a frame")
    command.add_argument("--batch-size", type=int, default=4)
    command.add_argument(
        "--live",
        action=argparse.BooleanOptionalAction,
        help="drop frames that would be late; by default of cameras alone",
    )
    command.add_argument("--limit", type=int, metavar="N", help="stop after so many frames")
    command.add_argument("--threshold", type=float, default=0.5)


def _export_options(command):
    _run_or_model(command)
    command.add_argument("--out", required=True, help="file or folder to write")
    command.add_argument(
        "--format",
        default="saved_model",
        help="saved_model (the default), onnx, litert, openvino, torch or stablehlo",
    )
    command.add_argument(
        "--mask", action="store_true", help="give the mask of class ids too, under the name mask"
    )
    command.add_argument(
        "--threshold", type=float, default=0.5, help="of the mask of one class; by default 0.5"
    )
    _input_range_option(
        command, "of the images' values, to compare with; by default that of the run, or 0 255"
    )


def _quantize_options(command):
    _run_or_model(command)
    command.add_argument("--data", help="folder with images/ and masks/; else that of the run")
    command.add_argument("--out", required=True, help="file to write, .onnx")
    command.add_argument("--images", type=int, default=32, help="images to calibrate with, 32")
    command.add_argument("--threshold", type=float, default=0.5)
    _input_range_option(
        command, "of the images' values, to compare with; by default that of the run, or 0 255"
    )
    _mask_options(command)


def _analyze_options(command):
    _model_options(command)
    command.add_argument("--model", help="a .keras file, in place of the options above")
    command.add_argument("--num-classes", type=int, default=1)
    command.add_argument("--channels", type=int, default=3)
    command.add_argument("--size", type=int, default=256, help="side of the image for MACs")


def _backbones_options(command):
    command.add_argument("--list", action="store_true", help="names alone")
    command.add_argument("--names", nargs="+", metavar="NAME", help="by default all")
    command.add_argument("--size", type=int, default=256, help="side of the image in pixels")
    command.add_argument(
        "--repeats", type=int, default=10, metavar="N", help="calls that are timed"
    )
    command.add_argument("--out", help="folder for backbones.md and .json; what it has is kept")


def _audit_options(command):
    command.add_argument("--data", required=True, help="folder with images/ and masks/")
    _data_options(command)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--json", help="file that receives the report as JSON")


def _sample_options(command):
    command.add_argument("--out", required=True, help="folder to write images/ and masks/ to")
    command.add_argument("--kind", default="microorganisms", help="one of six kinds, or mixed")
    command.add_argument("--images", type=int, default=40)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--height", type=int, default=256)
    command.add_argument("--width", type=int, default=256)
    command.add_argument("--count", type=int, nargs=2, default=(3, 12), metavar=("MIN", "MAX"))
    command.add_argument("--size", type=float, nargs=2, default=(6, 28), metavar=("MIN", "MAX"))
    command.add_argument("--contrast", type=float, default=0.35)
    command.add_argument("--clutter", type=float, default=0.6)
    command.add_argument("--classes", type=int, default=1)
    command.add_argument("--overwrite", action="store_true")


def _import_options(command):
    from keras_deepskip.data import LAYOUTS

    command.add_argument("--layout", required=True, metavar="NAME", help=", ".join(LAYOUTS))
    command.add_argument("--source", required=True, help="folder of the set as it was published")
    command.add_argument("--out", required=True, help="folder for images/, masks/, SOURCE.json")
    command.add_argument(
        "--classes",
        type=_class_and_id,
        nargs="+",
        metavar="NAME[=ID]",
        help="which are taken, with ids 1, 2, ... or those given; others are background",
    )
    command.add_argument("--limit", type=int, metavar="N", help="take so many images, spread")
    command.add_argument("--overwrite", action="store_true", help="replace an earlier import")
    command.add_argument(
        "--separate-touching", action="store_true", help="keep objects apart by a line"
    )
    command.add_argument(
        "--max-area", type=float, metavar="PIXELS", help="of COCO: images with objects up to this"
    )


def _demo_options(command):
    command.add_argument("--out", default="deepskip-demo", help="folder to write to")
    command.add_argument("--epochs", type=int, default=None, help="fewer make it quicker")
    command.add_argument("--seed", type=int, default=0)


def _benchmark_options(command):
    command.add_argument("--out", required=True, help="folder to write to; what it has is kept")
    command.add_argument("--scaling", action="store_true", help="curves, in place of rivals")
    command.add_argument("--rivals", nargs="+", metavar="NAME", help="by default all")
    command.add_argument("--sizes", type=int, nargs="+", metavar="PIXELS", help="sides of images")
    command.add_argument("--batches", type=int, nargs="+", metavar="N", help="images at once")
    command.add_argument("--modes", nargs="+", metavar="MODE", help="predict, train or both")
    command.add_argument("--repeats", type=int, metavar="N", help="rounds that are timed")
    command.add_argument("--limit", type=float, dest="limit_s", metavar="SECONDS", help="of a call")
    command.add_argument("--backend", help="of the Keras rivals; by default the one in use")
    command.add_argument("--reference", metavar="NAME", help="divides the others; else the first")


def _study_options(command):
    command.add_argument("--out", required=True, help="folder to write to; what it has is kept")
    command.add_argument("--data", help="folder that holds the sets")
    command.add_argument("--preset", default="quick", help="quick (the default), light or full")
    command.add_argument("--networks", nargs="+", metavar="NAME", help="by default the preset's")
    command.add_argument("--categories", nargs="+", metavar="NAME", help="likewise")
    command.add_argument(
        "--category",
        type=_own_category,
        action="append",
        metavar="NAME=FOLDER",
        help="a category of your own: images and masks; once for each",
    )
    command.add_argument("--seeds", type=int, nargs="+", metavar="N", help="else the preset's")
    command.add_argument("--steps", type=int, metavar="N", help="of every run; else the preset's")
    command.add_argument("--jobs", type=int, default=1, help="runs at once, by default 1")


def _run_or_model(command):
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument("--run", dest="run_folder", help="folder of a training run")
    source.add_argument("--model", help="a .keras file")


# --- What each command does ---------------------------------------------------------------------


def _train(options):
    from keras_deepskip.training import Recipe, train

    recipe = Recipe(**_fields(options, (f.name for f in dataclasses.fields(Recipe))))
    run = train(
        options.data,
        options.out,
        recipe,
        masks=_masks(options),
        resume=options.resume,
        **_fields(options, ("channels", "input_range")),
        **_fields(options, ("split_file", "group_by")),
        **_chosen_model(options),
    )
    best = run.history[run.best_epoch - 1]
    print(
        f"Best of {len(run.history)} epochs on the validation images: epoch {run.best_epoch}, "
        f"IoU {best['val_iou']:.3f}, object F1 {best['val_object_f1']:.3f}."
    )
    print(f"Wrote {run.folder / 'model.keras'}. Next: keras-deepskip evaluate --run {run.folder}")


def _evaluate(options):
    from keras_deepskip.inference import evaluate

    subject = _model_or_run(options)
    found = evaluate(
        subject,
        _samples(options, subject),
        out=options.out or (options.run_folder if _is_test_of_run(options) else None),
        masks=_masks(options, getattr(subject, "masks", None)),
        **_fields(options, ("threshold", "criterion")),
    )
    print(found.text())


def _samples(options, subject):
    """The images to evaluate on."""
    from keras_deepskip.data import find_samples

    if _is_test_of_run(options) or options.split not in (None, "all"):
        if not options.run_folder:
            from keras_deepskip.data import load_split

            split = load_split(_data_folder(options))
        else:
            split = subject.split
        samples = getattr(split, options.split or "test")
        if not samples:
            raise ValueError(f"the split has no {options.split or 'test'} images")
        return samples
    folder = Path(options.data or (subject.data if options.run_folder else _data_folder(options)))
    parts = [part for part in ("train", "val", "test") if (folder / part).is_dir()]
    if "train" not in parts:
        return find_samples(folder)
    return [sample for part in parts for sample in find_samples(folder / part)]


def _data_folder(options):
    if options.data is None:
        raise ValueError("with --model, --data must name a folder with images/ and masks/")
    return options.data


def _is_test_of_run(options):
    return options.run_folder and not options.data and options.split in (None, "test")


def _predict(options):
    from keras_deepskip.inference import predict

    objects = predict(
        _model_or_run(options),
        options.images,
        options.out,
        **_fields(options, ("probabilities", "overlays", "threshold", "tta")),
    )
    print(f"Found {len(objects)} objects. Wrote {Path(options.out) / 'objects.csv'}")


def _stream(options):
    from keras_deepskip.inference.streaming import stream

    source, out = options.source, options.out and Path(options.out)
    if source.isdecimal() and not Path(source).exists():
        source = int(source)
    elif out and out.resolve() in (Path(source).resolve(), Path(source).resolve().parent):
        raise ValueError(f"--out must be another folder than that of the frames. Received: {out}")
    latency = None if options.latency is None else options.latency / 1e3
    chosen = _fields(options, ("batch_size", "live", "threshold"))
    with stream(_model_or_run(options), source, latency=latency, **chosen) as results:
        try:
            for result in itertools.islice(results, options.limit):
                if out:
                    result.write(out, overlay=options.overlays)
        finally:  # after an interrupt too
            print(results.statistics.text())


def _export(options):
    from keras_deepskip.export import export

    report = export(
        _model_or_run(options),
        options.out,
        options.format,
        options.input_range,
        mask=options.mask,
        threshold=options.threshold,
    )
    print(report.text())


def _quantize(options):
    from keras_deepskip.data import load_split
    from keras_deepskip.quantization import quantize

    subject, split = _model_or_run(options), None
    if not options.run_folder:
        split = load_split(_data_folder(options))
    report = quantize(
        subject,
        options.out,
        split and split.train,
        split and split.test,
        masks=_masks(options, getattr(subject, "masks", None)),
        **_fields(options, ("images", "threshold", "input_range")),
    )
    print(report.text())


def _analyze(options):
    from keras_deepskip import analysis

    if options.model:
        model, expected = _load_model(options.model), None
    else:
        from keras_deepskip import build_model

        shape = (None, None, options.channels)
        model = build_model(shape, options.num_classes, **_chosen_model(options))
        expected = _closed_form(options)
    print(analysis.analyze(model, expected, options.size, options.size).text())


def _closed_form(options):
    """What the paper's equations count, where they are about the network that was chosen."""
    from keras_deepskip import analysis
    from keras_deepskip.architectures import find_architecture
    from keras_deepskip.encoders import LIGHT, LIGHT_LEVELS

    asked = _chosen_model(options)
    chosen = {**find_architecture("deepskip").options, **asked}
    ours = chosen.get("architecture", "deepskip") == "deepskip"
    if not ours or chosen["backbone"] not in LIGHT or chosen["decoder_filters"]:
        return None
    counted = ("backbone", "skips", "base_filters", "kernel_size")
    return analysis.closed_form(
        channels=options.channels,
        num_classes=options.num_classes,
        levels=chosen["levels"] or LIGHT_LEVELS,
        **{name: chosen[name] for name in counted},
    )


def _backbones(options):
    from keras_deepskip.encoders import BACKBONES

    if options.list:
        print("\n".join(BACKBONES))
        return
    from keras_deepskip.studies.timing import backbones

    found = backbones(log=print, **_fields(options, ("names", "size", "repeats", "out")))
    print(found.text())


def _audit(options):
    from keras_deepskip import _files
    from keras_deepskip.data import audit

    report = audit(
        options.data, _masks(options), **_fields(options, ("split_file", "seed", "group_by"))
    )
    print(report.text())
    if options.json:
        _files.write_json(options.json, report.to_dict())
    return 0 if report.ok else 1


def _sample(options):
    from keras_deepskip.data import sample

    names = ("kind", "images", "seed", "height", "width", "count", "size", "contrast", "clutter")
    folder = sample(options.out, **_fields(options, (*names, "classes", "overwrite")))
    print(f"Wrote {options.images} images and masks to {folder}")


def _import(options):
    from keras_deepskip.data import import_set

    names = ("layout", "source", "out", "limit", "overwrite", "separate_touching", "max_area")
    chosen = _chosen_classes(options.classes)
    print(import_set(classes=chosen, **_fields(options, names)).text())


def _demo(options):
    from keras_deepskip.demo import demo

    page = demo(options.out, seed=options.seed, epochs=options.epochs)
    print(f"Open {page} in a browser.")


def _benchmark(options):
    from keras_deepskip.studies import timing as benchmark

    names = ("rivals", "sizes", "batches", "modes", "repeats", "limit_s", "backend")
    chosen = _fields(options, names if options.scaling else (*names, "reference"))
    chosen = {name: value for name, value in chosen.items() if value is not None}
    run, name = (
        (benchmark.scaling, "scaling") if options.scaling else (benchmark.benchmark, "results")
    )
    run(options.out, log=print, **chosen)
    print(f"Wrote {Path(options.out) / name}.md, .png and .json")


def _ablation(options):
    from keras_deepskip.studies.experiments import ablation

    ablation(options.out, **_study(options))


def _compare(options):
    from keras_deepskip.studies.experiments import compare

    compare(options.out, **_study(options))


def _study(options):
    from keras_deepskip.studies.experiments import Category

    return {
        "log": functools.partial(print, flush=True),
        "own_categories": [Category(*pair) for pair in options.category or ()],
        **_fields(options, ("preset", "data", "networks", "categories", "seeds", "steps", "jobs")),
    }


MODEL_OPTIONS = (
    "architecture", "backbone", "weights", "trainable_backbone", "skips", "levels", "base_filters",
    "decoder_filters", "kernel_size", "dropout", "deep_supervision",
)  # fmt: skip
COMMANDS = {
    "train": (_train, _train_options, "train on a folder of images and masks"),
    "evaluate": (_evaluate, _evaluate_options, "judge a model on images with masks"),
    "predict": (_predict, _predict_options, "find objects: masks, overlays, table"),
    "stream": (_stream, _stream_options, "find objects in frames as they come"),
    "export": (_export, _export_options, "write SavedModel, ONNX, LiteRT, ..., proven equal"),
    "quantize": (_quantize, _quantize_options, "write 8-bit ONNX, and tell what it costs"),
    "analyze": (_analyze, _analyze_options, "count weights, MACs and receptive field"),
    "backbones": (_backbones, _backbones_options, "table of all backbones: cost, widths, time"),
    "audit": (_audit, _audit_options, "tell what is wrong with a folder of data"),
    "sample": (_sample, _sample_options, "write a made-up set of small objects"),
    "import": (_import, _import_options, "bring a published set into images/ and masks/"),
    "ablation": (_ablation, _study_options, "Table 1: what deep skips and the loss are worth"),
    "compare": (_compare, _study_options, "Tables 2 and 3: the network beside others"),
    "benchmark": (_benchmark, _benchmark_options, "time networks side by side"),
    "demo": (_demo, _demo_options, "do it all on made-up data, and show it as a page"),
}


# --- Reading ------------------------------------------------------------------------------------


def _fields(options, names):
    return {name: getattr(options, name) for name in names}


def _chosen_model(options):
    """The options of the network that were given."""
    given = {**_fields(options, MODEL_OPTIONS), **dict(options.option or ())}
    return {name: value for name, value in given.items() if value is not None}


def _model_or_run(options):
    """The `Run` of --run, or the model of --model."""
    if options.run_folder is None:
        return _load_model(options.model)
    from keras_deepskip.training import Run

    return Run.load(options.run_folder, getattr(options, "data", None))


def _load_model(path):
    from keras_deepskip.models import load_model

    return load_model(path)


def _option(text):
    """Reads `NAME=VALUE` as (name, value); a value that is no JSON is a text."""
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _boolean_or_number(text):
    """Reads `yes`, `no` or a whole number."""
    known = {"yes": True, "true": True, "no": False, "false": False}
    return known[text.lower()] if text.lower() in known else int(text)


def _number_or_none(text):
    """Reads a whole number; `none` and 0 are None."""
    return None if text.lower() == "none" else int(text) or None


def _own_category(text):
    """Reads `NAME=FOLDER` as (name, folder)."""
    name, _, folder = text.partition("=")
    return name, folder


def _color(text):
    """Reads `R,G,B=ID` as (R, G, B, ID)."""
    color, _, class_id = text.partition("=")
    red, green, blue = color.split(",")
    return int(red), int(green), int(blue), int(class_id)


def _class_and_id(text):
    """Reads `NAME` or `NAME=ID` as (NAME, ID or None)."""
    name, _, class_id = text.partition("=")
    return name, int(class_id) if class_id else None


def _chosen_classes(pairs):
    """The list of names or dict to ids that `import_set` takes, of pairs (name, id or None)."""
    if not pairs or all(class_id is None for _, class_id in pairs):
        return [name for name, _ in pairs] if pairs else None
    if any(class_id is None for _, class_id in pairs):
        raise ValueError("--classes wants NAME for each, or NAME=ID for each, not both")
    return dict(pairs)


def _masks(options, of_run=None):
    """The `MaskReading` that the options say; what they leave open is that of the run."""
    from keras_deepskip.data import MaskReading

    known = of_run or MaskReading()
    given = {
        "num_classes": getattr(options, "num_classes", None),
        "colors": _colors(options.color),
        "ignore_class": options.ignore_class,
    }
    given = {name: value for name, value in given.items() if value is not None}
    return dataclasses.replace(known, **given)


def _colors(rows):
    """The dict from (r, g, b) to class id that the functions take, of rows (r, g, b, id)."""
    return {tuple(row[:3]): row[3] for row in rows} if rows else None


if __name__ == "__main__":
    sys.exit(main())
