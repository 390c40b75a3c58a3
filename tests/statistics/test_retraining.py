"""What training again adds to a family of comparisons, against simulated studies."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import DescrStatsW

from contrabench.statistics.retraining import (
    UNKNOWN,
    Retraining,
    deciding_interval,
    deciding_ps,
    equivalence_p,
    retrained_ps,
    retraining,
    with_reference,
)
from contrabench.statistics.signflip import holm, sign_flip_interval, sign_flip_ps

FOLDS = np.repeat(np.arange(5), 4)


def studies(rng, number, methods, ratio, folds=FOLDS):
    """Differences of equal methods to one reference; networks move folds with that variance."""
    patients = rng.standard_normal((number, methods + 1, folds.size))
    runs = math.sqrt(ratio) * rng.standard_normal((number, methods + 1, folds.max() + 1))
    scores = patients + runs[:, :, folds]
    return scores[:, 1:] - scores[:, :1]


def test_with_folds_of_one_size_it_is_the_ratio_of_mean_squares():
    gaps = np.random.default_rng(0).normal(0, 1, (3, 20)) + 2 * (FOLDS % 2)
    between = [4 * gap.reshape(5, 4).mean(axis=1).var(ddof=1) for gap in gaps]
    whole = [gap.var(ddof=1) for gap in gaps]
    found = retraining(gaps, FOLDS, 3)
    assert found.inflation == pytest.approx(math.sqrt(sum(between) / sum(whole)))
    assert found.freedom == 12
    # The order of patients and the names of folds say nothing.
    order = np.random.default_rng(1).permutation(20)
    again = retraining(gaps[:, order], (7 - FOLDS)[order], 3)
    assert again.inflation == pytest.approx(found.inflation)


@pytest.mark.parametrize(
    "folds", [FOLDS, np.array([0] * 9 + [1] * 5 + [2] * 4 + [3, 4])], ids=["even", "uneven"]
)
def test_the_inflation_is_that_of_simulated_studies(folds):
    gaps = studies(np.random.default_rng(2), 4000, 1, 0.5, folds)[:, 0]
    true = gaps.mean(axis=1).var()
    taken = (gaps.var(axis=1, ddof=1) / gaps.shape[1]).mean()
    # All studies at once, as comparisons of one: the estimate is then as good as exact.
    assert retraining(gaps, folds, 1).inflation == pytest.approx(math.sqrt(true / taken), rel=0.03)


def test_two_differences_to_one_reference_share_a_quarter_of_their_information():
    gaps = np.random.default_rng(3).standard_normal((20_000, 3, 5))
    squares = (gaps[:, 1:] - gaps[:, :1]).var(axis=2, ddof=1)
    assert np.corrcoef(squares.T)[0, 1] == pytest.approx(0.25, abs=0.02)
    assert with_reference(1) == 1
    pooled = squares.mean(axis=1)
    alone = squares[:, 0]
    gained = (alone.var() / alone.mean() ** 2) / (pooled.var() / pooled.mean() ** 2)
    assert gained == pytest.approx(with_reference(2), rel=0.05)


@pytest.mark.parametrize("methods", [1, 6])
@pytest.mark.parametrize("ratio", [0.0, 0.5])
def test_false_verdicts_stay_below_five_percent_whatever_training_moves(methods, ratio):
    """And the test over patients alone is shown to fail there: it is what this is for."""
    lasting, separated = [], []
    for gaps in studies(np.random.default_rng(4), 600, methods, ratio):
        found = retraining(gaps, FOLDS, with_reference(methods))
        lasting.append(retrained_ps(gaps, sign_flip_ps(gaps), found).min() <= 0.05)
        separated.append(min(holm(sign_flip_ps(gaps).tolist())) <= 0.05)
    two_errors = 2 * math.sqrt(0.05 * 0.95 / 600)
    assert np.mean(lasting) <= 0.05 + two_errors
    if ratio:
        assert np.mean(separated) > 0.05 + 3 * two_errors


def test_a_large_difference_is_found_all_the_same():
    gaps = studies(np.random.default_rng(5), 200, 6, 0.5) + 3.0
    found = [
        retrained_ps(one, sign_flip_ps(one), retraining(one, FOLDS, with_reference(6)))
        for one in gaps
    ]
    assert (np.array(found) <= 0.05).mean() > 0.8


def test_nothing_is_surer_for_other_networks_than_for_these():
    gaps = np.abs(np.random.default_rng(6).normal(1, 0.01, (1, 6)))
    folds = np.arange(6) // 3
    found = retraining(gaps, folds, 1)
    student = 2 * stats.t.sf(gaps.mean() / (gaps.std(ddof=1) / math.sqrt(6)), 5)
    assert student < 0.001
    assert retrained_ps(gaps, sign_flip_ps(gaps), found)[0] >= sign_flip_ps(gaps)[0] == 2 / 2**6


def test_folds_of_one_patient_hide_nothing():
    gaps = np.random.default_rng(7).normal(0.5, 1, (2, 8))
    assert retraining(gaps, range(8), 1) == Retraining(1.0, 7, folds=8, draws=1)


def test_what_cannot_be_told_is_unknown():
    gaps = np.random.default_rng(8).normal(0.5, 1, (2, 8))
    assert not retraining(gaps, [0] * 8, 1).known
    assert not retraining(np.zeros((2, 8)), [0, 1] * 4, 1).known
    assert not retraining(gaps[:, :1], [0], 1).known
    assert np.isnan(retrained_ps(gaps, sign_flip_ps(gaps), UNKNOWN)).all()


def test_an_identical_method_stays_at_one_beside_others():
    gaps = np.stack([np.zeros(8), np.full(8, 0.25), np.linspace(-1, 1, 8)])
    found = retrained_ps(gaps, sign_flip_ps(gaps), retraining(gaps, [0, 1] * 4, with_reference(3)))
    # A constant difference has no error: the test over patients is then the limit.
    assert found.tolist() == [1, 3 * 2 / 2**8, 1]


@pytest.mark.parametrize(
    ("folds", "draws", "decides"), [(3, 2, True), (5, 4, True), (2, 2, False), (5, 1, False)]
)
def test_three_folds_and_two_draws_decide(folds, draws, decides):
    gaps = np.random.default_rng(9).normal(0.5, 1, (2, 12))
    found = retraining(gaps, np.arange(12) % folds, 2, draws)
    assert (found.folds, found.draws, found.decides) == (folds, draws, decides)
    assert not UNKNOWN.decides
    ps, ends = deciding_ps(gaps, found), deciding_interval(gaps[0], found)
    assert (ps.tolist() == sign_flip_ps(gaps).tolist()) == (not decides)
    assert (ends == sign_flip_interval(gaps[0])) == (not decides)


def moved(seed):
    """One comparison whose three folds were moved as a whole; what decides of it."""
    folds = np.arange(12) % 3
    gaps = studies(np.random.default_rng(seed), 1, 1, 1.0, folds)[0]
    return gaps[0], retraining(gaps, folds, 4, draws=2)


def test_interval_and_p_agree():
    """Zero lies outside exactly where the p by itself is at most 5 percent, wherever it is."""
    outside = []
    for seed, shift in itertools.product(range(12), np.linspace(-3, 3, 13)):
        gaps, found = moved(seed)
        gaps = gaps + shift
        low, high = deciding_interval(gaps, found)
        (p,) = retrained_ps(gaps[None], sign_flip_ps(gaps[None]), found)
        assert p == deciding_ps(gaps[None], found)[0]
        assert (p <= 0.05) == (not low <= 0 <= high)
        outside.append(p <= 0.05)
    assert 20 < sum(outside) < len(outside) - 20


def test_the_interval_is_students_with_the_inflated_error():
    folds = np.arange(12) % 3
    gaps = np.random.default_rng(13).normal(0, 1, 12) + np.array([-2, 0, 2])[folds]
    found = retraining(gaps[None], folds, 4, draws=2)
    assert found.inflation > 1.2
    half = found.inflation * stats.t.ppf(0.975, 8) * stats.sem(gaps)
    assert deciding_interval(gaps, found) == pytest.approx((gaps.mean() - half, gaps.mean() + half))
    low, high = sign_flip_interval(gaps)
    assert gaps.mean() - half < low
    assert high < gaps.mean() + half


def test_too_few_patients_have_no_interval_of_either_kind():
    gaps = np.array([0.1, 0.2, 0.3, 0.15, 0.25])
    found = retraining(gaps[None], [0, 1, 2, 0, 1], 4, draws=2)
    assert found.decides
    assert np.isnan(deciding_interval(gaps, found)).all()


def test_two_one_sided_tests_are_those_of_statsmodels_and_of_all_patterns():
    """One patient a fold: no inflation, and the degrees of freedom of a plain t test."""
    rng = np.random.default_rng(10)
    signs = np.array(list(itertools.product((1, -1), repeat=9)))
    for centre in (0.0, 0.3, -0.6, 1.2):
        gaps = rng.normal(centre, 0.4, 9)
        found = retraining(gaps[None], range(9), 1, draws=2)
        student, _, _ = DescrStatsW(gaps).ttost_mean(-0.7, 0.7)
        sides = [gaps + 0.7, 0.7 - gaps]
        flipped = [(signs @ side >= side.sum() - 1e-12).mean() for side in sides]
        if max(flipped) < 0.5:
            assert equivalence_p(gaps, UNKNOWN, 0.7) == pytest.approx(max(flipped))
            expected = max(student, *flipped)
            assert equivalence_p(gaps, found, 0.7) == pytest.approx(expected)
        else:
            assert equivalence_p(gaps, UNKNOWN, 0.7) >= 0.5
            assert student > 0.5


@pytest.mark.parametrize("anew", [False, True])
def test_it_is_small_exactly_where_the_ninety_percent_interval_is(anew):
    small = []
    for seed, margin in itertools.product(range(40), (0.5, 1.0, 2.0)):
        gaps, found = moved(seed)
        found = found if anew else UNKNOWN
        low, high = deciding_interval(gaps, found, 0.9)
        small.append(equivalence_p(gaps, found, margin) <= 0.05)
        assert small[-1] == (-margin < low and high < margin)
    assert 15 < sum(small) < len(small) - 15


def test_a_method_without_any_difference_is_as_good():
    assert equivalence_p(np.zeros(8), UNKNOWN) == 2 / 2**9
    assert equivalence_p(np.full(8, 0.02), UNKNOWN) > 0.5


def test_of_simulated_networks_the_interval_holds_the_truth_and_that_over_patients_does_not():
    held = []
    for gaps in studies(np.random.default_rng(11), 400, 3, 1.0, np.arange(15) % 5):
        found = retraining(gaps, np.arange(15) % 5, with_reference(3), draws=2)
        ends = [deciding_interval(gaps[0], one) for one in (UNKNOWN, found)]
        held.append([low <= 0 <= high for low, high in ends])
    plain, anew = np.mean(held, axis=0)
    two_errors = 2 * math.sqrt(0.05 * 0.95 / 400)
    assert anew >= 0.95 - two_errors
    assert plain < 0.95 - 3 * two_errors


def test_at_the_edge_of_the_margin_few_are_called_as_good():
    """Where networks move folds; the test over patients calls far too many so."""
    called, folds = [], np.arange(20) % 5
    for gaps in studies(np.random.default_rng(12), 400, 3, 1.0, folds):
        found = retraining(gaps, folds, with_reference(3), draws=2)
        at_edge = gaps[0] + 1.5
        called.append([equivalence_p(at_edge, one, 1.5) <= 0.05 for one in (UNKNOWN, found)])
    plain, anew = np.mean(called, axis=0)
    two_errors = 2 * math.sqrt(0.05 * 0.95 / 400)
    assert anew <= 0.05 + two_errors
    assert plain > 0.05 + 2 * two_errors
