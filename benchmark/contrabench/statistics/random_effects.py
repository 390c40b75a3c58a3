"""The mean of one effect over several datasets, each with a truth of its own.

A difference between methods is not the same on every dataset. The datasets count as a sample of
those that could have been taken, so the interval is about their mean and not about any of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from contrabench.errors import RequestError
from contrabench.statistics import student
from contrabench.statistics.retraining import MARGIN

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CombinedEffect:
    """A mean effect over so many datasets, in the unit of the effects.

    `low` and `high` are its 95 % interval, `p` two-sided, `equivalence` that of the claim that it
    lies within +- `MARGIN`. `tau` is the standard deviation of the true effects between datasets,
    `i_squared` the share of the variance of those seen that no standard error explains.
    """

    datasets: int
    mean: float
    low: float
    high: float
    p: float
    equivalence: float
    tau: float
    i_squared: float


def random_effects(effects: ArrayLike, errors: ArrayLike) -> CombinedEffect | None:
    """Combines the effects of datasets, with their standard errors, both of shape (datasets,).

    The variance between datasets is that of Paule and Mandel (1982), the interval that of Hartung
    and Knapp (2001) with Student's t over the datasets less one, never made shorter by effects
    that happen to agree (Roever, Knapp and Friede 2015): with this variance, weights by the
    inverse of all variance leave nothing else to correct. None for fewer than two datasets, or
    where an effect has no error and so would decide alone. RequestError for a missing number.
    """
    means, known = np.asarray(effects, np.float64), np.asarray(errors, np.float64)
    if means.shape != known.shape or means.ndim != 1 or not np.isfinite([means, known]).all():
        raise RequestError(
            f"effects of shape {means.shape} and errors of shape {known.shape} cannot be combined, "
            "or one is missing; give one finite number of each per dataset"
        )
    free = means.size - 1
    if free < 1 or (known <= 0).any():
        return None
    variances = known**2
    plain = _heterogeneity(means, variances)
    between = _between(means, variances, free)
    mean, error = _weighted(means, variances + between)

    def tail(gap: float) -> float:
        """The one-sided p of so much above zero."""
        return float(student.tail(gap / error, free))

    half = error * student.quantile(0.975, free)
    return CombinedEffect(
        datasets=means.size,
        mean=mean,
        low=mean - half,
        high=mean + half,
        p=2 * tail(abs(mean)),
        equivalence=tail(MARGIN - abs(mean)),
        tau=math.sqrt(between),
        i_squared=max(0.0, 1 - free / plain) if plain else 0.0,
    )


def _weighted(means: Floats, variances: Floats) -> tuple[float, float]:
    """The mean by the inverse of the variances, and its standard error."""
    weights = 1 / variances
    return float((weights * means).sum() / weights.sum()), float(1 / np.sqrt(weights.sum()))


def _heterogeneity(means: Floats, variances: Floats) -> float:
    """Cochran's Q."""
    return float(((means - _weighted(means, variances)[0]) ** 2 / variances).sum())


def _between(means: Floats, variances: Floats, free: int) -> float:
    """The variance between datasets with which Q is what it is expected to be; at least 0."""
    from scipy.optimize import brentq

    def excess(between: float) -> float:
        return _heterogeneity(means, variances + between) - free

    if excess(0.0) <= 0:
        return 0.0
    # Q falls with the variance, and is at most the sum of squares over it.
    most = float(((means - means.mean()) ** 2).sum()) / free
    return float(brentq(excess, 0.0, most, xtol=1e-15 * most + 1e-300, rtol=1e-12))
