"""The examples, the notebook and the demo run, at small size, and the docstrings' examples hold."""

import doctest
import importlib
import os
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_deepskip
from keras_deepskip import data

ROOT = Path(__file__).resolve().parent.parent
TINY = {**os.environ, "QUICKSTART_IMAGES": "8", "QUICKSTART_EPOCHS": "1", "PYTHONPATH": str(ROOT)}


def run_script(arguments, cwd):
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, env=TINY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def modules():
    found = pkgutil.walk_packages(keras_deepskip.__path__, "keras_deepskip.")
    return [module.name for module in found]


@pytest.mark.parametrize("name", modules())
def test_docstring_examples(name):
    """Examples with `>>>` run, and give the results that they show."""
    module = importlib.import_module(name)
    given = {"np": np, "keras": keras, "keras_deepskip": keras_deepskip, **vars(module)}
    failed = []
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    for case in doctest.DocTestFinder(exclude_empty=True).find(module, globs=given):
        report = []
        doctest.DocTestRunner(optionflags=flags).run(case, out=report.append)
        failed += report
    assert not failed, "".join(failed)


def test_quickstart(tmp_path):
    said = run_script([ROOT / "examples" / "quickstart.py"], tmp_path)
    assert "644,192 weights" in said
    assert "largest difference after reload: 0.0" in said
    assert (tmp_path / "quickstart.png").stat().st_size > 1000
    assert list((tmp_path / "logs" / "quickstart").glob("events*"))


def test_train_folder(tmp_path):
    data.sample(
        tmp_path / "set", kind="coins", images=6, height=64, width=64, count=(1, 3), size=(8, 14)
    )
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'examples')!r}); import train_folder; "
        "sys.exit(train_folder.main('set', 'out', epochs=1, steps_per_epoch=2, crop_size=32, "
        "batch_size=2, validation_windows=2))"
    )
    pytest.importorskip("tensorflow", reason="the export of the example needs TensorFlow")
    said = run_script(["-c", code], tmp_path)
    assert "all within 1e-05" in said and "Objects, matched one to one" in said
    assert (tmp_path / "out" / "saved_model" / "saved_model.pb").is_file()


def test_fine_tune(tmp_path):
    keras_deepskip.build_model().save(tmp_path / "weights.keras")
    data.sample(tmp_path / "set", images=6, height=48, width=48, count=(1, 3), size=(8, 14))
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'examples')!r}); import fine_tune; "
        "fine_tune.main('set', 'out', 'weights.keras', freeze_epochs=1, epochs=2, "
        "steps_per_epoch=1, crop_size=32, batch_size=2, validation_windows=2)"
    )
    said = run_script(["-c", code], tmp_path)
    assert "from scratch: pixel IoU 0." in said and "on weights: pixel IoU 0." in said


def test_the_notebook_is_the_example():
    """Made by: jupytext --to ipynb --output notebooks/quickstart.ipynb examples/quickstart.py"""
    import jupytext

    notebook = jupytext.read(ROOT / "notebooks" / "quickstart.ipynb")
    example = jupytext.read(ROOT / "examples" / "quickstart.py")
    cells = [[(c.cell_type, c.source) for c in each.cells] for each in (notebook, example)]
    assert cells[0] == cells[1]
    assert not any(cell.get("outputs") for cell in notebook.cells)


def test_the_readmes_ten_lines(tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    code = text.split("```python\n", 1)[1].split("```", 1)[0]
    for full, tiny in (('scenes("lesions", 40', 'scenes("lesions", 9'), ("epochs=30", "epochs=1")):
        assert full in code
        code = code.replace(full, tiny)
    run_script(["-c", code], tmp_path)
    assert (tmp_path / "lesions.keras").is_file()


def test_the_readmes_commands_as_functions(tmp_path):
    """The second block, on a small set: train, evaluate, predict and export of a run."""
    data.sample(tmp_path / "cells", images=6, height=64, width=64)
    (tmp_path / "new").mkdir()
    shutil.copy(sorted((tmp_path / "cells" / "images").iterdir())[0], tmp_path / "new")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    code = text.split("```python\n", 2)[2].split("```", 1)[0]
    assert "epochs=20" in code
    tiny = "epochs=1, steps_per_epoch=1, crop_size=32, batch_size=2, validation_windows=2"
    said = run_script(["-c", code.replace("epochs=20", tiny)], tmp_path)
    assert "IoU" in said and (tmp_path / "runs" / "first" / "model.keras").is_file()
    assert (tmp_path / "found" / "objects.csv").is_file() and (tmp_path / "cells.onnx").is_file()


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch):
    import jupytext
    from nbclient import NotebookClient

    for name, value in TINY.items():
        monkeypatch.setenv(name, value)
    notebook = jupytext.read(ROOT / "notebooks" / "quickstart.ipynb")
    kernel = {"name": "python3", "display_name": "Python 3"}
    notebook.metadata["kernelspec"] = kernel
    client = NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
    said = "".join(o.get("text", "") for c in notebook.cells for o in c.get("outputs", []))
    assert "644,192 weights" in said and (tmp_path / "quickstart.keras").is_file()


@pytest.mark.slow
def test_the_demo(tmp_path, monkeypatch):
    """All of it, on fewer and smaller scenes."""
    from keras_deepskip import demo
    from keras_deepskip.training import Recipe

    small = {"images": 8, "height": 64, "width": 64, "count": (1, 3), "size": (8, 20)}
    monkeypatch.setattr(demo, "SCENES", {**demo.SCENES, **small})
    recipe = Recipe(steps_per_epoch=2, crop_size=32, batch_size=2, validation_windows=2)
    monkeypatch.setattr(demo, "RECIPE", recipe)
    page = demo.demo(tmp_path / "demo", epochs=1, verbose=0)
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == 4  # two comparisons, the photograph, the curves
    assert "349,632" in text and "Objects, matched one to one" in text
    for name in ("objects.csv", "overlays/coins.png", "masks/coins.png"):
        assert (tmp_path / "demo" / "found" / name).is_file()
    with pytest.raises(ValueError, match="already holds a demo"):
        demo.demo(tmp_path / "demo", epochs=1, verbose=0)
