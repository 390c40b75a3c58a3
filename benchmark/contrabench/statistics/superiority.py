"""How likely one method is to beat another on a new patient.

This is about single patients, not means: a method can win on most patients and lose on
average through one failure, or the reverse.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from contrabench.statistics.paired import paired_scores, score_differences


@dataclass(frozen=True)
class Superiority:
    """Wins of the first method over the second.

    Attributes:
        wins: patients on whom the first is better.
        ties: patients with the same score.
        losses: patients on whom the second is better.
        probability: that the first is better on a new patient, a tie counting half.
        low: lower end of its interval.
        high: upper end.
    """

    wins: int
    ties: int
    losses: int
    probability: float
    low: float
    high: float


def superiority(
    first: ArrayLike,
    second: ArrayLike,
    higher_is_better: bool = True,
    confidence: float = 0.95,
) -> Superiority:
    """Estimates P(first better) + P(tie) / 2 on a new patient.

    The interval is that of Clopper and Pearson (1934) for the wins plus half the ties.
    Without ties it is exact; ties only make wins vary less than a coin would, so it stays
    on the safe side.

    Args:
        first: one score per patient, shape (n,).
        second: the other method's, in the same order of patients.
        higher_is_better: True for Dice, False for distances.
        confidence: 0.95 for a 95 % interval.

    Raises:
        RequestError: if the patients are not paired, or a score is missing.
    """
    differences = score_differences(*paired_scores(first, second))
    signs = np.sign(differences) * (1 if higher_is_better else -1)
    wins, losses = int((signs > 0).sum()), int((signs < 0).sum())
    patients, ties = signs.size, int((signs == 0).sum())
    won, tail = wins + ties / 2, (1 - confidence) / 2
    low = 0.0 if won == 0 else float(stats.beta.ppf(tail, won, patients - won + 1))
    high = 1.0 if won == patients else float(stats.beta.isf(tail, won + 1, patients - won))
    return Superiority(wins, ties, losses, won / patients, low, high)
