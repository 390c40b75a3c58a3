"""What a study leaves in the store beside its stages, so that others can follow it.

`studies/<id>/` holds the study as it was asked for and its stages with their titles. It is
no truth: states are read from the stages themselves.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, field_validator

from contrabench.errors import ContrabenchError
from contrabench.files import write_text
from contrabench.protocol import Frozen, digest
from contrabench.stages.kind import kinds
from contrabench.store.failures import Failure
from contrabench.study.graph import Graph, State, failure_of, state_of
from contrabench.study.heartbeat import Beat, read_beat
from contrabench.study.spec import StudySpec

FOLDER, FILE = "studies", "study.json"


class StudyStage(Frozen):
    """A stage as the file of a study names it."""

    kind: str
    key: str = Field(pattern="^[0-9a-f]{16}$")
    title: str

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        """Whoever wrote the file, its kinds become names of folders."""
        if kind not in kinds():
            raise ValueError("there is no such kind of stage")
        return kind


class StudyFile(Frozen):
    """Content of `study.json`."""

    study: str = Field(pattern="^[0-9a-f]{8}$")
    begun: float = Field(
        allow_inf_nan=False, description="when it was begun or continued, seconds since the epoch"
    )
    spec: StudySpec
    stages: tuple[StudyStage, ...]


@dataclass(frozen=True)
class StageStatus:
    """A stage of a study as it stands: how far, if somebody is at work on it, or why it failed."""

    kind: str
    key: str
    title: str
    state: State
    beat: Beat | None
    failure: Failure | None


@dataclass(frozen=True)
class StudyStatus:
    """A study as it stands in the store: what was asked for and when, and its stages in order."""

    file: StudyFile
    stages: tuple[StageStatus, ...]


def study_id(spec: StudySpec) -> str:
    """The id of a study: eight hexadecimal digits over all that it asks for."""
    return digest(spec, length=8)


def study_folder(store: Path, spec: StudySpec) -> Path:
    """The folder of a study."""
    return store / FOLDER / study_id(spec)


def write_study(store: Path, spec: StudySpec, graph: Graph) -> Path:
    """Leaves a study's specification and stages in the store; returns its folder."""
    folder = study_folder(store, spec)
    stages = tuple(
        StudyStage(kind=stage.node.kind, key=stage.key, title=stage.title)
        for stage in graph.stages.values()
    )
    content = StudyFile(study=study_id(spec), begun=time.time(), spec=spec, stages=stages)
    write_text(folder / FILE, content.model_dump_json(indent=1) + "\n")
    return folder


def read_studies(store: Path) -> list[StudyStatus]:
    """The studies of a store as they stand, the one planned last first."""
    studies = []
    for path in store.glob(f"{FOLDER}/*/{FILE}"):
        try:
            file = StudyFile.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, ContrabenchError):
            # It is being written, or is damaged; `bench study` writes it anew.
            continue
        studies.append(StudyStatus(file, tuple(_stage(store, stage) for stage in file.stages)))
    return sorted(studies, key=lambda item: -item.file.begun)


def _stage(store: Path, stage: StudyStage) -> StageStatus:
    kind, key = stage.kind, stage.key
    state = state_of(store, kind, key)
    return StageStatus(
        kind=kind,
        key=key,
        title=stage.title,
        state=state,
        beat=read_beat(store, kind, key) if state != "done" else None,
        failure=failure_of(store, kind, key) if state == "failed" else None,
    )
