"""One process of a gang, from its first line to its last; see `training.gang`."""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import distributed

from contrabench import errors
from contrabench.progress import Reporter, Silent, Track
from contrabench.training.runtime import Runtime
from contrabench.training.stop import Interrupted, request_stop

HOST = "127.0.0.1"
Packed = tuple[type[BaseException], tuple[Any, ...], dict[str, Any]]
"""An error as plain data: its class, its arguments, and its attributes."""


@dataclass(frozen=True)
class Call:
    """What every member is told to do.

    Attributes:
        runtime: device and switches, with the number of devices.
        port: where the members meet.
        target: is called with runtime, reporter and the arguments.
        arguments: of the target.
        named: further arguments of the target.
    """

    runtime: Runtime
    port: int
    target: Callable[..., Any]
    arguments: tuple[Any, ...]
    named: dict[str, Any]


def run_member(pipe: Connection, rank: int, call: Call) -> None:
    """Joins the group, calls the target, and answers through the pipe.

    The messages are pairs of a word and its content: what rank 0 reports as `line`, `track`,
    `advance` and `end`, and one answer: `done` with the target's result (None but of rank
    0), `stopped` with a text, or `failed` with a `Packed` error.
    """
    threading.Thread(target=_obey, args=(pipe,), daemon=True).start()
    try:
        answer = ("done", _work(pipe, rank, call))
    except Interrupted as stop:
        answer = ("stopped", str(stop))
    except Exception as error:
        pipe.send(("failed", pack(error, rank)))
        # Its connections stay open until it is killed: were they closed, the other ranks
        # would fail of that, and maybe say so first.
        threading.Event().wait()
        return
    pipe.send(answer)
    distributed.destroy_process_group()


def meeting_point(port: int, is_master: bool) -> Any:
    """The table over which the members find each other, or a way to it.

    Args:
        port: 0 for any that is free, which its attribute `port` then tells.
        is_master: whether this process keeps the table.
    """
    return distributed.TCPStore(  # type: ignore[attr-defined]
        HOST, port, is_master=is_master, wait_for_workers=False
    )


def _work(pipe: Connection, rank: int, call: Call) -> Any:
    runtime, devices = call.runtime, call.runtime.devices
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(devices))
    os.environ.update(MASTER_ADDR=HOST, MASTER_PORT=str(call.port))
    distributed.init_process_group(
        # What is agreed on goes over the CPU, see `ranks.any_rank`.
        "cpu:gloo,cuda:nccl" if runtime.device == "cuda" else "gloo",
        store=meeting_point(call.port, is_master=False),
        rank=rank,
        world_size=devices,
    )
    runtime.prepare()
    if runtime.device == "cuda":
        torch.cuda.set_device(runtime.torch_device)
    reporter: Reporter = _Sender(pipe) if rank == 0 else Silent()
    result = call.target(runtime, reporter, *call.arguments, **call.named)
    return result if rank == 0 else None


def _obey(pipe: Connection) -> None:
    """Passes a stop on to the training; ends this process if the one that started it died."""
    while True:
        try:
            pipe.recv()
        except (EOFError, OSError):
            os._exit(1)
        request_stop()


class _Sender:
    """A reporter whose news go through a pipe."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe

    def line(self, text: str) -> None:
        """Sends a line."""
        self.pipe.send(("line", (text,)))

    @contextmanager
    def track(self, title: str, total: int) -> Iterator[Track]:
        """Sends the beginning and the end of a piece of work; no end if it fails."""
        self.pipe.send(("track", (title, total)))
        yield _SenderTrack(self.pipe)
        self.pipe.send(("end", ()))


class _SenderTrack:
    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe

    def advance(self, done: int, detail: str = "") -> None:
        """Sends how far the work is."""
        self.pipe.send(("advance", (done, detail)))


def pack(error: Exception, rank: int) -> Packed:
    """An error for the way to another process.

    Exceptions that take other arguments than their text do not survive pickling, and those of
    a plug-in may not be known there. So the nearest class of this package, torch or Python
    itself stands for each; the traceback goes along as a note.
    """
    note = f"In rank {rank}:\n{traceback.format_exc()}"
    for kind in type(error).__mro__:
        if kind.__module__ == errors.__name__:
            return kind, error.args, {**vars(error), "__notes__": [note]}
        if kind.__module__ in ("torch", "builtins"):
            break
    return kind, (str(error),), {"__notes__": [note]}


def unpack(content: Packed) -> BaseException:
    """The error that was packed."""
    kind, arguments, extra = content
    error = kind.__new__(kind)
    error.args = arguments
    vars(error).update(extra)
    return error
