"""Runs one training on several devices of this machine: a process for each of them.

The process that starts them trains nothing. It hands on what the first one reports, passes a stop
on to all, and ends them all when one fails; no process is left that waits for another.

A device process sends pairs of a word and its content: the first one what it reports (`line`,
`track`, `advance`, `end`), each one answer: `done` with the target's result (None but of the
first), `stopped` with a text, or `failed` with the error. What it receives asks it to stop.
"""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar, TypeVarTuple

import torch
from torch import distributed
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from contrabench import errors
from contrabench.errors import ContrabenchError, RunError
from contrabench.progress import Reporter, Silent, Track
from contrabench.training.processes import Child, DiedError
from contrabench.training.runtime import Runtime
from contrabench.training.stop import Interrupted, calm_stop, request_stop

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_HOST = "127.0.0.1"
_LOOK_SECONDS = 0.2


def train_on(
    runtime: Runtime,
    reporter: Reporter,
    target: Callable[[Reporter, *Ts], T],
    *arguments: *Ts,
) -> T:
    """Calls `target(reporter, ...)` in one process for each device of the runtime.

    With one device that is this process. With several, all of it has to be picklable, and
    `target` a function of a module; it builds the same task in every process and calls
    `fit`. Only where `contrabench.training.sharding.is_first_process()` may it write files.
    What it reports and returns in the first process counts.

    Raises:
        RunError: if a process dies.
        Exception: what the target raises in any process, with the traceback as a note.
        Interrupted: if the training was stopped and can go on.
    """
    if runtime.devices == 1:
        return target(reporter, *arguments)
    # The meeting point lives here; it finds a free port by itself.
    store = TCPStore(_HOST, 0, is_master=True, wait_for_workers=False)
    with calm_stop() as asked, _DeviceProcesses(reporter) as processes:
        for number in range(runtime.devices):
            processes.start(number, runtime, store.port, target, arguments)
        result: T = processes.wait(asked)
    return result


class _DeviceProcesses(AbstractContextManager["_DeviceProcesses"]):
    """The processes of one training, seen from the one that started them."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter
        self.children: list[Child] = []
        self.answers: dict[int, tuple[str, Any]] = {}
        self.tracks = ExitStack()
        self.track: Track | None = None

    def start(self, *call: Any) -> None:
        """Starts the process of one device; `call` as in `_run_device`."""
        # They need not warn, each, of what DDP's options may cost. Torch reads the level when it
        # is imported, which is before any code of ours runs there.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
        # Of a signal they are told by us.
        self.children.append(Child(_run_device, *call, deaf=(signal.SIGINT, signal.SIGTERM)))

    def wait(self, asked: Callable[[], bool]) -> Any:
        """Listens until every process has come to its end; what the first one returns."""
        told = False
        with self.tracks:
            while len(self.answers) < len(self.children):
                if asked() and not told:
                    told = True
                    for child in self.children:
                        # To one that has died or come to its end there is nothing to say.
                        with suppress(OSError):
                            child.pipe.send("stop")
                self._listen()
            for word, content in self.answers.values():
                if word == "stopped":
                    raise Interrupted(content)
        return self.answers[0][1]

    def _listen(self) -> None:
        """Takes in what was sent, deaths first: they are why other processes fail."""
        silent = [n for n in range(len(self.children)) if n not in self.answers]
        spoke = wait([self.children[number].pipe for number in silent], timeout=_LOOK_SECONDS)
        messages: list[tuple[int, str, Any]] = []
        for number in silent:
            if self.children[number].pipe not in spoke:
                continue
            try:
                messages.append((number, *self.children[number].receive()))
            except DiedError as death:
                raise RunError(
                    f"the process of device {number} {death} and the training on "
                    f"{len(self.children)} devices with it; the last checkpoint is kept. Run "
                    "again, with a smaller batch if memory ran out"
                ) from None
        for number, word, content in messages:
            match word:
                case "failed":
                    raise content
                case "done" | "stopped":
                    self.answers[number] = (word, content)
                case "line":
                    self.reporter.line(*content)
                case "track":
                    self.track = self.tracks.enter_context(self.reporter.track(*content))
                case "advance" if self.track is not None:
                    self.track.advance(*content)
                case "end":
                    self.tracks.close()

    def __exit__(self, *_: object) -> None:
        """Leaves no process behind: those that have answered may end, the others are killed."""
        for number, child in enumerate(self.children):
            child.end(kill=number not in self.answers)


def _run_device(
    pipe: Connection,
    number: int,
    runtime: Runtime,
    port: int,
    target: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    """A device process from its first line to its last; see `train_on`."""
    threading.Thread(target=_obey, args=(pipe,), daemon=True).start()
    try:
        _join_group(number, runtime, port)
        result = target(_PipeReporter(pipe) if number == 0 else Silent(), *arguments)
        answer = ("done", result if number == 0 else None)
    except Interrupted as stop:
        answer = ("stopped", str(stop))
    except Exception as error:
        pipe.send(("failed", portable(error, number)))
        # Its connections stay open until it is killed: were they closed, the other processes
        # would fail of that, and maybe say so first.
        threading.Event().wait()
    pipe.send(answer)
    distributed.destroy_process_group()


def _obey(pipe: Connection) -> None:
    """Passes a stop on to the training; ends this process if the one that started it died."""
    while True:
        try:
            pipe.recv()
        except (EOFError, OSError):
            os._exit(1)
        request_stop()


def _join_group(number: int, runtime: Runtime, port: int) -> None:
    """Meets the other processes, and readies this one's device."""
    os.environ.update(RANK=str(number), LOCAL_RANK=str(number), WORLD_SIZE=str(runtime.devices))
    os.environ.update(NODE_RANK="0", MASTER_ADDR=_HOST, MASTER_PORT=str(port))
    distributed.init_process_group(
        # What is agreed on goes over the CPU, see `sharding.any_process`.
        "cpu:gloo,cuda:nccl" if runtime.device == "cuda" else "gloo",
        store=TCPStore(_HOST, port, wait_for_workers=False),
        rank=number,
        world_size=runtime.devices,
    )
    runtime.prepare()
    if runtime.device == "cuda":
        torch.cuda.set_device(runtime.torch_device)


class _PipeReporter(Reporter, Track):
    """A reporter, and its one track, whose news go through a pipe."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe

    def line(self, text: str) -> None:
        self.pipe.send(("line", (text,)))

    @contextmanager
    def track(self, title: str, total: int) -> Iterator[Track]:
        """Sends the beginning and the end of a piece of work; no end if it fails."""
        self.pipe.send(("track", (title, total)))
        yield self
        self.pipe.send(("end", ()))

    def advance(self, done: int, detail: str = "") -> None:
        self.pipe.send(("advance", (done, detail)))


def portable(error: Exception, number: int) -> Exception:
    """An error of the process of a device, for the way to another one; the traceback is a note.

    A plug-in's own kind may not be known there, so the nearest class of this package, torch or
    Python itself stands for it.
    """
    known = (errors.__name__, "torch", "builtins")
    kind: Any = next(kind for kind in type(error).__mro__ if kind.__module__ in known)
    found: Exception = kind.__new__(kind)
    found.args = (str(error),)
    if isinstance(error, ContrabenchError):
        found.args = error.args
        vars(found).update(vars(error))
    found.add_note(f"In the process of device {number}:\n{traceback.format_exc()}")
    return found
