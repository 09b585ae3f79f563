"""How large is the report of 100 images, how soon is it open, and can everybody read it?

    python benchmarks/report_page.py --out /tmp/report_page
    python benchmarks/report_page.py --page runs/first/report.html

Makes a report of 100 synthetic images (512 x 512, 20 to 40 objects each) whose predictions are the
truth with errors, and opens it, or the page that is given, in Chromium: the size of the file, the
time until it is loaded and until its first picture and its curves are drawn (median of the
repeats), what was asked of the network, and what axe-core says of its accessibility. Needs Chromium
and: pip install "keras-deepskip[report]" playwright axe-playwright-python
"""

import argparse
import shutil
import statistics
import time
from pathlib import Path

import numpy as np
from scipy import ndimage

from keras_deepskip import build_model
from keras_deepskip._tables import markdown_table
from keras_deepskip.data import find_samples, load_mask, sample
from keras_deepskip.inference import evaluate
from keras_deepskip.objects import label_objects
from keras_deepskip.reporting import Report

SCENES = {"kind": "coins", "height": 512, "width": 512, "count": (20, 40), "size": (8, 48)}
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("report_page"))
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--page", type=Path, help="a report that is there, in place of a new one")
    options = parser.parse_args()
    page, rows = options.page, []
    if page is None:
        page, seconds = write_page(options.out, options.images)
        rows.append(["written and evaluated", f"{seconds:.1f} s"])
    rows.append(["size", f"{page.stat().st_size / 1e6:.2f} MB"])
    rows += look_at(page.resolve(), options.repeats)
    print(markdown_table(["report", ""], rows))


def write_page(out, images):
    """A report of images with known truth; returns its path, and the seconds that it took."""
    if not (out / "data").exists():
        sample(out / "data", images=images, seed=0, **SCENES)
    samples = find_samples(out / "data")
    model, order = build_model((None, None, 3)), iter(samples)
    begun, page = time.perf_counter(), Report(build_model((None, None, 3)))
    found = evaluate(
        model, samples, predict=lambda image: with_errors(load_mask(next(order))), each=page.add,
        threshold=0.5, verbose=0,
    )  # fmt: skip
    return page.write(out / "report.html", found), time.perf_counter() - begun


def with_errors(mask):
    """Probabilities of a truth in which a tenth of the objects is missed and some are made up."""
    rng = np.random.default_rng(int(mask.sum()))
    labels, count = label_objects(mask)
    kept = rng.random(count + 1) > 0.1
    inside = kept[labels] & (labels > 0)
    for row, column in rng.integers(16, min(mask.shape) - 16, (3, 2)):
        inside[row - 5 : row + 5, column - 5 : column + 5] = True
    noise = ndimage.gaussian_filter(rng.normal(size=mask.shape), 3)
    near = ndimage.gaussian_filter(inside.astype("float32"), 1.5) + 0.8 * noise
    return np.clip(near, 0, 1)[..., None].astype("float32")


def look_at(path, repeats):
    """Opens a page in Chromium several times; returns rows of figures."""
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    times, asked = {"loaded": [], "first picture drawn": [], "all curves drawn": []}, []
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))))
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=list(FLAGS))
        for _ in range(repeats):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.on("request", lambda request: asked.append(request.url))
            begun = time.perf_counter()
            page.goto(path.as_uri())
            times["loaded"].append(time.perf_counter() - begun)
            page.locator("#picture image").wait_for()
            times["first picture drawn"].append(time.perf_counter() - begun)
            for chart in page.locator(".chart").all():
                chart.locator("svg").wait_for()
            times["all curves drawn"].append(time.perf_counter() - begun)
            page.close()
        page = browser.new_page(bypass_csp=True, viewport={"width": 1280, "height": 900})
        page.goto(path.as_uri())
        found = Axe().run(page).response
        browser.close()
    rows = [[name, f"{statistics.median(own):.2f} s"] for name, own in times.items()]
    outside = [url for url in asked if not url.startswith(("data:", "file:"))]
    rows.append(["asked of the network", len(outside)])
    engine = found["testEngine"]
    told = ", ".join(own["id"] for own in found["violations"]) or "none"
    rows.append([f"{engine['name']} {engine['version']}, rules passed", len(found["passes"])])
    return [*rows, ["rules violated", told]]


if __name__ == "__main__":
    main()
