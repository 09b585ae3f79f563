"""Writes the notebooks from the narrated scripts of examples/, each with a first cell for Colab.

python docs/tools/notebooks.py
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Where the package is on GitHub: Colab opens the notebooks from there and installs from there. The
# address is not public yet; set it here and run this again.
REPOSITORY = "OWNER/REPOSITORY"
EXTRAS = {
    "quickstart": "demo", "count_cells": "demo", "own_backbone": "demo", "export_onnx": "demo,onnx",
}  # fmt: skip
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
OPEN = "https://colab.research.google.com/github/{repository}/blob/main/notebooks/{name}.ipynb"
INSTALL = """\
# Installs the package where it is missing, as on Colab: from a wheel (`python -m build` writes it)
# that was uploaded beside this notebook, else from the repository.
import glob
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("keras_deepskip") is None:
    wheels = sorted(glob.glob("keras_deepskip-*.whl"))
    address = "keras-deepskip[{extras}] @ git+https://github.com/{repository}"
    package = wheels[-1] + "[{extras}]" if wheels else address
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", package], check=True)"""


def notebook(name):
    """Returns the notebook of a script, as jupytext has it, without outputs."""
    import jupytext
    from nbformat.v4 import new_code_cell, new_markdown_cell

    made = jupytext.read(ROOT / "examples" / f"{name}.py")
    link = OPEN.format(repository=REPOSITORY, name=name)
    first = new_markdown_cell(f"[![Open in Colab]({BADGE})]({link})")
    install = INSTALL.format(extras=EXTRAS[name], repository=REPOSITORY)
    made.cells[:0] = [first, new_code_cell(install)]
    for number, cell in enumerate(made.cells):
        cell["id"] = f"{name}-{number}"  # the same each time
    made.metadata["kernelspec"] = {
        "name": "python3", "display_name": "Python 3", "language": "python",
    }  # fmt: skip
    return made


def path_of(name):
    """The file of a notebook."""
    return ROOT / "notebooks" / f"{name}.ipynb"


def main():
    import jupytext

    for name in EXTRAS:
        jupytext.write(notebook(name), path_of(name), fmt="ipynb")


if __name__ == "__main__":
    main()
