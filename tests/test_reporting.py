"""The report says what is true of images whose objects are known, and holds all that it shows."""

import base64
import dataclasses
import hashlib
import html.parser
import json
import re
import shlex
import tracemalloc
import types

import numpy as np
import pytest

from keras_deepskip import _checks, _files, cli
from keras_deepskip.data import MaskReading, find_samples
from keras_deepskip.export.noted import note_export
from keras_deepskip.inference import evaluate, predict
from keras_deepskip.reporting import Report, gallery, report, run_report
from keras_deepskip.reporting.charts import threshold_charts, training_charts
from keras_deepskip.reporting.facts import export_tables, remarks_of
from keras_deepskip.reporting.figures import (
    Calibration,
    FoundFigures,
    ImageCounts,
    figures_of,
    share_interval,
)
from keras_deepskip.reporting.page import number
from keras_deepskip.reporting.shown import (
    FALSE,
    FOUND,
    MISSED,
    PREDICTED,
    RIGHT,
    ShownObject,
    densest_window,
    outlines,
)
from keras_deepskip.training import Recipe
from keras_deepskip.training.repeating import command_of
from tests import judged, tiny

pytestmark = pytest.mark.one_backend
for package in ("altair", "jinja2", "shapely", "vl_convert"):
    pytest.importorskip(package)
POINT = {"threshold": 0.5, "min_area": 0, "separate": False, "verbose": 0}


class Checker(html.parser.HTMLParser):
    """Sees that tags are closed in order, and keeps what there is."""

    VOID = ("meta", "img", "input", "link", "br")

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.texts, self.scripts = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        (self.scripts if self.open[-1:] == ["script"] else self.texts).append(data)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The report of `judged.run`: its path."""
    return report(judged.run(), tmp_path_factory.mktemp("page") / "report.html", **POINT)


@pytest.fixture(scope="module")
def read(page):
    checker = Checker()
    checker.feed(page.read_text(encoding="utf-8"))
    assert not checker.open
    return checker


@pytest.fixture(scope="module")
def shown(read):
    """What the page's script has: the gallery and the charts."""
    blocks = [text for text in read.scripts if text.startswith("{")]
    return [json.loads(text) for text in blocks]


# ---- Figures -------------------------------------------------------------------------------------


def test_objects_are_what_evaluate_counts(shown):
    """By hand: five of seven true objects found, one false; and as `evaluate` has them."""
    images = {image["name"]: image for image in shown[0]["images"]}
    kinds = {
        name: sorted((own[0], own[1], own[3]) for own in image["objects"])
        for name, image in images.items()
    }
    assert kinds["good"] == [(FOUND, 1, 36)] * 2 + [(RIGHT, 1, 36)] * 2
    assert kinds[judged.NASTY] == [
        (FOUND, 1, 36), (FOUND, 2, 400), (MISSED, 1, 100), (RIGHT, 1, 36), (RIGHT, 2, 400),
        (FALSE, 2, 16),
    ]  # fmt: skip
    counts = np.array([row[2:5] for image in images.values() for row in image["counts"]]).sum(0)
    found = evaluate(judged.run(), **POINT).objects["all"]
    assert counts.tolist() == [5, 2, 1] == [found["tp"], found["fn"], found["fp"]]
    assert [image["name"] for image in shown[0]["images"]][-1] == "good"  # the worst come first


def test_probabilities_and_ious_are_those_of_the_objects(shown):
    """Class 2 at 255: its channel has 0.2 * 255 - 25.6 against 0.1 * 255 - 6.4 and 0."""
    (nasty,) = (image for image in shown[0]["images"] if image["name"] == judged.NASTY)
    large = [own for own in nasty["objects"] if own[3] == 400]
    scores = np.exp([0, 25.5 - 6.4, 51 - 25.6])
    for own in large:
        assert own[4] == pytest.approx(scores[2] / scores.sum(), abs=1e-3) and own[5] == 1
    assert all(own[4] is None and own[5] is None for own in nasty["objects"] if own[0] == MISSED)


