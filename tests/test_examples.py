"""Examples, notebooks and the demo run, at small size, and the docstrings' examples hold."""

import doctest
import importlib
import pkgutil
import re
import runpy
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_deepskip
from keras_deepskip import data

ROOT = Path(__file__).resolve().parent.parent
TINY = {
    "QUICKSTART_IMAGES": "4", "QUICKSTART_EPOCHS": "1", "PYTHONPATH": str(ROOT),
    "CELLS_IMAGES": "6", "CELLS_SIDE": "64", "CELLS_STEPS": "1", "CELLS_LEVELS": "2",
    "BACKBONE_IMAGES": "4", "BACKBONE_SIDE": "64", "BACKBONE_EPOCHS": "1", "BACKBONE_LEVELS": "2",
    "EXPORT_IMAGES": "4", "EXPORT_SIDE": "64", "EXPORT_EPOCHS": "1", "EXPORT_LEVELS": "2",
}  # fmt: skip
NOTEBOOKS = runpy.run_path(str(ROOT / "docs" / "tools" / "notebooks.py"))
NETWORK = {"levels": 2, "base_filters": 2}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The working folder of an example, and its sizes. The notebook has a process of its own."""
    monkeypatch.chdir(tmp_path)
    for name, value in TINY.items():
        monkeypatch.setenv(name, value)
    return tmp_path


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


@pytest.mark.one_backend
def test_quickstart(here, capsys):
    runpy.run_path(str(ROOT / "examples" / "quickstart.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert "644,192 weights" in said
    assert "largest difference after reload: 0.0" in said
    assert (here / "quickstart.png").stat().st_size > 1000
    assert list((here / "logs" / "quickstart" / "train").glob("events*"))


@pytest.mark.one_backend
def test_train_folder(here, capsys):
    pytest.importorskip("tensorflow", reason="the export of the example needs TensorFlow")
    data.sample("set", kind="coins", images=6, height=64, width=64, count=(1, 3), size=(8, 14))
    example = runpy.run_path(str(ROOT / "examples" / "train_folder.py"))
    recipe = {"epochs": 1, "steps_per_epoch": 2, "crop_size": 32, "batch_size": 2}
    assert example["main"]("set", "out", NETWORK, validation_windows=2, **recipe) == 0
    said = capsys.readouterr().out
    assert "all within 1e-05" in said and "Objects, matched one to one" in said
    assert (here / "out" / "saved_model" / "saved_model.pb").is_file()


@pytest.mark.one_backend
def test_search(here, capsys):
    """Interrupted in the second trial, it goes on with that one, and ends with three in all."""
    pytest.importorskip("optuna")
    data.sample("set", images=6, height=48, width=48, count=(1, 3), size=(8, 14))
    example = runpy.run_path(str(ROOT / "examples" / "search.py"))
    main, whole = example["main"], example["best_f1"]
    tried, arguments = [], {"epochs": 1, "steps_per_epoch": 1, "batch_size": 2}
    arguments |= {"validation_windows": 2, "network": NETWORK}

    def best_f1(folder, out, fields, *others):
        tried.append(fields)
        if len(tried) == 2:
            raise KeyboardInterrupt
        return whole(folder, out, fields, *others)

    main.__globals__["best_f1"] = best_f1
    main.__globals__["choices"] = lambda trial: {"crop_size": 32, **sample_of(trial)}
    with pytest.raises(KeyboardInterrupt):
        main("set", "out", 3, **arguments)
    study = main("set", "out", 3, **arguments)
    assert tried[2] == tried[1] and len(tried) == 4
    states = [trial.state.name for trial in study.trials]
    assert states.count("COMPLETE") == 3 and states.count("FAIL") == 1
    assert "Object F1 0." in capsys.readouterr().out


def sample_of(trial):
    return {"learning_rate": trial.suggest_float("learning_rate", 1e-3, 6e-3, log=True)}


@pytest.mark.one_backend
def test_fine_tune(here, capsys):
    keras_deepskip.build_model(**NETWORK).save("weights.keras")
    data.sample("set", images=6, height=48, width=48, count=(1, 3), size=(8, 14))
    example = runpy.run_path(str(ROOT / "examples" / "fine_tune.py"))
    recipe = {"epochs": 2, "steps_per_epoch": 1, "crop_size": 32, "batch_size": 2}
    example["main"]("set", "out", "weights.keras", freeze_epochs=1, network=NETWORK,
                    validation_windows=2, **recipe)  # fmt: skip
    said = capsys.readouterr().out
    assert "from scratch: pixel IoU 0." in said and "on weights: pixel IoU 0." in said


@pytest.mark.one_backend
@pytest.mark.usefixtures("eager_tensorflow")
def test_count_cells(here, capsys):
    runpy.run_path(str(ROOT / "examples" / "count_cells.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert "of the objects touch another of their class" in said
    assert "told apart\n|" in said and "connected components\n|" in said
    counts = (here / "counted" / "images.csv").read_text(encoding="utf-8").splitlines()
    assert len(counts) == 1 + int(TINY["CELLS_IMAGES"])
    assert (here / "cells.png").stat().st_size > 1000


@pytest.mark.one_backend
@pytest.mark.usefixtures("eager_tensorflow")
def test_own_backbone(here, capsys):
    runpy.run_path(str(ROOT / "examples" / "own_backbone.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert "'val_object_recall': " in said
    assert "100.0000% of the pixels as in one pass" in said
    assert "largest difference after reload: 0.0" in said
    assert (here / "backbone.png").stat().st_size > 1000


@pytest.mark.one_backend
@pytest.mark.parametrize("name", NOTEBOOKS["EXTRAS"])
def test_notebooks_are_those_of_the_examples(name):
    """Made by: python docs/tools/notebooks.py"""
    import nbformat

    notebook = nbformat.read(NOTEBOOKS["path_of"](name), as_version=4)
    made = NOTEBOOKS["notebook"](name)
    cells = [[(c.cell_type, c.source) for c in each.cells] for each in (notebook, made)]
    assert cells[0] == cells[1]
    assert not any(cell.get("outputs") for cell in notebook.cells)
    nbformat.validate(notebook)


@pytest.mark.one_backend
def test_the_readmes_ten_lines(here):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    code = text.split("```python\n", 1)[1].split("```", 1)[0]
    for full, tiny in (('scenes("lesions", 40', 'scenes("lesions", 9'), ("epochs=30", "epochs=1")):
        assert full in code
        code = code.replace(full, tiny)
    exec(code, {"__name__": "__main__"})
    assert (here / "lesions.keras").is_file()


@pytest.mark.one_backend
def test_the_readmes_commands_as_functions(here, capsys):
    """The second block, on a small set: train, evaluate, predict and export of a run."""
    data.sample(here / "cells", images=6, height=64, width=64)
    (here / "new").mkdir()
    shutil.copy(sorted((here / "cells" / "images").iterdir())[0], here / "new")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    code = text.split("```python\n", 2)[2].split("```", 1)[0]
    assert "kd.Recipe(epochs=20)" in code
    recipe = "epochs=1, steps_per_epoch=1, crop_size=32, batch_size=2, validation_windows=2"
    tiny = f"kd.Recipe({recipe}), levels=2, base_filters=2"
    exec(code.replace("kd.Recipe(epochs=20)", tiny), {"__name__": "__main__"})
    said = capsys.readouterr().out
    assert "IoU" in said and (here / "runs" / "first" / "model.keras").is_file()
    assert (here / "found" / "objects.csv").is_file() and (here / "served").is_dir()


@pytest.mark.one_backend
def test_a_notebook_runs_and_shows_its_picture(here):
    """The other notebooks are scripts that run above; what Jupyter adds is the same in each."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOKS["path_of"]("export_onnx"), as_version=4)
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(here)}})
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    said = "".join(output.get("text", "") for output in outputs)
    assert "all within 1e-05" in said
    differences = [float(text) for text in re.findall(r"at most (\S+) from the model", said)]
    assert len(differences) == 2 and max(differences) < 1e-5
    assert any("image/png" in output.get("data", {}) for output in outputs)


