"""What a method must do, as lists that the checks enter themselves in, and what was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from contrabench.testing.trial import StageTrial, Trial

Status = Literal["passed", "failed", "skipped"]
OfMethod = Callable[["Trial"], str | None]
OfStage = Callable[["StageTrial"], str | None]


class FaultError(Exception):
    """Raised by a check that a method does not pass: what was found, and what to do about it."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.reason, self.hint = reason, hint


class NotApplicableError(Exception):
    """Raised by a check that has nothing to say on a method, with the reason."""


@dataclass(frozen=True)
class Requirement:
    """One thing that a method must do; its check returns what it measured, or None.

    Attributes:
        about: what it asks, in one line.
        needs: checks that must not have failed; without them it would tell their fault again.
        whole: looks at the method as a whole; None if it looks at each stage.
        stage: looks at one stage; None if it looks at the whole.
    """

    about: str
    needs: tuple[str, ...] = ()
    whole: OfMethod | None = None
    stage: OfStage | None = None


class CheckList(dict[str, Requirement]):
    """Checks by name, in the order in which their functions stand in a file.

    A function is entered under its name without `check_`, and its first line says what it asks.
    """

    def of_method(self, *needs: str) -> Callable[[OfMethod], OfMethod]:
        """Enters a function that looks at a method as a whole."""

        def enter(check: OfMethod) -> OfMethod:
            self[_name(check)] = Requirement(_first_line(check), needs, whole=check)
            return check

        return enter

    def of_stage(self, *needs: str) -> Callable[[OfStage], OfStage]:
        """Enters a function that looks at each stage of a method."""

        def enter(check: OfStage) -> OfStage:
            self[_name(check)] = Requirement(_first_line(check), needs, stage=check)
            return check

        return enter


def _name(check: Callable[..., object]) -> str:
    return check.__name__.removeprefix("check_")


def _first_line(check: Callable[..., object]) -> str:
    return (check.__doc__ or "").partition("\n")[0].rstrip(".")


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
