"""SLURM's commands as they are called, on a cluster of one node that a script pretends to be."""

import os
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from tests.makers.studies import TINY, plan_tiny

from contrabench.contracts.executor import Crew, Outcome
from contrabench.errors import RequestError, RunError
from contrabench.store.rows import ROWS_FILE
from contrabench.study.executors import slurm
from contrabench.study.executors.in_process import InProcessExecutor
from contrabench.study.executors.slurm import SlurmExecutor, SlurmOptions
from contrabench.study.status import read_beat
from contrabench.training.stop import request_stop

pytest.importorskip("submitit", reason="the extra 'slurm' is not installed")
COMMANDS = ("sbatch", "srun", "squeue", "scancel", "sacct", "sinfo")


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """The folder of a cluster whose commands are on the path."""
    commands, folder = tmp_path / "bin", tmp_path / "cluster"
    commands.mkdir()
    folder.mkdir()
    for name in COMMANDS:
        (commands / name).symlink_to(Path(__file__).with_name("fake_slurm.sh"))
    for name, content in (("ids", ""), ("gres", "(null)\n")):
        (folder / name).write_text(content)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(folder))
    monkeypatch.setattr(slurm, "_LOOK_SECONDS", 0.3)
    return folder


@pytest.fixture
def crew(tmp_path):
    return Crew(None, 2, 1, "auto", tmp_path / "study" / "workers.log")


def job(key, end="done", device=True):
    """A job that says how it ends, or does something else."""
    made = end if callable(end) else partial(Outcome, key, end)
    made.key, made.device = key, device
    return made


def outcomes(executor, number):
    found, end = {}, time.monotonic() + 300
    while len(found) < number and time.monotonic() < end:
        found |= {one.key: one for one in executor.wait(0.1)}
    return found


def test_each_job_asks_for_what_its_stage_needs_and_leaves_nothing_behind(cluster, crew):
    options = SlurmOptions(partition="gpu", account="heart", minutes=90, memory=12)
    executor = SlurmExecutor(replace(crew, workers=3, devices=2, device="cuda"), options)
    assert (executor.slots, executor.device) == (3, "cuda")
    executor.submit(job("a"))
    assert outcomes(executor, 1) == {"a": Outcome("a", "done")}
    script = (cluster / "101.script").read_text().splitlines()
    asked = {line.removeprefix("#SBATCH --") for line in script if line.startswith("#SBATCH")}
    assert asked >= {
        *("partition=gpu", "account=heart", "time=90", "mem=12GB"),
        *("cpus-per-task=4", "gpus-per-node=2", "signal=USR2@90"),
    }
    assert not [path for path in executor.folder.iterdir() if path.name.startswith("101")]


def test_what_needs_no_gpu_shares_a_job_without_one(cluster, crew):
    executor = SlurmExecutor(replace(crew, workers=3, device="cuda"))
    assert (executor.slots, executor.helpers) == (3, 3)
    for key in "abc":
        executor.submit(job(key, device=key == "a"))
    assert outcomes(executor, 3) == {key: Outcome(key, "done") for key in "abc"}
    first, second = ((cluster / f"{number}.script").read_text() for number in (101, 102))
    assert "gpus-per-node=1" in first
    assert "gpus-per-node" not in second
    assert "cpus-per-task=1" in second
    assert (cluster / "ids").read_text() == "101\n102\n"


def test_jobs_that_are_lost_or_cut_off_are_told_so(cluster, crew):
    executor = SlurmExecutor(crew)
    assert (executor.slots, executor.device) == (16, "cpu")
    executor.submit(job("dead", partial(os._exit, 1)))
    executor.submit(job("cut off", "stopped"))
    executor.submit(job("wrong", partial(int, "none")))
    executor.submit(job("failed", "failed"))
    found = outcomes(executor, 4)
    assert {key: one.end for key, one in found.items()} == {
        **{"dead": "lost", "cut off": "lost", "wrong": "lost", "failed": "failed"},
    }
    assert "its job 101 ended (NODE_FAIL)" in found["dead"].reason
    assert "the time of its job 102 ended" in found["cut off"].reason
    assert "invalid literal for int()" in found["wrong"].reason