@pytest.mark.one_backend
@pytest.mark.slow
def test_the_demo(tmp_path, monkeypatch, capsys):
    """All of it, on fewer and smaller scenes; it says it on one screen."""
    from keras_deepskip import cli, demo
    from keras_deepskip.training import Recipe

    small = {"images": 8, "height": 64, "width": 64, "count": (1, 3), "size": (8, 20)}
    monkeypatch.setattr(demo, "SCENES", {**demo.SCENES, **small})
    recipe = Recipe(epochs=12, steps_per_epoch=1, crop_size=32, batch_size=2, validation_windows=2)
    monkeypatch.setattr(demo, "RECIPE", recipe)
    assert cli.main(["demo", "--out", str(tmp_path / "demo")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert len([line for line in said if line.startswith("Epoch ")]) == demo.RECIPE.epochs == 12
    assert len(said) <= 40 and len([line for line in said if line.startswith("|--")]) == 1
    page = tmp_path / "demo" / "report.html"
    assert said[-2:] == [
        f"Wrote {page} (open it in a browser)",
        "Next: keras-deepskip train --data YOUR_FOLDER --out RUN",
    ]
    text = page.read_text(encoding="utf-8")
    # two test images and the photograph
    assert text.count("data:image/webp;base64,") == 3
    assert "349,632" in text and "Objects by size and class" in text
    for name in ("objects.csv", "overlays/coins.png", "masks/coins.png"):
        assert (tmp_path / "demo" / "found" / name).is_file()
    with pytest.raises(ValueError, match="already holds a demo"):
        demo.demo(tmp_path / "demo", epochs=1, verbose=0)
