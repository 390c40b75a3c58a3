"""Merging: what is taken, known, in conflict or refused; rivals, kills and a full disk."""

import errno
import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from contrabench.errors import DiskFullError, RequestError
from contrabench.exchange import merge as merging
from contrabench.exchange.merge import merge_stores
from contrabench.files import MARKER, damage_of, seal_folder
from contrabench.progress import Silent
from contrabench.statistics.aggregate import patient_scores
from contrabench.store.results import read_rows
from contrabench.store.stages import StageStore


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


def test_prepared_images_stay_behind_and_are_not_left_out(ours, theirs):
    """Their terms may forbid to pass them on."""
    StageStore(theirs, Silent()).run("prepare", {}, lambda work: np.save(work / "image.npy", 1))
    result = merge_stores([theirs], ours)
    assert result.complete
    assert "prepare" not in result.taken
    assert not (ours / "stages" / "prepare").exists()


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


def trained_by(folder, name):
    """Lets the record of a run tell what trained it."""
    record = json.loads((folder / "run.json").read_text())
    runtime = {"device": "cpu", "device_name": name, "threads": 1, "kernels": "AVX2"}
    record["training"] = {"finetune": {"runtime": runtime}}
    (folder / "run.json").write_text(json.dumps(record))
    seal_folder(folder)


def test_a_run_of_another_kind_of_machine_can_stand_beside_ours(tmp_path, lab):
    ours, here = tmp_path / "a", lab.run(tmp_path / "a", 0, dice=0.5)
    there = lab.run(tmp_path / "b", 0, dice=0.75)
    trained_by(here, "one")
    trained_by(there, "one")
    # Of one kind of machine it is a fault of somebody's.
    (item,) = merge_stores([tmp_path / "b"], ours, keep_both=True).left_out
    assert "another kind" not in item.reason
    trained_by(there, "other")
    before = snapshot(here)
    (item,) = merge_stores([tmp_path / "b"], ours).left_out
    assert "other (cpu, 1 thread), AVX2" in item.reason
    assert "--keep-both" in item.reason
    for already in (0, 1):
        result = merge_stores([tmp_path / "b"], ours, keep_both=True)
        assert (result.complete, result.duplicates["runs"]) == (True, already)
    rows, problems = read_rows(ours)
    assert not problems
    assert rows.groupby("run", observed=True)["dice"].mean().sort_values().tolist() == [0.5, 0.75]
    assert patient_scores(rows, ["dice"])["dice"].tolist() == [0.625, 0.625]
    assert snapshot(here) == before
    # It is a run like any other, for an archive and for another store.
    again = merge_stores([ours], tmp_path / "c")
    assert (again.complete, again.taken["runs"]) == (True, 2)


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
    homes = (target / "runs", *target.glob("stages/*"))
    return sum(len(list(home.glob("[!.]" + "?" * 15))) for home in homes)


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
    with pytest.raises(RequestError, match="cannot be written: .* is a file"):
        merge_stores([theirs], tmp_path / "target")
