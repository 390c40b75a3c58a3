"""Submissions: finished runs, the manifests that they name, and a listing of it all, as one ZIP.

The same runs give the same bytes. Files lie in it uncompressed: compressed bytes would differ from
one release of zlib to the next, and a reader that takes no compressed file fears no bomb. Nobody
vouches for an archive: it is refused as a whole unless the ZIP is sound, before a file of it is
written, and its runs, looked through as in a merge, give the listing of `bench submit`.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
import struct
import zipfile
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import IO, Any

import pyarrow.parquet as pq

from contrabench import __version__
from contrabench.errors import DiskFullError, RequestError, RunError
from contrabench.exchange.vetting import LARGEST_FILE, read_manifest, unsafe, unsound
from contrabench.files import MARKER, checksum, is_disk_full, read_json, replacing, sealed_files
from contrabench.progress import Reporter, Silent
from contrabench.store.rows import ROWS_FILE
from contrabench.store.runs import RUN_RECORD, inner
from contrabench.store.stages import RUNS, SPEC, SPLITS, finished_stages
from contrabench.text import counted, one_line, size_words

FORMAT = 1
LISTING = "submission.json"
SUFFIX = ".zip"
RUN_FILES = {MARKER, ROWS_FILE, RUN_RECORD, SPEC}
LARGEST_ARCHIVE = 2**30
MOST_FILES = 65_000
"""A little less than a ZIP without extensions can hold: some 16 000 runs."""
MEMBER = re.compile(
    rf"{RUNS}/[0-9a-f]{{16}}/({'|'.join(map(re.escape, sorted(RUN_FILES)))})"
    rf"|{SPLITS}/(split|labels)-[0-9a-f]{{16}}\.json"
)
"""What files beside the listing can be called; none of these names leads out of a folder."""
_TOLD = ["dataset", "protocol", "method", "method_version"]
"""The columns of the rows of which the listing tells."""
_END = struct.Struct("<4s4H2LH")
"""What a ZIP ends with; the fields are named where they are read."""
_WIDE = 20
"""Bytes that a ZIP64 has before its end, with a mark of its own."""
_LARGEST_DIRECTORY = 8 * 2**20
"""Bytes of the table of contents; that of the most files that an archive can have is smaller."""
_BROKEN = (OSError, ValueError, EOFError, struct.error, zipfile.BadZipFile, RuntimeError)
"""What reading a broken ZIP can raise; NotImplementedError is a RuntimeError."""
_ASK_AGAIN = "; ask for it again, and compare its SHA-256 with the one that `bench submit` told"
_UPDATE = "a newer contrabench packed it; update contrabench"


class ArchiveError(RequestError):
    """An archive is refused as a whole; `reason` is which file of it, and why."""

    def __init__(self, path: Path, reason: str) -> None:
        self.reason = reason
        advice = "" if _UPDATE in reason else _ASK_AGAIN
        super().__init__(f"the archive {path} is refused: {reason}. Nothing in it is used{advice}")


class UnfitError(Exception):
    """A file or run, as it is called in a store, is not fit for a submission; "" is all of it."""

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason
        super().__init__(f"{name}: {reason}" if name else reason)


@dataclass(frozen=True)
class Packed:
    """An archive that was written: its own SHA-256, its bytes, and its listing."""

    sha256: str
    size: int
    listing: dict[str, Any]


def survey(store: Path, folders: Sequence[Path], reporter: Reporter) -> dict[str, Any]:
    """Looks through runs as a merge does; gives `submission.json` for them, one at least.

    No dates, machines or people, so equal runs list equally. UnfitError at the first run that a
    merge would refuse, that holds more than a submission takes, or that names a manifest which is
    not there.
    """
    files: dict[str, dict[str, Any]] = {}
    datasets, protocols, count = set[str](), set[str](), 0
    methods: dict[str, set[int]] = defaultdict(set)
    with reporter.track("looking through runs", len(folders)) as track:
        for number, folder in enumerate(folders, start=1):
            name = f"{RUNS}/{folder.name}"
            if reason := unsafe(folder, RUNS) or unsound(folder, RUNS):
                raise UnfitError(name, reason)
            for file in (sealed_files(folder) or {}).keys() - RUN_FILES:
                reason = f"it holds {file}, and a submission takes rows and records alone"
                raise UnfitError(name, reason)
            with (folder / ROWS_FILE).open("rb") as opened:
                rows = pq.ParquetFile(opened).read(columns=_TOLD, use_threads=False)
            count += len(rows)
            for row in rows.group_by(_TOLD).aggregate([]).to_pylist():
                datasets.add(row["dataset"])
                protocols.add(row["protocol"])
                methods[row["method"]].add(row["method_version"])
            paths = [f"{name}/{file}" for file in RUN_FILES]
            for kind, key in inner(read_json(folder / RUN_RECORD), "manifests").items():
                path = f"{SPLITS}/{kind}-{key}.json"
                if not MEMBER.fullmatch(path) or read_manifest(store / path) is None:
                    raise UnfitError(name, f"{path[:80]!r}, which it names, is not there or bad")
                paths.append(path)
            for path in set(paths) - files.keys():
                size = (store / path).stat().st_size
                files[path] = {"sha256": checksum(store / path), "size": size}
            track.advance(number)
    return {
        "format": FORMAT,
        "contrabench": __version__,
        "datasets": sorted(datasets),
        "protocols": sorted(protocols),
        "methods": {name: sorted(methods[name]) for name in sorted(methods)},
        "runs": len(folders),
        "rows": count,
        "files": dict(sorted(files.items())),
    }


# -- packing ---------------------------------------------------------------------------


def pack(
    store: Path,
    out: Path,
    *,
    runs: Collection[str] | None = None,
    dataset: str | None = None,
    reporter: Reporter | None = None,
) -> Packed:
    """Writes finished runs of a store, with the manifests that they name, as one archive.

    `runs` are the keys of those wanted, as far as they are finished, all by default; `dataset`
    takes runs on this one alone.

    Raises:
        RequestError: if there is no such run, `out` has another suffix, cannot be written to
            or holds something else, or the runs are too many for one archive.
        RunError: if a run is damaged or changes meanwhile; nothing is left then.
        DiskFullError: if there is no space left.
    """
    if out.suffix != SUFFIX:
        raise RequestError(f"{out} would not be known as an archive; give --out a name in {SUFFIX}")
    folders = [
        folder
        for folder in finished_stages(store, RUNS)
        if runs is None or folder.name in runs
        # One that cannot be read is taken, so that it is spoken of.
        if dataset in (None, inner(read_json(folder / SPEC), "protocol").get("dataset", dataset))
    ]
    if not folders:
        wanted = " of what was asked for" if runs is not None or dataset else ""
        raise RequestError(
            f"{store} holds no finished run{wanted}, so there is nothing to submit; `bench store "
            "ls` shows what it holds"
        )
    _check_replaced(out, {folder.name for folder in folders})
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as temporary:
            temporary.touch()  # before the work, so that a wrong place does not cost it
            listing = survey(store, folders, reporter or Silent())
            size = sum(file["size"] for file in listing["files"].values())
            if len(listing["files"]) >= MOST_FILES or size > LARGEST_ARCHIVE:
                raise RequestError(
                    f"{len(folders)} runs of {size_words(size)} are too much for one archive; pack "
                    "them study by study with --study, or by --dataset"
                )
            _write(store, listing, temporary)
            return Packed(checksum(temporary), temporary.stat().st_size, listing)
    except UnfitError as error:
        raise RunError(
            f"{store / error.name} cannot be submitted: {error.reason}. Nothing was packed; run "
            "its study again, which makes a damaged run anew, or move this one away"
        ) from error
    except OSError as error:
        if is_disk_full(error):
            raise DiskFullError(f"the disk of {out} is full; nothing was packed") from error
        raise RequestError(
            f"{out} cannot be written ({error.strerror}); choose another place with --out. "
            "Nothing was packed"
        ) from error


def _check_replaced(out: Path, runs: Collection[str]) -> None:
    """RequestError if what is to be replaced is anything but an archive of some of these runs."""
    if not out.exists():
        return
    try:
        with out.open("rb") as file, _opened(file) as (_, listing):
            lost = {Path(name).parent.name for name in listing["files"] if name.startswith(RUNS)}
    except (*_BROKEN, UnfitError):
        raise RequestError(f"{out} is there and no archive of runs; choose another --out") from None
    if count := len(lost - set(runs)):
        raise RequestError(
            f"{out} holds {counted(count, 'run')} that would not be in it any more; choose "
            "another --out, or remove it"
        )


def _write(store: Path, listing: dict[str, Any], path: Path) -> None:
    """Writes listing and files in the order of their names, of no time, owner or machine."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
        for name in (LISTING, *listing["files"]):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, (stat.S_IFREG | 0o644) << 16
            if name == LISTING:
                data = (json.dumps(listing, indent=1, ensure_ascii=False) + "\n").encode()
            else:
                data = (store / name).read_bytes()
                if hashlib.sha256(data).hexdigest() != listing["files"][name]["sha256"]:
                    raise RunError(f"{store / name} was changed meanwhile; nothing was packed")
            archive.writestr(info, data)