def test_while_the_cluster_does_not_answer_nothing_is_lost(cluster, crew):
    executor = SlurmExecutor(crew)
    (cluster / "silent").touch()
    executor.submit(job("dead", partial(os._exit, 1)))
    end = time.monotonic() + 2
    while time.monotonic() < end:
        assert executor.wait(0.1) == []
    (cluster / "silent").unlink()
    assert outcomes(executor, 1)["dead"].end == "lost"


def test_gpus_are_used_where_a_partition_has_them(cluster, crew):
    (cluster / "gres").write_text("(null)\ngpu:a100:4\n")
    assert SlurmExecutor(crew, SlurmOptions(partition="big")).device == "cuda"
    assert "sinfo -h -o %G -p big" in (cluster / "calls").read_text()
    assert SlurmExecutor(replace(crew, device="cpu")).device == "cpu"


def test_what_is_missing_or_refused_is_told_in_one_line(cluster, crew, monkeypatch):
    executor = SlurmExecutor(crew)
    (cluster / "refuse").write_text("nowhere")
    with pytest.raises(RunError, match="takes no job .*invalid partition specified: nowhere"):
        executor.submit(job("a"))
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "/nowhere")
        with pytest.raises(RequestError, match="needs sbatch, which is not on this machine"):
            SlurmExecutor(crew)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(RequestError, match=r"pip install 'contrabench\[slurm\]'"):
        SlurmExecutor(crew)


class Here(SlurmExecutor):
    """The jobs of submitit's own stand-in for a cluster."""

    cluster = "local"

    def _check(self):
        pass

    def _queued(self):
        return [key for key, (handed, _) in self.jobs.items() if not handed.done()]


def test_jobs_travel_as_submitit_hands_them_over(crew, monkeypatch):
    monkeypatch.setattr(slurm, "_LOOK_SECONDS", 0.3)
    executor = Here(replace(crew, device="cpu"))
    executor.submit(job("a"))
    executor.submit(job("dead", partial(os._exit, 1)))
    found = outcomes(executor, 2)
    assert (found["a"].end, found["dead"].end) == ("done", "lost")


class Cutting:
    """A listener that ends the time of the first training, and stops the study after the second."""

    def __init__(self, store, executor):
        self.store, self.executor, self.reasons = store, executor, []

    def changed(self, task, status, reason=""):
        self.reasons += [reason] if status == "waiting" else []
        self.training = task if status == "running" else None
        if status == "done":
            request_stop()

    def tick(self):
        if self.training is None or self.reasons:
            return
        beat = read_beat(self.store, "finetune", self.training.key)
        if beat is not None and beat.done:
            slurm._told(["scancel", "--signal=USR2", *self.executor.jobs])


def test_a_training_whose_time_ends_goes_on_and_a_stop_is_calm(cluster, crew, tmp_path):
    long = TINY.model_copy(
        update={"finetune": TINY.finetune.model_copy(update={"images": 16 * 80})}
    )
    asked = {
        **{"methods": ["scratch"], "labels": ["50%"], "draws": 1, "test_folds": [0]},
        **{"without": ["scratch_long", "full_supervision"], "budget": long},
    }
    straight = plan_tiny(tmp_path / "straight", **asked)
    straight.run(straight.survey(), InProcessExecutor(crew))
    store = tmp_path / "store"
    session, executor = plan_tiny(store, **asked), SlurmExecutor(crew)
    board, cutting = session.survey(), Cutting(store, executor)
    assert session.run(board, executor, cutting) == "interrupted"
    executor.close()
    assert cutting.reasons == ["the time of its job 101 ended; it is begun again"]
    assert board.count("done") == 1
    assert board.count("failed", "blocked", "running") == 0
    again = session.survey()
    assert session.run(again, InProcessExecutor(crew)) == ""
    (run,) = session.graph.runs
    found, expected = (
        (one / "runs" / run.key / ROWS_FILE).read_bytes() for one in (store, tmp_path / "straight")
    )
    assert found == expected
    (record,) = store.glob("stages/finetune/*/record.json")
    assert '"resumed_at": []' not in record.read_text()
