"""Files that are either there in full or not there: temporary name, fsync, rename."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

_END = ".tmp"


def temporary_sibling(path: Path) -> Path:
    """A name beside `path` that no other process uses."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{_END}")


def is_temporary(path: Path) -> bool:
    """Whether a name is one that `temporary_sibling` gives."""
    return path.name.startswith(".") and path.name.endswith(_END)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name to write a file under; it gets its own when all of it is on disk.

    Its folder exists. Whatever goes wrong, a full disk included, nothing is left under the
    temporary name, and what `path` held before is untouched.
    """
    temporary = temporary_sibling(path)
    try:
        yield temporary
        sync_file(temporary)
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically, making its folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: Path) -> Any:
    """The content of a JSON file that anybody may have written; None if it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def sync_file(path: Path) -> None:
    """Flushes a file's content to disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Flushes a folder's entries to disk, where the system can do that."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def checksum(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; what vanishes meanwhile counts nothing."""
    try:
        about = path.lstat()
        folder = stat.S_ISDIR(about.st_mode)
        return sum(map(size_of, path.iterdir())) if folder else about.st_size
    except OSError:
        return 0


def nearest_there(path: Path) -> Path:
    """A path, or the first of its parents that exists: where a folder lies, or will lie."""
    place = path.absolute()
    return next(one for one in (place, *place.parents) if one.exists())


def is_locked(lock: Path) -> bool:
    """Whether a process holds a lock, which is not made; also true where that cannot be told."""
    from filelock import FileLock, Timeout

    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except (OSError, Timeout):
        return True


MARKER = "done.json"


def seal_folder(folder: Path) -> None:
    """Writes the marker, as the last thing before the folder gets its name.

    All that it speaks for is on disk before it, so that no power cut can leave a marker beside
    empty files. What a killed process left under a temporary name goes.
    """
    sums = {}
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            sync_folder(path)
        elif is_temporary(path):
            path.unlink()
        elif path.name != MARKER:
            sync_file(path)
            sums[path.relative_to(folder).as_posix()] = checksum(path)
    sync_folder(folder)
    write_text(folder / MARKER, json.dumps({"files": sums}, indent=2, sort_keys=True) + "\n")


def finish_folder(work: Path, final: Path) -> None:
    """Seals a folder and gives it its name, unless a rival whom no lock stopped was first."""
    seal_folder(work)
    try:
        work.rename(final)
    except OSError:
        if not final.is_dir() or damage_of(final) is not None:
            raise
        shutil.rmtree(work, ignore_errors=True)
    sync_folder(final.parent)


def sealed_files(folder: Path) -> dict[str, str] | None:
    """The files that a folder's marker names, with their checksums.

    None if the marker is missing, unreadable, or names a file outside the folder.
    """
    marker = read_json(folder / MARKER)
    files = marker.get("files") if isinstance(marker, dict) else None
    if not isinstance(files, dict) or not all(
        isinstance(value, str) and _inside(name) for name, value in files.items()
    ):
        return None
    return files


def damage_of(folder: Path, unread: str | tuple[str, ...] = ()) -> str | None:
    """Says what is wrong with a sealed folder, or None if every file matches its checksum.

    Files with the ending `unread` need only be there.
    """
    files = sealed_files(folder)
    if files is None:
        return "its marker is missing or unreadable"
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            return f"the file {name} is missing"
        try:
            same = name.endswith(unread) or checksum(path) == expected
        except OSError as error:
            return f"the file {name} cannot be read ({error.strerror})"
        if not same:
            return f"the file {name} has changed since it was written"
    return None


def _inside(name: str) -> bool:
    """Whether a name stays below the folder that it is looked up in."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\0" not in name
