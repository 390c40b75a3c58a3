"""Damaged, renamed and foreign folders; unfinished, failed and orphaned stages."""

import json
import shutil

import pytest
from filelock import FileLock
from tests.doctor.looking import findings_of, look_at

from contrabench.doctor.store import (
    check_failed,
    check_files,
    check_links,
    check_studies,
    check_unfinished,
)
from contrabench.files import MARKER, seal_folder, temporary_sibling
from contrabench.progress import Silent
from contrabench.store.failures import write_failure
from contrabench.study.spec import StudySpec
from contrabench.study.status import Heartbeat, StudyFile, StudyStage


def findings(store, deep=False):
    return list(findings_of(check_files, store, deep, Silent()))


def first(store, kind):
    return min(path for path in (store / kind).iterdir() if path.is_dir())


def truncate(path):
    path.write_bytes(path.read_bytes()[:-10])


def flip(path):
    """Changes one bit in the middle and keeps the length."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_healthy_store_has_no_finding(store):
    assert findings(store) == findings(store, deep=True) == []
    assert look_at(check_files, store, False, Silent()).seen.startswith("8 runs, 19 stages; --deep")


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(
    ("kind", "file"),
    [("runs", "rows.parquet"), ("runs", "run.json"), ("runs", "spec.json"),
     ("stages/evaluate", "scores.json"), ("stages/finetune", "weights.safetensors"),
     ("stages/prepare", "image.npy"), ("stages/prepare", "meta.json")],
)  # fmt: skip
@pytest.mark.parametrize("spoil", [truncate, lambda path: path.unlink()], ids=["short", "gone"])
def test_a_truncated_or_missing_file_is_named(store, kind, file, spoil, deep):
    folder = first(store, kind)
    spoil(folder / file)
    (finding,) = findings(store, deep)
    assert finding.severity == "error"
    assert folder.name in finding.what
    assert file in finding.what
    assert str(folder) in finding.do


def test_a_changed_bit_in_the_weights_is_found_by_a_deep_look(store):
    folder = first(store, "stages/pretrain")
    flip(folder / "weights.safetensors")
    assert findings(store) == []
    (finding,) = findings(store, deep=True)
    assert "weights.safetensors has changed" in finding.what


@pytest.mark.parametrize(
    ("kind", "file", "again"),
    [
        ("runs", "rows.parquet", "run the study again"),
        ("stages/prepare", "image.npy", "made anew when a run needs it"),
    ],
)
def test_a_changed_bit_elsewhere_is_found_at_once(store, kind, file, again):
    folder = first(store, kind)
    flip(folder / file)
    (finding,) = findings(store)
    assert f"{file} has changed" in finding.what
    assert again in finding.do


@pytest.mark.parametrize("kind", ["runs", "stages/evaluate", "stages/pretrain"])
def test_a_folder_without_a_marker_is_named(store, kind):
    folder = first(store, kind)
    (folder / MARKER).unlink()
    (finding,) = findings(store)
    assert "marker is missing or unreadable" in finding.what
    assert folder.name in finding.what


@pytest.mark.parametrize("kind", ["runs", "stages/finetune"])
def test_a_stage_under_another_key_is_named(store, kind):
    folder = first(store, kind)
    folder.rename(folder.with_name("0" * 16))
    (finding,) = findings(store)
    assert finding.severity == "error"
    assert (
        f"{'0' * 16}: its spec.json gives the {kind.split('/')[-1]} key {folder.name}"
        in finding.what
    )


def test_a_sealed_stage_whose_specification_was_edited_is_named(store):
    folder = first(store, "stages/finetune")
    spec = json.loads((folder / "spec.json").read_text())
    (folder / "spec.json").write_text(json.dumps({**spec, "steps": 7}))
    seal_folder(folder)
    (finding,) = findings(store)
    assert "gives the finetune key" in finding.what


def test_a_specification_that_cannot_be_read_is_named(store):
    folder = first(store, "stages/finetune")
    (folder / "spec.json").write_text("[")
    seal_folder(folder)
    (finding,) = findings(store)
    assert "spec.json is no specification" in finding.what


def test_a_stage_of_another_kind_has_another_key(store):
    folder = first(store, "stages/finetune")
    shutil.copytree(folder, store / "stages" / "pretrain" / folder.name)
    (finding,) = findings(store)
    assert finding.what.startswith(f"pretrain stage {folder.name}")


def test_a_foreign_folder_is_a_warning(store):
    (store / "runs" / "backup").mkdir()
    (finding,) = findings(store)
    assert finding.severity == "warning"
    assert str(store / "runs" / "backup") in finding.what


def test_a_marker_is_read_with_care(store):
    folder = first(store, "runs")
    (folder / MARKER).write_text(json.dumps({"files": {"../../secret": "0"}}))
    (finding,) = findings(store)
    assert "marker" in finding.what


def test_an_empty_store_is_healthy(tmp_path):
    assert findings(tmp_path) == []


def leftovers(store):
    checks = check_unfinished, check_failed, check_links, check_studies
    return [finding for check in checks for finding in findings_of(check, store)]


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


def test_a_healthy_store_has_no_leftovers(store):
    assert leftovers(store) == []


def test_a_stage_that_was_left_is_told_with_its_size(store, half):
    (finding,) = leftovers(store)
    assert finding.severity == "information"
    assert "pretrain: 1 unfinished stage, 3.9 KiB" in finding.what
    assert half.name in finding.what
    assert half.is_dir()


def test_a_stage_at_work_is_left_alone(store, half):
    with FileLock(half.with_suffix(".lock")):
        assert leftovers(store) == []
        assert look_at(check_unfinished, store).seen == "1 stage at work"


def test_a_process_that_is_gone_is_told(store):
    key = "2" * 16
    with Heartbeat(store, "finetune", key).beating() as journal:
        assert leftovers(store) == []
        content = json.loads(journal.path.read_text())
    dead = 2**22 + 1  # above the largest process id of Linux
    journal.path.write_text(json.dumps({**content, "pid": dead}))
    (finding,) = leftovers(store)
    assert finding.severity == "information"
    assert "finetune: 1 stale heartbeat" in finding.what
    assert journal.path.name in finding.what


def test_a_temporary_file_is_told(store):
    temporary = temporary_sibling(store / "runs" / "x")
    temporary.write_bytes(b"12345")
    (finding,) = leftovers(store)
    assert "runs: 1 temporary file, 5 B" in finding.what


def test_a_failed_stage_is_told_with_reason_and_log(store):
    home = store / "stages" / "pretrain"
    write_failure(home, "3" * 16, "the loss is NaN at step 7")
    (home / f"{'3' * 16}.log").write_text("traceback")
    (finding,) = leftovers(store)
    assert finding.severity == "warning"
    assert f"pretrain {'3' * 16} failed: the loss is NaN at step 7" in finding.what
    assert str(home / f"{'3' * 16}.log") in finding.what
    assert "bench status" in finding.do


def test_a_stage_of_no_run_is_an_orphan(store, build):
    folder = build.stage(store, "pretrain", {"stage": "of nobody"})
    (finding,) = leftovers(store)
    assert finding.severity == "information"
    assert "1 pretrain stage of no run, 1 MiB" in finding.what
    assert folder.name in finding.what


def test_a_stage_that_a_study_has_still_to_use_is_none(store, build):
    folder = build.stage(store, "pretrain", {"stage": "of a run to come"})
    put_study(store, [("pretrain", folder.name)])
    assert leftovers(store) == []


def test_a_study_that_is_not_done_is_told_with_what_it_lacks(store):
    there = min(path.name for path in (store / "runs").iterdir())
    put_study(store, [("runs", there), ("runs", "9" * 16)])
    (finding,) = leftovers(store)
    assert finding.severity == "information"
    assert "study 12345678: 1 of its 2 runs are not there: runs of mine" in finding.what
    assert "bench status" in finding.do


def test_stages_between_stages_of_fine_tuning_are_a_runs_own(store, build):
    """A joint stage and the labels that it leaves to the next."""
    run = build.run(store, variant="rounds", fold=1, draw=7)
    first = build.stage(store, "finetune", {"joint": 1})
    labels = build.stage(store, "pseudo_label", {"model": first.name}, {"labels.npz": "x"})
    assert len(leftovers(store)) == 2
    record = json.loads((run / "run.json").read_text())
    record["stages"] |= {"joint": [first.name], "pseudo_label": [labels.name]}
    (run / "run.json").write_text(json.dumps(record))
    assert leftovers(store) == []


def test_the_stages_of_a_fit_are_its_own(store, build):
    """It is a run that tests nobody, and no study names it."""
    tuned = build.stage(store, "finetune", {"everybody": 1})
    assert len(leftovers(store)) == 1
    stages = {"pretrain": [], "pseudo_label": [], "joint": [], "finetune": tuned.name}
    record = json.dumps({"stages": stages | {"evaluate": ""}})
    build.stage(store, "fits", {"network": tuned.name}, {"fit.json": record})
    assert leftovers(store) == []


def test_the_stages_of_a_removed_run_are_orphans(store):
    run = next(
        path.parent
        for path in sorted(store.glob("runs/*/run.json"))
        if json.loads(path.read_text())["stages"]["pretrain"]
    )
    stages = json.loads((run / "run.json").read_text())["stages"]
    shutil.rmtree(run)
    found = {finding.what for finding in leftovers(store)}
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
    (finding,) = leftovers(store)
    assert finding.severity == "information"
    assert f"1 run without their stages: {run.name}" in finding.what


def test_a_record_that_cannot_be_read_is_an_error(store):
    run = min(path for path in (store / "runs").iterdir())
    (run / "run.json").write_text("{}")
    seal_folder(run)
    errors = [one for one in leftovers(store) if one.severity == "error"]
    assert [one.what for one in errors] == [f"run {run.name}: its run.json cannot be read"]
