"""Studies: configurations, runs that resume after an interrupt, statistics, tables, the report."""

import csv
import dataclasses
import json
import os
import shutil
import signal

import keras
import numpy as np
import pytest

from keras_deepskip import analysis, build_model, cli
from keras_deepskip.cli import commands, summaries
from keras_deepskip.data import read_image, write_png
from keras_deepskip.data.masks import read_ids
from keras_deepskip.studies.experiments import (
    ABLATION,
    CATEGORIES,
    COMPARISON,
    Category,
    Network,
    Preset,
    Study,
    figures,
    run_process,
    run_study,
    runner,
    tables,
)
from keras_deepskip.studies.experiments.ablation_study import WIDE
from keras_deepskip.studies.experiments.spread import paired_test, spread
from keras_deepskip.studies.timing.timed_networks import COMPARED, TIMED_NETWORKS
from keras_deepskip.training import Recipe
from tests import tiny

pytestmark = [pytest.mark.studies, pytest.mark.one_backend]

TINY = {"levels": 2, "base_filters": 2}
SCENES = {"kind": "coins", "images": 8, "height": 48, "width": 48, "count": (1, 3), "size": (6, 16)}
PRESET = Preset(
    "tiny",
    ("coins",),
    seeds=(0,),
    steps=4,
    epochs=2,
    recipe={"crop_size": 32, "batch_size": 2, "validation_windows": 2},
    test_images=2,
)
STUDY = Study(
    "tiny",
    "A tiny study",
    (
        Network("deep", "deep skips", TINY),
        Network("flat", "flat skips", {"skips": "flat", **TINY}, {"beta": 0.0}),
    ),
    "deep",
    (Category("coins", synthetic=SCENES),),
    {"tiny": PRESET},
)

# ---- The studies of the package ------------------------------------------------------------------


@pytest.mark.parametrize("study", [ABLATION, COMPARISON], ids=lambda study: study.name)
def test_studies_are_complete(study, tmp_path):
    """Every name is known, and every run's recipe is valid."""
    for preset in study.presets.values():
        check_preset(study, preset, tmp_path)


def check_preset(study, preset, tmp_path):
    runs = runner.runs_of(study, preset, tmp_path)
    assert len({run.folder for run in runs}) == len(runs)
    for run in runs:
        recipe = preset.recipe_for(run.network, run.seed)
        assert recipe.seed == run.seed
        if preset.minutes is not None:  # all is planned but what the network has of its own
            own = {"minutes": preset.minutes, "seed": run.seed, **run.network.recipe}
            assert recipe == Recipe(**own)
            continue
        assert recipe.total_steps == preset.steps_of.get(run.network.name, preset.steps)


@pytest.mark.parametrize("budget", [{}, {"steps": 2, "minutes": 1.0}])
def test_a_preset_has_one_budget(budget):
    with pytest.raises(ValueError, match="either `steps` or `minutes`"):
        Preset("", ("coins",), (0,), **budget)


def test_light_presets_have_three_seeds_and_categories():
    for study in (ABLATION, COMPARISON):
        light = study.presets["light"]
        assert len(light.seeds) >= 3 and light.minutes
        synthetic = [c.is_synthetic for c in CATEGORIES if c.name in light.categories]
        assert sorted(synthetic) == [False] * 4 + [True]  # where objects are rare


def test_the_wide_flat_network_has_the_weights_of_the_deep_one():
    deep = sum(analysis.closed_form().values())
    wide = sum(analysis.conv_parameters(build_model(**WIDE)).values())
    assert deep == 644_192 and wide == 643_185


