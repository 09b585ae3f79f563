"""Writes docs/commands.md: every command with all its flags, as its parser has them.

python docs/tools/commands.py
"""

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "commands.md"
HEAD = """# Commands and their flags

All flags of each command; `keras-deepskip COMMAND --help` prints them too. Every command also takes
`--help`, `--json` (the result as JSON) and `--debug` (the traceback of an error). The flags
of [train](#train) have the names of the fields of `Recipe`, and
[what training chooses](recipe.md) explains the choices. What commands print, and their exit status,
is in [the package at a glance](api.md#commands).

*Made by `python docs/tools/commands.py`, from the parsers.*

"""
EVERYWHERE = ("--help", "--json", "--debug")
CODE = re.compile(r'(`[^`]*`|"[\w-]+"|(?<![\w-])--\w[\w-]*)')


def page():
    """Returns the page as Markdown."""
    from keras_deepskip import cli

    parsers = cli.make_parser([], every=True).commands
    lines = ["| command | does |", "|---|---|"]
    lines += [f"| [{name}](#{name}) | {summary(name)} |" for name in parsers]
    for name, parser in parsers.items():
        lines += ["", f"## {name}", "", f"{summary(name)[:1].upper()}{summary(name)[1:]}."]
        groups = [(group, rows) for group in parser._action_groups if (rows := rows_of(group))]
        for group, rows in groups:
            about = group.description and f": {group.description}" or ""
            lines += ["", f"**{group.title}**{about}"] if len(groups) > 1 else []
            lines += ["", "| flag | meaning |", "|---|---|", *rows]
    return HEAD + "\n".join(lines) + "\n"


def summary(name):
    """What a command does."""
    from keras_deepskip import cli

    return cli.COMMANDS[name][2]


def rows_of(group):
    """A row of the table for each flag of a group of options, but those that all commands have."""
    return [
        f"| `{flag_of(action)}` | {text_of(action)} |"
        for action in group._group_actions
        if not (action.nargs == 0 and set(EVERYWHERE) & set(action.option_strings))
    ]


def flag_of(action):
    """A flag and its values, as in the usage of a command."""
    flags = ", ".join(action.option_strings)
    if action.nargs == 0:
        return flags
    value = action.metavar or action.dest.upper()
    if action.choices is not None:
        value = "{" + ",".join(action.choices) + "}"
    shown = {"?": f"[{value}]", "+": f"{value} ..."}.get(action.nargs, value)
    return f"{flags} {' '.join(shown) if isinstance(shown, tuple) else shown}"


def text_of(action):
    """The help of a flag as Markdown: flags and values are code."""
    parts = CODE.split(action.help.replace("%%", "%"))
    parts[::2] = [re.sub(r"([*_<>|\[\]])", r"\\\1", text) for text in parts[::2]]
    parts[1::2] = ["`" + name.strip('`"') + "`" for name in parts[1::2]]
    return "".join(parts) + (" (required)" if action.required else "")


def main():
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
