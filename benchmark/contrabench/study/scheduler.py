"""Works off the graph of a study: what is ready, what waits, what has failed."""

from __future__ import annotations

import contextlib
import heapq
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
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
Part = Literal["whole", "first", "rest"]
"""Of a stage: what one job makes of it, the first part being what needs a device."""
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


class Board:
    """The status of every stage of a study by key, and why some have failed or are blocked."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.reasons = graph, dict[str, str]()
        self._status: dict[str, Status] = dict.fromkeys(graph.stages, "not needed")
        self._having: dict[Status, set[str]] = defaultdict(set, {"not needed": set(graph.stages)})
        self._place = {key: place for place, key in enumerate(graph.stages)}

    @property
    def status(self) -> Mapping[str, Status]:
        """Of each stage by its key; to be read."""
        return MappingProxyType(self._status)

    def set(self, key: str, status: Status, reason: str = "") -> None:
        """Gives a stage another status."""
        self._having[self._status[key]].discard(key)
        self._having[status].add(key)
        self._status[key] = status
        if reason:
            self.reasons[key] = reason

    def place(self, key: str) -> int:
        """The number of a stage in the order of the runs."""
        return self._place[key]

    def count(self, *wanted: Status) -> int:
        """Number of stages with one of these."""
        return sum(len(self._having[status]) for status in wanted)

    def those(self, status: Status) -> list[PlannedStage]:
        """The stages with a status, in order."""
        return [self.graph.stages[key] for key in sorted(self._having[status], key=self.place)]

    @property
    def failed(self) -> list[PlannedStage]:
        """The stages that have failed, in order."""
        return self.those("failed")

    @property
    def complete(self) -> bool:
        """Whether all rows are there."""
        return all(self.there(run.key) for run in self.graph.runs)

    def there(self, key: str) -> bool:
        """Whether the output of a stage is in the store."""
        return self._status[key] in ("done", "cached")

    def culprit(self, stage: PlannedStage) -> str:
        """Why a stage cannot be made; "" if it can, now or later."""
        for key in stage.node.inputs:
            if self._status[key] == "failed":
                return f"{self.graph.stages[key].title} failed"
            if self._status[key] == "blocked":
                return self.reasons[key]
        return ""


def survey(graph: Graph, store: Path, retry_failed: bool = False) -> Board:
    """What a store already holds of a study, and what is therefore left to do.

    A stage is needed if a run is missing that rests on it; one whose dependants are all
    there is not made again, should it be gone.
    """
    board = Board(graph)
    needed = {run.key for run in graph.runs}
    for key, stage in reversed(graph.stages.items()):
        if state_of(store, stage.node.kind, key) == "done":
            board.set(key, "cached")
        elif key in needed:
            needed.update(stage.node.inputs)
            board.set(key, "waiting")
    for stage in board.those("waiting"):
        failure = read_failure(home_of(store, stage.node.kind), stage.key)
        if failure is not None and not retry_failed:
            board.set(stage.key, "failed", failure.reason)
        elif culprit := board.culprit(stage):
            board.set(stage.key, "blocked", culprit)
    return board


class Scheduler:
    """Hands the stages that are ready to an executor until nothing is left."""

    def __init__(
        self,
        board: Board,
        store: Path,
        executor: Executor,
        job: Callable[[PlannedStage, Part], Job],
        listener: Listener | None = None,
    ) -> None:
        self.board, self.store, self.executor = board, store, executor
        self.job, self.listener = job, listener
        self.attempts: Counter[str] = Counter()
        # What could be begun, with a device and without: a heap each, by the place of a stage.
        self.ready: dict[bool, list[tuple[int, str]]] = {True: [], False: []}
        self.at_work: dict[str, Part] = {}
        self.begun: set[str] = set()  # what has its first part
        self.helpers = executor.helpers
        self.not_before: dict[str, float] = {}  # what another process is at work on
        self.told: set[str] = set()  # that another process is at work on it
        self.stopping = ""

    def run(self) -> str:
        """Works until nothing more can be done; returns why it was stopped before its end, or "".

        Raises:
            KeyboardInterrupt: on a second Ctrl-C; the first one, or a SIGTERM, stops calmly.
        """
        self._check_inputs()
        self._line_up()
        # An exception in the middle of the book-keeping would lose a job.
        with contextlib.suppress(Interrupted), calm_stop() as asked:
            while self.board.count("running") or (
                not self.stopping and (any(self.ready.values()) or self.not_before)
            ):
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
                self.board.set(key, "waiting")

    def _line_up(self) -> None:
        """Notes what each stage waits for, and what waits for nothing."""
        self.after: dict[str, list[str]] = defaultdict(list)
        self.lacking: dict[str, int] = {}
        for stage in self.board.those("waiting"):
            lacking = {key for key in stage.node.inputs if not self.board.there(key)}
            self.lacking[stage.key] = len(lacking)
            for key in lacking:
                self.after[key].append(stage.key)
            if not lacking:
                self._can_begin(stage.key)

    def _can_begin(self, key: str) -> None:
        device = self._part(key) != "rest"
        heapq.heappush(self.ready[device], (self.board.place(key), key))

    def _part(self, key: str) -> Part:
        """What of a stage is to be made next by one job."""
        needs = self.board.graph.stages[key].node.of_kind.device
        if needs == "all" or not self.helpers:
            return "whole"
        return "rest" if needs == "none" or key in self.begun else "first"

    def _submit(self) -> None:
        """Begins what is ready, in the order of the runs, as far as there is room."""
        if self.stopping:
            return
        now, stages = time.monotonic(), self.board.graph.stages
        for key in [key for key, again in self.not_before.items() if again <= now]:
            del self.not_before[key]
            if not self._settled_by_another(stages[key]):
                self._can_begin(key)
        self.helpers = self.executor.helpers
        if not self.helpers:
            for item in self.ready[False]:
                heapq.heappush(self.ready[True], item)
            self.ready[False] = []
        for device, ready in self.ready.items():
            if not ready:
                continue
            room = self.executor.slots if device else self.helpers
            room -= sum((part != "rest") == device for part in self.at_work.values())
            for _ in range(min(room, len(ready))):
                _, key = heapq.heappop(ready)
                self.at_work[key] = self._part(key)
                self._set(stages[key], "running")
                self.executor.submit(self.job(stages[key], self.at_work[key]))

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
        part = self.at_work.pop(stage.key)
        self.attempts[stage.key] += outcome.end == "lost"
        if outcome.end == "done" and part == "first" and not self.stopping:
            self.begun.add(stage.key)
            self._set(stage, "waiting")
            self._can_begin(stage.key)
        elif outcome.end == "done" and part == "first":
            self._set(stage, "stopped", "stopped on request")
        elif outcome.end == "done":
            self._set(stage, "done")
        elif outcome.end == "failed":
            self._fail(stage, outcome.reason)
        elif outcome.end == "busy":
            self.not_before[stage.key] = time.monotonic() + _AGAIN
            self._set(stage, "waiting", "" if stage.key in self.told else outcome.reason)
            self.told.add(stage.key)
        elif outcome.end == "full":
            self._set(stage, "stopped", outcome.reason)
            self.stop(outcome.reason)
        elif outcome.end == "stopped" or self.stopping:
            self._set(stage, "stopped", outcome.reason)
            self.stop(self.stopping or "a worker was asked to stop")
        elif self.attempts[stage.key] < ATTEMPTS:
            # Its worker died; it goes on at its checkpoint.
            self._set(stage, "waiting", f"{outcome.reason}; it is begun again")
            self._can_begin(stage.key)
        else:
            text = f"{outcome.reason}; that happened {ATTEMPTS} times"
            write_failure(home_of(self.store, stage.node.kind), stage.key, text)
            self._fail(stage, text)

    def _fail(self, stage: PlannedStage, reason: str) -> None:
        """Marks a stage as failed and all that rests on it as blocked."""
        self._set(stage, "failed", reason)
        resting = [*self.after[stage.key]]
        for key in resting:
            if self.board.status[key] == "waiting":
                other = self.board.graph.stages[key]
                self._set(other, "blocked", self.board.culprit(other))
                resting += self.after[key]

    def _set(self, stage: PlannedStage, status: Status, reason: str = "") -> None:
        self.board.set(stage.key, status, reason)
        if self.board.there(stage.key):
            for key in self.after[stage.key]:
                self.lacking[key] -= 1
                if not self.lacking[key] and self.board.status[key] == "waiting":
                    self._can_begin(key)
        if self.listener is not None:
            self.listener.changed(stage, status, reason)