def test_the_loss_parts_are_as_named():
    losses = {
        network.name: {k: v for k, v in network.recipe.items() if k != "learning_rate"}
        for network in ABLATION.networks
    }
    assert losses["deep_bce"] == losses["unet_bce"] and losses["deep_bce"]["dice_weight"] == 0
    assert losses["deep_dice"]["beta"] == 0 and losses["deep_both"] == {}
    assert losses["deep_weighted"]["alpha"] > 0.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Category("cells"), "either a `folder` or `synthetic` images"),
        (lambda: Category("cells", "a", synthetic={}), "either a `folder` or `synthetic` images"),
        (lambda: Category("../cells", "a"), "letters, digits"),
        (lambda: Network("n", "n", {"architecture": "unett"}), "Did you mean 'unet'"),
        (lambda: Network("n", "n", {"level": 3}), "Did you mean 'levels'"),
        (lambda: Network("n", "n", {}, {"beta": -1.0}), "`beta`"),
        (lambda: dataclasses.replace(STUDY, reference="wide"), "`reference` must be one of"),
        (lambda: run_study(STUDY, "x", "huge"), "`preset` must be one of 'tiny'"),
        (lambda: run_study(STUDY, "x", "tiny", networks=["steep"]), "Did you mean 'deep'"),
        (lambda: run_study(STUDY, "x", "tiny", jobs=0), "`jobs`"),
        (lambda: run_study(STUDY, "x", "tiny", seeds=[1, 0, 1]), "`seeds` must be different"),
        (lambda: run_study(STUDY, "x", "tiny", networks=["deep"] * 2), "`networks` must be diff"),
        (lambda: run_study(STUDY, "x", "tiny", categories=[]), "`categories` must be .* at least"),
        (lambda: Network("../n", "n"), "letters, digits, .* in a network's name"),
    ],
)
def test_bad_configurations(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"cells: expected images and masks of the category 'mine'"
    ):
        run_study(STUDY, tmp_path, "tiny", own_categories=[Category("mine", "cells")])


# ---- Runs ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A study of two runs: its folder, rows and log."""
    out, lines = tmp_path_factory.mktemp("study"), []
    rows = run_study(STUDY, out, "tiny", log=lines.append, jobs=2)
    return out, rows, lines


def test_rows(done):
    out, rows, lines = done
    assert [row["network"] for row in rows] == ["deep", "flat"]
    for row in rows:
        assert row["source"] == "synthetic" and row["backend"] == keras.backend.backend()
        assert row["steps"] == 4 and row["batch_size"] == 2 and row["test_images"] == 2
        assert 0 <= row["ap50"] <= 1 and row["count_mean_absolute"] >= abs(row["count_bias"])
        counts = [row[name] for name in row if name.startswith(("found ", "missed "))]
        assert sum(counts) > 0 and 0 <= row["IoU"] <= 1
        folder = out / "coins" / row["network"] / "seed0"
        evaluation = json.loads((folder / "evaluation.json").read_text())
        assert evaluation["pixels"]["IoU"] == row["IoU"]
        assert not (folder / "training_state").exists() and (folder / "model.keras").exists()
        kept = {part: sorted((folder / "shown" / part).iterdir()) for part in
                ("image", "truth", "judged")}  # fmt: skip
        assert len({tuple(path.name for path in paths) for paths in kept.values()}) == 1
        assert set(np.unique([read_ids(path) for path in kept["truth"]])) == {0, 1}
        assert all(read_image(p).shape[2] == 3 for p in kept["image"] + kept["judged"])
    with (out / "results.csv").open(newline="") as file:
        assert [float(row["IoU"]) for row in csv.DictReader(file)] == [r["IoU"] for r in rows]
    assert any("2/2, about 0 min left" in line for line in lines)


def test_networks_share_split_and_seed_and_differ_in_what_they_should(done):
    out, _, _ = done
    runs = [json.loads((out / "coins" / n / "seed0" / "run.json").read_text())
            for n in ("deep", "flat")]  # fmt: skip
    splits = [(out / "coins" / n / "seed0" / "split.json").read_text() for n in ("deep", "flat")]
    assert splits[0] == splits[1]
    recipes = [run["recipe"] for run in runs]
    differing = {name for name in recipes[0] if recipes[0][name] != recipes[1][name]}
    assert differing == {"beta"} and runs[1]["options"]["skips"] == "flat"


def test_report(done):
    out, _, _ = done
    text = (out / "report.md").read_text()
    for piece in ("A tiny study", "Pixel IoU by", "deep skips", "coins (synthetic)", "sign-flip",
                  "curves.png", "Object recall by size", "tiny --preset tiny",
                  "Objects one by one"):  # fmt: skip
        assert piece in text
    for name in ("categories.png", "curves.png", "multiples_synthetic.png"):
        assert (out / name).read_bytes()[1:4] == b"PNG"
    latex = (out / "tables" / "iou_by_category.tex").read_text()
    assert latex.count(r"\\") == 3 and r"\toprule" in latex
    assert (out / "tables" / "effort.csv").read_text().startswith("network,runs,steps")


def test_the_same_call_does_nothing_again(done):
    out, rows, _ = done
    before = (out / "coins" / "deep" / "seed0" / "model.keras").stat().st_mtime_ns
    lines = []
    assert run_study(STUDY, out, "tiny", log=lines.append) == rows
    assert "2 of 2 runs are done already" in lines[1]
    assert (out / "coins" / "deep" / "seed0" / "model.keras").stat().st_mtime_ns == before


