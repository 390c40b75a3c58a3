"""What a result row is, and what no honest row can be.

A row says what was asked, what was scored and under which protocol, so that a report
needs nothing else. What is unknown or does not apply is null, never a stand-in number.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import pyarrow as pa
import pyarrow.compute as pc

from contrabench.protocol import NOT_APPLICABLE

SCHEMA_VERSION = 2


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
TEXT = tuple(field.name for field in SCHEMA if field.type == pa.string())
"""The columns that hold words; few different ones, many times over."""


def version_fault(table: pa.Table) -> str:
    """Says why a table is not of this schema; "" if it is."""
    present = set(table.column_names)
    if "schema_version" not in present:
        return "its file holds no result rows; run the study again"
    newest = pc.max(table["schema_version"]).as_py()
    if newest is not None and newest > SCHEMA_VERSION:
        return "a newer contrabench wrote it; update contrabench to read it"
    missing = [name for name in SCHEMA.names if name not in present]
    return f"it has no column {', '.join(missing)}; run the study again" if missing else ""


def row_fault(table: pa.Table) -> str:
    """Says what no honest row can be; "" if all is well.

    A score that is missing where the structure applies would drop out of every mean,
    and so make the method that failed look better.
    """
    scored = pc.not_equal(table["flag"].cast(pa.string()), NOT_APPLICABLE)
    missing = {name: pc.is_null(table[name], nan_is_null=True) for name in _DISTANCES}
    no_dice = pc.is_null(table["dice"], nan_is_null=True)
    if _any(pc.and_(scored, no_dice)):
        return "a structure that applies has no Dice"
    one = pc.xor(missing["asd_mm"], missing["asd_voxel"])
    if _any(pc.and_(scored, pc.invert(one))):
        return "a structure that applies needs its distance either in mm or in voxels"
    return ""


_DISTANCES = ("asd_mm", "asd_voxel")


def _any(mask: pa.ChunkedArray) -> bool:
    return bool(pc.any(mask, min_count=0).as_py())
