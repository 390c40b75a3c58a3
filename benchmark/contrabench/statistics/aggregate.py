"""From rows to means, in the order that the metric contract sets.

Structures within a case, cases and runs (draws, seeds) within a patient, then patients: one with
two volumes, or a case with a structure less, weighs as much as any other.
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

    RequestError if a remaining row lacks a metric: skipping it averages over fewer, easier ones.
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


def ranking_rates(rows: pd.DataFrame, wanted: str = "uniform") -> str:
    """The rates of fine-tuning that rank: those wanted, or where no row has them those there are.

    "" where nothing was handed over, so that rates make no difference.
    """
    levels = set(rows["rates"].astype(str)) - {""}
    return wanted if wanted in levels else min(levels, default="")


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

    One row per patient, sorted by name; those without an applicable structure are absent.
    """
    scores = _nested_means(rows, metrics, ["patient"])
    scores.index = scores.index.astype(str)
    return scores.sort_index()


def macro_mean(rows: pd.DataFrame, metric: str) -> float:
    """The mean over patients of `patient_scores`; NaN without an applicable row."""
    return float(patient_scores(rows, [metric])[metric].mean())


def structure_means(rows: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Averages each structure (row, ordered as in `rows`); NaN where one applies nowhere."""
    scores = _nested_means(rows, metrics, ["structure", "patient"])
    means = {structure: part.mean() for structure, part in scores.groupby(level=0, observed=True)}
    found = pd.DataFrame.from_dict(means, orient="index", columns=list(metrics))
    return found.reindex(rows["structure"].unique())


def observations(rows: pd.DataFrame, metric: str) -> pd.Series[float]:
    """Averages the rows of one method variant within each patient and training run.

    Indexed by `UNIT`, each once: runs that repeat a fold, draw and seed count as one.
    """
    return _nested_means(rows, [metric], UNIT)[metric]


def differences(first: pd.Series[float], second: pd.Series[float]) -> pd.Series[float]:
    """Subtracts `observations` of two methods where patient, fold, draw and seed are the same."""
    ours, theirs = first.align(second, join="inner")
    return ours - theirs
