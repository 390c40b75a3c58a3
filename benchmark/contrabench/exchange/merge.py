"""Takes the finished work of others into one store: two labs' folders or archives, two machines'.

Only `runs/`, `stages/` and `splits/` are looked at, and of these only what is finished. Each
folder is copied beside its place, looked through there, and renamed; so an interrupted merge
leaves whole folders alone, and the same command goes on with it. Sources are never written;
an archive is unpacked elsewhere, and taken in like a store if nothing is wrong with any of it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from contrabench.errors import DiskFullError, RequestError, RunError
from contrabench.exchange.manifests import take_manifests
from contrabench.exchange.merge_result import LeftOut, MergeResult, Verdict
from contrabench.exchange.unpacking import (
    ArchiveError,
    archives_of,
    is_store,
    passed_over,
    unpacked,
)
from contrabench.exchange.vetting import unsafe, unsound
from contrabench.files import (
    MARKER,
    damage_of,
    is_temporary,
    sealed_files,
    sync_file,
    sync_folder,
    temporary_sibling,
)
from contrabench.progress import Reporter, Silent
from contrabench.store.failures import forget_failure, is_disk_full
from contrabench.store.run_files import ROWS_FILE, read_run
from contrabench.store.stages import RUNS, finished_stages, home_of

STAGES = ("pretrain", "finetune", "evaluate")
"""Kinds of stages in the order in which they rest on each other; the runs come last."""
_PATIENCE_S = 1.0
"""How long a stage that somebody is at work on is waited for before it is left out."""


def merge_stores(
    sources: Sequence[Path],
    target: Path,
    *,
    rows_only: bool = False,
    dry_run: bool = False,
    reporter: Reporter | None = None,
) -> MergeResult:
    """Takes the finished stages, runs and manifests of stores and archives into a store.

    A folder of the same key is a duplicate if its rows are equal, whatever its record says
    of times and machines; a stage of the same key is one whatever its bytes, for two
    machines round the last digits of weights differently. Ours is kept, unless it is damaged.

    Args:
        sources: store folders, archives of `bench submit`, or folders of such archives;
            read only. An archive with a fault is refused as a whole.
        target: the store to fill; made if need be.
        rows_only: leave out the stages, and with them all weights and predictions.
        dry_run: look through everything and change nothing.
        reporter: where progress is told.

    Raises:
        RequestError: if a source is no store, or is the target.
        DiskFullError: if there is no space left; what was taken before stays.
        RunError: if the target cannot be written to.
    """
    for source in sources:
        _check_source(source, target)
    teller = reporter or Silent()
    result = MergeResult()
    if dry_run:
        _merge_all(sources, target, rows_only, True, teller, result)
        return result
    try:
        target.mkdir(parents=True, exist_ok=True)
        with _alone(target, teller):
            _merge_all(sources, target, rows_only, False, teller, result)
    except OSError as error:
        if is_disk_full(error):
            raise DiskFullError(
                f"the disk of {target} is full; what was taken in is complete. Make room and "
                "run the same command again"
            ) from error
        raise RunError(
            f"cannot write to {target} ({error.strerror}); what was taken in is complete. Mend "
            "that and run the same command again"
        ) from error
    return result


def _check_source(source: Path, target: Path) -> None:
    if not source.exists():
        raise RequestError(f"there is no folder or file {source}; nothing was merged")
    if not is_store(source) and not archives_of(source):
        raise RequestError(
            f"{source} is no store: it has neither runs/ nor stages/, nor archives; give the "
            "folder that `bench run --store` wrote to, or what `bench submit` made of it"
        )
    if source.resolve() == target.resolve():
        raise RequestError(f"{source} cannot be merged into itself; name another one with --into")


def _merge_all(
    sources: Sequence[Path],
    target: Path,
    rows_only: bool,
    dry_run: bool,
    teller: Reporter,
    result: MergeResult,
) -> None:
    """Takes in the stores, then the archives, one unpacked at a time."""
    stores = [source for source in sources if is_store(source)]
    for skipped in filter(None, map(passed_over, stores)):
        teller.line(f"note: {skipped}")
    if stores:
        _merge(stores, target, rows_only, dry_run, teller, result)
    archives = [archive for source in sources for archive in archives_of(source)]
    if not archives:
        return
    with teller.track("looking through archives", len(archives)) as track:
        for number, archive in enumerate(archives, start=1):
            try:
                with unpacked(archive) as store:
                    part = MergeResult()
                    _merge([store], target, True, dry_run, Silent(), part)
                    result.add(part, store, archive)
            except ArchiveError as error:
                result.left_out.append(LeftOut("refused", archive, error.reason))
            track.advance(number)


def _merge(
    sources: Sequence[Path],
    target: Path,
    rows_only: bool,
    dry_run: bool,
    teller: Reporter,
    result: MergeResult,
) -> None:
    kinds = (RUNS,) if rows_only else (*STAGES, RUNS)
    found = [
        (kind, folder)
        for kind in kinds
        for source in sources
        for folder in _finished(source, kind, result)
    ]
    with teller.track("merging", len(found)) as track:
        for number, (kind, folder) in enumerate(found, start=1):
            place = home_of(target, kind) / folder.name
            verdict, reason = _settle(folder, place, kind, dry_run)
            if verdict in ("conflict", "refused", "busy"):
                result.left_out.append(LeftOut(verdict, folder, reason))
            else:
                result.count(kind, verdict)
            track.advance(number)
    for source in sources:
        for verdict, path, reason in take_manifests(source, target, dry_run):
            if verdict == "refused":
                result.left_out.append(LeftOut("refused", path, reason))
            else:
                result.count("splits", verdict)


def _finished(source: Path, kind: str, result: MergeResult) -> Iterator[Path]:
    """The folders of a kind, by name, that are not at work; their content is not looked at."""
    home = home_of(source, kind)
    for folder in (home, home.parent):
        if folder != source and folder.is_symlink():
            result.left_out.append(
                LeftOut("refused", folder, "it is a link, and may lead anywhere")
            )
            return
    try:
        yield from finished_stages(source, kind)
    except OSError as error:
        result.left_out.append(LeftOut("refused", home, f"it cannot be listed ({error.strerror})"))


def _settle(folder: Path, place: Path, kind: str, dry_run: bool) -> tuple[Verdict, str]:
    """Decides on one folder, and takes it in if it is to be."""
    ours = place.is_dir()
    if ours and damage_of(place) is None:
        return _compare(folder, place, kind)
    if reason := unsafe(folder, kind) or (unsound(folder, kind) if dry_run else None):
        return "refused", reason
    verdict: Verdict = "replaced" if ours else "taken"
    return (verdict, "") if dry_run else _take(folder, place, kind, verdict)


def _compare(folder: Path, place: Path, kind: str) -> tuple[Verdict, str]:
    """Tells a duplicate of what is there from a conflict with it."""
    if kind != RUNS or _same_marker(folder, place):
        return "duplicate", ""
    if reason := unsafe(folder, kind) or unsound(folder, kind):
        return "refused", reason
    if _rows(folder).equals(_rows(place)):
        return "duplicate", ""
    return "conflict", f"its rows are not those of {place}, which is kept"


def _same_marker(folder: Path, place: Path) -> bool:
    """Whether both markers tell the same checksum of the rows."""
    if folder.is_symlink() or (folder / MARKER).is_symlink():
        return False
    theirs, ours = sealed_files(folder) or {}, sealed_files(place) or {}
    return ROWS_FILE in ours and theirs.get(ROWS_FILE) == ours[ROWS_FILE]


def _rows(folder: Path) -> Any:
    """Rows as a frame, in which two missing numbers are equal."""
    return read_run(folder)[0].to_pandas()


def _take(folder: Path, place: Path, kind: str, verdict: Verdict) -> tuple[Verdict, str]:
    """Copies a folder, looks through the copy, and gives it its name."""
    place.parent.mkdir(parents=True, exist_ok=True)
    work = temporary_sibling(place)
    copy = work / place.name
    try:
        copy.mkdir(parents=True)
        for name in (*sorted(sealed_files(folder) or ()), MARKER):
            try:
                shutil.copyfile(folder / name, copy / name, follow_symlinks=False)
            except OSError as error:
                if is_disk_full(error):
                    raise
                return "refused", f"the file {name} cannot be copied ({error.strerror})"
        if reason := unsafe(copy, kind) or unsound(copy, kind):
            return "refused", reason
        for file in copy.iterdir():
            sync_file(file)
        sync_folder(copy)
        with FileLock(place.with_name(f"{place.name}.lock"), timeout=_PATIENCE_S):
            if place.is_dir():
                if damage_of(place) is None:
                    return "duplicate", ""
                place.rename(work / "damaged")
            copy.rename(place)
            shutil.rmtree(place.with_name(f"{place.name}.work"), ignore_errors=True)
            forget_failure(place.parent, place.name)
        sync_folder(place.parent)
    except Timeout:
        return "busy", f"another process is making {place}; run this again when it is done"
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return verdict, ""


@contextmanager
def _alone(target: Path, teller: Reporter) -> Iterator[None]:
    """One merge into a store at a time; what a killed one left goes."""
    lock = FileLock(target / "merge.lock")
    try:
        lock.acquire(timeout=0.2)
    except Timeout:
        teller.line(f"another merge into {target} is at work; waiting for it")
        lock.acquire()
    try:
        for kind in (*STAGES, RUNS):
            for left in home_of(target, kind).glob(".*"):
                if left.is_dir() and is_temporary(left):
                    shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        lock.release()
