"""Unfinished, failed and orphaned stages."""

import json
import shutil

import pytest
from filelock import FileLock

from contrabench.doctor.findings import Severity
from contrabench.doctor.folders import finished
from contrabench.doctor.leftovers import (
    check_failed,
    check_links,
    check_studies,
    check_unfinished,
)
from contrabench.files import seal_folder, temporary_sibling
from contrabench.store.failures import write_failure
from contrabench.study.heartbeat import Journal
from contrabench.study.spec import StudySpec
from contrabench.study.status import StudyFile, StudyStage


def findings(store):
    checks = check_unfinished(store), check_failed(store), check_links(store, finished(store))
    found = (*checks, check_studies(store))
    return [finding for check in found for finding in check.findings]


def put_study(store, stages):
    """The file of a study with stages of some kinds and keys."""
    content = StudyFile(
        study="12345678",
        begun=1.0,
        spec=StudySpec(methods=("simclr",), dataset="phantom"),
        stages=tuple(StudyStage(kind=k, key=key, title=f"{k} of mine") for k, key in stages),
    )
    folder = store / "studies" / "12345678"
    folder.mkdir(parents=True)
    (folder / "study.json").write_text(content.model_dump_json())


@pytest.fixture
def half(store):
    """A stage that a killed process left."""
    folder = store / "stages" / "pretrain" / f"{'1' * 16}.work"
    folder.mkdir()
    (folder / "checkpoint.pt").write_bytes(b"0" * 4000)
    folder.with_suffix(".lock").touch()
    return folder


def test_a_healthy_store_has_no_finding(store):
    assert findings(store) == []


def test_a_stage_that_was_left_is_told_with_its_size(store, half):
    (finding,) = findings(store)
    assert finding.severity == Severity.information
    assert "pretrain: 1 unfinished stage, 3.9 KiB" in finding.what
    assert half.name in finding.what
    assert half.is_dir()


def test_a_stage_at_work_is_left_alone(store, half):
    with FileLock(half.with_suffix(".lock")):
        assert findings(store) == []
        assert check_unfinished(store).seen == "1 stage at work"


def test_a_process_that_is_gone_is_told(store):
    key = "2" * 16
    with Journal(store, "finetune", key).open() as journal:
        assert findings(store) == []
        content = json.loads(journal.path.read_text())
    dead = 2**22 + 1  # above the largest process id of Linux
    journal.path.write_text(json.dumps({**content, "pid": dead}))
    (finding,) = findings(store)
    assert finding.severity == Severity.information
    assert "finetune: 1 stage said to be at work" in finding.what
    assert journal.path.name in finding.what


def test_a_temporary_file_is_told(store):
    temporary = temporary_sibling(store / "runs" / "x")
    temporary.write_bytes(b"12345")
    (finding,) = findings(store)
    assert "runs: 1 temporary file, 5 B" in finding.what


def test_a_failed_stage_is_told_with_reason_and_log(store):
    home = store / "stages" / "pretrain"
    write_failure(home, "3" * 16, "the loss is NaN at step 7")
    (home / f"{'3' * 16}.log").write_text("traceback")
    (finding,) = findings(store)
    assert finding.severity == Severity.warning
    assert f"pretrain {'3' * 16} failed: the loss is NaN at step 7" in finding.what
    assert str(home / f"{'3' * 16}.log") in finding.what
    assert "--retry-failed" in finding.do


def test_a_stage_of_no_run_is_an_orphan(store, build):
    folder = build.stage(store, "pretrain", {"stage": "of nobody"})
    (finding,) = findings(store)
    assert finding.severity == Severity.information
    assert "1 pretrain stage of no run, 1 MiB" in finding.what
    assert folder.name in finding.what


def test_a_stage_that_a_study_has_still_to_use_is_none(store, build):
    folder = build.stage(store, "pretrain", {"stage": "of a run to come"})
    put_study(store, [("pretrain", folder.name)])
    assert findings(store) == []


def test_a_study_that_is_not_done_is_told_with_what_it_lacks(store):
    there = min(path.name for path in (store / "runs").iterdir())
    put_study(store, [("runs", there), ("runs", "9" * 16)])
    (finding,) = findings(store)
    assert finding.severity == Severity.information
    assert "study 12345678: 1 of its 2 runs are not there: runs of mine" in finding.what
    assert "bench status" in finding.do


def test_the_stages_of_a_removed_run_are_orphans(store):
    run = next(
        path.parent
        for path in sorted(store.glob("runs/*/run.json"))
        if json.loads(path.read_text())["stages"]["pretrain"]
    )
    stages = json.loads((run / "run.json").read_text())["stages"]
    shutil.rmtree(run)
    found = {finding.what for finding in findings(store)}
    assert len(found) == 3
    for key in (*stages["pretrain"], stages["finetune"], stages["evaluate"]):
        assert any(key in what for what in found)


@pytest.mark.parametrize("kind", ["pretrain", "finetune", "evaluate"])
def test_a_run_whose_stages_are_gone_keeps_its_rows(store, kind):
    stages = store / "stages" / kind
    gone = min(path for path in stages.iterdir() if path.is_dir())
    (run,) = (
        path.parent for path in store.glob("runs/*/run.json") if gone.name in path.read_text()
    )
    shutil.rmtree(gone)
    (finding,) = findings(store)
    assert finding.severity == Severity.information
    assert f"1 run without their stages: {run.name}" in finding.what


def test_a_record_that_cannot_be_read_is_an_error(store):
    run = min(path for path in (store / "runs").iterdir())
    (run / "run.json").write_text("{}")
    seal_folder(run)
    errors = [one for one in findings(store) if one.severity == Severity.error]
    assert [one.what for one in errors] == [f"run {run.name}: its run.json cannot be read"]
