"""The benchmark: fair rivals, rounds, what is kept, and what is said of those that cannot run."""

import json
import math
import sys
import threading
import time

import keras
import numpy as np
import pytest

import keras_deepskip
from keras_deepskip import analysis, cli
from keras_deepskip.losses import SmallObjectLoss
from keras_deepskip.studies.timing import RIVALS, adapters, benchmark, machine, scaling
from keras_deepskip.studies.timing import measure as measuring
from keras_deepskip.studies.timing import process_pool as crews
from keras_deepskip.studies.timing.curves import Point, bends, curve, exponents
from keras_deepskip.studies.timing.figures import draw_scaling, draw_times
from keras_deepskip.studies.timing.plain_networks import deepskip_plain
from keras_deepskip.studies.timing.rival_process import Stand
from keras_deepskip.studies.timing.rivals import Rival
from keras_deepskip.studies.timing.tables import comparison_text, scaling_text
from tests import tiny

pytestmark = pytest.mark.studies

SMALL = {"levels": 2, "base_filters": 2}


# ---- Rivals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "levels, base_filters", [pytest.param(5, 8, marks=pytest.mark.slow), (3, 4)]
)
def test_the_plain_network_is_the_same_function(levels, base_filters):
    keras.utils.set_random_seed(0)
    options = {"levels": levels, "base_filters": base_filters}
    ours = keras_deepskip.build_model((48, 48, 3), input_range=(0, 1), **options)
    plain = deepskip_plain(48, **options)
    assert [w.shape for w in plain.weights] == [w.shape for w in ours.weights]
    rng = np.random.default_rng(0)
    weights = ours.get_weights()  # those of one axis are biases and batch norms
    ours.set_weights([w + 0.2 * rng.random(w.shape) if w.ndim == 1 else w for w in weights])
    plain.set_weights(ours.get_weights())
    images = rng.random((2, 48, 48, 3), dtype="float32")
    wanted = ours.predict_on_batch(images)
    assert wanted.std() > 0.01
    np.testing.assert_allclose(plain.predict_on_batch(images), wanted, atol=1e-5)


def test_the_plain_network_has_the_weights_of_the_closed_form_and_the_settings_of_ours():
    ours, plain = keras_deepskip.build_model((32, 32, 3)), deepskip_plain(32)
    assert analysis.conv_parameters(plain) == analysis.closed_form()
    assert plain.count_params() == ours.count_params()
    norms = [
        {(layer.momentum, layer.epsilon) for layer in model._flatten_layers() if is_norm(layer)}
        for model in (ours, plain)
    ]
    assert norms[0] == norms[1] and len(norms[0]) == 1
    assert analysis.macs(plain, 32, 32) == analysis.macs(ours, 32, 32)
    with pytest.raises(ValueError, match="multiple of 16 .* Received: size=40"):
        deepskip_plain(40)


def is_norm(layer):
    return isinstance(layer, keras.layers.BatchNormalization)


def test_every_rival_says_what_it_is_and_needs():
    for name, rival in RIVALS.items():
        assert rival.about and callable(rival.build), name
        assert rival.backend in (None, *measuring.BACKENDS)
    assert list(RIVALS)[0] == "deepskip"


# ---- Contestants ---------------------------------------------------------------------------------


def small_network(size, **options):
    return keras_deepskip.build_model((size, size, 3), input_range=(0, 1), **SMALL, **options)


def test_a_stand_builds_runs_and_trains(monkeypatch):
    monkeypatch.setitem(RIVALS, "small", Rival("small", small_network))
    stand = Stand()
    model = small_network(16)
    trained = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    facts = stand.build("small", 16, {"skips": "flat"})
    assert facts == {"parameters": trained, "macs": sum(analysis.macs(model, 16, 16).values())}
    before = stand.contestant.model.get_weights()
    for mode in ("predict", "train"):
        answer = stand.run(mode, 2)
        assert answer["ns"] > 0
        assert json.loads(json.dumps(answer)) == answer
        changed = any(
            (a != b).any()
            for a, b in zip(before, stand.contestant.model.get_weights(), strict=True)
        )
        assert changed == (mode == "train")