def test_figures_and_their_intervals():
    """Of images that are alike an interval has no width; of one image there is none."""
    alike = [ImageCounts(str(i), np.array([[3, 1, 2]]), np.array([[80, 10, 10]])) for i in range(5)]
    found = figures_of(alike)
    assert found["recall"] == (0.75, 0.75, 0.75) and found["missed"][0] == 0.25
    assert found["false"] == (0.4, 0.4, 0.4) and found["iou"] == (0.8, 0.8, 0.8)
    assert found["count_error"] == (1, 1, 1)
    assert figures_of(alike[:1])["iou"] == (0.8, None, None)
    other = [*alike, ImageCounts("b", np.array([[0, 9, 0]]), np.array([[0, 0, 50]]))]
    value, low, high = figures_of(other)["recall"]
    assert value == 15 / 29 and low < value < high == 0.75
    assert figures_of(other) == figures_of(other)


def test_figures_of_nothing_are_not_known():
    """Neither for all images, nor for resamples of images without objects."""
    empty = ImageCounts("e", np.array([[0, 0, 0]]), np.array([[0, 0, 0]]))
    found = figures_of([empty, empty])
    assert found["recall"] == found["missed"] == found["false"] == (None, None, None)
    assert run_report._share(found["recall"]) == ""
    some = ImageCounts("s", np.array([[9, 1, 0]]), np.array([[90, 10, 0]]))
    found = figures_of([some, *[empty] * 4])
    assert found["recall"] == (0.9, 0.9, 0.9)
    assert found["missed"] == pytest.approx((0.1, 0.1, 0.1)) and found["false"] == (0, 0, 0)


def test_classes_that_do_not_occur_count_nowhere():
    one = ImageCounts("a", np.array([[2, 0, 1], [0, 0, 0]]), np.array([[8, 2, 0], [0, 0, 0]]))
    assert one.iou == 0.8
    assert figures_of([one])["count_error"][0] == 1 and figures_of([one])["iou"][0] == 0.8


def test_the_first_screen_has_the_figures_of_evaluate(read):
    found = evaluate(judged.run(), **POINT)
    texts = " ".join(" ".join(read.texts).split())
    assert "5 of 7 71.4 % (" in texts and "2 of 7 28.6 % (" in texts
    assert "1 of 6 predicted 16.7 % (" in texts
    assert f"{found.pixels['IoU']:.3f} overlap of areas" in texts
    assert f"{found.quality['all']['count_mean_absolute']:.2f} an image" in texts
    assert f"{-found.quality['all']['count_bias']:.2f} too few on average" in texts
    assert "3 images with 7 true objects were judged: few" in texts


def test_what_is_not_known_is_not_claimed():
    """Of images that a run has trained on, has chosen by, has not seen, and of an older run."""
    run = tiny.run()
    said = {
        part: [remark for remark in remarks_of(run, {part: 20}, 20, 90)][2]
        for part in ("train", "val", "test", None)
    }
    states = {part: remark.state for part, remark in said.items()}
    assert states == {"train": "careful", "val": "careful", "test": "good", None: "good"}
    assert "20 of 20 images are among those that it was trained on" in said["train"].text
    older = dataclasses.replace(run)
    vars(older).update(_parts={})
    assert [own.state for own in remarks_of(older, {None: 20}, 20, 90)][2] == "unknown"
    assert [own.state for own in remarks_of(None, {}, 3, 4)] == ["careful", "careful", "unknown"]


def test_calibration_counts_what_was_said_and_what_is_true():
    @dataclasses.dataclass
    class Judged:
        outputs: np.ndarray
        mask: np.ndarray
        ignore_class: int = -1

    said = np.array([[0.05, 0.15, 0.18, 0.95]])[..., None]
    rows = Calibration()
    rows.add(Judged(said, np.array([[0, 1, 0, -1]])), [])
    assert [(row["count"], round(row["said"], 3), row["true"]) for row in rows.rows()] == [
        (1, 0.05, 0), (2, 0.165, 0.5),
    ]  # fmt: skip


