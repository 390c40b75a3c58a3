"""Files: all or nothing, on disk before they have their names."""

import errno
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from contrabench import files
from contrabench.errors import RequestError
from contrabench.files import (
    expanded,
    is_disk_full,
    is_temporary,
    replacing,
    save_array,
    temporary_sibling,
    write_text,
)


def test_text_is_written_with_its_folder(tmp_path):
    path = tmp_path / "a" / "b.json"
    write_text(path, "ä")
    assert path.read_bytes() == "ä".encode()
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("step", ["write", "fsync", "rename"])
def test_a_full_disk_leaves_what_was_there_and_nothing_else(tmp_path, monkeypatch, step):
    path = tmp_path / "b.json"
    write_text(path, "before")

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        if step == "fsync":
            patch.setattr(files.os, "fsync", full)
        elif step == "rename":
            patch.setattr(files.Path, "replace", full)
        with replacing(path) as temporary:
            temporary.write_text("half")
            if step == "write":
                full()
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == "before"


def test_the_content_is_on_disk_before_the_name_and_the_name_after(tmp_path, monkeypatch):
    """Order of system calls: fsync of the file, rename, fsync of the folder."""
    calls, fsync, replace = [], os.fsync, files.Path.replace

    def note_fsync(handle):
        calls.append(("fsync", str(Path(f"/proc/self/fd/{handle}").readlink())))
        fsync(handle)

    def note_replace(path, target):
        calls.append(("rename", str(path)))
        return replace(path, target)

    monkeypatch.setattr(files.os, "fsync", note_fsync)
    monkeypatch.setattr(files.Path, "replace", note_replace)
    write_text(tmp_path / "b.json", "x")
    (first, temporary), second, third = calls
    assert (first, second) == ("fsync", ("rename", temporary))
    assert third == ("fsync", str(tmp_path))


def test_temporary_names_are_told_from_others(tmp_path):
    first, second = (temporary_sibling(tmp_path / "a.json") for _ in range(2))
    assert first != second
    assert is_temporary(first)
    for name in ("a.json", ".a.json", "a.tmp"):
        assert not is_temporary(tmp_path / name)


def test_a_folder_that_is_not_there_yet_will_lie_in_the_nearest_one_that_is(tmp_path):
    assert files.nearest_there(tmp_path / "a" / "b") == files.nearest_there(tmp_path) == tmp_path


@pytest.mark.parametrize("size", [3, 10**5])
def test_an_array_that_does_not_fit_is_told_with_the_number_of_the_error(tmp_path, size):
    """NumPy's own way drops the end of a small array without a word, with no number of a large."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    array = np.arange(size)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
        with pytest.raises(OSError, match="File too large") as raised:
            save_array(tmp_path / "a.npy", array)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert raised.value.errno == errno.EFBIG
    assert not list(tmp_path.iterdir())
    save_array(tmp_path / "a.npy", array)
    assert np.array_equal(np.load(tmp_path / "a.npy"), array)


def test_a_full_disk_is_known_by_what_it_came_of():
    error = RuntimeError("unexpected pos 64 vs 0")
    error.__context__ = OSError(errno.ENOSPC, "x")
    assert is_disk_full(error)
    assert not is_disk_full(RuntimeError("unexpected pos 64 vs 0"))


@pytest.mark.parametrize(
    ("given", "base", "path"),
    [
        ("~", None, "/home/me"),
        ("~/runs", None, "/home/me/runs"),
        ("~/runs", Path("/etc"), "/home/me/runs"),
        ("exp:1", Path("/etc"), "/etc/exp:1"),
        ("s3://bucket/x", Path("/etc"), "/etc/s3:/bucket/x"),
        ("a~b", Path("/etc"), "/etc/a~b"),
        ("/a/../b", None, "/a/../b"),
    ],
)
def test_a_path_is_expanded_and_made_absolute(monkeypatch, given, base, path):
    monkeypatch.setenv("HOME", "/home/me")
    assert str(expanded(given, base)) == path


@pytest.mark.parametrize("given", ["", "~nosuchuser", "~nosuchuser/x", "a\nb", "a\0b", "\x9b"])
def test_what_is_no_path_is_refused(given):
    with pytest.raises(RequestError):
        expanded(given)
