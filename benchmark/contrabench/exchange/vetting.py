"""What a finished folder of somebody else's store must be before it is taken in.

Nothing in it is believed: not its name, which must be the hash of its specification; not
the names in its marker, which must be files of known kinds beside it; not its content,
which is looked through without running any of it.
"""

from __future__ import annotations

import re
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from contrabench.data.splits import LabelManifest, Split
from contrabench.files import MARKER, damage_of, read_json, sealed_files
from contrabench.protocol import digest
from contrabench.store.rows import ROWS_FILE
from contrabench.store.runs import RUN_RECORD, inner, read_run
from contrabench.store.stages import RUNS, SPEC, incomplete_weights, misnamed
from contrabench.text import size_words

_KEY = re.compile(r"[0-9a-f]{16}")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_MANIFEST = re.compile(r"(split|labels)-([0-9a-f]{16})\.json")
LARGEST_FILE = 64 * 2**20
"""Bytes of a file that is read as a whole; some thousand times what a run has."""
LARGEST_ROWS = 256 * 2**20
"""Uncompressed; some thousand times what a run has."""
MOST_ROWS = 1_000_000


def unsafe(folder: Path, kind: str) -> str | None:
    """Says why the files of a finished stage or run may not even be copied, or None."""
    return next(_dangers(folder, kind), None)


def _dangers(folder: Path, kind: str) -> Iterator[str]:
    """What speaks against copying; only the first is told, as the next rests on it."""
    if folder.is_symlink():
        yield "it is a link, and may lead anywhere"
    if not _KEY.fullmatch(folder.name):
        yield "its name is not that of a stage, 16 hexadecimal digits"
    yield from _irregular(folder / MARKER)
    yield from _too_large(folder / MARKER)
    names = sealed_files(folder)
    if names is None:
        yield "its marker is unreadable, or names files outside the folder"
        return
    for name in names:
        if not _FILE.fullmatch(name) or name == MARKER:
            yield f"its marker names {name!r}, which no file of a stage is called"
        if Path(name).suffix not in _CHECKS and not (kind == RUNS and name == ROWS_FILE):
            yield f"it holds {name}, and files of that kind are never taken in"
        yield from _irregular(folder / name)
        if Path(name).suffix == ".json" or kind == RUNS:
            yield from _too_large(folder / name)
    for name in (SPEC, ROWS_FILE, RUN_RECORD) if kind == RUNS else (SPEC,):
        if name not in names:
            yield f"it has no {name}"


def unsound(folder: Path, kind: str) -> str | None:
    """Says what is wrong with the content of a folder that is not `unsafe`, or None."""
    if fault := damage_of(folder):
        return fault
    for name in sorted(sealed_files(folder) or ()):
        check = _CHECKS.get(Path(name).suffix)
        if check is not None and (fault := check(folder / name)):
            return fault
    return misnamed(folder, kind) or (_bad_run(folder) if kind == RUNS else None)


def _bad_run(folder: Path) -> str | None:
    """The rows are those of this run under its own protocol, and its record agrees."""
    try:
        with (folder / ROWS_FILE).open("rb") as file:
            about = pq.ParquetFile(file).metadata
    except (OSError, ValueError, pa.ArrowException):
        return f"{ROWS_FILE} cannot be read"
    size = sum(about.row_group(number).total_byte_size for number in range(about.num_row_groups))
    if not 0 < about.num_rows <= MOST_ROWS or size > LARGEST_ROWS:
        return f"{ROWS_FILE} has {about.num_rows} rows of {size_words(size)}, which no run has"
    table, fault = read_run(folder)
    if fault:
        return f"{ROWS_FILE}: {fault}"
    protocol, record = inner(read_json(folder / SPEC), "protocol"), read_json(folder / RUN_RECORD)
    if table["protocol"].unique().to_pylist() != [digest(protocol)]:
        return f"{ROWS_FILE} is under another protocol than {SPEC}"
    if not isinstance(record, dict) or record.get("run") != folder.name:
        return f"{RUN_RECORD} is the record of another run"
    return None


def read_manifest(path: Path) -> Split | LabelManifest | None:
    """A manifest whose name is the hash of its content; None if it is not, or not there."""
    match = _MANIFEST.fullmatch(path.name)
    if match is None or any(_irregular(path)) or any(_too_large(path)):
        return None
    form: type[Split] | type[LabelManifest] = Split if match[1] == "split" else LabelManifest
    try:
        content = form.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if digest(content) == match[2] else None


def _irregular(path: Path) -> Iterator[str]:
    """A link, a device, a pipe, a folder, or nothing at all is no file of a stage."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        yield f"the file {path.name} is missing"
    else:
        if not stat.S_ISREG(mode):
            yield f"{path.name} is a link or no ordinary file"


def _too_large(path: Path) -> Iterator[str]:
    """These files are read as a whole."""
    if path.stat().st_size > LARGEST_FILE:
        yield f"{path.name} is larger than {size_words(LARGEST_FILE)}"


def _bad_json(path: Path) -> str | None:
    if read_json(path) is None:
        return f"{path.name} is no JSON"
    return None


def _bad_arrays(path: Path) -> str | None:
    """An archive of numbers; an array of objects is a pickle, and could run code if loaded."""
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as file:
                    np.lib.format.read_magic(file)
                    if np.lib.format.read_array_header_1_0(file)[2].hasobject:
                        return f"{path.name} holds a pickle, and pickles are never taken in"
    except (OSError, ValueError, zipfile.BadZipFile, RuntimeError):
        return f"{path.name} is no archive of arrays"
    return None


_CHECKS: dict[str, Callable[[Path], str | None]] = {
    ".json": _bad_json,
    ".npz": _bad_arrays,
    ".safetensors": incomplete_weights,
}
"""What files of a stage can be, beside the rows of a run, and how each is looked through."""
