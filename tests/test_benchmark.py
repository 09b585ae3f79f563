"""The benchmark: equal networks, rounds, stored results, and networks that cannot run."""

import functools
import inspect
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
from keras_deepskip.studies import timing
from keras_deepskip.studies.timing import (
    TIMED_NETWORKS,
    adapters,
    benchmark,
    machine,
    process_pool,
    scaling,
)
from keras_deepskip.studies.timing import measure as measuring
from keras_deepskip.studies.timing.curves import Point, bends, curve, exponents
from keras_deepskip.studies.timing.figures import draw_scaling, draw_times
from keras_deepskip.studies.timing.network_process import RequestHandler, _own_output
from keras_deepskip.studies.timing.plain_networks import deepskip_plain
from keras_deepskip.studies.timing.tables import comparison_text, scaling_text
from keras_deepskip.studies.timing.timed_networks import TimedNetwork
from tests import tiny

pytestmark = [pytest.mark.studies, pytest.mark.one_backend]

SMALL = {"levels": 2, "base_filters": 2}


# ---- Networks ------------------------------------------------------------------------------------


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
    expected = ours.predict_on_batch(images)
    assert expected.std() > 0.01
    np.testing.assert_allclose(plain.predict_on_batch(images), expected, atol=1e-5)


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


def test_every_network_has_a_description_and_a_builder():
    for name, network in TIMED_NETWORKS.items():
        assert network.about and callable(network.build), name
        assert network.backend in (None, *measuring.BACKENDS)
    assert list(TIMED_NETWORKS)[0] == "deepskip"


# ---- Adapters ------------------------------------------------------------------------------------


def small_network(size, **options):
    return keras_deepskip.build_model((size, size, 3), input_range=(0, 1), **SMALL, **options)


def test_a_request_handler_builds_runs_and_trains(monkeypatch):
    monkeypatch.setitem(TIMED_NETWORKS, "small", TimedNetwork("small", small_network))
    handler = RequestHandler()
    model = small_network(16)
    trained = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    facts = handler.build("small", 16, {"skips": "flat"})
    assert facts == {"parameters": trained, "macs": sum(analysis.macs(model, 16, 16).values())}
    before = handler.adapter.model.get_weights()
    for mode in ("predict", "train"):
        answer = handler.run(mode, 2)
        assert answer["ns"] > 0
        assert json.loads(json.dumps(answer)) == answer
        changed = any(
            (a != b).any() for a, b in zip(before, handler.adapter.model.get_weights(), strict=True)
        )
        assert changed == (mode == "train")


def test_a_measurement_is_filled_with_calls_and_returns_their_mean(monkeypatch):
    monkeypatch.setattr("keras_deepskip.studies.timing.network_process.MIN_TIMED_NS", 50_000_000)
    handler, calls = RequestHandler(), []
    handler.prepared, handler.baseline = ("predict", 1), 0
    handler.task = lambda: calls.append(time.sleep(0.01))
    answer = handler.run("predict", 1)
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
    adapter = adapters.TorchModule(torch_network, 16, {})
    assert adapter.parameters == (3 * 4 * 9 + 4) + 8 + (4 * 4 + 1)
    assert adapter.macs == 8 * 8 * (3 * 4 * 9) + 8 * 8 * (4 * 4)
    rng = np.random.default_rng(0)
    images = rng.random((2, 16, 16, 3), dtype="float32")
    masks = (images[..., :1] > 0.5).astype("float32")
    outputs = adapter.predict(images)()
    assert outputs.shape == (2, 1, 16, 16) and 0 < outputs.min() <= outputs.max() < 1
    step = adapter.train(images, masks)
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
    adapter = getattr(adapters, name)(small_network, 16, {})
    assert adapter.macs == sum(analysis.macs(small_network(16), 16, 16).values())
    for batch in (1, 3):
        images = np.zeros((batch, 16, 16, 3), "float32")
        assert adapter.predict(images)().shape == (batch, 16, 16, 1)


# ---- Processes -----------------------------------------------------------------------------------


@pytest.fixture
def process():
    process = process_pool.NetworkProcess(keras.backend.backend())
    yield process
    process.end()
    assert process.process.poll() is not None


def test_a_process_answers_after_a_failure_too(process):
    with pytest.raises(
        process_pool.Failure, match="ValueError: `size` must be a multiple of 2 .*size=9"
    ):
        process.ask(60, do="build", network="deepskip_plain", size=9, options=SMALL)
    facts = process.ask(60, do="build", network="deepskip_plain", size=8, options=SMALL)
    model = deepskip_plain(8, **SMALL)
    assert facts["macs"] == sum(analysis.macs(model, 8, 8).values())
    process.process.stdin.close()
    assert process.process.wait(30) == 0  # it ends with its input