# -- unpacking -------------------------------------------------------------------------


def _temporary_folder() -> TemporaryDirectory[str]:
    try:
        return TemporaryDirectory(prefix="contrabench-", ignore_cleanup_errors=True)
    except OSError as error:
        raise RequestError(
            f"an archive cannot be unpacked: {error.strerror}; name another folder in TMPDIR"
        ) from error


@contextmanager
def unpacked(archive: Path) -> Iterator[Path]:
    """Opens an archive after looking through all of it; yields a store, removed afterwards.

    Raises:
        ArchiveError: if anything in it is not as `bench submit` leaves it.
        DiskFullError: if there is no room to unpack it.
    """
    with _temporary_folder() as temporary:
        store = Path(temporary)
        try:
            with archive.open("rb") as file, _opened(file) as (content, listing):
                content.extractall(store, listing["files"])
            found = survey(store, finished_stages(store, RUNS), Silent())
            for name in found.keys() ^ listing.keys():
                raise UnfitError(LISTING, f"it tells of {name[:80]!r} alone, or of all but that")
            for name in found.keys() - {"contrabench"}:
                if found[name] != listing[name]:
                    raise UnfitError(LISTING, f"its {name} are not those that were found")
        except UnfitError as error:
            raise ArchiveError(archive, str(error)) from error
        except _BROKEN as error:
            if is_disk_full(error):
                raise DiskFullError(
                    f"no room is left in {gettempdir()} to unpack {archive}; make room there, or "
                    "name another folder in TMPDIR"
                ) from error
            raise ArchiveError(archive, f"it cannot be read ({one_line(error)[:120]})") from error
        yield store


