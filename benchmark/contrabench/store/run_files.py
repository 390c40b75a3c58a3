"""The finished runs of a store as files: which there are, and one run's rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from os import scandir
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from contrabench.sealed import SEAL
from contrabench.store.schema import SCHEMA, row_fault, version_fault
from contrabench.store.stages import RUNS

ROWS_FILE = "rows.parquet"
RECORD_FILE = "run.json"


@dataclass(frozen=True)
class RunFile:
    """A finished run, and what tells whether its files have changed.

    Attributes:
        run: its key, the name of its folder.
        stamp: size and time of the last change, in ns, of its rows and of its marker.
    """

    run: str
    stamp: tuple[int, int, int, int]


def finished_runs(store: Path) -> Iterator[RunFile]:
    """The finished runs of a store, in no order; those that are being made are not among them."""
    try:
        entries = scandir(store / RUNS)
    except OSError:
        return
    with entries:
        for entry in entries:
            if "." in entry.name:  # locks, logs, and folders that are being filled
                continue
            folder = Path(entry.path)
            try:
                rows, mark = (folder / ROWS_FILE).stat(), (folder / SEAL).stat()
            except OSError:
                continue
            stamp = (rows.st_size, rows.st_mtime_ns, mark.st_size, mark.st_mtime_ns)
            yield RunFile(entry.name, stamp)


def read_run(folder: Path) -> tuple[pa.Table, str]:
    """Reads the rows of one run.

    Args:
        folder: named by the run's key.

    Returns:
        Its table in `SCHEMA`, and "" or why it cannot be trusted; the table is empty then.
    """
    try:
        table = pq.ParquetFile(folder / ROWS_FILE).read(use_threads=False)
        fault = version_fault(table) or row_fault(table)
        if not fault:
            table = table.select(SCHEMA.names).cast(SCHEMA)
            others = set(table["run"].unique().to_pylist()) - {folder.name}
            if others:
                fault = f"its rows are those of run {', '.join(others)}; remove the folder"
    except (OSError, ValueError, pa.ArrowException) as error:
        fault = f"it cannot be read ({str(error).splitlines()[0]}); run the study again"
    return SCHEMA.empty_table() if fault else table, fault
