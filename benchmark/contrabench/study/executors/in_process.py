"""The study's own process, one stage after another: how `bench run` makes its stages."""

from __future__ import annotations

from contrabench.contracts.executor import Crew, Executor, ExecutorInfo, Job, Outcome
from contrabench.contracts.registry import register_executor
from contrabench.progress import Reporter, Silent
from contrabench.protocol import Options
from contrabench.training.stop import request_stop


@register_executor("in_process")
class InProcessExecutor(Executor):
    """What kills a stage, an out-of-memory killer for instance, ends the study with it."""

    info = ExecutorInfo(title="one stage after another in the study's own process")

    def __init__(
        self, crew: Crew, options: Options | None = None, reporter: Reporter | None = None
    ) -> None:
        super().__init__(crew, options)
        self.reporter = reporter or Silent()
        self.job: Job | None = None
        self.awaited: set[str] = set()

    @property
    def slots(self) -> int:
        """One."""
        return 1

    def submit(self, job: Job) -> None:
        """Keeps the job for the next wait."""
        self.job = job

    def wait(self, seconds: float) -> list[Outcome]:
        """Makes the job, however long it takes."""
        job, self.job = self.job, None
        if job is None:
            return []
        outcome = job(self.reporter)
        if outcome.end == "busy" and outcome.key not in self.awaited:
            self.awaited.add(outcome.key)
            self.reporter.line(f"  {outcome.reason}; waiting for it")
        if outcome.end == "stopped":
            # The training has taken the signal that was meant for the whole study.
            request_stop()
        return [outcome]

    def stop(self) -> None:
        """Nothing is at work while this is called."""

    def close(self) -> None:
        """There is no other process."""
