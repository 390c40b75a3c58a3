"""Opens archives that nobody vouches for.

All that can be checked in the ZIP is checked before a file of it is written: its names, its
sizes, its checksums. Then its runs are looked through as in a merge. One thing that is not
as `bench submit` leaves it, and the whole archive is refused.
"""

from __future__ import annotations

import hashlib
import stat
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import IO

from contrabench.errors import DiskFullError, RequestError
from contrabench.exchange.submission import (
    LARGEST_ARCHIVE,
    LARGEST_FILE,
    LISTING,
    MEMBER,
    SUFFIX,
    NewerError,
    Submission,
    UnfitError,
    read_listing,
    survey,
)
from contrabench.store.failures import is_disk_full
from contrabench.store.stages import RUNS, finished_stages
from contrabench.text import size_words, some

_LARGEST_DIRECTORY = 8 * 2**20
"""Bytes of the table of contents; that of the most files that an archive can have is smaller."""
_END = struct.Struct("<4s4H2LH")
"""What a ZIP ends with; the fields are named where they are read."""
_WIDE = 20
"""Bytes that a ZIP64 has before its end, with a mark of its own."""
_NAMED = 5
"""Archives that a line names one by one."""
_BROKEN = (
    OSError,
    ValueError,
    EOFError,
    struct.error,
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
)
"""What reading a broken ZIP can raise."""
ASK_AGAIN = "; ask for it again, and compare its SHA-256 with the one that `bench submit` told"
"""What to do about an archive that is damaged or not what it says."""


class ArchiveError(RequestError):
    """An archive is refused as a whole.

    Attributes:
        reason: which file of it, and why.
    """

    def __init__(self, path: Path, reason: str, advice: str = ASK_AGAIN) -> None:
        self.reason = reason
        super().__init__(f"the archive {path} is refused: {reason}. Nothing in it is used{advice}")


def is_store(folder: Path) -> bool:
    """Whether a folder holds runs or stages."""
    return any((folder / name).is_dir() for name in (RUNS, "stages"))


def archives_of(source: Path) -> list[Path]:
    """The archives that a path stands for.

    Returns:
        A file is one; a folder that is no store is those in it, by name. None otherwise.
    """
    if source.is_file():
        return [source]
    return [] if is_store(source) else _archives_in(source)


def passed_over(source: Path) -> str | None:
    """Names the archives that lie in the folder of a store, and so are not read with it."""
    found = _archives_in(source) if is_store(source) else []
    if not found:
        return None
    named = some((item.name for item in found), _NAMED)
    return (
        f"{source} is a store itself, so the archives that lie in it are not read: {named}; "
        "name them, or move them to a folder of their own"
    )


def _archives_in(folder: Path) -> list[Path]:
    return sorted(item for item in folder.glob(f"*{SUFFIX}") if not item.name.startswith("."))


@contextmanager
def unpacked(archive: Path) -> Iterator[Path]:
    """Opens an archive after looking through all of it.

    Yields:
        A store of its runs and manifests, removed afterwards.

    Raises:
        ArchiveError: if anything in it is not as `bench submit` leaves it.
        DiskFullError: if there is no room to unpack it.
    """
    with TemporaryDirectory(prefix="contrabench-", ignore_cleanup_errors=True) as temporary:
        store = Path(temporary)
        try:
            with _reading(archive), archive.open("rb") as file:
                listing = _unpack(archive, file, store)
            _check_runs(store, listing)
        except NewerError as error:
            raise ArchiveError(archive, str(error), advice="") from error
        except UnfitError as error:
            raise ArchiveError(archive, str(error)) from error
        yield store


def listing_of(archive: Path) -> Submission | None:
    """The listing of an archive, whose other files are not looked at; None where it has none."""
    try:
        with archive.open("rb") as file:
            _checked_size(archive, file)
            with zipfile.ZipFile(file) as content:
                return read_listing(_read(content, _members(content)[LISTING]))
    except (*_BROKEN, ArchiveError, UnfitError, KeyError):
        return None


@contextmanager
def _reading(archive: Path) -> Iterator[None]:
    """A ZIP that cannot be read is refused; a disk without room for its files is no fault of it."""
    try:
        yield
    except _BROKEN as error:
        if is_disk_full(error):
            raise DiskFullError(
                f"no room is left in {gettempdir()} to unpack {archive}; make room there, or name "
                "another folder in TMPDIR"
            ) from error
        text = str(error).splitlines() or [type(error).__name__]
        raise ArchiveError(archive, f"it cannot be read ({text[0][:120]})") from error


def _unpack(archive: Path, file: IO[bytes], store: Path) -> Submission:
    """Checks names, sizes and checksums against the listing, and writes what agrees."""
    size = _checked_size(archive, file)
    with zipfile.ZipFile(file) as content:
        members = _members(content)
        if sum(info.file_size for info in members.values()) > size:
            raise ArchiveError(archive, "its files are together larger than the archive")
        if LISTING not in members:
            raise UnfitError(LISTING, "it is missing, so this is no submission")
        listing = read_listing(_read(content, members.pop(LISTING)))
        for name in sorted(members.keys() ^ listing.files.keys()):
            fault = "is not listed" if name in members else "is missing, though listed"
            raise UnfitError(name, f"it {fault} in {LISTING}")
        for name, listed in listing.files.items():
            data = _read(content, members[name])
            if (len(data), hashlib.sha256(data).hexdigest()) != (listed.size, listed.sha256):
                raise UnfitError(name, f"it is not the file that {LISTING} lists")
            place = store / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
    return listing


def _checked_size(archive: Path, file: IO[bytes]) -> int:
    """Bytes of an archive whose table of contents is small enough to be read."""
    size = file.seek(0, 2)
    if size > LARGEST_ARCHIVE:
        raise ArchiveError(archive, f"it is larger than {size_words(LARGEST_ARCHIVE)}")
    file.seek(max(0, size - _END.size - _WIDE))
    tail = file.read()
    if len(tail) < _END.size:
        raise ArchiveError(archive, "it is no ZIP archive")
    mark, *_, directory, _, comment = _END.unpack(tail[-_END.size :])
    if mark != b"PK\5\6" or comment:
        raise ArchiveError(archive, "it is no ZIP archive, or not all of it is there")
    if tail.startswith(b"PK\6\7") or directory > _LARGEST_DIRECTORY:
        raise ArchiveError(archive, "it has more files than a submission can have")
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
        if info.flag_bits & 1:
            raise UnfitError(name, "it is encrypted")
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise UnfitError(name, "it is compressed, which `bench submit` never does")
        if info.file_size > LARGEST_FILE:
            raise UnfitError(name, f"it is larger than {size_words(LARGEST_FILE)}")
        found[name] = info
    return found


def _read(content: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """All of a file, and never more than the table of contents says."""
    with content.open(info) as file:
        return file.read(info.file_size)


def _check_runs(store: Path, listing: Submission) -> None:
    """Every run is sound, and the listing is the one that `bench submit` makes of them."""
    folders = finished_stages(store, RUNS)
    if len(folders) != listing.runs:
        raise UnfitError(LISTING, f"it tells of {listing.runs} runs, and there are {len(folders)}")
    found = survey(store, folders)
    for field in Submission.model_fields:
        if field != "contrabench" and getattr(found, field) != getattr(listing, field):
            raise UnfitError(LISTING, f"its {field} are not those of the runs")
