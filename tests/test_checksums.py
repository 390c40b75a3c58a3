"""Sealed folders: whole or named as damaged, and on disk before they say so."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from contrabench import files
from contrabench.files import MARKER, damage_of, seal_folder, sealed_files


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "sub" / "b.bin").write_bytes(bytes(1000))
    return tmp_path


def test_the_marker_names_every_file_with_its_checksum(folder):
    seal_folder(folder)
    assert json.loads((folder / MARKER).read_text())["files"] == {
        "a.json": hashlib.sha256(b"{}").hexdigest(),
        "sub/b.bin": hashlib.sha256(bytes(1000)).hexdigest(),
    }
    assert damage_of(folder) is None


def test_everything_is_on_disk_before_the_marker_is(folder, monkeypatch):
    synced, fsync = [], os.fsync

    def note(handle):
        path = Path(f"/proc/self/fd/{handle}").readlink()
        synced.append(os.path.relpath(path, folder))
        fsync(handle)

    monkeypatch.setattr(files.os, "fsync", note)
    seal_folder(folder)
    (marker,) = [n for n, name in enumerate(synced) if name.startswith(f".{MARKER}")]
    assert set(synced[:marker]) == {"a.json", "sub", "sub/b.bin", "."}
    assert synced[marker + 1 :] == ["."]


def test_what_a_killed_writer_left_is_not_sealed(folder):
    (folder / ".a.json.123-abcd.tmp").write_text("half")
    seal_folder(folder)
    assert set(sealed_files(folder)) == {"a.json", "sub/b.bin"}
    assert not (folder / ".a.json.123-abcd.tmp").exists()


def test_each_kind_of_damage_is_named(folder):
    seal_folder(folder)
    (folder / "a.json").write_text("[]")
    assert "a.json has changed" in damage_of(folder)
    (folder / "a.json").unlink()
    assert "a.json is missing" in damage_of(folder)
    (folder / MARKER).unlink()
    assert "marker is missing" in damage_of(folder)


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "{}", '{"files": []}', '{"files": {"a.json": 1}}',
        '{"files": {"../x": "0"}}', '{"files": {"/etc/passwd": "0"}}',
        '{"files": {"sub/../../x": "0"}}', '{"files": {"a\\u0000": "0"}}', "[" * 200_000,
    ],
    ids=lambda text: text[:30],
)  # fmt: skip
def test_a_marker_that_cannot_be_believed(folder, text):
    (folder / MARKER).write_text(text)
    assert sealed_files(folder) is None
    assert "marker" in damage_of(folder)
