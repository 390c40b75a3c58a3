"""What takes seconds to find out, kept in the user's cache folder under the hash of its origin.

It is JSON, which runs no code, packed with a checksum. It may be removed at any time and is never
the truth: where it cannot be read or written, things are found out anew.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib
import json
import sys
import zlib
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from contrabench.files import cache_folder, write_bytes

MOST = 16
"""Files that lie under one name: those that were used last."""
LARGEST = 16 * 2**20
"""Bytes of the largest of them."""
_LIBRARIES = ("numpy", "pandas", "pyarrow", "pydantic", "scipy")
_SUFFIX = ".json.gz"


def load(name: str, origin: str) -> Any:
    """What was kept; None if there is nothing, or it is damaged."""
    file = _file(name, origin)
    try:
        content = json.loads(gzip.decompress(file.read_bytes()))
    except (OSError, EOFError, ValueError, RecursionError, zlib.error):
        return None
    with suppress(OSError):
        file.touch()
    return content


def save(name: str, origin: str, content: Any) -> None:
    """Keeps JSON-like data, where that can be done; TypeError if it is none."""
    data = gzip.compress(json.dumps(content).encode(), 1, mtime=0)
    file = _file(name, origin)
    with suppress(OSError):
        if len(data) <= LARGEST:
            write_bytes(file, data)
        known = file.parent.glob(f"{name}-*{_SUFFIX}")
        for old in sorted(known, key=lambda one: -one.stat().st_mtime_ns)[MOST:]:
            old.unlink(missing_ok=True)


def _file(name: str, origin: str) -> Path:
    return cache_folder() / f"{name}-{origin}{_SUFFIX}"


def hash_of(parts: Iterable[bytes | str]) -> str:
    """One hash of some parts, in 40 hexadecimal digits."""
    state = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        state.update(f"{len(data)}\0".encode())
        state.update(data)
    return state.hexdigest()[:40]


@cache
def code_of(*packages: str) -> str:
    """A hash of all files of this program and of packages, of Python, and of its libraries."""
    folders = [Path(folder) for each in ("contrabench", *packages) for folder in _folders(each)]
    return hash_of([sys.version, *map(_version, _LIBRARIES), *contents(folders)])


def contents(places: Iterable[Path]) -> list[str | bytes]:
    """Name and content of all files at and below some places, but for compiled ones."""
    given = [one for place in places for one in ((place,) if place.is_file() else place.rglob("*"))]
    files = {one.resolve() for one in given if "__pycache__" not in one.parts and one.is_file()}
    return [part for file in sorted(files) for part in (str(file), file.read_bytes())]


def _folders(package: str) -> list[str]:
    return list(importlib.import_module(package).__path__)


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""
