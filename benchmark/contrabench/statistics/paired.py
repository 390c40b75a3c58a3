"""Differences between two methods, paired by patient.

With a handful of patients the smallest p that the data can reach is large: with five it
is 0.0625, however clear the difference. It is therefore part of every result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from contrabench.errors import RequestError

EXACT_UP_TO = 20
"""Patients up to which all sign patterns are tried; 2^19 of them fit in 4 MB."""
DRAWS = 99_999
_CHUNK = 8192
_SEED = 20_260


@dataclass(frozen=True)
class PairedDifference:
    """What the patients say about the difference of two methods.

    Attributes:
        patients: number of pairs.
        mean: mean difference, first minus second.
        low: lower end of the t interval of the mean; NaN with one patient.
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
        confidence: of the t interval of the mean difference.

    Raises:
        RequestError: if the patients are not paired, or a score is missing.
    """
    ours, theirs = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if ours.shape != theirs.shape or ours.ndim != 1 or ours.size == 0:
        raise RequestError(
            f"scores of shapes {ours.shape} and {theirs.shape} cannot be paired; "
            "give one score per patient and method, for the same patients"
        )
    difference = ours - theirs
    if not np.isfinite(difference).all():
        raise RequestError("a patient has no score; leave the patient out for both methods")
    low, high = t_interval(difference, confidence)
    return PairedDifference(
        patients=difference.size,
        mean=float(difference.mean()),
        low=low,
        high=high,
        p=sign_flip_p(difference),
        smallest_p=sign_flip_p(np.abs(difference)),
    )


def t_interval(values: ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    """Student's t interval of the mean; (NaN, NaN) for fewer than two values."""
    sample = np.asarray(values, dtype=np.float64)
    if sample.size < 2:
        return math.nan, math.nan
    half = float(stats.t.ppf(0.5 + confidence / 2, sample.size - 1)) * float(
        sample.std(ddof=1) / math.sqrt(sample.size)
    )
    mean = float(sample.mean())
    return mean - half, mean + half


def sign_flip_p(differences: ArrayLike) -> float:
    """Two-sided p of the sign-flip (Fisher-Pitman) test of a mean difference of zero.

    If the methods were exchangeable, each patient's difference could as well have the
    other sign. The p is the share of sign patterns with a sum at least as far from zero
    as the one observed: over all 2^n patterns up to `EXACT_UP_TO` patients, and above
    over `DRAWS` random ones with a fixed seed, the observed one counted among them
    (Phipson and Smyth 2010).

    Args:
        differences: one per patient, shape (n,), finite.

    Returns:
        p in (0, 1].
    """
    values = np.asarray(differences, dtype=np.float64)
    size = np.abs(values).sum()
    # Sums that are equal on paper differ in the last digits.
    bound = abs(values.sum()) - 1e-12 * size
    if values.size <= EXACT_UP_TO:
        sums = values[:1]  # the first sign is fixed: patterns come in mirrored pairs
        for value in values[1:]:
            sums = np.concatenate([sums + value, sums - value])
        return float(np.mean(np.abs(sums) >= bound))
    return (1 + _count_random_flips(values, float(bound))) / (1 + DRAWS)


def _count_random_flips(values: NDArray[np.float64], bound: float) -> int:
    generator = np.random.default_rng(_SEED)
    count = 0
    for start in range(0, DRAWS, _CHUNK):
        draws = min(_CHUNK, DRAWS - start)
        signs = generator.integers(0, 2, (draws, values.size), dtype=np.int8) * 2 - 1
        count += int(np.count_nonzero(np.abs(signs @ values) >= bound))
    return count


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
