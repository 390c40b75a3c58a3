"""What the doctor says: checks, and what each of them found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, TypeVar

from contrabench.progress import Reporter
from contrabench.text import one_line

Item = TypeVar("Item")

MANY = 200
"""Things to look at from which the progress is told."""


class Severity(StrEnum):
    """How much a finding matters."""

    error = "error"
    warning = "warning"
    information = "information"


@dataclass(frozen=True)
class Finding:
    """One thing that a reader should know.

    Attributes:
        severity: an error says that work cannot go on or that results cannot be trusted.
        what: what was found, and where.
        means: what follows from it.
        do: what to do about it, with a command where there is one.
    """

    severity: Severity
    what: str
    means: str = ""
    do: str = ""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        title: what was looked for.
        seen: what was looked at, and how much of it.
        findings: what is worth telling; none if all is well.
    """

    title: str
    seen: str
    findings: tuple[Finding, ...] = ()

    @property
    def worst(self) -> Severity | None:
        """The severity of its worst finding."""
        found = {finding.severity for finding in self.findings}
        return next((severity for severity in Severity if severity in found), None)

    def as_dict(self) -> dict[str, Any]:
        """The check as JSON-like data."""
        return asdict(self)


def attempt(title: str, look: Callable[[], Check]) -> Check:
    """Carries out a check; one that breaks off is a finding, and costs no other check."""
    try:
        return look()
    # What is looked at may be broken in any way; that is why somebody asks the doctor.
    except Exception as error:
        return broken_off(title, error)


def broken_off(title: str, error: Exception) -> Check:
    """A check that could not be carried out."""
    finding = Finding(
        Severity.error,
        f"{title}: this check broke off: {one_line(error)}",
        "what it looks at is damaged in a way that was not foreseen, or a package is",
        "mend what the other findings name, and look again",
    )
    return Check(title, "not finished", (finding,))


def watched(reporter: Reporter, title: str, items: Sequence[Item]) -> Iterator[Item]:
    """Goes through items and tells the progress if they are many."""
    if len(items) < MANY:
        yield from items
        return
    with reporter.track(title, len(items)) as track:
        for number, item in enumerate(items, start=1):
            yield item
            track.advance(number)
