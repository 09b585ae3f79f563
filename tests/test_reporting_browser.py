"""The report in a browser: Debian's Chromium, driven by Playwright, without a network."""

import functools
import os
import shutil

import pytest

from keras_deepskip.reporting import report
from tests import judged

pytestmark = [pytest.mark.one_backend, pytest.mark.browser]
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@functools.cache
def chromium():
    """Path of a Chromium; without one the tests skip, or fail where it is required (as in CI)."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        message = "no Chromium here: apt-get install chromium"
        if os.environ.get("KERAS_DEEPSKIP_REQUIRE_BROWSER") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return path


@pytest.fixture(scope="module")
def browser():
    path = chromium()
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=path, args=list(FLAGS))
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("browser") / "report.html"
    return report(judged.run(), path, threshold=0.5, min_area=0, separate=False, verbose=0)


class Heard:
    """What a page says to the console, what it asks for, and which dialogs it opens."""

    def __init__(self, page):
        self.said, self.asked = [], []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("dialog", lambda dialog: (self.said.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: self.asked.append(request.url))


def opened(browser, file, **options):
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    page = context.new_page()
    page.heard = Heard(page)
    page.goto(file.as_uri())
    for chart in page.locator(".chart").all():
        chart.locator("svg").wait_for()
    return page


@pytest.fixture(scope="module")
def page(browser, file):
    """The page, opened once. At the end: no error was said, and nothing was asked of a network."""
    shown = opened(browser, file)
    yield shown
    assert shown.heard.said == []
    addresses = [url for url in shown.heard.asked if not url.startswith(("data:", "blob:"))]
    assert addresses == [file.as_uri()]
    shown.context.close()


@pytest.fixture(autouse=True)
def anew(page):
    """Each test begins with the page as it opens, without loading it again."""
    page.keyboard.press("Escape")
    for name in ("sort", "size", "class"):
        page.locator(f"#{name}").select_option(index=0)
    page.locator("#views [data-view=result]").click()
    page.locator("#own").uncheck()
    page.locator("#strip button").first.click()
    page.locator("#fit").click()


def drawn(page, kind):
    """How many objects of a kind the picture has."""
    return page.locator(f"#picture .object.k{kind}").count()


def names(page):
    return page.locator("#strip .name").all_text_contents()


def test_views_show_truth_and_prediction(page):
    """The worst image has two found, one missed, one false."""
    assert names(page) == [judged.NASTY, "large", "good"]
    seen = {}
    for view in ("result", "truth", "prediction", "image"):
        page.locator(f"#views [data-view={view}]").click()
        seen[view] = [drawn(page, kind) for kind in range(4)]
    assert seen == {
        "result": [2, 1, 0, 1], "truth": [2, 1, 0, 0], "prediction": [0, 0, 2, 1],
        "image": [0, 0, 0, 0],
    }  # fmt: skip


def test_the_slider_moves_the_border_between_truth_and_prediction(page):
    def widths():
        return [
            float(page.locator(f"#clip-{side} rect").get_attribute("width"))
            for side in ("true", "predicted")
        ]

    assert widths() == [64, 64]
    found = []
    for value in (0, 25, 50, 100):
        page.locator("#wipe").fill(str(value))
        found.append(widths())
    assert all(truth + prediction == pytest.approx(64) for truth, prediction in found)
    assert [truth for truth, _ in found] == sorted(truth for truth, _ in found)
    assert found[0][0] == 0 and found[2][0] == pytest.approx(32) and found[3][0] == 64
    assert page.locator("#views [aria-checked=true]").get_attribute("data-view") == "compare"
    page.locator("#wipe").press("ArrowLeft")
    assert page.locator("#wipe").get_attribute("aria-valuetext") == "99 % truth"


def test_kinds_differ_in_lines_and_marks_as_well_as_colours(page):
    styles = page.evaluate(
        """[0, 1, 3].map((kind) => {
          const style = getComputedStyle(document.querySelector(`#picture .object.k${kind}`));
          return [style.stroke, style.strokeDasharray];
        })"""
    )
    assert len({color for color, _ in styles}) == len({dashes for _, dashes in styles}) == 3
    marks = [page.locator(f"#picture .marker.k{kind}") for kind in (1, 3)]
    assert marks[0].get_attribute("d") != marks[1].get_attribute("d")
    page.locator("#own").check()
    strokes = page.eval_on_selector_all(
        "#picture .object", "all => all.map((own) => own.style.stroke)"
    )
    assert len(set(strokes)) == len(strokes) == 4


def test_hovering_tells_area_probability_and_iou(page):
    page.locator("#picture .object.k0").first.hover()
    text = page.locator("#tip").text_content()
    assert text.startswith(f"found: {judged.CLASSES[2]}\narea 400 pixels\nprobability 1.00")
    assert text.endswith("IoU 1.00")
    page.locator("#picture .object.k1").hover()
    assert page.locator("#tip").text_content().splitlines()[1:] == ["area 100 pixels"]
    page.mouse.move(5, 5)
    assert page.locator("#tip").is_hidden()


def test_filters_choose_objects_and_images(page):
    page.locator("#class").select_option("2")
    assert names(page) == [judged.NASTY] and [drawn(page, k) for k in (0, 1, 3)] == [1, 0, 1]
    page.locator("#size").select_option("0")
    assert [drawn(page, k) for k in (0, 1, 3)] == [0, 0, 1]
    assert page.locator("#told").text_content() == "1 image with such objects."
    page.locator("#class").select_option("1")
    page.locator("#size").select_option("1")  # 8 x 8 to 16 x 16: the missed ones
    assert names(page) == [judged.NASTY, "large"]  # of equals that of the first name
    page.locator("#size").select_option("3")
    assert names(page) == [] and "No image" in page.locator("#caption").text_content()
    page.locator("#size").select_option("")
    page.locator("#class").select_option("")
    page.locator("#sort").select_option("best first")
    assert names(page) == ["good", "large", judged.NASTY]


def test_zoom_and_pan_by_keys_and_pointer(page):
    def box():
        return [float(part) for part in page.locator("#picture").get_attribute("viewBox").split()]

    whole, stage = box(), page.locator("#stage")
    stage.focus()
    page.keyboard.press("+")
    near = box()
    assert near[2] == pytest.approx(whole[2] / 1.5)
    page.keyboard.press("+")
    before = box()
    page.keyboard.press("ArrowRight")
    assert box()[0] == pytest.approx(before[0] + 0.1 * before[2])
    middle = stage.bounding_box()
    x, y = middle["x"] + middle["width"] / 2, middle["y"] + middle["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y, steps=3)
    page.mouse.up()
    moved = before[0] + (0.1 - 60 / middle["width"]) * before[2]
    assert box()[0] == pytest.approx(moved, abs=0.01)
    page.locator("#full").click()
    assert box()[2] == whole[2]  # the screen holds more pixels than the image has
    page.keyboard.press("0")


def test_keys_go_through_objects_and_images(page):
    page.locator("#stage").focus()
    page.keyboard.press("n")
    first = page.locator("#spoken").text_content()
    page.keyboard.press("n")
    second = page.locator("#spoken").text_content()
    page.keyboard.press("p")
    assert first.startswith("found: ") and second != first
    assert page.locator("#spoken").text_content() == first
    page.keyboard.press("PageDown")
    said = page.locator("#caption").text_content()
    assert said.startswith("large (512 × 512 of 560 × 700 pixels)")
    link = page.locator("#caption a").get_attribute("href")
    assert link == "report_images/large.webp"
    page.locator("#views [aria-checked=true]").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#views [aria-checked=true]").get_attribute("data-view") == "compare"


def column(page, place):
    return page.locator(f".table[data-name=images] td:nth-child({place})").all_text_contents()


def test_tables_are_sorted_and_say_so(page):
    head = page.locator(".table[data-name=images] th").nth(1)
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending" and column(page, 2) == ["2", "2", "3"]
    head.locator("button").press("Enter")
    assert head.get_attribute("aria-sort") == "descending" and column(page, 2) == ["3", "2", "2"]
    page.locator(".table[data-name=images] th button").first.click()
    assert column(page, 1) == sorted(column(page, 1)) and head.get_attribute("aria-sort") is None


def test_tables_are_downloaded_as_csv(page):
    with page.expect_download() as download:
        page.locator(".table[data-name=objects_by_size] .csv").click()
    assert download.value.suggested_filename == "objects_by_size.csv"
    lines = download.value.path().read_text(encoding="utf-8").splitlines()
    assert lines[0] == "objects,recall,precision,F1,found,missed,false"
    assert lines[1].startswith("all,0.7142857142857143,0.8333333333333334,") and len(lines) == 8
    assert lines[-1].startswith("</script><script>alert(2)</script>,1.0,0.5,")


def test_names_of_files_and_classes_are_shown_as_they_are(page):
    assert page.locator("#strip .name").first.text_content() == judged.NASTY
    assert page.locator("#class option").all_text_contents()[1:] == list(judged.CLASSES.values())
    assert page.locator("img:not(#strip img)").count() == 0
    told = set()
    for point in page.locator(".chart[data-spec=count] path[aria-roledescription=point]").all():
        point.hover(force=True)
        told.add(page.locator("#chart-tip dd").first.text_content())
    assert judged.NASTY in told and page.locator("#chart-tip dd *").count() == 0


def test_dark_and_light(browser, page, file):
    def ground(shown):
        color = shown.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in color[4:-1].split(","))

    assert ground(page) > 600
    page.locator("#theme").click()
    assert ground(page) < 100 and page.locator("#theme").text_content() == "Light"
    page.locator("#theme").click()
    dark = opened(browser, file, color_scheme="dark")
    assert ground(dark) < 100 and dark.heard.said == []
    dark.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_shut_out(browser, file, scheme):
    """axe-core, the usual checker of accessibility (WCAG 2 A and AA, and best practices)."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    # The checker is a script of its own, which the page's policy would not let in.
    shown = opened(browser, file, color_scheme=scheme, bypass_csp=True)
    found = axe.Axe().run(shown).response
    assert [own["id"] for own in found["violations"]] == [] and len(found["passes"]) > 40
    shown.context.close()


@pytest.mark.parametrize("width", [390, 3840])
def test_nothing_is_wider_than_the_screen(page, width):
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    box = page.locator("#stage").bounding_box()
    assert 0 <= box["x"] and box["x"] + box["width"] <= width and box["height"] > 250
    page.set_viewport_size({"width": 1280, "height": 900})
