"""Result rows on disk: one per run, case and structure, the only truth behind every table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from contrabench.errors import RunError
from contrabench.files import replacing
from contrabench.protocol import NOT_APPLICABLE
from contrabench.store.row_reading import gather, rows_frame
from contrabench.store.run_files import ROWS_FILE
from contrabench.store.schema import (
    SCHEMA,
    SCHEMA_VERSION,
    ResultRow,
    row_fault,
)

if TYPE_CHECKING:
    import pandas as pd

    from contrabench.progress import Reporter

__all__ = [
    "NOT_APPLICABLE",
    "ROWS_FILE",
    "SCHEMA",
    "SCHEMA_VERSION",
    "ResultRow",
    "read_rows",
    "write_rows",
]


def write_rows(path: Path, rows: Sequence[ResultRow]) -> None:
    """Writes the rows of one run as Parquet, atomically; equal rows give equal bytes.

    Args:
        path: file to write; its folder exists.
        rows: in the order of cases and structures.

    Raises:
        RunError: if a row that applies has no Dice or not exactly one distance.
    """
    records = []
    for row in rows:
        record: dict[str, Any] = {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in asdict(row).items()
        }
        records.append({"schema_version": SCHEMA_VERSION, **record})
    table = pa.Table.from_pylist(records, schema=SCHEMA)
    fault = row_fault(table)
    if fault:
        raise RunError(f"the rows for {path} were not written: {fault}; this is a fault in scoring")
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_rows(
    store: Path, columns: Sequence[str] | None = None, reporter: Reporter | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """Reads the rows of every finished run of a store.

    Text columns are categories, in the order of the alphabet, so a comparison with a word
    and `groupby(..., observed=True)` work as on words; integers that fit are 32 bits wide.

    Args:
        store: folder that holds `runs/<key>/rows.parquet` beside `done.json`.
        columns: those wanted, in this order; all by default.
        reporter: where the progress of a first reading of many runs is told.

    Returns:
        The rows of all readable runs, in the order of the runs' keys, empty but with
        all columns if there are none; and one line for each run that was left out.
    """
    parts, problems = gather(store, reporter)
    return rows_frame(parts, SCHEMA.names if columns is None else columns), problems
