"""What people see in a terminal, and in a file that the output goes to: progress, tables, ends."""

import json
import re
import time

import pytest

from keras_deepskip import _progress, cli
from keras_deepskip.cli.ending import Ending, show
from tests import tiny
from tests.terminal import COLUMNS, Shown

pytestmark = pytest.mark.one_backend

# ---- Progress ------------------------------------------------------------------------------------

BAR = """
import time
import keras_deepskip_command
keras_deepskip_command._silence()
keras_deepskip_command._load_backend_quietly()
from keras_deepskip._progress import progress, say

with progress(4, "auto", "Read") as show:
    for number in range(1, 5):
        with progress(2, 1, "Predicted", unit="block") as inner:
            for part in (1, 2):
                time.sleep(0.12)
                inner(part)
        say(f"[bold]{number}.png")
        show(number)
print("end")
"""


def test_on_a_terminal_a_bar_tells_the_time_left_and_vanishes():
    shown = Shown(BAR)
    assert shown.status == 0 and shown.cursor
    *said, last, end = shown.lines
    assert said == [f"[bold]{number}.png" for number in range(1, 5)] and end == "end"
    assert last.startswith("Read 4/4 images in ")
    bars = [text for text in shown.seen if "\u2501" in text]
    assert any("2/4 images, about 0." in text and " s left" in text for text in bars)
    assert any("Predicted \u2501" in text and "1/2 blocks" in text for text in bars)  # below it
    assert max(len(text.splitlines()) for text in bars) <= 4 + 2


def test_an_error_leaves_the_terminal_as_it_was():
    shown = Shown(BAR.replace("show(number)", "1 / 0"))
    assert shown.status == 1 and shown.cursor
    assert shown.lines[-1] == "ZeroDivisionError: division by zero"
    assert not any("\u2501" in line for line in shown.lines)
    assert not any(line.startswith("Read ") for line in shown.lines)


def test_no_bar_where_no_line_can_be_redrawn():
    for environment in ({"TERM": "dumb"}, {"TERM": "unknown"}):
        shown = Shown(BAR.replace("# ", ""), **environment)
        assert not any("\u2501" in text for text in shown.seen)
        assert shown.lines[-2].startswith("Read 4/4 images in ")


