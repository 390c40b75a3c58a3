"""How large a study must be to separate two methods, and what this one could have found.

The observed difference is taken for the true one, though a promising one is more often too large
than too small: the numbers help to plan and are no evidence for or against a difference.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

from contrabench.statistics import student
from contrabench.statistics.signflip import EXACT_UP_TO, LEVEL, attainable_level, sign_flip_ps
from contrabench.statistics.variance import VarianceSplit

MOST = 100_000
"""Larger numbers are given as infinity: no study will have them."""
WANTED = 0.8
"""The power that a study is planned for."""
_STUDIES = 2_000
_SEED = 20_262
_POINTS = 1_000
_STEP = 0.1
_LARGEST = 20.0


def power(difference: float, deviation: float, patients: int, comparisons: int = 1) -> float:
    """The chance that the sign-flip test separates two methods with normal differences.

    Up to `EXACT_UP_TO` patients it is counted in simulated studies with a fixed seed: there the
    test has fewer p values to choose from than a t test, and less power at strict levels. Beyond
    it is that of the paired t test, then equivalent (Hoeffding 1952). `deviation` is that of the
    differences between patients; `comparisons` the size of the family: Holm tests the least p at
    `LEVEL` / comparisons, so this is the worst case for each. 0 where so few patients cannot
    reach a verdict at all; NaN where an argument is unknown.
    """
    if math.isnan(difference) or math.isnan(deviation):
        return math.nan
    attainable = attainable_level(patients, LEVEL / comparisons)
    if attainable == 0 or difference == 0:
        return attainable
    if deviation == 0:
        return 1.0
    effect = abs(difference) / deviation
    if patients > EXACT_UP_TO:
        return _t_power(effect, patients, attainable)
    # Between neighbours of a grid of effects, which all pairs of a report share.
    below = math.floor(min(effect, _LARGEST) / _STEP)
    share = min(effect, _LARGEST) / _STEP - below
    ends = [_simulated_power(patients, step, attainable) for step in (below, below + 1)]
    return (1 - share) * ends[0] + share * ends[1]


def _simulated_power(patients: int, step: int, level: float) -> float:
    return float((_simulated_ps(patients, step) <= level).mean())


@lru_cache(maxsize=1024)
def _simulated_ps(patients: int, step: int) -> NDArray[np.float64]:
    """The p of studies whose differences have a mean of so many steps and deviation 1."""
    noise = np.random.default_rng(_SEED).standard_normal((_STUDIES, patients))
    return sign_flip_ps(noise + step * _STEP)


def _t_power(effect: float, patients: int, level: float) -> float:
    """Power of the two-sided t test, a mean over the distribution of the estimated deviation."""
    critical = -student.quantile(level / 2, patients - 1) * _estimated_deviations(patients - 1)
    shift = effect * math.sqrt(patients)
    return float((special.ndtr(shift - critical) + special.ndtr(-critical - shift)).mean())


@cache
def _estimated_deviations(freedom: int) -> NDArray[np.float64]:
    """Quantiles of the deviation that is estimated where the true one is 1."""
    chances = (np.arange(_POINTS) + 0.5) / _POINTS
    squares = 2 * special.gammaincinv(freedom / 2, chances)
    return np.sqrt(np.asarray(squares, np.float64) / freedom)


@cache
def _enough_steps(patients: int, level: float) -> int:
    """The first effect of the grid with the power that is `WANTED`; larger ones have it too."""
    steps = range(math.ceil(_LARGEST / _STEP) + 2)
    return bisect_left(
        steps, True, key=lambda step: _simulated_power(patients, step, level) >= WANTED
    )


def _is_enough(difference: float, deviation: float, patients: int, comparisons: int) -> bool:
    """Whether `power` reaches what is `WANTED`, with few simulations for many questions."""
    if patients <= EXACT_UP_TO and difference and deviation:
        level = attainable_level(patients, LEVEL / comparisons)
        place = math.floor(min(abs(difference) / deviation, _LARGEST) / _STEP)
        if level > 0 and (steps := _enough_steps(patients, level)) != place + 1:
            return steps <= place
    return power(difference, deviation, patients, comparisons) >= WANTED


def patients_needed(difference: float, deviation: float, comparisons: int = 1) -> float:
    """The fewest patients with which `power`, of the same arguments, reaches what is `WANTED`.

    Infinity beyond `MOST` or without a difference; NaN where an argument is unknown.
    """
    if math.isnan(difference) or math.isnan(deviation):
        return math.nan
    if difference == 0:
        return math.inf
    effect = math.inf if deviation == 0 else abs(difference) / deviation

    def enough_for_t(patients: int) -> bool:
        attainable = attainable_level(patients, LEVEL / comparisons)
        return attainable > 0 and _t_power(effect, patients, attainable) >= WANTED

    # The t test needs no more patients than the sign-flip test, so the search starts there.
    patients = _fewest(enough_for_t)
    while patients <= EXACT_UP_TO and not _is_enough(
        difference, deviation, int(patients), comparisons
    ):
        patients += 1
    return patients


def draws_needed(
    difference: float, split: VarianceSplit, patients: int, comparisons: int = 1
) -> float:
    """The fewest label draws per fold, above those at hand, for that power with these patients.

    `split` is that of the differences; each of its folds has its own draws, with as many seeds as
    now. `patients` is the total. Infinity where the patients alone vary too much for any number
    of draws; NaN where draws were not repeated.
    """
    if math.isnan(split.draws) or math.isnan(difference):
        return math.nan
    if difference == 0:
        return math.inf

    def enough(draws: int) -> bool:
        variance = split.mean_variance(patients, split.folds, draws, split.levels[2])
        return _is_enough(difference, math.sqrt(patients * variance), patients, comparisons)

    # What was run did not do, so the answer is no number that was run.
    return _fewest(enough, above=split.levels[1])


def _fewest(enough: Callable[[int], bool], above: int = 0) -> float:
    """The least number above one and up to `MOST` that is enough, all larger ones being so too."""
    numbers = range(above + 1, MOST + 1)
    place = bisect_left(numbers, True, key=enough)
    return float(numbers[place]) if place < len(numbers) else math.inf
