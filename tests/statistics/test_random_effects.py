"""The mean over datasets, against statsmodels, closed forms and simulated studies."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects

from contrabench.errors import RequestError
from contrabench.statistics.random_effects import random_effects


@pytest.mark.parametrize("number", [2, 3, 7])
@pytest.mark.parametrize("tau", [0.0, 0.02, 0.1])
def test_it_is_what_statsmodels_combines(number, tau):
    rng = np.random.default_rng([number, round(100 * tau)])
    errors = rng.uniform(0.005, 0.02, number)
    effects = rng.normal(0.03, tau, number) + rng.normal(0, errors)
    found = random_effects(effects, errors)
    theirs = combine_effects(effects, errors**2, method_re="iterated", use_t=True, atol=1e-12)
    assert found.mean == pytest.approx(theirs.mean_effect_re, rel=1e-5)
    _, ends, _, knapp = theirs.conf_int(use_t=True)
    assert (found.low, found.high) == pytest.approx(tuple(ends), rel=1e-4)
    assert found.tau == pytest.approx(math.sqrt(theirs.tau2), rel=1e-4)
    assert found.i_squared == pytest.approx(max(0, theirs.i2))
    # With any variance between datasets it is the interval of Hartung and Knapp, never a shorter.
    assert found.high - found.low >= (knapp[1] - knapp[0]) * (1 - 1e-4)
    if found.tau:
        assert (found.low, found.high) == pytest.approx(tuple(knapp), rel=1e-4)


def test_equal_errors_give_the_plain_t_test():
    effects = np.array([0.01, 0.05, 0.09, 0.03])
    found = random_effects(effects, np.full(4, 0.01))
    plain = stats.ttest_1samp(effects, 0)
    interval = plain.confidence_interval()
    assert (found.mean, found.p) == pytest.approx((effects.mean(), plain.pvalue))
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.tau == pytest.approx(math.sqrt(effects.var(ddof=1) - 0.01**2))


def test_effects_that_happen_to_agree_are_no_surer_than_their_errors():
    found = random_effects([0.02, 0.02, 0.02], [0.01, 0.01, 0.01])
    half = stats.t.ppf(0.975, 2) * 0.01 / math.sqrt(3)
    assert (found.low, found.high) == pytest.approx((0.02 - half, 0.02 + half))
    assert (found.tau, found.i_squared) == (0, 0)


@pytest.mark.parametrize("gap", [0.0, 0.004, -0.009, 0.02])
def test_it_is_small_where_the_ninety_percent_interval_is(gap):
    for error in (0.001, 0.004, 0.01):
        found = random_effects(np.full(4, gap), np.full(4, error))
        half = stats.t.ppf(0.95, 3) * error / 2
        assert (found.equivalence <= 0.05) == (abs(gap) + half <= 0.01)


def test_what_cannot_be_combined():
    assert random_effects([0.1], [0.01]) is None
    assert random_effects([0.1, 0.0], [0.01, 0.0]) is None
    for effects, errors in (([0.1, math.nan], [1, 1]), ([0.1, 0.2], [1])):
        with pytest.raises(RequestError, match="cannot be combined"):
            random_effects(effects, errors)


@pytest.mark.parametrize("tau", [0.0, 1.0])
def test_its_interval_holds_the_mean_of_simulated_datasets(tau):
    rng, held = np.random.default_rng(5), []
    for _ in range(800):
        errors = rng.uniform(0.5, 1.5, 4)
        found = random_effects(rng.normal(3, tau, 4) + rng.normal(0, errors), errors)
        held.append(found.low <= 3 <= found.high)
    assert np.mean(held) >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / 800)
