"""Prepared folders on disk: made once, complete or absent, safe against kills and rivals.

A folder is made under a temporary name while its lock is held, sealed with the checksums
of its files, and renamed. The system frees the lock of a process that dies, so a temporary
folder whose lock is free is what a killed process left.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from contrabench.files import damage_of, seal_folder, sync_folder, temporary_sibling

_log = logging.getLogger(__name__)


def obtain(folder: Path, key: str, make: Callable[[Path], None]) -> Path:
    """Returns the folder of a key, making it if it is not there or is damaged.

    Args:
        folder: the cache.
        key: hash of everything that the content depends on.
        make: fills an empty folder; what it raises passes through and nothing is kept.
    """
    final = folder / key
    if final.is_dir() and damage_of(final) is None:
        return final
    with FileLock(_lock(folder, key)):
        if final.is_dir():
            problem = damage_of(final)
            if problem is None:
                return final
            _log.warning("prepared data %s: %s; it is prepared again", final, problem)
            broken = temporary_sibling(final)
            final.rename(broken)
            shutil.rmtree(broken)
        work = temporary_sibling(final)
        work.mkdir()
        try:
            make(work)
            seal_folder(work)
            _settle(work, final)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return final


def sweep(folder: Path) -> None:
    """Removes the temporary folders of killed processes; those at work are left alone."""
    for stale in folder.glob(".*.tmp"):
        key = stale.name[1:].split(".")[0]
        if not stale.is_dir() or not _lock(folder, key).exists():
            continue
        try:
            with FileLock(_lock(folder, key), timeout=0):
                shutil.rmtree(stale, ignore_errors=True)
        except Timeout:
            continue


def _lock(folder: Path, key: str) -> Path:
    return folder / f"{key}.lock"


def _settle(work: Path, final: Path) -> None:
    """Gives a sealed folder its name, unless a rival whom the lock did not stop was first."""
    try:
        work.rename(final)
    except OSError:
        if damage_of(final) is not None:
            raise
    sync_folder(final.parent)
