"""From rows to means, in the order that the metric contract sets.

Structures within a case, cases within a patient, runs (label draws and seeds) within a
patient, then patients: so a patient with two volumes, or a case with a structure less,
weighs as much as any other.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from contrabench.errors import RequestError
from contrabench.protocol import NOT_APPLICABLE

UNIT = ["patient", "fold", "draw", "seed"]
"""What one training run scored on one patient is known by."""


def applicable(rows: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Drops the rows of structures that neither reference nor prediction holds.

    Raises:
        RequestError: if a remaining row lacks one of the metrics: skipping it would
            average over fewer and easier structures.
    """
    kept = rows[rows["flag"] != NOT_APPLICABLE]
    for metric in metrics:
        lacking = int(kept[metric].isna().sum())
        if lacking:
            raise RequestError(
                f"{lacking} of {len(kept)} rows have no {metric}, so its mean would be over "
                "others; ask for a metric that all rows have"
            )
    return kept


def distance_of(rows: pd.DataFrame) -> str:
    """The column that holds the ASD: `asd_voxel` where no spacing is known, else `asd_mm`."""
    scored = applicable(rows, [])
    # Where nothing applies, nothing says that the spacing were unknown.
    in_voxels = len(scored) > 0 and bool(scored["asd_mm"].isna().all())
    return "asd_voxel" if in_voxels else "asd_mm"


def _nested_means(rows: pd.DataFrame, metrics: Sequence[str], unit: list[str]) -> pd.DataFrame:
    """Averages the applicable rows of each unit within cases, over cases, then over runs."""
    means = applicable(rows, metrics)
    means = means.groupby([*unit, "run", "case"], observed=True)[list(metrics)].mean()
    for levels in ([*unit, "run"], unit):
        means = means.groupby(level=levels, observed=True).mean()
    return means


def patient_scores(rows: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Averages the rows of one method variant at one label budget within each patient.

    Returns:
        One row per patient, sorted by name, one column per metric; patients without an
        applicable structure are absent.

    Raises:
        RequestError: if a row lacks a metric.
    """
    scores = _nested_means(rows, metrics, ["patient"])
    scores.index = scores.index.astype(str)
    return scores.sort_index()


def macro_mean(rows: pd.DataFrame, metric: str) -> float:
    """The mean over patients of `patient_scores`; NaN without an applicable row."""
    return float(patient_scores(rows, [metric])[metric].mean())


def structure_means(rows: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Averages each structure over cases, runs and patients.

    Returns:
        One row per structure in the order of `rows`, one column per metric; NaN where a
        structure applies nowhere.
    """
    scores = _nested_means(rows, metrics, ["structure", "patient"])
    means = {structure: part.mean() for structure, part in scores.groupby(level=0, observed=True)}
    found = pd.DataFrame.from_dict(means, orient="index", columns=list(metrics))
    return found.reindex(rows["structure"].unique())


def observations(rows: pd.DataFrame, metric: str) -> pd.Series[float]:
    """Averages the rows of one method variant within each patient and training run.

    Returns:
        Indexed by `UNIT`, each quadruple once: runs that repeat a fold, draw and seed count as
        one.

    Raises:
        RequestError: if a row lacks the metric.
    """
    return _nested_means(rows, [metric], UNIT)[metric]


def differences(first: pd.Series[float], second: pd.Series[float]) -> pd.Series[float]:
    """Subtracts `observations` of two methods where patient, fold, draw and seed are the same."""
    ours, theirs = first.align(second, join="inner")
    return ours - theirs
