"""Differences, probabilities of winning, all pairs at once and the family's error rate."""

import math
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from contrabench.errors import RequestError
from contrabench.statistics.paired import (
    paired_difference,
    pairwise,
    score_differences,
    superiority,
)
from contrabench.statistics.signflip import holm, sign_flip_interval, sign_flip_p, sign_flip_ps


def test_a_difference_is_that_of_the_patients():
    first, second = np.random.default_rng(2).normal(0.8, 0.1, (2, 9))
    found = paired_difference(first, second)
    assert found.patients == 9
    assert found.mean == pytest.approx(np.mean(first) - np.mean(second))
    assert found.p == sign_flip_p(first - second)
    assert (found.low, found.high) == sign_flip_interval(first - second)


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


def table(patients, methods, seed=0, steps=0.0):
    rng = np.random.default_rng(seed)
    values = rng.normal(0.7, 0.1, (patients, 1)) + rng.normal(0, 0.03, (patients, methods))
    return pd.DataFrame(values - steps * np.arange(methods), columns=list("ABCDEFGH"[:methods]))


def test_tables_hold_what_each_pair_alone_says():
    scores = table(9, 4, steps=0.02)
    found = pairwise(scores)
    pairs = list(combinations(scores.columns, 2))
    adjusted = holm([paired_difference(scores[a], scores[b]).p for a, b in pairs])
    for (a, b), expected in zip(pairs, adjusted, strict=True):
        for first, second in ((a, b), (b, a)):
            alone = paired_difference(scores[first], scores[second])
            assert found.difference.loc[first, second] == pytest.approx(alone.mean)
            assert found.p.loc[first, second] == alone.p
            assert found.adjusted.loc[first, second] == expected
    assert found.pairs == 6


def test_who_is_better_is_separated_with_the_higher_score():
    scores = table(12, 3, steps=0.2)
    better, worse = pairwise(scores).better(), pairwise(-scores).better()
    assert better.loc["A", "C"]
    assert not better.loc["C", "A"]
    assert (better == worse.T).all(axis=None)
    assert (pairwise(scores).separated() == (better | worse)).all(axis=None)


def test_lowest_reachable_p_says_when_no_verdict_is_possible():
    assert pairwise(table(5, 3, steps=9)).lowest_reachable == 3 * 2 / 2**5
    assert not pairwise(table(5, 3, steps=9)).separated().any(axis=None)
    assert pairwise(table(12, 3)).lowest_reachable == 3 * 2 / 2**12
    assert math.isnan(pairwise(table(5, 1)).lowest_reachable)


def test_identical_methods_and_one_patient():
    scores = table(10, 3, steps=0.3)
    scores["B"] = scores["A"]
    found = pairwise(scores)
    assert found.p.loc["A", "B"] == 1
    alone = pairwise(table(1, 3))
    assert (alone.adjusted == 1).all(axis=None)


def test_what_cannot_be_compared_is_refused():
    scores = table(6, 3)
    with pytest.raises(RequestError, match="score of B"):
        pairwise(scores.assign(B=[math.nan] * 6))
    with pytest.raises(RequestError):
        pairwise(scores.set_axis(["A", "A", "B"], axis=1))
    with pytest.raises(RequestError):
        pairwise(scores.iloc[:0])


@pytest.mark.parametrize("patients", [8, 16])
@pytest.mark.parametrize("better", [0, 2])
@pytest.mark.parametrize("family", ["against the first", "all pairs"])
def test_false_verdicts_stay_below_the_level(patients, better, family):
    """Skewed scores with failures, six methods, of which some really are better."""
    studies, methods = 1200, 6
    rng = np.random.default_rng(31)
    scores = rng.beta(16, 4, (studies, patients, methods))
    scores *= np.where(rng.random(scores.shape) < 0.1, rng.random(scores.shape), 1)
    scores[:, :, methods - better :] += 2
    first, second = np.triu_indices(methods, 1)
    tested = first == 0 if family == "against the first" else first >= 0
    gaps = (scores[:, :, first[tested]] - scores[:, :, second[tested]]).transpose(0, 2, 1)
    p = sign_flip_ps(gaps.reshape(-1, patients)).reshape(studies, -1)
    equal = (second < methods - better) | (first >= methods - better)
    verdicts = np.array([holm(row.tolist()) for row in p]) <= 0.05
    wrong = verdicts[:, equal[tested]].any(axis=1).mean()
    assert wrong <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / studies)
    if better and patients == 16:
        assert verdicts[:, ~equal[tested]].all(axis=1).mean() > 0.9


def test_pairs_for_networks_trained_anew_are_never_surer():
    scores = table(20, 4, steps=0.01)
    folds = [patient % 5 for patient in range(20)]
    moved = scores.assign(B=scores["B"] + 0.1 * (np.array(folds) - 2))
    for data in (scores, moved):
        found = pairwise(data, folds)
        adjusted = found.retrained
        assert (adjusted >= found.adjusted).all(axis=None)
        assert adjusted.equals(adjusted.T)
    assert (adjusted > 1.2 * found.adjusted).any(axis=None)
    assert found.deciding is found.adjusted
    assert pairwise(moved, folds, draws=2).deciding.equals(found.retrained)
    nothing = pairwise(scores).retrained
    assert np.isnan(nothing.to_numpy()[np.triu_indices(4, 1)]).all()


def test_counts_and_estimate():
    found = superiority([3, 2, 1, 5], [1, 2, 4, 0])
    assert found.probability == 0.625


@pytest.mark.parametrize("wins", [0, 3, 7, 10])
def test_without_ties_the_interval_is_the_exact_binomial_one(wins):
    scores = np.array([1.0] * wins + [-1.0] * (10 - wins))
    found = superiority(scores, np.zeros(10))
    expected = stats.binomtest(wins, 10).proportion_ci(0.95, method="exact")
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
    assert found.probability == 0.5
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


def test_networks_that_move_folds_separate_nothing_where_training_again_decides():
    """A planted fault: one method's networks were lucky in three folds of five."""
    folds = [patient % 5 for patient in range(20)]
    scores = table(20, 2)
    scores["B"] = scores["A"] - np.array([0.09, 0.07, 0.08, -0.03, -0.02])[folds]
    here, anew = (pairwise(scores, folds, draws) for draws in (1, 2))
    assert here.adjusted.loc["A", "B"] < 0.01
    assert here.better().loc["A", "B"]
    assert not anew.separated().any(axis=None)
    assert anew.retrained.loc["A", "B"] > 0.05
