"""Worker processes of this machine, one for each GPU, or as many as are asked for.

A stage never runs in the study's own process: what kills it, an out-of-memory killer for
instance, costs that stage alone.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Literal

from pydantic import Field

from contrabench.contracts.executor import Crew, Executor, ExecutorInfo, Job, Outcome
from contrabench.contracts.registry import register_executor
from contrabench.protocol import Options as BaseOptions
from contrabench.training.processes import Child, DiedError

Start = Literal["spawn", "fork"]


class LocalOptions(BaseOptions):
    """Options of worker processes."""

    start: Start = Field(
        "spawn",
        description="how a process begins; a forked copy of one with threads or a GPU may hang",
    )


@register_executor("local")
class LocalExecutor(Executor):
    """Processes that stay, so that libraries and data are loaded once."""

    info = ExecutorInfo(title="worker processes of this machine")
    Options = LocalOptions

    def __init__(self, crew: Crew, options: BaseOptions | None = None) -> None:
        super().__init__(crew, options)
        start = LocalOptions.model_validate(self.options.model_dump()).start
        self.workers = [_Worker(True, values, crew.log, start) for values in _environments(crew)]
        self._slots = len(self.workers)
        # They take no memory of a GPU.
        hidden = {"CUDA_VISIBLE_DEVICES": ""}
        self.workers += [_Worker(False, hidden, crew.log, start) for _ in range(crew.helpers)]

    @property
    def slots(self) -> int:
        """One job for each worker with a device."""
        return self._slots

    @property
    def helpers(self) -> int:
        """One job for each worker without."""
        return len(self.workers) - self._slots

    def submit(self, job: Job) -> None:
        """Gives the job to a free worker, starting its process if need be."""
        free = (one for one in self.workers if one.job is None and one.device == job.device)
        next(free).start(job)

    def wait(self, seconds: float) -> list[Outcome]:
        """Waits for workers to answer or to die."""
        busy = [worker for worker in self.workers if worker.job is not None]
        if not busy:
            time.sleep(seconds)
            return []
        # The end of a process closes its pipe, which wakes the wait as an answer does.
        wait([worker.child.pipe for worker in busy if worker.child], timeout=seconds)
        ended = (worker.answer() for worker in busy)
        return [outcome for outcome in ended if outcome is not None]

    def stop(self) -> None:
        """Sends each busy worker the signal at which training keeps its checkpoint."""
        for worker in self.workers:
            if worker.child is not None and worker.job is not None:
                worker.child.process.terminate()

    def close(self) -> None:
        """Lets idle workers go and kills what does not end."""
        # The last first: a forked one holds the pipes of those before it open.
        for worker in reversed(self.workers):
            worker.close()


def _environments(crew: Crew) -> list[dict[str, str]]:
    """What each worker sees: with GPUs, those that it may take."""
    if crew.device == "cpu":
        return [{}] * (crew.workers or default_workers(crew.device, crew.devices, crew.threads))
    share, gpus = crew.devices, visible_gpus()
    workers = crew.workers or default_workers(crew.device, share, crew.threads)
    if not gpus:
        return [{} for _ in range(workers)]
    return [
        {"CUDA_VISIBLE_DEVICES": ",".join(gpus[(n * share + i) % len(gpus)] for i in range(share))}
        for n in range(workers)
    ]


def default_workers(device: str, share: int, threads: int) -> int:
    """One worker for every so many GPUs as share a training, or for so many cores as it takes.

    Networks that a CPU trains are small, and a core to each makes more of them than many cores to
    one. There are four at most, each taking memory of its own.
    """
    if device == "cuda":
        return max(1, len(visible_gpus()) // share)
    from contrabench.training.runtime import usable_cores

    return max(1, min(4, usable_cores() // (share * threads))) if device == "cpu" else 1


def visible_gpus() -> list[str]:
    """The GPUs that this process may take, by the names that CUDA_VISIBLE_DEVICES gives them."""
    import torch

    there, named = torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return [str(number) for number in range(there)]
    names = [name.strip() for name in named.split(",")]
    # Of several parts of GPUs a process sees the first alone.
    return names if there and names[0].startswith("MIG-") else names[:there]


class _Worker:
    """One process and what it is at work on."""

    def __init__(
        self, device: bool, environment: Mapping[str, str], log: Path, start: Start
    ) -> None:
        self.device, self.environment = device, dict(environment)
        self.log, self.begin = log, start
        self.job: Job | None = None
        self.child: Child | None = None

    def start(self, job: Job) -> None:
        if self.child is None or not self.child.process.is_alive():
            self.log.parent.mkdir(parents=True, exist_ok=True)
            # Ctrl-C would end its imports with a traceback.
            deaf = {signal.SIGINT}
            self.child = Child(serve, self.environment, self.log, deaf=deaf, start=self.begin)
        self.job = job
        self.child.pipe.send(job)

    def answer(self) -> Outcome | None:
        """The outcome of the job, or None while it is at work."""
        if self.job is None or self.child is None or not self.child.pipe.poll():
            return None
        job, self.job = self.job, None
        try:
            outcome: Outcome = self.child.receive()
        except DiedError as death:
            return Outcome(job.key, "lost", f"its process {death}")
        return outcome

    def close(self) -> None:
        if self.child is not None:
            self.child.pipe.close()
            self.child.end(kill=self.job is not None)


def serve(pipe: Connection, environment: Mapping[str, str], log: Path) -> None:
    """The main function of a worker process: takes jobs until the study is gone."""
    # Ctrl-C goes to the study alone, which then asks its workers to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(environment)
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (1, 2):
        os.dup2(target, stream)
    threading.Thread(target=_follow, daemon=True).start()

    # The other end is closed when the study is done, or dead.
    with contextlib.suppress(EOFError, OSError):
        while True:
            pipe.send(pipe.recv()())


def _follow() -> None:
    """Ends this process calmly when the study that started it is gone."""
    if study := multiprocessing.parent_process():
        study.join()
        os.kill(os.getpid(), signal.SIGTERM)
