"""A Ray cluster: processes that stay, wherever there is room, on one machine or many.

All nodes reach the same store folder and, if the dataset has files, the same data folder,
under the same paths, and have contrabench installed.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import Field

from contrabench.contracts.executor import Crew, Executor, ExecutorInfo, Job, Outcome
from contrabench.contracts.registry import register_executor
from contrabench.errors import RequestError
from contrabench.protocol import Options as BaseOptions
from contrabench.training.stop import end_work


class RayOptions(BaseOptions):
    """Options of a cluster."""

    address: str | None = Field(
        None, description="HOST:PORT of a running cluster; without one it is started here"
    )
    gpu_share: float = Field(1.0, gt=0, le=1, description="of a GPU that a stage takes")


@register_executor("ray")
class RayExecutor(Executor):
    """Actors of a Ray cluster, each with as many CPUs as threads, which make stage after stage.

    What an actor has imported and the GPU that it was given stay with it. With several devices for
    one network it takes them whole. RequestError if Ray is not installed, or the cluster cannot be
    reached.
    """

    info = ExecutorInfo(title="processes of a Ray cluster")
    Options = RayOptions
    on_this_machine = False

    def __init__(self, crew: Crew, options: BaseOptions | None = None) -> None:
        super().__init__(crew, options)
        asked = RayOptions.model_validate(self.options.model_dump())
        try:
            import ray
        except ImportError:
            raise RequestError(
                "the executor 'ray' needs Ray; install it with: pip install 'contrabench[ray]'"
            ) from None
        self.ray: Any = ray
        self.threads = crew.threads * crew.devices
        try:
            _knock(asked.address)
            ray.init(address=asked.address, logging_level=logging.ERROR, log_to_driver=False)
        except (OSError, RuntimeError, ValueError) as error:
            raise RequestError(
                f"no Ray cluster can be reached at {asked.address} "
                f"({str(error).splitlines()[0]}); start one with `ray start --head`, or leave out "
                "the address"
            ) from error
        share = asked.gpu_share if crew.devices == 1 else float(crew.devices)
        self.gpu_share = share if self.has_gpus() else 0.0
        self.training = _Pool(ray, self.threads, self.gpu_share)
        self.helping = _Pool(ray, 1, 0.0)

    @property
    def device(self) -> str:
        """What was asked for, or a GPU if any node has one."""
        if self.crew.device != "auto":
            return self.crew.device
        return "cuda" if self.has_gpus() else "cpu"

    def has_gpus(self) -> bool:
        """Whether any node of the cluster has a GPU."""
        return bool(self.ray.cluster_resources().get("GPU", 0.0) > 0)

    @property
    def slots(self) -> int:
        """Processes that fit on the nodes that are alive, at least one."""
        return max(1, sum(self._fitting(node) for node in self._nodes()))

    @property
    def helpers(self) -> int:
        """Where stages take GPUs, the CPUs that are left."""
        if not self.gpu_share:
            return 0
        left = (_cpus(node) - self._fitting(node) * self.threads for node in self._nodes())
        return int(sum(left))

    def _nodes(self) -> list[dict[str, float]]:
        """What the nodes that are alive have."""
        return [node["Resources"] for node in self.ray.nodes() if node["Alive"]]

    def _fitting(self, node: Mapping[str, float]) -> int:
        """Processes with a device that a node has room for."""
        room = _cpus(node) / self.threads
        if self.gpu_share:
            room = min(room, node.get("GPU", 0.0) / self.gpu_share)
        return int(room)

    def submit(self, job: Job) -> None:
        """Gives the job to an idle process, or to a new one, which the cluster finds a node."""
        (self.training if job.device else self.helping).submit(job)

    def wait(self, seconds: float) -> list[Outcome]:
        """Waits for processes to answer, or for them or their node to die."""
        pools = self.training, self.helping
        pending = [task for pool in pools for task in pool.pending]
        if pending:
            ended, _ = self.ray.wait(pending, num_returns=len(pending), timeout=seconds)
            for pool in pools:
                pool.hear(ended)
        elif not any(pool.ended for pool in pools):
            time.sleep(seconds)
        return [outcome for pool in pools for outcome in pool.outcomes()]

    def stop(self) -> None:
        """Asks every process to end, at which training keeps its checkpoint."""
        self.training.stop()
        self.helping.stop()

    def close(self) -> None:
        """Leaves the cluster, which ends the processes; one that was started here ends."""
        self.ray.shutdown()


def _cpus(node: Mapping[str, float]) -> float:
    """The CPUs of a node."""
    return node.get("CPU", 0.0)


class _Pool:
    """Processes of the cluster that ask for the same, and the jobs for them."""

    def __init__(self, ray: Any, cpus: int, gpus: float) -> None:
        self.ray = ray
        # What dies is begun again by the study, which counts how often.
        self.maker = ray.remote(
            max_restarts=0, num_cpus=cpus, num_gpus=gpus, concurrency_groups={_BESIDE: 1}
        )(_Maker)
        # Each by what it will answer: processes at work and those that have not begun. One that
        # finds no room yet must hold no job that another one could make.
        self.jobs: dict[Any, tuple[Any, str, Job]] = {}
        self.coming: dict[Any, Any] = {}
        self.idle: list[tuple[Any, str]] = []
        self.queue: list[Job] = []
        self.ended: list[Outcome] = []

    @property
    def pending(self) -> list[Any]:
        """What is still to be answered."""
        return [*self.jobs, *self.coming]

    def submit(self, job: Job) -> None:
        """Takes a job."""
        self.queue.append(job)
        self._hand_out()

    def _hand_out(self) -> None:
        """Gives jobs to idle processes whose node lives, and asks for more where there are none."""
        if not self.queue:
            return
        alive = {node["NodeID"] for node in self.ray.nodes() if node["Alive"]}
        self.idle = [(maker, node) for maker, node in self.idle if node in alive]
        while self.queue and self.idle:
            (maker, node), job = self.idle.pop(), self.queue.pop(0)
            self.jobs[maker.make.remote(job)] = maker, node, job
        while len(self.coming) < len(self.queue):
            maker = self.maker.remote()
            self.coming[maker.node.remote()] = maker

    def hear(self, answered: Iterable[Any]) -> None:
        """Takes in what processes have said, or that they are dead."""
        for task in answered:
            if task in self.jobs or task in self.coming:
                self._answer(task)
        self._hand_out()

    def _answer(self, task: Any) -> None:
        """A process has begun, or its job has ended."""
        job: Job | None = None
        if task in self.jobs:
            maker, node, job = self.jobs.pop(task)
        else:
            maker, node = self.coming.pop(task), ""
        try:
            answer = self.ray.get(task)
        except self.ray.exceptions.RayError as error:
            # A dead node, a dead process, or one that cannot import what it needs.
            job = job or (self.queue.pop(0) if self.queue else None)
            if job is not None:
                reason = f"its worker was lost ({_in_short(error)})"
                self.ended.append(Outcome(job.key, "lost", reason))
            return
        self.idle.append((maker, node or answer))
        if job is not None:
            self.ended.append(answer)

    def outcomes(self) -> list[Outcome]:
        """How jobs have ended since this was asked last."""
        outcomes, self.ended = self.ended, []
        return outcomes

    def stop(self) -> None:
        """Takes back what is not begun, and asks the others to end."""
        self.ended += [Outcome(job.key, "stopped", "stopped on request") for job in self.queue]
        self.queue.clear()
        for maker, *_ in self.jobs.values():
            maker.end.options(concurrency_group=_BESIDE).remote()


_BESIDE = "beside"


class _Maker:
    """A process of the cluster, whose thread of work is not the main one."""

    def node(self) -> str:
        """Where it is."""
        import ray

        node: str = ray.get_runtime_context().get_node_id()
        return node

    def make(self, job: Job) -> Outcome:
        """Makes one stage."""
        return job()

    def end(self) -> None:
        """Called beside the work: training stops at its checkpoint, and what has none is lost."""
        end_work()


def _knock(address: str | None) -> None:
    """Fails at once (OSError, ValueError) where nobody listens; Ray would end the process."""
    host, colon, port = (address or "").rpartition(":")
    if colon and "/" not in host:
        socket.create_connection((host, int(port)), timeout=5).close()


def _in_short(error: Exception) -> str:
    """What happened; Ray's advice, a paragraph long, is left out."""
    sentence = str(error).strip().partition("\n")[0].partition(". ")[0]
    return f"{type(error).__name__}: {sentence}" if sentence else type(error).__name__
