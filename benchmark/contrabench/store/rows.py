"""Result rows: one per run, case and structure, the only truth behind every table.

A row says what was asked, what was scored and under which protocol, so that a report
needs nothing else. What is unknown or does not apply is null, never a stand-in number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from contrabench.errors import RunError
from contrabench.sealed import SEAL

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 2
NOT_APPLICABLE = "not applicable"
ROWS_FILE = "rows.parquet"


@dataclass(frozen=True)
class ResultRow:
    """The score of one structure in one case by one run.

    Attributes:
        run: key of the run, 16 hexadecimal digits.
        protocol: hash of the protocol, 16 hexadecimal digits.
        dataset: registered name.
        budget: name of the budget.
        method: registered name.
        method_version: raised by the method's author when it computes something else.
        variant: the method with the options that differ from its defaults, for tables.
        recipe: "common", or "published" for the papers' own optimisation in pre-training.
        family: family of the method.
        fidelity: official, re-implementation or reconstruction.
        deviations: what else the run changes, joined by "; "; "" for nothing.
        labels: label budget as it was asked for, e.g. "10%".
        fraction: label budget as a share of the training patients.
        labelled_patients: patients whose labels the run could use.
        train_patients: patients the run could train on, labelled or not.
        test_patients: patients of the fold that were scored.
        fold: index of the fold.
        folds: folds of the protocol.
        draw: index of the label draw.
        seed: training seed.
        patient: the unit of statistics.
        case: the volume.
        structure: name of the structure.
        dice: see `contrabench.evaluation.metrics.StructureScore` for the metrics.
        asd_mm: null where the dataset's spacing is unknown, as all distances in mm.
        hd95_mm: as above.
        surface_dice_2mm: as above.
        asd_voxel: symmetric average surface distance in voxels; null where the
            spacing is known.
        asd_medpy_voxel: directed distance of the literature, in voxels.
        asd_slice2d_mm: slice-wise distance of the literature, in mm.
        reference_voxels: size in the reference.
        prediction_voxels: size in the prediction.
        flag: "", "prediction empty", "reference empty" or "not applicable".
        metric_contract: version of the metric contract.
    """

    run: str
    protocol: str
    dataset: str
    budget: str
    method: str
    method_version: int
    variant: str
    recipe: str
    family: str
    fidelity: str
    deviations: str
    labels: str
    fraction: float
    labelled_patients: int
    train_patients: int
    test_patients: int
    fold: int
    folds: int
    draw: int
    seed: int
    patient: str
    case: str
    structure: str
    dice: float | None
    asd_mm: float | None
    hd95_mm: float | None
    surface_dice_2mm: float | None
    asd_voxel: float | None
    asd_medpy_voxel: float | None
    asd_slice2d_mm: float | None
    reference_voxels: int
    prediction_voxels: int
    flag: str
    metric_contract: int


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


def write_rows(path: Path, rows: Sequence[ResultRow]) -> None:
    """Writes the rows of one run as Parquet; equal rows give equal bytes.

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
    fault = _fault(table)
    if fault:
        raise RunError(f"the rows for {path} were not written: {fault}; this is a fault in scoring")
    pq.write_table(table, path, compression="zstd")


def read_rows(store: Path) -> tuple[pd.DataFrame, list[str]]:
    """Reads the rows of every finished run of a store.

    Args:
        store: folder that holds `runs/<key>/rows.parquet` beside `done.json`.

    Returns:
        The rows of all readable runs, in the order of the runs' keys, empty but with
        all columns if there are none; and one line for each run that was left out.
    """
    tables, problems = [], []
    for path in sorted(store.glob(f"runs/*/{ROWS_FILE}")):
        if not path.with_name(SEAL).is_file():
            continue
        try:
            table = pq.read_table(path)
            fault = _version_fault(table) or _fault(table)
            if not fault:
                tables.append(table.select(SCHEMA.names).cast(SCHEMA))
        except (OSError, pa.ArrowException) as error:
            fault = f"it cannot be read ({str(error).splitlines()[0]}); run the study again"
        if fault:
            problems.append(f"run {path.parent.name} is left out: {fault}")
    joined = pa.concat_tables(tables) if tables else SCHEMA.empty_table()
    return joined.to_pandas(), problems


def _version_fault(table: pa.Table) -> str:
    """Says why a table is not of this schema; "" if it is."""
    if "schema_version" not in table.column_names:
        return "its file holds no result rows; run the study again"
    versions = set(table["schema_version"].to_pylist())
    if any(version > SCHEMA_VERSION for version in versions):
        return "a newer contrabench wrote it; update contrabench to read it"
    missing = [name for name in SCHEMA.names if name not in table.column_names]
    return f"it has no column {', '.join(missing)}; run the study again" if missing else ""


def _fault(table: pa.Table) -> str:
    """Says what no honest row can be; "" if all is well.

    A score that is missing where the structure applies would drop out of every mean,
    and so make the method that failed look better.
    """
    frame = table.select(["flag", "dice", "asd_mm", "asd_voxel"]).to_pandas()
    scored = frame[frame["flag"] != NOT_APPLICABLE]
    if scored["dice"].isna().any():
        return "a structure that applies has no Dice"
    if not (scored["asd_mm"].isna() ^ scored["asd_voxel"].isna()).all():
        return "a structure that applies needs its distance either in mm or in voxels"
    return ""
