"""Files: all or nothing, on disk before they have their names."""

import errno
import os
from pathlib import Path

import pytest

from contrabench import files
from contrabench.files import is_temporary, replacing, temporary_sibling, write_text


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
