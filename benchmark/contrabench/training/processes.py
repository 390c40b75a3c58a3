"""A process of this machine at the other end of a pipe: begun, listened to, and ended for sure."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any, Literal

_PATIENCE = 30.0


class DiedError(Exception):
    """A process has died; the text says how."""


class Child:
    """A process that calls `target` with its end of a pipe and the arguments.

    It begins deaf to the signals that it is not to see, or not before `target` says how: a terminal
    and most schedulers signal all processes at once.
    """

    def __init__(
        self,
        target: Callable[..., None],
        *arguments: Any,
        deaf: Collection[signal.Signals],
        start: Literal["spawn", "fork"] = "spawn",
    ) -> None:
        context: Any = multiprocessing.get_context(start)
        self.pipe: Connection
        self.pipe, theirs = context.Pipe()
        call = (target, theirs, *arguments)
        # A forked one holds our end as well, and would never hear that it is closed.
        ours = self.pipe if start == "fork" else None
        self.process = context.Process(target=_begin, args=(ours, *call))
        with _withheld(deaf):
            self.process.start()
        theirs.close()

    def receive(self) -> Any:
        """Waits for what it sends; DiedError if it is gone."""
        try:
            return self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(_PATIENCE)
            raise DiedError(_end_of(self.process.exitcode)) from None

    def end(self, kill: bool) -> None:
        """Kills it, if need be after some time in which it may end by itself."""
        if not kill:
            self.process.join(_PATIENCE)
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _begin(ours: Connection | None, target: Callable[..., None], *arguments: Any) -> None:
    """A process from its first line."""
    if ours is not None:
        ours.close()
    target(*arguments)


def _end_of(code: int | None) -> str:
    """How a process ended, in words."""
    if code is None or code >= 0:
        return f"died (exit code {code})"
    name = signal.Signals(-code).name
    return f"died ({name}{', probably for want of memory' * (name == 'SIGKILL')})"


@contextmanager
def _withheld(numbers: Collection[signal.Signals]) -> Iterator[None]:
    """Processes started in this block never see some signals; here they come later."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # Starting it lifts the mask, so it must run before.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