def test_a_turn_is_filled_with_calls_and_tells_their_mean(monkeypatch):
    monkeypatch.setattr("keras_deepskip.studies.timing.rival_process.TURN_NS", 50_000_000)
    stand, calls = Stand(), []
    stand.prepared, stand.baseline = ("predict", 1), 0
    stand.task = lambda: calls.append(time.sleep(0.01))
    answer = stand.run("predict", 1)
    assert 2 <= len(calls) <= 5
    assert 50_000_000 / len(calls) <= answer["ns"]


def test_macs_are_left_out_where_a_cost_is_not_known():
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.ops.flip(inputs, axis=1))
    assert adapters._keras_macs(model, 8) is None


def torch_network(size):
    import torch

    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, stride=2, padding=1),
        torch.nn.BatchNorm2d(4),
        torch.nn.ConvTranspose2d(4, 1, 2, stride=2),
    )


def test_a_torch_module():
    pytest.importorskip("torch")
    contestant = adapters.TorchModule(torch_network, 16, {})
    assert contestant.parameters == (3 * 4 * 9 + 4) + 8 + (4 * 4 + 1)
    assert contestant.macs == 8 * 8 * (3 * 4 * 9) + 8 * 8 * (4 * 4)
    rng = np.random.default_rng(0)
    images = rng.random((2, 16, 16, 3), dtype="float32")
    masks = (images[..., :1] > 0.5).astype("float32")
    outputs = contestant.predict(images)()
    assert outputs.shape == (2, 1, 16, 16) and 0 < outputs.min() <= outputs.max() < 1
    step = contestant.train(images, masks)
    first = step()
    assert all(step() < first for _ in range(3))


def test_the_loss_in_torch_is_ours():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 8, 8, 1)).astype("float32")
    masks = (rng.random((3, 8, 8, 1)) < 0.3).astype("float32")
    own = float(SmallObjectLoss(from_logits=True)(masks, logits))
    theirs = adapters._torch_loss(
        *(torch.from_numpy(adapters._channels_first(array)) for array in (logits, masks))
    )
    np.testing.assert_allclose(float(theirs), own, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, package", [("OnnxRuntime", "onnxruntime"), ("OpenVino", "openvino")]
)
def test_an_exported_network(name, package):
    pytest.importorskip("tf2onnx")
    pytest.importorskip(package)
    if keras.backend.backend() != "tensorflow":
        pytest.skip("the file is written under the TensorFlow backend")
    contestant = getattr(adapters, name)(small_network, 16, {})
    assert contestant.macs == sum(analysis.macs(small_network(16), 16, 16).values())
    for batch in (1, 3):
        images = np.zeros((batch, 16, 16, 3), "float32")
        assert contestant.predict(images)().shape == (batch, 16, 16, 1)


# ---- Processes -----------------------------------------------------------------------------------


@pytest.fixture
def process():
    process = crews.Process(keras.backend.backend())
    yield process
    process.end()
    assert process.process.poll() is not None


def test_a_process_answers_and_goes_on_after_a_failure(process):
    with pytest.raises(crews.Failure, match="ValueError: `size` must be a multiple of 2 .*size=9"):
        process.ask(60, do="build", rival="deepskip_plain", size=9, options=SMALL)
    facts = process.ask(60, do="build", rival="deepskip_plain", size=8, options=SMALL)
    model = deepskip_plain(8, **SMALL)
    assert facts["macs"] == sum(analysis.macs(model, 8, 8).values())
    process.process.stdin.close()
    assert process.process.wait(30) == 0  # it ends with its input


def test_a_process_over_the_limit(process):
    with pytest.raises(crews.Failure, match="over the limit of 0.01 s"):
        process.ask(0.01, do="build", rival="deepskip_plain", size=8, options={})


def test_a_process_that_is_killed(process):
    threading.Timer(0.2, process.process.kill).start()
    for _ in range(2):  # while it is asked, and before
        with pytest.raises(crews.Failure, match="killed: out of memory?"):
            process.ask(60, do="build", rival="deepskip_plain", size=8, options={})


