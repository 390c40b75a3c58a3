"""The contract of an executor: where the stages of a study are made, several at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Protocol

from contrabench.progress import Reporter
from contrabench.protocol import Frozen
from contrabench.protocol import Options as _Options

End = Literal["done", "failed", "busy", "lost", "full", "stopped"]


@dataclass(frozen=True)
class Outcome:
    """How the job of the stage `key` ended, and why, in words, unless it is `done`.

    `failed`, with the failure on record; `busy`: another process is at work on it; `lost`: the
    worker died; `full`: the disk is; `stopped`: on request.
    """

    key: str
    end: End
    reason: str = ""


class Job(Protocol):
    """One stage to be made. It can be pickled, and travels to any process or machine."""

    @property
    def key(self) -> str:
        """Of the stage."""

    @property
    def device(self) -> bool:
        """Whether it needs a device; only where there are helpers are there jobs that do not."""

    def __call__(self, reporter: Reporter | None = None) -> Outcome:
        """Makes the stage and never raises: what goes wrong is in the outcome."""


@dataclass(frozen=True)
class Crew:
    """What a study asks of its executor: `workers` stages at once, None for one per device.

    A stage has so many CPU `threads` on one device, or `devices` that train one network together.
    `device` is `cpu`, `cuda` or `mps`, or `auto` for the best there is, on other machines. Workers
    print to `log`. On this machine `helpers` more processes do what needs no device.
    """

    workers: int | None
    threads: int
    devices: int
    device: str
    log: Path
    helpers: int = 0


class ExecutorInfo(Frozen):
    """What a reader must know about an executor."""

    title: str


class Executor(ABC):
    """Makes jobs, several at once, in no order of its own.

    `on_this_machine`: whether its jobs find this machine's devices; if not, `device` tells.
    """

    info: ClassVar[ExecutorInfo]
    Options: ClassVar[type[_Options]] = _Options
    on_this_machine: ClassVar[bool] = True

    def __init__(self, crew: Crew, options: _Options | None = None) -> None:
        self.crew = crew
        self.options = self.Options() if options is None else options

    @property
    def device(self) -> str:
        """Kind of device that jobs find where they are made: `cpu`, `cuda` or `mps`."""
        return self.crew.device

    @property
    @abstractmethod
    def slots(self) -> int:
        """Jobs that can be at work at once, each on its device; it may grow and shrink."""

    @property
    def helpers(self) -> int:
        """Jobs without a device that can be at work beside them; 0 where all jobs are alike."""
        return 0

    @abstractmethod
    def submit(self, job: Job) -> None:
        """Starts a job; called only while fewer than `slots`, or `helpers`, are at work."""

    @abstractmethod
    def wait(self, seconds: float) -> list[Outcome]:
        """Waits for at most so long, and returns the jobs that have ended since."""

    @abstractmethod
    def stop(self) -> None:
        """Asks all jobs to keep their checkpoint and end; their outcomes still come."""

    @abstractmethod
    def close(self) -> None:
        """Ends all processes, whatever they are doing."""
