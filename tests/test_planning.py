"""The plan: what it chooses from the data, what it leaves alone, and what a budget becomes."""

import dataclasses
import itertools
import shlex

import numpy as np
import pytest

from keras_deepskip import cli
from keras_deepskip.data import Survey, audit, load_split, write_split
from keras_deepskip.training import Plan, Recipe, Run, make_plan, train
from keras_deepskip.training.speed import seconds_per_step
from tests import tiny


def plan_of(folder, recipe=None):
    survey = Survey.of(folder)
    return make_plan(recipe or Recipe(), survey, load_split(survey).train)


def scenes(folder, count=24, size=200, height=12, width=12, sky=0, objects=4):
    """Objects of a height and width on noise, under a sky that is brighter."""
    rng = np.random.default_rng(0)
    for number in range(count):
        image, mask = rng.integers(0, 60, (size, size)), np.zeros((size, size))
        image[: size // 2] += sky
        for place in range(objects):
            row = rng.integers(0, size - height)
            column = rng.integers(0, size // objects - width) + place * (size // objects)
            image[row : row + height, column : column + width] = 200
            mask[row : row + height, column : column + width] = 1
        tiny.put(folder, f"s{number:02d}", image, mask)
    return folder


@pytest.mark.parametrize(
    ("options", "scene", "reason"),
    [
        ({"height": 20, "width": 8}, "upright", "2.50 times as high as wide"),
        ({"height": 8, "width": 20}, "upright", "0.40 times as high as wide"),
        ({"sky": 80}, "upright", "upper and lower halves differ"),
        ({}, "any", "as often high as wide"),
        ({"count": 6}, "upright", "too few to tell"),
    ],
)
def test_the_kind_of_scene(tmp_path, options, scene, reason):
    plan = plan_of(scenes(tmp_path, **options))
    assert plan.recipe.scene == scene and reason in plan.reasons["scene"]
    assert reason in plan.text()


def test_rare_objects_have_more_of_the_crops(tmp_path):
    assert plan_of(scenes(tmp_path / "a", objects=1)).recipe.positive_share == 0.8
    dense = scenes(tmp_path / "b", objects=4, height=40, width=40)
    assert plan_of(dense).recipe.positive_share == 0.5


def test_pixels_of_small_objects_count_more_beside_large_ones(tmp_path):
    small = plan_of(scenes(tmp_path / "small", height=9, width=12))
    large = plan_of(scenes(tmp_path / "large", height=44, width=12))
    assert small.recipe.size_balance == large.recipe.size_balance == 0.0
    assert (
        small.recipe.include_absent is False and "a crop lacks" in small.reasons["include_absent"]
    )
    for folder in ("images", "masks"):
        for path in (tmp_path / "large" / folder).iterdir():
            (tmp_path / "small" / folder / f"large_{path.name}").write_bytes(path.read_bytes())
    mixed = plan_of(tmp_path / "small")
    assert mixed.recipe.size_balance == 0.5
    assert "of the objects are less than 20 pixels long" in mixed.reasons["size_balance"]


def test_crops_grow_with_large_objects_and_shrink_with_images(tmp_path):
    usual = plan_of(scenes(tmp_path / "a")).recipe
    assert (usual.crop_size, usual.batch_size) == (160, 4)
    large = plan_of(scenes(tmp_path / "b", count=8, size=700, height=130, width=130)).recipe
    assert (large.crop_size, large.batch_size) == (224, 2)
    small = plan_of(scenes(tmp_path / "c", size=90)).recipe
    assert (small.crop_size, small.batch_size) == (96, 11)


def test_what_is_given_stays_and_the_same_folder_has_the_same_plan(tmp_path):
    scenes(tmp_path)
    asked = Recipe(
        crop_size=64,
        scene="any",
        positive_share=0.1,
        batch_size=3,
        steps=130,
        jitter=False,
        size_balance=0.25,
        include_absent=True,
    )
    plan = plan_of(tmp_path, asked)
    assert plan == plan_of(tmp_path, asked) and set(plan.reasons) == {"epochs"}
    changed = {
        name: value
        for name, value in plan.recipe.to_dict().items()
        if value != getattr(asked, name)
    }
    planned = {"epochs": 1, "steps_per_epoch": 130, "steps": None, "schedule": "cosine"}
    assert changed == planned
    assert Plan.from_dict(plan.to_dict()) == plan


def test_images_that_are_seen_often_look_different_each_time(tmp_path):
    scenes(tmp_path, count=10, size=160, objects=1)
    for budget, jitter in (({"steps": 150}, True), ({"steps": 10}, False), ({"minutes": 5}, True)):
        plan = plan_of(tmp_path, Recipe(**budget))
        assert plan.recipe.jitter is jitter and "times over the pixels" in plan.reasons["jitter"]
    for recipe, words in ((Recipe(minutes=5), "goes about"), (Recipe(), "goes at most")):
        assert words in plan_of(tmp_path, recipe).reasons["jitter"]


def test_without_a_budget_the_validation_decides(tmp_path):
    scenes(tmp_path, count=10, size=60, objects=2)
    plan = plan_of(tmp_path)
    assert plan.recipe.schedule == "plateau" and plan.recipe.total_steps == 12_000
    assert "at most" in plan.reasons["epochs"]
    for budget in ({"steps": 300}, {"epochs": 6}, {"minutes": 2}, {"schedule": "cosine"}):
        assert plan_of(tmp_path, Recipe(**budget)).recipe.schedule == "cosine"


@pytest.mark.parametrize(
    ("fields", "epochs", "per_epoch"),
    [
        ({"steps": 50, "freeze_epochs": 3}, 4, 12),
        ({"steps": 300}, 3, 100),
        ({"steps": 350}, 4, 88),
        ({"steps": 350, "steps_per_epoch": 70}, 5, 70),
        ({"steps": 30, "steps_per_epoch": 70}, 1, 30),
        ({"minutes": 1, "freeze_epochs": 5}, 6, 33),
        ({"minutes": 1, "steps_per_epoch": 30}, 6, 30),
    ],
)
def test_a_budget_is_that_of_all_stages(tmp_path, fields, epochs, per_epoch):
    scenes(tmp_path, count=10, size=60, objects=2)
    plan = plan_of(tmp_path, Recipe(**fields))
    recipe = plan.measured(0.25, 50).recipe if "minutes" in fields else plan.recipe
    assert (recipe.epochs, recipe.steps_per_epoch) == (epochs, per_epoch)
    assert recipe.minutes is recipe.steps is None


def test_minutes_become_steps():
    plan = Plan(Recipe(minutes=2, steps_per_epoch=50), {})
    recipe = plan.measured(0.5, 100).recipe
    assert recipe.total_steps == 200 and recipe.minutes is None
    with pytest.raises(ValueError, match=r"`minutes` must allow.* 2 s are left"):
        plan.measured(0.5, 2)


def timed(model, *arguments):
    """Times steps in earnest, and takes them for slow ones, so that the run is short."""
    weights = model.get_weights()
    step, compiling = seconds_per_step(model, *arguments)
    assert 0 < step < 300 and 0 < compiling < 300
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    return 20.0, 2.0


@pytest.mark.one_backend
def test_a_run_of_minutes_is_one_of_as_many_steps_and_resumes(tmp_path, monkeypatch):
    """Timing leaves no trace in the weights; resumed, the length is what it was."""
    monkeypatch.setattr("keras_deepskip.training.fitting.seconds_per_step", timed)
    recipe = dataclasses.replace(tiny.RECIPE, epochs=None, minutes=5, jitter=False)
    run = train(tiny.data(), tmp_path / "a", recipe, verbose=0, **tiny.MODEL)
    assert run.recipe.minutes is None and 4 <= run.recipe.epochs <= 7
    assert "steps in 5 minutes" in run.plan.reasons["epochs"]
    asked = dataclasses.replace(tiny.RECIPE, epochs=run.recipe.epochs, jitter=False)
    other = train(tiny.data(), tmp_path / "b", asked, verbose=0, **tiny.MODEL)
    for ours, theirs in zip(run.model.get_weights(), other.model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    again = train(tiny.data(), tmp_path / "a", recipe, resume=True, verbose=0, **tiny.MODEL)
    assert again.history == run.history and Run.load(tmp_path / "a").recipe == run.recipe


def test_one_budget_at_a_time():
    with pytest.raises(ValueError, match="Received: minutes=3, epochs=2"):
        Recipe(minutes=3, epochs=2)
    with pytest.raises(ValueError, match="minutes"):
        Recipe(minutes=0)
    with pytest.raises(ValueError, match="scene"):
        Recipe(scene="sideways")


def test_the_command_prints_it(capsys):
    assert cli.main(["plan", "--data", str(tiny.data()), "--steps", "120"]) == 0
    printed = capsys.readouterr().out
    assert "positive_share" in printed and "as many as the steps asked for" in printed


@pytest.mark.parametrize("command", ["plan", "audit"])
def test_the_next_command_reads_and_splits_likewise(tmp_path, capsys, command):
    split = tmp_path / "s.json"
    write_split(split, load_split(tiny.data()))
    given = ["--seed", "3", "--ignore-class", "255", "--split-file", str(split)]
    given += ["--mask-value", "0=0", "--mask-value", "1=1", "--group-by", "(.*)"]
    assert cli.main([command, "--data", str(tiny.data()), *given]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "Next: " in line]
    words = shlex.split(line.split("Next: ")[1])
    assert words[:2] == ["keras-deepskip", "train"]
    for flag, value in zip(given[::2], given[1::2], strict=True):
        assert (flag, value) in itertools.pairwise(words)


def test_without_objects_there_is_no_plan(tmp_path, capsys):
    for number in range(5):
        image = np.random.default_rng(number).integers(0, 90, (40, 40))
        tiny.put(tmp_path, str(number), image, np.zeros((40, 40)))
    with pytest.raises(ValueError, match="training images with objects .* none in the masks of 3"):
        plan_of(tmp_path)
    assert cli.main(["plan", "--data", str(tmp_path)]) == 1
    assert "Check that the masks hold class ids above 0" in capsys.readouterr().err


def test_a_validation_without_objects_is_told_and_trained_on(tmp_path):
    for part, filled in (("train", True), ("val", False), ("test", True)):
        scenes(
            tmp_path / "data" / part, count=3, size=40, objects=1 if filled else 0, sky=len(part)
        )
    findings = audit(tmp_path / "data").findings
    assert any("val" in finding.message and finding.severity == "warning" for finding in findings)
    with pytest.warns(UserWarning, match="validation images with objects .* none in .* 3 images"):
        run = train(tmp_path / "data", tmp_path / "run", tiny.RECIPE, verbose=0, **tiny.MODEL)
    assert run.best_epoch and run.operating_point.threshold == 0.5


def test_a_budget_too_small_for_a_few_steps(tmp_path):
    recipe = dataclasses.replace(tiny.RECIPE, epochs=None, minutes=0.001)
    with pytest.raises(ValueError, match="`minutes` must allow for a few steps.*Give more"):
        train(tiny.data(), tmp_path, recipe, verbose=0, **tiny.MODEL)
    assert not (tmp_path / "config.json").exists()