def test_wilson_intervals():
    """Newcombe (1998), Statistics in Medicine 17, table I: 81 of 263 and 0 of 20."""
    assert np.round(share_interval(81, 263), 4).tolist() == [0.2553, 0.3662]
    assert np.round(share_interval(0, 20), 4).tolist() == [0, 0.1611]


# ---- The gallery ---------------------------------------------------------------------------------


def filled(path, shape):
    """The pixels inside a path of steps across and down, by the even-odd rule."""
    inside = np.zeros(shape, bool)
    for ring in re.findall(r"M([^z]*)z", path):
        x, y = map(int, re.match(r"(\d+) (\d+)", ring).groups())
        start = x
        steps = re.findall(r"([hv])(-?\d+)", ring)
        for axis, step in [*steps, ("h", None)]:
            if axis == "h":
                x = start if step is None else x + int(step)
                continue
            ends = sorted((y, y + int(step)))
            inside[ends[0] : ends[1], x:] ^= True
            y = ends[1] if int(step) > 0 else ends[0]
        first = int(re.match(r"\d+ (\d+)", ring).group(1))
        if y != first:
            inside[min(y, first) : max(y, first), x:] ^= True
    return inside


def test_outlines_go_around_the_very_pixels():
    """Of rings, of pieces that touch by a corner, and of objects at the border."""
    labels = np.zeros((9, 12), "int32")
    labels[1:6, 1:6] = 3
    labels[2:4, 2:5] = 0
    labels[6:9, 6:9] = 3
    labels[0:2, 9:12] = 7
    found = outlines(labels)
    assert sorted(found) == [3, 7]
    for label, (path, x, y) in found.items():
        np.testing.assert_array_equal(filled(path, labels.shape), labels == label)
        rows, columns = np.nonzero(labels == label)
        assert (x, y) == ((columns.min() + columns.max() + 1) / 2, rows.min())
    assert outlines(np.zeros((4, 4), int)) == {}


def test_a_large_image_is_shown_where_its_errors_are(shown, page):
    (large,) = (image for image in shown[0]["images"] if image["name"] == "large")
    assert large["sizes"] == [700, 560] and (large["height"], large["width"]) == (512, 512)
    assert large["corner"] == [188, 48]  # as far as it can be about the missed object
    assert [own[0] for own in large["objects"]] == [MISSED]  # what was found lies outside
    assert sum(map(sum, (row[2:5] for row in large["counts"]))) == 2
    assert large["mini"].startswith("data:image/webp;base64,")
    from PIL import Image

    with Image.open(page.parent / large["whole"]) as whole:
        assert whole.size == (560, 700)
        pixels = np.asarray(whole.convert("RGB"), int)
    blue, red = pixels[20, 25:45].mean(0), pixels[650, 502:510].mean(0)
    assert blue[2] > blue[0] + 40 and red[0] > red[2] + 40  # found, missed


def test_the_densest_window_has_errors_before_objects():
    points = np.array([[10, 10], [15, 15], [90, 90]])
    assert densest_window(points, np.array([[50, 50]]), (100, 100), side=20) == (0, 0)
    assert densest_window(np.zeros((0, 2)), np.array([[90, 50]]), (100, 100), 20) == (80, 40)
    assert densest_window(points, points, (20, 20), side=20) == (0, 0)


def test_the_worst_images_are_kept(monkeypatch):
    monkeypatch.setattr(gallery, "MOST", 1)
    monkeypatch.setattr(gallery, "SPARE", 0)
    page = Report(judged.run())
    evaluate(judged.run(), each=page.add, **POINT)
    kept = page._gallery.contents(tiny.scratch() / "worst.html")
    assert kept["seen"] == 3 and [image["name"] for image in kept["images"]] == [judged.NASTY]


def test_whole_images_of_one_name_are_files_of_their_own(tmp_path):
    """Images of several parts, and of folders, may share a name."""
    from keras_deepskip.reporting.shown import found_image

    kept, blank = gallery.Gallery([1], None), np.zeros((8, 8), "int32")
    for content, name in zip((b"0", b"1", b"2"), ("x", "X", "plate/x"), strict=True):
        image = found_image(name, np.zeros((8, 8, 1), "uint8"), blank, [])
        kept.add(dataclasses.replace(image, whole=content))
    found = [image["whole"] for image in kept.contents(tmp_path / "page.html")["images"]]
    assert sorted((tmp_path / own).read_bytes() for own in found) == [b"0", b"1", b"2"]


