"""Student's distribution has the bits of the library's own, at the edges too."""

import math

import numpy as np
import pytest
from scipy import special, stats

from contrabench.statistics.student import quantile, tail

FREE = (1, 2, 3, 9, 39, 99_999, 0, -1, math.nan, math.inf)


@pytest.mark.parametrize("free", FREE)
def test_it_is_the_librarys(free):
    values = np.random.default_rng(0).normal(0, 5, 2000)
    values = np.append(values, [0, -0.0, math.inf, -math.inf, math.nan, 1e300, -40])
    assert np.array_equal(tail(values, free), stats.t.sf(values, free), equal_nan=True)
    for chance in (1e-9, 0.025, 0.5, 0.95, 0.975, 1.0):
        found = [quantile(chance, free), stats.t.ppf(chance, free)]
        assert np.array_equal(*found, equal_nan=True)
        found = [-quantile(chance, free), stats.t.isf(chance, free)]
        assert chance == 1 or np.array_equal(*found, equal_nan=True)


def test_so_are_the_others_that_are_asked_for_by_their_special_functions():
    chances = (np.arange(1000) + 0.5) / 1000
    for free in (1, 2, 9, 39, 1000):
        squares = 2 * special.gammaincinv(free / 2, chances)
        assert np.array_equal(squares, stats.chi2.ppf(chances, free))
    for patients in (1, 2, 10, 60, 101):
        won = np.arange(1, patients + 1)
        low = special.betaincinv(won, patients - won + 1, 0.025)
        assert np.array_equal(low, stats.beta.ppf(0.025, won, patients - won + 1))
        high = special.betainccinv(won, patients - won + 1, 0.025)
        assert np.array_equal(high, stats.beta.isf(0.025, won, patients - won + 1))