def test_answers_are_alone_on_the_standard_output():
    code = (
        "import os; from keras_deepskip.studies.timing.rival_process import _own_output; "
        "answers = _own_output(); print('noise', flush=True); os.system('echo noise'); "
        "answers.write('answer'); answers.flush()"
    )
    assert tiny.python(code) == "answer"


@pytest.mark.skipif(sys.platform != "linux", reason="memory is told by Linux alone")
def test_peak_memory():
    before = machine.resident()
    if not machine.reset_peak():
        pytest.skip("the system does not let the peak be reset")
    del_me = np.ones(8_000_000)  # 64 MB
    assert 60e6 < machine.peak() - before < 80e6
    del del_me
    machine.give_back()
    machine.reset_peak()
    assert machine.peak() - before < 20e6


class FakeCrew:
    """Runs nothing: notes who was asked, and answers or fails as `script` says."""

    def __init__(self, script=None):
        self.script = script or {}
        self.asked = []
        self.facts = dict.fromkeys(RIVALS, {"parameters": 1, "macs": 1_000_000})

    def __call__(self, backend, limit_s):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def run(self, name, case):
        self.asked.append(name)
        outcome = self.script.get((name, self.asked.count(name)), len(self.asked))
        if isinstance(outcome, BaseException):
            raise outcome
        return {"ns": outcome * 1_000_000, "peak_bytes": outcome * 1_000_000}


@pytest.fixture
def fake(monkeypatch):
    """Puts a `FakeCrew` with a script in place of the processes."""
    monkeypatch.setattr(measuring, "PAUSE_S", 0)

    def install(script=None):
        crew = FakeCrew(script)
        monkeypatch.setattr(measuring, "Crew", crew)
        return crew

    return install


def test_missing_packages_are_told_with_the_pip_line(monkeypatch):
    needs = {"no_such_module_a": "package-a", "json": "json", "no_such_module_b": "package-b"}
    monkeypatch.setitem(RIVALS, "absent", Rival("absent", None, needs=needs))
    case = {"mode": "predict", "size": 8, "batch": 1, "options": {}}
    with crews.Crew("tensorflow", 1) as crew:
        for _ in range(2):
            with pytest.raises(crews.Failure, match="^not run: pip install package-a package-b$"):
                crew.run("absent", case)
        with pytest.raises(crews.Failure, match="predicts only"):
            crew.run("deepskip_openvino", {**case, "mode": "train"})
        assert not crew.processes


# ---- Rounds and what is kept ---------------------------------------------------------------------

PAIR = ["deepskip", "deepskip_plain"]
CASE = {"mode": "predict", "size": 8, "batch": 2, "options": {}}


def measure(path, cases=(CASE,), rivals=PAIR, repeats=2, **changed):
    said = []
    settings = {"limit_s": 9, "backend": "tensorflow", **changed}
    return measuring.measure(path, list(cases), rivals, repeats, say=said.append, **settings), said


def test_rivals_take_turns(tmp_path, fake):
    crew = fake()
    result, said = measure(tmp_path / "r.json", repeats=3)
    a, b = PAIR
    assert crew.asked == [a, a, b, b, a, b, a, b, a, b]
    figures = result["cases"][0]["rivals"]
    assert figures[a]["ns"] == [5_000_000, 7_000_000, 9_000_000]
    assert figures[b]["ns"] == [6_000_000, 8_000_000, 10_000_000]
    assert figures[b]["peak_bytes"] == 10_000_000 and figures[b]["macs"] == 1_000_000
    assert said == ["1/1 predict, 8 x 8, batch 2", f"    {a}: 7.0 ms", f"    {b}: 8.0 ms"]


@pytest.mark.parametrize("turn", [1, 2, 4])
def test_a_rival_that_fails_leaves_the_others_alone(tmp_path, fake, turn):
    a, b = PAIR
    crew = fake({(a, turn): crews.Failure("out of memory")})
    result, _ = measure(tmp_path / "r.json", repeats=3)
    figures = result["cases"][0]["rivals"]
    assert figures[a] == {"failure": "out of memory"}
    assert len(figures[b]["ns"]) == 3
    assert crew.asked.count(a) == turn


