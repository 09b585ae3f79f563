"""Files are whole or not there, and an error names the file that could not be written."""

import errno
import os
import resource

import pytest

from keras_deepskip import _files
from tests.tiny import leftovers

pytestmark = pytest.mark.one_backend


def test_a_file_takes_its_place_when_the_block_ends_well(tmp_path):
    path = tmp_path / "new" / "figures.json"
    with _files.replacing(path) as temporary:
        assert temporary.suffix == ".json" and temporary.parent == path.parent
        temporary.write_text("1")
        assert not path.exists()
    assert path.read_text() == "1"
    assert not leftovers(tmp_path)


def test_a_new_file_has_the_usual_permissions(tmp_path):
    before = os.umask(0o027)
    try:
        _files.write_text(tmp_path / "a.txt", "")
    finally:
        os.umask(before)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    "error", [ValueError("no"), OSError(errno.ENOSPC, "full"), KeyboardInterrupt()]
)
def test_a_block_that_fails_changes_nothing(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(type(error)), _files.replacing(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert not leftovers(tmp_path)


def test_a_full_disk_is_named_with_the_file_and_what_to_do(tmp_path):
    path = tmp_path / "a.txt"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # the system refuses larger files
    try:
        with pytest.raises(
            OSError, match="could not write .*a.txt .*Free space or choose"
        ) as caught:
            _files.write_text(path, "x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="could not write .*file/a.txt"):
        _files.write_text(tmp_path / "file" / "a.txt", "")


def test_an_error_without_a_number_reads_well(tmp_path):
    with pytest.raises(OSError) as caught, _files.replacing(tmp_path / "a.txt"):
        raise OSError("the writer gave up")
    assert "None" not in str(caught.value)
    assert "could not write" in str(caught.value) and "the writer gave up" in str(caught.value)


def test_only_the_outermost_name_is_told(tmp_path):
    with pytest.raises(OSError) as caught, _files.replacing_folder(tmp_path / "set") as folder:
        with _files.replacing(folder / "inner.txt"):
            raise OSError(errno.ENOSPC, "No space left on device")
    text = str(caught.value)
    assert (
        text.count("could not write") == 1 and "inner" not in text and str(tmp_path / "set") in text
    )


def test_a_folder_replaces_an_older_one_whole(tmp_path):
    path = tmp_path / "set"
    path.mkdir()
    (path / "old").write_text("")
    with _files.replacing_folder(path) as temporary:
        (temporary / "new").write_text("")
        assert (path / "old").exists()
    assert [item.name for item in path.iterdir()] == ["new"]
    assert not leftovers(tmp_path)


def test_a_folder_stays_if_the_new_one_fails(tmp_path, monkeypatch):
    path = tmp_path / "set"
    path.mkdir()
    (path / "old").write_text("")
    with pytest.raises(ValueError), _files.replacing_folder(path) as temporary:
        (temporary / "new").write_text("")
        raise ValueError
    assert [item.name for item in path.iterdir()] == ["old"]

    # ... also if it is the very last step that fails
    replace, calls = os.replace, []

    def fails_second(source, target):
        calls.append(target)
        if len(calls) == 2:
            raise OSError(errno.EIO, "Input/output error")
        replace(source, target)

    monkeypatch.setattr(_files.os, "replace", fails_second)
    with pytest.raises(OSError, match="set .*Input/output"), _files.replacing_folder(path):
        pass
    assert [item.name for item in path.iterdir()] == ["old"]
    assert not leftovers(tmp_path)


def test_a_folder_does_not_replace_a_file(tmp_path):
    (tmp_path / "set").write_text("text")
    with pytest.raises(OSError, match="set is a file"), _files.replacing_folder(tmp_path / "set"):
        pass
    assert (tmp_path / "set").read_text() == "text"


def test_what_a_kill_has_left_is_found_and_nothing_else(tmp_path):
    left = [_leave(_files.replacing, tmp_path / "a.txt")]
    left += [_leave(_files.replacing_folder, tmp_path / "set")]
    for name in ("a.txt", ".hidden", ".a.txt", "partial-.txt"):
        (tmp_path / name).write_text("")
    assert all(path.exists() for path in left)
    _files.remove_leftovers(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        ".a.txt",
        ".hidden",
        "a.txt",
        "partial-.txt",
    ]


def _leave(writer, path):
    """The temporary path as a kill would leave it: made, and the block never ended."""
    block = writer(path)
    temporary = block.__enter__()
    _held.append(block)  # a generator that is collected would clean up
    return temporary


_held = []


def test_json_is_readable_and_knows_no_nan(tmp_path):
    _files.write_json(tmp_path / "a.json", {"b": [1, None]})
    assert _files.read_json(tmp_path / "a.json", "figures") == {"b": [1, None]}
    with pytest.raises(ValueError, match="JSON"):
        _files.write_json(tmp_path / "a.json", float("nan"))
    assert _files.read_json(tmp_path / "a.json", "figures") == {"b": [1, None]}


def test_what_is_no_json_is_named_with_what_was_expected(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ValueError, match="a.json: expected figures. Received: no valid JSON"):
        _files.read_json(tmp_path / "a.json", "figures")
    with pytest.raises(FileNotFoundError, match="b.json: expected figures here"):
        _files.read_json(tmp_path / "b.json", "figures")
