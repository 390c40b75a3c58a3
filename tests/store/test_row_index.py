"""The index: never seen in the result, whatever happens to it or to the runs."""

import json
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from tests.makers.stores import make_rows

from contrabench.files import seal_folder
from contrabench.store import row_index, row_reading, run_files
from contrabench.store.results import read_results
from contrabench.store.rows import SCHEMA, read_rows, write_rows

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
    """Parts of four runs, made from three on."""
    monkeypatch.setattr(row_reading, "INDEX_FROM", 3)
    monkeypatch.setattr(row_reading, "PART_RUNS", 4)
    monkeypatch.setattr(row_index, "PART_RUNS", 4)


@pytest.fixture
def store(tmp_path):
    for key in KEYS:
        put(tmp_path, key, patients=1 + int(key, 16) % 3)
    return tmp_path


def plain(store):
    """All rows by pandas, file after file: what reading means."""
    frames = [pd.read_parquet(path) for path in sorted(store.glob("runs/*/rows.parquet"))]
    return pd.concat(frames, ignore_index=True)


def check(store):
    """Reads, compares with the definition, and returns how many runs were read one by one."""
    read, real = [], run_files.read_run
    row_reading.read_run = lambda folder: read.append(folder) or real(folder)
    try:
        frame, problems = read_rows(store)
    finally:
        row_reading.read_run = real
    assert problems == []
    expected = plain(store)
    assert list(frame.columns) == list(expected.columns) == SCHEMA.names
    for name in frame:
        assert [None if x != x else x for x in frame[name]] == [
            None if x != x or x is None else x for x in expected[name]
        ], name
    check_facts(store)
    return len(read)


def check_facts(store):
    """The facts are those of the records, whichever part they come from."""
    facts = read_results(store).runs
    keys = sorted(path.parent.name for path in store.glob("runs/*/done.json"))
    assert list(facts.index) == keys
    for key in keys:
        record = json.loads((store / "runs" / key / "run.json").read_text())
        assert facts.loc[key, "finetune_seconds"] == record["cost"]["finetune_seconds"]
        assert json.loads(facts.loc[key, "environment"]) == record["environment"]


def parts(store):
    return sorted(path for path in (store / "rows-index").glob("[!.]*") if path.is_dir())


def test_the_second_reading_opens_no_run(store):
    assert check(store) == 10
    assert len(parts(store)) == 3
    assert check(store) == 0


def test_a_small_store_gets_no_index(tmp_path):
    for key in KEYS[:2]:
        put(tmp_path, key)
    assert check(tmp_path) == 2
    assert not (tmp_path / "rows-index").exists()


def test_a_run_that_is_gone_changed_or_new(store):
    check(store)
    shutil.rmtree(store / "runs" / KEYS[0])
    put(store, KEYS[1], dice=0.9)
    put(store, f"{99:016x}")
    assert check(store) == 2
    frame, _ = read_rows(store)
    assert KEYS[0] not in set(frame["run"])
    assert KEYS[0] not in frame["run"].cat.categories
    assert set(frame[frame["run"] == KEYS[1]]["dice"]) == {0.9}


def test_a_changed_marker_alone_sends_back_to_the_rows(store):
    check(store)
    marker = store / "runs" / KEYS[4] / "done.json"
    marker.write_text(marker.read_text() + " ")
    assert check(store) == 1
    marker.unlink()
    frame, (problem,) = read_rows(store)
    assert KEYS[4] not in set(frame["run"])
    assert f"run {KEYS[4]} is left out: its marker is missing" in problem


@pytest.mark.parametrize("spoil", ["bytes", "cut", "lost", "marker", "listing", "swapped"])
def test_a_damaged_part_is_made_again(store, spoil):
    check(store)
    first, second, _ = parts(store)
    rows = first / "rows.parquet"
    if spoil == "bytes":
        data = bytearray(rows.read_bytes())
        data[200] ^= 1
        rows.write_bytes(data)
    elif spoil == "cut":
        rows.write_bytes(rows.read_bytes()[:-9])
    elif spoil == "lost":
        rows.unlink()
    elif spoil == "marker":
        (first / "done.json").write_text("{")
    elif spoil == "listing":
        (first / "runs.parquet").unlink()
    else:
        shutil.copyfile(second / "rows.parquet", rows)
    again = check(store)
    assert again in (2, 4)
    if again == 4:
        assert first not in parts(store)
        assert check(store) == 0