def test_what_is_there_is_not_measured_again(tmp_path, fake):
    path = tmp_path / "r.json"
    other = {**CASE, "batch": 3}
    fake()
    first, _ = measure(path)
    crew = fake()
    again, said = measure(path, [CASE, other])
    assert len(crew.asked) == 8 and said[0] == f"1 of 2 cases are in {path} already"
    assert again["cases"][0] == first["cases"][0] and again["cases"][1]["case"] == other
    assert json.loads(path.read_text()) == again
    crew = fake()
    assert measure(path, [CASE, other])[0] == again and not crew.asked


@pytest.mark.parametrize("changed", [{"repeats": 3}, {"limit_s": 8}, {"rivals": PAIR[::-1]}])
def test_other_settings_are_measured_anew(tmp_path, fake, changed):
    path = tmp_path / "r.json"
    fake()
    measure(path)
    crew = fake()
    result, said = measure(path, **changed)
    assert crew.asked and len(result["cases"]) == 1
    assert said[0] == f"{path} was measured with other settings: all cases are measured anew"


def test_other_versions_are_measured_anew(tmp_path, fake, monkeypatch):
    path = tmp_path / "r.json"
    fake()
    measure(path)
    monkeypatch.setattr(measuring, "versions", lambda: {"keras": "4.0"})
    crew = fake()
    _, said = measure(path)
    assert crew.asked and "other versions:" in said[0]


def test_an_interrupt_loses_nothing(tmp_path, fake):
    path = tmp_path / "r.json"
    cases = [CASE, {**CASE, "batch": 3}]
    fake({("deepskip", 6): KeyboardInterrupt()})  # in the second case
    with pytest.raises(KeyboardInterrupt):
        measure(path, cases)
    assert [entry["case"] for entry in json.loads(path.read_text())["cases"]] == cases[:1]
    assert not tiny.leftovers(tmp_path)
    crew = fake()
    assert [entry["case"] for entry in measure(path, cases)[0]["cases"]] == cases
    assert len(crew.asked) == 8


def test_unknown_names_are_told(tmp_path):
    with pytest.raises(ValueError, match="Received: rivals='deepskp'. Did you mean 'deepskip'"):
        benchmark(tmp_path, ["deepskp"])
    with pytest.raises(ValueError, match="`modes` must be one of 'predict', 'train'"):
        benchmark(tmp_path, ["deepskip"], modes=["fit"])
    with pytest.raises(ValueError, match="`reference` must be one of 'deepskip'. Received"):
        benchmark(tmp_path, ["deepskip"], reference="unet")
    with pytest.raises(ValueError, match="`sizes` must be an integer of at least 1"):
        benchmark(tmp_path, ["deepskip"], sizes=[0])
    with pytest.raises(ValueError, match="`backend` must be one of"):
        benchmark(tmp_path, ["deepskip"], backend="theano")
    assert not list(tmp_path.iterdir())


# ---- Statistics, tables, pictures ----------------------------------------------------------------


def test_quartiles_by_hand():
    ns = [8_000_000, 1_000_000, 2_000_000, 4_000_000]  # 1 2 4 8: between neighbours, linearly
    assert measuring.quartiles(ns) == (1.75, 3.0, 5.0)
    assert measuring.quartiles([2_000_000]) == (2.0, 2.0, 2.0)


def result_of(*entries, rivals=PAIR):
    """A result as `measure` gives it, of entries (case, figures of the first, of the second)."""
    return {
        "settings": {"backend": "jax", "rivals": rivals, "repeats": 3, "limit_s": 60.0},
        "machine": {"processor": "abacus"},
        "versions": {"keras": "3"},
        "date": "2023-01-01",
        "cases": [
            {"case": case, "rivals": dict(zip(rivals, found, strict=True))}
            for case, *found in entries
        ],
    }


