"""A calm stop: the first Ctrl-C or SIGTERM lets the work under way come to a safe point.

Python's own answer to Ctrl-C is an exception in the middle of whatever runs, and to SIGTERM,
which schedulers send before they take a machine away, the end of the process.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_asked = threading.Event()
_listening: list[object] = []


class Interrupted(KeyboardInterrupt):
    """Work was stopped on request, at a point from which it can go on."""


def request_stop() -> None:
    """Asks the training in this process, or else the next one, to stop calmly; from any thread."""
    _asked.set()


def end_work() -> None:
    """Ends what this process is at: calmly what `calm_stop` watches over, else the process."""
    if _listening:
        request_stop()
    else:
        os._exit(0)


@contextmanager
def calm_stop() -> Iterator[Callable[[], bool]]:
    """Turns SIGINT and SIGTERM into a request to stop, and yields what tells whether there was one.

    A SIGINT after a request interrupts at once. What the block does not answer by a
    KeyboardInterrupt, of which `Interrupted` is one, is not lost: a signal goes to the
    handlers that were there before, and a request of `request_stop` waits for the next
    block. Outside of the main thread, where Python allows no handlers, only
    `request_stop` is heard.
    """
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and _asked.is_set():
            raise KeyboardInterrupt
        noted.append(number)
        _asked.set()

    before = _install(note)
    _listening.append(note)
    try:
        yield _asked.is_set
    except KeyboardInterrupt:
        noted.clear()
        _asked.clear()
        raise
    finally:
        _listening.remove(note)
        for number, handler in before.items():
            signal.signal(number, handler)
        if noted:
            _asked.clear()
            signal.raise_signal(noted[0])


def _install(handler: Callable[[int, FrameType | None], None]) -> dict[signal.Signals, Any]:
    """Installs a handler where a signal is not ignored; returns those it stands in for."""
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is not threading.main_thread():
        return before
    for number in (signal.SIGINT, signal.SIGTERM):
        found = signal.getsignal(number)
        # None: a handler that Python did not install, and could not put back.
        if found is not None and found != signal.SIG_IGN:
            before[number] = found
            signal.signal(number, handler)
    return before