def test_pictures_keep_to_the_bytes_of_a_page(monkeypatch):
    """Noise is as large as pictures get."""
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3)).astype("uint8")
    from keras_deepskip.reporting.shown import found_image

    kept = gallery.Gallery([1], None)
    for name in "ab":
        kept.add(found_image(name, noise, np.zeros((512, 512), "int32"), []))
    sizes = []
    for most in (10**7, 200_000):
        monkeypatch.setattr(gallery, "MOST_BYTES", most)
        sizes.append(len(json.dumps(kept.contents("page.html"))))
    assert sizes[1] < 210_000 < 300_000 < sizes[0]


# ---- The page ------------------------------------------------------------------------------------


def test_names_are_text_wherever_they_stand(read, shown):
    assert judged.NASTY in read.texts and f"class {2}" not in read.texts
    assert any(judged.CLASSES[2] in text for text in read.texts)
    assert "img" not in [tag for tag, _ in read.tags]
    assert not [a for _, attributes in read.tags for a in attributes if a.startswith("on")]
    assert shown[0]["classes"] == [[label, name] for label, name in judged.CLASSES.items()]
    scripts = [attributes for tag, attributes in read.tags if tag == "script"]
    assert len(scripts) == len(read.scripts) == 4  # two of data, two of the page


def test_only_the_pages_own_scripts_may_run(read):
    (policy,) = (a["content"] for tag, a in read.tags if "http-equiv" in a)
    own = [text for text in read.scripts if not text.startswith("{")]
    for text in own:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert policy.count("sha256-") == len(own) and "default-src 'none'" in policy
    assert "unsafe-eval" not in policy and "http" not in policy
    linked = [a[name] for _, a in read.tags for name in ("src", "href") if name in a]
    assert linked and all(address.startswith("#") for address in linked)


def test_the_same_run_gives_the_same_bytes(page, tmp_path):
    again = report(judged.run(), tmp_path / "report.html", **POINT)
    assert again.read_bytes() == page.read_bytes()


def test_a_run_tells_how_it_was_made(read, shown):
    texts = " ".join(read.texts)
    for expected in (
        *judged.run().plan.reasons.values(), judged.run().command, "grey_levels",
        "What the plan chose", "trained with",
    ):  # fmt: skip
        assert expected in texts
    assert {"recall", "count", "calibration", "threshold_1", "training_loss"} <= set(shown[1])


def test_what_was_exported_is_told(tmp_path):
    exported = {
        "path": "a.onnx", "format": "onnx", "backend": "torch", "size": 9, "tolerance": 1e-5,
        "differences": {"1x64x64": 1e-7, "3x45x83": 4e-7},
    }  # fmt: skip
    small = {
        "path": "b.onnx", "held_out": 3, "bytes": {"float32": 9, "int8": 3},
        "milliseconds": {"float32": 2.0, "int8": 1.0}, "figures": {"int8": {"IoU": 0.5}},
    }  # fmt: skip
    (tmp_path / "a.onnx.export.json").write_text(json.dumps(exported))
    (tmp_path / "b.onnx.quantization.json").write_text(json.dumps(small))
    tables = export_tables(tmp_path, [tmp_path / "absent.json"])
    assert tables[0].rows == [["a.onnx", "onnx", "torch", 9, 4e-7, 1e-5]]
    assert tables[1].rows == [["b.onnx", "float32", 9, 2.0, None], ["b.onnx", "int8", 3, 1.0, 0.5]]
    assert export_tables(None) == []

    elsewhere, run = tmp_path / "served" / "deep" / "c.onnx.export.json", tmp_path / "run"
    _files.write_json(elsewhere, exported)
    for _ in range(2):
        note_export(types.SimpleNamespace(folder=run), elsewhere)
    note_export(types.SimpleNamespace(folder=run), tmp_path / "gone.json")
    note_export(None, elsewhere)
    (table,) = export_tables(run)
    assert len(table.rows) == 1


