"""What the doctor looks at, in order, and how findings are told; nothing is mended or removed.

Modules are imported where they are used: a package that does not import, torch above all,
is one of the things to find, and must not keep the rest from being looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from contrabench.progress import Reporter
from contrabench.text import one_line

if TYPE_CHECKING:
    from contrabench.contracts.dataset import Dataset

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


Looking = Generator[Finding, None, str]
"""A check at work: it yields what it finds, and returns what it looked at and how much of it."""
Titled = tuple[str, Callable[[], Looking]]


@dataclass(frozen=True)
class Examined:
    """One thing that was looked at.

    Attributes:
        area: environment, data or store.
        title: what was looked for.
        seen: what was looked at, and how much of it.
        findings: what is worth telling; none if all is well.
    """

    area: str
    title: str
    seen: str
    findings: tuple[Finding, ...] = ()

    @property
    def worst(self) -> Severity | None:
        """The severity of its worst finding."""
        found = {finding.severity for finding in self.findings}
        return next((severity for severity in SEVERITIES if severity in found), None)


def look(area: str, title: str, check: Callable[[], Looking]) -> Examined:
    """Carries out a check; one that breaks off is a finding, and costs no other check."""
    findings: list[Finding] = []
    seen = "not finished"

    def looking() -> Iterator[Finding]:
        nonlocal seen
        seen = yield from check()

    try:
        for finding in looking():
            findings.append(finding)
    # What is looked at may be broken in any way; that is why somebody asks the doctor.
    except Exception as error:
        findings.append(_broken_off(title, error))
    return Examined(area, title, seen, tuple(findings))


def _broken_off(title: str, error: Exception) -> Finding:
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


def examine(
    store: Path, dataset: Dataset | None, deep: bool, reporter: Reporter
) -> Iterator[Examined]:
    """Looks for faults in environment, data and store, and tells each check as it is done.

    The store need not exist; the files of a dataset, if any, are read; `deep` reads large ones of
    the store in full.
    """
    yield from _area("environment", _environment(store))
    yield from _area("data", _data(store, dataset, reporter))
    yield from _area("store", _store(store, deep, reporter))
    if store.is_dir():
        yield from _area("store", _rows(store, reporter))


def _area(area: str, checks: Iterator[Titled]) -> Iterator[Examined]:
    """What the checks say, and a finding in place of those that cannot even be begun."""
    try:
        for title, check in checks:
            yield look(area, title, check)
    except Exception as error:
        yield Examined(area, area, "not finished", (_broken_off(area, error),))


def _environment(store: Path) -> Iterator[Titled]:
    from contrabench.doctor import environment

    yield "versions", environment.check_versions
    yield "torchvision's operators", environment.check_operators
    yield "plug-ins", environment.check_plugins
    yield "device", environment.check_device
    yield "a training step", environment.check_training
    yield "disk", partial(environment.check_disk, store)
    yield "memory", environment.check_memory


def _data(store: Path, dataset: Dataset | None, reporter: Reporter) -> Iterator[Titled]:
    from contrabench.doctor import data

    yield "prepared volumes", partial(data.check_prepared, store, reporter)
    yield "unfinished preparation", partial(data.check_unfinished, store)
    if dataset is not None:
        yield f"files of {dataset.info.title}", partial(data.check_dataset, dataset, reporter)


def _store(store: Path, deep: bool, reporter: Reporter) -> Iterator[Titled]:
    from contrabench.doctor import store as folders

    if not store.is_dir():
        yield "store", partial(folders.no_store, store)
        return
    yield "files of the runs", partial(folders.check_runs, store, reporter)
    yield "files of the stages", partial(folders.check_stages, store, deep, reporter)
    yield "stages of the runs", partial(folders.check_links, store)
    yield "unfinished work", partial(folders.check_unfinished, store)
    yield "failed stages", partial(folders.check_failed, store)
    yield "studies", partial(folders.check_studies, store)


def _rows(store: Path, reporter: Reporter) -> Iterator[Titled]:
    from contrabench.doctor import rows
    from contrabench.store.results import read_rows

    frame, problems = read_rows(store, rows.COLUMNS, reporter)
    yield "readable rows", partial(rows.check_readable, store, problems, frame)
    for title, check in rows.CHECKS.items():
        yield title, partial(check, frame)
