"""Writes docs/licences.md: the licence of every package that the core and the extras ask for.

    pip install -e ".[tensorflow,jax,torch,test,docs,benchmark,keras-cv]"
    python docs/tools/licences.py

Names come from setup.cfg, licences from what is installed. It ends with an error if one is not.
"""

import configparser
import re
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "licences.md"
HEAD = """# Licences

keras_deepskip is under Apache-2.0 ([LICENSE](../LICENSE)), and contains no code of others. It uses
these packages, which pip installs; what they ask for in turn is not listed (`pip-licenses` lists
all that an environment holds). Made by `python docs/tools/licences.py`, from the metadata of the
packages.

"""


def requirements():
    """Returns what setup.cfg asks for: a dict from each package to the extras that ask for it."""
    config = configparser.RawConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    lists = {"core": config["options"]["install_requires"]}
    lists |= config["options.extras_require"]
    found = {}
    for extra, text in lists.items():
        for line in text.split():
            if not line.startswith("%"):  # another extra, which is in the table by itself
                found.setdefault(re.match(r"[\w.-]+", line).group().lower(), []).append(extra)
    return found


def licence_of(package):
    """Returns the licence that an installed package states, where it is not the whole text."""
    fields = metadata.metadata(package)
    classifiers = [text for text in fields.get_all("Classifier", []) if "License ::" in text]
    short = [text for text in map(fields.get, ("License-Expression", "License")) if text]
    short += [text.rpartition(" :: ")[2] for text in classifiers]
    short = [text for text in short if len(text) < 100 and text.upper() != "UNKNOWN"]
    return short[0] if short else "not stated in its metadata"


def page():
    """Returns the page as Markdown."""
    lines = ["| package | licence | asked for by |", "|---|---|---|"]
    for package, extras in sorted(requirements().items()):
        lines.append(f"| {package} | {licence_of(package)} | {', '.join(extras)} |")
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
