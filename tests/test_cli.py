"""The command line: each command at tiny size, and what it says when something is wrong."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys
import typing
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_deepskip import cli
from keras_deepskip.cli.values import color_table
from keras_deepskip.data import sample, write_png
from keras_deepskip.data.masks import read_ids
from keras_deepskip.inference import evaluate
from keras_deepskip.training import Recipe
from tests import tiny


def said(capsys, *command):
    """What a command prints; it must end well."""
    capsys.readouterr()
    status = cli.main([str(part) for part in command])
    output = capsys.readouterr()
    assert status == 0, output.err
    return output.out


def squeezed(text):
    """A text without the spaces that set columns in tables."""
    return re.sub(" +", " ", text)


def complaint(capsys, *command):
    """The line that a command fails with."""
    capsys.readouterr()
    assert cli.main([str(part) for part in command]) == 1
    error = capsys.readouterr().err
    assert "Traceback" not in error
    lines = error.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"keras-deepskip {command[0]}: "), error
    return lines[0]


# ---- Each command --------------------------------------------------------------------------------


def test_sample_and_audit(tmp_path, capsys):
    text = said(
        capsys, "sample", "--out", tmp_path / "s", "--kind", "coins", "--images", 6, "--height", 32,
        "--width", 40, "--count", 1, 2, "--size", 6, 10, "--classes", 2, "--seed", 4,
    )  # fmt: skip
    assert "| 6 | 32 x 40 | coins | 1 to 2 |" in squeezed(text)
    assert f"Wrote {tmp_path / 's'}\nNext: keras-deepskip audit --data {tmp_path / 's'}\n" in text
    again = sample(
        tmp_path / "again",
        "coins",
        6,
        4,
        height=32,
        width=40,
        count=(1, 2),
        size=(6, 10),
        classes=2,
    )
    for path in sorted(again.rglob("*.png")):
        assert (tmp_path / "s" / path.relative_to(again)).read_bytes() == path.read_bytes()
    text = said(capsys, "audit", "--data", tmp_path / "s", "--json", tmp_path / "audit.json")
    assert "suggested num classes | 3" in squeezed(text)
    assert f"Next: keras-deepskip train --data {tmp_path / 's'} --out RUN" in text
    assert json.loads((tmp_path / "audit.json").read_text())["ok"] is True


def test_audit_of_bad_data_ends_with_1(tmp_path, capsys):
    tiny.put(tmp_path, "a", np.zeros((8, 8)), np.zeros((8, 9)))
    assert cli.main(["audit", "--data", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "its size is 8 x 9" in said and "Next: fix the errors above, and audit again" in said


@pytest.mark.one_backend
def test_train_tells_the_best_epoch_and_what_to_do_next(capsys):
    folder = tiny.first_run()
    recipe = dataclasses.replace(tiny.RECIPE, epochs=1, patience=None)
    model = {**tiny.MODEL, "dropout": 0.0}
    again = tiny.flags(recipe, model)
    text = said(capsys, "train", "--data", tiny.data(), "--out", folder, *again, "--resume")
    with open(folder / "history.csv", encoding="utf-8") as file:
        names, values = (line.strip().split(",") for line in file)
    iou = float(dict(zip(names, values, strict=True))["val_iou"])
    table = squeezed(text.split("on the validation images:")[1])
    assert "| epoch | pixel IoU | object F1 |" in table and f"| 1 of 1 | {iou:.3f} |" in table
    assert f"Wrote {folder / 'model.keras'}\n" in text
    config = json.loads((folder / "config.json").read_text())
    assert config["recipe"] == recipe.to_dict() and model.items() <= config["model"].items()


def test_evaluate_a_run_on_its_own_test_images(capsys):
    folder = tiny.first_run()
    text = said(capsys, "evaluate", "--run", folder)
    split = json.loads((folder / "split.json").read_text())
    found = json.loads((folder / "evaluation.json").read_text())
    assert found["images"] == len(split["test"]) == 2
    assert {name for name, _ in found["worst"]} == set(split["test"])
    assert "Found in 2 images" in text and f"| all | {found['pixels']['IoU']:.3f} |" in squeezed(
        text
    )
    assert text.count("\n|--") == 1  # one table
    assert f"Next: keras-deepskip predict --run {folder} --images NEW --out FOUND" in text


@pytest.mark.one_backend
def test_evaluate_other_images_leaves_the_figures_of_the_run(tmp_path, capsys):
    folder = tiny.first_run()
    said(capsys, "evaluate", "--run", folder)
    before = (folder / "evaluation.json").read_bytes()
    counts = {"train": 5, "val": 1, "all": 8}
    for split, count in counts.items():
        text = said(
            capsys, "evaluate", "--run", folder, "--split", split, "--out", tmp_path / split
        )
        assert f"Found in {count} image" in text
        assert json.loads((tmp_path / split / "evaluation.json").read_text())["images"] == count
    moved = said(capsys, "evaluate", "--run", folder, "--data", tiny.data(), "--split", "test")
    assert "Found in 2 images" in moved  # the run's split, of a folder that may have moved
    own = said(capsys, "evaluate", "--run", folder, "--data", tiny.data())
    assert "Found in 2 images" in own and "2 of 8 images, the test part of the run's split" in own
    everything = ("evaluate", "--run", folder, "--data", tiny.data(), "--split", "all")
    assert "Found in 8 images" in said(capsys, *everything)
    model = folder / "model.keras"
    assert "Found in 8 images" in said(capsys, "evaluate", "--model", model, "--data", tiny.data())
    assert (folder / "evaluation.json").read_bytes() == before


def test_evaluate_reads_masks_as_the_run_did(tmp_path, capsys):
    """Unless the command says otherwise."""
    run = tmp_path / "run"
    shutil.copytree(tiny.first_run(), run)
    config = json.loads((run / "config.json").read_text())
    config["facts"]["masks"]["ignore_class"] = 1
    (run / "config.json").write_text(json.dumps(config))
    assert "ignore_class=1" in complaint(capsys, "evaluate", "--run", run)  # no class is left
    assert "Found in 2 images" in said(capsys, "evaluate", "--run", run, "--ignore-class", 9)


def test_evaluate_folders_of_parts_and_colour_masks(tmp_path, capsys):
    for part in ("train", "val", "test"):
        image = np.zeros((8, 8), "uint8")
        image[2:5, 2:5] = 200
        colours = np.zeros((8, 8, 3), "uint8")
        colours[2:5, 2:5] = (250, 0, 9)
        tiny.put(tmp_path / part, f"{part}1", image)
        write_png(tmp_path / part / "masks" / f"{part}1.png", colours)
    model = tmp_path / "bright.keras"
    tiny.bright_model().save(model)
    colours = ["--color", "0,0,0=0", "--color", "250,0,9=1"]
    text = said(capsys, "evaluate", "--model", model, "--data", tmp_path, *colours)
    assert "Found in 3 images" in text and "| all | 1.000 |" in squeezed(text)


def test_predict(tmp_path, capsys):
    image = np.zeros((8, 9), "uint8")
    image[2:4, 3:6] = 255
    write_png(tmp_path / "in" / "a.png", image)
    tiny.bright_model().save(tmp_path / "bright.keras")
    text = said(
        capsys, "predict", "--model", tmp_path / "bright.keras", "--images", tmp_path / "in",
        "--out", tmp_path / "out", "--probabilities", "--no-overlays",
    )  # fmt: skip
    assert "Found 1 object:" in text and "| all | 1 | 1 | 1 | 1 | 6.000 |" in squeezed(text)
    assert f"Wrote {tmp_path / 'out' / 'objects.csv'} (one line per object)\n" in text
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "images.csv",
        "labels",
        "masks",
        "objects.csv",
        "probabilities",
        "report.html",
    ]
    np.testing.assert_array_equal(read_ids(tmp_path / "out" / "masks" / "a.png"), image > 0)


def test_export_compares_in_the_range_of_the_run(tmp_path, capsys, monkeypatch):
    seen = {}

    def written(model, format, backend, path, mask, images):
        seen.update(highest=max(image.max() for image in images), mask=mask, format=format)
        found = []
        for image in images:
            outputs = keras.ops.convert_to_numpy(model(image, training=False))
            found.append({"probabilities": outputs})
            if mask is not None:
                found[-1]["mask"] = (outputs > mask.threshold)[..., 0]
        return found

    run = tiny.first_run()  # before packages are said to be there
    monkeypatch.setattr("keras_deepskip.export.other_backend.written_and_run", written)
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: name)
    text = said(capsys, "export", "--run", run, "--out", tmp_path / "a")
    assert "3x130x37" in text and f"Wrote {tmp_path / 'a'}" in text and 200 < seen["highest"] <= 255
    assert seen["format"] == "saved_model" and seen["mask"] is None
    onnx = ("--format", "onnx", "--mask", "--threshold", 0.25)
    said(capsys, "export", "--run", run, "--out", tmp_path / "b.onnx", "--input-range", 0, 1, *onnx)
    assert 0.8 < seen["highest"] <= 1
    assert seen["format"] == "onnx" and seen["mask"].threshold == 0.25
    served = ("--serving", "triton", "--max-batch-size", 4)
    said(capsys, "export", "--run", run, "--out", tmp_path / "cells", *served)
    assert "max_batch_size: 4\n" in (tmp_path / "cells" / "config.pbtxt").read_text()


def test_analyze_prints_the_counts_of_the_paper(capsys):
    text = said(capsys, "analyze")
    assert (
        text.count("349,632") == 2 and text.count("644,192") == 2
    )  # the equations', and the network's
    text = said(capsys, "analyze", "--backbone", "light_resnet34")
    assert text.count("1,677,472") == 2


def test_analyze_a_file(tmp_path, capsys):
    tiny.bright_model().save(tmp_path / "bright.keras")
    text = said(capsys, "analyze", "--model", tmp_path / "bright.keras", "--size", 32)
    assert "| all | - | 1 | 2 | 1,024 | 1 |" in squeezed(text)


# ---- Flags ---------------------------------------------------------------------------------------


def parsed(*arguments):
    command = ["train", "--data", "d", "--out", "o", *arguments]
    return cli.make_parser(command).parse_args(command)


def other(field):
    """A value that is not the field's default, as text and as it should arrive."""
    if field.name == "precision":
        return "mixed_bfloat16", "mixed_bfloat16"
    if field.name in ("scene", "prefer"):
        return {"scene": ("any", "any"), "prefer": ("recall", "recall")}[field.name]
    if field.default is None:
        kind = next(kind for kind in typing.get_args(field.type) if kind is not type(None))
        return "1", kind(1)
    if isinstance(field.default, float):
        return str(field.default / 2), field.default / 2
    return str(field.default + 1), field.default + 1


