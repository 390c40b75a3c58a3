"""Works off the graph of a study: what is ready, what waits, what has failed."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from contrabench.contracts.executor import Executor, Job, Outcome
from contrabench.files import damage_of
from contrabench.store.failures import read_failure, write_failure
from contrabench.store.stages import home_of
from contrabench.study.graph import Graph, PlannedStage, state_of
from contrabench.training.stop import Interrupted, calm_stop

Status = Literal[
    "done", "cached", "not needed", "waiting", "running", "failed", "blocked", "stopped"
]
_POLL = 0.25
_AGAIN = 2.0
"""Seconds until a stage that another process is at work on is asked for again."""
ATTEMPTS = 3
"""How often a stage is begun whose worker dies under it."""


class Listener(Protocol):
    """Who is told how a study goes."""

    def changed(self, stage: PlannedStage, status: Status, reason: str = "") -> None:
        """A stage has a new status."""

    def tick(self) -> None:
        """Some time has passed."""


@dataclass
class Board:
    """The status of every stage of a study by key, and why some have failed or are blocked."""

    graph: Graph
    status: dict[str, Status]
    reasons: dict[str, str] = field(default_factory=dict)

    def count(self, *wanted: Status) -> int:
        """Number of stages with one of these."""
        return sum(status in wanted for status in self.status.values())

    def those(self, status: Status) -> list[PlannedStage]:
        """The stages with a status, in order."""
        return [stage for key, stage in self.graph.stages.items() if self.status[key] == status]

    @property
    def failed(self) -> list[PlannedStage]:
        """The stages that have failed, in order."""
        return self.those("failed")

    @property
    def complete(self) -> bool:
        """Whether all rows are there."""
        return all(self.status[run.key] in ("done", "cached") for run in self.graph.runs)

    def culprit(self, stage: PlannedStage) -> str:
        """Why a stage cannot be made; "" if it can, now or later."""
        for key in stage.node.inputs:
            if self.status[key] == "failed":
                return f"{self.graph.stages[key].title} failed"
            if self.status[key] == "blocked":
                return self.reasons[key]
        return ""


def survey(graph: Graph, store: Path, retry_failed: bool = False) -> Board:
    """What a store already holds of a study, and what is therefore left to do.

    A stage is needed if a run is missing that rests on it; one whose dependants are all
    there is not made again, should it be gone.
    """
    board = Board(graph, dict.fromkeys(graph.stages, "not needed"))
    needed = {run.key for run in graph.runs}
    for key, stage in reversed(graph.stages.items()):
        if state_of(store, stage.node.kind, key) == "done":
            board.status[key] = "cached"
        elif key in needed:
            needed.update(stage.node.inputs)
            board.status[key] = "waiting"
    for stage in board.those("waiting"):
        failure = read_failure(home_of(store, stage.node.kind), stage.key)
        if failure is not None and not retry_failed:
            board.status[stage.key], board.reasons[stage.key] = "failed", failure.reason
        elif culprit := board.culprit(stage):
            board.status[stage.key], board.reasons[stage.key] = "blocked", culprit
    return board


class Scheduler:
    """Hands the stages that are ready to an executor until nothing is left."""

    def __init__(
        self,
        board: Board,
        store: Path,
        executor: Executor,
        job: Callable[[PlannedStage], Job],
        listener: Listener | None = None,
    ) -> None:
        self.board, self.store, self.executor = board, store, executor
        self.job, self.listener = job, listener
        self.attempts: Counter[str] = Counter()
        self.not_before: dict[str, float] = {}
        self.stopping = ""

    def run(self) -> str:
        """Works until nothing more can be done; returns why it was stopped before its end, or "".

        Raises:
            KeyboardInterrupt: on a second Ctrl-C; the first one, or a SIGTERM, stops calmly.
        """
        self._check_inputs()
        # An exception in the middle of the book-keeping would lose a job.
        with contextlib.suppress(Interrupted), calm_stop() as asked:
            while self.board.count("running") or self._ready():
                self._submit()
                ended = self.executor.wait(_POLL)
                # Before the outcomes: workers may have been asked to stop by the same hand.
                if asked():
                    self.stop("interrupted")
                for outcome in ended:
                    self._end(outcome)
                if self.listener is not None:
                    self.listener.tick()
            if asked():
                raise Interrupted
        return "" if self.board.complete else self.stopping

    def stop(self, reason: str) -> None:
        """Starts nothing more, and asks what is at work to keep its checkpoint."""
        if not self.stopping:
            self.stopping = reason
            self.executor.stop()

    def _check_inputs(self) -> None:
        """Has stages made again that others need and that are damaged."""
        stages = self.board.graph.stages
        needed = {
            key
            for stage in self.board.those("waiting")
            for key in stage.node.inputs
            if self.board.status[key] == "cached"
        }
        for key in needed:
            if damage_of(home_of(self.store, stages[key].node.kind) / key) is not None:
                self.board.status[key] = "waiting"

    def _ready(self) -> list[PlannedStage]:
        """The stages that could be begun, in the order of the runs."""
        if self.stopping:
            return []
        status = self.board.status
        return [
            stage
            for stage in self.board.those("waiting")
            if all(status[key] in ("done", "cached") for key in stage.node.inputs)
        ]

    def _submit(self) -> None:
        now = time.monotonic()
        for stage in self._ready():
            if self.board.count("running") >= self.executor.slots:
                return
            again = self.not_before.get(stage.key)
            if again is None or (again <= now and not self._settled_by_another(stage)):
                self._set(stage, "running")
                self.executor.submit(self.job(stage))

    def _settled_by_another(self, stage: PlannedStage) -> bool:
        """Takes over what another process has made of a stage that it was at work on."""
        kind, key = stage.node.kind, stage.key
        state = state_of(self.store, kind, key)
        if state == "done":
            self._set(stage, "cached")
        elif failure := read_failure(home_of(self.store, kind), key):
            self._fail(stage, failure.reason)
        return state != "to do"

    def _end(self, outcome: Outcome) -> None:
        """Draws the consequences of how a job ended."""
        stage = self.board.graph.stages[outcome.key]
        self.attempts[stage.key] += outcome.end == "lost"
        if outcome.end == "done":
            self._set(stage, "done")
        elif outcome.end == "failed":
            self._fail(stage, outcome.reason)
        elif outcome.end == "busy":
            told = stage.key in self.not_before
            self.not_before[stage.key] = time.monotonic() + _AGAIN
            self._set(stage, "waiting", "" if told else outcome.reason)
        elif outcome.end == "full":
            self._set(stage, "stopped", outcome.reason)
            self.stop(outcome.reason)
        elif outcome.end == "stopped" or self.stopping:
            self._set(stage, "stopped", outcome.reason)
            self.stop(self.stopping or "a worker was asked to stop")
        elif self.attempts[stage.key] < ATTEMPTS:
            # Its worker died; it goes on at its checkpoint.
            self._set(stage, "waiting", f"{outcome.reason}; it is begun again")
        else:
            text = f"{outcome.reason}; that happened {ATTEMPTS} times"
            write_failure(home_of(self.store, stage.node.kind), stage.key, text)
            self._fail(stage, text)

    def _fail(self, stage: PlannedStage, reason: str) -> None:
        """Marks a stage as failed and all that rests on it as blocked."""
        self._set(stage, "failed", reason)
        for other in self.board.those("waiting"):
            if culprit := self.board.culprit(other):
                self._set(other, "blocked", culprit)

    def _set(self, stage: PlannedStage, status: Status, reason: str = "") -> None:
        self.board.status[stage.key] = status
        if reason:
            self.board.reasons[stage.key] = reason
        if self.listener is not None:
            self.listener.changed(stage, status, reason)
