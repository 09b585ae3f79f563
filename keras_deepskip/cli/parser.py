"""The parser of the command line: what is wrong is said in one line, with what would be right."""

import argparse
import difflib
import sys

from keras_deepskip.cli.machine_output import json_text

MISUSED = 2  # status of a command that was not understood


class OneLineParser(argparse.ArgumentParser):
    """A parser that complains in one line, without the list of all options.

    Attributes:
        as_json: whether a complaint is wanted as JSON too.
    """

    as_json = False

    def error(self, message):
        """Says what is wrong, and where help is; ends the process."""
        end = "" if message.endswith(("?", ".")) else "."
        print(f"{self.prog}: {message}{end} See: {self.prog} --help", file=sys.stderr)
        if self.as_json:
            command = self.prog.partition(" ")[2] or None
            print(json_text(command, MISUSED, {"error": message}))
        raise SystemExit(MISUSED)

    def refuse(self, unknown):
        """Complains of arguments that no option takes, and names the nearest option."""
        known = [flag for action in self._actions for flag in action.option_strings]
        message = f"unrecognized arguments: {' '.join(unknown)}"
        self.error(message + nearest(unknown[0].partition("=")[0], known))


def nearest(text, names):
    """Returns `. Did you mean NAME?` for the name that is nearest to a text; "" if none is near.

    Example:

    >>> nearest("trian", ["train", "audit"])
    '. Did you mean train?'
    """
    near = difflib.get_close_matches(text, names, n=1)
    return f". Did you mean {near[0]}?" if near else ""


def wants_json(arguments):
    """Whether `--json` is among the arguments; that of `audit` may name a file instead.

    Example:

    >>> wants_json(["plan", "--json"]), wants_json(["audit", "--json", "found.json"])
    (True, False)
    """
    if "--json" not in arguments:
        return False
    at = arguments.index("--json")
    file = arguments[at + 1 : at + 2]
    return "audit" not in arguments[:at] or not file or file[0].startswith("-")
