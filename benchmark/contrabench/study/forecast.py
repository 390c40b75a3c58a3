"""How long a study will take and how much disk, from steps measured on this device."""

from __future__ import annotations

import shutil
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contrabench.progress import Reporter
from contrabench.stages.kind import Node, recorded_seconds
from contrabench.study.graph import PlannedStage
from contrabench.study.scheduler import Board
from contrabench.study.session import Session
from contrabench.training.runtime import Runtime

_DEVICE = ("device", "device_name", "threads", "precision", "compile", "channels_last")
"""What decides how long a step takes, of the record of a runtime."""


class Timing:
    """Seconds a unit, by the cost of a node, on one device with its threads."""

    def __init__(self, store: Path, runtime: Runtime) -> None:
        self.store, self.device = store, _device(runtime.record())
        self.known: dict[str, list[float]] = {}

    def learn(self, node: Node) -> None:
        """Takes up what a finished stage took, if it was made on this device."""
        told = recorded_seconds(self.store, node) if node.units else None
        if told is not None and _device(told[1]) == self.device:
            self.set(node, told[0] / node.units)

    def set(self, node: Node, per_unit: float) -> None:
        """Takes up a measurement."""
        self.known.setdefault(node.cost, []).append(per_unit)

    def knows(self, node: Node) -> bool:
        """Whether it can tell how long a node takes."""
        return not node.units or node.cost in self.known

    def expect(self, node: Node) -> float:
        """Seconds that a node is expected to take; 0 for one that it does not know."""
        if not node.units or node.cost not in self.known:
            return 0.0
        return statistics.median(self.known[node.cost]) * node.units


def _device(record: dict[str, Any]) -> tuple[object, ...]:
    return tuple(record.get(name) for name in _DEVICE)


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
    """Foretells what is left to do, taking a few steps where no finished stage tells the time."""
    timing = learned(session)
    recorded = len(timing.known)
    waiting = [
        stage for key, stage in session.graph.stages.items() if board.status[key] == "waiting"
    ]
    if measuring:
        _measure(session, timing, waiting, reporter)
    by_kind: dict[str, float] = {}
    for stage in waiting:
        kind = stage.node.kind
        by_kind[kind] = by_kind.get(kind, 0.0) + timing.expect(stage.node)
    return Forecast(
        seconds=sum(by_kind.values()) / workers,
        by_kind=by_kind,
        unknown=sum(not timing.knows(stage.node) for stage in waiting),
        disk=_disk(session, waiting),
        recorded=recorded,
        measured=len(timing.known) - recorded,
        workers=workers,
    )


def learned(session: Session) -> Timing:
    """What the finished stages of a study's store tell of times on this device."""
    timing = Timing(session.store, session.runtime)
    for stage in session.graph.stages.values():
        timing.learn(stage.node)
    return timing


def measure(session: Session, stage: PlannedStage) -> float:
    """Seconds a unit of a stage, from a few real units on this device."""
    return stage.node.of_kind.seconds_per_unit(session.run_of(stage), stage.node, session.runtime)


def disk_of(session: Session, stage: PlannedStage) -> int:
    """Bytes that a stage will keep."""
    return stage.node.of_kind.disk(session.run_of(stage), stage.node)


def _measure(
    session: Session, timing: Timing, waiting: list[PlannedStage], reporter: Reporter
) -> None:
    """Measures one stage of each cost that is not known yet."""
    unknown = (stage for stage in reversed(waiting) if not timing.knows(stage.node))
    wanted = {stage.node.cost: stage for stage in unknown}
    if not wanted:
        return
    with reporter.track("measuring steps", len(wanted)) as track:
        for number, stage in enumerate(reversed(wanted.values()), start=1):
            try:
                timing.set(stage.node, measure(session, stage))
            # A stranger's code runs here; the study itself will say what is wrong with it.
            except Exception as error:
                reporter.line(f"  {stage.title}: cannot be measured ({error})")
            track.advance(number, f"{stage.node.doing} {stage.variant}")


def _disk(session: Session, waiting: list[PlannedStage]) -> int:
    """Bytes that the stages to do will keep; those of one cost keep alike."""
    known: dict[tuple[str, str], int] = {}
    total = 0
    for stage in waiting:
        alike = (stage.node.kind, stage.node.cost)
        if alike not in known:
            known[alike] = disk_of(session, stage)
        total += known[alike]
    return total


def free_disk(store: Path) -> int:
    """Bytes that are free where a store lies, or will lie."""
    place = store.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free
