"""`Run`: what `train` returned is what `Run.load` reads."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from keras_deepskip import cli, load_model
from keras_deepskip.data import MaskReading, find_samples, split_to_json, write_png
from keras_deepskip.inference import evaluate
from keras_deepskip.operating_point import OperatingPoint, store_operating_point
from keras_deepskip.training import Run, train
from tests import tiny


def test_what_is_loaded_is_what_train_returned():
    run, loaded = tiny.run(), Run.load(tiny.run().folder)
    for field in dataclasses.fields(Run):
        if field.name != "data":
            assert getattr(loaded, field.name) == getattr(run, field.name), field.name
    assert loaded.data == run.data.resolve()
    assert loaded.best_epoch == run.best_epoch
    assert loaded.masks == MaskReading(1, kind="binary")
    assert split_to_json(loaded.split) == split_to_json(run.split)
    for ours, theirs in zip(loaded.model.get_weights(), run.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_curve_of_the_operating_point(tmp_path):
    run = tiny.run()
    rows = {row["threshold"]: row for row in run.operating_curve}
    assert min(rows) < 0.1 and max(rows) > 0.8
    assert all(0 <= row["recall"] <= 1 and row["class"] == 1 for row in rows.values())
    assert run.operating_point.threshold in rows
    shutil.copy(run.folder / "config.json", tmp_path)  # of an older run there is none
    assert Run.load(tmp_path).operating_curve == []


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="config.json: expected the arguments of a trai"):
        Run.load(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="Received: a file without data, facts, folder"):
        Run.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "read"),
    [
        ("plan.json", "{}", lambda run: run),
        ("plan.json", '{"recipe": {"new": 1}, "reasons": {}}', lambda run: run),
        ("operating_point.json", "{}", lambda run: run.operating_point),
        ("operating_point.json", "[]", lambda run: run.operating_point),
        ("history.csv", "epoch,loss\nx,1\n", lambda run: run),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, text, read):
    shutil.copytree(tiny.run().folder, tmp_path / "run")
    (tmp_path / "run" / name).write_text(text)
    with pytest.raises(ValueError, match=f"{name}: expected .*Received: "):
        read(Run.load(tmp_path / "run"))


def test_a_run_that_goes_on_decides_as_its_best_model_does(tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(tiny.run().folder, folder)
    model = load_model(folder / "model.keras")
    store_operating_point(model, OperatingPoint(0.25, 7))
    model.save(folder / "model.keras")
    (folder / "operating_point.json").unlink()
    assert Run.load(folder).operating_point == OperatingPoint(0.25, 7)


def test_a_run_without_a_whole_epoch_has_no_model(tmp_path):
    shutil.copy(tiny.run().folder / "config.json", tmp_path)
    run = Run.load(tmp_path)
    assert run.history == [] and run.best_epoch is None
    with pytest.raises(FileNotFoundError, match="model.keras.*no whole epoch yet. Resume it"):
        run.model  # noqa: B018


def test_data_that_moved(tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(tiny.run().folder, folder)
    config = json.loads((folder / "config.json").read_text())
    gone = {**config, "folder": str(tmp_path / "gone")}
    (folder / "config.json").write_text(json.dumps(gone))
    with pytest.raises(FileNotFoundError, match=r"gone: expected the images.*Run.load\(.*data="):
        Run.load(folder).split  # noqa: B018
    split = Run.load(folder, data=tiny.data()).split
    assert split_to_json(split) == split_to_json(tiny.run().split)


def test_data_that_moved_together_with_the_run(tmp_path):
    """It is found by its place relative to the run, if it holds the run's images."""
    before, after = tmp_path / "before", tmp_path / "after"
    shutil.copytree(tiny.data(), before / "cells")
    train(before / "cells", before / "runs" / "a", tiny.RECIPE, verbose=0, **tiny.MODEL)
    before.rename(after)
    run = Run.load(after / "runs" / "a")
    assert run.data == (after / "cells").resolve()
    assert split_to_json(run.split) == split_to_json(tiny.run().split)
    for image in sorted((after / "cells" / "images").iterdir()):
        image.rename(image.with_stem(f"other_{image.stem}"))
    assert Run.load(after / "runs" / "a").data == before / "cells"  # another set lies there


def test_images_that_the_run_has_seen_are_not_judged(tmp_path):
    """They are known by what they hold: a name may be another image's in another folder."""
    run, folder = tiny.run(), tmp_path / "mixed"
    shutil.copytree(tiny.data(), folder)
    samples, text = run.judged(find_samples(folder))
    assert sorted(s.name for s in samples) == sorted(s.name for s in run.split.test)
    assert text.startswith("2 of 8 images, the test part of the run's split; the others were left")
    renamed = tmp_path / "renamed"  # of another name an image is the same one
    write_png(renamed / "masks" / "other.png", np.zeros((48, 48), "uint8"))
    (renamed / "images").mkdir()
    shutil.copy(run.split.train[0].image, renamed / "images" / "other.png")
    (other,) = find_samples(renamed)
    assert run.part_of(other) == "train"
    validated, _ = run.judged(find_samples(folder), "val")
    assert [s.name for s in validated] == [s.name for s in run.split.val]
    train_name = run.split.train[0].name
    image = np.random.default_rng(0).integers(0, 255, (48, 48, 3), "uint8")
    write_png(folder / "images" / f"{train_name}.png", image)
    samples, text = run.judged(find_samples(folder))
    assert {s.name for s in samples} == {train_name, *(s.name for s in run.split.test)}
    assert text.startswith("1 of 8 images, which the run has not seen, and 2 of its test part")
    for sample in samples:
        sample.image.unlink()
        sample.mask.unlink()
    with pytest.raises(ValueError, match="Received: 5 of its other parts.*--split all"):
        run.judged(find_samples(folder))


@pytest.mark.one_backend
def test_colours_and_ignored_pixels_count_in_python_as_on_the_command_line(tmp_path):
    colours = {(0, 0, 0): 0, (255, 0, 0): 1, (0, 0, 255): 2}
    palette = np.array(list(colours), "uint8")
    generator = np.random.default_rng(0)
    for number in range(8):
        ids = np.zeros((48, 48), int)
        ids[4 + number : 14 + number, 4:14], ids[30:40, 20:30] = 1, 2  # no mask twice
        coarse = generator.integers(0, 90, (6, 6, 3))  # no two images are alike
        image = np.kron(coarse, np.ones((8, 8, 1), int)) + 80 * ids[..., None]
        tiny.put(tmp_path / "data", f"n{number}", image, palette[ids])
    reading = MaskReading(2, colours, ignore_class=2)
    recipe = dataclasses.replace(tiny.RECIPE, epochs=1, patience=None)
    out = tmp_path / "run"
    train(tmp_path / "data", out, recipe, masks=reading, verbose=0, **tiny.MODEL)

    run = Run.load(out)
    assert run.masks == reading
    ours = evaluate(run, verbose=0).to_dict()
    assert cli.main(["evaluate", "--run", str(out), "--out", str(tmp_path / "found")]) == 0
    theirs = json.loads((tmp_path / "found" / "evaluation.json").read_text())
    assert theirs["pixels"] == ours["pixels"] and theirs["objects"] == ours["objects"]
