"""The command `keras-deepskip`: each subcommand is a thin skin over a function of the same name."""

import argparse
import contextlib
import os
import signal
import sys
import threading
from pathlib import Path

from keras_deepskip._versions import __version__
from keras_deepskip.cli import arguments as describe
from keras_deepskip.cli import commands as run
from keras_deepskip.cli.ending import show
from keras_deepskip.cli.machine_output import Result, json_text, words_to_errors
from keras_deepskip.cli.parser import OneLineParser, nearest, wants_json


def run_completion(options):
    """Prints the script by which a shell completes commands, options and names of files."""
    from keras_deepskip._checks import require  # here, as it loads NumPy

    shtab = require("shtab", '"keras-deepskip[completion]"', "completion")
    parser = make_parser([], every=True)
    (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    for command in commands.choices.values():
        for action in command._actions:
            if action.nargs != 0 and not action.choices and action.type in (None, str):
                action.complete = shtab.FILE
    print(shtab.complete(parser, options.shell))


COMMANDS = {
    "train": (run.run_train, describe.describe_train, "train on a folder of images and masks"),
    "evaluate": (
        run.run_evaluate, describe.describe_evaluate, "evaluate a model on images with masks",
    ),
    "report": (
        run.run_report, describe.describe_report,
        "write one page of what a model finds and how it was made",
    ),
    "push": (
        run.run_push, describe.describe_push,
        "put a run's model and its card on the Hugging Face Hub",
    ),
    "predict": (
        run.run_predict, describe.describe_predict, "find objects: masks, overlays, table",
    ),
    "suggest": (
        run.run_suggest, describe.describe_suggest, "rank images to annotate next",
    ),
    "stream": (
        run.run_stream, describe.describe_stream,
        "find objects in the frames of a folder, video or camera",
    ),
    "export": (
        run.run_export, describe.describe_export,
        "write SavedModel, ONNX, LiteRT, ..., each compared with the model",
    ),
    "quantize": (
        run.run_quantize, describe.describe_quantize, "write 8-bit ONNX, and measure what it costs",
    ),
    "analyze": (
        run.run_analyze, describe.describe_analyze, "count weights, MACs and receptive field",
    ),
    "backbones": (
        run.run_backbones, describe.describe_backbones,
        "print a table of all backbones: weights, MACs and time",
    ),
    "audit": (run.run_audit, describe.describe_audit, "report what is wrong with a data folder"),
    "plan": (
        run.run_plan, describe.describe_plan, "show what training would choose, and why",
    ),
    "sample": (
        run.run_sample, describe.describe_sample, "write a synthetic set of small objects",
    ),
    "import": (
        run.run_import, describe.describe_import, "convert a published set to images/ and masks/",
    ),
    "ablation": (
        run.run_ablation, describe.describe_ablation,
        "train variants of the network and compare them (the paper's Table 1)",
    ),
    "compare": (
        run.run_compare, describe.describe_compare,
        "train other networks on the same images and compare them",
    ),
    "benchmark": (
        run.run_benchmark, describe.describe_benchmark, "time networks side by side",
    ),
    "demo": (
        run.run_demo, describe.describe_demo,
        "run the whole job on synthetic data, and show it as a page",
    ),
    "completion": (
        run_completion, describe.describe_completion,
        "print the script for command completion in a shell",
    ),
}  # fmt: skip
# Commands that, repeated, resume where they were interrupted.
RESUMING = ("ablation", "backbones", "benchmark", "compare", "import", "predict")
DEBUG_HELP = "show the traceback of an error"
JSON_HELP = "print the result as JSON, and what people read to standard error"
MAIN_PATH = """The main path:
  keras-deepskip train    --data FOLDER --out RUN      FOLDER holds images/ and masks/
  keras-deepskip evaluate --run RUN                    on images that were held back
  keras-deepskip predict  --run RUN --images NEW --out FOUND
No data at hand: keras-deepskip demo. All commands: keras-deepskip --help"""


def main(arguments=None):
    """Runs one command and returns its exit status.

    Args:
        arguments: list of texts; None takes those of the command line.

    Returns:
        0; 1 after an error, if `audit` found errors or `predict` left images out; 130 after an
        interrupt (SIGTERM too); 141 if nobody reads the output any more.

    Example:

    ```python
    main(["analyze", "--backbone", "light_resnet34"])
    ```
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if not arguments:
        print(MAIN_PATH)
        return 0
    options = parsed(arguments)
    try:
        with _termination_as_interrupt(), words_to_errors(options.as_json):
            result = options.run(options) or Result({})
            if result.ending is not None:
                show(result.ending)
        if options.as_json:
            print(json_text(options.command, result.status, result.facts))
        return result.status
    except KeyboardInterrupt:
        begun = options.command == "train" and any(
            (Path(options.out) / name).exists() for name in ("config.json", "split-1.json")
        )
        again = " The same command with --resume continues it." if begun else ""
        again = " The same command continues it." if options.command in RESUMING else again
        print(f"\nkeras-deepskip {options.command}: interrupted.{again}", file=sys.stderr)
        if options.as_json:
            print(json_text(options.command, 130, {"error": "interrupted"}))
        return 130
    except BrokenPipeError:  # who reads the output has seen enough, as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, OSError, ImportError, ArithmeticError, RuntimeError) as error:
        # Errors of the user's files and arguments are one line, without a traceback.
        if options.debug:
            raise
        text = " ".join(str(error).split())
        print(f"keras-deepskip {options.command}: {text}", file=sys.stderr)
        if options.as_json:
            print(json_text(options.command, 1, {"error": text}))
        return 1


def parsed(arguments):
    """The options that the arguments say; ends the process with 2 if they say none."""
    parser = make_parser(arguments)
    named = next((text for text in arguments if not text.startswith("-")), None)
    if named is not None and named not in COMMANDS:
        parser.error(f"no such command: {named}{nearest(named, COMMANDS)}")
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        parser.commands[options.command].refuse(unknown)
    options.as_json = wants_json(arguments)
    return options


def make_parser(arguments, every=False):
    """Returns the parser; only the command that is among the arguments has its options, or every.

    The options of a command come from its function, and with that from the backend.
    """
    parser = OneLineParser(
        prog="keras-deepskip",
        description="Light deep-skip networks that find small objects in large images.",
    )
    parser.add_argument("--json", action="store_true", help=JSON_HELP)
    parser.add_argument("--debug", action="store_true", help=DEBUG_HELP)
    parser.add_argument("--version", action="version", version=__version__)
    parser.as_json = wants_json(arguments)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    parser.commands = commands.choices
    chosen = next((text for text in arguments if text in COMMANDS), None)
    for name, (run_command, describe_command, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run_command)
        command.as_json = parser.as_json
        if name not in ("audit", "completion"):  # audit's own may name a file
            command.add_argument("--json", action="store_true", help=JSON_HELP)
        command.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help=DEBUG_HELP
        )
        if every or name == chosen:
            describe_command(command)
    return parser


@contextlib.contextmanager
def _termination_as_interrupt():
    """What a scheduler sends ends a command as Ctrl-C does: its processes too, nothing lost."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
