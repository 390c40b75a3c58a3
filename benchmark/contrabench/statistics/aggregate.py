"""From rows to means, in the order that the metric contract sets.

Structures within a case, cases within a patient, runs (label draws and seeds) within a
patient, then patients: so a patient with two volumes, or a case with a structure less,
weighs as much as any other.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from contrabench.errors import RequestError
from contrabench.store.rows import NOT_APPLICABLE


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


def patient_scores(rows: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Averages the rows of one method variant within each patient.

    Args:
        rows: result rows of one variant under one protocol and label budget.
        metrics: columns to average.

    Returns:
        One row per patient, sorted by name, one column per metric; patients without an
        applicable structure are absent.
    """
    columns = list(metrics)
    kept = applicable(rows, columns)
    cases = kept.groupby(["patient", "run", "case"], observed=True)[columns].mean()
    runs = cases.groupby(level=["patient", "run"], observed=True).mean()
    scores = runs.groupby(level="patient", observed=True).mean()
    scores.index = scores.index.astype(str)
    return scores.sort_index()


def macro_mean(rows: pd.DataFrame, metric: str) -> float:
    """The mean over patients of `patient_scores`; NaN without an applicable row."""
    return float(patient_scores(rows, [metric])[metric].mean())


def structure_means(rows: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Averages each structure over cases, runs and patients.

    Args:
        rows: as for `patient_scores`.
        metrics: columns to average.

    Returns:
        One row per structure in the order of `rows`, one column per metric; NaN where a
        structure applies nowhere.
    """
    means = {
        structure: patient_scores(part, metrics).mean()
        for structure, part in rows.groupby("structure", sort=False, observed=True)
    }
    return pd.DataFrame.from_dict(means, orient="index", columns=list(metrics))


UNIT = ["patient", "fold", "draw", "seed"]


def observations(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Averages the rows of one method variant within each patient and training run.

    Args:
        rows: result rows of one variant under one protocol and label budget.
        metric: column to average, over structures within a case, then over cases, then
            over runs that repeat the same fold, draw and seed.

    Returns:
        Columns `patient`, `fold`, `draw`, `seed` and `score`, each quadruple once.

    Raises:
        RequestError: if a row lacks the metric.
    """
    kept = applicable(rows, [metric])
    cases = kept.groupby([*UNIT, "run", "case"], observed=True)[metric].mean()
    runs = cases.groupby(level=[*UNIT, "run"], observed=True).mean()
    return runs.groupby(level=UNIT, observed=True).mean().rename("score").reset_index()


def differences(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Subtracts two methods' observations where patient, fold, draw and seed are the same.

    Args:
        first: as `observations` returns them.
        second: the other method's.

    Returns:
        As `observations`, `score` being first minus second; empty where nothing is shared.
    """
    both = first.merge(second, on=UNIT, suffixes=("", "_second"), validate="one_to_one")
    return both[UNIT].assign(score=both["score"] - both["score_second"])