def figures(*ms, macs=2_000_000_000, peak=123_000_000):
    ns = [round(value * 1e6) for value in ms]
    return {"parameters": 12345, "macs": macs, "ns": ns, "peak_bytes": peak}


def rows(text):
    """The cells of all rows of a Markdown text, by what stands first."""
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line] for line in lines]


def test_the_table_of_a_comparison():
    one, eight = {**CASE, "batch": 1}, {**CASE, "batch": 8}
    step = {**CASE, "mode": "train", "batch": 1}
    result = result_of(
        (eight, figures(800, 1600, 2400), {"failure": "ended | so"}),
        (one, figures(100), figures(250, macs=None, peak=None)),
        (step, {"failure": "over the limit of 60 s"}, figures(1234.5)),
    )
    text = comparison_text(result, "deepskip")
    head = ["rival", "parameters", "GMACs"]
    for batch in (1, 8):
        head += [f"ms an image, batch {batch}", f"x, batch {batch}", f"MB, batch {batch}"]
    found = rows(text)
    assert head in found
    first = ["deepskip", "12,345", "2", "100 (100-100)", "1.00", "123", "200 (150-250)"]
    assert [*first, "1.00", "123"] in found
    assert ["deepskip_plain", "12,345", "-", "250 (250-250)", "2.50", "-", "ended / so"] == (
        next(row for row in found if row[0] == "deepskip_plain")[:7]
    )
    assert ["deepskip", "-", "-", "over the limit of 60 s", "-", "-"] in found
    assert ["deepskip_plain", "12,345", "2", "1,234 (1,234-1,234)", "-", "123"] in found
    assert "--modes predict train --sizes 8 --batches 8 1 --repeats 3 --backend jax" in text
    assert ["processor", "abacus"] in found


def test_exponents_and_bends_by_hand():
    def points(*times):
        return [Point(2**i, ms=(t, t, t), work=4**i) for i, t in enumerate(times)]

    np.testing.assert_allclose(exponents(points(1, 4, 8))[1:], [1, 0.5])
    assert exponents(points(1))[0] is None
    assert [point.value for point in bends(points(1, 4, 16, 64 * 16, 64 * 64 * 16))] == [4]
    gap = [*points(1, 4), Point(4, failure="over the limit"), Point(8, ms=(9, 9, 9))]
    assert exponents(gap)[2:] == [None, None] and not bends(gap)


def scaled():
    """Four cases: the base, which is on every curve, two batches more, one failing; two levels."""
    base = {"batch": 1, "size": 8, "levels": 5, "base_filters": 8}
    options = {"levels": 5, "base_filters": 8}
    case = {**CASE, "batch": 1, "options": options}
    failed = {"failure": "killed: out of memory?"}
    return base, result_of(
        (case, figures(10), figures(20)),
        ({**case, "batch": 2}, figures(20), figures(80)),
        ({**case, "batch": 4}, figures(80), failed),
        ({**case, "options": {**options, "levels": 3}}, figures(5), figures(5)),
    )


def test_curves_take_the_points_at_which_all_else_rests():
    base, result = scaled()

    def values(quantity):
        return [p.value for p in curve(result, "deepskip_plain", "predict", quantity, base)]

    assert values("batch") == [1, 2, 4] and values("levels") == [3, 5]
    assert values("size") == [8] and values("base_filters") == [8]
    assert curve(result, "deepskip", "train", "size", base) == []


def test_the_table_of_a_scaling():
    base, result = scaled()
    text = scaling_text(result, base)
    found = rows(text)
    assert ["deepskip", "2", "4", "20 (20-20)", "1.00", "200.0", "123"] in found
    assert ["deepskip", "4", "8", "80 (80-80)", "2.00", "100.0", "123"] in found
    assert ["deepskip_plain", "4", "-", "killed: out of memory?", "-", "-", "-"] in found
    assert "Bends: `deepskip` at 2; `deepskip_plain` at no point." in text


