"""Writes finished runs as one archive: the same bytes for the same runs.

The files lie in the ZIP as they are, not compressed: compressed bytes would differ from one
release of zlib to the next, and a reader that takes no compressed file fears no bomb.
"""

from __future__ import annotations

import hashlib
import json
import stat
import zipfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from contrabench.errors import DiskFullError, RequestError, RunError
from contrabench.exchange.submission import (
    LARGEST_ARCHIVE,
    LISTING,
    MOST_FILES,
    SUFFIX,
    Submission,
    UnfitError,
    survey,
)
from contrabench.exchange.unpacking import listing_of
from contrabench.files import checksum, replacing, temporary_sibling
from contrabench.progress import Reporter
from contrabench.store.failures import is_disk_full
from contrabench.store.stages import RUNS, SPEC, finished_stages
from contrabench.text import counted, size_words

_MODE = stat.S_IFREG | 0o644
_UNIX = 3
_DAY = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Packed:
    """An archive that was written.

    Attributes:
        path: where it lies.
        sha256: of the archive itself.
        size: bytes.
        submission: its listing.
    """

    path: Path
    sha256: str
    size: int
    submission: Submission


def pack(
    store: Path,
    out: Path,
    *,
    runs: Collection[str] | None = None,
    dataset: str | None = None,
    reporter: Reporter | None = None,
) -> Packed:
    """Writes finished runs of a store, with the manifests that they name, as one archive.

    Equal runs give equal bytes.

    Args:
        store: only read.
        out: the file to write; its folder is made if need be.
        runs: keys of those wanted, as far as they are finished; all by default.
        dataset: take runs on this one alone.
        reporter: where progress is told.

    Raises:
        RequestError: if there is no such run, `out` has another suffix, cannot be written to
            or holds something else, or the runs are too many for one archive.
        RunError: if a run is damaged, or writing fails on its way; nothing is left then.
        DiskFullError: if there is no space left.
    """
    if out.suffix != SUFFIX:
        raise RequestError(f"{out} would not be known as an archive; give --out a name in {SUFFIX}")
    folders = [
        folder
        for folder in finished_stages(store, RUNS)
        if (runs is None or folder.name in runs) and _is_on(folder, dataset)
    ]
    if not folders:
        wanted = " of what was asked for" if runs is not None or dataset else ""
        raise RequestError(
            f"{store} holds no finished run{wanted}, so there is nothing to submit; `bench store "
            "ls` shows what it holds"
        )
    _check_place(out, {folder.name for folder in folders})
    try:
        submission = survey(store, folders, reporter)
    except UnfitError as error:
        raise RunError(
            f"{store / error.name} cannot be submitted: {error.reason}. Nothing was packed; run "
            "its study again, which makes a damaged run anew, or move this one away"
        ) from error
    size = sum(member.size for member in submission.files.values())
    if len(submission.files) >= MOST_FILES or size > LARGEST_ARCHIVE:
        raise RequestError(
            f"{len(folders)} runs of {size_words(size)} are too much for one archive; pack them "
            "study by study with --study, or by --dataset"
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as temporary:
            _write(store, submission, temporary)
            packed = Packed(out, checksum(temporary), temporary.stat().st_size, submission)
    except OSError as error:
        if is_disk_full(error):
            raise DiskFullError(f"the disk of {out} is full; nothing was packed") from error
        raise RunError(f"cannot write {out} ({error.strerror}); nothing was packed") from error
    return packed


def _check_place(out: Path, runs: Collection[str]) -> None:
    """Looks at the place before the work: nothing there is lost by being replaced.

    Raises:
        RequestError: if it cannot be written to, or is anything but an archive of these runs
            or some of them.
    """
    if out.exists():
        listing = listing_of(out)
        if listing is None:
            raise RequestError(f"{out} is there and no archive of runs; choose another --out")
        lost = {Path(name).parent.name for name in listing.files if name.startswith(f"{RUNS}/")}
        if count := len(lost - set(runs)):
            raise RequestError(
                f"{out} holds {counted(count, 'run')} that would not be in it any more; choose "
                "another --out, or remove it"
            )
    probe = temporary_sibling(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        if is_disk_full(error):
            raise DiskFullError(f"the disk of {out} is full; nothing was packed") from error
        raise RequestError(
            f"{out} cannot be written ({error.strerror}); choose another place with --out"
        ) from error


def _is_on(folder: Path, dataset: str | None) -> bool:
    """Whether a run is on a dataset; one that cannot be read is, so that it is spoken of."""
    if dataset is None:
        return True
    try:
        spec = json.loads((folder / SPEC).read_text(encoding="utf-8"))
        return bool(spec["protocol"]["dataset"] == dataset)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return True


def _write(store: Path, submission: Submission, path: Path) -> None:
    """Writes the listing and the files, in the order of their names."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
        listing = submission.model_dump_json(indent=1) + "\n"
        archive.writestr(_info(LISTING), listing.encode())
        for name, member in submission.files.items():
            data = (store / name).read_bytes()
            if hashlib.sha256(data).hexdigest() != member.sha256:
                raise RunError(f"{store / name} was changed meanwhile; nothing was packed")
            archive.writestr(_info(name), data)


def _info(name: str) -> zipfile.ZipInfo:
    """A file of no time, no owner and no machine."""
    info = zipfile.ZipInfo(name, _DAY)
    info.create_system, info.external_attr = _UNIX, _MODE << 16
    return info
