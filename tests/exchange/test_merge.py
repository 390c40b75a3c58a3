"""Merging: what is taken, known, in conflict or refused; rivals, kills and a full disk."""

import errno
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from contrabench.errors import DiskFullError, RequestError, RunError
from contrabench.exchange import merge as merging
from contrabench.exchange import vetting
from contrabench.exchange.merge import merge_stores
from contrabench.files import MARKER, damage_of, seal_folder
from contrabench.store.results import read_rows


def snapshot(root):
    """Every file of a store but locks, with its bytes."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


@pytest.fixture
def ours(tmp_path, lab):
    lab.run(tmp_path / "ours", 0)
    return tmp_path / "ours"


@pytest.fixture
def theirs(tmp_path, lab):
    lab.run(tmp_path / "theirs", 0)
    lab.run(tmp_path / "theirs", 1)
    return tmp_path / "theirs"


def test_two_labs_become_one(ours, theirs, tmp_path, lab):
    before = snapshot(theirs)
    result = merge_stores([theirs], ours)
    assert result.complete
    kinds = ("pretrain", "finetune", "evaluate", "runs")
    assert result.taken == dict.fromkeys(kinds, 1) | {"splits": 2}
    assert result.duplicates == dict.fromkeys(kinds, 1) | {"splits": 2}
    lab.run(tmp_path / "one", 0)
    lab.run(tmp_path / "one", 1)
    assert snapshot(ours) == snapshot(tmp_path / "one") == before == snapshot(theirs)
    again = merge_stores([theirs], ours)
    assert (again.complete, again.taken) == (True, {})


def test_a_stage_that_was_taken_in_is_served(ours, theirs, lab):
    merge_stores([theirs], ours)
    before = snapshot(ours)
    marker = lab.stage(ours, "pretrain", 1, weight=7.0) / MARKER
    assert snapshot(ours) == before
    assert marker.relative_to(ours).as_posix() in before


def test_rows_alone(ours, theirs):
    result = merge_stores([theirs], ours, rows_only=True)
    assert result.taken == {"runs": 1, "splits": 2}
    assert len(list((ours / "stages" / "pretrain").glob("*[0-9a-f]"))) == 1


def test_a_dry_run_says_the_same_and_writes_nothing(ours, theirs, tmp_path):
    before = snapshot(ours)
    promised = merge_stores([theirs], ours, dry_run=True)
    assert snapshot(ours) == before
    assert promised.as_dict() == merge_stores([theirs], ours).as_dict()
    merge_stores([theirs], tmp_path / "new", dry_run=True)
    assert not (tmp_path / "new").exists()


def test_equal_rows_are_duplicates_whatever_the_record_and_the_encoding(tmp_path, lab):
    first = lab.run(tmp_path / "a", 0, wall=1.0)
    other = lab.run(tmp_path / "b", 0, wall=99.0)
    result = merge_stores([tmp_path / "b"], tmp_path / "a")
    assert (result.complete, result.duplicates["runs"]) == (True, 1)
    pq.write_table(pq.read_table(other / "rows.parquet"), other / "rows.parquet")
    seal_folder(other)
    assert (other / "rows.parquet").read_bytes() != (first / "rows.parquet").read_bytes()
    result = merge_stores([tmp_path / "b"], tmp_path / "a")
    assert (result.complete, result.duplicates["runs"]) == (True, 1)


def test_other_rows_under_the_same_key_are_a_conflict_and_ours_stay(tmp_path, lab):
    first = lab.run(tmp_path / "a", 0, dice=0.5)
    other = lab.run(tmp_path / "b", 0, dice=0.5 + 1e-12)
    lab.run(tmp_path / "b", 1)
    before = snapshot(first)
    result = merge_stores([tmp_path / "b"], tmp_path / "a")
    (item,) = result.left_out
    assert (item.verdict, item.folder) == ("conflict", other)
    assert str(first) in item.reason
    assert snapshot(first) == before
    assert result.taken["runs"] == 1


def test_the_last_bits_of_weights_are_no_conflict(tmp_path, lab):
    kept = lab.stage(tmp_path / "a", "pretrain", 0, weight=1.0)
    lab.stage(tmp_path / "b", "pretrain", 0, weight=1.0000001)
    before = snapshot(kept)
    result = merge_stores([tmp_path / "b"], tmp_path / "a")
    assert (result.complete, result.duplicates) == (True, {"pretrain": 1})
    assert snapshot(kept) == before


@pytest.mark.parametrize("kind", ["pretrain", "runs"])
def test_what_is_damaged_here_is_replaced(ours, theirs, lab, kind):
    folder = lab.stage(ours, "pretrain", 0) if kind == "pretrain" else lab.run(ours, 0)
    (folder / "spec.json").write_text("{}")
    result = merge_stores([theirs], ours)
    assert (result.complete, result.replaced) == (True, {kind: 1})
    assert damage_of(folder) is None
    assert not list(folder.parent.glob(".*"))


def test_a_failure_and_half_done_work_give_way_to_a_finished_stage(ours, theirs, lab):
    key = lab.run(theirs, 1).name
    (ours / "runs" / f"{key}.work").mkdir()
    (ours / "runs" / f"{key}.failed.json").write_text('{"reason": "no luck"}')
    merge_stores([theirs], ours)
    left = {path.name for path in (ours / "runs").glob(f"{key}*")}
    assert left == {key, f"{key}.lock"}


# -- refusals ------------------------------------------------------------------------


def reseal(folder):
    (folder / MARKER).unlink()
    seal_folder(folder)


def mark(folder, **names):
    content = json.loads((folder / MARKER).read_text())
    content["files"] |= names
    (folder / MARKER).write_text(json.dumps(content))


def changed_bytes(run):
    (run / "run.json").write_text("{}")
    return "has changed"


def lost_file(run):
    (run / "rows.parquet").unlink()
    return "rows.parquet is missing"


def no_marker(run):
    (run / MARKER).unlink()
    return "done.json is missing"


def deep_marker(run):
    (run / MARKER).write_text('{"files":' + "[" * 200_000)
    return "marker is unreadable"


def escaping_marker(run):
    mark(run, **{"../../../../etc/passwd": "0" * 64})
    return "outside the folder"


def absolute_marker(run):
    mark(run, **{"/etc/passwd": "0" * 64})
    return "outside the folder"


def marker_of_a_subfolder(run):
    (run / "more").mkdir()
    (run / "more" / "x.json").write_text("{}")
    reseal(run)
    return "no file of a stage is called"


def marker_of_a_backslash(run):
    mark(run, **{"..\\..\\x.json": "0" * 64})
    return "no file of a stage is called"


def linked_file(run):
    target = run.parent / "elsewhere.json"
    (run / "run.json").rename(target)
    (run / "run.json").symlink_to(target)
    return "run.json is a link"


def linked_marker(run):
    target = run.parent / "elsewhere.json"
    (run / MARKER).rename(target)
    (run / MARKER).symlink_to(target)
    return "done.json is a link"


def linked_folder(run):
    away = run.parent.parent / "away"
    run.rename(away)
    run.symlink_to(away)
    return "it is a link"


def pipe(run):
    (run / "run.json").unlink()
    os.mkfifo(run / "run.json")
    return "no ordinary file"


def plain_pickle(run):
    (run / "extra.pkl").write_bytes(pickle.dumps({}))
    reseal(run)
    return "files of that kind are never taken in"


def other_parquet(run):
    pq.write_table(pa.table({"x": [1]}), run / "more.parquet")
    reseal(run)
    return "files of that kind are never taken in"


def pickle_in_an_archive(run):
    np.savez(run / "extra.npz", x=np.array([{}], dtype=object))
    reseal(run)
    return "holds a pickle"


def pickle_beside_an_array(run):
    with zipfile.ZipFile(run / "extra.npz", "w") as archive:
        archive.writestr("data.pkl", pickle.dumps({}))
    reseal(run)
    return "no archive of arrays"


def no_tensors(run):
    (run / "weights.safetensors").write_bytes(b"\xff" * 64)
    reseal(run)
    return "no safetensors file"


def other_specification(run):
    spec = json.loads((run / "spec.json").read_text())
    (run / "spec.json").write_text(json.dumps(spec | {"seed": 12345}))
    reseal(run)
    return "its spec.json gives the runs key"


def specification_with_a_kind(run):
    spec = json.loads((run / "spec.json").read_text())
    (run / "spec.json").write_text(json.dumps(spec | {"kind": "runs"}))
    reseal(run)
    return "no specification of a stage"


def infinite_specification(run):
    (run / "spec.json").write_text('{"x": Infinity}')
    reseal(run)
    return "no specification of a stage"


def no_specification(run):
    (run / "spec.json").unlink()
    reseal(run)
    return "it has no spec.json"


def no_record(run):
    (run / "run.json").unlink()
    reseal(run)
    return "it has no run.json"


def record_of_another(run):
    (run / "run.json").write_text('{"run": "0000000000000000"}')
    reseal(run)
    return "record of another run"


def broken_record(run):
    (run / "run.json").write_text("{")
    reseal(run)
    return "run.json is no JSON"


def change_column(run, name, value):
    table = pq.read_table(run / "rows.parquet")
    place = table.column_names.index(name)
    column = pa.array([value] * len(table), table.schema.field(name).type)
    pq.write_table(table.set_column(place, table.schema.field(name), column), run / "rows.parquet")
    reseal(run)


def rows_of_another(run):
    change_column(run, "run", "0" * 16)
    return "its rows are those of run 0000000000000000"


def rows_of_another_protocol(run):
    change_column(run, "protocol", "0" * 16)
    return "under another protocol"


def rows_without_dice(run):
    change_column(run, "dice", None)
    return "no Dice"


def no_rows(run):
    pq.write_table(pq.read_table(run / "rows.parquet").slice(0, 0), run / "rows.parquet")
    reseal(run)
    return "0 rows"


def too_many_rows(run):
    table = pq.read_table(run / "rows.parquet")
    pq.write_table(table.take(pa.array(np.zeros(501, int))), run / "rows.parquet")
    reseal(run)
    return "501 rows"


def broken_rows(run):
    data = (run / "rows.parquet").read_bytes()
    (run / "rows.parquet").write_bytes(data[:100] + data[-100:])
    reseal(run)
    return "rows.parquet cannot be read"


def strange_name(run):
    run.rename(run.with_name("backup"))
    return "its name is not that of a stage"


def renamed(run):
    run.rename(run.with_name("0" * 16))
    return "its spec.json gives the runs key"


FAULTS = [
    changed_bytes, lost_file, no_marker, deep_marker, escaping_marker, absolute_marker,
    marker_of_a_subfolder, marker_of_a_backslash, linked_file, linked_marker, linked_folder, pipe,
    plain_pickle, other_parquet, pickle_in_an_archive, pickle_beside_an_array, no_tensors,
    other_specification, specification_with_a_kind, infinite_specification, no_specification,
    no_record, record_of_another, broken_record, rows_of_another, rows_of_another_protocol,
    rows_without_dice, no_rows, too_many_rows, broken_rows, strange_name, renamed,
]  # fmt: skip


@pytest.mark.parametrize("plant", FAULTS, ids=lambda plant: plant.__name__)
def test_a_planted_fault_is_refused_by_name_and_the_rest_is_merged(
    plant, tmp_path, lab, monkeypatch
):
    monkeypatch.setattr(vetting, "MOST_ROWS", 500)
    source, target = tmp_path / "source", tmp_path / "target"
    bad = lab.run(source, 0, stages=False)
    good = lab.run(source, 1, stages=False)
    reason = plant(bad)
    promised = merge_stores([source], target, dry_run=True)
    result = merge_stores([source], target)
    assert result.as_dict() == promised.as_dict()
    (item,) = result.left_out
    assert item.verdict == "refused"
    assert item.folder.parent == bad.parent
    assert reason in item.reason
    assert "\n" not in item.reason
    assert result.taken == {"runs": 1, "splits": 4}
    kept = {path.name for path in (target / "runs").iterdir() if path.suffix != ".lock"}
    assert kept == {good.name}
    assert read_rows(target)[0]["seed"].tolist() == [1, 1]


@pytest.mark.parametrize("name", ["runs", "stages", "splits"])
def test_a_linked_folder_of_folders_is_refused(ours, theirs, name, tmp_path):
    (theirs / name).rename(tmp_path / "away")
    (theirs / name).symlink_to(tmp_path / "away")
    result = merge_stores([theirs], ours)
    assert {item.folder.relative_to(theirs).parts[0] for item in result.left_out} == {name}
    assert all("it is a link" in item.reason for item in result.left_out)


@pytest.mark.parametrize("spoil", ["content", "name", "json", "link"])
def test_a_manifest_that_is_not_what_its_name_says_is_refused(ours, theirs, spoil, tmp_path):
    path = next((theirs / "splits").glob("split-*"))
    if spoil == "content":
        path.write_text(path.read_text().replace('"b"', '"x"'))
    elif spoil == "name":
        path = path.rename(path.with_name("split-0000000000000000.json"))
    elif spoil == "json":
        path.write_text('{"fold": 0}')
    else:
        path.rename(tmp_path / "away.json")
        path.symlink_to(tmp_path / "away.json")
    result = merge_stores([theirs], ours)
    (item,) = result.left_out
    assert (item.verdict, item.folder) == ("refused", path)


def test_unfinished_work_is_not_looked_at(ours, theirs):
    (theirs / "runs" / f"{'a' * 16}.work").mkdir()
    (theirs / "runs" / f".{'b' * 16}.12-ab.tmp").mkdir()
    (theirs / "runs" / "notes").write_text("a file")
    assert merge_stores([theirs], ours).complete


def test_wrong_requests(ours, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError, match="is no store"):
        merge_stores([tmp_path / "empty"], ours)
    with pytest.raises(RequestError, match="there is no folder or file .*nowhere"):
        merge_stores([tmp_path / "nowhere"], ours)
    with pytest.raises(RequestError, match="into itself"):
        merge_stores([ours], ours / "runs" / "..")


# -- rivals, kills, a full disk ------------------------------------------------------


WORKER = """
import sys, time
from pathlib import Path
from contrabench.exchange import merge as merging

