"""Reads a function's parameters from its signature and docstring, for the command line."""

import dataclasses
import inspect
import re


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A parameter as its function has it.

    Attributes:
        name: its name.
        default: its default, or `inspect.Parameter.empty`.
        text: its entry in the docstring, on one line.
    """

    name: str
    default: object
    text: str

    @property
    def required(self):
        """Whether it has no default."""
        return self.default is inspect.Parameter.empty

    @property
    def summary(self):
        """The first sentence of `text`, names in backticks."""
        return re.split(r"(?<=[^.])\.(?:\s|$)", self.text, maxsplit=1)[0]


def parameters(documented):
    """Returns the parameters of a function or dataclass that its docstring describes.

    Args:
        documented: one whose docstring has a section `Args:` (or `Attributes:`) in Keras's form.

    Returns:
        A dict from name to `Parameter`.

    Example:

    >>> parameters(parameters)["documented"].required
    True
    """
    entries = _entries(inspect.getdoc(documented) or "")
    signature = inspect.signature(documented).parameters
    return {
        name: Parameter(name, signature[name].default, text)
        for name, text in entries.items()
        if name in signature
    }


def _entries(docstring):
    """The entries of the section on arguments: a dict from each name to its text."""
    section = re.search(r"^(?:Args|Attributes):\n((?:    .*\n?|\n(?=    ))*)", docstring, re.M)
    found, names = {}, []
    for line in section.group(1).splitlines() if section else ():
        begun = re.match(r"    ([\w*]+(?:, [\w*]+)*):\s+(.*)", line)
        if begun:
            names = begun.group(1).split(", ")
            found.update(dict.fromkeys(names, begun.group(2).strip()))
        else:
            found.update({name: f"{found[name]} {line.strip()}".strip() for name in names})
    return found
