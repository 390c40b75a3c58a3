"""Prepared folders on disk: made once, complete or absent, safe against kills and rivals.

Made under a temporary name with its lock held, sealed with checksums, and renamed. The system frees
the lock of a process that dies: a temporary folder whose lock is free is a killed one's. Hashes of
the user's files are kept beside, so that gigabytes need not be read at every start.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from contrabench.contracts.dataset import Case, Dataset
from contrabench.files import (
    checksum,
    damage_of,
    finish_folder,
    is_locked,
    is_temporary,
    read_json,
    temporary_sibling,
    write_text,
)

_log = logging.getLogger(__name__)
_SETTLED = 2_000_000_000
"""Nanoseconds: a younger file may change again without a new time stamp."""


def obtain(folder: Path, key: str, make: Callable[[Path], None]) -> Path:
    """The folder of a key, which hashes what it depends on; made if it is missing or damaged.

    `make` fills an empty folder; what it raises passes through and nothing is kept.
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
            finish_folder(work, final)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return final


def sweep(folder: Path) -> None:
    """Removes the temporary folders of killed processes; those at work are left alone."""
    for stale in left_behind(folder)[0]:
        with suppress(Timeout), FileLock(_lock_of(stale), timeout=0):
            shutil.rmtree(stale, ignore_errors=True)


def left_behind(folder: Path) -> tuple[list[Path], int]:
    """The temporary folders of killed processes, and the number of those at work.

    One that never had a lock was not made here, and is none.
    """
    there = [path for path in folder.glob(".*") if is_temporary(path) and path.is_dir()]
    found = [path for path in there if _lock_of(path).exists()]
    stale = [path for path in found if not is_locked(_lock_of(path))]
    return stale, len(found) - len(stale)


def _lock_of(temporary: Path) -> Path:
    return _lock(temporary.parent, temporary.name[1:].split(".")[0])


def _lock(folder: Path, key: str) -> Path:
    return folder / f"{key}.lock"


class FileIndex:
    """SHA-256 of files by path, size and time of change, kept in a JSON file.

    One that is missing or damaged counts as empty.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = _read(path)
        self._new: dict[str, str] = {}

    def sha256(self, path: Path) -> str:
        """Hash of a file's bytes, read only if the file is new or has changed.

        Raises:
            OSError: if the file cannot be read.
        """
        status = path.stat()
        stamp = f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"
        if stamp in self._known:
            return self._known[stamp]
        settled = time.time_ns() - status.st_mtime_ns > _SETTLED
        value = checksum(path)
        if settled:
            self._known[stamp] = self._new[stamp] = value
        return value

    def save(self) -> None:
        """Adds the new hashes to the file, and leaves what others have added meanwhile."""
        if self._new:
            write_text(self._path, json.dumps(_read(self._path) | self._new, indent=0))
            self._new.clear()


def _read(path: Path) -> dict[str, str]:
    found = read_json(path)
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def fingerprint_of(dataset: Dataset, case: Case, index: FileIndex) -> str:
    """The dataset's fingerprint of a case; the default is followed here, to use the index."""
    if type(dataset).fingerprint is not Dataset.fingerprint:
        return dataset.fingerprint(case)
    state = hashlib.sha256()
    for path in (case.image, case.label):
        if path is not None:
            state.update(bytes.fromhex(index.sha256(path)))
    return state.hexdigest()
