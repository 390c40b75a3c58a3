"""All runs: as pandas reads them file by file, whatever happens to the copy or to them."""

import json
import os
import shutil
import subprocess
import sys
import time

import pandas as pd
import pyarrow.parquet as pq
import pytest
from tests.makers.stores import make_rows

from contrabench.exchange.reading import archives_of
from contrabench.files import seal_folder
from contrabench.store import results as module
from contrabench.store.results import read_results, read_rows
from contrabench.store.rows import SCHEMA, write_rows
from contrabench.store.runs import FACTS

KEYS = [f"{number:016x}" for number in (7, 3, 11, 2, 5, 13, 1, 8, 4, 6)]
VARIANTS = ("mmgl", "scratch", "simclr")


def put(store, key, dice=0.5, patients=2, **changes):
    folder = store / "runs" / key
    folder.mkdir(parents=True, exist_ok=True)
    number = int(key, 16)
    seed = changes.pop("seed", number)
    rows = make_rows(key, seed, dice, VARIANTS[number % 3], patients, **changes)
    write_rows(folder / "rows.parquet", rows)
    record = {"cost": {"finetune_seconds": number / 4}, "environment": {"torch": str(number % 2)}}
    (folder / "run.json").write_text(json.dumps(record))
    seal_folder(folder)
    return folder


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A copy from three runs on, made of four runs at a time."""
    monkeypatch.setattr(module, "COPY_FROM", 3)
    monkeypatch.setattr(module, "_BATCH", 4)


@pytest.fixture
def store(tmp_path):
    for key in KEYS:
        put(tmp_path, key, patients=1 + int(key, 16) % 3)
    return tmp_path


@pytest.fixture
def check(monkeypatch):
    """Reads, compares with the definition, and gives the number of runs read one by one."""
    read, real = [], module.read_run
    monkeypatch.setattr(module, "read_run", lambda folder: read.append(folder) or real(folder))

    def compare(store):
        read.clear()
        results = read_results(store)
        assert results.problems == ()
        expected = plain(store)
        assert list(results.rows.columns) == list(expected.columns) == SCHEMA.names
        for name in expected:
            assert known(results.rows[name]) == known(expected[name]), name
        assert list(results.runs.index) == sorted(expected["run"].unique())
        for key, facts in results.runs.iterrows():
            record = json.loads((store / "runs" / key / "run.json").read_text())
            assert facts["finetune_seconds"] == record["cost"]["finetune_seconds"]
            assert json.loads(facts["environment"]) == record["environment"]
        return len(read)

    return compare


def plain(store):
    """All rows by pandas, file after file: what reading means."""
    frames = [pd.read_parquet(path) for path in sorted(store.glob("runs/*/rows.parquet"))]
    return pd.concat(frames, ignore_index=True)


def known(column):
    return [None if value != value else value for value in column]


def copies(store):
    return sorted(store.glob("rows-copy-*"))


def test_the_second_reading_opens_no_run(store, check):
    assert (check(store), check(store)) == (10, 0)
    assert len(copies(store)) == 1
    # Nor is the copy taken for an archive that somebody has put there.
    assert archives_of(store) == []


def test_a_small_store_gets_no_copy(tmp_path, check):
    for key in KEYS[:2]:
        put(tmp_path, key)
    assert (check(tmp_path), copies(tmp_path)) == (2, [])


def test_an_empty_store_has_all_columns(tmp_path):
    results = read_results(tmp_path / "nothing")
    assert (list(results.rows.columns), len(results.rows)) == (SCHEMA.names, 0)
    assert (list(results.runs.columns), len(results.runs)) == (FACTS.names[1:], 0)
    assert results.problems == ()


def test_a_run_that_is_gone_changed_or_new(store, check):
    check(store)
    shutil.rmtree(store / "runs" / KEYS[0])
    put(store, KEYS[1], dice=0.9)
    put(store, f"{99:016x}")
    assert (check(store), check(store)) == (2, 2)
    frame, _ = read_rows(store)
    assert KEYS[0] not in frame["run"].cat.categories
    assert set(frame[frame["run"] == KEYS[1]]["dice"]) == {0.9}
    put(store, f"{98:016x}")
    assert (check(store), check(store)) == (3, 0)
    assert len(copies(store)) == 1


def test_a_changed_marker_alone_sends_back_to_the_rows(store, check):
    check(store)
    marker = store / "runs" / KEYS[4] / "done.json"
    marker.write_text(marker.read_text() + " ")
    assert check(store) == 1
    marker.unlink()
    frame, (problem,) = read_rows(store)
    assert KEYS[4] not in set(frame["run"])
    assert f"run {KEYS[4]} is left out: its marker is missing" in problem


@pytest.mark.parametrize("spoil", ["flip", "cut", "text", "empty"])
def test_a_damaged_copy_is_made_again(store, check, spoil):
    check(store)
    (copy,) = copies(store)
    data = bytearray(copy.read_bytes())
    data[len(data) // 2] ^= 1
    spoiled = {"flip": data, "cut": data[:-9], "text": b"copy", "empty": b""}[spoil]
    copy.write_bytes(spoiled)
    assert (check(store), check(store)) == (10, 0)


def test_the_copy_of_another_release_is_not_read(store, check, monkeypatch):
    check(store)
    monkeypatch.setattr(module, "LAYOUT", "other")
    assert check(store) == 10
    assert len(copies(store)) == 2


@pytest.mark.parametrize("kind", ["folder", "full"])
def test_a_store_that_cannot_be_written_to_is_read_without(store, check, monkeypatch, kind):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    if kind == "folder":
        (store / f"rows-copy-{module.LAYOUT}.zip").mkdir()
    else:
        monkeypatch.setattr(module.zipfile.ZipFile, "writestr", full)
    assert (check(store), check(store)) == (10, 10)
    assert not list(store.glob(".*"))


def test_what_a_killed_writer_left_goes_when_it_is_old(store, check):
    old, new = (store / f".rows-copy-{module.LAYOUT}.zip.{name}.tmp" for name in ("1-a", "2-b"))
    old.write_bytes(b"half")
    new.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    check(store)
    assert (old.exists(), new.exists()) == (False, True)


def test_a_row_taken_from_a_run_is_told_with_and_without_a_copy(store, check):
    path = store / "runs" / KEYS[2] / "rows.parquet"
    rows = pq.read_table(path)
    for _ in range(2):
        pq.write_table(rows.slice(1), path, compression="zstd")
        for _ in range(2):
            frame, (problem,) = read_rows(store)
            assert f"run {KEYS[2]} is left out: the file rows.parquet has changed" in problem
            assert KEYS[2] not in set(frame["run"])
            assert frame["run"].nunique() == 9
        pq.write_table(rows, path, compression="zstd")
        check(store)


def test_a_folder_copied_under_another_name_is_not_counted_twice(store):
    shutil.copytree(store / "runs" / KEYS[2], store / "runs" / ("f" * 16))
    frame, (problem,) = read_rows(store)
    assert frame["run"].nunique() == 10
    assert f"those of run {KEYS[2]}" in problem


def test_folders_at_work_are_no_runs(store):
    shutil.copytree(store / "runs" / KEYS[2], store / "runs" / f"{KEYS[2]}.work")
    shutil.copytree(store / "runs" / KEYS[2], store / "runs" / f".{KEYS[2]}.1-ab.tmp")
    frame, problems = read_rows(store)
    assert (frame["run"].nunique(), problems) == (10, [])


def test_some_columns(store):
    whole, _ = read_rows(store)
    some, _ = read_rows(store, ["dice", "run", "variant", "seed"])
    pd.testing.assert_frame_equal(some, whole[["dice", "run", "variant", "seed"]])


def test_words_are_categories_and_integers_are_narrow(store):
    put(store, f"{99:016x}", seed=2**40)
    put(store, f"{98:016x}", labelled_patients=3)
    for _ in range(2):
        frame, _ = read_rows(store)
        assert list(frame["variant"].cat.categories) == sorted(VARIANTS)
        assert frame["seed"].dtype == "int64"
        assert frame["seed"].max() == 2**40
        assert frame["labelled_patients"].dtype == "int32"
        assert frame["fraction"].dtype == "float64"
        ours = frame.groupby(["variant", "patient"], observed=True)["seed"].sum()
        theirs = plain(store).groupby(["variant", "patient"])["seed"].sum()
        assert [(str(a), str(b)) for a, b in ours.index] == list(theirs.index)
        assert ours.tolist() == theirs.tolist()


WORKER = """
import sys
from pathlib import Path
from contrabench.store import results
results.COPY_FROM, results._BATCH = 3, 4
frame, problems = results.read_rows(Path(sys.argv[1]))
sys.exit(0 if (frame["run"].nunique(), problems, "torch" in sys.modules) == (10, [], False) else 9)
"""


def test_rivals_read_the_same_without_torch(store, check):
    workers = [subprocess.Popen([sys.executable, "-c", WORKER, store]) for _ in range(4)]
    assert [worker.wait() for worker in workers] == [0] * 4
    assert check(store) == 0
    assert len(copies(store)) == 1
