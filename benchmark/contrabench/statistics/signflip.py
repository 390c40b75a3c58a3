"""The sign-flip test of paired differences, and the interval that agrees with it.

If two methods were exchangeable, each patient's difference could as well have the other sign;
nothing else is assumed. Up to `EXACT_UP_TO` patients all 2^n patterns of signs are counted, by
meeting in the middle: sums of two halves are sorted once and matched. Beyond, `DRAWS` random ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from contrabench.errors import RequestError

EXACT_UP_TO = 20
"""Patients up to which all sign patterns count."""
DRAWS = 99_999
LEVEL = 0.05
"""The chance of any false verdict in a family of comparisons."""
_SEED = 20_260
_CHUNK = 8192
_BLOCK = 512
_HALVINGS = 44
_ROUNDING = 1e-12
"""Sums that are equal on paper differ in the last digits."""

Floats = NDArray[np.float64]


def sign_flip_p(differences: ArrayLike) -> float:
    """The p of one test, see `sign_flip_ps`; differences of shape (n,)."""
    return float(sign_flip_ps(np.asarray(differences, dtype=np.float64)[None, :])[0])


def sign_flip_ps(differences: ArrayLike) -> Floats:
    """Two-sided p in (0, 1] of the sign-flip (Fisher-Pitman) test of a mean difference of zero.

    `differences` have shape (tests, patients), p (tests,). It is the share of sign patterns with
    a sum at least as far from zero as the one observed; where patterns are drawn, the observed
    one counts among them (Phipson and Smyth 2010). RequestError if a difference is missing.
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 2 or not values.shape[1] or not np.isfinite(values).all():
        raise RequestError(
            f"differences of shape {values.shape} cannot be tested, or one of them is missing; "
            "give one finite number per patient, and leave out patients without a score"
        )
    shares = _exact_shares if values.shape[1] <= EXACT_UP_TO else _sampled_shares
    blocks = [values[start : start + _BLOCK] for start in range(0, len(values), _BLOCK)]
    found: Floats = np.concatenate([np.empty(0), *map(shares, blocks)])
    return found