def slow(folder, kind, real=merging.unsound):
    time.sleep(float(sys.argv[3]))
    return real(folder, kind)

merging.unsound = slow
sys.exit(0 if merging.merge_stores([Path(sys.argv[1])], Path(sys.argv[2])).complete else 9)
"""


def start(source, target, pace):
    """A merge in a process of its own, with a pause before each folder."""
    return subprocess.Popen([sys.executable, "-c", WORKER, source, target, str(pace)])


def finished(target):
    return sum(len(list(target.glob(f"{depth}/done.json"))) for depth in ("*/*", "*/*/*"))


@pytest.fixture
def many(tmp_path, lab):
    for seed in range(12):
        lab.run(tmp_path / "many", seed, stages=seed < 3)
    return tmp_path / "many"


def test_rivals_merge_into_one_store(many, tmp_path, lab):
    for seed in range(6, 18):
        lab.run(tmp_path / "more", seed, stages=False)
    target = tmp_path / "target"
    workers = [start(source, target, 0.01) for source in (many, tmp_path / "more", many)]
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    assert sorted(set(read_rows(target)[0]["seed"])) == list(range(18))
    assert snapshot(target) == snapshot(many) | snapshot(tmp_path / "more")


def test_a_killed_merge_is_continued(many, tmp_path):
    target = tmp_path / "target"
    kills = 0
    for wanted in range(1, 18, 4):
        worker = start(many, target, 0.03)
        while worker.poll() is None and finished(target) < wanted:
            time.sleep(0.002)
        worker.kill()
        kills += worker.wait() == -signal.SIGKILL
        for folder in (*target.glob("runs/*"), *target.glob("stages/*/*")):
            if folder.is_dir() and "." not in folder.name:
                assert damage_of(folder) is None
    assert kills == 5
    assert merge_stores([many], target).complete
    assert snapshot(target) == snapshot(many)


def test_a_stage_that_is_being_made_is_left_to_its_maker(ours, theirs, lab, monkeypatch):
    key = lab.run(theirs, 1).name
    with FileLock(ours / "runs" / f"{key}.lock"):
        (item,) = merge_stores([theirs], ours).left_out
        assert (item.verdict, item.folder.name) == ("busy", key)
    assert merge_stores([theirs], ours).taken == {"runs": 1}


def test_a_full_disk_ends_the_merge_and_leaves_nothing_half_named(ours, theirs, monkeypatch):
    before, copies, real = snapshot(ours), [], shutil.copyfile

    def fill(source, target, **options):
        copies.append(target)
        if len(copies) == 6:
            target.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(source, target, **options)

    monkeypatch.setattr(merging.shutil, "copyfile", fill)
    with pytest.raises(DiskFullError, match="is full"):
        merge_stores([theirs], ours)
    after = snapshot(ours)
    assert before.items() <= after.items()
    assert all(damage_of((ours / name).parent) is None for name in after.keys() - before.keys())
    monkeypatch.undo()
    assert merge_stores([theirs], ours).complete


def test_a_target_that_cannot_be_written_to_is_said_in_one_line(theirs, tmp_path):
    (tmp_path / "target").write_text("a file")
    with pytest.raises(RunError, match="cannot write to"):
        merge_stores([theirs], tmp_path / "target")
