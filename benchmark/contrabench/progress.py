"""Progress of long work: a bar with the time left on a terminal, plain lines on a pipe."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from contrabench.text import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID


class Track:
    """One piece of work under way; this one tells nobody."""

    def advance(self, done: int, detail: str = "") -> None:
        """Tells how many of the total units are done, with a short remark."""


class Reporter:
    """Where a run tells what it does; this one drops it."""

    def line(self, text: str) -> None:
        """Prints one line."""

    @contextmanager
    def track(self, title: str, total: int) -> Iterator[Track]:
        """Opens a piece of work of `total` units."""
        yield Track()


class Silent(Reporter):
    """Tells nothing; for tests and for `--json`."""


class ConsoleReporter(Reporter):
    """Bars when the console is a terminal; otherwise a line per fifth of the work."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def line(self, text: str) -> None:
        """Prints one line above any bar; brackets in it are text, not markup."""
        # Where nobody can be told, the work goes on.
        with suppress(OSError):
            self.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def track(self, title: str, total: int) -> Iterator[Track]:
        """Shows a bar while the work lasts, and one line of how long it took."""
        started = time.monotonic()
        if self.console.is_terminal:
            with self._bar() as bar:
                yield _BarTrack(bar, bar.add_task(title, total=total, detail=""))
        else:
            yield _LineTrack(self, title, total)
        self.line(f"  {title}: done in {clock(time.monotonic() - started)}")

    def _bar(self) -> Progress:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        return Progress(
            "  {task.description}",
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            "{task.fields[detail]}",
            console=self.console,
            transient=True,
        )


class _BarTrack(Track):
    def __init__(self, bar: Progress, task: TaskID) -> None:
        self.bar, self.task = bar, task

    def advance(self, done: int, detail: str = "") -> None:
        """Moves the bar."""
        self.bar.update(self.task, completed=done, detail=detail)


class _LineTrack(Track):
    _PARTS = 5

    def __init__(self, reporter: ConsoleReporter, title: str, total: int) -> None:
        self.reporter, self.title, self.total = reporter, title, total
        self.started = time.monotonic()
        self.first: int | None = None
        self.told = 0

    def advance(self, done: int, detail: str = "") -> None:
        """Prints a line when another fifth is done."""
        if self.first is None:
            self.first = done - 1
        part = done * self._PARTS // max(1, self.total)
        if part <= self.told or part >= self._PARTS:
            return
        self.told = part
        spent = time.monotonic() - self.started
        left = spent / max(1, done - self.first) * (self.total - done)
        remark = f", {detail}" if detail else ""
        self.reporter.line(f"  {self.title}: {done}/{self.total}, {clock(left)} left{remark}")


def clock(seconds: float) -> str:
    """Writes a duration as `8 s`, `3 min 20 s` or `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
