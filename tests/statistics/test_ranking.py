"""Ranks, their stability and limits against scipy and planted orders; tie groups by definition."""

import itertools
import math
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from contrabench.errors import RequestError
from contrabench.statistics.intervals import resampled_counts
from contrabench.statistics.paired import pairwise
from contrabench.statistics.ranking import (
    SCHEMES,
    kendall,
    letters,
    rank_limits,
    rank_methods,
    rank_stability,
    tie_groups,
)


def table(patients=10, methods=4, step=0.0, seed=0):
    values = np.random.default_rng(seed).normal(0.7, 0.05, (patients, methods))
    return pd.DataFrame(values - step * np.arange(methods), columns=list("ABCDEFGH"[:methods]))


def test_each_scheme_by_its_definition():
    scores = table(step=0.03)
    means = stats.rankdata(-scores.mean())
    within = stats.rankdata(np.mean([stats.rankdata(-row) for row in scores.to_numpy()], axis=0))
    assert rank_methods(scores).tolist() == means.tolist()
    assert rank_methods(scores, scheme="mean rank").tolist() == within.tolist()
    better = pairwise(scores).better()
    wins = stats.rankdata(-(better.sum(axis=1) - better.sum(axis=0)))
    assert rank_methods(scores, scheme="significant wins").tolist() == wins.tolist()


def test_schemes_can_disagree():
    """B fails on one patient and is better on all others."""
    scores = pd.DataFrame({"A": [0.8] * 10, "B": [0.82] * 9 + [0.0]})
    ranks = [rank_methods(scores, scheme).tolist() for scheme in SCHEMES]
    assert ranks == [[1, 2], [2, 1], [1.5, 1.5]]
    assert kendall(np.array(ranks[1:]), np.array(ranks[0])) == pytest.approx(
        [-1, math.nan], nan_ok=True
    )


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_highest_is_first_and_ties_share(scheme):
    scores = table(12, 4, step=0.2)
    scores["C"] = scores["B"]
    assert rank_methods(scores, scheme).tolist() == [1, 2.5, 2.5, 4]
    assert rank_methods(-scores, scheme).tolist() == [4, 2.5, 2.5, 1]


def test_stability_is_that_of_each_resample():
    scores = table(8, 4, step=0.01)
    found, taus = rank_stability(scores, resamples=50)
    full = stats.rankdata(-scores.mean())
    ranks = np.array([
        stats.rankdata(-scores.loc[np.repeat(scores.index, counts)].mean().round(12))
        for counts in resampled_counts(8, 50).astype(int)
    ])  # fmt: skip
    assert taus == pytest.approx([stats.kendalltau(row, full).statistic for row in ranks])
    ends = np.quantile(ranks, [0.025, 0.975], axis=0, method="inverted_cdf")
    assert found[["low", "high"]].to_numpy().T.tolist() == ends.tolist()
    best = ranks == ranks.min(axis=1, keepdims=True)
    shares = best / best.sum(axis=1, keepdims=True)
    assert found["first"].tolist() == pytest.approx(shares.mean(axis=0).tolist())
    assert found["first"].sum() == pytest.approx(1)


def test_a_clear_order_is_stable_and_an_even_field_is_not():
    clear, taus = rank_stability(table(12, 4, step=1))
    assert (taus == 1).all()
    assert (clear["low"] == clear["high"]).all()
    assert clear["first"].tolist() == [1, 0, 0, 0]
    even, _ = rank_stability(table(12, 4))
    assert (even["high"] - even["low"]).max() >= 2


def test_shares_of_first_places_are_near_those_of_all_samples():
    """All 6^6 samples of six patients, where 2000 of them are wrong in the second digit."""
    scores = pd.DataFrame(
        np.random.default_rng(140).normal(0.7, 0.05, (6, 3)).round(3), columns=list("ABC")
    )
    samples = np.array(list(itertools.product(range(6), repeat=6)))
    means = scores.to_numpy()[samples].mean(axis=1).round(12)
    first = means == means.max(axis=1, keepdims=True)
    exact = (first / first.sum(axis=1, keepdims=True)).mean(axis=0)
    found, taus = rank_stability(scores)
    few, _ = rank_stability(scores, resamples=2000)
    assert len(taus) == 9999
    assert found["first"].to_numpy() == pytest.approx(exact, abs=0.0105)
    assert few["first"].to_numpy() != pytest.approx(exact, abs=0.03)


def test_identical_methods_stay_tied_in_every_resample():
    scores = table(9, 3, seed=4)
    scores["B"] = scores["A"]
    found, _ = rank_stability(scores)
    assert found.loc["A"].tolist() == found.loc["B"].tolist()


def test_one_patient_has_ranks_but_no_stability():
    found, taus = rank_stability(table(1, 3))
    assert sorted(rank_methods(table(1, 3))) == [1, 2, 3]
    assert found.isna().all(axis=None)
    assert np.isnan(taus).all()


def test_significant_wins_and_limits_follow_the_test_that_decides():
    folds = [patient % 5 for patient in range(20)]
    scores = table(20, 3)
    scores["B"] = scores["A"] - np.array([0.09, 0.07, 0.08, -0.03, -0.02])[folds]
    scores["C"] = scores["A"] - 0.5
    here, anew = (pairwise(scores, folds, draws) for draws in (1, 2))
    by_tests = [rank_methods(scores, "significant wins", one).tolist() for one in (here, anew)]
    assert by_tests == [[1, 2, 3], [1.5, 1.5, 3]]
    assert rank_limits(anew)["high"].tolist() == [2, 2, 3]


