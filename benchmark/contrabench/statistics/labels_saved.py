"""Labels saved: how many labelled patients training from scratch needs to keep up.

The curve of scratch over its label budgets is read backwards. Beyond the budgets that were run
nothing is extrapolated: the answer is then infinite, or zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from contrabench.errors import RequestError
from contrabench.statistics.retraining import UNKNOWN, Retraining, deciding_ps
from contrabench.statistics.signflip import LEVEL

Floats = NDArray[np.float64]
_STEPS = 64
"""Points between two label budgets at which scores are compared."""


class LabelsNeeded(NamedTuple):
    """Labelled patients with which the baseline equals a method, and their confidence set.

    Infinite for more than the largest label budget of the curve, zero for fewer than the least.
    """

    needed: float
    low: float
    high: float


def labels_needed(
    counts: Sequence[float], curve: ArrayLike, scores: ArrayLike, trained: Retraining = UNKNOWN
) -> LabelsNeeded:
    """Finds where the baseline's curve reaches the mean score of a method.

    For the estimate the mean curve is made monotone (isotonic regression; Barlow et al. 1972).
    The interval holds every count at which the p that decides, paired by patient, does not tell
    the method from the baseline's own scores, so it keeps its level with few patients where
    resampled curves would not. Those are not made monotone: off the data, a method equal to the
    baseline at a budget would be told apart from it. Where the curve falls, the interval runs
    from the first count of a score to the last; with so few patients that no test can reject it
    is unbounded. It holds what training again would change where `trained` decides. Curves are
    linear in the logarithm of the count between budgets.

    Args:
        counts: labelled patients at each budget, ascending, at least two.
        curve: the baseline's scores, higher being better, shape (patients, budgets).
        scores: the method's, shape (patients,), the same patients in the same order.
        trained: what training again adds to differences like these.
    """
    baseline, target = np.asarray(curve, float), np.asarray(scores, float)
    budgets = np.asarray(counts, dtype=np.float64)
    if baseline.shape != (target.size, budgets.size) or target.ndim != 1 or not target.size:
        raise RequestError(
            f"a curve of shape {baseline.shape} does not fit {target.size} patients and "
            f"{budgets.size} label budgets; give the scores of the same patients at each budget"
        )
    if budgets.size < 2 or budgets[0] <= 0 or (np.diff(budgets) <= 0).any():
        raise RequestError(
            "labels saved need scratch at two label budgets or more, in ascending order; run "
            "it at another one"
        )
    if not (np.isfinite(baseline).all() and np.isfinite(target).all()):
        raise RequestError("a patient has no score; leave the patient out for both methods")
    logs = np.log(budgets)
    grid, fine = _fine(budgets)
    from scipy.optimize import isotonic_regression

    monotone = isotonic_regression(baseline.mean(axis=0)).x
    needed = _crossing(grid, target.mean() - np.interp(fine, logs, monotone))
    curves = np.stack([np.interp(fine, logs, row) for row in baseline])
    return LabelsNeeded(needed, *_not_rejected(grid, target[:, None] - curves, needed, trained))


def _fine(budgets: Floats) -> tuple[Floats, Floats]:
    """The budgets with counts between them, and the logarithms of all."""
    steps = np.arange((budgets.size - 1) * _STEPS + 1) / _STEPS
    fine = np.interp(steps, np.arange(budgets.size), np.log(budgets))
    grid = np.exp(fine)
    grid[::_STEPS] = budgets
    return grid, fine


def _crossing(grid: Floats, gaps: Floats) -> float:
    """The smallest count at which the mean gap is closed; the gaps never grow."""
    tiny = 1e-12 * float(np.abs(gaps).max())
    if gaps[0] < -tiny:
        return 0.0
    if gaps[-1] > tiny:
        return math.inf
    after = int(np.argmax(gaps <= tiny))
    if after == 0:
        return float(grid[0])
    left, right = gaps[after - 1], min(float(gaps[after]), 0.0)
    share = left / (left - right)
    return float(np.exp(np.log(grid[after - 1]) * (1 - share) + np.log(grid[after]) * share))


def _not_rejected(
    grid: Floats, gaps: Floats, needed: float, trained: Retraining
) -> tuple[float, float]:
    """The range of counts that the test leaves open, rounded out to the next point of the grid.

    Fewer than the least budget is open unless the method is better there; more, unless worse.
    """
    rejected, means = deciding_ps(gaps.T, trained) <= LEVEL, gaps.mean(axis=0)
    fewer, more = not (rejected[0] and means[0] > 0), not (rejected[-1] and means[-1] < 0)
    points = np.concatenate([[0.0], grid, [math.inf]])
    place = int(np.searchsorted(points, needed))
    points = np.insert(points, place, needed)
    left_open = np.insert(np.concatenate([[fewer], ~rejected, [more]]), place, True)
    first, last = np.flatnonzero(left_open)[[0, -1]]
    low = points[first] if math.isinf(points[first]) else points[max(first - 1, 0)]
    high = points[last] if points[last] == 0 else points[min(last + 1, points.size - 1)]
    return float(low), float(high)