def test_pictures_are_drawn_also_where_figures_are_missing():
    failed = {"failure": "out of memory"}
    cases = (CASE, failed, failed), ({**CASE, "mode": "train"}, failed, figures(3, 4, peak=None))
    base, curves = scaled()
    for png in (draw_times(result_of(*cases)), draw_scaling(curves, base)):
        assert png[1:4] == b"PNG"


# ---- All of it -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_runs_and_resumes(tmp_path, capsys):
    command = ["benchmark", "--out", str(tmp_path), "--rivals", *PAIR, "hub_segformer_b0"]
    command += ["--sizes", "16", "--batches", "1", "--modes", "predict", "--repeats", "2"]
    if crews.importlib.util.find_spec("keras_hub"):
        command.remove("hub_segformer_b0")
    assert cli.main(command) == 0
    assert f"Wrote {tmp_path / 'results'}.md, .png and .json" in capsys.readouterr().out
    names = ["results.json", "results.md", "results.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    stored = (tmp_path / "results.json").read_bytes()
    found = json.loads(stored)["cases"][0]["rivals"]
    for name in PAIR:
        assert len(found[name]["ns"]) == 2 and min(found[name]["ns"]) > 0
        assert found[name]["parameters"] == found["deepskip"]["parameters"]
    absent = found.get("hub_segformer_b0", {"failure": "not run: pip install keras-hub"})
    assert absent == {"failure": "not run: pip install keras-hub"}
    assert cli.main(command) == 0
    assert "1 of 1 cases" in capsys.readouterr().out
    assert (tmp_path / "results.json").read_bytes() == stored


@pytest.mark.slow
def test_scaling_in_earnest(tmp_path):
    result = scaling(
        tmp_path, ["deepskip_plain"], sizes=[16], batches=[1, 2], modes=["train"], repeats=1,
        base_filters=[8], levels=[5],
    )  # fmt: skip
    assert [entry["case"]["batch"] for entry in result["cases"]] == [1, 2]
    for entry in result["cases"]:
        assert entry["case"]["options"] == {"levels": 5, "base_filters": 8}
        assert len(entry["rivals"]["deepskip_plain"]["ns"]) == 1
    names = ["scaling.json", "scaling.md", "scaling.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_scaling_measures_each_point_once(tmp_path, fake):
    crew = fake()
    result = scaling(
        tmp_path, ["deepskip"], sizes=[16, 32], batches=[1, 2], modes=["predict"], repeats=1,
        base_filters=[4, 8], levels=[5, 6],
    )  # fmt: skip
    cases = [
        (entry["case"]["size"], entry["case"]["batch"], *entry["case"]["options"].values())
        for entry in result["cases"]
    ]
    assert cases == [(16, 1, 5, 8), (16, 2, 5, 8), (32, 1, 5, 8), (16, 1, 5, 4), (16, 1, 6, 8)]
    assert len(crew.asked) == 5 * (measuring.WARM_UPS + 1)


def test_the_command_hands_on_what_is_given(tmp_path, monkeypatch):
    seen = []
    for name in ("benchmark", "scaling"):
        monkeypatch.setattr(
            f"keras_deepskip.studies.timing.{name}",
            lambda out, name=name, **given: seen.append((name, out, given)),
        )
    out = str(tmp_path)
    assert cli.main(["benchmark", "--out", out]) == 0
    words = "--rivals unet --sizes 8 16 --batches 2 --modes train --repeats 3 --backend jax"
    assert cli.main(["benchmark", "--out", out, *words.split(), "--limit", "9"]) == 0
    assert cli.main(["benchmark", "--out", out, "--reference", "unet"]) == 0
    assert cli.main(["benchmark", "--out", out, "--scaling", "--sizes", "8"]) == 0
    given = {"rivals": ["unet"], "sizes": [8, 16], "batches": [2], "modes": ["train"]}
    given |= {"repeats": 3, "backend": "jax", "limit_s": 9.0}
    say = {"say": print}
    assert seen == [
        ("benchmark", out, say),
        ("benchmark", out, {**given, **say}),
        ("benchmark", out, {"reference": "unet", **say}),
        ("scaling", out, {"sizes": [8], **say}),
    ]
