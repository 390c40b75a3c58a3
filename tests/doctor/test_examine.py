"""The whole examination: calm on a sound store, hands off, and not stopped by one fault."""

import hashlib
import json
import subprocess
import sys

import pytest

from contrabench.doctor import cells, data, machine
from contrabench.doctor.examine import examine
from contrabench.doctor.findings import Check, Severity, attempt, watched
from contrabench.progress import Silent


@pytest.fixture(autouse=True)
def _no_step(monkeypatch):
    """A training step and plug-ins have their own tests."""
    monkeypatch.setattr(machine, "check_training", lambda: Check("a training step", "none"))


def look(store, deep=False, dataset=None):
    return list(examine(store, dataset, deep, Silent()))


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else None
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("deep", [False, True])
def test_a_sound_store_is_clean_and_untouched(store, deep):
    before = contents(store)
    found = look(store, deep)
    assert [name for name, _ in found] == sorted(
        (name for name, _ in found), key=["environment", "data", "store"].index
    )
    for name, check in found:
        assert name == "environment" or check.findings == (), check
    assert contents(store) == before
    assert {check.title: check.seen for _, check in found}["impossible values"] == "32 rows"


def test_a_truncated_run_is_told_once(store):
    run = min((store / "runs").iterdir())
    rows = run / "rows.parquet"
    rows.write_bytes(rows.read_bytes()[:-20])
    errors = [
        finding
        for _, check in look(store)
        for finding in check.findings
        if finding.severity == Severity.error and run.name in finding.what
    ]
    (finding,) = errors
    assert "rows.parquet has changed" in finding.what


def test_a_foreign_folder_is_told_once(store):
    (store / "runs" / "backup").mkdir()
    (finding,) = (
        finding for name, check in look(store) if name == "store" for finding in check.findings
    )
    assert finding.severity == Severity.warning
    assert "backup" in finding.what


def test_a_store_that_is_not_there_is_no_error(tmp_path):
    found = [check for name, check in look(tmp_path / "nowhere") if name == "store"]
    (check,) = found
    assert check.worst == Severity.information
    assert not (tmp_path / "nowhere").exists()


def test_an_empty_store_is_healthy(tmp_path):
    assert all(check.findings == () for name, check in look(tmp_path) if name == "store")


def test_a_dataset_is_read_when_one_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "check_dataset", lambda dataset, _: Check("files", dataset))
    assert ("data", Check("files", "mine")) in look(tmp_path, dataset="mine")


def test_a_check_that_breaks_off_costs_no_other(store, monkeypatch):
    def fail(rows):
        raise KeyError("surprise")

    monkeypatch.setattr(cells, "check_cells", fail)
    found = {check.title: check for _, check in look(store)}
    (finding,) = found["missing runs"].findings
    assert finding.severity == Severity.error
    assert "surprise" in finding.what
    assert found["references"].findings == ()


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from pathlib import Path
from contrabench.doctor.examine import examine
from contrabench.progress import Silent
for area, check in examine(Path(sys.argv[1]), None, False, Silent()):
    print(area, check.title, check.worst, sep="|")
"""


def test_a_torch_that_does_not_import_costs_only_what_needs_it(store):
    """The doctor is asked when things are broken, and must not break with them."""
    words = [sys.executable, "-c", WITHOUT_TORCH, str(store)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    found = {line.split("|")[1]: line.split("|")[2] for line in done.stdout.splitlines()}
    for title in ("torchvision's operators", "plug-ins", "device", "a training step"):
        assert found[title] == "error", title
    for title in ("versions", "files of the runs", "impossible values", "references"):
        assert found[title] == "None", title


def test_an_attempt_hands_on_what_went_well():
    check = Check("x", "y")
    assert attempt("x", lambda: check) is check
    assert check.worst is None
    json.dumps(check.as_dict())


def test_many_items_are_watched_and_all_are_seen():
    assert list(watched(Silent(), "x", range(1000))) == list(range(1000))