@contextmanager
def _opened(file: IO[bytes]) -> Iterator[tuple[zipfile.ZipFile, dict[str, Any]]]:
    """An archive whose files are harmless, and those that its listing names; else UnfitError.

    One of `_BROKEN` if it is no ZIP, or damaged.
    """
    size = _checked_size(file)
    with zipfile.ZipFile(file) as content:
        members = _members(content)
        if sum(info.file_size for info in members.values()) > size:
            raise UnfitError("", "its files are together larger than the archive")
        if LISTING not in members:
            raise UnfitError(LISTING, "it is missing, so this is no submission")
        try:
            listing = json.loads(content.read(LISTING))
            newer, files = listing["format"] > FORMAT, set(listing["files"])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise UnfitError(LISTING, "it is no listing of a submission") from None
        if newer:
            raise UnfitError(LISTING, _UPDATE)
        for name in sorted(members.keys() ^ {LISTING, *files}):
            fault = "is not listed" if name in members else "is missing, though listed"
            raise UnfitError(repr(name[:80]), f"it {fault} in {LISTING}")
        yield content, listing


def _checked_size(file: IO[bytes]) -> int:
    """Bytes of an archive whose table of contents is small enough to be read."""
    size = file.seek(0, 2)
    if size > LARGEST_ARCHIVE:
        raise UnfitError("", f"it is larger than {size_words(LARGEST_ARCHIVE)}")
    file.seek(max(0, size - _END.size - _WIDE))
    tail = file.read().rjust(_END.size)
    mark, *_, directory, _, comment = _END.unpack(tail[-_END.size :])
    if mark != b"PK\5\6" or comment:
        raise UnfitError("", "it is no ZIP archive, or not all of it is there")
    if tail.startswith(b"PK\6\7") or directory > _LARGEST_DIRECTORY:
        raise UnfitError("", "it has more files than a submission can have")
    return size


def _members(content: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The files by name: ordinary ones, not compressed, none of them twice."""
    found: dict[str, zipfile.ZipInfo] = {}
    for info in content.infolist():
        # `filename` is what the library made of it: another name, for some.
        name = info.orig_filename
        if name != LISTING and not MEMBER.fullmatch(name):
            raise UnfitError(repr(name[:80]), "no file of a submission is called that")
        if name in found:
            raise UnfitError(name, "it is there twice")
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise UnfitError(name, "it is a link or no ordinary file")
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise UnfitError(name, "it is compressed, which `bench submit` never does")
        if info.file_size > LARGEST_FILE:
            raise UnfitError(name, f"it is larger than {size_words(LARGEST_FILE)}")
        found[name] = info
    return found
