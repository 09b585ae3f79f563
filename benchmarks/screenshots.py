"""Makes the pictures of docs/report.md from a demo.

    keras-deepskip demo --out /tmp/demo
    python benchmarks/screenshots.py --demo /tmp/demo --out docs

Opens the demo's report and its TensorBoard in Chromium, and writes `report.webp`,
`report_phone.webp` and `tensorboard.webp`. Needs Chromium and: pip install playwright
"keras-deepskip[demo]"
"""

import argparse
import contextlib
import io
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
PORT = 6123
SHOWN = "^(by_threshold/[pr]|image_truth_prediction/[12]|loss|object_f1)"  # cards of TensorBoard


def main():
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demo", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args()
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))))
    address = (options.demo / "report.html").resolve().as_uri()
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=list(FLAGS))
        shot = report(browser, address, 1280, 1380, "light")
        save(shot, options.out / "report.webp", 1280)
        shot = report(browser, address, 390, 844, "dark", start="#gallery")
        save(shot, options.out / "report_phone.webp", 390)
        with tensorboard(options.demo / "run" / "logs"):
            save(board(browser), options.out / "tensorboard.webp", 1100)
        browser.close()


def report(browser, address, width, height, scheme, start=""):
    """A picture of the report at a width, from its top or from a place in it."""
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    page.goto(address + start)
    for chart in page.locator(".chart").all():
        chart.locator("svg").wait_for()
    page.wait_for_timeout(1000)  # pictures of the strip are loaded as they come into view
    return page.screenshot()


@contextlib.contextmanager
def tensorboard(logs):
    """Serves a folder of logs while the block lasts."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logs), "--port", str(PORT)]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        server.terminate()
        server.wait()


def board(browser):
    """A picture of TensorBoard's page of all that was logged."""
    page = browser.new_page(viewport={"width": 1400, "height": 1080})
    for _ in range(60):
        with contextlib.suppress(Exception):  # until it answers
            page.goto(f"http://localhost:{PORT}/#timeseries")
            break
        page.wait_for_timeout(1000)
    page.get_by_role("combobox", name="Filter tags (regex)").fill(SHOWN)
    page.get_by_role("button", name="Settings").click()  # closes them
    page.wait_for_timeout(8000)
    return page.screenshot()


def save(png, path, width):
    """Writes a picture as WebP, in the best quality that stays below 200 kB."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image = image.resize((width, round(image.height * width / image.width)), Image.LANCZOS)
    for quality in (90, 80, 70, 60, 50):
        image.save(path, quality=quality, method=6)
        if path.stat().st_size < 200_000:
            break
    print(path, image.size, f"{path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
