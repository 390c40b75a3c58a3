"""A study from its words to its rows: what was planned is what was done."""

import errno
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from tests.doctor.looking import findings_of
from tests.makers.studies import RUNTIME, TINY, plan_tiny

from contrabench.contracts import discovery
from contrabench.contracts.executor import Crew, Outcome
from contrabench.doctor.rows import CHECKS
from contrabench.errors import DataError, RequestError
from contrabench.exchange.merge import merge_stores
from contrabench.progress import Silent
from contrabench.protocol import digest
from contrabench.references import CONTROLS, REFERENCES
from contrabench.store.results import read_rows
from contrabench.store.rows import ROWS_FILE
from contrabench.store.runs import RUN_RECORD
from contrabench.study import session as session_module
from contrabench.study.executors.in_process import InProcessExecutor
from contrabench.study.session import plan_study
from contrabench.study.spec import make_study
from contrabench.study.status import read_studies


class Here(InProcessExecutor):
    """Remembers its jobs."""

    def __init__(self):
        super().__init__(Crew(1, 1, 1, "cpu", Path("none")))
        self.jobs = []

    def submit(self, job):
        self.jobs.append(job)
        super().submit(job)


SMALL = {
    "methods": ["simclr"],
    "labels": ["50%"],
    "draws": 1,
    "test_folds": [1],
    "without": ["scratch_long", "full_supervision"],
}


def test_a_study_ends_in_the_rows_that_it_promised_and_is_served_the_second_time(
    tmp_path, monkeypatch
):
    session = plan_tiny(tmp_path, **SMALL)
    executor, board = Here(), session.survey()
    assert session.run(board, executor) == ""
    assert board.complete
    assert [job.key for job in executor.jobs] == list(session.graph.stages)
    made = [path.name for path in (tmp_path / "stages" / "pretrain").iterdir() if path.is_dir()]
    assert len(made) == session.graph.pretrainings
    rows = [
        row
        for stage in session.graph.runs
        for row in pd.read_parquet(tmp_path / "runs" / stage.key / ROWS_FILE).to_dict("records")
    ]
    assert {(row["variant"], row["labels"], row["fold"]) for row in rows} == {
        ("simclr", "50%", 1),
        ("scratch", "50%", 1),
    }
    (status,) = read_studies(tmp_path)
    assert {stage.state for stage in status.stages} == {"done"}
    assert not list(tmp_path.rglob("*.running.json"))
    assert not list(tmp_path.rglob("*.work"))

    again, executor = plan_tiny(tmp_path, **SMALL), Here()
    board = again.survey()
    assert again.run(board, executor) == ""
    assert executor.jobs == []
    assert board.count("cached") == len(session.graph.stages)
    # A larger study finds them too.
    larger = plan_tiny(tmp_path, **{**SMALL, "methods": ["simclr", "moco"]})
    assert larger.survey().count("cached") == len(session.graph.stages)
    # On storage that can only be read it is served, and the larger one refused before it begins.
    monkeypatch.setattr(session_module, "write_study", read_only)
    monkeypatch.setattr("contrabench.store.stages.FileLock", read_only)
    assert again.run(again.survey(), Here()) == ""
    crew = Here()
    with pytest.raises(RequestError, match="cannot be written: Read-only file system"):
        larger.run(larger.survey(), crew)
    assert crew.jobs == []


def read_only(*_, **__):
    raise OSError(errno.EROFS, "Read-only file system")


def test_what_nobody_foresaw_in_a_job_is_its_outcome(tmp_path, monkeypatch):
    """A worker that died of it would be begun again and again."""
    session = plan_tiny(tmp_path, **SMALL)
    job = session.job(next(iter(session.graph.stages.values())))
    for error in (ZeroDivisionError("odd"), SystemExit(3)):

        def fail(*_, error=error):
            raise error

        monkeypatch.setattr(session_module, "Heartbeat", fail)
        outcome = job()
        assert (outcome.key, outcome.end) == (job.key, "failed")
        assert type(error).__name__ in outcome.reason
    monkeypatch.setattr(session_module, "Heartbeat", full)
    assert job().end == "full"


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("name", ["caf\udce9", "a\nb"])
def test_a_case_that_no_row_can_name_is_told_before_training(tmp_path, monkeypatch, name):
    cases = [replace(case, case=name) for case in plan_tiny(tmp_path, **SMALL).cases]
    monkeypatch.setattr(session_module, "_cases", lambda *_: cases)
    with pytest.raises(DataError, match="not in UTF-8, or has a control character"):
        plan_tiny(tmp_path, **SMALL)


