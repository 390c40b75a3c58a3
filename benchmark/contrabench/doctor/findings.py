"""What a check of the doctor is, and what it finds; nothing is mended or removed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from contrabench.progress import Reporter
from contrabench.text import one_line

Item = TypeVar("Item")

Severity = Literal["error", "warning", "information"]
"""An error says that work cannot go on or that results cannot be trusted."""
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "information")

MANY = 200
"""Things to look at from which the progress is told."""


@dataclass(frozen=True)
class Finding:
    """One thing that a reader should know: what was found, and where; what follows; what to do."""

    severity: Severity
    what: str
    means: str
    do: str = ""


@dataclass(frozen=True)
class Property:
    """One property of all cases: what is usual, from where to where it goes, and who is apart."""

    what: str
    usual: str
    span: str
    apart: tuple[str, ...] = ()


Looking = Generator[Finding | Property, None, str]
"""A check at work: it yields what it finds, and what belongs into a table; it returns what it
looked at and how much of it."""
Titled = tuple[str, Callable[[], Looking]]


@dataclass(frozen=True)
class Examined:
    """One thing that was looked at.

    Attributes:
        area: environment, data or store.
        title: what was looked for.
        seen: what was looked at, and how much of it.
        findings: what is worth telling; none if all is well.
        table: what was measured, a row for each property.
    """

    area: str
    title: str
    seen: str
    findings: tuple[Finding, ...] = ()
    table: tuple[Property, ...] = ()

    @property
    def worst(self) -> Severity | None:
        """The severity of its worst finding."""
        found = (finding.severity for finding in self.findings)
        return min(found, key=SEVERITIES.index, default=None)


def look(area: str, title: str, check: Callable[[], Looking]) -> Examined:
    """Carries out a check; one that breaks off is a finding, and costs no other check."""
    findings: list[Finding] = []
    table: list[Property] = []
    seen = "not finished"

    def looking() -> Iterator[Finding | Property]:
        nonlocal seen
        seen = yield from check()

    try:
        for found in looking():
            if isinstance(found, Finding):
                findings.append(found)
            else:
                table.append(found)
    # What is looked at may be broken in any way; that is why somebody asks the doctor.
    except Exception as error:
        findings.append(broken_off(title, error))
    return Examined(area, title, seen, tuple(findings), tuple(table))


def broken_off(title: str, error: Exception) -> Finding:
    """The finding in place of a check that failed itself."""
    return Finding(
        "error",
        f"{title}: this check broke off: {one_line(error)}",
        "what it looks at is damaged in a way that was not foreseen, or a package is",
        "mend what the other findings name, and look again",
    )


def watched(reporter: Reporter, title: str, items: Sequence[Item]) -> Iterator[Item]:
    """Goes through items and tells the progress if they are many."""
    if len(items) < MANY:
        yield from items
        return
    with reporter.track(title, len(items)) as track:
        for number, item in enumerate(items, start=1):
            yield item
            track.advance(number)
