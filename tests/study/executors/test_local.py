"""Worker processes: what goes wrong with one stage costs no other its rows."""

import multiprocessing
import os
import signal
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from tests.makers.studies import plan_tiny

from contrabench import plugins
from contrabench.contracts import discovery, registry
from contrabench.contracts.executor import Crew
from contrabench.store.failures import read_failure
from contrabench.store.results import read_rows
from contrabench.store.rows import ROWS_FILE
from contrabench.store.stages import home_of
from contrabench.study.executors import local
from contrabench.study.executors.local import LocalExecutor

TROUBLES = Path(__file__).with_name("troubles.py")
SMALL = {"labels": ["50%"], "draws": 1, "folds": 2, "test_folds": [0]}


@pytest.fixture(scope="module", autouse=True)
def _troubles():
    """The plug-in is there for these tests, and gone after them."""
    registry.methods.entries()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(discovery.VARIABLE, "")
        patch.setattr(plugins, "__path__", list(plugins.__path__))
        for name in ("_registered", "_collisions", "_failed"):
            patch.setattr(registry.methods, name, dict(getattr(registry.methods, name)))
        discovery.add(TROUBLES)
        yield
    sys.modules.pop(f"{discovery.PACKAGE}.troubles", None)


@pytest.fixture
def executor(tmp_path):
    made = LocalExecutor(Crew(1, 1, 1, "cpu", tmp_path / "workers.log"))
    yield made
    made.close()


def rows(store):
    return {path.parent.name: path.read_bytes() for path in store.glob(f"runs/*/{ROWS_FILE}")}


def test_every_trouble_costs_its_own_stage_alone(tmp_path):
    """Scores and rows are made by a second process, as beside a GPU."""
    kinds = ["nan", "error", "memory", "killed"]
    store = tmp_path / "store"
    asked = [*(f"troubles[kind={kind}]" for kind in kinds), "troubles"]
    session = plan_tiny(store, methods=asked, **SMALL)
    board = session.survey()
    with closing(LocalExecutor(Crew(1, 1, 1, "cpu", tmp_path / "workers.log", 1))) as executor:
        assert (executor.slots, executor.helpers) == (1, 1)
        assert session.run(board, executor) == ""
    reasons = {task.variant: board.reasons[task.key] for task in board.failed}
    assert set(reasons) == {f"troubles[kind={kind}]" for kind in kinds}
    assert "not finite at step 0" in reasons["troubles[kind=nan]"]
    assert "ValueError: a shape that nobody expected" in reasons["troubles[kind=error]"]
    assert "ran out of memory" in reasons["troubles[kind=memory]"]
    assert "SIGKILL" in reasons["troubles[kind=killed]"]
    assert "3 times" in reasons["troubles[kind=killed]"]
    # Fine-tuning, evaluation and rows of each wait for what failed.
    assert board.count("blocked") == 3 * len(kinds)
    for task in board.failed:
        failure = read_failure(home_of(store, "pretrain"), task.key)
        assert failure.reason == board.reasons[task.key]
    error = next(t for t in board.failed if t.variant == "troubles[kind=error]")
    assert "Traceback" in read_failure(home_of(store, "pretrain"), error.key).log.read_text()
    found, problems = read_rows(store)
    assert not problems
    assert set(found["variant"]) == {"scratch", "scratch_long", "troubles"}

    # Nothing is tried again unless that is asked for; the rows stay as they are.
    before = rows(store)
    again = session.survey()
    assert again.count("waiting") == 0
    assert len(again.failed) == len(kinds)
    assert session.survey(retry_failed=True).count("waiting") == 4 * len(kinds)
    assert rows(store) == before


def test_a_full_disk_stops_the_study_and_is_no_failure(executor, tmp_path):
    store = tmp_path / "store"
    session = plan_tiny(store, methods=["troubles[kind=disk]"], **SMALL)
    board = session.survey()
    stopped = session.run(board, executor)
    assert "is full" in stopped
    assert not board.failed
    assert not list(store.glob("stages/*/*.failed.json"))
    # The references came first, and their rows are there.
    assert set(read_rows(store)[0]["variant"]) == {"scratch", "scratch_long"}


@pytest.mark.parametrize(
    ("given", "seen", "share", "workers", "expected"),
    [
        (None, 2, 1, None, ["0", "1"]),
        ("4,5", 2, 1, None, ["4", "5"]),
        ("4, 5,6,7", 4, 2, None, ["4,5", "6,7"]),
        ("7", 1, 1, 2, ["7", "7"]),
        # What follows a device that is not there is not to be seen.
        ("3,-1,1", 1, 1, None, ["3"]),
        ("GPU-8a,GPU-3f", 2, 1, 3, ["GPU-8a", "GPU-3f", "GPU-8a"]),
        # CUDA shows one part of a GPU alone to each process.
        ("MIG-8a,MIG-3f", 1, 1, None, ["MIG-8a", "MIG-3f"]),
    ],
)
def test_workers_take_the_gpus_that_the_user_may(
    monkeypatch, tmp_path, given, seen, share, workers, expected
):
    monkeypatch.setattr("torch.cuda.device_count", lambda: seen)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if given is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    crew = Crew(workers, 1, share, "cuda", tmp_path / "workers.log")
    found = local._environments(crew)
    assert [one["CUDA_VISIBLE_DEVICES"] for one in found] == expected


@pytest.mark.parametrize(
    ("cores", "devices", "threads", "workers"),
    [(1, 1, 1, 1), (2, 1, 1, 2), (16, 1, 1, 4), (16, 1, 8, 2), (2, 1, 2, 1), (4, 2, 1, 2)],
)
def test_a_cpu_has_no_more_threads_than_cores(
    monkeypatch, tmp_path, cores, devices, threads, workers
):
    monkeypatch.setattr("contrabench.training.runtime.usable_cores", lambda: cores)
    made = LocalExecutor(Crew(None, threads, devices, "cpu", tmp_path / "workers.log"))
    assert (made.slots, made.helpers) == (workers, 0)
    assert workers * threads * devices <= cores


def test_a_worker_ends_when_its_study_is_gone(tmp_path):
    """The study dies without a word; its worker must not go on alone."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    context = multiprocessing.get_context("spawn")
    study = context.Process(target=_begin_and_wait, args=(there, str(tmp_path)))
    study.start()
    # A study that breaks off is then an error here and no endless wait.
    there.close()
    worker = here.recv()
    os.kill(study.pid, signal.SIGKILL)
    study.join()
    for _ in range(3000):
        if not Path(f"/proc/{worker}").exists():
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    raise AssertionError("the worker outlived its study")


def _begin_and_wait(pipe, folder):
    store = Path(folder) / "store"
    session = plan_tiny(store, methods=["simclr"], **SMALL)
    executor = LocalExecutor(Crew(1, 1, 1, "cpu", Path(folder) / "workers.log"))
    task = next(iter(session.graph.stages.values()))
    executor.submit(session.job(task))
    pipe.send(executor.workers[0].child.process.pid)
    time.sleep(60)
