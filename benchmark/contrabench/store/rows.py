"""Result rows: one per run, case and structure, the only truth behind every table.

A row says what was asked, what was scored and under which protocol, so that a report
needs nothing else. What is unknown or does not apply is null, never a stand-in number.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contrabench.errors import RunError
from contrabench.files import replacing
from contrabench.protocol import NOT_APPLICABLE

if TYPE_CHECKING:
    import pandas as pd

ROWS_FILE = "rows.parquet"
SCHEMA_VERSION = 3


def column_at(share: int) -> str:
    """The column of the Dice after a share of fine-tuning, in percent of its steps."""
    return f"dice_{share}pct"


@dataclass(frozen=True)
class ResultRow:
    """The score of one structure in one case by one run; null where a metric does not apply."""

    run: str  # key of the run, 16 hexadecimal digits
    protocol: str  # hash of the protocol, 16 hexadecimal digits
    dataset: str  # registered name
    budget: str  # its name
    method: str  # registered name
    method_version: int  # raised by the method's author when it computes something else
    variant: str  # the method with the options that differ from its defaults, for tables
    recipe: str  # "common", or "published" for the papers' own optimisation in pre-training
    family: str  # of the method
    fidelity: str  # official, re-implementation or reconstruction
    deviations: str  # what else the run changes, joined by "; "; "" for nothing
    labels: str  # label budget as it was asked for, e.g. "10%"
    fraction: float  # label budget as a share of the training patients
    labelled_patients: int  # whose labels the run could use
    train_patients: int  # whom the run could train on, labelled or not
    test_patients: int  # of the fold, who were scored
    fold: int
    folds: int  # of the protocol
    draw: int  # of the labels
    seed: int  # of the training
    patient: str  # the unit of statistics
    case: str  # the volume
    structure: str
    dice: float | None  # for the metrics see `contrabench.evaluation.metrics.StructureScore`
    asd_mm: float | None  # null where the dataset's spacing is unknown, as all distances in mm
    hd95_mm: float | None
    surface_dice_2mm: float | None
    asd_voxel: float | None  # symmetric, in voxels; null where the spacing is known
    asd_medpy_voxel: float | None  # directed distance of the literature, in voxels
    asd_slice2d_mm: float | None  # slice-wise distance of the literature
    reference_voxels: int  # size in the reference
    prediction_voxels: int  # size in the prediction
    flag: str  # "", "prediction empty", "reference empty" or "not applicable"
    metric_contract: int  # its version
    rates: str = ""  # of handed-over parts: uniform or gentle; "" where none is handed over
    dice_5pct: float | None = None  # after that share of fine-tuning; nobody chooses by it
    dice_10pct: float | None = None
    dice_25pct: float | None = None
    dice_50pct: float | None = None
    own_metrics: str = ""  # further metrics as JSON by name; "" where none was asked for


_TYPES = {"str": pa.string(), "int": pa.int64(), "float": pa.float64()}
_NARROW = {"fold", "folds", "draw", "metric_contract", "method_version"}


def _schema() -> pa.Schema:
    columns = [pa.field("schema_version", pa.int32(), nullable=False)]
    for column in fields(ResultRow):
        kind, _, optional = str(column.type).partition(" | ")
        dtype = pa.int32() if column.name in _NARROW else _TYPES[kind]
        columns.append(pa.field(column.name, dtype, nullable=bool(optional)))
    return pa.schema(columns)


SCHEMA: pa.Schema = _schema()
_LATER = {
    column.name: column.default for column in fields(ResultRow) if column.default is not MISSING
}
"""Columns of version 3, and what stands for them in older rows."""
TEXT = tuple(field.name for field in SCHEMA if field.type == pa.string())
"""The columns that hold words; few different ones, many times over."""


def own_metrics(rows: pd.DataFrame) -> pd.DataFrame:
    """The further metrics of some rows, a column for each by name; NaN where one was not asked."""
    import pandas as pd

    told = [json.loads(text) if text else {} for text in rows["own_metrics"].astype(str)]
    return pd.DataFrame(told, index=rows.index).sort_index(axis=1)


def version_fault(table: pa.Table) -> str:
    """Says why a table is not of this schema; "" if it is."""
    present = set(table.column_names)
    if "schema_version" not in present:
        return "its file holds no result rows; run the study again"
    newest = pc.max(table["schema_version"]).as_py()
    if newest is not None and newest > SCHEMA_VERSION:
        return "a newer contrabench wrote it; update contrabench to read it"
    missing = [name for name in SCHEMA.names if name not in present and name not in _LATER]
    return f"it has no column {', '.join(missing)}; run the study again" if missing else ""


def brought_up(table: pa.Table) -> pa.Table:
    """A table in `SCHEMA`; rows of version 2 get what they lack: one rate, no scores on the way."""
    for name, value in _LATER.items():
        if name not in table.column_names:
            kind = SCHEMA.field(name).type
            table = table.append_column(name, pa.repeat(pa.scalar(value, kind), len(table)))
    return table.select(SCHEMA.names).cast(SCHEMA)


def row_fault(table: pa.Table) -> str:
    """Says what no honest row can be; "" if all is well.

    A score that is missing where the structure applies would drop out of every mean,
    and so make the method that failed look better.
    """
    scored = pc.not_equal(table["flag"].cast(pa.string()), NOT_APPLICABLE)
    no_dice, no_mm, no_voxel = (
        pc.is_null(table[name], nan_is_null=True) for name in ("dice", "asd_mm", "asd_voxel")
    )
    if _any(pc.and_(scored, no_dice)):
        return "a structure that applies has no Dice"
    if _any(pc.and_(scored, pc.invert(pc.xor(no_mm, no_voxel)))):
        return "a structure that applies needs its distance either in mm or in voxels"
    return ""


def _any(mask: pa.ChunkedArray) -> bool:
    return bool(pc.any(mask, min_count=0).as_py())


def write_rows(path: Path, rows: Sequence[ResultRow]) -> None:
    """Writes the rows of one run as Parquet, atomically; equal rows give equal bytes.

    They are in the order of cases and structures. RunError if one that applies has no Dice or not
    exactly one distance.
    """
    records = [{"schema_version": SCHEMA_VERSION, **asdict(row)} for row in rows]
    for record in records:
        record |= {
            name: None
            for name, value in record.items()
            if isinstance(value, float) and math.isnan(value)
        }
    table = pa.Table.from_pylist(records, schema=SCHEMA)
    if fault := row_fault(table):
        raise RunError(f"the rows for {path} were not written: {fault}; this is a fault in scoring")
    # An open file: some names look like addresses to pyarrow.
    with replacing(path) as temporary, temporary.open("wb") as file:
        pq.write_table(table, file, compression="zstd")


def labels_of(rows: pd.DataFrame) -> list[str]:
    """The label budgets of some rows by name, few labelled patients first."""
    # The share of a count differs between folds of unequal size, so it tells no budgets apart.
    known = rows.groupby("labels", observed=True)[["labelled_patients", "fraction"]].mean()
    known = known.set_axis(known.index.astype(str)).rename_axis("labels").reset_index()
    return list(known.sort_values(["labelled_patients", "fraction", "labels"])["labels"])
