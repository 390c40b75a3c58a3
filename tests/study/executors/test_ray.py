"""A real cluster of two nodes on this machine; one of them is lost in the middle."""

import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.makers.studies import plan_tiny

from contrabench.contracts.executor import Crew
from contrabench.errors import RequestError
from contrabench.store.rows import ROWS_FILE
from contrabench.study.executors.in_process import InProcessExecutor
from contrabench.study.executors.ray import RayExecutor, RayOptions
from contrabench.training.stop import request_stop

ray = pytest.importorskip("ray", reason="the extra 'ray' is not installed")
cluster_utils = pytest.importorskip("ray.cluster_utils")
FEW = {
    **{"methods": ["simclr"], "labels": ["50%"], "draws": 1, "test_folds": [0]},
    "without": ["scratch_long", "full_supervision"],
}
"""A study of seven stages."""
CREW = Crew(workers=None, threads=1, devices=1, device="auto", log=Path("none"))


def rows(store):
    return {path.parent.name: path.read_bytes() for path in store.glob(f"runs/*/{ROWS_FILE}")}


@pytest.fixture(scope="module")
def cluster():
    """One node with one CPU; what a test adds it takes away again."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        # Ray lets go before all others, which on a busy machine takes minutes.
        patch.setenv("RAY_worker_niceness", "0")
        # A node is looked for more often than every three seconds.
        patch.setenv("RAY_health_check_period_ms", "500")
        made = cluster_utils.Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
        )
        yield made
    made.shutdown()
    # Whoever connects to Ray gets a handler of its own.
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def executor(cluster):
    made = RayExecutor(CREW, RayOptions(address=cluster.address))
    yield made
    made.close()


def until(holds, seconds=300):
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.2)
    return holds()


class Losing:
    """A listener that takes a node away as soon as a training is at work there."""

    def __init__(self, cluster, node, executor):
        self.cluster, self.node, self.executor, self.lost = cluster, node, executor, []

    def changed(self, task, status, reason=""):
        if status == "waiting" and "lost" in reason:
            self.lost.append(task.title)

    def tick(self):
        at_work = [
            where
            for _, where, job in self.executor.training.jobs.values()
            if job.kind in ("pretrain", "finetune")
        ]
        if self.node is not None and self.node.node_id in at_work:
            self.cluster.remove_node(self.node, allow_graceful=False)
            self.node = None


def test_processes_stay_and_a_lost_node_costs_no_row(cluster, executor, tmp_path):
    straight = plan_tiny(tmp_path / "straight", **FEW)
    # The volumes are those of both.
    shutil.copytree(tmp_path / "straight", tmp_path / "store")
    straight.run(straight.survey(), InProcessExecutor(CREW))
    second = cluster.add_node(num_cpus=1)
    assert until(lambda: executor.slots == 2)
    assert not executor.has_gpus()
    begun, remote = [], executor.training.maker.remote
    executor.training.maker = SimpleNamespace(remote=lambda: begun.append(remote()) or begun[-1])
    losing = Losing(cluster, second, executor)
    session = plan_tiny(tmp_path / "store", **FEW)
    board = session.survey()
    assert session.run(board, executor, losing) == ""
    assert board.complete
    assert losing.node is None
    assert until(lambda: executor.slots == 1)
    assert len(losing.lost) == 1
    # One on each node, and one that found no room, for seven stages.
    assert 2 <= len(begun) <= 3
    assert rows(tmp_path / "store") == rows(tmp_path / "straight")
    assert len(rows(tmp_path / "store")) == len(session.graph.runs)


def test_a_gpu_is_shared_out_by_the_cluster(cluster):
    """Ray counts GPUs that are only claimed, which is enough to see that processes share them."""
    node = cluster.add_node(num_cpus=8, num_gpus=2)
    executor = RayExecutor(
        replace(CREW, threads=2), RayOptions(address=cluster.address, gpu_share=0.5)
    )
    try:
        assert executor.has_gpus()
        # Two GPUs hold four halves; the head has no GPU.
        assert executor.slots == 4
        # And leave nothing of eight CPUs but that of the head.
        assert executor.helpers == 1
    finally:
        executor.close()
        cluster.remove_node(node)


def test_a_cluster_that_is_not_there():
    with pytest.raises(RequestError, match="no Ray cluster can be reached"):
        RayExecutor(CREW, RayOptions(address="127.0.0.1:1"))


def test_a_stop_is_calm_and_the_next_study_goes_on(executor, tmp_path):
    class Stopping:
        def changed(self, task, status, reason=""):
            pass

        def tick(self):
            if list(tmp_path.glob("stages/finetune/*.running.json")):
                request_stop()

    session = plan_tiny(tmp_path, **FEW)
    board = session.survey()
    assert session.run(board, executor, Stopping()) == "interrupted"
    assert board.count("running", "failed", "blocked") == 0
    again = session.survey()
    assert again.count("failed", "blocked") == 0
    assert session.run(again, InProcessExecutor(CREW)) == ""
    assert again.complete
