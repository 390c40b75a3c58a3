"""Sign-flip p and its interval against enumeration, scipy and each other."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from contrabench.errors import RequestError
from contrabench.statistics import signflip
from contrabench.statistics.signflip import (
    attainable_level,
    fewest_patients,
    holm,
    sign_flip_interval,
    sign_flip_p,
    sign_flip_ps,
)


def p_by_enumeration(differences):
    observed = abs(math.fsum(differences))
    hits = [
        abs(math.fsum(s * d for s, d in zip(signs, differences, strict=True))) >= observed - 1e-12
        for signs in itertools.product((-1, 1), repeat=len(differences))
    ]
    return sum(hits) / len(hits)


def interval_by_enumeration(values, confidence):
    """The hull of the means that are not rejected, tried at and around every subset's mean."""
    values = np.asarray(values, dtype=float)
    picks = itertools.product((False, True), repeat=values.size)
    means = [values[list(pick)].mean() for pick in picks if any(pick)]
    kept = [mean for mean in means if p_by_enumeration(values - mean) > 1 - confidence]
    return min(kept), max(kept)


@pytest.mark.parametrize("patients", range(1, 11))
@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_exact_p_is_the_enumerated_one(patients, shift):
    differences = np.random.default_rng(patients).normal(shift, 1, patients)
    assert sign_flip_p(differences) == pytest.approx(p_by_enumeration(differences), abs=1e-12)


@pytest.mark.parametrize("differences", [[1, 1, -1, 2], [0, 0, 1, 1], [0.1, 0.2, -0.3], [0, 0]])
def test_ties_and_zeros_count_as_at_least_as_far(differences):
    assert sign_flip_p(differences) == p_by_enumeration(differences)


@pytest.mark.parametrize("patients", [6, 12])
def test_exact_p_agrees_with_scipy(patients):
    differences = np.random.default_rng(7).normal(0.4, 1, patients)
    expected = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip_p(differences) == pytest.approx(expected.pvalue, abs=1e-12)


def test_twenty_patients_are_still_exact():
    assert sign_flip_p(np.linspace(1, 2, 20)) == 2 / 2**20


def test_many_tests_at_once_are_those_one_by_one():
    differences = np.random.default_rng(8).normal(0.3, 1, (1030, 7))
    alone = [sign_flip_p(row) for row in differences]
    assert sign_flip_ps(differences) == pytest.approx(alone, abs=0)
    assert sign_flip_ps(np.empty((0, 7))).shape == (0,)


def test_more_patients_are_sampled_reproducibly():
    differences = np.random.default_rng(3).normal(0.3, 1, 30)
    p = sign_flip_p(differences)
    assert p == sign_flip_p(differences)
    # With 30 patients the exact p is close to that of the normal limit.
    z = abs(differences.sum()) / math.sqrt((differences**2).sum())
    assert p == pytest.approx(2 * stats.norm.sf(z), abs=0.01)
    assert sign_flip_p(np.ones(40)) == 1e-5  # never zero


def test_sampled_and_exact_meet(monkeypatch):
    differences = np.random.default_rng(5).normal(0.4, 1, 12)
    exact, interval = sign_flip_p(differences), sign_flip_interval(differences)
    monkeypatch.setattr(signflip, "EXACT_UP_TO", 5)
    sampled = sign_flip_p(differences)
    assert sampled != exact
    assert sampled == pytest.approx(exact, abs=5 * math.sqrt(exact / 99_999))
    assert sign_flip_interval(differences) == pytest.approx(interval, abs=0.02)


def test_false_positives_stay_at_the_level():
    differences = np.random.default_rng(11).standard_t(2, (4000, 9))
    # 2^8 = 256 pairs of patterns: the largest attainable level below 0.05 is 12 / 256.
    share = np.mean(sign_flip_ps(differences) <= 0.05)
    assert share == pytest.approx(12 / 256, abs=4 * math.sqrt(0.05 / 4000))
    assert attainable_level(9) == 12 / 256


