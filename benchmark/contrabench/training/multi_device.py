"""Runs one training on several devices of this machine: a process for each of them.

This process trains nothing itself. It starts the others, hands on what rank 0 reports,
passes a stop on to all, and ends them all when one fails; whatever a device or its driver
does, there is no process left that waits for it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Concatenate, ParamSpec, TypeVar

from contrabench.errors import RunError
from contrabench.progress import Reporter, Track
from contrabench.training.device_process import Call, meeting_point, run_member, unpack
from contrabench.training.runtime import Runtime
from contrabench.training.stop import Interrupted, calm_stop

P = ParamSpec("P")
T = TypeVar("T")

_LEVEL = "TORCH_CPP_LOG_LEVEL"
_LOOK_SECONDS = 0.2
_END_SECONDS = 10.0
_SIGNALS = {signal.SIGINT, signal.SIGTERM}


def train_on(
    runtime: Runtime,
    reporter: Reporter,
    target: Callable[Concatenate[Runtime, Reporter, P], T],
    *arguments: P.args,
    **named: P.kwargs,
) -> T:
    """Calls `target(runtime, reporter, ...)` in one process for each device of the runtime.

    With one device that is this process. With several, all of it has to be picklable, and
    `target` a function of a module; it builds the same task in every process and calls
    `fit`. Only where `contrabench.training.processes.leads()` may it write files.

    Args:
        runtime: device and switches, with the number of devices.
        reporter: is told what the first process reports.
        target: what to call.
        arguments: of the target, after runtime and reporter.
        named: further arguments of the target.

    Returns:
        What the target returns in the first process.

    Raises:
        RunError: if a process dies.
        Exception: what the target raises in any process, with the traceback as a note.
        Interrupted: if the training was stopped and can go on.
    """
    if runtime.devices == 1:
        return target(runtime, reporter, *arguments, **named)
    # The meeting point lives here; it finds a free port by itself.
    store = meeting_point(0, is_master=True)
    with calm_stop() as asked, _Gang(reporter) as gang:
        for rank in range(runtime.devices):
            gang.start(rank, Call(runtime, store.port, target, arguments, named))
        result: T = gang.wait(asked)
    return result


class _Gang(AbstractContextManager["_Gang"]):
    """The processes of one training, seen from the one that started them."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter
        self.processes: list[BaseProcess] = []
        self.pipes: list[Connection] = []
        self.answers: dict[int, tuple[str, Any]] = {}
        self.tracks = ExitStack()
        self.track: Track | None = None

    def start(self, rank: int, call: Call) -> None:
        """Starts one rank."""
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=run_member, args=(there, rank, call), name=f"rank {rank}")
        self.pipes.append(here)
        with _without_signals(), _without_warnings():
            process.start()
        self.processes.append(process)
        there.close()

    def wait(self, asked: Callable[[], bool]) -> Any:
        """Listens until every rank has come to its end; what rank 0 returns."""
        told = False
        with self.tracks:
            while len(self.answers) < len(self.processes):
                if asked() and not told:
                    told = True
                    self._pass_on()
                self._listen()
            for kind, content in self.answers.values():
                if kind == "stopped":
                    raise Interrupted(content)
        return self.answers[0][1]

    def _pass_on(self) -> None:
        """Tells every rank to stop."""
        for pipe in self.pipes:
            # To one that has died or come to its end there is nothing to say.
            with suppress(OSError):
                pipe.send("stop")

    def _listen(self) -> None:
        """Takes in what was sent, deaths first: they are why other ranks fail."""
        silent = {pipe: n for n, pipe in enumerate(self.pipes) if n not in self.answers}
        spoke = wait(list(silent), timeout=_LOOK_SECONDS)
        messages: list[tuple[int, str, Any]] = []
        for pipe, rank in silent.items():
            if pipe not in spoke:
                continue
            try:
                messages.append((rank, *pipe.recv()))
            except (EOFError, ConnectionError):
                raise self._death(rank) from None
        for rank, kind, content in messages:
            if kind == "failed":
                raise unpack(content)
            if kind in ("done", "stopped"):
                self.answers[rank] = (kind, content)
            else:
                self._report(kind, content)

    def _report(self, kind: str, content: tuple[Any, ...]) -> None:
        if kind == "line":
            self.reporter.line(*content)
        elif kind == "track":
            self.track = self.tracks.enter_context(self.reporter.track(*content))
        elif kind == "advance" and self.track is not None:
            self.track.advance(*content)
        elif kind == "end":
            self.tracks.close()

    def _death(self, rank: int) -> RunError:
        process = self.processes[rank]
        process.join(_END_SECONDS)
        code = process.exitcode
        cause = f"exit code {code}" if code is None or code >= 0 else _name(-code)
        return RunError(
            f"rank {rank} of {len(self.processes)} died ({cause}) and the training with it; the "
            "last checkpoint is kept. Run again, with a smaller batch if memory ran out"
        )

    def __exit__(self, *_: object) -> None:
        """Leaves no process behind: those that have answered may end, the others are killed."""
        for rank, process in enumerate(self.processes):
            if rank in self.answers:
                process.join(_END_SECONDS)
            process.kill()
        for process in self.processes:
            process.join()
        for pipe in self.pipes:
            pipe.close()


@contextmanager
def _without_signals() -> Iterator[None]:
    """Processes started in this block never see Ctrl-C or SIGTERM; here both come later.

    A terminal and most schedulers signal all processes at once; the ranks are told by us.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # Starting it lifts the mask, so it must run before.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Processes started in this block do not warn, each, of what DDP's options may cost.

    Torch reads the level when it is imported, which is before any code of ours runs there.
    """
    found = os.environ.get(_LEVEL)
    os.environ.setdefault(_LEVEL, "ERROR")
    try:
        yield
    finally:
        if found is None:
            del os.environ[_LEVEL]


def _name(number: int) -> str:
    """Name of a signal."""
    return signal.Signals(number).name
