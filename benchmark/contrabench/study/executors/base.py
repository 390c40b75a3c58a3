"""The one interface of all executors."""

from __future__ import annotations

from abc import ABC, abstractmethod

from contrabench.study.worker import Job, Outcome


class Executor(ABC):
    """Makes jobs in other processes, several at once, in no order of its own."""

    @property
    @abstractmethod
    def slots(self) -> int:
        """Jobs that can be at work at once; it may grow and shrink."""

    @abstractmethod
    def submit(self, job: Job) -> None:
        """Starts a job; called only while fewer than `slots` are at work."""

    @abstractmethod
    def wait(self, seconds: float) -> list[Outcome]:
        """Waits for at most so long, and returns the jobs that have ended since."""

    @abstractmethod
    def stop(self) -> None:
        """Asks all jobs to keep their checkpoint and end; their outcomes still come."""

    @abstractmethod
    def close(self) -> None:
        """Ends all processes, whatever they are doing."""
