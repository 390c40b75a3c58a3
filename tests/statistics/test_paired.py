"""Sign-flip p, intervals and Holm against enumeration, scipy and known answers."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from contrabench.errors import RequestError
from contrabench.statistics.paired import holm, paired_difference, sign_flip_p, t_interval


def p_by_enumeration(differences):
    observed = abs(math.fsum(differences))
    hits = [
        abs(math.fsum(s * d for s, d in zip(signs, differences, strict=True))) >= observed - 1e-12
        for signs in itertools.product((-1, 1), repeat=len(differences))
    ]
    return sum(hits) / len(hits)


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


def test_more_patients_are_sampled_reproducibly():
    differences = np.random.default_rng(3).normal(0.3, 1, 30)
    p = sign_flip_p(differences)
    assert p == sign_flip_p(differences)
    # With 30 patients the exact p is close to that of the normal limit.
    z = abs(differences.sum()) / math.sqrt((differences**2).sum())
    assert p == pytest.approx(2 * stats.norm.sf(z), abs=0.01)
    assert sign_flip_p(np.ones(40)) == 1e-5  # never zero


def test_sampled_and_exact_p_meet(monkeypatch):
    differences = np.random.default_rng(5).normal(0.4, 1, 12)
    exact = sign_flip_p(differences)
    monkeypatch.setattr("contrabench.statistics.paired.EXACT_UP_TO", 5)
    sampled = sign_flip_p(differences)
    assert sampled != exact
    assert sampled == pytest.approx(exact, abs=5 * math.sqrt(exact / 99_999))


def test_false_positives_stay_at_the_level():
    rng = np.random.default_rng(11)
    found = [sign_flip_p(rng.standard_t(2, 9)) <= 0.05 for _ in range(2000)]
    # 2^8 = 256 pairs of patterns: the largest attainable level below 0.05 is 12 / 256.
    assert np.mean(found) == pytest.approx(12 / 256, abs=0.015)


def test_smallest_p_is_what_all_agreeing_would_give():
    assert paired_difference([1, 2, 3, 4, 5], [0, 0, 0, 0, 0]).smallest_p == 2 / 2**5
    mixed = paired_difference([1, -2, 3, -4, 5], [0, 0, 0, 0, 0])
    assert mixed.smallest_p == 2 / 2**5 < mixed.p
    # A patient without a difference tells nothing, and makes the smallest p larger.
    assert paired_difference([1, 2, 0], [0, 0, 0]).smallest_p == 4 / 2**3


def test_interval_agrees_with_scipy():
    rng = np.random.default_rng(2)
    first, second = rng.normal(0.8, 0.1, (2, 9))
    found = paired_difference(first, second, confidence=0.9)
    expected = stats.ttest_rel(first, second).confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert found.mean == pytest.approx(np.mean(first) - np.mean(second))
    assert found.patients == 9


def test_one_patient_gives_no_interval_and_no_evidence():
    found = paired_difference([0.9], [0.1])
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.p == found.smallest_p == 1.0
    assert all(math.isnan(end) for end in t_interval([1.0]))


@pytest.mark.parametrize("pair", [([1, 2], [1]), ([], []), ([1, math.nan], [0, 0])], ids=str)
def test_what_cannot_be_paired_is_refused(pair):
    with pytest.raises(RequestError):
        paired_difference(*pair)


def test_holm():
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.4, 0.6]) == [0.8, 0.8]
    assert holm([]) == []
