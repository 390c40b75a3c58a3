"""The design aid against closed forms, scipy and the test that it speaks of."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from contrabench.statistics.design import draws_needed, patients_needed, power
from contrabench.statistics.signflip import holm, sign_flip_ps
from contrabench.statistics.variance import VarianceSplit


def limit(studies):
    """Four standard errors of a share near 80 %, of the simulation and of the promise."""
    return 4 * math.sqrt(0.16 / studies + 0.16 / 2000)


def test_power_of_six_patients_is_that_they_all_agree():
    # Six patients separate at 5 % only with one sign throughout.
    for effect in (0.5, 1.0, 2.0):
        expected = stats.norm.cdf(effect) ** 6 + stats.norm.sf(effect) ** 6
        assert power(effect, 1.0, 6) == pytest.approx(expected, abs=0.04)


@pytest.mark.parametrize("patients", [25, 60])
@pytest.mark.parametrize("comparisons", [1, 20])
def test_power_of_many_patients_is_that_of_the_t_test(patients, comparisons):
    critical = stats.t.isf(0.025 / comparisons, patients - 1)
    shift = 0.5 * math.sqrt(patients)
    expected = stats.nct.sf(critical, patients - 1, shift)
    assert power(0.5, 1.0, patients, comparisons) == pytest.approx(expected, abs=0.003)


@pytest.mark.parametrize(("effect", "comparisons"), [(2.0, 1), (1.26, 5), (0.95, 1), (0.8, 5)])
def test_the_promised_power_is_met(effect, comparisons):
    needed = patients_needed(effect, 1.0, comparisons)
    studies = 2000
    noise = np.random.default_rng(41).standard_normal((studies, int(needed)))
    found = np.mean(sign_flip_ps(effect + noise) <= 0.05 / comparisons)
    assert found >= 0.8 - limit(studies)
    if needed > 6:
        fewer = np.mean(sign_flip_ps(effect + noise[:, :-1]) <= 0.05 / comparisons)
        assert fewer < 0.8 + limit(studies)


def test_the_power_at_hand_is_met_within_holms_family():
    studies, comparisons, patients = 1500, 5, 16
    scores = np.random.default_rng(42).standard_normal((studies, comparisons, patients))
    scores[:, 0] += 1.0
    p = sign_flip_ps(scores.reshape(-1, patients)).reshape(studies, comparisons)
    found = np.mean([holm(row.tolist())[0] <= 0.05 for row in p])
    assert found >= power(1.0, 1.0, patients, comparisons) - limit(studies)


def test_only_the_ratio_counts_and_not_the_sign():
    assert power(-0.02, 0.04, 12) == power(5.0, 10.0, 12)
    assert patients_needed(-0.02, 0.04) == patients_needed(1, 2)


def test_too_few_patients_have_no_power_at_all():
    assert power(9, 1, 5) == 0
    assert power(9, 1, 8, comparisons=21) == 0
    assert power(0, 1, 8) < 0.05
    assert power(1, 0, 8) == 1
    assert patients_needed(1, 0) == 6  # what the test needs even without any variation


def test_what_cannot_be_known_is_said():
    assert math.isnan(power(math.nan, 1, 9))
    assert math.isnan(patients_needed(1, math.nan))
    assert patients_needed(0, 1) == math.inf
    assert patients_needed(1e-6, 1) == math.inf


def test_draws_help_where_they_vary_and_only_there():
    draws = VarianceSplit(0.5, 4.0, 0.0, 0.5, 4.0, (4, 3, 2), 5)
    needed = draws_needed(1.0, draws, patients=20)
    assert 4 < needed < math.inf
    assert draws_needed(1.0, replace(draws, folds=10), patients=20) < needed
    deviation = math.sqrt(20 * draws.mean_variance(20, 5, int(needed), 2))
    assert power(1.0, deviation, 20) >= 0.8
    deviation = math.sqrt(20 * draws.mean_variance(20, 5, int(needed) - 1, 2))
    assert power(1.0, deviation, 20) < 0.8
    patients = VarianceSplit(9.0, 0.1, 0.0, 0.0, 0.1, (4, 3, 2), 5)
    assert draws_needed(1.0, patients, patients=20) == math.inf
    assert draws_needed(0.0, draws, patients=20) == math.inf


def test_the_power_promised_for_draws_is_met():
    split = VarianceSplit(0.5, 2.0, 0.0, 1.0, 2.0, (4, 2, 1), 5)
    needed = int(draws_needed(1.0, split, patients=20))
    rng, studies = np.random.default_rng(43), 2000
    scores = 1.0 + rng.normal(0, 0.5**0.5, (studies, 5, 4))
    scores += rng.normal(0, (2.0 / needed) ** 0.5, (studies, 5, 1))
    scores += rng.normal(0, (1.0 / needed) ** 0.5, (studies, 5, 4))
    found = np.mean(sign_flip_ps(scores.reshape(studies, 20)) <= 0.05)
    assert found >= 0.8 - limit(studies)


def test_unknown_draws_are_not_planned_for():
    unknown = VarianceSplit(1.0, math.nan, math.nan, math.nan, math.nan, (4, 1, 1), 1)
    assert math.isnan(draws_needed(1.0, unknown, patients=4))
    between_folds = VarianceSplit(0.5, math.nan, math.nan, math.nan, 4.0, (4, 1, 1), 5)
    assert math.isnan(draws_needed(1.0, between_folds, patients=20))


def test_what_was_run_is_no_answer():
    """The draws at hand did not separate the two, however little the estimates ask for."""
    split = VarianceSplit(0.01, 0.01, math.nan, math.nan, 0.01, (4, 3, 1), 5)
    assert draws_needed(1.0, split, patients=20) == 4