def test_a_process_over_the_limit(process):
    with pytest.raises(process_pool.Failure, match="over the limit of 0.01 s"):
        process.ask(0.01, do="build", network="deepskip_plain", size=8, options={})


def test_a_process_that_is_killed(process):
    threading.Timer(0.2, process.process.kill).start()
    for _ in range(2):  # while it is asked, and before
        with pytest.raises(process_pool.Failure, match="killed: out of memory?"):
            process.ask(60, do="build", network="deepskip_plain", size=8, options={})


def test_answers_are_alone_on_the_standard_output():
    code = (  # the function alone: its module takes seconds to import
        f"import os\n\n{inspect.getsource(_own_output)}\n"
        "answers = _own_output(); print('noise', flush=True); os.system('echo noise'); "
        "answers.write('answer'); answers.flush()"
    )
    assert tiny.python(code) == "answer"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports peak memory")
def test_peak_memory():
    before = machine.resident()
    if not machine.reset_peak():
        pytest.skip("the system does not let the peak be reset")
    del_me = np.ones(8_000_000)  # 64 MB
    assert 60e6 < machine.peak() - before < 80e6
    del del_me
    machine.release_memory()
    machine.reset_peak()
    assert machine.peak() - before < 20e6


class FakePool:
    """Runs nothing: records which network was run, and answers or fails as in `script`."""

    def __init__(self, script=None):
        self.script = script or {}
        self.calls = []
        self.facts = dict.fromkeys(TIMED_NETWORKS, {"parameters": 1, "macs": 1_000_000})

    def __call__(self, backend, limit_s):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def run(self, name, case):
        self.calls.append(name)
        outcome = self.script.get((name, self.calls.count(name)), len(self.calls))
        if isinstance(outcome, BaseException):
            raise outcome
        return {"ns": outcome * 1_000_000, "peak_bytes": outcome * 1_000_000}


@pytest.fixture
def fake(monkeypatch):
    """Replaces the processes by a `FakePool` with a script."""
    monkeypatch.setattr(measuring, "PAUSE_S", 0)

    def install(script=None):
        pool = FakePool(script)
        monkeypatch.setattr(measuring, "ProcessPool", pool)
        return pool

    return install


def test_missing_packages_are_reported_with_the_pip_line(monkeypatch):
    needs = {"no_such_module_a": "package-a", "json": "json", "no_such_module_b": "package-b"}
    monkeypatch.setitem(TIMED_NETWORKS, "absent", TimedNetwork("absent", None, needs=needs))
    case = {"mode": "predict", "size": 8, "batch": 1, "options": {}}
    with process_pool.ProcessPool("tensorflow", 1) as pool:
        for _ in range(2):
            with pytest.raises(
                process_pool.Failure, match="^not run: pip install package-a package-b$"
            ):
                pool.run("absent", case)
        with pytest.raises(process_pool.Failure, match="predicts only"):
            pool.run("deepskip_openvino", {**case, "mode": "train"})
        assert not pool.processes


# ---- Rounds and stored results -------------------------------------------------------------------

PAIR = ["deepskip", "deepskip_plain"]
CASE = {"mode": "predict", "size": 8, "batch": 2, "options": {}}


def measure(path, cases=(CASE,), rivals=PAIR, repeats=2, **changed):
    lines = []
    settings = {"limit_s": 9, "backend": "tensorflow", **changed}
    return measuring.measure(
        path, list(cases), rivals, repeats, log=lines.append, **settings
    ), lines


def test_networks_alternate(tmp_path, fake):
    pool = fake()
    result, lines = measure(tmp_path / "r.json", repeats=3)
    a, b = PAIR
    assert pool.calls == [a, a, b, b, a, b, a, b, a, b]
    found = result["cases"][0]["rivals"]
    assert found[a]["ns"] == [5_000_000, 7_000_000, 9_000_000]
    assert found[b]["ns"] == [6_000_000, 8_000_000, 10_000_000]
    assert found[b]["peak_bytes"] == 10_000_000 and found[b]["macs"] == 1_000_000
    assert lines == ["1/1 predict, 8 x 8, batch 2", f"    {a}: 7.0 ms", f"    {b}: 8.0 ms"]


@pytest.mark.parametrize("call", [1, 2, 4])
def test_a_network_that_fails_leaves_the_others_alone(tmp_path, fake, call):
    a, b = PAIR
    pool = fake({(a, call): process_pool.Failure("out of memory")})
    result, _ = measure(tmp_path / "r.json", repeats=3)
    found = result["cases"][0]["rivals"]
    assert found[a] == {"failure": "out of memory"}
    assert len(found[b]["ns"]) == 3
    assert pool.calls.count(a) == call


