"""All pairs at once against each pair alone, and the family's error rate."""

import math
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from contrabench.errors import RequestError
from contrabench.statistics.paired import paired_difference, pairwise
from contrabench.statistics.retraining import with_reference
from contrabench.statistics.signflip import holm, sign_flip_ps


def table(patients, methods, seed=0, steps=0.0):
    rng = np.random.default_rng(seed)
    values = rng.normal(0.7, 0.1, (patients, 1)) + rng.normal(0, 0.03, (patients, methods))
    return pd.DataFrame(values - steps * np.arange(methods), columns=list("ABCDEFGH"[:methods]))


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_tables_hold_what_each_pair_alone_says(higher_is_better):
    scores = table(9, 4, steps=0.02)
    found = pairwise(scores, higher_is_better)
    pairs = list(combinations(scores.columns, 2))
    adjusted = holm([paired_difference(scores[a], scores[b]).p for a, b in pairs])
    for (a, b), expected in zip(pairs, adjusted, strict=True):
        for first, second in ((a, b), (b, a)):
            alone = paired_difference(scores[first], scores[second])
            assert found.difference.loc[first, second] == pytest.approx(alone.mean)
            assert found.p.loc[first, second] == alone.p
            assert found.adjusted.loc[first, second] == expected
    assert found.pairs == 6


def test_who_is_better_follows_the_direction():
    scores = table(12, 3, steps=0.2)
    better, worse = pairwise(scores).better(), pairwise(scores, higher_is_better=False).better()
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
        found = pairwise(data)
        again, adjusted = found.retrained(folds)
        assert again.freedom == 4 * with_reference(3)
        assert (adjusted >= found.adjusted).all(axis=None)
        assert adjusted.equals(adjusted.T)
    assert again.inflation > 1.2
    unknown, nothing = pairwise(scores).retrained(None)
    assert not unknown.known
    assert np.isnan(nothing.to_numpy()[np.triu_indices(4, 1)]).all()
