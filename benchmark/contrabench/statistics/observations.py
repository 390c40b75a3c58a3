"""What one training run scored on one patient: the data behind patients, draws and seeds."""

from __future__ import annotations

import pandas as pd

from contrabench.statistics.aggregate import applicable

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
