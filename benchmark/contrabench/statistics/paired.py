"""Differences between two methods, paired by patient.

With a handful of patients the smallest p that the data can reach is large: with five it
is 0.0625, however clear the difference. It is therefore part of every result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from contrabench.errors import RequestError
from contrabench.statistics.signflip import sign_flip_interval, sign_flip_p

_ROUNDING = 1e-12


@dataclass(frozen=True)
class PairedDifference:
    """What the patients say about the difference of two methods.

    Attributes:
        patients: number of pairs.
        mean: mean difference, first minus second.
        low: lower end of its interval, the sign-flip test turned round; NaN with so few
            patients that none exists.
        high: upper end.
        p: two-sided sign-flip p, not adjusted for other comparisons.
        smallest_p: the p if all patients agreed in sign, with differences this large.
    """

    patients: int
    mean: float
    low: float
    high: float
    p: float
    smallest_p: float


def paired_difference(
    first: ArrayLike, second: ArrayLike, confidence: float = 0.95
) -> PairedDifference:
    """Compares two methods on the same patients.

    Args:
        first: one score per patient, shape (n,).
        second: the other method's, in the same order of patients.
        confidence: of the interval of the mean difference.

    Raises:
        RequestError: if the patients are not paired, or a score is missing.
    """
    difference = score_differences(*paired_scores(first, second))
    low, high = sign_flip_interval(difference, confidence)
    return PairedDifference(
        patients=difference.size,
        mean=float(difference.mean()),
        low=low,
        high=high,
        p=sign_flip_p(difference),
        smallest_p=sign_flip_p(np.abs(difference)),
    )


def paired_scores(
    first: ArrayLike, second: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Checks that two methods were scored on the same patients.

    Args:
        first: one score per patient, shape (n,).
        second: the other method's, in the same order of patients.

    Raises:
        RequestError: if the shapes differ, there is no patient, or a score is missing.
    """
    ours, theirs = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if ours.shape != theirs.shape or ours.ndim != 1 or ours.size == 0:
        raise RequestError(
            f"scores of shapes {ours.shape} and {theirs.shape} cannot be paired; "
            "give one score per patient and method, for the same patients"
        )
    if not (np.isfinite(ours) & np.isfinite(theirs)).all():
        raise RequestError("a patient has no score; leave the patient out for both methods")
    return ours, theirs


def score_differences(
    first: NDArray[np.float64], second: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Subtracts scores; those that differ in the last digits alone are equal.

    Otherwise the order in which means were added up could make a difference of 1e-17 in
    every patient, which a test of signs would find significant.
    """
    difference = first - second
    size = np.maximum(np.abs(first), np.abs(second))
    return np.where(np.abs(difference) <= _ROUNDING * size, 0.0, difference)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p values so that the chance of any false finding stays below the level.

    Holm's step-down procedure (Scandinavian Journal of Statistics, 1979).

    Args:
        p_values: p of each comparison of one family.

    Returns:
        Adjusted p values in the same order, each at least as large as its own p.
    """
    adjusted = [0.0] * len(p_values)
    running = 0.0
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted
