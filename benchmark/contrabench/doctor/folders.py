"""Finished runs and stages on disk: complete, unchanged, and under the right key."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from contrabench.doctor.findings import Check, Finding, Severity, watched
from contrabench.files import checksum, damage, listed
from contrabench.progress import Reporter
from contrabench.store.stages import RUNS, SPEC, home_of, key_of
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


def homes(store: Path) -> Iterator[tuple[str, Path]]:
    """The kinds of stages that a store holds, with their folders; the runs first."""
    kinds = sorted(path.name for path in (store / "stages").glob("[!.]*") if path.is_dir())
    for kind in (RUNS, *kinds):
        if home_of(store, kind).is_dir():
            yield kind, home_of(store, kind)


def finished(store: Path) -> list[StageFolder]:
    """Every folder that stands for a finished run or stage, by kind and key."""
    return [
        StageFolder(kind, path)
        for kind, home in homes(store)
        for path in sorted(home.iterdir())
        if path.is_dir() and "." not in path.name
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
    if problem := damage(folder.path) if deep else shallow_damage(folder.path):
        means = "what it holds cannot be trusted"
        if listed(folder.path) is None:
            means = "it was not finished, or somebody removed the marker; it is not used"
    else:
        problem = _other_key(folder)
        means = "it was changed, renamed or made by another version; it answers another question"
    if not problem:
        return None
    again = "run the study again" if is_run else "it is made anew when a run needs it"
    return Finding(
        Severity.error, f"{folder.words}: {problem}", means, f"delete {folder.path}; {again}"
    )


def shallow_damage(folder: Path) -> str | None:
    """Says what is wrong with a sealed folder without reading its large files.

    Files of up to 1 MiB are compared with their checksums; of larger ones the presence
    is looked at, and of weights whether the file is as long as its header says.

    Args:
        folder: a sealed folder.
    """
    files = listed(folder)
    if files is None:
        return "its marker is missing or unreadable"
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            return f"the file {name} is missing"
        if path.stat().st_size > SMALL and path.suffix == ".safetensors":
            if not _complete_weights(path):
                return f"the file {name} is truncated"
        elif path.stat().st_size <= SMALL and checksum(path) != expected:
            return f"the file {name} has changed since it was written"
    return None


def _complete_weights(path: Path) -> bool:
    """Whether a safetensors file is as long as its header says."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            return True
    except SafetensorError:
        return False


def _other_key(folder: StageFolder) -> str | None:
    """Says whether a stage's specification gives another key than its folder's name."""
    try:
        spec = json.loads((folder.path / SPEC).read_text(encoding="utf-8"))
        key = key_of(folder.kind, spec)
    except (OSError, ValueError, TypeError):
        return f"its {SPEC} cannot be read"
    return None if key == folder.path.name else f"its {SPEC} gives the key {key}"
