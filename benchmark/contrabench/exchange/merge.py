"""Takes the finished work of others into one store: two labs' folders or archives, two machines'.

Only what is finished in `runs/`, `stages/` and `splits/` is looked at; prepared images stay behind,
whose terms may forbid to pass them on. Each folder is copied beside its place, looked through
there, and renamed; so an interrupted merge leaves whole folders alone, and the same command goes on
with it. Sources are never written.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from contrabench.data.splits import save_manifest
from contrabench.errors import DiskFullError, RequestError, RunError, StageBusyError
from contrabench.exchange.archive import ArchiveError, unpacked
from contrabench.exchange.reading import archives_of, passed_over
from contrabench.exchange.replicate import replicate_spec, write_replicate
from contrabench.exchange.vetting import read_manifest, unsafe, unsound
from contrabench.files import (
    MARKER,
    damage_of,
    is_disk_full,
    is_temporary,
    read_json,
    sealed_files,
    temporary_sibling,
)
from contrabench.progress import Reporter, Silent
from contrabench.store.rows import ROWS_FILE
from contrabench.store.runs import machine_of, read_run
from contrabench.store.stages import (
    PREPARE,
    RUNS,
    SPEC,
    SPLITS,
    StageStore,
    check_store,
    finished_stages,
    home_of,
    is_store,
    key_of,
    kinds_in,
    locked,
)

_KIND = re.compile("[a-z_]{1,40}")
_LINK = "it is a link, and may lead anywhere"
Verdict = Literal["taken", "replaced", "duplicate", "conflict", "refused", "busy"]


@dataclass(frozen=True)
class Outcome:
    """What became of one folder or manifest of a source; the path of an archive goes on inside it.

    Attributes:
        kind: of the stage, or `splits`.
        verdict: "taken"; "replaced": taken in place of a damaged one of ours; "duplicate": it
            is there already; or left out: "conflict": ours has other rows and is kept,
            "refused": it is damaged or not what it says, "busy": another process makes it.
        reason: why it is left out, in words.
    """

    kind: str
    folder: Path
    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True)
class MergeResult:
    """What a merge has done, or would do.

    Attributes:
        taken: number of folders taken in, by kind.
        replaced: of these, those that took the place of a damaged one of ours.
        duplicates: number of folders that were there already, by kind.
        left_out: what is finished in a source and not in the target now.
    """

    taken: Counter[str]
    replaced: Counter[str]
    duplicates: Counter[str]
    left_out: list[Outcome]

    @property
    def complete(self) -> bool:
        """Whether everything finished in the sources is now in the target."""
        return not self.left_out

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON-like data."""
        left = [
            {"verdict": item.verdict, "folder": str(item.folder), "reason": item.reason}
            for item in self.left_out
        ]
        return {"complete": self.complete, **vars(self), "left_out": left}