@pytest.mark.parametrize("patients", [6, 7, 9])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize("step", [0.0, 0.5])
def test_interval_is_the_enumerated_one(patients, confidence, step):
    values = np.random.default_rng(patients).normal(0.5, 1, patients)
    values = np.round(values / step) * step if step else values
    expected = interval_by_enumeration(values, confidence)
    assert sign_flip_interval(values, confidence) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("patients", [6, 8, 15, 20, 25])
def test_zero_is_outside_exactly_when_the_p_says_so(patients):
    rng = np.random.default_rng(patients)
    verdicts = []
    for _ in range(40):
        values = rng.normal(0.6, 1, patients)
        low, high = sign_flip_interval(values)
        assert low <= values.mean() <= high
        verdicts.append(sign_flip_p(values) <= 0.05)
        assert (low > 0 or high < 0) == verdicts[-1]
    assert len(set(verdicts)) == 2


def test_six_patients_that_agree_give_the_range():
    assert sign_flip_interval([1, 2, 3, 4, 5, 6]) == pytest.approx((1, 6))


@pytest.mark.parametrize("patients", [0, 1, 2, 4, 5])
def test_no_interval_where_no_p_could_reach_the_level(patients):
    assert all(math.isnan(end) for end in sign_flip_interval(np.arange(patients) + 1.0))
    assert attainable_level(patients) == 0


def test_fewest_patients_for_an_interval():
    for confidence in (0.75, 0.9, 0.95, 0.99):
        fewest = fewest_patients(level=1 - confidence)
        assert not math.isnan(sign_flip_interval(np.arange(fewest), confidence)[0])
        assert math.isnan(sign_flip_interval(np.arange(fewest - 1), confidence)[0])
    assert fewest_patients() == 6


@pytest.mark.parametrize("comparisons", [1, 2, 3, 4, 6, 7, 12, 18])
def test_fewest_patients_with_whom_one_of_several_comparisons_can_be_told(comparisons):
    def best(patients):
        """All patients agree with one method, and the others show nothing."""
        agreeing = sign_flip_p(np.arange(patients) + 1.0)
        return holm([agreeing, *[1.0] * (comparisons - 1)])[0]

    fewest = fewest_patients(comparisons)
    assert best(fewest) <= 0.05 < best(fewest - 1)


def test_attainable_level_is_the_largest_p_not_above_the_level():
    for patients in (4, 6, 8):
        reachable = np.arange(1, 2 ** (patients - 1) + 1) / 2 ** (patients - 1)
        for level in (0.05, 0.01, 0.25):
            expected = reachable[reachable <= level].max(initial=0)
            assert attainable_level(patients, level) == expected
    assert attainable_level(40) == pytest.approx(0.05)


@pytest.mark.parametrize("patients", [6, 20, 30])
def test_identical_methods_are_identical(patients):
    assert sign_flip_p(np.zeros(patients)) == 1
    assert sign_flip_interval(np.zeros(patients)) == (0, 0)


def test_moving_and_scaling_the_values_moves_and_scales_the_interval():
    values = np.random.default_rng(1).normal(0, 1, 14)
    low, high = sign_flip_interval(values)
    assert sign_flip_interval(-3 * values + 2) == pytest.approx((2 - 3 * high, 2 - 3 * low))


@pytest.mark.parametrize("patients", [8, 16])
@pytest.mark.parametrize("kind", ["normal", "heavy", "failures"])
def test_coverage_under_symmetric_differences(patients, kind):
    rng = np.random.default_rng(17)
    shape, studies = (4000, patients), 4000
    values = {
        "normal": rng.normal(0, 1, shape),
        "heavy": rng.standard_t(2, shape),
        "failures": rng.normal(0, 0.01, shape)
        + (rng.random(shape) < 0.1) * rng.choice([-0.4, 0.4], shape),
    }[kind]
    # The interval holds the true mean where the test, shifted by it, does not reject.
    held = np.mean(sign_flip_ps(values) > 0.05)
    assert held >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / studies)


@pytest.mark.parametrize("values", [[1, math.nan], [math.inf, 1]])
def test_missing_differences_are_refused(values):
    with pytest.raises(RequestError):
        sign_flip_p(values)
    with pytest.raises(RequestError):
        sign_flip_interval(values)


def test_no_patient_is_refused():
    with pytest.raises(RequestError):
        sign_flip_p([])
