"""Images on object stores, which are fsspec's memory and a zip file here."""

import zipfile

import fsspec
import pytest
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from fsspec.implementations.memory import MemoryFileSystem

from keras_deepskip import cli
from keras_deepskip.data import Survey, find_images, find_samples, load_split
from keras_deepskip.data._survey_cache import CACHE_VARIABLE
from keras_deepskip.data.stores import is_address, local_folder, local_images
from keras_deepskip.inference import predict
from keras_deepskip.training import Run, train
from tests import tiny

pytestmark = pytest.mark.one_backend
CELLS = "memory://bucket/cells"


@pytest.fixture
def store(tmp_path, monkeypatch):
    """fsspec's memory, which holds the tiny set; the cache folder is a new one."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    system.put(f"{tiny.data()}/", "/bucket/cells/", recursive=True)
    yield system
    system.store.clear()


@pytest.fixture
def fetched(monkeypatch):
    """The names of objects that were fetched, as they come."""
    names, get_file = [], MemoryFileSystem.get_file

    def noted(self, path, *arguments, **options):
        names.append(path.rpartition("cells/")[2])
        return get_file(self, path, *arguments, **options)

    monkeypatch.setattr(MemoryFileSystem, "get_file", noted)
    return names


def test_a_run_trained_from_an_address_finds_its_images_on_another_machine(
    store, tmp_path, monkeypatch, capsys
):
    run = train(CELLS, tmp_path / "run", tiny.RECIPE, verbose=0, **tiny.MODEL)
    assert run.data == CELLS

    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "other"))
    again = Run.load(tmp_path / "run")
    assert again.data == CELLS
    assert [s.name for s in again.split.test] == [s.name for s in run.split.test]
    assert again.split.test[0].image.is_relative_to(tmp_path / "other")
    resumed = train(CELLS, tmp_path / "run", tiny.RECIPE, resume=True, verbose=0, **tiny.MODEL)
    assert resumed.history == run.history

    assert cli.main(["evaluate", "--run", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out
    assert f"Found in {len(run.split.test)} image" in printed
    assert cli.main(["evaluate", "--run", str(tmp_path / "run"), "--data", CELLS]) == 0
    figures = printed.partition("Found in")[2].partition("Wrote")[0]
    assert "| all" in figures and figures in capsys.readouterr().out  # the same images
    assert cli.main(["audit", "--data", CELLS]) == 0
    assert CELLS in capsys.readouterr().out


def test_only_what_has_changed_is_fetched_again(store, fetched):
    store.pipe("/bucket/cells/raw/film.avi", b"not of the set")
    store.pipe("/bucket/cells/classes.txt", b"coin\n")
    survey = Survey.of(CELLS)
    count = len(find_samples(tiny.data()))
    assert len(survey.all_samples) == count and str(survey.source) == CELLS
    assert "raw/film.avi" not in fetched and "classes.txt" in fetched
    digests = [survey.digest(sample.image) for sample in survey.all_samples]
    fetched.clear()
    assert [s.image for s in find_samples(CELLS)] == [s.image for s in survey.all_samples]
    assert fetched == []

    first, last = survey.all_samples[0].image.name, survey.all_samples[-1].image.name
    store.pipe(f"/bucket/cells/images/{first}", store.cat(f"/bucket/cells/images/{last}"))
    store.rm(f"/bucket/cells/images/{last}")
    store.rm(f"/bucket/cells/masks/{last}")
    survey.all_samples[1].image.write_bytes(b"cut off")  # by hand, in the copy
    survey = Survey.of(CELLS)
    second = survey.all_samples[1].image.name
    assert sorted(fetched) == sorted([f"images/{first}", f"images/{second}"])
    assert [survey.digest(s.image) for s in survey.all_samples] == [digests[-1], *digests[1:-1]]


def test_train_val_test_folders_and_instances(store, fetched):
    for part in ("train", "valid"):
        store.put(f"{tiny.data()}/", f"/bucket/parted/{part}/", recursive=True)
    store.copy("/bucket/cells/masks", "/bucket/parted/train/instances", recursive=True)
    split = load_split("memory://bucket/parted")
    assert len(split.train) == len(split.val) == len(find_samples(tiny.data()))
    assert split.train[0].instances is not None and split.val[0].instances is None


def test_an_interrupted_fetch_goes_on_and_leaves_nothing_half_written(
    store, tmp_path, monkeypatch, fetched
):
    whole, get_file = len(store.find("/bucket/cells")), MemoryFileSystem.get_file

    def interrupted(self, path, target, **options):
        if len(fetched) == 5:
            with open(target, "wb") as file:
                file.write(b"half")
            raise KeyboardInterrupt
        return get_file(self, path, target, **options)

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "get_file", interrupted)
        with pytest.raises(KeyboardInterrupt):
            local_folder(CELLS)
    there = [p for p in (tmp_path / "cache").rglob("*.*") if p.suffix == ".png"]
    assert len(there) == 4 and not [p for p in (tmp_path / "cache").rglob(".*")]
    folder = local_folder(CELLS)
    assert len(fetched) == len(set(fetched)) == whole
    assert len(find_samples(folder)) == len(find_samples(tiny.data()))


def test_several_objects_at_a_time(store, fetched):
    class Several(AsyncFileSystemWrapper):
        protocol = "several"

        def __init__(self, **options):
            super().__init__(fs=MemoryFileSystem(), asynchronous=False, **options)

    fsspec.register_implementation("several", Several, clobber=True)
    folder = local_folder("several://bucket/cells")
    assert len(fetched) == len(store.find("/bucket/cells"))
    for one, other in zip(find_samples(folder), find_samples(tiny.data()), strict=True):
        assert one.image.read_bytes() == other.image.read_bytes()


# ---- Images to predict ---------------------------------------------------------------------------


def test_predict_folders_patterns_lists_and_archives(store, tmp_path):
    names = [sample.name for sample in find_images(tiny.data())]
    store.pipe("/lists/two.txt", f"# two\n{CELLS}/images/{names[3]}.png\nhere.png\n".encode())
    store.copy(f"/bucket/cells/images/{names[0]}.png", "/lists/here.png")
    with zipfile.ZipFile(tmp_path / "cells.zip", "w") as archive:
        for path in (tiny.data() / "images").iterdir():
            archive.write(path, f"images/{path.name}")
    pattern = f"{CELLS}/im*/{names[1][:-1]}[12].png"
    wanted = {
        CELLS: names,
        f"{CELLS}/images/{names[2]}.png": [names[2]],
        pattern: [name for name in names if name[:-1] == names[1][:-1] and name[-1] in "12"],
        "memory://lists/two.txt": [names[3], "here"],
        f"zip://::{tmp_path}/cells.zip": names,
        f"zip://images/*1.png::{tmp_path}/cells.zip": [n for n in names if n.endswith("1")],
    }
    for address, expected in wanted.items():
        assert [path.stem for path in local_images(address)] == expected, address
    lines = predict(tiny.bright_model(3), CELLS, tmp_path / "found", verbose=0)
    plain = predict(tiny.bright_model(3), tiny.data(), tmp_path / "plain", verbose=0)
    assert lines == plain and lines


def test_a_changed_archive_is_read_anew(store, tmp_path):
    for value in (1, 2):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr("a.png", bytes([value]))
        (path,) = local_images(f"zip://::{tmp_path}/a.zip")
        assert path.read_bytes() == bytes([value])


# ---- What is refused -----------------------------------------------------------------------------


def test_names_that_lead_elsewhere(store, tmp_path):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("images/a.png", b"a")
        archive.writestr("images/../../../evil.png", b"b")
    with pytest.raises(ValueError, match=r"stay in their folder .*images/\.\./\.\./\.\./evil.png"):
        local_folder(f"zip://::{tmp_path}/evil.zip")
    store.store["/bucket/cells/images/../../up.png"] = store.store[
        next(name for name in store.store if name.endswith(".png"))
    ]
    with pytest.raises(ValueError, match="stay in their folder"):
        local_folder(CELLS)
    assert not list(tmp_path.rglob("evil.png")) and not list(tmp_path.rglob("up.png"))


def test_more_bytes_than_announced(store, tmp_path, monkeypatch):
    listed = MemoryFileSystem.ls

    def understated(self, path, detail=True, **options):
        return [{**entry, "size": 3} for entry in listed(self, path, detail=True, **options)]

    monkeypatch.setattr(MemoryFileSystem, "ls", understated)
    with pytest.raises(OSError, match="memory://bucket/cells: it could not be fetched.*3 "):
        local_images(CELLS)
    assert not list((tmp_path / "cache").rglob("*.png"))


def test_no_room(store, monkeypatch):
    monkeypatch.setattr("keras_deepskip.data.stores.RESERVE", 2**60)
    with pytest.raises(OSError, match=f"room for .* bytes was expected.*{CACHE_VARIABLE}"):
        local_folder(CELLS)


def test_errors_name_the_address(store):
    fsspec.register_implementation("elsewhere", "no_such_package.Store", errtxt="Install it")
    for address, error, words in (
        ("memory://bucket/none", FileNotFoundError, "memory://bucket/none: .*nothing"),
        ("memory://bucket/cells/*.bmp", FileNotFoundError, "images .* were expected"),
        (f"{CELLS}/classes.json", FileNotFoundError, "classes.json: "),
        ("elsewhere://a", ImportError, "elsewhere://a: .*Install it.*pip install"),
        ("unheard://a", OSError, "unheard://a: .*Protocol not known"),
        ("ftp://me:secret@host/a", ValueError, r"ftp://me:\*\*\*@host/a: .*FSSPEC_FTP_PASSWORD"),
    ):
        with pytest.raises(error, match=words) as raised:
            local_images(address)
        assert "secret" not in str(raised.value)
    with pytest.raises(FileNotFoundError, match="(?s)no images and masks.*images/NAME.png"):
        store.pipe("/empty/other/a.bin", b"")
        local_folder("memory://empty")
    with pytest.raises(FileNotFoundError, match="the address of a folder"):
        local_folder(f"{CELLS}/*")


def test_what_is_an_address():
    for text in ("s3://a/b", "gs://a", "zip://*.png::s3://a/b.zip", "simplecache::s3://a"):
        assert is_address(text)
    for text in ("cells", "/data/cells", "C:\\cells", "C:/cells", "a:b", "./s3:/a"):
        assert not is_address(text)
