"""The finished runs of a store as files: which there are, and one run's rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from os import scandir
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from contrabench.files import MARKER, damage_of, sealed_files
from contrabench.store.schema import SCHEMA, row_fault, version_fault
from contrabench.store.stages import RUNS

ROWS_FILE = "rows.parquet"
RECORD_FILE = "run.json"
_NO_FILE = (-1, -1)
_NOTHING = (*_NO_FILE, *_NO_FILE)


@dataclass(frozen=True)
class RunFile:
    """A finished run, and what tells whether its files have changed.

    Attributes:
        run: its key, the name of its folder.
        stamp: size and time of the last change, in ns, of its rows and of its marker; -1
            for a file that is not there.
    """

    run: str
    stamp: tuple[int, int, int, int]


def finished_runs(store: Path) -> Iterator[RunFile]:
    """The finished runs of a store, in no order; those that are being made are not among them.

    A folder that has lost its rows or its marker, but not both, was one: it is among them.
    """
    try:
        entries = scandir(store / RUNS)
    except OSError:
        return
    with entries:
        for entry in entries:
            if "." in entry.name:  # locks, logs, and folders that are being filled
                continue
            folder = Path(entry.path)
            stamp = (*_stamp(folder / ROWS_FILE), *_stamp(folder / MARKER))
            if stamp != _NOTHING:
                yield RunFile(entry.name, stamp)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return _NO_FILE
    return found.st_size, found.st_mtime_ns


def read_run(folder: Path) -> tuple[pa.Table, str]:
    """Reads the rows of one run, if all its files are as they were when it was sealed.

    Args:
        folder: named by the run's key.

    Returns:
        Its table in `SCHEMA`, and "" or why it cannot be trusted; the table is empty then.
    """
    if damaged := _damage(folder):
        return SCHEMA.empty_table(), damaged
    try:
        table = pq.ParquetFile(folder / ROWS_FILE).read(use_threads=False)
        fault = version_fault(table) or row_fault(table)
        if not fault:
            table = table.select(SCHEMA.names).cast(SCHEMA)
            fault = _not_its_own(table, folder.name)
    except (OSError, ValueError, pa.ArrowException) as error:
        fault = f"it cannot be read ({str(error).splitlines()[0]}); run the study again"
    return SCHEMA.empty_table() if fault else table, fault


def _damage(folder: Path) -> str:
    """Compares rows, record and specification with their checksums."""
    found = damage_of(folder)
    if not found and ROWS_FILE not in (sealed_files(folder) or ()):
        found = f"its marker does not name {ROWS_FILE}"
    return (
        f"{found}, so its numbers may not be those of the run; run the study again, or merge the "
        "run in again"
        if found
        else ""
    )


def _not_its_own(table: pa.Table, run: str) -> str:
    """Says whose rows these are; "" if they are those of the run that the folder stands for."""
    if not len(table):
        return "it has no rows; remove the folder and run the study again"
    others = set(table["run"].unique().to_pylist()) - {run}
    return f"its rows are those of run {', '.join(others)}; remove the folder" if others else ""
