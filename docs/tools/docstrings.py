"""Docstrings as Griffe and Markdown read them.

Our sections on examples and sources are not indented, as in Keras: they get a heading, and the
lines of an example that begin with `>>>` a fence.
"""

import re

import griffe

HEADING = re.compile(r"^(Example|Source):(?=[ \n])", re.M)
SESSION = re.compile(r"^>>> .*\n?(?:.+\n?)*", re.M)  # to the next empty line


class Sections(griffe.Extension):
    """Puts the headings and fences into each docstring."""

    def on_object(self, *, obj, **_):
        if obj.docstring is not None:
            text = SESSION.sub(
                lambda found: f"```pycon\n{found[0].rstrip()}\n```\n", obj.docstring.value
            )
            obj.docstring.value = HEADING.sub(r"**\1:**", text)
