"""How a study shows its progress: one live view on a terminal, plain lines on a pipe."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from contrabench.cli.options import DEFAULT_STORE, shown
from contrabench.errors import RunError
from contrabench.progress import ConsoleReporter, clock
from contrabench.text import budget_words, counted, labels_words

if TYPE_CHECKING:
    from contrabench.contracts.executor import Executor
    from contrabench.study.forecast import Timing
    from contrabench.study.graph import PlannedStage
    from contrabench.study.scheduler import Board, Status
    from contrabench.study.session import Session
    from contrabench.study.status import Beat

_LINE_SECONDS = 60.0
_WIDE = 110
"""Columns from which there is room for a bar and a remark, such as the loss, in the view."""


def headline(session: Session) -> list[str]:
    """The study in a few lines: its size, its protocol, its sharing."""
    spec, graph = session.spec, session.graph
    first = next(iter(graph.stages.values())).spec
    saved = graph.pretrainings_asked - graph.pretrainings
    lines = [
        f"study {session.study}: {counted(len(graph.runs), 'run')} on {first.place()}"
        f"{labels_words([case.labelled for case in session.cases])}, budget {first.budget.name}, "
        f"{budget_words(spec.labels)}; "
        f"{len(spec.tested)} of {counted(spec.all_folds, 'fold')}, "
        f"{counted(len(spec.draw_numbers), 'draw')}, {counted(len(spec.seed_numbers), 'seed')}",
        f"{counted(len(graph.stages), 'stage')}, {graph.pretrainings} of them pre-trainings; "
        f"without sharing there would be {graph.pretrainings_asked}: {saved} saved",
    ]
    return [*lines, *session.notes]


def store_words(store: Path) -> str:
    """How a command names a store, if it must."""
    place = shown(store)
    return "" if place == DEFAULT_STORE else f" --store {shlex.quote(str(place))}"


def end_of(board: Board, stopped: str) -> None:
    """Ends a command: KeyboardInterrupt if the user stopped it, RunError if a stage has failed."""
    if stopped == "interrupted":
        raise KeyboardInterrupt
    if stopped:
        raise RunError(stopped)
    if len(board.graph.runs) == 1 and board.failed:
        raise RunError(board.reasons[board.failed[0].key])
    if board.failed:
        raise RunError(
            f"{len(board.failed)} of {len(board.status)} stages failed; all that does not rest on "
            "them is done"
        )


class StudyView:
    """The listener of a study on a console; what it knows of times it learns on the way."""

    def __init__(
        self, session: Session, board: Board, console: Console, crew: Executor, timing: Timing
    ) -> None:
        self.session, self.board, self.console = session, board, console
        self.crew, self.timing = crew, timing
        self.told = time.monotonic()
        self.since: dict[str, float] = {}

    @contextmanager
    def open(self) -> Iterator[StudyView]:
        """Shows the view while the study runs."""
        if not self.console.is_terminal:
            yield self
            return
        # It looks again by itself: training takes longer than a glance.
        with Live(console=self.console, transient=True, get_renderable=self._render):
            yield self

    def changed(self, stage: PlannedStage, status: Status, reason: str = "") -> None:
        """Tells that a stage has ended, or why it has not."""
        if status == "running":
            self.since[stage.key] = time.monotonic()
            return
        if status == "done":
            self.timing.learn(stage.node)
            spent = time.monotonic() - self.since.get(stage.key, time.monotonic())
            self._line(f"{self._place()} {stage.title}: done in {clock(spent)}")
        elif status == "cached":
            self._line(f"{self._place()} {stage.title}: made by another process")
        elif status == "waiting" and reason:
            self._line(f"{stage.title}: {reason}")
        elif status in ("failed", "stopped"):
            self._line(f"{stage.title}: {status}: {reason}")

    def tick(self) -> None:
        """On a pipe, tells now and then how far the running stages are."""
        if self.console.is_terminal or time.monotonic() - self.told < _LINE_SECONDS:
            return
        self.told = time.monotonic()
        for stage, beat in self._running():
            if beat is not None and beat.total:
                left = "" if beat.left is None else f", {clock(beat.left)} left"
                self._line(f"  {stage.title}: {beat.title} {beat.done}/{beat.total}{left}")
        self._line(f"  {self._summary()}")

    def _line(self, text: str) -> None:
        self.told = time.monotonic()
        ConsoleReporter(self.console).line(text)

    def _place(self) -> str:
        done = self.board.count("done", "cached")
        return f"[{done}/{len(self.board.status) - self.board.count('not needed')}]"

    def _summary(self) -> str:
        """The counts, and the time left as far as it is known."""
        count = self.board.count
        words = [f"{count('done', 'cached')} done", f"{count('running')} running"]
        words.append(f"{count('waiting')} to do")
        words += [f"{count(s)} {s}" for s in ("failed", "blocked") if count(s)]
        left = self._left()
        return ", ".join(words) + (f"; about {clock(left)} left" if left else "")

    def _left(self) -> float:
        undone = self.board.those("waiting")
        waiting = sum(self.timing.expect(stage.node) or 0.0 for stage in undone)
        running = sum(beat.left or 0.0 for _, beat in self._running() if beat is not None)
        return (waiting + running) / self.crew.slots

    def _running(self) -> list[tuple[PlannedStage, Beat | None]]:
        from contrabench.study.status import read_beat

        return [
            (stage, read_beat(self.session.store, stage.node.kind, stage.key))
            for stage in self.board.those("running")
        ]

    def _render(self) -> Group:
        wide = self.console.width >= _WIDE
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True, overflow="ellipsis")
        for stage, beat in self._running():
            if beat is None or not beat.total:
                table.add_row(Text(stage.title), Text("starting", "dim"))
                continue
            left = "" if beat.left is None else f"{clock(beat.left)} left"
            cells: list[RenderableType] = [Text(f"{beat.done}/{beat.total}"), Text(left, "dim")]
            if wide:
                bar = ProgressBar(total=beat.total, completed=beat.done, width=24)
                cells = [bar, *cells, Text(beat.detail, "dim")]
            table.add_row(Text(stage.title), *cells)
        return Group(table, Text(self._summary(), "bold"))