def test_elsewhere_lines_come_at_growing_intervals(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    with _progress.progress(1000, "auto", "Read", done=100) as show:
        for number in range(101, 1001):
            now[0] += 2.0
            show(number)
    *lines, last = capsys.readouterr().out.splitlines()
    assert lines[0] == "Read 115/1,000 images, about 29.5 min left"  # 15 in 30 s
    assert lines[1] == "Read 130/1,000 images, about 29.0 min left"
    assert 25 < len(lines) < 40  # not 60: a tenth of what has passed, and 30 s at least
    assert last == "Read 1,000/1,000 images in 30.0 min"
    with _progress.progress(5, 0) as show:
        show(5)
    with _progress.progress(0, 2) as show:
        pass
    assert capsys.readouterr().out == ""


COMMAND = """
import sys
import keras_deepskip_command

sys.argv[0] = "keras-deepskip"
sys.exit(keras_deepskip_command.main())
"""


@pytest.mark.slow
def test_a_training_on_a_terminal(tmp_path):
    """The plan first, then one line per epoch above the bar, then what was reached."""
    words = ["train", "--data", tiny.data(), "--out", tmp_path / "run", "--no-report"]
    shown = Shown(COMMAND, *words, *tiny.flags(), KERAS_DEEPSKIP_CACHE=str(tmp_path))
    assert shown.status == 0 and shown.cursor, shown.lines
    text = "\n".join(shown.lines)
    order = ["Read 8/8 images", "The plan:", "Epoch 1/3, ", "Epoch 3/3, ", "Wrote ", "Next: "]
    places = [text.index(words) for words in order]
    assert places == sorted(places)
    assert [line for line in shown.lines if line.startswith("Epoch 2/3, ")]
    assert all(len(line) < COLUMNS for line in shown.lines if line.startswith("Epoch "))
    bars = [
        own for own in shown.seen if re.search("Epoch ./3 \u2501", own)
    ]  # a busy machine skips some
    assert any(re.search("step ./2, loss ", own) for own in bars), bars
    assert any(" left" in own for own in bars), bars
    assert not any("\u2501" in line for line in shown.lines)


DEMO = """
import sys
import keras_deepskip_command

keras_deepskip_command._silence()
keras_deepskip_command._load_backend_quietly()
from keras_deepskip import demo
from keras_deepskip.training import Recipe

small = {"images": 8, "height": 64, "width": 64, "count": (1, 3), "size": (8, 20)}
demo.SCENES = {**demo.SCENES, **small}
demo.RECIPE = Recipe(
    epochs=demo.RECIPE.epochs, steps_per_epoch=1, crop_size=32, batch_size=2, validation_windows=2
)
sys.argv = ["keras-deepskip", "demo", "--out", sys.argv[1]]
sys.exit(keras_deepskip_command.main())
"""


@pytest.mark.slow
def test_a_first_run_fits_on_40_lines(tmp_path):
    """README's first command, on fewer and smaller scenes, with as many epochs."""
    shown = Shown(DEMO, tmp_path / "demo", KERAS_DEEPSKIP_CACHE=str(tmp_path))
    assert shown.status == 0 and shown.cursor, shown.lines
    assert len(shown.lines) <= 40, "\n".join(shown.lines)
    assert len([line for line in shown.lines if line.startswith("Epoch ")]) == 12
    assert shown.lines[-1] == "Next: keras-deepskip train --data YOUR_FOLDER --out RUN"


# ---- How commands end ----------------------------------------------------------------------------

NASTY = "[red]a\x1b[2J\x07.png"
ENDING = """
from keras_deepskip.cli.ending import Ending, show
rows = [["[red]a\\x1b[2J\\x07.png", 0.5], ["b" * 90, None]]
words = ["keras-deepskip", "train", "--data", "a b"]
notes = ["a note of many words " * 6]
show(Ending("Found in [b]:", ("image", "IoU"), rows, notes, [("[i]out", "all")], words))
"""


def test_names_cannot_steer_the_terminal(capsys):
    shown = Shown(ENDING)
    assert shown.status == 0
    text = "\n".join(shown.lines)
    assert "Found in [b]:" in text and "[red]a\\x1b[2J\\x07.png" in text
    assert "Wrote [i]out (all)" in text and text.endswith("Next: keras-deepskip train --data 'a b'")
    assert all(len(line) <= COLUMNS for line in shown.lines)
    notes = [line for line in shown.lines if line.startswith("a note")]
    assert notes and all(line.endswith(("words", "note", "of", "many", "a")) for line in notes)

    show(Ending("", ("image", "IoU"), [[NASTY, 0.5]], wrote=[("out/" + NASTY, "")]))
    said = capsys.readouterr().out
    assert "\x1b" not in said and "\x07" not in said
    assert "| [red]a\\x1b[2J\\x07.png | 0.500 |" in said
    assert "Wrote out/[red]a\\x1b[2J\\x07.png" in said


def test_numbers_stand_to_the_right(capsys):
    rows = [["a", 1234, 0.25, None], ["b", 5, 1234.5, 1e-3]]
    show(Ending("", ("", "count", "share", "left"), rows))
    assert capsys.readouterr().out.splitlines() == [
        "|   | count |   share |  left |",
        "|---|------:|--------:|------:|",
        "| a | 1,234 |   0.250 |     - |",
        "| b |     5 | 1,234.5 | 0.001 |",
        "",
    ]


# ---- Mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["trian"], "keras-deepskip: no such command: trian. Did you mean train? "
                    "See: keras-deepskip --help"),
        (["evaluate", "--thresold", "1", "--run", "r"],
         "keras-deepskip evaluate: unrecognized arguments: --thresold 1. Did you mean --threshold? "
         "See: keras-deepskip evaluate --help"),
        (["train"], "keras-deepskip train: the following arguments are required: --data, --out. "
                    "See: keras-deepskip train --help"),
        (["evaluate", "--run", "r", "--split", "tst"],
         "keras-deepskip evaluate: argument --split: invalid choice: 'tst' (choose from 'train', "
         "'val', 'test', 'all'). See: keras-deepskip evaluate --help"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_one_line(arguments, line, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr() == ("", f"{line}\n")
    with pytest.raises(SystemExit):
        cli.main(["--json", *arguments])
    output = capsys.readouterr()
    assert output.err == f"{line}\n"
    found = json.loads(output.out)
    assert found["status"] == 2 and f"{found['error']}" in line
    assert found["command"] == (arguments[0] if arguments != ["trian"] else None)


def test_errors_of_several_lines_become_one(tmp_path, capsys):
    (tmp_path / "source").mkdir()
    folders = ["--source", str(tmp_path / "source"), "--out", str(tmp_path / "a")]
    assert cli.main(["import", "--layout", "suim", *folders]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "images" in error and "  " not in error
