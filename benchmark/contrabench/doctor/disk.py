"""Sizes on disk, and whether a process is at work on something."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; what vanishes meanwhile counts nothing."""
    total = 0
    for file in path.rglob("*") if path.is_dir() else (path,):
        try:
            total += 0 if file.is_symlink() or file.is_dir() else file.stat().st_size
        except OSError:
            continue
    return total


def is_locked(lock: Path) -> bool:
    """Whether a process holds a lock; also true where that cannot be told.

    A lock that is not there is not made.
    """
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except (OSError, Timeout):
        return True
