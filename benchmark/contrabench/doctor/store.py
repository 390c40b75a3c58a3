"""The folders of a store: finished stages as they were sealed, and what lies beside them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from contrabench.doctor.findings import Finding, Looking, watched
from contrabench.files import damage_of, is_locked, is_temporary, sealed_files, size_of
from contrabench.progress import Reporter
from contrabench.stages.fit import FIT_RECORD, FITS
from contrabench.store.failures import failures_in
from contrabench.store.runs import RUN_RECORD
from contrabench.store.stages import (
    PREPARE,
    RUNS,
    finished_stages,
    home_of,
    incomplete_weights,
    kinds_in,
    misnamed,
)
from contrabench.text import counted, size_words, some

_RECORDS = {RUNS: RUN_RECORD, FITS: FIT_RECORD}
"""The kinds that name the stages they rest on, and in which file."""
_WEIGHTS = ".safetensors"
_KEY = re.compile("[0-9a-f]{16}")


def no_store(store: Path) -> Looking:
    """Tells that there is no store to look into."""
    yield Finding(
        "information",
        f"there is no store at {store} yet",
        "no run was made there",
        "name another with --store, if there is one",
    )
    return "none"


def check_files(store: Path, deep: bool, reporter: Reporter) -> Looking:
    """Looks for runs and stages that are truncated, changed, or not what their key says.

    Without `deep`, of weights only the length is looked at: whether it is what their header says.
    """
    found = _finished(store)
    for kind, folder in watched(reporter, "files of the store", found):
        yield from fault_of(kind, folder, deep)
    runs = sum(kind == RUNS for kind, _ in found)
    told = f"{counted(runs, 'run')}, {counted(len(found) - runs, 'stage')}"
    return told if deep else f"{told}; --deep also reads weights in full"


def _finished(store: Path) -> list[tuple[str, Path]]:
    """Kind and folder of every finished stage, the runs first."""
    return [(kind, path) for kind in kinds_in(store) for path in finished_stages(store, kind)]


def fault_of(kind: str, folder: Path, deep: bool = False) -> Iterator[Finding]:
    """The first thing that is wrong with the folder of a finished stage, if anything is."""
    if not _KEY.fullmatch(folder.name):
        yield Finding(
            "warning",
            f"{folder} has no name that contrabench gives",
            "somebody else put it there; it is no stage",
            "move it elsewhere",
        )
        return
    means = "what it holds cannot be trusted"
    lengths = map(incomplete_weights, folder.rglob(f"*{_WEIGHTS}"))
    problem = damage_of(folder, () if deep else _WEIGHTS) or next(filter(None, lengths), None)
    if problem and sealed_files(folder) is None:
        means = "it was not finished, or somebody removed the marker; it is not used"
    elif not problem:
        problem = misnamed(folder, kind)
        means = "it was changed, renamed or made by another version; it answers another question"
    if problem:
        again = "run the study again" if kind == RUNS else "it is made anew when a run needs it"
        what = "run" if kind == RUNS else f"{kind} stage"
        yield Finding(
            "error", f"{what} {folder.name}: {problem}", means, f"delete {folder}; {again}"
        )


def check_links(store: Path) -> Looking:
    """Finds stages that no run and no study refers to, and runs whose stages are gone."""
    from contrabench.study.status import read_studies

    found = [(kind, path) for kind, path in _finished(store) if _KEY.fullmatch(path.name)]
    runs = [(path, _RECORDS[kind]) for kind, path in found if kind in _RECORDS]
    # A prepared volume serves whatever is run next, and is nobody's in particular.
    stages = [(kind, path) for kind, path in found if kind not in (*_RECORDS, PREPARE)]
    there = {(kind, path.name) for kind, path in stages}
    used = {(stage.kind, stage.key) for study in read_studies(store) for stage in study.stages}
    gone = []
    for run, record in runs:
        try:
            named = _stages_of(run / record)
        except (OSError, ValueError, KeyError, TypeError):
            yield Finding(
                "error",
                f"run {run.name}: its {record} cannot be read",
                "its patients, cost and environment are unknown; its stages look like orphans",
                f"delete {run}; run the study again",
            )
            continue
        used |= named
        if named - there:
            gone.append(run.name)
    orphans = [(kind, path) for kind, path in stages if (kind, path.name) not in used]
    for kind in dict(orphans):
        paths = [path for other, path in orphans if other == kind]
        yield Finding(
            "information",
            f"{counted(len(paths), f'{kind} stage')} of no run, {_named(paths)}",
            "left by runs that are not finished or were removed; a later run may use them",
            f"nothing, or delete them from {paths[0].parent} to save the space",
        )
    if gone:
        yield Finding(
            "information",
            f"{counted(len(gone), 'run')} without their stages: {some(gone)}",
            "their rows are whole, but their weights and predictions cannot be looked at",
            "nothing; or delete the runs and run the study again to make the weights anew",
        )
    return f"{counted(len(runs), 'run')}, {counted(len(stages), 'stage')}"


def _stages_of(record: Path) -> set[tuple[str, str]]:
    """Kind and key of every stage of a run, or of a fit, which evaluates nothing."""
    stages = json.loads(record.read_text(encoding="utf-8"))["stages"]
    found = {("finetune", str(key)) for key in stages.get("joint", ())}
    for kind in ("pretrain", "pseudo_label"):
        found |= {(kind, str(key)) for key in stages.get(kind, ())}
    return found | {(kind, str(stages[kind])) for kind in ("finetune", "evaluate") if stages[kind]}


def _named(paths: Sequence[Path]) -> str:
    """Size and first names of some files or folders."""
    return f"{size_words(sum(map(size_of, paths)))}: {some(path.name for path in paths)}"


def check_unfinished(store: Path) -> Looking:
    """Finds what killed processes left behind; what is at work is left alone."""
    from contrabench.study.status import read_beat

    at_work = 0
    for kind in kinds_in(store):
        home = home_of(store, kind)
        begun = sorted(home.glob("*.work"))
        halves = [path for path in begun if not is_locked(path.with_suffix(".lock"))]
        at_work += len(begun) - len(halves)
        beats = sorted(home.glob("*.running.json"))
        beats = [path for path in beats if not read_beat(store, kind, path.name.split(".")[0])]
        temporary = [path for path in sorted(home.glob(".*")) if is_temporary(path)]
        stopped = "a process was stopped or has failed; the same command goes on from there"
        killed = "a worker was killed; its stage is free to be taken up"
        written = "a process is writing them, or was killed while it did; they are never read"
        for paths, what, means, do in (
            (halves, "unfinished stage", stopped, "run the study again; or"),
            (beats, "stale heartbeat", killed, "run the study again; or"),
            (temporary, "temporary file", written, "when nobody is at work,"),
        ):
            if paths:
                told = f"{kind}: {counted(len(paths), what)}, {_named(paths)}"
                yield Finding("information", told, means, f"{do} delete them from {home}")
    return f"{counted(at_work, 'stage') if at_work else 'none'} at work"


def check_failed(store: Path) -> Looking:
    """Lists the stages that have failed, with reason and log."""
    number = 0
    for kind in kinds_in(store):
        for key, failure in failures_in(home_of(store, kind)).items():
            number += 1
            log = f" (log: {failure.log})" if failure.log.is_file() else ""
            yield Finding(
                "warning",
                f"{kind} {key} failed: {failure.reason}{log}",
                "the runs that rest on it have no rows",
                "mend the reason, then try again: bench status tells the command",
            )
    return counted(number, "stage") if number else "none"


def check_studies(store: Path) -> Looking:
    """Tells which runs of the studies that were begun are not there yet."""
    from contrabench.study.status import read_studies

    studies = read_studies(store)
    for study in studies:
        runs = [stage for stage in study.stages if stage.kind == RUNS]
        lacking = [run.title for run in runs if run.state != "done"]
        if lacking:
            yield Finding(
                "information",
                f"study {study.study}: {len(lacking)} of its {counted(len(runs), 'run')} are "
                f"not there: {some(lacking)}",
                "it is at work, was stopped, or a stage has failed",
                study.going_on() or "give its command again; bench status shows it",
            )
    return f"{len(studies) or 'none'} begun here"
