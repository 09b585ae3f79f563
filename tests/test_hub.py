"""Models on the hub: pushed, loaded from a pinned revision, and what goes wrong, on a stand-in."""

import json
import time

import keras
import numpy as np
import pytest

import keras_deepskip
from keras_deepskip import cli
from keras_deepskip._hub_files import hub_address
from keras_deepskip.hub import model_card, push_to_hub, pushing
from keras_deepskip.inference import JudgedImage, evaluate
from tests import hub_server, tiny

pytestmark = pytest.mark.one_backend
REPO = "lab/lesions"


def take_for_the_hub(monkeypatch, url):
    from huggingface_hub import constants

    files = "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + files)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A stand-in that this process takes for the hub, as a user who is logged in."""
    from huggingface_hub import constants

    with hub_server.serving() as (hub, url):
        take_for_the_hub(monkeypatch, url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", hub_server.TOKEN)
        yield hub


def test_a_model_comes_back_from_the_commit_that_it_was_pushed_to(hub):
    run = tiny.run()
    address = push_to_hub(run, REPO, "cc-by-4.0", verbose=0)
    commit = address.removeprefix(f"hf://{REPO}@")
    assert list(hub.repos[REPO]) == [commit]
    files = hub.repos[REPO][commit]
    assert sorted(files) == ["README.md", "evaluation.json", "model.keras", "plan.json"]

    other = keras.models.clone_model(run.model)
    other.save(tiny.scratch() / "other.keras")
    newer = (tiny.scratch() / "other.keras").read_bytes()
    hub.commit(REPO, "main", {"model.keras": newer})
    image = np.random.default_rng(0).integers(0, 255, (1, 20, 30, 3))
    expected = run.model.predict(image, verbose=0)
    pinned, newest = keras_deepskip.load_model(address), keras_deepskip.load_model(f"hf://{REPO}")
    np.testing.assert_allclose(pinned.predict(image, verbose=0), expected, atol=1e-6)
    assert np.abs(newest.predict(image, verbose=0) - expected).max() > 1e-4

    asked = len(hub.asked)  # a commit is in the cache for ever
    np.testing.assert_array_equal(
        keras_deepskip.load_model(address).get_weights()[0], pinned.get_weights()[0]
    )
    assert len(hub.asked) == asked


def test_the_card_says_what_the_run_knows_and_shows_no_image_unasked(hub):
    run, found = tiny.run(), evaluate(tiny.run(), verbose=0)
    push_to_hub(run, REPO, "cc-by-4.0", pictures=2, verbose=0)
    files = hub.repos[REPO][hub.heads[REPO, "main"]]
    card = files["README.md"].decode()
    front = dict(line.split(": ", 1) for line in card.split("---")[1].strip().splitlines())
    assert json.loads(front["license"]) == "cc-by-4.0"
    assert json.loads(front["library_name"]) == "keras"
    assert json.loads(front["keras_deepskip"])["iou"] == round(found.pixels["IoU"], 4)
    assert {"test_1.png", "test_2.png"} < set(files) and "(test_2.png)" in card
    assert "5 images to train on, 1 to validate on and 2 to test on" in card
    assert all(reason in card for reason in run.plan.reasons.values())
    plain = model_card(run, found, REPO, "other")
    assert ".png" not in plain and str(run.folder) not in plain and str(run.data) not in plain
    assert "worst" not in json.loads(files["evaluation.json"])  # names of images


def test_pictures_show_ignored_pixels_as_no_object():
    from keras_deepskip.drawing import FALSE, HIT, MISSED

    mask = np.zeros((12, 20), int)
    mask[2:6, 2:6], mask[2:6, 10:14] = 1, 255
    labels = np.where(mask == 1, 1, 0)
    predicted = (mask > 0).astype(int)  # what is found on ignored pixels is not false
    found = predicted + (mask == 255)
    judged = JudgedImage(
        None, np.zeros((12, 20, 1), "uint8"), mask, 255, None, predicted, labels, found, []
    )
    drawn = pushing._picture(judged)
    for color, count in ((HIT, 2 * 12), (MISSED, 0), (FALSE, 0)):
        assert (drawn == color).all(axis=-1).sum() == count


def test_the_command_pushes_and_others_take_the_address(hub, tmp_path, capsys):
    command = ["push", "--run", str(tiny.run().folder), "--repo-id", REPO, "--licence", "other"]
    assert cli.main(command) == 0
    address = f"hf://{REPO}@{hub.heads[REPO, 'main']}"
    assert address in capsys.readouterr().out
    images = str(tiny.data() / "images")
    words = ["predict", "--model", address, "--images", images, "--out", str(tmp_path / "found")]
    assert cli.main([*words, "--no-report"]) == 0
    assert (tmp_path / "found" / "objects.csv").is_file()


def test_who_is_not_known_may_not_push(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    with pytest.raises(PermissionError, match=rf"{REPO}: the hub refuses \(401\)\. Log in"):
        push_to_hub(tiny.run(), REPO, "other", verbose=0)
    assert not hub.repos


def test_what_is_not_there(hub):
    hub.repos[REPO] = {}
    hub.commit(REPO, "main", {"README.md": b"of another kind"})
    for address, words in (
        ("hf://lab/none", "no such model or revision"),
        (f"hf://{REPO}@v2", "no such model or revision"),
        (f"hf://{REPO}", "a repository without one"),
    ):
        with pytest.raises(FileNotFoundError, match=words):
            keras_deepskip.load_model(address)


def test_a_hub_that_does_not_answer(hub, monkeypatch):
    take_for_the_hub(monkeypatch, "http://127.0.0.1:9")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between the package's own attempts
    with pytest.raises(ConnectionError, match="hf://lab/lesions: the hub could not be reached"):
        keras_deepskip.load_model(f"hf://{REPO}")
    with pytest.raises(ConnectionError, match="lab/lesions"):
        push_to_hub(tiny.run(), REPO, "other", verbose=0)


@pytest.mark.parametrize("text", ["hf://lab", "hf://a/b/c", "hf://a/b@", "hf://a/x y", "a/b"])
def test_no_address(text):
    with pytest.raises(ValueError, match="hf://USER/NAME"):
        hub_address(text)


@pytest.mark.parametrize(("arguments", "words"), [
    ({"licence": " "}, "`licence` must be a licence"),
    ({"repo_id": "lesions"}, "hf://USER/NAME"),
    ({"pictures": -1}, "`pictures`"),
    ({"repo_id": f"{REPO}@v2"}, "without a revision.*lab/lesions@v2"),
])  # fmt: skip
def test_bad_arguments(arguments, words):
    with pytest.raises(ValueError, match=words):
        push_to_hub(tiny.run(), **{"repo_id": REPO, "licence": "other", **arguments})
