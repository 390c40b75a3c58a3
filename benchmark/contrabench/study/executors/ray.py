"""A Ray cluster: one task a stage, wherever there is room, on one machine or many.

All nodes reach the same store folder and, if the dataset has files, the same data folder,
under the same paths, and have contrabench installed.
"""

from __future__ import annotations

import logging
import socket
import time
from typing import Any

from pydantic import Field

from contrabench.contracts.executor import Crew, Executor, ExecutorInfo, Job, Outcome
from contrabench.contracts.registry import register_executor
from contrabench.errors import RequestError
from contrabench.protocol import Options as BaseOptions


class RayOptions(BaseOptions):
    """Options of a cluster."""

    address: str | None = Field(
        None, description="HOST:PORT of a running cluster; without one it is started here"
    )
    gpu_share: float = Field(1.0, gt=0, le=1, description="of a GPU that a stage takes")


@register_executor("ray")
class RayExecutor(Executor):
    """Tasks of a Ray cluster, each with as many CPUs as threads.

    With several devices for one network, a task takes them whole. RequestError if Ray is not
    installed, or the cluster cannot be reached.
    """

    info = ExecutorInfo(title="tasks of a Ray cluster")
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
        # A task that dies is begun again by the study, which counts how often.
        self.make = ray.remote(max_retries=0, num_cpus=self.threads, num_gpus=self.gpu_share)(_call)
        self.jobs: dict[Any, Job] = {}

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
        """Tasks that fit on the nodes that are alive, at least one."""
        total = 0
        for node in self.ray.nodes():
            if node["Alive"]:
                there = node["Resources"]
                room = there.get("CPU", 0.0) / self.threads
                if self.gpu_share:
                    room = min(room, there.get("GPU", 0.0) / self.gpu_share)
                total += int(room)
        return max(1, total)

    def submit(self, job: Job) -> None:
        """Hands the job to the cluster, which finds it a node."""
        self.jobs[self.make.remote(job)] = job

    def wait(self, seconds: float) -> list[Outcome]:
        """Waits for tasks to answer, or for their node or process to die."""
        if not self.jobs:
            time.sleep(seconds)
            return []
        pending = list(self.jobs)
        ended, _ = self.ray.wait(pending, num_returns=len(pending), timeout=seconds)
        return [self._outcome(task) for task in ended]

    def _outcome(self, task: Any) -> Outcome:
        job = self.jobs.pop(task)
        errors = self.ray.exceptions
        try:
            outcome: Outcome = self.ray.get(task)
        except errors.TaskCancelledError:
            return Outcome(job.key, "stopped", "stopped on request")
        except errors.RayError as error:
            # A dead node, a dead process, or a worker that cannot import what it needs.
            return Outcome(job.key, "lost", f"its worker was lost ({_in_short(error)})")
        return outcome

    def stop(self) -> None:
        """Interrupts every task, at which training keeps its checkpoint."""
        for task in self.jobs:
            self.ray.cancel(task, force=False)

    def close(self) -> None:
        """Leaves the cluster; one that was started here ends."""
        for task in self.jobs:
            self.ray.cancel(task, force=True)
        self.ray.shutdown()


def _call(job: Job) -> Outcome:
    return job()


def _knock(address: str | None) -> None:
    """Fails at once (OSError, ValueError) where nobody listens; Ray would end the process."""
    host, colon, port = (address or "").rpartition(":")
    if colon and "/" not in host:
        socket.create_connection((host, int(port)), timeout=5).close()


def _in_short(error: Exception) -> str:
    """What happened; Ray's advice, a paragraph long, is left out."""
    sentence = str(error).strip().partition("\n")[0].partition(". ")[0]
    return f"{type(error).__name__}: {sentence}" if sentence else type(error).__name__
