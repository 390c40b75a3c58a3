"""What a method must do, as lists that the checks enter themselves in, and what was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["passed", "failed", "skipped"]
Look = Callable[[Any], str | None]


class FaultError(Exception):
    """Raised by a check that a method does not pass: what was found, and what to do about it."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.reason, self.hint = reason, hint


class NotApplicableError(Exception):
    """Raised by a check that has nothing to say on a method, with the reason."""


@dataclass(frozen=True)
class Requirement:
    """One thing that a method must do.

    Attributes:
        about: what it asks, in one line.
        look: at a StageTrial, or at the whole Trial; returns what it measured, or None.
        needs: checks that must not have failed; without them it would tell their fault again.
        whole: looks at the method as a whole, and not at each stage.
    """

    about: str
    look: Look
    needs: tuple[str, ...]
    whole: bool


class CheckList(dict[str, Requirement]):
    """Checks by name, in the order in which their functions stand in a file."""

    def enter(self, *needs: str, whole: bool = False) -> Callable[[Look], Look]:
        """Enters a function under its name without `check_`; its first line says what it asks."""

        def decorate(look: Look) -> Look:
            about = (look.__doc__ or "").partition("\n")[0].rstrip(".")
            self[look.__name__.removeprefix("check_")] = Requirement(about, look, needs, whole)
            return look

        return decorate


@dataclass(frozen=True)
class CheckResult:
    """What one check found.

    Attributes:
        status: whether the method passed it; skipped where it does not apply.
        reason: why it failed or was skipped, or what it measured.
        hint: what to do about a failure.
        stage: the stage it looked at; empty for the method as a whole.
    """

    check: str
    status: Status
    reason: str = ""
    hint: str = ""
    stage: str = ""
    method: str = ""


@dataclass(frozen=True)
class ConformityReport:
    """All results, of one method or of several, in the order of the checks."""

    results: tuple[CheckResult, ...]

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return not self.failures

    @property
    def failures(self) -> tuple[CheckResult, ...]:
        """The results of the checks that failed."""
        return tuple(result for result in self.results if result.status == "failed")

    def only(self, check: str) -> ConformityReport:
        """The results of one check."""
        return ConformityReport(tuple(item for item in self.results if item.check == check))

    def summary(self) -> str:
        """How many checks passed, failed and were skipped."""
        count = Counter(result.status for result in self.results)
        return f"{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped"

    def failures_text(self) -> str:
        """The failures, each with its reason and its hint."""
        lines = [f"the contract of a method is not kept: {self.summary()}"]
        for item in self.failures:
            stage = f", stage '{item.stage}'" if item.stage else ""
            lines += [f"  {item.method}: {item.check}{stage}", f"    {item.reason}"]
            lines += [f"    {item.hint}"] if item.hint else []
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON-like data."""
        return {"passed": self.passed, "results": [asdict(result) for result in self.results]}
