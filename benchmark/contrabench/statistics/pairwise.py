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
from contrabench.statistics.signflip import sign_flip_interval, sign_flip_ps


@dataclass(frozen=True)
class Pairwise:
    """All pairs; every table has the methods as rows and as columns, in the same order.

    Attributes:
        scores: what was compared, one row per patient, one column per method.
        higher_is_better: how the scores are to be read.
        difference: mean of the row's method minus that of the column's.
        p: two-sided sign-flip p; 1 in the diagonal.
        adjusted: the same after Holm over all pairs.
        smallest: p if all patients agreed in sign, with differences as large.
        wins: share of patients on whom the row is better, ties counting half: the
            estimate of `superiority`.
    """

    scores: pd.DataFrame
    higher_is_better: bool
    difference: pd.DataFrame
    p: pd.DataFrame
    adjusted: pd.DataFrame
    smallest: pd.DataFrame
    wins: pd.DataFrame

    @property
    def pairs(self) -> int:
        """Number of comparisons in the family."""
        return math.comb(len(self.p), 2)

    @property
    def lowest_reachable(self) -> float:
        """The lowest p after Holm that any pair could reach, however clear; NaN for no pair."""
        upper = self.smallest.to_numpy()[_upper(len(self.p))]
        return min(1.0, self.pairs * float(upper.min())) if upper.size else math.nan

    def separated(self, level: float = 0.05) -> pd.DataFrame:
        """Whether the data tell two methods apart; symmetric, False in the diagonal."""
        return self.adjusted <= level

    def better(self, level: float = 0.05) -> pd.DataFrame:
        """Whether the row's method is separated from the column's and better."""
        sign = 1 if self.higher_is_better else -1
        return self.separated(level) & (sign * self.difference > 0)

    def intervals(self, confidence: float = 0.95) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Lower and upper ends of each difference's interval, not adjusted for other pairs.

        Returns:
            Two tables; NaN where no interval exists, see `sign_flip_interval`.
        """
        differences = _differences(self.scores.to_numpy(dtype=np.float64))
        ends = np.array([sign_flip_interval(row, confidence) for row in differences])
        low, high = ends.reshape(-1, 2).T
        names = [str(name) for name in self.scores.columns]
        return _table(names, low, -high, 0.0), _table(names, high, -low, 0.0)


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
    p, smallest = sign_flip_ps(differences), sign_flip_ps(np.abs(differences))
    adjusted = np.array(holm(p.tolist()))
    mean = differences.mean(axis=1)
    signs = np.sign(differences) * (1 if higher_is_better else -1)
    wins = (1 + signs.mean(axis=1)) / 2
    return Pairwise(
        scores=scores,
        higher_is_better=higher_is_better,
        difference=_table(names, mean, -mean, 0.0),
        p=_table(names, p, p, 1.0),
        adjusted=_table(names, adjusted, adjusted, 1.0),
        smallest=_table(names, smallest, smallest, 1.0),
        wins=_table(names, wins, 1 - wins, 0.5),
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
