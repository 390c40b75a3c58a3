"""Hashes of the user's files, kept so that gigabytes need not be read at every start."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

from contrabench.contracts.dataset import Case, Dataset
from contrabench.files import checksum, write_text

_SETTLED = 2_000_000_000
"""Nanoseconds: a younger file may change again without a new time stamp."""


class FileIndex:
    """SHA-256 of files by path, size and time of change.

    Args:
        path: JSON file that keeps them; one that is missing or damaged counts as empty.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = _read(path)
        self._new: dict[str, tuple[int, int, str]] = {}

    def sha256(self, path: Path) -> str:
        """Hash of a file's bytes, read only if the file is new or has changed.

        Raises:
            OSError: if the file cannot be read.
        """
        name, status = str(path.resolve()), path.stat()
        stamp = (status.st_size, status.st_mtime_ns)
        known = self._known.get(name)
        if known is not None and known[:2] == stamp:
            return known[2]
        settled = time.time_ns() - status.st_mtime_ns > _SETTLED
        value = checksum(path)
        if settled:
            self._known[name] = self._new[name] = (*stamp, value)
        return value

    def save(self) -> None:
        """Adds the new hashes to the file, and leaves what others have added meanwhile."""
        if self._new:
            write_text(self._path, json.dumps(_read(self._path) | self._new, indent=0))
            self._new.clear()


def _read(path: Path) -> dict[str, tuple[int, int, str]]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8")).items()
        return {name: (int(size), int(time), str(key)) for name, (size, time, key) in entries}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def fingerprint_of(dataset: Dataset, case: Case, index: FileIndex) -> str:
    """The dataset's fingerprint of a case, with the index's help where it hashes files.

    Args:
        dataset: one that overrides `fingerprint` is asked; the default is followed here.
        case: a case of the dataset.
        index: known hashes.

    Raises:
        OSError: if a file cannot be read.
    """
    if type(dataset).fingerprint is not Dataset.fingerprint:
        return dataset.fingerprint(case)
    state = hashlib.sha256()
    for path in (case.image, case.label):
        if path is not None:
            state.update(bytes.fromhex(index.sha256(path)))
    return state.hexdigest()
