"""The site of the docs: built without a warning, complete, and loading nothing from elsewhere."""

import re
import runpy
import subprocess
import sys

import pytest

import keras_deepskip
from tests import tiny

pytestmark = pytest.mark.one_backend
DRAWING = runpy.run_path(str(tiny.ROOT / "docs" / "tools" / "network_drawing.py"))
# Elements by which a browser loads something; links that a reader follows are none.
LOADED = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)=\"?(https?:|//)")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", out]
    done = subprocess.run(
        command, cwd=tiny.ROOT, env=tiny.environ(NO_MKDOCS_2_WARNING="1"), capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return out


def text_of(site, page):
    return (site / page / "index.html").read_text(encoding="utf-8")


def test_nothing_is_loaded_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 60
    for page in pages:
        assert not LOADED.search(page.read_text(encoding="utf-8")), page


def test_equations_are_mathml(site):
    text = text_of(site, "paper")
    assert text.count('<math xmlns="http://www.w3.org/1998/Math/MathML" display="block"') == 8
    assert "\\sum" not in re.sub(r"<annotation.*?</annotation>", "", text)


def test_the_reference_shows_arguments_examples_and_sources(site):
    text = text_of(site, "reference/losses")
    assert 'id="keras_deepskip.losses.SmallObjectLoss"' in text
    assert re.search(r"<li[^>]*>\s*<b>\s*<code[^>]*>\s*class_weights\s*</code>", text)
    prose = re.sub(r"<pre.*?</pre>", "", text, flags=re.S)
    assert "Args:" not in prose and "&gt;&gt;&gt; " not in prose and "&gt;&gt;&gt; " in text
    parts = {path.parent.name for path in site.glob("reference/*/index.html")}
    assert {*keras_deepskip.PACKAGES, "models", "losses", "studies.rivals"} - {"studies"} <= parts


def test_links_out_of_the_docs_lead_to_pages(site):
    assert 'href="../../repository/examples/own_backbone.py/"' in text_of(site, "guides/own_model")
    assert "make_encoder" in text_of(site, "repository/examples/own_backbone.py")
    assert "Apache License" in text_of(site, "repository/LICENSE")


def test_the_drawing_is_of_a_built_network():
    assert DRAWING["drawing"](644_192) == DRAWING["DRAWING"].read_text(encoding="utf-8")
