"""The probability of being better on a new patient: counts, limits, coverage."""

import math

import numpy as np
import pytest
from scipy import stats

from contrabench.errors import RequestError
from contrabench.statistics.paired import superiority


def test_counts_and_estimate():
    found = superiority([3, 2, 1, 5], [1, 2, 4, 0])
    assert (found.wins, found.ties, found.losses) == (2, 1, 1)
    assert found.probability == 0.625
    assert superiority([3, 2, 1, 5], [1, 2, 4, 0], higher_is_better=False).probability == 0.375


@pytest.mark.parametrize("wins", [0, 3, 7, 10])
def test_without_ties_the_interval_is_the_exact_binomial_one(wins):
    scores = np.array([1.0] * wins + [-1.0] * (10 - wins))
    found = superiority(scores, np.zeros(10), confidence=0.9)
    expected = stats.binomtest(wins, 10).proportion_ci(0.9, method="exact")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_exchanging_methods_mirrors_the_result():
    scores = np.array([1, 1, 0, -1, 1.0])
    one, other = superiority(scores, np.zeros(5)), superiority(np.zeros(5), scores)
    assert (1 - other.high, 1 - other.low) == pytest.approx((one.low, one.high))


def test_it_is_not_about_means():
    """Better on nine patients of ten, and worse on average."""
    first = [0.81] * 9 + [0.1]
    assert np.mean(first) < 0.8
    assert superiority(first, [0.8] * 10).probability == 0.9


def test_all_ties_and_rounding_are_a_half():
    found = superiority([0.5] * 6, np.nextafter([0.5] * 6, 1))
    assert (found.ties, found.probability) == (6, 0.5)
    assert found.low < 0.2
    assert found.high > 0.8


def test_one_patient_tells_nearly_nothing():
    found = superiority([1], [0])
    assert (found.probability, found.high) == (1, 1)
    assert found.low == pytest.approx(0.025)


@pytest.mark.parametrize("shares", [(0.5, 0.0), (0.8, 0.1), (0.3, 0.4), (0.02, 0.96)])
def test_coverage_with_and_without_ties(shares):
    win, tie = shares
    rng, patients = np.random.default_rng(3), 12
    outcomes = rng.choice([1, 0, -1], (1500, patients), p=[win, tie, 1 - win - tie])
    found = [superiority(row, np.zeros(patients)) for row in outcomes]
    held = np.mean([one.low <= win + tie / 2 <= one.high for one in found])
    assert held >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / 1500)


def test_missing_scores_are_refused():
    with pytest.raises(RequestError):
        superiority([1, math.nan], [0, 0])