def test_numbers_are_shown_as_people_read_them():
    shown = [number(value) for value in (None, 0, 12345, 0.5, 1e-5, True, "x")]
    assert shown == ["–", "0", "12,345", "0.500", "1.0e-05", "True", "x"]


def test_charts_leave_out_what_is_not_known():
    rows = [{"epoch": 1, "loss": 1.0, "val_loss": None}, {"epoch": 2, "loss": 0.5, "val_loss": 2}]
    (chart,) = training_charts(rows, best_epoch=None).values()
    values = chart.spec["data"]["values"]
    assert [(row["epoch"], row["part"]) for row in values] == [
        (1, "training"), (2, "training"), (2, "validation"),
    ]  # fmt: skip
    curve = [
        {"class": c, "threshold": 0.5, "recall": 1, "precision": 1, "f1": 1} for c in range(1, 9)
    ]
    assert [own.title for own in threshold_charts(curve, 0.5, {1: "a"}).values()] == [
        "Threshold: a", *(f"Threshold: class {c}" for c in (2, 3, 4)),
    ]  # fmt: skip


# ---- Other ways in -------------------------------------------------------------------------------


def test_a_page_of_predictions_alone(tmp_path):
    page = Report(judged.model())
    rows = predict(
        judged.model(), folder_of_images(), tmp_path / "found", each=page.add, threshold=0.5,
        min_area=0, verbose=0,
    )  # fmt: skip
    checker = Checker()
    checker.feed(page.write(tmp_path / "report.html").read_text(encoding="utf-8"))
    (shown,) = (json.loads(text) for text in checker.scripts if text.startswith('{"classes'))
    assert not shown["judged"] and len(rows) == 6
    (large,) = (image for image in shown["images"] if image["name"] == "large")
    assert large["corner"] == [0, 0] and large["mini"] and large["iou"] is None
    assert [(own[0], own[3]) for own in large["objects"]] == [(4, 900)]
    assert "6 in 3 images" in " ".join(" ".join(checker.texts).split())


def folder_of_images():
    return judged.folder() / "images"


def found_objects(rng, count):
    """So many objects of a prediction, of drawn areas and probabilities."""
    areas, probabilities = rng.geometric(0.02, count).tolist(), rng.random(count).tolist()
    numbered = enumerate(zip(areas, probabilities, strict=True), start=1)
    return [ShownObject(PREDICTED, 1, area, said, None, label) for label, (area, said) in numbered]


def test_figures_of_predictions_are_those_of_all_their_objects():
    rng, found, known = np.random.default_rng(0), FoundFigures(), []
    assert found.areas() is None
    for count in (0, 1, 2, 40, 41):
        objects = found_objects(rng, count)
        found.add(f"image{count}", objects)
        known += [own.area for own in objects]
        if known:
            assert found.areas() == (np.median(known), min(known), max(known))
    assert [image.objects for image in found.images] == [0, 1, 2, 40, 41]
    assert found.images[0].area is found.images[0].probability is None
    last = found.images[-1]
    assert last.area == pytest.approx(np.mean([own.area for own in objects]))
    assert last.probability == pytest.approx(np.mean([own.probability for own in objects]))


def test_objects_of_many_predictions_are_not_kept():
    rng, found = np.random.default_rng(0), FoundFigures()
    batches = [found_objects(rng, 200) for _ in range(20)]
    for objects in batches:  # from here on all areas are known
        found.add("first", objects)
    tracemalloc.start()
    for place in range(1000):
        found.add(f"image{place:04}", batches[place % 20])
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown / 1000 < 400  # bytes an image; its objects take a hundred times that


def test_a_model_needs_a_path(tmp_path):
    samples = find_samples(judged.folder())
    with pytest.raises(ValueError, match="`out` must be the path"):
        report(judged.model(), samples=samples)
    with pytest.raises(ValueError, match="images with masks were expected"):
        report(judged.model(), tmp_path / "page.html")
    with pytest.raises(ValueError, match="`out` must be the path of a page, a file.*report.html"):
        report(judged.run(), tmp_path)
    reading = MaskReading(num_classes=3)
    path = report(judged.model(), tmp_path / "page.html", samples, masks=reading, **POINT)
    assert "is not known" in path.read_text(encoding="utf-8")