def test_limits_count_who_is_separated():
    scores = table(12, 4, step=0.5)
    scores["B"] = scores["A"] + np.random.default_rng(1).normal(0, 0.05, 12)
    limits = rank_limits(pairwise(scores))
    assert limits["low"].tolist() == [1, 1, 3, 4]
    assert limits["high"].tolist() == [2, 2, 3, 4]
    few = rank_limits(pairwise(table(4, 4, step=5)))
    assert (few["low"] == 1).all()
    assert (few["high"] == 4).all()


def test_limits_hold_the_true_order_where_resampling_does_not():
    """Six equal methods, of which any order is true."""
    limits, resampled = [], []
    for seed in range(300):
        scores = table(12, 6, seed=seed)
        open_ranks = rank_limits(pairwise(scores))
        limits.append((open_ranks["high"] - open_ranks["low"] == 5).all())
        spread, _ = rank_stability(scores, resamples=200)
        resampled.append((spread["high"] - spread["low"] == 5).all())
    assert np.mean(limits) >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / 300)
    assert np.mean(resampled) < 0.5


def test_kendall_agrees_with_scipy():
    rng = np.random.default_rng(2)
    rankings, reference = (
        rng.integers(0, 4, (30, 7)).astype(float),
        rng.permutation(7).astype(float),
    )
    expected = [stats.kendalltau(row, reference).statistic for row in rankings]
    assert kendall(rankings, reference) == pytest.approx(expected)


def test_kendall_of_many_rankings_is_that_of_each():
    """More rankings than are held in memory at once, and none at all."""
    rankings = np.random.default_rng(3).integers(0, 4, (2501, 5)).astype(float)
    reference = np.arange(5.0)
    taus = kendall(rankings, reference)
    assert taus.shape == (2501,)
    for place in (0, 999, 1000, 1999, 2000, 2500):
        expected = stats.kendalltau(rankings[place], reference).statistic
        assert taus[place] == pytest.approx(expected, nan_ok=True)
    assert kendall(np.empty((0, 5)), reference).shape == (0,)


def test_what_cannot_be_ranked_is_refused():
    scores = table(6, 3)
    for scheme in SCHEMES:
        with pytest.raises(RequestError):
            rank_methods(scores.assign(B=math.nan), scheme=scheme)


@st.composite
def verdicts(draw, largest=9):
    methods = draw(st.integers(0, largest))
    matrix = np.zeros((methods, methods), dtype=bool)
    for first, second in itertools.combinations(range(methods), 2):
        matrix[first, second] = matrix[second, first] = draw(st.booleans())
    return matrix


def is_clique(group, matrix):
    return not any(matrix[first, second] for first, second in itertools.combinations(group, 2))


def groups_of(mark):
    """The names of the groups in a mark; after `z` a name has a number behind its letter."""
    found = re.findall(r"[a-z]\d*", mark)
    assert "".join(found) == mark
    assert len(found) == len(set(found))
    return set(found)


def assert_shared_where_nothing_separates(marks, matrix):
    assert all(marks)
    for first, second in itertools.combinations(range(len(matrix)), 2):
        shared = groups_of(marks[first]) & groups_of(marks[second])
        assert bool(shared) != matrix[first, second]


@given(verdicts())
@settings(max_examples=300, deadline=None)
def test_a_letter_is_shared_exactly_where_nothing_separates(matrix):
    assert_shared_where_nothing_separates(letters(matrix), matrix)


@given(verdicts(largest=7))
@settings(max_examples=200, deadline=None)
def test_groups_are_maximal_and_none_is_idle(matrix):
    groups = tie_groups(matrix)
    cliques = [
        set(group)
        for size in range(1, len(matrix) + 1)
        for group in itertools.combinations(range(len(matrix)), size)
        if is_clique(group, matrix)
    ]
    maximal = [group for group in cliques if not any(group < other for other in cliques)]
    for group in groups:
        assert set(group) in maximal
        others = [set(other) for other in groups if other != group]
        pairs = itertools.combinations(group, min(2, len(group)))
        assert any(not any(set(pair) <= other for other in others) for pair in pairs)


def test_a_chain_overlaps():
    """The first is like the second and the second like the third, which differ."""
    matrix = np.zeros((3, 3), dtype=bool)
    matrix[0, 2] = matrix[2, 0] = True
    assert tie_groups(matrix) == [(0, 1), (1, 2)]
    assert letters(matrix) == ["a", "ab", "b"]


def test_all_alike_and_all_apart():
    assert letters(np.zeros((3, 3))) == ["a", "a", "a"]
    assert letters(~np.eye(3, dtype=bool)) == ["a", "b", "c"]
    assert letters([[False]]) == ["a"]
    assert letters(np.zeros((0, 0))) == []


def test_letters_do_not_run_out():
    marks = letters(~np.eye(30, dtype=bool))
    assert marks[25:28] == ["z", "a2", "b2"]
    assert len(set(marks)) == 30


def test_beyond_z_a_letter_is_shared_exactly_where_nothing_separates():
    """Sixty in pairs make thirty groups; one more is told apart from none and is in each."""
    matrix = ~np.eye(61, dtype=bool)
    for first in range(0, 60, 2):
        matrix[first, first + 1] = matrix[first + 1, first] = False
    matrix[60, :] = matrix[:, 60] = False
    marks = letters(matrix)
    assert_shared_where_nothing_separates(marks, matrix)
    assert len(groups_of(marks[60])) == 30


@pytest.mark.parametrize(
    "matrix", [[[False, True], [False, False]], [[True]], np.zeros((2, 3))], ids=str
)
def test_what_is_no_comparison_is_refused(matrix):
    with pytest.raises(RequestError):
        tie_groups(matrix)
