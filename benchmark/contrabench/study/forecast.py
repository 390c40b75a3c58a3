"""How long a study will take and how much disk, from steps measured on this device."""

from __future__ import annotations

import statistics
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contrabench.progress import Reporter
from contrabench.stages.kind import Node, read_record
from contrabench.store.stages import home_of
from contrabench.study.graph import PlannedStage
from contrabench.study.scheduler import Board
from contrabench.study.session import Session
from contrabench.training.runtime import Runtime

_DEVICE = ("device", "device_name", "threads", "precision", "compile", "deterministic")
"""What decides how long a step takes, of the record of a runtime."""


class Timing:
    """Seconds a unit, by the cost of a node, on one device with its threads."""

    def __init__(self, store: Path, runtime: Runtime) -> None:
        self.store, self.device = store, _device(runtime.record())
        self.known: dict[str, list[float]] = defaultdict(list)
        self.medians: dict[str, tuple[int, float]] = {}

    def learn(self, node: Node) -> None:
        """Takes up what a finished stage took, if it was made on this device."""
        if not node.units:
            return
        # Its record may not be there, or be damaged.
        with suppress(OSError, ValueError, KeyError, TypeError):
            record = read_record(home_of(self.store, node.kind) / node.key)
            seconds = float(record["seconds"]) / node.units
            if _device(dict(record["runtime"])) == self.device:
                self.known[node.cost].append(seconds)

    def expect(self, node: Node) -> float | None:
        """Seconds that a node is expected to take; None if nothing tells."""
        if not node.units:
            return 0.0
        if not (known := self.known.get(node.cost)):
            return None
        # A view asks for all stages again and again.
        if self.medians.get(node.cost, (0, 0.0))[0] != len(known):
            self.medians[node.cost] = len(known), statistics.median(known)
        return self.medians[node.cost][1] * node.units


def _device(record: dict[str, Any]) -> tuple[object, ...]:
    return tuple(record.get(name) for name in _DEVICE)


@dataclass(frozen=True)
class Forecast:
    """What is still to come of a study."""

    seconds: float  # of all stages to do, spread over the workers
    by_kind: dict[str, float]  # seconds of work by kind of stage, before they are spread
    unknown: int  # stages whose time is not known, and not counted
    disk: int  # bytes that will be kept
    recorded: int  # kinds of steps whose time is that of finished stages
    measured: int  # kinds of steps that were measured for this forecast
    workers: int


def forecast(
    session: Session, board: Board, workers: int, measuring: bool, reporter: Reporter
) -> Forecast:
    """Foretells what is left to do, taking a few steps where no finished stage tells the time."""
    timing = learned(session)
    recorded = len(timing.known)
    waiting = board.those("waiting")
    if measuring:
        _measure(session, timing, waiting, reporter)
    by_kind: dict[str, float] = defaultdict(float)
    # Stages of one cost keep alike.
    kept: dict[tuple[str, str], int] = {}
    unknown = disk = 0
    for stage in waiting:
        kind, seconds = stage.node.kind, timing.expect(stage.node)
        by_kind[kind] += seconds or 0.0
        unknown += seconds is None
        if (kind, stage.node.cost) not in kept:
            size = stage.node.of_kind.disk(session.run_of(stage), stage.node)
            kept[kind, stage.node.cost] = size
        disk += kept[kind, stage.node.cost]
    return Forecast(
        seconds=sum(by_kind.values()) / workers,
        by_kind=dict(by_kind),
        unknown=unknown,
        disk=disk,
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


def _measure(
    session: Session, timing: Timing, waiting: list[PlannedStage], reporter: Reporter
) -> None:
    """Measures one stage of each cost that is not known yet."""
    unknown = [stage for stage in waiting if timing.expect(stage.node) is None]
    wanted = {stage.node.cost: stage for stage in reversed(unknown)}
    if not wanted:
        return
    with reporter.track("measuring steps", len(wanted)) as track:
        for number, stage in enumerate(reversed(wanted.values()), start=1):
            try:
                timing.known[stage.node.cost].append(measure(session, stage))
            # A stranger's code runs here; the study itself will say what is wrong with it.
            except Exception as error:
                reporter.line(f"  {stage.title}: cannot be measured ({error})")
            track.advance(number, f"{stage.node.doing} {stage.variant}")
