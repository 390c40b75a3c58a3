"""A study from its words to its rows: what was planned is what was done."""

from pathlib import Path

import pandas as pd
import pytest
from tests.makers.studies import RUNTIME, TINY, plan_tiny

from contrabench.contracts import discovery
from contrabench.contracts.executor import Crew, Outcome
from contrabench.errors import DataError, RequestError
from contrabench.progress import Silent
from contrabench.references import REFERENCES
from contrabench.store.rows import ROWS_FILE
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


def test_a_study_ends_in_the_rows_that_it_promised_and_is_served_the_second_time(tmp_path):
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
    with pytest.raises(RequestError, match="5 folds over 4"):
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


def test_planning_alone_leaves_no_study_in_the_store(tmp_path):
    plan_tiny(tmp_path)
    assert read_studies(tmp_path) == []


def test_notes_tell_what_was_left_out(tmp_path):
    assert plan_tiny(tmp_path).notes == ()
    (note,) = plan_tiny(tmp_path, without=list(REFERENCES)).notes
    for name in REFERENCES:
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