def test_small_parts_are_joined(tmp_path, monkeypatch):
    monkeypatch.setattr(row_index, "PART_RUNS", 100)
    monkeypatch.setattr(row_index, "MANY_PARTS", 3)
    numbers = iter(range(100))
    counts = []
    for _ in range(6):
        for _ in range(3):
            put(tmp_path, f"{next(numbers):016x}")
        assert check(tmp_path) == 3
        assert check(tmp_path) == 0
        counts.append(len(parts(tmp_path)))
    assert counts == [1, 2, 1, 2, 1, 2]


def test_parts_of_which_nothing_is_left_go(store):
    check(store)
    for folder in list((store / "runs").iterdir()):
        put(store, folder.name, dice=0.8)
    old = parts(store)
    assert check(store) == 10
    assert not set(old) & set(parts(store))


def test_another_layout_is_not_read_and_not_removed(store, monkeypatch):
    check(store)
    old = parts(store)
    monkeypatch.setattr(row_index, "_LAYOUT", "other")
    assert check(store) == 10
    assert set(old) < set(parts(store))


def test_a_store_that_cannot_be_written_to_is_read(store):
    (store / "rows-index").write_text("in the way")
    assert check(store) == 10
    assert check(store) == 10


def test_a_full_disk_costs_the_index_and_not_the_reader(store, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(row_index.pq, "write_table", full)
    assert check(store) == 10
    assert parts(store) == []


def test_a_bad_run_stays_out_and_is_named_each_time(store):
    path = store / "runs" / KEYS[2] / "rows.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    for _ in range(2):
        frame, (problem,) = read_rows(store)
        assert KEYS[2] in problem
        assert frame["run"].nunique() == 9


@pytest.mark.parametrize("indexed", [False, True])
def test_a_row_taken_from_a_run_is_told_whether_it_was_indexed_or_not(store, indexed):
    if indexed:
        check(store)
    path = store / "runs" / KEYS[2] / "rows.parquet"
    rows = pq.read_table(path)
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
    assert list(some.columns) == ["dice", "run", "variant", "seed"]
    pd.testing.assert_frame_equal(some, whole[["dice", "run", "variant", "seed"]])


def test_words_are_categories_and_integers_are_narrow(store):
    put(store, f"{99:016x}", seed=2**40)
    put(store, f"{98:016x}", labelled_patients=3)
    frame, _ = read_rows(store)
    assert list(frame["variant"].cat.categories) == sorted(VARIANTS)
    assert frame["seed"].dtype == "int64"
    assert frame["seed"].max() == 2**40
    assert frame["labelled_patients"].dtype == "int32"
    assert frame["fraction"].dtype == "float64"


def test_rows_of_equal_score_as_pandas_groups_them(store):
    for _ in range(2):
        frame, _ = read_rows(store)
        ours = frame.groupby(["variant", "patient"], observed=True)["seed"].sum()
        theirs = plain(store).groupby(["variant", "patient"])["seed"].sum()
        assert {key: int(value) for key, value in ours.items()} == theirs.to_dict()
        assert [str(key[0]) for key in ours.index] == [key[0] for key in theirs.index]


WORKER = """
import sys, time
from pathlib import Path
from contrabench.files import seal_folder
from contrabench.store import row_index, row_reading
from contrabench.store.rows import read_rows

def slow(folder, real=row_reading.read_run):
    time.sleep(float(sys.argv[2]))
    return real(folder)

row_reading.read_run, row_reading.INDEX_FROM = slow, 3
row_reading.PART_RUNS = row_index.PART_RUNS = 4
frame, problems = read_rows(Path(sys.argv[1]))
sys.exit(0 if (frame["run"].nunique(), problems) == (10, []) else 9)
"""


def start(store, pace):
    """A reader in a process of its own, with a pause before each run."""
    return subprocess.Popen([sys.executable, "-c", WORKER, store, str(pace)])


def test_rivals_read_the_same(store):
    workers = [start(store, 0.02) for _ in range(4)]
    assert [worker.wait() for worker in workers] == [0] * 4
    assert check(store) == 0
    assert len(parts(store)) == 3


def test_a_rival_at_work_is_not_waited_for(store):
    (store / "rows-index").mkdir()
    with FileLock(store / "rows-index" / "index.lock"):
        assert check(store) == 10
    assert parts(store) == []


def test_a_killed_reader_leaves_nothing_that_counts(store):
    worker = start(store, 0.05)
    while not parts(store):
        time.sleep(0.005)
    worker.kill()
    assert worker.wait() == -signal.SIGKILL
    stale = store / "rows-index" / ".part.1-ab.tmp"
    stale.mkdir(exist_ok=True)
    left = check(store)
    assert 3 <= left < 10
    assert check(store) == 0
    assert not stale.exists()


def test_the_index_holds_the_schema_of_rows(store):
    check(store)
    for part in parts(store):
        assert pq.read_schema(part / "rows.parquet").names == SCHEMA.names
