"""The page holds all that it shows; curves are drawn with gaps where there is no figure."""

import base64
import html.parser
import io
import re

import numpy as np
import pytest
from PIL import Image

from keras_deepskip.reporting import Page, draw_curves, draw_threshold_curve

pytestmark = pytest.mark.one_backend


class Checker(html.parser.HTMLParser):
    """Sees that tags are closed in order, and keeps what there is."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.texts = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def read(page):
    checker = Checker()
    checker.feed(page)
    assert not checker.open
    return checker


def test_a_page_holds_its_texts_whatever_is_in_them(tmp_path):
    page = Page("Cells & <more>")
    page.add_heading("1 < 2")
    page.add_text("a & b")
    page.add_block("| x | <script> |")
    page.write(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    checker = read(text)
    for expected in ("Cells & <more>", "1 < 2", "a & b", "| x | <script> |"):
        assert expected in checker.texts
    assert "script" not in [tag for tag, _ in checker.tags]
    assert not re.search(r"(src|href)=\"(?!data:)", text)  # nothing from elsewhere


def test_pictures_are_in_the_page():
    page = Page("Pictures")
    picture = np.arange(2 * 3 * 3, dtype="uint8").reshape(2, 3, 3)
    page.add_picture(picture, 'a "caption"', zoom=3)
    page.add_picture(b"\x89PNG bytes", "bytes")
    images = [attributes for tag, attributes in read(page.html()).tags if tag == "img"]
    assert images[0]["alt"] == 'a "caption"'
    first, second = (base64.b64decode(i["src"].partition("base64,")[2]) for i in images)
    shown = np.asarray(Image.open(io.BytesIO(first)))
    np.testing.assert_array_equal(shown, picture.repeat(3, axis=0).repeat(3, axis=1))
    assert second == b"\x89PNG bytes"


def test_curves_are_drawn_of_what_there_is():
    pytest.importorskip("matplotlib")
    rows = [
        {
            "epoch": 1,
            "loss": 1.0,
            "val_loss": 1.1,
            "iou": 0.1,
            "val_iou": None,
            "val_object_f1": 0.0,
        },
        {
            "epoch": 2,
            "loss": 0.5,
            "val_loss": None,
            "iou": 0.4,
            "val_iou": 0.3,
            "val_object_f1": 0.2,
        },
    ]
    picture = np.asarray(Image.open(io.BytesIO(draw_curves(rows))).convert("RGB"))
    assert picture.shape[1] == 1100
    colours = (picture.astype(int).max(axis=-1) - picture.min(axis=-1)) > 60
    assert colours.any()
    without = np.asarray(Image.open(io.BytesIO(draw_curves([{"epoch": 1}]))).convert("RGB"))
    assert not ((without.astype(int).max(axis=-1) - without.min(axis=-1)) > 60).any()


def test_threshold_curves_have_a_panel_for_each_class():
    pytest.importorskip("matplotlib")
    rows = [
        {"class": class_id, "threshold": t, "recall": 1 - t, "precision": t, "f1": 0.5}
        for class_id in (1, 2)
        for t in (0.1, 0.5, 0.9)
    ]
    widths = [
        Image.open(io.BytesIO(draw_threshold_curve(some, threshold=0.5))).width
        for some in (rows[:3], rows)
    ]
    assert widths == [400, 800]
    with pytest.raises(ValueError, match="at least one row"):
        draw_threshold_curve([], threshold=0.5)
