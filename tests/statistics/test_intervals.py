"""The interval of a mean score: its definition by hand, its coverage, its edges."""

import math

import numpy as np
import pytest
from scipy import stats

from contrabench.errors import RequestError
from contrabench.statistics import intervals
from contrabench.statistics.intervals import (
    mean_interval,
    resampled_counts,
    studentised_bootstrap,
)


def test_resampled_counts_are_bootstrap_samples():
    counts = resampled_counts(7, 4000)
    assert (counts.sum(axis=1) == 7).all()
    assert counts.mean(axis=0) == pytest.approx(np.ones(7), abs=0.08)
    # Each count is binomial: 7 draws of one patient in seven.
    assert counts.var() == pytest.approx(6 / 7, rel=0.03)


def test_interval_is_the_studentised_bootstrap():
    """Written out sample by sample, with the usual standard errors."""
    values = np.random.default_rng(4).beta(8, 2, 9)
    error = values.std(ddof=1) / 3
    ratios = []
    for counts in resampled_counts(9, intervals.RESAMPLES).astype(int):
        sample = np.repeat(values, counts)
        ratios.append((sample.mean() - values.mean()) / (sample.std(ddof=1) / 3))
    low, high = np.quantile(ratios, [0.975, 0.025], method="inverted_cdf")
    expected = (values.mean() - low * error, values.mean() - high * error)
    assert mean_interval(values) == pytest.approx(expected, abs=1e-9)


def test_with_many_normal_patients_it_is_students():
    values = np.random.default_rng(6).normal(5, 2, 400)
    expected = stats.ttest_1samp(values, 0).confidence_interval()
    assert mean_interval(values) == pytest.approx((expected.low, expected.high), abs=0.03)


def test_it_is_longer_towards_the_tail():
    values = 1 - np.random.default_rng(3).exponential(0.1, 20)
    low, high = mean_interval(values)
    assert values.mean() - low > 1.2 * (high - values.mean()) > 0


@pytest.mark.parametrize("patients", [0, 1, 2, 3])
def test_few_patients_have_no_interval(patients):
    assert all(math.isnan(end) for end in mean_interval(np.arange(patients) / 10))
    assert all(math.isfinite(end) for end in mean_interval(np.arange(4) / 10))


@pytest.mark.parametrize("patients", [4, 5, 6])
def test_four_and_five_have_students(patients):
    values = np.random.default_rng(patients).beta(8, 2, patients)
    known = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    found = mean_interval(values)
    assert (found == pytest.approx((known.low, known.high))) == (patients < 6)


def test_of_four_patients_the_bootstrap_would_be_wider_than_any_scale():
    """Why it is not used: four ASDs within 5 mm would give a mean of up to 266 mm."""
    values = np.array([2.49, 2.51, 3.8, 6.6])
    low, high = studentised_bootstrap(values)
    assert high - low > 60 * np.ptp(values)
    low, high = mean_interval(values, lowest=0)
    assert high - low < 2 * np.ptp(values)


@pytest.mark.parametrize("patients", [4, 5])
def test_with_few_patients_it_holds_its_level(patients):
    scores = np.random.default_rng(31).beta(16, 4, (4000, patients))
    ends = np.array([mean_interval(row) for row in scores])
    assert np.mean((ends[:, 0] <= 0.8) & (ends[:, 1] >= 0.8)) > 0.94


def test_near_copies_have_none():
    assert all(math.isnan(end) for end in mean_interval([0.7] * 7 + [0.9]))


def test_equal_scores_have_no_width():
    assert mean_interval([0.5] * 8) == (0.5, 0.5)
    assert mean_interval([0.1 + 0.2, 0.3, 0.3, 0.3] * 2) == pytest.approx((0.3, 0.3))


def test_it_ends_where_scores_end():
    values = [0.1, 0.6, 0.9, 0.98, 0.98, 0.99]
    low, high = mean_interval(values)
    assert low < 0
    assert mean_interval(values, lowest=0, highest=1) == (0, min(high, 1))


def test_missing_scores_are_refused():
    with pytest.raises(RequestError):
        mean_interval([0.5, math.nan])


@pytest.mark.parametrize("patients", [8, 20])
def test_coverage_beats_students_for_skewed_scores(patients, monkeypatch):
    monkeypatch.setattr(intervals, "RESAMPLES", 999)
    values = np.random.default_rng(23).lognormal(0, 0.8, (1500, patients))
    truth = math.exp(0.32)
    ends = np.array([mean_interval(row) for row in values])
    held = np.mean((ends[:, 0] <= truth) & (truth <= ends[:, 1]))
    spread = values.std(axis=1, ddof=1) / math.sqrt(patients)
    half = stats.t.ppf(0.975, patients - 1) * spread
    student = np.mean(np.abs(values.mean(axis=1) - truth) <= half)
    assert held > student + 0.02
    assert held > 0.90
