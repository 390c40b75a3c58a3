"""Takes the finished work of others into one store: two labs' folders or archives, two machines'.

Only `runs/`, `stages/` and `splits/` are looked at, and of these only what is finished. Each
folder is copied beside its place, looked through there, and renamed; so an interrupted merge
leaves whole folders alone, and the same command goes on with it. Sources are never written;
an archive is unpacked elsewhere, and taken in like a store if nothing is wrong with any of it.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from contrabench.data.splits import save_manifest
from contrabench.errors import DiskFullError, RequestError, RunError
from contrabench.exchange.archive import ArchiveError, unpacked
from contrabench.exchange.reading import archives_of, passed_over
from contrabench.exchange.vetting import read_manifest, unsafe, unsound
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
from contrabench.store.rows import ROWS_FILE
from contrabench.store.runs import read_run
from contrabench.store.stages import (
    RUNS,
    SPLITS,
    finished_stages,
    home_of,
    is_store,
    kinds_in,
    locked,
)

_PATIENCE_S = 1.0
"""How long a stage that somebody is at work on is waited for before it is left out."""
_KIND = re.compile("[a-z_]{1,40}")
_LINK = "it is a link, and may lead anywhere"
Verdict = Literal["taken", "replaced", "duplicate", "conflict", "refused", "busy"]


@dataclass(frozen=True)
class LeftOut:
    """What was not taken in, although it is not there already.

    Attributes:
        verdict: "conflict": ours has other rows and is kept; "refused": it is damaged or
            not what it says; "busy": another process makes the same in the target.
        folder: where it lies; the path of an archive goes on inside it.
        reason: in words.
    """

    verdict: Verdict
    folder: Path
    reason: str


@dataclass
class MergeResult:
    """What a merge has done, or would do.

    Attributes:
        taken: number of folders taken in, by kind.
        replaced: of these, those that took the place of a damaged one of ours.
        duplicates: number of folders that were there already, by kind.
        left_out: what was not taken.
    """

    taken: Counter[str] = field(default_factory=Counter)
    replaced: Counter[str] = field(default_factory=Counter)
    duplicates: Counter[str] = field(default_factory=Counter)
    left_out: list[LeftOut] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether everything finished in the sources is now in the target."""
        return not self.left_out

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON-like data."""
        left = [{**asdict(item), "folder": str(item.folder)} for item in self.left_out]
        counts = {name: dict(getattr(self, name)) for name in ("taken", "replaced", "duplicates")}
        return {"complete": self.complete, **counts, "left_out": left}


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
    merge = _Merge(target, dry_run)
    try:
        if not dry_run:
            target.mkdir(parents=True, exist_ok=True)
        lock = target / "merge.lock"
        with nullcontext() if dry_run else locked(lock, f"a merge into {target}", teller):
            merge.clear()
            merge.take_all(sources, rows_only, teller)
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
    return merge.result


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


class _Merge:
    """A merge into one store under way."""

    def __init__(self, target: Path, dry_run: bool) -> None:
        self.target, self.dry_run = target, dry_run
        self.result = MergeResult()
        self._unpacked: tuple[Path, Path] | None = None  # where an archive lies unpacked, itself

    def clear(self) -> None:
        """Removes what a killed merge left."""
        for kind in () if self.dry_run else kinds_in(self.target):
            for left in home_of(self.target, kind).glob(".*"):
                if left.is_dir() and is_temporary(left):
                    shutil.rmtree(left, ignore_errors=True)

    def take_all(self, sources: Sequence[Path], rows_only: bool, teller: Reporter) -> None:
        """Takes in the stores, then the archives, one unpacked at a time."""
        stores = [source for source in sources if is_store(source)]
        for skipped in filter(None, map(passed_over, stores)):
            teller.line(f"note: {skipped}")
        if stores:
            kinds = {kind for store in stores for kind in kinds_in(store) if _KIND.fullmatch(kind)}
            # The runs come last, so that what they rest on is there when they are.
            order = (*(() if rows_only else sorted(kinds - {RUNS})), RUNS)
            self._take_stores(stores, order, teller)
        archives = [archive for source in sources for archive in archives_of(source)]
        if not archives:
            return
        with teller.track("looking through archives", len(archives)) as track:
            for number, archive in enumerate(archives, start=1):
                try:
                    with unpacked(archive) as store:
                        self._unpacked = store, archive
                        self._take_stores([store], (RUNS,), Silent())
                except ArchiveError as error:
                    self.result.left_out.append(LeftOut("refused", archive, error.reason))
                finally:
                    self._unpacked = None
                track.advance(number)

    def _take_stores(self, stores: Sequence[Path], kinds: Sequence[str], teller: Reporter) -> None:
        found = [
            (kind, folder)
            for kind in kinds
            for store in stores
            for folder in self._folders(store, kind)
        ]
        with teller.track("merging", len(found)) as track:
            for number, (kind, folder) in enumerate(found, start=1):
                self._note(kind, folder, *self._settle(folder, kind))
                track.advance(number)
        for store in stores:
            self._take_manifests(store)

    def _folders(self, store: Path, kind: str) -> list[Path]:
        """The folders of a kind that are not at work; their content is not looked at."""
        home = home_of(store, kind)
        for folder in (home, home.parent):
            if folder != store and folder.is_symlink():
                self._note(kind, folder, "refused", _LINK)
                return []
        try:
            return finished_stages(store, kind)
        except OSError as error:
            self._note(kind, home, "refused", f"it cannot be listed ({error.strerror})")
            return []

    def _note(self, kind: str, path: Path, verdict: Verdict, reason: str = "") -> None:
        """Counts what is in the target now, or names what is left out."""
        if verdict == "duplicate":
            self.result.duplicates[kind] += 1
        elif verdict in ("taken", "replaced"):
            self.result.taken[kind] += 1
            if verdict == "replaced":
                self.result.replaced[kind] += 1
        else:
            if self._unpacked:
                store, archive = self._unpacked
                path = archive / path.relative_to(store)
            self.result.left_out.append(LeftOut(verdict, path, reason))

    def _settle(self, folder: Path, kind: str) -> tuple[Verdict, str]:
        """Decides on one folder, and takes it in if it is to be."""
        place = home_of(self.target, kind) / folder.name
        ours = place.is_dir()
        if ours and damage_of(place) is None:
            return _compare(folder, place, kind)
        if reason := unsafe(folder, kind) or (unsound(folder, kind) if self.dry_run else None):
            return "refused", reason
        verdict: Verdict = "replaced" if ours else "taken"
        return (verdict, "") if self.dry_run else _take(folder, place, kind, verdict)

    def _take_manifests(self, store: Path) -> None:
        """Writes the manifests of a store anew, from their validated content."""
        home = store / SPLITS
        if home.is_symlink():
            self._note(SPLITS, home, "refused", _LINK)
            return
        for path in sorted(home.glob("*.json")):
            content = read_manifest(path)
            if content is None:
                fault = "it is no split or label manifest of the name that it has"
                self._note(SPLITS, path, "refused", fault)
            elif (self.target / SPLITS / path.name).is_file():
                self._note(SPLITS, path, "duplicate")
            else:
                if not self.dry_run:
                    save_manifest(self.target / SPLITS, path.name.split("-")[0], content)
                self._note(SPLITS, path, "taken")


def _compare(folder: Path, place: Path, kind: str) -> tuple[Verdict, str]:
    """Tells a duplicate of what is there from a conflict with it."""
    if kind != RUNS or _same_marker(folder, place):
        return "duplicate", ""
    if reason := unsafe(folder, kind) or unsound(folder, kind):
        return "refused", reason
    # As frames, in which two missing numbers are equal.
    if read_run(folder)[0].to_pandas().equals(read_run(place)[0].to_pandas()):
        return "duplicate", ""
    return "conflict", f"its rows are not those of {place}, which is kept"


def _same_marker(folder: Path, place: Path) -> bool:
    """Whether both markers tell the same checksum of the rows."""
    if folder.is_symlink() or (folder / MARKER).is_symlink():
        return False
    theirs, ours = sealed_files(folder) or {}, sealed_files(place) or {}
    return ROWS_FILE in ours and theirs.get(ROWS_FILE) == ours[ROWS_FILE]


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
