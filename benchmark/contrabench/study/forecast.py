"""How long a study will take and how much disk, from steps measured on this device."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from contrabench.progress import Reporter
from contrabench.stages.timing import Timing, disk_of, measure
from contrabench.study.graph import Task
from contrabench.study.scheduler import Board
from contrabench.study.session import Session


@dataclass(frozen=True)
class Forecast:
    """What is still to come of a study.

    Attributes:
        seconds: of all stages to do, spread over the workers.
        by_kind: seconds of work by kind of stage, before they are spread.
        unknown: stages whose time is not known, and not counted.
        disk: bytes that will be kept.
        recorded: kinds of steps whose time is that of finished stages.
        measured: kinds of steps that were measured for this forecast.
        workers: stages at once.
    """

    seconds: float
    by_kind: dict[str, float]
    unknown: int
    disk: int
    recorded: int
    measured: int
    workers: int


def forecast(
    session: Session, board: Board, workers: int, measuring: bool, reporter: Reporter
) -> Forecast:
    """Foretells what is left to do.

    Args:
        session: the study.
        board: what is done and to do.
        workers: stages at once.
        measuring: take a few steps where no finished stage tells the time.
        reporter: shows the progress of measuring.
    """
    timing = learned(session)
    recorded = len(timing.known)
    waiting = [task for key, task in session.graph.tasks.items() if board.status[key] == "waiting"]
    if measuring:
        _measure(session, timing, waiting, reporter)
    by_kind: dict[str, float] = {}
    for task in waiting:
        kind = task.node.kind
        by_kind[kind] = by_kind.get(kind, 0.0) + timing.expect(task.node)
    return Forecast(
        seconds=sum(by_kind.values()) / workers,
        by_kind=by_kind,
        unknown=sum(not timing.knows(task.node) for task in waiting),
        disk=_disk(session, waiting),
        recorded=recorded,
        measured=len(timing.known) - recorded,
        workers=workers,
    )


def learned(session: Session) -> Timing:
    """What the finished stages of a study's store tell of times on this device."""
    timing = Timing(session.store, session.runtime)
    for task in session.graph.tasks.values():
        timing.learn(task.node)
    return timing


def _measure(session: Session, timing: Timing, waiting: list[Task], reporter: Reporter) -> None:
    """Measures one stage of each cost that is not known yet."""
    wanted = {task.node.cost: task for task in reversed(waiting) if not timing.knows(task.node)}
    if not wanted:
        return
    with reporter.track("measuring steps", len(wanted)) as track:
        for number, task in enumerate(reversed(wanted.values()), start=1):
            try:
                timing.set(task.node, measure(task, session.cases, session.runtime))
            # A stranger's code runs here; the study itself will say what is wrong with it.
            except Exception as error:
                reporter.line(f"  {task.title}: cannot be measured ({error})")
            track.advance(number, f"{task.step} {task.variant}")


def _disk(session: Session, waiting: list[Task]) -> int:
    """Bytes that the stages to do will keep; those of one cost keep alike."""
    known: dict[tuple[str, str], int] = {}
    total = 0
    for task in waiting:
        alike = (task.node.kind, task.node.cost)
        if alike not in known:
            known[alike] = disk_of(task, session.cases, session.runtime)
        total += known[alike]
    return total


def free_disk(store: Path) -> int:
    """Bytes that are free where a store lies, or will lie."""
    place = store.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free
