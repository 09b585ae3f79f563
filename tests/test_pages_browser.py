"""The pages of cross-validations and studies in a browser: drawn, sorted, and as wide as it is."""

import pytest

from keras_deepskip.reporting import folds_report
from keras_deepskip.reporting.facts import Cell, Table
from keras_deepskip.reporting.page import Section, write_page
from keras_deepskip.reporting.spread_charts import cost_chart, course_chart, spread_chart
from tests import judged
from tests.test_reporting_browser import browser, opened  # noqa: F401
from tests.test_reporting_folds import found

pytestmark = [pytest.mark.one_backend, pytest.mark.browser]


def study_page(path):
    """A page of the charts and tables that studies have, with names that are no markup."""
    names = [judged.NASTY, "deep skips (ours), VGG16", "U-Net 8..128"]
    figures = [
        {"name": name, "value": 0.5 + place / 10 + seed / 50, "of": f"seed {seed}"}
        for place, name in enumerate(names)
        for seed in range(3)
    ]
    costs = [
        {"name": name, "cost": 10.0 ** (place + 1), "gain": 0.5 + place / 10, "spread": 0.02}
        for place, name in enumerate(names)
    ]
    course = [{"name": row["of"], "x": x, "value": row["value"] * x}
              for row in figures[:3] for x in (0.5, 1.0)]  # fmt: skip
    rows = [[row["name"], Cell(f"{row['gain']:.2f} ± 0.02", row["gain"])] for row in costs]
    tables = [Table("t", "IoU", ["name", "IoU"], rows)]
    charts = {
        "figures": spread_chart("IoU", "each seed a ring", figures, "IoU", names[1]),
        "costs": cost_chart("IoU against time", "a mean", costs, "ms", "IoU", names[1]),
        "course": course_chart("IoU in training", "means", course, "share", domain=(0, 1)),
    }
    write_page(
        path, title="A study", subtitle="of drawn figures", tiles=[], remarks=[],
        sections=[Section("Figures", charts=charts, tables=tables)],
    )  # fmt: skip
    return path


@pytest.mark.parametrize("width", [390, 1280, 3840])
@pytest.mark.parametrize("kind", ["folds", "study"])
def test_a_page_is_drawn_and_sorted(browser, tmp_path, kind, width):  # noqa: F811
    path = tmp_path / "page.html"
    file = folds_report(found(), path) if kind == "folds" else study_page(path)
    scheme = "dark" if width == 390 else "light"
    page = opened(browser, file, viewport={"width": width, "height": 900}, color_scheme=scheme)
    assert page.locator(".chart svg").count() == page.locator(".chart").count() >= 3
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    table = page.locator("table").first
    column = table.locator("th button").first
    column.click()
    once = table.locator("tbody tr td:first-child").all_inner_texts()
    column.click()
    twice = table.locator("tbody tr td:first-child").all_inner_texts()
    assert sorted(once) == sorted(twice) and once != twice
    assert page.heard.said == [] and page.heard.asked == [file.as_uri()]
    page.context.close()
