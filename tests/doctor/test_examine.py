"""The whole examination: calm on a sound store, hands off, and not stopped by one fault."""

import hashlib
import subprocess
import sys
from types import SimpleNamespace

import pytest

from contrabench.doctor import data, environment, rows
from contrabench.doctor.examine import examine
from contrabench.doctor.findings import Finding, watched
from contrabench.progress import Silent


def nothing(*_):
    """A check that finds nothing."""
    yield from ()
    return "nothing"


@pytest.fixture(autouse=True)
def _no_step(monkeypatch):
    """A training step and plug-ins have their own tests."""
    monkeypatch.setattr(environment, "check_training", nothing)


def looked(store, deep=False, dataset=None):
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
    found = looked(store, deep)
    areas = [check.area for check in found]
    assert areas == sorted(areas, key=["environment", "data", "store"].index)
    for check in found:
        assert check.area == "environment" or check.findings == (), check
    assert contents(store) == before
    assert {check.title: check.seen for check in found}["impossible values"] == "32 rows"


def test_a_truncated_run_is_told_once(store):
    run = min((store / "runs").iterdir())
    rows = run / "rows.parquet"
    rows.write_bytes(rows.read_bytes()[:-20])
    errors = [
        finding
        for check in looked(store)
        for finding in check.findings
        if finding.severity == "error" and run.name in finding.what
    ]
    (finding,) = errors
    assert "rows.parquet has changed" in finding.what


def test_a_foreign_folder_is_told_once(store):
    (store / "runs" / "backup").mkdir()
    (finding,) = (
        finding for check in looked(store) if check.area == "store" for finding in check.findings
    )
    assert finding.severity == "warning"
    assert "backup" in finding.what


def test_a_store_that_is_not_there_is_no_error(tmp_path):
    found = [check for check in looked(tmp_path / "nowhere") if check.area == "store"]
    (check,) = found
    assert check.worst == "information"
    assert not (tmp_path / "nowhere").exists()


def test_an_empty_store_is_healthy(tmp_path):
    assert all(check.findings == () for check in looked(tmp_path) if check.area == "store")


def test_a_dataset_is_read_when_one_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "check_dataset", nothing)
    dataset = SimpleNamespace(info=SimpleNamespace(title="Mine"))
    titles = [check.title for check in looked(tmp_path, dataset=dataset)]
    assert "files of Mine" in titles


def test_a_check_that_breaks_off_costs_no_other_and_keeps_what_it_found(store, monkeypatch):
    def fail(rows):
        yield Finding("warning", "found before", "")
        raise KeyError("surprise")

    monkeypatch.setitem(rows.CHECKS, "missing runs", fail)
    found = {check.title: check for check in looked(store)}
    before, finding = found["missing runs"].findings
    assert before.what == "found before"
    assert finding.severity == found["missing runs"].worst == "error"
    assert "surprise" in finding.what
    assert found["references"].findings == ()


def test_rows_that_cannot_be_read_at_all_are_one_finding(store, monkeypatch):
    def fail(*_):
        raise OSError("no index")

    monkeypatch.setattr("contrabench.store.results.read_rows", fail)
    (finding,) = (
        finding for check in looked(store) if check.area == "store" for finding in check.findings
    )
    assert "no index" in finding.what


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from pathlib import Path
from contrabench.doctor.examine import examine
from contrabench.progress import Silent
for check in examine(Path(sys.argv[1]), None, False, Silent()):
    print(check.area, check.title, check.worst, sep="|")
"""


def test_a_torch_that_does_not_import_costs_only_what_needs_it(store):
    """The doctor is asked when things are broken, and must not break with them."""
    words = [sys.executable, "-c", WITHOUT_TORCH, str(store)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    found = {line.split("|")[1]: line.split("|")[2] for line in done.stdout.splitlines()}
    for title in ("torchvision's operators", "plug-ins", "device", "a training step"):
        assert found[title] == "error", title
    for title in ("versions", "files of runs and stages", "impossible values", "references"):
        assert found[title] == "None", title


def test_many_items_are_watched_and_all_are_seen():
    assert list(watched(Silent(), "x", range(1000))) == list(range(1000))
