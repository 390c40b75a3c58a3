"""What the checks have found: one result for each check and stage, and their report."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["passed", "failed", "skipped"]


class FaultError(Exception):
    """Raised by a check that a method does not pass.

    Attributes:
        reason: what was found.
        hint: what to do about it.
    """

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.reason, self.hint = reason, hint


class NotApplicableError(Exception):
    """Raised by a check that has nothing to say on a method, with the reason."""


@dataclass(frozen=True)
class Result:
    """What one check found.

    Attributes:
        check: its name.
        status: whether the method passed it; skipped where it does not apply.
        reason: why it failed or was skipped, or what it measured.
        hint: what to do about a failure.
        stage: the stage it looked at; empty for the method as a whole.
        method: the method's name.
    """

    check: str
    status: Status
    reason: str = ""
    hint: str = ""
    stage: str = ""
    method: str = ""

    @property
    def place(self) -> str:
        """The check with its stage, in words."""
        return f"{self.check}, stage '{self.stage}'" if self.stage else self.check


@dataclass(frozen=True)
class Report:
    """All results, in the order of the checks.

    Attributes:
        results: of one method or of several, one after another.
    """

    results: tuple[Result, ...]

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return not self.failures

    @property
    def failures(self) -> tuple[Result, ...]:
        """The results of the checks that failed."""
        return tuple(result for result in self.results if result.status == "failed")

    def only(self, check: str) -> Report:
        """The results of one check."""
        return Report(tuple(result for result in self.results if result.check == check))

    def summary(self) -> str:
        """How many checks passed, failed and were skipped."""
        count = Counter(result.status for result in self.results)
        return f"{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped"

    def failures_text(self) -> str:
        """The failures, each with its reason and its hint."""
        lines = [f"the contract of a method is not kept: {self.summary()}"]
        for result in self.failures:
            lines += [f"  {result.method}: {result.place}", f"    {result.reason}"]
            lines += [f"    {result.hint}"] if result.hint else []
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON-like data."""
        return {"passed": self.passed, "results": [asdict(result) for result in self.results]}
