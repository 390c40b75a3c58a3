"""Finished runs and stages on disk: complete, unchanged, and under the right key."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from contrabench.doctor.findings import Check, Finding, Severity, watched
from contrabench.files import damage_of, sealed_files
from contrabench.progress import Reporter
from contrabench.store.stages import (
    RUNS,
    finished_stages,
    incomplete_weights,
    kinds_in,
    misnamed,
)
from contrabench.text import counted

SMALL = 2**20
"""Bytes up to which a stage's file is read in full without `--deep`."""
_KEY = re.compile("[0-9a-f]{16}")


@dataclass(frozen=True)
class StageFolder:
    """A folder that stands for a finished stage.

    Attributes:
        kind: of the stage.
        path: the folder, named by the stage's key.
    """

    kind: str
    path: Path

    @property
    def named(self) -> bool:
        """Whether its name is a key; somebody else's folder has another."""
        return _KEY.fullmatch(self.path.name) is not None

    @property
    def words(self) -> str:
        """How a finding names it."""
        what = "run" if self.kind == RUNS else f"{self.kind} stage"
        return f"{what} {self.path.name}"


def finished(store: Path) -> list[StageFolder]:
    """Every folder that stands for a finished run or stage, by kind and key."""
    return [
        StageFolder(kind, path) for kind in kinds_in(store) for path in finished_stages(store, kind)
    ]


def check_runs(folders: Sequence[StageFolder], reporter: Reporter) -> Check:
    """Compares every file of the runs with its checksum, and their keys with what they hold."""
    runs = [folder for folder in folders if folder.kind == RUNS]
    title = "files of the runs"
    findings = _all_faults(runs, True, reporter, title)
    return Check(title, counted(len(runs), "run"), findings)


def check_stages(folders: Sequence[StageFolder], deep: bool, reporter: Reporter) -> Check:
    """Looks for stages that are truncated, changed, or not what their key says.

    Args:
        folders: those of the store.
        deep: read large files as well; otherwise only their presence is looked at, and for
            weights whether they are as long as they say.
        reporter: where progress is told.
    """
    stages = [folder for folder in folders if folder.kind != RUNS]
    title = "files of the stages"
    findings = _all_faults(stages, deep, reporter, title)
    how = "" if deep else "; --deep also reads weights in full"
    return Check(title, counted(len(stages), "stage") + how, findings)


def _all_faults(
    folders: Sequence[StageFolder], deep: bool, reporter: Reporter, title: str
) -> tuple[Finding, ...]:
    found = (_fault(folder, deep) for folder in watched(reporter, title, folders))
    return tuple(finding for finding in found if finding is not None)


def _fault(folder: StageFolder, deep: bool) -> Finding | None:
    """The first thing that is wrong with a folder, or None."""
    if not folder.named:
        return Finding(
            Severity.warning,
            f"{folder.path} has no name that contrabench gives",
            "somebody else put it there; it is no stage",
            "move it elsewhere",
        )
    is_run = folder.kind == RUNS
    if problem := damage_of(folder.path) if deep else _shallow_damage(folder.path):
        means = "what it holds cannot be trusted"
        if sealed_files(folder.path) is None:
            means = "it was not finished, or somebody removed the marker; it is not used"
    else:
        problem = misnamed(folder.path, folder.kind)
        means = "it was changed, renamed or made by another version; it answers another question"
    if not problem:
        return None
    again = "run the study again" if is_run else "it is made anew when a run needs it"
    return Finding(
        Severity.error, f"{folder.words}: {problem}", means, f"delete {folder.path}; {again}"
    )


def _shallow_damage(folder: Path) -> str | None:
    """Of large files, the presence is looked at, and the length of weights."""
    weights = (
        folder / name for name in sealed_files(folder) or () if name.endswith(".safetensors")
    )
    return damage_of(folder, largest=SMALL) or next(
        filter(None, map(incomplete_weights, weights)), None
    )