def test_stored_cases_are_not_measured_again(tmp_path, fake):
    path = tmp_path / "r.json"
    other = {**CASE, "batch": 3}
    fake()
    first, _ = measure(path)
    pool = fake()
    again, lines = measure(path, [CASE, other])
    assert len(pool.calls) == 8 and lines[0] == f"1 of 2 cases are in {path} already"
    assert again["cases"][0] == first["cases"][0] and again["cases"][1]["case"] == other
    assert json.loads(path.read_text()) == again
    pool = fake()
    assert measure(path, [CASE, other])[0] == again and not pool.calls


@pytest.mark.parametrize("changed", [{"repeats": 3}, {"limit_s": 8}, {"rivals": PAIR[::-1]}])
def test_other_settings_are_measured_again(tmp_path, fake, changed):
    path = tmp_path / "r.json"
    fake()
    measure(path)
    pool = fake()
    result, lines = measure(path, **changed)
    assert pool.calls and len(result["cases"]) == 1
    assert lines[0] == f"{path} was measured with other settings: all cases are measured again"


def test_other_versions_are_measured_again(tmp_path, fake, monkeypatch):
    path = tmp_path / "r.json"
    fake()
    measure(path)
    monkeypatch.setattr(measuring, "versions", lambda: {"keras": "4.0"})
    pool = fake()
    _, lines = measure(path)
    assert pool.calls and "other versions:" in lines[0]


def test_an_interrupt_loses_nothing(tmp_path, fake):
    path = tmp_path / "r.json"
    cases = [CASE, {**CASE, "batch": 3}]
    fake({("deepskip", 6): KeyboardInterrupt()})  # in the second case
    with pytest.raises(KeyboardInterrupt):
        measure(path, cases)
    assert [entry["case"] for entry in json.loads(path.read_text())["cases"]] == cases[:1]
    assert not tiny.leftovers(tmp_path)
    pool = fake()
    assert [entry["case"] for entry in measure(path, cases)[0]["cases"]] == cases
    assert len(pool.calls) == 8


def test_unknown_names_are_reported(tmp_path):
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


# ---- Statistics, tables, figures -----------------------------------------------------------------


def test_quartiles_by_hand():
    ns = [8_000_000, 1_000_000, 2_000_000, 4_000_000]  # 1 2 4 8: between neighbours, linearly
    assert measuring.quartiles(ns) == (1.75, 3.0, 5.0)
    assert measuring.quartiles([2_000_000]) == (2.0, 2.0, 2.0)


def result_of(*entries, rivals=PAIR):
    """A result as `measure` returns it, of entries (case, values of the first, of the second)."""
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


def values(*ms, macs=2_000_000_000, peak=123_000_000):
    ns = [round(value * 1e6) for value in ms]
    return {"parameters": 12345, "macs": macs, "ns": ns, "peak_bytes": peak}


def rows(text):
    """The cells of all table rows in a Markdown text."""
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line] for line in lines]


def test_the_table_of_a_comparison():
    one, eight = {**CASE, "batch": 1}, {**CASE, "batch": 8}
    step = {**CASE, "mode": "train", "batch": 1}
    result = result_of(
        (eight, values(800, 1600, 2400), {"failure": "ended | so"}),
        (one, values(100), values(250, macs=None, peak=None)),
        (step, {"failure": "over the limit of 60 s"}, values(1234.5)),
    )
    assert f"--reference {PAIR[1]}" in comparison_text(result, PAIR[1])
    text = comparison_text(result, "deepskip")
    assert "--reference" not in text
    head = ["network", "parameters", "GMACs"]
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
    """Four cases: the base, which is on every curve, two more batches, one failing; two levels."""
    base = {"batch": 1, "size": 8, "levels": 5, "base_filters": 8}
    options = {"levels": 5, "base_filters": 8}
    case = {**CASE, "batch": 1, "options": options}
    failed = {"failure": "killed: out of memory?"}
    return base, result_of(
        (case, values(10), values(20)),
        ({**case, "batch": 2}, values(20), values(80)),
        ({**case, "batch": 4}, values(80), failed),
        ({**case, "options": {**options, "levels": 3}}, values(5), values(5)),
    )


def test_curves_take_the_points_with_all_else_at_default():
    base, result = scaled()

    def along(quantity):
        return [p.value for p in curve(result, "deepskip_plain", "predict", quantity, base)]

    assert along("batch") == [1, 2, 4] and along("levels") == [3, 5]
    assert along("size") == [8] and along("base_filters") == [8]
    assert curve(result, "deepskip", "train", "size", base) == []


