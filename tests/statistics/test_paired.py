"""The difference of two methods, what can be paired, and Holm's procedure."""

import math

import numpy as np
import pytest

from contrabench.errors import RequestError
from contrabench.statistics.paired import paired_difference, score_differences
from contrabench.statistics.signflip import holm, sign_flip_interval, sign_flip_p


def test_a_difference_is_that_of_the_patients():
    first, second = np.random.default_rng(2).normal(0.8, 0.1, (2, 9))
    found = paired_difference(first, second, confidence=0.9)
    assert found.patients == 9
    assert found.mean == pytest.approx(np.mean(first) - np.mean(second))
    assert found.p == sign_flip_p(first - second)
    assert (found.low, found.high) == sign_flip_interval(first - second, 0.9)


def test_smallest_p_is_what_all_agreeing_would_give():
    assert paired_difference([1, 2, 3, 4, 5], [0, 0, 0, 0, 0]).smallest_p == 2 / 2**5
    mixed = paired_difference([1, -2, 3, -4, 5], [0, 0, 0, 0, 0])
    assert mixed.smallest_p == 2 / 2**5 < mixed.p
    # A patient without a difference tells nothing, and makes the smallest p larger.
    assert paired_difference([1, 2, 0], [0, 0, 0]).smallest_p == 4 / 2**3


def test_one_patient_gives_no_interval_and_no_evidence():
    found = paired_difference([0.9], [0.1])
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.p == found.smallest_p == 1.0


def test_rounding_separates_nothing():
    """A difference of the last digit in every patient would have the least p there is."""
    first = np.random.default_rng(1).uniform(0.5, 0.9, 12)
    second = np.nextafter(first, 1)
    assert sign_flip_p(first - second) < 0.001
    found = paired_difference(first, second)
    assert (found.mean, found.p, found.low, found.high) == (0, 1, 0, 0)
    assert score_differences(np.array([0.5 + 1e-9]), np.array([0.5])) == pytest.approx([1e-9])


@pytest.mark.parametrize("pair", [([1, 2], [1]), ([], []), ([1, math.nan], [0, 0])], ids=str)
def test_what_cannot_be_paired_is_refused(pair):
    with pytest.raises(RequestError):
        paired_difference(*pair)


def test_holm():
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.4, 0.6]) == [0.8, 0.8]
    assert holm([]) == []