def merge_stores(
    sources: Sequence[Path],
    target: Path,
    *,
    rows_only: bool = False,
    keep_both: bool = False,
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
        keep_both: take a run that another kind of machine has made with other rows, as a replicate.
        dry_run: look through everything and change nothing.

    Raises:
        RequestError: if a source is no store, or is the target, or nothing can be written there.
        DiskFullError: if there is no space left; what was taken before stays.
        RunError: if the target cannot be written to on the way, which is tried first.
    """
    for source in sources:
        _check_source(source, target)
    teller = reporter or Silent()
    merge = _Merge(target, dry_run, keep_both)
    try:
        if not dry_run:
            check_store(target)
        lock = target / "merge.lock"
        with nullcontext() if dry_run else locked(lock, f"a merge into {target}", teller):
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

    def count(*verdicts: Verdict) -> Counter[str]:
        return Counter(item.kind for item in merge.outcomes if item.verdict in verdicts)

    left_out = [item for item in merge.outcomes if item.reason]
    taken = count("taken", "replaced")
    return MergeResult(taken, count("replaced"), count("duplicate"), left_out)


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

    def __init__(self, target: Path, dry_run: bool, keep_both: bool) -> None:
        self.target, self.dry_run, self.keep_both = target, dry_run, keep_both
        self.outcomes: list[Outcome] = []

    def take_all(self, sources: Sequence[Path], rows_only: bool, teller: Reporter) -> None:
        """Takes in the stores, then the archives, one unpacked at a time."""
        for kind in () if self.dry_run else kinds_in(self.target):
            for left in home_of(self.target, kind).glob(".*"):
                if left.is_dir() and is_temporary(left):  # a killed merge has left it
                    shutil.rmtree(left, ignore_errors=True)
        stores = [source for source in sources if is_store(source)]
        for line in (line for store in stores for line in passed_over(store)):
            teller.line(f"note: {line}")
        if stores:
            kinds = {kind for store in stores for kind in kinds_in(store) if _KIND.fullmatch(kind)}
            # The runs come last, so that what they rest on is there when they are.
            order = (*(() if rows_only else sorted(kinds - {RUNS, PREPARE})), RUNS)
            self._take_stores(stores, order, teller)
        others = [source for source in sources if source not in stores]
        archives = [archive for source in others for archive in archives_of(source)]
        if not archives:
            return
        with teller.track("looking through archives", len(archives)) as track:
            for number, archive in enumerate(archives, start=1):
                try:
                    with unpacked(archive) as store:
                        part = _Merge(self.target, self.dry_run, self.keep_both)
                        part._take_stores([store], (RUNS,), Silent())
                        self.outcomes += [
                            replace(item, folder=archive / item.folder.relative_to(store))
                            for item in part.outcomes
                        ]
                except ArchiveError as error:
                    self._note("archives", archive, "refused", error.reason)
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

    def _note(self, kind: str, folder: Path, verdict: Verdict, reason: str = "") -> None:
        self.outcomes.append(Outcome(kind, folder, verdict, reason))

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

    def _settle(self, folder: Path, kind: str) -> tuple[Verdict, str]:
        """Decides on one folder, and takes it in if it is to be."""
        place = home_of(self.target, kind) / folder.name
        ours = place.is_dir()
        if ours and damage_of(place) is None:
            found = _compare(folder, place, kind)
            is_other = found[0] == "conflict" and _machines(folder, place) is not None
            return self._beside(folder) if is_other and self.keep_both else found
        if reason := unsafe(folder, kind) or (unsound(folder, kind) if self.dry_run else None):
            return "refused", reason
        verdict: Verdict = "replaced" if ours else "taken"
        return (verdict, "") if self.dry_run else self._take(folder, kind, verdict)

    def _beside(self, folder: Path) -> tuple[Verdict, str]:
        """Takes in a sound run of another machine as a replicate of ours."""
        spec = replicate_spec(folder)
        if (home_of(self.target, RUNS) / key_of(RUNS, spec)).is_dir():
            return "duplicate", ""
        if not self.dry_run:
            store = StageStore(self.target, Silent())
            store.run(RUNS, spec, partial(write_replicate, folder))
        return "taken", ""

    def _take(self, folder: Path, kind: str, verdict: Verdict) -> tuple[Verdict, str]:
        """Copies a folder, looks through the copy, and lets the store have it as its own work."""
        home = home_of(self.target, kind)
        home.mkdir(parents=True, exist_ok=True)
        copy = temporary_sibling(home / folder.name) / folder.name

        def move(work: Path) -> None:
            shutil.rmtree(work)
            copy.rename(work)

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
            store = StageStore(self.target, Silent())
            store.run(kind, read_json(copy / SPEC), move, wait=False)
            return verdict, ""
        except StageBusyError as error:
            return "busy", f"{error}; run this again when it is done"
        finally:
            shutil.rmtree(copy.parent, ignore_errors=True)

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
    if kind != RUNS:
        return "duplicate", ""
    if reason := unsafe(folder, kind):
        return "refused", reason
    theirs, ours = sealed_files(folder) or {}, sealed_files(place) or {}
    if theirs[ROWS_FILE] == ours.get(ROWS_FILE):
        return "duplicate", ""
    if reason := unsound(folder, kind):
        return "refused", reason
    # As frames, in which two missing numbers are equal.
    if read_run(folder)[0].to_pandas().equals(read_run(place)[0].to_pandas()):
        return "duplicate", ""
    return "conflict", _conflict(folder, place)


def _conflict(folder: Path, place: Path) -> str:
    if (machines := _machines(folder, place)) is None:
        return f"its rows are not those of {place}, which is kept"
    there, here = machines
    return (
        f"it was made on another kind of machine ({there}) than {place} ({here}), which is kept: "
        "they round differently, and training enlarges that; --keep-both takes it as a replicate"
    )


def _machines(folder: Path, place: Path) -> tuple[str, str] | None:
    """What trained two runs, if both tell and it is not the same."""
    there, here = machine_of(folder), machine_of(place)
    return (there, here) if there and here and there != here else None
