"""Files that are either there in full or not there: temporary name, fsync, rename."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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

    Args:
        path: the file to be; its folder exists.

    Yields:
        The name to write to. Whatever goes wrong, a full disk included, nothing is left
        under it, and what `path` held before is untouched.
    """
    temporary = temporary_sibling(path)
    try:
        yield temporary
        _commit(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically, making its folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _commit(temporary: Path, path: Path) -> None:
    """Flushes a finished temporary file to disk and gives it its name."""
    sync_file(temporary)
    temporary.replace(path)
    sync_folder(path.parent)


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