def test_the_table_of_a_scaling():
    base, result = scaled()
    text = scaling_text(result, base)
    found = rows(text)
    assert ["deepskip", "2", "4", "20 (20-20)", "1.00", "200.0", "123"] in found
    assert ["deepskip", "4", "8", "80 (80-80)", "2.00", "100.0", "123"] in found
    assert ["deepskip_plain", "4", "-", "killed: out of memory?", "-", "-", "-"] in found
    assert "Bends: `deepskip` at 2; `deepskip_plain` at no point." in text


def test_figures_are_drawn_also_where_values_are_missing():
    failed = {"failure": "out of memory"}
    cases = (CASE, failed, failed), ({**CASE, "mode": "train"}, failed, values(3, 4, peak=None))
    base, curves = scaled()
    for png in (draw_times(result_of(*cases)), draw_scaling(curves, base)):
        assert png[1:4] == b"PNG"


# ---- All of it -----------------------------------------------------------------------------------


class ProcessInPlace:
    """As `NetworkProcess`, in this process, which has the libraries loaded already."""

    def __init__(self, backend):
        assert backend == keras.backend.backend()
        self.handler = RequestHandler()

    def ask(self, limit_s, do, **request):
        return json.loads(json.dumps(getattr(self.handler, do)(**request)))

    def end(self):
        pass


def test_the_command_runs_and_resumes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(process_pool, "NetworkProcess", ProcessInPlace)
    command = ["benchmark", "--out", str(tmp_path), "--rivals", *PAIR, "hub_segformer_b0"]
    command += ["--sizes", "16", "--batches", "1", "--modes", "predict", "--repeats", "2"]
    if process_pool.importlib.util.find_spec("keras_hub"):
        command.remove("hub_segformer_b0")
    assert cli.main(command) == 0
    said = capsys.readouterr().out
    assert f"Wrote {tmp_path / 'results'}.md (and .png, .json)" in said
    assert "| network | parameters | predict 16, ms |" in " ".join(said.split())
    names = ["results.html", "results.json", "results.md", "results.png"]
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
    names = ["scaling.html", "scaling.json", "scaling.md", "scaling.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_scaling_asks_for_networks_of_any_width_and_depth(tmp_path):
    """Before a process is started; the error names those that can be."""
    with pytest.raises(ValueError, match=r"deepskip, .*deepskip_plain.*Received: 'unet_8'"):
        scaling(tmp_path, ["deepskip", "unet_8"], sizes=[16])
    assert not list(tmp_path.iterdir())


def test_scaling_measures_each_point_once(tmp_path, fake):
    pool = fake()
    result = scaling(
        tmp_path, ["deepskip"], sizes=[16, 32], batches=[1, 2], modes=["predict"], repeats=1,
        base_filters=[4, 8], levels=[5, 6],
    )  # fmt: skip
    cases = [
        (entry["case"]["size"], entry["case"]["batch"], *entry["case"]["options"].values())
        for entry in result["cases"]
    ]
    assert cases == [(16, 1, 5, 8), (16, 2, 5, 8), (32, 1, 5, 8), (16, 1, 5, 4), (16, 1, 6, 8)]
    assert len(pool.calls) == 5 * (measuring.WARM_UPS + 1)


def test_the_command_passes_its_options_on(tmp_path, monkeypatch):
    seen = []

    def noted(name, out, log, **given):
        seen.append((name, out, given))
        return {"settings": {"rivals": []}, "cases": []}

    for name in ("benchmark", "scaling"):
        documented = functools.wraps(getattr(timing, name))  # the options come from its docstring
        seen_by = documented(lambda out, name=name, **given: noted(name, out, **given))
        monkeypatch.setattr(timing, name, seen_by)
    out = str(tmp_path)
    assert cli.main(["benchmark", "--out", out]) == 0
    words = "--rivals unet --sizes 8 16 --batches 2 --modes train --repeats 3 --backend jax"
    assert cli.main(["benchmark", "--out", out, *words.split(), "--limit", "9"]) == 0
    assert cli.main(["benchmark", "--out", out, "--reference", "unet"]) == 0
    assert cli.main(["benchmark", "--out", out, "--scaling", "--sizes", "8"]) == 0
    given = {"rivals": ["unet"], "sizes": [8, 16], "batches": [2], "modes": ["train"]}
    given |= {"repeats": 3, "backend": "jax", "limit_s": 9.0}
    assert seen == [
        ("benchmark", out, {}),
        ("benchmark", out, given),
        ("benchmark", out, {"reference": "unet"}),
        ("scaling", out, {"sizes": [8]}),
    ]