def test_a_job_says_all_that_a_worker_elsewhere_must_know(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plugin.py").write_text("")
    monkeypatch.setenv(discovery.VARIABLE, "plugin.py")
    session = plan_tiny(tmp_path)
    for stage in session.graph.stages.values():
        job = session.job(stage)
        assert (job.kind, job.key) == (stage.node.kind, stage.key)
        assert job.store.is_absolute()
        assert job.plugins == (tmp_path / "plugin.py",)


def test_what_is_wrong_is_found_before_anything_is_made(tmp_path):
    with pytest.raises(RequestError, match="4 of 4 patients have labels"):
        plan_tiny(tmp_path, folds=5)
    with pytest.raises(RequestError, match="another budget"):
        plan_tiny(tmp_path, budget=TINY.model_copy(update={"name": "quick"}))
    with pytest.raises(RequestError, match="there is no budget 'huge'"):
        plan_tiny(tmp_path, budget="huge")
    with pytest.raises(RequestError, match="'patientz' is unknown"):
        plan_tiny(tmp_path, dataset_options={"patientz": 4})
    with pytest.raises(RequestError, match="there is no dataset 'phantoms'"):
        plan_tiny(tmp_path, dataset="phantoms")
    spec = make_study({"methods": ["simclr"], "dataset": "acdc", "budget": TINY}, "the test")
    with pytest.raises(RequestError, match="--data FOLDER"):
        plan_study(spec, None, tmp_path, RUNTIME, Silent())
    with pytest.raises(DataError, match="does not exist"):
        plan_study(spec, tmp_path / "none", tmp_path, RUNTIME, Silent())
    assert not (tmp_path / "studies").exists()
    assert [path.name for path in (tmp_path / "stages").iterdir()] == ["prepare"]


def test_a_given_split_is_whom_networks_are_trained_on_and_tested_by(tmp_path, prepared):
    shutil.copytree(prepared[0], tmp_path, dirs_exist_ok=True)
    names = {"train": ["phantom_003", "phantom_001"], "test": ["phantom_002", "phantom_009"]}
    file = tmp_path / "split.json"
    asked = {
        "methods": ["scratch"], "labels": ["1", "100%"], "draws": 1, "budget": TINY,
        "dataset": "phantom", "dataset_options": {"patients": 4}, "split": "split.json",
        "without": list(REFERENCES),
    }  # fmt: skip

    def plan(**more):
        file.write_text(json.dumps({**names, **more}))
        spec = make_study(asked, "the test", tmp_path)
        return plan_study(spec, None, tmp_path, RUNTIME, Silent())

    session = plan(labelled=["phantom_003"])
    assert session.notes[1:] == (
        "own split; 1 fold, 2 patients to train on and 1 patient to test on",
        "1 name of the split not in this data, and so left out: phantom_009",
        "1 labelled patient not named by the split, and so left out: phantom_004",
    )
    assert session.run(session.survey(), Here()) == ""
    rows, problems = read_rows(tmp_path)
    assert not problems
    assert set(rows["patient"]) == {"phantom_002"}
    assert set(zip(rows["labels"], rows["labelled_patients"], strict=True)) == {
        ("1 patient", 1),
        ("100%", 2),
    }
    assert set(rows["folds"]) == {1}
    assert [name for name, check in CHECKS.items() if findings_of(check, rows)] == ["references"]
    for stage in session.graph.runs:
        record = json.loads((tmp_path / "runs" / stage.key / RUN_RECORD).read_text())
        assert record["patients"]["train"] == ["phantom_001", "phantom_003"]
        assert record["patients"]["test"] == ["phantom_002"]
        assert "phantom_003" in record["patients"]["labelled"]
        assert record["spec"]["split"]["folds"][0]["test"] == ["phantom_002", "phantom_009"]
        assert str(file) not in json.dumps(record)
    # Nothing but the split is another one: another order of labels, and other patients.
    protocols = {
        digest(one.run_of(one.graph.runs[0]).protocol)
        for one in (session, plan(), plan(test=["phantom_004"]), plan(test=["phantom_002"]))
    }
    assert len(protocols) == 3
    assert digest(session.run_of(session.graph.runs[0]).protocol) == rows["protocol"].iloc[0]
    (status,) = read_studies(tmp_path)
    assert status.spec == session.spec
    merged = merge_stores([tmp_path], tmp_path / "other")
    assert merged.complete
    assert len(list((tmp_path / "other" / "splits").iterdir())) == 3


def test_planning_alone_leaves_no_study_in_the_store(tmp_path):
    plan_tiny(tmp_path)
    assert read_studies(tmp_path) == []


def test_notes_tell_what_was_left_out(tmp_path):
    controls, few = plan_tiny(tmp_path).notes
    # hu and simclr, scratch_long: three rows; 3 / 2**(7 - 1) is the first such p below 0.05.
    assert few.startswith("4 patients tested, 3 rows compared with scratch")
    assert "It takes 7 patients" in few
    references, again = plan_tiny(tmp_path, without=list(REFERENCES)).notes
    assert again == controls
    for note, names in ((references, REFERENCES), (controls, CONTROLS)):
        for name in names:
            assert name in note


@pytest.fixture(autouse=True)
def _no_data_of_other_tests():
    session_module._read.clear()


def test_a_stage_that_another_process_makes_is_told_once():
    told, reporter = [], Silent()
    reporter.line = told.append
    executor = InProcessExecutor(Crew(1, 1, 1, "cpu", Path("none")), reporter=reporter)
    for _ in range(2):
        executor.submit(lambda reporter: Outcome("a" * 16, "busy", "someone is at work"))
        executor.wait(0)
    assert told == ["  someone is at work; waiting for it"]
