"""A SLURM cluster: one batch job a stage, handed over by submitit.

All nodes reach the same store folder and, if the dataset has files, the same data folder, under the
same paths, and start the Python that submits. A job's output lies beside the study's file, in
`slurm/`, and goes when its stage is done.
"""

from __future__ import annotations

import getpass
import itertools
import logging
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

from pydantic import Field

from contrabench.contracts.executor import Crew, Executor, ExecutorInfo, Job, Outcome
from contrabench.contracts.registry import register_executor
from contrabench.errors import RequestError, RunError
from contrabench.protocol import Options as BaseOptions
from contrabench.text import one_line
from contrabench.training.stop import end_work

_JOBS = 16
_LOOK_SECONDS = 20.0
"""Pause between two looks at the queue; a job is lost that is not there at two and left nothing."""


class SlurmOptions(BaseOptions):
    """Options of the jobs of a SLURM cluster."""

    partition: str | None = Field(None, description="where jobs run; the cluster's default if none")
    account: str | None = Field(None, description="who pays")
    qos: str | None = Field(None, description="quality of service")
    constraint: str | None = Field(None, description="features that a node must have")
    minutes: int = Field(
        720, ge=5, le=525_600, description="time limit of a job; what it cuts off goes on"
    )
    memory: float | None = Field(
        None, gt=0, le=1_000_000, description="GiB of a job; the default if none"
    )


