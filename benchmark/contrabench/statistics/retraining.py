"""Whether a verdict would hold for networks trained anew, which a test over patients can't tell.

A fold's patients share networks, so that labels, seeds and training patients move it as a whole.
That shows between folds, but five tell it poorly of one comparison; over a family 4 degrees of
freedom become about 13 for twelve methods against one reference. The rule is ours: it takes folds
to move all differences by one factor, and holds its level where they don't
(`docs/statistics-simulations.md`).

With `FEWEST_FOLDS` and `FEWEST_DRAWS` this question is the one that verdicts answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from contrabench.statistics import student
from contrabench.statistics.signflip import holm, sign_flip_interval, sign_flip_p, sign_flip_ps

Floats = NDArray[np.float64]


FEWEST_FOLDS, FEWEST_DRAWS = 3, 2
"""From so many folds and label draws on, what would hold for networks trained anew decides."""
MARGIN = 0.01
"""Scores that differ by less are as good as each other: 1 Dice point."""


@dataclass(frozen=True)
class Retraining:
    """What training again adds to the comparisons of a family.

    `inflation` is the standard error over patients and trainings, in units of what a test over
    patients takes it to be, at least 1; NaN with one fold, or where no score differs. `freedom`
    are the degrees of freedom of the estimate, `folds` and `draws` (of the labels) what was run.
    """

    inflation: float
    freedom: float
    folds: int = 0
    draws: int = 0

    @property
    def known(self) -> bool:
        """Whether the runs tell it."""
        return math.isfinite(self.inflation)

    @property
    def decides(self) -> bool:
        """Whether verdicts of the family are about networks trained anew, not about these."""
        return self.known and self.folds >= FEWEST_FOLDS and self.draws >= FEWEST_DRAWS

    def error(self, differences: Floats) -> Floats:
        """The standard error of mean differences, shape (..., patients); inflated where known."""
        plain = differences.std(axis=-1, ddof=1) / math.sqrt(differences.shape[-1])
        return np.asarray(plain * (self.inflation if self.known else 1.0))


UNKNOWN = Retraining(math.nan, math.nan)
"""Where runs cannot tell what training again would add."""


def with_reference(comparisons: int) -> float:
    """How many independent comparisons that many with one reference are worth.

    Where methods vary alike, two correlate by 1/2, and estimates of their variance by 1/4.
    """
    return comparisons / (1 + (comparisons - 1) / 4)


def retraining(
    differences: ArrayLike, folds: Sequence[int], independent: float, draws: int = 1
) -> Retraining:
    """Estimates the inflation of a family, from the analysis of variance between folds.

    `differences`, averaged over label draws and seeds, have shape (comparisons, patients),
    `folds`, where each patient is tested, (patients,). `independent` comparisons are those they
    are worth, see `with_reference`; all pairs of some methods as many as with one of them. `draws`
    is how many of the labels the scores are means of.
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
    return Retraining(inflation, (number - 1) * independent, number, draws)


def retrained_ps(differences: ArrayLike, ps: ArrayLike, found: Retraining) -> Floats:
    """The p of each comparison with the inflated error, by Student's t, after Holm; NaN if unknown.

    Never below its sign-flip p in `ps`, unadjusted: what holds for new networks holds for these.
    """
    gaps = np.asarray(differences, np.float64)
    if not found.known:
        return np.full(len(gaps), math.nan)
    return np.array(holm(_unadjusted(gaps, ps, found).tolist()))


def deciding_ps(differences: Floats, found: Retraining) -> Floats:
    """The p that decides, of each difference, shape (tests, patients), by itself."""
    ps = sign_flip_ps(differences)
    return _unadjusted(differences, ps, found) if found.decides else ps


def _unadjusted(gaps: Floats, ps: ArrayLike, found: Retraining) -> Floats:
    by_student: Floats = 2 * student.tail(np.abs(_scaled(gaps, found)), found.freedom)
    return np.maximum(by_student, ps)


def deciding_interval(
    differences: ArrayLike, found: Retraining, confidence: float = 0.95
) -> tuple[float, float]:
    """The interval of a mean difference that agrees with the p that decides, from shape (n,).

    Where `found` decides, the sign-flip interval widened to Student's with the inflated error and
    its degrees of freedom: zero lies outside exactly where *Retrained p*, before Holm, is at most
    1 - confidence. Else the sign-flip interval. (NaN, NaN) where that does not exist.
    """
    gaps = np.asarray(differences, np.float64)
    low, high = sign_flip_interval(gaps, confidence)
    if found.decides:
        half = float(found.error(gaps) * student.quantile((1 + confidence) / 2, found.freedom))
        low, high = min(low, float(gaps.mean()) - half), max(high, float(gaps.mean()) + half)
    return low, high


def equivalence_p(differences: ArrayLike, found: Retraining, margin: float = MARGIN) -> float:
    """The p of the claim that a mean difference, from shape (n,), lies within +- `margin`.

    The larger of two one-sided tests, against -margin and against +margin (Schuirmann 1987), each
    that of the p that decides. At most 0.05 exactly where `deciding_interval` at 90 % does.
    """
    gaps = np.asarray(differences, np.float64)
    return max(_above_zero_p(gaps + margin, found), _above_zero_p(margin - gaps, found))


def _above_zero_p(gaps: Floats, found: Retraining) -> float:
    """The one-sided p of a mean above zero."""
    # Patterns come in mirrored pairs: half of those as far from zero lie on either side.
    half = sign_flip_p(gaps) / 2
    flipped = half if gaps.mean() > 0 else 1 - half
    if not found.decides:
        return flipped
    return max(flipped, float(student.tail(_scaled(gaps, found), found.freedom)))


def _scaled(gaps: Floats, found: Retraining) -> Floats:
    """Mean differences in units of the inflated error, shape (..., patients) to (...)."""
    error, mean = found.error(gaps), np.asarray(gaps.mean(axis=-1))
    without = np.where(mean, np.copysign(math.inf, mean), 0.0)
    scaled: Floats = np.divide(mean, error, out=without, where=error > 0)
    return scaled
