"""The interval of one method's mean score over few patients.

Scores pile up against a bound: most patients near the best Dice, a few far below. For such
samples Student's interval is too short on one side. The studentised bootstrap resamples
patients and learns that skewness from them; `docs/statistics.md` has the coverage of both.
Differences of two methods have their own interval, see `signflip.py`.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from contrabench.errors import RequestError

RESAMPLES = 9_999
_SEED = 20_261


@lru_cache(maxsize=8)
def resampled_counts(patients: int, resamples: int) -> NDArray[np.float64]:
    """How often each patient occurs in each bootstrap sample, with a fixed seed.

    Returns:
        Shape (resamples, patients), float64; each row sums to the number of patients.
    """
    generator = np.random.default_rng(_SEED)
    counts = generator.multinomial(patients, np.full(patients, 1 / patients), resamples)
    weights = counts.astype(np.float64)
    weights.flags.writeable = False  # every caller gets the same array
    return weights


def mean_interval(
    scores: ArrayLike,
    confidence: float = 0.95,
    lowest: float = -math.inf,
    highest: float = math.inf,
) -> tuple[float, float]:
    """Studentised bootstrap interval of a mean over patients (Efron 1979; Hall 1988).

    Args:
        scores: one per patient, shape (n,), finite.
        confidence: 0.95 for a 95 % interval.
        lowest: the least that a score can be, e.g. 0; the interval ends there.
        highest: the most that a score can be, e.g. 1 for Dice.

    Returns:
        Lower and upper end; (NaN, NaN) where too many samples hold a single value, as
        with three patients or fewer: then the data do not bound the mean.

    Raises:
        RequestError: if a score is missing.
    """
    values = np.asarray(scores, dtype=np.float64)
    if not np.isfinite(values).all():
        raise RequestError("a patient has no score; leave the patient out")
    if values.size < 2:
        return math.nan, math.nan
    mean, centred = float(values.mean()), values - values.mean()
    counts = resampled_counts(values.size, RESAMPLES)
    shifts = counts @ centred / values.size
    spreads = np.sqrt(np.maximum(counts @ centred**2 / values.size - shifts**2, 0))
    spread = float(centred.std())
    tiny = 1e-9 * spread
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(spreads > tiny, shifts / spreads, np.copysign(np.inf, shifts))
    ratios[(spreads <= tiny) & (np.abs(shifts) <= tiny)] = 0.0
    tail = (1 - confidence) / 2
    ends = np.quantile(ratios, [1 - tail, tail], method="inverted_cdf")
    if not np.isfinite(ends).all():
        return math.nan, math.nan
    low, high = (mean - spread * float(end) for end in ends)
    return max(low, lowest), min(high, highest)
