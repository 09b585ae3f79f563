"""The page of a cross-validation, and those of studies: what they say, and how they are escaped."""

import dataclasses
import functools
import json
import re

import pytest

from keras_deepskip import cli
from keras_deepskip.reporting import folds_report
from keras_deepskip.reporting.facts import Cell, Table
from keras_deepskip.reporting.page import Section, write_page
from keras_deepskip.reporting.spread_charts import cost_chart, course_chart, spread_chart
from keras_deepskip.training import CrossValidation, cross_validate
from tests import judged, tiny

pytestmark = pytest.mark.one_backend
LIMIT = 10_000_000  # bytes of a page


@functools.cache
def found():
    """A cross-validation of two folds of tiny runs."""
    recipe = dataclasses.replace(tiny.RECIPE, epochs=2)
    out = tiny.scratch() / "folds"
    return cross_validate(tiny.data(), out, recipe, folds=2, verbose=0, **tiny.MODEL)


def text_of(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.encode()) < LIMIT
    assert not re.search(r"""(src|href)=["']https?:""", text)
    return text


def test_the_page_tells_mean_spread_and_each_fold(tmp_path):
    page = text_of(folds_report(found(), tmp_path / "folds.html"))
    summary = found().summary()
    assert f"{summary['iou']['mean']:.3f}" in page
    assert f"± {summary['iou']['standard_deviation']:.3f}" in page
    for number, row in enumerate(found().figures, start=1):
        assert f"fold {number}" in page and f'data-v="{row["iou"]}"' in page
    assert "Cross-validation in 2 folds" in page and "--folds 2" in page
    assert 'href="' not in page.split("<tbody>", 1)[1].split("</tbody>")[0]  # no page of a fold yet


def test_links_lead_to_the_reports_of_folds(tmp_path):
    names = [run.folder / "report.html" for run in found().runs]
    for name in names:
        name.write_text("a page", encoding="utf-8")
    try:
        page = text_of(folds_report(found()))
    finally:
        for name in names:
            name.unlink()
    assert 'href="fold-1/report.html"' in page and 'href="fold-2/report.html"' in page


def test_a_cross_validation_is_read_again():
    again = CrossValidation.load(found().folder)
    assert again.figures == found().figures and again.summary() == found().summary()
    assert [run.folder for run in again.runs] == [run.folder for run in found().runs]
    assert again.command == found().command and "--folds 2" in again.command
    assert "--split-file" not in again.command


def test_the_command_writes_it_of_a_folder_of_folds(tmp_path, capsys):
    folder, out = str(found().folder), str(tmp_path / "a.html")
    assert cli.main(["report", "--run", folder, "--out", out]) == 0
    assert f"Wrote {out}" in capsys.readouterr().out
    assert cli.main(["report", "--run", folder, "--threshold", "0.3"]) == 1
    error = capsys.readouterr().err
    assert "--threshold" in error and "fold-1" in error and error.count("\n") == 1


def test_a_fold_may_be_judged_by_a_function_of_ones_own(tmp_path):
    from keras_deepskip.inference import evaluate

    seen = []

    def judge(run):
        seen.append(run.folder.name)
        return evaluate(run, out=run.folder, verbose=0)

    recipe = dataclasses.replace(tiny.RECIPE, epochs=1)
    whole = cross_validate(
        tiny.data(), tmp_path, recipe, folds=2, judge=judge, verbose=0, **tiny.MODEL
    )
    assert seen == ["fold-1", "fold-2"] and len(whole.figures) == 2


def test_names_are_text_in_cells_links_and_charts(tmp_path):
    rows = [[Cell(judged.NASTY, href="a%22b/report.html"), Cell("0.5 ± 0.1", 0.5)]]
    charts = [{"name": judged.CLASSES[2], "value": 0.5, "of": judged.NASTY}]
    write_page(
        tmp_path / "a.html", title=judged.NASTY, subtitle=judged.CLASSES[1], tiles=[], remarks=[],
        sections=[Section(
            judged.NASTY, charts={"a": spread_chart(judged.NASTY, "b", charts, "IoU")},
            tables=[Table("t", judged.CLASSES[2], ["name", "IoU"], rows)],
        )],
    )  # fmt: skip
    page = text_of(tmp_path / "a.html")
    assert judged.NASTY not in page and judged.CLASSES[2] not in page
    assert 'class="n" data-v="0.5">0.5 ± 0.1</td>' in page


def test_charts_of_nothing_are_none():
    assert spread_chart("a", "b", [{"name": "x", "value": None, "of": "1"}], "c") is None
    one = {"name": "x", "cost": 1.0, "gain": 0.5, "spread": None}
    assert cost_chart("a", "b", [one], "ms", "IoU") is None
    assert course_chart("a", "b", [], "epoch") is None


def test_a_spread_is_one_standard_deviation_to_either_side():
    rows = [{"name": "x", "value": value, "of": str(value)} for value in (0.4, 0.5, 0.6)]
    text = json.dumps(spread_chart("a", "b", rows, "IoU").spec)
    mean = re.search(r'"mean": ([\d.]+), "low": ([\d.]+), "high": ([\d.]+)', text)
    assert [float(value) for value in mean.groups()] == pytest.approx([0.5, 0.4, 0.6])
