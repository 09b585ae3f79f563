"""`predict(cluster=)`: the files of one process, whatever happens to workers and callers."""

import csv
import os
import signal
import threading
import time

import keras
import numpy as np
import pytest

from keras_deepskip import build_model, cli
from keras_deepskip.data import Sample, find_images, write_png
from keras_deepskip.inference import cluster, image_work, predict
from keras_deepskip.inference.finished import Finished, NoteFile
from keras_deepskip.inference.image_work import groups_of
from keras_deepskip.inference.shards import SHARD, Job, Shard, shards_of
from tests import tiny

distributed, zarr = pytest.importorskip("distributed"), pytest.importorskip("zarr")
SHAPE = (60, 70)


def draw(path, seed, shape=SHAPE, channels=1):
    """An image with bright squares of drawn places and sizes on noise."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 90, (*shape, channels))
    for _ in range(4):
        top, left = rng.integers(0, shape)
        image[top : top + rng.integers(2, 9), left : left + rng.integers(2, 9)] += 120
    write_png(path, image.astype("uint8"))


def files_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_local_processes_write_the_files_of_one(tmp_path):
    """A network, batches and single images, sub-folders, a damaged image, all that is written."""
    images = tmp_path / "in"
    for number in range(21):
        shape = SHAPE if number % 4 else (33, 70)
        draw(images / "ab"[number % 2] / f"{number}.png", number, shape)
    (images / "a" / "20.png").write_bytes(b"no picture")
    keras.utils.set_random_seed(0)
    model = build_model((None, None, 1), levels=2, base_filters=4)
    outputs = model.predict(np.zeros((1, 60, 70, 1)), verbose=0)
    options = {
        "threshold": float(outputs.mean()), "probabilities": True, "measures": True,
        "formats": ["coco", "yolo", "ome-zarr"], "tables": ["csv", "parquet"], "verbose": 0,
    }  # fmt: skip
    with pytest.warns(UserWarning, match="1 of 21 images"):
        expected = predict(model, images, tmp_path / "one", **options)
    with pytest.warns(UserWarning, match="1 of 21 images .*20.png"):
        rows = predict(model, images, tmp_path / "many", cluster="local:2", **options)
    assert rows == expected and len(rows) > 20
    names = list(dict.fromkeys(row["image"] for row in rows))
    assert names == sorted(names) and {name[0] for name in names} == {"a", "b"}
    ones, many = files_of(tmp_path / "one"), files_of(tmp_path / "many")
    assert sorted(ones) == sorted(many)
    differing = [name for name in ones if ones[name] != many[name]]
    # The same pixels; zstd wrote other bytes in some processes under TensorFlow.
    arrays = {name.partition("/c/")[0] for name in differing}
    assert all(name.startswith("zarr/") and "/c/" in name for name in differing)
    for name in arrays:
        one, other = (zarr.open_array(str(tmp_path / out / name)) for out in ("one", "many"))
        assert np.array_equal(one[:], other[:])
    assert len([name for name in many if name.startswith("masks")]) == 20
    with (tmp_path / "many" / "failures.csv").open(newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == ["a/20"]


# ---- A scheduler, and what may go wrong ----------------------------------------------------------


@pytest.fixture(scope="module")
def scheduler():
    """Two workers, which tests may kill; their nannies start others."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50,
        env=tiny.environ(),
    ) as workers:  # fmt: skip
        yield workers


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Sixty-four images, and what one process finds in them."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(64):
        draw(folder / "in" / f"{number:02}.png", number)
    rows = predict(tiny.bright_model(), folder / "in", folder / "one", verbose=0)
    return folder / "in", list(rows), files_of(folder / "one")


@pytest.mark.one_backend
def test_a_killed_workers_shard_is_done_again_and_nothing_twice(
    tmp_path, scheduler, many, monkeypatch
):
    images, expected, files = many
    kept = tmp_path / "kept"
    forget = Finished.forget
    monkeypatch.setattr(Finished, "forget", lambda own: (own.folder.rename(kept), forget(own))[1])
    found = []
    address, out = scheduler.scheduler_address, tmp_path / "out"

    def call():
        found.append(predict(tiny.bright_model(), images, out, cluster=address, verbose=0))

    calling = threading.Thread(target=call)
    calling.start()
    while not (notes := list(tmp_path.glob("out/.finished/*.jsonl"))):
        time.sleep(0.01)
    os.kill(int(notes[0].name.partition("-")[0]), signal.SIGKILL)
    done = sum(len(path.read_bytes().splitlines()) for path in notes)
    calling.join()
    assert done < 64  # it was killed before the end
    assert found[0] == expected
    assert files_of(tmp_path / "out") == files
    assert len(list(kept.glob("*.jsonl"))) > 1  # another has done the rest


@pytest.mark.one_backend
@pytest.mark.parametrize("again", ["cluster", "here"])
def test_an_interrupted_call_goes_on_with_other_workers(
    tmp_path, scheduler, many, monkeypatch, again
):
    images, expected, files = many
    address, results = scheduler.scheduler_address, []
    plain = cluster._results

    def interrupted(*arguments):
        for result in plain(*arguments):
            results.append(result)
            yield result
            if len(results) == 2:
                raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(cluster, "_results", interrupted)
        with pytest.raises(KeyboardInterrupt):
            predict(tiny.bright_model(), images, tmp_path / "out", cluster=address, verbose=0)
    noted = {name for result in results for name, *_ in result.notes}
    assert 16 <= len(noted) < 64 and not (tmp_path / "out" / "objects.csv").exists()

    asked = []
    groups_of_call = image_work.ImageWork.predict
    monkeypatch.setattr(
        image_work.ImageWork,
        "predict",
        lambda own, group, finished: (
            asked.extend(each.name for each in group),
            groups_of_call(own, group, finished),
        )[1],
    )
    monkeypatch.setattr(
        cluster,
        "shards_of",
        lambda groups, *others: (
            asked.extend(each.name for group in groups for each in group),
            shards_of(groups, *others),
        )[1],
    )
    where = {"cluster": address} if again == "cluster" else {}
    rows = predict(tiny.bright_model(), images, tmp_path / "out", verbose=0, **where)
    assert rows == expected and files_of(tmp_path / "out") == files
    assert not noted & set(asked) and len(asked) + len(noted) <= 64