def test_the_command_repeats_the_run():
    """Read by the command line, the run's command asks for what the run was asked for."""
    words = shlex.split(tiny.run().command)
    options = cli.make_parser(words[1:]).parse_args(words[1:])
    asked = {field.name: getattr(options, field.name) for field in dataclasses.fields(Recipe)}
    assert Recipe(**asked) == tiny.RECIPE
    assert {name: getattr(options, name) for name in tiny.MODEL} == tiny.MODEL
    assert options.data == str(tiny.data()) and options.out == str(tiny.run().folder)


def test_the_command_has_all_that_was_asked_for():
    config = {
        "recipe": {**Recipe().to_dict(), "minutes": 3.5, "augment": False, "patience": 4},
        "model": {
            "own": False, "architecture": "unet", "backbone": "light_resnet34", "base_filters": 4,
            "blocks_per_level": [1, 2, 3, 4],
        },
        "data": {
            "num_classes": 3, "colors": [[1, 2, 3, 0]], "values": [[255, 1]], "ignore_class": 9,
            "input_range": [0, 4095.0], "fractions": [0.5, 0.25, 0.25], "group_by": r"^(a b)",
        },
    }  # fmt: skip
    text = command_of(config, "my data", "run", "run/split.json")
    options = cli.make_parser(["train"]).parse_args(shlex.split(text)[1:])
    assert (options.data, options.minutes, options.augment, options.patience) == (
        "my data", 3.5, False, 4,
    )  # fmt: skip
    assert (options.architecture, options.backbone, options.base_filters) == (
        "unet", "light_resnet34", 4,
    )  # fmt: skip
    assert options.option == [("blocks_per_level", [1, 2, 3, 4])]
    assert options.color == [(1, 2, 3, 0)] and options.mask_values == [(255, 1)]
    assert options.input_range == [0, 4095] and options.group_by == "^(a b)"
    assert options.split_file == "run/split.json" and options.ignore_class == 9
    assert command_of({"model": {"own": True}}, "data", "run", None) is None


def test_without_the_extra_commands_say_so_in_a_line(tmp_path, monkeypatch, capsys):
    require = _checks.require

    def lacking(module, pip, why):
        if module == "altair":
            raise ImportError(f"{why} needs altair. Install it with: pip install {pip}")
        return require(module, pip, why)

    monkeypatch.setattr(_checks, "require", lacking)
    run = str(tiny.run().folder)
    assert cli.main(["evaluate", "--run", run, "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert 'Wrote no report.html: the report needs altair. Install it with: pip install "' in said
    assert not (tmp_path / "report.html").exists() and (tmp_path / "evaluation.json").exists()
    assert cli.main(["report", "--run", run, "--out", str(tmp_path / "a.html")]) == 1
    assert "keras-deepskip[report]" in capsys.readouterr().err


def test_commands_write_the_page(tmp_path, capsys):
    run, data = str(tiny.run().folder), str(tiny.data())
    assert cli.main(["evaluate", "--run", run, "--out", str(tmp_path / "judged")]) == 0
    assert cli.main(["predict", "--run", run, "--images", f"{data}/images", "--out",
                     str(tmp_path / "found")]) == 0  # fmt: skip
    assert cli.main(["report", "--run", run, "--split", "val", "--out",
                     str(tmp_path / "val.html")]) == 0  # fmt: skip
    said = capsys.readouterr().out
    for path in ("judged/report.html", "found/report.html", "val.html"):
        assert str(tmp_path / path) in said and (tmp_path / path).is_file()
    text = (tmp_path / "val.html").read_text(encoding="utf-8")
    assert "validation images, by which the epoch and the threshold were chosen" in text
    text = (tmp_path / "judged" / "report.html").read_text(encoding="utf-8")
    assert "All are test images" in text and "No image and no mask is in two parts" in text