def sign_flip_interval(differences: ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    """The mean differences that the sign-flip test does not reject, from shape (n,).

    Zero lies outside exactly when `sign_flip_p` is at most 1 - confidence. The ends are order
    statistics of the means of all subsets of patients (Hartigan 1969; Tritchler 1984). Where
    differences are symmetric about the mean it covers that with at least the stated probability,
    at any number of patients, however heavy their tails. (NaN, NaN) with so few patients that no
    mean could ever be rejected: below `fewest_patients`.
    """
    values = np.asarray(differences, dtype=np.float64)
    if not np.isfinite(values).all():
        raise RequestError("a patient has no score; leave the patient out for both methods")
    exact = values.size <= EXACT_UP_TO
    patterns = 2 ** (values.size - 1) if exact else 1 + DRAWS
    rank = _rejectable(1 - confidence, patterns)
    if values.size == 0 or rank == 0:
        return math.nan, math.nan
    end = _exact_end if exact else _sampled_end
    return end(values, rank), -end(-values, rank)


def _rejectable(level: float, patterns: float) -> int:
    """How many of so many equally likely patterns a test at this level may reject."""
    return math.floor(level * patterns * (1 + _ROUNDING))


def attainable_level(patients: int, level: float = LEVEL) -> float:
    """The largest p that this many patients can reach and that is no larger than the level.

    The p is a multiple of 2^(1-n), so the true level lies below the nominal one; 0: no verdict.
    """
    patterns = 2 ** (patients - 1) if patients <= EXACT_UP_TO else 1 + DRAWS
    return _rejectable(level, patterns) / patterns


def lowest_p(patients: int) -> float:
    """The p if all patients agree in sign and none has the same score twice."""
    patterns: int = 2 ** (patients - 1)
    return 1 / patterns if patients <= EXACT_UP_TO else max(1 / (1 + DRAWS), 1 / patterns)


def fewest_patients(comparisons: int = 1, level: float = LEVEL) -> int:
    """The fewest patients with whom one of so many comparisons can be separated after Holm.

    6 for one at 5 %, with whom its `sign_flip_interval` exists; 7 for three, 9 for seven.
    """
    return 1 + math.ceil(math.log2(comparisons / level) - _ROUNDING)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts the p of one family so that the chance of any false finding stays below the level.

    Holm's step-down procedure (Scandinavian Journal of Statistics, 1979); p keep their order.
    """
    adjusted = [0.0] * len(p_values)
    running = 0.0
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


@lru_cache(maxsize=2 * EXACT_UP_TO)
def _subsets(size: int) -> Floats:
    """All subsets of so many patients as zeros and ones, shape (2^size, size)."""
    members = ((np.arange(2**size)[:, None] >> np.arange(size)) & 1).astype(np.float64)
    members.setflags(write=False)  # every caller gets the same array
    return members


def _bounds(values: Floats) -> Floats:
    """How far from zero a pattern's sum must be to count, per test."""
    bounds: Floats = np.abs(values.sum(axis=1)) - _ROUNDING * np.abs(values).sum(axis=1)
    return bounds


def _exact_shares(values: Floats) -> Floats:
    """Share of all sign patterns whose sum is at least as far from zero, per test."""
    bounds = _bounds(values)
    half = (values.shape[1] + 1) // 2
    # The first sign is fixed: patterns come in mirrored pairs.
    first = values[:, :1] + values[:, 1:half] @ (1 - 2 * _subsets(half - 1).T)
    first = np.sort(first, axis=1)[:, ::-1]  # numbers that rise are found faster
    rest = np.sort(values[:, half:] @ (1 - 2 * _subsets(values.shape[1] - half).T), axis=1)
    above, below = bounds[:, None] - first, -bounds[:, None] - first
    shares = np.ones(len(values))
    for test in np.flatnonzero(bounds > 0):
        fewer = rest[test].searchsorted(above[test])
        at_most = rest[test].searchsorted(below[test], side="right")
        shares[test] = 1 + (at_most.sum() - fewer.sum()) / (first.shape[1] * rest.shape[1])
    return shares


def _sampled_shares(values: Floats) -> Floats:
    """As `_exact_shares`, over the random patterns and the observed one."""
    bounds, signs = _bounds(values)[:, None], _random_signs(values.shape[1])
    counts = np.ones(len(values))
    for start in range(0, DRAWS, _CHUNK):
        sums = values @ signs[start : start + _CHUNK].T.astype(np.float64)
        counts += np.count_nonzero(np.abs(sums) >= bounds, axis=1)
    return counts / (1 + DRAWS)


def _exact_end(values: Floats, rank: int) -> float:
    """The mean of a subset that is the rank-th smallest among all non-empty subsets."""
    half = values.size // 2
    left, right = _subsets(half), _subsets(values.size - half)
    left_sums, left_sizes = left @ values[:half], left.sum(axis=1)
    right_sums, right_sizes = right @ values[half:], right.sum(axis=1)
    low, high = float(values.min()), float(values.max())
    room = _ROUNDING * float(np.abs(values).sum())

    def enough(mean: float) -> bool:
        """Whether at least so many non-empty subsets have at most this mean."""
        ordered = np.sort(left_sums - mean * left_sizes)
        needed = np.sort(right_sums - mean * right_sizes)
        at_most = np.searchsorted(ordered, room - needed, side="right")
        return int(at_most.sum()) - 1 >= rank

    if enough(low):
        return low
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _sampled_end(values: Floats, rank: int) -> float:
    """As `_exact_end`, over the subsets of the random patterns and their complements."""
    signs = _random_signs(values.size)
    chunks = (signs[start : start + _CHUNK] for start in range(0, DRAWS, _CHUNK))
    sums = np.concatenate([chunk.astype(np.float64) @ values for chunk in chunks])
    signed = signs.sum(axis=1, dtype=np.int64)
    total, size = values.sum(), values.size
    halves = np.concatenate([total - sums, total + sums])
    sizes = np.concatenate([size - signed, size + signed])
    # A pattern that flips nobody, or everybody, is as extreme as the data at any mean.
    means = np.where(sizes > 0, halves / np.maximum(sizes, 1), -math.inf)
    return float(np.partition(means, rank - 1)[rank - 1])


@lru_cache(maxsize=4)
def _random_signs(size: int) -> NDArray[np.int8]:
    """The fixed random patterns, shape (DRAWS, size)."""
    generator = np.random.default_rng(_SEED)
    signs = generator.integers(0, 2, (DRAWS, size), dtype=np.int8) * np.int8(2) - np.int8(1)
    signs.setflags(write=False)
    return signs