@register_executor("slurm")
class SlurmExecutor(Executor):
    """Batch jobs, each with as many CPUs as threads and as many GPUs as devices, or one CPU.

    Before its time ends a job is told by a signal, at which training keeps its checkpoint.
    RequestError if submitit is not installed, or this is no machine that jobs are handed over from.
    """

    info = ExecutorInfo(title="jobs of a SLURM cluster")
    Options = SlurmOptions
    on_this_machine = False
    cluster: ClassVar[str] = "slurm"

    def __init__(self, crew: Crew, options: BaseOptions | None = None) -> None:
        super().__init__(crew, options)
        self.asked = SlurmOptions.model_validate(self.options.model_dump())
        try:
            import submitit
        except ImportError:
            raise RequestError(
                "the executor 'slurm' needs submitit; install it with: "
                "pip install 'contrabench[slurm]'"
            ) from None
        self._check()
        logging.getLogger("submitit").setLevel(logging.ERROR)
        self.folder = crew.log.parent.resolve() / "slurm"
        self.submitit: Any = submitit
        self.jobs: dict[str, tuple[Any, Sequence[Job]]] = {}
        self.short: list[Job] = []
        self.looked, self.absent, self.stopping = time.monotonic(), set[str](), False

    def _maker(self, device: bool) -> Any:
        """What hands jobs over that need a device, or none."""
        crew, asked = self.crew, self.asked
        maker = self.submitit.AutoExecutor(self.folder, self.cluster)
        maker.update_parameters(
            name="contrabench",
            timeout_min=asked.minutes,
            mem_gb=asked.memory,
            cpus_per_task=crew.threads * crew.devices if device else 1,
            gpus_per_node=crew.devices if device and self.helpers else None,
            slurm_partition=asked.partition,
            slurm_account=asked.account,
            slurm_qos=asked.qos,
            slurm_constraint=asked.constraint,
        )
        return maker

    def _check(self) -> None:
        """RequestError without the commands of a cluster."""
        if lacking := [name for name in ("sbatch", "srun", "squeue") if not shutil.which(name)]:
            raise RequestError(
                f"the executor 'slurm' needs {lacking[0]}, which is not on this machine; run the "
                "study on a login node of the cluster, or leave out --executor"
            )

    @cached_property
    def device(self) -> str:
        """What was asked for, or a GPU if any node of the partition has one."""
        if self.crew.device != "auto":
            return self.crew.device
        where = ["-p", self.asked.partition] if self.asked.partition else []
        return "cuda" if "gpu" in (_told(["sinfo", "-h", "-o", "%G", *where]) or "") else "cpu"

    @property
    def slots(self) -> int:
        """Stages that may be in the queue at once."""
        return self.crew.workers or _JOBS

    @property
    def helpers(self) -> int:
        """As many without a GPU, where there are any; they share jobs."""
        return self.slots if self.device == "cuda" else 0

    def submit(self, job: Job) -> None:
        """Hands the job over; RunError if the cluster does not take it."""
        if job.device:
            self._hand_over([job])
        else:
            # What takes seconds is worth no job of its own.
            self.short.append(job)

    def _hand_over(self, jobs: Sequence[Job]) -> None:
        try:
            # Of the job that the study itself may run in nothing goes on to others.
            with self.submitit.helpers.clean_env():
                handed = self._maker(jobs[0].device).submit(_make, jobs)
        except (self.submitit.core.utils.FailedJobError, OSError) as error:
            raise RunError(
                f"the cluster takes no job ({one_line(error)}); mend the options of the executor "
                "and run the same command again"
            ) from error
        self.jobs[handed.job_id] = handed, jobs

    def wait(self, seconds: float) -> list[Outcome]:
        """Looks for results and, now and then, at the queue."""
        short, self.short = self.short, []
        if short and not self.stopping:
            self._hand_over(short)
            short = []
        time.sleep(seconds)
        there = {key for key, (job, _) in self.jobs.items() if job.paths.result_pickle.exists()}
        ended = [self._outcomes(*self.jobs.pop(key)) for key in sorted(there | self._gone())]
        stopped = [Outcome(job.key, "stopped", "stopped on request") for job in short]
        return [*stopped, *itertools.chain(*ended)]

    def _gone(self) -> set[str]:
        """Jobs that have left the queue for good."""
        if not self.jobs or time.monotonic() - self.looked < _LOOK_SECONDS:
            return set()
        self.looked = time.monotonic()
        queued = self._queued()
        absent = {key for key in self.jobs if queued is not None and key not in queued}
        # What a node has written may be seen here later.
        gone, self.absent = absent & self.absent, absent
        return gone

    def _queued(self) -> list[str] | None:
        """The jobs that wait or are at work; None if the cluster does not tell."""
        told = _told(["squeue", "-h", "-u", getpass.getuser(), "-o", "%A"])
        return None if told is None else told.split()

    def _outcomes(self, handed: Any, jobs: Sequence[Job]) -> list[Outcome]:
        """How the stages of a job have ended."""
        name = f"its job {handed.job_id}"

        def lost(how: str) -> list[Outcome]:
            return [Outcome(job.key, "lost", how) for job in jobs]

        if not handed.paths.result_pickle.exists():
            return lost(f"{name} ended ({handed.get_info(mode='force').get('State', 'unknown')})")
        try:
            outcomes: list[Outcome] = handed.result()
        except self.submitit.core.utils.FailedJobError as error:
            # It could not import what it needs.
            reason = str(error).partition("You can check")[0].rstrip("-\n").splitlines()[-1]
            return lost(f"{name} broke off ({reason})")
        if any(outcome.end == "stopped" for outcome in outcomes) and not self.stopping:
            return lost(f"the time of {name} ended")
        if all(outcome.end == "done" for outcome in outcomes):
            for path in self.folder.glob(f"{handed.job_id}_*"):
                path.unlink()
        return outcomes

    def stop(self) -> None:
        """Takes what waits off the queue, and tells what is at work to end."""
        self.stopping = True
        if self.jobs:
            _told(["scancel", "--state=PENDING", *self.jobs])
            _told(["scancel", f"--signal={_END.name.removeprefix('SIG')}", *self.jobs])
            self.looked -= _LOOK_SECONDS

    def close(self) -> None:
        """Cancels whatever is left."""
        if self.jobs:
            _told(["scancel", *self.jobs])


_END = signal.SIGUSR2
"""What submitit lets the cluster send before a job's time ends."""


def _make(jobs: Sequence[Job]) -> list[Outcome]:
    """Makes stages in a job of the cluster."""
    # Training stops at its checkpoint; what has none is lost.
    signal.signal(_END, lambda number, frame: end_work())
    return [job() for job in jobs]


def _told(command: Sequence[str]) -> str | None:
    """What a command of the cluster prints; None if it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
