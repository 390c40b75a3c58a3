"""Whether a verdict would hold for networks trained anew, which a test over patients can't tell.

A fold's patients share networks, so that labels, seeds and training patients move it as a whole.
That shows between folds, but five tell it poorly of one comparison; over a family 4 degrees of
freedom become about 13 for twelve methods against one reference. The rule is ours: it takes folds
to move all differences by one factor, and holds its level where they don't (`docs/statistics.md`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from contrabench.statistics.signflip import holm

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Retraining:
    """What training again adds to the comparisons of a family.

    `inflation` is the standard error over patients and trainings, in units of what a test over
    patients takes it to be, at least 1; NaN with one fold, or where no score differs. `freedom`
    are the degrees of freedom of the estimate.
    """

    inflation: float
    freedom: float

    @property
    def known(self) -> bool:
        """Whether the runs tell it."""
        return math.isfinite(self.inflation)


UNKNOWN = Retraining(math.nan, math.nan)
"""Where runs cannot tell what training again would add."""


def with_reference(comparisons: int) -> float:
    """How many independent comparisons that many with one reference are worth.

    Where methods vary alike, two correlate by 1/2, and estimates of their variance by 1/4.
    """
    return comparisons / (1 + (comparisons - 1) / 4)


def retraining(differences: ArrayLike, folds: Sequence[int], independent: float) -> Retraining:
    """Estimates the inflation of a family, from the analysis of variance between folds.

    `differences`, averaged over label draws and seeds, have shape (comparisons, patients),
    `folds`, where each patient is tested, (patients,). `independent` comparisons are those they
    are worth, see `with_reference`; all pairs of some methods as many as with one of them.
    """
    gaps, known = np.asarray(differences, np.float64), np.asarray(folds)
    names, place = np.unique(known, return_inverse=True)
    patients, number = gaps.shape[1], names.size
    seen = gaps.var(axis=1, ddof=1).sum() / patients if patients > 1 else 0.0
    if number < 2 or seen == 0:
        return UNKNOWN
    sizes = np.bincount(place)
    means = np.stack([gaps[:, place == fold].mean(axis=1) for fold in range(number)], axis=1)
    between = (sizes * (means - gaps.mean(axis=1, keepdims=True)) ** 2).sum() / (number - 1)
    variance = between / patients  # of the mean difference, where folds are of one size
    if patients > number:
        within = ((gaps - means[:, place]) ** 2).sum() / (patients - number)
        typical = (patients - (sizes**2).sum() / patients) / (number - 1)
        shared = (between - within) / typical
        variance = within / patients + shared * (sizes**2).sum() / patients**2
    inflation = math.sqrt(max(1.0, float(variance / seen)))
    return Retraining(inflation, (number - 1) * independent)


def retrained_ps(differences: ArrayLike, ps: ArrayLike, found: Retraining) -> Floats:
    """The p of each comparison with the inflated error, by Student's t, after Holm; NaN if unknown.

    Never below its sign-flip p in `ps`, unadjusted: what holds for new networks holds for these.
    """
    gaps = np.asarray(differences, np.float64)
    if not found.known:
        return np.full(len(gaps), math.nan)
    error = found.inflation * gaps.std(axis=1, ddof=1) / math.sqrt(gaps.shape[1])
    mean = np.abs(gaps.mean(axis=1))
    scale = np.divide(mean, error, out=np.where(mean > 0, math.inf, 0.0), where=error > 0)
    student = 2 * stats.t.sf(scale, found.freedom)
    return np.array(holm(np.maximum(student, ps).tolist()))
