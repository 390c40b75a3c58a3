"""Methods compared over the same patients: two of them, or all pairs as one family of tests.

With five patients the smallest p that the data can reach is 0.0625, however clear the
difference; it is therefore part of every result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special

from contrabench.errors import RequestError
from contrabench.statistics.retraining import (
    UNKNOWN,
    Retraining,
    retrained_ps,
    retraining,
    with_reference,
)
from contrabench.statistics.signflip import (
    LEVEL,
    holm,
    lowest_p,
    sign_flip_interval,
    sign_flip_p,
    sign_flip_ps,
)

Floats = NDArray[np.float64]
_ROUNDING = 1e-12
_TAIL = (1 - 0.95) / 2


@dataclass(frozen=True)
class PairedDifference:
    """What the patients say about the difference of two methods, first minus second.

    `low` and `high` are the sign-flip test turned round, NaN with so few patients that no
    interval exists; `p` is its two-sided p, not adjusted for other comparisons; `smallest_p`
    that p if all patients agreed in sign, with differences this large.
    """

    patients: int
    mean: float
    low: float
    high: float
    p: float
    smallest_p: float


def paired_difference(first: ArrayLike, second: ArrayLike) -> PairedDifference:
    """Compares scores on the same patients, shapes (n,); RequestError if unpaired or missing."""
    difference = score_differences(*_paired_scores(first, second))
    low, high = sign_flip_interval(difference)
    return PairedDifference(
        patients=difference.size,
        mean=float(difference.mean()),
        low=low,
        high=high,
        p=sign_flip_p(difference),
        smallest_p=sign_flip_p(np.abs(difference)),
    )


def _paired_scores(first: ArrayLike, second: ArrayLike) -> tuple[Floats, Floats]:
    """Checks that two methods were scored on the same patients."""
    ours, theirs = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if ours.shape != theirs.shape or ours.ndim != 1 or ours.size == 0:
        raise RequestError(
            f"scores of shapes {ours.shape} and {theirs.shape} cannot be paired; "
            "give one score per patient and method, for the same patients"
        )
    if not (np.isfinite(ours) & np.isfinite(theirs)).all():
        raise RequestError("a patient has no score; leave the patient out for both methods")
    return ours, theirs


def score_differences(first: Floats, second: Floats) -> Floats:
    """Subtracts scores; those that differ in the last digits alone are equal.

    Else the order in which means were added up could make 1e-17 in every patient: significant.
    """
    difference = first - second
    size = np.maximum(np.abs(first), np.abs(second))
    return np.where(np.abs(difference) <= _ROUNDING * size, 0.0, difference)


class Superiority(NamedTuple):
    """How likely one method is to beat another on a new patient, a tie counting half; its interval.

    Unlike a mean: a method can win on most patients and lose on average through one failure.
    """

    probability: float
    low: float
    high: float


def superiority(first: ArrayLike, second: ArrayLike) -> Superiority:
    """Estimates P(first better) + P(tie) / 2 on a new patient, from scores of shapes (n,).

    The interval is that of Clopper and Pearson (1934) for the wins plus half the ties: exact
    without ties, and on the safe side with them, as they make wins vary less than a coin would.
    """
    differences = score_differences(*_paired_scores(first, second))
    patients = differences.size
    won = int((differences > 0).sum()) + int((differences == 0).sum()) / 2
    low = 0.0 if won == 0 else float(special.betaincinv(won, patients - won + 1, _TAIL))
    high = 1.0 if won == patients else float(special.betainccinv(won + 1, patients - won, _TAIL))
    return Superiority(won / patients, low, high)


@dataclass(frozen=True)
class Pairwise:
    """All pairs; every table has the methods as rows and as columns, in the same order.

    `scores` is what was compared, as for `pairwise`; `difference` the mean of the row's method
    minus that of the column's; `p` two-sided, 1 in the diagonal; `adjusted` after Holm over all;
    `retrained` the adjusted p that allows for training again, NaN if unknown; `trained` what that
    adds.
    """

    scores: pd.DataFrame
    difference: pd.DataFrame
    p: pd.DataFrame
    adjusted: pd.DataFrame
    retrained: pd.DataFrame
    trained: Retraining

    @property
    def pairs(self) -> int:
        """Number of comparisons in the family."""
        return math.comb(len(self.p), 2)

    @property
    def lowest_reachable(self) -> float:
        """The lowest p after Holm that any pair of so many patients can reach; NaN for no pair."""
        return min(1.0, self.pairs * lowest_p(len(self.scores))) if self.pairs else math.nan

    @property
    def deciding(self) -> pd.DataFrame:
        """The adjusted p that verdicts go by."""
        return self.retrained if self.trained.decides else self.adjusted

    def separated(self) -> pd.DataFrame:
        """Whether the data tell two methods apart; symmetric, False in the diagonal."""
        return self.deciding <= LEVEL

    def better(self) -> pd.DataFrame:
        """Whether the row's method is separated from the column's and better."""
        return self.separated() & (self.difference > 0)


def pairwise(scores: pd.DataFrame, folds: Sequence[int] | None = None, draws: int = 1) -> Pairwise:
    """Compares every method (column; higher is better) with every other, paired by patient (row).

    `folds` tells which one tests each patient, None where the methods disagree on it; `draws` how
    many of the labels the scores are means of. Holm's procedure keeps the chance of any false
    verdict below the level, whatever the number of methods and however scores depend on each
    other. RequestError as from `complete_scores`.
    """
    values, names = complete_scores(scores)
    differences = _differences(values)
    p = sign_flip_ps(differences)
    adjusted = np.array(holm(p.tolist()))
    mean = differences.mean(axis=1)
    trained = UNKNOWN
    if folds is not None:
        # All pairs hold more, but with more degrees of freedom their many tests lose the level.
        trained = retraining(differences, folds, with_reference(len(names) - 1), draws)
    again = retrained_ps(differences, p, trained)
    return Pairwise(
        scores=scores,
        difference=_table(names, mean, -mean, 0.0),
        p=_table(names, p, p, 1.0),
        adjusted=_table(names, adjusted, adjusted, 1.0),
        retrained=_table(names, again, again, 1.0),
        trained=trained,
    )


def _upper(methods: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Row and column of every pair, each once."""
    rows, columns = np.triu_indices(methods, 1)
    return rows, columns


def _differences(values: Floats) -> Floats:
    """Shape (pairs, patients), in the order of `_upper`."""
    first, second = _upper(values.shape[1])
    return score_differences(values[:, first].T, values[:, second].T)


def _table(names: Sequence[str], upper: Floats, lower: Floats, diagonal: float) -> pd.DataFrame:
    matrix = np.full((len(names), len(names)), diagonal)
    first, second = _upper(len(names))
    matrix[first, second], matrix[second, first] = upper, lower
    return pd.DataFrame(matrix, index=list(names), columns=list(names))


def complete_scores(scores: pd.DataFrame) -> tuple[Floats, tuple[str, ...]]:
    """The scores, shape (patients, methods), and the names of the methods (columns).

    RequestError if a patient (row) lacks a score, the table is empty, or a name occurs twice.
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
