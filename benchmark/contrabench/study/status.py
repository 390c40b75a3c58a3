"""What a study leaves in the store beside its stages, so that others can follow it.

`studies/<id>/` holds the study as it was asked for and its stages with their titles. It is
no truth: states are read from the stages themselves. Beside a stage at work lie its log and how
far it is: another terminal and another machine see the same, whoever does the work.
"""

from __future__ import annotations

import os
import shlex
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, field_validator

from contrabench.errors import ContrabenchError
from contrabench.files import temporary_sibling, write_text
from contrabench.progress import Reporter, Silent, Track, clock
from contrabench.protocol import Frozen, digest
from contrabench.stages.kind import kinds
from contrabench.store.failures import Failure, log_path, read_failure
from contrabench.store.stages import home_of
from contrabench.study.graph import Graph, State, state_of
from contrabench.study.spec import StudySpec

FOLDER, FILE, LED = "studies", "study.json", "running.json"
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
        except OSError as error:
            # It may be another user's.
            return isinstance(error, PermissionError)
        return True


_BEAT = TypeAdapter(Beat)


def beat_path(store: Path, kind: str, key: str) -> Path:
    """Where a stage at work says how far it is."""
    return home_of(store, kind) / f"{key}.running.json"


def read_beat(store: Path, kind: str, key: str) -> Beat | None:
    """How far a stage is, or None if nobody is at work on it."""
    return _read(beat_path(store, kind, key))


def _read(path: Path) -> Beat | None:
    try:
        beat = _BEAT.validate_json(path.read_bytes())
    except (OSError, ValueError):
        # It is gone or damaged; a stage at work writes another one in a moment.
        return None
    return beat if beat.alive() else None


def _write(path: Path, beat: Beat) -> None:
    temporary = temporary_sibling(path)
    try:
        temporary.write_bytes(_BEAT.dump_json(beat))
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


class Heartbeat(Reporter):
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
        _write(self.path, beat)

    def _log(self, text: str) -> None:
        # A log that cannot be written must not cost the stage.
        with suppress(OSError), self.log.open("a", encoding="utf-8", errors="replace") as log:
            log.write(f"{time.strftime('%H:%M:%S')} {text.strip()}\n")


class _BeatTrack(Track):
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
        seconds = now - self.began
        self.heartbeat.beat(Beat(self.title, done, self.total, detail, seconds, self.first))
        self.heartbeat._log(f"{self.title}: {done}/{self.total} {detail}")


class StudyStage(Frozen):
    """A stage as the file of a study names it, and as it stands, which the file does not say.

    `beat` tells how far it is, if somebody is at work on it, and `failure` why it failed, be it
    that it is tried again.
    """

    kind: str
    key: str = Field(pattern="^[0-9a-f]{16}$")
    title: str
    state: State | Literal["running"] = Field("to do", exclude=True)
    beat: Beat | None = Field(None, exclude=True)
    failure: Failure | None = Field(None, exclude=True)

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        """Whoever wrote the file, its kinds become names of folders."""
        if kind not in kinds():
            raise ValueError("there is no such kind of stage")
        return kind

    def standing(self, store: Path) -> StudyStage:
        """The stage as it stands in a store."""
        state = state_of(store, self.kind, self.key)
        beat = read_beat(store, self.kind, self.key) if state != "done" else None
        failure = read_failure(home_of(store, self.kind), self.key) if state == "failed" else None
        now = state if beat is None else "running"
        return self.model_copy(update={"state": now, "beat": beat, "failure": failure})


class StudyFile(Frozen):
    """Content of `study.json`."""

    study: str = Field(pattern="^[0-9a-f]{8}$")
    begun: float = Field(
        allow_inf_nan=False, description="when it was begun or continued, seconds since the epoch"
    )
    spec: StudySpec
    stages: tuple[StudyStage, ...]
    command: str = Field("", description="goes on with it; empty if no command line began it")
    place: str = Field("", description="the folder where the command was given")
    led: bool = Field(False, exclude=True, description="whether a process is at work on it now")

    @field_validator("command")
    @classmethod
    def _ours(cls, command: str) -> str:
        """Whoever wrote the file, the command is one of ours, and nothing runs behind it."""
        words = shlex.split(command)
        if words[:1] not in ([], ["bench"]) or shlex.join(words) != command:
            raise ValueError("this is no command of bench")
        return command

    @property
    def complete(self) -> bool:
        """Whether all its stages are there."""
        return all(stage.state == "done" for stage in self.stages)

    def going_on(self, *more: str) -> str:
        """What to paste to go on, from where this process is; empty if no command began it."""
        words = " ".join((self.command, *more)) if self.command else ""
        elsewhere = words and self.place != str(Path.cwd())
        return f"cd {shlex.quote(self.place)} && {words}" if elsewhere else words


def study_id(spec: StudySpec) -> str:
    """The id of a study: eight hexadecimal digits over all that it asks for."""
    return digest(spec, length=8)


def study_folder(store: Path, spec: StudySpec) -> Path:
    """The folder of a study."""
    return store / FOLDER / study_id(spec)


def write_study(store: Path, spec: StudySpec, graph: Graph, command: str = "") -> Path:
    """Leaves a study's specification and stages in the store; returns its folder.

    `command` goes on with it, from the folder where this process is.
    """
    stages = tuple(
        StudyStage(kind=stage.node.kind, key=stage.key, title=stage.title)
        for stage in graph.stages.values()
    )
    content = StudyFile(
        study=study_id(spec),
        begun=time.time(),
        spec=spec,
        stages=stages,
        command=command,
        place=str(Path.cwd()),
    )
    folder = study_folder(store, spec)
    write_text(folder / FILE, content.model_dump_json(indent=1) + "\n")
    return folder


@contextmanager
def leading(store: Path, spec: StudySpec) -> Iterator[None]:
    """Tells that a process is at work on a study, be it that its workers only begin."""
    path = study_folder(store, spec) / LED
    _write(path, Beat("leading"))
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def read_studies(store: Path) -> list[StudyFile]:
    """The studies of a store, their stages as they stand, the one planned last first."""
    studies = []
    for path in store.glob(f"{FOLDER}/*/{FILE}"):
        # A file that is being written, or is damaged, is left out; `bench study` writes it anew.
        with suppress(OSError, ValueError, ContrabenchError):
            study = StudyFile.model_validate_json(path.read_text(encoding="utf-8"))
            stages = tuple(stage.standing(store) for stage in study.stages)
            led = _read(path.with_name(LED)) is not None
            studies.append(study.model_copy(update={"stages": stages, "led": led}))
    return sorted(studies, key=lambda study: -study.begun)
