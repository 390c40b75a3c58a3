"""The interval of one method's mean score over few patients; differences have `signflip.py`.

Scores pile up against a bound, where Student's interval is too short on one side. A studentised
bootstrap learns that skewness; from four or five patients it can't (see
`docs/statistics-simulations.md`).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from contrabench.errors import RequestError
from contrabench.statistics.student import quantile

Floats = NDArray[np.float64]
_TAIL = (1 - 0.95) / 2

FEWEST = 4
"""Patients from which on the interval of a mean is given."""
_FEWEST_RESAMPLED = 6
RESAMPLES = 9_999
"""Bootstrap samples of patients, for intervals and ranks alike."""
_SEED = 20_261
_ROUNDING = 1e-12
"""Scores that are equal on paper differ in the last digits."""


@lru_cache(maxsize=8)
def resampled_counts(patients: int, resamples: int) -> Floats:
    """How often each patient is in each sample, shape (resamples, patients); the seed is fixed."""
    generator = np.random.default_rng(_SEED)
    counts = generator.multinomial(patients, np.full(patients, 1 / patients), resamples)
    weights = counts.astype(np.float64)
    weights.flags.writeable = False  # every caller gets the same array
    return weights


def mean_interval(
    scores: ArrayLike, lowest: float = -math.inf, highest: float = math.inf
) -> tuple[float, float]:
    """The 95 % interval of a mean over patients, cut at the least and the most a score can be.

    A studentised bootstrap from six patients on, Student's with four and five; (NaN, NaN) below
    `FEWEST`, and where too many samples hold a single value. RequestError if a score is missing.
    """
    values = np.asarray(scores, dtype=np.float64)
    if not np.isfinite(values).all():
        raise RequestError("a patient has no score; leave the patient out")
    if values.size < FEWEST:
        return math.nan, math.nan
    of = studentised_bootstrap if values.size >= _FEWEST_RESAMPLED else student
    low, high = of(values)
    return max(low, lowest), min(high, highest)


def student(scores: Floats) -> tuple[float, float]:
    """Student's interval of a mean; scores of at least two patients, shape (n,)."""
    error = float(scores.std(ddof=1)) / math.sqrt(scores.size)
    half = error * quantile((1 + 0.95) / 2, scores.size - 1)
    return float(scores.mean()) - half, float(scores.mean()) + half


def studentised_bootstrap(scores: Floats) -> tuple[float, float]:
    """The interval of a mean from ratios of shift to spread in samples (Efron 1979; Hall 1988).

    (NaN, NaN) where too many samples hold a single value, as with three patients or fewer: then
    the data do not bound the mean.
    """
    mean, centred = float(scores.mean()), scores - scores.mean()
    spread = float(centred.std())
    if spread <= _ROUNDING * float(np.abs(scores).max()):
        return mean, mean
    counts = resampled_counts(scores.size, RESAMPLES)
    shifts = counts @ centred / scores.size
    spreads = np.sqrt(np.maximum(counts @ centred**2 / scores.size - shifts**2, 0))
    tiny = 1e-9 * spread
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(spreads > tiny, shifts / spreads, np.copysign(np.inf, shifts))
    ratios[(spreads <= tiny) & (np.abs(shifts) <= tiny)] = 0.0
    ends = np.quantile(ratios, [1 - _TAIL, _TAIL], method="inverted_cdf")
    if not np.isfinite(ends).all():
        return math.nan, math.nan
    low, high = (mean - spread * float(end) for end in ends)
    return low, high
