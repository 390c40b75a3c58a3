"""Damaged, renamed and foreign folders, with and without a deep look."""

import json
import shutil

import pytest

from contrabench.doctor.findings import Severity
from contrabench.doctor.folders import check_runs, check_stages, finished
from contrabench.files import MARKER, seal_folder
from contrabench.progress import Silent


def findings(store, deep=False):
    folders = finished(store)
    checks = check_runs(folders, Silent()), check_stages(folders, deep, Silent())
    return [finding for check in checks for finding in check.findings]


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
    folders = finished(store)
    assert check_runs(folders, Silent()).seen == "8 runs"
    assert check_stages(folders, False, Silent()).seen.startswith("18 stages")


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(
    ("kind", "file"),
    [("runs", "rows.parquet"), ("runs", "run.json"), ("runs", "spec.json"),
     ("stages/evaluate", "scores.json"), ("stages/finetune", "weights.safetensors")],
)  # fmt: skip
@pytest.mark.parametrize("spoil", [truncate, lambda path: path.unlink()], ids=["short", "gone"])
def test_a_truncated_or_missing_file_is_named(store, kind, file, spoil, deep):
    folder = first(store, kind)
    spoil(folder / file)
    (finding,) = findings(store, deep)
    assert finding.severity == Severity.error
    assert folder.name in finding.what
    assert file in finding.what
    assert str(folder) in finding.do


def test_a_changed_bit_in_the_weights_is_found_by_a_deep_look(store):
    folder = first(store, "stages/pretrain")
    flip(folder / "weights.safetensors")
    assert findings(store) == []
    (finding,) = findings(store, deep=True)
    assert "weights.safetensors has changed" in finding.what


def test_a_changed_bit_in_the_rows_is_found_at_once(store):
    folder = first(store, "runs")
    flip(folder / "rows.parquet")
    (finding,) = findings(store)
    assert "rows.parquet has changed" in finding.what
    assert "run the study again" in finding.do


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
    assert finding.severity == Severity.error
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
    assert finding.severity == Severity.warning
    assert str(store / "runs" / "backup") in finding.what


def test_a_marker_is_read_with_care(store):
    folder = first(store, "runs")
    (folder / MARKER).write_text(json.dumps({"files": {"../../secret": "0"}}))
    (finding,) = findings(store)
    assert "marker" in finding.what


def test_an_empty_store_is_healthy(tmp_path):
    assert findings(tmp_path) == []