@pytest.mark.parametrize("field", dataclasses.fields(Recipe), ids=lambda field: field.name)
def test_every_field_of_the_recipe_has_its_flag(field):
    flag = "--" + field.name.replace("_", "-")
    assert getattr(parsed(), field.name) == field.default
    if field.type is bool or bool in typing.get_args(field.type):
        assert getattr(parsed(flag), field.name) is True
        assert getattr(parsed(flag.replace("--", "--no-")), field.name) is False
    else:
        text, value = other(field)
        received = getattr(parsed(flag, text), field.name)
        assert received == value and type(received) is type(value)


@pytest.mark.parametrize("text, value", [("none", None), ("0", None), ("7", 7)])
def test_patience_may_be_none(text, value):
    assert parsed("--patience", text).patience == value


def test_colours_are_read():
    options = parsed("--color", "255,0,10=2", "--color", "0,0,0=0")
    assert color_table(options.color) == {(255, 0, 10): 2, (0, 0, 0): 0}


@pytest.mark.parametrize(
    "arguments",
    [["--color", "red=1"], ["--color", "1,2=3"], ["--patience", "soon"], ["--epochs", "x"]],
)
def test_what_is_no_value_of_a_flag_is_told(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        parsed(*arguments)
    assert caught.value.code == 2
    assert f"argument {arguments[0]}" in capsys.readouterr().err


def test_help_of_every_command(capsys):
    for name in cli.COMMANDS:
        with pytest.raises(SystemExit) as caught:
            cli.main([name, "--help"])
        assert caught.value.code == 0
        assert f"keras-deepskip {name}" in capsys.readouterr().out


def test_the_module_runs_as_a_command():
    done = subprocess.run(
        [sys.executable, "-m", "keras_deepskip.cli", "--version"],
        env=tiny.environ(), cwd=tiny.ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    import keras_deepskip

    assert done.stdout.strip() == keras_deepskip.__version__


# ---- Bad input -----------------------------------------------------------------------------------


@pytest.fixture
def images(tmp_path):
    """Five pairs of 16 x 16 that are all right."""
    rng = np.random.default_rng(0)
    for number in range(5):
        mask = np.zeros((16, 16), "uint8")
        mask[3:8, 4:9] = 1
        tiny.put(tmp_path / "data", f"n{number}", rng.integers(0, 256, (16, 16, 3)), mask)
    return tmp_path / "data"


def untrained(capsys, data, *arguments):
    """The complaint of `train`; it must leave no folder."""
    out = data.parent / "never"
    line = complaint(capsys, "train", "--data", data, "--out", out, *arguments)
    assert not out.exists()
    return line


def test_empty_missing_and_too_small_folders(tmp_path, images, capsys):
    (tmp_path / "empty").mkdir()
    for number in range(1, 5):
        (images / "images" / f"n{number}.png").unlink()
        (images / "masks" / f"n{number}.png").unlink()
    for command in ("train", "evaluate"):
        model = tmp_path / "bright.keras"
        tiny.bright_model().save(model)
        rest = ["--out", tmp_path / "out"] if command == "train" else ["--model", model]
        for name, words in (("missing", "no such folder"), ("empty", "no images/ in it")):
            line = complaint(capsys, command, "--data", tmp_path / name, *rest)
            assert str(tmp_path / name) in line and words in line
    line = untrained(capsys, images)
    assert str(images) in line and "At least 3 images" in line


def test_images_that_cannot_be_read(images, capsys):
    (images / "images" / "n2.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    assert "images/n2.png: a file that" in untrained(capsys, images).replace(
        "a PNG, JPEG or TIFF image was expected. Received: ", ""
    )


def test_masks_that_do_not_fit(images, capsys):
    write_png(images / "masks" / "n1.png", np.zeros((16, 15), "uint8"))
    line = untrained(capsys, images)
    assert "masks/n1.png: its size is 16 x 15, the image's 16 x 16" in line
    (images / "masks" / "n1.png").unlink()
    assert "images/n1.png: it has no mask" in untrained(capsys, images)


def test_masks_of_255_where_ids_are_wanted(images, capsys):
    mask = np.zeros((16, 16), "uint8")
    mask[2:5, 2:5] = 255
    write_png(images / "masks" / "n3.png", mask)
    line = untrained(capsys, images, "--num-classes", 3)
    assert "masks/n3.png" in line and "0, 255" in line and "ignore_class=255" in line


def test_seven_classes_where_three_were_said(images, capsys):
    mask = np.zeros((16, 16), "uint8")
    mask[:7, :7] = np.arange(7)[:, None] + 1
    write_png(images / "masks" / "n0.png", mask)
    line = untrained(capsys, images, "--num-classes", 4)
    assert "masks/n0.png: class ids 0 to 3 with the background were expected" in line
    assert "Give num_classes=8" in line


def test_files_that_are_no_models(tmp_path, capsys):
    (tmp_path / "text.keras").write_text("this is no model")
    for command, rest in (
        ("predict", ["--images", tmp_path, "--out", tmp_path / "o"]),
        ("evaluate", ["--data", tmp_path]),
        ("export", ["--out", tmp_path / "o"]),
        ("analyze", []),
    ):
        line = complaint(capsys, command, "--model", tmp_path / "text.keras", *rest)
        assert "text.keras: expected a model saved by Keras 3" in line
        line = complaint(capsys, command, "--model", tmp_path / "none.keras", *rest)
        assert "none.keras" in line and "no such file" in line
    assert "config.json" in complaint(capsys, "evaluate", "--run", tmp_path)


def test_other_bad_input(tmp_path, images, capsys):
    run = tiny.first_run()
    line = complaint(capsys, "train", "--data", images, "--out", run)
    assert f"{run} already holds a training run" in line and "--resume" in line
    line = complaint(capsys, "train", "--data", images, "--out", tmp_path / "new", "--resume")
    assert "holds no run to resume" in line
    write_png(tmp_path / "in" / "five.tif", np.zeros((4, 4), "uint8"))
    import tifffile

    five = np.zeros((5, 16, 16), "uint8")
    tifffile.imwrite(tmp_path / "in" / "five.tif", five, photometric="minisblack")
    line = complaint(
        capsys, "predict", "--run", run, "--images", tmp_path / "in", "--out", tmp_path / "out"
    )
    assert "five.tif: an image of 3 channels was expected" in line
    assert "--data must name" in complaint(capsys, "evaluate", "--model", run / "model.keras")
    assert "`epochs` must be" in complaint(
        capsys, "train", "--data", images, "--out", tmp_path / "new", "--epochs", 0
    )
    assert "overwrite" in complaint(capsys, "sample", "--out", tiny.data())
    (tmp_path / "file").touch()
    line = complaint(capsys, "train", "--data", images, "--out", tmp_path / "file")
    assert "`out` must be a folder to write to" in line
    line = complaint(capsys, "train", "--data", images, "--out", tmp_path / "new", "--folds", 0)
    assert "`folds` must be an integer of at least 2" in line
    line = complaint(capsys, "stream", "--run", run, "--source", images, "--limit", -1)
    assert "`--limit` must be an integer of at least 1" in line
    line = complaint(capsys, "report", "--run", run, "--data", images, "--out", tmp_path)
    assert "`out` must be the path of a page, a file" in line


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(FileNotFoundError):
        cli.main(["--debug", "analyze", "--model", str(tmp_path / "none.keras")])


# ---- For programs --------------------------------------------------------------------------------


def as_json(capsys, *command, status=0):
    """What a command prints with `--json`; words are on standard error."""
    capsys.readouterr()
    before = () if "--json" in command else ("--json",)
    assert cli.main([*before, *map(str, command)]) == status
    output = capsys.readouterr()
    found = json.loads(output.out)
    assert found["command"] == command[0] and found["status"] == status
    return found, output.err


@pytest.mark.one_backend
def test_json_holds_what_the_words_say(capsys, tmp_path):
    run = tiny.run()
    expected = evaluate(run, verbose=0).to_dict()
    found, words = as_json(
        capsys, "evaluate", "--run", run.folder, "--out", tmp_path, "--no-report"
    )
    assert found["pixels"]["IoU"] == expected["pixels"]["IoU"] and "Found in" in words
    assert found["objects"]["all"]["fn"] == expected["objects"]["all"]["fn"]

    command = ("predict", "--run", run.folder, "--images", tiny.data() / "images")
    found, words = as_json(capsys, *command, "--out", tmp_path / "found", "--no-report")
    assert f"Found {found['objects']} objects" in words and Path(found["table"]).is_file()

    found, _ = as_json(capsys, "plan", "--data", tiny.data(), "--steps", 120)
    assert found["recipe"]["epochs"] == 1 and found["reasons"]["epochs"]
    found, _ = as_json(capsys, "audit", "--data", tiny.data())
    assert found["figures"]


def test_json_of_all_that_finds_something(capsys, tmp_path):
    """`--json` may stand behind the command too."""
    run, frames = tiny.run().folder, tiny.data() / "images"
    found, _ = as_json(capsys, "report", "--run", run, "--out", tmp_path / "a.html", "--json")
    assert Path(found["report"]).is_file()
    found, words = as_json(
        capsys, "stream", "--run", run, "--source", frames, "--batch-size", 1, "--limit", 2
    )
    assert found["frames"] == 2 and found["latency_p50"] > 0 and "frames per second" in words
    found, _ = as_json(capsys, "analyze", "--json")
    assert found["parts"][-1]["kernels"] == 644192
    found, _ = as_json(capsys, "backbones", "--list", "--json")
    assert "light_vgg16" in found["backbones"]
    found, _ = as_json(capsys, "sample", "--out", tmp_path / "s", "--images", 3, "--json")
    assert found["images"] == 3
    coco = ("--layout", "coco", "--source", tmp_path, "--out", tmp_path / "in")
    found, words = as_json(capsys, "import", *coco, "--json", status=1)
    assert found["error"] in words


@pytest.mark.one_backend
def test_json_of_exports(capsys, tmp_path):
    for package in ("onnx", "onnxruntime", "tf2onnx"):
        pytest.importorskip(package)
    run, path = tiny.run().folder, tmp_path / "cells.onnx"
    found, words = as_json(capsys, "export", "--run", run, "--out", path, "--format", "onnx")
    assert found["format"] == "onnx" and max(found["differences"].values()) <= found["tolerance"]
    assert found["size"] == path.stat().st_size
    small = tmp_path / "cells.int8.onnx"
    assert f"Next: keras-deepskip quantize --run {run} --out {small}" in words
    found, words = as_json(capsys, "quantize", "--run", run, "--out", small)
    assert found["bytes"]["int8"] == small.stat().st_size and "| int8" in words
    assert found["figures"]["int8"].keys() == {"IoU", "object recall", "object F1"}


def test_json_of_an_audit_goes_to_a_file_or_to_standard_output(capsys, tmp_path):
    found, _ = as_json(capsys, "audit", "--data", tiny.data(), "--json")
    said(capsys, "audit", "--data", tiny.data(), "--json", tmp_path / "audit.json")
    assert json.loads((tmp_path / "audit.json").read_text())["figures"] == found["figures"]


def test_json_of_an_error_and_of_images_that_fail(capsys, tmp_path):
    found, words = as_json(capsys, "evaluate", "--run", tmp_path, status=1)
    assert found["error"] in words and str(tmp_path) in found["error"]
    shutil.copytree(tiny.data() / "images", tmp_path / "new")
    (tmp_path / "new" / "bad.png").write_bytes(b"no image")
    command = ("predict", "--run", tiny.run().folder, "--images", tmp_path / "new", "--no-report")
    with pytest.warns(UserWarning, match="could not be predicted"):
        found, _ = as_json(capsys, *command, "--out", tmp_path / "found", status=1)
    assert Path(found["failures"]).read_text().count("bad.png")


@pytest.mark.one_backend
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--data", "d", "--out", "o", "--option", "levels"], "NAME=VALUE was expected"),
        (["compare", "--out", "o", "--category", "cells"], "NAME=FOLDER was expected"),
        (["compare", "--out", "o", "--category", "cells="], "NAME=FOLDER was expected"),
    ],
)
def test_pairs_without_a_value_are_refused(arguments, words, capsys):
    with pytest.raises(SystemExit):
        cli.main(arguments)
    assert words in capsys.readouterr().err


@pytest.mark.one_backend
def test_overlays_of_a_stream_need_a_folder(capsys):
    assert cli.main(["stream", "--model", "m.keras", "--source", "frames", "--overlays"]) == 1
    assert "--overlays are written to the folder --out" in capsys.readouterr().err


@pytest.mark.one_backend
def test_an_output_that_nobody_reads_any_more_ends_the_command(monkeypatch, tmp_path, capfd):
    """As of `| head`: no message, and the status that shells give."""

    def closed(options):
        raise BrokenPipeError

    monkeypatch.setitem(cli.COMMANDS, "plan", (closed, cli.COMMANDS["plan"][1], ""))
    monkeypatch.setattr(cli.os, "dup2", lambda *_: None)
    assert cli.main(["plan", "--data", str(tmp_path)]) == 141
    assert not capfd.readouterr().err
