"""What a store holds beside its results: unfinished and failed stages, and orphans."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from contrabench.doctor.disk import is_locked, size_of
from contrabench.doctor.findings import Check, Finding, Severity
from contrabench.doctor.folders import StageFolder
from contrabench.files import is_temporary
from contrabench.stages.outputs import RUN_RECORD
from contrabench.store.failures import read_failure
from contrabench.store.stages import RUNS, home_of, kinds_in
from contrabench.study.heartbeat import read_beat
from contrabench.study.status import read_studies
from contrabench.text import counted, size_words, some

_WORK, _RUNNING, _FAILED = ".work", ".running.json", ".failed.json"


def check_unfinished(store: Path) -> Check:
    """Finds what killed processes left behind; what is at work is left alone."""
    findings = []
    at_work = 0
    for kind in kinds_in(store):
        home = home_of(store, kind)
        halves = []
        for path in sorted(home.glob(f"*{_WORK}")):
            if is_locked(path.with_suffix(".lock")):
                at_work += 1
            else:
                halves.append(path)
        beats = [
            path
            for path in sorted(home.glob(f"*{_RUNNING}"))
            if read_beat(store, kind, path.name.removesuffix(_RUNNING)) is None
        ]
        temporary = [path for path in sorted(home.glob(".*")) if is_temporary(path)]
        findings += _halves(kind, halves) + _beats(kind, beats) + _temporary(kind, temporary)
    return Check(
        "unfinished work",
        f"{counted(at_work, 'stage') if at_work else 'none'} at work",
        tuple(findings),
    )


def _halves(kind: str, paths: Sequence[Path]) -> list[Finding]:
    if not paths:
        return []
    return [
        Finding(
            Severity.information,
            f"{kind}: {counted(len(paths), 'unfinished stage')}, "
            f"{size_words(sum(map(size_of, paths)))}, nobody at work: "
            f"{some(path.name for path in paths)}",
            "a process was stopped or has failed; the same command goes on from there",
            f"run the study again; or delete the folders in {paths[0].parent}",
        )
    ]


def _beats(kind: str, paths: Sequence[Path]) -> list[Finding]:
    if not paths:
        return []
    return [
        Finding(
            Severity.information,
            f"{kind}: {counted(len(paths), 'stage')} said to be at work by a process that is gone: "
            f"{some(path.name for path in paths)}",
            "a worker was killed; its stage is free to be taken up",
            f"run the study again; or delete the files in {paths[0].parent}",
        )
    ]


def _temporary(kind: str, paths: Sequence[Path]) -> list[Finding]:
    if not paths:
        return []
    return [
        Finding(
            Severity.information,
            f"{kind}: {counted(len(paths), 'temporary file')}, "
            f"{size_words(sum(map(size_of, paths)))}: {some(path.name for path in paths)}",
            "a process is writing them, or was killed while it did; they are never read",
            f"delete them from {paths[0].parent} when nobody is at work",
        )
    ]


def check_failed(store: Path) -> Check:
    """Lists the stages that have failed, with reason and log."""
    findings = []
    for kind in kinds_in(store):
        home = home_of(store, kind)
        for path in sorted(home.glob(f"*{_FAILED}")):
            key = path.name.removesuffix(_FAILED)
            failure = read_failure(home, key)
            if failure is None:
                continue
            log = f" (log: {failure.log})" if failure.log.is_file() else ""
            finding = Finding(
                Severity.warning,
                f"{kind} {key} failed: {failure.reason}{log}",
                "the runs that rest on it have no rows",
                "mend the reason, then try again: bench study ... --retry-failed",
            )
            findings.append(finding)
    return Check(
        "failed stages", counted(len(findings), "stage") if findings else "none", tuple(findings)
    )


def check_studies(store: Path) -> Check:
    """Tells which runs of the studies that were begun are not there yet."""
    findings = []
    studies = read_studies(store)
    for study in studies:
        runs = [stage for stage in study.stages if stage.kind == RUNS]
        lacking = [run for run in runs if run.state != "done"]
        if lacking:
            finding = Finding(
                Severity.information,
                f"study {study.file.study}: {len(lacking)} of its {counted(len(runs), 'run')} are "
                f"not there: {some(run.title for run in lacking)}",
                "it is at work, was stopped, or a stage has failed",
                "see how it stands with bench status; the same bench study goes on from there",
            )
            findings.append(finding)
    return Check("studies", f"{len(studies) or 'none'} begun here", tuple(findings))


def check_links(store: Path, folders: Sequence[StageFolder]) -> Check:
    """Finds stages that no run and no study refers to, and runs whose stages are gone."""
    used, findings, runs = set(), [], 0
    folders = [folder for folder in folders if folder.named]
    there = {(folder.kind, folder.path.name) for folder in folders}
    gone = []
    for folder in folders:
        if folder.kind != RUNS:
            continue
        runs += 1
        named = _stages_of(folder.path)
        if named is None:
            finding = Finding(
                Severity.error,
                f"run {folder.path.name}: its {RUN_RECORD} cannot be read",
                "its patients, cost and environment are unknown; its stages look like orphans",
                f"delete {folder.path}; run the study again",
            )
            findings.append(finding)
            continue
        used |= named
        if named - there:
            gone.append(folder.path.name)
    used |= {(item.kind, item.key) for study in read_studies(store) for item in study.stages}
    stages = [folder for folder in folders if folder.kind != RUNS]
    orphans = [folder for folder in stages if (folder.kind, folder.path.name) not in used]
    findings += [*_orphans(orphans), *_without_stages(gone)]
    seen = f"{counted(runs, 'run')}, {counted(len(stages), 'stage')}"
    return Check("stages of the runs", seen, tuple(findings))


def _stages_of(run: Path) -> set[tuple[str, str]] | None:
    """Kind and key of every stage of a run; None if its record cannot be read."""
    try:
        stages = json.loads((run / RUN_RECORD).read_text(encoding="utf-8"))["stages"]
        pretrained = {("pretrain", str(key)) for key in stages["pretrain"]}
        return pretrained | {(kind, str(stages[kind])) for kind in ("finetune", "evaluate")}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _orphans(orphans: Sequence[StageFolder]) -> list[Finding]:
    findings = []
    for kind in sorted({folder.kind for folder in orphans}):
        paths = [folder.path for folder in orphans if folder.kind == kind]
        finding = Finding(
            Severity.information,
            f"{counted(len(paths), f'{kind} stage')} of no run, "
            f"{size_words(sum(map(size_of, paths)))}: {some(path.name for path in paths)}",
            "left by runs that are not finished or were removed; a later run may use them",
            f"nothing, or delete them from {paths[0].parent} to save the space",
        )
        findings.append(finding)
    return findings


def _without_stages(runs: Sequence[str]) -> list[Finding]:
    if not runs:
        return []
    return [
        Finding(
            Severity.information,
            f"{counted(len(runs), 'run')} without their stages: {some(runs)}",
            "their rows are whole, but their weights and predictions cannot be looked at",
            "nothing; or delete the runs and run the study again to make the weights anew",
        )
    ]