def test_processes_at_once_share_the_machine(monkeypatch):
    """Cores are divided, and no process takes all of a GPU's memory."""
    monkeypatch.setattr(runner, "cores", lambda: 16)
    monkeypatch.delenv("TF_FORCE_GPU_ALLOW_GROWTH", raising=False)
    four = runner._environment(4)
    assert four["OMP_NUM_THREADS"] == four["TF_NUM_INTRAOP_THREADS"] == "4"
    assert four["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    alone = runner._environment(1)
    assert "TF_FORCE_GPU_ALLOW_GROWTH" not in alone
    assert alone["KERAS_BACKEND"] == keras.backend.backend()


def test_steps_are_those_asked_for():
    """Epochs divide them; fewer than asked for where they leave a remainder."""
    for steps, epochs in ((9, 3), (10, 5), (19, 1), (3, 3)):
        recipe = dataclasses.replace(PRESET, steps=steps, epochs=5).recipe_for(STUDY.networks[0], 0)
        assert (recipe.total_steps, recipe.epochs) == (steps, epochs)


def test_a_category_of_label_images(tmp_path, run_in_place):
    """Masks are read as in training, and touching objects are several."""
    run_in_place()
    ids = np.zeros((48, 48), "uint8")
    ids[:40] = np.kron(np.arange(1, 21).reshape(5, 4), np.ones((8, 12)))
    ids[::16], ids[:, ::12] = 0, 0
    for number in range(6):  # of 20 to 15 objects
        labels = np.where(ids <= 20 - number, ids, 0)
        image = np.where(labels > 0, 200, 20).astype("uint8")
        write_png(tmp_path / "cells" / "masks" / f"{number}.png", labels)
        write_png(tmp_path / "cells" / "images" / f"{number}.png", image)
    own = Category("cells", str(tmp_path / "cells"))
    (row,) = run_study(STUDY, tmp_path / "out", "tiny", own_categories=[own], networks=["deep"])
    objects = sum(value for name, value in row.items() if name.startswith(("found ", "missed ")))
    tested = (tmp_path / "out" / "cells" / "deep" / "seed0" / "shown" / "truth").glob("*.png")
    assert objects == sum(20 - int(path.stem) for path in tested)


def test_other_images_are_refused(done, tmp_path):
    """Of another folder, or synthetic ones of other arguments; a folder may have moved."""
    out, rows, _ = done
    shutil.copytree(out, tmp_path / "study")
    assert run_study(STUDY, tmp_path / "study", "tiny") == rows
    fewer = Category("coins", synthetic={**SCENES, "images": 7})
    with pytest.raises(ValueError, match=r"one with other images"):
        run_study(dataclasses.replace(STUDY, categories=(fewer,)), tmp_path / "study", "tiny")


def test_other_settings_are_refused(done):
    out, _, _ = done
    longer = dataclasses.replace(PRESET, steps=6)
    with pytest.raises(ValueError, match=r"one with other recipe"):
        run_study(dataclasses.replace(STUDY, presets={"tiny": longer}), out, "tiny")


@pytest.fixture
def processes(monkeypatch):
    """The processes of runs, as they are started."""
    start, started = runner._start, []
    monkeypatch.setattr(runner, "_start", lambda *a: started.append(start(*a)) or started[-1])
    return started


class Ended:
    """In place of a run's process that has ended well."""

    returncode = 0

    def poll(self):
        return self.returncode


@pytest.fixture
def run_in_place(monkeypatch):
    """Returns a function that has runs execute in this process, which has all libraries loaded."""

    def start(run, environment):
        run_process.main(run.folder)
        return Ended()

    return lambda: monkeypatch.setattr(runner, "_start", start)


def test_an_interrupted_run_resumes_with_the_same_result(
    done, tmp_path, monkeypatch, processes, run_in_place
):
    """Interrupted when the first epoch of the first run is there; nothing of it is left running."""
    out, rows, _ = done
    shutil.copytree(out / "synthetic", tmp_path / "synthetic")
    state = tmp_path / "coins" / "deep" / "seed0" / "training_state" / "state.json"
    sleep = runner.time.sleep

    def sleep_until_an_epoch(seconds):
        sleep(0.01)
        if state.exists():
            raise KeyboardInterrupt

    monkeypatch.setattr(runner.time, "sleep", sleep_until_an_epoch)
    with pytest.raises(KeyboardInterrupt):
        run_study(STUDY, tmp_path, "tiny", networks=["deep"])
    assert [process.poll() is not None for process in processes] == [True]
    monkeypatch.setattr(runner.time, "sleep", sleep)
    run_in_place()
    again = run_study(STUDY, tmp_path, "tiny", networks=["deep"])[0]
    timed = ("seconds", "train_seconds", "train_peak_mb")
    assert {k: v for k, v in again.items() if k not in timed} == {
        k: v for k, v in rows[0].items() if k not in timed
    }


def test_a_failing_process_is_reported_and_the_others_are_kept(done, tmp_path, monkeypatch):
    out, rows, _ = done
    shutil.copytree(out, tmp_path / "study")
    (tmp_path / "study" / "coins" / "flat" / "seed0" / "row.json").unlink()
    monkeypatch.setattr(runner, "RUN_PROCESS", "no_such_module")
    with pytest.raises(
        RuntimeError, match=r"1 of 2 runs failed.*flat, seed 0: .*status 1;.*No module named"
    ):
        run_study(STUDY, tmp_path / "study", "tiny")
    assert "flat skips" not in (tmp_path / "study" / "report.md").read_text()


def test_a_diverged_training_is_a_row(done):
    _, rows, _ = done
    broken = {name: rows[1][name] for name in ("category", "source", "network", "label", "seed")}
    mixed = [rows[0], {**broken, "failure": "the loss became nan", "seconds": 1.0}]
    assert tables.by_category(mixed, "IoU").rows[1][1:] == ["-", "-"]
    assert tables.paired(mixed, "deep").rows[0][2] == 0
    assert len(tables.effort(mixed).rows) == 1
    for table in (tables.pixels_and_objects, tables.one_by_one, tables.recall_by_size):
        assert {*table(mixed).rows[1][1:]} == {None}


def test_command_line(tmp_path, monkeypatch, capsys, run_in_place):
    """A category of one's own by one option; the preset is that of the tests."""
    run_in_place()
    monkeypatch.setitem(ABLATION.presets, "tiny", PRESET)
    small = tuple(dataclasses.replace(n, options={**n.options, **TINY}) for n in ABLATION.networks
                  if n.name in ("deep_both",))  # fmt: skip
    monkeypatch.setattr("keras_deepskip.studies.experiments.study.ABLATION",
                        dataclasses.replace(ABLATION, networks=small))  # fmt: skip
    arguments = ["--preset", "tiny", "--steps", "2", "--category", f"my coins={tiny.data()}"]
    assert cli.main(["ablation", "--out", str(tmp_path), *arguments]) == 0
    said = capsys.readouterr().out
    assert "my coins, deep_both, seed 0: IoU" in said
    assert "| network | my coins | all | object F1 |" in " ".join(said.split())
    assert f"Wrote {tmp_path / 'report.md'} (with tables and figures)" in said
    assert said.endswith("Next: keras-deepskip compare --data FOLDER_OF_SETS --out DIR\n")
    recipe = json.loads((tmp_path / "my coins/deep_both/seed0/run.json").read_text())["recipe"]
    assert recipe["epochs"] * recipe["steps_per_epoch"] == 2
    made_by = "`keras-deepskip ablation --preset tiny --steps 2 --category 'my coins=FOLDER' --data"
    assert made_by in (tmp_path / "report.md").read_text()
    assert cli.main(["ablation", "--out", str(tmp_path), "--preset", "tny"]) == 1
    assert "Did you mean 'tiny'" in capsys.readouterr().err


@pytest.mark.parametrize("network", COMPARISON.networks, ids=lambda network: network.name)
def test_the_next_command_trains_the_best_network(network):
    """What `compare` names last, taken as typed, has the options of the network of the study."""
    place = {"category": "a", "seed": 0}
    rows = [
        {**place, "network": each.name, "label": each.label, "IoU": 0.9 if each is network else 0.5}
        for each in COMPARISON.networks
    ]
    failed = {**rows[0], "seed": 1, "failure": "the loss became nan", "IoU": None}
    words = summaries.training_of_best([*rows, failed], COMPARISON)
    options = {"architecture": "deepskip", **network.options}
    plain = {key: runner._plain(value) for key, value in options.items()}
    assert commands._chosen_model(cli.parsed(words[1:])) == plain


def test_a_terminated_command_leaves_no_process(tmp_path, monkeypatch, capsys, processes):
    """As a scheduler ends it: the first poll of the first run's process gets SIGTERM."""
    monkeypatch.setitem(ABLATION.presets, "tiny", PRESET)
    monkeypatch.setattr(runner.time, "sleep", lambda _: os.kill(os.getpid(), signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    arguments = ["--preset", "tiny", "--category", f"coins={tiny.data()}"]
    assert cli.main(["ablation", "--out", str(tmp_path), *arguments]) == 130
    assert "ablation: interrupted. The same command continues it" in capsys.readouterr().err
    assert [process.poll() is not None for process in processes] == [True]
    assert signal.getsignal(signal.SIGTERM) is before


# ---- Statistics and tables -----------------------------------------------------------------------


def test_spread_by_hand():
    found = spread([1.0, None, 3.0])
    assert (found.mean, found.count) == (2.0, 2) and found.deviation == pytest.approx(2**0.5)
    assert spread([0.25]).text() == "0.250" and spread([None]).text() == "-"


def test_paired_test_by_hand():
    """Of the 8 signs of (1, 2, 3), two give a mean as far from 0 as 2: p = 1/4.

    The interval: 2 -+ t(0.975, 2) s / sqrt(3), with t = 4.30265 (any table) and s = 1.
    """
    test = paired_test([2.0, 4.0, None, 6.0], [1.0, 2.0, 3.0, 3.0])
    assert (test.count, test.mean, test.p) == (3, 2.0, 0.25)
    reach = 4.30265 / np.sqrt(3)
    np.testing.assert_allclose([test.low, test.high], [2 - reach, 2 + reach], atol=1e-4)
    assert paired_test([1.0], [0.5]).p is None and paired_test([], []).mean is None


def rows_of(values):
    """Rows of (category, network, seed, IoU, found small, missed small, found large, missed)."""
    names = ("category", "network", "seed", "IoU", "found small", "missed small", "found large",
             "missed large")  # fmt: skip
    rows = [dict(zip(names, row, strict=True)) for row in values]
    return [{**row, "label": row["network"].upper(), "source": "real", "object_f1": row["IoU"]}
            for row in rows]  # fmt: skip


ROWS = rows_of([
    ("a", "x", 0, 0.8, 3, 1, 5, 0), ("a", "x", 1, 0.6, 2, 2, 5, 0), ("b", "x", 0, 0.4, 0, 0, 1, 1),
    ("b", "x", 1, 0.6, 0, 0, 2, 0), ("a", "y", 0, 0.7, 1, 3, 5, 0), ("b", "y", 0, 0.5, 0, 0, 2, 0),
])  # fmt: skip


def test_by_category_by_hand():
    table = tables.by_category(ROWS, "IoU")
    assert table.headers == ["network", "a", "b", "all"]
    assert table.rows == [
        ["X", "0.700 ± 0.141", "0.500 ± 0.141", "0.600 ± 0.000"],
        ["Y", "0.700", "0.500", "0.600"],
    ]


def test_means_are_of_all_categories():
    """A network that failed on the harder images is not the better for it."""
    harder = next(row for row in ROWS if (row["category"], row["network"]) == ("b", "y"))
    easier = [row for row in ROWS if row is not harder]
    failed = {name: harder[name] for name in ("category", "network", "seed", "label", "source")}
    for rows in (easier, [*easier, {**failed, "failure": "the loss became nan"}]):
        assert {row["network"] for row in tables.complete(rows)} == {"x"}
        assert tables.by_category(rows, "IoU").rows[1][-1] == "-"
        assert tables.recall_by_size(rows).rows[1] == ["Y", None, None]
    assert tables.complete(ROWS) == ROWS


def test_recall_by_size_by_hand():
    table = tables.recall_by_size(ROWS)
    assert table.headers == ["network", "small (8)", "large (14)"]
    assert table.rows == [["X", 5 / 8, 13 / 14], ["Y", 1 / 4, 1.0]]


def test_pairs_are_of_one_category_and_seed():
    by_metric = {row[1]: row for row in tables.paired(ROWS, "x").rows}
    assert by_metric["pixel IoU"][2:4] == [2, "+0.000"]  # 0.8 - 0.7, 0.4 - 0.5
    # the smallest stratum with objects: "small" in a, "large" in b: 3/4 - 1/4, 1/2 - 1
    assert by_metric["recall of the smallest"][2:4] == [2, "+0.000"]


def test_a_p_that_rounds_to_zero_is_a_bound():
    """Of 12 differences of one sign, 2 of the 2^12 signs are as extreme: p = 2^-11."""
    test = paired_test([1.0 + 0.01 * n for n in range(12)], [0.0] * 12)
    assert test.p == 2**-11 and tables._shown(test)[2] == "<0.001"


def test_tables_as_text():
    table = tables.Table("t", "A <title> & 5 %", ["name", "x_1"], [["a_b", 0.5], ["c ± d", None]])
    assert table.csv() == "name,x_1\na_b,0.5\nc ± d,\n"
    assert r"a\_b & 0.5000 \\" in table.latex() and r"c $\pm$ d & - \\" in table.latex()
    assert r"\caption{A $<$title$>$ \& 5 \%}" in table.latex()
    assert table.markdown().startswith("A <title> & 5 %\n\n| name")


def test_a_network_of_one_epoch_is_drawn():
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    figures._draw_mean(axes, [[0.5], [0.7]], "red", "wide")
    figures._draw_mean(axes, [[0.5, 0.7]], "blue", "light")
    alone, line = axes.lines
    assert alone.get_marker() == "o" and alone.get_ydata().tolist() == [0.6]
    assert line.get_marker() == "None" and line.get_ydata().tolist() == [0.5, 0.7]


def test_costs_by_hand():
    """The median of times; a dash where nothing was measured; the text of a failure."""
    networks = [Network(name, name.upper(), timed_as=name) for name in ("x", "y")]
    networks.append(Network("z", "Z"))  # not measured
    case = {"mode": "predict", "size": 256, "batch": 1, "options": {}}
    found = {"parameters": 5, "macs": 2_240_000_000, "ns": [3_000_000, 1_000_000, 2_000_000],
               "peak_bytes": None}  # fmt: skip
    measured = {
        "settings": {"backend": "jax"}, "date": "2026-01-02",
        "cases": [{"case": case, "rivals": {"x": found, "y": {"failure": "out of memory"}}}],
    }  # fmt: skip
    table = tables.costs(ROWS, networks, measured)
    assert table.rows == [
        ["X", pytest.approx(0.6), 5, "2.24 G", "2.0", "-"],
        ["Y", pytest.approx(0.6), None, "out of memory", None, None],
    ]
    assert "256 x 256" in table.title and "jax, 2026-01-02" in table.title


def test_a_network_of_both_studies_has_one_learning_rate():
    rates = [
        {repr(n.options): n.recipe.get("learning_rate") for n in study.networks}
        for study in (ABLATION, COMPARISON)
    ]
    shared = set(rates[0]) & set(rates[1])
    assert len(shared) == 2  # the deep-skip network and the full-width U-Net
    assert all(rates[0][options] == rates[1][options] for options in shared)


def test_learning_rates_are_those_that_the_page_says():
    """The measured ones of the light forms, bold in its table; other packages' are lower."""
    rates = {network.name: network.recipe.get("learning_rate") for network in COMPARISON.networks}
    slow = {name for name, rate in rates.items() if rate == 1e-3}
    assert {"mask_rcnn_light", "hub_deeplab"} < slow
    assert all(name in slow for name in rates if name.startswith("smp_"))

    page = (tiny.ROOT / "docs" / "measurements" / "comparison.md").read_text(encoding="utf-8")
    lines = page.partition("### Learning rates")[2].partition("\n## ")[0].splitlines()
    heads, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines if line[:1] == "|"
    ]
    for name, *cells in rows:
        (chosen,) = [
            float(head) for head, cell in zip(heads[1:], cells, strict=True) if "*" in cell
        ]
        assert (rates[name] or Recipe().learning_rate) == chosen, name
    assert {name for name, *_ in rows} == {*COMPARISON.presets["same_size"].networks}


def test_every_network_of_the_comparison_has_its_cost():
    """The timed network has the options of the trained one; other packages' is of that package."""
    for network in COMPARISON.networks:
        assert network.timed_as in TIMED_NETWORKS, network.name
        package = network.name.split("_")[0]
        if package in ("hub", "smp"):
            (needed, *_) = TIMED_NETWORKS[network.timed_as].needs
            assert needed == {"hub": "keras_hub", "smp": "segmentation_models_pytorch"}[package]
            continue
        timed = {} if network.timed_as == "deepskip_folded" else COMPARED[network.timed_as][1]
        assert network.options == timed, network.name
