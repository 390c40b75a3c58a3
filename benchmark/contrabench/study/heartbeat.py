"""What a stage at work tells the world: a log beside it, and how far it is.

Both are files in the store, so that a study, another terminal and another machine see the
same, whoever does the work.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter

from contrabench.files import temporary_sibling
from contrabench.progress import Reporter, Silent, Track, clock
from contrabench.store.failures import log_path
from contrabench.store.stages import home_of

_EVERY_SECONDS = 1.0
SILENT_SECONDS = 600.0
"""A stage on another machine that has not been heard of for so long is taken for dead."""

_Finite = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True)
class Beat:
    """How far a piece of work is: units done of all, a remark such as the loss, seconds spent.

    `first` is the unit at which this session took it up; `at` counts from the epoch.
    """

    title: str
    done: int = 0
    total: int = 0
    detail: str = ""
    seconds: _Finite = 0.0
    first: int = 0
    at: _Finite = field(default_factory=time.time)
    host: str = field(default_factory=socket.gethostname)
    pid: Annotated[int, Field(gt=0, lt=2**31)] = field(default_factory=os.getpid)

    @property
    def left(self) -> float | None:
        """Seconds that the piece of work will still take; None at its beginning."""
        made = self.done - self.first
        return self.seconds / made * (self.total - self.done) if made > 0 else None

    def alive(self) -> bool:
        """Whether the process that wrote it is still there, as far as can be told."""
        if self.host != socket.gethostname():
            return time.time() - self.at < SILENT_SECONDS
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


_BEAT = TypeAdapter(Beat)


def beat_path(store: Path, kind: str, key: str) -> Path:
    """Where a stage at work says how far it is."""
    return home_of(store, kind) / f"{key}.running.json"


def read_beat(store: Path, kind: str, key: str) -> Beat | None:
    """How far a stage is, or None if nobody is at work on it."""
    try:
        beat = _BEAT.validate_json(beat_path(store, kind, key).read_bytes())
    except (OSError, ValueError):
        # It is gone or damaged; a stage at work writes another one in a moment.
        return None
    return beat if beat.alive() else None


class Heartbeat:
    """A reporter that writes the log and the beat of one stage, and tells another one as well."""

    def __init__(self, store: Path, kind: str, key: str, also: Reporter | None = None) -> None:
        self.path = beat_path(store, kind, key)
        self.log = log_path(home_of(store, kind), key)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.also = also or Silent()

    @contextmanager
    def beating(self) -> Iterator[Heartbeat]:
        """Tells that the stage is at work for as long as the context lasts."""
        self.beat(Beat("starting"))
        try:
            yield self
        finally:
            self.path.unlink(missing_ok=True)

    def line(self, text: str) -> None:
        """Adds a line to the log."""
        self.also.line(text)
        self._log(text)

    @contextmanager
    def track(self, title: str, total: int) -> Iterator[Track]:
        """Tells how far one piece of work is."""
        began = time.monotonic()
        with self.also.track(title, total) as track:
            yield _BeatTrack(self, title, total, track)
        self._log(f"{title}: done in {clock(time.monotonic() - began)}")

    def beat(self, beat: Beat) -> None:
        """Writes how far the stage is."""
        temporary = temporary_sibling(self.path)
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps(asdict(beat)), encoding="utf-8")
            temporary.replace(self.path)

    def _log(self, text: str) -> None:
        # A log that cannot be written must not cost the stage.
        with contextlib.suppress(OSError), self.log.open("a", encoding="utf-8") as log:
            log.write(f"{time.strftime('%H:%M:%S')} {text.strip()}\n")


class _BeatTrack:
    def __init__(self, heartbeat: Heartbeat, title: str, total: int, also: Track) -> None:
        self.heartbeat, self.title, self.total, self.also = heartbeat, title, total, also
        self.began, self.written = time.monotonic(), 0.0
        self.first: int | None = None

    def advance(self, done: int, detail: str = "") -> None:
        """Writes a beat when the last one is old enough, and a line in the log."""
        self.also.advance(done, detail)
        if self.first is None:
            self.first = done
        now = time.monotonic()
        if now - self.written < _EVERY_SECONDS and done < self.total:
            return
        self.written = now
        beat = Beat(self.title, done, self.total, detail, now - self.began, self.first)
        self.heartbeat.beat(beat)
        self.heartbeat._log(f"{self.title}: {done}/{self.total} {detail}")