@pytest.mark.one_backend
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("keras", "keras 0.1. Received: keras .* at tcp://127.0.0.1"),
        ("keras_deepskip", "keras_deepskip 0.1. Received"),
        ("backend", "backend 0.1. Received: backend .*KERAS_BACKEND"),
    ],
)
def test_workers_of_other_versions_are_refused(tmp_path, scheduler, many, monkeypatch, name, words):
    own = {**cluster.versions(), name: "0.1"}
    monkeypatch.setattr(cluster, "versions", lambda: own)
    with pytest.raises(RuntimeError, match=words):
        predict(
            tiny.bright_model(), many[0], tmp_path, cluster=scheduler.scheduler_address, verbose=0
        )


@pytest.mark.one_backend
def test_workers_that_do_not_see_the_folder_are_refused(tmp_path, scheduler, many, monkeypatch):
    elsewhere = {"directory": str(tmp_path / "elsewhere")}
    monkeypatch.setattr(cluster, "Job", lambda **facts: Job(**facts | elsewhere))
    out = os.path.relpath(tmp_path / "out")
    with pytest.raises(RuntimeError, match="Received: tcp://127.0.0.1:.*elsewhere.*model.keras"):
        predict(tiny.bright_model(), many[0], out, cluster=scheduler.scheduler_address, verbose=0)


@pytest.mark.one_backend
def test_an_unreachable_scheduler_is_named_within_seconds(tmp_path, many, capsys):
    address = f"tcp://127.0.0.1:{tiny.free_port()}"
    tiny.bright_model().save(tmp_path / "bright.keras")
    start = time.monotonic()
    command = ["predict", "--model", tmp_path / "bright.keras", "--images", many[0]]
    command += ["--out", tmp_path / "out", "--cluster", address]
    assert cli.main([str(word) for word in command]) == 1
    assert time.monotonic() - start < 4 * cluster.CONNECT_S
    text = capsys.readouterr().err
    assert f"scheduler was expected at {address}" in text and "dask scheduler" in text
    assert not (tmp_path / "out").exists()


@pytest.mark.one_backend
def test_a_scheduler_without_workers_is_named(tmp_path, many, monkeypatch):
    monkeypatch.setattr(cluster, "WORKERS_S", 0.2)
    with distributed.LocalCluster(
        n_workers=0, processes=False, dashboard_address=None, protocol="tcp"
    ) as none:
        with pytest.raises(ConnectionError, match="has no workers .*dask worker tcp://"):
            predict(
                tiny.bright_model(), many[0], tmp_path, cluster=none.scheduler_address, verbose=0
            )


@pytest.mark.one_backend
@pytest.mark.parametrize("value", ["local", "local:0", "local:-1", "tcp://host", "host:8786", 2])
def test_other_texts_than_a_cluster_are_refused(tmp_path, many, value):
    with pytest.raises(ValueError, match="'tcp://HOST:PORT'. Received: cluster="):
        predict(tiny.bright_model(), many[0], tmp_path / "out", cluster=value, verbose=0)
    assert not (tmp_path / "out").exists()


@pytest.mark.one_backend
def test_a_shard_that_ends_worker_after_worker_is_tried_in_parts(tmp_path, many):
    """Without what was done; a group of which nothing is done ends the call, and is named."""
    groups = groups_of(find_images(many[0]))[:3]
    finished = Finished(tmp_path, "work")
    with NoteFile(finished.folder) as file:
        for sample in [*groups[0], groups[2][5]]:
            stamp = image_work.file_stamp(sample.image)
            note = {"work": "work", "image": sample.name, "stamp": stamp, "sized": False}
            file.add(note)

    def stamp_of(sample):
        return image_work.file_stamp(sample.image)

    def rest(shard):
        error = ValueError("lost four times")
        return cluster._rest_of(finished, stamp_of, shard, error)

    first, second = rest(Shard(groups, frozenset()))
    assert (first.groups, first.finished) == ([groups[1]], frozenset())
    assert (second.groups, second.finished) == ([groups[2]], {"21"})
    with pytest.raises(RuntimeError, match=r"08\.png to 15 \(lost four times\).*memory"):
        rest(first)


@pytest.mark.one_backend
def test_shards_hold_whole_groups_in_order(tmp_path):
    """A large file is a shard of its own; small sets are shared too."""
    samples = []
    for number in range(50):
        path = tmp_path / f"{number:02}.png"
        path.write_bytes(bytes(image_work.ALONE if number == 20 else 9))
        samples.append(Sample(path.stem, path))
    groups = groups_of(samples)
    assert [len(group) for group in groups] == [8, 8, 4, 1, 8, 8, 8, 5]
    shards = shards_of(groups, {"00", "30"}, workers=3)
    assert [sum(map(len, shard.groups)) for shard in shards] == [8, 8, 4, 1, 8, 8, 8, 5]
    assert [each for shard in shards for group in shard.groups for each in group] == samples
    assert sorted(name for shard in shards for name in shard.finished) == ["00", "30"]
    small = [sample for sample in samples if sample.name != "20"] * 50
    several = shards_of(groups_of(small), (), workers=2)
    assert {sum(map(len, shard.groups)) for shard in several[:-1]} == {SHARD}
