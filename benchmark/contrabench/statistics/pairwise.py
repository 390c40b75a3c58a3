"""Every pair of methods compared over the same patients, as one family of tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from contrabench.errors import RequestError
from contrabench.statistics.paired import holm, score_differences
from contrabench.statistics.retraining import (
    UNKNOWN,
    Retraining,
    retrained_ps,
    retraining,
    with_reference,
)
from contrabench.statistics.signflip import lowest_p, sign_flip_ps


@dataclass(frozen=True)
class Pairwise:
    """All pairs; every table has the methods as rows and as columns, in the same order.

    Attributes:
        scores: what was compared, one row per patient, one column per method.
        higher_is_better: how the scores are to be read.
        difference: mean of the row's method minus that of the column's.
        p: two-sided sign-flip p; 1 in the diagonal.
        adjusted: the same after Holm over all pairs.
    """

    scores: pd.DataFrame
    higher_is_better: bool
    difference: pd.DataFrame
    p: pd.DataFrame
    adjusted: pd.DataFrame

    @property
    def pairs(self) -> int:
        """Number of comparisons in the family."""
        return math.comb(len(self.p), 2)

    @property
    def lowest_reachable(self) -> float:
        """The lowest p after Holm that any pair of so many patients can reach; NaN for no pair."""
        return min(1.0, self.pairs * lowest_p(len(self.scores))) if self.pairs else math.nan

    def retrained(self, folds: Sequence[int] | None) -> tuple[Retraining, pd.DataFrame]:
        """What training again would leave of the pairs.

        Args:
            folds: the fold that tests each patient, in the order of `scores`; None where
                the methods disagree on it.

        Returns:
            What it adds, and p that allow for it, after Holm over all pairs; NaN if unknown.
        """
        gaps = _differences(self.scores.to_numpy(dtype=np.float64))
        # All pairs hold more, but with more degrees of freedom their many tests lose the level.
        worth = with_reference(len(self.p) - 1)
        found = retraining(gaps, folds, worth) if folds is not None else UNKNOWN
        adjusted = retrained_ps(gaps, self.p.to_numpy()[_upper(len(self.p))], found)
        names = [str(name) for name in self.scores.columns]
        return found, _table(names, adjusted, adjusted, 1.0)

    def separated(self, level: float = 0.05) -> pd.DataFrame:
        """Whether the data tell two methods apart; symmetric, False in the diagonal."""
        return self.adjusted <= level

    def better(self, level: float = 0.05) -> pd.DataFrame:
        """Whether the row's method is separated from the column's and better."""
        sign = 1 if self.higher_is_better else -1
        return self.separated(level) & (sign * self.difference > 0)


def pairwise(scores: pd.DataFrame, higher_is_better: bool = True) -> Pairwise:
    """Compares every method with every other, paired by patient.

    Holm's procedure keeps the chance of any false verdict below the level, whatever the
    number of methods and however their scores depend on each other.

    Args:
        scores: one row per patient, one column per method.
        higher_is_better: True for Dice, False for distances.

    Raises:
        RequestError: if a method lacks a patient, or two share a name.
    """
    values, names = complete_scores(scores)
    differences = _differences(values)
    p = sign_flip_ps(differences)
    adjusted = np.array(holm(p.tolist()))
    mean = differences.mean(axis=1)
    return Pairwise(
        scores=scores,
        higher_is_better=higher_is_better,
        difference=_table(names, mean, -mean, 0.0),
        p=_table(names, p, p, 1.0),
        adjusted=_table(names, adjusted, adjusted, 1.0),
    )


def _upper(methods: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Row and column of every pair, each once."""
    rows, columns = np.triu_indices(methods, 1)
    return rows, columns


def _differences(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shape (pairs, patients), in the order of `_upper`."""
    first, second = _upper(values.shape[1])
    return score_differences(values[:, first].T, values[:, second].T)


def _table(
    names: Sequence[str],
    upper: NDArray[np.float64],
    lower: NDArray[np.float64],
    diagonal: float,
) -> pd.DataFrame:
    matrix = np.full((len(names), len(names)), diagonal)
    first, second = _upper(len(names))
    matrix[first, second], matrix[second, first] = upper, lower
    return pd.DataFrame(matrix, index=list(names), columns=list(names))


def complete_scores(scores: pd.DataFrame) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Checks a table of scores in which every method must have every patient.

    Args:
        scores: one row per patient, one column per method.

    Returns:
        The scores, shape (patients, methods), and the names of the methods.

    Raises:
        RequestError: if a score is missing, the table is empty, or a name occurs twice.
    """
    names = tuple(str(name) for name in scores.columns)
    values = scores.to_numpy(dtype=np.float64)
    if values.size == 0 or len(set(names)) < len(names):
        raise RequestError(
            f"a table of {values.shape[0]} patients and {values.shape[1]} methods cannot be "
            "compared, or two methods share a name; give one named column of scores per method"
        )
    lacking = [
        name for name, column in zip(names, values.T, strict=True) if not np.isfinite(column).all()
    ]
    if lacking:
        raise RequestError(
            f"not every patient has a score of {', '.join(lacking)}, so its ranks would rest on "
            "other patients; leave these methods or these patients out"
        )
    return values, names
