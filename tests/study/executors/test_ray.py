"""A real cluster of two nodes on this machine; one of them is lost in the middle."""

import random
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.makers.studies import plan_tiny

from contrabench.contracts.executor import Crew
from contrabench.errors import RequestError
from contrabench.store.rows import ROWS_FILE
from contrabench.study.executors.ray import RayExecutor, RayOptions
from contrabench.training.stop import request_stop

ray = pytest.importorskip("ray", reason="the extra 'ray' is not installed")
cluster_utils = pytest.importorskip("ray.cluster_utils")
FEW = {
    **{"methods": ["simclr"], "labels": ["50%"], "draws": 1},
    "without": ["scratch_long", "full_supervision"],
}
"""A study of fourteen stages: each begins a process."""
CREW = Crew(workers=None, threads=1, devices=1, device="auto", log=Path("none"))


def rows(store):
    return {path.parent.name: path.read_bytes() for path in store.glob(f"runs/*/{ROWS_FILE}")}


@pytest.fixture
def cluster():
    made = cluster_utils.Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    yield made
    made.shutdown()


class Losing:
    """A listener that takes a node away once some stages are done and others at work."""

    def __init__(self, cluster, node, after):
        self.cluster, self.node, self.after = cluster, node, after
        self.done, self.lost_stages, self.machines = 0, [], set()

    def changed(self, task, status, reason=""):
        self.done += status == "done"
        if status == "waiting" and "lost" in reason:
            self.lost_stages.append(task.title)

    def tick(self):
        if self.node is not None and self.done >= self.after:
            self.cluster.remove_node(self.node, allow_graceful=False)
            self.node = None


def test_a_node_is_lost_and_no_row(cluster, tmp_path):
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    straight = plan_tiny(tmp_path / "straight", **FEW)
    session = plan_tiny(tmp_path / "store", **FEW)
    executor = RayExecutor(CREW, RayOptions(address=cluster.address))
    try:
        assert executor.slots == 2
        assert not executor.has_gpus()
        losing = Losing(cluster, second, after=random.Random(0).randint(2, 4))
        board = session.survey()
        assert session.run(board, executor, losing) == ""
        assert losing.node is None
        assert board.complete
        end = time.monotonic() + 30
        while executor.slots != 1 and time.monotonic() < end:
            time.sleep(0.2)
        assert executor.slots == 1
        undisturbed = straight.survey()
        assert straight.run(undisturbed, executor, Losing(cluster, None, 0)) == ""
    finally:
        executor.close()
    assert len(rows(tmp_path / "store")) == len(session.graph.runs)
    assert rows(tmp_path / "store") == rows(tmp_path / "straight")


def test_a_gpu_is_shared_out_by_the_cluster(cluster):
    """Ray counts GPUs that are only claimed, which is enough to see that tasks share them."""
    cluster.add_node(num_cpus=8, num_gpus=2)
    cluster.wait_for_nodes()
    executor = RayExecutor(
        replace(CREW, threads=2), RayOptions(address=cluster.address, gpu_share=0.5)
    )
    try:
        assert executor.has_gpus()
        # Two GPUs hold four halves; the head has no GPU.
        assert executor.slots == 4
    finally:
        executor.close()


def test_a_cluster_that_is_not_there():
    with pytest.raises(RequestError, match="no Ray cluster can be reached"):
        RayExecutor(CREW, RayOptions(address="127.0.0.1:1"))


def test_a_stop_is_calm(cluster, tmp_path):
    """What is at work leaves its checkpoint; the next study goes on from there."""
    session = plan_tiny(tmp_path, **FEW)
    executor = RayExecutor(CREW, RayOptions(address=cluster.address))

    class Stopping:
        since = None

        def changed(self, task, status, reason=""):
            if status == "running" and task.node.kind == "finetune":
                self.since = time.monotonic()

        def tick(self):
            if self.since is not None and list(tmp_path.glob("stages/finetune/*.work")):
                request_stop()

    try:
        board = session.survey()
        assert session.run(board, executor, Stopping()) == "interrupted"
        assert board.count("running") == 0
        again = session.survey()
        assert again.count("failed", "blocked") == 0
        assert session.run(again, executor, Losing(cluster, None, 0)) == ""
        assert again.complete
    finally:
        executor.close()
