"""What a path stands for: a store, an archive that is looked through once, a folder of archives."""

import shutil

import pytest
from pandas.testing import assert_frame_equal

from contrabench.exchange import reading
from contrabench.exchange.archive import ArchiveError, pack
from contrabench.exchange.merge import merge_stores
from contrabench.exchange.reading import results_at
from contrabench.progress import Silent
from contrabench.store.results import read_results


@pytest.fixture
def archive(tmp_path, lab):
    lab.run(tmp_path / "lab", 0, stages=False)
    lab.run(tmp_path / "lab", 1, stages=False)
    pack(tmp_path / "lab", tmp_path / "lab.zip")
    return tmp_path / "lab.zip"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "contrabench"


@pytest.fixture
def opened(monkeypatch):
    """The archives that were unpacked."""
    found, real = [], reading.unpacked
    monkeypatch.setattr(reading, "unpacked", lambda path: found.append(path) or real(path))
    return found


def check(path, store):
    ours, theirs = results_at(path), read_results(store)
    assert_frame_equal(ours.rows, theirs.rows)
    assert_frame_equal(ours.runs, theirs.runs)
    assert ours.problems == theirs.problems == ()


def test_an_archive_is_looked_through_once_by_content(archive, tmp_path, cache, opened, lab):
    for path in (archive, archive, shutil.copy(archive, tmp_path / "copy.zip")):
        check(path, tmp_path / "lab")
    assert opened == [archive]
    lab.run(tmp_path / "lab", 2, stages=False)
    pack(tmp_path / "lab", archive)
    check(archive, tmp_path / "lab")
    assert opened == [archive, archive]
    (one, other) = cache.iterdir()
    one.write_bytes(other.read_bytes()[:-5])
    other.unlink()
    check(archive, tmp_path / "lab")
    assert len(opened) == 3


@pytest.mark.parametrize("place", ["a file", "no home"])
def test_without_a_cache_it_is_looked_through_each_time(
    archive, tmp_path, cache, opened, place, monkeypatch
):
    cache.parent.write_text("in the way")
    if place == "no home":
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(reading.Path, "expanduser", _homeless)
    check(archive, tmp_path / "lab")
    check(archive, tmp_path / "lab")
    assert len(opened) == 2


def _homeless(path):
    raise RuntimeError("no home")


def test_what_is_refused_is_never_kept(archive, cache):
    archive.write_bytes(archive.read_bytes()[:-40])
    with pytest.raises(ArchiveError):
        results_at(archive)
    assert not cache.exists()


def test_a_folder_of_archives_is_read_as_one_store(archive, tmp_path, lab):
    run = lab.run(tmp_path / "more", 1, stages=False, dice=0.25)
    lab.run(tmp_path / "more", 2, stages=False)
    conflict = tmp_path / "z.zip"
    pack(tmp_path / "more", conflict)
    shutil.copy(archive, tmp_path / "y.zip")
    board = results_at(tmp_path)
    assert sorted(board.rows["seed"]) == [0, 0, 1, 1, 2, 2]
    assert set(board.rows["dice"]) == {0.5}
    assert board.rows["run"].is_monotonic_increasing
    assert list(board.runs.index) == sorted(set(board.rows["run"]))
    assert board.problems == (
        f"{conflict}/runs/{run.name} is left out: an archive before it has other rows of this "
        "run, and these are kept",
    )


class Told(Silent):
    """Keeps the lines that work tells."""

    def __init__(self):
        self.lines = []

    def line(self, text):
        self.lines.append(text)


def test_archives_in_the_folder_of_a_store_are_not_read_and_named(archive, tmp_path):
    lab, told = tmp_path / "lab", Told()
    for number in range(7):
        shutil.copy(archive, lab / f"copy{number}.zip")
    (line,) = results_at(lab).problems
    assert "copy0.zip, copy1.zip, copy2.zip, copy3.zip, copy4.zip and 2 more; name them" in line
    assert merge_stores([lab], tmp_path / "target", reporter=told).taken["runs"] == 2
    assert told.lines == [f"note: {line}"]


def test_a_store_and_what_is_not_there_are_read_as_they_are(archive, tmp_path):
    check(tmp_path / "lab", tmp_path / "lab")
    assert results_at(tmp_path / "nowhere").rows.empty
